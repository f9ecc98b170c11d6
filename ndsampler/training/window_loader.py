"""
A batch loader. Its workers write batches into shared memory, which the training loop reads without a copy.
"""

from __future__ import annotations

import itertools
import multiprocessing
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError, UnsupportedTaskError
from ndsampler.training.ring import Ring
from ndsampler.training.stacking import stack_samples
from ndsampler.training.target_sampler import TargetSampler
from ndsampler.training.whole import as_whole
from ndsampler.training.worker import fetch
from ndsampler.utils.deprecation import warn_user
from ndsampler.utils.require import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ndsampler.training.order import EpochOrder

#: Maximum number of workers, and of batches that are loaded ahead.
MAX_COUNT = 1024


class WindowLoader:
    """Loads the batches of a dataset in order, like a ``DataLoader``, but faster.

    The first loop starts the worker processes, and later loops use them again. The workers write batches into
    a ring of shared memory, from which the loop gets them without pickling or a copy: the arrays and tensors
    of a batch are **valid until the next but one batch is requested**. To keep them longer, pass
    ``copy=True`` or copy them.

    The ring has memory for ``depth + 2`` batches, each as large as the largest so far. The memory has no name
    in the file system, and is freed with the last process that uses it. The workers end with :meth:`close`,
    at the end of a ``with`` block, when the last reference to the loader is deleted, and when the program
    ends for any reason. Only the training loop receives Ctrl-C.

    Processes are started by the method of ``multiprocessing.set_start_method``; by default they are forked on
    Linux, and spawned elsewhere.

    Args:
        dataset: has ``__getitems__``, which returns the samples of a list of indexes, or ``__getitem__``.
        order: an :class:`ndsampler.training.EpochOrder`, or a
            :class:`ndsampler.training.TargetSampler`, which divides an order among ranks.
        batch_size: number of samples in a batch; the last batch of an epoch may have fewer.
        workers: number of processes; 0 loads batches in the process of the training loop.
        depth: number of batches that are loaded ahead.
        collate_fn: combines a list of samples into a batch; the default makes the same batches as
            :func:`ndsampler.training.collate_samples`, and also accepts numpy arrays.
        copy: whether to copy batches out of the ring.
        pin_memory: whether to copy tensors to pinned memory; by default if CUDA is available.

    Raises:
        ArgumentError: if a number is out of range.

    Example:
        >>> import numpy as np
        >>> from ndsampler.training import EpochOrder, WindowLoader
        >>> numbers = np.arange(100) ** 2
        >>> loader = WindowLoader(numbers, EpochOrder(100, seed=3), batch_size=30, workers=0)
        >>> [len(batch) for batch in loader]
        [30, 30, 30, 10]
    """

    def __init__(
        self,
        dataset: Any,
        order: EpochOrder | TargetSampler,
        batch_size: int,
        workers: int = 2,
        depth: int = 4,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        copy: bool = False,
        pin_memory: bool | None = None,
    ) -> None:
        self.dataset = dataset
        self.sampler = order if isinstance(order, TargetSampler) else TargetSampler(order, dataset=dataset)
        self.batch_size = _check_count("batch_size", batch_size, 1, None)
        self.workers = _check_count("workers", workers, 0, MAX_COUNT)
        self.depth = _check_count("depth", depth, 1, MAX_COUNT)
        self.pin_memory = pin_memory
        self._collate = stack_samples if collate_fn is None else _Collate(collate_fn)
        self._ring = self._make_ring(copy)
        self._runs = itertools.count(1)
        self._run = self._consumed = 0
        self._epoch = self.sampler.epoch

    def _make_ring(self, copy: bool) -> Ring | None:
        """Return the workers and their shared memory; None without workers."""
        if self.workers == 0:
            return None
        if multiprocessing.current_process().daemon:
            warn_user("a daemonic process cannot start workers, so it loads the batches itself", UserWarning)
            self.workers = 0
            return None
        try:
            return Ring(self.dataset, self._collate, self.workers, self.depth, copy)
        except UnsupportedTaskError as ex:
            warn_user(f"batches are loaded by torch's DataLoader, which is slower: {ex}", UserWarning)
            return None

    def __len__(self) -> int:
        """Return the number of batches in the next loop, which is smaller after a state was loaded."""
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator that starts at the current state; after a complete loop, at the beginning.

        This ends a previous loop that was interrupted.
        """
        self._run = next(self._runs)
        self._consumed = 0
        count = len(self.sampler)
        return self._batches(self._run, iter(self.sampler), count)

    def _batches(self, run: int, indexes: Iterator[Any], count: int) -> Iterator[Any]:
        """Yield the batches of a loop, and count them."""
        batches = self._load(self._keys(indexes, count))
        pin = None
        for _ in range(-(-count // self.batch_size)):
            if run != self._run:
                raise ArgumentError(
                    "another loop over this loader has begun, or a state was loaded; start a new loop"
                )
            batch = next(batches)
            if pin is None:
                pin = _choose_pin(self.pin_memory)
            self._consumed += 1
            yield pin(batch)
        # Requesting another index makes the sampler record that the epoch is complete.
        next(indexes, None)

    def _keys(self, indexes: Iterator[Any], count: int) -> Iterator[list[Any]]:
        """Yield the indexes of each batch."""
        for start in range(0, count, self.batch_size):
            yield list(itertools.islice(indexes, min(self.batch_size, count - start)))

    def _load(self, keys: Iterator[list[Any]]) -> Iterator[Any]:
        """Yield batches from the workers, from torch's loader, or directly from the dataset."""
        if self._ring is not None:
            return self._ring.load(keys)
        if self.workers == 0:
            return (self._collate(fetch(self.dataset, batch)) for batch in keys)
        data = require("torch.utils.data", "torch", "WindowLoader")
        return iter(
            data.DataLoader(
                self.dataset,
                batch_sampler=list(keys),
                num_workers=self.workers,
                collate_fn=self._collate,
                prefetch_factor=max(1, self.depth // self.workers),
            )
        )

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch. Do nothing if it is the current one.

        Args:
            epoch: number of the epoch, from 0.

        Raises:
            ArgumentTypeError: if the number is not an integer.
            ArgumentError: if the number is below 0.
        """
        epoch = as_whole("epoch", epoch, 0)
        if epoch != self.sampler.epoch or not len(
            self.sampler
        ):  # or if a state from the end of an epoch was loaded
            self.sampler.set_epoch(epoch)
            self._run = self._consumed = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state with which :meth:`load_state_dict` continues after the last returned batch.

        Batches that workers have loaded ahead are not counted.
        """
        return self.sampler.state_dict(step=self._consumed, batch_size=self.batch_size)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a saved state, with any number of workers and ranks, and any batch size.

        Args:
            state_dict: a state that :meth:`state_dict` has returned, of this class or of
                :class:`ndsampler.training.TargetSampler`.

        Raises:
            ArgumentError: if it is not a valid state, or belongs to another seed, order or dataset.
        """
        self.sampler.load_state_dict(state_dict)
        self._epoch, self._run, self._consumed = state_dict["epoch"], 0, 0

    def close(self) -> None:
        """End the workers. The next loop starts new ones."""
        if self._ring is not None:
            self._ring.close()

    def __enter__(self) -> WindowLoader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Collate:
    """A picklable adapter for collate functions that take only samples, and not the memory for the batch.

    Args:
        function: combines a list of samples into a batch.
    """

    def __init__(self, function: Callable[[list[Any]], Any]) -> None:
        self._function = function

    def __call__(self, samples: Sequence[Any], allocate: Any = None, images: Any = None) -> Any:
        return self._function(list(samples))


def _check_count(name: str, value: Any, least: int, most: int | None) -> int:
    """Return a count as an ``int``.

    Raises:
        ArgumentError: if the count is not a whole number, or out of range.
    """
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):
        bounds = f"from {least}" + ("" if most is None else f" to {most}")
        raise ArgumentError(f"{name} is {value!r}; expected a whole number {bounds}")
    return int(value)


def _choose_pin(wanted: bool | None) -> Callable[[Any], Any]:
    """Return a function that pins batches or returns them unchanged. Call this after workers were forked."""
    torch = require("torch", "torch", "WindowLoader")
    return _pin if (torch.cuda.is_available() if wanted is None else wanted) else _return_unchanged


def _return_unchanged(batch: Any) -> Any:
    """Return a batch unchanged."""
    return batch


def _pin(value: Any) -> Any:
    """Copy the tensors of a batch to pinned memory, from which they can be copied to a GPU quickly."""
    if isinstance(value, dict):
        return {key: _pin(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_pin(part) for part in value)
    pin = getattr(value, "pin_memory", None)
    return value if pin is None else pin()
