"""Samples of videos, as named cases for the comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Case = tuple[str, Callable[[], Any]]

SPACE = (slice(10, 34), slice(8, 40))

BASE: dict[str, Any] = {"vidid": 1, "time_slice": slice(0, 2), "space_slice": SPACE}

TARGETS: dict[str, dict[str, Any]] = {
    "base": BASE,
    "slices": {"vidid": 1, "slices": (slice(0, 2), *SPACE)},
    "gids": {"gids": [1, 3], "space_slice": SPACE},
    "gids out of order": {"gids": [3, 1], "space_slice": SPACE},
    "gids one": {"gids": [2], "space_slice": SPACE},
    "gids tuple": {"gids": (1, 2), "space_slice": SPACE},
    "gids array": {"gids": np.array([1, 2]), "space_slice": SPACE},
    "gids repeated": {"gids": [1, 1], "space_slice": SPACE},
    "gids and vidid": {"vidid": 1, "gids": [1, 3], "space_slice": SPACE},
    "gids empty": {"gids": [], "space_slice": SPACE},
    "gids unknown": {"gids": [99], "space_slice": SPACE},
    "gids and unknown vidid": {"vidid": 99, "gids": [1, 3], "space_slice": SPACE},
    "gids and vidid in words": {"vidid": "mine", "gids": [1, 3], "space_slice": SPACE},
    "gids and unknown aid": {"gids": [1, 3], "aid": 99, "space_slice": SPACE},
    "gids and aid of another": {"gids": [1, 2], "aid": 3, "window_dims": (16, 16)},
    "vidid none": {"vidid": None, "gids": [1, 3], "space_slice": SPACE},
    "video_id": {"video_id": 1, "time_slice": slice(0, 2), "space_slice": SPACE},
    "image_ids": {"image_ids": [1, 2], "space_slice": SPACE},
    "gid and vidid": {"gid": 1, "vidid": 1, "space_slice": SPACE},
    "vidid alone": {"vidid": 1},
    "no time": {"vidid": 1, "space_slice": SPACE},
    "no space": {"vidid": 1, "time_slice": slice(0, 2)},
    "time open": {"vidid": 1, "time_slice": slice(1, None), "space_slice": SPACE},
    "time past end": {"vidid": 1, "time_slice": slice(2, 5), "space_slice": SPACE},
    "time negative": {"vidid": 1, "time_slice": slice(-1, 2), "space_slice": SPACE},
    "time empty": {"vidid": 1, "time_slice": slice(1, 1), "space_slice": SPACE},
    "time outside": {"vidid": 1, "time_slice": slice(7, 9), "space_slice": SPACE},
    "time step": {"vidid": 1, "time_slice": slice(0, 3, 2), "space_slice": SPACE},
    "centre": {"gids": [1, 2], "cx": 30, "cy": 25, "width": 20, "height": 16},
    "centre window": {"gids": [1, 2], "cx": 30, "cy": 25, "window_dims": (16, 20)},
    "centre square": {"gids": [1, 2], "cx": 30, "cy": 25, "width": 20, "height": 16, "window_dims": "square"},
    "outside": {"gids": [1, 2], "space_slice": (slice(-5, 8), slice(70, 90))},
    "wholly outside": {"gids": [1], "space_slice": (slice(80, 90), slice(100, 110))},
    "still of video": {"gid": 1, "space_slice": SPACE},
    "channels one": {**BASE, "channels": "nir"},
    "channels order": {**BASE, "channels": "red|green|blue"},
    "channels list": {**BASE, "channels": ["red", "nir"]},
    "channels reversed": {**BASE, "channels": "blue|red"},
    "channels all": {**BASE, "channels": "<all>"},
    "channels none": {**BASE, "channels": None},
    "channels unknown": {**BASE, "channels": "foo"},
    "channels unknown too": {**BASE, "channels": "red|foo"},
    "channels groups": {**BASE, "channels": "red|green,nir"},
    "scale 1.3": {**BASE, "scale": 1.3},
    "scale 0.5": {**BASE, "scale": 0.5},
    "scale 2": {**BASE, "scale": 2},
    "scale pair": {**BASE, "scale": (0.5, 2.0)},
    "scale third": {**BASE, "scale": 1 / 3},
    "scale one": {**BASE, "scale": 1.0},
    "scale none": {**BASE, "scale": None},
    "scale zero": {**BASE, "scale": 0},
    "scale negative": {**BASE, "scale": -1},
    "scale outside": {"gids": [1], "space_slice": (slice(-5, 8), slice(70, 90)), "scale": 2},
    "scale pad": {**BASE, "scale": 2, "pad": (0, 3, 5)},
    "native": {**BASE, "use_native_scale": True},
    "native scale": {**BASE, "use_native_scale": True, "scale": 2},
    "native xarray": {**BASE, "use_native_scale": True, "as_xarray": True},
    "native masked": {**BASE, "use_native_scale": True, "nodata": "ma"},
    "native largest": {**BASE, "use_native_scale": True, "realign_native": "largest"},
    "xarray": {**BASE, "as_xarray": True},
    "xarray scale": {**BASE, "as_xarray": True, "scale": 2},
    "dtype": {**BASE, "dtype": np.float64},
    "nodata float": {**BASE, "nodata": "float"},
    "nodata auto": {**BASE, "nodata": "auto"},
    "nodata ma": {**BASE, "nodata": "ma"},
    "nodata int": {**BASE, "nodata": 0},
    "nodata none": {**BASE, "nodata": None},
    "nodata float outside": {"gids": [1], "space_slice": (slice(-5, 8), slice(70, 90)), "nodata": "float"},
    "pad pair": {**BASE, "pad": (3, 5)},
    "pad three": {**BASE, "pad": (0, 3, 5)},
    "pad time": {**BASE, "pad": (1, 3, 5)},
    "pad scalar": {**BASE, "pad": 3},
    "pad none": {**BASE, "pad": None},
    "pad three pairs": {**BASE, "pad": [(0, 0), (1, 2), (3, 4)]},
    "padkw edge": {"gids": [1], "space_slice": (slice(-5, 8), slice(70, 90)), "padkw": {"mode": "edge"}},
    "interpolation nearest": {**BASE, "scale": 2, "interpolation": "nearest", "antialias": False},
    "interpolation unknown": {**BASE, "scale": 2, "interpolation": "magic"},
    "finalize off": {**BASE, "finalize": False},
    "finalize zero": {**BASE, "finalize": 0},
    "legacy target off": {**BASE, "legacy_target": False},
    "legacy annots off": {**BASE, "legacy_annots": False},
    "foreign keys": {**BASE, "main_idx": 3},
    "aid with gids": {"aid": 2, "gids": [1, 2, 3], "window_dims": (16, 16)},
    "aid with vidid": {"aid": 2, "vidid": 1, "window_dims": (16, 16)},
}


#: Targets of frames that name no channels, and what they ask for beside the frames.
NAMELESS: dict[str, dict[str, Any]] = {
    "gids": {"space_slice": SPACE},
    "base": {"space_slice": SPACE, "vidid": None},
    "channels all": {"space_slice": SPACE, "channels": "<all>"},
    "native": {"space_slice": SPACE, "use_native_scale": True},
    "xarray": {"space_slice": SPACE, "as_xarray": True},
    "finalize off": {"space_slice": SPACE, "finalize": False},
}


def video_cases(ctx: Any) -> Iterator[Case]:
    """Every form of a video target, over two files a frame and over one."""
    for name, target in TARGETS.items():
        yield f"video/{name}", lambda t=target: ctx.video.load_sample(dict(t))
        yield f"simple video/{name}", lambda t=target: ctx.simple_video.load_sample(dict(t))
    for key in NAMELESS:
        yield f"nameless video/{key}", lambda k=key: ctx.nameless_video.load_sample(dict(TARGETS[k]))
        yield f"stills as frames/{key}", lambda k=key: ctx.stills.load_sample({"gids": [1], **NAMELESS[k]})
    for key in ("base", "still of video"):
        yield f"auxiliary video/{key}", lambda k=key: ctx.auxiliary_video.load_sample(dict(TARGETS[k]))
    for kinds in (False, "boxes", [], "keypoints"):
        yield f"video with_annots/{kinds!r}", lambda k=kinds: ctx.video.load_sample(dict(BASE), with_annots=k)
    for thresh in (0.5, 0.99):
        yield (
            f"video visible_thresh/{thresh}",
            lambda t=thresh: ctx.video.load_sample(
                {"vidid": 1, "space_slice": (slice(0, 60), slice(0, 20))}, visible_thresh=t
            )["annots"]["aids"],
        )
    yield "video annot_ids", lambda: ctx.video.load_sample(dict(BASE), annot_ids=[1, 2])["annots"]
    yield "video infer", lambda: ctx.video._infer_target_attributes(dict(BASE))
    yield "video positive", lambda: ctx.video.load_positive(1)
    yield "video load_image", lambda: np.asarray(ctx.video.load_image(1)[:])
    yield "video frames", lambda: ctx.video.frames.load_region(1, (slice(3, 9), slice(4, 12)))
