"""
Removes from a workdir what is of no use any more.

Anything removed here would be made again if it were needed, so a wrong guess costs a conversion and no data.
What this library did not make is never touched.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ndsampler.cache import names
from ndsampler.cache.absence import doubt_absence
from ndsampler.cache.inventory import scan
from ndsampler.cache.partial import FOLDER as PARTIAL_FOLDER
from ndsampler.cache.removal import find_own_entries, remove_item
from ndsampler.cache.reports import EntryReport, Status, Tally
from ndsampler.utils.walk import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ndsampler.cache.usage import Sources
    from ndsampler.types import PathLike

#: What is of no use to anyone: see :class:`ndsampler.cache.reports.Status`.
WASTE = (Status.STALE, Status.ORPHANED, Status.DAMAGED, Status.OUTDATED, Status.LEFTOVER)


@dataclass(frozen=True)
class Removal:
    """One thing that is removed from a workdir, or would be."""

    item: EntryReport
    """The report on it."""
    why: str
    """Its status, or ``'unused'``."""
    error: str = ""
    """Why it could not be removed; empty if it was."""


@dataclass(frozen=True)
class PruneReport:
    """The things that were removed from a workdir, or would be."""

    removed: Mapping[str, Tally]
    """Number and bytes for each reason: one of :data:`WASTE`, ``'unreachable'``, or ``'unused'``."""
    kept: Mapping[Status, Tally]
    """Number and bytes of what is left, by status."""
    failures: tuple[Removal, ...]
    """Things that could not be removed."""
    doubtful: Mapping[str, Tally] = field(default_factory=dict)
    """Number and bytes of the orphaned entries that are kept because their disk may not be mounted, by
    reason; ``kept`` counts them too."""

    @property
    def total(self) -> Tally:
        """Number and bytes of everything that was removed."""
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
    """Remove what is of no use from a workdir.

    These are entries whose source has changed or was deleted, damaged entries, files of earlier formats, and
    the folders of writers that have died. An entry that is named by its content is kept as long as it is
    whole, wherever its source is now. An entry whose source was in a folder that does not exist is kept too,
    since its disk may not be mounted at the moment. So is one whose source seems to be deleted, if its folder
    is empty or a mount point, or if most of many images are gone. Folders of living writers, and things that
    this library did not make, are never touched.

    Each thing is checked again right before it is removed, and an entry that is needed after its removal is
    made again, so this may run while other processes use the cache.

    Args:
        workdir: what was given as ``workdir`` to a sampler.
        unused_by: also remove every entry that belongs to none of these files, whatever it is named by.
        unreachable: also remove entries whose source was in a folder that does not exist.
        dry_run: remove nothing, and only report what would be removed.
        force: remove entries of deleted sources in any case.
        callback: called with each thing that is removed.

    Returns:
        The number and bytes of what was removed, by reason, and what could not be removed.

    Raises:
        ArgumentError: if it is not a workdir, or its cache is a link to another folder.

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
        why = _why_removed(item, unused_by, unreachable)
        there += item.status in (Status.CURRENT, Status.STALE)
        if why == Status.ORPHANED.value:
            orphans.append(item)
        elif why:
            work.remove(item, why)
        else:
            work.keep(item)
    doubts = {} if force else doubt_absence(orphans, there)
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
    """Removes things one after the other, and counts them.

    Args:
        root: the folder of all entries.
        dry_run: only count.
        callback: called with each thing that is removed.
    """

    def __init__(self, root: str, dry_run: bool, callback: Callable[[Removal], object] | None) -> None:
        self._root, self._dry_run, self._callback = root, dry_run, callback
        self.removed: dict[str, Tally] = {}
        self.kept: dict[Status, Tally] = {}
        self.failures: list[Removal] = []

    def keep(self, item: EntryReport) -> None:
        """Count something that stays."""
        self.kept[item.status] = self.kept.get(item.status, Tally()) + Tally(1, item.nbytes)

    def remove(self, item: EntryReport, why: str) -> None:
        """Remove something, unless another thing has taken its place."""
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


def _why_removed(item: EntryReport, unused_by: Sources | None, unreachable: bool) -> str:
    """Return the reason for removing something; empty if it is kept."""
    if item.status in WASTE or (unreachable and item.status == Status.UNREACHABLE):
        return item.status.value
    if unused_by is None or item.label is None or unused_by.uses(item.label):
        return ""
    return "unused"


def _remove_empty_folders(root: str) -> None:
    """Remove shards and config folders that hold nothing any more."""
    for name in _list(root):
        top = os.path.join(root, name)
        if os.path.islink(top):
            continue
        for path in (*_inner_folders(top, name), top):
            # rmdir fails for a folder that holds anything, and for a link: both stay.
            with contextlib.suppress(OSError):
                os.rmdir(path)


def _inner_folders(top: str, name: str) -> list[str]:
    """Return the folders of this library inside a folder of the cache, the deepest first."""
    if names.is_old_folder(name):
        folders = [base for base, _, _ in walk(top) if names.is_old_inner_folder(os.path.basename(base))]
        return folders[::-1]
    # While anything is being written, a writer may be about to put an entry into an empty folder.
    if not names.backend_of_folder(name) or _list(os.path.join(top, PARTIAL_FOLDER)):
        return []
    ours = (child for child in _list(top) if child == PARTIAL_FOLDER or names.is_shard(child))
    return [os.path.join(top, child) for child in ours]


def _list(folder: str) -> list[str]:
    """Return the names of what a folder holds; nothing if it may not be listed."""
    with contextlib.suppress(OSError):
        return os.listdir(folder)
    return []
