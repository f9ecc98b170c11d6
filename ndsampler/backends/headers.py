"""
What the header of an image file claims, and whether the file can hold it.

A decoder allocates the size that the header states, so a file of a few bytes can ask for gigabytes. Here the
stated size is compared with the size of the file before anything is decoded.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndsampler.backends.formats.avif_header import is_avif, read_avif_size
from ndsampler.backends.formats.plain_headers import read_stated_size
from ndsampler.backends.formats.png_check import SIGNATURE as PNG_SIGNATURE
from ndsampler.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: File endings of formats that kwimage reads with optional packages, and OpenCV and GDAL do not read.
KWIMAGE_ENDINGS = (".qoi", ".svg", ".mha", ".nrrd", ".mgh", ".mgz", ".nii", ".mrb")

#: The largest image, in bytes of decoded pixels, that is decoded as a whole (8 GiB).
MAX_IMAGE_BYTES = 2**33

#: The most bytes of pixels that one compressed byte can decode to. DEFLATE reaches 1032. Baseline and
#: progressive JPEG spend at least one bit on each block of 64 values, and store color at half resolution. A
#: GIF code has 12 bits and stands for 2048 colors on average, which are decoded to 4 bytes each.
DEFLATE_RATIO = HUFFMAN_RATIO = 1100
GIF_RATIO = 6000

#: Samples per pixel for each color type of a PNG (an indexed one is decoded to three).
PNG_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 4, 6: 4}

#: Markers of JPEG frames with Huffman coding. :data:`HUFFMAN_RATIO` does not bound arithmetic coding.
HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})

# A marker inside entropy-coded data: not a stuffed zero, a restart marker or a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


@dataclass(frozen=True)
class Claim:
    """The size of the decoded pixels according to a file's header."""

    pixel_bytes: int = 0
    """Bytes of the decoded pixels; 0 if the header does not say."""
    max_ratio: int | None = None
    """The most pixel bytes that one byte of the file can decode to; None if the format sets no bound."""


def check_plausible(path: str, claim: Claim, stored: int) -> None:
    """Refuse an image whose header claims more pixels than the file can hold.

    Args:
        path: path of the file, for the error message.
        claim: what its header claims.
        stored: size of the file in bytes.

    Raises:
        SourceError: if the claim is too large.

    Example:
        >>> check_plausible('a.png', Claim(3 * 512 * 512, DEFLATE_RATIO), 90_000)
    """
    claimed = claim.pixel_bytes
    if claimed > MAX_IMAGE_BYTES:
        raise SourceError(
            f"{path} claims {claimed / 2**30:.0f} GiB of pixels; images of this format are decoded whole, up "
            f"to {MAX_IMAGE_BYTES / 2**30:.0f} GiB. Convert it to a tiled TIFF"
        )
    if claim.max_ratio is not None and claimed > claim.max_ratio * stored + 2**16:
        raise SourceError(f"{path} claims {claimed} bytes of pixels; its {stored} bytes cannot hold as much")


def read_claim(data: bytes) -> Claim:
    """Return what the header of a file claims; an empty claim for formats that are not parsed here.

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
    if data.startswith(b"RIFF") and data[8:16] == b"WEBPVP8X" and len(data) >= 30:
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return Claim(width * height * 4)
    if is_avif(data):
        height, width = read_avif_size(data)
        return Claim(width * height * 4)
    if stated := read_stated_size(data):
        return Claim(stated.pixel_bytes, stated.max_ratio)
    for marker, start in jpeg_segments(data):
        if marker in HUFFMAN_FRAMES and len(data) >= start + 8:
            height, width, samples = struct.unpack(">HHB", data[start + 3 : start + 8])
            return Claim(width * height * samples, HUFFMAN_RATIO)
    return Claim()


def is_whole_image(head: bytes) -> bool:
    """Whether a file that GDAL does not know starts as one of a format that OpenCV decodes.

    Args:
        head: the first 64 bytes of the file.

    Example:
        >>> is_whole_image(b"#?RADIANCE"), is_whole_image(b"ENVI")
        (True, False)
    """
    try:
        return is_avif(head) or read_stated_size(head) is not None
    except ValueError:  # the header goes on after these bytes, or is malformed
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
