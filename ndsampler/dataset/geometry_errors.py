"""Errors for malformed geometry, which name the annotation."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["geometry_errors"]

#: Maximum number of characters that are quoted from an error of kwimage or numpy.
_MAX_REASON = 300


@contextlib.contextmanager
def geometry_errors(ann: dict[str, Any]) -> Iterator[None]:
    """Convert any error in the block to an ArgumentError that names the annotation.

    Args:
        ann: the annotation whose geometry is parsed.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as ex:  # kwimage raises errors of many kinds
        raise ArgumentError(
            f"annotation {ann.get('id')} of image {ann.get('image_id')} has malformed geometry: "
            f"{type(ex).__name__}: {str(ex)[:_MAX_REASON]}"
        ) from ex
