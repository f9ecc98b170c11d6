"""Tiny data whose pixels are the same on every machine, for the calls that are counted."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np

from benchmarks.data import Workload
from benchmarks.data_video import FRAMES_OF_SAMPLE, VideoFile, VideoWorkload
from benchmarks.images import write_source

#: Rows and columns of the images, and how many there are.
SIDE, IMAGES = 640, 3

#: When the files were written, as far as the library can tell: long ago, so that it need not look twice.
WRITTEN = 1_500_000_000


def exact_pixels(height: int, width: int, bands: int, seed: int) -> np.ndarray:
    """A pattern with some noise, from integers alone, so that all processors compute the same.

    Returns:
        uint8 array of shape (height, width, bands).
    """
    rows, columns = np.ogrid[:height, :width]
    slope = (3 * rows + 5 * columns) // 8 % 200
    noise = np.random.default_rng(seed).integers(0, 6, (height, width, bands))
    return (slope[..., None] + noise).astype(np.uint8)


class CountsWorkload(Workload):
    """Files, datasets and samplers of the calls that are counted.

    Args:
        dpath: an empty folder.
    """

    def __init__(self, dpath: Path) -> None:
        super().__init__(dpath, smoke=True)
        self.image_size, self.n_images = SIDE, IMAGES

    @property
    def workdir(self) -> Path:
        """Where the library keeps its cache."""
        return self.dpath / "work"

    def source(self, kind: str, index: int) -> Path:
        """One of the images in one of the formats of :data:`benchmarks.images.SOURCES`."""
        fpath = self.dpath / f"image{index}_{kind}{'.png' if kind == 'png' else '.tif'}"
        if not fpath.exists():
            write_source(fpath, kind, exact_pixels(self.image_size, self.image_size, 3, index))
            os.utime(fpath, (WRITTEN, WRITTEN))
        return fpath

    def array(self, width: int) -> Path:
        """A ``.npy`` file of 300 rows."""
        fpath = self.dpath / f"array{width}.npy"
        np.save(fpath, exact_pixels(300, width, 3, width))
        os.utime(fpath, (WRITTEN, WRITTEN))
        return fpath

    @functools.cached_property
    def video(self) -> VideoWorkload:
        """A video whose frames have four files of three resolutions."""
        return _ExactVideo(self)


class _ExactVideo(VideoWorkload):
    """A video of few and small frames."""

    def __init__(self, work: Workload) -> None:
        super().__init__(work)
        self.size, self.n_frames = 384, FRAMES_OF_SAMPLE

    def pixels(self, file: VideoFile) -> np.ndarray:
        """(size, size, 1) of 16 bits."""
        return 100 * exact_pixels(file.size, file.size, 1, file.frame).astype(np.uint16)
