"""
The image size that an AVIF file states, and the size of its coded frames.

A decoder scales the coded frames to the size that the container states, so a file of 400 bytes with a frame
of 14 x 9 pixels can make it allocate 1.5 GB. Each frame states its own size in its sequence header. This
module rejects a container that states more pixels than its frames have in total; the frames may be the tiles
of a grid. AV1 does not limit how many pixels a byte can decode to, but decoders reject images of more than
16384 x 16384 pixels.

References:
    AV1 Image File Format, https://aomediacodec.github.io/av1-avif/ (items, grids, sequences).
    ISO/IEC 14496-12, ISO base media file format: boxes, ``meta``, ``iloc``, ``moov``.
    AV1 Bitstream & Decoding Process Specification, sections 5.3 (OBUs) and 5.5 (sequence header).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import Any

__all__ = ["is_avif", "read_avif_size"]

#: Types of boxes that contain other boxes, and the number of bytes before the first contained box.
_PARENTS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0}

#: Maximum number of frames that are examined. A grid may have 256 x 256 tiles, but real files have few.
_MOST_FRAMES = 4096

#: Content of a file, read or mapped into memory.
Content = bytes | mmap.mmap

Box = tuple[bytes, int, int]
"""Type of a box, position of the first byte of its content, and position of the byte after the last."""


def is_avif(data: Content) -> bool:
    """Whether a file is an AVIF image or sequence.

    Args:
        data: the start of the file.

    Example:
        >>> is_avif(b"no image")
        False
    """
    return data[4:8] == b"ftyp" and any(brand in data[8:64] for brand in (b"avif", b"avis"))


def read_avif_size(data: Content) -> tuple[int, int]:
    """Return the (height, width) of the largest image that an AVIF file states.

    Args:
        data: content of the file.

    Raises:
        ValueError: if the header is malformed, or states more pixels than the coded frames have.
    """
    try:
        boxes = list(_walk(data, 0, len(data)))
        stated = [size for box in boxes for size in _stated_sizes(data, box)]
        coded = [_frame_size(data, first) for box in boxes for first in _frame_positions(data, box)]
    except (struct.error, IndexError):
        raise ValueError("its boxes are cut off or malformed") from None
    if not stated:
        raise ValueError("its header has no size")
    height, width = max(stated, key=lambda size: size[0] * size[1])
    if height * width > sum(h * w for h, w in coded):
        raise ValueError(
            f"its header states (height, width) {(height, width)}; the frames in it have fewer pixels: "
            f"{coded[:4]}"
        )
    return height, width


def _walk(data: Content, first: int, stop: int, depth: int = 0) -> Iterator[Box]:
    """Yield the boxes of a file and the boxes that they contain."""
    while first + 8 <= stop:
        size, kind = struct.unpack_from(">I4s", data, first)
        content = first + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, content)
            content += 8
        end = min(first + size, stop) if size else stop
        if end < content:
            raise ValueError("a box in it is smaller than its header")
        yield kind, content, end
        if kind in _PARENTS and depth < len(_PARENTS):
            yield from _walk(data, content + _PARENTS[kind], end, depth + 1)
        first = end


def _stated_sizes(data: Content, box: Box) -> Iterator[tuple[int, int]]:
    """Yield the (height, width) that an image property or a track header states."""
    kind, first, stop = box
    if kind == b"ispe":
        width, height = struct.unpack_from(">II", data, first + 4)
        yield height, width
    elif kind == b"tkhd":  # in 65536ths of a pixel, at the end
        width, height = struct.unpack_from(">II", data, stop - 8)
        yield height >> 16, width >> 16


def _frame_positions(data: Content, box: Box) -> Iterator[int]:
    """Yield the positions of an image's coded items and of the first frame of a track."""
    kind, first, _ = box
    if kind == b"iloc":
        yield from _item_positions(data, first)
    elif kind in {b"stco", b"co64"}:
        yield struct.unpack_from(">I" if kind == b"stco" else ">Q", data, first + 8)[0]


def _item_positions(data: Content, first: int) -> Iterator[int]:
    """Yield the position of each item that an item location box lists."""
    version, sizes, more_sizes = data[first], data[first + 4], data[first + 5]
    widths = sizes >> 4, sizes & 15, more_sizes >> 4, more_sizes & 15 if version else 0
    reader = _Fields(data, first + 6)
    for _ in range(min(reader.take(4 if version == 2 else 2), _MOST_FRAMES)):
        reader.take(4 if version == 2 else 2)
        method = reader.take(2) & 15 if version else 0
        reader.take(2)
        base = reader.take(widths[2])
        extents = []
        for _ in range(reader.take(2)):
            reader.take(widths[3])
            extents.append(reader.take(widths[0]))
            reader.take(widths[1])
        if method == 0 and extents:  # other methods store the data in the header itself, such as a grid
            yield base + extents[0]


class _Fields:
    """Reads consecutive multi-byte numbers."""

    def __init__(self, data: Content, position: int) -> None:
        self._data = data
        self._position = position

    def take(self, width: int) -> int:
        """Return the next number of ``width`` bytes; 0 if ``width`` is 0."""
        self._position += width
        if self._position > len(self._data):
            raise IndexError("the data ends")
        return int.from_bytes(self._data[self._position - width : self._position], "big")


def _frame_size(data: Content, position: int) -> tuple[int, int]:
    """Return the (height, width) of a coded frame; (0, 0) if it does not start with a sequence header."""
    for _ in range(8):
        if position + 1 >= len(data):
            return 0, 0
        kind, extended, sized = data[position] >> 3 & 15, data[position] >> 2 & 1, data[position] >> 1 & 1
        position += 1 + extended
        length, position = _leb128(data, position) if sized else (len(data) - position, position)
        if kind == 1:
            return _sequence_size(_Bits(data[position : position + min(length, 512)]))
        position += length
    return 0, 0


def _leb128(data: Content, position: int) -> tuple[int, int]:
    """Return the LEB128 number at a position, and the position after it."""
    value = 0
    for shift in range(0, 56, 7):
        value |= (data[position] & 0x7F) << shift
        position += 1
        if not data[position - 1] & 0x80:
            break
    return value, position


class _Bits:
    """Reads numbers of any number of bits, most significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next number of ``count`` bits."""
        self._left -= count
        if self._left < 0:
            raise IndexError("the data ends")
        return self._value >> self._left & ((1 << count) - 1)

    def take_uvlc(self) -> int:
        """Return the next variable-length number in AV1's ``uvlc`` code."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return self.take(zeros) + (1 << zeros) - 1 if zeros < 32 else 2**32 - 1


def _sequence_size(bits: Any) -> tuple[int, int]:
    """Return the maximum (height, width) of frames that a sequence header states."""
    bits.take(4)  # profile, still picture
    if bits.take(1):  # reduced header
        bits.take(5)
    else:
        delay_bits = _skip_timing(bits)
        has_delays = bits.take(1)
        for _ in range(bits.take(5) + 1):
            _skip_operating_point(bits, delay_bits, has_delays)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    width, height = bits.take(width_bits) + 1, bits.take(height_bits) + 1
    return height, width


def _skip_timing(bits: Any) -> int | None:
    """Skip the timing information, and return the number of bits of a decoder delay; None without delays."""
    if not bits.take(1):
        return None
    bits.take(64)
    if bits.take(1):  # equal picture interval
        bits.take_uvlc()
    if not bits.take(1):  # decoder model
        return None
    delay_bits: int = bits.take(5) + 1
    bits.take(32 + 5 + 5)
    return delay_bits


def _skip_operating_point(bits: Any, delay_bits: int | None, has_delays: int) -> None:
    bits.take(12)
    if bits.take(5) > 7:  # level
        bits.take(1)
    if delay_bits is not None and bits.take(1):
        bits.take(2 * delay_bits + 1)
    if has_delays and bits.take(1):
        bits.take(4)
