"""Folders that are nested beyond what recursion reaches, in each place of a workdir."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest
from helpers_images import assert_same, random_pixels, write_png

from ndsampler.abstract_frames import SimpleFrames
from ndsampler.cache.inventory import count_files, survey
from ndsampler.cli.main import main
from ndsampler.utils.walk import walk

#: Levels of folders: more than Python's limit of recursion, and more than a path can name.
LONG, TOO_LONG = 1050, 2100


def nest(folder: pathlib.Path, depth: int) -> None:
    """Make folders within each other, whose paths may be longer than the system allows."""
    inside = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=inside)
        further = os.open("d", os.O_RDONLY, dir_fd=inside)
        os.close(inside)
        inside = further
    os.close(inside)


@pytest.fixture(name="nested")
def fixture_nested():
    """Return a function that nests folders in a folder until the end of the test."""
    made: list[pathlib.Path] = []

    def make(folder: pathlib.Path, depth: int) -> None:
        folder.mkdir(exist_ok=True)
        made.append(folder)
        nest(folder, depth)

    yield make
    for folder in made:
        # shutil.rmtree is recursive in some releases of Python.
        subprocess.run(["rm", "-rf", str(folder / "d")], check=True, timeout=60)


@pytest.mark.skipif(os.mkdir not in os.supports_dir_fd, reason="folders are made by descriptor")
@pytest.mark.parametrize("place", ["_partial", "npy"])
def test_folders_nested_in_a_workdir_are_passed_over(place, nested, tmp_path, capsys):
    pixels = random_pixels()
    path = write_png(tmp_path / "a.png", pixels)
    frames = SimpleFrames({1: str(path)}, tmp_path / "work", "npy")
    assert_same(frames.load_region(1), pixels)
    (entry,) = (tmp_path / "work").rglob("*.npy")
    root = tmp_path / "work" / "_cache" / "frames"
    places = {"_partial": entry.parents[1] / "_partial", "npy": root / "npy"}
    nested(places[place], LONG)
    assert count_files(tmp_path / "work") == 1
    assert survey(tmp_path / "work").entries.count == 1
    for command in ("info", "prune", "verify"):
        assert main([command, str(tmp_path / "work")]) == 0
    assert_same(SimpleFrames({1: str(path)}, tmp_path / "work", "npy").load_region(1), pixels)
    assert repr(frames)
    capsys.readouterr()


@pytest.mark.skipif(os.mkdir not in os.supports_dir_fd, reason="folders are made by descriptor")
def test_folders_whose_paths_are_too_long_are_told(nested, tmp_path):
    nested(tmp_path, TOO_LONG)
    errors: list[OSError] = []
    found = list(walk(str(tmp_path), errors.append))
    assert len(errors) == 1
    assert LONG < len(found) < TOO_LONG


def test_folders_and_files_are_those_of_os_walk(tmp_path):
    for name in ("b/c", "a/d/e", "a/b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    expected = sorted((base, sorted(folders), sorted(files)) for base, folders, files in os.walk(tmp_path))
    assert sorted(walk(str(tmp_path))) == expected
    assert list(walk(str(tmp_path / "none"))) == []
