"""
The old module of the dataset, which is now in kwcoco: :class:`kwcoco.CocoDataset`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndsampler.utils.deprecation import load_moved

if TYPE_CHECKING:
    from kwcoco import CocoDataset

__all__ = ["CocoDataset"]


def __getattr__(name: str) -> Any:
    """Import the class when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_moved(f"{__name__}.{name}", f"kwcoco.{name}")
