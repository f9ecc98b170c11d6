"""Benchmarks of new processes, and of two processes that run together."""

from __future__ import annotations

import functools
import multiprocessing
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import limits
from benchmarks.data import Workload
from benchmarks.timing import Pair, Row, Step


def _process(*args: str) -> float:
    """Return the elapsed seconds of an interpreter that runs ``args``."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *args], check=True, cwd=_root(), capture_output=True)
    return time.perf_counter() - start


def _root() -> Path:
    return Path(__file__).resolve().parents[1]


def _probe(kind: str, *args: str) -> float:
    """Return the seconds that a probe in a new process reports."""
    cmd = [sys.executable, "-m", "benchmarks.probe", kind, *args]
    out = subprocess.run(cmd, check=True, cwd=_root(), capture_output=True, text=True)
    return float(out.stdout.split()[-1])


def import_time(work: Workload) -> Pair:
    """Measure a process that imports the library; limit: a process that does nothing."""
    return Pair(lambda k: _process("-c", "import ndsampler"), lambda k: _process("-c", "pass"))


def first_sample(work: Workload) -> Pair:
    """Measure a process that opens a dataset and loads one npy sample; limit: the same without the
    library."""
    work.sampler("png", "npy")
    work.memmap(0)
    dataset, workdir = str(work.dataset_path("png")), str(work.workdir)
    array = str(work.dpath / "image0.npy")
    return Pair(
        lambda k: _process("-m", "benchmarks.probe", "sample", dataset, workdir),
        lambda k: _process("-m", "benchmarks.probe", "sample-limit", dataset, array),
    )


def first_query(work: Workload, n_annots: int = 200_000) -> Pair:
    """Measure the first overlap query after loading a dataset; limit: building columns and one comparison."""
    fpath = str(work.boxes_path(2_000 if work.smoke else n_annots))
    return Pair(lambda k: _probe("query", fpath), lambda k: _probe("query-limit", fpath))


def sampler_made(work: Workload, n_annots: int = 1200) -> Pair:
    """Measure making a sampler of a loaded dataset, including the imports that it needs."""
    fpath = str(work.boxes_path(n_annots))
    return Pair(lambda k: _probe("made", fpath))


class Pool:
    """Two spawned processes that run a step repeatedly on command."""

    def __init__(self, worker: Any, payload: bytes):
        context = multiprocessing.get_context("spawn")
        self.pipes = []
        self.processes = []
        for seed in range(2):
            ours, theirs = context.Pipe()
            process = context.Process(target=worker, args=(theirs, payload, seed), daemon=True)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def seconds_per_sample(self, count: int) -> float:
        """Return the seconds per sample when both processes load ``count`` samples at the same time."""
        for pipe in self.pipes:
            pipe.send(count)
        return max(pipe.recv() for pipe in self.pipes) / (2 * count)


def _serve(pipe: Any, step: Step) -> None:
    step(0)
    while True:
        try:
            count = pipe.recv()
        except EOFError:
            return
        start = time.perf_counter()
        for index in range(count):
            step(index)
        pipe.send(time.perf_counter() - start)


def sample_worker(pipe: Any, payload: bytes, seed: int) -> None:
    """Load samples with annotations in a worker process."""
    import warnings

    warnings.simplefilter("ignore")
    sampler, targets = pickle.loads(payload)
    targets = targets[seed::2]
    _serve(pipe, lambda k: sampler.load_sample(targets[k % len(targets)], with_annots=True)["im"].shape)


def limit_worker(pipe: Any, payload: bytes, seed: int) -> None:
    """Do the minimal work of a loader: copy from a memory map, and translate six polygons."""
    import numpy as np

    fpaths, places, size = pickle.loads(payload)
    maps = [np.load(fpath, mmap_mode="r") for fpath in fpaths]
    dets = limits.six_detections()

    def step(index: int) -> None:
        image, top, left = places[(2 * index + seed) % len(places)]
        limits.read_memmap(maps[image], top, left, size)
        dets.translate((1.0, 1.0))

    _serve(pipe, step)


def two_loaders(work: Workload) -> Pair:
    """Measure the samples per second of two processes, with npy and annotations."""
    from benchmarks.cases_windows import _target

    size = work.window(256)
    places = work.crowded_places(size)
    for index in range(work.n_images):
        work.memmap(index)
    fpaths = [str(work.dpath / f"image{index}.npy") for index in range(work.n_images)]
    targets = [_target(place, size) for place in places]
    ours = Pool(sample_worker, pickle.dumps((work.sampler("png", "npy"), targets)))
    limit = Pool(limit_worker, pickle.dumps((fpaths, places, size)))
    count = 20 if work.smoke else 1500
    return Pair(lambda k: ours.seconds_per_sample(count), lambda k: limit.seconds_per_sample(count))


def rows() -> list[Row]:
    """Return all rows of this module."""
    return [
        Row(
            "import ndsampler, process",
            "cold",
            import_time,
            "s",
            reach=0.06 / 0.017,
            number=1,
            rounds=11,
            self_timed=True,
        ),
        Row(
            "process to first npy sample",
            "cold",
            first_sample,
            "s",
            reach=0.40 / 0.34,
            number=1,
            rounds=7,
            self_timed=True,
        ),
        Row(
            "sampler made, 1200 annotations",
            "cold",
            sampler_made,
            "s",
            reach_absolute=0.008,
            number=1,
            rounds=7,
            self_timed=True,
        ),
        Row(
            "two loaders, npy, annotations",
            "cold",
            two_loaders,
            "/s",
            reach=31 / 12,
            number=1,
            rounds=9,
            self_timed=True,
        ),
        Row(
            "first query of a process, 200k",
            "pools",
            functools.partial(first_query),
            "s",
            reach=0.15 / 0.1,
            number=1,
            rounds=5,
            self_timed=True,
        ),
    ]
