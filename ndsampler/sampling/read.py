"""
Step 3: the pixels of each frame, on the pixel grid of the sample.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import TargetError, WindowError
from ndsampler.frames.grid import Grid
from ndsampler.frames.resample import warp_pixels
from ndsampler.sampling.lazy import delay_frame
from ndsampler.sampling.native import read_parts, video_channels
from ndsampler.sampling.region import NO_MARGIN
from ndsampler.windows import PixelBox, check_affordable, embed_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.abstract_frames import Frames
    from ndsampler.frames.layout import FrameLayout
    from ndsampler.sampling.region import FrameRequest, SampleRegion


@dataclass(frozen=True, eq=False)
class FramePixels:
    """The pixels of one frame of a sample."""

    pixels: Any
    """(height, width, channels) of the sample; None for a frame outside the video."""
    channels: tuple[str, ...] | None
    """Names of the channels; None if they are not needed."""
    parts: dict[str, Any] | None = None
    """In native scale, where ``pixels`` is a list of arrays, the description of the parts."""


def read_frames(region: SampleRegion, frames: Frames) -> list[FramePixels]:
    """Read the window of every frame of a region.

    Args:
        region: the frames, the window and the reading options.
        frames: reads the files.

    Returns:
        Pixels of each frame, which the caller owns; a delayed image if the target has ``finalize=False``.

    Raises:
        UnknownChannelError: if an image lacks a channel; in a video the channel is NaN instead.
        SourceError: if a file is missing or damaged.
        WindowError: if the result would be far too large.
        TargetError: for arguments that :func:`numpy.pad` refuses.
    """
    channels = video_channels(region, frames) if region.is_video else region.options.channels
    requests = region.frame_requests(channels)
    if region.is_lazy:
        return [FramePixels(delay_frame(request, frames), channels) for request in requests]
    if region.is_native:
        reads = [read_parts(request, frames) for request in requests]
        return [FramePixels(pixels, channels, parts) for pixels, parts in reads]
    return [_read_frame(request, frames) for request in requests]


def _read_frame(request: FrameRequest, frames: Frames) -> FramePixels:
    """Read the window of one frame."""
    layout, names, options = request.layout, request.channels, request.region.options
    if layout is None:
        return FramePixels(None, names)
    if options.padkw is None:
        pixels = frames.reader.read(layout, _grid(request), names)
    else:
        pixels = _read_padded(layout, request, frames)
    if options.nodata == "ma":
        pixels = _as_masked(pixels, layout, request, frames)
    if options.dtype is not None:
        pixels = _cast(pixels, options.dtype)
    if options.as_xarray and not isinstance(names, tuple):
        names = frames.reader.channel_names(layout, names, pixels.shape[2])
    return FramePixels(pixels, names)


def _grid(request: FrameRequest) -> Grid:
    """Return the output grid of a frame."""
    region = request.region
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
        warp_space_from_img=request.warp_space_from_img,
        nan_outside=region.is_video,
    )


def _read_padded(layout: FrameLayout, request: FrameRequest, frames: Frames) -> NDArray[Any]:
    """Read the part of the window inside the image or video, and let numpy pad the rest."""
    region = request.region
    options, box = region.options, region.padded_box
    inside, margin = embed_box(box, *region.data_dims[-2:])
    grid = replace(_grid(request), box=inside, warp_out_from_box=None, dims=None)
    pixels = frames.reader.read(layout, grid, request.channels)
    if margin != NO_MARGIN:
        what = f"the window on image {layout.gid}"
        check_affordable(box.dims, pixels.dtype.itemsize, pixels.shape[2], what)
        pixels = _pad(pixels, (*margin, (0, 0)), options.padkw or {}, layout)
    if options.scale_matrix is None:
        return pixels
    return warp_pixels(pixels, options.scale_matrix, region.sample_dims, options.resampling)


def _pad(pixels: NDArray[Any], margins: Any, padkw: dict[str, Any], layout: FrameLayout) -> NDArray[Any]:
    """Apply :func:`numpy.pad`, with errors that explain what it refuses."""
    if pixels.size == 0 and padkw["mode"] not in ("constant", "empty"):
        raise WindowError(
            f"the window lies wholly outside image {layout.gid}, so there is nothing that padkw mode "
            f"{padkw['mode']!r} could continue; use mode 'constant', or another window"
        )
    try:
        return np.pad(pixels, margins, **padkw)
    except (ValueError, TypeError) as ex:
        raise TargetError(f"padkw is {padkw!r}; numpy.pad refuses it: {ex}") from ex


def _as_masked(pixels: NDArray[Any], layout: FrameLayout, request: FrameRequest, frames: Frames) -> Any:
    """Return pixels as an array that masks NaN, in the type of the file unless the pixels are resampled."""
    mask = np.isnan(pixels)
    nothing = Grid(PixelBox(0, 0, 0, 0), allow_missing=request.region.is_video)
    dtype = frames.reader.read(layout, nothing, request.channels).dtype
    if not request.region.options.is_scaled and dtype.kind != "f":
        pixels = np.where(mask, 0, pixels).astype(dtype)
    return np.ma.MaskedArray(pixels, mask)


def _cast(pixels: Any, dtype: np.dtype[Any]) -> Any:
    """Cast pixels; NaN becomes 0 in a type that has no NaN."""
    if dtype.kind in "iub" and pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels, nan=0.0) if not np.ma.isMaskedArray(pixels) else pixels
    return pixels.astype(dtype, copy=False)
