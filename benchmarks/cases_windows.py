"""Benchmarks of windows of images, for several sizes, backends and sources, and of conversion."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import limits
from benchmarks.data import Workload
from benchmarks.images import decode
from benchmarks.timing import Pair, Row, Step


def _target(place: tuple[int, int, int], size: int) -> dict[str, Any]:
    index, top, left = place
    return {"gid": index + 1, "cx": left + size // 2, "cy": top + size // 2, "width": size, "height": size}


def _samples(
    sampler: Any, places: list[tuple[int, int, int]], size: int, annots: bool, consume: bool
) -> Step:
    """Return a step that loads one sample, and copies its pixels into an existing batch if ``consume``."""
    batch = np.empty((size, size, 3), dtype=np.uint8)
    targets = [_target(place, size) for place in places]

    def step(index: int) -> Any:
        sample = sampler.load_sample(targets[index % len(targets)], with_annots=annots)
        if consume:
            np.copyto(batch, sample["im"])
        return sample["im"]

    return step


def _same_pixels(work: Workload, ours: Step, limit: Step) -> Pair:
    """Return both sides, after checking that they read the same bytes."""
    for index in range(4 if work.verify else 0):
        if not np.array_equal(ours(index), limit(index)):
            raise ValueError(f"the sample differs from the source in window {index}")
    return Pair(ours, limit)


def window_of_npy(work: Workload, size: int, annots: bool = False, consume: bool = False) -> Pair:
    """Measure a sample from the npy backend; limit: a memory-mapped copy."""
    size = work.window(size)
    places = work.crowded_places(size) if annots else work.places(size)
    maps = [work.memmap(index) for index in range(work.n_images)]

    def limit(step: int) -> np.ndarray:
        index, top, left = places[step % len(places)]
        return limits.read_memmap(maps[index], top, left, size)

    return _same_pixels(work, _samples(work.sampler("png", "npy"), places, size, annots, consume), limit)


def window_of_cog(work: Workload, size: int, annots: bool = False) -> Pair:
    """Measure a sample from the lossless cog backend; limit: one open handle of a file with 128² ZSTD
    blocks."""
    size = work.window(size)
    places = work.crowded_places(size) if annots else work.places(size)
    ours = _samples(work.sampler("png", "cog"), places, size, annots, False)
    return _same_pixels(work, ours, _handles(work, "zstd", places, size))


def window_of_source(work: Workload, kind: str, size: int) -> Pair:
    """Measure a sample without a cache, read from the source; limit: one open handle."""
    size = work.window(size)
    places = work.places(size)
    ours = _samples(work.sampler(kind, None), places, size, False, False)
    return _same_pixels(work, ours, _handles(work, kind, places, size))


def _handles(work: Workload, kind: str, places: list[tuple[int, int, int]], size: int) -> Step:
    def limit(step: int) -> np.ndarray:
        index, top, left = places[step % len(places)]
        return limits.read_handle(work.handle(kind, index), top, left, size)

    return limit


def png_first(work: Workload) -> Pair:
    """Measure the first window of a PNG without a cache; limit: decoding the file."""
    import ndsampler

    size = work.window(256)
    dset, fpath = work.dataset("png"), work.source("png", 0)

    def step(index: int) -> None:
        sampler = ndsampler.CocoSampler(dset, workdir=None, backend=None)
        sampler.load_sample(_target((0, 5, 5), size), with_annots=False)

    return Pair(step, lambda index: decode(fpath))


def png_again(work: Workload) -> Pair:
    """Measure another window of a PNG whose pixels are still in memory; limit: a copy."""
    size = work.window(256)
    places = [(0, top, left) for _, top, left in work.places(size)]
    pixels = work.pixels(0)
    step = _samples(work.sampler("png", None), places, size, False, False)
    step(0)
    return Pair(
        step,
        lambda k: limits.read_memmap(pixels, places[k % len(places)][1], places[k % len(places)][2], size),
    )


def _fresh_frames(work: Workload, kind: str, backend: str, workdir: Path) -> Any:
    import ndsampler

    shutil.rmtree(workdir, ignore_errors=True)
    return ndsampler.CocoFrames(work.dataset(kind), workdir=str(workdir), backend=backend)


def prepare(work: Workload, backend: str) -> Pair:
    """Measure converting a PNG; limit: decoding it and writing the pixels."""
    import time

    workdir = work.dpath / f"prepare_{backend}_{work.workdir.name}"
    convert = {"npy": limits.convert_to_npy, "cog": limits.convert_to_cog}[backend]
    product = work.dpath / f"limit_prepare.{'npy' if backend == 'npy' else 'tif'}"

    def step(index: int) -> float:
        frames = _fresh_frames(work, "png", backend, workdir)
        start = time.perf_counter()
        frames.prepare(gids=[1], workers=0, use_stamp=False)
        return time.perf_counter() - start

    def limit(index: int) -> float:
        product.unlink(missing_ok=True)
        start = time.perf_counter()
        convert(work.source("png", 0), product)
        return time.perf_counter() - start

    return Pair(step, limit)


def prepare_in_place(work: Workload) -> Pair:
    """Measure preparing a tiled source, which needs no conversion."""
    import time

    workdir = work.dpath / f"prepare_in_place_{work.workdir.name}"

    def step(index: int) -> float:
        frames = _fresh_frames(work, "pyramid", "cog", workdir)
        start = time.perf_counter()
        frames.prepare(gids=[1], workers=0, use_stamp=False)
        return time.perf_counter() - start

    return Pair(step)


def whole_to_thumbnail(work: Workload) -> Pair:
    """Measure a whole image scaled to 224² from cog; limit: reading and resizing a small overview."""
    import cv2

    side = work.image_size
    sampler = work.sampler("png", "cog")
    target = {"gid": 1, "slices": (slice(0, side), slice(0, side)), "scale": 224 / side}

    def limit(index: int) -> None:
        small = limits.read_handle(work.overview(), 0, 0, side // 16)
        cv2.resize(small, (224, 224), interpolation=cv2.INTER_AREA)

    return Pair(lambda index: sampler.load_sample(dict(target), with_annots=False), limit)


def _windows(
    backend: str, build: Any, reaches: dict[tuple[int, str], tuple[float, float]], number: int
) -> list[Row]:
    """Return the rows of one backend. A reach is (target time, limit) in milliseconds when it was set."""
    rows = []
    for (size, kind), (aim, limit) in reaches.items():
        flags = {"annots": kind == "annots", "consume": kind == "consumed"}
        flags = {key: True for key, value in flags.items() if value}
        many = max(number * 256 // size, 5) if size > 256 else number
        rows.append(
            Row(
                f"{backend} {size}² {kind}",
                "windows",
                functools.partial(build, size=size, **flags),
                reach=aim / limit,
                number=many,
            )
        )
    return rows


#: (window size, kind of row) to (target time, limit) in milliseconds, measured when the target was set.
NPY_AIMS = {
    (64, "plain"): (0.025, 0.004),
    (64, "annots"): (0.08, 0.004),
    (256, "plain"): (0.035, 0.015),
    (256, "consumed"): (0.06, 0.015),
    (256, "annots"): (0.12, 0.015),
    (1024, "consumed"): (0.35, 0.223),
}
COG_AIMS = {
    (64, "plain"): (0.17, 0.16),
    (256, "plain"): (0.52, 0.48),
    (256, "annots"): (0.58, 0.48),
    (1024, "plain"): (3.8, 2.9),
}


def rows() -> list[Row]:
    """Return all rows of this module."""

    def row(
        name: str,
        aim: tuple[float, float] | None,
        build: Any,
        number: int,
        rounds: int | None = None,
        self_timed: bool = False,
        **kwargs: Any,
    ) -> Row:
        return Row(
            name,
            "windows",
            functools.partial(build, **kwargs),
            reach=aim[0] / aim[1] if aim else None,
            number=number,
            rounds=rounds,
            self_timed=self_timed,
        )

    in_place = Row(
        "prepare, source tiled already",
        "windows",
        prepare_in_place,
        reach_absolute=1.0,
        number=1,
        rounds=15,
        self_timed=True,
    )
    return [
        *_windows("npy", window_of_npy, NPY_AIMS, 200),
        *_windows("cog", window_of_cog, COG_AIMS, 60),
        row("no cache, tiled 256²", (1.2, 1.04), window_of_source, 30, kind="tiled", size=256),
        row("no cache, tiled 1024²", (8.5, 7.7), window_of_source, 6, kind="tiled", size=1024),
        row("no cache, striped 256²", (4.5, 4.1), window_of_source, 10, kind="striped", size=256),
        row("no cache, striped 1024²", (17, 16), window_of_source, 4, kind="striped", size=1024),
        row("no cache, PNG 256², first", (230, 170), png_first, 1, 7),
        row("no cache, PNG 256², again", (0.05, 0.015), png_again, 200),
        row("prepare PNG to npy", (270, 259), prepare, 1, 7, True, backend="npy"),
        row("prepare PNG to cog", (330, 318), prepare, 1, 7, True, backend="cog"),
        in_place,
        row("whole image to 224² from cog", (0.6, 0.22), whole_to_thumbnail, 20),
    ]
