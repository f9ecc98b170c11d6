"""
Utilities that the rest of the library uses, and modules of earlier releases.

The names below and the submodules are imported when they are first used, so importing the package is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ndsampler.utils.hash_identifiable import HashIdentifiable
    from ndsampler.utils.require import have_gdal

__all__ = ["HashIdentifiable", "have_gdal"]

_HOME_OF = {"HashIdentifiable": "hash_identifiable", "have_gdal": "require"}

#: Submodules that programs use as attributes, without importing them.
_SUBMODULES = frozenset(
    {
        "util_futures",
        "util_gdal",
        "util_lru",
        "util_misc",
        "util_shape",
        "util_sklearn",
        "validate_cog",
    }
)


def __getattr__(name: str) -> Any:
    """Load a name of ``__all__`` from the module that defines it, or a submodule of earlier releases."""
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
