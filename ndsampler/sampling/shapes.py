"""
Polygons and keypoints: parsed once, and transformed for every sample.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.extents import keypoint_places
from ndsampler.dataset.geometry_errors import geometry_errors
from ndsampler.dataset.kwcoco_adapter import find_category, is_in_memory
from ndsampler.dataset.segmentations import is_empty, parse_segmentation, stated_dims
from ndsampler.dataset.sql_view import fetch_geometries
from ndsampler.errors import UnknownIdError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import kwcoco
    import kwimage
    from numpy.typing import NDArray

    from ndsampler.category_tree import CategoryTree
    from ndsampler.coco_frames import CocoFrames
    from ndsampler.dataset.annot_table import AnnotTable

#: Annotations whose parsed geometry is kept. A polygon of ordinary size takes about 5 kB.
MAX_GEOMETRIES = 20_000


class GeometryStore:
    """Parses polygons and keypoints of annotations, and keeps the latest results.

    Args:
        dset: the dataset with the annotations.
        limit: maximum number of annotations whose geometry is kept.
        frames: gives the sizes of images, which masks must have; None takes what the dataset states.
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
        """Drop everything that was parsed."""
        self._known: OrderedDict[int, tuple[Any, Any, Any, Any]] = OrderedDict()
        self._kp_classes: CategoryTree | None = None

    def follow(self, table: AnnotTable) -> None:
        """Drop everything that was parsed before the table of annotations was built.

        Args:
            table: the present table of annotations.
        """
        if self._table is not table:
            self.forget()
            self._table = table

    @property
    def kp_classes(self) -> CategoryTree:
        """The keypoint categories; an empty tree if the dataset has none."""
        if self._kp_classes is None:
            from ndsampler.category_tree import CategoryTree

            stated = {"keypoint_categories", "categories"} & set(self._dset.dataset)
            self._kp_classes = CategoryTree.coerce(self._dset.keypoint_categories() if stated else [])
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
            return [self._of(table.annotation(row, dset)) for row in rows.tolist()]
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
        """Return polygons and keypoints of an annotation as the dataset is now. They must not be changed.

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
        """Return the (height, width) that a mask must have; None for polygons, which need none."""
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


@dataclass(frozen=True, eq=False)
class Shift:
    """A translation by whole pixels. It keeps integer coordinates integers."""

    offset: NDArray[np.int64]
    """(x, y) in pixels."""

    def boxes(self, xywh: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return translated (N, 4) boxes."""
        moved = xywh.copy()
        moved[:, :2] += self.offset
        return moved

    def shape(self, shape: kwimage.MultiPolygon) -> kwimage.MultiPolygon:
        """Return translated polygons.

        They are built from their coordinates with kwimage's constructors, in a third of the time that
        kwimage's ``translate`` takes.
        """
        offset = self.offset
        moved = []
        for polygon in shape.data:
            data = polygon.data
            exterior = data["exterior"]
            coords = type(exterior)
            outline = coords(exterior.data + offset)
            holes = [coords(hole.data + offset) for hole in data["interiors"]]
            moved.append(type(polygon)({"exterior": outline, "interiors": holes}, dict(polygon.meta)))
        return type(shape)(moved, dict(shape.meta))

    def points(self, points: kwimage.Points) -> kwimage.Points:
        """Return translated points that share no data with the originals."""
        data = {key: _copied(value) for key, value in points.data.items()}
        xy = points.data["xy"]
        data["xy"] = type(xy)(xy.data + self.offset)
        return type(points)(data, dict(points.meta))


@dataclass(frozen=True, eq=False)
class Warp:
    """An affine transform."""

    matrix: NDArray[Any]
    """3x3 matrix from the image to the sample."""
    affine: kwimage.Affine
    """The same matrix as kwimage's methods take it."""

    @classmethod
    def from_matrix(cls, matrix: NDArray[Any]) -> Warp:
        """Return the transform of a matrix.

        Args:
            matrix: 3x3 matrix from the image to the sample.
        """
        import kwimage

        return cls(matrix, kwimage.Affine(matrix))

    def boxes(self, xywh: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the (N, 4) bounding boxes of transformed boxes."""
        return warped_boxes(self.matrix, xywh)

    def shape(self, shape: Any) -> Any:
        """Return transformed polygons."""
        moved = shape.warp(self.affine)
        # The result of kwimage shares its metadata with the original.
        moved.meta = dict(moved.meta)
        for polygon in moved.data:
            polygon.meta = dict(polygon.meta)
        return moved

    def points(self, points: kwimage.Points) -> kwimage.Points:
        """Return transformed points that share no data with the originals."""
        moved = points.warp(self.affine)
        # The result of kwimage shares everything but the coordinates with the original.
        data = {key: value if key == "xy" else _copied(value) for key, value in moved.data.items()}
        return type(points)(data, dict(moved.meta))
