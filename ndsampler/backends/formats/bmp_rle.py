"""
Decodes the color indexes of run-length encoded BMP files.

Such a file may skip pixels. GDAL leaves skipped pixels uninitialized; this module sets their index to 0, as
OpenCV does.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ndsampler.backends.formats.header_dims import bmp_dims

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bits of an index for each run-length encoding of the format.
INDEX_BITS = {1: 8, 2: 4}


class BmpIndexes(NamedTuple):
    """The decoded pixels of a run-length encoded BMP."""

    indexes: NDArray[np.uint8]
    """(height, width) indexes into the color table; 0 where the file skips pixels."""

    largest: int
    """The largest index that the file states."""

    entries: int
    """Number of entries of the color table."""


def read_bmp_indexes(path: str) -> BmpIndexes | None:
    """Return the indexes of a run-length encoded BMP; None for other files.

    Args:
        path: a local file.
    """
    with open(path, "rb") as file:
        head = file.read(54)
        if not head.startswith(b"BM") or len(head) < 54 or int.from_bytes(head[14:18], "little") < 40:
            return None
        bits = INDEX_BITS.get(int.from_bytes(head[30:34], "little"))
        if bits is None:
            return None
        file.seek(int.from_bytes(head[10:14], "little"))
        codes = file.read()
    canvas = _Canvas(*bmp_dims(head), bits)
    canvas.draw(codes)
    # Run-length encoded rows always start at the bottom of the image.
    entries = struct.unpack_from("<I", head, 46)[0] or 2**bits
    return BmpIndexes(canvas.pixels[::-1], canvas.largest, entries)


class _Canvas:
    """The image that is being decoded, filled from its bottom row upwards."""

    def __init__(self, height: int, width: int, bits: int) -> None:
        self.pixels = np.zeros((height, width), np.uint8)
        self.largest = 0
        self._bits = bits
        self._row = self._column = 0

    def draw(self, codes: bytes) -> None:
        """Decode run-length codes into the image, and drop pixels that lie outside it."""
        at = 0
        while at + 1 < len(codes) and self._row < len(self.pixels):
            count, value = codes[at], codes[at + 1]
            at += 2
            if count:
                self._put(self._run(count, value))
            elif value == 0:
                self._row, self._column = self._row + 1, 0
            elif value == 1:
                return
            elif value == 2:
                step = codes[at : at + 2].ljust(2, b"\0")
                self._column, self._row, at = self._column + step[0], self._row + step[1], at + 2
            else:
                size = (value * self._bits + 7) // 8
                self._put(self._unpack(codes[at : at + size])[:value])
                at += size + size % 2

    def _run(self, count: int, value: int) -> NDArray[np.uint8]:
        """Return the indexes of a run; a 4-bit run alternates between the two halves of the byte."""
        return np.resize(self._unpack(bytes([value])), count)

    def _unpack(self, data: bytes) -> NDArray[np.uint8]:
        """Return the indexes that are packed in bytes."""
        stored = np.frombuffer(data, np.uint8)
        return stored if self._bits == 8 else np.stack([stored >> 4, stored & 15], axis=1).ravel()

    def _put(self, indexes: NDArray[np.uint8]) -> None:
        """Write indexes at the current position, and advance the position past them."""
        room = self.pixels[self._row, self._column : self._column + len(indexes)]
        room[...] = indexes[: len(room)]
        self.largest = max(self.largest, int(indexes.max(initial=0)))
        self._column += len(indexes)
