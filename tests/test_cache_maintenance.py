"""Verifying and pruning the entries of a workdir."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil

import numpy as np
import pytest
from helpers_cache import each_caching
from helpers_images import random_pixels, write_png, write_tiff
from helpers_systems import removes_open_files
from helpers_workdir import DAMAGE, FILE, edit, files_below, flip, leave_behind, put_foreign_things

from ndsampler.abstract_frames import SimpleFrames
from ndsampler.backends import label as labels
from ndsampler.cache import prune as prune_module
from ndsampler.cache import removal
from ndsampler.cache import verify as verify_module
from ndsampler.cache.identity import Source
from ndsampler.cache.inventory import find_entries, scan, survey
from ndsampler.cache.partial import LOCK, PartialFiles
from ndsampler.cache.prune import WASTE, prune
from ndsampler.cache.reports import ENTRIES, Status
from ndsampler.cache.usage import Sources
from ndsampler.cache.verify import verify
from ndsampler.errors import ArgumentError


class TestVerify:
    @each_caching
    @pytest.mark.parametrize("at", [0.001, 0.3, 0.6])
    def test_a_bit_that_flipped_unseen_is_found(self, place, backend, at):
        entries = place.prepare(backend)
        assert verify(place.workdir).ok
        flip(entries[2], at)
        assert survey(place.workdir).count(Status.DAMAGED).count == 0
        report = verify(place.workdir)
        assert not report.ok
        assert [item.path for item in report.damaged] == [str(entries[2])]
        assert report.checked.count == 3

    @each_caching
    @pytest.mark.parametrize("channels", [1, 3, 5])
    def test_pixels_are_compared_with_their_sources(self, tmp_path, backend, channels, monkeypatch):
        monkeypatch.setattr("ndsampler.backends.base.BLOCK_BYTES", 1000)  # many boxes
        pixels = random_pixels("float32", channels)
        pixels[3, 4] = np.nan
        path = write_tiff(tmp_path / "image.tif", pixels)
        frames = SimpleFrames({1: path}, workdir=tmp_path, backend=backend)
        frames.prepare()
        assert verify(tmp_path, pixels=True).compared == 1
        # What a wrong converter would have written.
        entry = pathlib.Path(frames._cache.entry_path(Source(str(path))))
        other = pixels.copy()
        other[-1, -1, -1] += 1
        wrong = write_tiff(tmp_path / "wrong.tif", other)
        mine = labels.read_label(str(entry))
        SimpleFrames({1: wrong}, workdir=tmp_path / "other", backend=backend).prepare()
        (theirs,) = [item.path for item in scan(tmp_path / "other")]
        data = pathlib.Path(theirs).read_bytes()
        length = labels.FOOTER.unpack(data[-labels.FOOTER.size :])[1]
        entry.write_bytes(data[: -labels.FOOTER.size - length])
        labels.append_label(str(entry), mine)
        assert verify(tmp_path).ok
        (damaged,) = verify(tmp_path, pixels=True, remove=True).damaged
        assert "differ from those of its source" in damaged.reason
        assert not entry.exists()

    def test_lossy_stale_and_unreachable_entries_are_not_compared(self, place):
        place.prepare({"type": "cog", "config": {"compress": "JPEG"}})
        assert verify(place.workdir, pixels=True).compared == 0
        place.prepare("npy")
        edit(place.images[1])
        place.images[2].unlink()
        report = verify(place.workdir, pixels=True)
        assert (report.ok, report.checked.count, report.compared) == (True, 6, 1)

    def test_a_source_that_cannot_be_read_any_more_is_no_damage_of_the_entry(self, place):
        place.prepare()
        stat = place.images[1].stat()
        place.images[1].write_bytes(b"x" * stat.st_size)
        os.utime(place.images[1], ns=(stat.st_atime_ns, stat.st_mtime_ns))
        report = verify(place.workdir, pixels=True)
        assert (report.ok, report.compared) == (True, 2)

    def test_only_the_entries_of_the_given_sources_are_read(self, place):
        entries = place.prepare()
        flip(entries[1])
        seen = []
        mine = Sources([SimpleFrames({7: place.images[2], 8: place.images[3]})])
        assert verify(place.workdir, used_by=mine, callback=seen.append).ok
        assert {item.path for item in seen} == {str(entries[2]), str(entries[3])}

    @each_caching
    def test_removed_entries_are_made_anew(self, place, backend):
        entries = place.prepare(backend)
        flip(entries[2])
        entries[3].write_bytes(b"")
        assert verify(place.workdir, remove=True).removed == 2
        assert verify(place.workdir, pixels=True).compared == 1
        assert np.array_equal(place.frames(backend).load_region(2), random_pixels(seed=2))

    def test_what_may_not_be_read_is_not_good(self, place, monkeypatch):
        entries = place.prepare()

        def refuse(path):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(verify_module, "read_label", refuse)
        report = verify(place.workdir, remove=True)
        assert not report.ok
        assert len(report.unreadable) == 3
        assert all(entry.exists() for entry in entries.values())


class TestPrune:
    def test_waste_goes_and_all_else_stays(self, place, tmp_path):
        entries = place.prepare()
        put_foreign_things(entries[1], tmp_path)
        edit(place.images[1])
        place.images[2].unlink()
        newest = pathlib.Path(place.frames()._cache.entry_path(Source(str(place.images[1]))))
        place.frames().prepare([1])
        dead = leave_behind(newest.parent.parent)
        before = files_below(tmp_path)
        planned = prune(place.workdir, dry_run=True)
        assert files_below(tmp_path) == before
        report = prune(place.workdir)
        gone = {path: data for path, data in before.items() if not os.path.lexists(path)}
        assert set(gone) == {entries[1], entries[2], dead / LOCK, dead / FILE}
        assert files_below(tmp_path) == {path: data for path, data in before.items() if path not in gone}
        assert planned == report
        assert {why: tally.count for why, tally in report.removed.items()} == {
            "stale": 1,
            "orphaned": 1,
            "leftover": 1,
        }
        assert report.total.nbytes == sum(map(len, gone.values()))
        assert prune(place.workdir).total.count == 0

    @pytest.mark.parametrize("name", DAMAGE)
    def test_damaged_entries_go(self, place, name):
        entries = place.prepare()
        DAMAGE[name](entries[1])
        assert prune(place.workdir).removed["damaged"].count == 1
        assert not entries[1].exists()
        assert entries[2].exists()

    def test_a_folder_with_files_in_the_place_of_an_entry_is_left_alone(self, place):
        entries = place.prepare()
        entries[1].unlink()
        entries[1].mkdir()
        (entries[1] / "mine").touch()
        assert prune(place.workdir).total.count == 0
        assert (entries[1] / "mine").exists()

    def test_entries_of_a_folder_that_is_gone_stay_unless_they_are_asked_for(self, place, tmp_path):
        entries = place.prepare()
        place.images[1].parent.rename(tmp_path / "unmounted")
        assert prune(place.workdir).total.count == 0
        (tmp_path / "unmounted").rename(place.images[1].parent)
        assert place.states() == dict.fromkeys(entries.values(), Status.CURRENT)
        shutil.rmtree(place.images[1].parent)
        assert prune(place.workdir, unreachable=True).removed["unreachable"].count == 3

    @pytest.mark.parametrize("mode", ["PATH", "PIXELS"])
    def test_what_no_given_dataset_uses_goes(self, place, mode):
        entries = place.prepare(mode=mode)
        mine = Sources([SimpleFrames({1: place.images[1]}), SimpleFrames({1: place.images[3]})])
        report = prune(place.workdir, unused_by=mine)
        assert report.removed["unused"].count == 1
        assert [gid for gid, entry in entries.items() if entry.exists()] == [1, 3]

    def test_an_entry_that_content_names_is_in_use_by_a_file_that_was_moved(self, place, tmp_path):
        entries = place.prepare(mode="PIXELS")
        moved = tmp_path / "moved.png"
        place.images[2].rename(moved)
        place.images[1].rename(tmp_path / "elsewhere.png")
        prune(place.workdir, unused_by=Sources([SimpleFrames({1: moved})]))
        assert [gid for gid, entry in entries.items() if entry.exists()] == [2]

    def test_an_entry_of_a_stated_hash_is_in_use_where_a_dataset_states_it(self, place):
        frames = place.frames(mode="GIVEN")
        cache = frames._cache
        entries = [cache.ensure(Source(str(path), f"hash {gid}")) for gid, path in place.images.items()]

        class Stated(SimpleFrames):
            def layout(self, image_id):
                layout = super().layout(image_id)
                asset = dataclasses.replace(layout.assets[0], source=Source("/moved/away.png", "hash 2"))
                return dataclasses.replace(layout, assets=(asset,))

        prune(place.workdir, unused_by=Sources([Stated({1: "unread"})]))
        assert [os.path.exists(entry) for entry in entries] == [False, True, False]

    def test_a_new_entry_in_the_place_of_a_damaged_one_stays(self, place, monkeypatch):
        entries = place.prepare()
        entries[1].write_bytes(b"")
        decide = prune_module._removal_reason

        def decide_and_wait(item, *args):
            why = decide(item, *args)
            if why:
                # Another process reads, notices the damage, and makes the entry anew.
                place.frames().load_region(1)
            return why

        monkeypatch.setattr(prune_module, "_removal_reason", decide_and_wait)
        assert prune(place.workdir).total.count == 0
        assert place.states()[entries[1]] == Status.CURRENT

    def test_the_place_of_a_living_writer_stays(self, place):
        frames = place.frames()
        frames.prepare([1])
        with PartialFiles(frames.cache_dpath).claim("cd" * 16) as partial:
            pathlib.Path(partial).write_bytes(b"on its way")
            assert prune(place.workdir).total.count == 0
            assert pathlib.Path(partial).exists()

    def test_a_writer_that_comes_back_to_its_place_keeps_it(self, place, monkeypatch):
        fcntl = pytest.importorskip("fcntl")
        frames = place.frames()
        frames.prepare([1])
        dead = leave_behind(pathlib.Path(frames.cache_dpath))
        decide = prune_module._removal_reason
        with open(dead / LOCK) as lock:

            def decide_and_wait(item, *args):
                if item.status == Status.LEFTOVER:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return decide(item, *args)

            monkeypatch.setattr(prune_module, "_removal_reason", decide_and_wait)
            report = prune(place.workdir)
        assert (report.total.count, report.failures) == (0, ())
        assert (dead / FILE).exists()

    def test_what_cannot_be_removed_is_told_and_the_rest_goes(self, place, monkeypatch):
        entries = place.prepare()
        for path in place.images.values():
            path.unlink()
        original = os.unlink

        def unlink(path, **kw):
            if str(path) == str(entries[2]):
                raise PermissionError(13, "Permission denied")
            original(path, **kw)

        monkeypatch.setattr(removal.os, "unlink", unlink)
        report = prune(place.workdir, force=True)
        assert [failure.item.path for failure in report.failures] == [str(entries[2])]
        assert [entry.exists() for entry in entries.values()] == [False, True, False]
        assert report.removed["orphaned"].count == 2

    def test_nothing_is_removed_through_a_link_to_elsewhere(self, place, tmp_path):
        entries = place.prepare()
        for path in place.images.values():
            path.unlink()
        (place.workdir / "_cache").rename(tmp_path / "elsewhere")
        (place.workdir / "_cache").symlink_to(tmp_path / "elsewhere")
        for call in (prune, lambda workdir: verify(workdir, remove=True)):
            with pytest.raises(ArgumentError, match="is a link to .*elsewhere/frames"):
                call(place.workdir)
        assert survey(place.workdir).count(Status.ORPHANED).count == len(entries)

    def test_empty_folders_go_and_entries_can_be_made_again(self, place):
        entries = place.prepare()
        for path in place.images.values():
            path.unlink()
        prune(place.workdir, force=True)
        assert list(pathlib.Path(find_entries(place.workdir)).iterdir()) == []
        for gid, path in place.images.items():
            write_png(path, random_pixels(seed=gid))
        assert np.array_equal(place.frames().load_region(1), random_pixels(seed=1))
        assert entries

    @removes_open_files
    def test_a_reader_goes_on_when_its_entry_is_removed(self, place):
        frames = place.frames()
        frames.prepare()
        frames.load_region(1)
        other = Sources([SimpleFrames({2: place.images[2]})])
        assert prune(place.workdir, unused_by=other).total.count == 2
        assert np.array_equal(frames.load_region(1), random_pixels(seed=1))

    def test_waste_holds_no_entry_that_could_be_read(self):
        assert not {Status.CURRENT, Status.UNREACHABLE, Status.BUSY, Status.FOREIGN} & set(WASTE)
        assert set(ENTRIES) - set(WASTE) == {Status.CURRENT, Status.UNREACHABLE}


class TestWritersAndLinks:
    def test_places_that_may_not_be_listed_keep_nobody_from_reading(self, place, monkeypatch):
        place.prepare()

        def open_folder(path, *inner):
            raise PermissionError(13, "Permission denied", path)

        monkeypatch.setattr("ndsampler.cache.partial.open_folder", open_folder)
        assert place.frames().try_prepare().present == 3

    def test_a_link_among_the_places_of_writers_is_not_followed(self, place, tmp_path):
        frames = place.frames()
        frames.prepare([1])
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "precious").write_bytes(b"precious")
        partial = pathlib.Path(frames.cache_dpath) / "_partial"
        partial.mkdir(exist_ok=True)
        (partial / ("ab" * 16)).symlink_to(outside)
        (partial / frames._cache.identify(Source(str(place.images[2]))).token).symlink_to(outside)
        frames.prepare()
        prune(place.workdir)
        assert [path.name for path in outside.iterdir()] == ["precious"]

    @pytest.mark.parametrize("broken", ["dangling link", "no folders allowed"])
    def test_a_workdir_where_nothing_can_be_made_is_an_error_at_once(
        self, place, tmp_path, broken, monkeypatch
    ):
        monkeypatch.setattr("ndsampler.cache.partial.POLL_SECONDS", 0.001)
        workdir = tmp_path / "link"
        workdir.symlink_to(tmp_path / "nowhere")
        if broken == "no folders allowed":
            workdir = pathlib.Path("/proc/nowhere")
        frames = SimpleFrames(place.images, workdir=workdir, backend="npy")
        with pytest.raises(OSError, match="cannot be made"):
            frames.load_region(1)
