"""
One version of a file on disk, identified by the properties that the file system reports.
"""

from __future__ import annotations

import os
from typing import NamedTuple

#: Makes a named tuple without calling its constructor, which is slow in Python; every window needs two.
_new = tuple.__new__


class FileVersion(NamedTuple):
    """Properties that distinguish two versions of a file without reading it, within one process.

    They are never stored, because inodes may differ between hosts that share a disk, and inodes and times of
    change differ between copies.
    """

    path: str
    """Absolute path."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last change, in nanoseconds."""
    inode: int
    """Inode, which is another one if another file takes its place; 0 if the file system has no inodes."""
    ctime_ns: int
    """Time of the last change of the file or its properties, in nanoseconds, which programs cannot set; on
    Windows the time of creation; 0 if it is not compared."""

    @classmethod
    def from_stat(cls, path: str, stat: os.stat_result) -> FileVersion:
        """Return the version that a call of :func:`os.stat` found at a path."""
        return _new(cls, (path, stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns))

    @classmethod
    def find(cls, path: str) -> FileVersion | None:
        """Return the current version of the file at a path; None if no file can be accessed there.

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
        """Return the version of a cache entry; None if no file can be accessed there.

        The time of the last change of properties is not compared, because sealing an entry changes it.
        """
        try:
            stat = os.stat(path)
        except (OSError, ValueError):
            return None
        return _new(cls, (path, stat.st_size, stat.st_mtime_ns, stat.st_ino, 0))

    def is_current(self) -> bool:
        """Whether the file at the path still has this version."""
        find = FileVersion.find if self.ctime_ns else FileVersion.find_entry
        return find(self.path) == self
