"""
Step 3 for native scale: the assets of a frame as separate parts, each at its own resolution.

The parts of a frame cover the same window with their axes along the video's; only their numbers of
pixels differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.frames.grid import Grid
from ndsampler.frames.layout import ALL_CHANNELS, BandRead, ReadPlan
from ndsampler.sampling.window import scaled_length

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.abstract_frames import Frames
    from ndsampler.frames.layout import Asset, FrameLayout
    from ndsampler.sampling.window import SampleRegion


@dataclass(frozen=True)
class NativePart:
    """Neighboring channels of one asset, or channels that the frame lacks."""

    channels: tuple[str, ...]
    """Their names."""
    asset: Asset | None
    """The file; None for channels that the frame lacks."""
    bands: tuple[int, ...]
    """Indexes of its bands."""
    scale: tuple[float, float]
    """(x, y) pixels of the part for one pixel of the video."""

    def dims(self, region: SampleRegion, factor: tuple[float, float]) -> tuple[int, int]:
        """Return (height, width) of the part on a region, enlarged by (x, y) factors."""
        if self.asset is None:
            return scaled_length(1, factor[1]), scaled_length(1, factor[0])
        height, width = region.padded_box.dims
        native = scaled_length(height, self.scale[1]), scaled_length(width, self.scale[0])
        return scaled_length(native[0], factor[1]), scaled_length(native[1], factor[0])


def axis_scales(warp: NDArray[Any]) -> tuple[float, float]:
    """Return the scales along x and y of a 3x3 matrix, its rotation and shear left aside.

    The matrix is taken as rotation times shear times scale, as :meth:`kwimage.Affine.decompose` does.

    Example:
        >>> axis_scales(np.array([[0, -3.0, 5], [2.0, 0, 5], [0, 0, 1]]))
        (2.0, 3.0)
    """
    (a, b), (c, d) = warp[:2, :2].tolist()
    scale_x = math.hypot(a, c)
    return scale_x, abs(a * d - b * c) / scale_x


def plan_parts(warp: NDArray[Any] | None, plan: ReadPlan) -> list[NativePart]:
    """Return the parts of a frame, in the order of the channels.

    Args:
        warp: 3x3 matrix from the frame to the video; None when they are the same.
        plan: says where each channel comes from.
    """
    source: dict[int, tuple[Asset, int]] = {}
    for read in plan.reads:
        source.update({place: (read.asset, band) for place, band in zip(read.places, read.bands)})
    parts = []
    for path, run in groupby(range(len(plan.channels)), key=lambda place: _path_of(source.get(place))):
        places = list(run)
        names = tuple(plan.channels[place] for place in places)
        if path is None:
            parts.append(NativePart(names, None, (), (1.0, 1.0)))
            continue
        asset = source[places[0]][0]
        matrix = np.eye(3) if warp is None else warp
        if asset.warp_img_from_asset is not None:
            matrix = matrix @ asset.warp_img_from_asset
        bands = tuple(source[place][1] for place in places)
        parts.append(NativePart(names, asset, bands, axis_scales(np.linalg.inv(matrix))))
    return parts


def _path_of(found: tuple[Asset, int] | None) -> str | None:
    """Return the file that a channel comes from, or None."""
    return None if found is None else found[0].path


def frame_parts(
    layout: FrameLayout | None, warp: NDArray[Any] | None, names: tuple[str, ...], frames: Frames
) -> list[NativePart]:
    """Return the parts of a frame; a frame outside the video is one part that is missing."""
    if layout is None:
        return [NativePart(names, None, (), (1.0, 1.0))]
    return plan_parts(warp, frames.reader.plan(layout, names, allow_missing=True))


def read_parts(
    layout: FrameLayout | None,
    warp: NDArray[Any] | None,
    names: tuple[str, ...],
    region: SampleRegion,
    frames: Frames,
) -> tuple[list[Any], dict[str, Any]]:
    """Read the window of one frame in native scale.

    Args:
        layout: the files of the frame; None for a frame outside the video.
        warp: 3x3 matrix from the frame to the video.
        names: channels.
        region: window and options.
        frames: reads them.

    Returns:
        (height, width, channels) pixels of each part, and for the parts: ``align``, the affine from
        pixels of the video within the window to the unit square, as far as the part reaches; ``chans``,
        their channels; and ``grid_to_part_warps``, the affine from the video to the sample.
    """
    import kwimage
    from delayed_image.channel_spec import FusedChannelSpec

    parts = frame_parts(layout, warp, names, frames)
    factor = region.options.scale
    to_sample = np.linalg.inv(region.warp_space_from_sample)
    height, width = region.padded_box.dims
    pixels, meta = [], {"align": [], "chans": [], "grid_to_part_warps": []}  # type: ignore[var-annotated]
    for part in parts:
        dims = part.dims(region, factor)
        pixels.append(_read_part(layout, part, dims, warp, region, frames))
        rows, cols = part.dims(region, (1.0, 1.0)) if part.asset else (height, width)
        meta["align"].append(kwimage.Affine.scale((part.scale[0] / cols, part.scale[1] / rows)))
        meta["chans"].append(FusedChannelSpec.coerce("|".join(part.channels)))
        meta["grid_to_part_warps"].append(kwimage.Affine(to_sample.copy()))
    return pixels, meta


def _read_part(
    layout: FrameLayout | None,
    part: NativePart,
    dims: tuple[int, int],
    warp: NDArray[Any] | None,
    region: SampleRegion,
    frames: Frames,
) -> NDArray[Any]:
    """Return the pixels of one part; NaN for channels that the frame lacks."""
    if part.asset is None or layout is None:
        return np.full((*dims, len(part.channels)), np.nan)
    options = region.options
    to_part = np.diag([part.scale[0] * options.scale[0], part.scale[1] * options.scale[1], 1.0])
    grid = Grid(
        region.padded_box,
        warp_out_from_box=to_part,
        dims=dims,
        resampling=options.resampling,
        nodata=options.missing,
        warp_space_from_img=warp,
        nan_outside=True,
    )
    places = tuple(range(len(part.bands)))
    plan = ReadPlan((BandRead(part.asset, part.bands, places),), part.channels)
    pixels = frames.reader.gather(layout, plan, grid)
    return pixels if options.dtype is None else pixels.astype(options.dtype)


def video_channels(region: SampleRegion, frames: Frames) -> tuple[str, ...]:
    """Return the channels of a sample of a video: those asked for, else all of any frame, sorted."""
    asked = region.options.channels
    if isinstance(asked, tuple):
        return asked
    names: set[str] = set()
    for layout in region.layouts:
        if layout is not None:
            names.update(frames.reader.plan(layout, ALL_CHANNELS).channels)
    return tuple(sorted(names))


def realign_largest(region: SampleRegion, frames: Frames) -> SampleRegion:
    """Return the region scaled so that no part of any of its frames is shrunk, with the parts joined.

    Args:
        region: of a video, in native scale.
        frames: knows the resolutions.
    """
    names = video_channels(region, frames)
    dims = [(1, 1)]
    for layout, warp in region.warped_layouts:
        parts = frame_parts(layout, warp, names, frames)
        dims += [part.dims(region, region.options.scale) for part in parts if part.asset is not None]
    height, width = region.padded_box.dims
    scale = max(cols for _, cols in dims) / width, max(rows for rows, _ in dims) / height
    return replace(region, options=replace(region.options, scale=scale, native=False))
