"""Fixtures for several test files: frames, caches, workdirs and samplers."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Iterator

import kwcoco
import numpy as np
import pytest
from helpers_images import HEIGHT, WIDTH, random_pixels, write_png, write_tiff
from helpers_processes import Child
from helpers_workdir import Place

from ndsampler import CocoSampler
from ndsampler.abstract_frames import SimpleFrames
from ndsampler.backends import make_backend
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.coco_frames import CocoFrames


@pytest.fixture(autouse=True)
def no_child_outlives_its_test() -> Iterator[None]:
    """Kill the forks that a failed test has not waited for."""
    yield
    for child in list(Child.running):
        child.kill()


@pytest.fixture
def make_cache(tmp_path):
    """Return a factory of caches in one folder."""

    def make(backend="npy", **kw) -> FrameCache:
        storage = make_backend(backend)
        return FrameCache(storage, str(tmp_path / "cache") if storage.caches else None, **kw)

    return make


@pytest.fixture
def image(tmp_path) -> pathlib.Path:
    """Return a PNG of ``random_pixels()``."""
    return write_png(tmp_path / "image.png", random_pixels())


@pytest.fixture
def make_simple(tmp_path):
    """Return a factory of frames over an RGB PNG (1), a gray 16 bit PNG (2) and a 5-band TIFF (3)."""
    pixels = {
        1: random_pixels("uint8", 3),
        2: random_pixels("uint16", 1),
        3: random_pixels("float32", 5),
    }
    paths = {
        1: write_png(tmp_path / "rgb.png", pixels[1]),
        2: write_png(tmp_path / "gray.png", pixels[2]),
        3: write_tiff(tmp_path / "bands.tif", pixels[3]),
    }

    def make(backend=None, **kw) -> tuple[SimpleFrames, dict[int, np.ndarray]]:
        return SimpleFrames(dict(paths), workdir=tmp_path / "work", backend=backend, **kw), pixels

    return make


@pytest.fixture
def make_coco(tmp_path):
    """Return a factory of frames over a dataset, whose images are given as kwcoco dictionaries."""

    def make(*images: dict, backend=None, folder: str = "bundle", **kw) -> CocoFrames:
        bundle = tmp_path / folder
        bundle.mkdir(exist_ok=True)
        dset = kwcoco.CocoDataset({"images": [{"id": n, **img} for n, img in enumerate(images, 1)]})
        dset.fpath = str(bundle / "data.kwcoco.json")
        kw.setdefault("workdir", tmp_path / "work")
        return CocoFrames(dset, backend=backend, **kw)

    (tmp_path / "bundle").mkdir()
    return make


@pytest.fixture
def bundle(tmp_path, make_coco) -> pathlib.Path:
    return tmp_path / "bundle"


@pytest.fixture
def multispectral(bundle):
    """Return the dictionaries of an RGB image and of an equal, a smaller and a shifted band, and all
    pixels."""
    pixels = {
        "rgb": random_pixels("uint8", 3),
        "pan": random_pixels("uint8", 1, seed=1),
        "nir": np.full((45, 76, 1), 40, np.uint8),
        "b5|b6": random_pixels("uint16", 2, (50, 60), seed=2),
    }
    write_png(bundle / "rgb.png", pixels["rgb"])
    write_tiff(bundle / "pan.tif", pixels["pan"])
    write_tiff(bundle / "nir.tif", pixels["nir"])
    write_tiff(bundle / "pair.tif", pixels["b5|b6"])
    assets = [
        {"file_name": "pan.tif", "channels": "pan", "warp_aux_to_img": None},
        {"file_name": "nir.tif", "channels": "nir", "warp_aux_to_img": {"scale": 2.0}},
        {"file_name": "pair.tif", "channels": "b5|b6", "warp_aux_to_img": {"offset": [10, 20]}},
    ]
    entry = {"file_name": "rgb.png", "channels": "r|g|b", "width": WIDTH, "height": HEIGHT}
    return entry, assets, pixels


@pytest.fixture
def place(tmp_path):
    """Return a workdir without entries, and three images."""
    (tmp_path / "images").mkdir()
    paths = {gid: tmp_path / "images" / f"{gid}.png" for gid in (1, 2, 3)}
    for gid, path in paths.items():
        write_png(path, random_pixels(seed=gid))
    return Place(tmp_path / "work", paths)


@pytest.fixture(scope="module")
def make_sampler(data, tmp_path_factory):
    """Return a cached function that makes a sampler of the module's ``data`` for a backend."""

    @functools.cache
    def make(backend=None):
        return CocoSampler(data.dset, workdir=tmp_path_factory.mktemp("work"), backend=backend)

    return make


@pytest.fixture(scope="module")
def sampler(make_sampler):
    """Return a sampler of the module's ``data`` without a cache."""
    return make_sampler()
