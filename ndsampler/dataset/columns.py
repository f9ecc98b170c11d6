"""
Tables of numpy columns: pickling them, and finding ids in them.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError, UnknownIdError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from numpy.typing import ArrayLike, NDArray

__all__ = ["NO_ID", "Columns", "as_ids", "check_ids", "describe_unknown", "find_sorted"]

#: Value of an id column if the dataset states no id, for example for an annotation without a category or an
#: image without a video. Unknown sizes are -1, too.
NO_ID = -1


class Columns:
    """Base class of dataclasses whose fields are columns.

    A pickle contains only the fields, with integers in the smallest type that holds them. Attributes that are
    computed from the fields are computed again when they are needed.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: _narrowed(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({name: _widened(value) for name, value in state.items()})


def as_ids(values: ArrayLike, what: str) -> NDArray[np.int64]:
    """Return ids as an array.

    Args:
        values: the ids.
        what: the kind of the ids for error messages, for example ``'image'``.

    Raises:
        UnknownIdError: if one of them needs more than 64 bits.
        ArgumentError: if one of them is not a number.

    Example:
        >>> as_ids([3, 2**40], 'image').tolist()
        [3, 1099511627776]
    """
    given = np.asarray(values)
    if given.dtype.kind in "ib":
        return given.astype(np.int64)
    try:
        ids = np.asarray(values, dtype=np.int64)
    except OverflowError:
        raise UnknownIdError(f"no {what} has an id above 2**63 - 1; the ids are {values!r}") from None
    except (TypeError, ValueError):
        raise ArgumentError(f"the ids are {values!r}; expected whole numbers, ids of {what}s") from None
    if given.dtype.kind == "u" and (ids < 0).any():
        raise UnknownIdError(f"no {what} has an id above 2**63 - 1; the ids are {values!r}")
    return ids


def check_ids(ids: Collection[Any], what: str) -> None:
    """Raise an error if an id does not fit into a column.

    Args:
        ids: the ids; values of other types than int are checked later.
        what: the kind of the ids for the error message, for example ``'image'``.

    Raises:
        ArgumentError: if one of them needs more than 64 bits.

    Example:
        >>> check_ids([1, 2**63 - 1], 'image')
    """
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        np.fromiter(ids, dtype=np.int64, count=len(ids))
        return
    for value in ids:
        if isinstance(value, (int, np.integer)) and not -(2**63) <= value < 2**63:
            raise ArgumentError(f"the dataset has the {what} id {value}; expected at most 2**63 - 1")


def find_sorted(ascending: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of each id in an ascending array, or -1 if the array lacks it.

    Args:
        ascending: distinct ids.
        wanted: ids to find.

    Example:
        >>> find_sorted(np.array([3, 7]), np.array([7, 5])).tolist()
        [1, -1]
    """
    if not len(ascending):
        return np.full(wanted.shape, -1)
    first, last = int(ascending[0]), int(ascending[-1])
    if last - first + 1 == len(ascending):  # without gaps the position follows from the id
        positions = wanted - first
        return np.where((wanted >= first) & (wanted <= last), positions, -1)
    positions = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return np.where(ascending[positions] == wanted, positions, -1)


def describe_unknown(what: str, value: Any, known: Iterable[Any]) -> str:
    """Return the error message for an id that does not exist.

    Args:
        what: the kind of the id, for example ``'image'``.
        value: the id.
        known: all ids that exist.

    Example:
        >>> describe_unknown('image', 9, [3, 7])
        'no image has the id 9; the dataset has 2 of them, ids 3 to 7'
    """
    ids = np.asarray(known)
    held = f"ids {ids.min()} to {ids.max()}" if len(ids) else "none"
    shown = value.item() if isinstance(value, np.generic) else value
    return f"no {what} has the id {shown!r}; the dataset has {len(ids)} of them, {held}"


@dataclass(frozen=True, eq=False)
class _Narrow:
    """An integer column in a pickle."""

    dtype: str
    """Type of the column in memory."""

    column: NDArray[Any]
    """The values in a smaller type."""


def _narrowed(value: Any) -> Any:
    """Return an integer column in the smallest type that holds it, and any other value unchanged."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "i" and len(value):
        smallest = np.promote_types(np.min_scalar_type(value.min()), np.min_scalar_type(value.max()))
        return _Narrow(value.dtype.str, value.astype(smallest))
    return value


def _widened(value: Any) -> Any:
    """Return a column as it was before :func:`_narrowed`."""
    return value.column.astype(value.dtype) if isinstance(value, _Narrow) else value
