"""
Values that are computed from one state of a dataset.

Threads may edit a dataset while others sample it. All values that are computed from one state are kept in one
object, which is replaced as a whole. A thread that is still computing when the dataset changes stores its
result in the old object, so outdated and current values are never mixed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ndsampler.dataset.edits import dataset_state
from ndsampler.dataset.kwcoco_adapter import is_view, last_entries

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Derived"]

Value = TypeVar("Value")


class Derived:
    """Values that are computed from one state of a dataset, each when it is first needed.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.

    Attributes:
        state: the result of :func:`ndsampler.dataset.edits.dataset_state` when the object was made. The
            values may belong to a later state, but never to an earlier one.
        values: the values that have been computed, by name.

    Example:
        >>> import kwcoco
        >>> dset = kwcoco.CocoDataset()
        >>> known = Derived(dset)
        >>> known.get("images", lambda: len(dset.imgs)), known.is_current(dset)
        (0, True)
        >>> gid = dset.add_image(file_name="a.png")
        >>> known.is_current(dset), known.successor(dset).get("images", lambda: len(dset.imgs))
        (False, 1)
    """

    def __init__(self, dset: Any) -> None:
        # The state contains their identities. While they are referenced, no other object can get these.
        self._held = () if is_view(dset) else last_entries(dset)
        self.state: tuple[Any, ...] = dataset_state(dset)
        self.values: dict[str, Any] = {}
        self._next: dict[str, Derived] = {}

    def is_current(self, dset: Any) -> bool:
        """Whether no edit of the dataset has been detected since this object was made.

        Args:
            dset: the dataset.
        """
        return dataset_state(dset) == self.state

    def get(self, name: str, make: Callable[[], Value]) -> Value:
        """Return a value, and compute it if this is its first use.

        If several threads need it at the same time, each may compute it, but all get the same object.

        Args:
            name: name of the value.
            make: computes the value.
        """
        values = self.values
        return values[name] if name in values else values.setdefault(name, make())  # type: ignore[no-any-return]

    def successor(self, dset: Any) -> Derived:
        """Return the object that replaces this one; the same for all threads that notice an edit.

        Args:
            dset: the dataset.
        """
        return self._next.setdefault("", Derived(dset))

    def copy(self, dset: Any) -> Derived:
        """Return an object with the same values for a copy of the dataset.

        Args:
            dset: the copy.
        """
        other = Derived(dset)
        other.values = dict(self.values)
        return other
