"""Helpers of the fault suite: sets of images, reads that are compared, and ways to damage entries."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import kwcoco
import numpy as np
import pytest
from helpers_images import random_pixels, write_png, write_tiff

import ndsampler
from ndsampler.abstract_frames import SimpleFrames
from ndsampler.backends.label import FOOTER
from ndsampler.cache.identity import Source

CACHING = ["npy", "cog"]
BACKENDS = [None, *CACHING]

each_caching = pytest.mark.parametrize("backend", CACHING)
each_backend = pytest.mark.parametrize("backend", BACKENDS)

# Images


@dataclass
class Scene:
    """Image files and their expected pixels."""

    paths: dict[int, str]
    """Path of each image, by id."""
    pixels: dict[int, np.ndarray]
    """(height, width, channels) pixels of each image, by id."""

    def frames(self, workdir: Any, backend: Any, **kw: Any) -> SimpleFrames:
        """Return frames of all images."""
        return SimpleFrames(self.paths, workdir=workdir, backend=backend, **kw)

    def dset(self) -> kwcoco.CocoDataset:
        """Return a dataset of all images."""
        dset = kwcoco.CocoDataset()
        for gid, path in self.paths.items():
            height, width, _ = self.pixels[gid].shape
            dset.add_image(file_name=path, id=gid, height=height, width=width)
        return dset

    def sampler(self, workdir: Any, backend: Any) -> ndsampler.CocoSampler:
        """Return a sampler of all images."""
        return ndsampler.CocoSampler(self.dset(), workdir=workdir, backend=backend)


def draw_scene(folder: pathlib.Path, count: int = 8, seed: int = 0) -> Scene:
    """Write images of several formats, types and sizes.

    No PNG, striped or tiled file can be used in place by both caching backends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scene = Scene({}, {})
    for gid in range(1, count + 1):
        dtype, channels = ("uint8", 3) if gid % 4 else ("uint16", 4)
        pixels = random_pixels(dtype, channels, (60 + 7 * (gid % 5), 110 - 9 * (gid % 7)), seed=seed + gid)
        kind = gid % 3
        if kind == 0:
            path = write_tiff(folder / f"{gid}.tif", pixels, blockysize=8, compress="deflate")
        elif kind == 1:
            path = write_png(folder / f"{gid}.png", pixels)
        else:
            options = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
            path = write_tiff(folder / f"{gid}.tif", pixels, **options)
        scene.paths[gid] = str(path)
        scene.pixels[gid] = pixels
    return scene


def whole(frames: Any, gid: int) -> np.ndarray:
    """Return all pixels of an image."""
    return frames.load_region(gid, None)


def differing(frames: Any, scene: Scene) -> list[int]:
    """Return the ids of images whose pixels are wrong."""
    return [gid for gid, pixels in scene.pixels.items() if not np.array_equal(whole(frames, gid), pixels)]


def read_windows(frames: Any, scene: Scene, seed: int, count: int) -> int:
    """Read random windows of random images and return the number of wrong results."""
    rng = np.random.default_rng(seed)
    gids = list(scene.pixels)
    wrong = 0
    for _ in range(count):
        gid = gids[rng.integers(len(gids))]
        pixels = scene.pixels[gid]
        (y0, y1), (x0, x1) = (sorted(rng.choice(size + 1, 2, replace=False)) for size in pixels.shape[:2])
        region = (slice(int(y0), int(y1)), slice(int(x0), int(x1)))
        wrong += not np.array_equal(frames.load_region(gid, region), pixels[region])
    return wrong


def read_samples(sampler: Any, scene: Scene, seed: int, count: int) -> int:
    """Read random samples, also beyond the borders of images, and return the number of wrong results."""
    rng = np.random.default_rng(seed)
    gids = list(scene.pixels)
    wrong = 0
    for _ in range(count):
        gid = gids[rng.integers(len(gids))]
        pixels = scene.pixels[gid]
        y0, x0 = (int(rng.integers(-8, size - 4)) for size in pixels.shape[:2])
        height, width = (int(size) for size in rng.integers(1, 30, 2))
        target = {"gid": gid, "slices": (slice(y0, y0 + height), slice(x0, x0 + width))}
        padded = np.pad(pixels, ((8, 40), (8, 40), (0, 0)))
        expected = padded[y0 + 8 : y0 + 8 + height, x0 + 8 : x0 + 8 + width]
        wrong += not np.array_equal(sampler.load_sample(target, with_annots=False)["im"], expected)
    return wrong


def read_both(frames: Any, sampler: Any, scene: Scene, seed: int, count: int) -> int:
    """Read windows and samples alternately, and return the number of wrong results."""
    return read_windows(frames, scene, seed, count // 2) + read_samples(
        sampler, scene, seed, count - count // 2
    )


# Contents of a folder


def files(folder: Any) -> list[pathlib.Path]:
    """Return all files below a folder, which other processes may change at the same time."""
    return sorted(pathlib.Path(place) / name for place, _, names in os.walk(folder) for name in names)


def entries(frames: Any) -> list[pathlib.Path]:
    """Return the entries of the cache."""
    suffix = frames._cache.backend.suffix
    return [path for path in files(frames.cache_dpath) if path.name.endswith(suffix)]


def entry_of(frames: Any, gid: int = 1) -> pathlib.Path:
    """Return the path of the entry of an image."""
    return pathlib.Path(frames._cache.entry_path(Source(frames.layout(gid).assets[0].path)))


def in_the_way(frames: Any) -> list[pathlib.Path]:
    """Return all files and folders below the cache folder that are not entries."""
    suffix = frames._cache.backend.suffix
    found = pathlib.Path(frames.cache_dpath).rglob("*")
    return sorted(
        path
        for path in found
        if not (path.is_file() and path.name.endswith(suffix))
        and len(path.name) != 2
        and not (path.name == "_partial" and not any(path.iterdir()))
    )


@contextlib.contextmanager
def public_folder() -> Iterator[pathlib.Path]:
    """Provide a folder that all users may enter, but only this user may write to."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            for path in [folder, *folder.rglob("*")]:
                if path.is_dir() and not path.is_symlink():
                    path.chmod(0o755)


# Damage


def flip(path: pathlib.Path, *places: int) -> None:
    """Flip one bit in each of the given bytes; negative positions count from the end."""
    data = bytearray(path.read_bytes())
    for place in places:
        data[place] ^= 1 << (place % 8)
    with open(path, "rb+") as file:
        file.write(data)


def footer_start(path: pathlib.Path) -> int:
    """Return the position at which the label of an entry starts."""
    data = path.read_bytes()
    return len(data) - FOOTER.size - FOOTER.unpack(data[-FOOTER.size :])[1]


def _cut(path: pathlib.Path, size: float) -> None:
    os.truncate(path, int(path.stat().st_size * size))


def _swap_with(path: pathlib.Path, data: bytes) -> None:
    """Replace a file by a new one, as an editor does."""
    other = path.with_name(path.name + ".new")
    other.write_bytes(data)
    os.replace(other, path)


def _folder(path: pathlib.Path) -> None:
    path.unlink()
    path.mkdir()


def _dangling_link(path: pathlib.Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def _fifo(path: pathlib.Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _garbage(path: pathlib.Path) -> bytes:
    return np.random.default_rng(7).bytes(path.stat().st_size)


#: Ways to damage an entry, by name.
DAMAGES: dict[str, Callable[[pathlib.Path], Any]] = {
    "removed": pathlib.Path.unlink,
    "emptied": lambda path: os.truncate(path, 0),
    "cut to one byte": lambda path: os.truncate(path, 1),
    "cut in the middle": lambda path: _cut(path, 0.5),
    "cut by one byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "without its label": lambda path: os.truncate(path, footer_start(path)),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "a bit of its first byte flipped": lambda path: flip(path, 0),
    "a bit of its header flipped": lambda path: flip(path, 9),
    "a bit of its pixels flipped": lambda path: flip(path, footer_start(path) // 2),
    "a bit of its last pixel flipped": lambda path: flip(path, footer_start(path) - 1),
    "a bit of its label flipped": lambda path: flip(path, footer_start(path) + 3),
    "a bit of its label's numbers flipped": lambda path: flip(path, -30),
    "a bit of its checksum flipped": lambda path: flip(path, -20),
    "a bit of its label's length flipped": lambda path: flip(path, -16),
    "a bit of its mark flipped": lambda path: flip(path, -1),
    "overwritten by zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "overwritten by garbage": lambda path: path.write_bytes(_garbage(path)),
    "replaced by garbage": lambda path: _swap_with(path, _garbage(path)),
    "replaced by text": lambda path: _swap_with(path, b"no image\n"),
    "an empty folder": _folder,
    "a dangling link": _dangling_link,
}


def copy_without_times(source: Any, dest: Any) -> None:
    """Copy a folder without keeping modification times."""
    shutil.copytree(source, dest, copy_function=shutil.copyfile)
