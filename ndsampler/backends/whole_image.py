"""
Images that are decoded whole: PNG, JPEG and their like, through OpenCV.

OpenCV is given only what can be right. It allocates what the header of a file
claims, and libjpeg paints a missing part gray and goes on; both are noticed
here, the first before a byte is allocated.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.fork_gate import GATE
from ndsampler.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

#: Endings of formats that OpenCV decodes as whole images.
WHOLE_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".webp", ".pgm", ".ppm", ".pnm", ".gif")

#: Rows whose colors are put in order at once.
SWAP_ROWS = 256

#: The most bytes of pixels that one image decoded whole may have (8 GiB).
MAX_IMAGE_BYTES = 2**33

#: The most bytes of pixels that one byte of a PNG or JPEG can stand for: DEFLATE reaches 1032, and a JPEG
#: with Huffman codes spends a bit on each block of 64 values, of which color is stored at half resolution.
MAX_RATIO = 1100

#: Samples of one pixel for each color type of a PNG (an indexed one is decoded to three).
PNG_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 4, 6: 4}

#: Markers of JPEG frames with Huffman codes. Arithmetic codes know no such bound as :data:`MAX_RATIO`.
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

    cv2 = require_opencv()
    # Python opens the file, since OpenCV knows only names in UTF-8.
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as ex:
        raise SourceError(f"{path} cannot be read: {ex}") from ex
    check_plausible(path, claimed_bytes(data), len(data))
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


def check_plausible(path: str, claimed: int, stored: int | None = None) -> None:
    """Refuse an image whose header claims more pixels than can be, before any memory is taken for them.

    Args:
        path: of the file, for the message.
        claimed: bytes of its pixels, by its header.
        stored: bytes of the file, where these bound the pixels.

    Raises:
        SourceError: if it is absurd.

    Example:
        >>> check_plausible('a.png', 3 * 512 * 512, 90_000)
    """
    if claimed > MAX_IMAGE_BYTES:
        raise SourceError(
            f"{path} claims {claimed / 2**30:.0f} GiB of pixels; images of this format are decoded whole, up "
            f"to {MAX_IMAGE_BYTES / 2**30:.0f} GiB. Convert it to a tiled TIFF"
        )
    if stored is not None and claimed > MAX_RATIO * stored + 2**16:
        raise SourceError(f"{path} claims {claimed} bytes of pixels; its {stored} bytes cannot hold as much")


def claimed_bytes(data: bytes) -> int:
    """Return how many bytes of pixels a PNG or JPEG claims to hold; 0 for any other file.

    References:
        ISO/IEC 15948:2003, PNG, section 11.2.2. ITU-T T.81 (1992), annex B.2.2.

    Example:
        >>> claimed_bytes(b'no image')
        0
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 26:
        width, height, depth, color = struct.unpack(">IIBB", data[16:26])
        return int(width * height * PNG_SAMPLES.get(color, 4) * (2 if depth == 16 else 1))
    for marker, start in _jpeg_segments(data):
        if marker in HUFFMAN_FRAMES and len(data) >= start + 8:
            height, width, samples = struct.unpack(">HHB", data[start + 3 : start + 8])
            return int(width * height * samples)
    return 0


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
