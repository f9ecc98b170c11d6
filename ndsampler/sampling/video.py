"""
Step 2 for videos: choosing the frames, and the transform from each frame to the video.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, KeysView, ValuesView
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ndsampler.errors import TargetError, UnknownTargetError, WindowError
from ndsampler.sampling.native import realign_largest
from ndsampler.sampling.options import read_options
from ndsampler.sampling.region import SampleRegion, check_size
from ndsampler.sampling.window import place_window
from ndsampler.windows import as_int, floor_slices, normalize_pad

if TYPE_CHECKING:
    from ndsampler.coco_frames import CocoFrames

#: Maximum number of frames of a sample.
MAX_FRAMES = 100_000


@dataclass(frozen=True)
class FrameChoice:
    """The frames of a sample, in order."""

    vidid: Any
    """Id of the video; None if the images belong to no video."""
    gids: tuple[Any, ...]
    """Image id of each frame; None for a frame before the first or after the last of the video."""
    n_frames: int
    """Number of frames of the whole video, or of the list in the target."""
    time_slice: slice
    """The time slice of the target; all frames if it states none."""
    positions: range
    """Position of each frame in the video, or in the list of the target."""


def is_video_target(target: dict[str, Any]) -> bool:
    """Whether a target describes a sample with a time axis."""
    return target.get("vidid") is not None or target.get("gids") is not None


def resolve_video_region(target: dict[str, Any], frames: CocoFrames) -> tuple[SampleRegion, dict[str, Any]]:
    """Resolve a target in a video: see :func:`ndsampler.sampling.resolve.resolve_region`.

    Raises:
        TargetError: if the target contains no frame of the video.
        UnknownTargetError: if there is no such video.
        UnknownIdError: if there is no such image.
        WindowError: if the window or its margin is malformed or far too large.
    """
    time_pad, *space_pad = normalize_pad(target.get("pad"), 3)
    slices = target.get("slices")
    has_time = isinstance(slices, (tuple, list)) and len(slices) == 3 and target.get("space_slice") is None
    time_slice = slices[0] if has_time else target.get("time_slice")  # type: ignore[index]
    target = _with_listed_gids(target)
    choice = choose_frames(target, time_slice, time_pad, frames)
    real = [gid for gid in choice.gids if gid is not None]
    dims = frames.video_dims(choice.vidid, real[0])
    layouts = tuple(None if gid is None else frames.layout(gid) for gid in choice.gids)
    warps = tuple(None if layout is None else layout.warp_vid_from_img for layout in layouts)
    inferred: dict[str, Any] = {} if target.get("vidid") is not None else {"vidid": choice.vidid}
    inferred.update(space_dims=dims, data_dims=(choice.n_frames, *dims))
    # Programs compute slices from the centers of annotations, which may be at half pixels; round them down.
    space_slice = floor_slices(slices[1:] if has_time else target.get("space_slice"))  # type: ignore[index]
    box = place_window({**target, "space_slice": space_slice, "slices": floor_slices(slices)}, dims, inferred)
    _state_frames(target, choice, real, inferred)
    region = SampleRegion(
        layouts=layouts,
        is_video=True,
        box=box,
        pad=(space_pad[0], space_pad[1]),
        data_dims=(choice.n_frames, *dims),
        options=read_options(target),
        warps_space_from_img=warps,
        stated_pad=target.get("pad"),
        positions=tuple(choice.positions),
    )
    if region.is_native and region.options.realign:
        region = realign_largest(region, frames)
    check_size(region)
    return region, {**target, **inferred}


def _with_listed_gids(target: dict[str, Any]) -> dict[str, Any]:
    """Return a target whose ``gids`` can be read twice and pickled: a list instead of an iterator or view."""
    gids = target.get("gids")
    if isinstance(gids, (Iterator, KeysView, ValuesView)):
        return {**target, "gids": list(gids)}
    return target


def _state_frames(
    target: dict[str, Any], choice: FrameChoice, real: list[Any], inferred: dict[str, Any]
) -> None:
    """Add the keys that describe the chosen frames to the inferred keys of a target."""
    if target.get("gids") is None:
        inferred["gids"] = real
    if target.get("time_slice") is None:
        inferred["time_slice"] = choice.time_slice
    inferred["slices"] = (inferred.get("time_slice", target.get("time_slice")), *inferred.pop("slices"))
    inferred["real_frames"] = [gid is not None for gid in choice.gids]


def choose_frames(
    target: dict[str, Any], time_slice: Any, time_pad: tuple[int, int], frames: CocoFrames
) -> FrameChoice:
    """Return the frames of a target.

    Args:
        target: states a video (``vidid``) or images (``gids``); ``gids`` takes precedence.
        time_slice: positions of frames in the video; a negative start is before the first frame.
        time_pad: number of frames to add before and after.
        frames: provides the frames of a video.

    Returns:
        The frames; positions outside the video have no image.

    Raises:
        TargetError: if the target contains no frame of the video, or ``gids`` is not a list.
        UnknownTargetError: if there is no such video.
        WindowError: for a malformed time slice.
    """
    stated = target.get("vidid")
    known = None if stated is None else _frames_of(stated, frames, target)
    given = None if _were_inferred(target, known, time_slice, time_pad) else target.get("gids")
    if given is None:
        gids, vidid, total = known or [], stated, len(known or ())
    else:
        gids, time_slice = _as_gids(given), None
        vidid, known = (stated, known) if known is not None else _video_of(gids[0], frames)
        total = len(gids) if known is None else len(known)
    positions = _positions(time_slice, len(gids), time_pad)
    chosen = tuple(gids[place] if 0 <= place < len(gids) else None for place in positions)
    if all(gid is None for gid in chosen):
        raise TargetError(
            f"the target contains no frame: gids is {given!r}, the time slice is {time_slice!r}, and "
            f"there are {len(gids)} frames"
        )
    stated_slice = slice(0, len(gids)) if time_slice is None else time_slice
    return FrameChoice(vidid, chosen, total, stated_slice, positions)


def _as_gids(given: Any) -> list[Any]:
    """Return the image ids that a target lists."""
    if isinstance(given, str) or not isinstance(given, Iterable) or getattr(given, "ndim", 1) == 0:
        raise TargetError(f"gids is {given!r}; expected a list of image ids")
    gids = list(given)
    if not gids:
        raise TargetError("the target contains no frame: gids is empty; expected at least one image id")
    return gids


def _frames_of(vidid: Any, frames: CocoFrames, target: dict[str, Any]) -> list[Any] | None:
    """Return the frames of the video that a target states.

    If the target also has ``gids``, an unknown video is ignored, and the result is None.
    """
    try:
        return frames.video_gids(vidid)
    except UnknownTargetError:
        if target.get("gids") is None:
            raise
        return None


def _video_of(gid: Any, frames: CocoFrames) -> tuple[Any, list[Any] | None]:
    """Return the video of an image and its frames; None for both if it belongs to no video of the dataset."""
    vidid = frames.video_of(gid)
    known = None if vidid is None else _frames_of(vidid, frames, {"gids": [gid]})
    return (None if known is None else vidid), known


def _were_inferred(
    target: dict[str, Any], known: list[Any] | None, time_slice: Any, time_pad: tuple[int, int]
) -> bool:
    """Whether the key ``gids`` of a target was added when the target was resolved earlier.

    In that case it lacks the frames outside the video, which the time slice still includes.
    """
    if known is None or target.get("real_frames") is None or target.get("gids") is None:
        return False
    positions = _positions(time_slice, len(known), time_pad)
    return [known[place] for place in positions if 0 <= place < len(known)] == list(target["gids"])


def _positions(time_slice: Any, count: int, pad: tuple[int, int]) -> range:
    """Return the positions of frames in the video; some may be outside it."""
    part = slice(None) if time_slice is None else time_slice
    if not isinstance(part, slice):
        raise WindowError(f"time_slice is {time_slice!r}; expected a slice of frames")
    start = 0 if part.start is None else as_int(part.start, "the start of time_slice")
    stop = count if part.stop is None else as_int(part.stop, "the stop of time_slice")
    step = 1 if part.step is None else as_int(part.step, "the step of time_slice")
    if step < 1:
        raise WindowError(f"time_slice is {time_slice!r}; expected a step of 1 or more")
    inner = range(start, stop, step)
    if len(inner) + sum(pad) > MAX_FRAMES:
        raise WindowError(f"the target has {len(inner) + sum(pad)} frames; expected at most {MAX_FRAMES}")
    if not any(0 <= place < count for place in inner):
        raise TargetError(f"time_slice is {time_slice!r}; it contains none of the {count} frames")
    return range(start - pad[0] * step, start + (len(inner) + pad[1]) * step, step)
