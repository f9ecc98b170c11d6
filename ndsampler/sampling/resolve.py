"""
Step 2: resolving the frames, the window and the reading options of a target.

After this step no code reads the user's dictionary, except to add keys to the returned target.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ndsampler.errors import WindowError
from ndsampler.sampling.options import ReadOptions, read_options
from ndsampler.sampling.region import SampleRegion, check_size
from ndsampler.sampling.video import is_video_target, resolve_video_region
from ndsampler.sampling.window import channel_slice, place_window
from ndsampler.windows import normalize_pad

if TYPE_CHECKING:
    from ndsampler.coco_frames import CocoFrames
    from ndsampler.frames.layout import FrameLayout

__all__ = ["resolve_region"]


def resolve_region(target: dict[str, Any], frames: CocoFrames) -> tuple[SampleRegion, dict[str, Any]]:
    """Resolve a target into a region.

    Args:
        target: the result of :func:`ndsampler.sampling.target.normalize_target`.
        frames: provides the files and sizes of images and videos.

    Returns:
        The region, and the target with the inferred keys: ``space_dims`` and ``data_dims``, ``space_slice``
        and ``slices``, and ``window_dims`` for a centered window; for a video also ``vidid``, ``gids``,
        ``time_slice``, and ``real_frames``, which is False for frames before the first or after the last.

    Raises:
        TargetError: if the target lacks a key or contradicts itself.
        WindowError: if its window is malformed or too large for memory.
        UnknownIdError: if there is no such image or video.
    """
    if is_video_target(target):
        return resolve_video_region(target, frames)
    gid = target["gid"]
    layout = frames.layout(gid)
    dims = frames.reader.dims(layout)
    inferred: dict[str, Any] = {"space_dims": dims, "data_dims": dims}
    options = read_options(target)
    slices = target.get("slices")
    if slices is not None and isinstance(slices, (tuple, list)) and len(slices) == 3:
        box = place_window({**target, "slices": slices[:2]}, dims, inferred)
        bands = channel_slice(target)
        if bands is not None:
            inferred["slices"] = slices
            options = _pick_channels(options, bands, layout, frames)
    else:
        box = place_window(target, dims, inferred)
    (top, bottom), (left, right) = normalize_pad(target.get("pad"))
    pad = ((top, bottom), (left, right))
    region = SampleRegion((layout,), False, box, pad, dims, options)
    check_size(region)
    return region, {**target, **inferred}


def _pick_channels(options: ReadOptions, part: slice, layout: FrameLayout, frames: CocoFrames) -> ReadOptions:
    """Return the options with the channels that a slice selects."""
    names = frames.reader.plan(layout, options.channels).channels
    try:
        picked = names[part]
    except TypeError:
        picked = ()
    if not picked:
        raise WindowError(
            f"the third of slices is {part!r}; for a still image it selects channels, and image {layout.gid} "
            f"has {len(names)}: {'|'.join(names)}. To sample a video, use 'vidid' or 'gids'"
        )
    return replace(options, channels=picked)
