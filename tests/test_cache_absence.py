"""``prune`` keeps the entries of images that may lie on a disk that is not mounted."""

from __future__ import annotations

import os

import pytest
from helpers_images import random_pixels, write_png

from ndsampler.abstract_frames import SimpleFrames
from ndsampler.cache import absence
from ndsampler.cache.inventory import survey
from ndsampler.cache.prune import prune
from ndsampler.cli.main import main


@pytest.fixture
def disk(tmp_path):
    """A folder with four images that have entries."""
    (tmp_path / "disk").mkdir()
    paths = [write_png(tmp_path / "disk" / f"{n}.png", random_pixels(seed=n)) for n in range(4)]
    SimpleFrames(dict(enumerate(map(str, paths))), workdir=tmp_path / "work", backend="npy").prepare()
    return tmp_path / "disk"


def remove(disk, count: int) -> None:
    for path in sorted(disk.iterdir())[:count]:
        path.unlink()


def doubts(disk) -> list[str]:
    """Return the reasons for keeping entries, after checking that ``force`` removes them."""
    workdir = disk.parent / "work"
    report = prune(workdir)
    forced = prune(workdir, dry_run=True, force=True)
    kept = sum(tally.count for tally in report.doubtful.values())
    assert (report.total.count, forced.total.count) == (0, kept)
    assert survey(workdir).entries.count == 4
    return list(report.doubtful)


def test_deleted_images_among_others_are_pruned(disk):
    remove(disk, 3)
    report = prune(disk.parent / "work")
    assert (report.removed["orphaned"].count, report.doubtful) == (3, {})


def test_an_empty_folder_may_be_a_mount_point(disk):
    remove(disk, 4)
    (reason,) = doubts(disk)
    assert str(disk) in reason
    assert "is empty" in reason


def test_another_disk_may_be_mounted(disk, monkeypatch):
    remove(disk, 2)
    (disk / "other.txt").touch()
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(disk))
    (reason,) = doubts(disk)
    assert "mount point" in reason


def test_many_images_are_not_taken_for_deleted_at_once(disk, monkeypatch):
    monkeypatch.setattr(absence, "MANY_GONE", 3)
    remove(disk, 3)
    assert doubts(disk) == ["3 images are gone, and 1 are there"]


def test_the_command_says_why_and_asks_for_force(disk, capsys):
    remove(disk, 4)
    workdir = str(disk.parent / "work")
    assert main(["prune", workdir, "--quiet"]) == 0
    assert f"4 orphaned entries are kept: {disk} is empty" in (out := capsys.readouterr().out)
    assert "--force" in out
    assert main(["prune", workdir, "--quiet", "--force"]) == 0
    assert "4 orphaned" in capsys.readouterr().out
    assert survey(workdir).entries.count == 0
