"""Open files and memory are bounded, however much is read."""

from __future__ import annotations

import functools
import gc
import os
import pathlib
import sys

import numpy as np
import pytest
from helpers_faults import Scene, draw_scene, each_backend, read_both, read_windows
from helpers_images import random_pixels, write_png, write_tiff
from helpers_processes import needs_fork, run_child
from helpers_threads import in_threads

resource = pytest.importorskip("resource", reason="needs limits on what a process may take")

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

#: Images that one sampler reads, windows read while memory must not grow, and changes of a source.
IMAGES = {"short": 300, "whole": 400, "soak": 5000}
READS = {"short": 2000, "whole": 3000, "soak": 100_000}
CHANGES = {"short": 40, "whole": 60, "soak": 1420}

#: Descriptors that a process may have.
DESCRIPTORS = 256

#: Bytes that memory may grow by while the same is read again and again.
GROWTH = 8 * 2**20


@pytest.fixture(scope="module")
def many(tmp_path_factory, amount) -> Scene:
    """Return many tiny images of all formats."""
    folder = tmp_path_factory.mktemp("many")
    scene = Scene({}, {})
    for gid in range(1, amount(**IMAGES) + 1):
        pixels = random_pixels("uint8", 3, (20, 30), seed=gid)
        if gid % 4 == 0:
            path = write_tiff(folder / f"{gid}.tif", pixels, tiled=True, blockxsize=16, blockysize=16)
        elif gid % 4 == 1:
            path = write_tiff(folder / f"{gid}.tif", pixels, blockysize=4)
        elif gid % 4 == 2:
            path = folder / f"{gid}.npy"
            np.save(path, pixels)
        else:
            path = write_png(folder / f"{gid}.png", pixels)
        scene.paths[gid], scene.pixels[gid] = str(path), pixels
    return scene


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident() -> int:
    """Return the bytes of memory that this process has now."""
    gc.collect()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@needs_fork
@on_linux
@each_backend
def test_few_descriptors_do_for_many_images_and_samples(backend, many, tmp_path, patience):
    def work() -> int:
        os.closerange(100, 20_000)
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        sampler = many.sampler(tmp_path, backend)
        sampler.frames.prepare(workers=4)
        most = 0
        held = []
        for gid in many.pixels:
            sample = sampler.load_sample({"gid": gid}, with_annots=False)["im"]
            held = [*held[-600:], (gid, sample)]
            most = max(most, descriptors())
        assert all(np.array_equal(sample, many.pixels[gid]) for gid, sample in held)
        read = functools.partial(read_windows, sampler.frames, many, count=50)
        assert sum(in_threads(read, range(32), threads=16)) == 0
        assert read_both(sampler.frames, sampler, many, 5, 200) == 0
        return most

    assert int(run_child(work, patience)) < DESCRIPTORS * 3 // 4


@needs_fork
@on_linux
@each_backend
def test_a_process_that_ran_out_of_descriptors_says_so_and_goes_on(backend, many, tmp_path):
    from ndsampler.errors import NDSamplerError

    few = Scene(
        {gid: many.paths[gid] for gid in range(1, 41)}, {gid: many.pixels[gid] for gid in range(1, 41)}
    )
    frames = few.frames(tmp_path, backend)
    frames.prepare()
    kept = {path: path.stat() for path in tmp_path.rglob("*") if path.is_file()}

    def work() -> None:
        os.closerange(100, 20_000)
        resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120))
        fresh = few.frames(tmp_path, backend)
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        refused = 0
        for gid, pixels in few.pixels.items():
            try:
                assert np.array_equal(fresh.load_region(gid, None), pixels)
            except NDSamplerError:
                refused += 1
        assert refused
        for descriptor in taken:
            os.close(descriptor)
        assert read_windows(fresh, few, 0, 100) == 0

    run_child(work)
    # Nothing was taken for damaged.
    assert {path: path.stat().st_ino for path in kept} == {path: stat.st_ino for path, stat in kept.items()}


@needs_fork
@on_linux
@each_backend
def test_memory_and_descriptors_stay_flat(backend, tmp_path, amount, patience):
    scene = draw_scene(tmp_path / "images", 9)
    count = amount(**READS)

    def work() -> str:
        frames, sampler = scene.frames(tmp_path, backend), scene.sampler(tmp_path, backend)
        assert read_both(frames, sampler, scene, 0, 500) == 0
        before, opened = resident(), descriptors()
        for seed in range(1, 11):
            assert read_both(frames, sampler, scene, seed, count // 10) == 0
        assert descriptors() <= opened + 2 * len(scene.paths)
        growth = resident() - before
        assert growth < GROWTH, f"{growth / 2**20:.1f} MiB more after {count} reads"
        return str(growth)

    run_child(work, patience)


@needs_fork
@on_linux
@each_backend
def test_memory_stays_flat_while_threads_come_and_go_and_sources_change(backend, tmp_path, amount, patience):
    path = write_tiff(
        tmp_path / "1.tif", random_pixels("uint8", 3, (64, 64)), tiled=True, blockxsize=16, blockysize=16
    )
    pixels = random_pixels("uint8", 3, (64, 64))
    scene = Scene({1: str(path)}, {1: pixels})

    def work() -> None:
        frames = scene.frames(tmp_path / "work", backend)

        def round_of(number: int) -> None:
            stamp = (1_600_000_000 + number) * 10**9
            os.utime(path, ns=(stamp, stamp))
            read = functools.partial(read_windows, frames, scene, count=5)
            assert sum(in_threads(read, range(8), threads=4)) == 0

        # The pool of open files may fill up first.
        for number in range(80):
            round_of(number)
        before = resident()
        for number in range(80, 80 + amount(**CHANGES)):
            round_of(number)
        assert descriptors() < 100
        growth = resident() - before
        assert growth < 4 * GROWTH, f"{growth / 2**20:.1f} MiB more"

    run_child(work, patience)
