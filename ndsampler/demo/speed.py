"""
Measuring the samples per second and the memory of a backend.

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

#: Number of samples that are loaded but not counted, because each file is opened and checked only once.
WARM_UP = 50


@dataclass(frozen=True)
class Task:
    """A measurement to make."""

    data: str
    """Path of the dataset."""

    gids: list[int]
    """Ids of the images to sample."""

    workdir: str
    """Folder of the cache, which already contains all converted images."""

    backend: BackendName | None

    seconds: float
    """Maximum duration in seconds; sampling ends earlier if all targets have been sampled."""

    targets: list[dict[str, Any]]

    images: str | None = None
    """Folder of the images; None for the folder of the dataset."""


@dataclass(frozen=True)
class Speed:
    """The result of a measurement."""

    samples: int
    """Number of counted samples, without the first one and those of the warm-up."""

    seconds: float
    """Duration of the counted samples in seconds."""

    first: float
    """Seconds for the first sample."""

    own_bytes: int
    """Peak private memory of the process in bytes."""

    mapped_bytes: int
    """Peak memory of mapped files in bytes, including libraries."""

    @property
    def rate(self) -> float:
        """Counted samples per second."""
        return self.samples / self.seconds if self.samples else 0.0


def measure(task: Task) -> Speed:
    """Measure a backend in a new process.

    Args:
        task: the measurement to make.

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
    """Records the peak memory of this process while the block runs."""

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
        # Linux reports the memory shared with files, and Windows the private memory. Elsewhere all memory is
        # counted as private.
        own = getattr(memory, "private", memory.rss - getattr(memory, "shared", 0))
        self.own_bytes = max(self.own_bytes, own)
        self.mapped_bytes = max(self.mapped_bytes, memory.rss - own)


def run(task: Task) -> Speed:
    """Measure a backend in this process.

    Args:
        task: the measurement to make.
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
    """Load samples; return the number of counted samples, their duration, and that of the first sample."""
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
    """Load samples and read every pixel until the time is over; return the number of samples."""
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
