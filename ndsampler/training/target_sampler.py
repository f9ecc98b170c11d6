"""
The sampler that passes an order of samples to torch's data loaders. This module imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ndsampler.errors import ArgumentError, ArgumentTypeError
from ndsampler.training.sample_index import SampleIndex
from ndsampler.training.whole import as_whole
from ndsampler.utils.require import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ndsampler.training.order import EpochOrder

torch_data = require("torch.utils.data", "torch", "ndsampler.training.TargetSampler")

Uneven = Literal["repeat", "drop", "keep"]

#: Number of positions that are computed at a time.
CHUNK = 1024


class TargetSampler(torch_data.Sampler):  # type: ignore[misc, name-defined]
    """Yields the indexes of an order, divided among the ranks of a distributed run.

    Rank r of n gets every n-th position, starting with position r. The sampler yields integers that also
    contain their epoch and position (:class:`ndsampler.training.SampleIndex`).

    A saved state contains the position counted over all ranks. A run can therefore be continued with another
    number of ranks or workers and another batch size, without repeating or skipping positions.

    Args:
        order: the order of the items in each epoch.
        rank: number of this process; by default that of ``torch.distributed`` if it is initialized, else 0.
        world_size: number of processes; the default is found in the same way.
        uneven: what to do if the remaining positions of an epoch cannot be divided evenly among the ranks:
            ``'repeat'`` fills up with positions from the beginning of the epoch, ``'drop'`` leaves out the
            last positions, and ``'keep'`` gives some ranks one more.
        dataset: the dataset to which the indexes refer. If it is a
            :class:`ndsampler.training.SampleDataset`, or has a ``fingerprint`` too, states of other datasets
            are rejected.

    Raises:
        ArgumentTypeError: if the order is not an :class:`ndsampler.training.EpochOrder`.
        ArgumentError: if the rank is out of range, an epoch has too few positions for all ranks, or the
            dataset cannot load the items of the order.

    Example:
        >>> from ndsampler.training import EpochOrder
        >>> sampler = TargetSampler(EpochOrder(5, shuffle=False), rank=1, world_size=2)
        >>> list(sampler)
        [SampleIndex(1, epoch=0, g=1), SampleIndex(3, epoch=0, g=3), SampleIndex(0, epoch=0, g=0)]
    """

    def __init__(
        self,
        order: EpochOrder,
        rank: int | None = None,
        world_size: int | None = None,
        uneven: Uneven = "repeat",
        dataset: Any = None,
    ) -> None:
        if not all(hasattr(order, name) for name in ("take", "fingerprint", "seed")):
            raise ArgumentTypeError(f"order is a {type(order).__name__}; expected an EpochOrder")
        self.order = order
        self.rank, self.world_size = _find_rank(rank, world_size)
        if uneven not in get_args(Uneven):
            raise ArgumentError(f"uneven is {uneven!r}; expected 'repeat', 'drop' or 'keep'")
        if uneven == "drop" and len(order) < self.world_size:
            raise ArgumentError(
                f"an epoch has {len(order)} positions for {self.world_size} ranks; expected one for each, or "
                "uneven='repeat'"
            )
        if hasattr(dataset, "check_order"):
            dataset.check_order(order)
        self.uneven = uneven
        self.dataset = dataset
        self._epoch = self._begin = self._yielded = 0
        self._ended = False
        self._run: object = None

    @property
    def epoch(self) -> int:
        """Number of the epoch; that of the next epoch after the state of a complete epoch was loaded."""
        return self._epoch + (self._begin >= len(self.order))

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that identify the order and the dataset."""
        parts = self.order.fingerprint, getattr(self.dataset, "fingerprint", "")
        return blake2b("/".join(parts).encode(), digest_size=8).hexdigest()

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch. Do nothing if it is the current one.

        Args:
            epoch: number of the epoch, from 0.

        Raises:
            ArgumentTypeError: if the number is not an integer.
            ArgumentError: if the number is below 0.
        """
        epoch = as_whole("epoch", epoch, 0)
        if epoch != self._epoch:
            self._go_to(epoch, 0)

    def _go_to(self, epoch: int, position: int) -> None:
        """Set the position at which the next iteration begins."""
        self._epoch, self._begin, self._yielded, self._ended = epoch, position, 0, False
        self._run = None

    def __len__(self) -> int:
        """Return the number of indexes in the next iteration, which is smaller after a state was loaded."""
        return self._count(0 if self._ended else self._begin)

    def _count(self, begin: int) -> int:
        """Return the number of indexes that this rank gets from a position to the end of the epoch."""
        left = len(self.order) - begin
        if self.uneven == "keep":
            return max(0, -((self.rank - left) // self.world_size))
        return left // self.world_size if self.uneven == "drop" else -(-left // self.world_size)

    def __iter__(self) -> Iterator[SampleIndex]:
        """Return an iterator that starts at the loaded state, or at the beginning of the epoch."""
        self._go_to(self._epoch, 0 if self._ended else self._begin)
        self._run = run = object()
        return self._indexes(run)

    def _indexes(self, run: object) -> Iterator[SampleIndex]:
        """Yield the indexes of one iteration, and count them until another iteration begins."""
        epoch, begin, count = self._epoch, self._begin, self._count(self._begin)
        for start in range(0, count, CHUNK):
            steps = np.arange(start, min(start + CHUNK, count))
            positions = (begin + self.rank + steps * self.world_size) % len(self.order)
            for step, item, g in zip(
                steps.tolist(), self.order.take(epoch, positions).tolist(), positions.tolist()
            ):
                if self._run is run:
                    self._yielded = step + 1
                yield SampleIndex(item, epoch, g)
        if self._run is run:
            self._ended = True

    def state_dict(self, step: int | None = None, batch_size: int | None = None) -> dict[str, Any]:
        """Return the state that :meth:`load_state_dict` needs to continue from here, in less than 200 bytes.

        Without arguments, the position is that of the last index that was taken from this sampler. A
        ``DataLoader`` takes indexes ahead of the batches that it returns, so the training loop must pass its
        own position. torchdata's ``StatefulDataLoader`` calls this method at the right time. All ranks have
        the same state after the same number of steps; with ``uneven='keep'``, save the state of rank 0, which
        has the most positions.

        Args:
            step: number of batches that each rank has taken since its loader's iteration began.
            batch_size: number of samples in a batch of each rank.

        Raises:
            ArgumentError: if one argument is given without the other, or is out of range.
        """
        taken = self._yielded
        if step is not None or batch_size is not None:
            if step is None or batch_size is None:
                raise ArgumentError(f"step is {step!r} and batch_size {batch_size!r}; expected both")
            taken = as_whole("step", step, 0) * as_whole("batch_size", batch_size, 1)
        elif self._ended:
            taken = len(self.order)
        return {
            "seed": self.order.seed,
            "epoch": self._epoch,
            "position": self._position_after(taken),
            "fingerprint": self.fingerprint,
        }

    def _position_after(self, taken: int) -> int:
        """Return the position over all ranks after each has taken some indexes in this iteration."""
        position, length = self._begin + taken * self.world_size, len(self.order)
        if self.uneven == "drop" and position + self.world_size > length:
            return length
        return min(position, length)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        If the state was saved at the end of an epoch, the next iteration is empty; :meth:`set_epoch` then
        starts the next epoch as usual.

        Args:
            state_dict: a state that :meth:`state_dict` has returned, with any number of ranks.

        Raises:
            ArgumentError: if it is not a valid state, or belongs to another seed, order or dataset.
        """
        state = _check_state(state_dict)
        if state["seed"] != self.order.seed:
            raise ArgumentError(
                f"the state belongs to an order with seed {state['seed']}; this order has {self.order.seed}"
            )
        if state["fingerprint"] != self.fingerprint:
            raise ArgumentError(
                f"the state belongs to other targets: its fingerprint is {state['fingerprint']}; expected "
                f"{self.fingerprint}. Continue with the same dataset, targets, groups, weights and length"
            )
        self._go_to(int(state["epoch"]), min(int(state["position"]), len(self.order)))


def _find_rank(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return the rank and the number of ranks; by default those of ``torch.distributed``."""
    distributed = require("torch.distributed", "torch", "ndsampler.training.TargetSampler")
    if distributed.is_available() and distributed.is_initialized():
        world_size = distributed.get_world_size() if world_size is None else world_size
        rank = distributed.get_rank() if rank is None else rank
    size, number = 1 if world_size is None else int(world_size), 0 if rank is None else int(rank)
    if not 0 <= number < size:
        raise ArgumentError(
            f"rank is {number} and world_size {size}; expected a rank of at least 0 and below world_size"
        )
    return number, size


def _check_state(state: Any) -> Mapping[str, Any]:
    """Return a state after checking that it is valid."""
    if not isinstance(state, Mapping):
        raise ArgumentTypeError(f"the state is a {type(state).__name__}; expected a dictionary")
    for key in ("seed", "epoch", "position"):
        value = state.get(key)
        if isinstance(value, bool) or not isinstance(value, Integral) or (key != "seed" and value < 0):
            raise ArgumentError(f"the state has {key} {value!r}; expected a state from state_dict()")
    if "fingerprint" not in state:
        raise ArgumentError("the state has no fingerprint; expected a state from state_dict()")
    return state
