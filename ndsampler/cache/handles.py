"""
Keeps readers of files open, bounded in number and in memory.

A GDAL handle that two threads use, or a process and its fork, returns wrong pixels without an error. The
pools in this module lend a reader that is not shareable only to the thread that opened it, and a forked
process never uses a reader that it inherited.

Each sampler has its own pool. The total number of files that the pools of a process keep open is also
limited: beyond it, the least recently used file of any pool is closed. If the process still has too many
files open, because other code opened them, :func:`making_room` closes files of the pools and tries again.
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
import sys
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from ndsampler.backends.base import RegionReader

Params = ParamSpec("Params")
Result = TypeVar("Result")

#: Maximum number of files that a process keeps open, in one pool or in all of them together. A GDAL handle
#: takes 0.1 to 0.2 MB.
MAX_FILES = 1024

#: Maximum memory of the decoded images in one pool, in bytes. The latest image is always kept.
MAX_DECODED_BYTES = 256 * 2**20

#: Error codes that mean that the process, or the operating system, has too many files open.
TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)

#: Readers inherited from a parent process. This reference prevents them from being closed: GDAL would need
#: locks that another thread of the parent may have held at the fork.
_inherited: list[Any] = []

#: Every pool of this process.
_pools: weakref.WeakSet[HandlePool] = weakref.WeakSet()

#: Held while pools change. All pools share it, because one pool may close the files of another.
_lock = threading.Lock()

#: Counts the uses of all readers, so that the least recently used one can be found.
_uses = itertools.count()


def _leave_handles_to_parent() -> None:
    """Empty all pools in a forked process, before it has threads that could use them."""
    global _lock
    _lock = threading.Lock()
    for pool in list(_pools):
        pool.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_handles_to_parent)


def affordable_handles() -> int:
    """Return how many readers a pool may keep open: 1024, or a third of the system's limit if that is less.

    Example:
        >>> 1 <= affordable_handles() <= MAX_FILES
        True
    """
    return max(1, min(MAX_FILES, _open_files_limit() // 3))


def affordable_files() -> int:
    """Return how many files all pools of this process may keep open together.

    This is the limit of one pool minus the number of files that a fork inherited from its parent's pools.

    Example:
        >>> 1 <= affordable_files() <= MAX_FILES
        True
    """
    inherited = sum(map(len, _inherited))
    return max(1, min(MAX_FILES, _open_files_limit() // 3 - inherited))


def _open_files_limit() -> int:
    """Return the maximum number of open files that the operating system allows this process."""
    try:
        import resource
    except ImportError:  # Windows, where the limit is in the thousands
        return sys.maxsize
    limit: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]  # type: ignore[attr-defined, unused-ignore]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit  # type: ignore[attr-defined, unused-ignore]


def close_idle_readers() -> None:
    """Close every reader of this process that is not in use, so that its file can be replaced on Windows.

    Example:
        >>> close_idle_readers()
    """
    with _lock:
        pools = list(_pools)
    for pool in pools:
        pool.clear()


def make_room() -> bool:
    """Close the less recently used half of the idle files of this process.

    Returns:
        Whether any file was closed.

    Example:
        >>> close_idle_readers()
        >>> make_room()
        False
    """
    with _lock:
        count = sum(pool.count_files() for pool in _pools)
        readers = list(_take_oldest(count - count // 2))
    found = bool(readers)
    _close(readers)
    return found


def make_room_after(error: OSError) -> bool:
    """Close idle files if an error says that too many files are open.

    Args:
        error: the error, which may have been raised from another one.

    Returns:
        Whether files were closed, so that the failed operation may succeed now.
    """
    return _is_of_too_many_files(error) and make_room()


def making_room(function: Callable[Params, Result]) -> Callable[Params, Result]:
    """Return a function that closes idle files and runs again if the process has too many files open.

    Args:
        function: a function that can safely be called again after it has failed.
    """

    @functools.wraps(function)
    def attempt(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        while True:
            try:
                return function(*args, **kwargs)
            except OSError as ex:
                if not make_room_after(ex):
                    raise

    return attempt


def _is_of_too_many_files(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes, says that too many files are open."""
    texts = [os.strerror(code) for code in TOO_MANY_FILES]
    while error is not None:
        # GDAL's errors have no error code, only a text.
        if getattr(error, "errno", None) in TOO_MANY_FILES or any(text in str(error) for text in texts):
            return True
        error = error.__cause__ or error.__context__
    return False


def _close_excess() -> None:
    """Close the least recently used files beyond the limit of this process."""
    bound = affordable_files()
    with _lock:
        readers = list(_take_oldest(sum(pool.count_files() for pool in _pools) - bound))
    _close(readers)


def _take_oldest(count: int) -> Iterator[RegionReader]:
    """Remove the least recently used files from their pools and yield them; the caller holds the lock."""
    pools = list(_pools)
    for _ in range(count):
        found = [(oldest, pool) for pool in pools if (oldest := pool.oldest_file()) is not None]
        (_, key), pool = min(found, key=lambda item: item[0][0])
        yield pool.remove(key)


@dataclass(slots=True, eq=False)
class _Idle:
    """A reader that is not lent to a thread, or that several threads share."""

    use: int
    """Its last use, as a number from the count of all uses."""
    reader: RegionReader
    """The open reader."""
    file: Hashable
    """A key that identifies the file and its version."""


class HandlePool:
    """Lends open readers, and keeps the most recently used ones open.

    Args:
        max_handles: maximum number of idle readers; by default 1024, or a third of the number of files that
            the process may open, if that is less.
        max_bytes: maximum memory of all shareable readers together.

    Example:
        >>> import numpy as np
        >>> from ndsampler.backends.source import ArrayReader
        >>> pool = HandlePool()
        >>> pool.lend('a', lambda: ArrayReader(np.eye(3)), lambda reader: reader.shape)
        (3, 3, 1)
        >>> len(pool)
        1
    """

    def __init__(self, max_handles: int | None = None, max_bytes: int = MAX_DECODED_BYTES) -> None:
        self.max_handles = affordable_handles() if max_handles is None else max_handles
        self.max_bytes = max_bytes
        self._reset()

    def _reset(self) -> None:
        """Set up an empty pool for this process."""
        # The least recently used reader comes first.
        self._idle: OrderedDict[Hashable, _Idle] = OrderedDict()
        self._bytes = 0
        self._in_memory = 0
        with _lock:
            _pools.add(self)

    def leave_to_parent(self) -> None:
        """Empty the pool in a forked process without closing the readers of its parent."""
        _inherited.append(self._idle)
        self._reset()

    def __len__(self) -> int:
        return len(self._idle)

    def count_files(self) -> int:
        """Return the number of open files. A reader of a decoded image has none."""
        return len(self._idle) - self._in_memory

    def oldest_file(self) -> tuple[int, Hashable] | None:
        """Return the last use and the key of the least recently used file; the caller holds the lock."""
        for key, idle in self._idle.items():
            if not idle.reader.nbytes:
                return idle.use, key
        return None

    def lend(
        self, key: Hashable, opener: Callable[[], RegionReader], action: Callable[[RegionReader], Result]
    ) -> Result:
        """Call a function with an open reader.

        While the function runs, no other thread gets the reader unless it is shareable. A reader whose
        function fails is closed.

        Args:
            key: identifies the file and its version.
            opener: opens the file if the pool has no reader for this thread.
            action: the function, which takes the reader.

        Returns:
            The result of the function.
        """
        reader = self._take(key)
        is_new = reader is None
        if reader is None:
            reader = opener()
        try:
            result = action(reader)
        except BaseException:
            _close([reader])
            raise
        if is_new or not reader.shareable:
            has_grown = self._give_back(key, reader)
            if is_new and has_grown:
                _close_excess()
        return result

    def _take(self, key: Hashable) -> RegionReader | None:
        """Return an idle reader that this thread may use, if there is one."""
        with _lock:
            idle = self._idle.get(key)
            if idle is not None:
                idle.use = next(_uses)
                self._idle.move_to_end(key)
                return idle.reader
            own_key = (threading.get_ident(), key)
            return self.remove(own_key) if own_key in self._idle else None

    def remove(self, key: Hashable) -> RegionReader:
        """Remove an idle reader from the pool and return it; the caller holds the lock.

        Args:
            key: key of the reader.
        """
        reader = self._idle.pop(key).reader
        self._bytes -= reader.nbytes
        self._in_memory -= bool(reader.nbytes)
        return reader

    def _give_back(self, key: Hashable, reader: RegionReader) -> bool:
        """Put a reader back into the pool for the next use, within the limits.

        Returns:
            Whether more files are open in this pool than before.
        """
        own_key = key if reader.shareable else (threading.get_ident(), key)
        with _lock:
            files = self.count_files()
            evicted = [self.remove(own_key)] if own_key in self._idle else []
            self._idle[own_key] = _Idle(next(_uses), reader, key)
            self._bytes += reader.nbytes
            self._in_memory += bool(reader.nbytes)
            evicted += self._take_excess()
            has_grown = self.count_files() > files
        _close(evicted)
        return has_grown

    def _take_excess(self) -> list[RegionReader]:
        """Remove the least recently used readers beyond the limits; the caller holds the lock."""
        excess = []
        while len(self._idle) > 1 and (len(self._idle) > self.max_handles or self._bytes > self.max_bytes):
            excess.append(self.remove(next(iter(self._idle))))
        return excess

    def set_size(self, max_handles: int) -> None:
        """Change how many readers are kept open.

        Args:
            max_handles: maximum number of idle readers.

        Raises:
            ArgumentError: if it is not a positive integer.
        """
        if isinstance(max_handles, bool) or not isinstance(max_handles, (int, np.integer)) or max_handles < 1:
            raise ArgumentError(f"max_handles is {max_handles!r}; expected an integer of at least 1")
        with _lock:
            self.max_handles = int(max_handles)
            excess = self._take_excess()
        _close(excess)

    def clear(self) -> None:
        """Close every reader that is not in use."""
        with _lock:
            readers = [self.remove(key) for key in list(self._idle)]
        _close(readers)

    def close(self, is_of: Callable[[Any], bool]) -> None:
        """Close the readers of a file that are not in use.

        Args:
            is_of: whether a key that :meth:`lend` was called with is of the file.
        """
        with _lock:
            found = [own_key for own_key, idle in self._idle.items() if is_of(idle.file)]
            readers = [self.remove(own_key) for own_key in found]
        _close(readers)

    def __getstate__(self) -> dict[str, Any]:
        return {"max_handles": self.max_handles, "max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.max_handles = state["max_handles"]
        self.max_bytes = state["max_bytes"]
        self._reset()


def _close(readers: Iterable[RegionReader]) -> None:
    """Close readers. A shareable one that another thread is using closes when nothing refers to it."""
    for reader in readers:
        if not reader.shareable:
            reader.close()
