"""Entries of the cache are named by the identity of their source."""

from __future__ import annotations

import os
import pathlib
import re
import shutil

import numpy as np
import pytest
from helpers_cache import WHOLE, change_time, each_backend, each_caching, files
from helpers_images import random_pixels, write_png
from hypothesis import given
from hypothesis import strategies as st

from ndsampler.backends import make_backend
from ndsampler.cache import identity
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.identity import Source
from ndsampler.errors import MissingSourceError, SourceError


class TestNames:
    @each_caching
    def test_an_entry_lies_in_the_folder_and_has_the_ending(self, backend, make_cache, image, tmp_path):
        cache = make_cache(backend)
        entry = cache.ensure(Source(str(image)))
        assert entry == cache.entry_path(Source(str(image)))
        assert entry.endswith(cache.backend.suffix)
        assert files(tmp_path / "cache") == [pathlib.Path(entry)]

    def test_without_a_cache_there_is_no_entry(self, make_cache, image, tmp_path):
        cache = make_cache(None)
        assert cache.entry_path(Source(str(image))) is None
        assert cache.ensure(Source(str(image))) == str(image)
        assert cache.find_ready(Source(str(image)))
        cache.read(Source(str(image)), WHOLE)
        assert files(tmp_path) == [image]

    @each_backend
    def test_a_changed_source_is_read_anew(self, backend, make_cache, image):
        cache = make_cache(backend)
        cache.read(Source(str(image)), WHOLE)
        for seed in (1, 2):
            write_png(image, random_pixels(seed=seed))
            change_time(image, 10 * seed)
            assert np.array_equal(cache.read(Source(str(image)), WHOLE), random_pixels(seed=seed))

    @each_caching
    def test_a_changed_source_has_another_entry(self, backend, make_cache, image):
        cache = make_cache(backend)
        first = cache.ensure(Source(str(image)))
        change_time(image, 1)
        second = cache.ensure(Source(str(image)))
        image.write_bytes(image.read_bytes() + b"\0")
        third = cache.entry_path(Source(str(image)))
        assert len({first, second, third}) == 3

    @each_caching
    def test_files_of_one_name_in_two_folders_never_meet(self, backend, make_cache, tmp_path):
        cache = make_cache(backend)
        for seed, folder in enumerate(("a", "b")):
            (tmp_path / folder).mkdir()
            write_png(tmp_path / folder / "image.png", random_pixels(seed=seed))
            os.utime(tmp_path / folder / "image.png", (1, 1))
        for seed, folder in enumerate(("a", "b")):
            found = cache.read(Source(str(tmp_path / folder / "image.png")), WHOLE)
            assert np.array_equal(found, random_pixels(seed=seed))
        assert len(files(tmp_path / "cache")) == 2

    def test_by_path_a_moved_file_has_another_entry(self, make_cache, image, tmp_path):
        cache = make_cache()
        entry = cache.ensure(Source(str(image)))
        moved = shutil.copy2(image, tmp_path / "moved.png")
        assert cache.entry_path(Source(str(moved))) != entry

    @each_caching
    def test_by_pixels_a_file_keeps_its_entry_when_it_moves_or_is_touched(
        self, backend, make_cache, image, tmp_path
    ):
        cache = make_cache(backend, hashid_mode="PIXELS")
        entry = cache.ensure(Source(str(image)))
        change_time(image, 10)
        assert cache.entry_path(Source(str(image))) == entry
        (tmp_path / "elsewhere").mkdir()
        moved = image.rename(tmp_path / "elsewhere" / image.name)
        assert cache.entry_path(Source(str(moved))) == entry
        assert cache.find_ready(Source(str(moved)))
        write_png(moved, random_pixels(seed=1))
        assert cache.entry_path(Source(str(moved))) != entry
        assert np.array_equal(cache.read(Source(str(moved)), WHOLE), random_pixels(seed=1))

    def test_by_pixels_a_file_is_hashed_once(self, make_cache, image, monkeypatch):
        hashed = []
        original = identity.hash_file
        monkeypatch.setattr(identity, "hash_file", lambda path: hashed.append(path) or original(path))
        cache = make_cache(hashid_mode="PIXELS")
        for _ in range(5):
            cache.read(Source(str(image)), WHOLE)
        assert hashed == [str(image)]

    def test_a_given_hash_names_the_entry(self, make_cache, image, tmp_path):
        cache = make_cache(hashid_mode="GIVEN")
        entry = cache.ensure(Source(str(image), "abc"))
        moved = tmp_path / "elsewhere" / "image.png"
        moved.parent.mkdir()
        shutil.copy(image, moved)
        assert cache.entry_path(Source(str(moved), "abc")) == entry
        assert cache.entry_path(Source(str(image), "abd")) != entry
        assert np.array_equal(cache.read(Source(str(image), "abc"), WHOLE), random_pixels())

    def test_a_hash_that_is_not_given_is_asked_for(self, make_cache, image):
        cache = make_cache(hashid_mode="GIVEN")
        for given_hash in (None, ""):
            with pytest.raises(SourceError, match=r"image.png has no hash .*'hashid'.*hashid_mode='PATH'"):
                cache.ensure(Source(str(image), given_hash))

    @pytest.mark.parametrize("given_hash", ["../../x", "/etc/passwd", "a/b", "..", "\0", "ü" * 300])
    def test_a_given_hash_cannot_lead_elsewhere(self, given_hash, make_cache, image, tmp_path):
        entry = pathlib.Path(make_cache(hashid_mode="GIVEN").ensure(Source(str(image), given_hash)))
        assert files(tmp_path / "cache") == [entry]

    @pytest.mark.parametrize("mode", ["PATH", "PIXELS", "GIVEN"])
    def test_no_name_leads_out_of_the_folder_or_grows_too_long(self, mode, tmp_path, monkeypatch):
        image = write_png(tmp_path / "image.png", random_pixels())
        stat = image.stat()
        monkeypatch.setattr(identity, "stat_source", lambda path: stat)
        for name in ("hash_file", "sample_file", "hash_sides"):
            monkeypatch.setattr(identity, name, lambda path: "0" * 64)
        cache = FrameCache(make_backend("npy"), "/workdir", mode)

        @given(st.text(min_size=1))
        def check(name: str) -> None:
            entry = cache.entry_path(Source(name, name))
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
        found = cache.read(Source(path), WHOLE)
        if name != ".png":
            assert np.array_equal(found, random_pixels())
        assert [str(entry) for entry in files(tmp_path / "cache")] == [cache.entry_path(Source(path))]

    def test_links_lead_to_the_pixels_behind_them(self, make_cache, image, tmp_path):
        link = tmp_path / "link.png"
        try:
            link.symlink_to(image)
        except OSError:
            pytest.skip("no symbolic links here")
        assert np.array_equal(make_cache("cog").read(Source(str(link)), WHOLE), random_pixels())

    @each_backend
    def test_a_missing_source_is_missing_though_its_entry_is_there(self, backend, make_cache, image):
        cache = make_cache(backend)
        cache.read(Source(str(image)), WHOLE)
        image.unlink()
        for call in (cache.ensure, cache.entry_path, cache.find_ready) if backend else ():
            with pytest.raises(MissingSourceError, match=r"image.png does not exist"):
                call(Source(str(image)))
        with pytest.raises(MissingSourceError, match=r"image.png does not exist"):
            cache.read(Source(str(image)), WHOLE)
