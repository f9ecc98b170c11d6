"""
One version of a file on disk: what the file system says of it at one moment.
"""

from __future__ import annotations

import os
from typing import NamedTuple

#: Makes a named tuple without calling its constructor, which is slow in Python; every window needs two.
_new = tuple.__new__


class FileVersion(NamedTuple):
    """Tells two versions of one file apart without reading it, within one process.

    Inodes may differ between hosts that share a disk, and they and times of change differ between copies.
    So neither is ever stored.
    """

    path: str
    """Absolute path."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last change, in nanoseconds."""
    inode: int
    """Number of the file in its file system, which changes when another file takes its place; 0 where there
    are no such numbers."""
    ctime_ns: int
    """Time of the last change of the file or of its properties, in nanoseconds, which no program can set; the
    time of creation on Windows; 0 if it does not count."""

    @classmethod
    def from_stat(cls, path: str, stat: os.stat_result) -> FileVersion:
        """Return the version that a call of :func:`os.stat` found at a path."""
        return _new(cls, (path, stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns))

    @classmethod
    def find(cls, path: str) -> FileVersion | None:
        """Return the version that is at a path now; None if no file can be reached there.

        Example:
            >>> FileVersion.find('/no/such/file') is None
            True
        """
        try:
            stat = os.stat(path)
        except (OSError, ValueError):
            return None
        return cls.from_stat(path, stat)

    @classmethod
    def find_entry(cls, path: str) -> FileVersion | None:
        """Return the version of a cache entry; None if no file can be reached there.

        Sealing an entry sets its time, which must not make it another version.
        """
        try:
            stat = os.stat(path)
        except (OSError, ValueError):
            return None
        return _new(cls, (path, stat.st_size, stat.st_mtime_ns, stat.st_ino, 0))

    def is_current(self) -> bool:
        """Whether the file at the path is still of this version."""
        find = FileVersion.find if self.ctime_ns else FileVersion.find_entry
        return find(self.path) == self
