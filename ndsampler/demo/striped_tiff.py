"""
Writing TIFF files in compressed strips, in blocks of rows.

Most programs save a large image in this form. Reading a window is slow, because every strip that the
window touches must be decoded over the whole width of the image.

References:
    Adobe, TIFF Revision 6.0 (1992), sections 2 (structure), 6 (RGB) and 14 (predictor);
    Adobe Photoshop TIFF Technical Notes (2002) for compression 8, deflate.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray

#: Number of rows of one strip.
STRIP_ROWS = 16

_SHORT, _LONG = 3, 4

#: Values of the tag PhotometricInterpretation.
_GREY, _RGB = 1, 2


def encode_strips(rows: NDArray[Any]) -> list[bytes]:
    """Compress rows of an image; other threads can run in the meantime.

    Args:
        rows: (n, width, bands) uint8 or uint16; every strip except the last one of the image has
            ``STRIP_ROWS`` rows.

    Returns:
        The strips from top to bottom.

    Example:
        >>> import numpy as np
        >>> len(encode_strips(np.zeros((40, 8, 3), np.uint8)))
        3
    """
    steps = rows.astype(rows.dtype.newbyteorder("<"))
    steps[:, 1:] -= rows[:, :-1]
    return [
        zlib.compress(steps[top : top + STRIP_ROWS].tobytes(), 1) for top in range(0, len(rows), STRIP_ROWS)
    ]


class StripedTiff:
    """A TIFF file that is being written.

    Args:
        file: an empty file, open for writing bytes; it stays open.
        width: width of the image in pixels.
        height: height of the image in pixels.
        bands: number of channels; three are red, green and blue.
        bits: number of bits of each value, 8 or 16.
    """

    def __init__(self, file: BinaryIO, width: int, height: int, bands: int = 3, bits: int = 8) -> None:
        self._file = file
        self.width, self.height = width, height
        self.bands, self.bits = bands, bits
        self._offsets: list[int] = []
        self._sizes: list[int] = []
        file.write(struct.pack("<2sHI", b"II", 42, 0))

    def write(self, strips: list[bytes]) -> None:
        """Append strips that :func:`encode_strips` returned."""
        for strip in strips:
            self._offsets.append(self._file.tell())
            self._sizes.append(len(strip))
            self._file.write(strip)

    def finish(self) -> None:
        """Write the directory, which completes the TIFF file.

        Raises:
            ArgumentError: if rows are missing, or the file is larger than the 4 GB of the format.
        """
        expected = -(-self.height // STRIP_ROWS)
        if len(self._offsets) != expected:
            raise ArgumentError(
                f"{len(self._offsets)} strips were written; expected {expected}; write all rows first"
            )
        if self._file.tell() > 2**32 - 2**20:
            raise ArgumentError(
                f"{self._file.tell()} bytes are too many for a TIFF file of at most 4 GB; use a smaller size"
            )
        entries = [self._entry(*tag) for tag in self._tags()]
        self._align()
        start = self._file.tell()
        self._file.write(struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0))
        self._file.seek(4)
        self._file.write(struct.pack("<I", start))

    def _tags(self) -> list[tuple[int, int, list[int]]]:
        """Return number, type and values of each tag of the directory, in ascending order."""
        is_rgb = self.bands == 3
        tags = [
            (256, _LONG, [self.width]),
            (257, _LONG, [self.height]),
            (258, _SHORT, [self.bits] * self.bands),
            (259, _SHORT, [8]),
            (262, _SHORT, [_RGB if is_rgb else _GREY]),
            (273, _LONG, self._offsets),
            (277, _SHORT, [self.bands]),
            (278, _LONG, [STRIP_ROWS]),
            (279, _LONG, self._sizes),
            (284, _SHORT, [1]),
            (317, _SHORT, [2]),
        ]
        unspecified = [0] * (0 if is_rgb else self.bands - 1)
        return [*tags, (338, _SHORT, unspecified)] if unspecified else tags

    def _align(self) -> None:
        self._file.write(b"\0" * (self._file.tell() % 2))

    def _entry(self, tag: int, kind: int, values: list[int]) -> bytes:
        """Return an entry of the directory; values longer than four bytes are written to the file."""
        packed = struct.pack(f"<{len(values)}{'H' if kind == _SHORT else 'I'}", *values)
        if len(packed) > 4:
            self._align()
            offset = self._file.tell()
            self._file.write(packed)
            packed = struct.pack("<I", offset)
        return struct.pack("<HHI4s", tag, kind, len(values), packed)
