"""
Writes one kind of TIFF: 8-bit RGB in compressed strips of rows, a block of rows at a time.

This is how most programs save a large picture, and it reads badly: a window
costs the decoding of every row it touches, over the whole width.

References:
    Adobe, TIFF Revision 6.0 (1992), sections 2 (structure), 6 (RGB) and 14 (predictor);
    Adobe Photoshop TIFF Technical Notes (2002) for compression 8, deflate.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray

#: Rows of one strip.
STRIP_ROWS = 16

_SHORT, _LONG = 3, 4


def encode_strips(rows: NDArray[np.uint8]) -> list[bytes]:
    """Compress rows of a picture. Does not hold the interpreter while it does.

    Args:
        rows: (n, width, 3); every strip but the last of a picture has ``STRIP_ROWS`` rows.

    Returns:
        The strips from top to bottom.

    Example:
        >>> len(encode_strips(np.zeros((40, 8, 3), np.uint8)))
        3
    """
    steps = rows.copy()
    steps[:, 1:] -= rows[:, :-1]
    return [
        zlib.compress(steps[top : top + STRIP_ROWS].tobytes(), 1) for top in range(0, len(rows), STRIP_ROWS)
    ]


class StripedTiff:
    """A picture while it is written.

    Args:
        file: an empty file, open for writing bytes; it stays open.
        width: of the picture in pixels.
        height: of the picture in pixels.
    """

    def __init__(self, file: BinaryIO, width: int, height: int) -> None:
        self._file = file
        self.width, self.height = width, height
        self._offsets: list[int] = []
        self._sizes: list[int] = []
        file.write(struct.pack("<2sHI", b"II", 42, 0))

    def write(self, strips: list[bytes]) -> None:
        """Append strips, as :func:`encode_strips` returns them."""
        for strip in strips:
            self._offsets.append(self._file.tell())
            self._sizes.append(len(strip))
            self._file.write(strip)

    def finish(self) -> None:
        """Write the directory that makes the file a TIFF.

        Raises:
            ArgumentError: if rows are missing, or the file has outgrown the format's 4 GB.
        """
        expected = -(-self.height // STRIP_ROWS)
        if len(self._offsets) != expected:
            raise ArgumentError(
                f"{len(self._offsets)} strips were written; expected {expected}: write all rows first"
            )
        if self._file.tell() > 2**32 - 2**20:
            raise ArgumentError(
                f"{self._file.tell()} bytes do not fit a TIFF, which ends at 4 GB: use a smaller size"
            )
        entries = [
            self._entry(256, _LONG, [self.width]),
            self._entry(257, _LONG, [self.height]),
            self._entry(258, _SHORT, [8, 8, 8]),
            self._entry(259, _SHORT, [8]),
            self._entry(262, _SHORT, [2]),
            self._entry(273, _LONG, self._offsets),
            self._entry(277, _SHORT, [3]),
            self._entry(278, _LONG, [STRIP_ROWS]),
            self._entry(279, _LONG, self._sizes),
            self._entry(284, _SHORT, [1]),
            self._entry(317, _SHORT, [2]),
        ]
        self._align()
        start = self._file.tell()
        self._file.write(struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0))
        self._file.seek(4)
        self._file.write(struct.pack("<I", start))

    def _align(self) -> None:
        self._file.write(b"\0" * (self._file.tell() % 2))

    def _entry(self, tag: int, kind: int, values: list[Any]) -> bytes:
        """Return an entry of the directory; values longer than four bytes are written to the file."""
        packed = struct.pack(f"<{len(values)}{'H' if kind == _SHORT else 'I'}", *values)
        if len(packed) > 4:
            self._align()
            offset = self._file.tell()
            self._file.write(packed)
            packed = struct.pack("<I", offset)
        return struct.pack("<HHI4s", tag, kind, len(values), packed)
