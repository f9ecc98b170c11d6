"""
Folders in which entries are written before they are renamed to their final names.

Each writer works in its own folder below ``_partial``, which is on the same disk as the entries. The writer
holds the lock of a file in its folder for as long as it lives. If the lock of a folder can be acquired, its
writer has died and the folder is removed. A writer of an entry that another writer is already writing waits
until the lock is free.

The lock only avoids duplicate work. Without locks, each writer converts the source independently, the file of
the last one to finish becomes the entry, and a folder is stale when its lock file is a day old.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from stat import S_ISREG
from typing import TYPE_CHECKING

from ndsampler.cache.folders import Folder, open_folder
from ndsampler.cache.locks import ForeignLockError, LockFile, LocksUnavailableError, have_locks
from ndsampler.cache.names import is_writer_file, is_writer_folder
from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = get_logger(__name__)

#: Name of the folder that contains the writers' folders, below the folder of the entries.
FOLDER = "_partial"

#: The name of the lock file in a writer's folder.
LOCK = "lock"

#: The suffix of files that are being written.
ENDING = ".partial"

#: Seconds between two attempts to acquire the lock of another writer.
POLL_SECONDS = 0.02

#: Seconds to wait for another writer. One that takes longer may be suspended, or write a very large image.
#: This writer then writes the entry too.
PATIENCE_SECONDS = 600.0

#: Maximum number of consecutive attempts to make a folder that another process removes each time.
MAX_MISSES = 25

#: Seconds after which a folder is stale if its lock cannot be relied on, because there are no locks or
#: another host made the folder.
STALE_SECONDS = 86_400.0


class WriterBusyError(OSError):
    """Another writer of the same entry has not finished in time."""


class PartialFiles:
    """Provides each writer of a folder of entries with a file to write, and removes files of dead writers.

    Args:
        dpath: the folder of the entries.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as dpath:
        ...     partials = PartialFiles(dpath)
        ...     with partials.claim('token') as file:
        ...         print(os.path.splitext(file)[1], partials.clean_up())
        .partial 0
    """

    def __init__(self, dpath: str) -> None:
        self.dpath = os.path.join(dpath, FOLDER)

    @contextlib.contextmanager
    def claim(self, token: str, patience: float | None = None) -> Iterator[str]:
        """Yield the path of a file to write; the file is removed when the ``with`` block ends.

        This waits while another thread or process holds the same token. The caller should check afterwards
        whether the other writer has made the entry.

        Args:
            token: identifies the entry to write.
            patience: seconds to wait for another writer; None waits for :data:`PATIENCE_SECONDS`, and then
                lets this writer write the entry too.

        Raises:
            WriterBusyError: if another writer has not finished within ``patience``.
            OSError: if no folder can be made.
        """
        self.clean_up()
        folder, lock = self._claim_folder(token, patience)
        # On a network disk that is mounted without locks, two hosts can acquire the same lock.
        own = f"entry.{uuid.uuid4().hex[:8]}"
        try:
            lock.sign()
            yield os.path.join(folder, own + ENDING)
        finally:
            self._remove_own(folder, lock, own)
            lock.close()

    def is_stale(self, name: str) -> bool:
        """Return whether a folder was left behind by a writer that has died.

        Args:
            name: name of the folder.
        """
        try:
            with open_folder(self.dpath, name) as folder, _lock_of_dead_writer(folder) as lock:
                return _is_ours(folder) if lock else not folder.list_names()
        except OSError as ex:
            logger.debug("%s in %s is left alone: %s", name, self.dpath, ex)
            return False

    def is_writers(self, name: str) -> bool:
        """Return whether a folder holds a lock file, and otherwise only files that writers make.

        Args:
            name: name of the folder.
        """
        try:
            with open_folder(self.dpath, name) as folder:
                return LOCK in folder.list_names() and _is_ours(folder)
        except OSError as ex:
            logger.debug("%s in %s is left alone: %s", name, self.dpath, ex)
            return False

    def remove(self, name: str) -> bool:
        """Remove the folder of a dead writer; return False if the writer lives or removal is not allowed.

        A folder that holds any file that writers do not make is not changed.

        Args:
            name: name of the folder.
        """
        try:
            with (
                open_folder(self.dpath) as above,
                open_folder(self.dpath, name) as folder,
                _lock_of_dead_writer(folder) as lock,
            ):
                if lock is None:
                    above.rmdir(name)
                    return True
                return _is_ours(folder) and _remove_folder(above, folder, lock)
        except OSError as ex:
            logger.debug("%s in %s is left alone: %s", name, self.dpath, ex)
            return False

    def clean_up(self) -> int:
        """Remove the folders of dead writers that may be removed, and return their number."""
        return sum(self.remove(name) for name in self._names())

    def _remove_own(self, path: str, lock: LockFile, own: str) -> None:
        """Remove the files of a writer of this process, and its folder if it is then empty."""
        try:
            with open_folder(self.dpath) as above, open_folder(self.dpath, os.path.basename(path)) as folder:
                _remove_folder(above, folder, lock, own)
        except OSError as ex:
            logger.debug("%s is not removed: %s", path, ex)

    def _names(self) -> list[str]:
        """Return the names of all writers' folders, including those of dead writers."""
        try:
            with open_folder(self.dpath) as folder:
                return [name for name in folder.list_names() if is_writer_folder(name)]
        except OSError as ex:
            logger.debug("%s is left alone: %s", self.dpath, ex)
            return []

    def _claim_folder(self, token: str, patience: float | None) -> tuple[str, LockFile]:
        """Return the folder of a token and its lock file; without locks, those of a separate folder."""
        folder = os.path.join(self.dpath, token)
        lock = self._wait_for(folder, patience) if have_locks() else None
        return _make_own_folder(f"{folder}.{uuid.uuid4().hex[:8]}") if lock is None else (folder, lock)

    def _wait_for(self, folder: str, patience: float | None) -> LockFile | None:
        """Wait until no other writer holds the lock of a folder, and return it; None after a timeout."""
        deadline = time.monotonic() + (PATIENCE_SECONDS if patience is None else patience)
        misses = 0
        try:
            while (lock := _lock_folder(folder)) is None and time.monotonic() < deadline:
                misses = 0 if os.path.isdir(folder) else misses + 1
                if misses > MAX_MISSES:
                    # It is unlikely that another process removed the folder each time. This raises the
                    # reason.
                    os.makedirs(folder)
                time.sleep(POLL_SECONDS)
        except LocksUnavailableError:
            name = os.path.basename(folder)
            with (
                contextlib.suppress(OSError),
                open_folder(self.dpath) as above,
                open_folder(self.dpath, name) as inner,
            ):
                _remove_lock(above, inner)
            return None
        except ForeignLockError as ex:
            logger.warning("%s; another folder is used", ex)
            return None
        if lock is None and patience is not None:
            raise WriterBusyError(errno.EBUSY, "another process or thread is still writing it")
        return lock


def _make_own_folder(folder: str) -> tuple[str, LockFile]:
    """Make a folder for this writer alone, and return it with its lock file, locked if possible."""
    for _ in range(MAX_MISSES):
        try:
            lock = _lock_folder(folder)
        except LocksUnavailableError:
            return folder, LockFile(os.path.join(folder, LOCK))
        if lock is not None:
            return folder, lock
        # A cleanup removed the folder before this writer had locked it.
    raise OSError(errno.EBUSY, f"{folder} was removed {MAX_MISSES} times while it was being locked")


def _lock_folder(folder: str) -> LockFile | None:
    """Make a folder and return its lock; None if another writer holds it or has removed the folder."""
    try:
        for path in (os.path.dirname(folder), folder):
            if os.path.islink(path):
                # The target of a link does not belong to the cache, so only the link is removed.
                logger.warning("the link %s is removed; expected a folder", path)
                os.unlink(path)
        os.makedirs(folder, exist_ok=True)
        lock = LockFile(os.path.join(folder, LOCK))
    except (FileNotFoundError, FileExistsError):
        above = os.path.dirname(folder)
        if any(os.path.lexists(path) and not os.path.isdir(path) for path in (folder, above)):
            raise
        return None  # another process has just removed it
    try:
        if lock.acquire() and lock.is_in_place():
            return lock
    except BaseException:
        lock.close()
        raise
    lock.close()
    return None


@contextlib.contextmanager
def _lock_of_dead_writer(folder: Folder) -> Iterator[LockFile | None]:
    """Hold the lock of a folder during the block; yield None if its writer lives or it cannot be locked."""
    path = os.path.join(folder.path, LOCK)
    if not have_locks() and not _is_old(path):
        # Windows does not remove an open file, so opening it would prevent its writer from removing it.
        yield None
        return
    try:
        lock = LockFile(path, create=False)
    except OSError as ex:
        # The lock file is gone, is read-only, or does not belong to this library.
        logger.debug("%s is left alone: %s", folder.path, ex)
        yield None
        return
    try:
        yield lock if lock.has(folder.stat(LOCK)) and _is_of_dead_writer(lock) else None
    finally:
        lock.close()


def _is_ours(folder: Folder) -> bool:
    """Whether a folder contains only regular files with names that writers use."""
    found = folder.list_names()
    named = all(name == LOCK or is_writer_file(name) for name in found)
    return named and all(S_ISREG(folder.stat(name).st_mode) for name in found)


def _is_of_dead_writer(lock: LockFile) -> bool:
    """Return whether no writer holds a lock. A lock file of another host must also be old."""
    try:
        if not (lock.acquire() and lock.is_in_place()):
            return False
        if not lock.is_signed_elsewhere():
            return True
    except LocksUnavailableError:
        logger.debug("the file system of %s has no locks", lock.path)
    return lock.age() > STALE_SECONDS


def _is_old(path: str) -> bool:
    """Return whether a lock file exists and is older than :data:`STALE_SECONDS`."""
    try:
        return time.time() - os.lstat(path).st_mtime > STALE_SECONDS
    except OSError:
        return False


def _remove_folder(above: Folder, folder: Folder, lock: LockFile, own: str = "") -> bool:
    """Remove the files of one writer and then the folder, and return whether the folder was removed.

    Args:
        above: the open folder that contains the writers' folders.
        folder: the open folder of the writer.
        lock: its open lock file.
        own: prefix of the names of the writer's files; files of other writers stay.
    """
    try:
        for name in folder.list_names():
            if is_writer_file(name) and name.startswith(own):
                folder.unlink(name)
    except OSError as ex:
        logger.debug("%s is not removed: %s", folder.path, ex)
        return False
    if not lock.is_locked:
        # Windows does not remove an open file, and without locks an open lock file has no other purpose.
        lock.close()
    # The lock file is removed last, because the next writer may use the folder as soon as it is gone.
    return _remove_lock(above, folder)


def _remove_lock(above: Folder, folder: Folder) -> bool:
    """Remove a lock file, and the folder if nothing else is in it; return whether the folder was removed."""
    try:
        with contextlib.suppress(FileNotFoundError):
            folder.unlink(LOCK)
        above.rmdir(os.path.basename(folder.path))
    except OSError as ex:
        logger.debug("%s is not removed: %s", folder.path, ex)
        return False
    return True
