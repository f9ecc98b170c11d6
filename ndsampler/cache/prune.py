"""
Removes from a workdir what is of no use any more.

Anything removed here would be made again if it were needed, so a wrong guess costs a conversion and no data.
What this library did not make is never touched.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndsampler.cache import names
from ndsampler.cache.inventory import scan
from ndsampler.cache.partial import FOLDER as PARTIAL_FOLDER
from ndsampler.cache.removal import find_own_entries, remove_item
from ndsampler.cache.reports import EntryReport, Status, Tally

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
    callback: Callable[[Removal], object] | None = None,
) -> PruneReport:
    """Remove what is of no use from a workdir.

    These are entries whose source has changed or was deleted, damaged entries, files of earlier formats, and
    the folders of writers that have died. An entry that is named by its content is kept as long as it is
    whole, wherever its source is now. An entry whose source was in a folder that does not exist is kept too,
    since its disk may not be mounted at the moment. Folders of living writers, and things that this
    library did not make, are never touched.

    Each thing is checked again right before it is removed, and an entry that is needed after its removal is
    made again, so this may run while other processes use the cache.

    Args:
        workdir: what was given as ``workdir`` to a sampler.
        unused_by: also remove every entry that belongs to none of these files, whatever it is named by.
        unreachable: also remove entries whose source was in a folder that does not exist.
        dry_run: remove nothing, and only report what would be removed.
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
    removed: dict[str, Tally] = {}
    kept: dict[Status, Tally] = {}
    failures = []
    for item in scan(workdir):
        why = _why_removed(item, unused_by, unreachable)
        if not why:
            kept[item.status] = kept.get(item.status, Tally()) + Tally(1, item.nbytes)
            continue
        error = "" if dry_run else remove_item(item, root)
        if error is None:
            continue
        removal = Removal(item, why, error)
        if error:
            failures.append(removal)
        else:
            removed[why] = removed.get(why, Tally()) + Tally(1, item.nbytes)
        if callback is not None:
            callback(removal)
    if not dry_run:
        _remove_empty_folders(root)
    return PruneReport(removed, kept, tuple(failures))


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
    """Return the folders of ours inside a folder of the cache, the deepest first."""
    if names.is_old_folder(name):
        walk = os.walk(top, topdown=False)
        return [base for base, _, _ in walk if names.is_old_inner_folder(os.path.basename(base))]
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
