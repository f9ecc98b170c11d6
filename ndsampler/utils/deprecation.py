"""
Warnings, each at the line of the program that is the cause.

``NDSAMPLER_DISABLE_WARNINGS=1`` in the environment silences every warning of this library,
``NDSAMPLER_DISABLE_OPTIONAL_WARNINGS=1`` those about optional packages. Both are looked at when a
warning is due; 0 and nothing silence none.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ndsampler.errors import escape_controls

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["load_moved", "warn_once", "warn_optional", "warn_user"]

#: Files of this library begin so.
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")

#: Old forms that this process has been warned of.
_given: set[str] = set()


def warn_once(message: str) -> None:
    """Warn that an old form still works, the first time this message comes up.

    Args:
        message: what is old, and what to write instead.

    Warns:
        FutureWarning: with the message.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     for _ in range(3):
        ...         warn_once("old_name is now new_name")
        >>> [str(warning.message) for warning in caught]
        ['old_name is now new_name']
    """
    if message not in _given and warn_user(message, FutureWarning):
        _given.add(message)


def warn_optional(message: str) -> None:
    """Warn about an optional package, unless the environment says otherwise.

    Args:
        message: what is missing, and what happens instead.

    Warns:
        UserWarning: with the message.
    """
    if not _is_set("NDSAMPLER_DISABLE_OPTIONAL_WARNINGS"):
        warn_user(message, UserWarning)


def warn_user(message: str, category: type[Warning]) -> bool:
    """Warn of something, unless the environment says otherwise, and say whether that was done.

    Args:
        message: what is the matter.
        category: of the warning.

    Warns:
        Warning: of the category, with the message.
    """
    if _is_set("NDSAMPLER_DISABLE_WARNINGS"):
        return False
    warnings.warn(escape_controls(message), category, stacklevel=_level_of_caller())
    return True


def load_moved(old: str, new: str) -> Any:
    """Return what has moved, and warn once that it is asked for under its old name.

    Args:
        old: the name that a program used.
        new: the name of today, ``module.attribute``.

    Raises:
        AttributeError: if there is no such thing under the name of today.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     found = load_moved("old_place.sqrt", "math.sqrt")
        >>> found(9.0), str(caught[0].message)
        (3.0, 'old_place.sqrt is now math.sqrt')
    """
    module, _, name = new.rpartition(".")
    found = getattr(import_module(module), name)
    warn_once(f"{old} is now {new}")
    return found


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "0") not in {"", "0"}


def _level_of_caller() -> int:
    """Return the ``stacklevel`` with which the calling function warns at a line outside this library."""
    frame: FrameType = sys._getframe(1)
    level = 1
    while frame.f_back is not None and _is_inside(frame):
        frame = frame.f_back
        # The import system does not count as a level: see warnings.warn.
        level += not _imports(frame)
    return level


def _is_inside(frame: FrameType) -> bool:
    return _imports(frame) or frame.f_code.co_filename.startswith(_PACKAGE)


def _imports(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith("<frozen importlib")
