"""
Lists the contents of a workdir's cache: its entries, and all other files and folders beside them.

:func:`scan` yields a report on each item and changes nothing; :func:`survey` counts the items. Links are
never followed, and items that disappear in the meantime are skipped, so both may run while other processes
use the same cache.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ndsampler.backends.label import MARK, EntryLabel, check_entry
from ndsampler.cache import names
from ndsampler.cache.identity import SourceIdentity
from ndsampler.cache.partial import FOLDER as PARTIAL_FOLDER
from ndsampler.cache.partial import PartialFiles
from ndsampler.cache.reports import CacheReport, EntryReport, FolderReport, Status, Tally
from ndsampler.errors import ArgumentError, CacheError
from ndsampler.utils.walk import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ndsampler.types import PathLike

#: Pattern of the last bytes of an entry of any version.
ANY_MARK = re.compile(rb"NDSAMPLER-\d\n")

#: Maximum number of foreign and unreadable items that a report names; further ones are only counted.
MAX_NAMED = 1000


def survey(workdir: PathLike, callback: Callable[[EntryReport], object] | None = None) -> CacheReport:
    """Count the contents of a workdir's cache.

    An entry with an intact seal takes a few small reads. Any other, such as a copy that did not preserve its
    times, is read completely, and sealed again if this process may write to it.

    Args:
        workdir: the folder that was passed as ``workdir`` to a sampler.
        callback: called with the report on each item as it is found.

    Returns:
        For each config folder, the number of items with each status, and their size in bytes.

    Raises:
        ArgumentError: if the folder is not a workdir.

    Example:
        >>> import tempfile
        >>> from ndsampler.abstract_frames import SimpleFrames
        >>> workdir = tempfile.mkdtemp()
        >>> SimpleFrames.demo(backend='npy', workdir=workdir).prepare()
        >>> report = survey(workdir)
        >>> report.entries.count, report.count(Status.STALE, Status.ORPHANED).count
        (3, 0)
    """
    counts: dict[str, Counter[Status]] = {}
    sizes: dict[str, Counter[Status]] = {}
    backends: dict[str, str] = {}
    named: list[EntryReport] = []
    for item in scan(workdir):
        if callback is not None:
            callback(item)
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
        FolderReport(name, backends.get(name) or names.backend_of_folder(name) or name, found)
        for name, found in sorted(tallies.items())
        if any(kind != Status.FOREIGN for kind in found)
    ]
    return CacheReport(os.path.abspath(os.fspath(workdir)), tuple(folders), foreign, tuple(named))


def scan(workdir: PathLike, check: Callable[[str], EntryLabel] = check_entry) -> Iterator[EntryReport]:
    """Yield a report on each item in a workdir's cache, sorted by name.

    Args:
        workdir: the folder that was passed as ``workdir`` to a sampler.
        check: returns the label of an entry and raises a :class:`ndsampler.errors.CacheError` for a damaged
            one: :func:`ndsampler.backends.label.check_entry`, or the thorough
            :func:`ndsampler.backends.label.verify_entry`.

    Yields:
        A report on each entry, leftover and foreign item; empty folders are skipped.

    Raises:
        ArgumentError: if the folder is not a workdir.

    Example:
        >>> import tempfile
        >>> from ndsampler.abstract_frames import SimpleFrames
        >>> workdir = tempfile.mkdtemp()
        >>> SimpleFrames.demo(backend='npy', workdir=workdir).prepare([1])
        >>> [item.status.value for item in scan(workdir)]
        ['current']
    """
    root = find_entries(workdir)
    outdated = names.outdated_config_folders()
    children, trouble = _list(root, "")
    yield from trouble
    for child in children:
        if not child.is_dir(follow_symlinks=False):
            yield _foreign(child, "", "")
        elif names.is_old_folder(child.name):
            yield from _scan_old(child)
        elif names.backend_of_folder(child.name):
            yield from _scan_folder(child, check, child.name in outdated)
        else:
            yield _foreign(child, "", "not the folder of a backend")


def find_entries(workdir: PathLike) -> str:
    """Return the folder of all entries in a workdir.

    Args:
        workdir: the folder that was passed as ``workdir`` to a sampler.

    Raises:
        ArgumentError: if the folder is not a workdir.

    Example:
        >>> find_entries('/no/such/folder')
        Traceback (most recent call last):
        ...
        ndsampler.errors.ArgumentError: /no/such/folder does not exist; expected a workdir, ...
    """
    path = Path(os.path.abspath(os.fspath(workdir)))
    root = names.entries_root(path)
    if os.path.isdir(root):
        return root
    expected = "expected a workdir, with a folder _cache/frames in it"
    if not path.is_dir():
        state = "is not a folder" if os.path.lexists(path) else "does not exist"
        raise ArgumentError(f"{path} {state}; {expected}")
    above = next((up for up in path.parents if path.is_relative_to(names.entries_root(up))), None)
    hint = f"; did you mean {above}?" if above else ": nothing has been cached there"
    raise ArgumentError(f"{path} is not a workdir; {expected}{hint}")


def count_files(workdir: PathLike) -> int:
    """Return the approximate number of entries in a workdir, without opening them.

    Args:
        workdir: the folder that was passed as ``workdir`` to a sampler.

    Raises:
        ArgumentError: if the folder is not a workdir.
    """
    return names.count_entries(find_entries(workdir))


def _list(path: str, folder: str) -> tuple[list[os.DirEntry[str]], list[EntryReport]]:
    """Return the sorted contents of a folder, and a report if it cannot be read."""
    try:
        with os.scandir(path) as found:
            return sorted(found, key=lambda child: child.name), []
    except FileNotFoundError:
        return [], []
    except OSError as ex:
        return [], [EntryReport(path, folder, Status.UNREADABLE, reason=_error_text(ex))]


def _scan_folder(
    top: os.DirEntry[str], check: Callable[[str], EntryLabel], outdated: bool
) -> Iterator[EntryReport]:
    """Yield a report on each item in a config folder."""
    children, trouble = _list(top.path, top.name)
    yield from trouble
    for child in children:
        is_folder = child.is_dir(follow_symlinks=False)
        if is_folder and child.name == PARTIAL_FOLDER:
            yield from _scan_writer_folders(child, top)
        elif is_folder and names.is_shard(child.name):
            entries, trouble = _list(child.path, top.name)
            yield from trouble
            for entry in entries:
                report = _report_on_file(entry, top.name, child.name, check, outdated)
                if report is not None:
                    yield report
        else:
            yield _foreign(child, top.name, "")


def _scan_writer_folders(folder: os.DirEntry[str], top: os.DirEntry[str]) -> Iterator[EntryReport]:
    """Yield a report on each writer's folder, whether the writer has died or not."""
    places, trouble = _list(folder.path, top.name)
    yield from trouble
    writers = PartialFiles(top.path)
    for place in places:
        if not place.is_dir(follow_symlinks=False) or not names.is_writer_folder(place.name):
            yield _foreign(place, top.name, "not the folder of a writer")
        elif writers.is_stale(place.name):
            yield EntryReport(
                place.path, top.name, Status.LEFTOVER, _folder_size(place.path), "its writer has died"
            )
        elif writers.is_writers(place.name):
            yield EntryReport(place.path, top.name, Status.BUSY, _folder_size(place.path), "being written")
        elif _list(place.path, "") != ([], []):
            yield _foreign(place, top.name, "not the folder of a writer: it has no lock file, or other files")


def _scan_old(top: os.DirEntry[str]) -> Iterator[EntryReport]:
    """Yield a report on each file in a cache of ndsampler 0.8 or earlier."""
    trouble: list[OSError] = []
    for base, folders, files in walk(top.path, trouble.append):
        for name in sorted([*files, *(sub for sub in folders if os.path.islink(os.path.join(base, sub)))]):
            path = os.path.join(base, name)
            inner = os.path.relpath(path, top.path).replace(os.sep, "/")
            ours = names.is_old_file(top.name, inner) and not os.path.islink(path)
            yield EntryReport(
                path,
                top.name,
                Status.OUTDATED if ours else Status.FOREIGN,
                _size(path),
                "made by ndsampler 0.8 or earlier" if ours else "not made by ndsampler",
            )
    for error in trouble:
        yield EntryReport(str(error.filename), top.name, Status.UNREADABLE, reason=_error_text(error))


def _report_on_file(
    file: os.DirEntry[str], folder: str, shard: str, check: Callable[[str], EntryLabel], outdated: bool
) -> EntryReport | None:
    """Return a report on an item in a shard; None if it has just been removed."""
    token = names.token_of_entry(file.name)
    if token is None or token[:2] != shard:
        return _foreign(file, folder, "not named as an entry")
    if file.is_symlink():
        return _foreign(file, folder, "a link")
    if file.is_dir(follow_symlinks=False):
        if _list(file.path, folder) != ([], []):
            return _foreign(file, folder, "a folder")
        return EntryReport(file.path, folder, Status.DAMAGED, 0, "an empty folder is in its place")
    if not file.is_file(follow_symlinks=False):
        return _foreign(file, folder, "not a regular file")
    if outdated:
        return EntryReport(file.path, folder, Status.OUTDATED, _size(file.path), "it has an earlier format")
    return report_on_entry(file.path, folder, check)


def report_on_entry(
    path: str, folder: str, check: Callable[[str], EntryLabel] = check_entry
) -> EntryReport | None:
    """Return a report on one entry.

    Args:
        path: path of the entry.
        folder: name of its config folder.
        check: see :func:`scan`.

    Returns:
        The report; None if the entry has just been removed.
    """
    try:
        stat = os.lstat(path)
        known = EntryReport(path, folder, Status.UNREADABLE, stat.st_size, inode=stat.st_ino)
    except FileNotFoundError:
        return None
    except OSError as ex:
        return EntryReport(path, folder, Status.UNREADABLE, reason=_error_text(ex))
    try:
        label = check(path)
    except FileNotFoundError:
        return None
    except CacheError as ex:
        return _report_on_unlabeled(known, str(ex).removeprefix(f"{path} "))
    except OSError as ex:
        return replace(known, reason=_error_text(ex))
    status, reason = Status.DAMAGED, "its name and its label belong to different sources"
    if names.is_named_for(path, SourceIdentity.from_label(label)):
        status, reason = find_source_status(label)
    return replace(known, status=status, reason=reason, label=label)


def _report_on_unlabeled(known: EntryReport, reason: str) -> EntryReport | None:
    """Return a report on a file without a valid label. It is damaged unless another version wrote it."""
    try:
        with open(known.path, "rb") as file:
            file.seek(max(0, known.nbytes - len(MARK)))
            mark = file.read(len(MARK))
    except FileNotFoundError:
        return None
    except OSError as ex:
        return replace(known, reason=_error_text(ex))
    if mark == MARK or not ANY_MARK.fullmatch(mark):
        return replace(known, status=Status.DAMAGED, reason=reason)
    if mark < MARK:
        return replace(known, status=Status.OUTDATED, reason="it has an earlier format")
    return replace(known, status=Status.FOREIGN, reason="made by a later version of ndsampler")


def find_source_status(label: EntryLabel) -> tuple[Status, str]:
    """Return the status of an entry according to the state of its source.

    Args:
        label: label of the entry.

    Returns:
        The status, and the reason for it.
    """
    if label.content:
        return Status.CURRENT, "named after its content"
    try:
        is_current = SourceIdentity.from_label(label).is_current()
    except (FileNotFoundError, NotADirectoryError):
        if os.path.isdir(os.path.dirname(label.source)):
            return Status.ORPHANED, f"{label.source} is gone"
        return Status.UNREACHABLE, f"the folder of {label.source} is gone, or is not mounted"
    except (OSError, ValueError) as ex:
        return Status.UNREACHABLE, f"{label.source} cannot be reached: {_error_text(ex)}"
    if not is_current:
        return Status.STALE, f"{label.source} has changed since"
    return Status.CURRENT, ""


def _foreign(child: os.DirEntry[str], folder: str, reason: str) -> EntryReport:
    """Return a report on an item that this library did not make."""
    if child.is_symlink():
        reason = "a link"
    size = 0 if child.is_dir(follow_symlinks=False) else _size(child.path)
    return EntryReport(child.path, folder, Status.FOREIGN, size, reason or "not made by ndsampler")


def _size(path: str) -> int:
    """Return the size of a file, or of a link itself, in bytes; 0 if it has just been removed."""
    with contextlib.suppress(OSError):
        return os.lstat(path).st_size
    return 0


def _folder_size(path: str) -> int:
    """Return the total size in bytes of the files in a writer's folder."""
    return sum(_size(child.path) for child in _list(path, "")[0])


def _error_text(error: Exception) -> str:
    """Return the text of an error without the path, because the report already names it."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
