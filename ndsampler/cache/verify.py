"""
Reads back every entry of a workdir, and compares it with its checksum and its source.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ndsampler.backends.base import REGISTRY
from ndsampler.backends.label import EntryLabel, read_label, verify_entry
from ndsampler.backends.recording import RecordedSource
from ndsampler.backends.source import open_form
from ndsampler.cache.comparison import compare_entry
from ndsampler.cache.identity import SourceIdentity
from ndsampler.cache.inventory import scan
from ndsampler.cache.names import backend_of_folder
from ndsampler.cache.removal import find_own_entries, remove_item
from ndsampler.cache.reports import ENTRIES, EntryReport, Status, Tally
from ndsampler.errors import CacheError, SourceError
from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndsampler.cache.usage import Sources
    from ndsampler.types import PathLike

logger = get_logger(__name__)


@dataclass(frozen=True)
class VerifyReport:
    """The result of reading all entries back."""

    checked: Tally
    """Entries that were read."""
    compared: int
    """Entries whose pixels were compared with those of their sources."""
    damaged: tuple[EntryReport, ...]
    """Damaged entries."""
    unreadable: tuple[EntryReport, ...]
    """Entries and folders that this process may not read."""
    removed: int = 0
    """Damaged entries that were removed."""

    @property
    def ok(self) -> bool:
        """Whether all entries could be read and none is damaged."""
        return not self.damaged and not self.unreadable


def verify(
    workdir: PathLike,
    *,
    used_by: Sources | None = None,
    pixels: bool = False,
    remove: bool = False,
    callback: Callable[[EntryReport], object] | None = None,
) -> VerifyReport:
    """Read every entry of a workdir completely, and compare it with its checksum.

    Args:
        workdir: the folder that was passed as ``workdir`` to a sampler.
        used_by: skip the entries of other sources; None reads all entries.
        pixels: also compare the pixels of each lossless entry with those of its source, if the source is
            unchanged.
        remove: remove damaged entries. They are made again when they are needed.
        callback: called with the report on each entry as soon as it has been read.

    Returns:
        The number of entries, and which are damaged.

    Raises:
        ArgumentError: if the folder is not a workdir.

    Example:
        >>> import tempfile
        >>> from ndsampler.abstract_frames import SimpleFrames
        >>> workdir = tempfile.mkdtemp()
        >>> SimpleFrames.demo(backend='cog', workdir=workdir).prepare()
        >>> report = verify(workdir, pixels=True)
        >>> report.ok, report.checked.count, report.compared
        (True, 3, 3)
    """
    root = find_own_entries(workdir) if remove else ""
    checked, compared, removed = Tally(), 0, 0
    found: dict[Status, list[EntryReport]] = {Status.DAMAGED: [], Status.UNREADABLE: []}

    def check(path: str) -> EntryLabel:
        # The label is enough to skip entries of other datasets.
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
            removed += remove_item(item, root) == ""
        if callback is not None:
            callback(item)
    damaged, unreadable = (tuple(found[kind]) for kind in (Status.DAMAGED, Status.UNREADABLE))
    return VerifyReport(checked, compared, damaged, unreadable, removed)


def _compare(item: EntryReport) -> tuple[EntryReport, bool]:
    """Compare the pixels of an entry with those of its source.

    Returns:
        The updated report on the entry, and whether the pixels could be compared.
    """
    kind = REGISTRY.get(backend_of_folder(item.folder) or "")
    if kind is None or item.label is None:
        return item, False
    identity = SourceIdentity.from_label(item.label)
    if not identity.is_unchanged():
        return item, False
    backend = kind()
    try:
        if not backend.is_exact(item.path):
            return item, False
    except SourceError as ex:
        return replace(item, status=Status.DAMAGED, reason=f"it cannot be opened: {ex}"), True
    try:
        with contextlib.closing(RecordedSource(open_form(identity.path, identity.form))) as source:
            compare_entry(source, item.path, backend)
    except SourceError as ex:
        logger.warning("%s is not compared with its source: %s", item.path, ex)
        return item, False
    except CacheError as ex:
        if identity.is_unchanged():
            item = replace(item, status=Status.DAMAGED, reason=str(ex))
    return item, True
