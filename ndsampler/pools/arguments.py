"""
Checks of the arguments of pools and grids, so that a mistake raises an error in the call that contains it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ndsampler.errors import ArgumentError, ArgumentTypeError, OutOfRangeError

__all__ = [
    "as_amount",
    "as_count",
    "as_flag",
    "as_index",
    "as_names",
    "as_position",
    "check_fraction",
]

#: Maximum number of targets in a pool. The columns of a larger pool do not fit into memory.
MAX_TARGETS = 10**9

_NUMBERS = (int, float, np.integer, np.floating)


def as_count(value: Any, name: str) -> int:
    """Check a number of targets and return it as an ``int``.

    Args:
        value: a whole number, which may be a float such as 3.0.
        name: name of the argument, for the error message.

    Raises:
        ArgumentError: if it is not a whole number from 0 to :data:`MAX_TARGETS`.

    Example:
        >>> as_count(3.0, "n_pos")
        3
    """
    if isinstance(value, _NUMBERS) and 0 <= value <= MAX_TARGETS and float(value).is_integer():
        return int(value)
    raise ArgumentError(f"{name}={value!r}; expected a whole number from 0 to {MAX_TARGETS:,}")


def as_amount(value: Any, name: str, expected: str) -> float:
    """Check a number that may not be negative and return it as a ``float``.

    Args:
        value: the number.
        name: name of the argument, for the error message.
        expected: meaning of the argument, for the error message.

    Raises:
        ArgumentError: if it is not a number, negative, or infinite.

    Example:
        >>> as_amount(0.25, "thresh", "a fraction")
        0.25
    """
    if isinstance(value, _NUMBERS) and 0 <= value < np.inf:
        return float(value)
    raise ArgumentError(f"{name}={value!r}; expected {expected}, a number that is not below 0")


def check_fraction(value: Any, name: str) -> None:
    """Check a fraction.

    Args:
        value: a number from 0 to 1.
        name: name of the argument, for the error message.

    Raises:
        ArgumentError: if it is not a number from 0 to 1.

    Example:
        >>> check_fraction(0.5, "visible_thresh")
    """
    if not (isinstance(value, _NUMBERS) and 0 <= value <= 1):
        raise ArgumentError(f"{name} is {value!r}; expected a fraction from 0 to 1")


def as_index(index: Any, what: str) -> int:
    """Check an index and return it as an ``int``, which may be negative.

    Args:
        index: the position.
        what: name of the targets, for the error message.

    Raises:
        ArgumentTypeError: if it is not a whole number.

    Example:
        >>> as_index(np.int64(-1), "positives")
        -1
    """
    if isinstance(index, np.ndarray) and not index.ndim:
        index = index[()]
    if not isinstance(index, (int, np.integer)) or isinstance(index, bool):
        raise ArgumentTypeError(
            f"index is {index!r}; expected a whole number, the position of one of the {what}, "
            "or None for a random one"
        )
    return int(index)


def as_position(index: Any, total: int, what: str) -> int:
    """Convert an index into a pool to a position from 0.

    Args:
        index: the position; a negative one counts from the end.
        total: number of targets in the pool.
        what: name of the targets, for the error message.

    Raises:
        ArgumentTypeError: if it is not a whole number.
        OutOfRangeError: if the index is beyond the end of the pool.

    Example:
        >>> as_position(-1, 3, "positives")
        2
    """
    if type(index) is int and 0 <= index < total:
        return index
    position = as_index(index, what)
    if not -total <= position < total:
        raise OutOfRangeError(
            f"index {position} is out of bounds for {total} {what}; expected a position "
            + (f"from {-total} to {total - 1}" if total else "in a pool that is not empty")
        )
    return position % total


def as_flag(value: Any, name: str) -> bool:
    """Convert an option to a bool.

    Args:
        value: True or False, or a value with a truth value.
        name: name of the argument, for the error message.

    Raises:
        ArgumentError: for an array of several values.

    Example:
        >>> as_flag(0, "legacy")
        False
    """
    try:
        return bool(value)
    except ValueError:
        raise ArgumentError(f"{name} is {value!r}; expected True or False") from None


def as_names(value: Any, name: str) -> frozenset[str]:
    """Return names of categories in lower case.

    Args:
        value: a collection of names, or a single name; None for no names.
        name: name of the argument, for the error message.

    Raises:
        ArgumentError: if one of them is not a name, for example a category id.

    Example:
        >>> sorted(as_names(["Star", "eff"], "classes_of_interest"))
        ['eff', 'star']
    """
    listed = [value] if isinstance(value, str) else value if isinstance(value, Iterable) else [value]
    names = [] if value is None else list(listed)
    foreign = [item for item in names if not isinstance(item, str)]
    if foreign:
        raise ArgumentError(f"{name} contains {foreign[0]!r}; expected names of categories")
    return frozenset(item.lower() for item in names)
