"""
Reports on the contents of a workdir's cache: on an item, on a config folder, and on the whole cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ndsampler.backends.label import EntryLabel


class Status(str, Enum):
    """The status of an item in a workdir's cache."""

    CURRENT = "current"
    """A whole entry of the current version of its source, or one that is named after its content."""
    STALE = "stale"
    """An entry whose source has changed since it was made. It is never read again."""
    ORPHANED = "orphaned"
    """An entry whose source was deleted from a folder that still exists."""
    UNREACHABLE = "unreachable"
    """An entry for which the folder of the source cannot be listed: it is gone, or its disk is not
    mounted."""
    DAMAGED = "damaged"
    """An entry that is truncated, overwritten, or has the name of another source's entry."""
    OUTDATED = "outdated"
    """A file of an earlier format. It is never read."""
    LEFTOVER = "leftover"
    """The folder of a writer that has died."""
    BUSY = "busy"
    """The folder of a writer that is still working."""
    FOREIGN = "foreign"
    """An item that this library did not make."""
    UNREADABLE = "unreadable"
    """An item that this process may not read."""


#: The statuses of entries.
ENTRIES = (Status.CURRENT, Status.STALE, Status.ORPHANED, Status.UNREACHABLE, Status.DAMAGED)


@dataclass(frozen=True, slots=True)
class EntryReport:
    """An item in a workdir's cache, such as an entry, and its status."""

    path: str
    """Path of the item."""
    folder: str
    """Name of the config folder that contains it; empty if it is outside of the config folders."""
    status: Status
    """Status of the item."""
    nbytes: int = 0
    """Size of the item in bytes; 0 if unknown."""
    reason: str = ""
    """The reason for the status, for display."""
    label: EntryLabel | None = None
    """The label of an entry; None if it cannot be read."""
    inode: int = 0
    """Number of the file in its file system, which changes when the entry is made again."""


@dataclass(frozen=True)
class Tally:
    """A number of items, and their total size."""

    count: int = 0
    """Number of items."""
    nbytes: int = 0
    """Total size in bytes."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.count + other.count, self.nbytes + other.nbytes)


@dataclass(frozen=True)
class FolderReport:
    """The contents of one config folder."""

    name: str
    """Name of the folder."""
    backend: str
    """The backend, and its settings that differ from the defaults, as the labels of the entries state
    them."""
    tallies: Mapping[Status, Tally]
    """Number and bytes of the items with each status."""

    def count(self, *kinds: Status) -> Tally:
        """Return the number and bytes of the items with one of the given statuses."""
        return sum((self.tallies.get(kind, Tally()) for kind in kinds), Tally())

    @property
    def entries(self) -> Tally:
        """All entries, whatever their state."""
        return self.count(*ENTRIES)


@dataclass(frozen=True)
class CacheReport:
    """The contents of a workdir's cache."""

    workdir: str
    """Absolute path of the workdir."""
    folders: tuple[FolderReport, ...]
    """A report for each config folder, and for each folder of an earlier format."""
    foreign: Tally = field(default_factory=Tally)
    """Items that this library did not make."""
    named: tuple[EntryReport, ...] = ()
    """Foreign and unreadable items; at most :data:`ndsampler.cache.inventory.MAX_NAMED` of them."""

    def count(self, *kinds: Status) -> Tally:
        """Return the number and bytes of the items with one of the given statuses in all folders."""
        return sum((folder.count(*kinds) for folder in self.folders), Tally())

    @property
    def entries(self) -> Tally:
        """All entries, whatever their state."""
        return self.count(*ENTRIES)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "workdir": self.workdir,
            "entries": self.entries.count,
            "bytes": self.entries.nbytes,
            **{kind.value: self.count(kind).count for kind in Status if kind != Status.FOREIGN},
            "foreign": self.foreign.count,
            "configs": [_folder_json(folder) for folder in self.folders],
            "named": [item_json(item) for item in self.named],
        }


def _folder_json(folder: FolderReport) -> dict[str, Any]:
    """Return the report on one folder as JSON."""
    tallies = {kind: folder.count(kind) for kind in Status if kind != Status.FOREIGN}
    return {
        "config": folder.name,
        "backend": folder.backend,
        "entries": folder.entries.count,
        "bytes": folder.entries.nbytes,
        **{kind.value: tally.count for kind, tally in tallies.items()},
        "bytes_of": {kind.value: tally.nbytes for kind, tally in tallies.items()},
    }


def item_json(item: EntryReport) -> dict[str, Any]:
    """Return the report on one item as JSON."""
    source = None if item.label is None else item.label.source
    return {
        "path": item.path,
        "status": item.status.value,
        "reason": item.reason,
        "bytes": item.nbytes,
        "source": source,
    }
