"""
Steps 4 and 5: which annotations lie in the window, and their shapes in sample coordinates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import AnnotKindError, ArgumentError, UnknownIdError

if TYPE_CHECKING:
    import kwcoco
    import kwimage
    from numpy.typing import NDArray

    from ndsampler.coco_regions import CocoRegions
    from ndsampler.sampling.region import SampleRegion

#: What ``with_annots`` may ask for. Boxes, ids and categories always come.
KINDS = frozenset({"boxes", "segmentation", "keypoints"})

#: Annotations whose parsed geometry is kept; about 5 kB each for a polygon of ordinary size.
MAX_GEOMETRIES = 20_000


@dataclass(frozen=True)
class AnnotRequest:
    """What of the annotations is wanted."""

    kinds: frozenset[str] = KINDS
    """Some of :data:`KINDS`."""
    annot_ids: tuple[int, ...] | None = None
    """The annotations to take; None to look for them in the window."""
    visible_thresh: float = 0.0
    """Least share of an annotation's box inside the window; it must be exceeded. 0 takes all that touch."""


def parse_request(with_annots: Any, annot_ids: Any, visible_thresh: Any) -> AnnotRequest | None:
    """Return what of the annotations is wanted, or None for no annotations at all.

    Args:
        with_annots: False or None for none; True for all kinds; kinds in a list, or in a string
            joined by ``+``.
        annot_ids: ids of the annotations to take, or None.
        visible_thresh: least visible share.

    Raises:
        AnnotKindError: for an unknown kind.
        ArgumentError: for a ``visible_thresh`` that is no number, or ids that cannot be listed.

    Example:
        >>> sorted(parse_request('boxes+keypoints', None, 0).kinds)
        ['boxes', 'keypoints']
        >>> parse_request(False, None, 0) is None
        True
    """
    if with_annots is True and annot_ids is None and visible_thresh == 0:
        return ALL_ANNOTS
    iterable = isinstance(with_annots, Iterable)
    if not with_annots and (not iterable or isinstance(with_annots, str)):
        return None
    if not isinstance(visible_thresh, (int, float, np.integer, np.floating)):
        raise ArgumentError(f"visible_thresh is {visible_thresh!r}; expected a number from 0 to 1")
    parts = (
        with_annots.split("+") if isinstance(with_annots, str) else list(with_annots) if iterable else KINDS
    )
    unknown = [part for part in parts if part not in KINDS]
    if unknown:
        options = ", ".join(map(repr, sorted(KINDS)))
        raise AnnotKindError(
            f"with_annots asks for {unknown[0]!r}; expected True, False, or some of {options}"
        )
    if annot_ids is not None and not isinstance(annot_ids, Iterable):
        raise ArgumentError(f"annot_ids is {annot_ids!r}; expected a list of annotation ids")
    chosen = None if annot_ids is None else tuple(annot_ids)
    return AnnotRequest(frozenset(parts), chosen, float(visible_thresh))


ALL_ANNOTS = AnnotRequest()


def find_annots(region: SampleRegion, regions: CocoRegions, request: AnnotRequest) -> list[NDArray[np.int64]]:
    """Return the ids of the annotations of each frame that the sample shows.

    Args:
        region: frames and window.
        regions: knows the annotations.
        request: which of them are wanted.

    Returns:
        Ids for each frame: sorted where they were looked for, in the given order where they were given.
        Given ids that belong to another image are left out.

    Raises:
        UnknownIdError: if a given id does not exist.
    """
    if request.annot_ids is not None:
        return [_given_ids(gid, regions, request.annot_ids) for gid in region.gids]
    box = region.padded_box
    ltrb = (box.x0, box.y0, box.x1, box.y1)
    return [regions.find_aids(gid, ltrb, request.visible_thresh) for gid in region.gids]


def _given_ids(gid: Any, regions: CocoRegions, annot_ids: tuple[int, ...]) -> NDArray[np.int64]:
    """Return those of the given annotation ids that belong to an image."""
    table = regions.annot_table
    aids = np.asarray(annot_ids, dtype=np.int64)
    return aids[table.gids[table.rows_of_aids(aids)] == gid] if len(aids) else aids


class GeometryStore:
    """Polygons and keypoints of annotations, parsed once and kept within a bound.

    Args:
        dset: holds the annotations.
        kp_classes: tree of the keypoint categories.
        limit: annotations kept at the most.
    """

    def __init__(self, dset: kwcoco.CocoDataset, kp_classes: Any, limit: int = MAX_GEOMETRIES) -> None:
        self._dset = dset
        self._kp_classes = kp_classes
        self._limit = limit
        self._known: dict[int, tuple[Any, Any, Any, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": {}}

    def __getitem__(self, aid: int) -> tuple[kwimage.MultiPolygon | None, kwimage.Points | None]:
        """Return polygons and keypoints of an annotation in image coordinates; they must not be changed.

        Raises:
            UnknownIdError: if there is no such annotation.
            ArgumentError: if its geometry is malformed.
        """
        anns = self._dset.anns
        known = self._known.get(aid)
        if known is not None and not isinstance(anns, dict):
            return known[2], known[3]
        try:
            ann = anns[aid]
        except KeyError:
            raise UnknownIdError(f"annotation id is {aid!r}; the dataset has no such annotation") from None
        sseg, kpts = ann.get("segmentation"), ann.get("keypoints")
        if known is None or known[0] is not sseg or known[1] is not kpts:
            # Replaced geometry is noticed by its identity; the originals are held so that
            # an identity cannot come again.
            known = (
                sseg,
                kpts,
                self._parse(parse_segmentation, ann, sseg),
                self._parse(self._points, ann, kpts),
            )
            if len(self._known) >= self._limit:
                self._known.pop(next(iter(self._known)), None)
            self._known[aid] = known
        return known[2], known[3]

    def _parse(self, parser: Any, ann: dict[str, Any], raw: Any) -> Any:
        """Parse one piece of geometry, naming the annotation where that fails."""
        if raw is None or (hasattr(raw, "__len__") and len(raw) == 0):
            return None
        try:
            return parser(ann, raw)
        except (ValueError, TypeError, KeyError, IndexError, AssertionError, NotImplementedError) as ex:
            raise ArgumentError(
                f"annotation {ann.get('id')} of image {ann.get('image_id')} has malformed geometry: "
                f"{type(ex).__name__}: {ex}"
            ) from ex

    def _points(self, ann: dict[str, Any], raw: Any) -> kwimage.Points:
        """Return keypoints in old style (numbers) or new style (dictionaries)."""
        import kwimage

        old_style = isinstance(raw, (list, tuple, np.ndarray)) and not isinstance(raw[0], dict)
        class_idxs = self._old_style_classes(ann) if old_style else None
        return kwimage.Points.from_coco(list(raw) if old_style else raw, class_idxs, self._kp_classes)

    def _old_style_classes(self, ann: dict[str, Any]) -> list[int] | None:
        """Return the keypoint categories that an object category lists, or inherits from its parents."""
        by_name = self._dset.index.name_to_cat
        cat = self._dset.cats.get(ann.get("category_id")) if ann.get("category_id") is not None else None
        while cat is not None and not cat.get("keypoints"):
            cat = by_name.get(cat.get("supercategory")) if cat.get("supercategory") else None
        known = self._kp_classes.node_to_idx
        if cat is None or any(name not in known for name in cat["keypoints"]):
            return None
        return [known[name] for name in cat["keypoints"]]


def parse_segmentation(ann: dict[str, Any], raw: Any) -> kwimage.MultiPolygon:
    """Return a segmentation of any COCO style as polygons.

    Args:
        ann: the annotation it belongs to.
        raw: a flat list, a list of flat lists, a dictionary with an exterior and holes, a list of such,
            or run-length encoding, compressed or not.

    Returns:
        The polygons in image coordinates.

    Raises:
        ValueError, TypeError, KeyError: as kwimage does, if the segmentation is malformed.
    """
    import kwimage

    return kwimage.MultiPolygon.coerce(raw)


@dataclass(frozen=True)
class FrameAnnots:
    """The annotations of one frame in sample coordinates."""

    gid: Any
    """Image id."""
    aids: NDArray[np.int64]
    """Annotation ids."""
    cids: NDArray[np.int64]
    """Category ids; -1 where an annotation has none."""
    boxes: NDArray[np.float64]
    """(N, 4) boxes as x, y, width, height."""
    segmentations: list[kwimage.MultiPolygon | None]
    """For each annotation; None where there is none, or none was asked for."""
    keypoints: list[kwimage.Points | None]
    """Likewise."""


def warp_annots(
    region: SampleRegion,
    aids_of_frames: list[NDArray[np.int64]],
    regions: CocoRegions,
    geometries: GeometryStore,
    request: AnnotRequest,
) -> list[FrameAnnots]:
    """Return the annotations of each frame in sample coordinates.

    Args:
        region: gives the warp.
        aids_of_frames: annotation ids of each frame.
        regions: knows boxes and categories.
        geometries: knows polygons and keypoints.
        request: which kinds are wanted.

    Returns:
        One value for each frame.
    """
    box, (scale_x, scale_y) = region.padded_box, region.options.scale
    move = _Move(-box.x0, -box.y0, scale_x, scale_y)
    table = regions.annot_table
    wants_sseg, wants_kpts = "segmentation" in request.kinds, "keypoints" in request.kinds
    frames = []
    for gid, aids in zip(region.gids, aids_of_frames):
        rows = table.rows_of_aids(aids)
        ssegs: list[Any] = [None] * len(aids)
        kpts: list[Any] = [None] * len(aids)
        if wants_sseg or wants_kpts:
            for place, aid in enumerate(aids.tolist()):
                sseg, points = geometries[aid]
                if wants_sseg and sseg is not None:
                    ssegs[place] = move.shape(sseg)
                if wants_kpts and points is not None:
                    kpts[place] = move.shape(points)
        frames.append(FrameAnnots(gid, aids, table.cids[rows], move.boxes(table.boxes[rows]), ssegs, kpts))
    return frames


@dataclass(frozen=True)
class _Move:
    """A shift, then a scale."""

    x: int
    y: int
    scale_x: float
    scale_y: float

    @cached_property
    def offset(self) -> NDArray[np.int64]:
        """The shift as an array, which shapes add to their points without converting it each time."""
        return np.array([self.x, self.y])

    def boxes(self, xywh: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return moved (N, 4) boxes."""
        shifted = np.add(xywh, (self.x, self.y, 0, 0))
        if self.scale_x == self.scale_y == 1:
            return shifted
        return shifted * (self.scale_x, self.scale_y, self.scale_x, self.scale_y)

    def shape(self, shape: Any) -> Any:
        """Return a moved polygon or set of points."""
        if self.scale_x == self.scale_y == 1:
            return shape.translate(self.offset)
        moved = [
            [self.scale_x, 0, self.scale_x * self.x],
            [0, self.scale_y, self.scale_y * self.y],
            [0, 0, 1.0],
        ]
        import kwimage

        return shape.warp(kwimage.Affine(np.array(moved)))
