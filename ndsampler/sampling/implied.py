"""
Adding keys to a target that follow from the box of its annotation, or from its own ``bbox``.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.segmentations import is_empty
from ndsampler.errors import TargetError, UnknownTargetError
from ndsampler.utils.ids import list_ids
from ndsampler.windows import is_sequence, shown

if TYPE_CHECKING:
    import kwcoco

#: Keys that are computed from a box if the target does not state them.
SIZE_KEYS = ("cx", "cy", "width", "height")

#: Keys that place a window. The ``bbox`` of a target is used only if it has none of them.
PLACE_KEYS = ("space_slice", "slices", "cx", "cy")


def is_placeholder(aid: Any) -> bool:
    """Whether an annotation id is negative, as in negative targets, which have the id -1.

    Args:
        aid: any value.

    Example:
        >>> is_placeholder(-1), is_placeholder(3), is_placeholder('a')
        (True, False, False)
    """
    try:
        return operator.index(aid) < 0
    except TypeError:
        return False


def add_annotation(target: dict[str, Any], aid: Any, dset: kwcoco.CocoDataset) -> None:
    """Add image, box and category of an annotation, unless the target states them.

    Args:
        target: the target with canonical keys; keys are added to it.
        aid: id of the annotation.
        dset: the dataset with the annotations.

    Raises:
        UnknownTargetError: if there is no such annotation, and the target needs one.
        TargetError: if the target needs the box of an annotation without a box, or the annotation belongs to
            another image than the target states.
    """
    needed = () if _has_slices(target) else SIZE_KEYS
    if _states(target, ("gid", "category_id")) and _states(target, needed):
        return
    ann = _find_annotation(target, aid, dset)
    if ann is None:
        return
    if target.get("gid") is None:
        target["gid"] = ann["image_id"]
    elif not _is_placed(target):
        _check_image(target, aid, ann)
    missing = [key for key in needed if target.get(key) is None]
    if missing and not (_is_complete(target) and _as_box(ann.get("bbox")) is None):
        x, y, width, height = _box_of_annotation(aid, ann, missing)
        stated = _center_and_size((x, y, width, height))
        if width < 0 or height < 0:  # tools write boxes from right to left, too
            stated.update(width=abs(width), height=abs(height))
        target.update((key, stated[key]) for key in missing)
    if target.get("category_id") is None:
        target["category_id"] = ann.get("category_id")


def _find_annotation(target: dict[str, Any], aid: Any, dset: kwcoco.CocoDataset) -> dict[str, Any] | None:
    """Return an annotation; None if there is none and the target is complete without it."""
    try:
        result: dict[str, Any] | None = dset.anns[aid]
        return result
    except (KeyError, TypeError, OverflowError):
        names_image = any(target.get(key) is not None for key in ("gid", "vidid", "gids"))
        if names_image and _is_complete(target):
            return None
        known = list_ids(dset.anns.keys(), aid)
        raise UnknownTargetError(
            f"aid is {shown(aid)}; expected an annotation id of the dataset: {known}"
        ) from None


def _states(target: dict[str, Any], keys: tuple[str, ...]) -> bool:
    """Whether a target states all of some keys."""
    for key in keys:  # noqa: SIM110 -- every positive of a pool passes here, and a generator takes twice as long
        if target.get(key) is None:
            return False
    return True


def _has_slices(target: dict[str, Any]) -> bool:
    """Whether a target states slices."""
    return target.get("space_slice") is not None or target.get("slices") is not None


def _has_center(target: dict[str, Any]) -> bool:
    """Whether a target states the center of its window."""
    return target.get("cx") is not None and target.get("cy") is not None


def _is_placed(target: dict[str, Any]) -> bool:
    """Whether a target states the place of its window, or is sampled in video space."""
    is_video = target.get("vidid") is not None or target.get("gids") is not None
    return is_video or _has_slices(target) or _has_center(target)


def _is_complete(target: dict[str, Any]) -> bool:
    """Whether a target states both the place and the size of its window."""
    has_size = target.get("width") is not None and target.get("height") is not None
    is_sized = has_size or is_sequence(target.get("window_dims"))
    return _has_slices(target) or (is_sized and _has_center(target))


def _check_image(target: dict[str, Any], aid: Any, ann: dict[str, Any]) -> None:
    """Raise an error if the annotation that places the window belongs to another image."""
    if np.any(target["gid"] != ann["image_id"]):
        raise TargetError(
            f"annotation {aid} belongs to image {ann['image_id']!r}, but the target states gid "
            f"{target['gid']!r}; leave out one of them, or give 'cx' and 'cy', or 'slices'"
        )


def _box_of_annotation(aid: Any, ann: dict[str, Any], missing: list[str]) -> tuple[float, ...]:
    """Return the box of an annotation as x, y, width, height."""
    box = ann.get("bbox")
    where = f"annotation {aid} of image {ann['image_id']}"
    way_out = f"give {', '.join(missing)}, or 'slices'"
    if is_empty(box):
        raise TargetError(
            f"{where} has no 'bbox', so the target does not state the place of its window; {way_out}"
        )
    found = _as_box(box)
    if found is None:
        raise TargetError(
            f"{where} has bbox {box!r}; expected 4 numbers, x, y, width, height in pixels. "
            f"Correct it, or {way_out}"
        )
    return found


def add_own_box(target: dict[str, Any]) -> None:
    """Add center and size of the ``bbox`` of a target that has no other place for its window.

    Args:
        target: the target with canonical keys; keys are added to it.

    Raises:
        TargetError: if the box is needed and is not x, y, width, height.

    Example:
        >>> target = {'gid': 1, 'bbox': [10, 20, 4, 6]}
        >>> add_own_box(target)
        >>> target['cx'], target['cy'], target['width'], target['height']
        (12.0, 23.0, 4.0, 6.0)
    """
    box = target["bbox"]
    if box is None or any(target.get(key) is not None for key in PLACE_KEYS):
        return
    found = _as_box(box)
    if found is None:
        raise TargetError(f"bbox is {box!r}; expected 4 numbers, x, y, width, height in pixels")
    for key, value in _center_and_size(found).items():
        if target.get(key) is None:
            target[key] = value


def _as_box(box: Any) -> tuple[float, ...] | None:
    """Return x, y, width, height as numbers; None if the value is not a box."""
    if not is_sequence(box) or len(box) != 4 or getattr(box, "ndim", 1) != 1:
        return None
    try:
        values = tuple(float(value) for value in box)
    except (TypeError, ValueError, OverflowError):
        return None
    return values if all(map(math.isfinite, values)) else None


def _center_and_size(box: tuple[float, ...]) -> dict[str, float]:
    """Return the center and size of a box as keys of a target."""
    x, y, width, height = box
    return {"cx": x + width / 2, "cy": y + height / 2, "width": width, "height": height}
