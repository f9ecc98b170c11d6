"""
Objects that can be named by a hash of what they depend on.

Two objects of equal ``hashid`` would give the same results, in this process or
in any other, so the id can name a folder on disk.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from ndsampler.utils.fork_safety import fork_safe

__all__ = ["HashIdentifiable"]


class HashIdentifiable:
    """
    An object whose identity follows from a list of hashable dependencies.

    The inheriting class does one of three things:

    * implement ``_depends()``: return whatever determines the object, in nested
      lists, dicts and sets of plain values, paths, and numpy scalars and arrays;
    * implement ``_make_hashid()``: return the hash id and the parts it was made
      of (the id alone will do);
    * define ``_hashid``: the id itself, on the class or on the instance.

    Inheritance is cooperative: keyword arguments continue to the next class.

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
    """The id once it is known; None asks for it to be computed again."""

    _hashid_parts: Any = None
    """What the id was made of, where ``_make_hashid`` tells."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def _depends(self) -> Any:
        """Return what determines this object.

        Raises:
            NotImplementedError: unless the subclass overrides this.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no hashid: expected it to implement _depends() or "
            "_make_hashid(), or to define _hashid; implement one of them"
        )

    def _make_hashid(self) -> Any:
        """Return the hash id and its parts, made of :meth:`_depends`."""
        import ubelt as ub

        parts = _plain(self._depends())
        return ub.hash_data(parts), parts

    @property
    @fork_safe
    def hashid(self) -> str:
        """Hex id of the dependencies, computed when first asked for and then kept.

        Raises:
            NotImplementedError: if the class does not say what it depends on.
            TypeError: if a dependency is of a type that cannot be hashed.
        """
        if self._hashid is None:
            made = self._make_hashid()
            self._hashid, self._hashid_parts = (made, None) if isinstance(made, str) else made
        return self._hashid


def _plain(value: Any) -> Any:
    """Return the value with paths as strings and numpy scalars as Python's own, at any depth.

    The hash then does not depend on how a caller happened to spell an equal value,
    and covers types that hashing itself does not know.
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
    """Return the plain form of a value that is to be a dictionary key or an element of a set."""
    if isinstance(value, frozenset):
        # A set of sets has no order; hash its members in the order of their hashes.
        import ubelt as ub

        return tuple(sorted(ub.hash_data(_as_element(item)) for item in value))
    if isinstance(value, tuple):
        return tuple(_as_element(item) for item in value)
    return _plain(value)
