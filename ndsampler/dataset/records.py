"""
The images and annotations of a dataset as columns, in the order of the dataset.

A dataset in memory is read from its dictionaries, and a database with one statement for each table.
"""

from __future__ import annotations

import contextlib
from array import array
from dataclasses import dataclass
from itertools import chain, repeat
from operator import contains, itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.columns import NO_ID
from ndsampler.dataset.extents import geometry_box
from ndsampler.dataset.kwcoco_adapter import (
    ANNOTS_QUERY,
    IMAGES_QUERY,
    TRACKS_QUERY,
    UNBOXED_QUERY,
    is_view,
)
from ndsampler.dataset.segmentations import is_empty, stated_dims
from ndsampler.dataset.sql_view import fetch, from_json
from ndsampler.errors import ArgumentError, NDSamplerError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["AnnotRecords", "ImageRecords", "box_of", "read_annots", "read_images"]

_IMAGE_NUMBERS = ("id", "width", "height", "video_id", "frame_index")

#: Largest id, and largest side of an image in pixels, that the columns can hold.
MAX_ID, MAX_SIDE = 2**63 - 1, 2**31 - 1

#: Boxes whose numbers have a smaller magnitude have finite edges; other boxes are checked one by one.
LARGE = 1e300

_get_bbox: Callable[[Mapping[str, Any]], Any] = itemgetter("bbox")

_NO_BOX = (np.nan, np.nan, np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class ImageRecords:
    """The images of a dataset."""

    numbers: dict[str, NDArray[np.int64]]
    """Columns ``id, width, height, video_id, frame_index``; -1 where the dataset states no value."""

    valid_regions: dict[int, Any]
    """Image id to valid region, for the images that have one."""

    warps: dict[int, Any]
    """Image id to transform to the video, for the images whose transform is not the identity."""


@dataclass(frozen=True, eq=False)
class AnnotRecords:
    """The annotations of a dataset."""

    aids: NDArray[np.int64]
    """Annotation ids."""

    gids: NDArray[np.int64]
    """Image ids; :data:`NO_ID` for an annotation without an image."""

    cids: NDArray[np.int64]
    """Category ids; :data:`NO_ID` for an annotation without a category."""

    boxes: NDArray[np.float64]
    """(N, 4) boxes as x, y, width, height in image pixels. For an annotation without a box, the row is the
    box around its geometry, or NaN if it has no geometry either."""

    has_box: NDArray[np.bool_]
    """Whether the dataset states a box, for each annotation."""

    tracks: NDArray[np.int64] | None
    """Index into :attr:`track_ids` or :data:`NO_ID`; None if no annotation has a track."""

    track_ids: tuple[Any, ...]
    """The distinct track ids: numbers or strings, as the dataset states them."""

    dicts: list[dict[str, Any]] | None
    """The dictionaries of the annotations; None for a view of a database."""


def read_images(dset: Any) -> ImageRecords:
    """Return the images of a dataset.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.

    Raises:
        ArgumentError: if an id, a size or a frame index is not a number.
    """
    with _errors_of_section("images"):
        return _images_of_view(dset) if is_view(dset) else _images_of_dicts(dset)


def read_annots(dset: Any) -> AnnotRecords:
    """Return the annotations of a dataset.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.

    Raises:
        ArgumentError: if an id is not a number, a box is not four finite numbers, or the geometry of an
            annotation without a box is malformed.
    """
    with _errors_of_section("annotations"):
        return _annots_of_view(dset) if is_view(dset) else _annots_of_dicts(dset)


@contextlib.contextmanager
def _errors_of_section(section: str) -> Iterator[None]:
    """Convert errors that unexpected values cause to an ArgumentError that names the section."""
    try:
        yield
    except NDSamplerError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as ex:
        raise ArgumentError(
            f"the {section} of the dataset cannot be read ({type(ex).__name__}: {ex}); expected "
            "numbers as ids, sizes, frame indexes and categories, and four numbers as a box"
        ) from ex


# --- dictionaries -----------------------------------------------------------


def _images_of_dicts(dset: Any) -> ImageRecords:
    rows = list(dset.imgs.values())  # in one step, because another thread may edit the dataset
    numbers = {key: _id_column(rows, key, "image") for key in _IMAGE_NUMBERS}
    regions = {row["id"]: row["valid_region"] for row in rows if not is_empty(row.get("valid_region"))}
    warps = {row["id"]: row["warp_img_to_vid"] for row in rows if _has_effect(row.get("warp_img_to_vid"))}
    return ImageRecords(numbers, regions, warps)


def _annots_of_dicts(dset: Any) -> AnnotRecords:
    rows = list(dset.anns.values())
    tracked = any(map(contains, rows, repeat("track_id")))
    tracks, track_ids = _factorized([ann.get("track_id") for ann in rows] if tracked else [])
    aids, gids, cids = (_id_column(rows, key, "annotation") for key in ("id", "image_id", "category_id"))
    boxes, has_box = _box_columns(rows, dset.imgs)
    return AnnotRecords(aids, gids, cids, boxes, has_box, tracks, track_ids, rows)


def _id_column(rows: Collection[Mapping[str, Any]], key: str, what: str) -> NDArray[np.int64]:
    """Return the integers under a key of all rows, NO_ID where they are missing or None."""
    try:
        return np.fromiter(map(itemgetter(key), rows), dtype=np.int64, count=len(rows))
    except (KeyError, TypeError, ValueError, OverflowError):
        values = [_checked_number(row, key, what) for row in rows]
        return np.array(values, dtype=np.int64)


def _checked_number(row: Mapping[str, Any], key: str, what: str) -> int:
    """Return the value of a row as an integer; NO_ID if it is missing or None, unless it is the row's id."""
    value = row.get(key)
    try:
        number = NO_ID if value is None and key != "id" else int(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(
            f"{what} {row.get('id')!r} has {key} {value!r}; expected a whole number"
        ) from None
    if not -MAX_ID - 1 <= number <= MAX_ID:
        raise ArgumentError(
            f"{what} {row.get('id')!r} has {key} {number}; expected a whole number from -2**63 to 2**63 - 1"
        )
    return number


def _box_columns(
    rows: Collection[Mapping[str, Any]], imgs: Mapping[Any, Any]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the (N, 4) boxes of annotations, and whether each of them is stated."""
    boxes = _plain_boxes(rows)
    if boxes is not None and (not len(boxes) or (boxes.min() > -LARGE and boxes.max() < LARGE)):
        return boxes, np.ones(len(boxes), bool)
    found = [box_of(row, imgs) for row in rows]
    boxes = np.array([box for box, _ in found], dtype=np.float64).reshape(-1, 4)
    return boxes, np.array([stated for _, stated in found], dtype=bool)


def _plain_boxes(rows: Collection[Mapping[str, Any]]) -> NDArray[np.float64] | None:
    """Return the boxes if all are lists of four numbers; None otherwise."""
    if not rows:
        return np.empty((0, 4))
    try:
        stated = list(map(_get_bbox, rows))
        if set(map(len, stated)) != {4} or type(stated[0]) not in (list, tuple, np.ndarray):
            return None
        numbers: list[Any] = []
        extend = numbers.extend
        for box in stated:
            extend(box)
        # An array accepts only numbers, not text or None, and is faster than numpy for nested lists.
        return np.frombuffer(array("d", numbers)).reshape(-1, 4)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def box_of(row: Mapping[str, Any], imgs: Mapping[Any, Any]) -> tuple[tuple[float, ...], bool]:
    """Return the box of an annotation, and whether it is stated rather than computed from the geometry.

    Args:
        row: the annotation.
        imgs: image id to the dictionary of the image.

    Returns:
        x, y, width, height in image pixels; all NaN if there is neither a box nor geometry.

    Raises:
        ArgumentError: if the box is not four finite numbers, or the geometry is malformed.

    Example:
        >>> box_of({'id': 1, 'image_id': 1, 'segmentation': [[1, 2, 5, 2, 5, 4]]}, {})
        ((1.0, 2.0, 4.0, 2.0), False)
    """
    raw = row.get("bbox")
    if not is_empty(raw):
        return _checked_box(row, raw), True
    dims = stated_dims(imgs.get(row.get("image_id")))
    return geometry_box(dict(row), dims) or _NO_BOX, False


def _checked_box(row: Mapping[str, Any], raw: Any) -> tuple[float, ...]:
    """Return the box of an annotation as numbers."""
    values = list(raw) if isinstance(raw, (list, tuple, np.ndarray)) else []
    if len(values) == 4 and all(isinstance(value, (int, float, np.number)) for value in values):
        x, y, width, height = map(_as_float, values)
        if np.isfinite([x, y, width, height, x + width, y + height]).all():
            return x, y, width, height
    raise ArgumentError(
        f"annotation {row.get('id')} has bbox {raw!r}; expected x, y, width, height in pixels, four finite "
        "numbers; correct it or remove the bbox"
    )


def _as_float(value: Any) -> float:
    """Return a number as a float; infinity if it is too large."""
    try:
        return float(value)
    except OverflowError:
        return np.inf


# --- database ---------------------------------------------------------------


def _images_of_view(dset: Any) -> ImageRecords:
    chunks = [[np.empty(0, np.int64)] * len(_IMAGE_NUMBERS)]
    regions: dict[int, Any] = {}
    warps: dict[int, Any] = {}
    for rows in fetch(dset, IMAGES_QUERY):
        chunks.append([*map(_ids, zip(*(row[: len(_IMAGE_NUMBERS)] for row in rows), strict=True))])
        for gid, *_, warp, extra in rows:
            if warp is not None and _has_effect(parsed := from_json(warp)):
                warps[gid] = parsed
            if extra is not None and not is_empty(region := from_json(extra).get("valid_region")):
                regions[gid] = region
    columns = map(np.concatenate, zip(*chunks, strict=True))
    return ImageRecords(dict(zip(_IMAGE_NUMBERS, columns, strict=True)), regions, warps)


def _annots_of_view(dset: Any) -> AnnotRecords:
    chunks: list[tuple[NDArray[Any], ...]] = [(*[np.empty(0, np.int64)] * 3, np.empty((0, 4)))]
    for rows in fetch(dset, ANNOTS_QUERY):
        columns = list(zip(*rows, strict=True))
        chunks.append((*map(_ids, columns[:3]), np.array(columns[3:], dtype=np.float64).T))
    aids, gids, cids, boxes = (np.concatenate(column) for column in zip(*chunks, strict=True))
    missing = np.isnan(boxes).all(axis=1)
    wrong = ~missing & ~np.isfinite(boxes[:, :2] + boxes[:, 2:]).all(axis=1)
    if wrong.any():
        row = int(np.nonzero(wrong)[0][0])
        _checked_box({"id": int(aids[row])}, boxes[row].tolist())
    if missing.any():
        known = dict(_boxes_of_geometry(dset))
        for row in np.nonzero(missing)[0].tolist():
            boxes[row] = known.get(int(aids[row]), _NO_BOX)
    tracks, track_ids = _tracks_of_view(dset, aids)
    return AnnotRecords(aids, gids, cids, boxes, ~missing, tracks, track_ids, None)


def _boxes_of_geometry(dset: Any) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Yield the id and box of each annotation of a database that has geometry but no box."""
    for aid, gid, width, height, segmentation, keypoints in chain.from_iterable(fetch(dset, UNBOXED_QUERY)):
        ann = {"id": aid, "image_id": gid}
        ann.update(segmentation=from_json(segmentation), keypoints=from_json(keypoints))
        box = geometry_box(ann, stated_dims({"height": height, "width": width}))
        if box is not None:
            yield aid, box


def _tracks_of_view(dset: Any, aids: NDArray[np.int64]) -> tuple[NDArray[np.int64] | None, tuple[Any, ...]]:
    tracks = dict(chain.from_iterable(fetch(dset, TRACKS_QUERY)))
    if not tracks:
        return None, ()
    return _factorized([from_json(tracks.get(aid)) for aid in aids.tolist()])


def _ids(column: Collection[Any]) -> NDArray[np.int64]:
    """Return a column of a database as integers; NO_ID for NULL."""
    return np.array([NO_ID if value is None else value for value in column], dtype=np.int64)


# --- both -------------------------------------------------------------------


def _has_effect(warp: Any) -> bool:
    """Whether a transform is stated; a dictionary with only a type means the identity."""
    return warp is not None and not (isinstance(warp, dict) and set(warp) <= {"type"})


def _factorized(values: list[Hashable]) -> tuple[NDArray[np.int64] | None, tuple[Any, ...]]:
    """Return the index of each value among the distinct values, NO_ID for None, and the distinct values."""
    if values.count(None) == len(values):
        return None, ()
    codes: dict[Hashable, int] = {None: NO_ID}
    indices = [codes.setdefault(value, len(codes) - 1) for value in values]
    return np.array(indices, dtype=np.int64), tuple(codes)[1:]
