"""Attributes that are computed when they are first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

__all__ = ["LazyAttribute"]

T = TypeVar("T")


class LazyAttribute(Generic[T]):
    """
    A decorator like :class:`functools.cached_property`, without a lock.

    Before Python 3.12, ``cached_property`` has a lock that all objects of the class share. A process that is
    forked while another thread holds the lock waits forever when it needs the attribute. Here two threads may
    compute the value at the same time, and the first result is kept.

    Args:
        function: computes the value from the object.

    Example:
        >>> class Square:
        ...     side = 3
        ...     @LazyAttribute
        ...     def area(self) -> int:
        ...         return self.side**2
        >>> square = Square()
        >>> square.area, vars(square)
        (9, {'area': 9})
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function = function
        self._name = function.__name__
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: Any = None) -> LazyAttribute[T]: ...

    @overload
    def __get__(self, instance: object, owner: Any = None) -> T: ...

    def __get__(self, instance: object | None, owner: Any = None) -> Any:
        """Compute the value and store it as an ordinary attribute of the object."""
        if instance is None:
            return self
        return instance.__dict__.setdefault(self._name, self._function(instance))
