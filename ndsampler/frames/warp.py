"""
Warping pixels of any type and number of channels with OpenCV, which handles only some types and 4 channels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.frames.affine import KERNEL_MARGIN, inverse
from ndsampler.frames.average import average
from ndsampler.frames.groups import by_groups
from ndsampler.utils.require import require_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.frames.resample import Resampling

#: Type codes of numpy for the types that OpenCV interpolates; others are converted to float64 and back.
WARPABLE = frozenset(np.dtype(name).char for name in ("uint8", "uint16", "int16", "float32", "float64"))

#: Type codes of the types that OpenCV copies unchanged at exact positions; others are copied as 2-byte
#: pieces.
TAKEABLE = frozenset(np.dtype(name).char for name in ("uint8", "uint16", "float32"))

#: Integers up to this size are exact in float64.
EXACT = 2**53


def warp_pixels(
    pixels: NDArray[Any], warp: NDArray[Any], out_dims: tuple[int, int], resampling: Resampling
) -> NDArray[Any]:
    """Warp an image onto a grid; border pixels are repeated outside.

    The values of a channel do not depend on the other channels. Integers are clipped to the limits of their
    type. NaN is left out of averages.

    Args:
        pixels: (height, width, channels).
        warp: 3x3 matrix from source to output coordinates, whole numbers at pixel corners.
        out_dims: (height, width) of the output.
        resampling: the interpolation of values between pixels.

    Returns:
        (height, width, channels) pixels of the same type.
    """
    dtype = pixels.dtype
    if resampling.method == "nearest":
        return _take_nearest(pixels, warp, out_dims)
    if dtype.kind == "c":
        return _warp_complex(pixels, warp, out_dims, resampling)
    if dtype.char in WARPABLE:
        return _interpolate(pixels, warp, out_dims, resampling)
    if dtype.kind in "iu" and dtype.itemsize == 8 and _exceeds_float(pixels):
        return _warp_large(pixels, warp, out_dims, resampling)
    return to_type(_interpolate(pixels.astype(np.float64), warp, out_dims, resampling), dtype)


def to_type(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Round floating point numbers to a type, and clip them to its limits.

    Args:
        values: floating point numbers without NaN.
        dtype: any type of real numbers.

    Example:
        >>> to_type(np.array([-3.0, 2.6, 2.0**64]), np.dtype('uint64')).tolist()
        [0, 3, 18446744073709551615]
    """
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    lowest, highest = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    rounded = np.rint(values)
    if highest <= EXACT:
        result: NDArray[Any] = np.clip(rounded, lowest, highest).astype(dtype)
        return result
    below, above = rounded <= float(lowest), rounded >= float(highest)
    whole = np.where(below | above, 0, rounded).astype(dtype)
    whole[below], whole[above] = lowest, highest
    return whole


def _interpolate(
    pixels: NDArray[Any], warp: NDArray[Any], out_dims: tuple[int, int], resampling: Resampling
) -> NDArray[Any]:
    """Warp pixels of a type that OpenCV interpolates."""
    if resampling.method == "cubic" and pixels.dtype == np.float64:
        pixels, warp = _pad_border(pixels, warp)
    if resampling.averages(warp):
        return average(pixels, warp, out_dims, resampling)
    cv2 = require_opencv()
    flags = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
    return _warp_plain(pixels, warp, out_dims, flags.get(resampling.method, cv2.INTER_LANCZOS4))


def _pad_border(pixels: NDArray[Any], warp: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Repeat the border of an image as far as cubic interpolation needs it; return the image and its matrix.

    Beyond the border, OpenCV would cast float64 to 32-bit integers.
    """
    across, down = inverse(warp)
    longest = max(1.0, math.hypot(across[0], down[0]), math.hypot(across[1], down[1]))
    width = math.ceil(KERNEL_MARGIN * longest)
    padded = np.pad(pixels, ((width, width), (width, width), (0, 0)), mode="edge")
    return padded, warp @ np.array([[1.0, 0, -width], [0, 1.0, -width], [0, 0, 1.0]])


def _warp_plain(
    pixels: NDArray[Any], warp: NDArray[Any], out_dims: tuple[int, int], method: int
) -> NDArray[Any]:
    """Warp with a single call of OpenCV, which is enough for most warps."""
    cv2 = require_opencv()
    # The origin of OpenCV is the center of the first pixel, not its corner.
    centered = warp[:2].copy()
    centered[:, 2] += 0.5 * (centered[:, 0] + centered[:, 1]) - 0.5
    dsize = (out_dims[1], out_dims[0])

    def run(group: NDArray[Any]) -> NDArray[Any]:
        warped: NDArray[Any] = cv2.warpAffine(
            group, centered, dsize, flags=method, borderMode=cv2.BORDER_REPLICATE
        )
        return warped

    return by_groups(pixels, run, out_dims)


def _take_nearest(pixels: NDArray[Any], warp: NDArray[Any], out_dims: tuple[int, int]) -> NDArray[Any]:
    """Return the pixel under the center of each output pixel, with unchanged bytes."""
    nearest = require_opencv().INTER_NEAREST
    if pixels.dtype.char in TAKEABLE:
        return _warp_plain(pixels, warp, out_dims, nearest)
    piece = np.uint8 if pixels.dtype.itemsize == 1 else np.uint16
    pieces = np.ascontiguousarray(pixels).view(piece)
    return _warp_plain(pieces, warp, out_dims, nearest).view(pixels.dtype)


def _warp_complex(
    pixels: NDArray[Any], warp: NDArray[Any], out_dims: tuple[int, int], resampling: Resampling
) -> NDArray[Any]:
    """Warp the real and the imaginary parts; a number is NaN if one of its parts is NaN."""
    parts = np.ascontiguousarray(pixels).view(pixels.real.dtype)
    missing = np.isnan(pixels)
    if missing.any():
        parts = np.where(np.repeat(missing, 2, axis=2), np.nan, parts)
    return _interpolate(parts, warp, out_dims, resampling).view(pixels.dtype)


def _exceeds_float(pixels: NDArray[Any]) -> bool:
    """Whether float64 cannot represent some of these integers exactly."""
    return pixels.size > 0 and not -EXACT <= int(pixels.min()) <= int(pixels.max()) <= EXACT


def _warp_large(
    pixels: NDArray[Any], warp: NDArray[Any], out_dims: tuple[int, int], resampling: Resampling
) -> NDArray[Any]:
    """Interpolate the differences of 64-bit integers from their minimum, which float64 represents better."""
    base, ends = int(pixels.min()), np.iinfo(pixels.dtype)
    # 64-bit integers wrap around, so sums and differences are correct whatever the sign.
    zero = np.array([base], pixels.dtype).view(np.uint64)
    distances = np.ascontiguousarray(pixels).view(np.uint64) - zero
    warped = np.rint(_interpolate(distances.astype(np.float64), warp, out_dims, resampling))
    above, below = warped >= float(ends.max - base), warped < -float(base - ends.min)
    steps = np.where(above | below, 0, np.abs(warped)).astype(np.uint64)
    found = np.where(warped < 0, zero - steps, zero + steps).view(pixels.dtype)
    found[above], found[below] = ends.max, ends.min
    return found
