"""
Checks whether an image file can hold as many pixels as its header claims.

A decoder allocates the size that the header states, so a file of a few bytes can make it allocate gigabytes.
This module compares the stated size with the size of the file before anything is decoded.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndsampler.backends.formats.avif_header import is_avif, read_avif_size
from ndsampler.backends.formats.header_dims import bmp_dims, webp_dims
from ndsampler.backends.formats.plain_headers import read_stated_size
from ndsampler.backends.formats.png_check import SIGNATURE as PNG_SIGNATURE
from ndsampler.errors import SourceError
from ndsampler.utils.limits import get_limits

if TYPE_CHECKING:
    from collections.abc import Iterator

#: File name extensions of formats that kwimage reads with optional packages, and OpenCV and GDAL cannot read.
KWIMAGE_ENDINGS = (".qoi", ".svg", ".mha", ".nrrd", ".mgh", ".mgz", ".nii", ".mrb")

#: Maximum number of pixel bytes that one compressed byte can decode to. DEFLATE reaches 1032. Baseline and
#: progressive JPEG use at least one bit for each block of 64 values, and store color at half resolution. A
#: GIF code has 12 bits and represents 2048 colors on average, each decoded to 4 bytes.
DEFLATE_RATIO = HUFFMAN_RATIO = 1100
GIF_RATIO = 6000

#: The ratio that is assumed for formats without a maximum, which can encode an area of one color in a few
#: bits. Images of these formats whose pixels take at most this number of bytes are not checked.
PLAUSIBLE_RATIO = 2**15
UNCHECKED_BYTES = 2**28

#: Samples per decoded pixel for each color type of a PNG. An indexed PNG is decoded to three.
PNG_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 4, 6: 4}

#: Markers of JPEG frames with Huffman coding. :data:`HUFFMAN_RATIO` does not bound arithmetic coding.
HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})

#: Markers of all JPEG frames; 0xC4, 0xC8 and 0xCC mark something else.
JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})

# A marker inside entropy-coded data: not a stuffed zero, a restart marker or a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


@dataclass(frozen=True)
class Claim:
    """The size of the decoded pixels according to a file's header."""

    pixel_bytes: int = 0
    """Size of the decoded pixels in bytes; 0 if it is not known."""
    max_ratio: int | None = None
    """Maximum number of pixel bytes that one byte of the file can decode to; None if there is no maximum."""


def check_plausible(path: str, claim: Claim, stored: int) -> None:
    """Reject an image if its header claims more pixels than the file can hold.

    Args:
        path: path of the file, for the error message.
        claim: the size that its header claims.
        stored: size of the file in bytes.

    Raises:
        SourceError: if the claim is too large.

    Example:
        >>> check_plausible('a.png', Claim(3 * 512 * 512, DEFLATE_RATIO), 90_000)
    """
    claimed = claim.pixel_bytes
    limit = get_limits().decoded_bytes
    if claimed > limit:
        raise SourceError(
            f"{path} claims {claimed} bytes of pixels in a part that is decoded whole; the limit "
            f"decoded_bytes is {limit}. Convert it to a tiled TIFF, or set another limit"
        )
    if claim.max_ratio is None:
        most = max(PLAUSIBLE_RATIO * stored, UNCHECKED_BYTES)
    else:
        most = claim.max_ratio * stored + 2**16
    if claimed > most:
        raise SourceError(f"{path} claims {claimed} bytes of pixels; its {stored} bytes cannot hold as much")


def read_claim(data: bytes) -> Claim:
    """Return the size that the header of a file claims; an empty claim for formats that are not parsed here.

    Args:
        data: content of the file.

    Raises:
        ValueError: if a header is malformed, or states more pixels than the frames of the file have.

    References:
        ISO/IEC 15948:2003, PNG, section 11.2.2. ITU-T T.81 (1992), annex B.2.2. CompuServe, Graphics
        Interchange Format 89a, section 18. RFC 9649, WebP image format, section 2.7.

    Example:
        >>> read_claim(b'no image').pixel_bytes
        0
    """
    if data.startswith(PNG_SIGNATURE) and len(data) >= 26:
        width, height, depth, color = struct.unpack(">IIBB", data[16:26])
        return Claim(width * height * PNG_SAMPLES.get(color, 4) * (2 if depth == 16 else 1), DEFLATE_RATIO)
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        width, height = struct.unpack("<HH", data[6:10])
        return Claim(width * height * 4, GIF_RATIO)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP" and len(data) >= 30:
        height, width = webp_dims(data) or (0, 0)
        return Claim(width * height * 4)
    if data.startswith(b"BM") and len(data) >= 54:
        return _bmp_claim(data)
    if is_avif(data):
        height, width = read_avif_size(data)
        return Claim(width * height * 4)
    if stated := read_stated_size(data):
        return Claim(stated.pixel_bytes, stated.max_ratio)
    for marker, start in jpeg_segments(data):
        if marker in JPEG_FRAMES and len(data) >= start + 8:
            height, width, samples = struct.unpack(">HHB", data[start + 3 : start + 8])
            return Claim(width * height * samples, HUFFMAN_RATIO if marker in HUFFMAN_FRAMES else None)
    return Claim()


def _bmp_claim(data: bytes) -> Claim:
    """Return the size that the header of a BMP claims. Run lengths may skip any number of pixels."""
    if data[14:18] == b"\x0c\0\0\0":
        (bits,), compression = struct.unpack_from("<H", data, 24), 0
    else:
        bits, compression = struct.unpack_from("<HI", data, 28)
    height, width = bmp_dims(data)
    is_run_length = compression in (1, 2)
    # Pixels of up to 8 bits are color indexes, and are decoded to three bytes.
    return Claim(abs(width) * height * 3, None if is_run_length else max(24 // max(bits, 1), 1))


def is_whole_image(head: bytes) -> bool:
    """Whether a file that GDAL cannot open starts like a format that OpenCV decodes.

    Args:
        head: the first 64 bytes of the file.

    Example:
        >>> is_whole_image(b"#?RADIANCE"), is_whole_image(b"ENVI")
        (True, False)
    """
    try:
        return is_avif(head) or read_stated_size(head) is not None
    except ValueError:  # the header continues after these bytes, or is malformed
        return True


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the marker of each JPEG segment and the position of its length; nothing for other files.

    Args:
        data: content of the file.
    """
    position = 2 if data.startswith(b"\xff\xd8") else len(data)
    while (match := _MARKER.search(data, position)) is not None:
        marker, position = data[match.start() + 1], match.end()
        yield marker, position
        if marker not in (0x01, 0xD9):
            position += int.from_bytes(data[position : position + 2], "big")
