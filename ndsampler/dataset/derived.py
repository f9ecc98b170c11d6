"""
What was computed from one state of a dataset.

Threads may edit a dataset while others sample it. Everything that is computed from a state is kept in one
object, which is replaced as a whole. A thread that is still computing when the dataset changes writes its
result into the old object, so nothing that is out of date is mixed with what is new.
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
    """Values that were computed from one state of a dataset, each when it is first needed.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.

    Attributes:
        state: what :func:`ndsampler.dataset.edits.dataset_state` returned when the object was made. The
            values may be of a later state, never of an earlier one.
        values: the values that are known, by name.

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
        # As long as they are held, no other object can get their identity, which is part of the state.
        self._held = () if is_view(dset) else last_entries(dset)
        self.state: tuple[Any, ...] = dataset_state(dset)
        self.values: dict[str, Any] = {}
        self._next: dict[str, Derived] = {}

    def is_current(self, dset: Any) -> bool:
        """Whether the dataset shows no edit since this object was made.

        Args:
            dset: the dataset.
        """
        return dataset_state(dset) == self.state

    def get(self, name: str, make: Callable[[], Value]) -> Value:
        """Return a value, which is computed when it is first needed.

        Threads that need it at the same time may compute it twice, and all get the same one.

        Args:
            name: name of the value.
            make: computes it.
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
