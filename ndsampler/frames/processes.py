"""
Worker processes that end when their parent process ends for any reason.

A worker of ``concurrent.futures`` waits for tasks from a pipe that it keeps open itself. Without this module,
it would wait forever after its parent was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

#: Id of the process that already watches its parent. A forked child inherits the variable, but not the
#: thread.
_watching: int | None = None


@contextlib.contextmanager
def start_workers(count: int) -> Iterator[Executor]:
    """Provide an executor of processes. If the block raises an exception, the processes are killed.

    The entries that they were writing do not appear, and the next writer removes the unfinished files.

    Args:
        count: number of processes.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    others = set(multiprocessing.active_children())
    # A forked process would inherit locks that threads of this process hold.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, count), mp_context=context, initializer=_begin) as executor:
        try:
            yield executor
        except BaseException:
            # Otherwise Ctrl-C would wait until the current images are converted.
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


def _begin() -> None:
    """Set up a worker process. It ignores Ctrl-C, because the parent process handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """Make this process end as soon as the process that started it has ended.

    Nothing happens in a process that ``multiprocessing`` did not start.

    Example:
        >>> end_with_parent()
    """
    global _watching
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None and _watching != os.getpid():
        _watching = os.getpid()
        threading.Thread(target=_wait_for_end, args=(parent,), daemon=True).start()


def _wait_for_end(parent: Any) -> None:
    """End this process when another one has ended."""
    parent.join()
    # Do not wait for other threads, which may wait forever for a task.
    os._exit(1)
