"""
Measures how many samples per second a backend gives, and how much memory it takes.

Each backend is measured in a new process, so that it does not share memory or open files with
another. The process reads a :class:`Task` from its stdin and prints a :class:`Speed`, both as JSON.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ndsampler.errors import SourceError

if TYPE_CHECKING:
    from ndsampler.coco_sampler import CocoSampler
    from ndsampler.types import BackendName

#: Seconds between two readings of the memory.
READ_EVERY = 0.01

#: Samples that are loaded but not counted, since each file is opened and checked only once.
WARM_UP = 50


@dataclass(frozen=True)
class Task:
    """What to measure."""

    data: str
    """Path of the dataset."""

    gids: list[int]
    """Ids of the images to sample."""

    workdir: str
    """Folder of the cache, in which all images are converted already."""

    backend: BackendName | None

    seconds: float
    """How long to sample; less if all targets have been sampled before."""

    targets: list[dict[str, Any]]

    images: str | None = None
    """Folder of the images; None for that of the dataset."""


@dataclass(frozen=True)
class Speed:
    """The result of a measurement."""

    samples: int
    """Samples that were counted: neither the first nor those of the warm-up."""

    seconds: float
    """For the counted samples."""

    first: float
    """Seconds for the first sample."""

    own_bytes: int
    """Highest private memory of the process."""

    mapped_bytes: int
    """Highest memory of the files that the process had mapped, libraries included."""

    @property
    def rate(self) -> float:
        """Counted samples per second."""
        return self.samples / self.seconds if self.samples else 0.0


def measure(task: Task) -> Speed:
    """Measure a backend in a new process.

    Args:
        task: what to measure.

    Raises:
        SourceError: if a sample cannot be read.
    """
    done = subprocess.run(
        [sys.executable, "-m", "ndsampler.demo.speed"],
        input=json.dumps(asdict(task)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SourceError(f"sampling with backend {task.backend!r} failed: {reason}")
    return Speed(**json.loads(done.stdout.strip().splitlines()[-1]))


class MemoryWatch:
    """Records the highest memory of this process while the block runs."""

    def __init__(self) -> None:
        self.own_bytes = 0
        self.mapped_bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._done.set()
        self._thread.join()
        self._read()

    def _watch(self) -> None:
        while not self._done.wait(READ_EVERY):
            self._read()

    def _read(self) -> None:
        import psutil

        memory = psutil.Process().memory_info()
        # Linux reports the memory shared with files, Windows the private memory; elsewhere all is private.
        own = getattr(memory, "private", memory.rss - getattr(memory, "shared", 0))
        self.own_bytes = max(self.own_bytes, own)
        self.mapped_bytes = max(self.mapped_bytes, memory.rss - own)


def run(task: Task) -> Speed:
    """Measure a backend in this process.

    Args:
        task: what to measure.
    """
    from ndsampler.coco_sampler import CocoSampler
    from ndsampler.dataset.opening import open_dataset

    dset = open_dataset(task.data, task.images)
    if len(task.gids) < dset.n_images:
        dset = dset.subset(task.gids)
    sampler = CocoSampler(dset, workdir=task.workdir, backend=task.backend)
    with MemoryWatch() as memory:
        samples, seconds, first = _sample(sampler, task)
    return Speed(samples, seconds, first, memory.own_bytes, memory.mapped_bytes)


def _sample(sampler: CocoSampler, task: Task) -> tuple[int, float, float]:
    """Load sample after sample, and return how many were counted, in which time, and that of the first."""
    clock = time.perf_counter
    start = clock()
    _load(sampler, task.targets[:1], math.inf)
    first = clock() - start
    begin = 1 + min(WARM_UP, len(task.targets) // 4)
    _load(sampler, task.targets[1:begin], task.seconds / 2)
    start = clock()
    count = _load(sampler, task.targets[begin:], task.seconds)
    return count, clock() - start, first


def _load(sampler: CocoSampler, targets: list[dict[str, Any]], seconds: float) -> int:
    """Load samples and read every pixel, until the time is over; return how many."""
    end = time.perf_counter() + seconds
    for count, target in enumerate(targets, 1):
        sampler.load_sample(target)["im"].max()
        if time.perf_counter() > end:
            return count
    return len(targets)


def main() -> int:
    """Read a task from stdin and print the result."""
    task = Task(**json.load(sys.stdin))
    sys.stdout.write(json.dumps(asdict(run(task))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
