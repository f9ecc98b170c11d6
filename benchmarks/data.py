"""The data of the benchmarks: textured images in several formats, and large sets of annotations."""

from __future__ import annotations

import argparse
import functools
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.images import SOURCES, decode, texture, write_geotiff, write_source

#: Number of objects in a 256² window, each with a polygon and keypoints.
OBJECTS_PER_CELL = 6
CELL = 256


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Add the option for the folder with the files of a :class:`Workload`."""
    parser.add_argument(
        "--data-dir",
        default=str(Path(tempfile.gettempdir()) / "ndsampler_benchmarks"),
        help="folder in which test data is kept between runs",
    )


class Workload:
    """Files, datasets and samplers that rows share; each is made when it is first needed.

    Args:
        dpath: folder of the data, which is kept between runs.
        smoke: whether to use tiny data and single repetitions.
        sizes: numbers of annotations for the rows of pools.
    """

    def __init__(
        self, dpath: Path, smoke: bool = False, sizes: tuple[int, ...] = (20_000, 200_000, 1_000_000)
    ):
        self.smoke = smoke
        self.verify = True
        self.dpath = dpath / ("smoke" if smoke else "full")
        self.dpath.mkdir(parents=True, exist_ok=True)
        self.image_size = 512 if smoke else 4096
        self.n_images = 2 if smoke else 4
        self.sizes = (2_000,) if smoke else sizes

    def rounds(self, rounds: int) -> int:
        """Return the number of rounds of a row in this run."""
        return 1 if self.smoke else rounds

    def number(self, number: int) -> int:
        """Return the number of calls in a round of a row in this run."""
        return min(number, 2) if self.smoke else number

    def window(self, size: int) -> int:
        """Return the side of the window of a row in this run; it is smaller in a smoke run."""
        return max(size // 8, 8) if self.smoke else size

    def source(self, kind: str, index: int) -> Path:
        """Return the path of an image in one of the formats of :data:`SOURCES`."""
        fpath = self.dpath / f"image{index}_{kind}{'.png' if kind == 'png' else '.tif'}"
        if not fpath.exists():
            partial = fpath.with_name(f"partial_{fpath.name}")
            write_source(partial, kind, texture(self.image_size, index))
            os.replace(partial, fpath)
        return fpath

    @functools.cache  # noqa: B019 -- the workload lives as long as the program
    def dataset_path(self, kind: str) -> Path:
        """Return the path of a kwcoco file of all images in a format, with six objects in every 256²
        window."""
        fpath = self.dpath / f"data_{kind}.kwcoco.json"
        sources = [str(self.source(kind, index)) for index in range(self.n_images)]
        if not fpath.exists():
            fpath.write_text(json.dumps(image_dataset(sources, self.image_size)))
        return fpath

    @functools.cache  # noqa: B019
    def dataset(self, kind: str) -> Any:
        """Return the kwcoco dataset of a format."""
        import kwcoco

        return kwcoco.CocoDataset(str(self.dataset_path(kind)))

    @functools.cache  # noqa: B019
    def sampler(self, kind: str, backend: str | None) -> Any:
        """Return a sampler whose cache is complete."""
        import ndsampler

        sampler = ndsampler.CocoSampler(self.dataset(kind), workdir=str(self.workdir), backend=backend)
        if backend is not None:
            sampler.frames.prepare(workers=0)
        return sampler

    @property
    def workdir(self) -> Path:
        """Return the cache folder of this release of the library."""
        import importlib.metadata

        return self.dpath / f"work_{importlib.metadata.version('ndsampler')}"

    @functools.cache  # noqa: B019
    def pixels(self, index: int) -> np.ndarray:
        """Return an image as an array in memory."""
        return decode(self.source("png", index))

    @functools.cache  # noqa: B019
    def memmap(self, index: int) -> np.ndarray:
        """Return an image as a memory-mapped npy file."""
        fpath = self.dpath / f"image{index}.npy"
        if not fpath.exists():
            np.save(fpath, self.pixels(index))
        return np.load(fpath, mmap_mode="r")

    @functools.cache  # noqa: B019
    def handle(self, kind: str, index: int) -> Any:
        """Return a cached open GDAL handle of a source."""
        import rasterio

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            return rasterio.open(self.source(kind, index))

    @functools.cache  # noqa: B019
    def overview(self) -> Any:
        """Return an open GDAL handle of the first image at a sixteenth of its size."""
        import cv2
        import rasterio

        fpath = self.dpath / "overview.tif"
        small = cv2.resize(self.pixels(0), (self.image_size // 16,) * 2, interpolation=cv2.INTER_AREA)
        write_geotiff(fpath, small, **(SOURCES["zstd"] or {}))
        return rasterio.open(fpath)

    def places(self, size: int, count: int = 4096) -> list[tuple[int, int, int]]:
        """Return random (image index, row, column) of windows inside the images."""
        rng = np.random.default_rng(size)
        index = rng.integers(0, self.n_images, count)
        corners = rng.integers(0, max(self.image_size - size, 1), (count, 2))
        return [(int(i), int(y), int(x)) for i, (y, x) in zip(index, corners)]

    def crowded_places(self, size: int, count: int = 4096) -> list[tuple[int, int, int]]:
        """Return places like :meth:`places`, at which a 256² window contains exactly the objects of one
        cell."""
        rng = np.random.default_rng(size)
        index = rng.integers(0, self.n_images, count)
        cells = rng.integers(0, self.image_size // CELL, (count, 2)) * CELL + CELL // 2
        corners = cells + rng.integers(-30, 31, (count, 2)) - size // 2
        corners = np.clip(corners, 0, max(self.image_size - size, 0))
        return [(int(i), int(y), int(x)) for i, (y, x) in zip(index, corners)]

    @functools.cache  # noqa: B019
    def boxes_path(self, n_annots: int, per_image: int = 100) -> Path:
        """Return the path of a kwcoco file with only boxes, on images without files."""
        fpath = self.dpath / f"boxes_{n_annots}_{per_image}.kwcoco.json"
        if not fpath.exists():
            fpath.write_text(json.dumps(box_dataset(n_annots, per_image)))
        return fpath

    @functools.cache  # noqa: B019
    def boxes(self, n_annots: int, per_image: int = 100) -> Any:
        """Return the kwcoco dataset of :meth:`boxes_path`."""
        import kwcoco

        return kwcoco.CocoDataset(box_dataset(n_annots, per_image))


def image_dataset(sources: list[str], size: int) -> dict[str, Any]:
    """Return a COCO dictionary with :data:`OBJECTS_PER_CELL` objects in each cell of each image."""
    rng = np.random.default_rng(0)
    images, anns = [], []
    for gid, source in enumerate(sources, start=1):
        images.append({"id": gid, "file_name": source, "width": size, "height": size})
        for top in range(0, size, CELL):
            for left in range(0, size, CELL):
                anns += [_object(rng, gid, left, top) for _ in range(OBJECTS_PER_CELL)]
    for aid, ann in enumerate(anns, start=1):
        ann["id"] = aid
    return {
        "images": images,
        "annotations": anns,
        "categories": [
            {"id": k, "name": f"class{k}", "keypoints": ["tip", "base", "side"]} for k in range(1, 4)
        ],
        "keypoint_categories": [{"id": k, "name": n} for k, n in enumerate(["tip", "base", "side"], start=1)],
    }


def _object(rng: np.random.Generator, gid: int, left: int, top: int) -> dict[str, Any]:
    width, height = (int(v) for v in rng.integers(12, 40, 2))
    x = left + 50 + int(rng.integers(0, 156 - width))
    y = top + 50 + int(rng.integers(0, 156 - height))
    angles = np.linspace(0, 2 * np.pi, 9)[:-1]
    xs = np.round(x + width / 2 * (1 + np.cos(angles)), 1)
    ys = np.round(y + height / 2 * (1 + np.sin(angles)), 1)
    outline = np.stack([xs, ys], axis=1).tolist()
    points = [
        {"xy": [float(x), float(y)], "keypoint_category_id": 1, "visible": 2},
        {"xy": [float(x + width), float(y + height)], "keypoint_category_id": 2, "visible": 2},
    ]
    return {
        "image_id": gid,
        "category_id": int(rng.integers(1, 4)),
        "bbox": [x, y, width, height],
        "segmentation": {"exterior": outline, "interiors": []},
        "keypoints": points,
    }


def box_dataset(n_annots: int, per_image: int, size: int = 4096) -> dict[str, Any]:
    """Return a COCO dictionary of random boxes, ``per_image`` in each image of ``size`` squared."""
    rng = np.random.default_rng(n_annots)
    n_images = max(n_annots // per_image, 1)
    corner = rng.integers(0, size - 64, (n_annots, 2))
    dims = rng.integers(8, 64, (n_annots, 2))
    boxes = np.concatenate([corner, dims], axis=1).astype(float).tolist()
    images = [
        {"id": g, "file_name": f"none{g}.png", "width": size, "height": size} for g in range(1, n_images + 1)
    ]
    anns = [
        {"id": k + 1, "image_id": 1 + k // per_image, "category_id": 1 + k % 3, "bbox": box}
        for k, box in enumerate(boxes)
        if k // per_image < n_images
    ]
    return {
        "images": images,
        "annotations": anns,
        "categories": [{"id": k, "name": f"class{k}"} for k in range(1, 4)],
    }
