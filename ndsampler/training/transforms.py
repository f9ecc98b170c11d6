"""
Augmentation: calls transforms, and seeds their randomness.
"""

from __future__ import annotations

import contextlib
import inspect
import random
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The names that albumentations uses for outputs, where they differ.
KEYWORDS = {"boxes": "bboxes"}


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global random generators of Python, numpy and torch (CPU), and restore them afterwards.

    torch is ignored if it has not been imported.

    Args:
        seed: a 64-bit integer.

    Example:
        >>> with seeded(1):
        ...     first = random.random(), np.random.rand()
        >>> with seeded(1):
        ...     first == (random.random(), np.random.rand())
        True
    """
    python, legacy = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")
    state = None if torch is None else torch.random.get_rng_state()
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    if torch is not None:
        torch.random.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        if torch is not None:
            torch.random.set_rng_state(state)


def takes_keywords(transform: Callable[..., Any]) -> bool:
    """Return whether a transform takes keywords, as in albumentations: ``transform(image=..., mask=...)``.

    It does if it has an argument ``image``, or if it takes arbitrary keywords and no named positional
    argument. A torch module is always called with one dictionary.

    Args:
        transform: a function, or another callable.

    Raises:
        ArgumentTypeError: if the transform is not callable.

    Example:
        >>> takes_keywords(lambda image, mask: ...), takes_keywords(lambda sample: ...)
        (True, False)
    """
    if not callable(transform):
        raise ArgumentTypeError(f"transform is a {type(transform).__name__}; expected a callable")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(transform, torch.nn.Module):
        return False
    try:
        given = inspect.signature(transform).parameters.values()
    except (TypeError, ValueError):  # builtins without a signature
        return False
    named = [parameter.name for parameter in given if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    any_keyword = any(parameter.kind is parameter.VAR_KEYWORD for parameter in given)
    return "image" in [parameter.name for parameter in given] or (any_keyword and not named)


def call_with_keywords(transform: Callable[..., Any], arrays: dict[str, Any], seed: int) -> dict[str, Any]:
    """Apply a transform in the style of albumentations.

    Args:
        transform: takes ``image`` as (height, width, channels), ``mask`` as (height, width), ``masks`` as a
            list of such arrays, ``bboxes`` as ``pascal_voc``, ``labels``, and ``keypoints`` as (points, 2)
            ``xy``.
        arrays: the outputs by name.
        seed: seed for transforms that have their own generator.

    Returns:
        The transformed outputs.

    Raises:
        ArgumentError: if the transform returns another number of keypoints.
    """
    if hasattr(transform, "set_random_seed"):
        transform.set_random_seed(seed % 2**32)
    given = {KEYWORDS.get(name, name): value for name, value in arrays.items() if name != "target"}
    if "masks" in given:
        given["masks"] = list(given["masks"])
    if "valid" in given:
        given["valid"] = given["valid"].astype(np.uint8)
    if "keypoints" in given:
        given["keypoints"] = given["keypoints"][..., :2].reshape(-1, 2)
    changed = transform(**given)
    found = {name: changed.get(KEYWORDS.get(name, name), value) for name, value in arrays.items()}
    return _restored(found, arrays)


def _restored(found: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Convert the results of a transform back to the form of the outputs that it was given."""
    dims = np.shape(found["image"])[:2] if "image" in found else None
    if "boxes" in found:
        found["boxes"] = np.asarray(found["boxes"], dtype=np.float32).reshape(-1, 4)
    if "labels" in found:
        found["labels"] = np.asarray(found["labels"], dtype=np.int64)
    if "masks" in found:
        stack = np.asarray(found["masks"], dtype=np.uint8)
        found["masks"] = stack if len(stack) or dims is None else np.zeros((0, *dims), np.uint8)
    if "valid" in found:
        found["valid"] = np.asarray(found["valid"]).astype(bool)
    if "keypoints" in found:
        old = before["keypoints"]
        places = np.asarray(found["keypoints"], dtype=np.float32).reshape(-1, 2)
        if len(places) != old.shape[0] * old.shape[1]:
            raise ArgumentError(
                f"the transform returned {len(places)} of {old.shape[0] * old.shape[1]} keypoints; expected "
                "all: use KeypointParams(format='xy', remove_invisible=False)"
            )
        found["keypoints"] = np.concatenate([places.reshape(*old.shape[:2], 2), old[..., 2:]], axis=2)
    return found
