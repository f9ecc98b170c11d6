"""
The annotations of a dataset as columns.

A dataset stores a dictionary for each annotation. Code that needs many annotations at once reads these
columns instead. They are built once, grouped by image, and pickled as arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ndsampler.dataset.columns import NO_ID, Columns, as_ids, describe_unknown, find_sorted
from ndsampler.dataset.edits import dataset_state
from ndsampler.dataset.image_table import ImageTable
from ndsampler.dataset.records import AnnotRecords, box_of, read_annots
from ndsampler.errors import UnknownIdError
from ndsampler.utils.lazy import LazyAttribute
from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from ndsampler.dataset.sizes import SizeSource

__all__ = ["AnnotTable"]

logger = get_logger(__name__)

#: Maximum number of annotations for which the result of :meth:`AnnotTable.matches` is kept.
_MAX_MATCHED = 20_000

#: Maximum attempts to read a dataset that another thread edits at the same time.
_READS = 10


@dataclass(eq=False)
class AnnotTable(Columns):
    """
    One row per annotation, grouped by image and sorted by annotation id within each image.

    The groups have the order of :attr:`images`, so the rows of an image form a range. Do not change the
    columns, because other columns are computed from them when they are first used.

    Example:
        >>> import kwcoco
        >>> dset = kwcoco.CocoDataset()
        >>> gid = dset.add_image(file_name="a.png", width=60, height=40)
        >>> aid1 = dset.add_annotation(image_id=gid, bbox=[1, 2, 30, 20])
        >>> aid2 = dset.add_annotation(image_id=gid)
        >>> table = AnnotTable.from_coco(dset)
        >>> table.aids.tolist(), table.cids.tolist(), table.has_box.tolist()
        ([1, 2], [-1, -1], [True, False])
        >>> table.boxes[0].tolist()
        [1.0, 2.0, 30.0, 20.0]
    """

    images: ImageTable
    """The images, including those without annotations."""

    aids: NDArray[np.int64]
    """Annotation ids."""

    cids: NDArray[np.int64]
    """Category ids; :data:`~ndsampler.dataset.columns.NO_ID` for an annotation without a category."""

    boxes: NDArray[np.float64]
    """(N, 4) boxes as x, y, width, height in image pixels. For an annotation without a box, the row is the
    box around its geometry, or NaN if it has no geometry either."""

    has_box: NDArray[np.bool_]
    """Whether the dataset states a box, for each annotation."""

    offsets: NDArray[np.int64]
    """(images + 1) bounds: the rows of image i are ``offsets[i]`` to ``offsets[i + 1]``, exclusive."""

    order: NDArray[np.int64] | None
    """The rows in the order of the dataset; None if the dataset has the order of the rows."""

    tracks: NDArray[np.int64] | None
    """Index into :attr:`track_ids`, or -1 for no track; None if no annotation has a track."""

    track_ids: tuple[Any, ...]
    """The distinct track ids: numbers or strings, as the dataset states them."""

    @classmethod
    def from_coco(cls, dset: Any, size_source: SizeSource | None = None) -> AnnotTable:
        """Return the table of a dataset. Nothing is hashed or written to disk.

        Annotations of images that the dataset lacks are skipped, and a warning is logged.

        Args:
            dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
            size_source: reads sizes of images that are missing; by default from the files in the folder of
                the dataset.

        Raises:
            ArgumentError: if a value that must be a number is not, a box is not four finite numbers, or the
                geometry of an annotation without a box is malformed.
        """
        images, records = _read_unedited(dset, size_source)
        image_rows = images.find(records.gids)
        order = _grouping_order(image_rows, records.aids)
        chosen = slice(None) if order is None else order
        self = cls(
            images=images,
            aids=records.aids[chosen],
            cids=records.cids[chosen],
            boxes=records.boxes[chosen],
            has_box=records.has_box[chosen],
            offsets=np.searchsorted(image_rows[chosen], np.arange(len(images) + 1)),
            order=None if order is None else np.argsort(order, kind="stable"),
            tracks=None if records.tracks is None else records.tracks[chosen],
            track_ids=records.track_ids,
        )
        if records.dicts is not None:
            dicts = records.dicts if order is None else [records.dicts[i] for i in order.tolist()]
            self.__dict__["_dicts"] = dicts
        return self

    def annotations(self, rows: NDArray[np.int64], dset: Any) -> list[dict[str, Any]]:
        """Return the dictionaries of annotations that the dataset had when the table was made.

        They are the dictionaries of the dataset, so they contain values that were changed in place since
        then.

        Args:
            rows: rows of the annotations.
            dset: the dataset, from which a table that was unpickled gets the annotations.

        Raises:
            UnknownIdError: if the table was unpickled, and the dataset lacks one of the annotations.
        """
        if self._dicts is not None:
            return list(map(self._dicts.__getitem__, rows.tolist()))
        anns = dset.anns
        try:
            return [anns[aid] for aid in self.aids[rows].tolist()]
        except KeyError as ex:
            raise UnknownIdError(
                f"annotation id is {ex.args[0]}; the dataset has no such annotation"
            ) from None

    #: The annotations in the order of the rows; None for a database, and after pickling.
    _dicts: ClassVar[list[dict[str, Any]] | None] = None

    def __len__(self) -> int:
        return len(self.aids)

    @LazyAttribute
    def ltrb(self) -> NDArray[np.float64]:
        """(4, N) left, top, right, bottom of every box, one contiguous row per edge."""
        edges: NDArray[np.float64] = self.boxes.T.copy()
        backwards = (edges[2:] < 0).any()
        edges[2:] += edges[:2]
        if backwards:
            np.minimum(edges[:2], edges[2:], out=edges[:2])
            np.maximum(edges[2:], self.boxes.T[:2], out=edges[2:])
        return edges

    @LazyAttribute
    def signed_edges(self) -> NDArray[np.float64]:
        """(4, N) negated right, negated bottom, left and top of every box.

        A box touches a query if these four values are at most the negated left, negated top, right and bottom
        of the query, so one comparison tests all four edges.
        """
        return np.concatenate([-self.ltrb[2:], self.ltrb[:2]])

    @LazyAttribute
    def image_rows(self) -> NDArray[np.int64]:
        """Row in :attr:`images` of the image of each annotation."""
        return np.repeat(np.arange(len(self.images)), np.diff(self.offsets))

    @property
    def gids(self) -> NDArray[np.int64]:
        """Image id of each annotation."""
        return self.images.gids[self.image_rows]

    @LazyAttribute
    def n_unboxed(self) -> int:
        """Number of annotations that have geometry but no box in the dataset."""
        return int((~self.has_box & ~np.isnan(self.boxes[:, 0])).sum())

    @LazyAttribute
    def spans(self) -> dict[int, tuple[int, int]]:
        """Image id to (start, stop) of the rows of the image."""
        starts = self.offsets.tolist()
        return dict(zip(self.images.gids.tolist(), pairwise(starts), strict=True))

    def span(self, gid: int) -> tuple[int, int]:
        """Return (start, stop) of the rows of an image.

        Args:
            gid: image id.

        Raises:
            UnknownIdError: if the dataset has no such image.
        """
        try:
            return self.spans[gid]
        except KeyError:
            raise UnknownIdError(self.images.describe_unknown(gid)) from None

    def rows_of_image(self, gid: int) -> NDArray[np.int64]:
        """Return the rows of the annotations of an image.

        Args:
            gid: image id.

        Raises:
            UnknownIdError: if the dataset has no such image.
        """
        return np.arange(*self.span(gid))

    @LazyAttribute
    def _by_aid(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows sorted by annotation id, and the sorted ids."""
        order = np.argsort(self.aids, kind="stable")
        return order, self.aids[order]

    def rows_of_aids(self, aids: ArrayLike) -> NDArray[np.int64]:
        """Return the row of each annotation.

        Args:
            aids: annotation ids.

        Raises:
            UnknownIdError: if the dataset lacks one of the annotations.
        """
        wanted = as_ids(aids, "annotation")
        order, ascending = self._by_aid
        found = find_sorted(ascending, wanted)
        if (found < 0).any():
            raise UnknownIdError(describe_unknown("annotation", wanted[found < 0][0], ascending))
        return order[found]

    def matches(self, ann: dict[str, Any], imgs: Mapping[Any, Any]) -> bool:
        """Whether the image, category and box of an annotation are those of the table.

        Args:
            ann: the annotation in the dataset.
            imgs: image id to the dictionary of the image.

        Raises:
            ArgumentError: if its box or its geometry is malformed now.
        """
        marks = (ann["image_id"], ann.get("category_id"), ann.get("bbox"))
        known = self._matched.get(ann["id"])
        if known is not None and known[0] is ann and known[1] == marks:
            return True
        if not self._has_row_of(ann, imgs):
            return False
        if type(marks[2]) is list:  # a change in place of another type could not be detected
            if len(self._matched) >= _MAX_MATCHED:
                self._matched.clear()
            self._matched[ann["id"]] = (ann, (*marks[:2], list(marks[2])))
        return True

    @LazyAttribute
    def _matched(self) -> dict[Any, tuple[dict[str, Any], tuple[Any, ...]]]:
        """Annotation id to the annotation, and its image, category and box when it last matched."""
        return {}

    def _has_row_of(self, ann: dict[str, Any], imgs: Mapping[Any, Any]) -> bool:
        """Whether the table has a row with the image, category and box of an annotation."""
        order, ascending = self._by_aid
        place = int(ascending.searchsorted(ann["id"]))
        if place == len(ascending) or ascending[place] != ann["id"]:
            return False
        row = int(order[place])
        if self._dicts is not None and self._dicts[row] is not ann:
            return False
        cid = ann.get("category_id")
        first, stop = self.spans.get(ann["image_id"], (0, 0))
        if not first <= row < stop or self.cids[row] != (NO_ID if cid is None else int(cid)):
            return False
        box, stated = box_of(ann, imgs)
        return stated == self.has_box[row] and np.array_equal(self.boxes[row], box, equal_nan=True)

    def hash_columns(self) -> str:
        """Return a hash of image ids, annotation ids, categories and boxes; the same in every process."""
        import ubelt as ub

        columns = (self.images.gids, self.offsets, self.aids, self.cids, self.boxes)
        result: str = ub.hash_data([column.tobytes() for column in columns])
        return result

    def rows_in_dataset_order(self) -> NDArray[np.int64]:
        """Return the rows in the order in which the dataset lists its annotations."""
        return np.arange(len(self)) if self.order is None else self.order


def _read_unedited(dset: Any, size_source: SizeSource | None) -> tuple[ImageTable, AnnotRecords]:
    """Return images and annotations of one state of the dataset, even if another thread edits it."""
    for _ in range(_READS):
        before = dataset_state(dset)
        images, records = ImageTable.from_coco(dset, size_source), read_annots(dset)
        if dataset_state(dset) == before:
            break
    return images, records


def _grouping_order(image_rows: NDArray[np.int64], aids: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the order that groups annotations by image; None if they are grouped already.

    Annotations of unknown images (row -1) are left out of the order.
    """
    steps, climbs = np.diff(image_rows), np.diff(aids)
    in_order = not ((steps < 0) | ((steps == 0) & (climbs < 0))).any()
    dangling = len(image_rows) > 0 and int(image_rows.min()) < 0
    if in_order and not dangling:
        return None
    order = np.lexsort((aids, image_rows))
    if dangling:
        n_dangling = int((image_rows < 0).sum())
        logger.warning(
            "%d annotations belong to images that the dataset does not have, and are left out: ids %s",
            n_dangling,
            aids[order[:5]][: min(5, n_dangling)].tolist(),
        )
        order = order[n_dangling:]
    return order
