"""Chooses the targets, images and videos that a picture of a dataset shows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.kwcoco_adapter import frames_of_video
from ndsampler.preview.sample import RGB_CHANNELS

if TYPE_CHECKING:
    from ndsampler.coco_sampler import CocoSampler

#: Maximum number of video frames that are shown.
STRIP_FRAMES = 5

#: Minimum and maximum side in pixels of a window whose size is derived from the annotations.
SMALLEST_WINDOW, LARGEST_WINDOW = 64, 512

#: Number of images whose sizes limit the window.
MEASURED = 20


def usual_window(sampler: CocoSampler) -> tuple[int, int]:
    """Return the height and width of a square that shows most annotations with some context.

    Its side is twice the size that three quarters of the annotations do not exceed. Without annotations, it
    is 256 pixels, or less if the images are small.

    Args:
        sampler: sampler of the dataset.
    """
    table = sampler.regions.targets
    if not len(table):
        dims = [sampler.frames.image_dims(gid) for gid in sampler.image_ids[:MEASURED]]
        side = min([256, *(min(extents) for extents in dims)])
        return (side, side)
    longer = np.maximum(np.asarray(table["width"], float), np.asarray(table["height"], float))
    side = int(np.clip(2 * np.quantile(longer, 0.75), SMALLEST_WINDOW, LARGEST_WINDOW))
    return (side, side)


def in_turn(kinds: Any, count: int, rng: np.random.Generator | np.random.RandomState) -> list[int]:
    """Return random rows such that every kind occurs once before any kind occurs again.

    Args:
        kinds: the kind of each row.
        count: number of rows to return; all rows if there are fewer.
        rng: the source of randomness.

    Example:
        >>> rows = in_turn(['car', 'car', 'car', 'boat'], 2, np.random.default_rng(0))
        >>> 3 in rows
        True
    """
    order = rng.permutation(len(kinds))
    shuffled = np.asarray(kinds)[order]
    turn = np.empty(len(order), np.int64)
    for kind in np.unique(shuffled):
        (where,) = np.nonzero(shuffled == kind)
        turn[where] = np.arange(len(where))
    return [int(row) for row in order[np.argsort(turn, kind="stable")[:count]]]


def largest_image(sampler: CocoSampler) -> tuple[int, tuple[int, int]]:
    """Return the id and the (height, width) of the image with the most pixels."""
    dims = {int(gid): sampler.frames.image_dims(gid) for gid in sampler.image_ids}
    gid = max(dims, key=lambda gid: dims[gid][0] * dims[gid][1])
    return gid, dims[gid]


def natural_colors(sampler: CocoSampler, gid: Any) -> dict[str, Any]:
    """Return the target key that loads only red, green and blue of an image with further channels.

    Args:
        sampler: sampler of the dataset.
        gid: image id.

    Returns:
        A dictionary with the key ``channels``; an empty one if the image lacks one of the three channels, or
        has no others.
    """
    found = {name for asset in sampler.frames.layout(gid).assets for name in asset.channels or ()}
    for wanted in RGB_CHANNELS:
        if found > set(wanted):
            return {"channels": "|".join(wanted)}
    return {}


def load_strip(sampler: CocoSampler, dims: tuple[int, int], count: int = STRIP_FRAMES, **keys: Any) -> Any:
    """Return a sample from the middle of the video with the most frames; None without a video.

    Its window is around the annotation of its first frame that is closest to the center of the video, or
    around the center of the video if that frame has none.

    Args:
        sampler: sampler of the dataset.
        dims: (height, width) of the window in pixels; less if the video is smaller.
        count: number of frames; all frames if there are fewer.
        **keys: further keys of the target.
    """
    frames = {video["id"]: frames_of_video(sampler.dset, video["id"]) for video in sampler.dset.videos().objs}
    vidid = max(frames, key=lambda key: len(frames[key]), default=None)
    if vidid is None or len(frames[vidid]) < 2:
        return None
    first = max(0, len(frames[vidid]) - count) // 2
    whole = sampler.frames.video_dims(vidid, frames[vidid][first])
    if not all(whole):
        return None
    place = _central_annotation(sampler, vidid, first, whole)
    window = tuple(_slice_around(*axis) for axis in zip(place, dims, whole))
    times = slice(first, min(first + count, len(frames[vidid])))
    return sampler.load_sample({"vidid": vidid, "time_slice": times, "space_slice": window, **keys})


def _central_annotation(
    sampler: CocoSampler, vidid: Any, frame: int, whole: tuple[int, int]
) -> tuple[float, float]:
    """Return the (y, x) center of the annotation of a frame that is closest to the center of the video."""
    center = (whole[0] / 2, whole[1] / 2)
    target = {
        "vidid": vidid,
        "time_slice": slice(frame, frame + 1),
        "space_slice": (slice(0, whole[0]), slice(0, whole[1])),
    }
    boxes = sampler.load_annots(target, with_annots="boxes")["rel_boxes"]
    places = [(float(y), float(x)) for x, y in boxes.to_cxywh().data[:, :2]]
    return min(places, key=lambda place: math.dist(place, center), default=center)


def _slice_around(center: float, side: int, extent: int) -> slice:
    """Return a slice of an axis around a position, inside the axis."""
    side = min(side, extent)
    start = min(max(0, round(center - side / 2)), extent - side)
    return slice(start, start + side)
