"""
Overviews of an image, computed by averaging squares of pixels.

OpenCV sums four neighboring pixels several times as fast as GDAL averages them. The sums are exact and are
rounded once for each overview, so the results equal those of GDAL's resampling method ``AVERAGE``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.utils.require import require_opencv

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["MAX_CHANNELS", "TYPES", "fill_averages"]

#: The pixel types that this module can average.
TYPES = (np.dtype(np.uint8), np.dtype(np.uint16))

#: Maximum number of channels that OpenCV can resize.
MAX_CHANNELS = 128

#: Number of overview rows that are computed at a time, few enough to stay in the processor's cache.
ROWS = 32

#: Types for sums, each preceded by the number of bits of the largest integers that it represents exactly.
SUM_TYPES = ((16, np.dtype(np.uint16)), (24, np.dtype(np.float32)), (53, np.dtype(np.float64)))


def fill_averages(levels: Sequence[NDArray[Any]]) -> int:
    """Fill the overviews of an image, up to the first that is not exactly half the size of the one before.

    Args:
        levels: arrays of shape (height, width, channels): the image, then each overview. Their type is one of
            :data:`TYPES`.

    Returns:
        The number of overviews that were filled.

    Example:
        >>> image, half = np.arange(8, dtype=np.uint8).reshape(2, 4, 1), np.zeros((1, 2, 1), np.uint8)
        >>> fill_averages([image, half]), half.ravel().tolist()
        (1, [3, 5])
    """
    sums = levels[0]
    for count, out in enumerate(levels[1:], 1):
        if sums.shape[:2] != (2 * out.shape[0], 2 * out.shape[1]):
            return count - 1
        sums = _add_up(sums, out, count)
    return len(levels) - 1


def _add_up(sums: NDArray[Any], out: NDArray[Any], level: int) -> NDArray[Any]:
    """Sum squares of 2 x 2 values, and write the averages of the image pixels that each sum covers.

    Args:
        sums: for each pixel of the previous level, the sum of the image pixels that it covers. For the first
            overview, these are the image's pixels.
        out: receives the averages of this level.
        level: 1 for the first overview.
    """
    cv2 = require_opencv()
    height, width, channels = out.shape
    larger = np.empty(out.shape, _sum_type(out.dtype, level))
    for y0 in range(0, height, ROWS):
        rows = slice(y0, min(y0 + ROWS, height))
        # OpenCV returns a rounded average. The average of four times the values is their exact sum.
        block = np.multiply(sums[2 * y0 : 2 * rows.stop], 4, dtype=larger.dtype)
        means = cv2.resize(block, (width, rows.stop - y0), interpolation=cv2.INTER_AREA)
        larger[rows] = means.reshape(-1, width, channels)
        out[rows] = _divide(larger[rows], level)
    return larger


def _sum_type(dtype: np.dtype[Any], level: int) -> np.dtype[Any]:
    """Return the smallest type that holds the sums of a level."""
    bits = 8 * dtype.itemsize + 2 * level
    return next(kind for most, kind in SUM_TYPES if bits <= most)


def _divide(sums: NDArray[Any], level: int) -> NDArray[Any]:
    """Return the averages of a level from its sums, rounded to the nearest integer; one half rounds up."""
    half = 2 ** (2 * level - 1)
    rounded: NDArray[Any] = sums + sums.dtype.type(half)
    if sums.dtype.kind == "u":
        rounded >>= sums.dtype.type(2 * level)
        return rounded
    rounded *= sums.dtype.type(0.25**level)
    np.floor(rounded, out=rounded)
    return rounded
