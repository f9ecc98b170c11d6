"""
Where entries are written before they get their names.

Each writer works in a folder of its own inside ``_partial``, beside the entries
and so on the same disk, and holds a lock in it for as long as it lives; the
operating system lets go of the lock when the writer dies, however it dies.
Hence a folder whose lock can be had is a dead writer's, and is removed; and who
wants to write what another writes already waits until that lock is free.

The lock only saves work. Where the file system knows none, every writer works
on its own, and the last to finish gives the entry its name.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import platform
import time
import uuid
from typing import TYPE_CHECKING

try:
    import fcntl
except ImportError:  # Windows, which does not remove the files of a process that lives
    fcntl = None  # type: ignore[assignment]

from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

#: Folder of all that is being written, below the folder of the entries.
FOLDER = "_partial"

#: The file in a writer's folder that it holds the lock of.
LOCK = "lock"

#: How the names of what is written end.
ENDING = ".partial"

#: Bytes of a machine's name that are looked at.
HOST_BYTES = 200

#: Seconds between two looks at whether another writer is done.
POLL_SECONDS = 0.02

#: Seconds to wait for another writer. One that takes longer has been stopped, or writes a very large image:
#: then the same is written twice.
PATIENCE_SECONDS = 600.0

#: How often in a row a place may be gone before it is clear that none can be made.
MAX_MISSES = 25

#: Seconds after which a place counts as left behind where locks do not tell: there are none, or it is
#: another machine's.
STALE_SECONDS = 86_400.0

#: Descriptors of the lock files that this process has open.
_open_locks: list[int] = []


class PartialFiles:
    """Gives writers of one folder of entries a place to work, and clears up after dead ones.

    Args:
        dpath: the folder of the entries.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as dpath:
        ...     partials = PartialFiles(dpath)
        ...     with partials.claim('token') as file:
        ...         print(os.path.splitext(file)[1], len(partials.leftovers()))
        .partial 0
    """

    def __init__(self, dpath: str) -> None:
        self.dpath = os.path.join(dpath, FOLDER)

    @contextlib.contextmanager
    def claim(self, token: str) -> Iterator[str]:
        """Give the name of a file to write, which is gone when the block ends.

        Whoever claims a token waits while another, in whatever thread or process, holds it: so look
        whether the work has been done meanwhile.

        Args:
            token: names what is to be written.

        Raises:
            OSError: if no place can be made.
        """
        self.sweep()
        place, lock = self._take(token)
        # Two machines may both be given the lock, where a network disk is mounted without locks.
        own = f"entry.{uuid.uuid4().hex[:8]}"
        try:
            _sign(lock)
            yield os.path.join(place, own + ENDING)
        finally:
            _remove_place(place, own)
            _close_lock(lock)

    def leftovers(self) -> list[str]:
        """Return the folders of writers that are no more."""
        return [os.path.join(self.dpath, name) for name in self._names() if self.is_left_over(name)]

    def is_left_over(self, name: str) -> bool:
        """Whether the folder of that name is of a writer that is no more."""
        place = os.path.join(self.dpath, name)
        with _lock_of_the_dead(place) as lock:
            return lock is not None or _is_empty(place)

    def remove(self, name: str) -> bool:
        """Remove the folder of a writer that is no more; return False if it lives, or that is not allowed."""
        place = os.path.join(self.dpath, name)
        with _lock_of_the_dead(place) as lock:
            return _remove_place(place) if lock is not None else _remove_empty(place)

    def sweep(self) -> int:
        """Remove what dead writers left, as far as that is allowed, and return how many they were."""
        return sum(self.remove(name) for name in self._names())

    def _names(self) -> list[str]:
        """Return the names of the folders of all writers, dead or alive."""
        try:
            with os.scandir(self.dpath) as found:
                # A link would lead to files that are not ours.
                return sorted(child.name for child in found if child.is_dir(follow_symlinks=False))
        except OSError as ex:
            logger.debug("%s is left alone: %s", self.dpath, ex)
            return []

    def _take(self, token: str) -> tuple[str, int]:
        """Make a place, wait until no other writer has it, and return it with the lock's descriptor."""
        place = os.path.join(self.dpath, token)
        deadline = time.monotonic() + PATIENCE_SECONDS
        misses = 0
        try:
            while (lock := _lock_place(place)) is None and time.monotonic() < deadline:
                misses = 0 if os.path.isdir(place) else misses + 1
                if misses > MAX_MISSES:
                    # No other removes it each time: none can be made here.
                    os.makedirs(place)
                time.sleep(POLL_SECONDS)
        except LocksUnknownError:
            lock = None
            _remove_lock(place)
        if lock is not None:
            return place, lock
        return _take_alone(f"{place}.{uuid.uuid4().hex[:8]}")


def _take_alone(place: str) -> tuple[str, int]:
    """Make a place that nobody else knows of, and return it with the descriptor of its lock."""
    for _ in range(MAX_MISSES):
        try:
            lock = _lock_place(place)
        except LocksUnknownError:
            return place, _open_lock(place)
        if lock is not None:
            return place, lock
        # Who clears up took it for a dead writer's before it had a lock.
    raise OSError(errno.EBUSY, f"{place} is removed again and again")


class LocksUnknownError(OSError):
    """The file system has no locks."""


def _open_lock(place: str, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """Open the file that stands for a place, making it where it is missing if the flags say so."""
    with GATE:
        lock = os.open(os.path.join(place, LOCK), flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
        _open_locks.append(lock)
    return lock


def _close_lock(lock: int) -> None:
    """Let go of a lock, unless this is a fork, which has done so."""
    with GATE:
        if lock in _open_locks:
            _open_locks.remove(lock)
            os.close(lock)


def _drop_inherited_locks() -> None:
    """Close the locks of the parent's threads in a fork, which would hold them after the parent's death."""
    while _open_locks:
        os.close(_open_locks.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_inherited_locks)


def _lock_place(place: str) -> int | None:
    """Make a place and return the descriptor of its lock; None if another has it."""
    try:
        if os.path.islink(place):
            # None of ours: who works through it would remove files elsewhere.
            os.unlink(place)
        os.makedirs(place, exist_ok=True)
        lock = _open_lock(place)
    except (FileNotFoundError, FileExistsError):
        above = os.path.dirname(place)
        if any(os.path.lexists(path) and not os.path.isdir(path) for path in (place, above)):
            raise
        return None  # it was removed by another just now
    try:
        if _try_lock(lock) and _is_still_at(lock, os.path.join(place, LOCK)):
            return lock
    except BaseException:
        _close_lock(lock)
        raise
    _close_lock(lock)
    return None


def _try_lock(lock: int) -> bool:
    """Take a lock if nobody has it, and say whether that went well.

    Raises:
        LocksUnknownError: if there is no such thing here.
    """
    if fcntl is None:
        raise LocksUnknownError("this system has no flock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as ex:
        raise LocksUnknownError(f"locks do not work here: {ex}") from ex
    return True


def _is_still_at(lock: int, path: str) -> bool:
    """Whether a path still leads to an open file: a place may go between its opening and its locking."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _lock_of_the_dead(place: str) -> Iterator[int | None]:
    """Hold the lock of a place during the block; None if it is another's, or cannot be had."""
    try:
        lock = _open_lock(place, os.O_RDWR)
    except OSError as ex:
        # It has gone, is none of our folders, or may only be read.
        logger.debug("%s is left alone: %s", place, ex)
        yield None
        return
    try:
        yield lock if _is_dead(place, lock) else None
    finally:
        _close_lock(lock)


@functools.cache
def _host() -> bytes:
    """Return the name of this machine."""
    return platform.node().encode()[:HOST_BYTES]


def _sign(lock: int) -> None:
    """Write into a lock which machine holds it."""
    os.ftruncate(lock, 0)
    os.write(lock, _host())


def _is_dead(place: str, lock: int) -> bool:
    """Whether nobody works in a place. What another machine left has to be old, whatever its lock says."""
    try:
        if not (_try_lock(lock) and _is_still_at(lock, os.path.join(place, LOCK))):
            return False
        if os.read(lock, HOST_BYTES + 1) in (b"", _host()):
            return True
    except LocksUnknownError:
        logger.debug("there are no locks in %s", place)
    return time.time() - os.fstat(lock).st_mtime > STALE_SECONDS


def _is_empty(place: str) -> bool:
    """Whether a folder holds nothing, as that of a writer that died between its last two steps."""
    try:
        with os.scandir(place) as found:
            return next(found, None) is None
    except OSError:
        return False


def _remove_empty(place: str) -> bool:
    """Remove a folder that holds nothing, and say whether that went well."""
    try:
        os.rmdir(place)
    except OSError:
        return False
    return True


def _remove_place(place: str, own: str = "") -> bool:
    """Remove a place whose lock is held, and say whether that went well.

    Args:
        place: the folder.
        own: how the names of one writer's files begin; those of another are left to it.
    """
    try:
        for name in os.listdir(place):
            if name != LOCK and name.startswith(own):
                os.unlink(os.path.join(place, name))
    except OSError as ex:
        logger.debug("%s is not removed: %s", place, ex)
        return False
    # Last, since the next writer may enter as soon as it has gone.
    return _remove_lock(place)


def _remove_lock(place: str) -> bool:
    """Remove the lock of a place, and the place if nothing else is in it; say whether that went well."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(place, LOCK))
        os.rmdir(place)
    except OSError as ex:
        logger.debug("%s is not removed: %s", place, ex)
        return False
    return True
