"""Old names, formats of sources, category trees, seeds and mistakes, as named cases for the comparison."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Case = tuple[str, Callable[[], Any]]

CATEGORIES = [{"name": "c", "id": 3}, {"name": "a", "id": 7, "supercategory": "c"}, {"name": "b", "id": 5}]

#: Names that programs reach for.
NAMES = [
    "frame_cache.CorruptCOG",
    "utils.util_futures.SerialFuture",
    "utils.util_futures.SerialExecutor",
    "utils.util_lru.LRUDict.iteritems",
    "utils.util_lru.LRUDict.iterkeys",
    "utils.util_lru.LRUDict.itervalues",
    "utils.validate_cog.main",
    "utils.validate_cog.validate",
    "utils.validate_cog.ValidateCloudOptimizedGeoTIFFException",
    "utils.util_gdal.batch_validate_cog",
    "category_tree.CategoryTree._demo_probs",
    "category_tree.CategoryTree._prob_decision",
    "category_tree.CategoryTree._apply_logprob_chain_rule",
    "coco_sampler.CocoSampler._load_slice",
    "coco_sampler.CocoSampler._load_slice_2d",
    "coco_sampler.CocoSampler._load_slice_3d",
]


def name_cases(ctx: Any) -> Iterator[Case]:
    """Which names exist, what the loaders of slices give, and what the check of cogs says."""
    for name in NAMES:
        yield f"name/{name}", lambda n=name: _exists(n)
    for load in ("_load_slice", "_load_slice_2d"):
        yield (
            f"slices/still {load}",
            lambda n=load: _slice(ctx.stills, n, {"gid": 1, "slices": (slice(2, 9),) * 2}),
        )
    for load in ("_load_slice", "_load_slice_3d"):
        target = {"vidid": 1, "time_slice": slice(0, 2), "space_slice": (slice(2, 9), slice(3, 8))}
        yield f"slices/video {load}", lambda n=load, t=target: _slice(ctx.simple_video, n, t)
    for kind in ("tiled", "striped", "wide strips", "overviews", "png"):
        yield f"cog/{kind}", lambda k=kind: _validate(ctx.dpath, k)
    yield "cog/absent", lambda: _validate(ctx.dpath, None)


def _exists(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    if module.rpartition(".")[2][0].isupper():
        module, _, owner = module.rpartition(".")
        return hasattr(getattr(importlib.import_module(f"ndsampler.{module}"), owner), attribute)
    return hasattr(importlib.import_module(f"ndsampler.{module}"), attribute)


def _slice(sampler: Any, load: str, target: dict[str, Any]) -> Any:
    sample = getattr(sampler, load)(sampler._infer_target_attributes(target))
    return {"im": sample["im"], "offset": sample["params"]["offset"], "annots": "annots" in sample}


def _validate(dpath: Any, kind: str | None) -> Any:
    """Return the judgement on a file that rasterio or GDAL writes; every release gets the same files."""
    from ndsampler.utils import validate_cog

    path = dpath / f"{kind}.tif"
    if kind is not None and not path.exists():
        _write_tiff(path, kind)
    warnings, errors, details = validate_cog.validate(str(path))
    return {"warnings": len(warnings), "errors": len(errors), "details": details}


def _write_tiff(path: Any, kind: str) -> None:
    if kind == "png":
        import cv2

        path.write_bytes(cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes())
        return
    import tifffile

    width = 1200 if kind == "wide strips" else 800
    tile = {} if "strip" in kind else {"tile": (256, 256)}
    with tifffile.TiffWriter(path) as file:
        file.write(np.zeros((600, width), np.uint8), metadata=None, **tile)
        if kind == "overviews":
            file.write(np.zeros((300, width // 2), np.uint8), subfiletype=1, metadata=None, **tile)


def format_cases(ctx: Any) -> Iterator[Case]:
    """Windows of sources of the formats that OpenCV decodes."""
    import cv2

    values = np.arange(60, dtype=np.uint8).reshape(4, 5, 3) * 4
    pixels = {
        "float": values.astype(np.float32) / 64,
        "bit": np.where(values[..., 0] > 99, 255, 0).astype(np.uint8),
    }
    kinds = {"pfm": "float", "hdr": "float", "pic": "float", "pbm": "bit"}
    for ending in ("avif", "pbm", "pam", "pfm", "ras", "sr", "hdr", "pic", "ppm", "dib", "apng", "tiff"):
        path = ctx.dpath / f"format.{ending}"
        if not path.exists():
            cv2.imwrite(str(path), pixels.get(kinds.get(ending, ""), values))
        yield f"format/{ending}", lambda p=path: _read(ctx, p)


def _read(ctx: Any, path: Any) -> Any:
    import kwcoco

    image = {"id": 1, "file_name": str(path), "width": 5, "height": 4}
    sampler = ctx.sampler(kwcoco.CocoDataset({"images": [image], "categories": [], "annotations": []}))
    return sampler.load_sample({"gid": 1, "slices": (slice(1, 4), slice(-1, 4))}, with_annots=False)["im"]


def tree_cases(ctx: Any) -> Iterator[Case]:
    """Category trees as JSON, both ways, and what they refuse."""
    import kwcoco

    import ndsampler

    kinds = {"ours": ndsampler.CategoryTree, "kwcoco's": kwcoco.CategoryTree}
    for name, source in kinds.items():
        tree = source.from_coco(CATEGORIES)
        yield f"tree/json {name}", lambda t=tree: t.__json__()
        for other, target in kinds.items():
            yield f"tree/{name} to {other}", lambda t=tree, k=target: _ids(k.from_json(t.__json__()))
            yield (
                f"tree/{name} to {other} as text",
                lambda t=tree, k=target: _ids(k.from_json(json.loads(json.dumps(t.__json__())))),
            )
    yield (
        "tree/coerce",
        lambda: _ids(ndsampler.CategoryTree.coerce(kwcoco.CategoryTree.from_coco(CATEGORIES))),
    )


def _ids(tree: Any) -> Any:
    return {
        "id_to_node": {str(cid): node for cid, node in tree.id_to_node.items()},
        "ids": list(tree.idx_to_id),
        "nodes": list(tree.idx_to_node),
        "groups": sorted(tree.idx_groups),
    }


def seed_cases(ctx: Any) -> Iterator[Case]:
    """What ``rng`` may be, and positions in the pools."""
    seeds: dict[str, Callable[[], Any]] = {
        "int": lambda: 3,
        "numpy int": lambda: np.int64(3),
        "negative": lambda: -1,
        "large": lambda: 2**40,
        "float": lambda: 1.5,
        "text": lambda: "three",
        "state": lambda: np.random.RandomState(3),
        "generator": lambda: np.random.default_rng(3),
        "list": lambda: [1, 2],
        "nan": lambda: float("nan"),
    }
    for name, seed in seeds.items():
        yield f"rng/positive {name}", lambda s=seed: ctx.many.regions.get_positive(rng=s())["aid"]
        yield f"rng/item {name}", lambda s=seed: ctx.fresh().regions.get_item(None, rng=s())["aid"]
    for index in (-1, -3, 9999, -9999, "a", 1.5, np.int64(2)):
        yield f"position/item {index!r}", lambda i=index: ctx.fresh().regions.get_item(i)["aid"]
        yield f"position/positive {index!r}", lambda i=index: ctx.fresh().regions.get_positive(i)["aid"]


def mistake_cases(ctx: Any) -> Iterator[Case]:
    """What pools and grids refuse, and how names of categories are compared."""
    nan, inf = float("nan"), float("inf")
    for name, kwargs in {
        "n_neg text": {"n_neg": "a"},
        "n_neg fraction": {"n_neg": 2.5},
        "n_neg nan": {"n_neg": nan},
        "n_neg infinite": {"n_neg": inf},
        "n_neg list": {"n_neg": [3]},
        "ratio text": {"neg_to_pos_ratio": "a"},
        "ratio nan": {"neg_to_pos_ratio": nan},
        "ratio infinite": {"neg_to_pos_ratio": inf},
        "window text": {"n_neg": 2, "window_dims": "a"},
        "window three": {"n_neg": 2, "window_dims": (5, 5, 3)},
        "window number": {"n_neg": 2, "window_dims": 5},
        "rng list": {"rng": [1, 2]},
    }.items():
        yield f"mistake/{name}", lambda k=kwargs: ctx.fresh().preselect(**{"rng": 0, **k})
    for task in (None, 3, ["image_detection"]):
        yield f"mistake/task {task!r}", lambda t=task: ctx.many.new_sample_grid(t, (60, 70))
    for overlap in (1, 1.5, nan, "a"):
        yield (
            f"mistake/overlap {overlap!r}",
            lambda o=overlap: ctx.many.new_sample_grid("image_detection", (60, 70), o),
        )
    for name in ("star", "STAR", ["star"], ["STAR"], ["Star", "eff"], []):
        for key in ("classes_of_interest", "negative_classes"):
            yield f"names of classes/{key} {name!r}", lambda k=key, n=name: _positives(ctx, {k: n})


def _positives(ctx: Any, kwargs: dict[str, Any]) -> Any:
    from ndsampler import coco_regions

    grid = coco_regions.new_image_sample_grid(ctx.many.dset, (60, 70), verbose=0, **kwargs)
    return len(grid["positives"]), len(grid["negatives"])
