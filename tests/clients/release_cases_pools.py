"""Pools, index, grids and selection, as named cases for the comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Case = tuple[str, Callable[[], Any]]


def region_cases(ctx: Any) -> Iterator[Case]:
    """Targets, overlap, positives, negatives and items."""
    regions = ctx.many.regions
    yield "regions/targets", lambda: regions.targets
    yield "regions/target row", lambda: regions.targets.iloc[0]
    yield "regions/stills targets", lambda: ctx.stills.regions.targets
    for name in (
        "class_ids",
        "image_ids",
        "n_annots",
        "n_images",
        "n_categories",
        "n_positives",
        "n_negatives",
        "n_samples",
        "BACKGROUND_CLASS_ID",
        "classes",
        "catgraph",
        "workdir",
    ):
        yield f"regions/{name}", lambda n=name: getattr(ctx.fresh().regions, n)
    yield "regions/neg_anchors", lambda: regions.neg_anchors
    yield "regions/hashid", lambda: type(regions.hashid).__name__
    for thresh in (0.0, 0.3, 0.9):
        yield (
            f"regions/overlap {thresh}",
            lambda t=thresh: regions.overlapping_aids(1, ctx.box(20, 20, 60, 70), t),
        )
    yield "regions/overlap none", lambda: regions.overlapping_aids(1, ctx.box(190, 150, 200, 160))
    yield "regions/overlap unknown", lambda: regions.overlapping_aids(99, ctx.box(0, 0, 10, 10))
    yield "regions/segmentations", lambda: ctx.stills.regions.get_segmentations([1, 2, 3, 4, 5])
    yield "regions/segmentations none", lambda: ctx.stills.regions.get_segmentations([])
    yield "regions/lookup", lambda: (regions.lookup_class_name(1), regions.lookup_class_id("square"))
    for index in (0, 5, -1, 999):
        yield f"regions/positive {index}", lambda i=index: ctx.fresh().regions.get_positive(i)
        yield f"regions/item {index}", lambda i=index: ctx.fresh().regions.get_item(i)
        yield f"regions/negative {index}", lambda i=index: ctx.fresh().regions.get_negative(i)
    yield "regions/positive rng", lambda: [regions.get_positive(rng=i)["aid"] for i in range(12)]
    yield "regions/positive RandomState", lambda: regions.get_positive(rng=np.random.RandomState(3))["aid"]
    yield "regions/item rng", lambda: [ctx.fresh().regions.get_item(None, rng=i)["aid"] for i in range(4)]
    yield "regions/negative keys", lambda: _kinds(ctx.fresh().regions.get_negative(rng=0))
    yield "regions/new_sample_grid unknown", lambda: regions.new_sample_grid("captioning", (10, 10))


def _kinds(row: dict[str, Any]) -> dict[str, str]:
    return {key: type(value).__name__ for key, value in row.items()}


def preselect_cases(ctx: Any) -> Iterator[Case]:
    """What becomes of the pools after each form of a preselection."""
    forms: dict[str, dict[str, Any]] = {
        "nothing": {},
        "pos": {"n_pos": 3},
        "pos too many": {"n_pos": 999},
        "pos none": {"n_pos": 0},
        "neg": {"n_neg": 4},
        "neg none": {"n_neg": 0},
        "both": {"n_pos": 3, "n_neg": 4},
        "ratio": {"neg_to_pos_ratio": 0.5},
        "ratio of pos": {"n_pos": 5, "neg_to_pos_ratio": 0.5},
        "ratio two": {"n_pos": 2, "neg_to_pos_ratio": 2},
        "ratio beside neg": {"n_neg": 3, "neg_to_pos_ratio": 2},
        "window": {"n_neg": 4, "window_dims": (20, 30)},
        "window and pos": {"n_pos": 3, "n_neg": 2, "window_dims": (20, 30)},
        "window full": {"n_neg": 4, "window_dims": "full"},
        "window too large": {"n_neg": 2, "window_dims": (700, 700)},
        "rng number": {"n_neg": 3, "rng": 5},
        "pos negative": {"n_pos": -1},
        "neg negative": {"n_neg": -1},
        "unknown": {"colour": 1},
    }
    for name, kwargs in forms.items():
        yield f"preselect/{name}", lambda k=kwargs: ctx.fresh().regions.preselect(**{"rng": 0, **k})
        yield f"preselect after/{name}", lambda k=kwargs: _pools(ctx.fresh(), {"rng": 0, **k})
    yield "preselect/sampler", lambda: ctx.fresh().preselect(n_pos=2, n_neg=3, rng=0)
    yield "preselect/negative sample", lambda: _negative(ctx)
    yield "negative without pool", lambda: _kinds(ctx.fresh().load_negative(rng=0)["target"])
    yield "negative by index without pool", lambda: ctx.fresh().load_negative(0)


def _pools(sampler: Any, kwargs: dict[str, Any]) -> Any:
    sampler.regions.preselect(**kwargs)
    r = sampler.regions
    last = r.get_item(r.n_samples - 1)
    return {
        "counts": (r.n_positives, r.n_negatives, r.n_samples, len(r.targets)),
        "last": _kinds(last),
        "background": (last["aid"] == -1, last["category_id"]),
    }


def _negative(ctx: Any) -> Any:
    sampler = ctx.fresh()
    sampler.regions.preselect(n_neg=2, window_dims=(20, 30), rng=0)
    sample = sampler.load_negative(0)
    return {"shape": sample["im"].shape, "target": _kinds(sample["target"]), "aids": sample["annots"]["aids"]}


def index_cases(ctx: Any) -> Iterator[Case]:
    """Overlap, ious, iooas and negatives of the spatial index."""
    index = ctx.many.regions.isect_index
    box, empty = ctx.box(20, 20, 60, 70), ctx.box(190, 150, 200, 160)
    for name, query in {"some": box, "none": empty, "touching": ctx.box(-5, -5, 0, 0)}.items():
        yield f"index/overlapping {name}", lambda q=query: sorted(index.overlapping_aids(1, q))
        yield f"index/overlapping type {name}", lambda q=query: type(index.overlapping_aids(1, q)).__name__
        yield f"index/ious {name}", lambda q=query: _sorted_pair(index.ious(1, q))
        yield f"index/iooas {name}", lambda q=query: _sorted_pair(index.iooas(1, q))
    yield "index/unknown gid", lambda: index.overlapping_aids(99, box)
    yield "index/qtrees", lambda: {int(g): (q.width, q.height) for g, q in index.qtrees.items()}
    yield "index/repr", lambda: str(index)[:23]
    yield "index/len", lambda: len(index)
    yield "index/support", lambda: len(index._support(1))
    negatives: dict[str, dict[str, Any]] = {
        "anchors": {"anchors": np.array([[0.35, 0.15], [0.2, 0.2], [0.1, 0.1]])},
        "window": {"window_size": (20, 30)},
        "window array": {"window_size": np.array([20, 30])},
        "gids": {"window_size": (20, 30), "gids": [2]},
        "thresh": {"window_size": (20, 30), "thresh": 0.2},
        "not exact": {"window_size": (20, 30), "exact": False},
        "warn": {"window_size": (190, 150), "exact": "warn"},
        "too large": {"window_size": (700, 700)},
        "too large not exact": {"window_size": (700, 700), "exact": False},
        "neither": {},
        "both": {"window_size": (20, 30), "anchors": np.array([[0.2, 0.2]])},
        "none asked": {"num": 0, "window_size": (20, 30)},
        "no gids": {"window_size": (20, 30), "gids": []},
    }
    for name, kwargs in negatives.items():
        yield f"index/negatives {name}", lambda k=kwargs: _negatives(index, k)


def _sorted_pair(pair: Any) -> Any:
    aids, values = pair
    order = np.argsort(np.asarray(aids, dtype=int))
    return {
        "types": (
            type(aids).__name__,
            type(values).__name__,
            getattr(values, "dtype", None) and str(values.dtype),
        ),
        "shape": np.shape(values),
        "aids": np.asarray(aids)[order],
        "values": np.asarray(values)[..., order],
    }


def _negatives(index: Any, kwargs: dict[str, Any]) -> Any:
    gids, boxes = index.random_negatives(**{"num": 6, "rng": 0, **kwargs})
    inside = bool((boxes.to_ltrb().data[:, 0:2] >= 0).all()) if len(boxes) else None
    return {
        "gids": (type(gids).__name__, str(getattr(gids, "dtype", None))),
        "n": (len(gids), len(boxes)),
        "boxes": (boxes.format, str(boxes.data.dtype), boxes.data.shape),
        "inside": inside,
        "sizes": sorted({tuple(np.round(wh, 3).tolist()) for wh in boxes.to_xywh().data[:, 2:]}),
    }


def selection_cases(ctx: Any) -> Iterator[Case]:
    """Target tables and coverage selection."""
    import ndsampler
    from ndsampler import coco_regions

    regions = ctx.many.regions
    yield "tabular/many", lambda: coco_regions.tabular_coco_targets(ctx.many.dset)
    yield "tabular/stills", lambda: coco_regions.tabular_coco_targets(ctx.stills.dset)
    for dims in ((20, 30), (60, 60), (300, 300)):
        for thresh in (0.0, 0.4):
            yield (
                f"select/{dims} {thresh}",
                lambda d=dims, t=thresh: ndsampler.select_positive_regions(regions.targets, d, t, rng=0),
            )
    yield "select/default", lambda: ndsampler.select_positive_regions(regions.targets)
    yield "select/number", lambda: ndsampler.select_positive_regions(regions.targets, 30)
    yield "abstract/targets", lambda: (ndsampler.Targets().get_negative(), ndsampler.Targets().get_positive())
    yield "abstract/overlap", lambda: ndsampler.Targets().overlapping_aids(1, None)
    yield "abstract/sampler", lambda: ndsampler.AbstractSampler().load_sample({})
    yield "abstract/n_positives", lambda: ndsampler.AbstractSampler().n_positives
    yield "abstract/bases", lambda: [c.__name__ for c in ndsampler.MissingNegativePool.__mro__]
    yield "names/all", lambda: sorted(ndsampler.__all__)
    yield "names/modules", lambda: sorted(n for n in dir(ndsampler) if not n.startswith("_"))


def grid_cases(ctx: Any) -> Iterator[Case]:
    """Sliding windows over stills and videos."""
    from ndsampler import coco_regions

    dset = ctx.many.dset
    forms: dict[str, dict[str, Any]] = {
        "plain": {"window_dims": (60, 70)},
        "overlap": {"window_dims": (60, 70), "window_overlap": 0.5},
        "full": {"window_dims": "full"},
        "no annots": {"window_dims": (60, 70), "use_annots": False},
        "not legacy": {"window_dims": (60, 70), "legacy": False},
        "too large": {"window_dims": (400, 400)},
        "overlap pair": {"window_dims": (60, 70), "window_overlap": (0.5, 0.0)},
        "classes": {"window_dims": (60, 70), "classes_of_interest": ["star"]},
        "negative classes": {"window_dims": (60, 70), "negative_classes": {"star"}},
        "overlap one": {"window_dims": (60, 70), "window_overlap": 1.0},
        "scalar": {"window_dims": 60},
    }
    for name, kwargs in forms.items():
        yield f"image grid/{name}", lambda k=kwargs: coco_regions.new_image_sample_grid(dset, verbose=0, **k)
    for name, kwargs in forms.items():
        dims = kwargs["window_dims"]
        dims = (2, 30, 40) if isinstance(dims, tuple) and dims != (400, 400) else dims
        more = {**kwargs, "window_dims": dims}
        yield (
            f"video grid/{name}",
            lambda k=more: coco_regions.new_video_sample_grid(ctx.video.dset, verbose=0, **k),
        )
    yield (
        "video grid/time overlap",
        lambda: coco_regions.new_video_sample_grid(
            ctx.video.dset, (2, 30, 40), window_overlap=(0.5, 0, 0), verbose=0
        ),
    )
    yield (
        "video grid/space time",
        lambda: coco_regions.new_video_sample_grid(
            ctx.video.dset, window_dims=None, space_dims=(30, 40), time_dim=1, verbose=0
        ),
    )
    yield "grid/sampler image", lambda: ctx.many.new_sample_grid("image_detection", (60, 70))
    yield "grid/sampler video", lambda: ctx.video.new_sample_grid("video_detection", (2, 30, 40))
    yield "grid/sampler unknown", lambda: ctx.many.new_sample_grid("captioning", (60, 70))
