"""
Properties of affine matrices: shifts, inverses, scale factors and extents.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Largest distance in pixels between a translation and a whole number that is treated as whole.
WHOLE_PIXEL_TOLERANCE = 1e-6

#: Number of pixels around the requested region that interpolation may use.
KERNEL_MARGIN = 4


def whole_shift(warp: NDArray[Any]) -> tuple[int, int] | None:
    """Return (x, y) if a 3x3 matrix is a translation by whole pixels, else None.

    Example:
        >>> import numpy as np
        >>> whole_shift(np.array([[1, 0, -3.0], [0, 1, 2.0], [0, 0, 1]]))
        (-3, 2)
        >>> whole_shift(np.diag([2.0, 2.0, 1.0])) is None
        True
    """
    (a, b, tx), (c, d, ty) = warp[:2].tolist()
    tolerance = WHOLE_PIXEL_TOLERANCE
    if abs(a - 1) > tolerance or abs(d - 1) > tolerance or abs(b) > tolerance or abs(c) > tolerance:
        return None
    x, y = round(tx), round(ty)
    return (x, y) if abs(tx - x) <= tolerance and abs(ty - y) <= tolerance else None


def inverse(warp: NDArray[Any]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return the upper two rows of the inverse of a 3x3 affine matrix, as plain numbers.

    Every read of a warped file needs it. It takes a third of the time of numpy's inverse.

    Example:
        >>> import numpy as np
        >>> inverse(np.array([[2.0, 0, 4], [0, 4.0, 8], [0, 0, 1]]))
        ((0.5, -0.0, -2.0), (-0.0, 0.25, -2.0))
    """
    (a, b, tx), (c, d, ty) = warp[:2].tolist()
    det = a * d - b * c
    return (d / det, -b / det, (b * ty - d * tx) / det), (-c / det, a / det, (c * tx - a * ty) / det)


def stretch(warp: NDArray[Any]) -> tuple[float, float]:
    """Return the smallest and the largest factor by which a 3x3 affine matrix scales lengths.

    These are the singular values of its linear part, in closed form.

    Example:
        >>> import numpy as np
        >>> stretch(np.array([[0, -3.0, 5], [2.0, 0, 5], [0, 0, 1]]))
        (2.0, 3.0)
    """
    (a, b, _), (c, d, _) = warp[:2].tolist()
    sums = math.hypot(a + d, c - b)
    differences = math.hypot(a - d, c + b)
    return abs(sums - differences) / 2, (sums + differences) / 2


def extent(across: float, down: float, offset: float) -> tuple[float, float]:
    """Return the bounds of one coordinate over a parallelogram with two given sides."""
    return offset + min(0.0, across) + min(0.0, down), offset + max(0.0, across) + max(0.0, down)


def shrinks(warp: NDArray[Any]) -> bool:
    """Return whether a 3x3 affine matrix shortens any length.

    Example:
        >>> import numpy as np
        >>> shrinks(np.diag([0.5, 2.0, 1.0])), shrinks(np.diag([1.0, -1.0, 1.0]))
        (True, False)
    """
    return stretch(warp)[0] < 1 - WHOLE_PIXEL_TOLERANCE
