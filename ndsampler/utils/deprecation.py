"""Warnings about old spellings, given once in the life of a process."""

from __future__ import annotations

import functools
import warnings

__all__ = ["warn_once"]


@functools.cache
def warn_once(message: str, stacklevel: int = 3) -> None:
    """Warn that an old form still works, the first time this message comes up.

    Args:
        message: what is old, and what to write instead.
        stacklevel: which frame the warning names; 3 is the caller of the function that warns.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     for _ in range(3):
        ...         warn_once("old_name is now new_name")
        >>> [str(warning.message) for warning in caught]
        ['old_name is now new_name']
    """
    warnings.warn(message, FutureWarning, stacklevel=stacklevel)
