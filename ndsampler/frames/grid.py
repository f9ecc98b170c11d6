"""
The grid that output pixels lie on, and the choice of the pixels in a file that they are made from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.frames.resample import Resampling, choose_level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.frames.layout import Asset
    from ndsampler.windows import PixelBox


@dataclass(frozen=True, eq=False)
class Grid:
    """Where output pixels lie, and how their values are found."""

    box: PixelBox
    """The region that the output covers, in pixels of the image or video; may reach outside."""
    warp_out_from_box: NDArray[Any] | None = None
    """3x3 matrix from coordinates relative to the box's corner to output pixels; None when equal."""
    dims: tuple[int, int] | None = None
    """(height, width) of the output; None for those of the box."""
    resampling: Resampling = field(default_factory=Resampling)
    """How values between pixels are found."""
    nodata: Any = None
    """``'float'`` for the value each file declares, or a value: such pixels become NaN before
    anything is interpolated, and so does what lies outside. None leaves pixels alone."""
    allow_missing: bool = False
    """Whether a channel that the frame lacks is NaN; otherwise it is an error."""
    warp_space_from_img: NDArray[Any] | None = None
    """3x3 matrix from the image to the space that the box lies in; None when they are the same."""
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

    def fill(self, dtype: np.dtype[Any]) -> float:
        """The value of pixels outside, for a type."""
        return float("nan") if self.nodata is not None or (self.nan_outside and dtype.kind == "f") else 0.0


@dataclass(frozen=True)
class AssetShape:
    """What an open file says of itself."""

    dims: tuple[int, int]
    """(height, width) in pixels."""
    count: int
    """Bands."""
    dtype: np.dtype[Any]
    """Type of a value."""
    nodata: float | None
    """The value that means "no measurement"."""
    overviews: tuple[tuple[int, int], ...] = ()
    """(height, width) of its reduced versions."""


@dataclass(frozen=True, eq=False)
class SourcePixels:
    """The pixels of a file that a grid is filled from."""

    level: int
    """0 for the image itself, n for the n-th of its overviews."""
    dims: tuple[int, int]
    """(height, width) of that level."""
    warp_out_from_level: NDArray[Any]
    """3x3 matrix from its pixels to the output."""


def choose_pixels(asset: Asset, shape: AssetShape, grid: Grid, nodata: Any) -> SourcePixels:
    """Choose the overview of a file that a grid is filled from.

    Args:
        asset: the file, with its place in the image.
        shape: what the open file says about itself.
        grid: where the output pixels lie.
        nodata: the value that means "no measurement"; None for none.
    """
    warp = grid.warp_out_from_img
    if asset.warp_img_from_asset is not None:
        warp = warp @ asset.warp_img_from_asset
    # Overviews average over a value that only the target, and not the file, declares as nodata.
    usable = shape.overviews if nodata is None or nodata == shape.nodata else ()
    level = choose_level(warp, usable, grid.resampling, shape.dims)
    if level == 0:
        return SourcePixels(0, shape.dims, warp)
    dims = shape.overviews[level - 1]
    shrink = np.diag([shape.dims[1] / dims[1], shape.dims[0] / dims[0], 1.0])
    return SourcePixels(level, dims, warp @ shrink)
