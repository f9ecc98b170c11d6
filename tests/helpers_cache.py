"""What tests of the frame cache share: backends by name, files, scripts and forks."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from helpers_images import DIMS

from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.identity import Source

WHOLE = (0, DIMS[0], 0, DIMS[1])

CACHING = ["npy", "cog"]

BACKENDS = [None, *CACHING]

each_caching = pytest.mark.parametrize("backend", CACHING)
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def change_time(path: pathlib.Path, seconds: int) -> None:
    """Move the time of a file's last change, as an edit some time later does."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + seconds * 10**9))


def run_script(script: str, *args: object, timeout: float = 60) -> subprocess.CompletedProcess:
    """Run a program in a process of its own."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env)


def read_at_random(cache: FrameCache, images: dict[str, np.ndarray], seed: int, count: int = 60) -> int:
    """Read random windows of random images and return how many came back wrong."""
    rng = np.random.default_rng(seed)
    paths = list(images)
    wrong = 0
    for _ in range(count):
        pixels = images[paths[rng.integers(len(paths))]]
        path = next(path for path, known in images.items() if known is pixels)
        y0, x0 = rng.integers(0, 30, 2).tolist()
        y1, x1 = y0 + int(rng.integers(1, 10)), x0 + int(rng.integers(1, 15))
        wrong += not np.array_equal(cache.read(Source(path), (y0, y1, x0, x1)), pixels[y0:y1, x0:x1])
    return wrong


def fork(work) -> int:
    """Run a function in a fork, which exits with what it returns; return its process id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        code = work()
    finally:
        os._exit(code)


def join(child: int, timeout: float = 20) -> int:
    """Return the exit status of a fork; one that hangs is ended and counts as -1."""
    waiter = threading.Event()
    for _ in range(int(timeout / 0.01)):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        waiter.wait(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1


def cog(**config):
    return {"type": "cog", "config": config}
