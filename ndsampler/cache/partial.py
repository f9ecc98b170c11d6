"""
Folders where entries are written before they get their names.

Each writer works in its own folder below ``_partial``. That lies beside the
entries, and so on the same disk. The writer holds the lock of a file in its folder for
as long as it lives. If the lock of a folder can be acquired, its writer has died and
the folder is removed. A writer of an entry that another one is writing waits until the
lock is free.

The lock only saves work. Without locks every writer converts on its own, the last one
to finish gives the entry its name, and a folder is stale when its lock file is a day
old.
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

#: The folder of all writers, below the folder of the entries.
FOLDER = "_partial"

#: The name of the lock file in a writer's folder.
LOCK = "lock"

#: The suffix of files that are being written.
ENDING = ".partial"

#: Seconds between two attempts to acquire the lock of another writer.
POLL_SECONDS = 0.02

#: Seconds to wait for another writer. One that takes longer is stopped, or writes a very large image;
#: the entry is then written twice.
PATIENCE_SECONDS = 600.0

#: Maximum attempts in a row to make a folder that is gone again at once.
MAX_MISSES = 25

#: Seconds after which a folder is stale where its lock proves nothing: there are no locks, or another host
#: holds it.
STALE_SECONDS = 86_400.0


class WriterBusyError(OSError):
    """Another writer of an entry has not finished in time."""


class PartialFiles:
    """Gives each writer of one folder of entries a file to write, and removes what dead writers left.

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
        """Return the path of a file to write; the file is removed when the block ends.

        This waits while another thread or process holds the same token, so check afterwards whether that
        one has done the work.

        Args:
            token: names the entry that is to be written.
            patience: seconds to wait for another writer; None waits for :data:`PATIENCE_SECONDS`, and then
                lets this writer write the entry too.

        Raises:
            WriterBusyError: if another writer has not finished within ``patience``.
            OSError: if no folder can be made.
        """
        self.clean_up()
        folder, lock = self._claim_folder(token, patience)
        # Two hosts can both get the lock on a network disk that is mounted without locks.
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
            name: of the folder.
        """
        try:
            with open_folder(self.dpath, name) as folder, _lock_of_dead_writer(folder) as lock:
                return _is_ours(folder) if lock else not folder.list_names()
        except OSError as ex:
            logger.debug("%s in %s is left alone: %s", name, self.dpath, ex)
            return False

    def is_writers(self, name: str) -> bool:
        """Return whether a folder holds a lock file, and nothing that no writer makes.

        Args:
            name: of the folder.
        """
        try:
            with open_folder(self.dpath, name) as folder:
                return LOCK in folder.list_names() and _is_ours(folder)
        except OSError as ex:
            logger.debug("%s in %s is left alone: %s", name, self.dpath, ex)
            return False

    def remove(self, name: str) -> bool:
        """Remove the folder of a dead writer; return False if the writer lives or removal is not allowed.

        A folder that holds anything that no writer makes stays as it is.

        Args:
            name: of the folder.
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
        """Remove the folders of dead writers as far as that is allowed, and return their number."""
        return sum(self.remove(name) for name in self._names())

    def _remove_own(self, path: str, lock: LockFile, own: str) -> None:
        """Remove the files of a writer of this process, and its folder if it holds nothing else."""
        try:
            with open_folder(self.dpath) as above, open_folder(self.dpath, os.path.basename(path)) as folder:
                _remove_folder(above, folder, lock, own)
        except OSError as ex:
            logger.debug("%s is not removed: %s", path, ex)

    def _names(self) -> list[str]:
        """Return the names of the folders of all writers, dead or alive."""
        try:
            with open_folder(self.dpath) as folder:
                return [name for name in folder.list_names() if is_writer_folder(name)]
        except OSError as ex:
            logger.debug("%s is left alone: %s", self.dpath, ex)
            return []

    def _claim_folder(self, token: str, patience: float | None) -> tuple[str, LockFile]:
        """Return the folder of a token and its lock, or those of a folder of one's own without locks."""
        folder = os.path.join(self.dpath, token)
        lock = self._wait_for(folder, patience) if have_locks() else None
        return _make_own_folder(f"{folder}.{uuid.uuid4().hex[:8]}") if lock is None else (folder, lock)

    def _wait_for(self, folder: str, patience: float | None) -> LockFile | None:
        """Return the lock of a folder as soon as no other writer holds it; None if that takes too long."""
        deadline = time.monotonic() + (PATIENCE_SECONDS if patience is None else patience)
        misses = 0
        try:
            while (lock := _lock_folder(folder)) is None and time.monotonic() < deadline:
                misses = 0 if os.path.isdir(folder) else misses + 1
                if misses > MAX_MISSES:
                    # No other process removes it each time; this raises the reason it cannot be made.
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
            raise WriterBusyError(errno.EBUSY, "another process or thread is writing it and does not finish")
        return lock


def _make_own_folder(folder: str) -> tuple[str, LockFile]:
    """Make a folder that no other writer waits for, and return it with its lock file, locked if possible."""
    for _ in range(MAX_MISSES):
        try:
            lock = _lock_folder(folder)
        except LocksUnavailableError:
            return folder, LockFile(os.path.join(folder, LOCK))
        if lock is not None:
            return folder, lock
        # A cleanup removed the folder before this writer had locked it.
    raise OSError(errno.EBUSY, f"{folder} is removed again and again")


def _lock_folder(folder: str) -> LockFile | None:
    """Make a folder and return its lock; None if another writer holds it or the folder is gone again."""
    try:
        for path in (os.path.dirname(folder), folder):
            if os.path.islink(path):
                # What lies behind a link is not ours: not to be written to, and not to be removed.
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
    """Hold the lock of a folder during the block; None if its writer lives or the lock cannot be opened."""
    path = os.path.join(folder.path, LOCK)
    if not have_locks() and not _is_old(path):
        # Windows removes no file that is open, so opening it would keep its writer from removing it.
        yield None
        return
    try:
        lock = LockFile(path, create=False)
    except OSError as ex:
        # It is gone, may only be read, or is none of our files.
        logger.debug("%s is left alone: %s", folder.path, ex)
        yield None
        return
    try:
        yield lock if lock.has(folder.stat(LOCK)) and _is_of_dead_writer(lock) else None
    finally:
        lock.close()


def _is_ours(folder: Folder) -> bool:
    """Whether a folder holds nothing but regular files with the names of those that writers make."""
    found = folder.list_names()
    named = all(name == LOCK or is_writer_file(name) for name in found)
    return named and all(S_ISREG(folder.stat(name).st_mode) for name in found)


def _is_of_dead_writer(lock: LockFile) -> bool:
    """Return whether no writer holds a lock; that of another host must also be old."""
    try:
        if not (lock.acquire() and lock.is_in_place()):
            return False
        if not lock.is_signed_elsewhere():
            return True
    except LocksUnavailableError:
        logger.debug("there are no locks for %s", lock.path)
    return lock.age() > STALE_SECONDS


def _is_old(path: str) -> bool:
    """Return whether a lock file is there and older than those of living writers."""
    try:
        return time.time() - os.lstat(path).st_mtime > STALE_SECONDS
    except OSError:
        return False


def _remove_folder(above: Folder, folder: Folder, lock: LockFile, own: str = "") -> bool:
    """Remove the files of one writer and then the folder, and return whether the folder was removed.

    Args:
        above: the folder of all writers, open.
        folder: the folder of the writer, open.
        lock: its lock file, open.
        own: prefix of the names of the writer's files; those of other writers stay.
    """
    try:
        for name in folder.list_names():
            if is_writer_file(name) and name.startswith(own):
                folder.unlink(name)
    except OSError as ex:
        logger.debug("%s is not removed: %s", folder.path, ex)
        return False
    if not lock.is_locked:
        # Windows removes no file that is open, and without a lock it keeps nobody out.
        lock.close()
    # The lock file goes last: the next writer may enter as soon as it is gone.
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
