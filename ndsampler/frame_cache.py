"""
The cache of converted images: one file an image, whole or absent.

An entry is named by the identity of its source and by the settings of its
backend, so that a changed source, another bundle that shares the folder or
another codec never meets the wrong pixels. It is written to a sibling, read
back and compared, and renamed: whoever finds an entry finds a whole one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.handles import HandlePool
from ndsampler.backends.raw import open_source
from ndsampler.errors import CacheError, MissingSourceError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ndsampler.backends.base import Backend, RegionReader

logger = logging.getLogger(__name__)

#: Side of the blocks, in pixels, and their number, that are compared before an entry is accepted.
CHECK_BLOCK = 64
CHECK_BLOCKS = 5


@dataclass(frozen=True)
class SourceIdentity:
    """Tells one state of one source file from every other."""

    path: str
    """Absolute path."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last change, in nanoseconds."""
    content: str = ""
    """Hash of the content, or one given by the dataset; replaces the other three when set."""

    @property
    def token(self) -> str:
        """Hex name of the identity, for file names."""
        parts = [self.content] if self.content else [self.path, self.size, self.mtime_ns]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


class FrameCache:
    """Finds, makes and reads the entries of one backend in one folder.

    Args:
        backend: how entries are written and opened.
        dpath: the folder of the entries; None for a backend that keeps none.
        hashid_mode: ``'PATH'`` tells sources apart by path, size and time of change, ``'PIXELS'`` by
            the content of the file (read once a process), ``'GIVEN'`` by a hash the dataset states.

    Example:
        >>> from ndsampler.backends import make_backend
        >>> FrameCache(make_backend(None), None).entry_path('unused') is None
        True
    """

    def __init__(self, backend: Backend, dpath: str | None, hashid_mode: str = "PATH") -> None:
        self.backend = backend
        self.dpath = dpath
        self.hashid_mode = hashid_mode
        self.handles = HandlePool()
        self._contents: dict[tuple[str, int, int], str] = {}

    def identify(self, path: str, given: str | None = None) -> SourceIdentity:
        """Return what names the entry of a source as it is now.

        Args:
            path: absolute path of the source.
            given: the hash that the dataset states for it.

        Raises:
            MissingSourceError: if there is no such file.
            SourceError: in mode ``'GIVEN'`` if the dataset states no hash.
        """
        stat = _stat(path)
        content = ""
        if self.hashid_mode == "PIXELS":
            key = (path, stat.st_size, stat.st_mtime_ns)
            if key not in self._contents:
                self._contents[key] = _hash_file(path)
            content = self._contents[key]
        elif self.hashid_mode == "GIVEN":
            if not given:
                raise SourceError(
                    f"{path} has no hash in the dataset; hashid_mode='GIVEN' expects one under the key "
                    "'hashid' of each image or asset. Add it, or use hashid_mode='PATH'"
                )
            content = str(given)
        return SourceIdentity(path, stat.st_size, stat.st_mtime_ns, content)

    def entry_path(self, path: str, given: str | None = None) -> str | None:
        """Return where the entry of a source lies, or would lie; None without a cache.

        Raises:
            MissingSourceError: if there is no such source.
        """
        if self.dpath is None:
            return None
        token = self.identify(path, given).token
        # The source's own name is there for people; it is stripped of all that could lead elsewhere.
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(path).name.split(".")[0])[:40]
        return os.path.join(self.dpath, token[:2], f"{stem}_{token}{self.backend.suffix}")

    def ensure(self, path: str, given: str | None = None) -> str:
        """Return the path of a file that the backend reads fast, making it where it is missing.

        Args:
            path: absolute path of the source.
            given: the hash that the dataset states for it.

        Returns:
            The path of the entry, or of the source where that is usable in place.

        Raises:
            SourceError: if the source cannot be read.
            CacheError: if the entry cannot be written.
        """
        entry = self.entry_path(path, given)
        if entry is None:
            return path
        if os.path.exists(entry):
            return entry
        if self.backend.usable_in_place(path):
            return path
        self._make(path, entry)
        return entry

    def is_ready(self, path: str, given: str | None = None) -> bool:
        """Whether :meth:`ensure` would have nothing to do."""
        entry = self.entry_path(path, given)
        return entry is None or os.path.exists(entry) or self.backend.usable_in_place(path)

    def read(
        self,
        path: str,
        box: tuple[int, int, int, int],
        bands: Sequence[int] | None = None,
        given: str | None = None,
        level: int = 0,
    ) -> NDArray[Any]:
        """Return the pixels of a region that lies inside an image, or inside one of its overviews.

        Args:
            path: absolute path of the source.
            box: first row, row after the last, first column, column after the last.
            bands: indexes of the wanted bands; None for all.
            given: the hash that the dataset states for the source.
            level: 0 for the image itself, n for the n-th of its overviews.

        Returns:
            (height, width, bands) pixels that belong to the caller.

        Raises:
            SourceError: if the source is missing or damaged.
            CacheError: if the entry cannot be made or read.
        """
        y0, y1, x0, x1 = box
        with self.lend(path, given, level) as reader:
            return reader.read(y0, y1, x0, x1, bands)

    @contextlib.contextmanager
    def lend(self, path: str, given: str | None = None, level: int = 0) -> Iterator[RegionReader]:
        """Lend an open reader of a source, for the calling thread, until the block ends.

        Args:
            path: absolute path of the source.
            given: the hash that the dataset states for it.
            level: 0 for the image itself, n for the n-th of its overviews.
        """
        stat = _stat(path)
        key = (path, stat.st_size, stat.st_mtime_ns, level)
        reader = self.handles.borrow(key, lambda: self._open(path, given, level))
        try:
            yield reader
        except BaseException:
            if not reader.shareable:
                reader.close()
            raise
        self.handles.give_back(key, reader)

    def _open(self, path: str, given: str | None, level: int) -> RegionReader:
        """Open the entry of a source, or the source itself, and say which of them cannot be opened."""
        file = self.ensure(path, given)
        try:
            return self.backend.open(file, level)
        except (SourceError, CacheError) as ex:
            if file == path:
                raise ex if isinstance(ex, SourceError) else SourceError(str(ex)) from ex
            raise CacheError(
                f"the entry {file} of {path} is damaged; delete it to have it made anew: {ex}"
            ) from ex

    def _make(self, path: str, entry: str) -> None:
        """Convert a source into a new entry, whole or not at all."""
        partial = f"{entry}.{os.getpid()}.{uuid.uuid4().hex[:8]}.partial"
        source = open_source(path)
        try:
            os.makedirs(os.path.dirname(entry), exist_ok=True)
            self.backend.convert(source, partial)
            self._verify(source, partial, path)
            os.replace(partial, entry)
        except SourceError:
            raise
        except OSError as ex:
            need = np.prod(source.shape, dtype=np.int64) * source.dtype.itemsize
            raise CacheError(
                f"the entry {entry} of {path} cannot be made (up to {need / 2**20:.0f} MB): {ex}. "
                "Free some space, give another workdir, or use backend=None"
            ) from ex
        finally:
            source.close()
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(partial)
        logger.debug("cached %s as %s", path, entry)

    def _verify(self, source: RegionReader, partial: str, path: str) -> None:
        """Read an entry back and compare it with its source before anyone else sees it."""
        written = self.backend.open(partial)
        try:
            if written.shape != source.shape or written.dtype != source.dtype:
                raise CacheError(
                    f"the entry of {path} came out as {written.dtype} {written.shape}; "
                    f"the source is {source.dtype} {source.shape}"
                )
            for box in _check_blocks(source.shape) if self.backend.lossless else []:
                ours, theirs = written.read(*box), source.read(*box)
                if not np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"):
                    raise CacheError(f"the entry of {path} differs from its source at rows and columns {box}")
        finally:
            written.close()


def _check_blocks(shape: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    """Return boxes along the diagonal of an image, its two ends among them."""
    height, width, _ = shape
    rows = np.linspace(0, max(0, height - CHECK_BLOCK), CHECK_BLOCKS).astype(int).tolist()
    cols = np.linspace(0, max(0, width - CHECK_BLOCK), CHECK_BLOCKS).astype(int).tolist()
    return [(y, min(y + CHECK_BLOCK, height), x, min(x + CHECK_BLOCK, width)) for y, x in zip(rows, cols)]


def _stat(path: str) -> os.stat_result:
    """Return what the file system knows of a source."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as ex:
        raise MissingSourceError(f"{path} does not exist") from ex
    except (OSError, ValueError) as ex:
        raise SourceError(f"{path!r} cannot be reached: {ex}") from ex


def _hash_file(path: str) -> str:
    """Return the hash of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
