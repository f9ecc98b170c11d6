"""
One version of a file on disk: what the file system says of it at one moment.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class FileVersion(NamedTuple):
    """Tells two versions of one file apart without reading it."""

    path: str
    """Absolute path."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last change, in nanoseconds."""
    inode: int
    """Number of the file in its file system, which changes when another file takes its place."""

    @classmethod
    def from_stat(cls, path: str, stat: os.stat_result) -> FileVersion:
        """Return the version that a call of :func:`os.stat` found at a path."""
        return cls(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)

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
        return cls(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)

    def is_current(self) -> bool:
        """Whether the file at the path is still of this version."""
        return FileVersion.find(self.path) == self
