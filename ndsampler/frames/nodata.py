"""
Pixels without a measurement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mask_nodata(pixels: NDArray[Any], nodata: float | None) -> NDArray[Any]:
    """Return pixels as floating point numbers with NaN where there is no measurement.

    Types of up to 16 bits become float32, which holds them exactly; wider integers float64.

    Args:
        pixels: any array.
        nodata: the value that means "no measurement"; None masks nothing.

    Returns:
        An array of the same shape.

    Example:
        >>> mask_nodata(np.array([3, 255], np.uint8), 255).tolist()
        [3.0, nan]
    """
    small = pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32
    values = pixels.astype(np.float32 if small else np.float64)
    if nodata is not None and not np.isnan(nodata):
        # Compared in the file's own type: float32 data rarely equal the decimal that declares it.
        same = (
            pixels == np.array(nodata).astype(pixels.dtype) if pixels.dtype.kind == "f" else pixels == nodata
        )
        values[same] = np.nan
    return values
