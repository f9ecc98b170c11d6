"""
Detects damage in JPEG files that decoders do not report.

Where part of a file was overwritten, for example with zeros by a failed transfer, a decoder often returns
wrong pixels without an error. A quick check of every file looks for three signs of damage: a run of zeros in
the compressed data, an unknown marker there, and a last block of the gray that libjpeg substitutes for
missing data. Only a file with such a sign is decoded again, strictly. It is damaged if libjpeg warns, or if
compressed data remain after the last pixel.

References:
    ITU-T T.81 (1992), annexes B (markers) and F (Huffman coding).
"""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from ndsampler.backends.formats.jpeg_header import SIZE_MARKERS
from ndsampler.backends.headers import jpeg_segments

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

EOI, SOS, DHT = 0xD9, 0xDA, 0xC4

#: Markers that may follow compressed data: tables, number of lines, application data, comments, scan, end.
AFTER_SCAN = frozenset({DHT, EOI, SOS, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})

#: A run of zeros at least this long in compressed data is examined. Regions of one color may contain one too.
SUSPICIOUS_ZEROS = bytes(32)

#: A run of this many zero bytes decodes to at least one whole block.
MANY_ZEROS = bytes(64)

#: Largest fraction of zero bytes in compressed data that counts as dense.
MOST_ZEROS = 0.05

#: The gray value that libjpeg substitutes for missing data, and the side of a block in pixels.
FILL, BLOCK = 128, 8

#: The largest height that a header can state.
MAX_HEIGHT = 65535

#: Number of rows that are decoded below the last row of an image.
EXTRA_ROWS = 48


class JpegScan(NamedTuple):
    """The compressed data of one scan."""

    header: int
    """Position of the length field of the scan header."""
    first: int
    """Position of the first byte of the compressed data."""
    stop: int
    """Position of the marker after the compressed data."""


def find_jpeg_damage(data: bytes, pixels: NDArray[Any]) -> str:
    """Return how a decoded JPEG is damaged; an empty string if it is not.

    The text completes a sentence that starts with the path of the file.

    Args:
        data: content of the file; a file of another format counts as undamaged.
        pixels: the pixels that OpenCV decoded.
    """
    if not data.startswith(b"\xff\xd8"):
        return ""
    segments = _segments(data)
    if segments[-1][0] != EOI:
        return "is cut off: the end-of-image marker is missing"
    scans = [
        JpegScan(start, _end(data, start), after - 2)
        for (marker, start), (_, after) in itertools.pairwise(segments)
        if marker == SOS
    ]
    if _is_suspicious(data, segments, scans) or _ends_in_fill(pixels):
        damage = _find_damage(data, segments, scans)
        return f"is damaged: {damage}" if damage else ""
    return ""


def _segments(data: bytes) -> list[tuple[int, int]]:
    """Return the marker and the position of the length field of each segment, up to the end of the image."""
    segments = [(0, 0)]
    for segment in jpeg_segments(data):
        segments.append(segment)
        if segment[0] == EOI:
            break
    return segments


def _is_suspicious(data: bytes, segments: list[tuple[int, int]], scans: Iterable[JpegScan]) -> bool:
    """Whether there are zeros or unknown markers in the compressed data, or bytes between two segments."""
    is_scan = False
    for (marker, start), (after, after_start) in itertools.pairwise(segments):
        is_scan = is_scan or marker == SOS
        if marker == SOS and after not in AFTER_SCAN:
            return True
        if marker != SOS and is_scan and data[_end(data, start) : after_start - 2].strip(b"\xff"):
            return True
    return any(data.find(SUSPICIOUS_ZEROS, scan.first, scan.stop) >= 0 for scan in scans)


def _end(data: bytes, start: int) -> int:
    """Return the end of the segment whose length field is at a position."""
    return start + int.from_bytes(data[start : start + 2], "big")


def _ends_in_fill(pixels: NDArray[Any]) -> bool:
    """Whether the last block of an image has the gray value that libjpeg substitutes for missing data."""
    return bool((pixels[-BLOCK:, -BLOCK:] == FILL).all())


def _find_damage(data: bytes, segments: list[tuple[int, int]], scans: list[JpegScan]) -> str:
    """Decode a file strictly, and return a description of the damage; an empty string if there is none."""
    from ndsampler.backends import gdal_jpeg

    frame = next((start for marker, start in segments if marker in SIZE_MARKERS), None)
    if frame is None:
        return ""
    count = data[frame + 7]
    warning = gdal_jpeg.find_jpeg_warning(data)
    if warning:
        return warning
    for scan in scans:
        zeros = data.find(MANY_ZEROS, scan.first, len(data[: scan.stop].rstrip(b"\0")))
        if zeros >= 0 and not _zeros_are_flat(data, segments, scan):
            return f"its compressed data are zeros from byte {zeros}"
    if count == 4 or len(scans) != 1 or data[scans[0].stop - 1] == 0:
        return ""
    return "compressed data are left over after its last pixel" if _has_left_over(data, frame) else ""


def _has_left_over(data: bytes, frame: int) -> bool:
    """Whether compressed data remain, so that rows below the image decode to more than libjpeg's fill value.

    Args:
        data: content of a file with one scan.
        frame: position of the length field of its frame header.
    """
    from ndsampler.backends import gdal_jpeg

    height, _, count = struct.unpack_from(">HHB", data, frame + 3)
    ratios = data[frame + 9 : frame + 8 + 3 * count : 3] if count > 1 else b"\x11"
    block_width, block_height = (BLOCK * max(ratio >> shift & 15 for ratio in ratios) for shift in (4, 0))
    end = -(-height // block_height) * block_height
    if end + EXTRA_ROWS > MAX_HEIGHT:
        return False
    taller = bytearray(data)
    struct.pack_into(">H", taller, frame + 3, end + EXTRA_ROWS)
    rows = gdal_jpeg.read_jpeg_rows(bytes(taller), end, end + EXTRA_ROWS)
    if rows is None:
        return False
    # The first block is decoded from the last bits of the file. Where color is stored at half the resolution,
    # its neighbors are interpolated from it and from the rows above.
    rows[:, : block_height + 1, : block_width + 1] = FILL
    return bool((rows[:, 2:] != FILL).any())


def _zeros_are_flat(data: bytes, segments: list[tuple[int, int]], scan: JpegScan) -> bool:
    """Whether zeros in a scan are, or may be, blocks of one color.

    In the first component of a baseline scan, zeros encode a block of one color only if the first Huffman
    code, which consists of zeros, means the end of a block. In a progressive scan of coefficients other than
    the first, blocks of one color take no data, so zeros are unlikely in a scan that has few of them
    elsewhere.
    """
    if not any(marker in (0xC0, 0xC1) for marker, _ in segments):
        holds_first = data[scan.first - 3] == 0
        return holds_first or not _is_dense(data[scan.first : scan.stop])
    wanted = 0x10 | data[scan.header + 4] & 15  # the table for coefficients other than the first
    symbols = [
        data[at + 17]
        for marker, start in segments
        if marker == DHT and start < scan.header
        for at in _huffman_tables(data, start)
        if data[at] == wanted
    ]
    return not symbols or symbols[-1] == 0


def _is_dense(content: bytes) -> bool:
    """Whether few bytes outside long runs of zeros are zero."""
    rest = content.replace(SUSPICIOUS_ZEROS, b"")
    return rest.count(0) <= MOST_ZEROS * len(rest)


def _huffman_tables(data: bytes, start: int) -> Iterable[int]:
    """Yield the position of each table in a segment of Huffman tables."""
    at = start + 2
    while at + 17 <= _end(data, start):
        yield at
        at += 17 + sum(data[at + 1 : at + 17])
