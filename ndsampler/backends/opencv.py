"""
Decodes whole images with OpenCV: PNG, JPEG, AVIF, netpbm, PFM, Sun raster, Radiance and similar formats.

This module detects two faults that OpenCV does not report: a header that claims more pixels than the file can
hold, before OpenCV allocates memory for them, and a truncated JPEG, whose missing part libjpeg fills with
gray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.formats.jpeg_damage import find_jpeg_damage
from ndsampler.backends.formats.png_check import without_animation
from ndsampler.backends.formats.webp_damage import find_webp_damage
from ndsampler.backends.headers import check_plausible, read_claim
from ndsampler.errors import SourceError
from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: File name extensions of the formats that OpenCV decodes as whole images.
WHOLE_IMAGE_ENDINGS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".webp", ".gif", ".avif"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".pam", ".pfm", ".ras", ".sr"),
)

#: Number of rows whose color channels are swapped in one call.
SWAP_ROWS = 256


class UndecodedError(SourceError):
    """OpenCV cannot decode a file.

    Args:
        message: the path and the reason.
        may_be_whole: whether another decoder may read the file.
    """

    def __init__(self, message: str, may_be_whole: bool = False) -> None:
        super().__init__(message)
        self.may_be_whole = may_be_whole


def decode_image(path: str) -> NDArray[Any]:
    """Decode a whole PNG, JPEG or similar file with OpenCV, which detects the format by the content.

    Args:
        path: a local file.

    Returns:
        (height, width) or (height, width, channels) pixels; color as RGB or RGBA.

    Raises:
        SourceError: if the file is truncated, damaged or not an image.
        MissingDependencyError: if OpenCV is not installed.
    """
    from ndsampler.utils.require import require_opencv

    with GATE:
        cv2 = require_opencv()
    # Python reads the file, because OpenCV's file functions accept only names in UTF-8.
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as ex:
        raise SourceError(f"{path} cannot be read: {ex}") from ex
    try:
        claim = read_claim(data)
    except ValueError as ex:
        raise SourceError(f"{path} cannot be decoded: {ex}") from ex
    check_plausible(path, claim, len(data))
    # OpenCV's imdecode returns a frame of an animated PNG instead of its default image.
    content = np.frombuffer(without_animation(data), np.uint8)
    # GDAL may decode only formats in which damage is detected: png_check examines a PNG, and GDAL a GIF.
    may_be_whole = data.startswith((b"GIF8", b"\x89PNG"))
    try:
        with GATE:
            pixels: NDArray[Any] | None = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    except cv2.error as ex:
        raise UndecodedError(f"{path} cannot be decoded: {ex}", may_be_whole) from ex
    if pixels is None:
        raise UndecodedError(
            f"{path} cannot be decoded: it is damaged, cut off, or not an image that OpenCV knows",
            may_be_whole,
        )
    damage = find_jpeg_damage(data, pixels) or find_webp_damage(data, _decodes)
    if damage:
        raise SourceError(f"{path} {damage}")
    _swap_color_channels(cv2, pixels)
    return pixels


def _decodes(data: bytes) -> bool:
    """Whether OpenCV can decode the content of a file."""
    import cv2

    try:
        with GATE:
            return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    except cv2.error:
        return False


def _swap_color_channels(cv2: Any, pixels: NDArray[Any]) -> None:
    """Turn BGR or BGRA pixels into RGB or RGBA in place; pixels without color are left alone."""
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        return
    swap = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    # Blocks of rows fit in the processor's cache. Swapping the whole image at once takes eight times as long,
    # and a second copy of it in memory.
    for y0 in range(0, len(pixels), SWAP_ROWS):
        rows = pixels[y0 : y0 + SWAP_ROWS]
        with GATE:
            cv2.cvtColor(rows, swap, dst=rows)
