"""
The box around the geometry of an annotation, for annotations without a box in the dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.geometry_errors import geometry_errors
from ndsampler.dataset.run_lengths import RunLengths
from ndsampler.dataset.segmentations import check_mask, check_vertices, is_empty, parse_segmentation

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Extent", "geometry_box", "keypoint_places"]

#: Left, top, right, bottom in image pixels.
Extent = tuple[float, float, float, float]


def geometry_box(ann: dict[str, Any], dims: tuple[int, int] | None) -> Extent | None:
    """Return the box around the segmentation and the keypoints of an annotation.

    The box contains the pixels of a mask completely, as in pycocotools. Keypoints that are not labeled are
    ignored.

    Args:
        ann: the annotation.
        dims: (height, width) of its image; None if it is not known.

    Returns:
        x, y, width, height in image pixels; None if the annotation has no geometry, or if it is empty.

    Raises:
        ArgumentError: if the geometry is malformed; the message names the annotation.

    Example:
        >>> geometry_box({'segmentation': [[5, 5, 9, 5, 9, 8]], 'keypoints': [2, 6, 2, 0, 0, 0]}, None)
        (2.0, 5.0, 7.0, 3.0)
    """
    with geometry_errors(ann):
        extents = np.array([*_segmentation_extents(ann.get("segmentation"), dims)], dtype=np.float64)
        points = keypoint_places(ann.get("keypoints"))
        corners = np.concatenate([extents.reshape(-1, 2), points])
        if not np.isfinite(corners).all():
            raise ValueError("the coordinates are not all finite numbers")
    if not len(corners):
        return None
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return left, top, right - left, bottom - top


def _segmentation_extents(raw: Any, dims: tuple[int, int] | None) -> Iterator[Extent]:
    """Yield the extent of each part of a segmentation."""
    if is_empty(raw):
        return
    if isinstance(raw, dict) and "counts" in raw:
        extent = RunLengths.from_coco(raw, dims).extent
        if extent is not None:
            yield extent
    elif isinstance(raw, np.ndarray) and raw.ndim == 2:
        check_mask(raw, dims)
        rows, cols = np.nonzero(raw)
        if len(rows):
            yield cols.min(), rows.min(), cols.max() + 1, rows.max() + 1
    else:
        for ring in _outlines(raw, dims):
            if len(ring):
                yield (*ring.min(axis=0), *ring.max(axis=0))


def _outlines(raw: Any, dims: tuple[int, int] | None) -> Iterator[NDArray[Any]]:
    """Yield the (N, 2) vertices of each outline of a segmentation that is not a mask."""
    if isinstance(raw, list) and isinstance(raw[0], list) and all(isinstance(ring, list) for ring in raw):
        check_vertices(sum(map(len, raw)) // 2)
        for ring in raw:  # the most frequent form; parsed without kwimage, which takes longer
            flat = np.array(ring)
            if flat.dtype.kind not in "iuf":
                raise ValueError("the coordinates are not all finite numbers")
            yield flat.reshape(-1, 2)
    else:
        for polygon in parse_segmentation(raw, dims).data:
            yield np.asarray(polygon.data["exterior"].data)


def keypoint_places(raw: Any) -> NDArray[np.float64]:
    """Return the (N, 2) x and y of the labeled keypoints.

    Args:
        raw: keypoints in any style: a flat list of x, y and visibility, a list of dictionaries, or a
            dictionary of the columns ``x``, ``y`` and ``visible``.

    Raises:
        ValueError, TypeError, KeyError: if they are malformed, or more than
            :attr:`ndsampler.utils.limits.Limits.vertices`.

    Example:
        >>> keypoint_places([3, 4, 2, 0, 0, 0]).tolist()
        [[3.0, 4.0]]
    """
    if is_empty(raw):
        return np.empty((0, 2))
    if isinstance(raw, dict):
        check_vertices(len(raw["x"]))
        places = np.stack([_as_floats(raw["x"]), _as_floats(raw["y"])], axis=-1)
        seen = raw.get("visible")
    elif isinstance(raw[0], dict):
        check_vertices(len(raw))
        places = _as_floats([point["xy"] for point in raw]).reshape(-1, 2)
        seen = [point.get("visible", 2) for point in raw]
    else:
        check_vertices(len(raw) // 3)
        columns = _as_floats(raw).reshape(-1, 3)
        places, seen = columns[:, :2], columns[:, 2]
    labelled = np.ones(len(places), bool) if seen is None else _as_floats(seen) > 0
    return places[labelled]


def _as_floats(values: Any) -> NDArray[np.float64]:
    """Return finite numbers as an array."""
    array = np.asarray(values)
    if array.dtype.kind not in "iufb" or not np.isfinite(array).all():
        raise ValueError("the coordinates are not all finite numbers")
    return array.astype(np.float64)
