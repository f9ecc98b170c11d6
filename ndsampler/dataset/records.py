"""
The images and annotations of a dataset as columns, in the order of the dataset.

A dataset in memory is read from its dictionaries, a database by one statement for each table.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from itertools import chain, repeat
from operator import contains, itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.columns import NO_ID
from ndsampler.dataset.kwcoco_adapter import ANNOTS_QUERY, IMAGES_QUERY, TRACKS_QUERY, is_view
from ndsampler.dataset.sql_view import fetch, from_json
from ndsampler.errors import ArgumentError, NDSamplerError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["AnnotRecords", "ImageRecords", "read_annots", "read_images"]

logger = logging.getLogger(__name__)

_IMAGE_NUMBERS = ("id", "width", "height", "video_id", "frame_index")

_get_bbox: Callable[[Mapping[str, Any]], Any] = itemgetter("bbox")


@dataclass(frozen=True, eq=False)
class ImageRecords:
    """The images of a dataset."""

    numbers: dict[str, NDArray[np.int64]]
    """Columns ``id, width, height, video_id, frame_index``; -1 where the dataset states no value."""

    valid_regions: dict[int, Any]
    """Image id to valid region, for the images that have one."""

    warps: dict[int, Any]
    """Image id to transform into the video, for the images that state one other than the identity."""


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
    """(N, 4) boxes as x, y, width, height in image pixels; a row of NaN for an annotation without a box."""

    tracks: NDArray[np.int64] | None
    """Index into :attr:`track_ids` or :data:`NO_ID`; None if no annotation has a track."""

    track_ids: tuple[Any, ...]
    """The distinct track ids: numbers or strings, as the dataset states them."""


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
        ArgumentError: if an id is not a number, or a box is not four numbers.
    """
    with _errors_of_section("annotations"):
        return _annots_of_view(dset) if is_view(dset) else _annots_of_dicts(dset)


@contextlib.contextmanager
def _errors_of_section(section: str) -> Iterator[None]:
    """Turn errors caused by unexpected values into an ArgumentError that names the section."""
    try:
        yield
    except NDSamplerError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as ex:
        raise ArgumentError(
            f"the {section} of the dataset cannot be understood ({type(ex).__name__}: {ex}); expected "
            "numbers as ids, sizes, frame indexes and categories, and four numbers as a box"
        ) from ex


# --- dictionaries -----------------------------------------------------------


def _images_of_dicts(dset: Any) -> ImageRecords:
    imgs = dset.imgs
    rows = imgs.values()
    numbers = {key: _id_column(rows, key) for key in _IMAGE_NUMBERS}
    regions = {gid: img["valid_region"] for gid, img in imgs.items() if img.get("valid_region")}
    warps = {
        gid: img["warp_img_to_vid"] for gid, img in imgs.items() if _has_effect(img.get("warp_img_to_vid"))
    }
    return ImageRecords(numbers, regions, warps)


def _annots_of_dicts(dset: Any) -> AnnotRecords:
    anns = dset.anns
    rows = anns.values()
    aids = np.fromiter(anns, dtype=np.int64, count=len(anns))
    tracked = any(map(contains, rows, repeat("track_id")))
    tracks, track_ids = _factorized([ann.get("track_id") for ann in rows] if tracked else [])
    gids, cids = _id_column(rows, "image_id"), _id_column(rows, "category_id")
    return AnnotRecords(aids, gids, cids, _box_column(rows), tracks, track_ids)


def _id_column(rows: Collection[Mapping[str, Any]], key: str) -> NDArray[np.int64]:
    """Return an integer of every row; NO_ID if it is missing or None."""
    try:
        return np.fromiter(map(itemgetter(key), rows), dtype=np.int64, count=len(rows))
    except (KeyError, TypeError):
        return np.array([NO_ID if (v := row.get(key)) is None else v for row in rows], dtype=np.int64)


def _box_column(rows: Collection[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return the (N, 4) boxes, a row of NaN for an annotation without a box."""
    try:
        boxes = list(map(_get_bbox, rows))
        if set(map(len, boxes)) <= {4}:
            flat = chain.from_iterable(boxes)
            return np.fromiter(flat, dtype=np.float64, count=4 * len(boxes)).reshape(-1, 4)
    except (KeyError, TypeError):
        logger.debug("some annotations have no box, or a box with missing values")
    return np.array([_checked_box(row) for row in rows], dtype=np.float64).reshape(-1, 4)


def _checked_box(row: Mapping[str, Any]) -> Sequence[float | None]:
    """Return the four values of an annotation's box; four times None if it has no box."""
    box = row.get("bbox")
    if box is None or len(box) == 0:
        return (None, None, None, None)
    if len(box) != 4:
        raise ArgumentError(
            f"annotation {row.get('id')} has bbox {box!r}; expected x, y, width, height in pixels; "
            "correct it or remove the bbox"
        )
    return box


# --- database ---------------------------------------------------------------


def _images_of_view(dset: Any) -> ImageRecords:
    table = np.empty((0, 5))
    regions: dict[int, Any] = {}
    warps: dict[int, Any] = {}
    for rows in fetch(dset, IMAGES_QUERY):
        table = np.concatenate([table, np.array([row[:5] for row in rows], dtype=np.float64)])
        for gid, *_, warp, extra in rows:
            if warp is not None and _has_effect(parsed := from_json(warp)):
                warps[gid] = parsed
            if extra is not None and (region := from_json(extra).get("valid_region")):
                regions[gid] = region
    numbers = {name: _ids_from_floats(table[:, i]) for i, name in enumerate(_IMAGE_NUMBERS)}
    return ImageRecords(numbers, regions, warps)


def _annots_of_view(dset: Any) -> AnnotRecords:
    chunks = [np.empty((0, 7))]
    chunks += [np.array(rows, dtype=np.float64) for rows in fetch(dset, ANNOTS_QUERY)]
    table = np.concatenate(chunks)
    aids, gids, cids = (_ids_from_floats(table[:, i]) for i in range(3))
    tracks, track_ids = _tracks_of_view(dset, aids)
    return AnnotRecords(aids, gids, cids, np.ascontiguousarray(table[:, 3:7]), tracks, track_ids)


def _tracks_of_view(dset: Any, aids: NDArray[np.int64]) -> tuple[NDArray[np.int64] | None, tuple[Any, ...]]:
    tracks = dict(chain.from_iterable(fetch(dset, TRACKS_QUERY)))
    if not tracks:
        return None, ()
    return _factorized([from_json(tracks.get(aid)) for aid in aids.tolist()])


def _ids_from_floats(column: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return a column of a database as integers; NO_ID for NULL."""
    return np.where(np.isnan(column), NO_ID, column).astype(np.int64)


# --- both -------------------------------------------------------------------


def _has_effect(warp: Any) -> bool:
    """Whether a transform is stated and is more than the name of a type, which means the identity."""
    return warp is not None and not (isinstance(warp, dict) and set(warp) <= {"type"})


def _factorized(values: list[Hashable]) -> tuple[NDArray[np.int64] | None, tuple[Any, ...]]:
    """Return the index of each value among the distinct values, NO_ID for None, and the distinct values."""
    if values.count(None) == len(values):
        return None, ()
    codes: dict[Hashable, int] = {None: NO_ID}
    indices = [codes.setdefault(value, len(codes) - 1) for value in values]
    return np.array(indices, dtype=np.int64), tuple(codes)[1:]
