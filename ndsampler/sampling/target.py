"""
Step 1: a copy of the user's dictionary with canonical keys.

Only this step handles aliases of keys, and arguments of earlier releases that are now keys of the target.
``keys`` lists the keys, and ``implied`` adds keys that follow from a box.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ndsampler.errors import TargetError
from ndsampler.sampling.implied import add_annotation, add_own_box, is_placeholder
from ndsampler.sampling.keys import ALIASES, READ_KEYS, check_keys
from ndsampler.utils.deprecation import warn_once, warn_user

if TYPE_CHECKING:
    import kwcoco

#: Arguments of earlier releases that are now keys of the target.
MOVED_ARGUMENTS = ("pad", "padkw", "dtype", "nodata")


def normalize_target(target: Any, dset: kwcoco.CocoDataset) -> dict[str, Any]:
    """Return a copy of a target with canonical keys, and with the keys that its annotation implies.

    Args:
        target: the user's dictionary, which is not changed.
        dset: the dataset with the annotations.

    Returns:
        A new dictionary: the given keys in their order, followed by the inferred keys.

    Raises:
        TargetError: if the target is not a dictionary, names no image, or states no window and names an
            annotation without a box or of another image.
        UnknownTargetError: if there is no such annotation, and the target needs one.

    Warns:
        UserWarning: for keys that are probably misspelled, each once in a process.

    Example:
        >>> import kwcoco
        >>> dset = kwcoco.CocoDataset.demo('shapes8', verbose=0)
        >>> normalize_target({'image_id': 3, 'cx': 5}, dset)
        {'image_id': 3, 'cx': 5, 'gid': 3}
    """
    normal = copy_target(target)
    check_keys(normal)
    if not normal.keys().isdisjoint(ALIASES):
        _add_canonical_keys(normal)
    aid = normal.get("aid")
    if aid is not None and not is_placeholder(aid):
        add_annotation(normal, aid, dset)
    elif "bbox" in normal:
        add_own_box(normal)
    if normal.get("gid") is None and normal.get("vidid") is None and normal.get("gids") is None:
        raise TargetError(
            f"target {_brief(normal)} names no image; expected a key 'gid', 'vidid', 'gids' or 'aid'"
        )
    return normal


def _add_canonical_keys(target: dict[str, Any]) -> None:
    """Add the keys that aliases stand for, unless they are stated."""
    for alias, key in ALIASES.items():
        if alias in target and target.get(key) is None:
            target[key] = target[alias]


def copy_target(target: Any) -> dict[str, Any]:
    """Return a new dictionary with the keys of a target.

    Args:
        target: the user's dictionary.

    Raises:
        TargetError: if it is not a dictionary.
    """
    if type(target) is not dict and not isinstance(target, Mapping):
        raise TargetError(f"target is {target!r}; expected a dictionary such as {{'gid': 1, 'slices': ...}}")
    return dict(target)


def take_arguments(target: Any, kwargs: Mapping[str, Any]) -> Any:
    """Return the target with the arguments of earlier releases as keys.

    Args:
        target: the user's dictionary, or None.
        kwargs: keyword arguments that are not in the signature of ``load_sample``.

    Returns:
        The target itself if there are no such arguments, otherwise a new dictionary, in which an argument
        replaces a key of the same name.

    Raises:
        TargetError: if there are such arguments and the target is not a dictionary.

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
        warn_user(f"unknown arguments are ignored: {', '.join(map(_with_hint, unknown))}", UserWarning)
    if not moved:
        return target
    return {**({} if target is None else copy_target(target)), **moved}


def _with_hint(argument: str) -> str:
    """Return the name of an unknown argument; if it is a key of targets, with the correct form."""
    return f"{argument} (write {{**target, {argument!r}: ...}})" if argument in READ_KEYS else argument


def _brief(target: dict[str, Any]) -> str:
    """Return the representation of a target for an error message, shortened if necessary."""
    text = repr(target)
    return text if len(text) <= 200 else text[:200] + "…"
