"""
A spatial index that finds the annotations that touch a box.

In images with up to a few thousand boxes, all boxes are compared with the query, which is as fast as a tree.
Other images, and images with a thousand boxes if there are many queries at once, get a tree when they are
first queried (:mod:`ndsampler.dataset.box_tree`). ``USE_RTREE=1`` in the environment uses rtree instead.

Boxes include their edges: a box that only touches the query overlaps it.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import ubelt as ub

from ndsampler.dataset.annot_table import AnnotTable
from ndsampler.dataset.box_tree import NO_ROWS, BoxTree, compared_pairs, ltrb_array, rtree_requested, touching
from ndsampler.dataset.columns import as_ids
from ndsampler.errors import ArgumentError, UnknownIdError
from ndsampler.pools.arguments import check_fraction
from ndsampler.pools.negatives import NegativeRequest, WindowSizes, draw_negatives
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.lazy import LazyAttribute
from ndsampler.utils.quiet import stdout_to_log
from ndsampler.utils.random_state import ensure_worker_rng

if TYPE_CHECKING:
    from collections.abc import Sequence

    import kwimage
    from numpy.typing import ArrayLike, NDArray

    from ndsampler.utils.random_state import Rng

__all__ = ["FrameIntersectionIndex", "ImageView", "ltrb_array"]

#: Number of boxes in an image from which a tree is faster than comparing all boxes.
_TREE_FROM = 4000

#: The same for at least :data:`_MANY_QUERIES` queries at once, for which building a tree pays off earlier.
_TREE_FROM_FOR_MANY, _MANY_QUERIES = 1000, 200

#: Maximum number of boxes in all cached trees together; a box takes about 200 bytes.
_TREES_HOLD = 500_000


class FrameIntersectionIndex(ub.NiceRepr):  # type: ignore[misc]
    """
    A spatial index of the annotations of a dataset.

    It finds the annotations that touch a box, and random boxes that touch none. :meth:`from_coco` makes it.
    It is pickled as arrays, and the tree of an image is built when the image is first queried.

    Attributes:
        table: the annotations as columns; None before :meth:`from_coco`.
        all_gids: ids of all images, ascending; None before :meth:`from_coco`.

    Example:
        >>> import kwimage
        >>> self = FrameIntersectionIndex.demo("shapes8")
        >>> box = kwimage.Boxes([0, 0, 600, 600], "xywh")
        >>> self.overlapping_aids(1, box)
        [1]
        >>> aids, ious = self.ious(1, box)
        >>> ious.shape
        (1,)
    """

    def __init__(self) -> None:
        self.table: AnnotTable | None = None
        self.all_gids: list[int] | None = None
        self._trees: OrderedDict[int, BoxTree] = OrderedDict()

    def __nice__(self) -> str:
        return str(None if self.all_gids is None else len(self.all_gids))

    def __getstate__(self) -> dict[str, Any]:
        return {"table": self.table}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        if state["table"] is not None:
            self._hold(state["table"])

    @classmethod
    @fork_safe
    def from_coco(cls, dset: Any, verbose: int = 0) -> FrameIntersectionIndex:
        """Return an index of the annotations of a dataset.

        Args:
            dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
            verbose: ignored; accepted for compatibility.

        Example:
            >>> import kwcoco
            >>> dset = kwcoco.CocoDataset.demo("shapes8", verbose=0)
            >>> len(FrameIntersectionIndex.from_coco(dset).all_gids)
            8
        """
        return cls.from_table(AnnotTable.from_coco(dset))

    @classmethod
    def from_table(cls, table: AnnotTable) -> FrameIntersectionIndex:
        """Return an index of annotations that are available as columns.

        Args:
            table: the annotations; they are not copied.

        Example:
            >>> import kwcoco
            >>> table = AnnotTable.from_coco(kwcoco.CocoDataset.demo("shapes8", verbose=0))
            >>> FrameIntersectionIndex.from_table(table)._support(1).shape
            (1, 4)
        """
        self = cls()
        self._hold(table)
        return self

    @classmethod
    @fork_safe
    def demo(cls, *args: Any, **kwargs: Any) -> FrameIntersectionIndex:
        """Return an index of a demo dataset.

        Args:
            *args: see ``kwcoco.CocoDataset.demo``.
            **kwargs: see ``kwcoco.CocoDataset.demo``.

        Example:
            >>> FrameIntersectionIndex.demo("shapes3").all_gids
            [1, 2, 3]
        """
        import kwcoco

        with stdout_to_log():
            dset = kwcoco.CocoDataset.demo(*args, **kwargs)
        return cls.from_coco(dset)

    def _hold(self, table: AnnotTable) -> None:
        self.table = table
        self.all_gids = table.images.gids.tolist()
        self._uses_rtree = rtree_requested()
        self._tree_from = 1 if self._uses_rtree else _TREE_FROM
        self._tree_from_for_many = min(self._tree_from, _TREE_FROM_FOR_MANY)

    @property
    def columns(self) -> AnnotTable:
        """The annotations as columns.

        Raises:
            ArgumentError: if the index was not made from a dataset.
        """
        if self.table is None:
            raise ArgumentError(
                "this index is empty; expected one that was built from a dataset; "
                "make it with FrameIntersectionIndex.from_coco(dset)"
            )
        return self.table

    @LazyAttribute
    def _query_columns(self) -> tuple[Mapping[int, tuple[int, int]], NDArray[np.float64], NDArray[np.int64]]:
        """The rows of each image, and the signed edges and ids of all annotations, for fast access."""
        return self.columns.spans, self.columns.signed_edges, self.columns.aids

    @property
    def qtrees(self) -> Mapping[int, ImageView] | None:
        """Image id to the index of that image, which has ``width`` and ``height``.

        Example:
            >>> self = FrameIntersectionIndex.demo("shapes8")
            >>> self.qtrees[1].width, self.qtrees[1].height
            (600, 600)
        """
        return None if self.table is None else _ImageViews(self)

    # --- queries --------------------------------------------------------

    def overlapping_rows(self, gid: int, ltrb: tuple[float, float, float, float]) -> NDArray[np.int64]:
        """Return the rows of :attr:`table` whose boxes touch a box; this is the fastest query.

        Args:
            gid: an image id.
            ltrb: left, top, right and bottom in image pixels.

        Returns:
            The rows, ascending, so that the annotation ids are ascending too.

        Raises:
            UnknownIdError: if the dataset has no such image.

        Example:
            >>> self = FrameIntersectionIndex.demo("shapes8")
            >>> self.overlapping_rows(1, (0, 0, 600, 600)).tolist()
            [0]
        """
        left, top, right, bottom = ltrb
        first, _, found = self._find(gid, np.array((left, top, right, bottom), dtype=np.float64))
        return found + first

    def _find(self, gid: int, query: NDArray[np.float64]) -> tuple[int, int, NDArray[np.int64]]:
        """Return the range of rows of an image, and the rows that a box touches.

        Args:
            gid: an image id.
            query: (4,) left, top, right and bottom in image pixels.

        Returns:
            The first row, the row after the last, and the offsets of the found rows from the first.
        """
        spans, edges, _ = self._query_columns
        try:
            first, stop = spans[gid]
        except (KeyError, TypeError):
            raise UnknownIdError(self.columns.images.describe_unknown(gid)) from None
        if stop - first >= self._tree_from:
            return first, stop, self._tree(gid).query(query)
        return first, stop, touching(edges[:, first:stop], query)

    def visible_aids(
        self, gid: int, ltrb: tuple[float, float, float, float], visible_thresh: float = 0.0
    ) -> NDArray[np.int64]:
        """Return the ids of the annotations that are inside a box by more than a fraction.

        Args:
            gid: image id.
            ltrb: left, top, right and bottom in image pixels.
            visible_thresh: fraction of an annotation's box; more than this must be inside ``ltrb``. With 0,
                boxes that only touch it are included.

        Returns:
            Annotation ids, ascending.

        Raises:
            ArgumentError: if ``visible_thresh`` is not a fraction from 0 to 1.
            UnknownIdError: if the dataset has no such image.

        Example:
            >>> self = FrameIntersectionIndex.demo("shapes8")
            >>> self.visible_aids(1, (0, 0, 600, 600), 0.5).tolist()
            [1]
        """
        check_fraction(visible_thresh, "visible_thresh")
        return self.columns.aids[self.visible_rows(gid, ltrb, visible_thresh)]

    def visible_rows(
        self, gid: int, ltrb: tuple[float, float, float, float], visible_thresh: float = 0.0
    ) -> NDArray[np.int64]:
        """Return the same annotations as :meth:`visible_aids`, as rows of the table."""
        rows = self.overlapping_rows(gid, ltrb)
        if visible_thresh > 0 and len(rows):
            left, top, right, bottom = self.columns.ltrb.take(rows, axis=1)
            width = np.minimum(right, ltrb[2]) - np.maximum(left, ltrb[0])
            height = np.minimum(bottom, ltrb[3]) - np.maximum(top, ltrb[1])
            with np.errstate(divide="ignore", invalid="ignore"):
                rows = rows[width * height / ((right - left) * (bottom - top)) > visible_thresh]
        return rows

    @fork_safe
    def overlapping_pairs(
        self, gids: ArrayLike, boxes: kwimage.Boxes | NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return all pairs of a query box and an annotation that touches it, for many queries at once.

        Args:
            gids: (Q,) image id of each query, or one id for all.
            boxes: Q boxes; an array must be (Q, 4) left, top, right, bottom in image pixels.

        Returns:
            (P,) index of the query, ascending, and (P,) annotation id, ascending within a query.

        Raises:
            UnknownIdError: if the dataset lacks one of the images.
            ArgumentError: if the numbers of images and boxes differ.

        Example:
            >>> self = FrameIntersectionIndex.demo("shapes8")
            >>> query, aids = self.overlapping_pairs([1, 2], np.array([[0, 0, 600, 600], [0, 0, 600, 600]]))
            >>> np.bincount(query).tolist() == [len(self._support(1)), len(self._support(2))]
            True
        """
        queries = ltrb_array(boxes)
        gids = as_ids(gids, "image")
        if gids.shape not in {(), (len(queries),)}:
            raise ArgumentError(
                f"got images of shape {gids.shape} for {len(queries)} boxes; expected one image per box; "
                "repeat the image ids, or give a single one for all"
            )
        rows = self.columns.images.indices_of(np.broadcast_to(gids, (len(queries),)))
        query, found = self._row_pairs(rows, queries)
        order = np.lexsort((found, query))
        return query[order], self.columns.aids[found[order]]

    def _row_pairs(
        self, image_rows: NDArray[np.int64], queries: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (query, annotation row) of all touching pairs; images are given by row."""
        table = self.columns
        counts = np.diff(table.offsets)[image_rows]
        many = np.bincount(image_rows, minlength=len(table.images))[image_rows] >= _MANY_QUERIES
        by_tree = counts >= np.where(many, self._tree_from_for_many, self._tree_from)
        parts = [compared_pairs(table, image_rows, queries, np.nonzero(~by_tree)[0])]
        for image_row in np.unique(image_rows[by_tree]):
            mine = np.nonzero(image_rows == image_row)[0]
            gid = int(table.images.gids[image_row])
            query, rows = self._tree(gid).query_many(queries[mine])
            parts.append((mine[query], rows + table.offsets[image_row]))
        query, found = (np.concatenate(column) for column in zip(*parts, strict=True))
        return query, found

    @fork_safe
    def overlapping_aids(self, gid: int, box: kwimage.Boxes) -> list[int]:
        """Return the ids of the annotations of an image that touch a box.

        Args:
            gid: image id.
            box: the box in image pixels; if there are several, annotations that touch any of them.

        Returns:
            Annotation ids, ascending.

        Raises:
            UnknownIdError: if the dataset has no such image.

        Example:
            >>> import kwimage
            >>> self = FrameIntersectionIndex.demo("shapes8")
            >>> self.overlapping_aids(2, kwimage.Boxes([0, 0, 1, 1], "xywh"))
            []
        """
        queries = ltrb_array(box)
        if len(queries) == 1:
            first, stop, found = self._find(gid, queries[0])
            aids = self._query_columns[2][first:stop][found]
        else:
            rows = [self.overlapping_rows(gid, tuple(query)) for query in queries.tolist()]
            aids = self.columns.aids[np.unique(np.concatenate([NO_ROWS, *rows]))]
        result: list[int] = aids.tolist()
        return result

    @fork_safe
    def ious(self, gid: int, box: kwimage.Boxes) -> tuple[list[int], NDArray[np.float64]]:
        """Return the annotations that touch a box, and their intersection over union with it.

        Args:
            gid: an image id.
            box: the box, in image pixels.

        Returns:
            N annotation ids, ascending, and (N,) overlaps from 0 to 1; (Q, N) for Q > 1 boxes.

        Raises:
            UnknownIdError: if the dataset has no such image.

        Example:
            >>> self = FrameIntersectionIndex.demo("shapes8")
            >>> aids, ious = self.ious(1, self._support(1))
            >>> aids, ious.tolist()
            ([1], [1.0])
        """
        aids, inter, query_areas, areas = self._intersections(gid, box)
        return aids, _one_row(_share(inter, query_areas[:, None] + areas - inter))

    @fork_safe
    def iooas(self, gid: int, box: kwimage.Boxes) -> tuple[list[int], NDArray[np.float64]]:
        """Return the annotations that touch a box, and the fraction of each that is inside.

        This is the intersection over the area of the annotation, which is not symmetric.

        Args:
            gid: an image id.
            box: the box, in image pixels.

        Returns:
            N annotation ids, ascending, and (N,) fractions from 0 to 1; (Q, N) for Q > 1 boxes.

        Raises:
            UnknownIdError: if the dataset has no such image.

        Example:
            >>> import kwimage
            >>> self = FrameIntersectionIndex.demo("shapes8")
            >>> self.iooas(1, kwimage.Boxes([0, 0, 600, 600], "xywh"))
            ([1], array([1.]))
        """
        aids, inter, _, areas = self._intersections(gid, box)
        return aids, _one_row(_share(inter, areas))

    def _intersections(
        self, gid: int, box: kwimage.Boxes
    ) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the ids that touch, the (Q, N) intersections, and the areas of boxes and annotations."""
        table = self.columns
        aids = self.overlapping_aids(gid, box)
        found = table.ltrb[:, table.rows_of_aids(aids)]
        queries = ltrb_array(box).T[:, :, None]
        sides = np.minimum(queries[2:], found[2:, None]) - np.maximum(queries[:2], found[:2, None])
        inter = np.clip(sides, 0, None).prod(axis=0)
        areas = [(edges[2] - edges[0]) * (edges[3] - edges[1]) for edges in (queries, found)]
        return aids, inter, areas[0][:, 0], areas[1]

    def _support(self, gid: int) -> kwimage.Boxes:
        """Return all boxes of an image, as ltrb, ascending by annotation id.

        Args:
            gid: an image id.

        Raises:
            UnknownIdError: if the dataset has no such image.
        """
        import kwimage

        first, stop = self.columns.span(gid)
        edges = self.columns.ltrb[:, first:stop].T
        return kwimage.Boxes(edges[~np.isnan(edges).any(axis=1)], "ltrb")

    # --- negatives ------------------------------------------------------

    @fork_safe
    def random_negatives(
        self,
        num: int,
        anchors: ArrayLike | None = None,
        window_size: ArrayLike | None = None,
        gids: Sequence[int] | None = None,
        thresh: float = 0.0,
        exact: bool | Literal["warn"] = True,
        rng: Rng = None,
        patience: int | None = None,
    ) -> tuple[NDArray[np.int64], kwimage.Boxes]:
        """Return random boxes that annotations do not cover, or cover only in part.

        All images are equally probable. A box that overlaps an annotation is drawn again. If this keeps
        failing, the free space of the image is computed and the box is drawn from it. Images without free
        space are skipped, and their ids are logged. The result depends only on the seed and is the same in
        every process.

        Args:
            num: number of boxes.
            anchors: (A, 2) widths and heights as fractions of the image's width and height. One row is drawn
                for each box. Pass either this or ``window_size``.
            window_size: width and height of all boxes in pixels. Pass either this or ``anchors``.
            gids: ids of the images to draw from; None for all.
            thresh: fraction of the *negative's own* area that annotations may cover together: 0 allows
                no overlap, 1 allows any.
            exact: what to do if fewer than ``num`` boxes are found: True raises an error, ``'warn'`` gives a
                warning, and False does nothing.
            rng: seed, random state or generator. None is numpy's global state, with which each worker
                process draws different boxes.
            patience: number of successive rounds without a new negative after which the search stops; None
                means 10.

        Returns:
            (n,) image ids, ascending, and n boxes as left, top, right, bottom, which are inside their images,
            and inside the valid regions of the images if the dataset states them.

        Raises:
            ArgumentError: if both or none of ``anchors`` and ``window_size`` are given, if a number
                is out of range, if the size of an image is unknown, or if ``exact`` is True and
                too few boxes are found.
            UnknownIdError: if the dataset lacks one of the images.

        Example:
            >>> self = FrameIntersectionIndex.demo("shapes8")
            >>> gids, boxes = self.random_negatives(5, window_size=(50, 40), rng=0)
            >>> len(gids), boxes.width.ravel().round(6).tolist()
            (5, [50.0, 50.0, 50.0, 50.0, 50.0])
        """
        import kwimage

        sizes = WindowSizes.from_arguments(anchors, window_size)
        request = NegativeRequest.from_arguments(self.columns, num, sizes, gids, thresh, patience)
        rows, ltrb = draw_negatives(request, self._row_pairs, ensure_worker_rng(rng), exact)
        return self.columns.images.gids[rows], kwimage.Boxes(ltrb, "ltrb")

    # --- trees ----------------------------------------------------------

    def _tree(self, gid: int) -> BoxTree:
        """Return the tree of an image; build it if necessary, and drop the least recently used trees."""
        tree = self._trees.get(gid)
        if tree is None:
            tree = self._trees[gid] = self._new_tree(gid)
            self._drop_excess()
        else:
            with contextlib.suppress(KeyError):  # another thread has dropped it
                self._trees.move_to_end(gid)
        return tree

    def _drop_excess(self) -> None:
        """Drop the least recently used trees beyond the limit, in steps that are atomic for threads."""
        with contextlib.suppress(KeyError):
            while len(self._trees) > 1 and sum(map(len, list(self._trees.values()))) > _TREES_HOLD:
                self._trees.popitem(last=False)

    @fork_safe
    def _new_tree(self, gid: int) -> BoxTree:
        first, stop = self.columns.span(gid)
        return BoxTree(self.columns.ltrb[:, first:stop], self._uses_rtree)


class ImageView(ub.NiceRepr):  # type: ignore[misc]
    """
    The index of one image.

    Args:
        index: the index of all images.
        gid: an image id.

    Example:
        >>> view = FrameIntersectionIndex.demo("shapes8").qtrees[1]
        >>> view.intersect((0, 0, 600, 600))
        [1]
    """

    def __init__(self, index: FrameIntersectionIndex, gid: int) -> None:
        self._index = index
        self._gid = gid

    def __nice__(self) -> str:
        return f"gid={self._gid}, {len(self)} annotations"

    def __len__(self) -> int:
        first, stop = self._index.columns.span(self._gid)
        return stop - first

    @property
    def width(self) -> int:
        """Width of the image in pixels.

        Raises:
            SourceError: if the dataset states none, and the file cannot be read.
        """
        return int(self._sized(self._index.columns.images.widths))

    @property
    def height(self) -> int:
        """Height of the image in pixels.

        Raises:
            SourceError: if the dataset states none, and the file cannot be read.
        """
        return int(self._sized(self._index.columns.images.heights))

    def _sized(self, column: NDArray[np.int32]) -> np.int32:
        images = self._index.columns.images
        row = images.index_of(self._gid)
        images.require_sizes(np.array([row]))
        result: np.int32 = column[row]
        return result

    @property
    def aid_to_ltrb(self) -> dict[int, tuple[float, float, float, float]]:
        """Annotation id to left, top, right, bottom in image pixels."""
        table = self._index.columns
        first, stop = table.span(self._gid)
        boxes = map(tuple, table.ltrb[:, first:stop].T.tolist())
        return dict(zip(table.aids[first:stop].tolist(), boxes, strict=True))

    def intersect(self, ltrb: tuple[float, float, float, float]) -> list[int]:
        """Return the annotations that touch a box.

        Args:
            ltrb: left, top, right, bottom in image pixels.
        """
        rows = self._index.overlapping_rows(self._gid, ltrb)
        result: list[int] = self._index.columns.aids[rows].tolist()
        return result


class _ImageViews(Mapping[int, ImageView]):
    """Image id to the index of that image, in the order of the dataset."""

    def __init__(self, index: FrameIntersectionIndex) -> None:
        self._index = index

    def __getitem__(self, gid: int) -> ImageView:
        self._index.columns.span(gid)
        return ImageView(self._index, gid)

    def __iter__(self) -> Iterator[int]:
        images = self._index.columns.images
        return iter(images.gids[images.order].tolist())

    def __len__(self) -> int:
        return len(self._index.columns.images)


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return part / whole, or 0 where the whole has no area."""
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _one_row(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Remove the axis of the boxes from the result for a single box."""
    return values[0] if len(values) == 1 else values
