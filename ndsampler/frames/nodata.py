"""
Finding pixels without a measurement, and marking them as NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.frames.warp import to_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: The values of a target's ``nodata`` that select the pixels that each file declares as missing.
DECLARED = ("float", "ma", "alpha")

#: NaN in both parts of a complex number.
COMPLEX_NAN = complex(np.nan, np.nan)


@dataclass(frozen=True)
class Gaps:
    """The rule that finds pixels of a file without a measurement, and the type of the result."""

    nodata: Any = None
    """The nodata value, or a tuple with one for each band that is read; None for none."""
    uses_mask: bool = False
    """Whether the file has a mask of valid pixels."""
    alpha: int | None = None
    """Index of the band that is 0 where pixels have no measurement; None for none."""
    exact: bool = False
    """Whether 64-bit integers must be kept exactly, so that they can be cast back."""
    keeps_type: bool = False
    """Whether pixels keep the type of the file, and gaps are only left out of averages."""

    def mask(self, pixels: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[Any]:
        """Return pixels as floating point or complex numbers with NaN in the gaps.

        Args:
            pixels: (height, width, bands).
            valid: the mask of the file, which is false for further missing pixels; None for none.
        """
        gaps = find_gaps(pixels, self.nodata, valid)
        if self.keeps_type and (gaps is None or not gaps.any()):
            return pixels
        values = to_floats(pixels, self.exact)
        if gaps is not None:
            values[np.broadcast_to(gaps, values.shape)] = nan_of(values.dtype)
        return values

    def restore(self, values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return averages in the type of the file, with its nodata value where all pixels are missing.

        Without a nodata value, such a pixel is NaN, or 0 in a type without NaN.

        Args:
            values: (height, width, bands), as :meth:`mask` returns them.
            dtype: type of the file.
        """
        if values.dtype.kind in "iub":
            return values
        lost = np.isnan(values)
        if not lost.any():
            return _round(values, dtype)
        found = _round(np.where(lost, 0, values), dtype)
        each = self.nodata if isinstance(self.nodata, tuple) else (self.nodata,) * found.shape[2]
        for band, nodata in enumerate(each):
            fill = value_in_type(nodata, dtype)
            found[..., band][lost[..., band]] = nan_of(dtype) if fill is None else fill
        return found


def _round(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Round values without NaN to the type of a file."""
    return values.astype(dtype, copy=False) if dtype.kind == "c" else to_type(values, dtype)


def nan_of(dtype: np.dtype[Any]) -> Any:
    """Return NaN of a type, or 0 if it has no NaN."""
    return {"f": np.nan, "c": COMPLEX_NAN}.get(dtype.kind, 0)


def mask_nodata(pixels: NDArray[Any], nodata: Any, valid: NDArray[np.bool_] | None = None) -> NDArray[Any]:
    """Return pixels as floating point numbers with NaN where there is no measurement.

    Types of up to 16 bits become float32, which represents them exactly, and wider integers become float64.
    Complex numbers keep their type, and their real part is compared, as in GDAL.

    Args:
        pixels: any array.
        nodata: the value that means "no measurement", a tuple with a value for each index of the last axis,
            or None for no value.
        valid: a mask that is also false where there is no measurement; None for no mask.

    Returns:
        An array of the same shape.

    Example:
        >>> mask_nodata(np.array([3, 255], np.uint8), 255).tolist()
        [3.0, nan]
        >>> mask_nodata(np.array([[0, 0], [255, 255]], np.uint8), (0, 255)).tolist()
        [[nan, 0.0], [255.0, nan]]
    """
    return Gaps(nodata).mask(pixels, valid)


def to_floats(pixels: NDArray[Any], exact: bool = False) -> NDArray[Any]:
    """Return a copy of pixels in a type that has NaN.

    Args:
        pixels: any array.
        exact: whether 64-bit integers are kept exactly, in ``numpy.longdouble``. On Windows and on Apple's
            ARM processors that type is float64, which rounds integers beyond 2**53.
    """
    if pixels.dtype.kind == "c":
        result: NDArray[Any] = pixels.copy()
        return result
    if exact and pixels.dtype.kind in "iu" and pixels.dtype.itemsize == 8:
        return pixels.astype(np.longdouble)
    small = pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32
    return pixels.astype(np.float32 if small else np.float64)


def find_gaps(pixels: NDArray[Any], nodata: Any, valid: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Return which pixels a nodata value or mask marks as missing; None if neither marks any.

    Args:
        pixels: any array.
        nodata: the value that means "no measurement", or a tuple with one for each index of the last axis.
        valid: a mask that is also false where there is no measurement; None for no mask.
    """
    gaps = None if valid is None else ~valid
    if nodata is None:
        return gaps
    same = _equal_per_band(pixels, nodata) if isinstance(nodata, tuple) else _equal(pixels, nodata)
    return same if gaps is None or same is None else gaps | same


def _equal_per_band(pixels: NDArray[Any], nodata: Sequence[Any]) -> NDArray[np.bool_]:
    """Return where the pixels of each band equal the nodata value of that band."""
    same = np.zeros(pixels.shape, bool)
    for band, value in enumerate(nodata):
        equal = _equal(pixels[..., band], value)
        if equal is not None:
            same[..., band] = equal
    return same


def _equal(pixels: NDArray[Any], nodata: Any) -> NDArray[np.bool_] | None:
    """Return which pixels equal a nodata value in their type; None if the type lacks the value."""
    # float32 pixels rarely equal the decimal number that declares their nodata value.
    value = value_in_type(nodata, pixels.dtype)
    if value is None or value != value:
        return None
    return np.asarray((pixels.real if pixels.dtype.kind == "c" else pixels) == value)


def value_in_type(nodata: Any, dtype: np.dtype[Any]) -> Any:
    """Return a nodata value in the type of the pixels; None if the type does not have it.

    Args:
        nodata: a number; None for none.
        dtype: type of the pixels.

    Example:
        >>> value_in_type(2.0**64, np.dtype('uint64')), value_in_type(300, np.dtype('uint8'))
        (np.uint64(18446744073709551615), None)
    """
    if nodata is None:
        return None
    if dtype.kind in "fc":
        with np.errstate(over="ignore"):
            return np.array(nodata).astype(np.zeros(0, dtype).real.dtype)[()]
    lowest, highest = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if isinstance(nodata, (float, np.floating)):
        if not np.isfinite(nodata) or nodata != int(nodata):
            return None
        # GDAL returns nodata values as float64, which rounds the largest 64-bit integer up by one.
        nodata = highest if nodata == float(highest) else nodata
    return dtype.type(int(nodata)) if lowest <= int(nodata) <= highest else None
