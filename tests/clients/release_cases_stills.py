"""Public calls on still images, as named cases for the comparison."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import release_data

Case = tuple[str, Callable[[], Any]]


def load(ctx: Any, target: dict[str, Any], **kwargs: Any) -> Any:
    """The sample of a target given as a fresh dictionary."""
    return ctx.stills.load_sample(dict(target), **kwargs)


CENTRE = {"gid": 1, "cx": 50, "cy": 40, "width": 30, "height": 20}

TARGETS: dict[str, dict[str, Any]] = {
    "centre": CENTRE,
    "centre half": {**CENTRE, "cx": 50.5, "cy": 40.5},
    "centre odd size": {**CENTRE, "width": 31, "height": 21},
    "centre odd size half": {**CENTRE, "cx": 50.5, "cy": 40.5, "width": 31, "height": 21},
    "centre float": {**CENTRE, "cx": 50.3, "cy": 40.7, "width": 5.2, "height": 7.7},
    "centre numpy": {
        "gid": np.int64(1),
        "cx": np.float32(50),
        "cy": np.float64(40),
        "width": np.int32(30),
        "height": np.int16(20),
    },
    "centre without size": {"gid": 1, "cx": 50, "cy": 40},
    "centre one size": {"gid": 1, "cx": 50, "cy": 40, "width": 20},
    "size without centre": {"gid": 1, "width": 30, "height": 20},
    "window pair": {"gid": 1, "cx": 50, "cy": 40, "window_dims": (24, 32)},
    "window list": {"gid": 1, "cx": 50, "cy": 40, "window_dims": [24, 32]},
    "window array": {"gid": 1, "cx": 50, "cy": 40, "window_dims": np.array([24, 32])},
    "window float pair": {"gid": 1, "cx": 50, "cy": 40, "window_dims": (24.0, 32.0)},
    "window fraction": {"gid": 1, "cx": 50, "cy": 40, "window_dims": (24.5, 32)},
    "window over size": {**CENTRE, "window_dims": (24, 32)},
    "window square": {**CENTRE, "window_dims": "square"},
    "window square float": {**CENTRE, "width": 5.2, "height": 7.7, "window_dims": "square"},
    "window extent": {**CENTRE, "window_dims": "extent"},
    "window extent float": {**CENTRE, "width": 5.2, "height": 7.7, "window_dims": "extent"},
    "window none": {**CENTRE, "window_dims": None},
    "window full": {**CENTRE, "window_dims": "full"},
    "window scalar": {**CENTRE, "window_dims": 24},
    "window three": {**CENTRE, "window_dims": (2, 24, 24)},
    "window name": {**CENTRE, "window_dims": "circle"},
    "slices": {"gid": 1, "slices": (slice(10, 30), slice(20, 60))},
    "slices list": {"gid": 1, "slices": [slice(10, 30), slice(20, 60)]},
    "slices numpy": {
        "gid": 1,
        "slices": (slice(np.int64(10), np.int64(30)), slice(np.int32(20), np.int32(60))),
    },
    "slices float": {"gid": 1, "slices": (slice(10.0, 30.0), slice(20.5, 60.5))},
    "slices open": {"gid": 1, "slices": (slice(None), slice(None))},
    "slices open start": {"gid": 1, "slices": (slice(None, 20), slice(None, 30))},
    "slices open stop": {"gid": 1, "slices": (slice(50, None), slice(60, None))},
    "slices negative": {"gid": 1, "slices": (slice(-10, 30), slice(-20, 60))},
    "slices overshoot": {"gid": 1, "slices": (slice(80, 100), slice(110, 130))},
    "slices outside": {"gid": 1, "slices": (slice(100, 120), slice(130, 150))},
    "slices empty": {"gid": 1, "slices": (slice(10, 10), slice(20, 60))},
    "slices backwards": {"gid": 1, "slices": (slice(30, 10), slice(20, 60))},
    "slices step": {"gid": 1, "slices": (slice(10, 30, 2), slice(20, 60))},
    "slices step one": {"gid": 1, "slices": (slice(10, 30, 1), slice(20, 60, 1))},
    "slices one": {"gid": 1, "slices": (slice(10, 30),)},
    "slices three": {"gid": 1, "slices": (slice(10, 30), slice(20, 60), slice(0, 2))},
    "slices three open": {"gid": 1, "slices": (slice(10, 30), slice(20, 60), slice(None))},
    "slices bare": {"gid": 1, "slices": slice(10, 30)},
    "slices none": {"gid": 1, "slices": None},
    "space slice": {"gid": 1, "space_slice": (slice(10, 30), slice(20, 60))},
    "space slice none": {"gid": 1, "space_slice": None},
    "space slice beats slices": {
        "gid": 1,
        "space_slice": (slice(10, 30), slice(20, 60)),
        "slices": (slice(0, 5), slice(0, 5)),
    },
    "space slice beats centre": {**CENTRE, "space_slice": (slice(10, 30), slice(20, 60))},
    "slices beat centre": {**CENTRE, "slices": (slice(10, 30), slice(20, 60))},
    "slices with window": {"gid": 1, "slices": (slice(10, 30), slice(20, 60)), "window_dims": (8, 8)},
    "gid alone": {"gid": 1},
    "gray": {"gid": 2, "cx": 20, "cy": 20, "width": 10, "height": 8},
    "gray whole": {"gid": 2},
    "deep": {"gid": 3, "cx": 20, "cy": 20, "width": 10, "height": 8},
    "aid": {"aid": 3},
    "aid with window": {"aid": 3, "window_dims": (24, 32)},
    "aid square": {"aid": 3, "window_dims": "square"},
    "aid with centre": {"aid": 3, "cx": 50, "cy": 40},
    "aid with gid": {"aid": 3, "gid": 1},
    "aid with other gid": {"aid": 3, "gid": 3},
    "aid at border": {"aid": 8},
    "aid float box": {"aid": 10},
    "aid numpy": {"aid": np.int64(3)},
    "aid minus one": {**CENTRE, "aid": -1},
    "aid unknown with centre": {**CENTRE, "aid": 99},
    "aid unknown with window": {"gid": 1, "aid": 99, "cx": 50, "cy": 40, "window_dims": (20, 30)},
    "aid unknown with slices": {"gid": 1, "aid": 99, "slices": (slice(10, 34), slice(8, 40))},
    "aid text with slices": {"gid": 1, "aid": "x", "slices": (slice(10, 34), slice(8, 40))},
    "aid with other gid and centre": {"aid": 3, "gid": 3, "cx": 20, "cy": 20},
    "aid minus one alone": {"gid": 3, "aid": -1},
    "bbox with centre": {**CENTRE, "bbox": [1, 2, 3, 4]},
    "bbox with aid": {"aid": 3, "bbox": [1, 2, 3, 4]},
    "bbox": {"gid": 1, "bbox": [10, 12, 20, 16]},
    "aid none": {**CENTRE, "aid": None},
    "image_id": {"image_id": 1, "cx": 50, "cy": 40, "width": 30, "height": 20},
    "annot_id": {"annot_id": 3},
    "annotation_id": {"annotation_id": 3},
    "gid beats image_id": {**CENTRE, "image_id": 2},
    "foreign keys": {**CENTRE, "allow_augment": False, "main_idx": 3, "weight": 0.5, "as_xarray": False},
    "no annots here": {"gid": 2, "cx": 20, "cy": 20, "width": 10, "height": 8, "aid": -1},
    "legacy target off": {**CENTRE, "legacy_target": False},
    "legacy annots off": {**CENTRE, "legacy_annots": False},
    "legacy both off": {"aid": 3, "legacy_annots": False, "legacy_target": False},
    "legacy none": {"aid": 3, "legacy_annots": None, "legacy_target": None},
    "pad scalar": {**CENTRE, "pad": 3},
    "pad pair": {**CENTRE, "pad": (3, 5)},
    "pad list": {**CENTRE, "pad": [3, 5]},
    "pad pairs": {**CENTRE, "pad": [(1, 2), (3, 4)]},
    "pad none": {**CENTRE, "pad": None},
    "pad zero": {**CENTRE, "pad": (0, 0)},
    "pad three": {**CENTRE, "pad": (1, 2, 3)},
    "pad negative": {**CENTRE, "pad": (-1, 2)},
    "pad float": {**CENTRE, "pad": (1.0, 2.0)},
    "pad fraction": {**CENTRE, "pad": (1.5, 2)},
    "pad numpy": {**CENTRE, "pad": np.array([3, 5])},
    "pad across edge": {"gid": 1, "slices": (slice(0, 20), slice(100, 120)), "pad": (5, 8)},
    "pad with aid": {"aid": 8, "pad": (5, 8)},
    "padkw edge": {"gid": 1, "slices": (slice(-4, 8), slice(-4, 8)), "padkw": {"mode": "edge"}},
    "padkw constant": {
        "gid": 1,
        "slices": (slice(-4, 8), slice(-4, 8)),
        "padkw": {"mode": "constant", "constant_values": 7},
    },
    "padkw fill": {"gid": 1, "slices": (slice(-4, 8), slice(-4, 8)), "padkw": {"constant_values": 7}},
    "dtype": {**CENTRE, "dtype": np.float32},
    "xarray": {**CENTRE, "as_xarray": True},
    "xarray outside": {"gid": 1, "slices": (slice(-4, 8), slice(-4, 8)), "as_xarray": True},
    "channels code": {**CENTRE, "channels": "r|g|b"},
    "channels all": {**CENTRE, "channels": "<all>"},
    "channels none": {**CENTRE, "channels": None},
    "channels unknown": {**CENTRE, "channels": "foo"},
    "scale": {**CENTRE, "scale": 2.0},
    "interpolation": {**CENTRE, "interpolation": "nearest", "antialias": False},
    "nodata int": {**CENTRE, "nodata": 0},
    "nodata float": {"gid": 1, "slices": (slice(-4, 8), slice(-4, 8)), "nodata": "float"},
    "native scale": {**CENTRE, "use_native_scale": True},
    "empty": {},
    "gid unknown": {**CENTRE, "gid": 99},
    "gid string": {**CENTRE, "gid": "one"},
    "gid none": {**CENTRE, "gid": None},
    "aid unknown": {"aid": 99},
    "cx nan": {**CENTRE, "cx": float("nan")},
    "cx inf": {**CENTRE, "cx": float("inf")},
    "cx string": {**CENTRE, "cx": "left"},
    "width zero": {**CENTRE, "width": 0},
    "width negative": {**CENTRE, "width": -5},
    "window zero": {"gid": 1, "cx": 50, "cy": 40, "window_dims": (0, 8)},
    "window negative": {"gid": 1, "cx": 50, "cy": 40, "window_dims": (-4, 8)},
    "vidid unknown": {"vidid": 9, "space_slice": (slice(0, 4), slice(0, 4))},
}


def edge_targets() -> Iterator[tuple[str, dict[str, Any]]]:
    """A window on, across and beyond every side and corner of the still."""
    width, height = release_data.STILL_SIZE
    xs = {"left out": -30, "left": 0, "mid": width // 2, "right": width, "right out": width + 30}
    ys = {"top out": -30, "top": 0, "mid": height // 2, "bottom": height, "bottom out": height + 30}
    for (xname, cx), (yname, cy) in itertools.product(xs.items(), ys.items()):
        yield f"{xname} {yname}", {"gid": 1, "cx": cx, "cy": cy, "window_dims": (14, 19), "pad": (2, 3)}


def target_cases(ctx: Any) -> Iterator[Case]:
    """Every form of a target, and every position of a window."""
    for name, target in TARGETS.items():
        yield f"target/{name}", lambda t=target: load(ctx, t)
    for name, target in edge_targets():
        yield f"edge/{name}", lambda t=target: load(ctx, t)


WHOLE = {"gid": 1, "slices": (slice(0, 90), slice(0, 120))}

WITH_ANNOTS: dict[str, Any] = {
    "true": True,
    "false": False,
    "none": None,
    "zero": 0,
    "one": 1,
    "empty string": "",
    "empty list": [],
    "empty tuple": (),
    "boxes": "boxes",
    "segmentation": "segmentation",
    "keypoints": "keypoints",
    "plus": "boxes+segmentation",
    "plus all": "boxes+segmentation+keypoints",
    "list": ["boxes", "keypoints"],
    "tuple": ("segmentation",),
    "set": {"boxes"},
    "unknown": "circles",
    "unknown in list": ["boxes", "circles"],
    "segmentations": "segmentations",
    "spaces": "boxes + segmentation",
    "number": 3,
    "bytes": b"boxes",
}


def _annot_kinds(ctx: Any) -> Iterator[Case]:
    for name, value in WITH_ANNOTS.items():
        yield f"with_annots/{name}", lambda v=value: load(ctx, WHOLE, with_annots=v)
    for aid in range(1, 11):
        target = {"aid": aid, "pad": (2, 3), "legacy_annots": True}
        yield f"annots of aid/{aid}", lambda t=target, a=aid: load(ctx, t, annot_ids=[a])["annots"]


def _annot_choice(ctx: Any) -> Iterator[Case]:
    for ids in ([], [1], [2, 1], [3, 99], (1,), np.array([1, 2]), {1}, [9]):
        yield f"annot_ids/{ids!r}", lambda i=ids: load(ctx, WHOLE, annot_ids=i)
    half = {"gid": 1, "slices": (slice(0, 90), slice(0, 20))}
    for thresh in (0, 0.0, 0.1, 0.5, 0.99, 1.0, -1, 2, None, "half"):
        yield (
            f"visible_thresh/{thresh!r}",
            lambda t=thresh: load(ctx, half, visible_thresh=t)["annots"]["aids"],
        )
    touching = {
        "left": (slice(0, 90), slice(0, 10)),
        "right": (slice(12, 28), slice(30, 34)),
        "above": (slice(0, 12), slice(10, 30)),
        "corner": (slice(0, 12), slice(0, 10)),
        "just apart": (slice(0, 11), slice(0, 9)),
    }
    for name, region in touching.items():
        yield f"touching/{name}", lambda r=region: load(ctx, {"gid": 1, "slices": r})["annots"]["aids"]


def _odd_annots(ctx: Any) -> Iterator[Case]:
    target = {"gid": 1, "slices": (slice(0, 90), slice(0, 120))}
    for keys in (("bbox",), ("category_id",), ("bbox", "category_id")):
        make = lambda k=keys: ctx.sampler(release_data.odd_stills(ctx.dpath, *k))  # noqa: E731
        name = " and ".join(keys)
        yield f"without {name}/sample", lambda m=make: m().load_sample(dict(target))
        yield f"without {name}/aid", lambda m=make: m().load_sample({"aid": 2})
        yield f"without {name}/targets", lambda m=make: m().regions.targets
        yield f"without {name}/annots", lambda m=make: m().load_annotations(1)
        yield (
            f"without {name}/overlap",
            lambda m=make: m().regions.overlapping_aids(1, ctx.box(0, 0, 120, 90)),
        )


def annot_cases(ctx: Any) -> Iterator[Case]:
    """What comes with the pixels: kinds, choice by id and visibility, odd annotations."""
    yield from _annot_kinds(ctx)
    yield from _annot_choice(ctx)
    yield from _odd_annots(ctx)


def call_cases(ctx: Any) -> Iterator[Case]:
    """The other documented calls of a sampler, and old ways to call it."""
    s = ctx.stills
    old = {"gid": 1, "cx": 50, "cy": 40, "width": 30, "height": 20}
    yield "call/positional", lambda: s.load_sample(dict(old), False)
    yield "call/no target", lambda: s.load_sample()
    yield "call/target none", lambda: s.load_sample(None)
    yield "call/target list", lambda: s.load_sample([1, 2])
    yield "call/old pad", lambda: s.load_sample(dict(old), pad=(2, 3))
    yield "call/old padkw", lambda: s.load_sample({**old, "cx": 0}, padkw={"mode": "constant"})
    yield "call/old dtype", lambda: s.load_sample(dict(old), dtype=np.float32)
    yield "call/old tr", lambda: s.load_sample(tr=dict(old))
    yield "call/old window_dims", lambda: s.load_sample(dict(old), window_dims=(8, 8))
    yield "call/unknown keyword", lambda: s.load_sample(dict(old), colour="red")
    yield "call/target unchanged", lambda: _after(s.load_sample, dict(old))
    yield "call/tr is target", lambda: (lambda r: r["tr"] is r["target"])(s.load_sample(dict(old)))
    for index in (0, 3, -1, 8, 100):
        yield f"call/positive {index}", lambda i=index: s.load_positive(i)
        yield f"call/item {index}", lambda i=index: s.load_item(i)
    yield "call/positive rng", lambda: [s.load_positive(rng=i)["target"]["aid"] for i in range(8)]
    yield "call/positive target", lambda: s.load_positive(1, target={"window_dims": (16, 12), "pad": (2, 3)})
    yield "call/positive tr", lambda: s.load_positive(1, tr={"window_dims": (16, 12)}, pad=(1, 1))
    yield "call/positive no annots", lambda: s.load_positive(1, with_annots=False)
    yield "call/item rng", lambda: [s.load_item(None, rng=i)["target"]["aid"] for i in range(4)]
    yield "call/load_image", lambda: np.asarray(s.load_image(1)[:])
    yield "call/load_image shape", lambda: s.load_image(1).shape
    yield "call/load_image gray", lambda: np.asarray(s.load_image(2)[:])
    yield "call/load_image deep", lambda: np.asarray(s.load_image(3)[:])
    yield "call/load_image eager", lambda: s.load_image(1, cache=False)
    yield "call/load_image unknown", lambda: s.load_image(99)
    yield "call/load_image_with_annots", lambda: s.load_image_with_annots(1)
    yield "call/load_image_with_annots eager", lambda: s.load_image_with_annots(1, cache=False)
    yield "call/load_image_with_annots unknown", lambda: s.load_image_with_annots(99)
    yield "call/load_annotations", lambda: s.load_annotations(1)
    yield "call/load_annotations none", lambda: s.load_annotations(2)
    yield "call/load_annotations unknown", lambda: s.load_annotations(99)
    yield "call/load_target_annots", lambda: s.load_target_annots(dict(old))
    for name in ("load_item", "load_positive"):
        yield f"call/{name} unknown keyword", lambda n=name: getattr(s, n)(0, colour="red")
        yield f"call/{name} pad", lambda n=name: getattr(s, n)(0, pad=(2, 3))
    yield from _target_annots(s)
    yield from _flat_boxes(ctx)
    yield "call/infer", lambda: s._infer_target_attributes(dict(old))
    yield from _property_cases(ctx, s)


def _after(func: Callable[[Any], Any], target: dict[str, Any]) -> Any:
    func(target)
    return target


TARGET_ANNOTS: dict[str, dict[str, Any]] = {
    "one": {"gids": [1], "space_slice": (slice(10, 34), slice(8, 40))},
    "two": {"gids": [1, 3], "space_slice": (slice(0, 90), slice(0, 120))},
    "reversed": {"gids": (3, 1), "space_slice": (slice(0, 90), slice(0, 120))},
    "repeated": {"gids": [1, 1], "space_slice": (slice(0, 30), slice(0, 30))},
    "array": {"gids": np.array([1, 3]), "space_slice": (slice(0, 90), slice(0, 120))},
    "none": {"gids": [1, 2], "space_slice": (slice(0, 2), slice(0, 2))},
    "no images": {"gids": [], "space_slice": (slice(0, 2), slice(0, 2))},
    "negative": {"gids": [1], "space_slice": (slice(-5, 30), slice(-5, 30))},
    "halves": {"gids": [1], "space_slice": (slice(10.5, 34.5), slice(8, 40))},
    "pad": {"gids": [1], "space_slice": (slice(0, 5), slice(0, 5)), "pad": (20, 20)},
    "unknown": {"gids": [1, 99], "space_slice": (slice(0, 90), slice(0, 120))},
    "one image": {"gids": 1, "space_slice": (slice(0, 90), slice(0, 120))},
}


def _target_annots(s: Any) -> Iterator[Case]:
    for name, target in TARGET_ANNOTS.items():
        yield f"target annots/{name}", lambda t=target: s.load_target_annots(dict(t))
    yield "target annots/no target", lambda: s.load_target_annots(None)
    yield "target annots/unchanged", lambda: _after(s.load_target_annots, dict(TARGET_ANNOTS["one"]))


def _flat_boxes(ctx: Any) -> Iterator[Case]:
    for aid, pad in itertools.product((1, 2, 3), ((0, 0), (2, 3))):
        target = {"aid": aid, "pad": pad}
        yield (
            f"flat box/{aid} pad {pad}",
            lambda t=target: ctx.sampler(release_data.flat_boxes(ctx.dpath)).load_sample(dict(t)),
        )


def _property_cases(ctx: Any, s: Any) -> Iterator[Case]:
    names = [
        "class_ids",
        "image_ids",
        "n_positives",
        "n_annots",
        "n_samples",
        "n_images",
        "n_categories",
        "n_negatives",
        "BACKGROUND_CLASS_ID",
        "classes",
        "catgraph",
        "workdir",
        "_backend",
    ]
    for name in names:
        yield f"property/{name}", lambda n=name: getattr(s, n)
    yield "property/len", lambda: len(s)
    yield "property/repr", lambda: (str(s)[:13], repr(s)[:13])
    yield "property/lookup_class_name", lambda: s.lookup_class_name(2)
    yield "property/lookup_class_id", lambda: s.lookup_class_id("square")
    yield "property/lookup_class_name unknown", lambda: s.lookup_class_name(99)
    yield "property/lookup_class_id unknown", lambda: s.lookup_class_id("circle")
    yield "property/depends", lambda: type(s._depends()).__name__
    yield "property/hashid", lambda: (type(s.hashid).__name__, s.hashid == s.hashid)
    yield "copy/pickle", lambda: pickle.loads(pickle.dumps(s)).load_sample({"aid": 3})["im"]
    yield "copy/copy", lambda: copy.copy(s).load_sample({"aid": 3})["im"]
    yield "copy/deepcopy", lambda: copy.deepcopy(s).load_sample({"aid": 3})["im"]
    yield from _coerce_cases(ctx, s)


def _coerce_cases(ctx: Any, s: Any) -> Iterator[Case]:
    cls = type(s)
    fpath = ctx.dpath / "stills.kwcoco.json"
    yield "coerce/sampler", lambda: cls.coerce(s) is s
    yield "coerce/dataset", lambda: cls.coerce(s.dset).n_annots
    yield "coerce/path", lambda: (s.dset.dump(str(fpath)), cls.coerce(fpath).n_annots)[1]
    yield "coerce/str path", lambda: cls.coerce(str(fpath)).n_annots
    yield "coerce/demo key", lambda: cls.coerce("shapes2").n_images
    yield "coerce/number", lambda: cls.coerce(3)
    yield "coerce/none", lambda: cls.coerce(None)
    yield "coerce/sampler with keyword", lambda: cls.coerce(s, backend="npy")
    yield "coerce/sampler with nonsense", lambda: cls.coerce(s, nonsense=1)
    yield (
        "construct/unknown backend",
        lambda: cls(s.dset, workdir=str(ctx.dpath), backend="zip").load_image(1),
    )
    yield "construct/unknown type", lambda: cls(s.dset, workdir=str(ctx.dpath), backend={"type": "zip"})
    yield (
        "construct/unknown config",
        lambda: cls(
            s.dset, workdir=str(ctx.dpath), backend={"type": "cog", "config": {"sharpness": 2}}
        ).load_image(1),
    )
    yield "construct/backend number", lambda: cls(s.dset, workdir=str(ctx.dpath), backend=3)
    yield "construct/no workdir", lambda: cls(s.dset).load_sample({"aid": 3})["im"]
    yield "construct/autoinit off", lambda: (lambda x: (x.regions, x.frames))(cls(s.dset, autoinit=False))
    yield "demo/shapes8", lambda: _demo(ctx, "shapes8")
    yield "demo/default", lambda: cls.demo().n_images
    yield "demo/unknown", lambda: cls.demo("nothing_like_it")


def _demo(ctx: Any, key: str) -> Any:
    """What does not depend on the demo data, which kwcoco draws anew in every process."""
    s = ctx.demo(key)
    sample = s.load_positive(0)
    return {
        "counts": (s.n_images, s.n_annots, s.n_categories),
        "keys": list(sample),
        "annots": list(sample["annots"]),
        "dtype": str(sample["im"].dtype),
        "classes": list(sample["classes"]),
    }


def frame_cases(ctx: Any) -> Iterator[Case]:
    """Whole images and regions straight from the frames, for every backend."""
    full = (slice(None), slice(None))
    regions = {
        "none": None,
        "open": full,
        "ellipsis": ...,
        "empty tuple": (),
        "bare slice": slice(3, 9),
        "one": (slice(3, 9),),
        "two": (slice(3, 9), slice(4, 12)),
        "negative": (slice(-20), slice(-10)),
        "negative start": (slice(-20, None), slice(-10, None)),
        "overshoot": (slice(80, 100), slice(110, 130)),
        "outside": (slice(100, 120), slice(130, 150)),
        "empty": (slice(5, 5), slice(4, 12)),
        "step": (slice(3, 19, 2), slice(4, 12)),
        "three": (slice(3, 9), slice(4, 12), slice(0, 1)),
        "three open": (slice(3, 9), slice(4, 12), slice(None)),
        "integer": (5, slice(4, 12)),
        "list": [slice(3, 9), slice(4, 12)],
        "text": "all",
    }
    for backend in (None, "npy", "cog"):
        for name, region in regions.items():
            yield f"frames {backend}/{name}", lambda b=backend, r=region: ctx.frames(b).load_region(1, r)
        yield (
            f"frames {backend}/gray",
            lambda b=backend: ctx.frames(b).load_region(2, (slice(3, 9), slice(4, 12))),
        )
        yield (
            f"frames {backend}/deep",
            lambda b=backend: ctx.frames(b).load_region(3, (slice(3, 9), slice(4, 12))),
        )
        yield f"frames {backend}/gray shape", lambda b=backend: ctx.frames(b).load_image(2).shape
        yield f"frames {backend}/unknown", lambda b=backend: ctx.frames(b).load_region(99, full)
        yield f"frames {backend}/no ids", lambda b=backend: ctx.frames(b).prepare(gids=[])
        yield f"frames {backend}/prepare", lambda b=backend: ctx.frames(b).prepare()
        yield f"frames {backend}/ids", lambda b=backend: ctx.frames(b).image_ids
        yield f"frames {backend}/type", lambda b=backend: type(ctx.frames(b).load_image(1)).__name__
        yield f"frames {backend}/load_image", lambda b=backend: np.asarray(ctx.frames(b).load_image(1)[:])
        yield f"frames {backend}/no param", lambda b=backend: _no_param(ctx.frames(b), full)
        yield f"frames {backend}/channels", lambda b=backend: ctx.frames(b).load_region(1, full, channels="r")
        yield f"frames {backend}/dpath", lambda b=backend: type(ctx.frames(b).cache_dpath).__name__
        yield (
            f"frames {backend}/sample",
            lambda b=backend: ctx.sampler(ctx.dset, backend=b).load_sample({"aid": 8}),
        )
        yield (
            f"frames {backend}/gray sample",
            lambda b=backend: ctx.sampler(ctx.dset, backend=b).load_sample(
                {"gid": 2, "slices": (slice(-2, 5), slice(0, 4))}
            ),
        )


def _no_param(frames: Any, region: Any) -> Any:
    """What regions and images are with the documented default of their channels."""
    import ubelt as ub

    window = frames.load_region(1, (slice(3, 9), slice(4, 12)), channels=ub.NoParam)
    return window, np.asarray(frames.load_image(1, channels=ub.NoParam)[region])
