"""Nothing is removed, written to or waited for that this library has not made."""

from __future__ import annotations

import os
import pathlib

import pytest
from helpers_images import random_pixels, write_png
from helpers_workdir import leave_behind, make_socket

from ndsampler.abstract_frames import SimpleFrames
from ndsampler.cache import folders
from ndsampler.cache.inventory import scan, survey
from ndsampler.cache.partial import FOLDER, LOCK, PartialFiles
from ndsampler.cache.prune import prune
from ndsampler.cache.removal import find_own_entries, remove_item
from ndsampler.cache.reports import EntryReport, Status

TOKEN = "ab" * 16


@pytest.fixture(params=["by descriptor", "by path"], autouse=True)
def way(request, monkeypatch):
    """Work by descriptors, or as on Windows by paths."""
    if request.param == "by path":
        monkeypatch.setattr(folders, "have_descriptors", lambda: False)
    elif not folders.have_descriptors():
        pytest.skip("this system has no descriptors of folders")


@pytest.fixture
def frames(tmp_path):
    path = write_png(tmp_path / "image.png", random_pixels())
    return SimpleFrames({1: str(path)}, workdir=tmp_path / "work", backend="npy")


@pytest.fixture
def home(tmp_path):
    """A folder outside of the workdir that looks like one of writers."""
    for name in (TOKEN, "cd" * 16):
        (tmp_path / "home" / name).mkdir(parents=True)
        (tmp_path / "home" / name / LOCK).touch()
        (tmp_path / "home" / name / "entry.partial").write_bytes(b"precious")
    (tmp_path / "home" / ("ef" * 16)).mkdir()
    return tmp_path / "home"


def contents(folder: pathlib.Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def use(frames) -> None:
    """Do everything that clears up."""
    frames.prepare()
    assert frames.load_region(1).shape == random_pixels().shape
    survey(frames.workdir)
    prune(frames.workdir)
    SimpleFrames(frames.id_to_path, workdir=frames.workdir, backend="npy").prepare()


@pytest.mark.parametrize("level", ["_partial", "writer's folder"])
def test_nothing_behind_a_link_is_removed(level, frames, home):
    partial = pathlib.Path(frames.cache_dpath, FOLDER)
    before = contents(home)
    partial.parent.mkdir(parents=True)
    if level == "_partial":
        partial.symlink_to(home)
    else:
        partial.mkdir()
        (partial / TOKEN).symlink_to(home / TOKEN)
        token = frames._cache.identify(frames.sources(1)[0]).token
        (partial / token).symlink_to(home / TOKEN)
    assert PartialFiles(frames.cache_dpath).clean_up() == 0
    use(frames)
    assert contents(home) == before


@pytest.mark.parametrize("foreign", ["file", "folder", "link", "name"])
def test_a_folder_that_holds_what_no_writer_makes_stays(foreign, frames, home):
    place = leave_behind(pathlib.Path(frames.cache_dpath))
    if foreign == "file":
        (place / "notes.txt").write_text("mine")
    elif foreign == "folder":
        (place / "entry.partial.d").mkdir()
    elif foreign == "link":
        (place / "entry.12345678.partial").symlink_to(home / TOKEN / "entry.partial")
    else:
        place = place.rename(place.with_name("mine"))
    before = contents(place)
    use(frames)
    assert contents(place) == before
    assert [item.status for item in scan(frames.workdir) if item.path == str(place)] == [Status.FOREIGN]


@pytest.mark.parametrize("kind", ["hard link", "fifo", "device", "socket", "folder", "link"])
@pytest.mark.parametrize("own", [True, False], ids=["of this image", "of another"])
def test_what_is_named_as_a_lock_file_and_is_none_stays(kind, own, frames, tmp_path):
    token = frames._cache.identify(frames.sources(1)[0]).token if own else TOKEN
    lock = pathlib.Path(frames.cache_dpath, FOLDER, token, LOCK)
    lock.parent.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    if kind == "hard link":
        os.link(precious, lock)
    elif kind == "fifo":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes here")
        os.mkfifo(lock)
    elif kind == "device":
        try:
            os.mknod(lock, 0o20666, os.makedev(1, 5))
        except (AttributeError, PermissionError):
            pytest.skip("only root makes devices")
    elif kind == "socket":
        make_socket(lock)
    elif kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(precious)
    before = lock.lstat()
    use(frames)
    assert (lock.lstat().st_ino, lock.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert precious.read_bytes() == b"precious"


def test_a_folder_that_becomes_a_link_after_the_report_is_not_followed(frames, tmp_path):
    frames.prepare()
    (item,) = scan(frames.workdir)
    shard = pathlib.Path(item.path).parent
    moved = shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(moved)
    assert remove_item(item, find_own_entries(frames.workdir))
    assert len(list(moved.iterdir())) == 1


@pytest.mark.skipif(not folders.have_descriptors(), reason="this system has no descriptors of folders")
def test_a_folder_that_becomes_a_link_while_it_is_open_is_not_followed(tmp_path, way):
    (tmp_path / "folder").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"ours")
    (tmp_path / "other" / "file").write_bytes(b"precious")
    with folders.open_folder(str(tmp_path), "folder") as folder:
        (tmp_path / "folder").rename(tmp_path / "moved")
        (tmp_path / "folder").symlink_to(tmp_path / "other")
        try:
            folder.unlink("file")
        except OSError:
            assert not folders.have_descriptors()
    assert (tmp_path / "other" / "file").read_bytes() == b"precious"


def test_an_entry_that_was_made_again_stays(frames):
    frames.prepare()
    (item,) = scan(frames.workdir)
    other = EntryReport(item.path, item.folder, Status.DAMAGED, inode=item.inode + 1)
    assert remove_item(other, find_own_entries(frames.workdir)) is None
    assert pathlib.Path(item.path).exists()
