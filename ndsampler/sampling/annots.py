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
from ndsampler.utils.rle import decode_counts

if TYPE_CHECKING:
    import kwcoco
    import kwimage
    from numpy.typing import NDArray

    from ndsampler.annot_table import AnnotTable
    from ndsampler.category_tree import CategoryTree
    from ndsampler.coco_regions import CocoRegions
    from ndsampler.sampling.window import SampleRegion

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
    if isinstance(with_annots, str):
        parts = with_annots.split("+") if with_annots else None
    elif isinstance(with_annots, Iterable):
        parts = list(with_annots)
    else:
        parts = list(KINDS) if with_annots else None
    if parts is None:
        return None
    unknown = [part for part in parts if not isinstance(part, str) or part not in KINDS]
    if unknown:
        options = ", ".join(map(repr, sorted(KINDS)))
        raise AnnotKindError(
            f"with_annots asks for {unknown[0]!r}; expected True, False or some of {options}"
        )
    if not isinstance(visible_thresh, (int, float, np.integer, np.floating)) or np.isnan(visible_thresh):
        raise ArgumentError(f"visible_thresh is {visible_thresh!r}; expected a number from 0 to 1")
    chosen = None if annot_ids is None else _whole_ids(annot_ids)
    return AnnotRequest(frozenset(parts), chosen, float(visible_thresh))


def _whole_ids(annot_ids: Any) -> tuple[int, ...]:
    """Return annotation ids as integers."""
    listed = (
        list(annot_ids) if isinstance(annot_ids, Iterable) and getattr(annot_ids, "ndim", 1) > 0 else None
    )
    if listed is None or not all(isinstance(aid, (int, np.integer)) for aid in listed):
        raise ArgumentError(f"annot_ids is {annot_ids!r}; expected a list of annotation ids")
    return tuple(int(aid) for aid in listed)


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
    return [
        _visible_ids(gid, warp, region, regions, request.visible_thresh)
        for gid, warp in zip(region.gids, region.warps_space_from_img)
    ]


def _visible_ids(
    gid: Any, warp: NDArray[Any] | None, region: SampleRegion, regions: CocoRegions, thresh: float
) -> NDArray[np.int64]:
    """Return the annotations of one frame that the window shows."""
    box = region.padded_box
    if gid is None:
        return np.zeros(0, dtype=np.int64)
    if warp is None:
        return regions.find_aids(gid, (box.x0, box.y0, box.x1, box.y1), thresh)
    # What touches the window's outline in the image is a superset; the boxes are
    # compared where the window is upright.
    xs, ys = _warped_corners(np.linalg.inv(warp), np.array([[box.x0, box.y0, *box.dims[::-1]]], float))
    aids = regions.find_aids(gid, (xs.min(), ys.min(), xs.max(), ys.max()), 0.0)
    table = regions.annot_table
    x, y, width, height = _warped_boxes(warp, table.boxes[table.rows_of_aids(aids)]).T
    inner_width = np.minimum(x + width, box.x1) - np.maximum(x, box.x0)
    inner_height = np.minimum(y + height, box.y1) - np.maximum(y, box.y0)
    shown = (inner_width >= 0) & (inner_height >= 0)
    if thresh > 0:
        with np.errstate(divide="ignore", invalid="ignore"):
            shown &= inner_width * inner_height / (width * height) > thresh
    return aids[shown]


def _warped_corners(warp: NDArray[Any], xywh: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return x and y, (N, 4) each, of the corners of boxes under a 3x3 matrix."""
    x, y, width, height = xywh.T
    xs = np.stack([x, x + width, x + width, x], axis=1)
    ys = np.stack([y, y, y + height, y + height], axis=1)
    (a, b, tx), (c, d, ty) = warp[:2]
    return a * xs + b * ys + tx, c * xs + d * ys + ty


def _warped_boxes(warp: NDArray[Any], xywh: NDArray[Any]) -> NDArray[np.float64]:
    """Return the upright (N, 4) boxes around boxes under a 3x3 matrix."""
    xs, ys = _warped_corners(warp, xywh)
    left, top = xs.min(axis=1), ys.min(axis=1)
    return np.stack([left, top, xs.max(axis=1) - left, ys.max(axis=1) - top], axis=1)


def _given_ids(gid: Any, regions: CocoRegions, annot_ids: tuple[int, ...]) -> NDArray[np.int64]:
    """Return those of the given annotation ids that belong to an image."""
    table = regions.annot_table
    aids = np.asarray(annot_ids, dtype=np.int64)
    return aids[table.gids[table.rows_of_aids(aids)] == gid] if len(aids) else aids


class GeometryStore:
    """Polygons and keypoints of annotations, parsed once and kept within a bound.

    Args:
        dset: holds the annotations.
        limit: annotations kept at the most.
    """

    def __init__(self, dset: kwcoco.CocoDataset, limit: int = MAX_GEOMETRIES) -> None:
        self._dset = dset
        self._limit = limit
        self._table: Any = None
        self.forget()

    def forget(self) -> None:
        """Parse everything anew."""
        self._known: dict[int, tuple[Any, Any, Any, Any]] = {}
        self._kp_classes: CategoryTree | None = None

    def follow(self, table: AnnotTable) -> None:
        """Forget what was parsed before the columns of the dataset were built anew."""
        if self._table is not table:
            self.forget()
            self._table = table

    @property
    def kp_classes(self) -> CategoryTree:
        """The categories of keypoints; an empty tree when the dataset has none."""
        if self._kp_classes is None:
            from ndsampler.category_tree import CategoryTree

            stated = {"keypoint_categories", "categories"} & set(self._dset.dataset)
            self._kp_classes = CategoryTree.coerce(self._dset.keypoint_categories() if stated else [])
        return self._kp_classes

    def __getstate__(self) -> dict[str, Any]:
        return {"_dset": self._dset, "_limit": self._limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_dset"], state["_limit"])  # type: ignore[misc]

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
        return kwimage.Points.from_coco(list(raw) if old_style else raw, class_idxs, self.kp_classes)

    def _old_style_classes(self, ann: dict[str, Any]) -> NDArray[np.int64] | None:
        """Return the keypoint categories that an object category lists, or inherits from its parents."""
        by_name = self._dset.index.name_to_cat
        cat = self._dset.cats.get(ann.get("category_id")) if ann.get("category_id") is not None else None
        seen: set[str] = set()
        while cat is not None and not cat.get("keypoints"):
            seen.add(cat["name"])
            parent = cat.get("supercategory")
            # COCO files name a category as its own parent now and then.
            cat = None if parent is None or parent in seen else by_name.get(parent)
        known = self.kp_classes.node_to_idx
        if cat is None or any(name not in known for name in cat["keypoints"]):
            return None
        return np.array([known[name] for name in cat["keypoints"]])


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

    if isinstance(raw, dict) and "counts" in raw:
        raw = _plain_runs(raw)
    return kwimage.MultiPolygon.coerce(raw)


def _plain_runs(raw: dict[str, Any]) -> dict[str, Any]:
    """Return run-length encoding with its counts as numbers, which make up the size that it states."""
    counts = raw["counts"]
    if isinstance(counts, (str, bytes)):
        # kwimage reads this form only where a package of compiled code is installed.
        counts = decode_counts(counts)
    height, width = raw["size"]
    if sum(counts) != height * width:
        raise ValueError(f"the runs make {sum(counts)} pixels, the size is {height} x {width}")
    return {**raw, "counts": counts}


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
    table = regions.annot_table
    geometries.follow(table)
    to_sample = np.linalg.inv(region.warp_space_from_sample) if region.needs_warp else None
    frames = []
    for gid, warp, aids in zip(region.gids, region.warps_space_from_img, aids_of_frames):
        move = _move(region, warp, to_sample)
        rows = table.rows_of_aids(aids)
        ssegs, kpts = _moved_shapes(move, aids, geometries, request)
        frames.append(FrameAnnots(gid, aids, table.cids[rows], move.boxes(table.boxes[rows]), ssegs, kpts))
    return frames


def _moved_shapes(
    move: _Shift | _Warp, aids: NDArray[np.int64], geometries: GeometryStore, request: AnnotRequest
) -> tuple[list[Any], list[Any]]:
    """Return the moved polygons and keypoints of annotations, None for each that is not wanted."""
    wants_sseg, wants_kpts = "segmentation" in request.kinds, "keypoints" in request.kinds
    ssegs: list[Any] = [None] * len(aids)
    kpts: list[Any] = [None] * len(aids)
    if wants_sseg or wants_kpts:
        for place, aid in enumerate(aids.tolist()):
            sseg, points = geometries[aid]
            if wants_sseg and sseg is not None:
                ssegs[place] = move.shape(sseg)
            if wants_kpts and points is not None:
                kpts[place] = move.points(points)
    return ssegs, kpts


def _move(region: SampleRegion, warp: NDArray[Any] | None, to_sample: NDArray[Any] | None) -> _Shift | _Warp:
    """Return how geometry of one frame's image moves into the sample."""
    if to_sample is None and warp is None:
        return _Shift(np.array([-region.padded_box.x0, -region.padded_box.y0]))
    if to_sample is None:
        to_sample = np.linalg.inv(region.warp_space_from_sample)
    return _Warp(to_sample if warp is None else to_sample @ warp)


def _own(value: Any) -> Any:
    """Return a copy of an array."""
    return value.copy() if isinstance(value, np.ndarray) else value


@dataclass(frozen=True)
class _Shift:
    """A move by whole pixels, under which whole numbers stay whole."""

    offset: NDArray[np.int64]
    """(x, y)."""

    def boxes(self, xywh: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return moved (N, 4) boxes."""
        moved = xywh.copy()
        moved[:, :2] += self.offset
        return moved

    def shape(self, shape: kwimage.MultiPolygon) -> kwimage.MultiPolygon:
        """Return moved polygons, built anew from their coordinates: a third of the time of ``translate``."""
        from kwimage import Coords, MultiPolygon, Polygon

        offset = self.offset
        moved = []
        for polygon in shape.data:
            data = polygon.data
            holes = [Coords(hole.data + offset) for hole in data["interiors"]]
            exterior = Coords(data["exterior"].data + offset)
            moved.append(Polygon({"exterior": exterior, "interiors": holes}, dict(polygon.meta)))
        return MultiPolygon(moved, dict(shape.meta))

    def points(self, points: kwimage.Points) -> kwimage.Points:
        """Return moved points that share nothing with the given ones."""
        from kwimage import Coords, Points

        data = {key: _own(value) for key, value in points.data.items() if key != "xy"}
        return Points({"xy": Coords(points.data["xy"].data + self.offset), **data}, dict(points.meta))


@dataclass(frozen=True)
class _Warp:
    """An affine move."""

    matrix: NDArray[Any]
    """3x3, from image to sample."""

    @cached_property
    def affine(self) -> kwimage.Affine:
        """The matrix as kwimage's methods take it."""
        import kwimage

        return kwimage.Affine(self.matrix)

    def boxes(self, xywh: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the upright (N, 4) boxes around the moved ones."""
        return _warped_boxes(self.matrix, xywh)

    def shape(self, shape: Any) -> Any:
        """Return moved polygons."""
        moved = shape.warp(self.affine)
        # kwimage shares what it does not move.
        moved.meta = dict(moved.meta)
        for polygon in moved.data:
            polygon.meta = dict(polygon.meta)
        return moved

    def points(self, points: kwimage.Points) -> kwimage.Points:
        """Return moved points that share nothing with the given ones."""
        moved = points.warp(self.affine)
        # kwimage leaves all but the coordinates shared between the two.
        data = {key: value if key == "xy" else _own(value) for key, value in moved.data.items()}
        return type(points)(data, dict(moved.meta))
