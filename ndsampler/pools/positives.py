"""
Selecting positives whose windows show different pixels.

Every annotation has a window of the same size around its center. Overlapping windows show mostly the same
pixels, so a maximal independent set is chosen: no two of its windows overlap, and every other window
overlaps one of them. It is found in rounds, for all images at once, as in M. Luby, "A simple parallel
algorithm for the maximal independent set problem", SIAM Journal on Computing 15 (1986). In each round,
every window that ranks before all windows that it overlaps is selected, and the windows that it overlaps
are dropped.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.annot_table import AnnotTable
from ndsampler.errors import ArgumentError
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.logs import get_logger
from ndsampler.utils.random_state import ensure_rng

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import kwarray
    from numpy.typing import NDArray

    from ndsampler.utils.random_state import Rng

__all__ = [
    "choose_positives",
    "select_disparate",
    "select_positive_regions",
    "tabular_coco_targets",
    "targets_of_table",
    "window_pair",
]

logger = get_logger(__name__)

#: Cells per window side in which targets are counted to rank the windows.
_CROWD_CELLS = 3


@fork_safe
def tabular_coco_targets(dset: Any) -> kwarray.DataFrameArray:
    """Return a table of all annotations with a box, in the order of the dataset.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.

    Returns:
        Columns ``aid, gid, category_id`` (int32, or int64 if an id needs it; -1 for no category), ``cx, cy,
        width, height`` (float32, image pixels), ``img_width, img_height`` (int32).

    Raises:
        SourceError: if the dataset does not state the size of an image with annotations, and its file cannot
            be read.

    Example:
        >>> import kwcoco
        >>> targets = tabular_coco_targets(kwcoco.CocoDataset.demo("shapes8", verbose=0))
        >>> len(targets), targets["cx"].dtype.name
        (71, 'float32')
    """
    return targets_of_table(AnnotTable.from_coco(dset))


def targets_of_table(table: AnnotTable) -> kwarray.DataFrameArray:
    """Return the table of :func:`tabular_coco_targets` for annotations that are available as columns.

    Args:
        table: the annotations.

    Raises:
        SourceError: if the dataset does not state the size of an image with annotations, and its file cannot
            be read.
    """
    import kwarray

    rows = table.rows_in_dataset_order()
    rows = rows[table.has_box[rows]]
    images = table.images
    image_rows = table.image_rows[rows]
    images.require_sizes(image_rows)
    x, y, width, height = table.boxes[rows].T
    centers = x + width / 2, y + height / 2
    return kwarray.DataFrameArray(
        {
            "aid": _narrow_ids(table.aids[rows]),
            "gid": _narrow_ids(images.gids[image_rows]),
            "category_id": _narrow_ids(table.cids[rows]),
            "cx": centers[0].astype(np.float32),
            "cy": centers[1].astype(np.float32),
            "width": np.abs(width).astype(np.float32),  # tools write boxes from right to left, too
            "height": np.abs(height).astype(np.float32),
            "img_width": images.widths[image_rows],
            "img_height": images.heights[image_rows],
        }
    )


def _narrow_ids(ids: NDArray[np.int64]) -> NDArray[Any]:
    """Return ids as 32-bit integers, which programs expect, unless an id needs 64 bits."""
    narrow = ids.astype(np.int32)
    return narrow if np.array_equal(narrow, ids) else ids


@fork_safe
def select_positive_regions(
    targets: Any,
    window_dims: Sequence[int] = (300, 300),
    thresh: float = 0.0,
    rng: Rng = None,
    verbose: int = 0,
) -> NDArray[np.int64]:
    """Return targets whose windows do not overlap, as many as possible.

    All windows have the same size and are centered on the targets. Every window that is left out overlaps
    one that is selected. Windows that contain more targets are preferred.

    Args:
        targets: a table as :func:`tabular_coco_targets` returns.
        window_dims: height and width of the windows in pixels.
        thresh: intersection over union that two windows of an image may have.
        rng: seed or random state, which decides between windows with the same number of targets.
        verbose: whether to log the number of selected targets.

    Returns:
        int64 rows of the selected targets, ascending.

    Raises:
        ArgumentError: if ``window_dims`` is not a pair above 0, or ``thresh`` is below 0.

    Example:
        >>> import kwcoco
        >>> targets = tabular_coco_targets(kwcoco.CocoDataset.demo("shapes8", verbose=0))
        >>> rows = select_positive_regions(targets, (300, 300), rng=0)
        >>> 8 <= len(rows) < len(targets)
        True
    """
    height, width = window_pair(window_dims, "the windows around targets")
    if not (isinstance(thresh, numbers.Real) and thresh >= 0):
        raise ArgumentError(f"thresh is {thresh!r}; expected an overlap from 0 to 1; give 0 for none at all")
    centers = np.stack([targets["cx"], targets["cy"]], axis=1).astype(np.float64)
    gids = np.asarray(targets["gid"])
    rows = select_disparate(gids, centers, (width, height), thresh, ensure_rng(rng))
    if verbose:
        logger.info("selected %d of %d targets", len(rows), len(gids))
    return rows


def choose_positives(
    targets: Any, num: int | None, window_dims: Any, rng: np.random.RandomState
) -> NDArray[np.int64]:
    """Return the targets that become the positives of a pool.

    Args:
        targets: a table as :func:`tabular_coco_targets` returns.
        num: number of positives; None, or more than there are targets, for all targets.
        window_dims: height and width of windows, to choose targets whose windows do not overlap; None to
            choose at random.
        rng: random state.

    Returns:
        Rows of the targets, ascending. If there are too few windows without overlap, others are added at
        random.

    Raises:
        ArgumentError: if ``window_dims`` is neither None nor a pair above 0.

    Example:
        >>> import kwcoco
        >>> targets = tabular_coco_targets(kwcoco.CocoDataset.demo("shapes8", verbose=0))
        >>> choose_positives(targets, 5, (50, 50), np.random.RandomState(0)).shape
        (5,)
    """
    every = np.arange(len(targets))
    if num is None or num >= len(every):
        return every
    chosen = every[:0]
    if window_dims is not None:
        chosen = rng.permutation(select_positive_regions(targets, window_dims, rng=rng))[:num]
    rest = rng.permutation(np.setdiff1d(every, chosen))
    return np.sort(np.concatenate([chosen, rest[: num - len(chosen)]]))


def window_pair(window_dims: Any, purpose: str) -> tuple[float, float]:
    """Return height and width of a window in pixels.

    Args:
        window_dims: a pair of numbers above 0.
        purpose: the use of the window, for the error message.

    Raises:
        ArgumentError: if it is not a pair of numbers above 0.

    Example:
        >>> window_pair([30, 20], "a test")
        (30.0, 20.0)
    """
    try:
        height, width = (float(dim) for dim in window_dims)
    except (TypeError, ValueError):
        height = width = 0.0
    if not (0 < height < np.inf and 0 < width < np.inf):
        raise ArgumentError(
            f"window_dims is {window_dims!r}; expected (height, width) in pixels above 0 for {purpose}; "
            "give a pair of numbers"
        )
    return height, width


def select_disparate(
    images: NDArray[Any],
    centers: NDArray[np.float64],
    size: tuple[float, float],
    thresh: float,
    rng: np.random.RandomState,
) -> NDArray[np.int64]:
    """Return a maximal set of windows such that no two in the same image overlap by more than a threshold.

    Windows that contain more targets are preferred.

    Args:
        images: (N,) image of each window.
        centers: (N, 2) x and y of each window's center in pixels.
        size: width and height of the windows in pixels.
        thresh: intersection over union that two windows may have.
        rng: random state, which decides between windows with the same number of targets.

    Returns:
        Indices of the selected windows, ascending.

    Example:
        >>> centers = np.array([[10.0, 10.0], [12.0, 10.0], [50.0, 10.0]])
        >>> rng = np.random.RandomState(0)
        >>> len(select_disparate(np.zeros(3, int), centers, (20, 20), 0.0, rng))
        2
        >>> len(select_disparate(np.zeros(3, int), centers, (20, 20), 0.9, rng))
        3
    """
    limit = _OverlapLimit.from_threshold(size, thresh)
    order = _ranking(images, centers, size, rng)
    if limit is None or not len(order):
        return np.arange(len(order))
    left = order
    kept = []
    while len(left):
        cells = _Cells.from_points(images[left], centers[left] / limit.cell)
        leaders = _leaders(cells, left, centers, limit)
        kept.append(left[leaders])
        dropped = _near_any(cells, leaders, left, centers, limit)
        dropped[leaders] = True
        left = left[~dropped]
    return np.sort(np.concatenate(kept))


@dataclass(frozen=True, eq=False)
class _OverlapLimit:
    """The maximum overlap of two windows of the same size."""

    size: NDArray[np.float64]
    """Width and height of the windows in pixels."""

    max_area: float
    """Largest area of the intersection of two windows that do not overlap too much."""

    cell: NDArray[np.float64]
    """Width and height of a cell that is so small that any two windows centered in it overlap too much."""

    reach: int
    """Distance in cells between the centers of two windows beyond which they cannot overlap too much."""

    @classmethod
    def from_threshold(cls, size: tuple[float, float], thresh: float) -> _OverlapLimit | None:
        """Return the limit for a threshold on intersection over union; None if it allows any overlap."""
        if thresh >= 1:
            return None
        dsize = np.array(size, dtype=np.float64)
        # For two windows of area a, i / (2 a - i) > t is equivalent to i > a * 2 t / (1 + t).
        share = 2 * max(thresh, 0.0) / (1 + max(thresh, 0.0))
        fraction = 1 - np.sqrt(share)  # for two centers in the same cell, i > (1 - fraction)^2 a
        return cls(dsize, share * dsize.prod(), fraction * dsize, int(np.ceil((1 - share) / fraction)))

    def is_exceeded(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which windows centered on (P, 2) points overlap too much with those on other points."""
        sides = self.size - np.abs(first - second)
        result: NDArray[np.bool_] = np.logical_and(
            (sides > 0).all(axis=1), sides.prod(axis=1) > self.max_area
        )
        return result


@dataclass(frozen=True, eq=False)
class _Cells:
    """Points sorted into the cells of a grid over each image."""

    key: NDArray[np.int64]
    """(N,) key of the cell of each point."""

    stride: int
    """Difference between the keys of a cell and the cell below it."""

    distinct: NDArray[np.int64]
    """Keys of the cells that contain points, ascending."""

    members: NDArray[np.int64]
    """The points, sorted by cell; the points of a cell keep their order."""

    begins: NDArray[np.int64]
    """(cells + 1) bounds of each cell's points in :attr:`members`."""

    @classmethod
    def from_points(cls, images: NDArray[Any], places: NDArray[np.float64], margin: int = 8) -> _Cells:
        """Return points in cells of side 1.

        Args:
            images: (N,) image of each point.
            places: (N, 2) coordinates of the points.
            margin: number of empty cells around every image, so that no neighbor belongs to another image.
        """
        cells = np.floor(places).astype(np.int64)
        cells -= cells.min(axis=0) - margin
        columns, rows = (cells.max(axis=0) + margin + 1).tolist()
        image = np.unique(images, return_inverse=True)[1]
        key = (image * rows + cells[:, 1]) * columns + cells[:, 0]
        members = np.argsort(key, kind="stable")
        distinct, begins = np.unique(key[members], return_index=True)
        return cls(key, columns, distinct, members, np.append(begins, len(key)))

    def shifts(self, reach: int) -> Iterator[int]:
        """Yield the differences between the key of a cell and the keys of all cells within reach."""
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                yield down * self.stride + right

    def find(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the index of each key in :attr:`distinct`; -1 for a cell without points."""
        at = np.minimum(np.searchsorted(self.distinct, keys), len(self.distinct) - 1)
        return np.where(self.distinct[at] == keys, at, -1)


def _ranking(
    images: NDArray[Any], centers: NDArray[np.float64], size: tuple[float, float], rng: np.random.RandomState
) -> NDArray[np.int64]:
    """Return the windows in order of preference: by number of targets, at random if the numbers are equal."""
    shuffled = rng.permutation(len(images))
    if not len(shuffled):
        return shuffled
    cells = _Cells.from_points(images, centers / np.array(size) * _CROWD_CELLS)
    population = np.diff(cells.begins)
    crowd = np.zeros(len(cells.distinct), dtype=np.int64)
    for shift in cells.shifts(_CROWD_CELLS // 2):
        at = cells.find(cells.distinct + shift)
        crowd += np.where(at >= 0, population[at], 0)
    mine = crowd[np.searchsorted(cells.distinct, cells.key)]
    return shuffled[np.argsort(-mine[shuffled], kind="stable")]


def _leaders(
    cells: _Cells, left: NDArray[np.int64], centers: NDArray[np.float64], limit: _OverlapLimit
) -> NDArray[np.int64]:
    """Return positions in ``left`` of windows that rank before all windows with which they overlap too much.

    Only the first window of a cell can do so. It is compared with the first windows of the cells around.
    """
    first = cells.members[cells.begins[:-1]]
    leads = np.ones(len(first), dtype=bool)
    for shift in cells.shifts(limit.reach):
        other = cells.find(cells.distinct + shift)
        mine = np.nonzero((other >= 0) & (first[other] < first))[0]
        rival = first[other[mine]]
        leads[mine[limit.is_exceeded(centers[left[first[mine]]], centers[left[rival]])]] = False
    return first[leads]


def _near_any(
    cells: _Cells,
    leaders: NDArray[np.int64],
    left: NDArray[np.int64],
    centers: NDArray[np.float64],
    limit: _OverlapLimit,
) -> NDArray[np.bool_]:
    """Return which windows overlap too much with a leader."""
    near = np.zeros(len(left), dtype=bool)
    holders = np.full(len(cells.distinct), -1)
    holders[np.searchsorted(cells.distinct, cells.key[leaders])] = leaders
    for shift in cells.shifts(limit.reach):
        at = cells.find(cells.distinct + shift)
        # Each cell is compared with the leader of the shifted cell, if that has one.
        leader = np.where(at >= 0, holders[at], -1)
        cell = np.nonzero(leader >= 0)[0]
        counts = cells.begins[cell + 1] - cells.begins[cell]
        starts = np.repeat(cells.begins[cell] - (np.cumsum(counts) - counts), counts)
        points = cells.members[np.arange(counts.sum()) + starts]
        rivals = np.repeat(leader[cell], counts)
        near[points[limit.is_exceeded(centers[left[points]], centers[left[rivals]])]] = True
    return near
