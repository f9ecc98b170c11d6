"""What happens in between: files replaced between two looks at them, and two machines that share a folder."""

from __future__ import annotations

import os
import pathlib
import pickle

import numpy as np
import pytest
from helpers_images import random_pixels, write_png, write_tiff

from ndsampler import SimpleFrames, partial_files
from ndsampler.backends import label, make_backend
from ndsampler.errors import DatasetMismatchError, SourceError
from ndsampler.frame_cache import FrameCache
from ndsampler.frame_layout import Asset, FrameLayout
from ndsampler.frame_reader import FrameReader, Grid
from ndsampler.partial_files import PartialFiles
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
    layout = FrameLayout(1, (Asset(str(path)),))
    shrink = Grid(PixelBox(0, 512, 0, 512), np.diag([0.5, 0.5, 1.0]), (256, 256))
    reader.read(layout, shrink)
    visit, replaced = cache.visit, []

    def replace_in_between(path_, action, given=None, level=0):
        if level and not replaced:
            replaced.append(level)
            write((300, 400))
        return visit(path_, action, given, level)

    monkeypatch.setattr(cache, "visit", replace_in_between)
    with pytest.raises(SourceError, match=r"image 1: .*image.tif was changed while it was being read"):
        reader.read(layout, shrink)
    assert replaced == [1]


def test_an_entry_that_changes_while_it_is_checked_is_not_sealed(image, tmp_path, monkeypatch):
    entry = pathlib.Path(FrameCache(make_backend("npy"), str(tmp_path / "cache")).ensure(image))
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
    found = FrameCache(make_backend("npy"), str(tmp_path / "cache")).read(image, WHOLE)
    assert np.array_equal(found, random_pixels())


class TestTwoMachines:
    @pytest.fixture
    def theirs(self, tmp_path, monkeypatch):
        """What another machine is writing, whose lock this one cannot see."""
        partials = PartialFiles(str(tmp_path / "cache"))
        monkeypatch.setattr(partial_files, "_host", lambda: b"theirs")
        with partials.claim("0" * 32) as file:
            pathlib.Path(file).write_bytes(b"half")
            monkeypatch.setattr(partial_files, "_host", lambda: b"ours")
            monkeypatch.setattr(partial_files, "_try_lock", lambda lock: True)
            yield pathlib.Path(file)
            assert pathlib.Path(file).read_bytes() == b"half"

    def test_it_is_left_to_the_other(self, theirs, image, tmp_path):
        FrameCache(make_backend("npy"), str(tmp_path / "cache")).ensure(image)
        partials = PartialFiles(str(tmp_path / "cache"))
        assert (partials.leftovers(), partials.sweep()) == ([], 0)

    def test_the_same_may_be_written_beside_it(self, theirs, tmp_path):
        with PartialFiles(str(tmp_path / "cache")).claim("0" * 32) as file:
            assert pathlib.Path(file).parent == theirs.parent
            assert file != str(theirs)
            pathlib.Path(file).write_bytes(b"ours")
        assert not os.path.exists(file)

    def test_it_is_removed_when_it_is_old(self, theirs, tmp_path, monkeypatch):
        monkeypatch.setattr(partial_files, "STALE_SECONDS", -1.0)
        partials = PartialFiles(str(tmp_path / "cache"))
        data = theirs.read_bytes()
        assert (len(partials.leftovers()), partials.sweep(), theirs.exists()) == (1, 1, False)
        theirs.parent.mkdir()
        theirs.write_bytes(data)


def test_a_writer_that_has_waited_long_enough_is_no_dead_one(tmp_path, monkeypatch):
    partials = PartialFiles(str(tmp_path / "cache"))
    monkeypatch.setattr(partial_files, "PATIENCE_SECONDS", 0.0)
    with partials.claim("token") as first, partials.claim("token") as second:
        pathlib.Path(second).write_bytes(b"mine")
        assert pathlib.Path(first).parent != pathlib.Path(second).parent
        assert (partials.leftovers(), partials.sweep()) == ([], 0)
        assert pathlib.Path(second).read_bytes() == b"mine"


@pytest.mark.parametrize("backend", ["npy", "cog"])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_pixels_that_are_no_number_are_kept(dtype, backend, tmp_path):
    if (dtype, backend) == ("complex64", "cog"):
        pytest.skip("COG has no complex numbers here")
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
            cache.ensure(str(write_png(tmp_path / f"{n}.png", random_pixels(seed=n))), f"hash {n}")
        sizes.append(len(pickle.dumps(FrameReader(cache))))
    assert sizes[0] == sizes[1]


def test_a_mistake_in_the_dataset_does_not_cost_a_look_at_the_whole_entry(image, tmp_path, monkeypatch):
    from ndsampler import frame_cache

    reader = FrameReader(FrameCache(make_backend("npy"), str(tmp_path / "cache")))
    wrong = FrameLayout(1, (Asset(image, dims=(7, 7)),))
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
        cache.ensure(image, "x" * 40_000)
