"""
Reads intact images that OpenCV cannot decode, with GDAL.

OpenCV rejects images of more than 2**30 pixels, images with a side of more than 2**20 pixels, and some GIF
files that other programs read. libpng, which GDAL uses too, rejects a side of more than 1,000,000 pixels.
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.content import read_head
from ndsampler.backends.formats.header_dims import HEAD_BYTES, parse_dims
from ndsampler.backends.formats.jpeg_damage import find_jpeg_damage
from ndsampler.backends.formats.png_check import SIGNATURE as PNG_SIGNATURE
from ndsampler.backends.formats.png_check import find_png_damage
from ndsampler.backends.headers import Claim, check_plausible
from ndsampler.backends.values import Forms, find_forms, loses_stored
from ndsampler.errors import SourceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.backends.gdal import RasterReader

#: Maximum side and maximum number of pixels that OpenCV decodes by default; maximum side of a PNG.
OPENCV_MAX_SIDE = 2**20
OPENCV_MAX_PIXELS = 2**30
PNG_MAX_SIDE = 1_000_000

#: The environment variable that changes the maximum number of pixels that OpenCV decodes.
OPENCV_PIXELS_VARIABLE = "OPENCV_IO_MAX_IMAGE_PIXELS"


def exceeds_opencv(path: str) -> bool:
    """Whether an image has more pixels than OpenCV decodes.

    Args:
        path: a local file.

    Raises:
        SourceError: if its header cannot be read.
    """
    dims = find_dims(path)
    if dims is None:
        return False
    if dims[0] * dims[1] > _max_pixels() or max(dims) > OPENCV_MAX_SIDE:
        return True
    return max(dims) > PNG_MAX_SIDE and read_head(path).startswith(PNG_SIGNATURE)


def find_dims(path: str) -> tuple[int, int] | None:
    """Return the (height, width) that the header of an image states; None for a format that is not parsed.

    Args:
        path: a local file.

    Raises:
        SourceError: if its header cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return parse_dims(file.read(HEAD_BYTES), file)
    except (struct.error, ValueError):
        return None  # the decoder reports the damage
    except OSError as ex:
        raise SourceError(f"{path} cannot be read: {ex}") from ex


def _max_pixels() -> int:
    """Return the maximum number of pixels that OpenCV decodes in this process."""
    stated = os.environ.get(OPENCV_PIXELS_VARIABLE, "")
    return min(int(stated), OPENCV_MAX_PIXELS) if stated.isdecimal() else OPENCV_MAX_PIXELS


def read_with_gdal(path: str, *, stored: bool = False) -> NDArray[Any]:
    """Decode a whole image with GDAL to the same pixels that OpenCV would return.

    Args:
        path: a local file.
        stored: whether to return the stored values; see :mod:`ndsampler.backends.values`.

    Returns:
        (height, width, channels) pixels.

    Raises:
        SourceError: if the image is damaged, too large, or GDAL does not know its format.
    """
    from ndsampler.backends import gdal

    try:
        reader = gdal.RasterReader(path, stored=True)
    except SourceError as ex:
        raise SourceError(
            f"{path} has more than {OPENCV_MAX_PIXELS} pixels, or a side of more than {PNG_MAX_SIDE}, and "
            f"images of its format are read up to that size only: {ex}. Convert it to a tiled TIFF"
        ) from ex
    with contextlib.closing(reader):
        height, width, count = reader.shape
        claim = Claim(height * width * count * reader.dtype.itemsize)
        check_plausible(path, claim, os.path.getsize(path))
        forms = None if stored else find_forms(path)
        pixels = reader.rows(0, height) if forms is None else _decoded(forms, reader)
    damage = _find_damage(path, pixels)
    if damage:
        raise SourceError(f"{path} {damage}")
    return pixels


def _find_damage(path: str, pixels: NDArray[Any]) -> str:
    """Return how a file is damaged that GDAL has decoded without an error; an empty string if it is not."""
    with open(path, "rb") as file:
        data = file.read()
    return find_png_damage(data) or find_jpeg_damage(data, pixels)


def _decoded(forms: Forms, reader: RasterReader) -> NDArray[Any]:
    """Return the decoded pixels of an open file that stores other values."""
    if loses_stored(forms):
        return _read_colors(forms, reader.path)
    stored = reader.rows(0, reader.shape[0])
    if forms.maximum:
        return (stored.astype(np.uint16) * 255 // forms.maximum).astype(np.uint8)
    if forms.stored == 2:
        return np.ascontiguousarray(stored[..., [0, 0, 0, 1]])
    raise SourceError(f"{reader.path} is a {forms.kind} too large for OpenCV. Convert it to a tiled TIFF")


def _read_colors(forms: Forms, path: str) -> NDArray[Any]:
    """Return the colors of a palette image, with the number of channels that OpenCV would return."""
    from ndsampler.backends import gdal

    with contextlib.closing(gdal.RasterReader(path)) as reader:
        pixels = reader.rows(0, reader.shape[0])
    count = forms.decoded[0]
    if pixels.shape[2] == 4 and len(forms.decoded) > 1:
        # A GIF has an alpha channel if it has a transparent color, a BMP one channel if all colors are gray.
        opaque = bool((pixels[..., 3] == 255).all())
        gray = bool((pixels[..., :1] == pixels[..., 1:3]).all())
        count = forms.decoded[0 if (opaque if forms.decoded[-1] == 4 else gray) else -1]
    return np.ascontiguousarray(pixels[..., :count])
