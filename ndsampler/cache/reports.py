"""
What is reported about the contents of a workdir: one thing, one folder, all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ndsampler.backends.label import EntryLabel


class Status(str, Enum):
    """What something in a workdir is."""

    CURRENT = "current"
    """A whole entry of a source as it is now, or one that is named by its content."""
    STALE = "stale"
    """An entry of a source that has changed since. It is never read again."""
    ORPHANED = "orphaned"
    """An entry of a source that was deleted from a folder that still exists."""
    UNREACHABLE = "unreachable"
    """An entry of a source whose folder cannot be listed: it is gone, or its disk is not mounted."""
    DAMAGED = "damaged"
    """An entry that is cut off, overwritten, or named for another source."""
    OUTDATED = "outdated"
    """A file of an earlier format, which is never read."""
    LEFTOVER = "leftover"
    """The folder of a writer that has died."""
    BUSY = "busy"
    """The folder of a writer that is at work."""
    FOREIGN = "foreign"
    """Something that this library did not make."""
    UNREADABLE = "unreadable"
    """Something that may not be read."""


#: The kinds of things that are entries.
ENTRIES = (Status.CURRENT, Status.STALE, Status.ORPHANED, Status.UNREACHABLE, Status.DAMAGED)


@dataclass(frozen=True, slots=True)
class EntryReport:
    """One thing in a workdir, and what it is."""

    path: str
    """Its path."""
    folder: str
    """Name of the config folder that it is in; empty for things beside these folders."""
    status: Status
    """What it is."""
    nbytes: int = 0
    """Its size in bytes; 0 if unknown."""
    reason: str = ""
    """How its status was found, for display."""
    label: EntryLabel | None = None
    """The label of an entry; None if it cannot be read."""
    inode: int = 0
    """Number of the file in its file system, which changes when the entry is made again."""


@dataclass(frozen=True)
class Tally:
    """A number of things, and their size."""

    count: int = 0
    """Number of things."""
    nbytes: int = 0
    """Their size in bytes."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.count + other.count, self.nbytes + other.nbytes)


@dataclass(frozen=True)
class FolderReport:
    """What one config folder holds."""

    name: str
    """Its name in the workdir."""
    backend: str
    """The backend, and its settings where they are not the defaults, as the entries state them."""
    tallies: Mapping[Status, Tally]
    """Number and bytes of the things of each kind."""

    def count(self, *kinds: Status) -> Tally:
        """Return the number and the bytes of the things of some kinds."""
        return sum((self.tallies.get(kind, Tally()) for kind in kinds), Tally())

    @property
    def entries(self) -> Tally:
        """All entries, whatever their state."""
        return self.count(*ENTRIES)


@dataclass(frozen=True)
class CacheReport:
    """What a workdir holds."""

    workdir: str
    """Its absolute path."""
    folders: tuple[FolderReport, ...]
    """One for each config folder, and one for each folder of an earlier format."""
    foreign: Tally = field(default_factory=Tally)
    """Things that this library did not make."""
    named: tuple[EntryReport, ...] = ()
    """Foreign and unreadable things; at most :data:`ndsampler.cache.inventory.MAX_NAMED` of them."""

    def count(self, *kinds: Status) -> Tally:
        """Return the number and the bytes of the things of some kinds in all folders."""
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
    """Return the report on one thing as JSON."""
    source = None if item.label is None else item.label.source
    return {
        "path": item.path,
        "status": item.status.value,
        "reason": item.reason,
        "bytes": item.nbytes,
        "source": source,
    }
