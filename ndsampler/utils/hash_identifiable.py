"""
Objects that are identified by a hash of their dependencies.

Two objects with equal ``hashid`` give the same results, in this process or
in any other, so the id can be the name of a folder on disk.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from ndsampler.utils.fork_safety import fork_safe

__all__ = ["HashIdentifiable"]


class HashIdentifiable:
    """
    An object whose identity is computed from its dependencies.

    A derived class does one of three things:

    * implement ``_depends()``: return the values that determine the object, in nested
      lists, dicts and sets of plain values, paths, and numpy scalars and arrays;
    * implement ``_make_hashid()``: return the hash id and the parts that it was
      computed from, or the id alone;
    * define ``_hashid``: the id itself, on the class or on the instance.

    Inheritance is cooperative: keyword arguments are passed to the next class.

    Args:
        **kwargs: for the next class in the method resolution order.

    Example:
        >>> class Window(HashIdentifiable):
        ...     def __init__(self, height, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.height = height
        ...     def _depends(self):
        ...         return {"height": self.height}
        >>> Window(3).hashid == Window(3).hashid
        True
        >>> Window(3).hashid == Window(4).hashid
        False
    """

    _hashid: str | None = None
    """The id, if it has been computed; set it to None to compute it again."""

    _hashid_parts: Any = None
    """The parts that the id was computed from, if ``_make_hashid`` returns them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def _depends(self) -> Any:
        """Return the values that determine this object.

        Raises:
            NotImplementedError: unless the subclass overrides this.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no hashid: expected it to implement _depends() or "
            "_make_hashid(), or to define _hashid; implement one of them"
        )

    def _make_hashid(self) -> Any:
        """Return the hash id and its parts, computed from :meth:`_depends`."""
        import ubelt as ub

        parts = _plain(self._depends())
        return ub.hash_data(parts), parts

    @property
    @fork_safe
    def hashid(self) -> str:
        """Hash id of the dependencies as hexadecimal text, computed when it is first needed and then kept.

        Raises:
            NotImplementedError: if the class does not define its dependencies.
            TypeError: if a dependency is of a type that cannot be hashed.
        """
        if self._hashid is None:
            made = self._make_hashid()
            self._hashid, self._hashid_parts = (made, None) if isinstance(made, str) else made
        return self._hashid


def _plain(value: Any) -> Any:
    """Convert paths to strings and numpy scalars to Python scalars, at any depth.

    The hash then does not depend on the types in which a caller passes equal values,
    and includes types that the hash function does not support.
    """
    import numpy as np

    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return _plain(value.tolist()) if value.dtype.hasobject else value
    if isinstance(value, dict):
        return {_as_element(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return {_as_element(item) for item in value}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _as_element(value: Any) -> Any:
    """Return the plain form of a dictionary key or of an element of a set."""
    if isinstance(value, frozenset):
        # A set of sets has no order; hash its members in the order of their hashes.
        import ubelt as ub

        return tuple(sorted(ub.hash_data(_as_element(item)) for item in value))
    if isinstance(value, tuple):
        return tuple(_as_element(item) for item in value)
    return _plain(value)
