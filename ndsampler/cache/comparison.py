"""
Compares the pixels of an entry with those of its source.

The writer compares a new entry before it publishes it; ``verify`` compares the entries in a workdir.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from ndsampler.backends.base import BLOCK_BYTES, as_masked, same_pixels
from ndsampler.errors import CacheError, SourceError
from ndsampler.windows import PixelBox

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ndsampler.backends.base import Backend, RegionReader

#: Side in pixels, and number, of the boxes along a diagonal.
DIAGONAL_SIDE = 64
DIAGONAL_COUNT = 5


def find_difference(source: RegionReader, entry: str, backend: Backend, boxes: Iterable[PixelBox]) -> str:
    """Compare an entry with its source.

    Args:
        source: the open source.
        entry: path of the entry.
        backend: opens the entry.
        boxes: the regions whose pixels are compared.

    Returns:
        A description of the first difference; empty if there is none.

    Raises:
        SourceError: if the source cannot be read.
    """
    try:
        reader = backend.open(entry)
    except (SourceError, CacheError) as ex:
        return f"it cannot be opened: {ex}"
    with contextlib.closing(reader):
        if (reader.shape, reader.dtype) != (source.shape, source.dtype):
            return f"it is {reader.dtype} {reader.shape}; its source is {source.dtype} {source.shape}"
        for box in boxes:
            theirs = source.read(*box)
            place = f"rows {box.y0} to {box.y1}, columns {box.x0} to {box.x1}"
            try:
                ours = reader.read(*box)
            except (SourceError, CacheError) as ex:
                return f"{place} cannot be read: {ex}"
            if not same_pixels(ours, theirs):
                return f"its pixels in {place} differ from those of its source"
            if not _same_masks(source, reader, box):
                return f"its mask in {place} differs from that of its source"
    return ""


def _same_masks(source: RegionReader, entry: RegionReader, box: PixelBox) -> bool:
    """Whether a region of an entry has the mask of its source; True for a backend that keeps no masks."""
    if not hasattr(entry, "has_mask"):
        return True
    masked = (as_masked(source), as_masked(entry))
    first, second = (None if reader is None else reader.read_mask(*box) for reader in masked)
    if first is None or second is None:
        return first is second
    return bool((first == second).all())


def row_boxes(source: RegionReader) -> Iterator[PixelBox]:
    """Yield boxes of whole rows that cover an image, each of at most :data:`BLOCK_BYTES` of pixels."""
    height, width, channels = source.shape
    step = max(1, BLOCK_BYTES // max(1, width * channels * source.dtype.itemsize))
    for y0 in range(0, height, step):
        yield PixelBox(y0, min(y0 + step, height), 0, width)


def diagonal_boxes(source: RegionReader) -> Iterator[PixelBox]:
    """Yield small boxes along the diagonal of an image, including both ends."""
    height, width, _ = source.shape
    rows = np.linspace(0, max(0, height - DIAGONAL_SIDE), DIAGONAL_COUNT).astype(int).tolist()
    columns = np.linspace(0, max(0, width - DIAGONAL_SIDE), DIAGONAL_COUNT).astype(int).tolist()
    for y, x in zip(rows, columns):
        yield PixelBox(y, min(y + DIAGONAL_SIDE, height), x, min(x + DIAGONAL_SIDE, width))
