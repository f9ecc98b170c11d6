"""The transforms of a dataset as matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["warp_matrix"]


def warp_matrix(warp: Any) -> NDArray[np.float64] | None:
    """Return a transform of a dataset as a 3x3 matrix, or None if it is the identity.

    Args:
        warp: a dictionary in kwcoco's format, or a 2x3 or 3x3 matrix as lists or an array.

    Raises:
        ValueError: if it is not an affine matrix that can be inverted.

    Example:
        >>> warp_matrix({'type': 'affine', 'offset': (1, 2)}).tolist()
        [[1.0, 0.0, 1.0], [0.0, 1.0, 2.0], [0.0, 0.0, 1.0]]
    """
    if warp is None:
        return None
    import kwimage

    try:
        given = np.asarray(warp, dtype=float) if isinstance(warp, (list, tuple)) else warp
        matrix = np.asarray(kwimage.Affine.coerce(given).matrix, dtype=float)
    except Exception as ex:  # kwimage raises errors of many kinds
        raise ValueError(f"the warp {warp!r} is not a valid transform: {type(ex).__name__}: {ex}") from ex
    matrix = np.vstack([matrix, [0.0, 0.0, 1.0]]) if matrix.shape == (2, 3) else matrix
    with np.errstate(over="ignore", invalid="ignore"):
        invertible = matrix.shape == (3, 3) and np.isfinite(matrix).all() and np.linalg.det(matrix) != 0
    if not invertible:
        raise ValueError(f"the warp {warp!r} is not an affine matrix that can be inverted")
    return None if np.allclose(matrix, np.eye(3), rtol=0, atol=1e-12) else matrix
