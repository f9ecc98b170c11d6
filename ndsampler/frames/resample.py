"""
Pixels of one file on another grid: the region that is needed, warped once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import TargetError
from ndsampler.utils.require import require_opencv
from ndsampler.windows import PixelBox, embed_box

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

#: Interpolations by the names users write.
INTERPOLATIONS = ("auto", "nearest", "linear", "cubic", "lanczos", "area")

#: Pixels around the wanted region that interpolation may look at.
KERNEL_MARGIN = 4

#: How far a translation may be from whole pixels and still count as whole.
WHOLE_PIXEL_TOLERANCE = 1e-6

#: OpenCV addresses pixels with 15 bits while it warps.
OPENCV_LIMIT = 2**15 - 1

#: Types that OpenCV warps; any other goes through float64 and is rounded back.
WARPABLE = frozenset({"uint8", "uint16", "int16", "float32", "float64"})


@dataclass(frozen=True)
class Resampling:
    """How values between pixels are found."""

    interpolation: str = "auto"
    """One of :data:`INTERPOLATIONS`; ``'auto'`` is linear."""
    antialias: bool = True
    """Whether shrinking averages the source pixels under each output pixel."""

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


def whole_shift(warp: NDArray[Any]) -> tuple[int, int] | None:
    """Return (x, y) when a 3x3 matrix only moves by whole pixels, else None.

    Example:
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

    It takes a third of the time of numpy's inverse, which every read of a warped file would pay.

    Example:
        >>> inverse(np.array([[2.0, 0, 4], [0, 4.0, 8], [0, 0, 1]]))
        ((0.5, -0.0, -2.0), (-0.0, 0.25, -2.0))
    """
    (a, b, tx), (c, d, ty) = warp[:2].tolist()
    det = a * d - b * c
    return (d / det, -b / det, (b * ty - d * tx) / det), (-c / det, a / det, (c * tx - a * ty) / det)


def stretch(warp: NDArray[Any]) -> tuple[float, float]:
    """Return the least and the greatest factor by which a 3x3 affine matrix changes lengths.

    These are the singular values of its linear part, in closed form.

    Example:
        >>> stretch(np.array([[0, -3.0, 5], [2.0, 0, 5], [0, 0, 1]]))
        (2.0, 3.0)
    """
    (a, b, _), (c, d, _) = warp[:2].tolist()
    sums = math.hypot(a + d, c - b)
    differences = math.hypot(a - d, c + b)
    return abs(sums - differences) / 2, (sums + differences) / 2


def choose_level(
    warp_out_from_src: NDArray[Any],
    overviews: Sequence[tuple[int, int]],
    resampling: Resampling,
    dims: tuple[int, int] | None = None,
) -> int:
    """Return which overview a shrinking warp is best read from: the smallest no coarser than the output.

    Args:
        warp_out_from_src: 3x3 matrix from source to output coordinates.
        overviews: (height, width) of the overviews, each about half of the one before.
        resampling: says whether averages are wanted at all.
        dims: (height, width) of the image; None if each overview is half of the one before.

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
    halvings = -math.log2(largest) + WHOLE_PIXEL_TOLERANCE if largest > 0 else 0
    if dims is None:
        return min(max(math.floor(halvings), 0), len(overviews))
    return sum(math.log2(shrink_factor(dims, level)) <= halvings for level in overviews)


def shrink_factor(dims: tuple[int, int], level: tuple[int, int]) -> float:
    """Return how many times smaller an overview is than its image: a whole number if rounded sizes fit one.

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
    """Return the part of a source that a warp onto a grid looks at.

    Args:
        warp_out_from_src: 3x3 matrix from source to output coordinates, both (x, y) with whole
            numbers at the corners of pixels.
        out_dims: (height, width) of the output.
        src_dims: (height, width) of the source.

    Returns:
        The region, clipped to the source; empty where the output lies wholly beside it.

    Example:
        >>> source_box(np.diag([2.0, 2.0, 1.0]), (10, 20), (100, 100))
        PixelBox(y0=0, y1=9, x0=0, x1=14)
    """
    height, width = out_dims
    (a, b, tx), (c, d, ty) = inverse(warp_out_from_src)
    # Averaging while shrinking looks farther, by the size of an output pixel.
    margin_x = KERNEL_MARGIN * max(1.0, abs(a) + abs(b))
    margin_y = KERNEL_MARGIN * max(1.0, abs(c) + abs(d))
    x0, x1 = _extent(a * width, b * height, tx)
    y0, y1 = _extent(c * width, d * height, ty)
    box = PixelBox(
        math.floor(y0 - margin_y),
        math.ceil(y1 + margin_y),
        math.floor(x0 - margin_x),
        math.ceil(x1 + margin_x),
    )
    return box.clipped(*src_dims)


def _extent(across: float, down: float, offset: float) -> tuple[float, float]:
    """Return the bounds of one coordinate over a parallelogram with two given sides."""
    return offset + min(0.0, across) + min(0.0, down), offset + max(0.0, across) + max(0.0, down)


def read_onto_grid(
    read: Callable[[PixelBox], NDArray[Any]],
    src_dims: tuple[int, int],
    warp_out_from_src: NDArray[Any],
    out_dims: tuple[int, int],
    resampling: Resampling,
    fill: float,
) -> NDArray[Any]:
    """Return the pixels of a source on an output grid.

    Where the grids differ by whole pixels the pixels are copied unchanged; otherwise they are
    interpolated once. Output pixels whose center lies outside the source are ``fill``.

    Args:
        read: returns (height, width, channels) pixels of a region inside the source.
        src_dims: (height, width) of the source.
        warp_out_from_src: 3x3 matrix from source to output coordinates.
        out_dims: (height, width) of the output.
        resampling: how values between pixels are found.
        fill: value of pixels outside the source.

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
        return _copy_shifted(read, src_dims, shift, out_dims, fill)
    box = source_box(warp_out_from_src, out_dims, src_dims)
    if max(box.dims) >= OPENCV_LIMIT and max(out_dims) > 1:
        return _read_halves(read, src_dims, warp_out_from_src, out_dims, resampling, fill)
    pixels = read(box)
    if 0 in pixels.shape[:2] or 0 in out_dims:
        return np.full((*out_dims, pixels.shape[2]), fill, pixels.dtype)
    warp = warp_out_from_src @ np.array([[1.0, 0, box.x0], [0, 1.0, box.y0], [0, 0, 1.0]])
    warped = warp_pixels(pixels, warp, out_dims, resampling)
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
    fill: float,
) -> NDArray[Any]:
    """Fill a grid in two halves, each from a smaller part of a source that OpenCV cannot warp at once."""
    axis = int(out_dims[1] > out_dims[0])
    first = out_dims[axis] // 2
    parts = []
    for start, length in ((0, first), (first, out_dims[axis] - first)):
        moved = warp.copy()
        moved[1 - axis, 2] -= start
        dims = (length, out_dims[1]) if axis == 0 else (out_dims[0], length)
        parts.append(read_onto_grid(read, src_dims, moved, dims, resampling, fill))
    return np.concatenate(parts, axis=axis)


def _copy_shifted(
    read: Callable[[PixelBox], NDArray[Any]],
    src_dims: tuple[int, int],
    shift: tuple[int, int],
    out_dims: tuple[int, int],
    fill: float,
) -> NDArray[Any]:
    """Copy a region that differs from the output grid by whole pixels."""
    x, y = shift
    box = PixelBox(-y, out_dims[0] - y, -x, out_dims[1] - x)
    inside, margin = embed_box(box, *src_dims)
    pixels = read(inside)
    return pixels if inside == box else place(pixels, out_dims, margin, fill)


def place(
    pixels: NDArray[Any],
    out_dims: tuple[int, int],
    margin: tuple[tuple[int, int], tuple[int, int]],
    fill: float,
) -> NDArray[Any]:
    """Return the pixels inside a larger canvas of one value.

    Args:
        pixels: (height, width, channels).
        out_dims: (height, width) of the canvas.
        margin: ((top, bottom), (left, right)) pixels of the canvas around them.
        fill: value of the canvas outside the pixels.

    Returns:
        (height, width, channels) of the canvas.
    """
    canvas = np.full((*out_dims, pixels.shape[2]), fill, pixels.dtype)
    top, left = margin[0][0], margin[1][0]
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas


def warp_pixels(
    pixels: NDArray[Any], warp: NDArray[Any], out_dims: tuple[int, int], resampling: Resampling
) -> NDArray[Any]:
    """Warp an image onto a grid, its border pixels continuing beyond the border.

    Args:
        pixels: (height, width, channels).
        warp: 3x3 matrix from source to output coordinates, whole numbers at pixel corners.
        out_dims: (height, width) of the output.
        resampling: how values between pixels are found.

    Returns:
        (height, width, channels) of the same type.
    """
    smallest, _ = stretch(warp)
    native = pixels if pixels.dtype.name in WARPABLE else pixels.astype(np.float64)
    averages = resampling.antialias and resampling.method != "nearest" and smallest < 1
    simple = not averages and pixels.shape[2] <= 4 and max(*pixels.shape[:2], *out_dims) < OPENCV_LIMIT
    if simple:
        warped = _warp_once(native, warp, out_dims, resampling)
    else:
        warped = _warp_with_kwimage(native, warp, out_dims, resampling, averages)
    if native is not pixels and pixels.dtype.kind in "iub":
        limits = np.iinfo(pixels.dtype) if pixels.dtype.kind != "b" else None
        warped = warped.round() if limits is None else np.clip(warped.round(), limits.min, limits.max)
    warped = np.asarray(warped).astype(pixels.dtype, copy=False)
    return warped if warped.ndim == 3 else warped[:, :, None]


def _warp_once(
    pixels: NDArray[Any], warp: NDArray[Any], out_dims: tuple[int, int], resampling: Resampling
) -> NDArray[Any]:
    """Interpolate with OpenCV alone, in a quarter of the time: what almost every warp is."""
    cv2 = require_opencv()
    # OpenCV counts from the centers of pixels, not from their corners.
    centered = warp[:2].copy()
    centered[:, 2] += 0.5 * (centered[:, 0] + centered[:, 1]) - 0.5
    flags = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
    method = flags.get(resampling.method, cv2.INTER_LANCZOS4)
    dsize = (out_dims[1], out_dims[0])
    warped: NDArray[Any] = cv2.warpAffine(
        pixels, centered, dsize, flags=method, borderMode=cv2.BORDER_REPLICATE
    )
    return warped


def _warp_with_kwimage(
    pixels: NDArray[Any],
    warp: NDArray[Any],
    out_dims: tuple[int, int],
    resampling: Resampling,
    averages: bool,
) -> NDArray[Any]:
    """Warp with averaging, many channels, or sizes that OpenCV does not take at once."""
    import kwimage

    return kwimage.warp_affine(
        pixels,
        kwimage.Affine(warp),
        dsize=(out_dims[1], out_dims[0]),
        antialias=averages,
        interpolation=resampling.method,
        border_mode="replicate",
        origin_convention="corner",
    )


def _outside(
    warp: NDArray[Any], src_dims: tuple[int, int], out_dims: tuple[int, int]
) -> NDArray[np.bool_] | None:
    """Return where the centers of output pixels lie outside the source; None when nowhere."""
    height, width = out_dims
    (a, b, tx), (c, d, ty) = inverse(warp)
    half_x, half_y = 0.5 * (a + b) + tx, 0.5 * (c + d) + ty
    x0, x1 = _extent(a * (width - 1), b * (height - 1), half_x)
    y0, y1 = _extent(c * (width - 1), d * (height - 1), half_y)
    if x0 >= 0 and y0 >= 0 and x1 <= src_dims[1] and y1 <= src_dims[0]:
        return None
    columns, rows = np.arange(width)[None, :], np.arange(height)[:, None]
    x, y = a * columns + b * rows + half_x, c * columns + d * rows + half_y
    return (x < 0) | (x > src_dims[1]) | (y < 0) | (y > src_dims[0])
