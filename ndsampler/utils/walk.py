"""Walking through folders, however deeply they are nested."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["walk"]


def walk(
    top: str, onerror: Callable[[OSError], object] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each folder with the names of its folders and of its files, a folder before those in it.

    This is :func:`os.walk` without recursion, which ends in a RecursionError before Python 3.12. Links to
    folders are listed as folders and not followed.

    Args:
        top: the outermost folder.
        onerror: called with the error if a folder cannot be listed, such as one whose path is too long.

    Example:
        >>> import tempfile
        >>> top = tempfile.mkdtemp()
        >>> os.makedirs(f'{top}/a/b')
        >>> [os.path.relpath(folder, top) for folder, _, _ in walk(top)]
        ['.', 'a', 'a/b']
    """
    waiting = [top]
    while waiting:
        base = waiting.pop()
        folders: list[str] = []
        files: list[str] = []
        inner: list[str] = []
        try:
            with os.scandir(base) as found:
                for child in sorted(found, key=lambda child: child.name):
                    (folders if child.is_dir() else files).append(child.name)
                    if child.is_dir(follow_symlinks=False):
                        inner.append(child.path)
        except OSError as ex:
            if onerror is not None:
                onerror(ex)
            continue
        yield base, folders, files
        waiting.extend(reversed(inner))
