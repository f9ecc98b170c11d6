"""Scanning a workdir: its entries, their status and their labels."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import random
import shutil

import numpy as np
import pytest
from helpers_cache import each_caching
from helpers_images import random_pixels, write_tiff
from helpers_workdir import DAMAGE, edit, files_below, leave_behind, put_foreign_things

from ndsampler.abstract_frames import SimpleFrames
from ndsampler.backends import label as labels
from ndsampler.backends import make_backend
from ndsampler.cache import inventory
from ndsampler.cache.identity import Source
from ndsampler.cache.inventory import Status, find_entries, scan, survey
from ndsampler.cache.names import config_folder
from ndsampler.cache.partial import PartialFiles
from ndsampler.cache.prune import prune
from ndsampler.cache.verify import verify
from ndsampler.errors import ArgumentError, SourceError


class TestScan:
    @each_caching
    def test_every_entry_is_found_and_nothing_else(self, place, backend):
        entries = place.prepare(backend)
        assert place.states() == dict.fromkeys(entries.values(), Status.CURRENT)
        labels_found = {item.path: item.label.source for item in scan(place.workdir)}
        assert labels_found == {str(entries[gid]): str(path) for gid, path in place.images.items()}

    @pytest.mark.parametrize("mode", ["PATH", "PIXELS"])
    def test_a_changed_source_leaves_a_stale_entry_unless_content_names_it(self, place, mode):
        entries = place.prepare(mode=mode)
        edit(place.images[2])
        assert place.states()[entries[2]] == (Status.STALE if mode == "PATH" else Status.CURRENT)
        assert place.states()[entries[1]] == Status.CURRENT

    @pytest.mark.parametrize("mode", ["PATH", "PIXELS"])
    def test_a_source_that_is_gone_leaves_an_orphan_unless_content_names_the_entry(self, place, mode):
        entries = place.prepare(mode=mode)
        place.images[2].unlink()
        assert place.states()[entries[2]] == (Status.ORPHANED if mode == "PATH" else Status.CURRENT)

    def test_a_source_whose_folder_is_gone_cannot_be_reached(self, place):
        place.prepare()
        shutil.rmtree(place.images[1].parent)
        assert set(place.states().values()) == {Status.UNREACHABLE}

    @each_caching
    @pytest.mark.parametrize("name", DAMAGE)
    def test_damage_is_seen(self, place, backend, name):
        entries = place.prepare(backend)
        DAMAGE[name](entries[3])
        states = place.states()
        assert states.pop(entries[3]) == Status.DAMAGED
        assert set(states.values()) == {Status.CURRENT}

    def test_an_entry_under_the_name_of_another_is_damaged(self, place):
        entries = place.prepare()
        shutil.copy2(entries[1], entries[2])
        assert place.states()[entries[2]] == Status.DAMAGED

    def test_a_copy_without_times_is_whole_and_sealed_again(self, place):
        entries = place.prepare()
        os.utime(entries[1], (1, 1))
        assert place.states()[entries[1]] == Status.CURRENT
        assert entries[1].stat().st_mtime_ns % 10**9 != 0

    def test_a_dead_writer_and_a_living_one_are_told_apart(self, place):
        frames = place.frames()
        frames.prepare([1])
        entries = pathlib.Path(frames.cache_dpath)
        with PartialFiles(str(entries)).claim("cd" * 16) as partial:
            dead = leave_behind(entries)
            pathlib.Path(partial).write_bytes(b"on its way")
            states = place.states()
            assert states[dead] == Status.LEFTOVER
            assert states[pathlib.Path(partial).parent] == Status.BUSY

    @pytest.mark.parametrize(("digit", "status"), [(b"1", Status.OUTDATED), (b"9", Status.FOREIGN)])
    def test_entries_of_other_versions_are_not_called_damaged(self, place, digit, status):
        entries = place.prepare()
        data = entries[1].read_bytes()
        entries[1].write_bytes(data.replace(labels.MARK, b"NDSAMPLER-" + digit + b"\n"))
        assert place.states()[entries[1]] == status

    def test_the_folder_of_an_earlier_format_is_known(self, place):
        entries = place.prepare()
        folder = entries[1].parent.parent
        folder.rename(folder.with_name(config_folder(make_backend("npy"), 1)))
        assert set(place.states().values()) == {Status.OUTDATED}

    def test_what_the_releases_before_kept_is_known(self, place):
        place.prepare()
        frames = pathlib.Path(find_entries(place.workdir))
        name = "9467ad24a57d5d274cf4abd8dc3e7a34dd888f"
        old = [
            frames / "npy" / "7f" / f"{name}.npy",
            frames / "npy" / "7f" / f"{name}.npy.lock",
            frames / "npy" / f"prepare_frames_stamp_v2_{name}ab.pkl",
            frames / "cog" / "a7365550" / "7f" / f"{name}.cog.tiff",
            frames / "cog" / "a7365550" / f"prepare_frames_stamp_v2_{name}ab.pkl.meta",
        ]
        mine = [frames / "npy" / "notes.txt", frames / "cog" / "a7365550" / "7f" / "map.tiff"]
        for path in (*old, *mine):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"old")
        states = place.states()
        assert [states[path] for path in old] == [Status.OUTDATED] * len(old)
        assert [states[path] for path in mine] == [Status.FOREIGN] * len(mine)
        prune(place.workdir)
        assert not any(path.exists() for path in old)
        assert all(path.exists() for path in mine)

    def test_what_is_not_ours_is_foreign(self, place, tmp_path):
        entries = place.prepare()
        foreign = put_foreign_things(entries[1], tmp_path)
        states = place.states()
        assert {states.get(path) for path in foreign} == {Status.FOREIGN}
        assert sum(status == Status.CURRENT for status in states.values()) == 3

    def test_what_may_not_be_read_is_said(self, place, monkeypatch):
        entries = place.prepare()

        def refuse(path):
            raise PermissionError(13, "Permission denied")

        items = {item.path: item for item in scan(place.workdir, refuse)}
        assert {item.status for item in items.values()} == {Status.UNREADABLE}
        assert items[str(entries[1])].reason == "Permission denied"

    def test_a_folder_that_may_not_be_listed_does_not_hide_the_others(self, place, monkeypatch):
        entries = place.prepare()
        original = os.scandir

        def scandir(path):
            if str(path) == str(entries[1].parent):
                raise PermissionError(13, "Permission denied", str(path))
            return original(path)

        monkeypatch.setattr(inventory.os, "scandir", scandir)
        states = place.states()
        assert states[entries[1].parent] == Status.UNREADABLE
        assert states[entries[2]] == Status.CURRENT

    def test_entries_that_vanish_meanwhile_are_passed_over(self, place):
        entries = place.prepare()

        def vanish(path):
            os.unlink(path)
            return labels.check_entry(path)

        assert list(scan(place.workdir, vanish)) == []
        assert not any(entry.exists() for entry in entries.values())

    def test_a_label_of_odd_types_is_damage_and_no_crash(self, place):
        entry = place.prepare()[1]
        good = labels.read_label(str(entry))
        for change in ({"source": 5}, {"source": "a\0b"}, {"size": "x"}, {"content": None}, {"mtime_ns": []}):
            entry.write_bytes(b"pixels")
            labels.append_label(str(entry), dataclasses.replace(good, **change))
            assert place.states()[entry] == Status.DAMAGED

    @pytest.mark.parametrize("seed", range(5))
    def test_the_counts_are_those_of_what_was_done(self, place, seed):
        rng = random.Random(seed)
        expected = dict.fromkeys(Status, 0)
        for backend in ("npy", "cog", {"type": "cog", "config": {"compress": "LZW"}}):
            for path in place.prepare(backend).values():
                kind = rng.choice(["keep", *DAMAGE])
                DAMAGE.get(kind, lambda path: None)(path)
                expected[Status.CURRENT if kind == "keep" else Status.DAMAGED] += 1
            leave_behind(path.parent.parent)
            expected[Status.LEFTOVER] += 1
        report = survey(place.workdir)
        assert {kind: report.count(kind).count for kind in Status} == expected
        assert report.entries.count == 9
        sizes = sum(path.stat().st_size for path in files_below(place.workdir))
        assert report.count(*Status).nbytes == sizes
        assert [folder.backend for folder in report.folders].count("cog compress=LZW") <= 1
        assert json.loads(json.dumps(report.to_json()))["damaged"] == expected[Status.DAMAGED]


class TestFindEntries:
    def test_what_is_no_workdir_is_said_with_the_way_out(self, place, tmp_path):
        place.prepare()
        (tmp_path / "file").touch()
        for path, message in [
            (tmp_path / "none", "does not exist; expected a workdir"),
            (tmp_path / "file", "is not a folder"),
            (tmp_path / "images", "is not a workdir; .*nothing has been cached there"),
            (place.workdir / "_cache" / "frames", f"did you mean {place.workdir}"),
        ]:
            for call in (survey, verify, prune):
                with pytest.raises(ArgumentError, match=message):
                    call(path)

    def test_a_workdir_may_be_a_link_and_a_path_of_any_kind(self, place, tmp_path):
        place.prepare()
        (tmp_path / "link").symlink_to(place.workdir)
        assert survey(tmp_path / "link").entries.count == survey(str(place.workdir)).entries.count == 3
        place.images[1].unlink()
        assert prune(tmp_path / "link").total.count == 1


class TestPreparation:
    @each_caching
    def test_it_counts_what_was_made_there_and_in_place(self, place, backend, tmp_path):
        images = dict(place.images)
        pixels = random_pixels(seed=9)
        images[4] = tmp_path / "in_place.npy"
        np.save(images[4], pixels)
        images[5] = write_tiff(tmp_path / "tiled.tif", np.tile(pixels, (3, 3, 1)), tiled=True)
        frames = SimpleFrames(images, workdir=place.workdir, backend=backend)
        frames.prepare([1])
        report = frames.try_prepare()
        assert (report.images, report.made, report.present, report.in_place) == (5, 3, 1, 1)
        made = [path for path in files_below(place.workdir) if path.is_file()]
        first = frames._cache.entry_path(Source(str(images[1])))
        assert report.made_bytes == sum(path.stat().st_size for path in made) - os.path.getsize(first)
        again = frames.try_prepare()
        assert (again.made, again.present, again.in_place, again.source_bytes) == (0, 4, 1, 0)

    def test_a_file_of_two_images_counts_once(self, place):
        images = {1: place.images[1], 2: place.images[1]}
        report = SimpleFrames(images, workdir=place.workdir, backend="npy").try_prepare(workers=2)
        assert (report.images, report.made, report.present) == (2, 1, 0)

    def test_failures_are_told_by_image_and_not_raised(self, place):
        place.images[1].unlink()
        place.images[2].write_bytes(b"no image")
        report = place.frames().try_prepare()
        assert {failure.image_id: failure.paths for failure in report.failures} == {
            1: (str(place.images[1]),),
            2: (str(place.images[2]),),
        }
        assert (report.made, report.present) == (1, 0)
        with pytest.raises(SourceError, match="2 of 3 images could not be prepared"):
            report.raise_failures()

    def test_without_a_cache_there_is_nothing_to_do(self, place):
        report = SimpleFrames(place.images).try_prepare()
        assert (report.images, report.made, report.failures) == (3, 0, ())

    def test_an_executor_that_takes_no_work_fails_by_image(self, place):
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(1)
        pool.shutdown()
        report = place.frames().try_prepare(executor=pool)
        assert [failure.image_id for failure in report.failures] == [1, 2, 3]
        assert "after shutdown" in str(report.failures[0].error)
