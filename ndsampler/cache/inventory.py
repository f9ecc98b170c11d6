"""
What lies in a workdir: every entry of the frame cache, and everything else beside them.

:func:`scan` looks at one thing after the other and tells what it is, in any
number and without changing anything; :func:`survey` counts. Links are never followed,
and what vanishes meanwhile is passed over, so all of this may run while others
read and write the same cache.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndsampler.backends.base import FORMAT_VERSION, REGISTRY
from ndsampler.backends.label import MARK, EntryLabel, check_entry
from ndsampler.cache.frame_cache import entries_folder
from ndsampler.cache.identity import SourceIdentity
from ndsampler.cache.partial import FOLDER as PARTIAL_FOLDER
from ndsampler.cache.partial import LOCK, PartialFiles
from ndsampler.errors import ArgumentError, CacheError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ndsampler.types import PathLike

#: The folder of a backend and its settings: see :attr:`ndsampler.backends.base.Backend.config_id`.
CONFIG_FOLDER = re.compile(r"(.+)_[0-9a-f]{12}")

#: A folder of entries whose identities begin alike.
SHARD = re.compile(r"[0-9a-f]{2}")

#: The name of an entry: perhaps that of its source, the identity, and the backend's suffix.
ENTRY_NAME = re.compile(r"(?:[A-Za-z0-9_-]{0,40}_)?([0-9a-f]{32})\.[A-Za-z0-9.]+")

#: A writer's folder: the identity of the entry, and something random where there are no locks.
PLACE_NAME = re.compile(r"[0-9a-f]{32}(\.[0-9a-f]{8})?")

#: What ndsampler 0.8 and earlier kept, in folders named ``npy`` and ``cog/<hash>``.
OLD_FOLDERS = {"npy": r"", "cog": r"[0-9a-f]{8}/"}
OLD_FOLDER = re.compile(r"[0-9a-f]{2}|[0-9a-f]{8}")
OLD_FILE = re.compile(
    r"[0-9a-f]{2}/[0-9a-f]{38}\.(npy|cog\.tiff)(\.[a-z]+)?|prepare_frames_stamp\w*\.pkl(\.meta)?"
)

#: The last bytes of an entry in this version and others.
ANY_MARK = re.compile(rb"NDSAMPLER-\d\n")

#: Foreign and unreadable things that a report names; the others are only counted.
MAX_NAMED = 1000


class Status(str, Enum):
    """What something in a workdir is."""

    CURRENT = "current"
    """A whole entry of a source as it is now, or one that is named by its content."""
    STALE = "stale"
    """An entry of a source that has changed since; never read again."""
    ORPHANED = "orphaned"
    """An entry of a source that is gone, from a folder that is there."""
    UNREACHABLE = "unreachable"
    """An entry of a source whose folder cannot be looked into: it is gone, or its disk is not mounted."""
    DAMAGED = "damaged"
    """An entry that is cut off, overwritten, or named for another source."""
    OUTDATED = "outdated"
    """A file of an earlier format, which is never read."""
    LEFTOVER = "leftover"
    """What a writer that died was writing."""
    BUSY = "busy"
    """What another process is writing now."""
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
    """Where it lies."""
    folder: str
    """Name of the folder of its backend and settings; empty beside these."""
    status: Status
    """What it is."""
    nbytes: int = 0
    """Its size, where that is known."""
    reason: str = ""
    """How that was seen, for people."""
    label: EntryLabel | None = None
    """What an entry says of itself, where that can be read."""
    inode: int = 0
    """The number of an entry's file, which is another as soon as the entry is made anew."""


@dataclass(frozen=True)
class Tally:
    """A number of things, and their size."""

    count: int = 0
    """How many."""
    nbytes: int = 0
    """Their bytes."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.count + other.count, self.nbytes + other.nbytes)


@dataclass(frozen=True)
class FolderReport:
    """What the folder of one backend and its settings holds."""

    name: str
    """Its name in the workdir."""
    backend: str
    """The backend, and its settings where they are not the defaults, as entries tell them."""
    tallies: Mapping[Status, Tally]
    """How much there is of each kind."""

    def of(self, *kinds: Status) -> Tally:
        """Return how much there is of some kinds."""
        return sum((self.tallies.get(kind, Tally()) for kind in kinds), Tally())

    @property
    def entries(self) -> Tally:
        """All entries, whatever their state."""
        return self.of(*ENTRIES)


@dataclass(frozen=True)
class CacheReport:
    """What a workdir holds."""

    workdir: str
    """Its absolute path."""
    folders: tuple[FolderReport, ...]
    """One for each backend and its settings, and one for each folder of an earlier format."""
    foreign: Tally = field(default_factory=Tally)
    """Things that this library did not make."""
    named: tuple[EntryReport, ...] = ()
    """What is foreign or cannot be read, as far as :data:`MAX_NAMED` goes."""

    def of(self, *kinds: Status) -> Tally:
        """Return how much there is of some kinds in all folders."""
        return sum((folder.of(*kinds) for folder in self.folders), Tally())

    @property
    def entries(self) -> Tally:
        """All entries, whatever their state."""
        return self.of(*ENTRIES)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return {
            "workdir": self.workdir,
            "entries": self.entries.count,
            "bytes": self.entries.nbytes,
            **{kind.value: self.of(kind).count for kind in Status if kind != Status.FOREIGN},
            "foreign": self.foreign.count,
            "configs": [_folder_json(folder) for folder in self.folders],
            "named": [item_json(item) for item in self.named],
        }


def _folder_json(folder: FolderReport) -> dict[str, Any]:
    """Return what is told of one folder, as JSON has it."""
    tallies = {kind: folder.of(kind) for kind in Status if kind != Status.FOREIGN}
    return {
        "config": folder.name,
        "backend": folder.backend,
        "entries": folder.entries.count,
        "bytes": folder.entries.nbytes,
        **{kind.value: tally.count for kind, tally in tallies.items()},
        "bytes_of": {kind.value: tally.nbytes for kind, tally in tallies.items()},
    }


def item_json(item: EntryReport) -> dict[str, Any]:
    """Return what is told of one thing, as JSON has it."""
    source = None if item.label is None else item.label.source
    return {
        "path": item.path,
        "status": item.status.value,
        "reason": item.reason,
        "bytes": item.nbytes,
        "source": source,
    }


def survey(workdir: PathLike, tell: Callable[[EntryReport], object] | None = None) -> CacheReport:
    """Count what lies in a workdir.

    Entries with an intact seal cost a few reads each; others, copies without their times for example, are
    read whole, and sealed again where that is allowed.

    Args:
        workdir: what was given as ``workdir`` to a sampler.
        tell: called with everything that was looked at.

    Returns:
        The number and bytes of each kind, for each backend and its settings.

    Raises:
        ArgumentError: if that is no workdir.

    Example:
        >>> import tempfile
        >>> from ndsampler.abstract_frames import SimpleFrames
        >>> workdir = tempfile.mkdtemp()
        >>> SimpleFrames.demo(backend='npy', workdir=workdir).prepare()
        >>> report = survey(workdir)
        >>> report.entries.count, report.of(Status.STALE, Status.ORPHANED).count
        (3, 0)
    """
    counts: dict[str, Counter[Status]] = {}
    sizes: dict[str, Counter[Status]] = {}
    backends: dict[str, str] = {}
    named: list[EntryReport] = []
    for item in scan(workdir):
        if tell is not None:
            tell(item)
        counts.setdefault(item.folder, Counter())[item.status] += 1
        sizes.setdefault(item.folder, Counter())[item.status] += item.nbytes
        if item.label is not None:
            backends.setdefault(item.folder, item.label.backend)
        if item.status in (Status.FOREIGN, Status.UNREADABLE) and len(named) < MAX_NAMED:
            named.append(item)
    tallies = {
        name: {kind: Tally(count, sizes[name][kind]) for kind, count in kinds.items()}
        for name, kinds in counts.items()
    }
    foreign = sum((found.get(Status.FOREIGN, Tally()) for found in tallies.values()), Tally())
    folders = [
        FolderReport(name, backends.get(name) or _backend_name(name), found)
        for name, found in sorted(tallies.items())
        if any(kind != Status.FOREIGN for kind in found)
    ]
    return CacheReport(os.path.abspath(os.fspath(workdir)), tuple(folders), foreign, tuple(named))


def scan(workdir: PathLike, check: Callable[[str], EntryLabel] = check_entry) -> Iterator[EntryReport]:
    """Tell of everything in a workdir what it is, one after the other, in the order of the names.

    Args:
        workdir: what was given as ``workdir`` to a sampler.
        check: looks at an entry, returns its label, and raises a :class:`ndsampler.errors.CacheError` for a
            damaged one: :func:`ndsampler.backends.label.check_entry`, or the thorough
            :func:`ndsampler.backends.label.verify_entry`.

    Yields:
        What is there, foreign things included; empty folders are passed over.

    Raises:
        ArgumentError: if that is no workdir.

    Example:
        >>> import tempfile
        >>> from ndsampler.abstract_frames import SimpleFrames
        >>> workdir = tempfile.mkdtemp()
        >>> SimpleFrames.demo(backend='npy', workdir=workdir).prepare([1])
        >>> [item.status.value for item in scan(workdir)]
        ['current']
    """
    root = find_entries(workdir)
    outdated = outdated_folders()
    children, trouble = _list(root, "")
    yield from trouble
    for child in children:
        if not child.is_dir(follow_symlinks=False):
            yield _foreign(child, "", "")
        elif child.name in OLD_FOLDERS:
            yield from _scan_old(child, OLD_FOLDERS[child.name])
        elif CONFIG_FOLDER.fullmatch(child.name):
            yield from _scan_folder(child, check, child.name in outdated)
        else:
            yield _foreign(child, "", "no folder of a backend and its settings")


def find_entries(workdir: PathLike) -> str:
    """Return the folder of all entries in a workdir.

    Args:
        workdir: what was given as ``workdir`` to a sampler.

    Raises:
        ArgumentError: if that is no workdir.

    Example:
        >>> find_entries('/no/such/folder')
        Traceback (most recent call last):
        ...
        ndsampler.errors.ArgumentError: /no/such/folder does not exist; expected a workdir, ...
    """
    path = Path(os.path.abspath(os.fspath(workdir)))
    root = entries_folder(path)
    if os.path.isdir(root):
        return root
    expected = "expected a workdir, with a folder _cache/frames in it"
    if not path.is_dir():
        state = "is no folder" if os.path.lexists(path) else "does not exist"
        raise ArgumentError(f"{path} {state}; {expected}")
    above = next((up for up in path.parents if path.is_relative_to(entries_folder(up))), None)
    hint = f"; did you mean {above}?" if above else ": nothing has been cached there"
    raise ArgumentError(f"{path} is no workdir; {expected}{hint}")


def count_files(workdir: PathLike) -> int:
    """Return about how many entries there are, without opening any.

    Args:
        workdir: what was given as ``workdir`` to a sampler.

    Raises:
        ArgumentError: if that is no workdir.
    """
    walk = os.walk(find_entries(workdir))
    return sum(ENTRY_NAME.fullmatch(name) is not None for _, _, files in walk for name in files)


def outdated_folders() -> frozenset[str]:
    """Return the names of folders that earlier formats had, for backends with their default settings."""
    known = [cls() for cls in REGISTRY.values() if cls.suffix]
    return frozenset(
        backend.config_id_of(version) for backend in known for version in range(1, FORMAT_VERSION)
    )


def _backend_name(folder: str) -> str:
    """Return the name of a backend from that of its folder."""
    match = CONFIG_FOLDER.fullmatch(folder)
    return match[1] if match else folder.partition(os.sep)[0]


def _list(path: str, folder: str) -> tuple[list[os.DirEntry[str]], list[EntryReport]]:
    """Return what a folder holds, sorted, or what keeps it from being read."""
    try:
        with os.scandir(path) as found:
            return sorted(found, key=lambda child: child.name), []
    except FileNotFoundError:
        return [], []
    except OSError as ex:
        return [], [EntryReport(path, folder, Status.UNREADABLE, reason=_why(ex))]


def _scan_folder(
    top: os.DirEntry[str], check: Callable[[str], EntryLabel], outdated: bool
) -> Iterator[EntryReport]:
    """Tell what lies in the folder of a backend and its settings."""
    children, trouble = _list(top.path, top.name)
    yield from trouble
    for child in children:
        is_folder = child.is_dir(follow_symlinks=False)
        if is_folder and child.name == PARTIAL_FOLDER:
            yield from _scan_places(child, top)
        elif is_folder and SHARD.fullmatch(child.name):
            entries, trouble = _list(child.path, top.name)
            yield from trouble
            for entry in entries:
                report = _judge(entry, top.name, child.name, check, outdated)
                if report is not None:
                    yield report
        else:
            yield _foreign(child, top.name, "")


def _scan_places(folder: os.DirEntry[str], top: os.DirEntry[str]) -> Iterator[EntryReport]:
    """Tell what writers left, or are writing."""
    places, trouble = _list(folder.path, top.name)
    yield from trouble
    writers = PartialFiles(top.path)
    for place in places:
        if not place.is_dir(follow_symlinks=False) or not PLACE_NAME.fullmatch(place.name):
            yield _foreign(place, top.name, "no folder of a writer")
        elif writers.is_stale(place.name):
            yield EntryReport(
                place.path, top.name, Status.LEFTOVER, _folder_size(place.path), "its writer is no more"
            )
        elif os.path.lexists(os.path.join(place.path, LOCK)):
            yield EntryReport(place.path, top.name, Status.BUSY, _folder_size(place.path), "being written")
        elif _list(place.path, "") != ([], []):
            yield _foreign(place, top.name, "no folder of a writer, who would have a lock in it")


def _scan_old(top: os.DirEntry[str], prefix: str) -> Iterator[EntryReport]:
    """Tell what ndsampler 0.8 and earlier left."""
    trouble: list[OSError] = []
    for base, folders, files in os.walk(top.path, onerror=trouble.append):
        folders.sort()
        # os.walk lists links to folders as folders, without following them.
        for name in sorted([*files, *(sub for sub in folders if os.path.islink(os.path.join(base, sub)))]):
            path = os.path.join(base, name)
            inner = os.path.relpath(path, top.path).replace(os.sep, "/")
            match = re.match(prefix, inner)
            ours = match and OLD_FILE.fullmatch(inner[match.end() :]) and not os.path.islink(path)
            yield EntryReport(
                path,
                top.name,
                Status.OUTDATED if ours else Status.FOREIGN,
                _size(path),
                "of ndsampler 0.8 or earlier" if ours else "not made by ndsampler",
            )
    for error in trouble:
        yield EntryReport(str(error.filename), top.name, Status.UNREADABLE, reason=_why(error))


def _judge(
    file: os.DirEntry[str], folder: str, shard: str, check: Callable[[str], EntryLabel], outdated: bool
) -> EntryReport | None:
    """Tell what a file among entries is; None if it has just been removed."""
    match = ENTRY_NAME.fullmatch(file.name)
    if match is None or match[1][:2] != shard:
        return _foreign(file, folder, "it has no name of an entry")
    if file.is_symlink():
        return _foreign(file, folder, "a link")
    if file.is_dir(follow_symlinks=False):
        if _list(file.path, folder) != ([], []):
            return _foreign(file, folder, "a folder")
        return EntryReport(file.path, folder, Status.DAMAGED, 0, "an empty folder is in its place")
    if not file.is_file(follow_symlinks=False):
        return _foreign(file, folder, "no plain file")
    if outdated:
        return EntryReport(file.path, folder, Status.OUTDATED, _size(file.path), "of an earlier format")
    return judge_entry(file.path, folder, check)


def judge_entry(
    path: str, folder: str, check: Callable[[str], EntryLabel] = check_entry
) -> EntryReport | None:
    """Tell the state of one entry.

    Args:
        path: where it lies.
        folder: name of the folder of its backend and settings.
        check: see :func:`scan`.

    Returns:
        What it is; None if it has just been removed.
    """
    try:
        stat = os.lstat(path)
        known = EntryReport(path, folder, Status.UNREADABLE, stat.st_size, inode=stat.st_ino)
    except FileNotFoundError:
        return None
    except OSError as ex:
        return EntryReport(path, folder, Status.UNREADABLE, reason=_why(ex))
    try:
        label = check(path)
    except FileNotFoundError:
        return None
    except CacheError as ex:
        return _judge_unlabelled(known, str(ex).removeprefix(f"{path} "))
    except OSError as ex:
        return replace(known, reason=_why(ex))
    status, reason = Status.DAMAGED, "its label names another source than its name stands for"
    if _is_named_for(path, label):
        status, reason = judge_source(label)
    return replace(known, status=status, reason=reason, label=label)


def _judge_unlabelled(known: EntryReport, reason: str) -> EntryReport | None:
    """Tell what a file without an intact label is: damaged, unless another version wrote it."""
    try:
        with open(known.path, "rb") as file:
            file.seek(max(0, known.nbytes - len(MARK)))
            mark = file.read(len(MARK))
    except FileNotFoundError:
        return None
    except OSError as ex:
        return replace(known, reason=_why(ex))
    if mark == MARK or not ANY_MARK.fullmatch(mark):
        return replace(known, status=Status.DAMAGED, reason=reason)
    if mark < MARK:
        return replace(known, status=Status.OUTDATED, reason="of an earlier format")
    return replace(known, status=Status.FOREIGN, reason="of a later version of ndsampler")


def _is_named_for(path: str, label: EntryLabel) -> bool:
    """Whether an entry has the name of the source in its label."""
    match = ENTRY_NAME.fullmatch(os.path.basename(path))
    texts = (label.source, label.content, label.backend)
    numbers = (label.size, label.mtime_ns)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(n, int) for n in numbers):
        return False
    identity = SourceIdentity(label.source, label.size, label.mtime_ns, label.content)
    return match is not None and match[1] == identity.token


def judge_source(label: EntryLabel) -> tuple[Status, str]:
    """Tell whether the source of an entry is as it was when it was converted.

    Args:
        label: of the entry.

    Returns:
        What that makes of the entry, and why.
    """
    if label.content:
        return Status.CURRENT, "named by its content"
    try:
        stat = os.stat(label.source)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.isdir(os.path.dirname(label.source)):
            return Status.ORPHANED, f"{label.source} is gone"
        return Status.UNREACHABLE, f"the folder of {label.source} is gone, or is not mounted"
    except (OSError, ValueError) as ex:
        return Status.UNREACHABLE, f"{label.source} cannot be reached: {_why(ex)}"
    if (stat.st_size, stat.st_mtime_ns) != (label.size, label.mtime_ns):
        return Status.STALE, f"{label.source} has changed since"
    return Status.CURRENT, ""


def is_unchanged(label: EntryLabel) -> bool:
    """Whether the source of an entry lies where it was converted from, as it was.

    Args:
        label: of the entry.
    """
    try:
        stat = os.stat(label.source)
    except (OSError, ValueError):
        return False
    return (stat.st_size, stat.st_mtime_ns) == (label.size, label.mtime_ns)


def _foreign(child: os.DirEntry[str], folder: str, reason: str) -> EntryReport:
    """Return what is told of something that this library did not make."""
    if child.is_symlink():
        reason = "a link"
    size = 0 if child.is_dir(follow_symlinks=False) else _size(child.path)
    return EntryReport(child.path, folder, Status.FOREIGN, size, reason or "not made by ndsampler")


def _size(path: str) -> int:
    """Return the size of a file, or of a link itself; 0 for one that has just been removed."""
    with contextlib.suppress(OSError):
        return os.lstat(path).st_size
    return 0


def _folder_size(path: str) -> int:
    """Return the size of the files of a writer."""
    return sum(_size(child.path) for child in _list(path, "")[0])


def _why(error: Exception) -> str:
    """Return what an error says, without the path that is told anyway."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
