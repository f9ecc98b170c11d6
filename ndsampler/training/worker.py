"""
The worker processes of a :class:`ndsampler.training.WindowLoader`.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.training.packing import BatchWriter, Failure, Packed, read_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from numpy.typing import NDArray

    from ndsampler.training.shared_buffer import SharedBuffer

#: Interval in seconds at which an idle worker checks whether its parent is alive.
POLL_SECONDS = 2.0

#: A task: number of the slot, and the start and end of the batch's keys in it.
TASK = struct.Struct("=iqq")

#: A result: number of the slot, 1 for a batch or 0 for a failure, and its start and end in the slot.
RESULT = struct.Struct("=iiqq")


def run_worker(
    connection: Connection,
    others: Sequence[Connection],
    dataset: Any,
    collate: Callable[..., Any],
    slots: Sequence[SharedBuffer],
) -> None:
    """Load batches until the parent closes its end of the connection or exits.

    Args:
        connection: receives tasks and sends results.
        others: connections that a forked worker inherited from its parent. They are closed.
        dataset: loads the samples.
        collate: combines samples into a batch. It also takes a function that allocates arrays in the shared
            memory, and the array in that memory that may already contain the images.
        slots: the shared memory of the batches.
    """
    parent = os.getppid()
    _prepare_process()
    for other in others:
        other.close()
    # The connection is closed if the parent ends or closes the loader.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, EOFError):
        while (task := _next_task(connection, parent)) is not None:
            number, start, stop = task
            slot = slots[number]
            keys = read_batch(slot, Packed(start, stop), copy=True)
            done, packed = load_batch(dataset, keys, collate, slot)
            connection.send_bytes(RESULT.pack(number, done, *packed))


def _prepare_process() -> None:
    """Ignore Ctrl-C, use one thread, and seed the random generators of this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # type: ignore[attr-defined, unused-ignore]
    seed = int.from_bytes(os.urandom(4), "little")
    random.seed(seed)
    np.random.seed(seed)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        torch.manual_seed(seed)


def _next_task(connection: Connection, parent: int) -> tuple[int, int, int] | None:
    """Return the next task; None if the parent has ended."""
    while not connection.poll(POLL_SECONDS):
        if os.getppid() != parent:
            return None
    return TASK.unpack(connection.recv_bytes())


def load_batch(
    dataset: Any, keys: Sequence[Any], collate: Callable[..., Any], slot: SharedBuffer
) -> tuple[int, Packed]:
    """Load a batch into a slot.

    Args:
        dataset: loads the samples.
        keys: keys of the samples.
        collate: see :func:`run_worker`.
        slot: the shared memory of the batch.

    Returns:
        1 for a batch or 0 for a :class:`ndsampler.training.packing.Failure`, and its position in the slot.
    """
    writer = BatchWriter(slot)
    try:
        samples, images = fetch_into(dataset, keys, writer.allocate)
        return 1, writer.write(collate(samples, writer.allocate, images))
    except Exception as ex:
        return 0, BatchWriter(slot).write(Failure.of(ex))


def fetch(dataset: Any, keys: Sequence[Any]) -> list[Any]:
    """Return samples of a dataset, with a single call if the dataset supports it.

    Args:
        dataset: has ``__getitems__`` or ``__getitem__``.
        keys: of the samples.
    """
    together = getattr(dataset, "__getitems__", None)
    return [dataset[key] for key in keys] if together is None else together(list(keys))


def fetch_into(
    dataset: Any, keys: Sequence[Any], allocate: Callable[..., NDArray[Any]]
) -> tuple[list[Any], NDArray[Any] | None]:
    """Return samples of a dataset. If it supports ``load_into``, their images are in memory of the caller.

    Args:
        dataset: see :func:`fetch`; it may have a method ``load_into``, like
            :class:`ndsampler.training.SampleDataset`.
        keys: keys of the samples.
        allocate: returns a new array of a given shape and type.

    Returns:
        The samples, and the array for their images; None if there is none.
    """
    into = getattr(dataset, "load_into", None)
    return (fetch(dataset, keys), None) if into is None else into(list(keys), allocate)
