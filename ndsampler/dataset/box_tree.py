"""
Finding the boxes that touch a box.

A small number of boxes is compared with the query one by one. Larger numbers are put into a tree of shapely,
which is an R-tree packed by the sort-tile-recursive method (S. T. Leutenegger, M. A. Lopez, J. Edgington,
"STR: a simple and efficient algorithm for R-tree packing", ICDE 1997), or into a tree of rtree. Boxes that
share only an edge or a corner touch each other.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentTypeError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import kwimage
    from numpy.typing import NDArray

    from ndsampler.dataset.annot_table import AnnotTable

__all__ = ["NO_ROWS", "BoxTree", "compared_pairs", "ltrb_array", "rtree_requested", "touching"]

#: Number of pairs of a query and an annotation that are compared at a time; they take about 100 MB.
_PAIRS_AT_ONCE = 1_000_000

#: An empty array of rows or ids.
NO_ROWS = np.empty(0, dtype=np.int64)

#: Signs of left, top, right and bottom of a query in the comparison with
#: :attr:`~ndsampler.dataset.annot_table.AnnotTable.signed_edges`.
_QUERY_SIGNS = np.array([-1.0, -1.0, 1.0, 1.0])


class BoxTree:
    """A spatial tree of the boxes of an image; queries return positions in the given arrays.

    Args:
        ltrb: (4, N) left, top, right, bottom of the boxes; NaN for an annotation without a box.
        uses_rtree: whether to use rtree instead of shapely.

    Raises:
        MissingDependencyError: if rtree is not installed.
    """

    def __init__(self, ltrb: NDArray[np.float64], uses_rtree: bool) -> None:
        self.uses_rtree = uses_rtree
        # The trees cannot store NaN.
        self._held = np.nonzero(~np.isnan(ltrb).any(axis=0))[0]
        self._tree = (_new_rtree if uses_rtree else _new_strtree)(ltrb[:, self._held])

    def __len__(self) -> int:
        return len(self._held)

    def query(self, ltrb: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the positions of the boxes that touch a query, ascending.

        Args:
            ltrb: (4,) left, top, right, bottom of the query in pixels.
        """
        if self.uses_rtree:
            found = np.fromiter(self._tree.intersection(ltrb.tolist()), dtype=np.int64)
        else:
            import shapely

            found = self._tree.query(shapely.box(*ltrb.tolist()))
        found.sort()
        return self._held[found]

    def query_many(self, ltrb: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return all pairs that touch, as the indexes of queries and the positions of boxes.

        Args:
            ltrb: (Q, 4) queries as left, top, right, bottom in pixels.
        """
        if self.uses_rtree:
            answers = [np.fromiter(self._tree.intersection(box), dtype=np.int64) for box in ltrb.tolist()]
            query = np.repeat(np.arange(len(ltrb)), [len(answer) for answer in answers])
            return query, self._held[np.concatenate([NO_ROWS, *answers])]
        import shapely

        query, found = self._tree.query(shapely.box(*ltrb.T))
        return query, self._held[found]


def _new_strtree(ltrb: NDArray[np.float64]) -> Any:
    import shapely

    return shapely.STRtree(shapely.box(*ltrb))


def _new_rtree(ltrb: NDArray[np.float64]) -> Any:
    try:
        import rtree.index
    except ImportError as ex:
        raise MissingDependencyError(
            "USE_RTREE=1 selects rtree, which is not installed; run 'pip install rtree' or unset USE_RTREE"
        ) from ex
    boxes = ltrb.T.tolist()
    if not boxes:  # rtree raises an error for an empty stream
        return rtree.index.Index()
    return rtree.index.Index((i, box, None) for i, box in enumerate(boxes))


def rtree_requested() -> bool:
    """Whether the environment variable ``USE_RTREE`` is set to something other than 0."""
    return os.environ.get("USE_RTREE", "0") not in {"", "0"}


def touching(signed_edges: NDArray[np.float64], query: NDArray[np.float64]) -> NDArray[np.int64]:
    """Compare all boxes with a query and return the positions of those that touch it, ascending.

    Args:
        signed_edges: (4, N) part of :attr:`~ndsampler.dataset.annot_table.AnnotTable.signed_edges`.
        query: (4,) left, top, right, bottom in pixels.
    """
    touched: NDArray[np.bool_] = np.logical_and.reduce(signed_edges <= (query * _QUERY_SIGNS)[:, None])
    return touched.nonzero()[0]


def compared_pairs(
    table: AnnotTable,
    image_rows: NDArray[np.int64],
    queries: NDArray[np.float64],
    chosen: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Compare queries with all annotations of their images and return the pairs that touch.

    The pairs are two arrays: the indexes of queries and the rows of annotations.

    Args:
        table: the annotations.
        image_rows: (Q,) row of the image of each query.
        queries: (Q, 4) left, top, right, bottom in pixels.
        chosen: indexes of the queries to compare.
    """
    chosen = chosen[np.argsort(image_rows[chosen], kind="stable")]
    sought = (queries[chosen] * _QUERY_SIGNS).T[:, :, None]
    edges = table.signed_edges[:, None]
    hits, begins, firsts, widths = [NO_ROWS], [0], [0], [1]
    for image_row, begin, end in _runs(image_rows[chosen]):
        first, stop = table.offsets[image_row : image_row + 2].tolist()
        at_once = max(1, _PAIRS_AT_ONCE // max(1, stop - first))
        for some in range(begin, end, at_once):
            touches = edges[:, :, first:stop] <= sought[:, some : min(some + at_once, end)]
            hits.append(np.logical_and.reduce(touches, axis=0).ravel().nonzero()[0])
            begins.append(some)
            firsts.append(first)
            widths.append(stop - first)
    part = np.repeat(np.arange(len(hits)), list(map(len, hits)))
    query, row = np.divmod(np.concatenate(hits), np.array(widths)[part])
    return chosen[query + np.array(begins)[part]], row + np.array(firsts)[part]


def _runs(values: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """Yield each distinct value of an ascending array, with (start, stop) of its run."""
    distinct, begins = np.unique(values, return_index=True)
    ends = np.append(begins, len(values))[1:]
    return zip(distinct.tolist(), begins.tolist(), ends.tolist(), strict=True)


def ltrb_array(boxes: kwimage.Boxes | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return boxes as a (Q, 4) array of left, top, right, bottom.

    Args:
        boxes: Q boxes; the columns of an array are left, top, right, bottom.

    Raises:
        ArgumentTypeError: if ``boxes`` is neither ``kwimage.Boxes`` nor an array with four columns.
    """
    if not isinstance(boxes, np.ndarray):
        if not hasattr(boxes, "to_ltrb"):
            raise ArgumentTypeError(
                f"the box is {boxes!r}; expected kwimage.Boxes, such as kwimage.Boxes([[x, y, w, h]], 'xywh')"
            )
        boxes = (boxes if boxes.format == "ltrb" else boxes.to_ltrb()).data
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
