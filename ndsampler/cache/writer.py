"""
Makes one entry: converts the source, compares the result with it, appends the label, and publishes the file.
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

#: Error codes with which Windows refuses to replace or remove a file that is open: access denied, and
#: sharing violation.
OPEN_ERRORS = (5, 32)

#: Maximum attempts to move a file that a program has open, such as a virus scanner, and the seconds between
#: two of them.
OPEN_ATTEMPTS = 50
POLL_SECONDS = 0.02

# What GDAL's errors say when it cannot write to a disk.
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
        backend: how the entry is written.
        identity: the source, as it is now.
        partial: the file to make.

    Raises:
        SourceError: if the source is damaged, or was changed in the meantime.
        CacheError: if what was written is not what was read.
        OSError: if the file cannot be written, on a full disk for example.
    """
    with contextlib.closing(RecordedSource(open_form(identity.path, identity.form))) as source:
        if not identity.is_of(stat_source(identity.path)):
            raise ChangedSourceError(f"{identity.path} was changed while it was being read; read it again")
        # A codec that changes colors a little would make other classes of class indexes.
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
    """Move a finished file to the path of its entry, in place of a damaged one.

    Windows does not replace a file that is open. If the file there is a whole entry of the same source,
    another writer was faster and its entry stays.

    Args:
        partial: the finished file.
        entry: the path of the entry.

    Raises:
        CacheError: if a program keeps a damaged entry open.
        OSError: if the file cannot be moved for another reason, such as a folder that is in the way.
    """
    for attempt in range(1, OPEN_ATTEMPTS + 1):
        try:
            _replace(partial, entry)
            return
        except PermissionError as ex:
            if _hold_same_source(partial, entry):
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
    """Move a file to a path where an entry, or an empty folder, may be."""
    with contextlib.suppress(OSError):
        # An empty folder in the entry's place is removed; the rename below fails for any other folder.
        os.rmdir(entry)
    # Another process may remove the still empty shard between the two steps of a move: then move again.
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        _move(partial, entry)
        return
    _move(partial, entry)


def _move(partial: str, entry: str) -> None:
    """Rename a file into a folder, which is made if it is missing."""
    os.makedirs(os.path.dirname(entry), exist_ok=True)
    os.replace(partial, entry)


def _hold_same_source(partial: str, entry: str) -> bool:
    """Return whether an entry is whole and of the same source as a new file."""
    try:
        old, new = check_entry(entry), read_label(partial)
    except OSError as ex:
        logger.debug("%s is not a whole entry: %s", entry, ex)
        return False
    return SourceIdentity.from_label(old).token == SourceIdentity.from_label(new).token


def give_advice(error: OSError, path: str, folder: str) -> str:
    """Format why an entry cannot be made, and what helps, for an error message.

    Args:
        error: what went wrong.
        path: the source.
        folder: a folder on the disk.

    Returns:
        The rest of a sentence that ends with what cannot be made, and advice.
    """
    if isinstance(error, CacheError) and not _DISK_TROUBLE.search(str(error)):
        return f": {error}. Use backend='npy', backend=None or on_cache_error='bypass'"
    return (
        f"{_format_space(path, folder)}: {error}. "
        "Free some space, give another workdir, or use backend=None or on_cache_error='bypass'"
    )


def _format_space(path: str, folder: str) -> str:
    """Format the size of a source's pixels and the free disk space in brackets, if either is known."""
    parts = []
    with contextlib.suppress(OSError), contextlib.closing(open_source(path)) as source:
        parts.append(f"up to {math.prod(source.shape) * source.dtype.itemsize / 1e6:.1f} MB")
    with contextlib.suppress(OSError):
        parts.append(f"{shutil.disk_usage(folder).free / 1e6:.1f} MB free")
    return f" ({', '.join(parts)})" if parts else ""
