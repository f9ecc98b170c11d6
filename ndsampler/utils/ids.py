"""
Ids in error messages: some of the existing ids, and whether the given id has the wrong type.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Maximum number of ids that a message shows.
MAX_SHOWN = 5


def list_ids(ids: Iterable[Any], wrong: Any) -> str:
    """Return some of the existing ids, for the error message about one that does not exist.

    Args:
        ids: the existing ids.
        wrong: the id that does not exist. If it has another type, the result says so.

    Example:
        >>> list_ids([3, 7], 5), list_ids([], 5)
        ('3, 7', 'there are none')
        >>> list_ids(range(1, 100), '10')
        "1, 2, 3, 4, 5, ... (these are of type int, and '10' is of type str)"
    """
    some = list(islice(ids, MAX_SHOWN + 1))
    if not some:
        return "there are none"
    text = ", ".join(map(repr, some[:MAX_SHOWN])) + (", ..." if len(some) > MAX_SHOWN else "")
    if _is_comparable(wrong, some):
        return text
    kinds = " and ".join(sorted({type(known).__name__ for known in some}))
    return f"{text} (these are of type {kinds}, and {wrong!r} is of type {type(wrong).__name__})"


def _is_comparable(wrong: Any, ids: list[Any]) -> bool:
    """Whether a value has the type of the ids."""
    whole = (int, np.integer)
    kinds = whole if isinstance(wrong, whole) else (type(wrong),)
    return any(isinstance(known, kinds) for known in ids)
