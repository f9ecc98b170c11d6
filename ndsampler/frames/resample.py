"""
Resampling one file onto another grid: the needed region is read and warped once.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import TargetError
from ndsampler.frames.affine import (
    KERNEL_MARGIN,
    WHOLE_PIXEL_TOLERANCE,
    extent,
    inverse,
    shrinks,
    stretch,
    whole_shift,
)
from ndsampler.frames.warp import warp_pixels
from ndsampler.windows import PixelBox, embed_box

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

#: Names of the interpolations that users may choose.
INTERPOLATIONS = ("auto", "nearest", "linear", "cubic", "lanczos", "area")

#: Largest side in pixels of an image that OpenCV can warp, because it uses 15 bits for positions.
OPENCV_LIMIT = 2**15 - 1


@dataclass(frozen=True)
class Resampling:
    """The interpolation of values between pixels, and whether shrinking averages."""

    interpolation: str = "auto"
    """One of :data:`INTERPOLATIONS`; ``'auto'`` is linear."""
    antialias: bool = True
    """Whether the source pixels under each output pixel are averaged when the image shrinks."""

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            options = ", ".join(map(repr, INTERPOLATIONS))
            raise TargetError(f"interpolation is {self.interpolation!r}; expected one of {options}")

    @property
    def method(self) -> str:
        """The name of OpenCV's method."""
        if self.interpolation in ("auto", "area"):
            return "linear"
        return self.interpolation

    def averages(self, warp: NDArray[Any]) -> bool:
        """Return whether a warp averages the pixels under each output pixel.

        Args:
            warp: 3x3 matrix from source to output coordinates.
        """
        return self.antialias and self.method != "nearest" and shrinks(warp)


def choose_level(
    warp_out_from_src: NDArray[Any],
    overviews: Sequence[tuple[int, int]],
    resampling: Resampling,
    dims: tuple[int, int] | None = None,
) -> int:
    """Return the overview to read for a warp: the smallest one with at least the resolution of the output.

    Args:
        warp_out_from_src: 3x3 matrix from source to output coordinates.
        overviews: (height, width) of the overviews, each about half of the one before.
        resampling: whether averages are requested.
        dims: (height, width) of the image; None if each overview has half the size of the one before.

    Returns:
        0 for the image itself, n for the n-th overview.

    Example:
        >>> levels = [(50, 50), (25, 25)]
        >>> [choose_level(np.diag([s, s, 1.0]), levels, Resampling()) for s in (2.0, 0.6, 0.5, 0.1)]
        [0, 0, 1, 2]
    """
    if not overviews or not resampling.antialias or resampling.method == "nearest":
        return 0
    _, largest = stretch(warp_out_from_src)
    if not 0 < largest < 1:
        return 0
    halvings = -math.log2(largest) + WHOLE_PIXEL_TOLERANCE
    if dims is None:
        return min(max(math.floor(halvings), 0), len(overviews))
    return sum(math.log2(shrink_factor(dims, level)) <= halvings for level in overviews)


@functools.lru_cache(maxsize=4096)
def shrink_factor(dims: tuple[int, int], level: tuple[int, int]) -> float:
    """Return the size of an image relative to an overview, as a whole number if rounding explains the sizes.

    Args:
        dims: (height, width) of the image.
        level: (height, width) of the overview.

    Example:
        >>> shrink_factor((1003, 1401), (501, 700)), shrink_factor((1003, 1401), (502, 701))
        (2, 2)
        >>> shrink_factor((100, 200), (40, 80))
        2.5
    """
    exact = max(side / small for side, small in zip(dims, level))
    for factor in (math.floor(exact), math.ceil(exact)):
        if all(small in (side // factor, -(-side // factor)) for side, small in zip(dims, level)):
            return factor
    return exact


def source_box(
    warp_out_from_src: NDArray[Any], out_dims: tuple[int, int], src_dims: tuple[int, int]
) -> PixelBox:
    """Return the part of a source that a warp onto a grid needs.

    Args:
        warp_out_from_src: 3x3 matrix from source to output coordinates, both (x, y) with whole
            numbers at the corners of pixels.
        out_dims: (height, width) of the output.
        src_dims: (height, width) of the source.

    Returns:
        The region, clipped to the source; empty if the output is completely outside the source.

    Example:
        >>> source_box(np.diag([2.0, 2.0, 1.0]), (10, 20), (100, 100))
        PixelBox(y0=0, y1=9, x0=0, x1=14)
    """
    height, width = out_dims
    (a, b, tx), (c, d, ty) = inverse(warp_out_from_src)
    # Averaging needs a larger margin: the size of an output pixel.
    margin_x = KERNEL_MARGIN * max(1.0, abs(a) + abs(b))
    margin_y = KERNEL_MARGIN * max(1.0, abs(c) + abs(d))
    x0, x1 = extent(a * width, b * height, tx)
    y0, y1 = extent(c * width, d * height, ty)
    if not math.isfinite((x1 - x0) + (y1 - y0) + margin_x + margin_y):
        raise TargetError(
            f"the matrix {warp_out_from_src.tolist()} from a file to the window has no finite "
            "inverse; correct the matrices of the image"
        )
    box = PixelBox(
        math.floor(y0 - margin_y),
        math.ceil(y1 + margin_y),
        math.floor(x0 - margin_x),
        math.ceil(x1 + margin_x),
    )
    return box.clipped(*src_dims)


def read_onto_grid(
    read: Callable[[PixelBox], NDArray[Any]],
    src_dims: tuple[int, int],
    warp_out_from_src: NDArray[Any],
    out_dims: tuple[int, int],
    resampling: Resampling,
    fill: Any,
    restore: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
) -> NDArray[Any]:
    """Return the pixels of a source on an output grid.

    If the grids differ by whole pixels, the pixels are copied unchanged; otherwise they are interpolated
    once. Output pixels whose center is outside the source have the value ``fill``.

    Args:
        read: returns (height, width, channels) pixels of a region inside the source.
        src_dims: (height, width) of the source.
        warp_out_from_src: 3x3 matrix from source to output coordinates.
        out_dims: (height, width) of the output.
        resampling: the interpolation of values between pixels.
        fill: value of pixels outside the source.
        restore: converts pixels that ``read`` returns to the type of the source; None if they have that type.

    Returns:
        (height, width, channels) pixels of the source's type.

    Example:
        >>> image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
        >>> moved = np.array([[1.0, 0, 1], [0, 1.0, 0], [0, 0, 1]])
        >>> out = read_onto_grid(lambda box: image[box.slices], (2, 3), moved, (2, 3), Resampling(), 9)
        >>> out[..., 0].tolist()
        [[9, 0, 1], [9, 3, 4]]
    """
    shift = whole_shift(warp_out_from_src)
    if shift is not None:
        return _copy_shifted(read, src_dims, shift, out_dims, fill, restore)
    box = source_box(warp_out_from_src, out_dims, src_dims)
    if max(*box.dims, *out_dims) >= OPENCV_LIMIT and max(out_dims) > 1:
        return _read_halves(read, src_dims, warp_out_from_src, out_dims, resampling, fill, restore)
    pixels = read(box)
    if 0 in pixels.shape[:2] or 0 in out_dims:
        return np.full((*out_dims, pixels.shape[2]), fill, pixels.dtype)
    warp = warp_out_from_src @ np.array([[1.0, 0, box.x0], [0, 1.0, box.y0], [0, 0, 1.0]])
    warped = warp_pixels(pixels, warp, out_dims, resampling)
    if restore is not None:
        warped = restore(warped)
    outside = _outside(warp_out_from_src, src_dims, out_dims)
    if outside is not None:
        warped[outside] = fill
    return warped


def _read_halves(
    read: Callable[[PixelBox], NDArray[Any]],
    src_dims: tuple[int, int],
    warp: NDArray[Any],
    out_dims: tuple[int, int],
    resampling: Resampling,
    fill: Any,
    restore: Callable[[NDArray[Any]], NDArray[Any]] | None,
) -> NDArray[Any]:
    """Fill a grid in two halves, because the source region of the whole grid is too large for OpenCV."""
    axis = int(out_dims[1] > out_dims[0])
    first = out_dims[axis] // 2
    parts = []
    for start, length in ((0, first), (first, out_dims[axis] - first)):
        moved = warp.copy()
        moved[1 - axis, 2] -= start
        dims = (length, out_dims[1]) if axis == 0 else (out_dims[0], length)
        parts.append(read_onto_grid(read, src_dims, moved, dims, resampling, fill, restore))
    return np.concatenate(parts, axis=axis)


def _copy_shifted(
    read: Callable[[PixelBox], NDArray[Any]],
    src_dims: tuple[int, int],
    shift: tuple[int, int],
    out_dims: tuple[int, int],
    fill: Any,
    restore: Callable[[NDArray[Any]], NDArray[Any]] | None,
) -> NDArray[Any]:
    """Copy a region that differs from the output grid by whole pixels."""
    x, y = shift
    box = PixelBox(-y, out_dims[0] - y, -x, out_dims[1] - x)
    inside, margin = embed_box(box, *src_dims)
    pixels = read(inside)
    if restore is not None:
        pixels = restore(pixels)
    return pixels if inside == box else place(pixels, out_dims, margin, fill)


def place(
    pixels: NDArray[Any],
    out_dims: tuple[int, int],
    margin: tuple[tuple[int, int], tuple[int, int]],
    fill: Any,
) -> NDArray[Any]:
    """Return the pixels with a margin of one value around them.

    Args:
        pixels: (height, width, channels).
        out_dims: (height, width) of the canvas.
        margin: ((top, bottom), (left, right)) sizes of the margin in pixels.
        fill: value of the margin.

    Returns:
        (height, width, channels) pixels with the margin.
    """
    canvas = np.full((*out_dims, pixels.shape[2]), fill, pixels.dtype)
    top, left = margin[0][0], margin[1][0]
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas


def _outside(
    warp: NDArray[Any], src_dims: tuple[int, int], out_dims: tuple[int, int]
) -> NDArray[np.bool_] | None:
    """Return which output pixels have their center outside the source; None if there are none."""
    height, width = out_dims
    (a, b, tx), (c, d, ty) = inverse(warp)
    half_x, half_y = 0.5 * (a + b) + tx, 0.5 * (c + d) + ty
    x0, x1 = extent(a * (width - 1), b * (height - 1), half_x)
    y0, y1 = extent(c * (width - 1), d * (height - 1), half_y)
    if x0 >= 0 and y0 >= 0 and x1 <= src_dims[1] and y1 <= src_dims[0]:
        return None
    columns, rows = np.arange(width)[None, :], np.arange(height)[:, None]
    x, y = a * columns + b * rows + half_x, c * columns + d * rows + half_y
    return (x < 0) | (x > src_dims[1]) | (y < 0) | (y > src_dims[0])
