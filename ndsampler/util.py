"""
The name that :mod:`ndsampler.utils` had before release 0.6.
"""

from __future__ import annotations

from typing import Any

from ndsampler.utils.deprecation import load_moved


def __getattr__(name: str) -> Any:
    """Load a name, or a module, from where it is now."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_moved(f"{__name__}.{name}", f"ndsampler.utils.{name}")
