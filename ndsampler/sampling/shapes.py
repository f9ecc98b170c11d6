"""
Polygons and keypoints: parsed once, and transformed for every sample.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.categories import list_keypoints
from ndsampler.dataset.extents import keypoint_places
from ndsampler.dataset.geometry_errors import geometry_errors
from ndsampler.dataset.kwcoco_adapter import find_category, is_in_memory
from ndsampler.dataset.segmentations import is_empty, parse_segmentation, stated_dims
from ndsampler.dataset.sql_view import fetch_geometries
from ndsampler.errors import UnknownIdError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import kwcoco
    import kwimage
    from numpy.typing import NDArray

    from ndsampler.category_tree import CategoryTree
    from ndsampler.coco_frames import CocoFrames
    from ndsampler.dataset.annot_table import AnnotTable

#: Makes an object without calling its constructor.
_new: Any = object.__new__

#: Maximum number of annotations whose parsed geometry is cached. A typical polygon takes about 5 kB.
MAX_GEOMETRIES = 20_000


class GeometryStore:
    """Parses polygons and keypoints of annotations, and caches the latest results.

    Args:
        dset: the dataset with the annotations.
        limit: maximum number of annotations whose geometry is cached.
        frames: provides the sizes of images, which masks must match; None uses the sizes in the dataset.
    """

    def __init__(
        self, dset: kwcoco.CocoDataset, limit: int = MAX_GEOMETRIES, frames: CocoFrames | None = None
    ) -> None:
        self._dset = dset
        self._frames = frames
        self._limit = limit
        self._table: Any = None
        self.forget()

    def forget(self) -> None:
        """Empty the cache."""
        self._known: OrderedDict[int, tuple[Any, Any, Any, Any]] = OrderedDict()
        self._kp_classes: CategoryTree | None = None

    def follow(self, table: AnnotTable) -> None:
        """Empty the cache if the table of annotations was rebuilt.

        Args:
            table: the current table of annotations.
        """
        if self._table is not table:
            self.forget()
            self._table = table

    @property
    def kp_classes(self) -> CategoryTree:
        """The keypoint categories; an empty tree if the dataset has none."""
        if self._kp_classes is None:
            from ndsampler.category_tree import CategoryTree

            self._kp_classes = CategoryTree.coerce(list_keypoints(self._dset))
        return self._kp_classes

    def __getstate__(self) -> dict[str, Any]:
        return {"dset": self._dset, "frames": self._frames, "limit": self._limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def shapes_of(
        self, table: AnnotTable, rows: NDArray[np.int64]
    ) -> list[tuple[kwimage.MultiPolygon | None, kwimage.Points | None]]:
        """Return polygons and keypoints of annotations in image coordinates. They must not be changed.

        Args:
            table: the annotations.
            rows: rows of the table.

        Raises:
            UnknownIdError: if there is no such annotation.
            ArgumentError: if the geometry of one of them is malformed.
        """
        dset = self._dset
        if is_in_memory(dset.anns):
            return [self._of(ann) for ann in table.annotations(rows, dset)]
        aids = table.aids[rows].tolist()
        self._fetch(aids)
        return [self[aid] for aid in aids]

    def _of(self, ann: dict[str, Any]) -> tuple[Any, Any]:
        """Return the geometry of an annotation of a dataset in memory."""
        known = self._known.get(ann["id"])
        if known is None or known[0] is not ann.get("segmentation") or known[1] is not ann.get("keypoints"):
            # Replaced geometry is detected by identity. The originals are kept, so that no new object can
            # have the identity of an old one.
            known = self._keep(ann["id"], ann)
        return known[2], known[3]

    def __getitem__(self, aid: int) -> tuple[kwimage.MultiPolygon | None, kwimage.Points | None]:
        """Return polygons and keypoints of an annotation in the current dataset. They must not be changed.

        Raises:
            UnknownIdError: if there is no such annotation.
            ArgumentError: if its geometry is malformed.
        """
        anns = self._dset.anns
        known = self._known.get(aid)
        if known is not None and not is_in_memory(anns):
            return known[2], known[3]
        try:
            ann = anns[aid]
        except KeyError:
            raise UnknownIdError(f"annotation id is {aid!r}; the dataset has no such annotation") from None
        return self._of(ann)

    def _fetch(self, aids: Sequence[int]) -> None:
        """Parse annotations of a database that are not known yet, with one query for all of them."""
        missing = [aid for aid in aids if aid not in self._known]
        for ann in fetch_geometries(self._dset, missing):
            self._keep(ann["id"], ann)

    def _keep(self, aid: int, ann: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
        """Parse and keep the geometry of an annotation; the oldest is dropped when the limit is reached."""
        sseg, kpts = ann.get("segmentation"), ann.get("keypoints")
        with geometry_errors(ann):
            polygons = None if is_empty(sseg) else parse_segmentation(sseg, self._mask_dims(ann, sseg))
            points = None if is_empty(kpts) else self._points(ann, kpts)
        known = (sseg, kpts, polygons, points)
        if len(self._known) >= self._limit:
            # Threads that share a sampler may empty the dictionary at the same time.
            with contextlib.suppress(KeyError):
                self._known.popitem(last=False)
        self._known[aid] = known
        return known

    def _mask_dims(self, ann: dict[str, Any], raw: Any) -> tuple[int, int] | None:
        """Return the (height, width) that a mask must have; None for polygons."""
        if not isinstance(raw, np.ndarray) and not (isinstance(raw, dict) and "counts" in raw):
            return None
        gid = ann.get("image_id")
        return stated_dims(self._dset.imgs.get(gid)) if self._frames is None else self._frames.image_dims(gid)

    def _points(self, ann: dict[str, Any], raw: Any) -> kwimage.Points:
        """Return keypoints given in the old style (numbers) or the new style (dictionaries)."""
        import kwimage

        keypoint_places(raw)
        old_style = isinstance(raw, (list, tuple, np.ndarray)) and not isinstance(raw[0], dict)
        class_idxs = self._old_style_classes(ann) if old_style else None
        return kwimage.Points.from_coco(list(raw) if old_style else raw, class_idxs, self.kp_classes)

    def _old_style_classes(self, ann: dict[str, Any]) -> NDArray[np.int64] | None:
        """Return the keypoint categories that an object category states or inherits from its parents."""
        cat = self._dset.cats.get(ann.get("category_id")) if ann.get("category_id") is not None else None
        seen: set[str] = set()
        while cat is not None and not cat.get("keypoints"):
            seen.add(cat["name"])
            parent = cat.get("supercategory")
            # Some COCO files name a category as its own parent.
            cat = None if parent is None or parent in seen else find_category(self._dset, parent)
        known = self.kp_classes.node_to_idx
        if cat is None or any(name not in known for name in cat["keypoints"]):
            return None
        return np.array([known[name] for name in cat["keypoints"]])


def warped_corners(warp: NDArray[Any], xywh: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the transformed corners of boxes.

    Args:
        warp: 3x3 matrix.
        xywh: (N, 4) boxes.

    Returns:
        (N, 4) x and (N, 4) y of the corners.
    """
    x, y, width, height = xywh.T
    xs = np.stack([x, x + width, x + width, x], axis=1)
    ys = np.stack([y, y, y + height, y + height], axis=1)
    (a, b, tx), (c, d, ty) = warp[:2]
    return a * xs + b * ys + tx, c * xs + d * ys + ty


def warped_boxes(warp: NDArray[Any], xywh: NDArray[Any]) -> NDArray[np.float64]:
    """Return the bounding boxes of transformed boxes.

    Args:
        warp: 3x3 matrix.
        xywh: (N, 4) boxes.

    Returns:
        (N, 4) boxes as x, y, width, height.
    """
    xs, ys = warped_corners(warp, xywh)
    left, top = xs.min(axis=1), ys.min(axis=1)
    return np.stack([left, top, xs.max(axis=1) - left, ys.max(axis=1) - top], axis=1)


def _copied(value: Any) -> Any:
    """Return a copy of an array, and any other value unchanged."""
    return value.copy() if isinstance(value, np.ndarray) else value


def _list_rings(shapes: Sequence[kwimage.MultiPolygon | None]) -> list[NDArray[Any]]:
    """Return the coordinates of all exteriors and holes of polygons."""
    rings = []
    for shape in shapes:
        for polygon in () if shape is None else shape.data:
            rings.append(polygon.data["exterior"].data)
            rings.extend(hole.data for hole in polygon.data["interiors"])
    return rings


def _with_rings(shape: Any, rings: Iterator[NDArray[Any]]) -> Any:
    """Return the polygons of an annotation with other coordinates.

    The objects are made without calling their constructors, whose checks take most of the time.

    Args:
        shape: the polygons.
        rings: coordinates in the order of :func:`_list_rings`; the needed ones are consumed.
    """
    moved = _new(type(shape))
    moved.data, moved.meta = [], shape.meta.copy()
    for polygon in shape.data:
        exterior, holes = polygon.data["exterior"], polygon.data["interiors"]
        outline, copy = _at(exterior, next(rings)), _new(type(polygon))
        holes = [_at(hole, next(rings)) for hole in holes] if holes else []
        copy.data, copy.meta = {"exterior": outline, "interiors": holes}, polygon.meta.copy()
        moved.data.append(copy)
    return moved


def _with_places(points: kwimage.Points, places: NDArray[Any]) -> kwimage.Points:
    """Return keypoints with other coordinates, made without calling their constructor."""
    data = points.data.copy()
    for key, value in data.items():
        if isinstance(value, np.ndarray):
            data[key] = value.copy()
    data["xy"] = _at(data["xy"], places)
    moved = _new(type(points))
    moved.data, moved.meta = data, points.meta.copy()
    return moved


def _at(coords: Any, places: NDArray[Any]) -> Any:
    """Return an object of the same class with other coordinates."""
    moved = _new(type(coords))
    moved.data, moved.meta = places, {}
    return moved


@dataclass(frozen=True, eq=False)
class Shift:
    """A translation by whole pixels. It keeps integer coordinates integers."""

    offset: NDArray[np.int64]
    """(x, y) in pixels."""

    def boxes(self, xywh: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return translated (N, 4) boxes."""
        x, y = self.offset.tolist()
        result: NDArray[np.float64] = xywh + np.array((x, y, 0.0, 0.0))
        return result

    def shapes(self, shapes: Sequence[kwimage.MultiPolygon | None]) -> list[kwimage.MultiPolygon | None]:
        """Return the translated polygons of annotations, and None for those that have none.

        They are built from their coordinates, in a fraction of the time of kwimage's ``translate``.
        """
        moved = iter(self._coordinates(_list_rings(shapes)))
        return [None if shape is None else _with_rings(shape, moved) for shape in shapes]

    def points(self, points: Sequence[kwimage.Points | None]) -> list[kwimage.Points | None]:
        """Return the translated keypoints of annotations, and None for those that have none.

        They share no data with the originals.
        """
        moved = iter(self._coordinates([each.data["xy"].data for each in points if each is not None]))
        return [None if each is None else _with_places(each, next(moved)) for each in points]

    def _coordinates(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Return translated (N, 2) coordinates, by one addition for all arrays if they are of one type."""
        if len({array.dtype for array in arrays}) != 1:
            return [array + self.offset for array in arrays]
        moved = np.concatenate(arrays) + self.offset
        stops = list(accumulate(map(len, arrays)))
        return [moved[start:stop] for start, stop in zip([0, *stops], stops)]


@dataclass(frozen=True, eq=False)
class Warp:
    """An affine transform."""

    matrix: NDArray[Any]
    """3x3 matrix from the image to the sample."""
    affine: kwimage.Affine
    """The same matrix in the form that kwimage's methods accept."""

    @classmethod
    def from_matrix(cls, matrix: NDArray[Any]) -> Warp:
        """Make the transform for a matrix.

        Args:
            matrix: 3x3 matrix from the image to the sample.
        """
        import kwimage

        return cls(matrix, kwimage.Affine(matrix))

    def boxes(self, xywh: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the (N, 4) bounding boxes of transformed boxes."""
        return warped_boxes(self.matrix, xywh)

    def shapes(self, shapes: Sequence[kwimage.MultiPolygon | None]) -> list[kwimage.MultiPolygon | None]:
        """Return the transformed polygons of annotations, and None for those that have none."""
        return [None if shape is None else self._polygons(shape) for shape in shapes]

    def points(self, points: Sequence[kwimage.Points | None]) -> list[kwimage.Points | None]:
        """Return the transformed keypoints of annotations, and None for those that have none.

        They share no data with the originals.
        """
        return [None if each is None else self._keypoints(each) for each in points]

    def _polygons(self, shape: Any) -> Any:
        """Return the transformed polygons of an annotation."""
        moved = shape.warp(self.affine)
        # The result of kwimage shares its metadata with the original.
        moved.meta = dict(moved.meta)
        for polygon in moved.data:
            polygon.meta = dict(polygon.meta)
        return moved

    def _keypoints(self, points: kwimage.Points) -> kwimage.Points:
        """Return the transformed keypoints of an annotation."""
        moved = points.warp(self.affine)
        # The result of kwimage shares everything but the coordinates with the original.
        data = {key: value if key == "xy" else _copied(value) for key, value in moved.data.items()}
        return type(points)(data, dict(moved.meta))
