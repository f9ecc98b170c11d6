"""How samplers and frames are made and addressed, as named cases for the comparison."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import release_data

Case = tuple[str, Callable[[], Any]]

#: What programs ask of a sampler of a dataset without sizes.
SIZED: dict[str, Callable[[Any], Any]] = {
    "images": lambda s: (s.n_positives, s.load_negative(rng=0), list(s.dset.imgs.values()))[2],
    "n_positives": lambda s: s.n_positives,
    "targets": lambda s: s.regions.targets,
    "positive": lambda s: s.load_positive(0),
    "window": lambda s: s.load_sample({"gid": 1, "cx": 8, "cy": 6, "width": 8, "height": 6}),
    "anchors": lambda s: s.regions.neg_anchors,
    "grid": lambda s: s.new_sample_grid("image_detection", (10, 10))["targets"],
    "with annots": lambda s: s.load_image_with_annots(3),
    "hash": lambda s: s.regions.hashid,
    "width": lambda s: s.regions.isect_index.qtrees[3].width,
    "pickle": lambda s: pickle.loads(pickle.dumps(s)).load_positive(1)["im"],
    "ids": lambda s: (s.image_ids, s.regions.image_ids),
}

POSITIONS: dict[str, Any] = {
    "first": 0,
    "second": 1,
    "last": -1,
    "numpy": np.int64(2),
    "beyond": 3,
    "before": -4,
    "slice": slice(0, 2),
    "list": [0, 1],
    "none": None,
}


def door_cases(ctx: Any) -> Iterator[Case]:
    """Datasets without sizes, frames by position, samplers that are not made yet, and toys."""
    for name, ask in SIZED.items():
        yield f"unsized/{name}", lambda ask=ask: ask(ctx.sampler(release_data.unsized(ctx.dpath)))
    yield "unsized/missing file", lambda: _missing_file(ctx)
    for backend in (None, "npy", "cog"):
        for name, index in POSITIONS.items():
            yield f"position {backend}/{name}", lambda b=backend, i=index: ctx.unsized(b).frames[i]
    yield "position/ids", lambda: ctx.unsized(None).frames.image_ids
    yield "position/len", lambda: (len(ctx.unsized(None).frames), bool(ctx.unsized(None).frames))
    yield "position/iterate", lambda: [image.shape for image in ctx.unsized(None).frames]
    yield "position/simple", lambda: (len(_simple(ctx)), [image.shape for image in _simple(ctx)])
    yield "position/simple beyond", lambda: _simple(ctx)[2]
    yield "position/simple slice", lambda: _simple(ctx)[:2]
    yield "position/no images", lambda: bool(_simple(ctx, {}))
    for name in ("classes", "catgraph", "BACKGROUND_CLASS_ID", "regions", "frames", "n_images", "hashid"):
        yield f"before init/{name}", lambda name=name: getattr(_unmade(ctx), name)
    yield "pathinfo/file", lambda: _path_keys(ctx, 1)
    yield "toy/len", lambda: (len(_toy(5)), bool(_toy(5)))
    yield "toy/empty", lambda: (len(_toy(0)), bool(_toy(0)))
    yield "toy/first aid", lambda: _toy(5).load_positive(0)["target"]["aid"]
    yield from _wrong_cases(ctx)


def _wrong_cases(ctx: Any) -> Iterator[Case]:
    contents = {"list": [1, 2], "no images": {"foo": 1}, "empty": {"images": []}, "no ids": {"images": [{}]}}
    for name, content in contents.items():
        yield f"wrong file/{name}", lambda c=content: _coerce_file(ctx, json.dumps(c))
    yield "wrong file/text", lambda: _coerce_file(ctx, "hello")
    yield "wrong file/missing", lambda: type(ctx.stills).coerce(str(ctx.dpath / "none.json"))
    yield "wrong file/folder", lambda: type(ctx.stills).coerce(str(ctx.dpath / "work"))
    yield "wrong file/name", lambda: type(ctx.stills).coerce("nonesuch")


def _coerce_file(ctx: Any, text: str) -> Any:
    path = ctx.dpath / "wrong.json"
    path.write_text(text)
    return len(type(ctx.stills).coerce(str(path)))


def _missing_file(ctx: Any) -> Any:
    dset = release_data.unsized(ctx.dpath)
    dset.imgs[3]["file_name"] = "none.png"
    return ctx.sampler(dset).regions.targets


def _unmade(ctx: Any) -> Any:
    return type(ctx.stills)(ctx.dset, autoinit=False)


def _simple(ctx: Any, paths: Any = None) -> Any:
    from ndsampler.abstract_frames import SimpleFrames

    images = release_data.unsized(ctx.dpath).imgs
    return SimpleFrames({5: images[3]["file_name"], 2: images[1]["file_name"]} if paths is None else paths)


def _path_keys(ctx: Any, gid: int) -> Any:
    info = ctx.stills.frames._build_pathinfo(gid)
    return info["id"], info["default"], [part["path"] for part in info["channels"].values()]


def _toy(n_positives: int) -> Any:
    import ndsampler

    return ndsampler.DynamicToySampler(n_positives, seed=0)
