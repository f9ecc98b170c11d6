"""
Step 2: which frames, which window, read how.

After this step nobody looks into the user's dictionary any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndsampler.sampling.options import read_options
from ndsampler.sampling.video import is_video_target, resolve_video_region
from ndsampler.sampling.window import SampleRegion, check_size, place_window
from ndsampler.windows import normalize_pad

if TYPE_CHECKING:
    from ndsampler.coco_frames import CocoFrames

__all__ = ["SampleRegion", "resolve_region"]


def resolve_region(target: dict[str, Any], frames: CocoFrames) -> tuple[SampleRegion, dict[str, Any]]:
    """Decide what a target asks for.

    Args:
        target: as :func:`ndsampler.sampling.target.normalize_target` returns it.
        frames: knows the sizes of images and videos.

    Returns:
        The region, and the target with the keys that say what was decided: ``space_dims``,
        ``data_dims``, ``window_dims`` for centered windows, ``space_slice`` and ``slices``; for a video
        also ``vidid``, ``gids``, ``time_slice`` and ``real_frames``, which tells the frames that exist from
        those before the first and after the last.

    Raises:
        TargetError: if the target contradicts itself or lacks something.
        WindowError: if its window is malformed or absurdly large.
        UnknownIdError: if there is no such image or video.
    """
    if is_video_target(target):
        return resolve_video_region(target, frames)
    gid = target["gid"]
    layout = frames.layout(gid)
    dims = frames.reader.dims(layout)
    inferred: dict[str, Any] = {"space_dims": dims, "data_dims": dims}
    box = place_window(target, dims, inferred)
    (top, bottom), (left, right) = normalize_pad(target.get("pad"))
    pad = ((top, bottom), (left, right))
    region = SampleRegion((layout,), False, box, pad, dims, read_options(target))
    check_size(region)
    return region, {**target, **inferred}
