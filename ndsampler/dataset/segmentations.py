"""Parsing the segmentations of COCO files, including run-length encoding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.geometry_errors import geometry_errors
from ndsampler.dataset.run_lengths import RunLengths
from ndsampler.errors import ArgumentTypeError, UnknownIdError
from ndsampler.utils.limits import get_limits

if TYPE_CHECKING:
    import kwimage
    from numpy.typing import NDArray

__all__ = ["check_mask", "check_vertices", "is_empty", "parse_segmentation", "parse_segmentations"]

#: Maximum depth of nested lists and dictionaries in a segmentation.
_MAX_NESTING = 8


def is_empty(raw: Any) -> bool:
    """Whether a value of a dataset is None, or an empty list, dictionary or array.

    Args:
        raw: segmentation, keypoints, or a box.
    """
    return raw is None or (hasattr(raw, "__len__") and len(raw) == 0)


def parse_segmentation(raw: Any, dims: tuple[int, int] | None = None) -> kwimage.MultiPolygon:
    """Return a segmentation in any COCO format as polygons.

    Args:
        raw: a flat list of coordinates, a list of such lists, a dictionary with an exterior and holes, a list
            of such dictionaries, a run-length encoding, compressed or not, or a mask as an array with two
            axes.
        dims: (height, width) of the image, which must be the size of a mask; None if it is not known.

    Returns:
        The polygons in image coordinates.

    Raises:
        ValueError, TypeError, KeyError: if the segmentation is malformed, or larger than
            :class:`ndsampler.utils.limits.Limits` allows. kwimage may raise other errors too.
    """
    import kwimage

    if isinstance(raw, dict) and "counts" in raw:
        return RunLengths.from_coco(raw, dims).to_polygons()
    if isinstance(raw, np.ndarray) and raw.ndim > 1:
        check_mask(raw, dims)
    else:
        check_vertices(_count_numbers(raw) // 2)
        raw = raw.tolist() if isinstance(raw, np.ndarray) else raw
    polygons = kwimage.MultiPolygon.coerce(raw)
    rings = _rings(polygons)
    if rings and not is_finite(np.concatenate([ring.ravel() for ring in rings])):
        raise ValueError("the coordinates are not all finite numbers")
    return polygons


def check_mask(mask: NDArray[Any], dims: tuple[int, int] | None) -> None:
    """Raise an error if the size of a mask differs from that of its image.

    Args:
        mask: the mask as an array.
        dims: (height, width) of the image; None if it is not known.

    Raises:
        ValueError: if the sizes differ.
    """
    if dims is not None and mask.shape != tuple(dims):
        raise ValueError(f"the mask has the shape {mask.shape}, but its image has (height, width) {dims}")


def is_finite(values: NDArray[Any]) -> bool:
    """Whether an array has a numeric type and all its numbers are finite.

    Args:
        values: an array of any type.
    """
    return values.dtype.kind in "iuf" and bool(np.isfinite(values).all())


def check_vertices(count: int) -> None:
    """Raise an error if geometry has too many vertices or keypoints.

    Args:
        count: number of vertices or keypoints.

    Raises:
        ValueError: if there are more than :attr:`ndsampler.utils.limits.Limits.vertices`.
    """
    limit = get_limits().vertices
    if count > limit:
        raise ValueError(f"there are {count} vertices; the limit is {limit}")


def _count_numbers(raw: Any, depth: int = 0) -> int:
    """Count the numbers in nested lists and dictionaries."""
    if isinstance(raw, np.ndarray):
        return raw.size
    if not isinstance(raw, (list, tuple, dict)):
        return 1
    if depth == _MAX_NESTING:
        raise ValueError(f"lists are nested more than {_MAX_NESTING} deep")
    items = raw.values() if isinstance(raw, dict) else raw
    first = next(iter(items), None)
    if not isinstance(first, (list, tuple, dict, np.ndarray)) and not isinstance(raw, dict):
        return len(raw)
    return sum(_count_numbers(item, depth + 1) for item in items)


def _rings(polygons: kwimage.MultiPolygon) -> list[NDArray[Any]]:
    """Return the coordinates of all exteriors and holes."""
    return [
        np.asarray(ring.data)
        for polygon in polygons.data
        for ring in (polygon.data["exterior"], *polygon.data["interiors"])
    ]


def parse_segmentations(dset: Any, aids: Iterable[int]) -> list[kwimage.MultiPolygon | None]:
    """Return the segmentations of annotations as polygons, None for those without.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
        aids: annotation ids.

    Raises:
        ArgumentTypeError: if the ids are not a list.
        UnknownIdError: if the dataset lacks one of the annotations.
        ArgumentError: if a segmentation is malformed.
    """
    if not isinstance(aids, Iterable):
        raise ArgumentTypeError(f"aids is {aids!r}; expected a list of annotation ids")
    found = []
    for aid in aids:
        try:
            found.append(dset.anns[aid])
        except (KeyError, TypeError, OverflowError):
            known = f"expected one of the dataset's {len(dset.anns)}"
            raise UnknownIdError(f"no annotation has the id {aid!r}; {known}") from None
    return [_parse_of(ann, dset) for ann in found]


def _parse_of(ann: dict[str, Any], dset: Any) -> kwimage.MultiPolygon | None:
    """Return the segmentation of an annotation; None if it has none."""
    raw = ann.get("segmentation")
    if is_empty(raw):
        return None
    with geometry_errors(ann):
        return parse_segmentation(raw, stated_dims(dset.imgs.get(ann.get("image_id"))))


def stated_dims(img: Any) -> tuple[int, int] | None:
    """Return the stated (height, width) of an image; None if one of them is missing.

    Args:
        img: the dictionary of the image; None for an image that does not exist.
    """
    height, width = (None, None) if img is None else (img.get("height"), img.get("width"))
    return None if height is None or width is None else (int(height), int(width))
