"""
Steps 4 and 5: finding the annotations in the window, and transforming them to sample coordinates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import AnnotKindError, ArgumentError, UnknownIdError
from ndsampler.sampling.shapes import GeometryStore, Shift, Warp, warped_boxes, warped_corners
from ndsampler.windows import shown

if TYPE_CHECKING:
    import kwimage
    from numpy.typing import NDArray

    from ndsampler.dataset.annot_table import AnnotTable
    from ndsampler.isect_indexer import FrameIntersectionIndex
    from ndsampler.sampling.region import SampleRegion

#: The values of ``with_annots``. Boxes, ids and categories are always included.
KINDS = frozenset({"boxes", "segmentation", "keypoints"})


@dataclass(frozen=True)
class AnnotRequest:
    """Which annotations, and which of their shapes, a sample contains."""

    kinds: frozenset[str] = KINDS
    """Some of :data:`KINDS`."""
    annot_ids: tuple[int, ...] | None = None
    """The annotations; None for those in the window."""
    visible_thresh: float = 0.0
    """Annotations are included if more than this fraction of their box is in the window; with 0, also those
    that only touch it."""


def parse_request(with_annots: Any, annot_ids: Any, visible_thresh: Any) -> AnnotRequest | None:
    """Return the request that the arguments of ``load_sample`` describe; None for no annotations.

    Args:
        with_annots: False or None for none; True for all kinds; a list of kinds, or a string of kinds
            joined by ``+``.
        annot_ids: ids of the annotations to include, or None for those in the window.
        visible_thresh: see :attr:`AnnotRequest.visible_thresh`.

    Raises:
        AnnotKindError: for an unknown kind.
        ArgumentError: if ``visible_thresh`` is not a number, or ``annot_ids`` is not a list of ids.
        UnknownIdError: for an id of more than 64 bits.

    Example:
        >>> sorted(parse_request('boxes+keypoints', None, 0).kinds)
        ['boxes', 'keypoints']
        >>> parse_request(False, None, 0) is None
        True
    """
    if with_annots is False:
        return None
    is_default = with_annots is True and annot_ids is None and type(visible_thresh) in (float, int)
    if is_default and visible_thresh == 0:
        return ALL_ANNOTS
    if isinstance(with_annots, str):
        parts = with_annots.split("+") if with_annots else None
    elif isinstance(with_annots, Iterable) and getattr(with_annots, "ndim", 1) > 0:
        parts = list(with_annots)
    else:
        parts = list(KINDS) if with_annots else None
    if parts is None:
        return None
    unknown = [part for part in parts if not isinstance(part, str) or part not in KINDS]
    if unknown:
        options = ", ".join(map(repr, sorted(KINDS)))
        raise AnnotKindError(
            f"with_annots contains {unknown[0]!r}; expected True, False or some of {options}"
        )
    if not isinstance(visible_thresh, (int, float, np.integer, np.floating)) or np.isnan(visible_thresh):
        raise ArgumentError(
            f"visible_thresh is {visible_thresh!r}; expected a number from 0 to 1. An annotation is kept if "
            "more than this part of its box is visible: 0 keeps all that touch the window, and 1 keeps none"
        )
    chosen = None if annot_ids is None else _whole_ids(annot_ids)
    return AnnotRequest(frozenset(parts), chosen, float(visible_thresh))


def _whole_ids(annot_ids: Any) -> tuple[int, ...]:
    """Return annotation ids as Python integers."""
    listed = (
        list(annot_ids) if isinstance(annot_ids, Iterable) and getattr(annot_ids, "ndim", 1) > 0 else None
    )
    if listed is None or not all(isinstance(aid, (int, np.integer)) for aid in listed):
        raise ArgumentError(f"annot_ids is {annot_ids!r}; expected a list of annotation ids")
    ids = tuple(int(aid) for aid in listed)
    too_large = [aid for aid in ids if not -(2**63) <= aid < 2**63]
    if too_large:
        raise UnknownIdError(f"annotation id is {shown(too_large[0])}; the dataset has no such annotation")
    return ids


#: The request for all annotations in the window.
ALL_ANNOTS = AnnotRequest()


def find_annots(
    region: SampleRegion, index: FrameIntersectionIndex, request: AnnotRequest
) -> list[NDArray[np.int64]]:
    """Return the annotations of each frame that the sample contains.

    Args:
        region: the frames and the window.
        index: the annotations of the dataset.
        request: which annotations to include.

    Returns:
        Rows of ``index.columns`` for each frame, with ascending ids, or in the order of ``request.annot_ids``
        without the annotations of other images.

    Raises:
        UnknownIdError: if a requested id does not exist.
    """
    if request.annot_ids is not None:
        return [_given_rows(gid, index.columns, request.annot_ids) for gid in region.gids]
    return [
        _visible_rows(gid, warp, region, index, request.visible_thresh)
        for gid, warp in zip(region.gids, region.warps_space_from_img)
    ]


def _given_rows(gid: Any, table: AnnotTable, annot_ids: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the requested annotations that belong to an image."""
    rows = table.rows_of_aids(np.asarray(annot_ids, dtype=np.int64))
    result: NDArray[np.int64] = rows[table.images.gids[table.image_rows[rows]] == gid]
    return result


def _visible_rows(
    gid: Any, warp: NDArray[Any] | None, region: SampleRegion, index: FrameIntersectionIndex, thresh: float
) -> NDArray[np.int64]:
    """Return the annotations of a frame that overlap the window."""
    box = region.padded_box
    if gid is None:
        return np.zeros(0, dtype=np.int64)
    if warp is None:
        return index.visible_rows(gid, (box.x0, box.y0, box.x1, box.y1), thresh)
    table = index.columns
    if warp[0, 1] == warp[1, 0] == 0:
        xs, ys = warped_corners(np.linalg.inv(warp), np.array([[box.x0, box.y0, *box.dims[::-1]]], float))
        rows = index.visible_rows(gid, (xs.min(), ys.min(), xs.max(), ys.max()))
    else:
        # The bounding box of a rotated box can touch the window even if the box itself does not.
        rows = table.rows_of_image(gid)
        rows = rows[~np.isnan(table.boxes[rows, 0])]
    x, y, width, height = warped_boxes(warp, table.boxes[rows]).T
    inner_width = np.minimum(x + width, box.x1) - np.maximum(x, box.x0)
    inner_height = np.minimum(y + height, box.y1) - np.maximum(y, box.y0)
    shown = (inner_width >= 0) & (inner_height >= 0)
    if thresh > 0:
        with np.errstate(divide="ignore", invalid="ignore"):
            shown &= inner_width * inner_height / (width * height) > thresh
    result: NDArray[np.int64] = rows[shown]
    return result


@dataclass(frozen=True, eq=False)
class FrameAnnots:
    """The annotations of one frame in sample coordinates."""

    gid: Any
    """Image id."""
    aids: NDArray[np.int64]
    """Annotation ids."""
    cids: NDArray[np.int64]
    """Category ids; -1 for an annotation without a category."""
    boxes: NDArray[np.float64]
    """(N, 4) boxes as x, y, width, height."""
    segmentations: list[kwimage.MultiPolygon | None]
    """Segmentation of each annotation; None if it has none, or segmentations were not requested."""
    keypoints: list[kwimage.Points | None]
    """Keypoints of each annotation; None if it has none, or keypoints were not requested."""


def warp_annots(
    region: SampleRegion,
    rows_of_frames: list[NDArray[np.int64]],
    table: AnnotTable,
    geometries: GeometryStore,
    request: AnnotRequest,
) -> list[FrameAnnots]:
    """Return the annotations of each frame in sample coordinates.

    Args:
        region: the window and its transforms.
        rows_of_frames: the result of :func:`find_annots`.
        table: provides boxes and categories.
        geometries: provides polygons and keypoints.
        request: which kinds to include.
    """
    geometries.follow(table)
    to_sample = np.linalg.inv(region.warp_space_from_sample) if region.options.is_scaled else None
    frames = []
    for gid, warp, rows in zip(region.gids, region.warps_space_from_img, rows_of_frames):
        move = _move(region, warp, to_sample)
        aids = table.aids[rows]
        ssegs, kpts = _moved_shapes(move, table, rows, geometries, request)
        frames.append(FrameAnnots(gid, aids, table.cids[rows], move.boxes(table.boxes[rows]), ssegs, kpts))
    return frames


def load_annots(
    region: SampleRegion, index: FrameIntersectionIndex, geometries: GeometryStore, request: AnnotRequest
) -> list[FrameAnnots]:
    """Return the annotations of each frame in the window, in sample coordinates: steps 4 and 5.

    Args:
        region: the window and its transforms.
        index: the annotations of the dataset.
        geometries: provides polygons and keypoints.
        request: which annotations, and which kinds.
    """
    rows = find_annots(region, index, request)
    return warp_annots(region, rows, index.columns, geometries, request)


def _moved_shapes(
    move: Shift | Warp,
    table: AnnotTable,
    rows: NDArray[np.int64],
    geometries: GeometryStore,
    request: AnnotRequest,
) -> tuple[list[Any], list[Any]]:
    """Return the transformed polygons and keypoints of annotations; None if missing or not requested."""
    wants_sseg, wants_kpts = "segmentation" in request.kinds, "keypoints" in request.kinds
    nothing: list[Any] = [None] * len(rows)
    known = geometries.shapes_of(table, rows) if wants_sseg or wants_kpts else []
    ssegs = move.shapes([sseg for sseg, _ in known]) if wants_sseg else nothing
    kpts = move.points([points for _, points in known]) if wants_kpts else nothing
    return ssegs, kpts


def _move(region: SampleRegion, warp: NDArray[Any] | None, to_sample: NDArray[Any] | None) -> Shift | Warp:
    """Return the transform from the image of a frame to the sample."""
    if to_sample is None and warp is None:
        return Shift(np.array([-region.padded_box.x0, -region.padded_box.y0]))
    if to_sample is None:
        to_sample = np.linalg.inv(region.warp_space_from_sample)
    return Warp.from_matrix(to_sample if warp is None else to_sample @ warp)
