"""
Checks arguments that must be whole numbers.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

from ndsampler.errors import ArgumentError, ArgumentTypeError

#: Maximum number of items, and of positions in an epoch.
MAX_ITEMS = 2**53


def as_whole(name: str, value: Any, least: int | None) -> int:
    """Return an integer argument as an ``int``.

    Args:
        name: name of the argument, for the error message.
        value: the value that the user passed.
        least: the minimum; None for no minimum.

    Raises:
        ArgumentTypeError: if the value is not an integer.
        ArgumentError: if the value is out of range.

    Example:
        >>> as_whole('epoch', 3, 0)
        3
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ArgumentTypeError(f"{name} is {value!r}; expected an integer")
    if (least is not None and value < least) or abs(int(value)) > MAX_ITEMS:
        first = -MAX_ITEMS if least is None else least
        raise ArgumentError(f"{name} is {value}; expected an integer from {first} to {MAX_ITEMS}")
    return int(value)
