"""
Anonymous shared memory, which does not outlive the processes that use it.

The memory is a file without a name, so the operating system frees it when the last process that has it open
ends for any reason. The size of ``/dev/shm`` does not limit it, and it can grow.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from multiprocessing import reduction
from typing import Any

from ndsampler.errors import UnsupportedTaskError


class SharedBuffer:
    """Growing memory that a process shares with the processes that it starts.

    Raises:
        UnsupportedTaskError: if the operating system does not support anonymous shared memory.

    Example:
        >>> buffer = SharedBuffer()
        >>> buffer.reserve(100)
        >>> buffer.view(0, 5)[:] = b'hello'
        >>> bytes(buffer.view(1, 3)), buffer.size >= 100
        (b'el', True)
    """

    def __init__(self) -> None:
        self._adopt(_open_anonymous())

    def _adopt(self, descriptor: int) -> None:
        """Use an open file as the memory."""
        self._descriptor = descriptor
        self._map: mmap.mmap | None = None
        self.size = 0
        weakref.finalize(self, os.close, descriptor)

    def reserve(self, size: int) -> None:
        """Grow the memory to at least the given size, and keep its content.

        Args:
            size: size in bytes.

        Raises:
            OSError: if there is not enough memory.
        """
        if size <= self.size:
            return
        stated = os.fstat(self._descriptor).st_size
        if stated < size:
            stated = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
            if hasattr(os, "posix_fallocate"):
                # Without this reservation, a write could run out of memory, which kills the process.
                os.posix_fallocate(self._descriptor, 0, stated)
            else:
                os.ftruncate(self._descriptor, stated)
        # Views of the previous map keep that map alive. It maps the same memory.
        self._map = mmap.mmap(self._descriptor, stated)
        self.size = stated

    def view(self, start: int, stop: int) -> memoryview:
        """Return a writable view of a part of the memory.

        Args:
            start: position of its first byte.
            stop: position after its last byte.
        """
        self.reserve(stop)
        return memoryview(b"" if self._map is None else self._map)[start:stop]

    def __getstate__(self) -> Any:
        # This works only while a process is being started, because that process inherits the file.
        return reduction.DupFd(self._descriptor)  # type: ignore[attr-defined, unused-ignore]

    def __setstate__(self, state: Any) -> None:
        self._adopt(state.detach())


def _open_anonymous() -> int:
    """Return the descriptor of a new file without a name.

    Raises:
        UnsupportedTaskError: if the operating system cannot make a file that other processes inherit.
    """
    try:
        if hasattr(os, "memfd_create"):
            descriptor: int = os.memfd_create("ndsampler", os.MFD_CLOEXEC)  # type: ignore[attr-defined, unused-ignore]
            return descriptor
        if os.name == "posix":
            with tempfile.TemporaryFile(prefix="ndsampler-") as file:
                return os.dup(file.fileno())
    except OSError as ex:
        raise UnsupportedTaskError(f"memory cannot be shared among processes here: {ex}") from ex
    raise UnsupportedTaskError("this operating system has no anonymous memory that processes can share")
