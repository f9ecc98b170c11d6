"""
Warnings that point to the line of the calling program.

``NDSAMPLER_DISABLE_WARNINGS=1`` in the environment disables all warnings of this library, and
``NDSAMPLER_DISABLE_OPTIONAL_WARNINGS=1`` those about optional packages. Both variables are read when a
warning would be given; 0 and empty text disable nothing.
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

#: The path prefix of the files of this library.
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")

#: Messages of the warnings that have been given in this process.
_given: set[str] = set()


def warn_once(message: str) -> None:
    """Warn about a deprecated form, once per process for each message.

    Args:
        message: the deprecated form, and its replacement.

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
    """Warn about an optional package, unless the environment disables such warnings.

    Args:
        message: the missing package, and the consequence.

    Warns:
        UserWarning: with the message.
    """
    if not _is_set("NDSAMPLER_DISABLE_OPTIONAL_WARNINGS"):
        warn_user(message, UserWarning)


def warn_user(message: str, category: type[Warning]) -> bool:
    """Give a warning unless the environment disables warnings, and return whether it was given.

    Args:
        message: text of the warning.
        category: class of the warning.

    Warns:
        Warning: of the category, with the message.
    """
    if _is_set("NDSAMPLER_DISABLE_WARNINGS"):
        return False
    warnings.warn(escape_controls(message), category, stacklevel=_level_of_caller())
    return True


def load_moved(old: str, new: str) -> Any:
    """Return an object that has been moved, and warn once about its old name.

    Args:
        old: the old name, which the program used.
        new: the current name, ``module.attribute``.

    Raises:
        AttributeError: if there is no object with the current name.

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
    """Return the ``stacklevel`` for a warning of the calling function at a line outside this library."""
    frame: FrameType = sys._getframe(1)
    level = 1
    while frame.f_back is not None and _is_inside(frame):
        frame = frame.f_back
        # warnings.warn does not count frames of the import system.
        level += not _imports(frame)
    return level


def _is_inside(frame: FrameType) -> bool:
    return _imports(frame) or frame.f_code.co_filename.startswith(_PACKAGE)


def _imports(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith("<frozen importlib")
