"""
Tells images that were deleted from those on a disk that is not mounted.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ndsampler.cache.reports import EntryReport

#: As many images are hardly deleted at once, if they are more than half of all.
MANY = 100


def doubt_absence(orphans: Iterable[EntryReport], sources_there: int) -> Mapping[str, str]:
    """Return which orphaned entries may have their source on a disk that is not mounted.

    Args:
        orphans: the reports on orphaned entries: their source is gone, and the folder of that exists.
        sources_there: number of entries whose sources exist.

    Returns:
        For the path of each doubtful entry, the reason.
    """
    folders = {item.path: os.path.dirname(item.label.source) for item in orphans if item.label is not None}
    reasons = {folder: _doubt_folder(folder) for folder in set(folders.values())}
    doubts = {path: reasons[folder] for path, folder in folders.items() if reasons[folder]}
    if len(folders) >= MANY and len(folders) > sources_there:
        why = f"{len(folders)} images are gone, and {sources_there} are there"
        doubts = {path: doubts.get(path, why) for path in folders}
    return doubts


def _doubt_folder(folder: str) -> str:
    """Return why a folder may not be the one that held the images; empty if there is no reason."""
    try:
        if not os.listdir(folder):
            return f"{folder} is empty, as the mount point of a disk that is not mounted"
        if os.path.ismount(folder):
            return f"{folder} is a mount point, where another disk may be mounted"
    except OSError as ex:
        return f"{folder} cannot be listed: {ex.strerror or ex}"
    return ""
