"""
Which positives to keep when there are more than are wanted.

Windows of one size are laid over the annotations, one centered on each. Windows that overlap show much
the same pixels, so a set is chosen in which none do, and to which none can be added: a maximal
independent set. It is found in rounds, all images at once, in the manner of M. Luby, "A simple
parallel algorithm for the maximal independent set problem", SIAM Journal on Computing 15 (1986): in
each round every window that ranks before all those it overlaps is taken, and those are dropped.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.annot_table import AnnotTable
from ndsampler.errors import ArgumentError
from ndsampler.utils.fork_safety import fork_safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import kwarray
    from numpy.typing import NDArray

__all__ = [
    "choose_positives",
    "select_disparate",
    "select_positive_regions",
    "tabular_coco_targets",
    "targets_of_table",
    "window_pair",
]

logger = logging.getLogger(__name__)

#: Windows are counted as crowded by the targets in this many cells to a side.
_CROWD_CELLS = 3


@fork_safe
def tabular_coco_targets(dset: Any) -> kwarray.DataFrameArray:
    """Return every annotation with a box as a row of a table, in the order of the dataset.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.

    Returns:
        Columns ``aid, gid, category_id`` (int32; -1 for no category), ``cx, cy, width, height`` (float32,
        image pixels), ``img_width, img_height`` (int32).

    Raises:
        ArgumentError: if the size of an image with annotations is not known.

    Example:
        >>> import kwcoco
        >>> targets = tabular_coco_targets(kwcoco.CocoDataset.demo("shapes8", verbose=0))
        >>> len(targets), targets["cx"].dtype.name
        (71, 'float32')
    """
    return targets_of_table(AnnotTable.from_coco(dset))


def targets_of_table(table: AnnotTable) -> kwarray.DataFrameArray:
    """Return the table of :func:`tabular_coco_targets`, where the columns of the dataset exist already.

    Args:
        table: the annotations.

    Raises:
        ArgumentError: if the size of an image with annotations is not known.
    """
    import kwarray

    rows = table.rows_in_dataset_order()
    rows = rows[table.has_box[rows]]
    images = table.images
    image_rows = table.image_rows[rows]
    images.require_sizes(image_rows)
    x, y, width, height = table.boxes[rows].T
    return kwarray.DataFrameArray(
        {
            "aid": table.aids[rows].astype(np.int32),
            "gid": images.gids[image_rows].astype(np.int32),
            "category_id": table.cids[rows].astype(np.int32),
            "cx": (x + width / 2).astype(np.float32),
            "cy": (y + height / 2).astype(np.float32),
            "width": width.astype(np.float32),
            "height": height.astype(np.float32),
            "img_width": images.widths[image_rows],
            "img_height": images.heights[image_rows],
        }
    )


@fork_safe
def select_positive_regions(
    targets: Any,
    window_dims: Sequence[int] = (300, 300),
    thresh: float = 0.0,
    rng: int | np.random.RandomState | None = None,
    verbose: int = 0,
) -> NDArray[np.int64]:
    """Return targets whose windows show different pixels, and together stand for all of them.

    Windows of one size are centered on the targets. The set is maximal: every window that is left out
    overlaps one that is kept. Windows that hold more targets are preferred.

    Args:
        targets: a table as :func:`tabular_coco_targets` returns.
        window_dims: height and width of the windows in pixels.
        thresh: intersection over union that two windows of one image may have.
        rng: decides between windows that hold equally many.
        verbose: whether to log the outcome.

    Returns:
        Rows of the targets that are kept, ascending, int64.

    Raises:
        ArgumentError: if ``window_dims`` is not a pair above 0, or ``thresh`` is below 0.

    Example:
        >>> import kwcoco
        >>> targets = tabular_coco_targets(kwcoco.CocoDataset.demo("shapes8", verbose=0))
        >>> rows = select_positive_regions(targets, (300, 300), rng=0)
        >>> 8 <= len(rows) < len(targets)
        True
    """
    import kwarray

    height, width = window_pair(window_dims, "the windows around targets")
    if not thresh >= 0:
        raise ArgumentError(f"thresh is {thresh}; expected an overlap from 0 to 1; give 0 for none at all")
    centers = np.stack([targets["cx"], targets["cy"]], axis=1).astype(np.float64)
    gids = np.asarray(targets["gid"])
    rows = select_disparate(gids, centers, (width, height), thresh, kwarray.ensure_rng(rng))
    if verbose:
        logger.info("selected %d of %d targets", len(rows), len(gids))
    return rows


def choose_positives(
    targets: Any, num: int | None, window_dims: Any, rng: np.random.RandomState
) -> NDArray[np.int64]:
    """Return which targets are to be the positives of a pool.

    Args:
        targets: a table as :func:`tabular_coco_targets` returns.
        num: how many; all when None, or when there are no more.
        window_dims: height and width of windows, to choose by coverage; None to choose at random.
        rng: decides which.

    Returns:
        Rows of the targets, ascending. Where coverage leaves too few, the rest is random.

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
        purpose: what the window is for, said when it is wrong.

    Raises:
        ArgumentError: if it is anything else.

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
    """Return a maximal set of windows of which no two in one image overlap by more than a threshold.

    Windows that hold more targets go before those that hold fewer; between equals chance decides.

    Args:
        images: (N,) the image of each window.
        centers: (N, 2) x and y of each window's center in pixels.
        size: width and height of the windows in pixels.
        thresh: intersection over union above which two windows are too much alike.
        rng: decides between equals.

    Returns:
        Indices of the windows that are kept, ascending.

    Example:
        >>> centers = np.array([[10.0, 10.0], [12.0, 10.0], [50.0, 10.0]])
        >>> rng = np.random.RandomState(0)
        >>> len(select_disparate(np.zeros(3, int), centers, (20, 20), 0.0, rng))
        2
        >>> len(select_disparate(np.zeros(3, int), centers, (20, 20), 0.9, rng))
        3
    """
    alike = _Likeness.of(size, thresh)
    order = _ranking(images, centers, size, rng)
    if alike is None or not len(order):
        return np.arange(len(order))
    left = order
    kept = []
    while len(left):
        cells = _Cells.of(images[left], centers[left] / alike.cell)
        leaders = _leaders(cells, left, centers, alike)
        kept.append(left[leaders])
        dropped = _near_any(cells, leaders, left, centers, alike)
        dropped[leaders] = True
        left = left[~dropped]
    return np.sort(np.concatenate(kept))


@dataclass(frozen=True, eq=False)
class _Likeness:
    """When two windows of one size overlap too much."""

    size: NDArray[np.float64]
    """Width and height of the windows."""

    limit: float
    """Area of the intersection above which they do."""

    cell: NDArray[np.float64]
    """Width and height of a cell so small that any two windows centered in it do."""

    reach: int
    """Cells to either side within which a window that does may be centered."""

    @classmethod
    def of(cls, size: tuple[float, float], thresh: float) -> _Likeness | None:
        """Return the test for a threshold on intersection over union; None if nothing fails it."""
        if thresh >= 1:
            return None
        dsize = np.array(size, dtype=np.float64)
        # i / (2 a - i) > t for two windows of area a is i > a * 2 t / (1 + t).
        share = 2 * max(thresh, 0.0) / (1 + max(thresh, 0.0))
        fraction = 1 - np.sqrt(share)  # two centers in one cell: i > (1 - fraction)^2 a
        return cls(dsize, share * dsize.prod(), fraction * dsize, int(np.ceil((1 - share) / fraction)))

    def between(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether windows centered on (P, 2) points overlap those on other points too much."""
        sides = self.size - np.abs(first - second)
        return np.logical_and((sides > 0).all(axis=1), sides.prod(axis=1) > self.limit)


@dataclass(frozen=True, eq=False)
class _Cells:
    """Points put into the cells of a grid over each image."""

    key: NDArray[np.int64]
    """(N,) cell of each point."""

    stride: int
    """Difference between the keys of a cell and of the one below it."""

    distinct: NDArray[np.int64]
    """Keys of the cells that hold points, ascending."""

    members: NDArray[np.int64]
    """Points in the order of their cells, and in their own order within a cell."""

    begins: NDArray[np.int64]
    """(cells + 1) bounds of each cell's points in :attr:`members`."""

    @classmethod
    def of(cls, images: NDArray[Any], places: NDArray[np.float64], margin: int = 8) -> _Cells:
        """Return the points in cells of side 1.

        Args:
            images: (N,) the image of each point.
            places: (N, 2) the points.
            margin: empty cells around every image, so that neighbors are never of another one.
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
        """Yield the differences of key to all cells within reach, and to the cell itself."""
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                yield down * self.stride + right

    def find(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which of the cells that hold points each key is, -1 for the others."""
        at = np.minimum(np.searchsorted(self.distinct, keys), len(self.distinct) - 1)
        return np.where(self.distinct[at] == keys, at, -1)


def _ranking(
    images: NDArray[Any], centers: NDArray[np.float64], size: tuple[float, float], rng: np.random.RandomState
) -> NDArray[np.int64]:
    """Return the windows from the first choice to the last: the crowded first, chance between equals."""
    shuffled = rng.permutation(len(images))
    if not len(shuffled):
        return shuffled
    cells = _Cells.of(images, centers / np.array(size) * _CROWD_CELLS)
    population = np.diff(cells.begins)
    crowd = np.zeros(len(cells.distinct), dtype=np.int64)
    for shift in cells.shifts(_CROWD_CELLS // 2):
        at = cells.find(cells.distinct + shift)
        crowd += np.where(at >= 0, population[at], 0)
    mine = crowd[np.searchsorted(cells.distinct, cells.key)]
    return shuffled[np.argsort(-mine[shuffled], kind="stable")]


def _leaders(
    cells: _Cells, left: NDArray[np.int64], centers: NDArray[np.float64], alike: _Likeness
) -> NDArray[np.int64]:
    """Return positions in ``left`` of windows that go before every one they overlap too much.

    Within a cell only the first can; it is compared with the first of the cells around.
    """
    first = cells.members[cells.begins[:-1]]
    leads = np.ones(len(first), dtype=bool)
    for shift in cells.shifts(alike.reach):
        other = cells.find(cells.distinct + shift)
        mine = np.nonzero((other >= 0) & (first[other] < first))[0]
        rival = first[other[mine]]
        leads[mine[alike.between(centers[left[first[mine]]], centers[left[rival]])]] = False
    return first[leads]


def _near_any(
    cells: _Cells,
    leaders: NDArray[np.int64],
    left: NDArray[np.int64],
    centers: NDArray[np.float64],
    alike: _Likeness,
) -> NDArray[np.bool_]:
    """Return which windows overlap a leader too much."""
    near = np.zeros(len(left), dtype=bool)
    holders = np.full(len(cells.distinct), -1)
    holders[np.searchsorted(cells.distinct, cells.key[leaders])] = leaders
    for shift in cells.shifts(alike.reach):
        at = cells.find(cells.distinct + shift)
        # The leader that each cell looks at, handed to all points of the cell.
        leader = np.where(at >= 0, holders[at], -1)
        cell = np.nonzero(leader >= 0)[0]
        counts = cells.begins[cell + 1] - cells.begins[cell]
        starts = np.repeat(cells.begins[cell] - (np.cumsum(counts) - counts), counts)
        points = cells.members[np.arange(counts.sum()) + starts]
        rivals = np.repeat(leader[cell], counts)
        near[points[alike.between(centers[left[points]], centers[left[rivals]])]] = True
    return near
