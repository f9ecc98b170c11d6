"""
Making one entry of the frame cache: converted, read back, labelled, named.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import shutil
import time
from typing import TYPE_CHECKING

import numpy as np

from ndsampler.backends.base import same_pixels
from ndsampler.backends.label import EntryLabel, append_label, check_entry, read_label
from ndsampler.backends.source import open_source, stat_source
from ndsampler.cache.handles import close_idle_readers
from ndsampler.cache.identity import SourceIdentity
from ndsampler.errors import CacheError, SourceError

if TYPE_CHECKING:
    from ndsampler.backends.base import Backend, RegionReader

#: Side of the blocks, in pixels, and their number, that are compared before an entry is accepted.
CHECK_BLOCK = 64
CHECK_BLOCKS = 5

#: Error codes with which Windows refuses to replace or remove a file that is open: access denied, and
#: sharing violation.
OPEN_ERRORS = (5, 32)

#: Maximum attempts to move a file that a program has open, such as a virus scanner, and the seconds between
#: two of them.
OPEN_ATTEMPTS = 50
POLL_SECONDS = 0.02

logger = logging.getLogger(__name__)


def write_entry(backend: Backend, identity: SourceIdentity, partial: str) -> None:
    """Convert a source into a new file, read that back, and label it.

    Args:
        backend: how the entry is written.
        identity: the source, as it is now.
        partial: the file to make.

    Raises:
        SourceError: if the source is damaged.
        CacheError: if what was written is not what was read.
        OSError: if it cannot be written, on a full disk for example.
    """
    source = open_source(identity.path)
    try:
        stat = stat_source(identity.path)
        if (stat.st_size, stat.st_mtime_ns) != (identity.size, identity.mtime_ns):
            raise SourceError(f"{identity.path} was changed while it was being read; read it again")
        _check_space(backend, source, os.path.dirname(partial))
        backend.convert(source, partial)
        _verify(backend, source, partial, identity.path)
        label = EntryLabel(
            source=identity.path,
            size=identity.size,
            mtime_ns=identity.mtime_ns,
            content=identity.content,
            shape=source.shape,
            dtype=source.dtype.name,
            nodata=source.nodata,
            backend=backend.describe(),
        )
        append_label(partial, label)
    finally:
        source.close()


def _check_space(backend: Backend, source: RegionReader, dpath: str) -> None:
    """Refuse an entry that will not fit, before the disk is full of the half of it."""
    need, disk = backend.space_needed(source), shutil.disk_usage(dpath)
    # Some network disks tell no sizes.
    if disk.total and need > disk.free:
        free = disk.free
        raise OSError(errno.ENOSPC, f"{need / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free")


def _verify(backend: Backend, source: RegionReader, partial: str, path: str) -> None:
    """Read an entry back and compare it with its source before anyone else sees it."""
    try:
        written = backend.open(partial)
    except SourceError as ex:
        raise CacheError(f"the entry of {path} cannot be read back: {ex}") from ex
    try:
        if written.shape != source.shape or written.dtype != source.dtype:
            raise CacheError(
                f"the entry of {path} came out as {written.dtype} {written.shape}; "
                f"the source is {source.dtype} {source.shape}"
            )
        for box in _check_blocks(source.shape) if backend.lossless else []:
            theirs = source.read(*box)
            try:
                ours = written.read(*box)
            except SourceError as ex:
                raise CacheError(f"the entry of {path} cannot be read back: {ex}") from ex
            if not same_pixels(ours, theirs):
                raise CacheError(f"the entry of {path} differs from its source at rows and columns {box}")
    finally:
        written.close()


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
        # If the folder is not empty, the next lines say so.
        os.rmdir(entry)
    # A cleanup may remove the parent folder between the two steps of the move, while it is empty.
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
        logger.debug("%s is no whole entry: %s", entry, ex)
        return False
    return _token_of(old) == _token_of(new)


def _token_of(label: EntryLabel) -> str:
    """Return the token of the source that a label names."""
    return SourceIdentity(label.source, label.size, label.mtime_ns, label.content).token


def tell_space(path: str, dpath: str) -> str:
    """Say in brackets how much the pixels of a source take, and how much is free, where that can be told.

    Args:
        path: the source.
        dpath: a folder on the disk.
    """
    parts = []
    with contextlib.suppress(OSError):
        source = open_source(path)
        parts.append(f"up to {math.prod(source.shape) * source.dtype.itemsize / 1e6:.1f} MB")
        source.close()
    with contextlib.suppress(OSError):
        parts.append(f"{shutil.disk_usage(dpath).free / 1e6:.1f} MB free")
    return f" ({', '.join(parts)})" if parts else ""


def _check_blocks(shape: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    """Return boxes along the diagonal of an image, its two ends among them."""
    height, width, _ = shape
    rows = np.linspace(0, max(0, height - CHECK_BLOCK), CHECK_BLOCKS).astype(int).tolist()
    cols = np.linspace(0, max(0, width - CHECK_BLOCK), CHECK_BLOCKS).astype(int).tolist()
    return [(y, min(y + CHECK_BLOCK, height), x, min(x + CHECK_BLOCK, width)) for y, x in zip(rows, cols)]
