"""
The grid of output pixels, and the choice of the overview and the missing pixels of a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.frames.layout import band_names
from ndsampler.frames.nodata import COMPLEX_NAN, Gaps
from ndsampler.frames.resample import Resampling, choose_level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ndsampler.frames.layout import Asset
    from ndsampler.windows import PixelBox


@dataclass(frozen=True, eq=False)
class Grid:
    """The positions of output pixels, and the method that computes their values."""

    box: PixelBox
    """The region that the output covers, in pixels of the image or video; it may extend outside."""
    warp_out_from_box: NDArray[Any] | None = None
    """3x3 matrix from coordinates relative to the box's corner to output pixels; None for the identity."""
    dims: tuple[int, int] | None = None
    """(height, width) of the output; None for the size of the box."""
    resampling: Resampling = field(default_factory=Resampling)
    """The interpolation of values between pixels."""
    nodata: Any = None
    """One of :data:`ndsampler.frames.nodata.DECLARED` for the pixels that each file declares, or a value.
    Such pixels become NaN before interpolation, and so do pixels outside. None leaves pixels unchanged."""
    allow_missing: bool = False
    """Whether a channel that the frame lacks becomes NaN instead of raising an error."""
    warp_space_from_img: NDArray[Any] | None = None
    """3x3 matrix from the image to the space of the box; None if they are the same."""
    nan_outside: bool = False
    """Whether floating point pixels outside are NaN rather than 0."""

    @property
    def out_dims(self) -> tuple[int, int]:
        """(height, width) of the output."""
        return self.dims or self.box.dims

    @property
    def warp_out_from_img(self) -> NDArray[Any]:
        """3x3 matrix from image to output coordinates."""
        warp = np.array([[1.0, 0, -self.box.x0], [0, 1.0, -self.box.y0], [0, 0, 1.0]])
        if self.warp_out_from_box is not None:
            warp = self.warp_out_from_box @ warp
        return warp if self.warp_space_from_img is None else warp @ self.warp_space_from_img

    @property
    def is_crop(self) -> bool:
        """Whether the output is a region of the image, pixel by pixel."""
        return self.warp_out_from_box is None and self.warp_space_from_img is None and self.nodata is None

    def fill(self, dtype: np.dtype[Any]) -> Any:
        """The value of pixels outside, for the type of a file."""
        if dtype.kind == "c":
            return COMPLEX_NAN if self.nodata is not None or self.nan_outside else 0.0
        return float("nan") if self.nodata is not None or (self.nan_outside and dtype.kind == "f") else 0.0


@dataclass(frozen=True)
class AssetShape:
    """The properties of an open file that planning needs."""

    dims: tuple[int, int]
    """(height, width) in pixels."""
    count: int
    """Bands."""
    dtype: np.dtype[Any]
    """Type of the pixels."""
    nodata: Any
    """The value that means "no measurement"; a tuple with one for each band if they differ."""
    overviews: tuple[tuple[int, int], ...] = ()
    """(height, width) of its overviews."""
    has_mask: bool = False
    """Whether it has a mask of valid pixels."""


@dataclass(frozen=True, eq=False)
class SourcePixels:
    """The pixels of a file that a grid is filled from."""

    level: int
    """0 for the image itself, n for the n-th of its overviews."""
    dims: tuple[int, int]
    """(height, width) of the level in pixels."""
    warp_out_from_level: NDArray[Any]
    """3x3 matrix from the pixels of the level to the output."""
    averages: bool
    """Whether output pixels are averages of image pixels, through an overview or through shrinking."""


def choose_pixels(
    asset: Asset, shape: AssetShape, grid: Grid, warp_out_from_img: NDArray[Any]
) -> SourcePixels:
    """Choose the overview of a file that a grid is filled from.

    Args:
        asset: the file, with its place in the image.
        shape: properties of the open file.
        grid: the grid of the output pixels.
        warp_out_from_img: the matrix of the grid, computed once for all files.
    """
    warp = warp_out_from_img
    if asset.warp_img_from_asset is not None:
        warp = warp @ asset.warp_img_from_asset
    if not grid.resampling.averages(warp):
        return SourcePixels(0, shape.dims, warp, averages=False)
    usable = shape.overviews if _overviews_skip_gaps(asset, shape, grid.nodata) else ()
    level = choose_level(warp, usable, grid.resampling, shape.dims)
    if level == 0:
        return SourcePixels(0, shape.dims, warp, averages=True)
    dims = shape.overviews[level - 1]
    shrink = np.diag([shape.dims[1] / dims[1], shape.dims[0] / dims[0], 1.0])
    return SourcePixels(level, dims, warp @ shrink, averages=True)


def _overviews_skip_gaps(asset: Asset, shape: AssetShape, nodata: Any) -> bool:
    """Whether the averages in overviews leave out the requested missing pixels.

    They include pixels with a value that only the target declares, not the file, and transparent pixels.
    """
    if nodata is None or (isinstance(nodata, str) and nodata != "alpha"):
        return True
    if isinstance(nodata, str):
        return alpha_band(asset, shape) is None
    if shape.has_mask or isinstance(shape.nodata, tuple):
        return False
    if np.isnan(nodata):
        return shape.nodata is None or bool(np.isnan(shape.nodata))
    return bool(nodata == shape.nodata)


def choose_gaps(
    asset: Asset, shape: AssetShape, grid: Grid, bands: Sequence[int] | None, averages: bool
) -> Gaps | None:
    """Return the rule for missing pixels of a file on a grid; None if no pixels are changed.

    Args:
        asset: the file.
        shape: properties of the open file.
        grid: its ``nodata`` selects the missing pixels. If it is None, the pixels that the file declares are
            still left out of averages.
        bands: indexes of the bands that are read; None for all.
        averages: whether the pixels are averaged.
    """
    wanted = grid.nodata
    if not (wanted is None or isinstance(wanted, str)):
        return Gaps(wanted)
    declared = shape.nodata
    if isinstance(declared, (tuple, list)):
        declared = tuple(declared if bands is None else (declared[band] for band in bands))
    if wanted is None:
        silent = not averages or (declared is None and not shape.has_mask)
        return None if silent else Gaps(declared, shape.has_mask, keeps_type=True)
    alpha = alpha_band(asset, shape) if wanted == "alpha" else None
    return Gaps(declared, shape.has_mask, alpha, exact=wanted == "ma")


def alpha_band(asset: Asset, shape: AssetShape) -> int | None:
    """Return the index of the band named ``a`` or ``alpha``; None if there is none.

    Args:
        asset: the file.
        shape: properties of the open file.
    """
    names = band_names(asset, shape.count)
    return next((index for index, name in enumerate(names) if name in ("a", "alpha")), None)
