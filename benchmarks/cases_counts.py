"""The calls whose counts are kept: one of each kind that matters."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data_counts import IMAGES, SIDE, CountsWorkload
from benchmarks.data_video import FRAMES_OF_SAMPLE

#: Rows and columns of a window, and of a block of an entry.
SIZE, BLOCK = 256, 128

#: Windows of a batch.
BATCH = 64

#: A call and its name. What stands before the ``yield`` of one is not counted.
Rows = Iterator[tuple[str, Callable[[], Any]]]


def _target(top: int = 40, left: int = 40, gid: int = 1, size: int = SIZE) -> dict[str, Any]:
    return {"gid": gid, "slices": (slice(top, top + size), slice(left, left + size))}


def _fresh(work: CountsWorkload, kind: str, backend: str | None) -> Any:
    """A sampler that has opened nothing. Its cache is complete."""
    import ndsampler

    work.sampler(kind, backend)
    workdir = None if backend is None else str(work.workdir)
    return ndsampler.CocoSampler(work.dataset(kind), workdir=workdir, backend=backend)


def _load(sampler: Any, annots: bool = False, **target: int) -> Callable[[], Any]:
    return functools.partial(sampler.load_sample, _target(**target), with_annots=annots)


def samplers(work: CountsWorkload) -> Rows:
    """Samplers of a dataset that is there already. The first of a process imports what it needs."""
    dset = work.dataset("png")

    def make() -> Any:
        import ndsampler

        return ndsampler.CocoSampler(dset, workdir=None, backend=None)

    yield "sampler, first of a process", make
    yield "sampler, another", make


def entries(work: CountsWorkload) -> Rows:
    """Windows of entries: of one that is open, and the first of another."""
    for backend in ("npy", "cog"):
        load = functools.partial(_load, _fresh(work, "png", backend))
        load(top=0, left=0, annots=True)()
        yield f"{backend} 256²", load(top=300, left=300)
        yield f"{backend} 256², again, with annotations", load(top=300, left=300, annots=True)
        yield f"{backend} 256², first of an entry", load(gid=2)
        another = _fresh(work, "png", backend)
        yield f"{backend} 256², first of an entry that was open before", _load(another, gid=2)
    whole = {**_target(0, 0, 3, SIDE), "scale": 0.125}
    sampler = _fresh(work, "png", "cog")
    yield "cog, whole image at 80²", lambda: sampler.load_sample(whole, with_annots=False)


def sources(work: CountsWorkload) -> Rows:
    """Windows of sources that are read in place."""
    for name, kind in (("tiled TIFF", "tiled"), ("striped TIFF", "striped"), ("PNG", "png")):
        _load(_fresh(work, kind, None), gid=2)()
        sampler = _fresh(work, kind, None)
        yield f"no cache, {name} 256², first of a sampler", _load(sampler)
        yield f"no cache, {name} 256², elsewhere", _load(sampler, top=380, left=380)
    for name, width in (("narrow", 512), ("wide", 2048)):
        frames = _frames_of(work.array(width))
        region = (slice(20, 20 + SIZE), slice(40, 40 + SIZE))
        frames.load_region(1, region)
        yield f"no cache, {name} .npy 256²", functools.partial(frames.load_region, 1, region)


def _frames_of(fpath: Path) -> Any:
    import ndsampler

    return ndsampler.SimpleFrames({1: str(fpath)}, backend=None)


def videos(work: CountsWorkload) -> Rows:
    """Three frames of a video, each of four files of three resolutions."""
    for backend in (None, "cog", "npy"):
        sampler = work.video.sampler(backend)

        _load_frames(sampler, 0, 0, 16)()
        yield f"video 3 x 256², {backend or 'no cache'}", _load_frames(sampler, 90, 70, SIZE)


def _load_frames(sampler: Any, top: int, left: int, size: int) -> Callable[[], Any]:
    box = (slice(top, top + size), slice(left, left + size))
    target = {"vidid": 1, "time_slice": slice(0, FRAMES_OF_SAMPLE), "space_slice": box}
    return functools.partial(sampler.load_sample, target, with_annots=False)


def batches(work: CountsWorkload) -> Rows:
    """64 windows at once, by samplers that have opened nothing."""
    for kind in ("random", "snapped", "overlapping"):
        targets = [_target(top, left, gid) for gid, top, left in batch_places(kind)]
        sampler = _fresh(work, "png", "cog")
        yield (
            f"64 windows of 256², {kind}",
            functools.partial(sampler.load_samples, targets, with_annots=False),
        )


def batch_places(kind: str) -> list[tuple[int, int, int]]:
    """(image id, row, column) of the windows of a batch: at random, snapped to blocks, or overlapping."""
    rng = np.random.default_rng(0)
    gids, corners = rng.integers(1, IMAGES + 1, BATCH), rng.integers(0, SIDE - SIZE, (BATCH, 2))
    if kind == "snapped":
        corners = corners // BLOCK * BLOCK
    if kind == "overlapping":
        gids[:] = 1
        corners = np.stack(np.meshgrid(range(8), range(8), indexing="ij"), axis=-1).reshape(-1, 2) * 48 + 13
    return [(int(gid), int(top), int(left)) for gid, (top, left) in zip(gids, corners)]


def conversions(work: CountsWorkload) -> Rows:
    """Conversion of a source that has no entry yet."""
    import ndsampler

    for backend in ("npy", "cog"):
        for kind in ("png", "striped"):
            workdir = str(work.dpath / f"convert_{backend}_{kind}")
            frames = ndsampler.CocoFrames(work.dataset(kind), workdir=workdir, backend=backend)
            frames.prepare(gids=[2], workers=0, use_stamp=False)
            yield (
                f"conversion of a {kind} to {backend}",
                functools.partial(frames.prepare, gids=[1], workers=0, use_stamp=False),
            )


def pools(work: CountsWorkload) -> Rows:
    """Targets of pools, and queries."""
    import kwimage

    import ndsampler

    regions = ndsampler.CocoRegions(work.boxes(2_000), verbose=0)
    regions.preselect(n_pos=20, n_neg=20, window_dims=(64, 64), rng=0)
    box = kwimage.Boxes([[100.0, 100.0, 164.0, 164.0]], "ltrb")
    for name, action in (
        ("a negative of the pool", functools.partial(regions.get_negative, 7)),
        ("a positive of the pool", functools.partial(regions.get_positive, 7)),
        ("an overlap query", functools.partial(regions.overlapping_aids, 3, box)),
    ):
        action()
        yield name, action


def list_rows(work: CountsWorkload) -> Rows:
    """All rows; each has to be counted before the next one is asked for."""
    for group in (samplers, entries, sources, videos, batches, conversions, pools):
        yield from group(work)
