"""
Step 3 for native scale: the files of a frame as separate parts, each at its own resolution.

All parts of a frame cover the same window, with axes parallel to those of the video. They differ in the
number of pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.frames.grid import Grid
from ndsampler.frames.layout import ALL_CHANNELS, BandRead, ReadPlan
from ndsampler.frames.specs import fused_spec
from ndsampler.sampling.finish import FramePixels
from ndsampler.sampling.padding import pad_outside
from ndsampler.sampling.region import scaled_length

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.abstract_frames import Frames
    from ndsampler.frames.layout import Asset
    from ndsampler.sampling.region import FrameRequest, SampleRegion


@dataclass(frozen=True, eq=False)
class NativePart:
    """Adjacent channels of a sample that come from the same file, or that the frame lacks."""

    channels: tuple[str, ...]
    """Names of the channels."""
    asset: Asset | None
    """The file; None for channels that the frame lacks."""
    bands: tuple[int, ...]
    """Index of the file's band for each channel."""
    scale: tuple[float, float]
    """(x, y) pixels of the part per pixel of the video."""

    def dims(self, region: SampleRegion, factor: tuple[float, float]) -> tuple[int, int]:
        """Return (height, width) of the part of a region.

        Args:
            region: the window.
            factor: (x, y) scale factors of the target.
        """
        if self.asset is None:
            return scaled_length(1, factor[1]), scaled_length(1, factor[0])
        height, width = region.padded_box.dims
        native = scaled_length(height, self.scale[1]), scaled_length(width, self.scale[0])
        return scaled_length(native[0], factor[1]), scaled_length(native[1], factor[0])


def axis_scales(warp: NDArray[Any]) -> tuple[float, float]:
    """Return the scales along x and y of a 3x3 matrix, without its rotation and shear.

    The matrix is factored into rotation times shear times scale, as :meth:`kwimage.Affine.decompose` does.

    Args:
        warp: 3x3 matrix.

    Example:
        >>> axis_scales(np.array([[0, -3.0, 5], [2.0, 0, 5], [0, 0, 1]]))
        (2.0, 3.0)
    """
    (a, b), (c, d) = warp[:2, :2].tolist()
    scale_x = math.hypot(a, c)
    return scale_x, abs(a * d - b * c) / scale_x


def plan_parts(warp: NDArray[Any] | None, plan: ReadPlan) -> list[NativePart]:
    """Return the parts of a frame in the order of the channels.

    Args:
        warp: 3x3 matrix from the frame to the video; None for the identity.
        plan: provides the file and band of each channel.
    """
    source: dict[int, tuple[Asset, int]] = {}
    for read in plan.reads:
        source.update({place: (read.asset, band) for place, band in zip(read.places, read.bands)})
    parts = []
    for path, run in groupby(range(len(plan.channels)), key=lambda place: _path_of(source.get(place))):
        places = list(run)
        names = tuple(plan.channels[place] for place in places)
        if path is None:
            parts.append(_missing_part(names))
            continue
        asset = source[places[0]][0]
        matrix = np.eye(3) if warp is None else warp
        if asset.warp_img_from_asset is not None:
            matrix = matrix @ asset.warp_img_from_asset
        bands = tuple(source[place][1] for place in places)
        parts.append(NativePart(names, asset, bands, axis_scales(np.linalg.inv(matrix))))
    return parts


def _path_of(found: tuple[Asset, int] | None) -> str | None:
    """Return the file that a channel comes from; None if there is none."""
    return None if found is None else found[0].path


def _missing_part(channels: tuple[str, ...]) -> NativePart:
    """Return the part for channels that a frame lacks."""
    return NativePart(channels, None, (), (1.0, 1.0))


def frame_parts(request: FrameRequest, frames: Frames) -> list[NativePart]:
    """Return the parts of a frame; a frame outside the video has one part, which is missing.

    Args:
        request: the frame and its channels.
        frames: provides the files.
    """
    if request.layout is None:
        return [_missing_part(request.channels)]
    plan = frames.reader.plan(request.layout, request.channels, allow_missing=True)
    return plan_parts(request.warp_space_from_img, plan)


def read_parts(request: FrameRequest, frames: Frames) -> tuple[list[FramePixels], dict[str, Any]]:
    """Read the window of a frame in native scale.

    Args:
        request: the frame, its window, channels and options.
        frames: reads the files.

    Returns:
        The pixels of each part, and a dictionary of lists with an item for each part: ``align``, the affine
        transform from pixels of the video within the window to the unit square that the part covers;
        ``chans``, its channels, or None if the dataset names none; and ``grid_to_part_warps``, the affine
        transform from the video to the sample.
    """
    import kwimage

    region = request.region
    to_sample = np.linalg.inv(region.warp_space_from_sample)
    height, width = region.padded_box.dims
    pixels, meta = [], {"align": [], "chans": [], "grid_to_part_warps": []}  # type: ignore[var-annotated]
    for part in frame_parts(request, frames):
        pixels.append(_read_part(part, request, frames))
        rows, cols = part.dims(region, (1.0, 1.0)) if part.asset else (height, width)
        meta["align"].append(kwimage.Affine.scale((part.scale[0] / cols, part.scale[1] / rows)))
        meta["chans"].append(fused_spec(part.channels) if region.names_channels else None)
        meta["grid_to_part_warps"].append(kwimage.Affine(to_sample.copy()))
    return pixels, meta


def _read_part(part: NativePart, request: FrameRequest, frames: Frames) -> FramePixels:
    """Return the pixels of one part; NaN for channels that the frame lacks."""
    region, layout, asset = request.region, request.layout, part.asset
    options = region.options
    dims = part.dims(region, options.scale)
    if asset is None or layout is None:
        missing = np.full((*dims, len(part.channels)), np.nan)
        rows, cols = region.padded_box.dims
        return FramePixels(missing, part.channels, (dims[1] / cols, dims[0] / rows))
    plan = ReadPlan((BandRead(asset, part.bands, tuple(range(len(part.bands)))),), part.channels)
    density = part.scale[0] * options.scale[0], part.scale[1] * options.scale[1]
    if options.padkw is None or region.lies_inside:
        pixels = frames.reader.gather(layout, plan, _grid(request, density, dims))
    else:
        unscaled = _grid(request, part.scale, part.dims(region, (1.0, 1.0)))
        pixels = frames.reader.gather(layout, plan, unscaled)
        pixels = pad_outside(pixels, part.scale, dims, request)
    dtype = frames.reader.asset_shape(layout, asset).dtype if options.nodata == "ma" else None
    return FramePixels(pixels, part.channels, density, dtype)


def _grid(request: FrameRequest, density: tuple[float, float], dims: tuple[int, int]) -> Grid:
    """Return the grid of a part with a given density: (x, y) pixels per pixel of the video."""
    options = request.region.options
    return Grid(
        request.region.padded_box,
        warp_out_from_box=np.diag([*density, 1.0]),
        dims=dims,
        resampling=options.resampling,
        nodata=options.nodata,
        warp_space_from_img=request.warp_space_from_img,
        nan_outside=True,
    )


def video_channels(region: SampleRegion, frames: Frames) -> tuple[str, ...]:
    """Return the channels of a video sample: those of the target, else all channels of all frames, sorted.

    If the dataset names no channels, they keep the order of the file.

    Args:
        region: the frames and the reading options.
        frames: provides the channels of the files.
    """
    asked = region.options.channels
    if isinstance(asked, tuple):
        return asked
    names: dict[str, None] = {}
    for layout in region.layouts:
        if layout is not None:
            names.update(dict.fromkeys(frames.reader.plan(layout, ALL_CHANNELS).channels))
    return tuple(sorted(names)) if region.names_channels else tuple(names)


def realign_largest(region: SampleRegion, frames: Frames) -> SampleRegion:
    """Return a region whose parts are joined at the resolution of the finest part, so that none is shrunk.

    Args:
        region: region of a video in native scale.
        frames: provides the resolutions of the files.
    """
    dims = [(1, 1)]
    for request in region.frame_requests(video_channels(region, frames)):
        parts = frame_parts(request, frames)
        dims += [part.dims(region, region.options.scale) for part in parts if part.asset is not None]
    height, width = region.padded_box.dims
    scale = max(cols for _, cols in dims) / width, max(rows for rows, _ in dims) / height
    return replace(region, options=replace(region.options, scale=scale, native=False))
