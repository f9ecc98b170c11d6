"""
Distinguishes images that were deleted from images on a disk that is not mounted.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ndsampler.cache.reports import EntryReport

#: If at least this many images, and more than half of all, are gone, their disk may not be mounted.
MANY_GONE = 100


def find_doubtful_absences(orphans: Iterable[EntryReport], sources_there: int) -> Mapping[str, str]:
    """Return the orphaned entries whose sources may be on a disk that is not mounted.

    Args:
        orphans: reports on orphaned entries. Their sources are gone, but the folders of the sources exist.
        sources_there: number of entries whose sources exist.

    Returns:
        The path of each doubtful entry, and the reason for the doubt.
    """
    folders = {item.path: os.path.dirname(item.label.source) for item in orphans if item.label is not None}
    reasons = {folder: _doubt_reason(folder) for folder in set(folders.values())}
    doubts = {path: reasons[folder] for path, folder in folders.items() if reasons[folder]}
    if len(folders) >= MANY_GONE and len(folders) > sources_there:
        why = f"{len(folders)} images are gone, and {sources_there} are there"
        doubts = {path: doubts.get(path, why) for path in folders}
    return doubts


def _doubt_reason(folder: str) -> str:
    """Return why the disk of a folder may not be mounted; an empty string if nothing suggests that."""
    try:
        if not os.listdir(folder):
            return f"{folder} is empty, like the mount point of a disk that is not mounted"
        if os.path.ismount(folder):
            return f"{folder} is a mount point, where another disk may be mounted"
    except OSError as ex:
        return f"{folder} cannot be listed: {ex.strerror or ex}"
    return ""
