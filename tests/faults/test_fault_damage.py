"""Entries that were damaged, removed or locked away are noticed, and made anew or bypassed."""

from __future__ import annotations

import contextlib
import copy
import os
import threading

import numpy as np
import pytest
from helpers_faults import (
    DAMAGES,
    copy_without_times,
    differing,
    draw_scene,
    each_caching,
    entries,
    entry_of,
    files,
    in_the_way,
    public_folder,
    read_windows,
    whole,
)
from helpers_processes import as_nobody, needs_fork, run_child
from helpers_systems import needs_locks, removes_open_files
from helpers_threads import PATIENCE, in_threads, results, start_thread
from helpers_workdir import make_socket

from ndsampler.backends.label import verify_entry
from ndsampler.errors import CacheError

each_damage = pytest.mark.parametrize("damage", DAMAGES)

#: Damages that entries take while they are read.
WHILE_READ = ["removed", "replaced by garbage", "replaced by text", "an empty folder", "a dangling link"]

as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to become somebody without rights"
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return draw_scene(tmp_path_factory.mktemp("images"), 4)


@pytest.fixture
def prepared(scene, tmp_path):
    """Return a factory of frames whose entries are all there."""

    def make(backend, **kw):
        frames = scene.frames(tmp_path / "work", backend, **kw)
        frames.prepare()
        return frames

    return make


def count_conversions(frames) -> list[str]:
    """Return a list that grows with every conversion."""
    made: list[str] = []
    convert = frames._cache.backend.convert

    def noted(source, dest) -> None:
        made.append(dest)
        convert(source, dest)

    frames._cache.backend.convert = noted
    return made


def destroy_one(frames, rng) -> bool:
    """Damage a random entry that exists, and return whether that could be done."""
    found = [entry for entry in entries(frames) if entry.is_file()]
    if not found:
        return False
    # A reader may remove or make an entry in between.
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        DAMAGES[rng.choice(WHILE_READ)](found[rng.integers(len(found))])
        return True
    return False


@each_caching
class TestDamage:
    @each_damage
    def test_a_damaged_entry_is_made_anew_once(self, backend, damage, prepared, scene, tmp_path):
        DAMAGES[damage](entry_of(prepared(backend)))
        frames = scene.frames(tmp_path / "work", backend)
        made = count_conversions(frames)
        assert differing(frames, scene) == []
        assert differing(frames, scene) == []
        assert len(made) == 1
        verify_entry(str(entry_of(frames)))
        assert in_the_way(frames) == []

    @removes_open_files
    @each_damage
    def test_an_entry_damaged_while_it_is_open_is_made_anew_once(self, backend, damage, prepared, scene):
        frames = prepared(backend)
        made = count_conversions(frames)
        assert differing(frames, scene) == []
        DAMAGES[damage](entry_of(frames))
        assert differing(frames, scene) == []
        assert differing(frames, scene) == []
        assert len(made) == 1
        verify_entry(str(entry_of(frames)))
        assert in_the_way(frames) == []

    @pytest.mark.parametrize("prepare_first", [True, False])
    def test_preparation_finds_every_damaged_entry(self, backend, prepare_first, prepared, scene, tmp_path):
        frames = prepared(backend)
        found = entries(frames)
        for entry, damage in zip(found, ["cut in the middle", "a bit of its pixels flipped", "emptied"]):
            DAMAGES[damage](entry)
        frames = frames if prepare_first else scene.frames(tmp_path / "work", backend)
        frames.prepare()
        for entry in found:
            verify_entry(str(entry))

    @needs_locks
    def test_threads_that_meet_a_damaged_entry_make_it_once(self, backend, prepared, scene, tmp_path):
        for damage in ("a bit of its pixels flipped", "cut in the middle", "replaced by garbage"):
            frames = prepared(backend)
            made = count_conversions(frames)
            assert differing(frames, scene) == []
            DAMAGES[damage](entry_of(frames))
            barrier = threading.Barrier(12)

            def read(_, frames=frames, barrier=barrier) -> bool:
                barrier.wait(PATIENCE)
                return np.array_equal(whole(frames, 1), scene.pixels[1])

            assert all(in_threads(read, range(12)))
            assert len(made) == 1

    @removes_open_files
    def test_readers_go_on_while_entries_are_replaced_removed_and_made(
        self, backend, prepared, scene, amount, patience
    ):
        frames = prepared(backend)
        count = amount(short=120, whole=120, soak=2000)
        done = [0] * 8
        stop = threading.Event()

        def read(reader: int) -> int:
            wrong = 0
            try:
                for number in range(count):
                    wrong += read_windows(frames, scene, reader * count + number, 1)
                    done[reader] += 1
            finally:
                done[reader] = count
            return wrong

        def destroy() -> int:
            rng = np.random.default_rng(3)
            destroyed = 0
            while not stop.is_set():
                destroyed += destroy_one(frames, rng)
                before = list(done)
                # A window is read again a few times only, so each reader gets one in between.
                while not stop.is_set() and any(new == old < count for new, old in zip(done, before)):
                    stop.wait(0.001)
            return destroyed

        destroyer = start_thread(destroy)
        try:
            wrong = in_threads(read, range(8), timeout=patience)
        finally:
            stop.set()
        assert wrong == [0] * 8
        assert results([destroyer])[0] > 0

    def test_an_entry_that_cannot_be_made_anew_is_one_error_naming_both(self, backend, prepared, scene):
        frames = prepared(backend)
        entry = entry_of(frames)
        entry.unlink()
        entry.mkdir()
        (entry / "keep me").write_text("mine")
        for _ in range(2):
            with pytest.raises(CacheError) as caught:
                whole(frames, 1)
            assert str(entry) in str(caught.value)
            assert scene.paths[1] in str(caught.value)
            assert "image 1" in str(caught.value)
        assert (entry / "keep me").read_text() == "mine"
        assert np.array_equal(whole(frames, 3), scene.pixels[3])
        (entry / "keep me").unlink()
        assert np.array_equal(whole(frames, 1), scene.pixels[1])

    def test_an_entry_that_cannot_be_made_anew_may_be_bypassed(self, backend, prepared, scene, caplog):
        frames = prepared(backend, on_cache_error="bypass")
        entry = entry_of(frames)
        entry.unlink()
        entry.mkdir()
        (entry / "keep me").write_text("mine")
        assert differing(frames, scene) == []
        assert "read without a cache" in caplog.text

    def test_files_where_folders_should_be_are_one_error(self, backend, scene, tmp_path):
        frames = scene.frames(tmp_path / "work", backend)
        blocked = entry_of(frames).parent
        blocked.parent.mkdir(parents=True)
        blocked.write_text("mine")
        with pytest.raises(CacheError, match=r"cannot be made.*on_cache_error='bypass'"):
            whole(frames, 1)
        assert blocked.read_text() == "mine"
        bypassing = scene.frames(tmp_path / "work", backend, on_cache_error="bypass")
        assert differing(bypassing, scene) == []

    @needs_fork
    @pytest.mark.parametrize("kind", ["file", "dangling link", "pipe", "socket", "folder of strangers"])
    def test_what_lies_where_writers_work_neither_hangs_nor_hurts(self, backend, kind, scene, tmp_path):
        frames = scene.frames(tmp_path / "work", backend, on_cache_error="bypass")
        place = os.path.join(frames.cache_dpath, "_partial")
        os.makedirs(frames.cache_dpath)
        if kind == "file":
            open(place, "w").close()
        elif kind == "dangling link":
            os.symlink("nowhere", place)
        elif kind == "pipe":
            os.mkfifo(place)
        elif kind == "socket":
            make_socket(place)
        else:
            os.makedirs(os.path.join(place, "notes", "deep"))
        run_child(frames.prepare)
        assert run_child(lambda: differing(frames, scene)) == "[]"
        if kind == "folder of strangers":
            assert os.path.isdir(os.path.join(place, "notes", "deep"))

    @needs_fork
    @pytest.mark.parametrize("kind", ["pipe", "socket"])
    def test_a_pipe_in_the_place_of_an_entry_does_not_hang(self, backend, kind, prepared, scene):
        frames = prepared(backend)
        entry = entry_of(frames)
        entry.unlink()
        (os.mkfifo if kind == "pipe" else make_socket)(entry)
        assert run_child(lambda: differing(frames, scene)) == "[]"
        verify_entry(str(entry))

    def test_the_entry_of_another_image_is_not_taken_for_ones_own(self, backend, prepared, scene, tmp_path):
        # The two are of one size and type, and both are whole and sealed.
        other = copy.copy(scene)
        other.paths, other.pixels = {}, {}
        for gid in (1, 2):
            os.makedirs(tmp_path / str(gid), exist_ok=True)
            made = draw_scene(tmp_path / str(gid), 1, seed=gid)
            other.paths[gid], other.pixels[gid] = made.paths[1], made.pixels[1]
        frames = other.frames(tmp_path / "work", backend)
        frames.prepare()
        one, two = entry_of(frames, 1), entry_of(frames, 2)
        one.rename(tmp_path / "kept")
        two.rename(one)
        (tmp_path / "kept").rename(two)
        assert differing(other.frames(tmp_path / "work", backend), other) == []
        assert differing(frames, other) == []


@as_root
@each_caching
class TestRights:
    """A process without rights uses a cache that somebody else has made."""

    def test_a_complete_cache_of_somebody_else_is_read(self, backend):
        with public_folder() as folder:
            scene = draw_scene(folder / "images", 4)
            frames = scene.frames(folder / "work", backend)
            frames.prepare()
            assert differing(frames, scene) == []
            before = {path: path.stat() for path in files(folder)}
            assert as_nobody(lambda: differing(scene.frames(folder / "work", backend), scene)) == "[]"
            as_nobody(lambda: scene.frames(folder / "work", backend).prepare())
            assert as_nobody(lambda: differing(frames, scene)) == "[]"
            assert {path: path.stat().st_mtime_ns for path in files(folder)} == {
                path: stat.st_mtime_ns for path, stat in before.items()
            }

    def test_a_copy_that_kept_no_times_is_checked_and_read(self, backend):
        with public_folder() as folder:
            scene = draw_scene(folder / "images", 4)
            frames = scene.frames(folder / "work", backend)
            frames.prepare()
            copy_without_times(folder / "work", folder / "copy")
            moved = scene.frames(folder / "copy", backend)
            assert as_nobody(lambda: differing(moved, scene)) == "[]"
            made = count_conversions(moved)
            assert differing(moved, scene) == []
            assert made == []

    def test_a_damaged_entry_in_a_read_only_folder_is_one_error_or_bypassed(self, backend):
        with public_folder() as folder:
            scene = draw_scene(folder / "images", 4)
            frames = scene.frames(folder / "work", backend)
            frames.prepare()
            assert differing(frames, scene) == []
            entry = entry_of(frames)
            DAMAGES["a bit of its pixels flipped"](entry)

            def work() -> None:
                for _ in range(2):
                    with pytest.raises(CacheError) as caught:
                        whole(scene.frames(folder / "work", backend), 1)
                    assert str(entry) in str(caught.value)
                    assert scene.paths[1] in str(caught.value)
                bypassing = scene.frames(folder / "work", backend, on_cache_error="bypass")
                assert differing(bypassing, scene) == []

            as_nobody(work)

    def test_an_entry_that_may_not_be_read_is_one_error_or_bypassed(self, backend):
        with public_folder() as folder:
            scene = draw_scene(folder / "images", 4)
            frames = scene.frames(folder / "work", backend)
            frames.prepare()
            assert differing(frames, scene) == []
            entry = entry_of(frames)
            entry.chmod(0)

            def work() -> None:
                with pytest.raises(CacheError) as caught:
                    whole(scene.frames(folder / "work", backend), 1)
                assert str(entry) in str(caught.value)
                bypassing = scene.frames(folder / "work", backend, on_cache_error="bypass")
                assert differing(bypassing, scene) == []

            as_nobody(work)

    def test_an_entry_that_may_not_be_read_is_replaced_where_that_is_allowed(self, backend):
        with public_folder() as folder:
            scene = draw_scene(folder / "images", 4)
            frames = scene.frames(folder / "work", backend)
            frames.prepare()
            assert differing(frames, scene) == []
            entry_of(frames).chmod(0)
            for path in (folder / "work").rglob("*"):
                if path.is_dir():
                    path.chmod(0o777)
            assert as_nobody(lambda: differing(scene.frames(folder / "work", backend), scene)) == "[]"
            assert in_the_way(frames) == []

    @pytest.mark.parametrize("mode", [0o555, 0o000])
    def test_an_incomplete_cache_in_a_closed_folder_is_one_error_or_bypassed(self, backend, mode):
        with public_folder() as folder:
            scene = draw_scene(folder / "images", 4)
            frames = scene.frames(folder / "work", backend)
            assert differing(frames, scene) == []
            entry_of(frames).unlink()
            (folder / "work").chmod(mode)

            def work() -> None:
                with pytest.raises(CacheError, match=r"cannot be made|cannot be opened"):
                    whole(scene.frames(folder / "work", backend), 1)
                bypassing = scene.frames(folder / "work", backend, on_cache_error="bypass")
                assert differing(bypassing, scene) == []

            as_nobody(work)

    def test_a_source_that_may_not_be_read_is_an_error_of_the_source(self, backend):
        from ndsampler.errors import SourceError

        with public_folder() as folder:
            scene = draw_scene(folder / "images", 4)
            assert differing(scene.frames(folder / "other", backend), scene) == []
            os.chmod(scene.paths[1], 0)
            (folder / "work").mkdir()
            (folder / "work").chmod(0o777)

            def work() -> None:
                with pytest.raises(SourceError, match=r"1\.png"):
                    whole(scene.frames(folder / "work", backend), 1)
                assert np.array_equal(whole(scene.frames(folder / "work", backend), 3), scene.pixels[3])

            as_nobody(work)
