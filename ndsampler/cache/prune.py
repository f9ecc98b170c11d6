"""
Removes useless items from a workdir's cache, such as stale entries.

An entry that is removed but needed is made again, so a wrong decision costs a conversion and loses no data.
Items that this library did not make are never touched.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ndsampler.cache import names
from ndsampler.cache.absence import find_doubtful_absences
from ndsampler.cache.inventory import scan
from ndsampler.cache.partial import FOLDER as PARTIAL_FOLDER
from ndsampler.cache.removal import find_own_entries, remove_item
from ndsampler.cache.reports import EntryReport, Status, Tally
from ndsampler.utils.walk import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ndsampler.cache.usage import Sources
    from ndsampler.types import PathLike

#: The statuses of items that are always useless: see :class:`ndsampler.cache.reports.Status`.
WASTE = (Status.STALE, Status.ORPHANED, Status.DAMAGED, Status.OUTDATED, Status.LEFTOVER)


@dataclass(frozen=True)
class Removal:
    """An item that was removed from a workdir, or would be."""

    item: EntryReport
    """The report on the item."""
    why: str
    """The reason: the item's status, or ``'unused'``."""
    error: str = ""
    """Why the item could not be removed; empty if it was removed."""


@dataclass(frozen=True)
class PruneReport:
    """The items that were removed from a workdir, or would be."""

    removed: Mapping[str, Tally]
    """Number and bytes for each reason: one of :data:`WASTE`, ``'unreachable'``, or ``'unused'``."""
    kept: Mapping[Status, Tally]
    """Number and bytes of the remaining items, by status."""
    failures: tuple[Removal, ...]
    """Items that could not be removed."""
    doubtful: Mapping[str, Tally] = field(default_factory=dict)
    """Number and bytes, by reason, of the orphaned entries that are kept because the disk of their sources
    may not be mounted. ``kept`` includes them."""

    @property
    def total(self) -> Tally:
        """Number and bytes of all items that were removed."""
        return sum(self.removed.values(), Tally())


def prune(
    workdir: PathLike,
    *,
    unused_by: Sources | None = None,
    unreachable: bool = False,
    dry_run: bool = False,
    force: bool = False,
    callback: Callable[[Removal], object] | None = None,
) -> PruneReport:
    """Remove useless items from a workdir's cache.

    These are entries whose source has changed or was deleted, damaged entries, files of earlier formats, and
    the folders of writers that have died. An entry that is named after its content is kept as long as it is
    whole, wherever its source is now. An entry is also kept if its source was in a folder that does not
    exist, because its disk may not be mounted. For the same reason, an entry whose source seems to be deleted
    is kept if the source's folder is empty or a mount point, or if most of many images are gone. Folders of
    living writers, and items that this library did not make, are never touched.

    Each item is checked again right before it is removed, and an entry that is needed after its removal is
    made again, so this may run while other processes use the cache.

    Args:
        workdir: the folder that was passed as ``workdir`` to a sampler.
        unused_by: also remove every entry that belongs to none of these files, however it is named.
        unreachable: also remove entries whose source was in a folder that does not exist.
        dry_run: remove nothing, and only report what would be removed.
        force: remove entries of deleted sources even if their disk may not be mounted.
        callback: called with each item that is removed.

    Returns:
        The number and bytes of the removed items, by reason, and the items that could not be removed.

    Raises:
        ArgumentError: if the folder is not a workdir, or its cache is a link to another folder.

    Example:
        >>> import os, tempfile
        >>> from ndsampler.abstract_frames import SimpleFrames
        >>> from ndsampler.cache.usage import Sources
        >>> frames = SimpleFrames.demo(backend='npy', workdir=tempfile.mkdtemp())
        >>> frames.prepare([1, 2])
        >>> prune(frames.workdir).total.count
        0
        >>> other = SimpleFrames({1: frames.id_to_path[1]})
        >>> prune(frames.workdir, unused_by=Sources([other])).removed['unused'].count
        1
    """
    root = find_own_entries(workdir)
    work = _Pruning(root, dry_run, callback)
    orphans, there = [], 0
    for item in scan(workdir):
        why = _removal_reason(item, unused_by, unreachable)
        there += item.status in (Status.CURRENT, Status.STALE)
        if why == Status.ORPHANED.value:
            orphans.append(item)
        elif why:
            work.remove(item, why)
        else:
            work.keep(item)
    doubts = {} if force else find_doubtful_absences(orphans, there)
    doubtful: dict[str, Tally] = {}
    for item in orphans:
        reason = doubts.get(item.path)
        if reason is None:
            work.remove(item, Status.ORPHANED.value)
        else:
            work.keep(item)
            doubtful[reason] = doubtful.get(reason, Tally()) + Tally(1, item.nbytes)
    if not dry_run:
        _remove_empty_folders(root)
    return PruneReport(work.removed, work.kept, tuple(work.failures), doubtful)


class _Pruning:
    """Removes items one after the other, and counts them.

    Args:
        root: the folder of all entries.
        dry_run: whether to count without removing.
        callback: called with each item that is removed.
    """

    def __init__(self, root: str, dry_run: bool, callback: Callable[[Removal], object] | None) -> None:
        self._root, self._dry_run, self._callback = root, dry_run, callback
        self.removed: dict[str, Tally] = {}
        self.kept: dict[Status, Tally] = {}
        self.failures: list[Removal] = []

    def keep(self, item: EntryReport) -> None:
        """Count an item that is kept."""
        self.kept[item.status] = self.kept.get(item.status, Tally()) + Tally(1, item.nbytes)

    def remove(self, item: EntryReport, why: str) -> None:
        """Remove an item, unless another one has replaced it."""
        error = "" if self._dry_run else remove_item(item, self._root)
        if error is None:
            return
        removal = Removal(item, why, error)
        if error:
            self.failures.append(removal)
        else:
            self.removed[why] = self.removed.get(why, Tally()) + Tally(1, item.nbytes)
        if self._callback is not None:
            self._callback(removal)


def _removal_reason(item: EntryReport, unused_by: Sources | None, unreachable: bool) -> str:
    """Return the reason for removing an item; an empty string if it is kept."""
    if item.status in WASTE or (unreachable and item.status == Status.UNREACHABLE):
        return item.status.value
    if unused_by is None or item.label is None or unused_by.uses(item.label):
        return ""
    return "unused"


def _remove_empty_folders(root: str) -> None:
    """Remove shards and config folders that are now empty."""
    for name in _list(root):
        top = os.path.join(root, name)
        if os.path.islink(top):
            continue
        for path in (*_inner_folders(top, name), top):
            # rmdir fails for a folder that is not empty, and for a link. Both are kept.
            with contextlib.suppress(OSError):
                os.rmdir(path)


def _inner_folders(top: str, name: str) -> list[str]:
    """Return the folders of this library inside a folder of the cache, the deepest first."""
    if names.is_old_folder(name):
        folders = [base for base, _, _ in walk(top) if names.is_old_inner_folder(os.path.basename(base))]
        return folders[::-1]
    # While any writer is active, it may be about to move an entry into an empty folder.
    if not names.backend_of_folder(name) or _list(os.path.join(top, PARTIAL_FOLDER)):
        return []
    ours = (child for child in _list(top) if child == PARTIAL_FOLDER or names.is_shard(child))
    return [os.path.join(top, child) for child in ours]


def _list(folder: str) -> list[str]:
    """Return the names of the contents of a folder; an empty list if it cannot be listed."""
    with contextlib.suppress(OSError):
        return os.listdir(folder)
    return []
