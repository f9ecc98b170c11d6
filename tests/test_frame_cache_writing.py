"""Entries of the cache are whole or absent, whatever happens to their writer."""

from __future__ import annotations

import errno
import os
import pathlib
import threading
import time
import types

import numpy as np
import pytest
from helpers_cache import WHOLE, each_caching, files
from helpers_images import random_pixels, write_tiff
from helpers_processes import needs_fork, run_script
from helpers_threads import PATIENCE, in_threads, results, start_thread

from ndsampler.backends import make_backend
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.identity import Source
from ndsampler.errors import CacheError, SourceError


@each_caching
class TestWholeOrAbsent:
    def test_an_entry_appears_by_a_rename(self, backend, make_cache, image, tmp_path, monkeypatch):
        cache = make_cache(backend)
        entry = cache.entry_path(Source(str(image)))
        seen = []
        original = os.replace

        def replace(source, dest):
            seen.append((str(source), str(dest), os.path.exists(dest)))
            original(source, dest)

        monkeypatch.setattr(os, "replace", replace)
        cache.ensure(Source(str(image)))
        ((source, dest, existed),) = seen
        assert (dest, existed) == (entry, False)
        assert os.path.commonpath([source, entry]) == cache.dpath
        assert not source.endswith(cache.backend.suffix)
        assert files(tmp_path / "cache") == [pathlib.Path(entry)]

    @pytest.mark.parametrize(
        "failure",
        [ValueError("boom"), KeyboardInterrupt(), MemoryError(), OSError("boom"), SystemExit(1)],
        ids=repr,
    )
    def test_a_converter_that_dies_half_way_leaves_nothing(
        self, backend, failure, make_cache, image, tmp_path, monkeypatch
    ):
        cache = make_cache(backend)
        original = cache.backend.convert

        def convert(source, dest):
            original(source, dest)
            with open(dest, "rb+") as file:
                file.truncate(100)
            raise failure

        monkeypatch.setattr(cache.backend, "convert", convert)
        expected = CacheError if isinstance(failure, OSError) else type(failure)
        with pytest.raises(expected):
            cache.read(Source(str(image)), WHOLE)
        assert files(tmp_path / "cache") == []
        assert not cache.find_ready(Source(str(image)))
        monkeypatch.setattr(cache.backend, "convert", original)
        assert np.array_equal(cache.read(Source(str(image)), WHOLE), random_pixels())

    def test_a_converter_that_lies_about_pixels_is_caught(
        self, backend, make_cache, image, tmp_path, monkeypatch
    ):
        cache = make_cache(backend)
        original = cache.backend.convert

        def convert(source, dest):
            changed = types.SimpleNamespace(
                shape=source.shape,
                dtype=source.dtype,
                nodata=None,
                rows=lambda *rows: source.rows(*rows) ^ np.uint8(1),
            )
            original(changed, dest)

        monkeypatch.setattr(cache.backend, "convert", convert)
        with pytest.raises(CacheError, match=r"entry of .*image.png .*differ from those of its source"):
            cache.ensure(Source(str(image)))
        assert files(tmp_path / "cache") == []

    @pytest.mark.parametrize("change", ["shape", "type"])
    def test_a_converter_that_lies_about_the_shape_is_caught(
        self, backend, change, make_cache, image, tmp_path, monkeypatch
    ):
        cache = make_cache(backend)
        other = random_pixels("uint8", 3, (20, 20)) if change == "shape" else random_pixels("int16")
        original = cache.backend.convert

        def convert(source, dest):
            from ndsampler.backends.source import ArrayReader

            original(ArrayReader(other), dest)

        monkeypatch.setattr(cache.backend, "convert", convert)
        with pytest.raises(CacheError, match=r"entry of .*image.png .* it is .*its source is uint8"):
            cache.ensure(Source(str(image)))
        assert files(tmp_path / "cache") == []

    def test_a_converter_that_writes_nothing_is_caught(
        self, backend, make_cache, image, tmp_path, monkeypatch
    ):
        cache = make_cache(backend)
        monkeypatch.setattr(cache.backend, "convert", lambda source, dest: None)
        with pytest.raises((CacheError, SourceError)):
            cache.ensure(Source(str(image)))
        assert files(tmp_path / "cache") == []

    @pytest.mark.parametrize("step", ["makedirs", "fsync", "replace"])
    def test_a_full_disk_is_an_error_with_the_way_out(
        self, backend, step, make_cache, image, tmp_path, monkeypatch
    ):
        cache = make_cache(backend)

        def fail(*args, **kw):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail)
            with pytest.raises(
                CacheError, match=r"image.png cannot be made .*choose another workdir"
            ) as caught:
                cache.read(Source(str(image)), WHOLE)
        assert caught.value.__cause__.errno == errno.ENOSPC
        assert files(tmp_path / "cache") == []
        assert np.array_equal(cache.read(Source(str(image)), WHOLE), random_pixels())

    @needs_fork
    def test_a_disk_that_fills_up_while_writing_leaves_nothing(self, backend, image, tmp_path):
        big = write_tiff(tmp_path / "big.tif", random_pixels("float64", 3, (300, 300)), blockysize=10)
        script = """
            import resource, sys
            from ndsampler.backends import make_backend
            from ndsampler.errors import CacheError
            from ndsampler.cache.frame_cache import FrameCache
            from ndsampler.cache.identity import Source
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
            cache = FrameCache(make_backend(sys.argv[1]), sys.argv[3])
            try:
                cache.ensure(Source(sys.argv[2]))
            except CacheError as ex:
                assert 'big.tif' in str(ex), ex
                print('refused')
        """
        done = run_script(script, backend, big, tmp_path / "cache")
        assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr
        assert files(tmp_path / "cache") == []

    def test_a_file_where_the_folder_should_be_is_a_cache_error(self, backend, image, tmp_path):
        (tmp_path / "taken").write_text("mine")
        cache = FrameCache(make_backend(backend), str(tmp_path / "taken"))
        with pytest.raises(CacheError, match=r"image.png cannot be made.*choose another workdir"):
            cache.read(Source(str(image)), WHOLE)
        assert (tmp_path / "taken").read_text() == "mine"

    def test_a_damaged_source_leaves_nothing(self, backend, make_cache, image, tmp_path):
        image.write_bytes(image.read_bytes()[:500])
        with pytest.raises(SourceError, match=r"image.png"):
            make_cache(backend).ensure(Source(str(image)))
        assert files(tmp_path / "cache") == []

    def test_reading_writes_nothing(self, backend, make_cache, image, tmp_path):
        make_cache(backend).ensure(Source(str(image)))
        before = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
        folders = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_dir()}
        make_cache(backend).read(Source(str(image)), WHOLE)
        assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == before
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_dir()} == folders

    def test_what_is_there_is_not_converted_again(self, backend, make_cache, image, monkeypatch):
        make_cache(backend).ensure(Source(str(image)))
        cache = make_cache(backend)
        monkeypatch.setattr(cache.backend, "convert", None)
        assert cache.find_ready(Source(str(image)))
        assert np.array_equal(cache.read(Source(str(image)), WHOLE), random_pixels())

    @pytest.mark.parametrize("locks", [True, False])
    def test_two_processes_may_convert_one_image(self, backend, locks, image, tmp_path):
        script = """
            import pathlib, sys, time
            import numpy as np
            from helpers_images import random_pixels
            import ndsampler.cache.locks
            from ndsampler.backends import make_backend
            from ndsampler.cache.frame_cache import FrameCache
            from ndsampler.cache.identity import Source
            backend, image, folder, locks, ready, go = sys.argv[1:]
            if locks == 'False':
                ndsampler.cache.locks.fcntl = None
            cache = FrameCache(make_backend(backend), folder)
            original = cache.backend.convert
            def convert(source, dest):
                pathlib.Path(ready).touch()
                while not pathlib.Path(go).exists():
                    time.sleep(0.002)
                original(source, dest)
            cache.backend.convert = convert
            assert np.array_equal(cache.read(Source(image), (0, 90, 0, 151)), random_pixels())
        """
        marks = [tmp_path / "ready0", tmp_path / "ready1"]
        runs = [
            start_thread(run_script, script, backend, image, tmp_path / "cache", locks, mark, tmp_path / "go")
            for mark in marks
        ]
        enough = 1 if locks else 2
        for _ in range(5000):
            if sum(mark.exists() for mark in marks) >= enough or any(run.done() for run in runs):
                break
            time.sleep(0.01)
        (tmp_path / "go").touch()
        done = results(runs, 2 * PATIENCE)
        assert [run.returncode for run in done] == [0, 0], [run.stderr for run in done]
        assert sum(mark.exists() for mark in marks) == enough
        assert len(files(tmp_path / "cache")) == 1

    def test_threads_may_convert_one_image(self, backend, make_cache, image, tmp_path):
        cache = make_cache(backend)
        barrier = threading.Barrier(8)

        def read(_):
            barrier.wait(PATIENCE)
            return cache.read(Source(str(image)), WHOLE)

        for found in in_threads(read, range(8)):
            assert np.array_equal(found, random_pixels())
        assert len(files(tmp_path / "cache")) == 1
