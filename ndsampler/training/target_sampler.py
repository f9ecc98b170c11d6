"""
The sampler that hands an order of samples to the data loaders of torch. This module imports torch.
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

#: Positions that are computed at once.
CHUNK = 1024


class TargetSampler(torch_data.Sampler):  # type: ignore[misc, name-defined]
    """Yields the indexes of an order, divided among the ranks of a distributed run.

    Rank r of n gets every n-th position, from the r-th on. What is yielded are integers that also say where
    in which epoch they stand (:class:`ndsampler.training.SampleIndex`).

    A state holds the position counted over all ranks. So a run can be continued with other numbers of
    ranks and workers and another batch size, and the next position comes next.

    Args:
        order: which item comes at which position.
        rank: number of this process; by default that of ``torch.distributed`` if it is initialized, else 0.
        world_size: number of processes; found in the same way.
        uneven: what happens if the ranks do not divide what is left of an epoch: ``'repeat'`` begins it again
            to fill up, ``'drop'`` leaves out the last positions, and ``'keep'`` gives some ranks one more.
        dataset: what the indexes refer to. If it is a :class:`ndsampler.training.SampleDataset`, or has a
            ``fingerprint`` as that has, a state of another dataset is refused.

    Raises:
        ArgumentTypeError: if the order is no order.
        ArgumentError: if the rank is out of range, an epoch has too few positions for all ranks, or the
            dataset cannot serve the order.

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
        self.rank, self.world_size = _place(rank, world_size)
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
        """Number of the epoch. After loading the state of a complete epoch, that of the next one."""
        return self._epoch + (self._begin >= len(self.order))

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that differ for other orders and other datasets."""
        parts = self.order.fingerprint, getattr(self.dataset, "fingerprint", "")
        return blake2b("/".join(parts).encode(), digest_size=8).hexdigest()

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch. Nothing changes if it is the current one.

        Args:
            epoch: its number, from 0.

        Raises:
            ArgumentTypeError: if it is no whole number.
            ArgumentError: if it is below 0.
        """
        epoch = as_whole("epoch", epoch, 0)
        if epoch != self._epoch:
            self._go_to(epoch, 0)

    def _go_to(self, epoch: int, position: int) -> None:
        """Let the next iteration begin at a position."""
        self._epoch, self._begin, self._yielded, self._ended = epoch, position, 0, False
        self._run = None

    def __len__(self) -> int:
        """Return the number of indexes in the next iteration; fewer after a state was loaded."""
        return self._count(0 if self._ended else self._begin)

    def _count(self, begin: int) -> int:
        """Return how many indexes this rank gets from a position on."""
        left = len(self.order) - begin
        if self.uneven == "keep":
            return max(0, -((self.rank - left) // self.world_size))
        return left // self.world_size if self.uneven == "drop" else -(-left // self.world_size)

    def __iter__(self) -> Iterator[SampleIndex]:
        """Return an iterator from the loaded state, or from the beginning."""
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

        Without arguments, the position is what was taken from this sampler. A ``DataLoader`` takes indexes
        ahead of the batches that it returns, so the training loop has to state its position; torchdata's
        ``StatefulDataLoader`` calls this at the right time. All ranks have the same state after the same
        number of steps; with ``uneven='keep'``, save that of rank 0, which has the most.

        Args:
            step: batches that each rank has taken since its loader's iteration began.
            batch_size: samples in a batch of each rank.

        Raises:
            ArgumentError: if one is given without the other, or is out of range.
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
        """Return the position, over all ranks, after each has taken some indexes in this iteration."""
        position, length = self._begin + taken * self.world_size, len(self.order)
        if self.uneven == "drop" and position + self.world_size > length:
            return length
        return min(position, length)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        If that was the end of an epoch, the next iteration is empty; :meth:`set_epoch` continues as always.

        Args:
            state_dict: what :meth:`state_dict` returned, under any number of ranks.

        Raises:
            ArgumentError: if it is not such a state, or belongs to another seed, order or dataset.
        """
        state = _checked(state_dict)
        if state["seed"] != self.order.seed:
            raise ArgumentError(
                f"the state is of an order with seed {state['seed']}; this one has {self.order.seed}"
            )
        if state["fingerprint"] != self.fingerprint:
            raise ArgumentError(
                f"the state is of other targets: its fingerprint is {state['fingerprint']}, and theirs is "
                f"{self.fingerprint}; continue with the same dataset, targets, groups, weights and length"
            )
        self._go_to(int(state["epoch"]), min(int(state["position"]), len(self.order)))


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return rank and number of ranks, those of ``torch.distributed`` by default."""
    distributed = require("torch.distributed", "torch", "ndsampler.training.TargetSampler")
    if distributed.is_available() and distributed.is_initialized():
        world_size = distributed.get_world_size() if world_size is None else world_size
        rank = distributed.get_rank() if rank is None else rank
    size, number = 1 if world_size is None else int(world_size), 0 if rank is None else int(rank)
    if not 0 <= number < size:
        raise ArgumentError(
            f"rank is {number} and world_size {size}; expected a rank below world_size, from 0"
        )
    return number, size


def _checked(state: Any) -> Mapping[str, Any]:
    """Return a state if it is valid."""
    if not isinstance(state, Mapping):
        raise ArgumentTypeError(f"the state is a {type(state).__name__}; expected a dictionary")
    for key in ("seed", "epoch", "position"):
        value = state.get(key)
        if isinstance(value, bool) or not isinstance(value, Integral) or (key != "seed" and value < 0):
            raise ArgumentError(f"the state has {key} {value!r}; expected what state_dict() returned")
    if "fingerprint" not in state:
        raise ArgumentError("the state has no fingerprint; expected what state_dict() returned")
    return state
