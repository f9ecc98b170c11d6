"""Datasets for loaders that do not import torch, so that spawned worker processes start fast."""

from __future__ import annotations

import os
import pathlib
import signal
import time
from typing import Any

import numpy as np


class Windows:
    """A dataset whose samples contain their epoch and position; some have no boxes."""

    def __init__(self, size: int = 16) -> None:
        self.size = size

    def __getitems__(self, indexes: list[Any]) -> list[dict[str, Any]]:
        return [self[index] for index in indexes]

    def __getitem__(self, index: Any) -> dict[str, Any]:
        pixels = np.random.default_rng(int(index)).integers(0, 255, (self.size, self.size + 2, 3), np.uint8)
        boxes = np.arange(4.0 * (index % 5)).reshape(-1, 4)
        place = int(index), index.epoch, index.g
        return {"image": pixels.transpose(2, 0, 1), "boxes": boxes, "place": place}


class Failing(Windows):
    """A dataset that calls a failing function at one index."""

    def __init__(self, index: int, how: Any) -> None:
        super().__init__()
        self.index, self.how = index, how

    def __getitem__(self, index: Any) -> dict[str, Any]:
        if index == self.index:
            self.how()
        return super().__getitem__(index)


class Unpicklable(ValueError):
    """An error with an argument that cannot be pickled."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}", lambda: None)


def raise_value_error() -> None:
    raise ValueError("the dataset is out of order")


def raise_unpicklable() -> None:
    raise Unpicklable("salt", "pepper")


def wait_long() -> None:
    time.sleep(60)


class KillOnce:
    """Kills the first process that calls it."""

    def __init__(self, flag: pathlib.Path) -> None:
        self.flag = flag

    def __call__(self) -> None:
        if not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def worker_ids(loader: Any) -> list[int]:
    """Return the process ids of the workers of a loader."""
    return [worker.process.pid for worker in loader._ring._workers]


def lives(pid: int) -> bool:
    """Return whether a process is running; a zombie process is not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def count_shared() -> int:
    """Return the number of shared memory blocks that this process has open or mapped."""
    links = []
    for link in pathlib.Path("/proc/self/fd").iterdir():
        try:
            links.append(os.readlink(link))
        except FileNotFoundError:
            continue
    maps = pathlib.Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    return sum("memfd:ndsampler" in link for link in links) + maps.count("memfd:ndsampler")
