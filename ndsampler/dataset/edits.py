"""
Hashing the contents of a kwcoco dataset, and detecting edits.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np

from ndsampler.dataset.kwcoco_adapter import build_hash, edit_counters, is_view, last_entries
from ndsampler.errors import ArgumentTypeError
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.hash_identifiable import HashIdentifiable
from ndsampler.utils.quiet import stdout_to_log

__all__ = ["DatasetHash", "dataset_state", "hash_dataset"]


class DatasetHash(HashIdentifiable):
    """Base class of objects whose hash id depends on a dataset and changes when the dataset is edited.

    A derived class has the attribute ``dset``.
    """

    dset: Any
    """The dataset."""

    _hashed_state: tuple[Any, ...] | None = None
    """State of the dataset when the id was computed."""

    _hashed_entries: tuple[Any, ...] = ()
    """The last annotation and the last image of the hashed state."""

    @property
    @fork_safe
    def hashid(self) -> str:
        """Hash id of the dependencies in their current state, as hexadecimal text; computed when needed.

        Raises:
            TypeError: if the dataset contains a value that cannot be written as JSON.
        """
        state = dataset_state(self.dset)
        if self._hashed_state not in (None, state):
            self._hashid = None
        if self._hashid is None:
            self._hashed_state = state
            # The state contains their identities. While they are referenced, no other object can get these.
            self._hashed_entries = () if is_view(self.dset) else last_entries(self.dset)
        return super().hashid


def dataset_state(dset: Any) -> tuple[Any, ...]:
    """Return a value that is different after most edits of a dataset, and that is fast to compute.

    It consists of the numbers of annotations and images and of kwcoco's own counters. Changing a box in place
    changes none of these. A database is assumed to be read-only, because counting its rows takes a query.

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
    return () if is_view(dset) else edit_counters(dset)


def hash_dataset(dset: Any) -> str | None:
    """Return a hash of all contents of a dataset, the same in every process; None for a database.

    This is kwcoco's own hash, unless the dataset contains paths or numpy values, which kwcoco cannot hash.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.

    Raises:
        TypeError: if the dataset contains a value that cannot be written as JSON.

    Example:
        >>> import kwcoco
        >>> from pathlib import Path
        >>> first, second = (
        ...     kwcoco.CocoDataset({'images': [{'id': 1, 'file_name': Path(name)}]}) for name in ('a', 'b')
        ... )
        >>> hash_dataset(first) == hash_dataset(second)
        False
    """
    try:
        with stdout_to_log():
            return build_hash(dset)
    except TypeError:
        return hashlib.sha512(json.dumps(dset.dataset, sort_keys=True, default=_as_json).encode()).hexdigest()


def _as_json(value: Any) -> Any:
    """Return a path or a numpy value in a form that can be written as JSON."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise ArgumentTypeError(
        f"the dataset contains {value!r}; expected a value that can be written as JSON, a path or an array"
    )
