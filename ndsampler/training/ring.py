"""
Worker processes that write batches into a ring of shared memory.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import time
import weakref
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, NamedTuple

from ndsampler.errors import WorkerError
from ndsampler.training.packing import BatchWriter, Packed, read_batch
from ndsampler.training.shared_buffer import SharedBuffer
from ndsampler.training.worker import RESULT, TASK, run_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext

#: Number of batches whose memory is not reused yet: the last batch returned and the one before.
HELD = 2

#: Seconds to wait for a worker to exit after the ring is closed before it is terminated, and then killed.
GRACE_SECONDS = 1.0


@dataclass(eq=False)
class _Worker:
    """The parent's view of a worker process."""

    process: Any
    """The worker process."""
    connection: Connection
    """The connection for tasks and results."""
    busy: int = 0
    """Number of unfinished tasks."""


class _Task(NamedTuple):
    """The loading of a batch by a worker."""

    run: int
    """Number of the loop that needs the batch."""
    number: int
    """Number of the batch in the loop."""
    worker: _Worker
    """The worker that loads the batch."""


class Ring:
    """Worker processes, and the shared memory into which they load batches.

    The first loop starts the processes, and further loops use them again.

    Args:
        dataset: loads the samples; see :func:`ndsampler.training.worker.fetch`.
        collate: combines samples into a batch; see :func:`ndsampler.training.worker.run_worker`.
        workers: number of processes.
        depth: number of batches that are loaded ahead.
        copy: whether to copy batches out of the shared memory. Otherwise a batch is valid until the next but
            one is requested.
    """

    def __init__(
        self, dataset: Any, collate: Callable[..., Any], workers: int, depth: int, copy: bool
    ) -> None:
        self._dataset, self._collate, self._count, self._copy = dataset, collate, workers, copy
        self._n_slots = depth if copy else depth + HELD
        self._runs = itertools.count()
        SharedBuffer()  # Raise errors now rather than at the start of the first loop.
        self._reset()

    def _reset(self) -> None:
        """Reset the state after the workers have ended."""
        self._workers: list[_Worker] = []
        self._slots: list[SharedBuffer] = []
        self._free: deque[int] = deque()
        self._held: deque[int] = deque()
        self._tasks: dict[int, _Task] = {}
        # Batches of the current loop that were loaded ahead, by their numbers.
        self._ready: dict[int, tuple[int, int, Packed]] = {}
        self._finalizer: Any = None
        self._pid = 0

    def load(self, batches: Iterator[Sequence[Any]]) -> Iterator[Any]:
        """Yield batches in order.

        Args:
            batches: keys of the samples of each batch.

        Raises:
            WorkerError: if a worker process has ended, or raised an error that cannot be pickled.
            Exception: any other error that a worker raised. Its cause contains the worker's traceback.
        """
        run, begun = next(self._runs), itertools.count()
        self._free.extend(slot for slot, _, _ in self._ready.values())
        self._ready.clear()
        for due in itertools.count():
            try:
                self._start()
                if len(self._held) == HELD:
                    self._free.append(self._held.popleft())
                while due not in self._ready:
                    # An interrupted loop may still be using all of the memory.
                    if self._submit(batches, run, begun) and not self._is_pending(run, due):
                        return
                    if due not in self._ready:
                        self._receive(run)
                self._submit(batches, run, begun)
                found, error = self._open(*self._ready.pop(due))
            except BaseException:
                # Ctrl-C may have interrupted a message, so the connections can no longer be used.
                self.close()
                raise
            if error is not None:
                raise error
            yield found

    def _is_pending(self, run: int, number: int) -> bool:
        """Return whether a worker is still loading a batch, or the batch is ready to be returned."""
        return number in self._ready or any(task[:2] == (run, number) for task in self._tasks.values())

    def _submit(self, batches: Iterator[Sequence[Any]], run: int, numbers: Iterator[int]) -> bool:
        """Send tasks to the workers while there is memory for them, and return whether all tasks are sent."""
        while self._free:
            keys = next(batches, None)
            if keys is None:
                return True
            slot = self._free.popleft()
            worker = min(self._workers, key=lambda worker: worker.busy)
            self._tasks[slot] = _Task(run, next(numbers), worker)
            worker.busy += 1
            packed = BatchWriter(self._slots[slot]).write(list(keys))
            try:
                worker.connection.send_bytes(TASK.pack(slot, *packed))
            except OSError:
                self._raise_ended()
        return False

    def _receive(self, run: int) -> None:
        """Wait for results, and store those of the current loop."""
        by_connection = {worker.connection: worker for worker in self._workers}
        sentinels = [worker.process.sentinel for worker in self._workers]
        found = wait([*by_connection, *sentinels])
        connections = [by_connection[item].connection for item in found if item in by_connection]
        for connection in connections:
            try:
                slot, done, start, stop = RESULT.unpack(connection.recv_bytes())
            except (EOFError, OSError):
                self._raise_ended()
            task = self._tasks.pop(slot)
            task.worker.busy -= 1
            if task.run == run:
                self._ready[task.number] = slot, done, Packed(start, stop)
            else:
                # The batch was loaded for an interrupted loop.
                self._free.append(slot)
        if not connections:
            self._raise_ended()

    def _open(self, slot: int, done: int, packed: Packed) -> tuple[Any, Exception | None]:
        """Return the batch in a slot, or the error that occurred while it was loaded."""
        found = read_batch(self._slots[slot], packed, copy=self._copy or not done)
        if self._copy or not done:
            self._free.append(slot)
        else:
            self._held.append(slot)
        return (found, None) if done else (None, found.as_exception())

    def _raise_ended(self) -> None:
        """Raise an error that names the worker that has died.

        Raises:
            WorkerError: always.
        """
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            for worker in self._workers:
                worker.process.join(0.01)
                code = worker.process.exitcode
                if code is not None:
                    raise WorkerError(
                        f"the worker process {worker.process.pid} of the loader {_describe_exit(code)}; "
                        "the next loop starts new workers"
                    )
        raise WorkerError("a worker process of the loader has closed its connection")

    def _start(self) -> None:
        """Start the workers unless they are running. A forked process starts its own."""
        if self._finalizer is not None and self._finalizer.alive and self._pid == os.getpid():
            return
        self._reset()
        self._pid = os.getpid()
        self._slots = [SharedBuffer() for _ in range(self._n_slots)]
        self._free = deque(range(self._n_slots))
        self._finalizer = weakref.finalize(self, _end_workers, self._workers, self._pid)
        context = choose_context()
        with _BlockedInterrupt():
            for _ in range(self._count):
                self._workers.append(self._start_worker(context))

    def _start_worker(self, context: BaseContext) -> _Worker:
        """Start one worker."""
        ours, theirs = context.Pipe()
        inherited = []
        if context.get_start_method() == "fork":
            inherited = [ours, *(worker.connection for worker in self._workers)]
        process = context.Process(  # type: ignore[attr-defined]
            target=run_worker,
            args=(theirs, inherited, self._dataset, self._collate, self._slots),
            name="ndsampler-loader",
            daemon=True,
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)  # type: ignore[arg-type, unused-ignore]

    def __getstate__(self) -> dict[str, Any]:
        # The workers and the memory belong to this process. A copy of the ring starts its own workers.
        names = ("_dataset", "_collate", "_count", "_copy", "_n_slots", "_runs")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def close(self) -> None:
        """End the workers; the next loop starts new ones."""
        if self._finalizer is not None:
            self._finalizer()
        self._reset()


def choose_context() -> BaseContext:
    """Return the start method that the program has chosen; by default fork on Linux, spawn elsewhere."""
    method = multiprocessing.get_start_method(allow_none=True)
    if method is None:
        method = "fork" if sys.platform == "linux" else "spawn"
    return multiprocessing.get_context(method)


def _describe_exit(code: int) -> str:
    """Return a description of how a process ended, according to its exit code."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    advice = ", perhaps because memory ran out" if name == "SIGKILL" else ""
    return f"was killed by {name}{advice}"


def _end_workers(workers: list[_Worker], pid: int) -> None:
    """End worker processes, unless this process is a fork of their parent."""
    if os.getpid() != pid:
        return
    for worker in workers:
        worker.connection.close()
    for end in (None, "terminate", "kill"):
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in workers:
            if end is not None and worker.process.is_alive():
                getattr(worker.process, end)()
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
    workers.clear()


class _BlockedInterrupt:
    """Blocks Ctrl-C while worker processes are started, until each of them ignores it."""

    def __enter__(self) -> None:
        self._mask = None
        if hasattr(signal, "pthread_sigmask"):
            self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # type: ignore[attr-defined, unused-ignore]

    def __exit__(self, *error: object) -> None:
        if self._mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)  # type: ignore[attr-defined, unused-ignore]
