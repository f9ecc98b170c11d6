"""Entries of the cache: named by identity, whole or absent, open in bounds."""

from __future__ import annotations

import concurrent.futures
import copy
import errno
import itertools
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import types

import numpy as np
import pytest
from helpers_images import DIMS, random_pixels, write_png, write_tiff
from hypothesis import given
from hypothesis import strategies as st

from ndsampler.backends import gdal, make_backend
from ndsampler.cache import identity
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.handles import HandlePool
from ndsampler.errors import CacheError, MissingSourceError, SourceError

WHOLE = (0, DIMS[0], 0, DIMS[1])

CACHING = ["npy", "cog"]

BACKENDS = [None, *CACHING]

each_caching = pytest.mark.parametrize("backend", CACHING)
each_backend = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture
def make_cache(tmp_path):
    """Return a factory of caches in one folder."""

    def make(backend="npy", **kw) -> FrameCache:
        storage = make_backend(backend)
        return FrameCache(storage, str(tmp_path / "cache") if storage.caches else None, **kw)

    return make


@pytest.fixture
def image(tmp_path) -> pathlib.Path:
    """Return a PNG of ``random_pixels()``."""
    return write_png(tmp_path / "image.png", random_pixels())


def files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def change_time(path: pathlib.Path, seconds: int) -> None:
    """Move the time of a file's last change, as an edit some time later does."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + seconds * 10**9))


def run_script(script: str, *args: object, timeout: float = 60) -> subprocess.CompletedProcess:
    """Run a program in a process of its own."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env)


class TestNames:
    @each_caching
    def test_an_entry_lies_in_the_folder_and_has_the_ending(self, backend, make_cache, image, tmp_path):
        cache = make_cache(backend)
        entry = cache.ensure(str(image))
        assert entry == cache.entry_path(str(image))
        assert entry.endswith({"npy": ".npy", "cog": ".cog.tiff"}[backend])
        assert files(tmp_path / "cache") == [pathlib.Path(entry)]

    def test_without_a_cache_there_is_no_entry(self, make_cache, image, tmp_path):
        cache = make_cache(None)
        assert cache.entry_path(str(image)) is None
        assert cache.ensure(str(image)) == str(image)
        assert cache.is_ready(str(image))
        cache.read(str(image), WHOLE)
        assert files(tmp_path) == [image]

    @each_backend
    def test_a_changed_source_is_read_anew(self, backend, make_cache, image):
        cache = make_cache(backend)
        cache.read(str(image), WHOLE)
        for seed in (1, 2):
            write_png(image, random_pixels(seed=seed))
            change_time(image, 10 * seed)
            assert np.array_equal(cache.read(str(image), WHOLE), random_pixels(seed=seed))

    @each_caching
    def test_a_changed_source_has_another_entry(self, backend, make_cache, image):
        cache = make_cache(backend)
        first = cache.ensure(str(image))
        change_time(image, 1)
        second = cache.ensure(str(image))
        image.write_bytes(image.read_bytes() + b"\0")
        third = cache.entry_path(str(image))
        assert len({first, second, third}) == 3

    @each_caching
    def test_files_of_one_name_in_two_folders_never_meet(self, backend, make_cache, tmp_path):
        cache = make_cache(backend)
        for seed, folder in enumerate(("a", "b")):
            (tmp_path / folder).mkdir()
            write_png(tmp_path / folder / "image.png", random_pixels(seed=seed))
            os.utime(tmp_path / folder / "image.png", (1, 1))
        for seed, folder in enumerate(("a", "b")):
            found = cache.read(str(tmp_path / folder / "image.png"), WHOLE)
            assert np.array_equal(found, random_pixels(seed=seed))
        assert len(files(tmp_path / "cache")) == 2

    def test_by_path_a_moved_file_has_another_entry(self, make_cache, image, tmp_path):
        cache = make_cache()
        entry = cache.ensure(str(image))
        moved = shutil.copy2(image, tmp_path / "moved.png")
        assert cache.entry_path(str(moved)) != entry

    @each_caching
    def test_by_pixels_a_file_keeps_its_entry_when_it_moves_or_is_touched(
        self, backend, make_cache, image, tmp_path
    ):
        cache = make_cache(backend, hashid_mode="PIXELS")
        entry = cache.ensure(str(image))
        change_time(image, 10)
        assert cache.entry_path(str(image)) == entry
        (tmp_path / "elsewhere").mkdir()
        moved = image.rename(tmp_path / "elsewhere" / image.name)
        assert cache.entry_path(str(moved)) == entry
        assert cache.is_ready(str(moved))
        write_png(moved, random_pixels(seed=1))
        assert cache.entry_path(str(moved)) != entry
        assert np.array_equal(cache.read(str(moved), WHOLE), random_pixels(seed=1))

    def test_by_pixels_a_file_is_hashed_once(self, make_cache, image, monkeypatch):
        hashed = []
        original = identity._hash_file
        monkeypatch.setattr(identity, "_hash_file", lambda path: hashed.append(path) or original(path))
        cache = make_cache(hashid_mode="PIXELS")
        for _ in range(5):
            cache.read(str(image), WHOLE)
        assert hashed == [str(image)]

    def test_a_given_hash_names_the_entry(self, make_cache, image, tmp_path):
        cache = make_cache(hashid_mode="GIVEN")
        entry = cache.ensure(str(image), "abc")
        moved = tmp_path / "elsewhere" / "image.png"
        moved.parent.mkdir()
        shutil.copy(image, moved)
        assert cache.entry_path(str(moved), "abc") == entry
        assert cache.entry_path(str(image), "abd") != entry
        assert np.array_equal(cache.read(str(image), WHOLE, given="abc"), random_pixels())

    def test_a_hash_that_is_not_given_is_asked_for(self, make_cache, image):
        cache = make_cache(hashid_mode="GIVEN")
        for given_hash in (None, ""):
            with pytest.raises(SourceError, match=r"image.png has no hash .*'hashid'.*hashid_mode='PATH'"):
                cache.ensure(str(image), given_hash)

    @pytest.mark.parametrize("given_hash", ["../../x", "/etc/passwd", "a/b", "..", "\0", "ü" * 300])
    def test_a_given_hash_cannot_lead_elsewhere(self, given_hash, make_cache, image, tmp_path):
        entry = pathlib.Path(make_cache(hashid_mode="GIVEN").ensure(str(image), given_hash))
        assert files(tmp_path / "cache") == [entry]

    @pytest.mark.parametrize("mode", ["PATH", "PIXELS", "GIVEN"])
    def test_no_name_leads_out_of_the_folder_or_grows_too_long(self, mode, tmp_path, monkeypatch):
        image = write_png(tmp_path / "image.png", random_pixels())
        stat = image.stat()
        monkeypatch.setattr(identity, "stat_source", lambda path: stat)
        monkeypatch.setattr(identity, "_hash_file", lambda path: "0" * 64)
        cache = FrameCache(make_backend("npy"), "/workdir", mode)

        @given(st.text(min_size=1))
        def check(name: str) -> None:
            entry = cache.entry_path(name, name)
            inside = pathlib.PurePosixPath(entry).relative_to("/workdir")
            assert re.fullmatch(r"[0-9a-f]{2}/[A-Za-z0-9_-]{0,41}[0-9a-f]{32}\.npy", str(inside))

        check()

    @pytest.mark.parametrize("name", ["ünï 字 & co.png", "x" * 200 + ".png", "a.b.c.png", ".png", "-rf.png"])
    @each_caching
    def test_files_of_odd_names_are_cached(self, backend, name, make_cache, tmp_path):
        (tmp_path / "in").mkdir()
        write_png(tmp_path / "plain.png", random_pixels()).rename(tmp_path / "in" / name)
        path = str(tmp_path / "in" / name)
        cache = make_cache(backend)
        found = cache.read(path, WHOLE)
        if name != ".png":
            assert np.array_equal(found, random_pixels())
        assert [str(entry) for entry in files(tmp_path / "cache")] == [cache.entry_path(path)]

    def test_links_lead_to_the_pixels_behind_them(self, make_cache, image, tmp_path):
        link = tmp_path / "link.png"
        try:
            link.symlink_to(image)
        except OSError:
            pytest.skip("no symbolic links here")
        assert np.array_equal(make_cache("cog").read(str(link), WHOLE), random_pixels())

    @each_backend
    def test_a_missing_source_is_missing_though_its_entry_is_there(self, backend, make_cache, image):
        cache = make_cache(backend)
        cache.read(str(image), WHOLE)
        image.unlink()
        for call in (cache.ensure, cache.entry_path, cache.is_ready) if backend else ():
            with pytest.raises(MissingSourceError, match=r"image.png does not exist"):
                call(str(image))
        with pytest.raises(MissingSourceError, match=r"image.png does not exist"):
            cache.read(str(image), WHOLE)


@each_caching
class TestWholeOrAbsent:
    def test_an_entry_appears_by_a_rename(self, backend, make_cache, image, tmp_path, monkeypatch):
        cache = make_cache(backend)
        entry = cache.entry_path(str(image))
        seen = []
        original = os.replace

        def replace(source, dest):
            seen.append((str(source), str(dest), os.path.exists(dest)))
            original(source, dest)

        monkeypatch.setattr(os, "replace", replace)
        cache.ensure(str(image))
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
            cache.read(str(image), WHOLE)
        assert files(tmp_path / "cache") == []
        assert not cache.is_ready(str(image))
        monkeypatch.setattr(cache.backend, "convert", original)
        assert np.array_equal(cache.read(str(image), WHOLE), random_pixels())

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
        with pytest.raises(CacheError, match=r"the entry of .*image.png differs from its source"):
            cache.ensure(str(image))
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
        with pytest.raises(CacheError, match=r"the entry of .*image.png came out as .*the source is uint8"):
            cache.ensure(str(image))
        assert files(tmp_path / "cache") == []

    def test_a_converter_that_writes_nothing_is_caught(
        self, backend, make_cache, image, tmp_path, monkeypatch
    ):
        cache = make_cache(backend)
        monkeypatch.setattr(cache.backend, "convert", lambda source, dest: None)
        with pytest.raises((CacheError, SourceError)):
            cache.ensure(str(image))
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
                CacheError, match=r"image.png cannot be made .*give another workdir"
            ) as caught:
                cache.read(str(image), WHOLE)
        assert caught.value.__cause__.errno == errno.ENOSPC
        assert files(tmp_path / "cache") == []
        assert np.array_equal(cache.read(str(image), WHOLE), random_pixels())

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a limit on the size of files")
    def test_a_disk_that_fills_up_while_writing_leaves_nothing(self, backend, image, tmp_path):
        big = write_tiff(tmp_path / "big.tif", random_pixels("float64", 3, (300, 300)), blockysize=10)
        script = """
            import resource, sys
            from ndsampler.backends import make_backend
            from ndsampler.errors import CacheError
            from ndsampler.cache.frame_cache import FrameCache
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
            cache = FrameCache(make_backend(sys.argv[1]), sys.argv[3])
            try:
                cache.ensure(sys.argv[2])
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
        with pytest.raises(CacheError, match=r"image.png cannot be made.*give another workdir"):
            cache.read(str(image), WHOLE)
        assert (tmp_path / "taken").read_text() == "mine"

    def test_a_damaged_source_leaves_nothing(self, backend, make_cache, image, tmp_path):
        image.write_bytes(image.read_bytes()[:500])
        with pytest.raises(SourceError, match=r"image.png"):
            make_cache(backend).ensure(str(image))
        assert files(tmp_path / "cache") == []

    def test_reading_writes_nothing(self, backend, make_cache, image, tmp_path):
        make_cache(backend).ensure(str(image))
        before = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
        folders = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_dir()}
        make_cache(backend).read(str(image), WHOLE)
        assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == before
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_dir()} == folders

    def test_what_is_there_is_not_converted_again(self, backend, make_cache, image, monkeypatch):
        make_cache(backend).ensure(str(image))
        cache = make_cache(backend)
        monkeypatch.setattr(cache.backend, "convert", None)
        assert cache.is_ready(str(image))
        assert np.array_equal(cache.read(str(image), WHOLE), random_pixels())

    @pytest.mark.parametrize("locks", [True, False])
    def test_two_processes_may_convert_one_image(self, backend, locks, image, tmp_path):
        script = """
            import pathlib, sys, time
            import numpy as np
            from helpers_images import random_pixels
            import ndsampler.cache.locks
            from ndsampler.backends import make_backend
            from ndsampler.cache.frame_cache import FrameCache
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
            assert np.array_equal(cache.read(image, (0, 90, 0, 151)), random_pixels())
        """
        marks = [tmp_path / "ready0", tmp_path / "ready1"]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            runs = [
                pool.submit(
                    run_script, script, backend, image, tmp_path / "cache", locks, mark, tmp_path / "go"
                )
                for mark in marks
            ]
            waiter = threading.Event()
            enough = 1 if locks else 2
            for _ in itertools.repeat(None, 5000):
                if sum(mark.exists() for mark in marks) >= enough or any(run.done() for run in runs):
                    break
                waiter.wait(0.01)
            (tmp_path / "go").touch()
            results = [run.result() for run in runs]
        assert [done.returncode for done in results] == [0, 0], [done.stderr for done in results]
        assert sum(mark.exists() for mark in marks) == enough
        assert len(files(tmp_path / "cache")) == 1

    def test_threads_may_convert_one_image(self, backend, make_cache, image, tmp_path):
        cache = make_cache(backend)
        barrier = threading.Barrier(8)

        def read(_):
            barrier.wait()
            return cache.read(str(image), WHOLE)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for found in pool.map(read, range(8)):
                assert np.array_equal(found, random_pixels())
        assert len(files(tmp_path / "cache")) == 1


@pytest.fixture
def images(tmp_path) -> dict[str, np.ndarray]:
    """Return twelve images of several formats, by path."""
    found = {}
    for n in range(12):
        pixels = random_pixels("uint8" if n % 3 else "uint16", 3, (40 + n, 60 - n), seed=n)
        if n % 2:
            path = write_png(tmp_path / f"{n}.png", pixels)
        else:
            options = (
                {"tiled": True, "blockxsize": 16, "blockysize": 16} if n % 4 else {"compress": "deflate"}
            )
            path = write_tiff(tmp_path / f"{n}.tif", pixels, **options)
        found[str(path)] = pixels
    return found


def read_at_random(cache: FrameCache, images: dict[str, np.ndarray], seed: int, count: int = 60) -> int:
    """Read random windows of random images and return how many came back wrong."""
    rng = np.random.default_rng(seed)
    paths = list(images)
    wrong = 0
    for _ in range(count):
        pixels = images[paths[rng.integers(len(paths))]]
        path = next(path for path, known in images.items() if known is pixels)
        y0, x0 = rng.integers(0, 30, 2).tolist()
        y1, x1 = y0 + int(rng.integers(1, 10)), x0 + int(rng.integers(1, 15))
        wrong += not np.array_equal(cache.read(path, (y0, y1, x0, x1)), pixels[y0:y1, x0:x1])
    return wrong


@each_backend
class TestSharing:
    @pytest.mark.parametrize("max_handles", [2, 48])
    def test_many_threads_read_mixed_images_right(self, backend, max_handles, make_cache, images):
        cache = make_cache(backend)
        cache.handles.max_handles = max_handles
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            assert sum(pool.map(lambda seed: read_at_random(cache, images, seed), range(20))) == 0
        assert len(cache.handles) <= max_handles

    @pytest.mark.parametrize(
        "clone", [copy.copy, copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))]
    )
    def test_copies_read_the_same_through_handles_of_their_own(self, backend, clone, make_cache, images):
        cache = make_cache(backend)
        assert read_at_random(cache, images, 0) == 0
        other = clone(cache)
        assert read_at_random(other, images, 1) == 0
        assert read_at_random(cache, images, 2) == 0

    def test_a_pickle_is_small_and_holds_no_pixels(self, backend, make_cache, images):
        cache = make_cache(backend)
        read_at_random(cache, images, 0)
        assert len(pickle.dumps(cache)) < 5_000
        assert len(pickle.loads(pickle.dumps(cache)).handles) == 0

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
    def test_a_fork_reads_and_converts_after_its_parent_did(self, backend, make_cache, images):
        cache = make_cache(backend)
        converted = dict(itertools.islice(images.items(), 6))
        assert read_at_random(cache, converted, 0) == 0
        children = [fork(lambda seed=seed: read_at_random(cache, images, seed, 200)) for seed in range(3)]
        assert read_at_random(cache, converted, 9, 200) == 0
        assert [join(child) for child in children] == [0, 0, 0]

    def test_a_process_of_its_own_reads_a_pickled_cache(self, backend, make_cache, images, tmp_path):
        cache = make_cache(backend)
        read_at_random(cache, images, 0)
        (tmp_path / "state").write_bytes(pickle.dumps((cache, images)))
        script = """
            import pathlib, pickle, sys
            from test_frame_cache import read_at_random
            cache, images = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
            assert read_at_random(cache, images, 5) == 0
        """
        done = run_script(script, tmp_path / "state")
        assert done.returncode == 0, done.stderr

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a limit on open files")
    def test_300_images_need_few_open_files(self, backend, tmp_path):
        pixels = random_pixels("uint8", 1, (20, 30))
        for n in range(300):
            if n % 2:
                write_tiff(tmp_path / f"{n}.tif", pixels, tiled=True, blockxsize=16, blockysize=16)
            else:
                np.save(tmp_path / f"{n}.npy", pixels)
        script = """
            import pathlib, resource, sys
            import numpy as np, rasterio
            from concurrent.futures import ThreadPoolExecutor
            from helpers_images import random_pixels
            from ndsampler.backends import make_backend
            from ndsampler.cache.frame_cache import FrameCache
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
            backend = make_backend(sys.argv[1] if sys.argv[1] != 'None' else None)
            folder = pathlib.Path(sys.argv[2])
            cache = FrameCache(backend, str(folder / 'cache') if backend.caches else None)
            paths = sorted(map(str, folder.glob('*.*')))
            expected = random_pixels('uint8', 1, (20, 30))
            def read(path):
                return np.array_equal(cache.read(path, (0, 20, 0, 30)), expected)
            held = [cache.read(path, (0, 20, 0, 30)) for path in paths]
            assert all(np.array_equal(one, expected) for one in held)
            with ThreadPoolExecutor(8) as pool:
                assert all(pool.map(read, paths))
        """
        done = run_script(script, backend, tmp_path)
        assert done.returncode == 0, done.stderr


def fork(work) -> int:
    """Run a function in a fork, which exits with what it returns; return its process id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        code = work()
    finally:
        os._exit(code)


def join(child: int, timeout: float = 20) -> int:
    """Return the exit status of a fork; one that hangs is ended and counts as -1."""
    waiter = threading.Event()
    for _ in range(int(timeout / 0.01)):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        waiter.wait(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("prepared", [True, False])
def test_a_fork_works_where_the_user_has_given_gdal_threads(prepared, tmp_path):
    """GDAL's threads do not survive a fork, and what waits for them waits for ever."""
    for seed in (0, 1):
        write_png(tmp_path / f"{seed}.png", random_pixels("uint8", 3, (700, 700), seed=seed))
    script = """
        import os, sys
        os.environ['GDAL_NUM_THREADS'] = 'ALL_CPUS'
        import numpy as np
        from helpers_images import random_pixels
        from test_frame_cache import fork, join
        from ndsampler.backends import make_backend
        from ndsampler.cache.frame_cache import FrameCache
        folder, prepared = sys.argv[1], sys.argv[2] == 'True'
        cache = FrameCache(make_backend('cog'), folder + '/cache')
        whole = (0, 700, 0, 700)
        cache.read(folder + '/0.png', whole)
        if prepared:
            cache.ensure(folder + '/1.png')
        expected = random_pixels('uint8', 3, (700, 700), seed=1)
        child = fork(lambda: int(not np.array_equal(cache.read(folder + '/1.png', whole), expected)))
        assert join(child) == 0
    """
    done = run_script(script, tmp_path, prepared)
    assert done.returncode == 0, done.stderr


class FakeReader:
    """An open file that notes when it is closed."""

    def __init__(self, shareable: bool = False, nbytes: int = 0) -> None:
        self.shareable = shareable
        self.nbytes = nbytes
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class TestHandles:
    def test_the_least_recently_used_is_closed_beyond_the_bound(self):
        pool = HandlePool(max_handles=2)
        readers = [FakeReader() for _ in range(4)]
        for key, reader in enumerate(readers):
            pool.give_back(key, reader)
        assert [reader.closed for reader in readers] == [1, 1, 0, 0]
        assert pool.borrow(2, FakeReader) is readers[2]
        pool.give_back(2, readers[2])
        pool.give_back(9, FakeReader())
        assert [reader.closed for reader in readers] == [1, 1, 0, 1]

    def test_what_is_on_loan_is_lent_to_nobody_else(self):
        pool = HandlePool()
        pool.give_back("a", FakeReader())
        first = pool.borrow("a", FakeReader)
        second = pool.borrow("a", FakeReader)
        assert first is not second
        pool.give_back("a", first)
        pool.give_back("a", second)
        assert len(pool) == 1
        assert [first.closed, second.closed] == [1, 0]

    def test_a_thread_never_gets_the_handle_of_another(self):
        pool = HandlePool()
        mine = FakeReader()
        pool.give_back("a", mine)
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            assert executor.submit(pool.borrow, "a", FakeReader).result() is not mine
        assert pool.borrow("a", FakeReader) is mine

    def test_what_is_shareable_is_lent_to_all(self):
        pool = HandlePool()
        shared = FakeReader(shareable=True, nbytes=5)
        pool.give_back("a", shared)
        assert pool.borrow("a", FakeReader) is shared
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            assert executor.submit(pool.borrow, "a", FakeReader).result() is shared
        pool.give_back("a", shared)
        assert shared.closed == 0
        assert len(pool) == 1

    def test_memory_is_bounded_and_the_latest_is_kept(self):
        pool = HandlePool(max_bytes=10)
        readers = [FakeReader(shareable=True, nbytes=size) for size in (4, 4, 4, 50)]
        for key, reader in enumerate(readers[:3]):
            pool.give_back(key, reader)
        assert len(pool) == 2
        pool.give_back(3, readers[3])
        assert len(pool) == 1
        assert pool.borrow(3, FakeReader) is readers[3]
        assert [reader.closed for reader in readers] == [0] * 4

    def test_clearing_closes_all_that_is_idle(self):
        pool = HandlePool()
        readers = [FakeReader(), FakeReader(shareable=True)]
        for key, reader in enumerate(readers):
            pool.give_back(key, reader)
        pool.clear()
        assert len(pool) == 0
        assert [reader.closed for reader in readers] == [1, 0]

    def test_a_pickle_keeps_the_bounds_and_no_handles(self):
        pool = HandlePool(max_handles=3, max_bytes=99)
        pool.give_back("a", FakeReader())
        other = pickle.loads(pickle.dumps(pool))
        assert (other.max_handles, other.max_bytes, len(other)) == (3, 99, 0)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
    @pytest.mark.parametrize(
        "use",
        [
            lambda pool: pool.borrow("a", FakeReader),
            lambda pool: pool.give_back("b", FakeReader()),
            lambda pool: pool.set_size(1),
            lambda pool: pool.clear(),
        ],
        ids=["borrow", "give back", "set the size", "clear"],
    )
    def test_a_fork_leaves_inherited_handles_alone(self, use):
        pool = HandlePool()
        readers = [FakeReader() for _ in range(3)]
        for n, reader in enumerate(readers):
            pool.give_back(str(n), reader)
        # As if another thread of the parent were using the pool just now.
        with pool._lock:
            child = os.fork()
            if child == 0:
                fits = len(pool) == 0
                use(pool)
                os._exit(0 if fits and not any(reader.closed for reader in readers) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert len(pool) == 3

    def test_a_handle_that_failed_is_closed_and_not_lent_again(self, make_cache, image):
        tiled = write_tiff(image.parent / "t.tif", random_pixels(), tiled=True, blockxsize=16, blockysize=16)
        cache = make_cache("cog")
        used = []

        def fail(reader):
            used.append(reader)
            raise RuntimeError("mine")

        with pytest.raises(RuntimeError, match="mine"):
            cache.visit(str(tiled), fail)
        assert [reader.dataset.closed for reader in used] == [True]
        assert len(cache.handles) == 0
        assert np.array_equal(cache.read(str(tiled), WHOLE), random_pixels())


def test_the_block_cache_of_gdal_is_bounded_unless_the_user_says_otherwise(tmp_path):
    path = write_tiff(tmp_path / "a.tif", random_pixels())
    script = """
        import sys
        from ndsampler.backends import gdal
        gdal.open_dataset(sys.argv[1])
        from rasterio.env import get_gdal_config
        print(get_gdal_config('GDAL_CACHEMAX'))
    """
    assert int(run_script(script, path).stdout) <= gdal.BLOCK_CACHE_BYTES
