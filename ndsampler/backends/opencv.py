"""
Images that are decoded whole: PNG, JPEG and their like, through OpenCV.

OpenCV is given only what can be right. It allocates what the header of a file
claims, and libjpeg paints a missing part gray and goes on; both are noticed
here, the first before a byte is allocated.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import SourceError
from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

#: Endings of formats that OpenCV decodes as whole images.
WHOLE_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".webp", ".pgm", ".ppm", ".pnm", ".gif")

#: Rows whose colors are put in order at once.
SWAP_ROWS = 256

#: The most bytes of pixels that one image decoded whole may have (8 GiB).
MAX_IMAGE_BYTES = 2**33

#: The most bytes of pixels that one byte of a file can stand for. DEFLATE reaches 1032, and a JPEG with
#: Huffman codes spends a bit on each block of 64 values, of which color is stored at half resolution. A code
#: of a GIF takes 12 bits and stands for 2048 colors on average, which are decoded to 4 bytes each.
DEFLATE_RATIO = HUFFMAN_RATIO = 1100
GIF_RATIO = 6000

#: Samples of one pixel for each color type of a PNG (an indexed one is decoded to three).
PNG_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 4, 6: 4}

#: Markers of JPEG frames with Huffman codes. Arithmetic codes know no such bound as :data:`HUFFMAN_RATIO`.
HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})

# A marker inside entropy-coded data: not a stuffed zero, a restart marker or fill.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def decode_image(path: str) -> NDArray[Any]:
    """Decode a whole PNG, JPEG or the like with OpenCV.

    Args:
        path: a local file.

    Returns:
        (height, width) or (height, width, channels) pixels, color in the order RGB or RGBA.

    Raises:
        SourceError: if the file is cut off, damaged or not an image.
        MissingDependencyError: if no OpenCV is installed.
    """
    from ndsampler.utils.require import require_opencv

    with GATE:
        cv2 = require_opencv()
    # Python opens the file, since OpenCV knows only names in UTF-8.
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as ex:
        raise SourceError(f"{path} cannot be read: {ex}") from ex
    check_plausible(path, read_claim(data), len(data))
    try:
        with GATE:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as ex:
        raise SourceError(f"{path} cannot be decoded: {ex}") from ex
    if pixels is None:
        raise SourceError(f"{path} cannot be decoded: it is damaged, cut off, or no image")
    if not jpeg_is_complete(data):
        # libjpeg paints the missing part gray and goes on.
        raise SourceError(f"{path} is cut off: the end-of-image marker is missing")
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        swap = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        for y0 in range(0, len(pixels), SWAP_ROWS):
            # By blocks that stay in the processor's cache: in place as a whole takes eight times as long,
            # and a copy of the image.
            rows = pixels[y0 : y0 + SWAP_ROWS]
            with GATE:
                cv2.cvtColor(rows, swap, dst=rows)
    return pixels


@dataclass(frozen=True)
class Claim:
    """What the header of a file says of its pixels."""

    pixel_bytes: int = 0
    """Bytes of the decoded pixels; 0 where that is not known."""
    max_ratio: int | None = None
    """The most of them that one byte of the file can stand for; None where nothing bounds that."""


def check_plausible(path: str, claim: Claim, stored: int) -> None:
    """Refuse an image whose header claims more pixels than can be, before any memory is taken for them.

    Args:
        path: of the file, for the message.
        claim: what its header says.
        stored: bytes of the file.

    Raises:
        SourceError: if it is absurd.

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
    """Return what the header of a PNG, JPEG, GIF or WebP says; nothing for any other file.

    References:
        ISO/IEC 15948:2003, PNG, section 11.2.2. ITU-T T.81 (1992), annex B.2.2. CompuServe, Graphics
        Interchange Format 89a, section 18. RFC 9649, WebP image format, section 2.7.

    Example:
        >>> read_claim(b'no image').pixel_bytes
        0
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 26:
        width, height, depth, color = struct.unpack(">IIBB", data[16:26])
        return Claim(width * height * PNG_SAMPLES.get(color, 4) * (2 if depth == 16 else 1), DEFLATE_RATIO)
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        width, height = struct.unpack("<HH", data[6:10])
        return Claim(width * height * 4, GIF_RATIO)
    if data.startswith(b"RIFF") and data[8:16] == b"WEBPVP8X" and len(data) >= 30:
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return Claim(width * height * 4)
    for marker, start in _jpeg_segments(data):
        if marker in HUFFMAN_FRAMES and len(data) >= start + 8:
            height, width, samples = struct.unpack(">HHB", data[start + 3 : start + 8])
            return Claim(width * height * samples, HUFFMAN_RATIO)
    return Claim()


def jpeg_is_complete(data: bytes) -> bool:
    """Whether the content of a JPEG file runs to its end-of-image marker.

    Segments are skipped by their length, so that the marker of an embedded thumbnail does not count;
    in the coded data the next marker is searched. A file that is no JPEG counts as complete.

    References:
        ITU-T T.81 (1992), annex B: compressed data formats.
    """
    return not data.startswith(b"\xff\xd8") or any(marker == 0xD9 for marker, _ in _jpeg_segments(data))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the marker of each segment of a JPEG, and where its length stands; nothing for other files."""
    position = 2 if data.startswith(b"\xff\xd8") else len(data)
    while (match := _MARKER.search(data, position)) is not None:
        marker, position = data[match.start() + 1], match.end()
        yield marker, position
        if marker not in (0x01, 0xD9):
            position += int.from_bytes(data[position : position + 2], "big")
