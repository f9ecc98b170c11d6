"""
What a pool of targets is, and the negatives of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.annot_table import NO_ID
from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import kwarray
    import kwimage
    from numpy.typing import NDArray

    from ndsampler.isect_indexer import FrameIntersectionIndex

    Rng = int | np.random.RandomState | None

__all__ = [
    "NegativePool",
    "NegativeSource",
    "Targets",
    "check_sizes",
    "checked_rows",
    "random_index",
    "relative_sizes",
]

#: Largest number of targets whose sizes negatives imitate.
_MAX_ANCHORS = 1000

#: Share of its own area that annotations may cover of a negative, when there are too few without any.
_THRESH = 0.3


class Targets:
    """
    The interface of pools of targets; this one holds none.

    Example:
        >>> Targets().get_positive() is None
        True
    """

    def get_negative(self, index: int | None = None, rng: Rng = None) -> dict[str, Any] | None:
        """Return a negative target: none here.

        Args:
            index: position in the pool; a random one when None.
            rng: decides which, when ``index`` is None.
        """

    def get_positive(self, index: int | None = None, rng: Rng = None) -> dict[str, Any] | None:
        """Return a positive target: none here.

        Args:
            index: position in the pool; a random one when None.
            rng: decides which, when ``index`` is None.
        """

    def overlapping_aids(self, gid: int, box: kwimage.Boxes) -> list[int]:
        """Return the annotations of an image that a box touches.

        Args:
            gid: an image id.
            box: the box, in image pixels.

        Raises:
            NotImplementedError: unless the pool overrides it.
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
        """Choose the positives and negatives that make up the pool.

        Args:
            n_pos: number of positives; all when None.
            n_neg: number of negatives; none when None.
            neg_to_pos_ratio: number of negatives for each positive, instead of ``n_neg``.
            window_dims: height and width of the windows.
            rng: decides what is left to chance.
            verbose: whether to log what was chosen.

        Raises:
            NotImplementedError: unless the pool overrides it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement preselect")


@dataclass(frozen=True, eq=False)
class NegativeSource:
    """
    Where negatives come from, and how large they are.

    Example:
        >>> from ndsampler.isect_indexer import FrameIntersectionIndex
        >>> source = NegativeSource(FrameIntersectionIndex.demo("shapes8"), {"window_size": (50, 40)}, 0)
        >>> source.draw(3, rng=0)["height"].tolist()
        [40.0, 40.0, 40.0]
    """

    index: FrameIntersectionIndex
    """The annotations to keep off."""

    sizes: dict[str, Any]
    """``window_size`` or ``anchors`` for :meth:`FrameIntersectionIndex.random_negatives`."""

    category_id: int
    """The category of a negative."""

    @classmethod
    def of(
        cls,
        index: FrameIntersectionIndex,
        window: tuple[float, float] | None,
        anchors: NDArray[np.float64],
        category_id: int,
    ) -> NegativeSource:
        """Return a source of negatives of one size, or of sizes like those of annotations.

        Args:
            index: the annotations to keep off.
            window: height and width in pixels; None to take after ``anchors``.
            anchors: (A, 2) widths and heights as shares of the image's.
            category_id: the category of a negative.

        Raises:
            ArgumentError: if there is neither a window nor an anchor of any size.
        """
        if window is not None:
            return cls(index, {"window_size": window[::-1]}, category_id)
        anchors = np.minimum(anchors[(anchors > 0).all(axis=1)], 1.0)
        if not len(anchors):
            raise ArgumentError(
                "negatives take their sizes from annotations, of which none has a box; "
                "expected at least one; give window_dims to preselect"
            )
        return cls(index, {"anchors": anchors}, category_id)

    def draw(self, num: int, rng: Rng, exact: bool = False) -> kwarray.DataFrameArray:
        """Return up to ``num`` negatives: off all annotations, and if those are too few, partly on some.

        Args:
            num: how many.
            rng: decides which.
            exact: whether to raise an error if there are none.

        Returns:
            A table with the columns of a negative target, ascending by image.

        Raises:
            ArgumentError: if ``exact`` and there are none.
        """
        import kwarray

        rng = kwarray.ensure_rng(rng)
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
                # A difference of coordinates is a hair off the size that was asked for.
                "width": np.round(right - left, 6),
                "height": np.round(bottom - top, 6),
                "img_width": images.widths[rows],
                "img_height": images.heights[rows],
                "category_id": np.full(len(gids), self.category_id),
            }
        )


class NegativePool:
    """
    A number of negatives to count, and after those as many again whenever they are used up.

    Args:
        source: where more come from; None when none are wanted.
        num: how many.
        rng: decides which.
        exact: whether to raise an error if there are none.

    Example:
        >>> from ndsampler.isect_indexer import FrameIntersectionIndex
        >>> source = NegativeSource(FrameIntersectionIndex.demo("shapes8"), {"window_size": (50, 40)}, 0)
        >>> pool = NegativePool(source, 2, rng=0)
        >>> pool.next(None) == pool[0], pool.next(None) == pool[1], pool.next(None)["aid"]
        (True, True, -1)
    """

    def __init__(self, source: NegativeSource | None, num: int, rng: Rng = None, exact: bool = False) -> None:
        self._source = source
        self._table: Any = () if source is None else source.draw(num, rng, exact)
        self._stream = self._table
        self._given = 0

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of bounds for {len(self)} preselected negatives")
        return _row(self._table, index)

    def next(self, rng: Rng) -> dict[str, Any]:
        """Return the next negative; once all were given, the first of a fresh lot of as many.

        Args:
            rng: decides what is in a fresh lot.

        Raises:
            ArgumentError: if the pool is empty.
        """
        if self._source is None or not len(self):
            raise ArgumentError(
                "the pool holds no negatives; expected room for one in some image; "
                "preselect(n_neg=...) some, with smaller window_dims if there was no room"
            )
        # Threads that share the pool may draw the same negative, but none is beyond the end.
        stream, place = self._stream, self._given
        if place >= len(stream):
            stream, place = self._source.draw(len(self), rng, exact=True), 0
            self._stream = stream
        self._given = place + 1
        return _row(stream, place)


def check_sizes(n_pos: int | None, n_neg: int | None, neg_to_pos_ratio: float | None) -> None:
    """Raise an error unless a pool can have these sizes.

    Args:
        n_pos: number of positives; all when None.
        n_neg: number of negatives; none when None.
        neg_to_pos_ratio: number of negatives for each positive, instead of ``n_neg``.

    Raises:
        ArgumentError: if one of them is below 0, or if there are two sizes for the negatives.
    """
    if n_neg is not None and neg_to_pos_ratio is not None:
        raise ArgumentError(
            f"Cannot specify both neg_to_pos_ratio={neg_to_pos_ratio} and n_neg={n_neg}; "
            "expected one of them; leave out the other"
        )
    if min(n_pos or 0, n_neg or 0, neg_to_pos_ratio or 0) < 0:
        raise ArgumentError(
            f"got n_pos={n_pos}, n_neg={n_neg}, neg_to_pos_ratio={neg_to_pos_ratio}; "
            "expected none of them below 0; leave out what should have its default"
        )


def checked_rows(chosen: Any, total: int) -> NDArray[np.int64]:
    """Return rows of a table that a user's function has chosen.

    Args:
        chosen: what it returned.
        total: rows of the table.

    Raises:
        ArgumentError: if that is no list of rows.

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
    import kwarray

    smaller = np.minimum(targets["img_width"], targets["img_height"])
    sizes = np.stack([targets["width"] / smaller, targets["height"] / smaller], axis=1)
    shuffled = kwarray.ensure_rng(0).permutation(len(sizes))
    return sizes[shuffled[:_MAX_ANCHORS]]


def random_index(num: int, rng: Rng, what: str) -> int:
    """Return a random position among ``num``.

    Args:
        num: how many there are.
        rng: decides which.
        what: what they are, said when there are none.

    Raises:
        ArgumentError: if there are none.

    Example:
        >>> random_index(1, 0, "positives")
        0
    """
    import kwarray

    if num == 0:
        raise ArgumentError(
            f"a random one of the {what} is asked for and there are none; expected at least one; "
            "add annotations with boxes, or preselect some"
        )
    return int(kwarray.ensure_rng(rng).randint(0, num))


def _row(table: Any, index: int) -> dict[str, Any]:
    row: dict[str, Any] = table.iloc[index]
    whole = ("aid", "img_width", "img_height", "category_id")
    return row | {key: int(row[key]) for key in whole}
