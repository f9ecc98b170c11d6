"""Sources that change, move or share their names: never the pixels of another file, or of another day."""

from __future__ import annotations

import itertools
import os
import pathlib
import shutil

import kwcoco
import numpy as np
import pytest
from helpers_faults import each_backend, each_caching, entries, in_the_way, whole
from helpers_images import random_pixels, write_png, write_tiff
from helpers_systems import removes_open_files
from helpers_threads import results, start_thread

from ndsampler import CocoFrames
from ndsampler.abstract_frames import SimpleFrames
from ndsampler.errors import MissingSourceError, SourceError

DIMS = (50, 70)


def draw(seed: int) -> np.ndarray:
    return random_pixels("uint8", 3, DIMS, seed)


def write_tiled(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    """Write a file of a size that does not depend on the pixels."""
    return write_tiff(path, pixels, tiled=True, blockxsize=16, blockysize=16)


def write_striped(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    """Write a file of a size that does not depend on the pixels."""
    return write_tiff(path, pixels, blockysize=8)


def write_npy(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    np.save(path, pixels)
    return path


WRITERS = {".png": write_png, ".tif": write_tiled, ".tiff": write_striped, ".npy": write_npy}

each_format = pytest.mark.parametrize("ending", WRITERS)

#: Each change is a second later than the one before, so that it shows whatever the file system keeps.
clock = itertools.count(1_700_000_000)


def write(path: pathlib.Path, seed: int) -> pathlib.Path:
    """Write an image, in place if there is one, as is done at another time."""
    made = WRITERS[path.suffix](path.with_name(f"made{path.suffix}"), draw(seed))
    with open(path, "rb+" if path.exists() else "wb") as file:
        file.write(made.read_bytes())
        file.truncate()
    made.unlink()
    touch(path)
    return path


def touch(path: pathlib.Path) -> None:
    now = next(clock) * 10**9 + 123_456_789
    os.utime(path, ns=(now, now))


def replace(path: pathlib.Path, seed: int) -> None:
    os.replace(write(path.with_name("new" + path.suffix), seed), path)


def relink(path: pathlib.Path, seed: int) -> None:
    """Turn a path into a link to another file."""
    target = write(path.with_name(f"target{seed}{path.suffix}"), seed)
    path.unlink()
    path.symlink_to(target)


@each_backend
@each_format
class TestChanges:
    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(write, id="edited in place"),
            pytest.param(replace, id="replaced", marks=removes_open_files),
            pytest.param(relink, id="linked", marks=removes_open_files),
        ],
    )
    @pytest.mark.parametrize("mode", ["PATH", "PIXELS"])
    def test_changed_sources_are_read_anew(self, backend, ending, change, mode, tmp_path):
        path = write(tmp_path / f"image{ending}", 1)
        dset = kwcoco.CocoDataset()
        dset.add_image(file_name=str(path), id=1)
        frames = CocoFrames(dset, mode, tmp_path / "work", backend=backend)
        assert np.array_equal(whole(frames, 1), draw(1))
        for seed in (2, 3, 1):
            change(path, seed)
            assert np.array_equal(whole(frames, 1), draw(seed))

    def test_a_touched_source_is_read_as_it_was(self, backend, ending, tmp_path):
        path = write(tmp_path / f"image{ending}", 1)
        frames = SimpleFrames({1: path}, tmp_path / "work", backend)
        for _ in range(3):
            assert np.array_equal(whole(frames, 1), draw(1))
            touch(path)

    @removes_open_files
    def test_two_files_that_swap_their_names_swap_their_pixels(self, backend, ending, tmp_path):
        paths = {gid: write(tmp_path / f"{gid}{ending}", gid) for gid in (1, 2)}
        frames = SimpleFrames(paths, tmp_path / "work", backend)
        assert all(np.array_equal(whole(frames, gid), draw(gid)) for gid in (1, 2))
        for first, second in ((2, 1), (1, 2)):
            paths[1].rename(tmp_path / "between")
            paths[2].rename(paths[1])
            (tmp_path / "between").rename(paths[2])
            assert np.array_equal(whole(frames, 1), draw(first))
            assert np.array_equal(whole(frames, 2), draw(second))

    @removes_open_files
    def test_a_removed_source_is_missing_and_may_come_back(self, backend, ending, tmp_path):
        path = write(tmp_path / f"image{ending}", 1)
        frames = SimpleFrames({1: path}, tmp_path / "work", backend)
        assert np.array_equal(whole(frames, 1), draw(1))
        path.unlink()
        with pytest.raises(MissingSourceError, match=r"image 1: .*image\.\w+ does not exist"):
            whole(frames, 1)
        write(path, 2)
        assert np.array_equal(whole(frames, 1), draw(2))

    def test_a_source_that_shrinks_below_what_the_dataset_states_is_an_error(self, backend, ending, tmp_path):
        path = write(tmp_path / f"image{ending}", 1)
        dset = kwcoco.CocoDataset()
        dset.add_image(file_name=str(path), id=1, height=DIMS[0], width=DIMS[1])
        frames = CocoFrames(dset, workdir=tmp_path / "work", backend=backend)
        assert np.array_equal(whole(frames, 1), draw(1))
        WRITERS[ending](path, draw(1)[:30])
        touch(path)
        with pytest.raises(SourceError, match=r"has .* \(30, 70\); the dataset states \(50, 70\)"):
            whole(frames, 1)

    @removes_open_files
    def test_threads_see_only_whole_states_of_a_source_that_is_replaced(self, backend, ending, tmp_path):
        path = write(tmp_path / f"image{ending}", 0)
        frames = SimpleFrames({1: path}, tmp_path / "work", backend)
        states = [draw(seed) for seed in range(6)]

        def read() -> bool:
            try:
                found = whole(frames, 1)
            except SourceError as ex:
                # The source was replaced while it was being converted.
                return "was changed while" in str(ex)
            return any(np.array_equal(found, state) for state in states)

        for seed in range(1, 6):
            readers = [start_thread(lambda: [read() for _ in range(3)]) for _ in range(4)]
            replace(path, seed)
            assert all(map(all, results(readers)))
            assert np.array_equal(whole(frames, 1), states[seed])


@each_caching
class TestChangedMeanwhile:
    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(write, id="edited in place"),
            pytest.param(replace, id="replaced", marks=removes_open_files),
        ],
    )
    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("ending", [".png", ".tiff"])
    def test_a_source_that_changes_while_it_is_converted_makes_no_entry(
        self, backend, change, when, ending, tmp_path
    ):
        path = write(tmp_path / f"image{ending}", 1)
        frames = SimpleFrames({1: path}, tmp_path / "work", backend)
        convert = frames._cache.backend.convert

        def disturbed(source, dest) -> None:
            if when == "before":
                change(path, 2)
            convert(source, dest)
            if when == "after":
                change(path, 2)

        frames._cache.backend.convert = disturbed
        with pytest.raises(SourceError, match=r"image 1: .*was changed while it was being read"):
            whole(frames, 1)
        assert entries(frames) == []
        assert in_the_way(frames) == []
        frames._cache.backend.convert = convert
        assert np.array_equal(whole(frames, 1), draw(2))

    def test_a_source_that_is_removed_while_it_is_converted_makes_no_entry(self, backend, tmp_path):
        path = write(tmp_path / "image.png", 1)
        frames = SimpleFrames({1: path}, tmp_path / "work", backend)
        convert = frames._cache.backend.convert

        def disturbed(source, dest) -> None:
            path.unlink()
            convert(source, dest)

        frames._cache.backend.convert = disturbed
        with pytest.raises(MissingSourceError, match=r"image 1: .*image.png does not exist"):
            whole(frames, 1)
        assert entries(frames) == []
        assert in_the_way(frames) == []


@each_backend
class TestSharedFolders:
    """Two datasets with equal file names, sizes and times in one workdir."""

    def make_bundle(self, folder: pathlib.Path, seed: int, given: str) -> kwcoco.CocoDataset:
        (folder / "images").mkdir(parents=True)
        dset = kwcoco.CocoDataset()
        dset.fpath = str(folder / "data.kwcoco.json")
        for gid, ending in enumerate(WRITERS, 1):
            path = write(folder / "images" / f"{gid}{ending}", seed + gid)
            os.utime(path, (1_600_000_000, 1_600_000_000))
            dset.add_image(file_name=f"images/{path.name}", id=gid, hashid=f"{given}-{gid}")
        return dset

    @pytest.mark.parametrize("mode", ["PATH", "PIXELS", "GIVEN"])
    def test_two_bundles_never_meet(self, backend, mode, tmp_path):
        bundles = {seed: self.make_bundle(tmp_path / str(seed), seed, f"b{seed}") for seed in (10, 20)}
        for _ in range(2):
            for seed, dset in bundles.items():
                frames = CocoFrames(dset, mode, tmp_path / "work", backend=backend)
                for gid in range(1, 5):
                    assert np.array_equal(whole(frames, gid), draw(seed + gid))

    @pytest.mark.parametrize("mode", ["PATH", "PIXELS", "GIVEN"])
    def test_a_bundle_that_moves_costs_what_its_mode_says(self, backend, mode, tmp_path):
        dset = self.make_bundle(tmp_path / "old", 10, "b")
        frames = CocoFrames(dset, mode, tmp_path / "work", backend=backend)
        frames.prepare()
        before = set(entries(frames)) if backend else set()
        shutil.copytree(tmp_path / "old", tmp_path / "new")
        shutil.rmtree(tmp_path / "old")
        dset.fpath = str(tmp_path / "new" / "data.kwcoco.json")
        moved = CocoFrames(dset, mode, tmp_path / "work", backend=backend)
        for gid in range(1, 5):
            assert np.array_equal(whole(moved, gid), draw(10 + gid))
        made = (set(entries(moved)) if backend else set()) - before
        assert len(made) == (len(before) if mode == "PATH" else 0)

    def test_files_of_equal_content_share_an_entry_by_pixels_alone(self, backend, tmp_path):
        for mode, count in (("PATH", 2), ("PIXELS", 1)):
            dset = kwcoco.CocoDataset()
            for gid, folder in enumerate(("a", "b"), 1):
                (tmp_path / mode / folder).mkdir(parents=True)
                dset.add_image(file_name=str(write(tmp_path / mode / folder / "image.png", 1)), id=gid)
            frames = CocoFrames(dset, mode, tmp_path / f"work{mode}", backend=backend)
            assert all(np.array_equal(whole(frames, gid), draw(1)) for gid in (1, 2))
            assert not backend or len(entries(frames)) == count

    def test_backends_and_settings_in_one_folder_never_meet(self, backend, tmp_path):
        path = write(tmp_path / "image.png", 1)
        settings = {"npy": [{}], "cog": [{"compress": "LZW"}, {"blocksize": 16}, {"compress": "JPEG"}]}
        configs = [{"type": backend, "config": config} for config in settings.get(backend, [{}])]
        for config in [*configs, *configs]:
            found = whole(SimpleFrames({1: path}, tmp_path / "work", config), 1)
            lossy = config["config"].get("compress") == "JPEG"
            assert np.array_equal(found, draw(1)) != lossy
