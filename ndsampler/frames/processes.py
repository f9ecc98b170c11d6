"""
Worker processes that end when the process that started them ends, however that happens.

A worker of ``concurrent.futures`` waits for tasks in a pipe that it holds open itself, so it would wait for
ever after its parent was killed.
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

#: The process that watches its parent already; a forked child has the variable without the thread.
_watching: int | None = None


@contextlib.contextmanager
def start_workers(count: int) -> Iterator[Executor]:
    """Provide an executor of processes, which are killed at once if the block ends with an exception.

    The entries that they are writing are not there then, and the next writer removes the unfinished files.

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
            # Otherwise Ctrl-C would wait for the images that are being converted.
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


def _begin() -> None:
    """Prepare a worker process: Ctrl-C in a terminal reaches it too, and its parent decides what to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """Let this process end as soon as the one that started it has ended.

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
    # Other threads may wait for a task that nobody will give them.
    os._exit(1)
