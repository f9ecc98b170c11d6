"""
Filling pixels outside the image or video with :func:`numpy.pad`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import TargetError, WindowError
from ndsampler.frames.warp import warp_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.sampling.region import FrameRequest, SampleRegion

#: Tolerance for rounding errors of a density, in pixels.
TOLERANCE = 1e-6


def pad_outside(
    pixels: NDArray[Any], density: tuple[float, float], dims: tuple[int, int], request: FrameRequest
) -> NDArray[Any]:
    """Replace the pixels outside the image or video, and then scale the result.

    Args:
        pixels: (height, width, channels) of the padded window, before ``scale`` of the target is applied.
        density: (x, y) number of these pixels per pixel of the window.
        dims: (height, width) of the result.
        request: the frame and the window.

    Raises:
        WindowError: if the whole window is outside, and the mode needs pixels inside.
        TargetError: for arguments that :func:`numpy.pad` rejects.
    """
    region = request.region
    padkw = region.options.padkw or {}
    rows, cols = inner_ranges(region, density, pixels.shape[:2])
    margins = ((rows[0], pixels.shape[0] - rows[1]), (cols[0], pixels.shape[1] - cols[1]), (0, 0))
    if any(before or after for before, after in margins):
        inside = pixels[slice(*rows), slice(*cols)]
        pixels = _pad(inside, margins, padkw, None if request.layout is None else request.layout.gid)
    if region.options.scale_matrix is None:
        return pixels
    return warp_pixels(pixels, region.options.scale_matrix, dims, region.options.resampling)


def inner_ranges(
    region: SampleRegion, density: tuple[float, float], dims: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the (start, stop) of the rows and of the columns whose centers are inside the image or video.

    Args:
        region: the window.
        density: (x, y) number of pixels per pixel of the window.
        dims: (height, width) of the pixels of the whole window.
    """
    box = region.padded_box
    (height, width), (rows, cols) = region.data_dims[-2:], dims
    return _inner(box.y0, height, density[1], rows), _inner(box.x0, width, density[0], cols)


def _inner(start: int, length: int, density: float, count: int) -> tuple[int, int]:
    """Return the range of pixels along one axis whose centers are between 0 and a length."""
    first = math.ceil(-start * density - 0.5 - TOLERANCE)
    stop = math.floor((length - start) * density - 0.5 + TOLERANCE) + 1
    first = min(max(first, 0), count)
    return first, min(max(stop, first), count)


def _pad(inside: NDArray[Any], margins: Any, padkw: dict[str, Any], gid: Any) -> NDArray[Any]:
    """Apply :func:`numpy.pad`, and convert its errors to those of this library."""
    if inside.size == 0 and padkw["mode"] not in ("constant", "empty"):
        raise WindowError(
            f"the window is completely outside image {gid}, so padkw mode {padkw['mode']!r} has no pixels to "
            "start from; use mode 'constant', or another window"
        )
    try:
        return np.pad(inside, margins, **padkw)
    except (ValueError, TypeError) as ex:
        raise TargetError(
            f"padkw is {padkw!r}; expected arguments of numpy.pad, which rejects it: {ex}"
        ) from ex
