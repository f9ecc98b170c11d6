"""A video with several files in each frame, at three resolutions, and the matrices between their pixels."""

from __future__ import annotations

import functools
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import Workload
from benchmarks.images import SOURCES, write_geotiff

#: Channel of each file to the side of its pixels and its offset, both in image pixels.
ASSETS: dict[str, tuple[int, tuple[float, float]]] = {
    "blue": (1, (0.0, 0.0)),
    "red": (1, (0.5, -0.25)),
    "nir": (2, (1.0, 0.5)),
    "swir": (4, (-1.5, 2.0)),
}

#: Number of frames of a sample.
FRAMES_OF_SAMPLE = 3


def affine(scale: float, offset: tuple[float, float]) -> np.ndarray:
    """Return a 3x3 matrix that scales and then translates."""
    return np.array([[scale, 0, offset[0]], [0, scale, offset[1]], [0, 0, 1.0]])


@dataclass(frozen=True)
class VideoFile:
    """One file of one frame."""

    frame: int
    """Number of the frame, from 0."""
    channel: str
    """Name of the channel."""
    size: int
    """Number of rows and columns."""
    warp_vid_from_asset: np.ndarray
    """3x3 matrix from pixels of the file to those of the video."""


class VideoWorkload:
    """Files and samplers of the video rows. They are made when they are first needed, and kept between runs.

    Args:
        work: provides the folder, the sizes, and whether this is a smoke run.
    """

    def __init__(self, work: Workload):
        self.work = work
        self.size = 256 if work.smoke else 2048
        self.n_frames = 4 if work.smoke else 30
        self.dpath = work.dpath / "video"
        self.dpath.mkdir(exist_ok=True)

    def frame_offset(self, frame: int) -> tuple[float, float]:
        """Return the (x, y) offset of a frame from the corner of the video."""
        return (1.25 + 0.5 * (frame % 5), -0.75 - 0.3 * (frame % 4))

    def file(self, frame: int, channel: str) -> VideoFile:
        """Return the description of a file of a frame."""
        step, offset = ASSETS[channel]
        warp = affine(1, self.frame_offset(frame)) @ affine(step, offset)
        return VideoFile(frame, channel, self.size // step, warp)

    def source(self, file: VideoFile, kind: str = "striped") -> Path:
        """Return the path of a file in a format of :data:`benchmarks.images.SOURCES`, or as ``'npy'``."""
        suffix = "npy" if kind == "npy" else "tif"
        fpath = self.dpath / f"frame{file.frame}_{file.channel}_{kind}.{suffix}"
        if not fpath.exists():
            partial = fpath.with_name(f"partial_{fpath.name}")
            pixels = self.pixels(file)
            if kind == "npy":
                np.save(partial, pixels)
            else:
                write_geotiff(partial, pixels, **(SOURCES[kind] or {}))
            os.replace(partial, fpath)
        return fpath

    def pixels(self, file: VideoFile) -> np.ndarray:
        """Return (size, size, 1) 16-bit pixels of a texture, which is shifted in every frame."""
        channel = list(ASSETS).index(file.channel)
        shift = (37 * file.frame + 11 * channel) % file.size
        return np.ascontiguousarray(np.roll(_texture(file.size), (shift, -shift), axis=(0, 1)))

    @functools.cache  # noqa: B019 -- the workload lives as long as the program
    def dataset_path(self) -> Path:
        """Return the path of a kwcoco file of the video."""
        fpath = self.dpath / "data.kwcoco.json"
        images = [self._image(frame) for frame in range(self.n_frames)]
        video = {"id": 1, "name": "video", "width": self.size, "height": self.size}
        content = {"videos": [video], "images": images, "annotations": [], "categories": []}
        fpath.write_text(json.dumps(content))
        return fpath

    def _image(self, frame: int) -> dict[str, Any]:
        assets = []
        for channel, (step, offset) in ASSETS.items():
            file = self.file(frame, channel)
            warp = {"type": "affine", "matrix": affine(step, offset).tolist()}
            entry = {"file_name": str(self.source(file)), "channels": channel, "warp_aux_to_img": warp}
            assets.append({**entry, "width": file.size, "height": file.size})
        warp = {"type": "affine", "matrix": affine(1, self.frame_offset(frame)).tolist()}
        place = {"video_id": 1, "frame_index": frame, "warp_img_to_vid": warp}
        size = {"width": self.size, "height": self.size}
        name = {"id": frame + 1, "name": f"frame{frame}", "file_name": None}
        return {**name, **place, **size, "auxiliary": assets}

    @functools.cache  # noqa: B019
    def sampler(self, backend: str | None) -> Any:
        """Return a sampler whose cache is complete."""
        import kwcoco

        import ndsampler

        dset = kwcoco.CocoDataset(str(self.dataset_path()))
        sampler = ndsampler.CocoSampler(dset, workdir=str(self.work.workdir), backend=backend)
        if backend is not None:
            sampler.frames.prepare(workers=0)
        return sampler

    @functools.cache  # noqa: B019
    def opened(self, frame: int, channel: str, kind: str) -> Any:
        """Return a file that stays open: a GDAL handle, or a memory-mapped array."""
        import rasterio

        fpath = self.source(self.file(frame, channel), kind)
        if kind == "npy":
            return np.load(fpath, mmap_mode="r")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            return rasterio.open(fpath)

    def places(self, size: int, count: int = 1024) -> list[tuple[int, int, int]]:
        """Return random (first frame, row, column) of windows inside all frames."""
        rng = np.random.default_rng(size)
        first = rng.integers(0, self.n_frames - FRAMES_OF_SAMPLE + 1, count)
        border = 16
        corners = rng.integers(border, self.size - size - border, (count, 2))
        return [(int(f), int(y), int(x)) for f, (y, x) in zip(first, corners)]


@functools.cache
def _texture(size: int) -> np.ndarray:
    """Return (size, size, 1) 16-bit pixels that compress like a satellite image."""
    import cv2

    rng = np.random.default_rng(size)
    out = np.full((size, size), 3000, dtype=np.float32)
    for wavelength, strength in ((512, 800.0), (64, 500.0), (8, 100.0)):
        cells = max(size // wavelength, 2)
        low = rng.standard_normal((cells, cells)).astype(np.float32) * strength
        out += cv2.resize(low, (size, size), interpolation=cv2.INTER_CUBIC)
    out += rng.standard_normal((size, size)).astype(np.float32) * 10
    return np.clip(out, 0, 65535).astype(np.uint16)[..., None]
