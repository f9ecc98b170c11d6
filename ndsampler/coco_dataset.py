"""
The old place of the dataset, which lives in kwcoco now: :class:`kwcoco.CocoDataset`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndsampler.utils.deprecation import load_moved

if TYPE_CHECKING:
    from kwcoco import CocoDataset

__all__ = ["CocoDataset"]


def __getattr__(name: str) -> Any:
    """Load the dataset when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_moved(f"{__name__}.{name}", f"kwcoco.{name}")
