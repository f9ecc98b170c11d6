"""
Making one entry of the frame cache: converted, read back, labelled, named.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
from typing import TYPE_CHECKING

import numpy as np

from ndsampler.backends.base import same_pixels
from ndsampler.backends.label import EntryLabel, append_label
from ndsampler.backends.source import open_source, stat_source
from ndsampler.errors import CacheError, SourceError

if TYPE_CHECKING:
    from ndsampler.backends.base import Backend, RegionReader
    from ndsampler.cache.identity import SourceIdentity

#: Side of the blocks, in pixels, and their number, that are compared before an entry is accepted.
CHECK_BLOCK = 64
CHECK_BLOCKS = 5


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
    """Give a finished file its name, in place of whatever damaged thing has it.

    Args:
        partial: the file.
        entry: the name.

    Raises:
        OSError: if that is not possible, because a folder is in the way for example.
    """
    with contextlib.suppress(OSError):
        # A folder of that name goes if it is empty; if it is not, the next lines say so.
        os.rmdir(entry)
    # A folder that is empty yet may be cleared away between the two steps.
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        _move(partial, entry)
        return
    _move(partial, entry)


def _move(partial: str, entry: str) -> None:
    """Rename a file into a folder, which is made where it is missing."""
    os.makedirs(os.path.dirname(entry), exist_ok=True)
    os.replace(partial, entry)


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
