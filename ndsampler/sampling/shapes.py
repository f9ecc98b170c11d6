"""
Polygons and keypoints: parsed once, moved for every sample.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.kwcoco_adapter import find_category, is_in_memory
from ndsampler.dataset.segmentations import parse_segmentation
from ndsampler.dataset.sql_view import fetch_geometries
from ndsampler.errors import ArgumentError, UnknownIdError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import kwcoco
    import kwimage
    from numpy.typing import NDArray

    from ndsampler.category_tree import CategoryTree
    from ndsampler.dataset.annot_table import AnnotTable

#: Annotations whose parsed geometry is kept; about 5 kB each for a polygon of ordinary size.
MAX_GEOMETRIES = 20_000


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
        self._known: OrderedDict[int, tuple[Any, Any, Any, Any]] = OrderedDict()
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

    def fetch(self, aids: Sequence[int]) -> None:
        """Parse annotations of a database together, which asks it once instead of once for each."""
        if is_in_memory(self._dset.anns):
            return
        missing = [aid for aid in aids if aid not in self._known]
        for ann in fetch_geometries(self._dset, missing):
            self._keep(ann["id"], ann)

    def __getitem__(self, aid: int) -> tuple[kwimage.MultiPolygon | None, kwimage.Points | None]:
        """Return polygons and keypoints of an annotation in image coordinates; they must not be changed.

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
        if known is None or known[0] is not ann.get("segmentation") or known[1] is not ann.get("keypoints"):
            # Replaced geometry is noticed by its identity; the originals are held so that
            # an identity cannot come again.
            known = self._keep(aid, ann)
        return known[2], known[3]

    def _keep(self, aid: int, ann: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
        """Parse the geometry of an annotation, and keep it within the bound."""
        sseg, kpts = ann.get("segmentation"), ann.get("keypoints")
        known = (sseg, kpts, self._parse(_polygons, ann, sseg), self._parse(self._points, ann, kpts))
        if len(self._known) >= self._limit:
            # In one step, since threads may share a sampler.
            with contextlib.suppress(KeyError):
                self._known.popitem(last=False)
        self._known[aid] = known
        return known

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
        cat = self._dset.cats.get(ann.get("category_id")) if ann.get("category_id") is not None else None
        seen: set[str] = set()
        while cat is not None and not cat.get("keypoints"):
            seen.add(cat["name"])
            parent = cat.get("supercategory")
            # COCO files name a category as its own parent now and then.
            cat = None if parent is None or parent in seen else find_category(self._dset, parent)
        known = self.kp_classes.node_to_idx
        if cat is None or any(name not in known for name in cat["keypoints"]):
            return None
        return np.array([known[name] for name in cat["keypoints"]])


def _polygons(_: dict[str, Any], raw: Any) -> kwimage.MultiPolygon:
    """Return a segmentation as polygons."""
    return parse_segmentation(raw)


def warped_corners(warp: NDArray[Any], xywh: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return x and y, (N, 4) each, of the corners of boxes under a 3x3 matrix."""
    x, y, width, height = xywh.T
    xs = np.stack([x, x + width, x + width, x], axis=1)
    ys = np.stack([y, y, y + height, y + height], axis=1)
    (a, b, tx), (c, d, ty) = warp[:2]
    return a * xs + b * ys + tx, c * xs + d * ys + ty


def warped_boxes(warp: NDArray[Any], xywh: NDArray[Any]) -> NDArray[np.float64]:
    """Return the upright (N, 4) boxes around boxes under a 3x3 matrix."""
    xs, ys = warped_corners(warp, xywh)
    left, top = xs.min(axis=1), ys.min(axis=1)
    return np.stack([left, top, xs.max(axis=1) - left, ys.max(axis=1) - top], axis=1)


def _own(value: Any) -> Any:
    """Return a copy of an array."""
    return value.copy() if isinstance(value, np.ndarray) else value


@dataclass(frozen=True)
class Shift:
    """A move by whole pixels, under which whole numbers stay whole."""

    offset: NDArray[np.int64]
    """(x, y)."""

    def boxes(self, xywh: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return moved (N, 4) boxes."""
        moved = xywh.copy()
        moved[:, :2] += self.offset
        return moved

    def shape(self, shape: kwimage.MultiPolygon) -> kwimage.MultiPolygon:
        """Return moved polygons.

        They are built anew from their coordinates with kwimage's constructors, which takes a third of
        the time of ``translate``.
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
        """Return moved points that share nothing with the given ones."""
        data = {key: _own(value) for key, value in points.data.items()}
        xy = points.data["xy"]
        data["xy"] = type(xy)(xy.data + self.offset)
        return type(points)(data, dict(points.meta))


@dataclass(frozen=True)
class Warp:
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
        return warped_boxes(self.matrix, xywh)

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
