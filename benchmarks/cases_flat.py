"""Whether the cost of a window stays the same as images grow and files become many, and memory with it."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import Workload
from benchmarks.images import SOURCES, texture
from benchmarks.timing import Pair, Row

#: Rows and columns of the large image, which is gray, of the small ones, and of the piece it repeats.
LARGE, SMALL, PIECE = 32768, 1024, 4096

#: Small images; decoded, they take more than the block cache, as the large one does.
SMALL_COUNT = 160

#: Files of the rows with many and with few files, their rows and columns, and how many are not links.
MANY, FEW, SIDE, DISTINCT = 20_000, 100, 64, 16

#: Windows of the large image that the process loads whose memory is measured.
WINDOWS = 3000


def _write_gray(fpath: Path, side: int, seed: int) -> Path:
    """Write a gray image in the layout of an entry, from pieces, and return its path."""
    import rasterio

    partial = fpath.with_name(f"partial_{fpath.name}")
    if fpath.exists():
        return fpath
    piece = np.ascontiguousarray(texture(min(side, PIECE), seed)[..., 0])
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", **(SOURCES["zstd"] or {})}
    with rasterio.open(partial, "w", width=side, height=side, num_threads="ALL_CPUS", **profile) as file:
        for top in range(0, side, PIECE):
            for left in range(0, side, PIECE):
                window = rasterio.windows.Window(left, top, len(piece), len(piece))
                # Not all pieces alike, or one of them would be in every cache.
                file.write(np.roll(piece, (top + left) // PIECE, axis=0), 1, window=window)
    os.replace(partial, fpath)
    return fpath


def _folder(work: Workload) -> Path:
    folder = work.dpath / "flat"
    folder.mkdir(exist_ok=True)
    return folder


@functools.cache
def _dataset_path(work: Workload, kind: str) -> tuple[str, int, int]:
    """The path of a dataset, the number of its images, and their rows and columns."""
    import json

    fpaths, side = _files_of(work, kind)
    images = [
        {"id": gid, "file_name": str(fpath), "width": side, "height": side}
        for gid, fpath in enumerate(fpaths, start=1)
    ]
    path = _folder(work) / f"{kind}.kwcoco.json"
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    return str(path), len(images), side


def _files_of(work: Workload, kind: str) -> tuple[list[Path], int]:
    """The image files of a dataset, and their rows and columns."""
    folder = _folder(work)
    if kind == "large":
        side = 1024 if work.smoke else LARGE
        return [_write_gray(folder / f"large{side}.tif", side, 0)], side
    if kind == "small":
        side, count = (128, 3) if work.smoke else (SMALL, SMALL_COUNT)
        return [_write_gray(folder / f"small{side}_{index}.tif", side, index) for index in range(count)], side
    count = {"few": FEW, "many": MANY}[kind] // (500 if work.smoke else 1)
    return _linked_files(folder, max(count, 2)), SIDE


def _linked_files(folder: Path, count: int) -> list[Path]:
    """Small files, most of them further names of a few."""
    fpaths = [folder / f"file{index}.png" for index in range(count)]
    for index, fpath in enumerate(fpaths):
        if index < DISTINCT and not fpath.exists():
            import cv2

            cv2.imwrite(str(fpath), texture(SIDE, index))
        elif not fpath.exists():
            os.link(fpaths[index % DISTINCT], fpath)
    return fpaths


@functools.cache
def _sampler(work: Workload, kind: str, backend: str | None) -> Any:
    """A sampler of a dataset, whose cache is complete."""
    import kwcoco

    import ndsampler

    workdir = None if backend is None else str(work.workdir / "flat")
    dset = kwcoco.CocoDataset(_dataset_path(work, kind)[0])
    sampler = ndsampler.CocoSampler(dset, workdir=workdir, backend=backend)
    if backend is not None:
        sampler.frames.prepare(workers=0 if work.smoke else 2)
    return sampler


def _targets(work: Workload, kind: str, size: int) -> list[dict[str, Any]]:
    """Windows at random places of random images."""
    _, count, side = _dataset_path(work, kind)
    rng = np.random.default_rng(0)
    gids = rng.integers(1, count + 1, 8192).tolist()
    corners = rng.integers(0, side - size + 1, (8192, 2)).tolist()
    return [
        {"gid": gid, "slices": (slice(top, top + size), slice(left, left + size))}
        for gid, (top, left) in zip(gids, corners)
    ]


def _windows(work: Workload, kind: str, backend: str | None, size: int) -> Any:
    sampler, targets = _sampler(work, kind, backend), _targets(work, kind, size)
    return lambda step: sampler.load_sample(targets[step % len(targets)], with_annots=False)


def large_image(work: Workload, backend: str | None) -> Pair:
    """A window of an image of 32768²; in the place of the limit, one of many images of 1024²."""
    size = work.window(256)
    return Pair(_windows(work, "large", backend, size), _windows(work, "small", backend, size))


def many_files(work: Workload, backend: str) -> Pair:
    """The whole of one of 20,000 files of 64², each read before; in the place of the limit, one of 100."""
    for kind in ("few", "many"):
        sampler, (_, count, _) = _sampler(work, kind, backend), _dataset_path(work, kind)
        for gid in range(1, count + 1):
            sampler.load_sample({"gid": gid}, with_annots=False)
    return Pair(_windows(work, "many", backend, SIDE), _windows(work, "few", backend, SIDE))


def memory(work: Workload, backend: str | None) -> Pair:
    """Most memory of a process that loads windows of an image of 32768², in MB."""
    _sampler(work, "large", backend)
    dataset, _, side = _dataset_path(work, "large")
    workdir = str(work.workdir / "flat")
    args = [dataset, workdir, backend or "", str(side), str(4 if work.smoke else WINDOWS)]
    command = [sys.executable, "-m", "benchmarks.probe", "memory", *args]
    folder = Path(__file__).resolve().parents[1]

    def step(index: int) -> float:
        done = subprocess.run(command, check=True, cwd=folder, capture_output=True, text=True, timeout=300)
        return float(done.stdout.split()[-1])

    return Pair(step)


def rows() -> list[Row]:
    """All rows of this module. Their aims hold as they stand."""
    part, row = functools.partial, functools.partial(Row, group="flat", band=1.0)
    names = {"npy": "npy", "cog": "cog", None: "no cache"}
    once = {"unit": "MB", "number": 1, "rounds": 1, "self_timed": True}
    large = [
        row(
            f"32768² against 1024², {name} 256²",
            build=part(large_image, backend=backend),
            reach=1.2,
            number=60,
        )
        for backend, name in names.items()
    ]
    many = [
        row(
            f"20,000 files against 100, {backend} 64²",
            build=part(many_files, backend=backend),
            reach=1.5,
            number=200,
        )
        for backend in ("npy", "cog")
    ]
    memories = [
        row(
            f"memory of a process, 32768², {name}",
            build=part(memory, backend=backend),
            reach_absolute=300,
            **once,
        )
        for backend, name in names.items()
    ]
    return [*large, *many, *memories]
