"""
Looking after a cache: reading every entry back, and removing what is of no use.

Whatever is removed here would be made anew if it were needed again, so no mistake in what
is useful costs more than a conversion. What this library did not make is never touched.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any, Protocol

from ndsampler.backends.base import REGISTRY, row_blocks, same_pixels
from ndsampler.backends.label import EntryLabel, read_label, verify_entry
from ndsampler.backends.source import open_source
from ndsampler.cache.identity import SourceIdentifier
from ndsampler.cache.inventory import (
    CONFIG_FOLDER,
    ENTRIES,
    OLD_FOLDER,
    OLD_FOLDERS,
    SHARD,
    EntryReport,
    Status,
    Tally,
    find_entries,
    is_unchanged,
    scan,
)
from ndsampler.cache.partial import FOLDER as PARTIAL_FOLDER
from ndsampler.cache.partial import PartialFiles
from ndsampler.errors import ArgumentError, CacheError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ndsampler.backends.base import Backend, SourceReader
    from ndsampler.frames.layout import FrameLayout
    from ndsampler.types import PathLike

logger = logging.getLogger(__name__)

#: What is of no use to anyone: see :class:`ndsampler.cache.inventory.Status`.
WASTE = (Status.STALE, Status.ORPHANED, Status.DAMAGED, Status.OUTDATED, Status.LEFTOVER)


#: How often the folder of a dead writer is tried to be removed.
PLACE_TRIES = 3


class HasLayouts(Protocol):
    """Images by id, and the files that each is made of; :class:`ndsampler.Frames` is one."""

    @property
    def image_ids(self) -> Any:
        """The ids of all images."""

    def layout(self, image_id: Any) -> FrameLayout:
        """Return the files that an image is made of."""


class Sources:
    """The files of some datasets, to tell which entries they use.

    Args:
        frames: the images of each dataset.

    Raises:
        SourceError: if the dataset's entry of an image cannot be understood.

    Example:
        >>> from ndsampler.abstract_frames import SimpleFrames
        >>> sources = Sources([SimpleFrames({1: '/data/a.png'}), SimpleFrames({7: '/data/b.png'})])
        >>> label = EntryLabel('/data/b.png', 9, 0, '', (2, 3, 1), 'uint8', None)
        >>> sources.uses(label)
        True
    """

    def __init__(self, frames: Iterable[HasLayouts]) -> None:
        self._paths: set[str] = set()
        self._given: set[str] = set()
        for each in frames:
            for image_id in each.image_ids:
                for asset in each.layout(image_id).assets:
                    self._paths.add(asset.path)
                    if asset.given_hash:
                        self._given.add(asset.given_hash)
        self._by_size: dict[int, list[str]] | None = None
        self._identifier = SourceIdentifier("PIXELS")

    def uses(self, label: EntryLabel) -> bool:
        """Whether an entry is of one of the files, wherever that lay when it was converted.

        Entries that are named by their content may be of a file that has another name here; those of the
        datasets' files that have the right size are read to find out, each once.
        """
        if not label.content:
            return label.source in self._paths
        if label.content in self._given or (label.source in self._paths and is_unchanged(label)):
            return True
        return any(self._hash(path) == label.content for path in self._of_size(label.size))

    def _of_size(self, size: int) -> list[str]:
        """Return the files of a size."""
        if self._by_size is None:
            self._by_size = {}
            for path in self._paths:
                try:
                    self._by_size.setdefault(os.stat(path).st_size, []).append(path)
                except OSError as ex:
                    logger.debug("%s is of no known size: %s", path, ex)
        return self._by_size.get(size, [])

    def _hash(self, path: str) -> str:
        """Return the hash of the content of a file; empty if it cannot be read."""
        try:
            return self._identifier.identify(path).content
        except OSError as ex:
            logger.debug("%s cannot be read: %s", path, ex)
            return ""


@dataclass(frozen=True)
class VerifyReport:
    """What was found when entries were read whole."""

    checked: Tally
    """Entries that were read."""
    compared: int
    """Those of them whose pixels were compared with their sources'."""
    damaged: tuple[EntryReport, ...]
    """Those that are damaged."""
    unreadable: tuple[EntryReport, ...]
    """Entries and folders that may not be read, so that nothing can be told of them."""
    removed: int = 0
    """Damaged entries that were removed."""

    @property
    def ok(self) -> bool:
        """Whether everything could be read, and nothing is damaged."""
        return not self.damaged and not self.unreadable


def verify(
    workdir: PathLike,
    *,
    used_by: Sources | None = None,
    pixels: bool = False,
    remove: bool = False,
    tell: Callable[[EntryReport], object] | None = None,
) -> VerifyReport:
    """Read every entry of a workdir whole, and compare it with its checksum.

    Args:
        workdir: what was given as ``workdir`` to a sampler.
        used_by: entries of other sources are passed over; None for all entries.
        pixels: compare the pixels with those of the source too, block by block, wherever the source is as it
            was and the entry keeps pixels exactly.
        remove: remove entries that are damaged; they are made anew when they are needed.
        tell: called with each entry as soon as it has been read.

    Returns:
        How many entries there are, and which are damaged.

    Raises:
        ArgumentError: if that is no workdir.

    Example:
        >>> import tempfile
        >>> from ndsampler.abstract_frames import SimpleFrames
        >>> workdir = tempfile.mkdtemp()
        >>> SimpleFrames.demo(backend='cog', workdir=workdir).prepare()
        >>> report = verify(workdir, pixels=True)
        >>> report.ok, report.checked.count, report.compared
        (True, 3, 3)
    """
    if remove:
        _check_inside(workdir)
    checked, compared, removed = Tally(), 0, 0
    found: dict[Status, list[EntryReport]] = {Status.DAMAGED: [], Status.UNREADABLE: []}

    def check(path: str) -> EntryLabel:
        # Those of other datasets are not read at all.
        label = read_label(path)
        return verify_entry(path) if used_by is None or used_by.uses(label) else label

    for item in scan(workdir, check):
        if item.status not in (*ENTRIES, Status.UNREADABLE):
            continue
        if used_by is not None and item.label is not None and not used_by.uses(item.label):
            continue
        if pixels and item.status == Status.CURRENT:
            item, was_compared = _compare(item)
            compared += was_compared
        if item.status != Status.UNREADABLE:
            checked += Tally(1, item.nbytes)
        if item.status in found:
            found[item.status].append(item)
        if remove and item.status == Status.DAMAGED:
            removed += _remove(item) == ""
        if tell is not None:
            tell(item)
    damaged, unreadable = (tuple(found[kind]) for kind in (Status.DAMAGED, Status.UNREADABLE))
    return VerifyReport(checked, compared, damaged, unreadable, removed)


def _compare(item: EntryReport) -> tuple[EntryReport, bool]:
    """Compare an entry with its source, and return what it is then, and whether they could be compared."""
    match = CONFIG_FOLDER.fullmatch(item.folder)
    kind = REGISTRY.get(match[1]) if match else None
    label = item.label
    if kind is None or label is None or not is_unchanged(label):
        return item, False
    try:
        backend = kind()
        if not backend.is_exact(item.path):
            return item, False
        source = open_source(label.source)
    except SourceError as ex:
        logger.warning("%s is not compared with its source: %s", item.path, ex)
        return item, False
    with contextlib.closing(source):
        try:
            difference = _find_difference(source, item.path, backend)
        except SourceError as ex:
            logger.warning("%s is not compared with its source: %s", item.path, ex)
            return item, False
    if difference and is_unchanged(label):
        return replace(item, status=Status.DAMAGED, reason=difference), True
    return item, True


def _find_difference(source: SourceReader, entry: str, backend: Backend) -> str:
    """Compare an entry with its open source, and say where they differ; empty if they do not.

    Raises:
        SourceError: if the source cannot be read.
    """
    try:
        reader = backend.open(entry)
    except (SourceError, CacheError) as ex:
        return f"it cannot be opened: {ex}"
    with contextlib.closing(reader):
        if (reader.shape, reader.dtype) != (source.shape, source.dtype):
            return f"it is {reader.dtype} {reader.shape}; its source is {source.dtype} {source.shape}"
        for y0, theirs in row_blocks(source):
            y1 = y0 + len(theirs)
            try:
                ours = reader.read(y0, y1, 0, source.shape[1])
            except (SourceError, CacheError) as ex:
                return f"rows {y0} to {y1} cannot be read: {ex}"
            if not same_pixels(ours, theirs):
                return f"its pixels in rows {y0} to {y1} differ from those of its source"
    return ""


@dataclass(frozen=True)
class Removal:
    """Something that is removed from a workdir, or would be."""

    item: EntryReport
    """What it is."""
    why: str
    """Its state, or ``'unused'``."""
    error: str = ""
    """What kept it from being removed; empty if nothing did."""


@dataclass(frozen=True)
class PruneReport:
    """What was removed from a workdir, or would be."""

    removed: Mapping[str, Tally]
    """How much, by the reason: one of :data:`WASTE`, ``'unreachable'``, or ``'unused'``."""
    kept: Mapping[Status, Tally]
    """What is left."""
    failures: tuple[Removal, ...]
    """What could not be removed."""

    @property
    def total(self) -> Tally:
        """All that was removed."""
        return sum(self.removed.values(), Tally())


def prune(
    workdir: PathLike,
    *,
    unused_by: Sources | None = None,
    unreachable: bool = False,
    dry_run: bool = False,
    tell: Callable[[Removal], object] | None = None,
) -> PruneReport:
    """Remove what is of no use from a workdir.

    That is: entries whose source has changed or is gone, damaged ones, files of earlier formats, and what
    writers that died left. An entry that is named by its content is of use as long as it is whole, wherever
    its source is now. Entries whose source lies in a folder that is not there are kept, since its disk may
    just not be mounted. What others are writing, and what this library did not make, is never touched.

    Each thing is looked at again right before it is removed. Whoever needs an entry that was removed makes
    it anew, so this may run while others use the cache.

    Args:
        workdir: what was given as ``workdir`` to a sampler.
        unused_by: remove every entry that is of none of these files too, those named by their content among
            them.
        unreachable: remove entries whose source lies in a folder that is not there too.
        dry_run: remove nothing, and only tell what would be removed.
        tell: called with everything that is removed.

    Returns:
        How much was removed and why, and what could not be removed.

    Raises:
        ArgumentError: if that is no workdir, or its cache is a link to elsewhere.

    Example:
        >>> import os, tempfile
        >>> from ndsampler.abstract_frames import SimpleFrames
        >>> frames = SimpleFrames.demo(backend='npy', workdir=tempfile.mkdtemp())
        >>> frames.prepare([1, 2])
        >>> prune(frames.workdir).total.count
        0
        >>> other = SimpleFrames({1: frames.id_to_path[1]})
        >>> prune(frames.workdir, unused_by=Sources([other])).removed['unused'].count
        1
    """
    root = _check_inside(workdir)
    removed: dict[str, Tally] = {}
    kept: dict[Status, Tally] = {}
    failures = []
    for item in scan(workdir):
        why = _why_removed(item, unused_by, unreachable)
        if not why:
            kept[item.status] = kept.get(item.status, Tally()) + Tally(1, item.nbytes)
            continue
        error = "" if dry_run else _remove(item)
        if error is None:
            continue
        removal = Removal(item, why, error)
        if error:
            failures.append(removal)
        else:
            removed[why] = removed.get(why, Tally()) + Tally(1, item.nbytes)
        if tell is not None:
            tell(removal)
    if not dry_run:
        _remove_empty_folders(root)
    return PruneReport(removed, kept, tuple(failures))


def _why_removed(item: EntryReport, unused_by: Sources | None, unreachable: bool) -> str:
    """Decide whether something is removed, and return why; empty if it is not."""
    if item.status in WASTE or (unreachable and item.status == Status.UNREACHABLE):
        return item.status.value
    if unused_by is None or item.label is None or unused_by.uses(item.label):
        return ""
    return "unused"


def _check_inside(workdir: PathLike) -> str:
    """Return the folder of all entries in a workdir, if no link leads to it.

    Raises:
        ArgumentError: if one does, or there is none.
    """
    root = find_entries(workdir)
    real, expected = os.path.realpath(root), os.path.realpath(workdir)
    if not Path(real).is_relative_to(expected):
        raise ArgumentError(
            f"{root} is a link to {real}, and nothing is removed outside of the workdir; "
            "expected a workdir that holds its cache itself"
        )
    return root


def _remove(item: EntryReport) -> str | None:
    """Remove something, if it still is what it was.

    Returns:
        What kept it from being removed; empty if nothing did, None if it is something else by now.
    """
    try:
        if item.status == Status.LEFTOVER:
            return _remove_place(Path(item.path))
        stat = os.lstat(item.path)
        if item.inode and stat.st_ino != item.inode:
            # Another process has put a new entry in its place.
            return None
        remove = os.rmdir if S_ISDIR(stat.st_mode) else os.unlink
        remove(item.path)
    except FileNotFoundError:
        return ""
    except OSError as ex:
        return ex.strerror or str(ex)
    return ""


def _remove_place(place: Path) -> str | None:
    """Remove the folder of a writer that is no more. See :func:`_remove`."""
    writers = PartialFiles(str(place.parent.parent))
    # Another that clears up, or comes to write, may have had its lock for a moment.
    for _ in range(PLACE_TRIES):
        if writers.remove(place.name) or not place.exists():
            return ""
        if not writers.is_stale(place.name):
            return None
    return "its files cannot be removed"


def _remove_empty_folders(root: str) -> None:
    """Remove folders of entries, and of backends, that hold nothing any more."""
    for name in _names(root):
        top = os.path.join(root, name)
        if os.path.islink(top):
            continue
        if CONFIG_FOLDER.fullmatch(name):
            if _names(os.path.join(top, PARTIAL_FOLDER)):
                # Somebody may be about to put an entry into an empty folder.
                continue
            inner = [child for child in _names(top) if child == PARTIAL_FOLDER or SHARD.fullmatch(child)]
        elif name in OLD_FOLDERS:
            walk = os.walk(top, topdown=False)
            inner = [
                os.path.relpath(base, top) for base, _, _ in walk if OLD_FOLDER.fullmatch(Path(base).name)
            ]
        else:
            continue
        for path in (*(os.path.join(top, child) for child in inner), top):
            # What holds anything stays, and so does a link.
            with contextlib.suppress(OSError):
                os.rmdir(path)


def _names(folder: str) -> list[str]:
    """Return what a folder holds, as far as it may be listed."""
    with contextlib.suppress(OSError):
        return os.listdir(folder)
    return []
