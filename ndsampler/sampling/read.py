"""
Step 3: the pixels of each frame, on the grid of the sample.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import TargetError, WindowError
from ndsampler.frames.grid import Grid
from ndsampler.frames.resample import warp_pixels
from ndsampler.sampling.lazy import delay_frames
from ndsampler.sampling.native import read_parts, video_channels
from ndsampler.sampling.window import NO_MARGIN
from ndsampler.windows import PixelBox, check_affordable, embed_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.abstract_frames import Frames
    from ndsampler.frames.layout import FrameLayout
    from ndsampler.sampling.window import SampleRegion


@dataclass(frozen=True)
class FramePixels:
    """What was read of one frame."""

    pixels: Any
    """(height, width, channels) of the sample; None for a frame outside the video."""
    channels: tuple[str, ...] | None
    """Names of the channels, where they matter."""
    parts: dict[str, Any] | None = None
    """In native scale, where ``pixels`` is a list of arrays: what each of them is."""


def read_frames(region: SampleRegion, frames: Frames) -> list[FramePixels]:
    """Read the window of every frame of a region.

    Args:
        region: frames, window and options.
        frames: reads them.

    Returns:
        Pixels for each frame, which belong to the caller; a delayed image where the target asks for it.

    Raises:
        UnknownChannelError: if an image lacks a channel; in a video it is NaN instead.
        SourceError: if a file is missing or damaged.
        WindowError: if the result would be absurdly large.
        TargetError: for arguments that :func:`numpy.pad` refuses.
    """
    names = video_channels(region, frames) if region.is_video else region.options.channels
    if region.is_lazy:
        images = delay_frames(region, names, frames)
        return [FramePixels(image, names) for image in images]
    if region.is_native:
        reads = [read_parts(layout, warp, names, region, frames) for layout, warp in region.warped_layouts]
        return [FramePixels(pixels, names, parts) for pixels, parts in reads]
    return [
        FramePixels(None, names) if layout is None else _read_frame(layout, warp, names, region, frames)
        for layout, warp in region.warped_layouts
    ]


def _read_frame(
    layout: FrameLayout, warp: Any, names: Any, region: SampleRegion, frames: Frames
) -> FramePixels:
    """Read the window of one frame."""
    options = region.options
    if options.padkw is None:
        pixels = frames.reader.read(layout, _grid(region, warp), names)
    else:
        pixels = _read_padded(layout, warp, names, region, frames)
    if options.nodata == "ma":
        pixels = _as_masked(pixels, layout, names, region, frames)
    if options.dtype is not None:
        pixels = _cast(pixels, options.dtype)
    if options.as_xarray and not isinstance(names, tuple):
        names = frames.reader.channel_names(layout, names, pixels.shape[2])
    return FramePixels(pixels, names)


def _grid(region: SampleRegion, warp: Any) -> Grid:
    """Return the output grid of a region on a frame that a matrix warps into its space."""
    options = region.options
    if not region.is_video and not options.is_scaled and options.nodata is None:
        return Grid(region.padded_box)
    return Grid(
        region.padded_box,
        warp_out_from_box=options.scale_matrix,
        dims=region.sample_dims,
        resampling=options.resampling,
        nodata=options.missing,
        allow_missing=region.is_video,
        warp_space_from_img=warp,
        nan_outside=region.is_video,
    )


def _read_padded(
    layout: FrameLayout, warp: Any, names: Any, region: SampleRegion, frames: Frames
) -> NDArray[Any]:
    """Read the part inside the image or video and let numpy make up the rest from it."""
    options, box = region.options, region.padded_box
    inside, margin = embed_box(box, *region.data_dims[-2:])
    grid = replace(_grid(region, warp), box=inside, warp_out_from_box=None, dims=None)
    pixels = frames.reader.read(layout, grid, names)
    if margin != NO_MARGIN:
        what = f"the window on image {layout.gid}"
        check_affordable(box.dims, pixels.dtype.itemsize, pixels.shape[2], what)
        pixels = _pad(pixels, (*margin, (0, 0)), options.padkw or {}, layout)
    if options.scale_matrix is None:
        return pixels
    return warp_pixels(pixels, options.scale_matrix, region.sample_dims, options.resampling)


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


def _as_masked(
    pixels: NDArray[Any], layout: FrameLayout, names: Any, region: SampleRegion, frames: Frames
) -> Any:
    """Return pixels with NaN for what is missing as a masked array, of the file's own type if that can be."""
    mask = np.isnan(pixels)
    nothing = Grid(PixelBox(0, 0, 0, 0), allow_missing=region.is_video)
    dtype = frames.reader.read(layout, nothing, names).dtype
    if not region.options.is_scaled and dtype.kind != "f":
        pixels = np.where(mask, 0, pixels).astype(dtype)
    return np.ma.MaskedArray(pixels, mask)


def _cast(pixels: Any, dtype: np.dtype[Any]) -> Any:
    """Cast pixels; NaN becomes 0 where the type has none."""
    if dtype.kind in "iub" and pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels, nan=0.0) if not np.ma.isMaskedArray(pixels) else pixels
    return pixels.astype(dtype, copy=False)
