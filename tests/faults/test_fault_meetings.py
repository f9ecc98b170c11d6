"""What happens in between: files replaced between two looks at them, and two machines that share a folder."""

from __future__ import annotations

import os
import pathlib
import pickle
import threading

import numpy as np
import pytest
from helpers_images import random_pixels, write_png, write_tiff
from helpers_processes import needs_fork, run_script
from helpers_systems import needs_locks
from helpers_threads import results, start_thread
from PIL import Image

from ndsampler import SimpleFrames
from ndsampler.backends import label, make_backend
from ndsampler.cache import locks, partial
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.identity import Source
from ndsampler.cache.partial import PartialFiles
from ndsampler.errors import CacheError, DatasetMismatchError, SourceError
from ndsampler.frames.grid import Grid
from ndsampler.frames.layout import Asset, FrameLayout
from ndsampler.frames.reader import FrameReader
from ndsampler.windows import PixelBox

WHOLE = (0, 90, 0, 151)


@pytest.fixture
def image(tmp_path) -> str:
    return str(write_png(tmp_path / "image.png", random_pixels()))


def test_an_overview_of_another_file_than_the_image_is_not_taken(tmp_path, monkeypatch):
    path = tmp_path / "image.tif"
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}

    def write(dims: tuple[int, int]) -> None:
        import rasterio

        write_tiff(path, random_pixels("uint8", 1, dims), **tiles)
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews([2, 4])

    write((512, 512))
    cache = FrameCache(make_backend(None), None)
    reader = FrameReader(cache)
    layout = FrameLayout(1, (Asset(Source(str(path))),))
    shrink = Grid(PixelBox(0, 512, 0, 512), np.diag([0.5, 0.5, 1.0]), (256, 256))
    reader.read(layout, shrink)
    visit, replaced = cache.visit, []

    def replace_in_between(source, action, level=0):
        if level and not replaced:
            replaced.append(level)
            write((300, 400))
        return visit(source, action, level)

    monkeypatch.setattr(cache, "visit", replace_in_between)
    found = reader.read(layout, shrink)
    assert replaced == [1]
    fresh = FrameReader(FrameCache(make_backend(None), None))
    assert np.array_equal(found, fresh.read(layout, shrink))


def test_an_entry_that_changes_while_it_is_checked_is_not_sealed(image, tmp_path, monkeypatch):
    entry = pathlib.Path(FrameCache(make_backend("npy"), str(tmp_path / "cache")).ensure(Source(image)))
    os.utime(entry, (1, 1))
    verify = label._verify

    def damage_afterwards(file, checksum):
        verify(file, checksum)
        data = bytearray(entry.read_bytes())
        data[5000] ^= 1
        entry.write_bytes(data)

    with monkeypatch.context() as patch:
        patch.setattr(label, "_verify", damage_afterwards)
        label.check_entry(str(entry))
    found = FrameCache(make_backend("npy"), str(tmp_path / "cache")).read(Source(image), WHOLE)
    assert np.array_equal(found, random_pixels())


def stale(partials: PartialFiles) -> list[str]:
    """Return the names of the folders of dead writers."""
    return [name for name in sorted(os.listdir(partials.dpath)) if partials.is_stale(name)]


@needs_locks
class TestTwoMachines:
    @pytest.fixture
    def theirs(self, tmp_path, monkeypatch):
        """What another machine is writing, whose lock this one cannot see."""
        partials = PartialFiles(str(tmp_path / "cache"))
        monkeypatch.setattr(locks, "host_name", lambda: b"theirs")
        with partials.claim("0" * 32) as file:
            pathlib.Path(file).write_bytes(b"half")
            monkeypatch.setattr(locks, "host_name", lambda: b"ours")
            monkeypatch.setattr(locks.LockFile, "acquire", lambda lock: True)
            yield pathlib.Path(file)
            assert pathlib.Path(file).read_bytes() == b"half"

    def test_it_is_left_to_the_other(self, theirs, image, tmp_path):
        FrameCache(make_backend("npy"), str(tmp_path / "cache")).ensure(Source(image))
        partials = PartialFiles(str(tmp_path / "cache"))
        assert (stale(partials), partials.clean_up()) == ([], 0)

    def test_the_same_may_be_written_beside_it(self, theirs, tmp_path):
        with PartialFiles(str(tmp_path / "cache")).claim("0" * 32) as file:
            assert pathlib.Path(file).parent == theirs.parent
            assert file != str(theirs)
            pathlib.Path(file).write_bytes(b"ours")
        assert not os.path.exists(file)

    def test_it_is_removed_when_it_is_old(self, theirs, tmp_path, monkeypatch):
        monkeypatch.setattr(partial, "STALE_SECONDS", -1.0)
        partials = PartialFiles(str(tmp_path / "cache"))
        data = theirs.read_bytes()
        assert (stale(partials), partials.clean_up(), theirs.exists()) == (["0" * 32], 1, False)
        theirs.parent.mkdir()
        theirs.write_bytes(data)


def test_a_writer_that_has_waited_long_enough_is_no_dead_one(tmp_path, monkeypatch):
    partials = PartialFiles(str(tmp_path / "cache"))
    monkeypatch.setattr(partial, "PATIENCE_SECONDS", 0.0)
    with partials.claim("token") as first, partials.claim("token") as second:
        pathlib.Path(second).write_bytes(b"mine")
        assert pathlib.Path(first).parent != pathlib.Path(second).parent
        assert (stale(partials), partials.clean_up()) == ([], 0)
        assert pathlib.Path(second).read_bytes() == b"mine"


@pytest.mark.parametrize("backend", ["npy", "cog"])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_pixels_that_are_no_number_are_kept(dtype, backend, tmp_path):
    pixels = random_pixels("float32", 2).astype(dtype)
    pixels[::3, ::2] = np.nan
    path = write_tiff(tmp_path / "a.tif", pixels)
    frames = SimpleFrames({1: path}, workdir=tmp_path, backend=backend)
    assert np.array_equal(frames.load_region(1), pixels, equal_nan=True)


@pytest.mark.parametrize("mode", ["PATH", "PIXELS", "GIVEN"])
def test_what_goes_to_an_executor_does_not_grow_with_what_was_read(mode, tmp_path):
    sizes = []
    for count in (2, 40):
        cache = FrameCache(make_backend("npy"), str(tmp_path / "cache"), mode)
        for n in range(count):
            cache.ensure(Source(str(write_png(tmp_path / f"{n}.png", random_pixels(seed=n))), f"hash {n}"))
        sizes.append(len(pickle.dumps(FrameReader(cache))))
    assert sizes[0] == sizes[1]


def test_a_mistake_in_the_dataset_does_not_cost_a_look_at_the_whole_entry(image, tmp_path, monkeypatch):
    from ndsampler.cache import frame_cache

    reader = FrameReader(FrameCache(make_backend("npy"), str(tmp_path / "cache")))
    wrong = FrameLayout(1, (Asset(Source(image), dims=(7, 7)),))
    read = []
    verify = frame_cache.verify_entry
    monkeypatch.setattr(frame_cache, "verify_entry", lambda path: read.append(path) or verify(path))
    for _ in range(3):
        with pytest.raises(DatasetMismatchError, match=r"image 1: .*the dataset states \(7, 7\)"):
            reader.read(wrong, Grid(PixelBox(0, 5, 0, 5)))
    assert read == []


def test_a_hash_that_is_a_book_is_refused(image, tmp_path):
    cache = FrameCache(make_backend("npy"), str(tmp_path / "cache"), "GIVEN")
    with pytest.raises(SourceError, match=r"image.png has a 'hashid' of 40000 characters"):
        cache.ensure(Source(image, "x" * 40_000))


@needs_fork
def test_a_fork_while_another_thread_loads_its_first_sample_gets_on(image):
    script = f"""
        import os, signal, threading
        import kwcoco, ndsampler
        images = [{{"id": 1, "file_name": {image!r}, "width": 151, "height": 90}}]
        dset = kwcoco.CocoDataset({{"images": images}})
        sampler = ndsampler.CocoSampler(dset)
        thread = threading.Thread(target=sampler.load_sample, args=({{"gid": 1}},))
        thread.start()
        child = os.fork()
        if child == 0:
            signal.alarm(100)
            sampler.load_sample({{"gid": 1}})
            os._exit(0)
        thread.join()
        print(os.waitpid(child, 0)[1])
    """
    done = run_script(script)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_a_fork_does_not_wait_for_ever(monkeypatch, caplog):
    from ndsampler.utils import fork_safety

    monkeypatch.setattr(fork_safety, "PATIENCE_SECONDS", 0.01)
    gate = fork_safety.ForkGate()
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with gate:
            inside.set()
            leave.wait(60)

    thread = start_thread(stay)
    assert inside.wait(60)
    gate.wait_for_threads()
    assert (len(gate), "the child may hang" in caplog.text) == (1, True)
    leave.set()
    results([thread])
    assert len(gate) == 0


@pytest.mark.parametrize("backend", ["npy", "cog"])
@pytest.mark.parametrize("mode", ["PATH", "PIXELS"])
def test_a_source_that_points_to_other_files_is_never_converted(mode, backend, tmp_path):
    frames = {}
    for bundle in "ab":
        (tmp_path / bundle).mkdir()
        write_tiff(tmp_path / bundle / "data.tif", random_pixels("uint8", 1, seed=ord(bundle)))
        vrt = tmp_path / bundle / "image.vrt"
        vrt.write_text(
            '<VRTDataset rasterXSize="151" rasterYSize="90"><VRTRasterBand dataType="Byte" band="1">'
            '<SimpleSource><SourceFilename relativeToVRT="1">data.tif</SourceFilename>'
            "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
        )
        cache = FrameCache(make_backend(backend), str(tmp_path / "cache"), mode)
        frames[bundle] = (cache, str(vrt))
        assert np.array_equal(
            cache.read(Source(str(vrt)), WHOLE), random_pixels("uint8", 1, seed=ord(bundle))
        )
        assert cache.ensure(Source(str(vrt))) == str(vrt)
    write_tiff(tmp_path / "a" / "data.tif", random_pixels("uint8", 1, seed=5))
    fresh = FrameCache(make_backend(backend), str(tmp_path / "cache"), mode)
    assert np.array_equal(fresh.read(Source(frames["a"][1]), WHOLE), random_pixels("uint8", 1, seed=5))


def test_what_cannot_be_read_back_is_an_error_of_the_cache(image, tmp_path, monkeypatch):
    cache = FrameCache(make_backend("cog"), str(tmp_path / "cache"), on_cache_error="bypass")
    convert = cache.backend.convert

    def cut_off(source, dest):
        convert(source, dest)
        os.truncate(dest, os.path.getsize(dest) - 5000)

    monkeypatch.setattr(cache.backend, "convert", cut_off)
    with pytest.raises(CacheError, match=r"image.png cannot be made"):
        cache.ensure(Source(image))
    assert np.array_equal(cache.read(Source(image), WHOLE), random_pixels())


def test_equal_bytes_under_endings_that_are_decoded_differently_do_not_share_an_entry(tmp_path):
    gray_alpha = random_pixels("uint8", 2)
    Image.fromarray(gray_alpha, "LA").save(tmp_path / "a.png")
    (tmp_path / "b.dat").write_bytes((tmp_path / "a.png").read_bytes())
    for first, second in (("a.png", "b.dat"), ("b.dat", "a.png")):
        cache = FrameCache(make_backend("npy"), str(tmp_path / first[0]), "PIXELS")
        for name in (first, second):
            cached = cache.visit(Source(str(tmp_path / name)), lambda reader: reader.shape)
            plain = FrameCache(make_backend(None), None)
            assert cached == plain.visit(Source(str(tmp_path / name)), lambda reader: reader.shape)
