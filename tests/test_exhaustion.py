"""A process that runs short of descriptors, time or bytes of a file says so, or goes on with less."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import kwcoco
import numpy as np
import pytest
from helpers_faults import Scene, each_backend, each_caching
from helpers_images import imread, random_pixels, write_png, write_tiff
from helpers_processes import needs_fork, read_soon, run_child
from helpers_threads import PATIENCE, in_threads, results, start_thread, wait_until

import ndsampler
from ndsampler.abstract_frames import SimpleFrames
from ndsampler.backends import gdal_process, npy
from ndsampler.cache import frame_cache, handles
from ndsampler.errors import CacheError, SourceError

resource = pytest.importorskip("resource", reason="needs limits on what a process may take")

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

#: Descriptors that a process may have.
DESCRIPTORS = 256


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def limit_descriptors() -> None:
    os.closerange(100, 20_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Scene:
    """Return many tiny images that each keep a descriptor open while they are read."""
    folder = tmp_path_factory.mktemp("many")
    scene = Scene({}, {})
    for gid in range(1, 101):
        pixels = np.full((20, 30, 3), gid % 251, np.uint8)
        if gid % 7:
            path = write_tiff(folder / f"{gid}.tif", pixels, tiled=True, blockxsize=16, blockysize=16)
        else:
            path = folder / f"{gid}.npy"
            np.save(path, pixels)
        scene.paths[gid], scene.pixels[gid] = str(path), pixels
    return scene


def first(scene: Scene, count: int) -> Scene:
    """Return a scene of the first images of another one."""
    return Scene(scene.paths, {gid: scene.pixels[gid] for gid in range(1, count + 1)})


def read_all(frames: SimpleFrames, scene: Scene) -> None:
    for gid, pixels in scene.pixels.items():
        assert np.array_equal(frames.load_region(gid), pixels)


@needs_fork
@on_linux
class TestDescriptors:
    def test_all_samplers_of_a_process_share_one_bound(self, many, tmp_path):
        def work() -> int:
            limit_descriptors()
            most = 0
            samplers = [many.frames(tmp_path, backend) for backend in (None, "cog") * 4]
            for frames in samplers:
                read_all(frames, first(many, 80))
                most = max(most, descriptors())
            in_threads(functools.partial(read_all, scene=first(many, 20)), samplers, threads=4)
            return max(most, descriptors())

        assert int(run_child(work)) < DESCRIPTORS // 2

    @each_backend
    def test_files_are_closed_for_new_ones_when_other_code_takes_the_descriptors(
        self, backend, many, tmp_path
    ):
        def work() -> None:
            limit_descriptors()
            frames = many.frames(tmp_path, backend)
            read_all(frames, first(many, 40))
            taken = []
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            assert len(frames._lru) > 20
            read_all(frames, first(many, 90))
            assert descriptors() <= DESCRIPTORS
            for descriptor in taken:
                os.close(descriptor)

        run_child(work)

    def test_forks_of_forks_leave_descriptors_to_each_other(self, many, tmp_path):
        def generation(depth: int) -> int:
            frames = many.frames(tmp_path, None)
            read_all(frames, first(many, 70))
            return max(descriptors(), int(run_child(lambda: generation(depth - 1))) if depth else 0)

        def work() -> int:
            limit_descriptors()
            # More generations would come near the limit with what earlier tests have left open.
            return generation(3)

        assert int(run_child(work)) < DESCRIPTORS


class FakeReader:
    """An open file, or a decoded image if it takes memory."""

    shareable = False

    def __init__(self, nbytes: int = 0) -> None:
        self.nbytes = nbytes
        self.closed = False

    def close(self) -> None:
        self.closed = True


class TestPools:
    @pytest.fixture(autouse=True)
    def bound(self, monkeypatch):
        handles.close_idle_readers()
        monkeypatch.setattr(handles, "affordable_files", lambda: 3)

    @staticmethod
    def lend(pool: handles.HandlePool, key: object, reader: FakeReader | None = None) -> FakeReader:
        return pool.lend(key, lambda: reader or FakeReader(), lambda lent: lent)

    def test_the_least_recently_used_file_of_any_pool_is_closed(self):
        pools = [handles.HandlePool(max_handles=9) for _ in range(2)]
        readers = [self.lend(pools[n % 2], n) for n in range(3)]
        self.lend(pools[0], 0)
        self.lend(pools[1], 7)
        assert [reader.closed for reader in readers] == [False, True, False]
        self.lend(pools[0], 8)
        assert [reader.closed for reader in readers] == [False, True, True]
        assert [len(pool) for pool in pools] == [2, 1]

    def test_a_decoded_image_counts_as_no_file(self):
        pools = [handles.HandlePool(max_handles=9) for _ in range(2)]
        decoded = [self.lend(pool, n, FakeReader(nbytes=5)) for n, pool in enumerate(pools * 4)]
        files = [self.lend(pools[0], 10 + n) for n in range(4)]
        assert [reader.closed for reader in files] == [True, False, False, False]
        assert not any(reader.closed for reader in decoded)

    def test_a_pool_that_is_gone_counts_no_more(self):
        pool = handles.HandlePool(max_handles=9)
        for n in range(3):
            self.lend(pool, n)
        del pool
        other = handles.HandlePool(max_handles=9)
        readers = [self.lend(other, n) for n in range(3)]
        assert not any(reader.closed for reader in readers)

    def test_room_is_made_by_closing_the_older_half_until_nothing_is_open(self):
        pool = handles.HandlePool(max_handles=9)
        readers = [self.lend(pool, n) for n in range(3)]
        assert handles.make_room()
        assert [reader.closed for reader in readers] == [True, True, False]
        assert handles.make_room()
        assert not handles.make_room()

    def test_what_fails_for_another_reason_is_not_repeated(self):
        pool = handles.HandlePool(max_handles=9)
        reader = self.lend(pool, "a")
        calls = []

        @handles.making_room
        def fail(error: OSError) -> None:
            calls.append(error)
            raise error

        with pytest.raises(SourceError):
            fail(SourceError("damaged"))
        assert (len(calls), reader.closed) == (1, False)
        with pytest.raises(SourceError):
            fail(SourceError("a.tif: Too many open files"))
        assert (len(calls), reader.closed) == (3, True)


def test_a_system_without_positional_reads_maps_sources(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "preadv", raising=False)
    pixels = random_pixels()
    np.save(tmp_path / "a.npy", pixels)
    reader = npy.open_npy_source(str(tmp_path / "a.npy"))
    assert isinstance(reader, npy.NpyReader)
    assert np.array_equal(reader.read(1, 5, 2, 9), pixels[1:5, 2:9])


class TestTruncatedNpy:
    """Windows of a ``.npy`` source are read by position."""

    @pytest.fixture(params=["C", "F", "2-D", "big endian", "narrow"])
    def pixels(self, request) -> np.ndarray:
        shape = {"narrow": (70, 11, 3), "2-D": (70, 4000)}.get(request.param, (70, 3000, 3))
        dtype = ">u2" if request.param == "big endian" else "uint16"
        pixels = np.random.default_rng(4).integers(0, 60_000, shape).astype(dtype)
        return np.asfortranarray(pixels) if request.param == "F" else pixels

    @pytest.mark.skipif(not hasattr(os, "preadv"), reason="needs positional reads")
    def test_windows_equal_slices(self, pixels, tmp_path):
        path = tmp_path / "a.npy"
        np.save(path, pixels)
        expected = pixels if pixels.ndim == 3 else pixels[:, :, None]
        height, width, channels = expected.shape
        reader = npy.open_npy_source(str(path))
        assert isinstance(reader, npy.NpySourceReader)
        boxes = [(0, height, 0, width), (3, 60, 2, 9), (5, 6, 1, width), (0, height, 0, width - 1)]
        boxes += [(4, 4, 0, 5), (2, 30, width - 1, width), (height - 1, height, 0, 1)]
        for y0, y1, x0, x1 in boxes:
            found = reader.read(y0, y1, x0, x1)
            assert found.dtype == np.uint16
            assert found.flags.c_contiguous
            assert found.flags.writeable
            assert np.array_equal(found, expected[y0:y1, x0:x1])
            bands = list(range(channels))[::-2]
            assert np.array_equal(reader.read(y0, y1, x0, x1, bands), expected[y0:y1, x0:x1, bands])
        assert np.array_equal(reader.rows(7, 9), expected[7:9])

    @pytest.mark.skipif(not hasattr(os, "preadv"), reason="needs positional reads")
    def test_a_file_that_was_truncated_after_it_was_opened_is_an_error(self, pixels, tmp_path):
        path = tmp_path / "a.npy"
        np.save(path, pixels)
        reader = npy.open_npy_source(str(path))
        height, width, _ = reader.shape
        expected = reader.read(0, 2, 0, 3)
        os.truncate(path, path.stat().st_size - 1)
        with pytest.raises(SourceError, match=r"a\.npy cannot be read: .*truncated"):
            reader.read(0, height, 0, width)
        with pytest.raises(SourceError, match="truncated"):
            reader.read(height - 2, height, width - 2, width)
        assert np.array_equal(reader.read(0, 2, 0, 3), expected)

    @needs_fork
    @pytest.mark.parametrize("backend", [None, "npy"])
    @pytest.mark.parametrize("ending", [".npy", ".tif"])
    def test_no_process_dies_while_its_source_is_written_anew(self, ending, backend, tmp_path):
        path = tmp_path / f"a{ending}"
        ones = np.ones((1500, 1000, 3), np.uint8)
        if ending == ".npy":
            np.save(path, ones)
        else:
            write_tiff(path, ones, tiled=True, blockxsize=256, blockysize=256)
        content = path.read_bytes()

        def work() -> int:
            frames = SimpleFrames({1: str(path)}, tmp_path / "work", backend)

            def write_anew() -> None:
                for _ in range(60):
                    with open(path, "r+b") as file:
                        file.truncate(4096)
                        file.write(content)

            writing = start_thread(write_anew)
            read = 0
            while not writing.done():
                try:
                    assert frames.load_region(1, (slice(0, 1500), slice(0, 500))).shape == (1500, 500, 3)
                    read += 1
                except (SourceError, CacheError):
                    continue
            results([writing])
            assert np.array_equal(frames.load_region(1), np.ones((1500, 1000, 3), np.uint8))
            return read

        run_child(work)


@each_backend
@pytest.mark.parametrize("ending", [".npy", ".tif", ".png"])
def test_a_source_that_is_truncated_between_reads_is_an_error(ending, backend, tmp_path):
    path, pixels = tmp_path / f"a{ending}", random_pixels("uint8", 3, (200, 90))
    {".npy": np.save, ".tif": write_tiff, ".png": write_png}[ending](path, pixels)
    record = {"id": 1, "file_name": str(path), "width": 90, "height": 200}
    sampler = ndsampler.CocoSampler({"images": [record]}, workdir=tmp_path / "work", backend=backend)
    assert np.array_equal(sampler.load_sample({"gid": 1})["im"], pixels)
    os.truncate(path, path.stat().st_size // 2)
    for read in (
        sampler.frames.load_region,
        sampler.load_image,
        lambda gid: sampler.load_sample({"gid": gid}),
    ):
        with pytest.raises(SourceError):
            read(1)


@needs_fork
@each_caching
def test_a_stopped_writer_is_bypassed(backend, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(frame_cache, "BYPASS_SECONDS", 0.3)
    pixels = random_pixels()
    paths = {1: str(write_png(tmp_path / "a.png", pixels))}
    script = """
        import os, signal, sys
        from ndsampler.abstract_frames import SimpleFrames
        frames = SimpleFrames({1: sys.argv[1]}, sys.argv[2], sys.argv[3])
        convert = frames._cache.backend.convert
        def stop(source, dest):
            print('converting', flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
            convert(source, dest)
        frames._cache.backend.convert = stop
        frames.prepare()
    """
    command = [sys.executable, "-c", textwrap.dedent(script), paths[1], str(tmp_path / "work"), backend]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as writer:
        try:
            assert writer.stdout is not None
            assert read_soon(writer.stdout.fileno()).startswith(b"converting")
            frames = SimpleFrames(paths, tmp_path / "work", backend, on_cache_error="bypass")
            for _ in range(3):
                assert np.array_equal(frames.load_region(1), pixels)
            told = [record for record in caplog.records if record.levelname == "WARNING"]
            assert len(told) == 1
            assert "another process or thread is still writing it" in told[0].getMessage()
            assert not list(tmp_path.rglob(f"*{frames._cache.backend.suffix}"))
            os.kill(writer.pid, signal.SIGCONT)
            assert writer.wait(PATIENCE) == 0
        finally:
            writer.kill()
    assert np.array_equal(frames.load_region(1), pixels)
    assert frames._cache.find_file(frames.layout(1).assets[0].source) != paths[1]


class TestEncodingApart:
    """Large images are encoded by a process of their own."""

    @pytest.fixture
    def raw(self, tmp_path) -> pathlib.Path:
        return write_tiff(tmp_path / "a.raw.tif", random_pixels(), tiled=True, blockxsize=16, blockysize=16)

    @pytest.fixture
    def options(self) -> dict[str, str]:
        return {"OVERVIEWS": "NONE", "COMPRESS": "DEFLATE", "BLOCKSIZE": "16"}

    @pytest.mark.parametrize("executable", [sys.executable, None], ids=["apart", "without a Python to start"])
    def test_the_pixels_are_those_of_the_file(self, executable, raw, options, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "executable", executable)
        gdal_process.encode_apart(str(raw), str(tmp_path / "a.tif"), options)
        assert np.array_equal(imread(tmp_path / "a.tif"), random_pixels())

    def test_what_fails_is_told(self, options, tmp_path):
        with pytest.raises(CacheError, match=r"b\.tif cannot be written: .*a\.tif: No such file"):
            gdal_process.encode_apart(str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), options)

    def test_a_process_that_crashes_is_an_error(self, raw, options, tmp_path, monkeypatch):
        monkeypatch.setattr(gdal_process, "PROGRAM", "import os; os._exit(7)")
        with pytest.raises((CacheError, BrokenPipeError), match=r"exit status 7|Broken pipe"):
            gdal_process.encode_apart(str(raw), str(tmp_path / "b.tif"), options)

    @on_linux
    def test_a_process_that_stops_writing_is_killed(self, raw, options, tmp_path, monkeypatch):
        monkeypatch.setattr(gdal_process, "PROGRAM", self.hanging(tmp_path / "pid"))
        monkeypatch.setattr(gdal_process, "STALLED_SECONDS", 0.5)
        before = set(children_of(os.getpid()))
        with pytest.raises(CacheError, match=r"b\.tif cannot be written: GDAL stopped writing"):
            gdal_process.encode_apart(str(raw), str(tmp_path / "b.tif"), options)
        assert not any(map(is_running, set(children_of(os.getpid())) - before))

    @on_linux
    def test_it_ends_with_the_process_that_started_it(self, raw, options, tmp_path):
        script = f"""
            from ndsampler.backends import gdal_process
            gdal_process.PROGRAM = {self.hanging(tmp_path / "pid")!r}
            gdal_process.encode_apart({str(raw)!r}, {str(tmp_path / "b.tif")!r}, {options!r})
        """
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], env=env) as parent:
            wait_until((tmp_path / "pid").exists)
            pid = int((tmp_path / "pid").read_text())
            assert is_running(pid)
            parent.kill()
        wait_until(lambda: not is_running(pid), 30)

    @staticmethod
    def hanging(note: pathlib.Path) -> str:
        """Return the program with an encoder that never ends, and notes its process."""
        hang = f"""
            import os, time
            from ndsampler.backends import gdal_process
            def hang(task):
                open({str(note)!r} + "~", "w").write(str(os.getpid()))
                os.rename({str(note)!r} + "~", {str(note)!r})
                while True:
                    time.sleep(1)
            gdal_process._encode = hang
        """
        head, last = gdal_process.PROGRAM.split("sys.exit", 1)
        return f"{head}{textwrap.dedent(hang)}sys.exit{last}"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("dataset")
    write_png(folder / "0.png", random_pixels("uint8", 3, (700, 700)))
    dset = kwcoco.CocoDataset()
    for n in range(60):
        path = folder / f"{n}.png"
        if n:
            os.link(folder / "0.png", path)
        dset.add_image(file_name=str(path), width=700, height=700)
    dset.fpath = str(folder / "d.kwcoco.json")
    dset.dump(dset.fpath)
    return pathlib.Path(dset.fpath)


class TestKilledParents:
    """Worker processes of ``prepare`` end with the process that they work for."""

    @on_linux
    @pytest.mark.parametrize("way", ["SIGTERM", "SIGKILL", "SIGINT", "SIGKILL, own executor"])
    def test_no_child_is_left(self, way, dataset, tmp_path):
        work = tmp_path / "work"
        if "own" in way:
            script = """
                import multiprocessing, sys, kwcoco
                from concurrent.futures import ProcessPoolExecutor
                from ndsampler.coco_frames import CocoFrames
                if __name__ == '__main__':
                    frames = CocoFrames(kwcoco.CocoDataset(sys.argv[1]), workdir=sys.argv[2], backend='npy')
                    context = multiprocessing.get_context('fork')
                    with ProcessPoolExecutor(2, mp_context=context) as pool:
                        frames.prepare(executor=pool)
            """
            command = ["-c", textwrap.dedent(script), str(dataset), str(work)]
        else:
            command = ["-m", "ndsampler", "prepare", str(dataset), "--workdir", str(work), "--backend", "npy"]
            command += ["--workers", "2", "--executor", "processes"]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([sys.executable, *command], env=env, **quiet) as parent:
            try:
                wait_until(lambda: count_arrays(work) >= 2 or parent.poll() is not None)
                children = children_of(parent.pid)
                assert children
                parent.send_signal(getattr(signal, way.partition(",")[0]))
                assert parent.wait(PATIENCE) in (-signal.SIGTERM, -signal.SIGKILL, 130)
                wait_until(lambda: not any(map(is_running, children)), 30)
            finally:
                parent.kill()
        assert count_arrays(work) < 60


def count_arrays(folder: pathlib.Path) -> int:
    """Return the number of ``.npy`` files in a tree that other processes change; ``rglob`` may fail there."""
    return sum(name.endswith(".npy") for _, _, names in os.walk(folder) for name in names)


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
