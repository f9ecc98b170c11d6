"""Benchmarks of windows of a video with files of three resolutions, and of scaled-down windows."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from benchmarks import limits
from benchmarks.data import Workload
from benchmarks.data_video import ASSETS, FRAMES_OF_SAMPLE, VideoFile, VideoWorkload, affine
from benchmarks.images import SOURCES, write_geotiff
from benchmarks.timing import Pair, Row, Step

#: Format of the files that the limit reads, for each backend.
LIMIT_KINDS = {None: "striped", "cog": "zstd", "npy": "npy"}

#: Largest difference between 16-bit pixels of the sample and the limit; OpenCV rounds positions to 1/32
#: pixel.
TOLERANCE = 40


@functools.cache
def _video(work: Workload) -> VideoWorkload:
    return VideoWorkload(work)


def window_of_video(
    work: Workload, backend: str | None, size: int, channels: tuple[str, ...] = tuple(ASSETS)
) -> Pair:
    """Measure a window of three frames; limit: reading the region of each open file, and one warp for
    each."""
    video, size = _video(work), work.window(size)
    places = video.places(size)
    sampler = video.sampler(backend)
    code = "|".join(channels)
    targets = [
        {
            "vidid": 1,
            "time_slice": slice(first, first + FRAMES_OF_SAMPLE),
            "space_slice": (slice(top, top + size), slice(left, left + size)),
            "channels": code,
        }
        for first, top, left in places
    ]

    def ours(step: int) -> np.ndarray:
        return sampler.load_sample(targets[step % len(targets)], with_annots=False)["im"]

    def limit(step: int) -> np.ndarray:
        first, top, left = places[step % len(places)]
        out = np.empty((FRAMES_OF_SAMPLE, size, size, len(channels)), dtype=np.uint16)
        for index in range(FRAMES_OF_SAMPLE):
            for band, channel in enumerate(channels):
                file = video.file(first + index, channel)
                opened = video.opened(first + index, channel, LIMIT_KINDS[backend])
                out[index, ..., band] = read_and_warp(opened, file, top, left, size)
        return out

    return _close_pixels(work, ours, limit, TOLERANCE)


def read_and_warp(opened: Any, file: VideoFile, top: int, left: int, size: int) -> np.ndarray:
    """Read a window of a video from one file: the region with a margin of two pixels, warped once."""
    import cv2

    warp = affine(1, (-left, -top)) @ file.warp_vid_from_asset
    step, (x, y) = warp[0, 0], warp[:2, 2]
    x0, y0 = (max(int(np.floor(-corner / step)) - 2, 0) for corner in (x, y))
    x1, y1 = (min(int(np.ceil((size - corner) / step)) + 2, file.size) for corner in (x, y))
    local = warp @ affine(1, (x0, y0))
    # In OpenCV, whole numbers are at the centers of pixels.
    centers = affine(1, (-0.5, -0.5)) @ local @ affine(1, (0.5, 0.5))
    return cv2.warpAffine(
        _region(opened, y0, y1, x0, x1),
        centers[:2],
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _region(opened: Any, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
    from rasterio.windows import Window

    if isinstance(opened, np.ndarray):
        return np.array(opened[y0:y1, x0:x1, 0])
    return opened.read(1, window=Window(x0, y0, x1 - x0, y1 - y0))


def _close_pixels(work: Workload, ours: Step, limit: Step, tolerance: int) -> Pair:
    """Return both sides, after checking that they give the same pixels within a tolerance."""
    for index in range(3 if work.verify else 0):
        gap = np.abs(ours(index).astype(np.int64) - limit(index).astype(np.int64)).max()
        if gap > tolerance:
            raise ValueError(f"the sample differs by {gap} from one warp of each file in window {index}")
    return Pair(ours, limit)


def shrunken_window(work: Workload, size: int) -> Pair:
    """Measure a window scaled to 224² from cog; limit: reading and resizing an aligned window of an
    overview."""
    import cv2

    size = work.window(size)
    out = size * 7 // 32
    # The smallest overview that still has more pixels than the sample.
    level = 4
    small = size // level
    sampler = work.sampler("png", "cog")
    places = [(top // level, left // level) for _, top, left in work.places(size)]
    targets = [
        {
            "gid": 1,
            "slices": (slice(y * level, y * level + size), slice(x * level, x * level + size)),
            "scale": out / size,
        }
        for y, x in places
    ]

    def ours(step: int) -> np.ndarray:
        return sampler.load_sample(targets[step % len(targets)], with_annots=False)["im"]

    def limit(step: int) -> np.ndarray:
        y, x = places[step % len(places)]
        pixels = limits.read_handle(_overview(work, level), y, x, small)
        return cv2.resize(pixels, (out, out), interpolation=cv2.INTER_AREA)

    return Pair(ours, limit)


@functools.cache
def _overview(work: Workload, factor: int) -> Any:
    """Return an open GDAL handle of the first image, scaled down by averaging."""
    import cv2
    import rasterio

    fpath = work.dpath / f"overview_{factor}.tif"
    side = work.image_size // factor
    write_geotiff(
        fpath,
        cv2.resize(work.pixels(0), (side, side), interpolation=cv2.INTER_AREA),
        **(SOURCES["zstd"] or {}),
    )
    return rasterio.open(fpath)


def rows() -> list[Row]:
    """Return all rows of this module."""

    def row(name: str, aim: tuple[float, float], build: Any, number: int, **kwargs: Any) -> Row:
        reach = aim[0] / aim[1]
        return Row(name, "video", functools.partial(build, **kwargs), reach=reach, number=number)

    window = window_of_video
    return [
        row("video 3 x 256², no cache", (14, 13.2), window, 4, backend=None, size=256),
        row(
            "video 3 x 256², nir, no cache", (1.9, 1.7), window, 12, backend=None, size=256, channels=("nir",)
        ),
        row(
            "video 3 x 256², swir, no cache",
            (0.9, 0.64),
            window,
            20,
            backend=None,
            size=256,
            channels=("swir",),
        ),
        row("video 3 x 256², cog", (1.8, 1.17), window, 12, backend="cog", size=256),
        row("video 3 x 256², nir, cog", (0.9, 0.4), window, 30, backend="cog", size=256, channels=("nir",)),
        row("video 3 x 1024², cog", (27, 20), window, 3, backend="cog", size=1024),
        row("video 3 x 64², cog", (0.45, 0.17), window, 30, backend="cog", size=64),
        row("video 3 x 256², npy", (1.6, 1.17), window, 12, backend="npy", size=256),
        row("1024² window to 224² from cog", (0.6, 0.32), shrunken_window, 20, size=1024),
    ]
