"""Preparation gives the same entries on every executor, does what is missing, and reports all that failed."""

from __future__ import annotations

import concurrent.futures
import hashlib
import logging
import os
import pathlib

import numpy as np
import pytest
from helpers_images import random_pixels, write_png, write_tiff
from helpers_optional import import_optional
from helpers_processes import process_pool
from helpers_systems import have_locks

from ndsampler import CocoFrames, CocoSampler, SimpleFrames
from ndsampler.backends import make_backend
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.identity import Source
from ndsampler.errors import ArgumentError, CacheError, MissingSourceError, SourceError

CACHING = ["npy", "cog"]

each_caching = pytest.mark.parametrize("backend", CACHING)


@pytest.fixture
def paths(tmp_path) -> dict[int, str]:
    """Ten images of several formats and sizes, by id."""
    found = {}
    for n in range(10):
        pixels = random_pixels("uint8" if n % 3 else "uint16", 3, (200 + 7 * n, 150 + n), seed=n)
        write = write_png if n % 2 else write_tiff
        found[n] = str(write(tmp_path / f"{n}.{'png' if n % 2 else 'tif'}", pixels))
    return found


def contents(folder: pathlib.Path) -> dict[str, str]:
    """Return a hash of every file below a folder by its name there."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


EXECUTORS = {
    "threads": lambda: concurrent.futures.ThreadPoolExecutor(3),
    "spawned processes": lambda: process_pool("spawn", 2),
    "forked processes": lambda: process_pool("fork", 2),
}


@pytest.fixture(scope="module")
def prepared_here(tmp_path_factory):
    """Return a function that prepares images in this thread alone, and the contents of the cache."""
    known = {}

    def prepare(paths: dict[int, str], backend: str) -> dict[str, str]:
        key = (backend, *paths.values())
        if key not in known:
            folder = tmp_path_factory.mktemp("here")
            SimpleFrames(paths, workdir=folder, backend=backend).prepare(verbose=0)
            known[key] = contents(folder)
        return known[key]

    return prepare


@each_caching
@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_executor_gives_the_same_entries(executor, backend, paths, prepared_here, tmp_path):
    if executor == "forked processes" and not hasattr(os, "fork"):
        pytest.skip("no fork here")
    frames = SimpleFrames(paths, workdir=tmp_path / "work", backend=backend)
    with EXECUTORS[executor]() as pool:
        frames.prepare(executor=pool)
    expected = prepared_here(paths, backend)
    assert len(expected) == len(paths)
    assert contents(tmp_path / "work") == expected


@pytest.fixture(scope="module")
def dask_client(tmp_path_factory):
    """Return a client of a cluster of two processes."""
    distributed = import_optional("distributed")
    options = {"dashboard_address": None, "local_directory": str(tmp_path_factory.mktemp("dask"))}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@each_caching
def test_dask_gives_the_same_entries(backend, paths, prepared_here, dask_client, tmp_path):
    frames = SimpleFrames(paths, workdir=tmp_path / "work", backend=backend)
    frames.prepare(executor=dask_client.get_executor())
    assert contents(tmp_path / "work") == prepared_here(paths, backend)


@each_caching
def test_an_executor_gets_only_what_is_missing(backend, paths, tmp_path):
    frames = SimpleFrames(paths, workdir=tmp_path / "work", backend=backend)
    frames.prepare([1, 2, 3])
    handed = []

    class Noting(concurrent.futures.ThreadPoolExecutor):
        def submit(self, function, reader, layout):
            handed.append(layout.gid)
            return super().submit(function, reader, layout)

    with Noting(2) as pool:
        frames.prepare(executor=pool)
        frames.prepare(executor=pool)
    assert sorted(handed) == [0, 4, 5, 6, 7, 8, 9]


def test_an_executor_never_holds_more_than_a_bounded_number(paths, tmp_path, monkeypatch):
    from ndsampler.frames import prepare

    monkeypatch.setattr(prepare, "MAX_PENDING", 3)
    unfinished = []
    most = []

    class Counting(concurrent.futures.ThreadPoolExecutor):
        def submit(self, *args):
            unfinished.append(None)
            most.append(len(unfinished))
            future = super().submit(*args)
            future.add_done_callback(lambda _: unfinished.pop())
            return future

    with Counting(1) as pool:
        SimpleFrames(paths, workdir=tmp_path / "work", backend="npy").prepare(executor=pool)
    assert max(most) <= 3
    assert len(most) == len(paths)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_all_that_fails_on_an_executor_is_listed_with_id_and_path(executor, paths, tmp_path):
    if executor == "forked processes" and not hasattr(os, "fork"):
        pytest.skip("no fork here")
    pathlib.Path(paths[3]).write_bytes(b"no image")
    pathlib.Path(paths[5]).unlink()
    frames = SimpleFrames(paths, workdir=tmp_path / "work", backend="npy")
    with EXECUTORS[executor]() as pool, pytest.raises(SourceError) as caught:
        frames.prepare(executor=pool)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("2 of 10 images could not be prepared")
    assert sorted(line.split(": ")[0].strip() for line in lines[1:]) == ["image 3", "image 5"]
    assert all(paths[gid] in str(caught.value) for gid in (3, 5))
    assert len(contents(tmp_path / "work")) == 8


def test_one_that_fails_on_an_executor_raises_its_own_error(paths, tmp_path):
    pathlib.Path(paths[5]).unlink()
    frames = SimpleFrames(paths, workdir=tmp_path / "work", backend="npy")
    with (
        EXECUTORS["spawned processes"]() as pool,
        pytest.raises(MissingSourceError, match=r"image 5: .*5.png"),
    ):
        frames.prepare(executor=pool)


class Dying:
    """A reader that takes its process with it."""

    def __init__(self, reader):
        self.reader = reader

    def find_ready(self, layout):
        return [None]

    def explain_conversion(self, path):
        return ""

    def ensure(self, layout):
        os._exit(7)


def test_a_worker_that_dies_is_an_error_that_names_the_images(paths, tmp_path):
    from ndsampler.frames.prepare import prepare_layouts

    frames = SimpleFrames(paths, workdir=tmp_path / "work", backend="npy")
    layouts = [frames.layout(gid) for gid in (1, 2)]
    with EXECUTORS["spawned processes"]() as pool:
        done = prepare_layouts(Dying(frames.reader), layouts, executor=pool)
    with pytest.raises(CacheError) as caught:
        done.raise_failures()
    assert "2 of 2 images" in str(caught.value)
    assert paths[1] in str(caught.value)
    assert "BrokenProcessPool" in str(caught.value)


def test_the_progress_bar_tells_images_and_megabytes(paths, tmp_path, capsys):
    SimpleFrames(paths, workdir=tmp_path / "work", backend="npy").prepare(verbose=1)
    out, err = capsys.readouterr()
    assert "10/10" in out + err
    assert "MB/s" in out + err


def test_preparing_removes_what_dead_writers_left(paths, tmp_path):
    frames = SimpleFrames(paths, workdir=tmp_path / "work", backend="npy")
    frames.prepare()
    expected = contents(tmp_path / "work")
    for name in ("0" * 32, "1" * 32 + ".abcdef12"):
        left = pathlib.Path(frames.cache_dpath) / "_partial" / name
        left.mkdir(parents=True)
        (left / "lock").touch()
        if not have_locks():
            os.utime(left / "lock", (1, 1))
        (left / "entry.partial").write_bytes(b"half")
        (left / "entry.partial.ovr.tmp").write_bytes(b"half")
    assert contents(tmp_path / "work") != expected
    frames.prepare()
    assert contents(tmp_path / "work") == expected
    assert list((pathlib.Path(frames.cache_dpath) / "_partial").iterdir()) == []


class TestBypass:
    @pytest.fixture
    def blocked(self, tmp_path) -> pathlib.Path:
        """A workdir that no folder can be made in."""
        path = tmp_path / "blocked"
        path.write_text("a file")
        return path

    @each_caching
    def test_windows_are_read_from_the_sources(self, backend, paths, blocked, caplog):
        frames = SimpleFrames(paths, workdir=blocked, backend=backend, on_cache_error="bypass")
        plain = SimpleFrames(paths)
        with caplog.at_level(logging.WARNING):
            frames.prepare(workers=2)
            for gid in paths:
                for _ in range(3):
                    region = (slice(3, 60), slice(5, 90))
                    assert np.array_equal(frames.load_region(gid, region), plain.load_region(gid, region))
                assert np.array_equal(frames.load_image(gid)[:], plain.load_image(gid))
        for path in paths.values():
            assert any(path in record.getMessage() for record in caplog.records)
        assert blocked.read_text() == "a file"

    @each_caching
    def test_it_is_tried_once_for_each_image(self, backend, paths, blocked, caplog):
        frames = SimpleFrames(paths, workdir=blocked, backend=backend, on_cache_error="bypass")
        frames._lru.set_size(1)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                for gid in paths:
                    frames.load_region(gid, (slice(0, 4), slice(0, 4)))
        assert sum("is read without a cache" in record.getMessage() for record in caplog.records) == len(
            paths
        )

    def test_a_damaged_source_is_an_error_all_the_same(self, paths, blocked):
        pathlib.Path(paths[3]).write_bytes(b"no image")
        frames = SimpleFrames(paths, workdir=blocked, backend="npy", on_cache_error="bypass")
        with pytest.raises(SourceError, match="image 3"):
            frames.load_region(3)

    @each_caching
    def test_otherwise_it_is_an_error_that_names_the_way_out(self, backend, paths, blocked):
        frames = SimpleFrames(paths, workdir=blocked, backend=backend)
        with pytest.raises(CacheError, match=r"image 1: .*1\.png cannot be made .*on_cache_error='bypass'"):
            frames.load_region(1)

    def test_a_sampler_passes_it_on(self, paths, blocked, tmp_path):
        import kwcoco

        dset = kwcoco.CocoDataset()
        height, width = SimpleFrames(paths).image_dims(1)
        dset.add_image(file_name=paths[1], id=1, height=height, width=width)
        sampler = CocoSampler(dset, workdir=blocked, backend="npy", on_cache_error="bypass")
        sample = sampler.load_sample({"gid": 1, "slices": (slice(2, 9), slice(4, 8))})
        assert np.array_equal(sample["im"], SimpleFrames(paths).load_region(1)[2:9, 4:8])

    @pytest.mark.parametrize("value", ["Bypass", None, True])
    def test_another_word_is_refused(self, value, paths):
        with pytest.raises(ArgumentError, match="on_cache_error is .*expected one of 'raise', 'bypass'"):
            CocoFrames(None, on_cache_error=value)


@each_caching
def test_the_number_of_open_files_can_be_bounded(backend, paths, tmp_path):
    frames = SimpleFrames(paths, workdir=tmp_path, backend=backend)
    for gid in paths:
        frames.load_region(gid, (slice(0, 4), slice(0, 4)))
    assert len(frames._lru) == len(paths)
    frames._lru.set_size(2)
    frames.load_region(0, (slice(0, 4), slice(0, 4)))
    frames.load_region(1, (slice(0, 4), slice(0, 4)))
    assert len(frames._lru) <= 2
    for size in (0, -1, 2.5, None, True):
        with pytest.raises(ArgumentError, match="max_handles is .*at least 1"):
            frames._lru.set_size(size)


def test_a_partial_folder_is_made_in_the_cache_alone(tmp_path):
    path = str(write_png(tmp_path / "a.png", random_pixels()))
    cache = FrameCache(make_backend("npy"), str(tmp_path / "cache"))
    cache.ensure(Source(path))
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.png", "cache"]
