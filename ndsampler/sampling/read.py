"""
Step 3: the pixels of each frame, on the grid of the sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import TargetError, WindowError
from ndsampler.frame_reader import Grid
from ndsampler.resample import warp_pixels
from ndsampler.windows import check_affordable, embed_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.abstract_frames import Frames
    from ndsampler.frame_layout import FrameLayout
    from ndsampler.sampling.region import SampleRegion


@dataclass(frozen=True)
class FramePixels:
    """What was read of one frame."""

    gid: Any
    """Image id."""
    pixels: Any
    """(height, width, channels) of the sample."""
    channels: tuple[str, ...] | None
    """Names of the channels, where they were asked for."""


def read_frames(region: SampleRegion, frames: Frames) -> list[FramePixels]:
    """Read the window of every frame of a region.

    Args:
        region: frames, window and options.
        frames: reads them.

    Returns:
        Pixels for each frame, which belong to the caller.

    Raises:
        UnknownChannelError: if the frame lacks a channel.
        SourceError: if a file is missing or damaged.
        WindowError: if the result would be absurdly large.
        TargetError: for arguments that :func:`numpy.pad` refuses.
    """
    return [_read_frame(gid, region, frames) for gid in region.gids]


def _read_frame(gid: Any, region: SampleRegion, frames: Frames) -> FramePixels:
    """Read the window of one frame."""
    options = region.options
    layout = frames.layout(gid)
    if options.padkw is None:
        pixels = frames.reader.read(layout, _grid(region), options.channels)
    else:
        pixels = _read_padded(layout, region, frames)
    if options.nodata == "ma":
        pixels = _as_masked(pixels, layout, region, frames)
    if options.dtype is not None:
        pixels = _cast(pixels, options.dtype)
    names = None
    if options.as_xarray:
        names = frames.reader.channel_names(layout, options.channels, pixels.shape[2])
    return FramePixels(gid, pixels, names)


def _grid(region: SampleRegion) -> Grid:
    """Return the output grid of a region."""
    options = region.options
    if options.scale == (1.0, 1.0) and options.nodata is None:
        return Grid(region.padded_box)
    scale_x, scale_y = options.scale
    warp = None if options.scale == (1.0, 1.0) else np.diag([scale_x, scale_y, 1.0])
    nodata = "float" if options.nodata == "ma" else options.nodata
    return Grid(region.padded_box, warp, region.sample_dims, options.resampling, nodata)


def _read_padded(layout: FrameLayout, region: SampleRegion, frames: Frames) -> NDArray[Any]:
    """Read the part inside the frame and let numpy make up the rest from it."""
    options = region.options
    box = region.padded_box
    inside, margin = embed_box(box, *region.data_dims)
    grid = Grid(inside, nodata="float" if options.nodata == "ma" else options.nodata)
    pixels = frames.reader.read(layout, grid, options.channels)
    if margin != ((0, 0), (0, 0)):
        check_affordable(
            box.dims, pixels.dtype.itemsize, pixels.shape[2], f"the window on image {layout.gid}"
        )
        pixels = _pad(pixels, (*margin, (0, 0)), options.padkw or {}, layout)
    if options.scale == (1.0, 1.0):
        return pixels
    scale_x, scale_y = options.scale
    return warp_pixels(pixels, np.diag([scale_x, scale_y, 1.0]), region.sample_dims, options.resampling)


def _pad(pixels: NDArray[Any], margins: Any, padkw: dict[str, Any], layout: FrameLayout) -> NDArray[Any]:
    """Apply :func:`numpy.pad`, explaining what it refuses."""
    if pixels.size == 0 and padkw["mode"] not in ("constant", "empty"):
        raise WindowError(
            f"the window lies wholly outside image {layout.gid}, so there is nothing that padkw mode "
            f"{padkw['mode']!r} could continue; use mode 'constant', or another window"
        )
    try:
        return np.pad(pixels, margins, **padkw)
    except (ValueError, TypeError) as ex:
        raise TargetError(f"padkw is {padkw!r}; numpy.pad refuses it: {ex}") from ex


def _as_masked(pixels: NDArray[Any], layout: FrameLayout, region: SampleRegion, frames: Frames) -> Any:
    """Return pixels with NaN for what is missing as a masked array of the source's own type."""
    mask = np.isnan(pixels)
    corner = frames.reader.read(layout, Grid(type(region.box)(0, 0, 0, 0)), region.options.channels)
    if region.options.scale == (1.0, 1.0) and corner.dtype.kind != "f":
        pixels = np.where(mask, 0, pixels).astype(corner.dtype)
    return np.ma.MaskedArray(pixels, mask)


def _cast(pixels: Any, dtype: np.dtype[Any]) -> Any:
    """Cast pixels; NaN becomes 0 where the type has none."""
    if dtype.kind in "iub" and pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels, nan=0.0) if not np.ma.isMaskedArray(pixels) else pixels
    return pixels.astype(dtype, copy=False)
