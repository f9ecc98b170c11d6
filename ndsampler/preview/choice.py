"""Chooses the targets, images and videos that a picture of a dataset shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.entries import stated_video_dims
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


def load_strip(sampler: CocoSampler, window: int, **keys: Any) -> Any:
    """Return a sample from the center of the video with the most frames; None without a video.

    Args:
        sampler: sampler of the dataset.
        window: side of the sample in pixels; less if the video is smaller.
        **keys: further keys of the target.
    """
    videos = sampler.dset.videos().objs
    frames = {video["id"]: len(frames_of_video(sampler.dset, video["id"])) for video in videos}
    video: dict[str, Any] = max(videos, key=lambda video: frames[video["id"]], default={})
    count = min(frames.get(video.get("id"), 0), STRIP_FRAMES)
    dims = stated_video_dims(video["id"], video) if count > 1 else None
    if dims is None or not all(dims):
        return None
    first = (frames[video["id"]] - count) // 2
    sides = [(extent // 2, min(window, extent)) for extent in dims]
    rows, columns = (slice(middle - side // 2, middle - side // 2 + side) for middle, side in sides)
    target = {"vidid": video["id"], "time_slice": slice(first, first + count), "space_slice": (rows, columns)}
    return sampler.load_sample({**target, **keys})
