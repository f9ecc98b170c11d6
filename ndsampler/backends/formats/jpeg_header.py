"""
The frame header of a JPEG file.

References:
    ITU-T T.81 (1992), annex B: compressed data formats.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import BinaryIO

#: Markers of segments that state the size: every start of frame.
SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

#: Markers that stand alone, without a segment.
LONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})


class JpegFrame(NamedTuple):
    """The values in a start-of-frame segment."""

    height: int
    """Height in pixels."""
    width: int
    """Width in pixels."""
    components: int
    """1 for gray, 3 for color, 4 for cyan, magenta, yellow and black."""


def read_jpeg_frame(file: BinaryIO) -> JpegFrame | None:
    """Return the values of the first start-of-frame segment; None if there is none.

    Args:
        file: an open JPEG.

    Raises:
        struct.error: if the file is cut off within its header.
    """
    file.seek(2)
    while _read_byte(file) == 0xFF:
        marker = _read_byte(file)
        while marker == 0xFF:  # fill bytes
            marker = _read_byte(file)
        if marker == 0xD9:
            return None
        if marker in LONE_MARKERS:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if marker in SIZE_MARKERS:
            return JpegFrame(*struct.unpack(">xHHB", file.read(6)))
        file.seek(length - 2, os.SEEK_CUR)
    return None


def _read_byte(file: BinaryIO) -> int:
    """Return the next byte of a file; raise ``struct.error`` at its end."""
    return int(struct.unpack("B", file.read(1))[0])
