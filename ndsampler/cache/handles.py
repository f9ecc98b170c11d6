"""
Keeps readers of files open, bounded in number and in memory.

One GDAL handle used by two threads, or by a process and its fork, returns wrong pixels without an error.
Here a reader that is not shareable is lent only to the thread that opened it, and a forked process never
touches a reader that it inherited.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from ndsampler.backends.base import RegionReader

Result = TypeVar("Result")

#: Maximum number of files that one pool keeps open. A GDAL handle takes about 0.1 MB.
MAX_HANDLES = 256

#: Maximum memory of the decoded images in one pool, in bytes. The latest image is kept whatever its size.
MAX_DECODED_BYTES = 256 * 2**20

#: Readers inherited from a parent process. A reference keeps them from being closed here: closing runs
#: code of GDAL whose locks another thread of the parent may have held at the fork.
_inherited: list[Any] = []

#: Every pool of this process.
_pools: weakref.WeakSet[HandlePool] = weakref.WeakSet()


def _leave_handles_to_parent() -> None:
    """Empty all pools in a forked process, before it has threads that could use them."""
    for pool in list(_pools):
        pool.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_handles_to_parent)


def affordable_handles() -> int:
    """Return how many files a pool may keep open in this process.

    Example:
        >>> 1 <= affordable_handles() <= MAX_HANDLES
        True
    """
    try:
        import resource
    except ImportError:  # Windows, where the limit is in the thousands
        return MAX_HANDLES
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # type: ignore[attr-defined]
    if limit == resource.RLIM_INFINITY:  # type: ignore[attr-defined]
        return MAX_HANDLES
    return max(1, min(MAX_HANDLES, limit // 4))


def close_idle_readers() -> None:
    """Close every reader of this process that is not on loan, so that its file can be replaced on Windows.

    Example:
        >>> close_idle_readers()
    """
    for pool in list(_pools):
        pool.clear()


class HandlePool:
    """Lends open readers, and keeps the most recently used ones open.

    Args:
        max_handles: maximum number of idle readers; by default 256, or a quarter of the files that the
            system lets a process open, if that is less.
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
        _pools.add(self)

    def _reset(self) -> None:
        """Start empty in this process."""
        self._lock = threading.Lock()
        self._idle: OrderedDict[Hashable, RegionReader] = OrderedDict()
        self._bytes = 0

    def leave_to_parent(self) -> None:
        """Start empty in a forked process, without touching what its parent has open."""
        _inherited.append(self._idle)
        self._reset()

    def __len__(self) -> int:
        return len(self._idle)

    def lend(
        self, key: Hashable, opener: Callable[[], RegionReader], action: Callable[[RegionReader], Result]
    ) -> Result:
        """Call a function with an open reader.

        While the function runs, no other thread gets the reader unless it is shareable. A reader whose
        function fails is closed.

        Args:
            key: names the file and its version.
            opener: opens the file if the pool has no reader for this thread.
            action: what to do with the reader.

        Returns:
            What the function returns.
        """
        reader = self._take(key)
        if reader is None:
            reader = opener()
        try:
            result = action(reader)
        except BaseException:
            _close([reader])
            raise
        self._give_back(key, reader)
        return result

    def _take(self, key: Hashable) -> RegionReader | None:
        """Return an idle reader that this thread may use, if there is one."""
        with self._lock:
            reader = self._idle.get(key)
            if reader is not None:
                self._idle.move_to_end(key)
                return reader
            return self._idle.pop((threading.get_ident(), key), None)

    def _give_back(self, key: Hashable, reader: RegionReader) -> None:
        """Keep a reader open for the next loan, within the bounds."""
        if reader.shareable and self._idle.get(key) is reader:
            return
        own_key = key if reader.shareable else (threading.get_ident(), key)
        with self._lock:
            evicted = [self._idle.pop(own_key)] if own_key in self._idle else []
            self._idle[own_key] = reader
            self._bytes += reader.nbytes - sum(old.nbytes for old in evicted)
            evicted += self._take_excess()
        _close(evicted)

    def _take_excess(self) -> list[RegionReader]:
        """Take out the least recently used readers beyond the bounds; the lock is held."""
        excess = []
        while len(self._idle) > 1 and (len(self._idle) > self.max_handles or self._bytes > self.max_bytes):
            _, oldest = self._idle.popitem(last=False)
            self._bytes -= oldest.nbytes
            excess.append(oldest)
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
        with self._lock:
            self.max_handles = int(max_handles)
            excess = self._take_excess()
        _close(excess)

    def clear(self) -> None:
        """Close every reader that is not on loan."""
        with self._lock:
            readers = list(self._idle.values())
            self._idle.clear()
            self._bytes = 0
        _close(readers)

    def __getstate__(self) -> dict[str, Any]:
        return {"max_handles": self.max_handles, "max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.max_handles = state["max_handles"]
        self.max_bytes = state["max_bytes"]
        self._reset()
        _pools.add(self)


def _close(readers: Iterable[RegionReader]) -> None:
    """Close readers. A shareable one may be in use by another thread; it closes when nothing refers to it."""
    for reader in readers:
        if not reader.shareable:
            reader.close()
