"""What lies in a workdir, what is found when it is read back, and what is removed from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import random
import shutil

import numpy as np
import pytest
from helpers_images import random_pixels, write_png, write_tiff
from helpers_systems import have_locks, removes_open_files

from ndsampler.abstract_frames import Frames, SimpleFrames
from ndsampler.backends import label as labels
from ndsampler.backends import make_backend
from ndsampler.cache import inventory, maintenance
from ndsampler.cache.inventory import ENTRIES, Status, find_entries, scan, survey
from ndsampler.cache.maintenance import WASTE, Sources, prune, verify
from ndsampler.cache.partial import LOCK, PartialFiles
from ndsampler.errors import ArgumentError, SourceError

#: What a writer was writing.
FILE = "entry.partial"

each_caching = pytest.mark.parametrize("backend", ["npy", "cog"])


class HashedFrames(SimpleFrames):
    """Frames whose entries are named in another way than by path."""

    def __init__(self, id_to_path, mode, **kw):
        Frames.__init__(self, mode, **kw)
        self.id_to_path = id_to_path


@dataclasses.dataclass
class Place:
    """A workdir with the entries of three images, and these images."""

    workdir: pathlib.Path
    images: dict[int, pathlib.Path]

    def frames(self, backend="npy", mode="PATH", **kw):
        return HashedFrames(self.images, mode, workdir=self.workdir, backend=backend, **kw)

    def prepare(self, backend="npy", mode="PATH"):
        """Make all entries, and return them by image."""
        frames = self.frames(backend, mode)
        frames.prepare()
        return {gid: pathlib.Path(frames._cache.entry_path(str(path))) for gid, path in self.images.items()}

    def states(self):
        """Return the state of everything, by path."""
        return {pathlib.Path(item.path): item.status for item in scan(self.workdir)}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "images").mkdir()
    paths = {gid: tmp_path / "images" / f"{gid}.png" for gid in (1, 2, 3)}
    for gid, path in paths.items():
        write_png(path, random_pixels(seed=gid))
    return Place(tmp_path / "work", paths)


def files_below(folder):
    """Return every file and link below a folder with what it holds."""
    return {
        path: os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def edit(path):
    """Change a file as a program does that writes to it."""
    stat = path.stat()
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


def flip(path, at=0.5, keep_times=True):
    """Flip a bit, as a failing disk does, or as a program does."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)
    if keep_times:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def leave_behind(entries):
    """Return the place of a writer that is no more, with something half written."""
    place = entries / "_partial" / ("ab" * 16)
    place.mkdir(parents=True)
    (place / LOCK).touch()
    if not have_locks():
        os.utime(place / LOCK, (1, 1))
    (place / FILE).write_bytes(b"half")
    return place


DAMAGE = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "emptied": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"garbage" * 1000),
    "label edited": lambda path: flip(path, 0.999, keep_times=False),
    "pixels edited": lambda path: flip(path, 0.3, keep_times=False),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


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
        folder.rename(folder.with_name(make_backend("npy").config_id_of(1)))
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
        assert {kind: report.of(kind).count for kind in Status} == expected
        assert report.entries.count == 9
        sizes = sum(path.stat().st_size for path in files_below(place.workdir))
        assert report.of(*Status).nbytes == sizes
        assert [folder.backend for folder in report.folders].count("cog compress=LZW") <= 1
        assert json.loads(json.dumps(report.to_json()))["damaged"] == expected[Status.DAMAGED]


def put_foreign_things(entry, tmp_path):
    """Put things where entries are that are none, and return them."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.npy").write_bytes(b"precious")
    shutil.copy2(entry, outside / entry.name)
    folder = entry.parent.parent
    (folder / "_partial").mkdir(exist_ok=True)
    token = hashlib.sha256(b"").hexdigest()[:32]
    things = [
        folder.parent / "notes.txt",
        folder.parent / "my_folder",
        folder / "readme.md",
        entry.parent / "picture.npy",
        entry.parent / f"a_{token}.npy",  # in the wrong folder
        folder / "_partial" / "mine.txt",
        folder / "_partial" / "my_folder",
        folder / "_partial" / ("cd" * 16),  # without a lock
    ]
    for thing in things:
        if thing.suffix:
            thing.write_bytes(b"mine")
        else:
            thing.mkdir()
            (thing / "deep.npy").write_bytes(b"mine")
    links = {
        folder.parent / "npy_0123456789ab": outside,
        folder / "00": outside,
        folder / "_partial" / ("ef" * 16): outside,
        entry.parent / f"x_{entry.parent.name}{token[2:]}.npy": outside / "precious.npy",
    }
    for link, target in links.items():
        if not link.exists():
            link.symlink_to(target)
    return [*things, *links]


class TestFindEntries:
    def test_what_is_no_workdir_is_said_with_the_way_out(self, place, tmp_path):
        place.prepare()
        (tmp_path / "file").touch()
        for path, message in [
            (tmp_path / "none", "does not exist; expected a workdir"),
            (tmp_path / "file", "is no folder"),
            (tmp_path / "images", "is no workdir; .*nothing has been cached there"),
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


class TestVerify:
    @each_caching
    @pytest.mark.parametrize("at", [0.001, 0.3, 0.6])
    def test_a_bit_that_flipped_unseen_is_found(self, place, backend, at):
        entries = place.prepare(backend)
        assert verify(place.workdir).ok
        flip(entries[2], at)
        assert survey(place.workdir).of(Status.DAMAGED).count == 0
        report = verify(place.workdir)
        assert not report.ok
        assert [item.path for item in report.damaged] == [str(entries[2])]
        assert report.checked.count == 3

    @each_caching
    @pytest.mark.parametrize("channels", [1, 3, 5])
    def test_pixels_are_compared_with_their_sources(self, tmp_path, backend, channels, monkeypatch):
        monkeypatch.setattr("ndsampler.backends.base.BLOCK_BYTES", 1000)  # many blocks
        pixels = random_pixels("float32", channels)
        pixels[3, 4] = np.nan
        path = write_tiff(tmp_path / "image.tif", pixels)
        frames = SimpleFrames({1: path}, workdir=tmp_path, backend=backend)
        frames.prepare()
        assert verify(tmp_path, pixels=True).compared == 1
        # What a wrong converter would have written.
        entry = pathlib.Path(frames._cache.entry_path(str(path)))
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
        assert verify(place.workdir, used_by=mine, tell=seen.append).ok
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

        monkeypatch.setattr(maintenance, "read_label", refuse)
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
        newest = pathlib.Path(place.frames()._cache.entry_path(str(place.images[1])))
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
        entries = [cache.ensure(str(path), f"hash {gid}") for gid, path in place.images.items()]

        class Stated(SimpleFrames):
            def layout(self, image_id):
                layout = super().layout(image_id)
                asset = dataclasses.replace(layout.assets[0], path="/moved/away.png", given_hash="hash 2")
                return dataclasses.replace(layout, assets=(asset,))

        prune(place.workdir, unused_by=Sources([Stated({1: "unread"})]))
        assert [os.path.exists(entry) for entry in entries] == [False, True, False]

    def test_a_new_entry_in_the_place_of_a_damaged_one_stays(self, place, monkeypatch):
        entries = place.prepare()
        entries[1].write_bytes(b"")
        decide = maintenance._why_removed

        def decide_and_wait(item, *args):
            why = decide(item, *args)
            if why:
                # Another process reads, notices the damage, and makes the entry anew.
                place.frames().load_region(1)
            return why

        monkeypatch.setattr(maintenance, "_why_removed", decide_and_wait)
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
        decide = maintenance._why_removed
        with open(dead / LOCK) as lock:

            def decide_and_wait(item, *args):
                if item.status == Status.LEFTOVER:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return decide(item, *args)

            monkeypatch.setattr(maintenance, "_why_removed", decide_and_wait)
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

        monkeypatch.setattr(maintenance.os, "unlink", unlink)
        report = prune(place.workdir)
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
        assert survey(place.workdir).of(Status.ORPHANED).count == len(entries)

    def test_empty_folders_go_and_entries_can_be_made_again(self, place):
        entries = place.prepare()
        for path in place.images.values():
            path.unlink()
        prune(place.workdir)
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
        original = os.scandir

        def scandir(path):
            if str(path).endswith("_partial"):
                raise PermissionError(13, "Permission denied", str(path))
            return original(path)

        monkeypatch.setattr("ndsampler.cache.partial.os.scandir", scandir)
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
        (partial / frames._cache.identify(str(place.images[2])).token).symlink_to(outside)
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
        first = frames._cache.entry_path(str(images[1]))
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
