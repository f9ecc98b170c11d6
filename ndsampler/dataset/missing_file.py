"""
The error message for an image file that does not exist, with hints where it may be.
"""

from __future__ import annotations

import os
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["describe_missing"]

#: Maximum number of folders that are searched below the image folder, and again beside it.
MAX_FOLDERS = 200

#: Depth of the search in the folders beside the image folder.
DEPTH_BESIDE = 2

#: An image folder and the folder part of a file name, to the folder in which the first such file was found,
#: or None. The folders are searched only once, however many files are missing.
_found_in: dict[tuple[str, str], str | None] = {}


def describe_missing(path: str, folder: Any = None) -> str:
    """Return the error message for an image file that does not exist.

    Args:
        path: absolute path of the file.
        folder: the folder to which file names of the dataset are relative; None if the path is not from a
            dataset.

    Returns:
        The message. It names the path and the folder, a file of the same name below or beside that folder if
        there is one, and what to do.

    Example:
        >>> describe_missing('/none/a.png')
        '/none/a.png does not exist'
    """
    root = None if folder is None else os.path.join(os.path.abspath(os.fspath(folder)), "")
    if root is None:
        return ". ".join([f"{path} does not exist", *_name_hints(path)])
    if not path.startswith(root):
        advice = (
            "If the images are in another folder, change the paths in the dataset: "
            f"dset.reroot(old_prefix={os.path.dirname(path)!r}, new_prefix='FOLDER')"
        )
        return ". ".join([f"{path} does not exist", *_name_hints(path), advice])
    name, root = path[len(root) :], root.rstrip(os.sep) or os.sep
    missing = "" if os.path.isdir(root) else ", which does not exist"
    looked = f"{path} does not exist: the file name is {name!r}, in the folder {root}{missing}"
    return ". ".join([looked, *_name_hints(name), _remedies(root, name)])


def _name_hints(name: str) -> list[str]:
    """Return hints about backslashes and URL escapes in a file name."""
    hints = []
    if "\\" in name and os.sep == "/":
        hints.append("It contains '\\', the separator of Windows: write '/' in the dataset")
    if unquote(name) != name:
        hints.append("'%20' and the like are escapes of URLs: urllib.parse.unquote undoes them")
    return hints


def _remedies(root: str, name: str) -> str:
    """Return a sentence that says where a file of that name is, and how to pass its folder."""
    found = find_elsewhere(root, name)
    right = found[: -len(os.sep + name)] if found and found.endswith(os.sep + name) else "FOLDER"
    there_is = f"There is {found}: " if found else "If the images are in another folder, "
    return (
        f"{there_is}give images={right!r} to the sampler, --images {right} to a command, or set "
        f"dset.bundle_dpath = {right!r}"
    )


def find_elsewhere(root: str, name: str) -> str | None:
    """Search for a file of a given name below and beside a folder; return None if there is none.

    Args:
        root: the folder in which the file is missing.
        name: path of the file relative to the folder.
    """
    names = [name, name.replace("\\", "/").rpartition("/")[2]]
    key = (root, os.path.dirname(name))
    if key not in _found_in:
        if len(_found_in) >= MAX_FOLDERS:
            _found_in.clear()
        folders = _search_folders(root)
        _found_in[key] = next((folder for folder in folders if _first_file(folder, names)), None)
    folder = _found_in[key]
    return None if folder is None else _first_file(folder, names)


def _first_file(folder: str, names: list[str]) -> str | None:
    """Return the first of some files that exists in a folder."""
    paths = (os.path.join(folder, name) for name in names)
    return next(filter(os.path.isfile, paths), None)


def _search_folders(root: str) -> Iterator[str]:
    """Yield the folders below a folder, and then those beside it, nearest first."""
    yield from islice(_below(root), MAX_FOLDERS)
    yield from islice(_below(os.path.dirname(root), DEPTH_BESIDE), MAX_FOLDERS)


def _below(root: str, depth: int | None = None) -> Iterator[str]:
    """Yield a folder and those below it, level by level; folders that cannot be listed are left out."""
    queue = deque([(root, 0)])
    while queue:
        folder, level = queue.popleft()
        yield folder
        if level != depth:
            queue.extend((child, level + 1) for child in _children(folder))


def _children(folder: str) -> list[str]:
    """Return the subfolders of a folder, sorted."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir())
    except OSError:
        return []
