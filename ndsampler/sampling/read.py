"""
Step 3: the pixels of each frame, on the pixel grid of the sample.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ndsampler.frames.grid import Grid
from ndsampler.sampling.finish import FramePixels
from ndsampler.sampling.lazy import delay_frame
from ndsampler.sampling.native import read_parts, video_channels
from ndsampler.sampling.options import DEFAULT_OPTIONS
from ndsampler.sampling.padding import pad_outside
from ndsampler.windows import PixelBox

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ndsampler.abstract_frames import Frames
    from ndsampler.frames.layout import FrameLayout
    from ndsampler.sampling.region import FrameRequest, SampleRegion


def read_frames(region: SampleRegion, frames: Frames) -> list[FramePixels]:
    """Read the window of every frame of a region.

    Args:
        region: the frames, the window and the reading options.
        frames: reads the files.

    Returns:
        Pixels of each frame, which the caller may modify; a delayed image if the target has
        ``finalize=False``.

    Raises:
        UnknownChannelError: if an image lacks a channel; in a video the channel is NaN instead.
        SourceError: if a file is missing or damaged.
        WindowError: if the result would be far too large.
        TargetError: for arguments that :func:`numpy.pad` rejects.
    """
    channels = video_channels(region, frames) if region.is_video else region.options.channels
    requests = region.frame_requests(channels)
    if region.is_lazy:
        return [FramePixels(delay_frame(request, frames), channels) for request in requests]
    if region.is_native:
        reads = [read_parts(request, frames) for request in requests]
        return [FramePixels(pixels, channels, parts=parts) for pixels, parts in reads]
    return [_read_frame(request, frames) for request in requests]


def _read_frame(request: FrameRequest, frames: Frames) -> FramePixels:
    """Read the window of one frame."""
    layout, names, region = request.layout, request.channels, request.region
    if layout is None:
        return FramePixels(None, names)
    grid = frame_grid(request)
    if region.options.padkw is None or region.lies_inside:
        pixels = frames.reader.read(layout, grid, names)
    else:
        unscaled = replace(grid, warp_out_from_box=None, dims=None)
        pixels = frames.reader.read(layout, unscaled, names)
        pixels = pad_outside(pixels, (1.0, 1.0), region.sample_dims, request)
    return describe_pixels(pixels, request, frames)


def describe_pixels(pixels: NDArray[Any] | None, request: FrameRequest, frames: Frames) -> FramePixels:
    """Return the pixels of a frame with the properties that later steps need.

    Args:
        pixels: the window of the frame, on its output grid; None for a frame outside the video.
        request: the frame.
        frames: provides the files.
    """
    layout, names, options = request.layout, request.channels, request.region.options
    if options is DEFAULT_OPTIONS or layout is None or pixels is None:
        return FramePixels(pixels, names)
    dtype = _file_dtype(layout, request, frames) if options.nodata == "ma" else None
    if options.as_xarray and not isinstance(names, tuple):
        names = frames.reader.channel_names(layout, names, pixels.shape[2])
    return FramePixels(pixels, names, options.scale, dtype)


def _file_dtype(layout: FrameLayout, request: FrameRequest, frames: Frames) -> np.dtype[Any]:
    """Return the type that the channels of a frame have in their files."""
    nothing = Grid(PixelBox(0, 0, 0, 0), allow_missing=request.region.is_video)
    return frames.reader.read(layout, nothing, request.channels).dtype


def frame_grid(request: FrameRequest) -> Grid:
    """Return the output grid of a frame.

    Args:
        request: the frame.
    """
    region = request.region
    options = region.options
    if not region.is_video and not options.is_scaled and options.nodata is None:
        return Grid(region.padded_box)
    return Grid(
        region.padded_box,
        warp_out_from_box=options.scale_matrix,
        dims=region.sample_dims,
        resampling=options.resampling,
        nodata=options.nodata,
        allow_missing=region.is_video,
        warp_space_from_img=request.warp_space_from_img,
        nan_outside=region.is_video,
    )
