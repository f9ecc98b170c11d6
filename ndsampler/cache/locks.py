"""
Lock files, and a fallback for systems without locks.

A lock is acquired with ``flock``. The operating system releases it when the process ends for any reason, so
if a lock can be acquired, no living process holds it. Windows has no ``flock``, and some network file systems
do not support it. There :meth:`LockFile.acquire` raises :class:`LocksUnavailableError`, and only the age of a
lock file indicates whether its process may still be alive.

A process writes the name of its host into its lock files, because another host may not see the lock on a
network file system.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import platform
import time
from stat import S_ISLNK, S_ISREG

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from ndsampler.utils.fork_safety import GATE

#: Maximum length in bytes of a host name in a lock file.
HOST_BYTES = 200

#: Lock files that this process has open.
_open_files: list[LockFile] = []


class LocksUnavailableError(OSError):
    """The operating system or the file system has no locks."""


def have_locks() -> bool:
    """Return whether the operating system has locks. A file system may still not support them."""
    return fcntl is not None


class ForeignLockError(OSError):
    """The path of a lock file leads to a link, a file with several hard links, a pipe, or a device."""


class LockFile:
    """A lock file that this process has open.

    A forked child closes the lock files that it inherits; otherwise it would hold its parent's locks after
    the parent has died.

    Args:
        path: the file. A link is never followed.
        create: create the file if it is missing.

    Raises:
        ForeignLockError: if it is a link, has several hard links, or is not a regular file.
        OSError: if the file cannot be opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as dpath:
        ...     file = LockFile(os.path.join(dpath, 'lock'))
        ...     file.sign()
        ...     file.close()
        ...     os.listdir(dpath)
        ['lock']
    """

    def __init__(self, path: str, create: bool = True) -> None:
        self.path = path
        self.is_locked = False
        with GATE:
            self._descriptor = _open_file(path, os.O_RDWR | (os.O_CREAT if create else 0))
            _open_files.append(self)

    def acquire(self) -> bool:
        """Acquire the lock without waiting; return False if another process or thread holds it.

        Raises:
            LocksUnavailableError: if the operating system or the file system has no locks.
        """
        if not have_locks():
            raise LocksUnavailableError("this system has no flock")
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[attr-defined, unused-ignore]
        except BlockingIOError:
            return False
        except OSError as ex:
            raise LocksUnavailableError(f"flock does not work on this file system: {ex}") from ex
        self.is_locked = True
        return True

    def has(self, stat: os.stat_result) -> bool:
        """Return whether a file status belongs to this file."""
        return os.path.samestat(os.fstat(self._descriptor), stat)

    def is_in_place(self) -> bool:
        """Return whether the path still leads to this file, which may be removed before it is locked."""
        try:
            return self.has(os.lstat(self.path))
        except FileNotFoundError:
            return False

    def sign(self) -> None:
        """Write the name of this host into the file."""
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, host_name())

    def is_signed_elsewhere(self) -> bool:
        """Return whether the file contains the name of another host."""
        return os.read(self._descriptor, HOST_BYTES + 1) not in (b"", host_name())

    def age(self) -> float:
        """Return the seconds since the file was signed."""
        return time.time() - os.fstat(self._descriptor).st_mtime

    def close(self) -> None:
        """Close the file, which releases the lock. A second call, or one in a forked child, does nothing."""
        with GATE:
            if self in _open_files:
                _open_files.remove(self)
                os.close(self._descriptor)


def _open_file(path: str, flags: int) -> int:
    """Open a lock file, and return its descriptor.

    Pipes and devices are not opened, because opening a pipe may block for ever and opening a device may have
    any effect. A file with several hard links may belong to another program.
    """
    with contextlib.suppress(FileNotFoundError):
        _check_lock_file(os.lstat(path), path)
    safe = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | safe, 0o666)
    try:
        _check_lock_file(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_lock_file(stat: os.stat_result, path: str) -> None:
    """Raise a ForeignLockError unless a file is a regular file with one hard link."""
    if S_ISLNK(stat.st_mode):
        raise ForeignLockError(errno.ELOOP, "a symbolic link is not followed", path)
    # A file that was just removed has no link.
    if not S_ISREG(stat.st_mode) or stat.st_nlink > 1:
        raise ForeignLockError(errno.EINVAL, "this is not a lock file of the cache", path)


@functools.cache
def host_name() -> bytes:
    """Return the name of this host as it is written into lock files."""
    return platform.node().encode()[:HOST_BYTES]


def _drop_inherited_files() -> None:
    """Close the lock files that a forked child has inherited."""
    while _open_files:
        os.close(_open_files.pop()._descriptor)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_inherited_files)
