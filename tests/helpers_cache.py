"""Helpers for tests of the frame cache: backends by name, files and random reads."""

from __future__ import annotations

import os
import pathlib

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
    """Change the modification time of a file, as a later edit does."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + seconds * 10**9))


def read_at_random(cache: FrameCache, images: dict[str, np.ndarray], seed: int, count: int = 60) -> int:
    """Read random windows of random images and return the number of wrong results."""
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


def cog(**config):
    return {"type": "cog", "config": config}
