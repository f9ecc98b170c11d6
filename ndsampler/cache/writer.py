"""
Makes an entry: converts the source, compares the result with it, appends the label, and publishes the file.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import shutil
import time
from typing import TYPE_CHECKING

from ndsampler.backends.content import stat_source
from ndsampler.backends.label import EntryLabel, append_label, check_entry, read_label
from ndsampler.backends.recording import RecordedSource
from ndsampler.backends.source import open_form, open_source
from ndsampler.cache.comparison import compare_entry
from ndsampler.cache.handles import close_idle_readers
from ndsampler.cache.identity import SourceIdentity
from ndsampler.errors import CacheError, SourceError
from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from ndsampler.backends.base import Backend, RegionReader

#: Windows error codes for an attempt to replace or remove an open file: access denied, and sharing violation.
OPEN_ERRORS = (5, 32)

#: Maximum attempts to move a file that another program, such as a virus scanner, has open.
OPEN_ATTEMPTS = 50
POLL_SECONDS = 0.02

# Phrases in GDAL's errors that mean that it could not write to the disk.
_DISK_TROUBLE = re.compile(
    "no space|disk space|write error|failed to write|error while writing|too large|quota|permission denied|"
    "read-only|input/output|cannot be moved",
    re.IGNORECASE,
)

logger = get_logger(__name__)


class ChangedSourceError(SourceError):
    """A source was replaced while it was being read."""


def write_entry(backend: Backend, identity: SourceIdentity, partial: str) -> None:
    """Convert a source into a new file, compare the two, and label the file.

    Args:
        backend: writes the entry.
        identity: the current version of the source.
        partial: path of the file to make.

    Raises:
        SourceError: if the source is damaged, or was changed in the meantime.
        CacheError: if the new file does not hold the pixels of the source.
        OSError: if the file cannot be written, for example on a full disk.
    """
    with contextlib.closing(RecordedSource(open_form(identity.path, identity.form))) as source:
        if not identity.is_of(stat_source(identity.path)):
            raise ChangedSourceError(f"{identity.path} was changed while it was being read; read it again")
        # A lossy codec would turn class indexes into other classes.
        backend = backend.as_lossless() if identity.form else backend
        _check_space(backend, source.reader, os.path.dirname(partial))
        backend.convert(source, partial)
        _compare(backend, source, partial, identity.path)
        label = EntryLabel(
            source=identity.path,
            size=identity.size,
            mtime_ns=identity.mtime_ns,
            content=identity.content,
            shape=source.shape,
            dtype=source.dtype.name,
            nodata=source.nodata,
            backend=backend.describe(),
            sample=identity.sample,
            sides=identity.sides,
            form=identity.form,
        )
        append_label(partial, label)


def _check_space(backend: Backend, source: RegionReader, folder: str) -> None:
    """Raise ENOSPC up front if the entry cannot fit on the disk."""
    need, disk = backend.space_needed(source), shutil.disk_usage(folder)
    # Some network disks report a size of 0.
    if disk.total and need > disk.free:
        raise OSError(errno.ENOSPC, f"{need / 1e6:.0f} MB are needed and {disk.free / 1e6:.0f} MB are free")


def _compare(backend: Backend, source: RecordedSource, partial: str, path: str) -> None:
    """Raise a CacheError if a new entry is not a copy of its source."""
    try:
        compare_entry(source, partial, backend, backend.lossless)
    except CacheError as ex:
        raise CacheError(f"the new entry of {path} is not a copy of it: {ex}") from ex


def publish(partial: str, entry: str) -> None:
    """Move a finished file to the path of its entry, and replace a damaged entry there.

    Windows does not replace an open file. If that file is a whole entry of the same source, another writer
    was faster, and its entry is kept.

    Args:
        partial: the finished file.
        entry: the path of the entry.

    Raises:
        CacheError: if a program keeps a damaged entry open.
        OSError: if the file cannot be moved for another reason, for example because a folder has its name.
    """
    for attempt in range(1, OPEN_ATTEMPTS + 1):
        try:
            _replace(partial, entry)
            return
        except PermissionError as ex:
            if _have_same_source(partial, entry):
                logger.debug("%s was made by another writer, and is open", entry)
                return
            if getattr(ex, "winerror", None) not in OPEN_ERRORS or os.path.isdir(entry):
                raise
            if attempt == OPEN_ATTEMPTS:
                file = entry if os.path.lexists(entry) else partial
                raise CacheError(f"{file} cannot be moved or replaced while a program has it open") from ex
        close_idle_readers()
        time.sleep(POLL_SECONDS)


def _replace(partial: str, entry: str) -> None:
    """Move a file to a path, and replace an entry or an empty folder there."""
    with contextlib.suppress(OSError):
        # An empty folder in the entry's place is removed; the rename below fails for any other folder.
        os.rmdir(entry)
    # Another process may remove the empty shard between the two steps of a move. The move is then repeated.
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        _move(partial, entry)
        return
    _move(partial, entry)


def _move(partial: str, entry: str) -> None:
    """Rename a file, after making the folder of its new path if it is missing."""
    os.makedirs(os.path.dirname(entry), exist_ok=True)
    os.replace(partial, entry)


def _have_same_source(partial: str, entry: str) -> bool:
    """Return whether an entry is whole and has the same source as a new file."""
    try:
        old, new = check_entry(entry), read_label(partial)
    except OSError as ex:
        logger.debug("%s is not a whole entry: %s", entry, ex)
        return False
    return SourceIdentity.from_label(old).token == SourceIdentity.from_label(new).token


def give_advice(error: OSError, path: str, folder: str) -> str:
    """Return the part of an error message that states why an entry cannot be made, and what to do about it.

    Args:
        error: the error that occurred.
        path: the source.
        folder: a folder on the disk of the entry.

    Returns:
        A text that completes the sentence "the entry cannot be made".
    """
    if isinstance(error, CacheError) and not _DISK_TROUBLE.search(str(error)):
        return f": {error}. Use backend='npy', backend=None or on_cache_error='bypass'"
    return (
        f"{_format_space(path, folder)}: {error}. "
        "Free some space, choose another workdir, or use backend=None or on_cache_error='bypass'"
    )


def _format_space(path: str, folder: str) -> str:
    """Return the size of a source's pixels and the free disk space in parentheses, as far as known."""
    parts = []
    with contextlib.suppress(OSError), contextlib.closing(open_source(path)) as source:
        parts.append(f"up to {math.prod(source.shape) * source.dtype.itemsize / 1e6:.1f} MB")
    with contextlib.suppress(OSError):
        parts.append(f"{shutil.disk_usage(folder).free / 1e6:.1f} MB free")
    return f" ({', '.join(parts)})" if parts else ""
