"""
A dictionary that drops the least recently used items.

kwcoco keeps rows of a database in such a dictionary if this module exists; without it, kwcoco keeps all rows
that it has read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from typing import Any

from ndsampler.errors import ArgumentError
from ndsampler.utils.deprecation import warn_optional

__all__ = ["LRUDict"]


class LRUDict(MutableMapping[Any, Any]):
    """A mapping with a maximum number of items.

    An item is used when it is set or read by its key; checking whether it exists is not a use.

    Args:
        max_size: maximum number of items.

    Raises:
        ArgumentError: if ``max_size`` is below 0.

    Example:
        >>> self = LRUDict.new(max_size=2)
        >>> self["a"], self["b"] = 1, 2
        >>> self["a"]
        1
        >>> self["c"] = 3
        >>> sorted(self)
        ['a', 'c']
    """

    def __init__(self, max_size: int) -> None:
        self._cache: OrderedDict[Any, Any] = OrderedDict()
        self.set_size(max_size)

    @classmethod
    def new(cls, max_size: int, impl: str = "auto") -> LRUDict:
        """Return an empty mapping.

        Args:
            max_size: maximum number of items.
            impl: accepted for old programs; there is only one implementation.

        Raises:
            ArgumentError: if ``max_size`` is below 0.

        Warns:
            UserWarning: if ``impl`` is ``'c'``, which selected an optional package.
        """
        if impl == "c":
            warn_optional("the package lru-dict is no longer used; impl='c' is the same as impl='auto'")
        return cls(max_size)

    def set_size(self, max_size: int) -> None:
        """Change the maximum number of items, and drop the items beyond it.

        Args:
            max_size: maximum number of items.

        Raises:
            ArgumentError: if it is below 0.
        """
        if max_size < 0:
            raise ArgumentError(f"max_size is {max_size}; expected a number of items, 0 to keep none")
        self._max_size = max_size
        self._shrink()

    def _shrink(self) -> None:
        while len(self._cache) > self._max_size:
            self._cache.popitem(last=False)

    def __getitem__(self, key: Any) -> Any:
        value = self._cache[key]
        self._cache.move_to_end(key)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        self._cache[key] = value
        self._cache.move_to_end(key)
        self._shrink()

    def __delitem__(self, key: Any) -> None:
        del self._cache[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._cache))

    def __len__(self) -> int:
        return len(self._cache)

    def __contains__(self, key: object) -> bool:
        return key in self._cache

    def __repr__(self) -> str:
        return f"LRUDict({dict(self._cache)})"

    def has_key(self, key: Any) -> bool:
        """Return whether there is an item with this key."""
        return key in self._cache

    def iteritems(self) -> Iterator[tuple[Any, Any]]:
        """Iterate over keys and values, as ``items()`` does."""
        return iter(self.items())

    def iterkeys(self) -> Iterator[Any]:
        """Iterate over keys, as ``keys()`` does."""
        return iter(self)

    def itervalues(self) -> Iterator[Any]:
        """Iterate over values, as ``values()`` does."""
        return iter(self.values())

    def clear(self) -> None:
        """Drop all items."""
        self._cache.clear()
