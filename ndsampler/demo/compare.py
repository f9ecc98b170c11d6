"""Comparing the speed, memory and disk space of backends on one dataset."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ndsampler.demo.selection import overview_target, speed_targets
from ndsampler.demo.speed import Speed, Task, measure
from ndsampler.utils.formatting import folder_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from ndsampler.coco_sampler import CocoSampler
    from ndsampler.types import BackendName

#: Names of the backends on the command line.
BACKENDS: dict[str, BackendName | None] = {"none": None, "npy": "npy", "cog": "cog"}

#: Maximum number of bytes of the pixels of an image that the npy backend is measured with, to save disk
#: space.
MAX_NPY_BYTES = 100_000_000

#: A whole image that takes longer than this many seconds to read is read only once.
PATIENCE = 1.0


class Samplers:
    """Samplers of one dataset with each of the backends, which share a workdir.

    Args:
        dset: a kwcoco dataset.
        workdir: folder of the cache.
    """

    def __init__(self, dset: Any, workdir: Path) -> None:
        self.dset = dset
        self.workdir = workdir
        self._samplers: dict[tuple[str, tuple[int, ...]], CocoSampler] = {}

    def get(self, name: str, gids: Sequence[int] | None = None) -> CocoSampler:
        """Return a sampler, the same one for equal arguments.

        Args:
            name: name of the backend in :data:`BACKENDS`.
            gids: ids of the images of the sampler; None for all.
        """
        from ndsampler.coco_sampler import CocoSampler

        every = sorted(int(gid) for gid in self.dset.imgs)
        chosen = every if gids is None else sorted(int(gid) for gid in gids)
        key = (name, tuple(chosen))
        if key not in self._samplers:
            dset = self.dset if chosen == every else self.dset.subset(chosen)
            self._samplers[key] = CocoSampler(dset, workdir=self.workdir, backend=BACKENDS[name])
        return self._samplers[key]


@dataclass(frozen=True)
class Measurement:
    """The speed, memory and disk space of one backend."""

    speed: Speed

    overview_seconds: float | None
    """Seconds to read the largest image, scaled down; None if it was not measured."""

    cache_bytes: int
    """Size of the converted images in bytes."""


class Comparison:
    """Measures backends on the same windows.

    Args:
        samplers: the samplers of the dataset.
        data: path of the dataset's file, which is opened in a new process for each backend.
        window: side of the windows in pixels.
        seconds: duration of sampling with each backend, in seconds.
        overview_side: side of the scaled-down largest image, in pixels.
        rng: random generator.
    """

    def __init__(
        self,
        samplers: Samplers,
        data: Path,
        window: int,
        seconds: float,
        overview_side: int,
        rng: np.random.Generator,
    ) -> None:
        self.samplers = samplers
        self.data = data
        self.window = window
        self.seconds = seconds
        self.overview_side = overview_side
        self.rng = rng
        self._targets: dict[tuple[int, ...], list[dict[str, Any]]] = {}

    def measure(self, name: str, gids: Sequence[int] | None = None) -> Measurement:
        """Measure a backend whose images are converted already.

        Args:
            name: name of the backend in :data:`BACKENDS`.
            gids: ids of the images to read; None for all. The overview is only measured with all images.

        Raises:
            SourceError: if a sample cannot be read.
        """
        sampler = self.samplers.get(name, gids)
        workdir = str(self.samplers.workdir)
        ids = [int(gid) for gid in sampler.image_ids]
        targets = self._targets_of(sampler)
        images = str(self.samplers.dset.bundle_dpath)
        speed = measure(Task(str(self.data), ids, workdir, BACKENDS[name], self.seconds, targets, images))
        overview = time_overview(sampler, self.overview_side) if gids is None else None
        return Measurement(speed, overview, folder_bytes(sampler.frames.cache_dpath))

    def _targets_of(self, sampler: CocoSampler) -> list[dict[str, Any]]:
        """Return the windows to sample; they are the same for samplers of the same images."""
        key = tuple(int(gid) for gid in sampler.image_ids)
        if key not in self._targets:
            self._targets[key] = speed_targets(sampler, self.window, self.rng)
        return self._targets[key]


def time_overview(sampler: CocoSampler, side: int) -> float | None:
    """Measure the seconds that it takes to read the largest image, scaled down.

    Args:
        sampler: sampler of the dataset.
        side: side of the scaled-down image in pixels.

    Returns:
        The shorter time of two reads, or the time of the first if it exceeds ``PATIENCE``; None if the image
        is not larger than ``side``.
    """
    target = overview_target(sampler, side)
    if target is None:
        return None
    first = _seconds(sampler, target)
    return first if first > PATIENCE else min(first, _seconds(sampler, target))


def _seconds(sampler: CocoSampler, target: dict[str, Any]) -> float:
    begin = time.perf_counter()
    sampler.load_sample(target, with_annots=False)
    return time.perf_counter() - begin


def small_images(sampler: CocoSampler, most_bytes: int) -> list[int]:
    """Return the ids of the images with a limited size, at three bytes for each pixel.

    Args:
        sampler: sampler of the dataset.
        most_bytes: maximum number of bytes of an image.
    """
    dims = {int(gid): sampler.frames.image_dims(gid) for gid in sampler.image_ids}
    return [gid for gid, (height, width) in dims.items() if 3 * height * width <= most_bytes]
