"""
Averages over squares of pixels, as the overviews of an image hold them.

OpenCV adds four neighbors up several times as fast as GDAL averages them. The sums are exact, and are rounded
once for each overview, so the results are those of GDAL's resampling method ``AVERAGE``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.utils.require import require_opencv

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["MAX_CHANNELS", "TYPES", "fill_averages"]

#: The types of pixels that are averaged here.
TYPES = (np.dtype(np.uint8), np.dtype(np.uint16))

#: The most channels that OpenCV resizes.
MAX_CHANNELS = 128

#: Rows of an overview that are computed at a time; they stay in the cache of the processor.
ROWS = 32

#: Types of sums, and the bits of the largest integers that each holds exactly.
SUM_TYPES = ((16, np.dtype(np.uint16)), (24, np.dtype(np.float32)), (53, np.dtype(np.float64)))


def fill_averages(levels: Sequence[NDArray[Any]]) -> int:
    """Fill the overviews of an image as long as each is exactly half as high and wide as the one before.

    Args:
        levels: (height, width, channels) pixels of the image, of one of :data:`TYPES`, and of each overview.

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
    """Return the sums over squares of four sums, and write the averages of the pixels under each.

    Args:
        sums: of the pixels under each pixel of the level before; the pixels themselves at first.
        out: the averages of the level, which are written.
        level: 1 for the first overview.
    """
    cv2 = require_opencv()
    height, width, channels = out.shape
    larger = np.empty(out.shape, _sum_type(out.dtype, level))
    for y0 in range(0, height, ROWS):
        rows = slice(y0, min(y0 + ROWS, height))
        # OpenCV returns the average, rounded for integers: that of four times the values is exact.
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
    """Return the averages of a level from its sums, rounded to the nearest integer, and up from one half."""
    half = 2 ** (2 * level - 1)
    rounded: NDArray[Any] = sums + sums.dtype.type(half)
    if sums.dtype.kind == "u":
        rounded >>= sums.dtype.type(2 * level)
        return rounded
    rounded *= sums.dtype.type(0.25**level)
    np.floor(rounded, out=rounded)
    return rounded
