"""Threads that a test waits for with a time limit."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

#: Seconds after which a thread, process or event that a test waits for is considered to hang. The limit for
#: whole tests in pyproject.toml is higher, so that a test fails with a message that names what hangs.
PATIENCE = 120.0


def wait_until(condition: Callable[[], Any], timeout: float = PATIENCE) -> None:
    """Wait until a condition is true.

    Raises:
        AssertionError: if it is not true within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"what the test waits for did not happen within {timeout:g} s"
        time.sleep(0.001)


def start_thread(work: Callable[..., Any], *args: Any) -> Future:
    """Run a function in a daemon thread, which cannot keep the interpreter from exiting.

    Args:
        work: the function.
        args: arguments of the function.

    Returns:
        A future for the result.
    """
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(work(*args))
        except BaseException as ex:
            future.set_exception(ex)

    threading.Thread(target=run, daemon=True).start()
    return future


def results(futures: Sequence[Future], timeout: float = PATIENCE) -> list[Any]:
    """Return the results of futures in their order.

    Args:
        futures: futures of threads or of an executor.
        timeout: seconds to wait for all of them together.

    Raises:
        AssertionError: if some are not done by then.
        Exception: the first error that one of them raised.
    """
    waiting = concurrent.futures.wait(futures, timeout).not_done
    assert not waiting, f"{len(waiting)} of {len(futures)} tasks are still running after {timeout:g} s"
    return [future.result(timeout=0) for future in futures]


def in_threads(
    work: Callable[[Any], Any], items: Iterable[Any], threads: int | None = None, timeout: float = PATIENCE
) -> list[Any]:
    """Apply a function to items in threads and return its results in the order of the items.

    Args:
        work: a function of one item.
        items: the items.
        threads: number of threads; by default one for each item.
        timeout: seconds to wait for all of them together.

    Raises:
        AssertionError: if some are not done by then.
        Exception: the first error that the function raised.
    """
    items = list(items)
    count = threads or len(items)
    shares = [items[n::count] for n in range(count)]
    futures = [start_thread(lambda share: [work(item) for item in share], share) for share in shares]
    done = results(futures, timeout)
    return [done[n % count][n // count] for n in range(len(items))]
