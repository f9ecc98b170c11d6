"""
The old name of :mod:`ndsampler.utils`, from before release 0.6.
"""

from __future__ import annotations

from typing import Any

from ndsampler.utils.deprecation import load_moved


def __getattr__(name: str) -> Any:
    """Import a name or module from its current place."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_moved(f"{__name__}.{name}", f"ndsampler.utils.{name}")
