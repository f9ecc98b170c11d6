"""
Step 1: a copy of the user's dictionary with canonical keys.

Only this module handles aliases of keys, and arguments of earlier releases that are keys of the target now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ndsampler.errors import TargetError, UnknownTargetError
from ndsampler.utils.deprecation import warn_once, warn_user

if TYPE_CHECKING:
    import kwcoco

#: Aliases of keys of a target. If both are given, the canonical key takes precedence.
ALIASES = {"image_id": "gid", "video_id": "vidid", "image_ids": "gids"}

#: Arguments of earlier releases that are keys of the target now.
MOVED_ARGUMENTS = ("pad", "padkw", "dtype", "nodata")

#: Keys of a target that are derived from the box of its annotation if the target does not state them.
SIZE_KEYS = ("cx", "cy", "width", "height")


def normalize_target(target: Any, dset: kwcoco.CocoDataset) -> dict[str, Any]:
    """Return a copy of a target with canonical keys, and with the keys that its annotation implies.

    Args:
        target: the user's dictionary, which is not changed.
        dset: the dataset with the annotations.

    Returns:
        A new dictionary: the given keys in their order, followed by the inferred keys.

    Raises:
        TargetError: if the target is not a dictionary, names no image, or states no window and names an
            annotation without a box.
        UnknownTargetError: if there is no such annotation.

    Example:
        >>> import kwcoco
        >>> dset = kwcoco.CocoDataset.demo('shapes8', verbose=0)
        >>> normalize_target({'image_id': 3, 'cx': 5}, dset)
        {'image_id': 3, 'cx': 5, 'gid': 3}
    """
    if not isinstance(target, Mapping):
        raise TargetError(f"target is {target!r}; expected a dictionary such as {{'gid': 1, 'slices': ...}}")
    normal = dict(target)
    aid = normal.get("aid")
    if aid is not None and not _is_placeholder(aid):
        _expand_annotation(normal, aid, dset)
    for alias, key in ALIASES.items():
        if alias in normal and normal.get(key) is None:
            normal[key] = normal[alias]
    if all(normal.get(key) is None for key in ("gid", "vidid", "gids")):
        raise TargetError(
            f"target {_brief(normal)} names no image; expected a key 'gid', 'vidid', 'gids' or 'aid'"
        )
    return normal


def _is_placeholder(aid: Any) -> bool:
    """Whether an annotation id is negative, as in negative targets, which have the id -1."""
    return bool(isinstance(aid, int) or hasattr(aid, "__index__")) and int(aid) < 0


def _expand_annotation(target: dict[str, Any], aid: Any, dset: kwcoco.CocoDataset) -> None:
    """Add image, box and category of an annotation where the target does not state them."""
    has_window = any(target.get(key) is not None for key in ("slices", "space_slice"))
    needed = () if has_window else SIZE_KEYS
    if all(target.get(key) is not None for key in ("gid", "category_id", *needed)):
        return
    try:
        ann = dset.anns[aid]
    except (KeyError, TypeError):
        raise UnknownTargetError(f"aid is {aid!r}; expected an annotation id of the dataset") from None
    if all(target.get(key) is None for key in ("gid", "image_id")):
        target["gid"] = ann["image_id"]
    missing = [key for key in needed if target.get(key) is None]
    box = ann.get("bbox")
    if missing and box is None:
        raise TargetError(
            f"annotation {aid} of image {ann['image_id']} has no 'bbox', so the target does not say where "
            f"its window lies; give {', '.join(missing)}, or 'slices'"
        )
    if missing:
        x, y, width, height = (float(value) for value in box)
        stated = {"cx": x + width / 2, "cy": y + height / 2, "width": width, "height": height}
        target.update((key, stated[key]) for key in missing)
    if target.get("category_id") is None:
        target["category_id"] = ann.get("category_id")


def take_arguments(target: Any, kwargs: dict[str, Any]) -> Any:
    """Return the target with the arguments of earlier releases as keys.

    Args:
        target: the user's dictionary, or None.
        kwargs: keyword arguments that are not in the signature of ``load_sample``.

    Returns:
        The target itself if there are no such arguments, otherwise a new dictionary, in which an argument
        replaces a key of the same name.

    Warns:
        FutureWarning: for each such argument once per process; it names the replacement.
        UserWarning: for an unknown argument, which is ignored.
    """
    if "tr" in kwargs:
        warn_once("the argument tr is now called target")
        target = kwargs["tr"] if target is None else target
    moved = {key: kwargs[key] for key in MOVED_ARGUMENTS if key in kwargs}
    for key in moved:
        warn_once(f"the argument {key} is now the key {key!r} of the target")
    unknown = sorted(set(kwargs) - set(MOVED_ARGUMENTS) - {"tr"})
    if unknown:
        warn_user(f"unknown arguments are ignored: {', '.join(unknown)}", UserWarning)
    return {**(target or {}), **moved} if moved else target


def _brief(target: dict[str, Any]) -> str:
    """Return the representation of a target for an error message, shortened if necessary."""
    text = repr(target)
    return text if len(text) <= 200 else text[:200] + "…"
