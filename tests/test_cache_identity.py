"""A source that was replaced is noticed, also by a file of equal size and time."""

from __future__ import annotations

import os
import pathlib

import kwcoco
import numpy as np
import pytest
from helpers_cache import cog, each_backend, each_caching
from helpers_images import random_pixels, write_tiff

import ndsampler
from ndsampler.backends import make_backend
from ndsampler.backends.label import read_label
from ndsampler.cache import identity
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.identity import Source, SourceIdentifier, SourceIdentity
from ndsampler.cache.inventory import scan
from ndsampler.cache.prune import prune
from ndsampler.errors import DatasetMismatchError

DIMS = (70, 90)
WHOLE = (0, DIMS[0], 0, DIMS[1])
WHEN = 10**18

PAM = "<PAMDataset><PAMRasterBand band='1'><NoDataValue>{}</NoDataValue></PAMRasterBand></PAMDataset>"


def put(path: pathlib.Path, pixels: np.ndarray, in_place: bool = False) -> None:
    """Write a file with a fixed time, in place of another or over it."""
    new = write_tiff(path.with_suffix(".new.tif"), pixels)
    if in_place:
        path.write_bytes(new.read_bytes())
        new.unlink()
    else:
        os.replace(new, path)
    os.utime(path, ns=(WHEN, WHEN))


def changed_in_the_middle(pixels: np.ndarray) -> np.ndarray:
    """Return pixels that differ in one place, which is not part of a sample."""
    changed = pixels.copy()
    changed[len(changed) // 4] ^= 1
    return changed


@each_backend
@pytest.mark.parametrize("in_place", [False, True], ids=["renamed", "in place"])
@pytest.mark.parametrize("mode", ["PATH", "PIXELS"])
def test_a_file_of_equal_size_and_time_is_read_anew(backend, in_place, mode, tmp_path):
    path = tmp_path / "image.tif"
    caches = [FrameCache(make_backend(backend), str(tmp_path / "cache"), mode) for _ in range(3)]
    for seed in range(3):
        put(path, random_pixels("uint8", 3, DIMS, seed), in_place)
        for cache in (caches[0], caches[seed]):
            assert np.array_equal(cache.read(Source(str(path)), WHOLE), random_pixels("uint8", 3, DIMS, seed))


@each_backend
@pytest.mark.parametrize("in_place", [False, True], ids=["renamed", "in place"])
def test_one_process_notices_a_change_that_no_sample_shows(backend, in_place, tmp_path):
    path = tmp_path / "image.tif"
    pixels = random_pixels("uint8", 3, DIMS)
    cache = FrameCache(make_backend(backend), str(tmp_path / "cache"))
    put(path, pixels)
    sample = cache.identify(Source(str(path))).sample
    assert np.array_equal(cache.read(Source(str(path)), WHOLE), pixels)
    for expected in (changed_in_the_middle(pixels), pixels):
        put(path, expected, in_place)
        assert cache.identify(Source(str(path))).sample == sample
        assert np.array_equal(cache.read(Source(str(path)), WHOLE), expected)
    other = FrameCache(make_backend(backend), str(tmp_path / "cache"))
    assert np.array_equal(other.read(Source(str(path)), WHOLE), pixels)


@each_caching
def test_other_properties_of_a_source_do_not_count(backend, tmp_path):
    path = tmp_path / "image.tif"
    put(path, random_pixels("uint8", 3, DIMS))
    cache = FrameCache(make_backend(backend), str(tmp_path / "cache"))
    entry = pathlib.Path(cache.ensure(Source(str(path))))
    cache.read(Source(str(path)), WHOLE)
    written = entry.stat().st_ino
    path.chmod(0o600)
    os.link(path, tmp_path / "linked.tif")
    (tmp_path / "image.tfw").write_text("1\n0\n0\n-1\n0\n0\n")
    cache.read(Source(str(path)), WHOLE)
    assert cache.ensure(Source(str(path))) == str(entry)
    assert entry.stat().st_ino == written


@pytest.mark.parametrize("ending", [".aux.xml", ".ovr", ".msk"])
@pytest.mark.parametrize("mode", ["PATH", "PIXELS", "GIVEN"])
def test_files_beside_a_source_that_change_its_pixels_belong_to_its_name(ending, mode, tmp_path):
    path = tmp_path / "image.tif"
    put(path, random_pixels("uint8", 1, DIMS))
    source = Source(str(path), "stated")
    tokens = {SourceIdentifier(mode).identify(source).token}
    for value in ("<a/>", "<b/>"):
        pathlib.Path(f"{path}{ending}").write_text(value)
        tokens.add(SourceIdentifier(mode).identify(source).token)
    assert len(tokens) == 3
    assert not SourceIdentity(str(path), path.stat().st_size, WHEN).is_unchanged()
    assert SourceIdentifier("PATH").identify(source).is_unchanged()


@each_caching
def test_the_nodata_value_is_that_of_the_file_beside_the_source(backend, tmp_path):
    path = write_tiff(tmp_path / "image.tif", np.full((*DIMS, 1), 10, np.uint8))
    for value in (99, 10):
        pathlib.Path(f"{path}.aux.xml").write_text(PAM.format(value))
        dset = kwcoco.CocoDataset({"images": [{"id": 1, "file_name": str(path)}]})
        sampler = ndsampler.CocoSampler(dset, workdir=str(tmp_path), backend=backend)
        image = sampler.load_sample({"gid": 1, "nodata": "float"})["im"]
        assert np.isnan(image).all() == (value == 10)


def test_files_beside_an_entry_are_not_read(tmp_path):
    path = write_tiff(tmp_path / "image.tif", random_pixels("uint8", 1, (300, 300)))
    cache = FrameCache(make_backend(cog(overviews=False)), str(tmp_path / "cache"))
    entry = cache.ensure(Source(str(path)))
    pathlib.Path(f"{entry}.aux.xml").write_text(PAM.format(7))
    for ending in (".ovr", ".msk"):
        write_tiff(pathlib.Path(f"{entry}{ending}"), random_pixels("uint8", 1, (150, 150), 1))
    found = cache.visit(Source(str(path)), lambda reader: (reader.nodata, reader.overviews))
    assert found == (None, ())


def test_a_sample_is_taken_once_in_a_process(tmp_path, monkeypatch):
    path = write_tiff(tmp_path / "image.tif", random_pixels("uint8", 3, DIMS))
    expected = SourceIdentifier("PATH").identify(Source(str(path)))
    monkeypatch.setattr(identity, "_piece_ranges", None)
    assert SourceIdentifier("PATH").identify(Source(str(path))) == expected


@pytest.mark.parametrize("size", [1, 8192, 8193, 20_000])
def test_a_sample_covers_both_ends_of_a_file(size, tmp_path):
    path = tmp_path / "file.bin"
    tokens = set()
    for place in (None, 0, size - 1):
        data = bytearray(size)
        if place is not None:
            data[place] = 1
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        tokens.add(SourceIdentifier("PATH").identify(Source(str(path))).sample)
    assert len(tokens) == (2 if size == 1 else 3)


@each_caching
def test_a_stated_hash_is_compared_with_the_size_and_the_shape(backend, tmp_path):
    first, second = tmp_path / "first.tif", tmp_path / "second.tif"
    put(first, random_pixels("uint8", 3, DIMS))
    cache = FrameCache(make_backend(backend), str(tmp_path / "cache"), "GIVEN")
    entry = cache.ensure(Source(str(first), "same"))
    put(second, random_pixels("uint8", 3, DIMS, 1))
    assert cache.ensure(Source(str(second), "same")) == entry, "the dataset decides"
    put(second, random_pixels("uint8", 1, DIMS))
    assert cache.ensure(Source(str(second), "same")) != entry, "the size differs"
    put(second, random_pixels("uint8", 3, DIMS[::-1]))
    assert first.stat().st_size == second.stat().st_size
    with pytest.raises(DatasetMismatchError, match=r"90 x 70 .*first\.tif.* 70 x 90"):
        cache.ensure(Source(str(second), "same"))


@each_caching
def test_an_entry_of_a_replaced_source_is_stale(backend, tmp_path):
    path = tmp_path / "image.tif"
    frames = ndsampler.abstract_frames.SimpleFrames({1: str(path)}, workdir=str(tmp_path), backend=backend)
    put(path, random_pixels("uint8", 3, DIMS))
    frames.prepare()
    put(path, random_pixels("uint8", 3, DIMS, 1))
    assert [item.status.value for item in scan(tmp_path)] == ["stale"]
    frames.prepare()
    assert prune(tmp_path).removed["stale"].count == 1
    assert [item.status.value for item in scan(tmp_path)] == ["current"]


@each_caching
def test_a_label_states_what_names_its_entry(backend, tmp_path):
    path = tmp_path / "image.tif"
    put(path, random_pixels("uint8", 3, DIMS))
    pathlib.Path(f"{path}.aux.xml").write_text(PAM.format(3))
    cache = FrameCache(make_backend(backend), str(tmp_path / "cache"))
    entry = cache.ensure(Source(str(path)))
    assert SourceIdentity.from_label(read_label(entry)) == cache.identify(Source(str(path)))
