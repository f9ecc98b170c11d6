"""
Shrinking images by averaging the pixels under each output pixel, except those that are NaN.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.frames.affine import inverse
from ndsampler.frames.groups import by_groups
from ndsampler.utils.require import require_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.frames.resample import Resampling

#: An output pixel does not cover a source pixel if the overlap is less than this fraction of the pixel's
#: side.
SLIVER = 1e-3

#: Maximum number of points along each side of an output pixel at which source pixels are sampled.
MAX_STEPS = 16

#: Tolerance when the sum of the weights of an average is compared with 1.
WEIGHT_TOLERANCE = 1e-3


def average(
    pixels: NDArray[Any], warp: NDArray[Any], out_dims: tuple[int, int], resampling: Resampling
) -> NDArray[Any]:
    """Shrink an image along at least one axis, and leave NaN out of the averages.

    Args:
        pixels: (height, width, channels) of a type that OpenCV interpolates.
        warp: 3x3 matrix from source to output coordinates.
        out_dims: (height, width) of the output.
        resampling: the interpolation between averages.

    Returns:
        (height, width, channels); NaN where all pixels under an output pixel are NaN.
    """
    if pixels.dtype.kind != "f" or not (missing := np.isnan(pixels)).any():
        return _blur_and_warp(pixels, warp, out_dims, resampling)
    valid = ~missing
    if (valid == valid[:, :, :1]).all():
        valid = valid[:, :, :1]
    weights, values = valid.astype(pixels.dtype), np.where(missing, 0, pixels)
    linear = replace(resampling, interpolation="linear")
    totals = _blur_and_warp(weights, warp, out_dims, linear)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[Any] = _blur_and_warp(values, warp, out_dims, linear) / totals
        if resampling.method != "linear":
            # Other methods have negative weights, whose sum may be 0, so use them only where no pixel is
            # missing.
            sums = _blur_and_warp(weights, warp, out_dims, resampling)
            whole = (np.abs(sums - 1) < WEIGHT_TOLERANCE) & (totals > 1 - WEIGHT_TOLERANCE)
            found = np.where(whole, _blur_and_warp(values, warp, out_dims, resampling) / sums, found)
    found[np.broadcast_to(~any_under(valid, warp, out_dims), found.shape)] = np.nan
    return found


def _blur_and_warp(
    pixels: NDArray[Any], warp: NDArray[Any], out_dims: tuple[int, int], resampling: Resampling
) -> NDArray[Any]:
    """Blur with a Gaussian whose width is the shrink factor, and warp."""
    import kwimage

    (a, b, _), (c, d, _) = warp[:2].tolist()
    if a * d - b * c < 0:
        # kwimage decomposes a matrix into a rotation, a shear and scales, which must be positive.
        pixels = np.ascontiguousarray(pixels[:, ::-1])
        warp = warp @ np.array([[-1.0, 0, pixels.shape[1]], [0, 1.0, 0], [0, 0, 1.0]])
    matrix, dsize = kwimage.Affine(warp), (out_dims[1], out_dims[0])

    def run(group: NDArray[Any]) -> NDArray[Any]:
        warped: NDArray[Any] = kwimage.warp_affine(
            group,
            matrix,
            dsize=dsize,
            antialias=True,
            interpolation=resampling.method,
            border_mode="replicate",
            origin_convention="corner",
        )
        return warped

    return by_groups(pixels, run, out_dims)


def any_under(valid: NDArray[np.bool_], warp: NDArray[Any], out_dims: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which output pixels cover at least one valid pixel.

    Args:
        valid: (height, width, channels); border pixels are repeated outside.
        warp: 3x3 matrix from these pixels to output coordinates.
        out_dims: (height, width) of the output.

    Example:
        >>> valid = np.array([[0, 0, 0, 1]], bool)[..., None]
        >>> any_under(valid, np.diag([0.5, 1, 1]), (1, 2))[..., 0].tolist()
        [[False, True]]
    """
    (a, b, tx), (c, d, ty) = inverse(warp)
    # The deviation, in source pixels, of the sides of the output from the axes of the source.
    longest = max(out_dims)
    if max(abs(b), abs(c)) * longest < SLIVER:
        return _any_between(valid, _spans(d, ty, out_dims[0]), _spans(a, tx, out_dims[1]))
    if max(abs(a), abs(d)) * longest < SLIVER:
        turned = valid.transpose(1, 0, 2)
        return _any_between(turned, _spans(b, tx, out_dims[0]), _spans(c, ty, out_dims[1]))
    return _any_sampled(valid, warp, out_dims)


def _spans(factor: float, offset: float, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (starts, stops) of the source pixels under each output pixel along one axis."""
    edges = offset + factor * np.arange(count + 1)
    low, high = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    first = np.floor(low + SLIVER).astype(np.int64)
    return first, np.maximum(np.ceil(high - SLIVER).astype(np.int64), first + 1)


def _any_between(
    valid: NDArray[np.bool_],
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    cols: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.bool_]:
    """Return which cells of a grid, given by (starts, stops) of rows and columns, contain a true value."""
    for axis, (first, stop) in enumerate((rows, cols)):
        last = valid.shape[axis] - 1
        found = np.take(valid, np.clip(first, 0, last), axis=axis)
        for step in range(1, int((stop - first).max())):
            found |= np.take(valid, np.clip(np.minimum(first + step, stop - 1), 0, last), axis=axis)
        valid = found
    return valid


def _any_sampled(
    valid: NDArray[np.bool_], warp: NDArray[Any], out_dims: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return which output pixels cover a valid pixel, for a warp that rotates, by sampling points."""
    (a, b, _), (c, d, _) = inverse(warp)
    longest = max(math.hypot(a, c), math.hypot(b, d))
    if longest > MAX_STEPS:
        # Combine pixels into blocks, so that the number of points is limited.
        side = math.ceil(longest / MAX_STEPS)
        height, width = (-(-length // side) for length in valid.shape[:2])
        reduced = _any_between(valid, _spans(side, 0, height), _spans(side, 0, width))
        return _any_sampled(reduced, warp @ np.diag([side, side, 1.0]), out_dims)
    cv2 = require_opencv()
    # The points are so close that each source pixel under an output pixel contains one.
    steps = math.ceil(1.5 * longest)
    shifts = [0.5 - (step + 0.5) / steps for step in range(steps)]
    found = np.zeros((*out_dims, valid.shape[2]), bool)
    for x in shifts:
        for y in shifts:
            matrix = warp[:2].copy()
            matrix[:, 2] += 0.5 * (matrix[:, 0] + matrix[:, 1]) - 0.5 + np.array([x, y])
            found |= _look_up(cv2, valid, matrix, out_dims)
    return found


def _look_up(
    cv2: Any, valid: NDArray[np.bool_], matrix: NDArray[Any], out_dims: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return the values at the points that a matrix between pixel centers maps to."""

    def run(group: NDArray[Any]) -> NDArray[Any]:
        taken: NDArray[Any] = cv2.warpAffine(
            group, matrix, out_dims[::-1], flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        )
        return taken

    return by_groups(np.ascontiguousarray(valid).view(np.uint8), run, out_dims).view(bool)
