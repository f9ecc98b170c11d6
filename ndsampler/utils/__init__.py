"""
Small tools that the rest of the library stands on.

The names below are loaded when first used, so importing the package stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ndsampler.utils.hash_identifiable import HashIdentifiable
    from ndsampler.utils.util_gdal import have_gdal

__all__ = ["HashIdentifiable", "have_gdal"]

_HOME_OF = {"HashIdentifiable": "hash_identifiable", "have_gdal": "util_gdal"}


def __getattr__(name: str) -> Any:
    """Load a name of ``__all__`` from the module that defines it."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
