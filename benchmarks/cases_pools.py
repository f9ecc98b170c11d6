"""Benchmarks of the spatial index, negatives, grids and selection for growing numbers of annotations."""

from __future__ import annotations

import functools
import pickle
from typing import Any

import numpy as np

from benchmarks import limits
from benchmarks.data import Workload
from benchmarks.timing import Pair, Row


def _count(work: Workload, n_annots: int) -> int:
    return min(n_annots, max(work.sizes)) if work.smoke else n_annots


@functools.lru_cache(maxsize=4)
def _index(work: Workload, n_annots: int, per_image: int = 100) -> Any:
    import ndsampler

    return ndsampler.FrameIntersectionIndex.from_coco(work.boxes(n_annots, per_image))


@functools.lru_cache(maxsize=4)
def _columns(work: Workload, n_annots: int, per_image: int = 100) -> dict[str, np.ndarray]:
    return limits.gather_columns(work.boxes(n_annots, per_image))


def build(work: Workload, n_annots: int) -> Pair:
    """Measure building the index of all images; limit: building columns of ids and boxes."""
    import ndsampler

    dset = work.boxes(_count(work, n_annots))
    from_coco = ndsampler.FrameIntersectionIndex.from_coco
    return Pair(lambda k: from_coco(dset), lambda k: limits.gather_columns(dset))


def round_trip(work: Workload, n_annots: int) -> Pair:
    """Measure pickling and unpickling an index; limit: the same for the columns."""
    count = _count(work, n_annots)
    index, columns = _index(work, count), _columns(work, count)
    return Pair(
        lambda k: pickle.loads(pickle.dumps(index, -1)), lambda k: pickle.loads(pickle.dumps(columns, -1))
    )


def query(work: Workload, n_annots: int, per_image: int, size: int) -> Pair:
    """Measure finding the annotations that overlap a box; limit: comparing all, or a tree above ten
    thousand."""
    import kwimage

    count = _count(work, n_annots)
    per_image = min(per_image, count)
    index, columns = _index(work, count, per_image), _columns(work, count, per_image)
    n_images = len(columns["starts"])
    corners = np.random.default_rng(0).uniform(0, 4096 - size, (1024, 2))
    ltrb = np.concatenate([corners, corners + size], axis=1)
    boxes = [kwimage.Boxes(row[None], "ltrb") for row in ltrb]
    xywh = columns["boxes"].astype(np.float64)
    every = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    images = [every[k * per_image : (k + 1) * per_image] for k in range(n_images)]
    search = _tree(every) if per_image > 10_000 else None

    def limit(step: int) -> Any:
        k = step % 1024
        return search(ltrb[k]) if search else limits.overlapping(images[step % n_images], ltrb[k])

    return Pair(lambda k: index.overlapping_aids(1 + k % n_images, boxes[k % 1024]), limit)


def _tree(ltrb: np.ndarray) -> Any:
    import shapely

    tree = shapely.STRtree(shapely.box(*ltrb.T))
    return lambda box: tree.query(shapely.box(*box))


def negatives(work: Workload, num: int, n_annots: int = 200_000) -> Pair:
    """Measure drawing 64² windows that touch no annotation; limit: drawing and comparing all at once."""
    count = _count(work, n_annots)
    num = min(num, 50) if work.smoke else num
    index, columns = _index(work, count), _columns(work, count)
    return Pair(
        lambda k: index.random_negatives(num, window_size=(64, 64), rng=k, exact=True),
        lambda k: limits.free_windows(columns, num, 64, 4096, k),
    )


def pooled_target(work: Workload, kind: str) -> Pair:
    """Measure getting a target by position from a pool of 1000 positives and 1000 negatives."""
    import ndsampler

    regions = ndsampler.CocoRegions(work.boxes(_count(work, 200_000)), verbose=0)
    regions.preselect(n_pos=1000, n_neg=1000, window_dims=(64, 64), rng=0)
    get = regions.get_negative if kind == "negative" else regions.get_positive
    return Pair(lambda k: get(k % 1000))


def region_query(work: Workload) -> Pair:
    """Measure finding overlapping annotations through a sampler's regions, which also detect edits."""
    import kwimage

    import ndsampler

    count = _count(work, 200_000)
    regions = ndsampler.CocoRegions(work.boxes(count), verbose=0)
    corners = np.random.default_rng(0).uniform(0, 4032, (1024, 2))
    boxes = [kwimage.Boxes(row[None], "ltrb") for row in np.concatenate([corners, corners + 64], axis=1)]
    return Pair(lambda k: regions.overlapping_aids(1 + k % (count // 100), boxes[k % 1024]))


def image_grid(work: Workload, n_annots: int) -> Pair:
    """Measure a grid of sixteen 1024² windows in each image; limit: sorting boxes into cells."""
    from ndsampler.coco_regions import new_image_sample_grid

    count = _count(work, n_annots)
    dset, columns = work.boxes(count), _columns(work, count)
    return Pair(
        lambda k: new_image_sample_grid(dset, (1024, 1024), verbose=0),
        lambda k: limits.grid_targets(columns, 1024, 4096),
    )


def video_grid(work: Workload) -> Pair:
    """Measure a grid of windows over videos."""
    import kwcoco

    from ndsampler.coco_regions import new_video_sample_grid

    dset = kwcoco.CocoDataset(video_dataset(2 if work.smoke else 20))
    return Pair(lambda k: new_video_sample_grid(dset, (2, 128, 128), verbose=0))


def video_dataset(n_videos: int, n_frames: int = 20, size: int = 512) -> dict[str, Any]:
    """Return a dataset of videos without files, with five boxes in each frame."""
    rng = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    anns: list[dict[str, Any]] = []
    for vidid in range(1, n_videos + 1):
        for frame in range(n_frames):
            gid = len(images) + 1
            images.append(
                {
                    "id": gid,
                    "name": f"v{vidid}f{frame}",
                    "file_name": f"v{vidid}f{frame}.png",
                    "video_id": vidid,
                    "frame_index": frame,
                    "width": size,
                    "height": size,
                }
            )
            for box in rng.integers(10, size - 60, (5, 2)).tolist():
                anns.append({"id": len(anns) + 1, "image_id": gid, "category_id": 1, "bbox": [*box, 40, 40]})
    videos = [{"id": v, "name": f"v{v}", "width": size, "height": size} for v in range(1, n_videos + 1)]
    return {
        "images": images,
        "annotations": anns,
        "videos": videos,
        "categories": [{"id": 1, "name": "thing"}],
    }


def selection(work: Workload, n_annots: int) -> Pair:
    """Measure selecting positives by coverage, with 300² windows."""
    import ndsampler
    from ndsampler.coco_regions import tabular_coco_targets

    targets = tabular_coco_targets(work.boxes(_count(work, n_annots)))
    return Pair(lambda k: ndsampler.select_positive_regions(targets, (300, 300), rng=0))


def _growing(n_annots: int) -> list[Row]:
    """Return the rows for one number of annotations. ``aim`` is (target time, limit) when it was set."""
    name = f"{n_annots // 1000}k" if n_annots < 1_000_000 else f"{n_annots // 1_000_000}M"
    few = 3 if n_annots > 100_000 else 7

    def row(
        title: str,
        unit: str,
        aim: tuple[float, float] | None,
        build: Any,
        number: int = 1,
        rounds: int | None = 7,
        **kwargs: Any,
    ) -> Row:
        ready = functools.partial(build, n_annots=n_annots, **kwargs)
        reach = aim[0] / aim[1] if aim else None
        return Row(f"{title}, {name}", "pools", ready, unit, reach=reach, number=number, rounds=rounds)

    return [
        row("index build", "s", (0.1, 0.07), build, rounds=few),
        row("index pickle both ways", "s", (0.01, 0.002), round_trip),
        row("query 64², 100 an image", "us", (6, 5), query, 200, None, per_image=100, size=64),
        row("query 1024², 100 an image", "us", (8, 5), query, 200, None, per_image=100, size=1024),
        row("image grid", "s", (0.25, 0.12), image_grid, rounds=few),
        row("1k negatives", "s", (0.018, 0.013), negatives, num=1000),
        row("selection", "s", None, selection, rounds=few),
    ]


def rows(sizes: tuple[int, ...]) -> list[Row]:
    """Return all rows of this module, with the growing ones for each size."""
    part = functools.partial
    growing = [row for size in sizes for row in _growing(size)]
    crowded = part(query, n_annots=100_000, per_image=100_000, size=64)
    return [
        *growing,
        *(
            Row(
                f"query 64², {per_image} an image, 200k",
                "pools",
                part(query, n_annots=200_000, per_image=per_image, size=64),
                "us",
                reach_absolute=3,
                number=200,
            )
            for per_image in (10, 1000)
        ),
        Row("query 64², regions, 200k", "pools", region_query, "us", reach_absolute=5, number=200),
        *(
            Row(
                f"one {kind} of the pool",
                "pools",
                part(pooled_target, kind=kind),
                "us",
                reach_absolute=aim,
                number=200,
            )
            for kind, aim in (("negative", 1), ("positive", 2))
        ),
        Row("query 64², 100k an image", "pools", crowded, "us", reach=10 / 6, number=200),
        Row(
            "20k negatives, 200k",
            "pools",
            part(negatives, num=20_000),
            "s",
            reach=0.05 / 0.034,
            number=1,
            rounds=5,
        ),
        Row("video grid, 400 frames", "pools", video_grid, "s", reach_absolute=0.12, number=1, rounds=5),
    ]
