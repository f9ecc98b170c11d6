"""
Naming what a kwcoco dataset holds, and noticing that it has been edited.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np

from ndsampler.dataset.sql_view import is_view
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.hash_identifiable import HashIdentifiable
from ndsampler.utils.quiet import stdout_to_log

__all__ = ["DatasetHash", "dataset_state", "hash_dataset"]


class DatasetHash(HashIdentifiable):
    """An object whose identity follows from its dataset, and changes when the dataset is edited.

    The inheriting class has the attribute ``dset``.
    """

    dset: Any
    """The dataset."""

    _hashed_state: tuple[Any, ...] | None = None
    """What the dataset looked like when the id was computed."""

    @property
    @fork_safe
    def hashid(self) -> str:
        """Hex id of the dependencies as they are now, computed when asked for.

        Raises:
            TypeError: if the dataset holds what has no form in JSON at all.
        """
        state = dataset_state(self.dset)
        if self._hashed_state not in (None, state):
            self._hashid = None
        if self._hashid is None:
            self._hashed_state = state
        return super().hashid


def dataset_state(dset: Any) -> tuple[Any, ...]:
    """Return what tells, at the cost of a glance, that a dataset has been edited since.

    Counts of annotations and images, kwcoco's own counters, and whether kwcoco has seen
    a modification. A box changed in place shows in none of them. An SQL database is taken to be
    read only, since counting its rows is a query.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.

    Example:
        >>> import kwcoco
        >>> dset = kwcoco.CocoDataset()
        >>> before = dataset_state(dset)
        >>> gid = dset.add_image(file_name="a.png")
        >>> dataset_state(dset) == before
        False
    """
    index = getattr(dset, "index", None)
    if index is None or is_view(dset):
        return ()
    unused = dset._next_ids.unused
    return (
        len(index.anns),
        len(index.imgs),
        len(index.cats),
        id(index.anns),
        unused["annotations"],
        unused["images"],
        dset._state["was_modified"],
    )


def hash_dataset(dset: Any) -> str | None:
    """Return a hash of all that a dataset states, equal in every process; None for one in a database.

    It is kwcoco's own, unless the dataset holds paths or numpy values, which kwcoco does not hash.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.

    Raises:
        TypeError: if the dataset holds what has no form in JSON at all.

    Example:
        >>> import kwcoco
        >>> from pathlib import Path
        >>> first, second = (
        ...     kwcoco.CocoDataset({'images': [{'id': 1, 'file_name': Path(name)}]}) for name in ('a', 'b')
        ... )
        >>> hash_dataset(first) == hash_dataset(second)
        False
    """
    if not hasattr(dset, "_build_hashid"):
        return None
    try:
        with stdout_to_log():
            return str(dset._build_hashid())
    except TypeError:
        return hashlib.sha512(json.dumps(dset.dataset, sort_keys=True, default=_as_json).encode()).hexdigest()


def _as_json(value: Any) -> Any:
    """Return a value that JSON does not know in a form that it does."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"the dataset holds {value!r}; expected what can be written as JSON, a path or an array")
