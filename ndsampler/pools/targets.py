"""
The interface of pools of targets, and the pool of negatives.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.columns import NO_ID
from ndsampler.errors import ArgumentError
from ndsampler.pools.arguments import as_amount, as_count, as_position
from ndsampler.utils.random_state import ProcessMark, ensure_rng, ensure_worker_rng

if TYPE_CHECKING:
    from collections.abc import Sequence

    import kwarray
    import kwimage
    from numpy.typing import NDArray

    from ndsampler.isect_indexer import FrameIntersectionIndex
    from ndsampler.utils.random_state import Rng

__all__ = [
    "NegativePool",
    "NegativeSource",
    "Targets",
    "checked_rows",
    "pool_sizes",
    "random_index",
    "relative_sizes",
]

#: Largest number of targets whose sizes negatives imitate.
_MAX_ANCHORS = 1000

#: Largest fraction of a negative's area that annotations may cover if there are too few without overlap.
_THRESH = 0.3

#: Columns of a table of negatives that become Python integers in a target.
WHOLE = frozenset({"aid", "img_width", "img_height", "category_id"})

#: Maximum number of negatives that a worker process draws at a time.
_WORKER_BATCH = 256

#: Maximum number of negatives of a pool that are cached as dictionaries, which take about 600 bytes each.
_MAX_CACHED = 4096


class Targets:
    """
    The interface of pools of targets. This pool is empty.

    Example:
        >>> Targets().get_positive() is None
        True
    """

    def get_negative(self, index: int | None = None, rng: Rng = None) -> dict[str, Any] | None:
        """Return a negative target; None from an empty pool.

        Args:
            index: position in the pool; None for a random target.
            rng: seed or random state, used if ``index`` is None.
        """

    def get_positive(self, index: int | None = None, rng: Rng = None) -> dict[str, Any] | None:
        """Return a positive target; None from an empty pool.

        Args:
            index: position in the pool; None for a random target.
            rng: seed or random state, used if ``index`` is None.
        """

    def overlapping_aids(self, gid: int, box: kwimage.Boxes) -> list[int]:
        """Return the annotations of an image that touch a box.

        Args:
            gid: image id.
            box: the box in image pixels.

        Raises:
            NotImplementedError: unless a derived class overrides the method.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement overlapping_aids")

    def preselect(
        self,
        n_pos: int | None = None,
        n_neg: int | None = None,
        neg_to_pos_ratio: float | None = None,
        window_dims: Sequence[int] | None = None,
        rng: Rng = None,
        verbose: int = 0,
    ) -> tuple[int, int]:
        """Choose the positives and negatives of the pool.

        Args:
            n_pos: number of positives; None for all.
            n_neg: number of negatives; None for none.
            neg_to_pos_ratio: number of negatives for each positive, instead of ``n_neg``.
            window_dims: height and width of the windows.
            rng: seed or random state.
            verbose: whether to log the numbers of chosen targets.

        Raises:
            NotImplementedError: unless a derived class overrides the method.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement preselect")


@dataclass(frozen=True, eq=False)
class NegativeSource:
    """
    Draws negatives of certain sizes from the images of an index.

    Example:
        >>> from ndsampler.isect_indexer import FrameIntersectionIndex
        >>> source = NegativeSource(FrameIntersectionIndex.demo("shapes8"), {"window_size": (50, 40)}, 0)
        >>> source.draw(3, rng=0)["height"].tolist()
        [40.0, 40.0, 40.0]
    """

    index: FrameIntersectionIndex
    """The annotations to avoid."""

    sizes: dict[str, Any]
    """The argument ``window_size`` or ``anchors`` of :meth:`FrameIntersectionIndex.random_negatives`."""

    category_id: int
    """Category of the negatives."""

    @classmethod
    def from_sizes(
        cls,
        index: FrameIntersectionIndex,
        window: tuple[float, float] | None,
        anchors: NDArray[np.float64],
        category_id: int,
    ) -> NegativeSource:
        """Return a source of negatives of one size, or of the sizes of annotations.

        Args:
            index: the annotations to avoid.
            window: height and width in pixels; None to use ``anchors``.
            anchors: (A, 2) widths and heights as fractions of the image's width and height.
            category_id: category of the negatives.

        Raises:
            ArgumentError: if there is neither a window nor an anchor with a size above 0.
        """
        if window is not None:
            return cls(index, {"window_size": window[::-1]}, category_id)
        anchors = np.minimum(anchors[(anchors > 0).all(axis=1)], 1.0)
        if not len(anchors):
            raise ArgumentError(
                "negatives get their sizes from annotations, but no annotation has a box; "
                "expected at least one; give window_dims to preselect"
            )
        return cls(index, {"anchors": anchors}, category_id)

    def draw(self, num: int, rng: Rng, exact: bool = False) -> kwarray.DataFrameArray:
        """Return up to ``num`` negatives, some of which overlap annotations if there is too little space.

        Args:
            num: number of negatives.
            rng: seed or random state.
            exact: whether to raise an error if none are found.

        Returns:
            A table with the columns of a negative target, sorted by image.

        Raises:
            ArgumentError: if ``exact`` is True and none are found.
        """
        rng = ensure_worker_rng(rng)
        gids, boxes = self.index.random_negatives(num, rng=rng, exact=False, **self.sizes)
        ltrb = boxes.data
        missing = num - len(gids)
        if missing:
            more, boxes = self.index.random_negatives(
                missing, rng=rng, thresh=_THRESH, exact=exact and missing == num, **self.sizes
            )
            gids, ltrb = np.concatenate([gids, more]), np.concatenate([ltrb, boxes.data])
            order = np.argsort(gids, kind="stable")
            gids, ltrb = gids[order], ltrb[order]
        return self._as_table(gids, ltrb)

    def _as_table(self, gids: NDArray[np.int64], ltrb: NDArray[np.float64]) -> kwarray.DataFrameArray:
        import kwarray

        images = self.index.columns.images
        rows = images.indices_of(gids)
        left, top, right, bottom = ltrb.T
        return kwarray.DataFrameArray(
            {
                "gid": gids,
                "aid": np.full(len(gids), NO_ID),
                "cx": (left + right) / 2,
                "cy": (top + bottom) / 2,
                "width": right - left,
                "height": bottom - top,
                "img_width": images.widths[rows],
                "img_height": images.heights[rows],
                "category_id": np.full(len(gids), self.category_id),
            }
        )


class NegativePool:
    """
    Preselected negatives, followed by new batches of the same size.

    A copy of the pool in a worker process, after a fork or through pickle, draws its own batches, so workers
    do not return the same negatives. Its batches depend on the preselected negatives and on the worker
    number.

    Args:
        source: draws the negatives; None for an empty pool.
        num: number of negatives.
        rng: seed or random state.
        exact: whether to raise an error if none are found.

    Example:
        >>> from ndsampler.isect_indexer import FrameIntersectionIndex
        >>> source = NegativeSource(FrameIntersectionIndex.demo("shapes8"), {"window_size": (50, 40)}, 0)
        >>> pool = NegativePool(source, 2, rng=0)
        >>> pool.next(None) == pool[0], pool.next(None) == pool[1], pool.next(None)["aid"]
        (True, True, -1)
    """

    def __init__(self, source: NegativeSource | None, num: int, rng: Rng = None, exact: bool = False) -> None:
        self._source = source
        self._table: dict[str, Any] = {} if source is None else _columns(source.draw(num, rng, exact))
        self._batch = self._table
        self._position = 0
        self._kept: dict[int, dict[str, Any]] = {}
        self._origin = ProcessMark.here()
        self._own_state: np.random.RandomState | None = None
        # Id of the process in which _diverge_in_worker has checked whether the pool is a copy.
        self._known_pid: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}, "_known_pid": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._origin = self._origin.moved()

    def __len__(self) -> int:
        return _count(self._table)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._kept.get(index) if type(index) is int else None
        if row is None:
            position = as_position(index, len(self), "preselected negatives")
            row = _row(self._table, position)
            if len(self._kept) < _MAX_CACHED:
                self._kept[position] = row
        return row.copy()

    def next(self, rng: Rng) -> dict[str, Any]:
        """Return the next negative. After the last one a new batch is drawn.

        Args:
            rng: seed or random state for a new batch. With None, a copy in a worker process draws its own
                negatives.

        Raises:
            ArgumentError: if the pool is empty.
        """
        if self._source is None or not len(self):
            raise ArgumentError(
                "the pool has no negatives; expected at least one; call preselect(n_neg=...), "
                "with smaller window_dims if no image has space for one"
            )
        if rng is None:
            self._diverge_in_worker()
        # Threads that share the pool may get the same negative, but never one beyond the end of the batch.
        batch, position = self._batch, self._position
        if position >= _count(batch):
            own = self._own_state if rng is None else None
            num = len(self) if own is None else min(len(self), _WORKER_BATCH)
            drawn = self._source.draw(num, rng if own is None else own, exact=True)
            batch, position = _columns(drawn), 0
            self._batch = batch
        self._position = position + 1
        return _row(batch, position)

    def _diverge_in_worker(self) -> None:
        """In a worker process, drop the copied batch and seed a random state of its own."""
        if self._known_pid == os.getpid():
            return
        here = ProcessMark.here()
        self._known_pid = here.pid
        if here != self._origin:
            places = np.stack([self._table[key] for key in ("gid", "cx", "cy")]).tobytes()
            shared = self._own_state or np.random.RandomState(zlib.crc32(places))
            self._own_state = here.own_state(shared, self._origin)
            self._origin, self._batch, self._position = here, {}, 0


def pool_sizes(n_pos: Any, n_neg: Any, neg_to_pos_ratio: Any) -> tuple[int | None, int | None, float | None]:
    """Return the sizes of a pool as plain numbers.

    Args:
        n_pos: number of positives; None for all.
        n_neg: number of negatives; None for none.
        neg_to_pos_ratio: number of negatives for each positive, instead of ``n_neg``.

    Raises:
        ArgumentError: if one of them is below 0, infinite or not a number, if there is a fraction of a
            target, or if both ``n_neg`` and ``neg_to_pos_ratio`` are given.

    Example:
        >>> pool_sizes(3.0, None, 0.5)
        (3, None, 0.5)
    """
    if n_neg is not None and neg_to_pos_ratio is not None:
        raise ArgumentError(
            f"Cannot specify both neg_to_pos_ratio={neg_to_pos_ratio} and n_neg={n_neg}; "
            "expected one of them; leave out the other"
        )
    return (
        None if n_pos is None else as_count(n_pos, "n_pos"),
        None if n_neg is None else as_count(n_neg, "n_neg"),
        None
        if neg_to_pos_ratio is None
        else as_amount(neg_to_pos_ratio, "neg_to_pos_ratio", "the number of negatives for each positive"),
    )


def checked_rows(chosen: Any, total: int) -> NDArray[np.int64]:
    """Return the rows of a table that a user's function has chosen.

    Args:
        chosen: result of the user's function.
        total: number of rows of the table.

    Raises:
        ArgumentError: if it is not a list of rows of the table.

    Example:
        >>> checked_rows([2, 0], total=3)
        array([2, 0])
    """
    rows = np.asarray(chosen)
    if rows.ndim != 1 or (len(rows) and not np.issubdtype(rows.dtype, np.integer)):
        raise ArgumentError(
            f"custom_preselect_positives returned {chosen!r}; expected a list of rows of targets"
        )
    if len(rows) and not 0 <= rows.min() <= rows.max() < total:
        raise ArgumentError(
            f"custom_preselect_positives returned rows from {rows.min()} to {rows.max()}; "
            f"expected rows of targets, from 0 to {total - 1}"
        )
    return rows.astype(np.int64)


def relative_sizes(targets: kwarray.DataFrameArray) -> NDArray[np.float64]:
    """Return the sizes of at most 1000 targets relative to their images, in random order.

    Args:
        targets: a table as :func:`ndsampler.tabular_coco_targets` returns.

    Returns:
        (A, 2) widths and heights as fractions of the smaller side of the image.
    """
    smaller = np.minimum(targets["img_width"], targets["img_height"])
    sizes = np.stack([targets["width"] / smaller, targets["height"] / smaller], axis=1)
    shuffled = ensure_rng(0).permutation(len(sizes))
    return sizes[shuffled[:_MAX_ANCHORS]]


def random_index(num: int, rng: Rng, what: str) -> int:
    """Return a random index into a list.

    Args:
        num: length of the list.
        rng: seed or random state.
        what: name of the items for the error message.

    Raises:
        ArgumentError: if the list is empty.

    Example:
        >>> random_index(1, 0, "positives")
        0
    """
    if num == 0:
        raise ArgumentError(
            f"cannot choose one of the {what} at random, because there are none; expected at least one; "
            "add annotations with boxes, or preselect some"
        )
    return int(ensure_rng(rng).randint(0, num))


def _columns(table: kwarray.DataFrameArray) -> dict[str, Any]:
    """Return the columns of a table of negatives, those of :data:`WHOLE` as lists of Python's integers."""
    return {key: table[key].tolist() if key in WHOLE else table[key] for key in table.columns}


def _count(columns: dict[str, Any]) -> int:
    """Return the number of negatives in a table, which has no columns if it is empty."""
    return len(columns["gid"]) if columns else 0


def _row(columns: dict[str, Any], index: int) -> dict[str, Any]:
    """Return one negative of a table."""
    return {key: column[index] for key, column in columns.items()}
