"""A workdir with cache entries, and ways to damage it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import shutil
import stat

import pytest
from helpers_systems import have_locks

from ndsampler.abstract_frames import Frames, SimpleFrames
from ndsampler.cache.identity import Source
from ndsampler.cache.inventory import scan
from ndsampler.cache.partial import LOCK

#: Name of the incomplete file that a dead writer left behind.
FILE = "entry.partial"


class HashedFrames(SimpleFrames):
    """Frames with a choice of the hash mode that names their entries."""

    def __init__(self, id_to_path, mode, **kw):
        Frames.__init__(self, mode, **kw)
        self.id_to_path = id_to_path


def make_socket(path):
    """Make a socket in the file system, or skip the test where that is not possible."""
    try:
        os.mknod(path, stat.S_IFSOCK | 0o600)
    except (AttributeError, OSError):
        pytest.skip("no sockets here")


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
        return {
            gid: pathlib.Path(frames._cache.entry_path(Source(str(path))))
            for gid, path in self.images.items()
        }

    def states(self):
        """Return the status of everything in the workdir, by path."""
        return {pathlib.Path(item.path): item.status for item in scan(self.workdir)}


def files_below(folder):
    """Return every file and link below a folder with its contents."""
    return {
        path: os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def edit(path):
    """Change the contents and the modification time of a file, as an edit does."""
    stat = path.stat()
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


def flip(path, at=0.5, keep_times=True):
    """Flip a bit, as a failing disk does (times are kept) or as a program does."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)
    if keep_times:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def leave_behind(entries):
    """Create the folder of a dead writer, with an incomplete file, and return it."""
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


def put_foreign_things(entry, tmp_path):
    """Create files, folders and links in a workdir that are not entries, and return them."""
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
