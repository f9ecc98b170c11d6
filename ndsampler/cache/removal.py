"""
Removes single items from a workdir's cache, after checking again what they are.
"""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISDIR
from typing import TYPE_CHECKING

from ndsampler.cache.folders import open_folder
from ndsampler.cache.inventory import find_entries
from ndsampler.cache.partial import PartialFiles
from ndsampler.cache.reports import Status
from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from ndsampler.cache.reports import EntryReport
    from ndsampler.types import PathLike

#: Maximum attempts to remove the folder of a dead writer.
ATTEMPTS = 3


def find_own_entries(workdir: PathLike) -> str:
    """Return the folder of all entries in a workdir, if it lies inside the workdir and is not a link.

    Raises:
        ArgumentError: if the folder is a link to another folder, or does not exist.
    """
    root = find_entries(workdir)
    real, expected = os.path.realpath(root), os.path.realpath(workdir)
    if not Path(real).is_relative_to(expected):
        raise ArgumentError(
            f"{root} is a link to {real}, and nothing is removed outside of the workdir; "
            "expected a workdir whose cache is not a link"
        )
    return root


def remove_item(item: EntryReport, root: str) -> str | None:
    """Remove an item from a workdir's cache if it still matches the report on it.

    Args:
        item: the report on the item.
        root: the folder of all entries, from :func:`find_own_entries`. No link below it is followed.

    Returns:
        Why the item could not be removed; an empty string if it was removed, None if another item has
        replaced it.
    """
    *above, name = Path(item.path).relative_to(root).parts
    try:
        with open_folder(root, *above) as folder:
            if item.status == Status.LEFTOVER:
                return _remove_writer_folder(Path(item.path))
            stat = folder.stat(name)
            if item.inode and stat.st_ino != item.inode:
                # Another process has made the entry again.
                return None
            remove = folder.rmdir if S_ISDIR(stat.st_mode) else folder.unlink
            remove(name)
    except FileNotFoundError:
        return ""
    except OSError as ex:
        return ex.strerror or str(ex)
    return ""


def _remove_writer_folder(folder: Path) -> str | None:
    """Remove the folder of a writer that has died. See :func:`remove_item`."""
    writers = PartialFiles(str(folder.parent.parent))
    # Another cleanup, or a new writer, may hold the lock for a moment.
    for _ in range(ATTEMPTS):
        if writers.remove(folder.name) or not folder.exists():
            return ""
        if not writers.is_stale(folder.name):
            return None
    return "its files cannot be removed"
