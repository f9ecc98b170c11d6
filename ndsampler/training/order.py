"""
The order of the samples in an epoch, as a pure function of seed, epoch and position.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from hashlib import blake2b
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError
from ndsampler.training.draws import ClassDraws, LocalDraws, Shuffle, WeightedItems
from ndsampler.training.quotas import Quotas
from ndsampler.training.shares import class_shares, read_labels, read_weights
from ndsampler.training.whole import as_whole

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ndsampler.category_tree import CategoryTree
    from ndsampler.training.draws import Draws
    from ndsampler.training.shares import ClassShare, Weights


class EpochOrder:
    """Determines the item at each position of each epoch.

    Nothing is stored: any part of any epoch is computed on demand from the seed, the epoch and the position
    alone. The order is therefore the same for any number of workers, ranks and restarts, on any machine, and
    with any version of numpy.

    Without groups and weights, an epoch is a permutation of all items. With them, the positions are divided
    among the classes in fixed quotas (:class:`ndsampler.training.quotas.Quotas`), and each class draws all of
    its items before it repeats one, even across epochs.

    Args:
        n: number of items.
        seed: seed of the order.
        shuffle: False keeps the order of the items.
        groups: class label of each item; with ``locality``, the image of each item.
        weights: with groups, the shares of the classes: ``'equal'``, ``'inverse'``, ``'sqrt'``, a dictionary
            of shares or an array: see :func:`ndsampler.training.shares.class_shares`. Without groups,
            an array with the weight of each item.
        length: number of positions in an epoch; by default, one for each item, plus the negatives.
        negatives: share of the positions, at least 0 and below 1, that hold negatives instead of items. The
            k-th negative of an epoch is the number -1 - k.
        locality: number of images that are used at a time; ``groups`` states the image of each item.
        tree: hierarchy of the labels. The shares of its levels are multiplied.

    Raises:
        ArgumentError: for arguments that contradict each other, a class without items, or a share that is
            out of range.

    Example:
        >>> order = EpochOrder(6, seed=1)
        >>> sorted(order.items(0, 0, 6).tolist())
        [0, 1, 2, 3, 4, 5]
        >>> order.item(3, 2) == int(order.items(3, 0, 6)[2])
        True
        >>> balanced = EpochOrder(4, groups=['a', 'b', 'b', 'b'], weights='equal', length=100)
        >>> int((balanced.items(0, 0, 100) == 0).sum())
        50
    """

    def __init__(
        self,
        n: int,
        seed: int = 0,
        shuffle: bool = True,
        *,
        groups: ArrayLike | None = None,
        weights: Weights = None,
        length: int | None = None,
        negatives: float = 0,
        locality: int | None = None,
        tree: CategoryTree | None = None,
    ) -> None:
        self.n = as_whole("n", n, 1)
        self.seed = as_whole("seed", seed, None)
        self.shuffle = bool(shuffle)
        share = _share_of_negatives(negatives)
        default = self.n if not share else round(self.n / (1 - float(share)))
        self.length = default if length is None else as_whole("length", length, 1)
        self.has_negatives = share > 0
        self._draws = self._choose(groups, weights, share, locality, tree)

    def _choose(
        self,
        groups: ArrayLike | None,
        weights: Weights,
        negatives: Fraction,
        locality: int | None,
        tree: CategoryTree | None,
    ) -> Draws:
        """Return the method of drawing that the arguments select."""
        if locality is not None:
            if weights is not None or tree is not None or not self.shuffle or self.length != self.n:
                raise ArgumentError(
                    "locality needs shuffle=True, and cannot be combined with weights, tree, negatives or "
                    "length; leave out one or the other"
                )
            return self._local_draws(groups, locality)
        if groups is None and weights is None and tree is None and not negatives:
            return Shuffle(self.n, self.length, self.seed, self.shuffle)
        if groups is None:
            return self._choose_ungrouped(weights, negatives, tree)
        classes = class_shares(self._value_per_item("groups", read_labels(groups)), weights, tree)
        return self._class_draws(classes, negatives)

    def _local_draws(self, groups: ArrayLike | None, locality: int) -> Draws:
        """Return the method that draws from a few images at a time."""
        if groups is None:
            raise ArgumentError("locality needs groups, the image of each item")
        images = self._value_per_item("groups", read_labels(groups))
        return LocalDraws(images, as_whole("locality", locality, 1), self.seed)

    def _choose_ungrouped(self, weights: Weights, negatives: Fraction, tree: CategoryTree | None) -> Draws:
        """Return the method that draws weighted items, or items mixed with negatives."""
        if tree is not None or isinstance(weights, (str, Mapping)):
            raise ArgumentError(
                "tree, named weights and dictionaries of shares need groups, a label for each item"
            )
        if weights is None:
            everything = class_shares(np.zeros(self.n, np.int8), None)
            return self._class_draws(everything, negatives)
        if negatives:
            raise ArgumentError("weights of single items cannot be combined with negatives; pass groups")
        values = self._value_per_item("weights", read_weights(weights))
        if not np.isfinite(values).all() or (values < 0).any() or not values.any():
            raise ArgumentError("weights has a negative number, infinity or NaN, or only zeros")
        return WeightedItems(values, self.length, self.seed, self.shuffle)

    def _class_draws(self, classes: list[ClassShare], negatives: Fraction) -> Draws:
        """Return the method that draws by quotas."""
        shares = [found.share * (1 - negatives) for found in classes]
        if negatives:
            shares.append(negatives)
        quotas = Quotas.from_shares(shares, self.length)
        return ClassDraws(classes, quotas, bool(negatives), self.seed, self.shuffle)

    def _value_per_item(self, name: str, values: Any) -> NDArray[Any]:
        """Return an array with one value for each item."""
        array = np.asarray(values)
        if array.shape != (self.n,):
            raise ArgumentError(
                f"{name} has the shape {array.shape}; expected ({self.n},), a value for each item"
            )
        return array

    def __len__(self) -> int:
        return self.length

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that identify the items, the classes and the shares of an order."""
        digest = blake2b(digest_size=8)
        for part in (f"{self.n} {self.length} {self.shuffle}", *self._draws.parts()):
            data = part.encode() if isinstance(part, str) else np.ascontiguousarray(part).data
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
        return digest.hexdigest()

    def items(self, epoch: int, start: int = 0, stop: int | None = None) -> NDArray[np.int64]:
        """Return the items at a range of positions.

        Args:
            epoch: number of the epoch, from 0.
            start: first position.
            stop: position after the last; by default the end of the epoch.

        Returns:
            (stop - start,) int64 indexes; -1 - k for the k-th negative of the epoch.

        Raises:
            ArgumentError: for an epoch below 0, or positions outside the epoch.
        """
        stop = self.length if stop is None else stop
        if not 0 <= start <= stop <= self.length:
            raise ArgumentError(f"positions {start} to {stop} were requested; expected 0 to {self.length}")
        return self.take(epoch, np.arange(start, stop))

    def take(self, epoch: int, positions: ArrayLike) -> NDArray[np.int64]:
        """Return the items at some positions, in any order.

        Args:
            epoch: number of the epoch, from 0.
            positions: from 0 up to, not including, the length of the epoch.

        Raises:
            ArgumentError: for an epoch below 0, or positions outside the epoch.
        """
        wanted = np.asarray(positions, dtype=np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < self.length:
            raise ArgumentError(f"a position is outside the epoch; expected 0 to {self.length - 1}")
        return self._draws.items(as_whole("epoch", epoch, 0), wanted)

    def item(self, epoch: int, position: int) -> int:
        """Return the item at one position of an epoch.

        Args:
            epoch: number of the epoch, from 0.
            position: from 0 up to, not including, the length of the epoch.

        Raises:
            ArgumentError: for an epoch below 0, or a position outside the epoch.
        """
        return int(self.take(epoch, [position])[0])


def _share_of_negatives(value: Any) -> Fraction:
    """Return the share of negatives as an exact fraction."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < 1:
        raise ArgumentError(f"negatives is {value!r}; expected a share of all draws, at least 0 and below 1")
    return Fraction(float(value))
