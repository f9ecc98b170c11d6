"""
Methods to draw the items of an epoch: each once, by weight, by quotas of classes, or image by image.

Each method is a pure function of epoch and position, and has no state other than its arguments.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from ndsampler.training.permutation import make_key, permute
from ndsampler.training.quotas import Quotas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ndsampler.training.shares import ClassShare

#: Purposes of permutation keys, so that no two permutations share a key.
_ITEMS, _SLOTS, _OFFSET, _BLOCKS, _CLASSES, _IMAGES, _CHUNKS = range(7)

Key = TypeVar("Key", bound=tuple[int, ...])
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Caches the values that were computed most recently. A pickled copy is empty.

    Args:
        size: maximum number of cached values.
    """

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key, compute: Callable[..., Value]) -> Value:
        """Return the cached value of a key, or compute it by passing the parts of the key to a function."""
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = compute(*key)
            while len(self._values) > self.size:
                self._values.popitem(last=False)
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.size,)


class Draws(Protocol):
    """A method to draw the items of an epoch."""

    def items(self, epoch: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the items at some positions of an epoch."""

    def parts(self) -> Iterable[Any]:
        """Return the arrays and texts that affect the draws, besides seed, length and number of items."""


class Shuffle:
    """Draws every item once, in permuted order, before it draws any item again."""

    def __init__(self, n: int, length: int, seed: int, shuffle: bool) -> None:
        self.n, self.length, self.seed, self.shuffle = n, length, seed, shuffle

    def items(self, epoch: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the items at some positions. Each epoch continues where the previous one ended."""
        return continue_passes(
            positions, epoch * self.length, self.n, (self.seed, _ITEMS), shuffle=self.shuffle
        )

    def parts(self) -> Iterable[Any]:
        """Return an empty sequence, because nothing else affects the draws."""
        return ()


def continue_passes(
    ranks: NDArray[np.int64], done: int, n: int, key: tuple[int, ...], *, shuffle: bool
) -> NDArray[np.int64]:
    """Return numbers from an endless sequence of permutations of ``range(n)``.

    Args:
        ranks: positions in the sequence, counted from ``done``.
        done: number of positions before rank 0.
        n: size of each permutation.
        key: parts of the permutations' key, which also contains the number of each permutation.
        shuffle: False repeats ``range(n)`` instead of permutations.
    """
    first, offset = divmod(done, n)
    turns, places = np.divmod(ranks + offset, n)
    if not shuffle or n == 1:
        return places
    found = np.empty(len(ranks), np.int64)
    for turn, here in split_by(turns):
        found[here] = permute(places[here], n, make_key(*key, first + turn))
    return found


def split_by(values: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each distinct value of an array in ascending order, with the positions where it occurs.

    Example:
        >>> [(value, places.tolist()) for value, places in split_by(np.array([7, 3, 7]))]
        [(3, [1]), (7, [0, 2])]
    """
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    starts = np.flatnonzero(np.diff(ascending, prepend=ascending[:1] - 1))
    yield from zip(ascending[starts].tolist(), np.split(order, starts[1:]))


class WeightedItems:
    """Draws items in proportion to their weights, to within one draw of each item per epoch.

    This is systematic sampling: each item is an interval on a line, as long as its weight, and the draws of
    an epoch are evenly spaced points on that line. Their order is a keyed permutation.
    """

    def __init__(self, weights: NDArray[np.float64], length: int, seed: int, shuffle: bool) -> None:
        self.ends = np.cumsum(weights)
        self.length, self.seed, self.shuffle = length, seed, shuffle

    def items(self, epoch: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the items at some positions of an epoch."""
        slots = positions
        if self.shuffle:
            slots = permute(positions, self.length, make_key(self.seed, _SLOTS, epoch))
        offset = (make_key(self.seed, _OFFSET, epoch) >> 11) / 2**53
        points = (slots + offset) * (self.ends[-1] / self.length)
        last = int(np.searchsorted(self.ends, self.ends[-1]))
        result: NDArray[np.int64] = np.minimum(np.searchsorted(self.ends, points, side="right"), last)
        return result

    def parts(self) -> Iterable[Any]:
        """Return the cumulative weights."""
        return ("weights", self.ends)


class ClassDraws:
    """Draws items by the quotas of their classes. Each class draws all of its items before it repeats one.

    Args:
        classes: the classes, in the order of the quotas.
        quotas: divides the positions of an epoch among the classes.
        negatives: whether the last quota is for negatives, which are numbered -1, -2, and so on.
        seed: seed of the order within blocks and classes.
        shuffle: False keeps the order of blocks and items.
    """

    def __init__(
        self, classes: Sequence[ClassShare], quotas: Quotas, negatives: bool, seed: int, shuffle: bool
    ) -> None:
        self.classes, self.quotas, self.negatives = classes, quotas, negatives
        self.seed, self.shuffle = seed, shuffle
        self._per_epoch = quotas.drawn_before(quotas.length)
        self._blocks: Recent[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.int64]]] = Recent()

    def items(self, epoch: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the items at some positions of an epoch; -1 - k is the k-th negative of the epoch."""
        kinds, ranks = self._draws(epoch, positions)
        found = np.empty(len(positions), np.int64)
        for kind, here in split_by(kinds):
            found[here] = self._of_class(kind, epoch, ranks[here])
        return found

    def parts(self) -> Iterable[Any]:
        """Return the shares of the classes, and their items."""
        return (
            "classes",
            str(self.quotas.bounds),
            *(str(found.label) for found in self.classes),
            *(found.items for found in self.classes),
        )

    def _draws(self, epoch: int, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the class of the draw at each position, and its rank among the draws of that class."""
        quotas = self.quotas
        blocks = np.minimum(positions // quotas.block, quotas.n_blocks - 1)
        kinds, ranks = np.empty(len(positions), np.int64), np.empty(len(positions), np.int64)
        for number, here in split_by(blocks):
            places = positions[here] - quotas.span(number)[0]
            of_block = self._blocks.get((epoch, number), self._block)
            kinds[here], ranks[here] = of_block[0][places], of_block[1][places]
        return kinds, ranks

    def _block(self, epoch: int, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the classes of a block in the order of its draws, and each draw's rank within its class."""
        start, stop = self.quotas.span(number)
        kinds, ranks = self.quotas.draws_in(number)
        if not self.shuffle:
            return kinds, ranks
        slots = permute(np.arange(stop - start), stop - start, make_key(self.seed, _BLOCKS, epoch, number))
        kinds, ascending = kinds[slots], ranks
        # Lower ranks of a class come first, so that no item is repeated before all others were drawn.
        ranks = np.empty_like(ascending)
        ranks[np.argsort(kinds, kind="stable")] = ascending
        return kinds, ranks

    def _of_class(self, kind: int, epoch: int, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the items of one class by the ranks of their draws."""
        if kind == len(self.classes):
            return -1 - ranks
        members = self.classes[kind].items
        done = epoch * self._per_epoch[kind]
        places = continue_passes(ranks, done, len(members), (self.seed, _CLASSES, kind), shuffle=self.shuffle)
        return members[places]


class LocalDraws:
    """Draws items from a few images at a time, for sources that are slow to open.

    The images of an epoch are permuted and divided into chunks of consecutive images. The items of each chunk
    are shuffled together.

    Args:
        images: image of each item.
        in_play: number of images in a chunk.
        seed: seed of the order.
    """

    def __init__(self, images: NDArray[np.int64], in_play: int, seed: int) -> None:
        self.in_play, self.seed = in_play, seed
        _, inverse, self._counts = np.unique(images, return_inverse=True, return_counts=True)
        self._by_image = np.argsort(inverse, kind="stable")
        self._starts = np.cumsum(self._counts) - self._counts
        self._orders: Recent[tuple[int], tuple[NDArray[np.int64], NDArray[np.int64]]] = Recent()

    def items(self, epoch: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the items at some positions of an epoch."""
        order, ends = self._orders.get((epoch,), self._image_order)
        bounds = np.concatenate([[0], ends[self.in_play - 1 :: self.in_play]])
        if bounds[-1] != ends[-1]:
            bounds = np.append(bounds, ends[-1])
        chunks = np.searchsorted(bounds, positions, side="right") - 1
        places = np.empty(len(positions), np.int64)
        for chunk, here in split_by(chunks):
            start, stop = bounds[chunk], bounds[chunk + 1]
            key = make_key(self.seed, _CHUNKS, epoch, chunk)
            places[here] = start + permute(positions[here] - start, int(stop - start), key)
        rows = np.searchsorted(ends, places, side="right")
        inner = places - (ends[rows] - self._counts[order[rows]])
        result: NDArray[np.int64] = self._by_image[self._starts[order[rows]] + inner]
        return result

    def parts(self) -> Iterable[Any]:
        """Return the number of images that are used at a time, and the items of each image."""
        return ("images", str(self.in_play), self._counts, self._by_image)

    def _image_order(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the images in the order of an epoch, and the position after each image's last item."""
        n = len(self._counts)
        order = permute(np.arange(n), n, make_key(self.seed, _IMAGES, epoch))
        return order, np.cumsum(self._counts[order])
