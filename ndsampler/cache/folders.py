"""
Opens folders of the cache in a way that prevents the removal of files outside of them.

Where the operating system supports folder descriptors, a folder is opened without following a link, and its
files are examined and removed through its descriptor. Even if a program replaces the folder with a link in
the meantime, the files behind the link are safe. Elsewhere, such as on Windows, each path is checked for
links right before it is used.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def have_descriptors() -> bool:
    """Return whether the operating system can access files relative to a folder descriptor."""
    functions = {os.open, os.stat, os.unlink, os.rmdir}
    return hasattr(os, "O_NOFOLLOW") and functions <= os.supports_dir_fd and os.listdir in os.supports_fd


class Folder:
    """An open folder; use :func:`open_folder`.

    Args:
        path: the folder. It must not be a link.
        descriptor: its descriptor; None where the operating system has no folder descriptors.
    """

    def __init__(self, path: str, descriptor: int | None) -> None:
        self.path = path
        self._descriptor = descriptor
        self._where = {} if descriptor is None else {"dir_fd": descriptor}

    def list_names(self) -> list[str]:
        """Return the sorted names of the files and folders inside the folder."""
        return sorted(os.listdir(self.path if self._descriptor is None else self._descriptor))

    def stat(self, name: str) -> os.stat_result:
        """Return the status of a file, or of a link itself rather than its target."""
        return os.stat(self._name_or_path(name), follow_symlinks=False, **self._where)

    def unlink(self, name: str) -> None:
        """Remove a file, or a link itself rather than its target."""
        os.unlink(self._name_or_path(name), **self._where)

    def rmdir(self, name: str) -> None:
        """Remove an empty folder."""
        os.rmdir(self._name_or_path(name), **self._where)

    def _name_or_path(self, name: str) -> str:
        """Return the name of a file relative to the descriptor, or its full path without a descriptor."""
        if self._descriptor is not None:
            return name
        _refuse_link(self.path)
        return os.path.join(self.path, name)


@contextlib.contextmanager
def open_folder(path: str, *inner: str) -> Iterator[Folder]:
    """Open a folder without following links.

    Args:
        path: a folder. Its last part must not be a link.
        *inner: names of nested folders inside it. None of them may be a link; the innermost is opened.

    Yields:
        The open folder.

    Raises:
        OSError: if one of them is a link or not a folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as path, open_folder(path) as folder:
        ...     folder.list_names()
        []
    """
    whole = os.path.join(path, *inner)
    if not have_descriptors():
        for count in range(len(inner) + 1):
            _refuse_link(os.path.join(path, *inner[:count]))
        yield Folder(whole, None)
        return
    descriptor = _open(path, None)
    try:
        for name in inner:
            below = _open(name, descriptor)
            os.close(descriptor)
            descriptor = below
        yield Folder(whole, descriptor)
    finally:
        os.close(descriptor)


def _open(path: str, above: int | None) -> int:
    """Return a descriptor of a folder that is not a link."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)  # type: ignore[attr-defined, unused-ignore]


def _refuse_link(path: str) -> None:
    """Raise an OSError if a path is a link or not a folder."""
    if os.path.islink(path) or not os.path.isdir(path):
        raise OSError(errno.ENOTDIR, "a link is not followed; expected a folder", path)
