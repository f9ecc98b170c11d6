"""
The annotations and images of a dataset as columns.

A dataset keeps one dictionary per annotation; whatever asks about many of them
at once asks here. The columns are built once, by vectorised code or a single
query per SQL table, grouped by image, and pickle as plain arrays.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain, pairwise, repeat
from operator import contains, itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.sql_view import fetch, from_json, is_view
from ndsampler.errors import ArgumentError, NDSamplerError, UnknownIdError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["NO_ID", "AnnotTable", "ImageTable"]

logger = logging.getLogger(__name__)

#: Stands in an id column where the dataset gives no id: an annotation without
#: category, an image without video. Sizes that are not known are -1 as well.
NO_ID = -1


class _Columns:
    """Frozen columns that pickle narrow: integers in the smallest type that holds them."""

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: _narrowed(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({name: _widened(value) for name, value in state.items()})


@dataclass(frozen=True, eq=False)
class ImageTable(_Columns):
    """
    One row per image, sorted by image id.

    Example:
        >>> import kwcoco
        >>> table = ImageTable.from_coco(kwcoco.CocoDataset({"images": [
        ...     {"id": 7, "file_name": "b.png", "width": 6, "height": 4},
        ...     {"id": 3, "file_name": "a.png"}]}))
        >>> table.gids.tolist(), table.widths.tolist()
        ([3, 7], [-1, 6])
        >>> table.index_of(7)
        1
    """

    gids: NDArray[np.int64]
    """Image ids, ascending."""

    widths: NDArray[np.int32]
    """Width in pixels, -1 where the dataset does not say."""

    heights: NDArray[np.int32]
    """Height in pixels, -1 where the dataset does not say."""

    vidids: NDArray[np.int64]
    """Video ids, :data:`NO_ID` for an image of no video."""

    frame_index: NDArray[np.int64]
    """Position in time within the video, -1 where the dataset does not say."""

    order: NDArray[np.int64]
    """The rows in the order of the dataset: ``gids[order]`` is how it lists its images."""

    valid_regions: dict[int, Any]
    """Valid region of the images that have one, as the dataset stores it (image pixels)."""

    warps: dict[int, Any]
    """What the dataset says of warp_vid_from_img, for the frames where that is not the identity."""

    @classmethod
    def from_coco(cls, dset: Any) -> ImageTable:
        """Return the images of a dataset as columns.

        Args:
            dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
        """
        with _naming("images"):
            numbers, regions, warps = _sql_images(dset) if is_view(dset) else _dict_images(dset)
        order = np.argsort(numbers["id"], kind="stable")
        rows_in_file_order = np.empty_like(order)
        rows_in_file_order[order] = np.arange(len(order))
        columns = {key: column[order] for key, column in numbers.items()}
        return cls(
            gids=columns["id"],
            widths=columns["width"].astype(np.int32),
            heights=columns["height"].astype(np.int32),
            vidids=columns["video_id"],
            frame_index=columns["frame_index"],
            order=rows_in_file_order,
            valid_regions=regions,
            warps=warps,
        )

    def __len__(self) -> int:
        return len(self.gids)

    @cached_property
    def _index(self) -> dict[int, int]:
        return dict(zip(self.gids.tolist(), range(len(self.gids)), strict=True))

    def index_of(self, gid: int) -> int:
        """Return the row of an image.

        Args:
            gid: an image id.

        Raises:
            UnknownIdError: if the dataset has no such image.
        """
        try:
            return self._index[gid]
        except KeyError:
            raise UnknownIdError(self.unknown(gid)) from None

    def find(self, gids: ArrayLike) -> NDArray[np.int64]:
        """Return the row of each image, -1 for an id that the dataset does not have.

        Args:
            gids: image ids.
        """
        return _find_sorted(self.gids, np.asarray(gids, dtype=np.int64))

    def indices_of(self, gids: ArrayLike) -> NDArray[np.int64]:
        """Return the row of each image.

        Args:
            gids: image ids.

        Raises:
            UnknownIdError: if the dataset lacks one of the images.
        """
        wanted = np.asarray(gids, dtype=np.int64)
        rows = self.find(wanted)
        if (rows < 0).any():
            raise UnknownIdError(self.unknown(wanted[rows < 0][0]))
        return rows

    def unknown(self, gid: Any) -> str:
        """Return what to say of an id that no image has.

        Args:
            gid: the id.
        """
        return _unknown("image", gid, self.gids)

    def require_sizes(self, rows: NDArray[np.int64] | None = None) -> None:
        """Check that the dataset says how large these images are.

        Args:
            rows: rows of the images that are needed; all when None.

        Raises:
            ArgumentError: naming the first images without width or height.
        """
        unknown = (self.widths < 0) | (self.heights < 0)
        if not unknown.any():
            return
        missing = self.gids[unknown] if rows is None else np.unique(self.gids[rows[unknown[rows]]])
        if len(missing):
            raise ArgumentError(
                f"{len(missing)} images have no width or height, ids {missing[:5].tolist()}; expected "
                "both in pixels; call dset._ensure_imgsize() to read them from the files, or add them"
            )


@dataclass(frozen=True, eq=False)
class AnnotTable(_Columns):
    """
    One row per annotation, grouped by image and ascending by id within each.

    Images follow each other as in :attr:`images`, so the rows of an image are a
    range and need no index of their own.

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
    """The images, also those without annotations."""

    aids: NDArray[np.int64]
    """Annotation ids."""

    cids: NDArray[np.int64]
    """Category ids, :data:`NO_ID` for an annotation without category."""

    boxes: NDArray[np.float64]
    """(N, 4) boxes as x, y, width, height in image pixels; a row of NaN where there is no box."""

    offsets: NDArray[np.int64]
    """(images + 1) bounds: image i owns rows ``offsets[i]`` up to ``offsets[i + 1]``."""

    order: NDArray[np.int64] | None
    """The rows in the order of the dataset, None when that is the order of the rows."""

    tracks: NDArray[np.int64] | None
    """Index into :attr:`track_ids` or :data:`NO_ID`; None when no annotation has a track."""

    track_ids: tuple[Any, ...]
    """The distinct track ids: numbers or strings, as the dataset gives them."""

    @classmethod
    def from_coco(cls, dset: Any) -> AnnotTable:
        """Return the annotations of a dataset as columns; nothing is hashed or copied to disk.

        An annotation of an image that the dataset lacks is left out, with a warning in the log.

        Args:
            dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.

        Raises:
            ArgumentError: if a box is not four numbers.
        """
        images = ImageTable.from_coco(dset)
        with _naming("annotations"):
            read = _sql_annots if is_view(dset) else _dict_annots
            aids, gids, cids, boxes, tracks, track_ids = read(dset)
        image_rows = images.find(gids)
        order = _grouping_order(image_rows, aids)
        if order is not None:
            aids, cids, boxes, image_rows = aids[order], cids[order], boxes[order], image_rows[order]
            tracks = None if tracks is None else tracks[order]
        return cls(
            images=images,
            aids=aids,
            cids=cids,
            boxes=boxes,
            offsets=np.searchsorted(image_rows, np.arange(len(images) + 1)),
            order=None if order is None else np.argsort(order, kind="stable"),
            tracks=tracks,
            track_ids=track_ids,
        )

    def __len__(self) -> int:
        return len(self.aids)

    @cached_property
    def ltrb(self) -> NDArray[np.float64]:
        """(4, N) left, top, right, bottom of every box: one contiguous row per edge."""
        x, y, w, h = self.boxes.T
        edges = np.stack([x, y, x + w, y + h])
        np.minimum(x, edges[2], out=edges[0])
        np.minimum(y, edges[3], out=edges[1])
        np.maximum(x, edges[2], out=edges[2])
        np.maximum(y, edges[3], out=edges[3])
        return edges

    @cached_property
    def turned(self) -> NDArray[np.float64]:
        """(4, N) :attr:`ltrb` with the signs of right and bottom turned: one comparison does for all four."""
        return self.ltrb * np.array([[1.0], [1.0], [-1.0], [-1.0]])

    @cached_property
    def image_rows(self) -> NDArray[np.int64]:
        """Row in :attr:`images` of the image that each annotation lies in."""
        return np.repeat(np.arange(len(self.images)), np.diff(self.offsets))

    @property
    def gids(self) -> NDArray[np.int64]:
        """Image id of each annotation."""
        return self.images.gids[self.image_rows]

    @property
    def has_box(self) -> NDArray[np.bool_]:
        """Which annotations have a box."""
        return np.logical_not(np.isnan(self.boxes).any(axis=1))

    @cached_property
    def spans(self) -> dict[int, tuple[int, int]]:
        """Image id to the first row of that image, and the row after its last one."""
        starts = self.offsets.tolist()
        return dict(zip(self.images.gids.tolist(), pairwise(starts), strict=True))

    def span(self, gid: int) -> tuple[int, int]:
        """Return the first row of an image, and the row after its last one.

        Args:
            gid: an image id.

        Raises:
            UnknownIdError: if the dataset has no such image.
        """
        try:
            return self.spans[gid]
        except KeyError:
            raise UnknownIdError(self.images.unknown(gid)) from None

    def rows_of_image(self, gid: int) -> NDArray[np.int64]:
        """Return the rows of the annotations of an image.

        Args:
            gid: an image id.

        Raises:
            UnknownIdError: if the dataset has no such image.
        """
        return np.arange(*self.span(gid))

    @cached_property
    def _by_aid(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order = np.argsort(self.aids, kind="stable")
        return order, self.aids[order]

    def rows_of_aids(self, aids: ArrayLike) -> NDArray[np.int64]:
        """Return the row of each annotation.

        Args:
            aids: annotation ids.

        Raises:
            UnknownIdError: if the dataset lacks one of the annotations.
        """
        wanted = np.asarray(aids, dtype=np.int64)
        order, ascending = self._by_aid
        found = _find_sorted(ascending, wanted)
        if (found < 0).any():
            raise UnknownIdError(_unknown("annotation", wanted[found < 0][0], ascending))
        return order[found]

    def hash_columns(self) -> str:
        """Return a hash of ids, categories and boxes, equal in every process."""
        import ubelt as ub

        columns = (self.images.gids, self.offsets, self.aids, self.cids, self.boxes)
        return ub.hash_data([column.tobytes() for column in columns])

    def rows_in_dataset_order(self) -> NDArray[np.int64]:
        """Return the rows in the order in which the dataset lists its annotations."""
        return np.arange(len(self)) if self.order is None else self.order


# --- reading a dataset ------------------------------------------------------


@contextlib.contextmanager
def _naming(section: str) -> Iterator[None]:
    """Say which section of a dataset cannot be understood, where its columns cannot be read."""
    try:
        yield
    except NDSamplerError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as ex:
        raise ArgumentError(
            f"the {section} of the dataset cannot be understood ({type(ex).__name__}: {ex}); expected "
            "numbers as ids, sizes, frame indexes and categories, and four numbers as a box"
        ) from ex


def _dict_images(dset: Any) -> tuple[dict[str, NDArray[np.int64]], dict[int, Any], dict[int, Any]]:
    imgs = dset.imgs
    rows = imgs.values()
    numbers = {key: _id_column(rows, key) for key in ("id", "width", "height", "video_id", "frame_index")}
    regions = {gid: img["valid_region"] for gid, img in imgs.items() if img.get("valid_region")}
    warps = {gid: img["warp_img_to_vid"] for gid, img in imgs.items() if _moves(img.get("warp_img_to_vid"))}
    return numbers, regions, warps


def _moves(warp: Any) -> bool:
    """Tell whether a transform is given, and is more than a name for the identity."""
    return warp is not None and not (isinstance(warp, dict) and set(warp) <= {"type"})


def _sql_images(dset: Any) -> tuple[dict[str, NDArray[np.int64]], dict[int, Any], dict[int, Any]]:
    # The regions live among the columns that kwcoco does not know by name.
    query = (
        "SELECT id, width, height, video_id, frame_index, warp_img_to_vid, "
        "CASE WHEN CAST(_unstructured AS TEXT) LIKE '%valid_region%' THEN _unstructured END "
        "FROM images"
    )
    table = np.empty((0, 5))
    regions: dict[int, Any] = {}
    warps: dict[int, Any] = {}
    for rows in fetch(dset, query):
        table = np.concatenate([table, np.array([row[:5] for row in rows], dtype=np.float64)])
        for gid, *_, warp, extra in rows:
            if warp is not None and _moves(parsed := from_json(warp)):
                warps[gid] = parsed
            if extra is not None and (region := from_json(extra).get("valid_region")):
                regions[gid] = region
    names = ("id", "width", "height", "video_id", "frame_index")
    return {name: _ids_from_floats(table[:, i]) for i, name in enumerate(names)}, regions, warps


def _dict_annots(dset: Any) -> tuple[Any, ...]:
    anns = dset.anns
    rows = anns.values()
    aids = np.fromiter(anns, dtype=np.int64, count=len(anns))
    tracked = any(map(contains, rows, repeat("track_id")))
    tracks, track_ids = _factorized([ann.get("track_id") for ann in rows] if tracked else [])
    return (
        aids,
        _id_column(rows, "image_id"),
        _id_column(rows, "category_id"),
        _box_column(rows),
        tracks,
        track_ids,
    )


def _sql_annots(dset: Any) -> tuple[Any, ...]:
    query = "SELECT id, image_id, category_id, _bbox_x, _bbox_y, _bbox_w, _bbox_h FROM annotations"
    chunks = [np.empty((0, 7))]
    chunks += [np.array(rows, dtype=np.float64) for rows in fetch(dset, query)]
    table = np.concatenate(chunks)
    aids, gids, cids = (_ids_from_floats(table[:, i]) for i in range(3))
    tracks, track_ids = _sql_tracks(dset, aids)
    return aids, gids, cids, np.ascontiguousarray(table[:, 3:7]), tracks, track_ids


def _sql_tracks(dset: Any, aids: NDArray[np.int64]) -> tuple[NDArray[np.int64] | None, tuple[Any, ...]]:
    query = "SELECT id, track_id FROM annotations WHERE track_id IS NOT NULL"
    tracks = dict(chain.from_iterable(fetch(dset, query)))
    if not tracks:
        return None, ()
    return _factorized([from_json(tracks.get(aid)) for aid in aids.tolist()])


# --- columns ----------------------------------------------------------------


def _id_column(rows: Collection[Mapping[str, Any]], key: str) -> NDArray[np.int64]:
    """Return an integer of every row, NO_ID where it is missing or None."""
    try:
        return np.fromiter(map(itemgetter(key), rows), dtype=np.int64, count=len(rows))
    except (KeyError, TypeError):
        return np.array([NO_ID if (v := row.get(key)) is None else v for row in rows], dtype=np.int64)


def _ids_from_floats(column: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.where(np.isnan(column), NO_ID, column).astype(np.int64)


_get_bbox: Callable[[Mapping[str, Any]], Any] = itemgetter("bbox")


def _box_column(rows: Collection[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return the (N, 4) boxes, a row of NaN where an annotation has none."""
    try:
        boxes = list(map(_get_bbox, rows))
        if set(map(len, boxes)) <= {4}:
            flat = chain.from_iterable(boxes)
            return np.fromiter(flat, dtype=np.float64, count=4 * len(boxes)).reshape(-1, 4)
    except (KeyError, TypeError):
        logger.debug("some annotations have no box, or a box with gaps")
    return np.array([_checked_box(row) for row in rows], dtype=np.float64).reshape(-1, 4)


def _checked_box(row: Mapping[str, Any]) -> Sequence[float | None]:
    box = row.get("bbox")
    if box is None or len(box) == 0:
        return (None, None, None, None)
    if len(box) != 4:
        raise ArgumentError(
            f"annotation {row.get('id')} has bbox {box!r}; expected x, y, width, height in pixels; "
            "correct it or remove the bbox"
        )
    return box


def _factorized(values: list[Hashable]) -> tuple[NDArray[np.int64] | None, tuple[Any, ...]]:
    """Return the index of each value among the distinct ones, NO_ID for None."""
    if values.count(None) == len(values):
        return None, ()
    codes: dict[Hashable, int] = {None: NO_ID}
    indices = [codes.setdefault(value, len(codes) - 1) for value in values]
    return np.array(indices, dtype=np.int64), tuple(codes)[1:]


def _grouping_order(image_rows: NDArray[np.int64], aids: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the order that groups annotations by image, or None if they are grouped already."""
    steps, climbs = np.diff(image_rows), np.diff(aids)
    in_order = not ((steps < 0) | ((steps == 0) & (climbs < 0))).any()
    dangling = len(image_rows) > 0 and int(image_rows.min()) < 0
    if in_order and not dangling:
        return None
    order = np.lexsort((aids, image_rows))
    if dangling:
        n_dangling = int((image_rows < 0).sum())
        logger.warning(
            "%d annotations are of images that the dataset does not have, and are left out: ids %s",
            n_dangling,
            aids[order[:5]][: min(5, n_dangling)].tolist(),
        )
        order = order[n_dangling:]
    return order


def _find_sorted(ascending: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of each id in an ascending array, -1 where it is absent."""
    if not len(ascending):
        return np.full(wanted.shape, -1)
    first, last = int(ascending[0]), int(ascending[-1])
    if last - first + 1 == len(ascending):  # no gaps: the position follows from the id
        positions = wanted - first
        return np.where((wanted >= first) & (wanted <= last), positions, -1)
    positions = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return np.where(ascending[positions] == wanted, positions, -1)


def _unknown(what: str, value: Any, known: Iterable[Any]) -> str:
    ids = np.asarray(known)
    held = f"ids {ids.min()} to {ids.max()}" if len(ids) else "none"
    shown = value.item() if isinstance(value, np.generic) else value
    return f"no {what} has the id {shown!r}; the dataset has {len(ids)} of them, {held}"


def _narrowed(value: Any) -> Any:
    """Return an integer column in the smallest type that holds it."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "i" and len(value):
        smallest = np.promote_types(np.min_scalar_type(value.min()), np.min_scalar_type(value.max()))
        return _Narrow(value.dtype.str, value.astype(smallest))
    return value


def _widened(value: Any) -> Any:
    return value.column.astype(value.dtype) if isinstance(value, _Narrow) else value


@dataclass(frozen=True)
class _Narrow:
    """An integer column on its way through a pickle."""

    dtype: str
    """The type it has in memory."""

    column: NDArray[Any]
    """Its values in a smaller type."""
