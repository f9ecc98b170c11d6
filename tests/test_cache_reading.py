"""The way of one read through the cache."""

from __future__ import annotations

import collections
import pathlib
import sys

import numpy as np
import pytest
from helpers_images import random_pixels, write_png

import ndsampler.cache
from ndsampler.backends import make_backend
from ndsampler.cache.frame_cache import READ_ATTEMPTS, FrameCache
from ndsampler.cache.identity import Source
from ndsampler.errors import CacheError, SourceError
from ndsampler.utils.file_version import FileVersion

ROOM = pathlib.Path(ndsampler.cache.__file__).parent

WINDOW = (10, 40, 20, 70)

each_backend = pytest.mark.parametrize("backend", [None, "npy", "cog"])
each_caching = pytest.mark.parametrize("backend", ["npy", "cog"])


@pytest.fixture
def source(tmp_path) -> Source:
    """Return a PNG of ``random_pixels()``."""
    return Source(str(write_png(tmp_path / "image.png", random_pixels())))


def open_cache(backend, folder) -> FrameCache:
    storage = make_backend(backend)
    return FrameCache(storage, str(folder) if storage.caches else None)


def count_entrances(work) -> collections.Counter[str]:
    """Run a function and count how often each module of the cache is called from another file."""
    entrances: collections.Counter[str] = collections.Counter()

    def note(frame, event, arg):
        called = pathlib.Path(frame.f_code.co_filename)
        caller = frame.f_back
        if event == "call" and called.parent == ROOM and caller.f_code.co_filename != str(called):
            entrances[called.stem] += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return entrances


@each_backend
def test_an_undisturbed_read_enters_no_module_twice(backend, source, tmp_path):
    cache = open_cache(backend, tmp_path / "cache")
    cache.read(source, WINDOW)
    entrances = count_entrances(lambda: cache.visit(source, len_of_bands))
    assert entrances == {"frame_cache": 1, "handles": 1}


def len_of_bands(reader) -> int:
    return reader.shape[2]


@each_caching
@pytest.mark.parametrize("disturb", ["replace", "remove", "truncate"])
def test_an_entry_that_is_disturbed_while_it_is_opened_is_opened_again(
    backend, disturb, source, tmp_path, monkeypatch
):
    cache = open_cache(backend, tmp_path / "cache")
    entry = pathlib.Path(cache.ensure(source))
    content = entry.read_bytes()
    opener, opened = cache.backend.open, []

    def open_disturbed(path, level=0):
        opened.append(path)
        if len(opened) == 1:
            if disturb == "replace":
                copy = tmp_path / "copy"
                copy.write_bytes(content)
                copy.replace(entry)
            elif disturb == "remove":
                entry.unlink()
            else:
                entry.write_bytes(content[: len(content) // 2])
        return opener(path, level)

    monkeypatch.setattr(cache.backend, "open", open_disturbed)
    found = cache.read(source, WINDOW)
    assert np.array_equal(found, random_pixels()[10:40, 20:70])
    assert 2 <= len(opened) <= 3


@each_backend
def test_a_source_that_is_replaced_while_it_is_read_is_read_again(backend, source, tmp_path):
    cache = open_cache(backend, tmp_path / "cache")
    seen = []

    def read(reader):
        pixels = reader.read(*WINDOW)
        if not seen:
            seen.append(pixels)
            pathlib.Path(cache.find_file(source)).unlink()
            write_png(pathlib.Path(source.path), random_pixels(seed=1))
            raise SourceError("the read failed")
        return pixels

    found = cache.visit(source, read)
    assert np.array_equal(found, random_pixels(seed=1)[10:40, 20:70])


@each_caching
def test_an_entry_that_is_replaced_again_and_again_is_one_error(backend, source, tmp_path, monkeypatch):
    cache = open_cache(backend, tmp_path / "cache")
    entry = pathlib.Path(cache.ensure(source))
    content, opener, opened = entry.read_bytes(), cache.backend.open, []

    def replace_and_open(path, level=0):
        opened.append(path)
        copy = tmp_path / "copy"
        copy.write_bytes(content)
        copy.replace(entry)
        return opener(path, level)

    monkeypatch.setattr(cache.backend, "open", replace_and_open)
    with pytest.raises(CacheError, match=r"the entry .* of .*image.png was replaced while"):
        cache.read(source, WINDOW)
    assert len(opened) == READ_ATTEMPTS


@each_backend
def test_an_error_of_the_caller_is_raised_at_once(backend, source, tmp_path):
    cache = open_cache(backend, tmp_path / "cache")
    cache.ensure(source)
    calls = []

    def fail(reader):
        calls.append(reader)
        raise SourceError("mine")

    with pytest.raises(SourceError, match="mine"):
        cache.visit(source, fail)
    assert len(calls) == 1


def test_a_file_version_changes_with_every_replacement(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    first = FileVersion.find(str(path))
    assert first is not None
    assert first.is_current()
    (tmp_path / "b").write_text("two")
    (tmp_path / "b").replace(path)
    second = FileVersion.find(str(path))
    assert second != first
    assert not first.is_current()
    path.unlink()
    assert FileVersion.find(str(path)) is None
    assert not second.is_current()
