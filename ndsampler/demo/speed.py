"""
How many samples a second a backend gives, and the memory it takes.

Each backend is measured in a new process, so that none has the memory or the
open files of another. The process reads a :class:`Task` from its stdin and
prints a :class:`Speed`, both as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ndsampler.errors import SourceError

if TYPE_CHECKING:
    from ndsampler.coco_sampler import CocoSampler

#: Seconds between two looks at the memory.
LOOK_EVERY = 0.01


@dataclass(frozen=True)
class Task:
    """What is to be measured."""

    data: str
    """Path of the dataset."""

    gids: list[int]
    """The images that are sampled."""

    workdir: str
    """Where the cache lies, which is prepared already."""

    backend: str | None

    seconds: float
    """How long to sample, unless the targets are used up before."""

    targets: list[dict[str, Any]]


@dataclass(frozen=True)
class Speed:
    """What was found."""

    samples: int
    seconds: float
    """For all samples but the first."""

    first: float
    """Seconds for the first sample."""

    own_bytes: int
    """The most memory that the process had to itself."""

    mapped_bytes: int
    """The most memory that files took which it had mapped, libraries included."""

    @property
    def rate(self) -> float:
        """Samples a second, once the first is there."""
        return self.samples / self.seconds if self.samples else 0.0


def measure(task: Task) -> Speed:
    """Measure a backend in a process of its own.

    Args:
        task: what is to be measured.

    Returns:
        What was found.

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
    """Notes the most memory that this process takes while the block runs."""

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
        self._look()

    def _watch(self) -> None:
        while not self._done.wait(LOOK_EVERY):
            self._look()

    def _look(self) -> None:
        import psutil

        memory = psutil.Process().memory_info()
        # Linux tells what is shared with files, Windows what is not; elsewhere all counts as own.
        own = getattr(memory, "private", memory.rss - getattr(memory, "shared", 0))
        self.own_bytes = max(self.own_bytes, own)
        self.mapped_bytes = max(self.mapped_bytes, memory.rss - own)


def run(task: Task) -> Speed:
    """Measure a backend in this process.

    Args:
        task: what is to be measured.
    """
    from ndsampler.coco_sampler import CocoSampler
    from ndsampler.dataset.opening import open_dataset

    dset = open_dataset(task.data)
    if len(task.gids) < dset.n_images:
        dset = dset.subset(task.gids)
    sampler = CocoSampler(dset, workdir=task.workdir, backend=task.backend)
    with MemoryWatch() as memory:
        samples, seconds, first = _sample(sampler, task)
    return Speed(samples, seconds, first, memory.own_bytes, memory.mapped_bytes)


def _sample(sampler: CocoSampler, task: Task) -> tuple[int, float, float]:
    """Load sample after sample, and look at every pixel."""
    clock = time.perf_counter
    start = clock()
    sampler.load_sample(task.targets[0])["im"].max()
    begin = clock()
    count = 0
    for target in task.targets[1:]:
        sampler.load_sample(target)["im"].max()
        count += 1
        if clock() - begin > task.seconds:
            break
    return count, clock() - begin, begin - start


def main() -> int:
    """Read a task from stdin and print what was found."""
    task = Task(**json.load(sys.stdin))
    sys.stdout.write(json.dumps(asdict(run(task))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
