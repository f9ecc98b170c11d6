"""Many files, first windows, and batches: what costs more than reading a window of a file that is open."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import limits
from benchmarks.data import Workload
from benchmarks.images import texture, write_source
from benchmarks.timing import Pair, Row

#: Files of the rows with many files, their rows and columns, and how many of them differ. The others are
#: further names of these.
MANY, SIDE, DISTINCT = 800, 768, 16

#: Windows of a batch.
BATCH = 64

#: Images of the batches; decoded, they take several times the block cache of GDAL.
IMAGES_OF_BATCHES = 16


def _target(gid: int, top: int, left: int, size: int) -> dict[str, Any]:
    return {"gid": gid, "cx": left + size // 2, "cy": top + size // 2, "width": size, "height": size}


@functools.cache
def _many_files(work: Workload) -> list[Path]:
    """PNG files of one size in a folder of their own."""
    count, side = (6, 96) if work.smoke else (MANY, SIDE)
    folder = work.dpath / "many"
    folder.mkdir(exist_ok=True)
    fpaths = [folder / f"file{index}.png" for index in range(count)]
    for index, fpath in enumerate(fpaths):
        if index < DISTINCT and not fpath.exists():
            write_source(fpath, "png", texture(side, index))
        elif not fpath.exists():
            os.link(fpaths[index % DISTINCT], fpath)
    return fpaths


@functools.cache
def _many_sampler(work: Workload, backend: str) -> Any:
    """A sampler of all these files, whose cache is complete."""
    import kwcoco

    import ndsampler

    side = 96 if work.smoke else SIDE
    images = [
        {"id": gid, "file_name": str(fpath), "width": side, "height": side}
        for gid, fpath in enumerate(_many_files(work), start=1)
    ]
    dset = kwcoco.CocoDataset({"images": images, "annotations": [], "categories": []})
    sampler = ndsampler.CocoSampler(dset, workdir=str(work.workdir / "many"), backend=backend)
    sampler.frames.prepare(workers=0)
    return sampler


def _random_targets(work: Workload) -> list[dict[str, Any]]:
    """Windows of 256 at random places of random files."""
    count, side, size = len(_many_files(work)), 96 if work.smoke else SIDE, work.window(256)
    rng = np.random.default_rng(0)
    gids = rng.integers(1, count + 1, 4096).tolist()
    corners = rng.integers(0, side - size, (4096, 2)).tolist()
    return [_target(gid, top, left, size) for gid, (top, left) in zip(gids, corners)]


def many_files(work: Workload, backend: str) -> Pair:
    """A sample of a random one of 800 files; limit: one that opens the same file each time."""
    sampler, targets = _many_sampler(work, backend), _random_targets(work)
    same = [{**target, "gid": 1} for target in targets]

    def load(listed: list[dict[str, Any]], step: int) -> Any:
        return sampler.load_sample(listed[step % len(listed)], with_annots=False)

    return Pair(functools.partial(load, targets), functools.partial(load, same))


def first_touch(work: Workload, backend: str) -> Pair:
    """The first window of an entry, by a sampler that has opened no file yet."""
    import ndsampler

    known, size = _many_sampler(work, backend), work.window(256)
    gids = itertools.cycle(range(1, len(_many_files(work)) + 1))
    workdir = str(work.workdir / "many")
    fresh = {"sampler": known}

    def step(index: int) -> float:
        gid = next(gids)
        if gid == 1:
            fresh["sampler"] = ndsampler.CocoSampler(known.dset, workdir=workdir, backend=backend)
            fresh["sampler"].load_sample(_target(len(_many_files(work)), 8, 8, size), with_annots=False)
        start = time.perf_counter()
        fresh["sampler"].load_sample(_target(gid, 8, 8, size), with_annots=False)
        return time.perf_counter() - start

    return Pair(step)


def first_window(work: Workload) -> Pair:
    """The first window of a new sampler on a tiled file; limit: to open the file and read the window."""
    import ndsampler

    size, dset = work.window(256), work.dataset("tiled")

    def step(index: int) -> float:
        sampler = ndsampler.CocoSampler(dset, workdir=None, backend=None)
        start = time.perf_counter()
        sampler.load_sample(_target(1, 40, 40, size), with_annots=False)
        return time.perf_counter() - start

    def limit(index: int) -> float:
        import rasterio

        start = time.perf_counter()
        with rasterio.open(work.source("tiled", 0)) as file:
            limits.read_handle(file, 40, 40, size)
        return time.perf_counter() - start

    return Pair(step, limit)


def slow_source(work: Workload) -> Pair:
    """A sample from the cog backend of a source in DEFLATE blocks of 512; limit: an open entry's layout."""
    size = work.window(256)
    places = work.places(size)
    sampler = work.sampler("deflate", "cog")
    targets = [_target(index + 1, top, left, size) for index, top, left in places]

    def limit(step: int) -> np.ndarray:
        index, top, left = places[step % len(places)]
        return limits.read_handle(work.handle("zstd", index), top, left, size)

    return Pair(
        lambda step: sampler.load_sample(targets[step % len(targets)], with_annots=False),
        limit,
    )


@functools.cache
def _large_sampler(work: Workload) -> Any:
    """A sampler of images that take more memory than the block cache; their files are used in place."""
    import kwcoco

    import ndsampler

    count, side = (2 if work.smoke else IMAGES_OF_BATCHES), work.image_size
    images = [
        {"id": index + 1, "file_name": str(work.source("pyramid", index)), "width": side, "height": side}
        for index in range(count)
    ]
    dset = kwcoco.CocoDataset({"images": images, "annotations": [], "categories": []})
    sampler = ndsampler.CocoSampler(dset, workdir=str(work.workdir), backend="cog")
    sampler.frames.prepare(workers=0)
    return sampler


def _batch_places(work: Workload, kind: str) -> list[list[tuple[int, int, int]]]:
    """(image, row, column) of the windows of some batches: random, snapped to blocks, or overlapping."""
    count, size = (2 if work.smoke else IMAGES_OF_BATCHES), work.window(256)
    rng = np.random.default_rng(1)
    batches = []
    for index in range(64):
        image = rng.integers(0, count, BATCH)
        corners = rng.integers(0, work.image_size - size, (BATCH, 2))
        if kind == "snapped":
            corners = np.round(corners / 128).astype(int) * 128 % (work.image_size - size + 1) // 128 * 128
        if kind == "overlapping":  # a grid whose windows share half of each other
            image[:] = index % count
            grid = np.stack(np.meshgrid(range(8), range(8), indexing="ij"), axis=-1).reshape(-1, 2)
            most = max(work.image_size - size - 7 * (size // 2), 1)
            corners = grid * (size // 2) + rng.integers(0, most, 2)
            corners = np.minimum(corners, work.image_size - size)
        batches.append([(int(i), int(y), int(x)) for i, (y, x) in zip(image, corners)])
    return batches


def batch_of_windows(work: Workload, kind: str, threads: int) -> Pair:
    """64 windows at once; limit: one by one through handles of GDAL that stay open."""
    size, sampler = work.window(256), _large_sampler(work)
    batches, free = _batch_places(work, kind), _batch_places(work, "random" if kind == "snapped" else kind)
    targets = [[_target(i + 1, y, x, size) for i, y, x in batch] for batch in batches]

    def ours(step: int) -> Any:
        if not hasattr(sampler, "load_samples"):  # an earlier release
            return [sampler.load_sample(target, with_annots=False) for target in targets[step % 64]]
        return sampler.load_samples(targets[step % 64], threads=threads, with_annots=False)

    def limit(step: int) -> Any:
        # Other windows than those that our side has just read.
        chosen = free[(step + 32) % 64]
        return [limits.read_handle(work.handle("zstd", i), y, x, size) for i, y, x in chosen]

    return Pair(ours, limit)


def torch_loader(work: Workload, backend: str) -> Pair:
    """Samples of 256 a second from torch's DataLoader: two workers, batches of 16, many files."""
    import torch.utils.data

    from ndsampler.training import SampleDataset

    targets = _random_targets(work)[: 32 if work.smoke else 2048]
    dataset = SampleDataset(_many_sampler(work, backend), targets, outputs=("image",))
    loader = torch.utils.data.DataLoader(dataset, batch_size=16, num_workers=2, persistent_workers=True)

    def step(index: int) -> float:
        start = time.perf_counter()
        count = sum(len(batch["image"]) for batch in loader)
        return (time.perf_counter() - start) / count

    return Pair(step)


def rows() -> list[Row]:
    """All rows of this module."""
    part = functools.partial

    def row(name: str, build: Any, number: int, **kwargs: Any) -> Row:
        return Row(name, "files", build, number=number, **kwargs)

    return [
        *(
            row(f"800 files, {backend} 256²", part(many_files, backend=backend), 200, reach_absolute=aim)
            for backend, aim in (("npy", 0.07), ("cog", 0.5))
        ),
        *(
            row(
                f"first touch of an entry, {backend}",
                part(first_touch, backend=backend),
                50,
                reach_absolute=aim,
                self_timed=True,
            )
            for backend, aim in (("npy", 0.1), ("cog", 0.7))
        ),
        row("first window, tiled file", first_window, 5, reach_absolute=0.5, self_timed=True),
        row("cog 256², source of slow layout", slow_source, 60, reach=0.5 / 0.48),
        *(
            row(
                f"64 windows of 256², {kind}, {threads} threads",
                part(batch_of_windows, kind=kind, threads=threads),
                2,
                reach=aim,
            )
            for kind, aim in (("random", 0.6), ("snapped", 0.33), ("overlapping", 0.4))
            for threads in (0, 2)
        ),
        *(
            row(
                f"torch loader, {backend} 256²",
                part(torch_loader, backend=backend),
                1,
                unit="/s",
                rounds=3,
                self_timed=True,
            )
            for backend in (("npy", "cog") if importlib.util.find_spec("torch") else ())
        ),
    ]
