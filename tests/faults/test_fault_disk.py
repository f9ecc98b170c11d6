"""A disk that is full, or whose quota is used up, is a clear error, or is bypassed; nothing half is left."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from helpers_faults import Scene, differing, draw_scene, each_caching, entries, files, whole
from helpers_images import random_pixels, write_tiff
from helpers_processes import Child, needs_fork, run_child, run_children

from ndsampler.backends import gdal_write
from ndsampler.errors import CacheError

#: What a message of a full disk must say: the path, and megabytes.
CLEAR = re.compile(r"image 1: .*entry .* of .*1\.tif cannot be made .*\d MB", re.DOTALL)


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    """Return one large image, whose noise no codec makes smaller, and some small ones."""
    folder = tmp_path_factory.mktemp("images")
    scene = draw_scene(folder / "small", 4)
    pixels = random_pixels("uint16", 3, (600, 400), seed=5)
    large = Scene({1: str(write_tiff(folder / "1.tif", pixels, blockysize=20))}, {1: pixels})
    for gid in scene.paths:
        large.paths[gid + 1], large.pixels[gid + 1] = scene.paths[gid], scene.pixels[gid]
    return large


@pytest.fixture
def small_disk(tmp_path):
    """Return a factory of small disks, which are gone after the test."""
    run = functools.partial(subprocess.run, capture_output=True, timeout=60)
    with contextlib.ExitStack() as stack:

        def make(options: str = "size=2m") -> pathlib.Path:
            folder = tmp_path / f"disk-{options}"
            folder.mkdir()
            command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
            if shutil.which("mount") is None or run(command).returncode:
                pytest.skip("no disk can be mounted here")
            stack.callback(run, ["umount", "-l", str(folder)], check=True)
            return folder

        yield make


def check_refused(scene: Scene, workdir: pathlib.Path, backend: str) -> None:
    """Check that the first image is refused clearly and the others are read, with and without a bypass."""
    frames = scene.frames(workdir, backend)
    with pytest.raises(CacheError) as caught:
        whole(frames, 1)
    assert CLEAR.search(str(caught.value)), str(caught.value)
    with pytest.raises(CacheError, match=CLEAR):
        frames.prepare()
    small = Scene({**scene.paths}, {gid: pixels for gid, pixels in scene.pixels.items() if gid > 1})
    assert differing(frames, small) == []
    bypassing = scene.frames(workdir, backend, on_cache_error="bypass")
    bypassing.prepare()
    assert differing(bypassing, scene) == []


def check_nothing_half(scene: Scene, workdir: pathlib.Path, backend: str) -> None:
    """Check that only whole entries lie in a folder, and that later all can be made."""
    frames = scene.frames(workdir, backend)
    assert files(workdir) == entries(frames)
    assert differing(frames, Scene(scene.paths, {gid: scene.pixels[gid] for gid in (2, 3, 4)})) == []


@each_caching
@pytest.mark.parametrize("memory", [0, gdal_write.IN_MEMORY_BYTES], ids=["streamed", "in memory"])
class TestFullDisk:
    @needs_fork
    def test_files_that_may_not_grow(self, backend, memory, scene, tmp_path, monkeypatch):
        import resource

        monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", memory)

        def work() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
            check_refused(scene, tmp_path, backend)

        run_child(work)
        check_nothing_half(scene, tmp_path, backend)
        assert differing(scene.frames(tmp_path, backend), scene) == []

    def test_a_disk_with_too_little_room(self, backend, memory, scene, small_disk, monkeypatch):
        monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", memory)
        disk = small_disk("size=1m")
        check_refused(scene, disk, backend)
        check_nothing_half(scene, disk, backend)

    def test_a_disk_that_others_fill_meanwhile(self, backend, memory, scene, small_disk, monkeypatch):
        monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", memory)
        disk = small_disk("size=6m")  # for all entries, and a file without compression beside the last
        frames = scene.frames(disk, backend)
        convert = frames._cache.backend.convert

        def crowd(source, dest) -> None:
            (disk / "others").write_bytes(bytes(5_500_000))
            convert(source, dest)

        frames._cache.backend.convert = crowd
        with pytest.raises(CacheError, match=CLEAR):
            whole(frames, 1)
        (disk / "others").unlink()
        assert files(disk) == []
        frames._cache.backend.convert = convert
        assert differing(frames, scene) == []


@each_caching
def test_a_disk_without_a_byte_or_a_name_left(backend, scene, small_disk):
    for options in ("size=8k", "size=1m,nr_inodes=2", "size=2m,nr_inodes=6"):
        disk = small_disk(options)
        if options == "size=8k":
            (disk / "mine").write_bytes(bytes(8192))
        frames = scene.frames(disk, backend)
        with pytest.raises(CacheError, match=CLEAR):
            whole(frames, 1)
        bypassing = scene.frames(disk, backend, on_cache_error="bypass")
        bypassing.prepare()
        assert differing(bypassing, scene) == []
        assert set(files(disk)) - {disk / "mine"} == set(entries(frames))


@needs_fork
@each_caching
def test_processes_that_fill_a_disk_together(backend, scene, small_disk):
    disk = small_disk("size=1200k")
    crowd = Scene({}, {})
    for gid in range(1, 9):
        pixels = random_pixels("uint8", 3, (300, 300), seed=gid)
        crowd.paths[gid] = str(write_tiff(disk.parent / f"{gid}.tif", pixels, blockysize=20))
        crowd.pixels[gid] = pixels

    def work() -> list[int]:
        wrong = []
        for gid, pixels in crowd.pixels.items():
            try:
                if not np.array_equal(whole(crowd.frames(disk, backend), gid), pixels):
                    wrong.append(gid)
            except CacheError:
                continue
        return wrong + differing(crowd.frames(disk, backend, on_cache_error="bypass"), crowd)

    assert run_children([work] * 4) == ["[]"] * 4
    assert files(disk) == entries(crowd.frames(disk, backend))


@needs_fork
@each_caching
def test_a_disk_that_is_full_for_moments_holds_nobody_up(backend, scene, small_disk, amount, patience):
    disk = small_disk("size=1200k")
    alone = Scene({2: scene.paths[2]}, {2: scene.pixels[2]})

    def convert() -> None:
        for _ in range(amount(short=20, whole=40, soak=400)):
            frames = alone.frames(disk, backend)
            with contextlib.suppress(CacheError):
                assert differing(frames, alone) == []
            for entry in entries(frames):
                entry.unlink()

    def fill() -> None:
        rng = np.random.default_rng(3)
        while True:
            with contextlib.suppress(OSError):
                (disk / "others").write_bytes(bytes(int(rng.integers(1100, 1200)) * 1024))
            (disk / "others").write_bytes(b"")

    filler = Child(fill)
    try:
        run_child(convert, patience)
    finally:
        filler.kill()
    (disk / "others").unlink()
    assert differing(alone.frames(disk, backend), alone) == []
    assert files(disk) == entries(alone.frames(disk, backend))


@each_caching
@pytest.mark.parametrize("code", [errno.EDQUOT, errno.ENOSPC, errno.EIO, errno.EROFS, errno.EFBIG])
@pytest.mark.parametrize("step", ["makedirs", "open", "fsync", "utime", "replace"])
def test_a_quota_may_be_used_up_at_any_step(backend, step, code, scene, tmp_path, monkeypatch):
    frames = scene.frames(tmp_path, backend)

    def fail(*args, **kw):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(CacheError, match=CLEAR) as caught:
            whole(frames, 1)
        assert os.strerror(code) in str(caught.value)
        bypassing = scene.frames(tmp_path, backend, on_cache_error="bypass")
        assert np.array_equal(whole(bypassing, 1), scene.pixels[1])
    assert files(tmp_path) == []
    assert differing(frames, scene) == []
