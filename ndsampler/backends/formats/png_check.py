"""
Checks that a PNG file is complete.

OpenCV reports damage that libpng detects. GDAL decodes a truncated PNG without an error, so this module
checks the files that GDAL reads.

References:
    ISO/IEC 15948:2003, PNG, sections 5.3 (chunks), 8 (interlacing) and 10 (compression).
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: Chunks that belong to the animation of a PNG, not to its default image.
ANIMATION_CHUNKS = frozenset({b"acTL", b"fcTL", b"fdAT"})

#: Maximum number of bytes that are decompressed at a time.
BLOCK_BYTES = 2**20

#: First column and row, and steps between columns and rows, of each pass of an interlaced image.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

#: Samples per pixel for each color type.
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def find_png_damage(data: bytes) -> str:
    """Return how a PNG is damaged; an empty string if it is not, or if the file is not a PNG.

    The text completes a sentence that starts with the path of the file.

    Args:
        data: content of the file.
    """
    if not data.startswith(SIGNATURE):
        return ""
    try:
        return _find_damage(memoryview(data))
    except (struct.error, KeyError):
        return "is cut off"
    except zlib.error as ex:
        return f"is damaged: its pixels cannot be decompressed: {ex}"


def _find_damage(data: memoryview) -> str:
    """Return how the content of a PNG is damaged; an empty string if it is not."""
    width, height, depth, color, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    missing = _pixel_bytes(height, width, depth * SAMPLES[color], interlaced)
    decoder = zlib.decompressobj()
    for kind, body, checksum in _chunks(data):
        if zlib.crc32(body, zlib.crc32(kind)) != checksum:
            return f"is damaged: the checksum of its chunk {kind.decode('latin-1')} does not match"
        if kind == b"IDAT":
            missing -= _count_decompressed(decoder, body)
        if kind == b"IEND":
            return "is damaged: its pixels are incomplete" if missing > 0 else ""
    return "is cut off"


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview, int]]:
    """Yield the type, the content and the checksum of each chunk."""
    position = len(SIGNATURE)
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        first = position + 8
        (checksum,) = struct.unpack_from(">I", data, first + length)
        yield kind, data[first : first + length], checksum
        position = first + length + 4


def _count_decompressed(decoder: zlib._Decompress, body: memoryview) -> int:
    """Return how many bytes the content of a chunk decompresses to."""
    count = len(decoder.decompress(body, BLOCK_BYTES))
    while decoder.unconsumed_tail:
        count += len(decoder.decompress(decoder.unconsumed_tail, BLOCK_BYTES))
    return count


def _pixel_bytes(height: int, width: int, pixel_bits: int, interlaced: int) -> int:
    """Return the bytes of the filtered rows of an image."""
    passes = PASSES if interlaced else ((0, 0, 1, 1),)
    total = 0
    for x0, y0, step_x, step_y in passes:
        columns, rows = -(-(width - x0) // step_x), -(-(height - y0) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * pixel_bits // 8))
    return total


def without_animation(data: bytes) -> bytes:
    """Return a PNG without the chunks of its animation, so that only its default image is left.

    Args:
        data: content of the file; returned unchanged if it is not an animated PNG.

    References:
        PNG specification, third edition (2025), sections 4.9 and 11.3.6: animation.
    """
    if not data.startswith(SIGNATURE) or data.find(b"acTL", 0, data.find(b"IDAT")) < 0:
        return data
    parts = [SIGNATURE]
    try:
        for kind, body, checksum in _chunks(memoryview(data)):
            if kind not in ANIMATION_CHUNKS:
                parts.append(struct.pack(">I4s", len(body), kind) + bytes(body) + struct.pack(">I", checksum))
    except struct.error:
        return data  # the file is cut off; the decoder reports it
    return b"".join(parts)
