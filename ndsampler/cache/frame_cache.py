"""
The cache of converted images: one file an image, whole or absent.

An entry is named by the identity of its source and by the settings of its
backend, so that a changed source, another bundle that shares the folder or
another codec never meets the wrong pixels. It is written to a sibling, read
back and compared, and renamed: whoever finds an entry finds a whole one.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ndsampler.backends.base import make_backend
from ndsampler.backends.label import EntryLabel, check_entry, verify_entry
from ndsampler.backends.source import spans_files, stat_source
from ndsampler.cache.handles import HandlePool
from ndsampler.cache.identity import SourceIdentifier, SourceIdentity
from ndsampler.cache.partial import PartialFiles
from ndsampler.cache.writer import publish, tell_space, write_entry
from ndsampler.errors import CacheError, DatasetMismatchError, SourceError
from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ndsampler.backends.base import Backend, RegionReader
    from ndsampler.types import PathLike

Result = TypeVar("Result")

#: One state of a file: path, bytes, time of the last change, and number in the file system.
FileState: TypeAlias = "tuple[str, int, int, int]"

#: The same, and which of its overviews is open.
FileKey: TypeAlias = "tuple[str, int, int, int, int]"

#: The path of a source, the hash that the dataset states for it, its size and the time of its last change.
SourceKey: TypeAlias = "tuple[str, str | None, int, int]"

logger = logging.getLogger(__name__)

#: Errors that say nothing of a file, but that the process or the machine has run out of something.
SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

#: How often an entry is opened that is damaged at the very moment.
OPEN_TRIES = 3

#: Files of which one process remembers what it knows.
MAX_KNOWN = 100_000


class FrameCache:
    """Finds, makes and reads the entries of one backend in one folder.

    Args:
        backend: how entries are written and opened.
        dpath: the folder of the entries; None for a backend that keeps none.
        hashid_mode: ``'PATH'`` tells sources apart by path, size and time of change, ``'PIXELS'`` by
            the content of the file (read once a process), ``'GIVEN'`` by a hash the dataset states.
        on_cache_error: ``'raise'``, or ``'bypass'`` to read the source where its entry cannot be made.

    Example:
        >>> from ndsampler.backends import make_backend
        >>> FrameCache(make_backend(None), None).entry_path('unused') is None
        True
    """

    def __init__(
        self,
        backend: Backend,
        dpath: str | None,
        hashid_mode: str = "PATH",
        on_cache_error: str = "raise",
    ) -> None:
        self.backend = backend
        self.dpath = dpath
        self._identifier = SourceIdentifier(hashid_mode)
        self.on_cache_error = on_cache_error
        self.handles = HandlePool()
        self._sources = make_backend(None)
        # Which file is read for each state of a source, and whether each state of an entry is whole.
        self._files: dict[SourceKey, str] = {}
        self._known: dict[FileState, bool] = {}

    def identify(self, path: str, given: str | None = None) -> SourceIdentity:
        """Return what names the entry of a source as it is now. See :meth:`SourceIdentifier.identify`."""
        return self._identifier.identify(path, given)

    def entry_path(self, path: str, given: str | None = None) -> str | None:
        """Return where the entry of a source lies, or would lie; None without a cache.

        Raises:
            MissingSourceError: if there is no such source.
        """
        if self.dpath is None:
            return None
        return self._place_entry(self.identify(path, given))

    def _place_entry(self, identity: SourceIdentity) -> str:
        """Return where the entry of a source lies, or would lie."""
        # The source's own name is there for people; it is stripped of all that could lead elsewhere. What is
        # named by its content has no name of its own, so that the entry is found again when a file moves.
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(identity.path).name.split(".")[0])[:40]
        token = identity.token
        name = token if identity.content else f"{stem}_{token}"
        return os.path.join(str(self.dpath), token[:2], name + self.backend.suffix)

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
        file = self.find_ready(path, given)
        if file is None:
            identity = self.identify(path, given)
            file = self._place_entry(identity)
            # A fork does not wait for the whole conversion, nor for another who converts the same.
            with GATE.step_out():
                self._make(identity, file, given)
        return file

    def find_ready(self, path: str, given: str | None = None) -> str | None:
        """Return the file that :meth:`ensure` would return at once; None where it has an entry to make.

        Args:
            path: absolute path of the source.
            given: the hash that the dataset states for it.

        Raises:
            SourceError: if there is no such source.
        """
        if self.dpath is None or spans_files(path):
            return path
        entry = self._place_entry(self.identify(path, given))
        if self._is_whole(entry):
            return entry
        return path if not os.path.lexists(entry) and self.backend.usable_in_place(path) else None

    def is_ready(self, path: str, given: str | None = None) -> bool:
        """Whether :meth:`ensure` would have nothing to do."""
        return self.find_ready(path, given) is not None

    def visit(
        self, path: str, action: Callable[[RegionReader], Result], given: str | None = None, level: int = 0
    ) -> Result:
        """Call a function with an open reader of a source, which is the calling thread's own meanwhile.

        If the entry turns out to be damaged, it is made anew, and the function is called once more.

        Args:
            path: absolute path of the source.
            action: what to do with the reader.
            given: the hash that the dataset states for the source.
            level: 0 for the image itself, n for the n-th of its overviews.

        Returns:
            What the function returns.

        Raises:
            SourceError: if the source is missing or damaged.
            CacheError: if the entry cannot be made or read.
        """
        key = self._find(path, given, level)
        try:
            return self._visit_file(key, path, action, given)
        except DatasetMismatchError:
            raise
        except (SourceError, CacheError):
            # All of the entry is read now: the trouble may lie with it, or with what was asked for.
            if key[0] == path or (_is_still(key) and self._look_at(key[:4], verify_entry)):
                raise
        return self._visit_file(self._find(path, given, level), path, action, given)

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
        return self.visit(path, lambda reader: reader.read(*box, bands), given, level)

    def file_of(self, path: str, given: str | None = None) -> str:
        """Return the file that windows of a source are read from: its entry, or the source itself.

        Args:
            path: absolute path of the source.
            given: the hash that the dataset states for it.

        Raises:
            SourceError: if the source is missing or damaged.
            CacheError: if the entry cannot be made.
        """
        return self._find(path, given, 0)[0]

    def clear_up(self) -> int:
        """Remove what writers that are no more left behind, and return how many they were."""
        return 0 if self.dpath is None else PartialFiles(self.dpath).clean_up()

    def _visit_file(
        self, key: FileKey, path: str, action: Callable[[RegionReader], Result], given: str | None
    ) -> Result:
        """Call a function with an open reader of one state of one file."""
        reader = self.handles.borrow(key, lambda: self._open(key, path, given))
        try:
            result = action(reader)
        except BaseException:
            if not reader.shareable:
                reader.close()
            raise
        self.handles.give_back(key, reader)
        return result

    def _find(self, path: str, given: str | None, level: int) -> FileKey:
        """Return which file to read for a source, and its state now: this is paid for every window."""
        stat = stat_source(path)
        file = path
        if self.dpath is not None:
            source = (path, given, stat.st_size, stat.st_mtime_ns)
            file = self._files.get(source) or self._provide(source)
            if file != path:
                try:
                    stat = os.stat(file)
                except OSError:
                    # Removed while this process was using it.
                    self._files.pop(source, None)
                    return self._find_again(source, level)
        return file, stat.st_size, stat.st_mtime_ns, stat.st_ino, level

    def _find_again(self, source: SourceKey, level: int) -> FileKey:
        """Make the entry of a source, and return its state; zeros where it is removed again and again."""
        file = self._provide(source)
        try:
            stat = os.stat(file)
        except OSError:
            return file, 0, 0, 0, level
        return file, stat.st_size, stat.st_mtime_ns, stat.st_ino, level

    def _provide(self, source: SourceKey) -> str:
        """Return which file to read for a source, and remember it."""
        path, given = source[:2]
        if len(self._files) >= MAX_KNOWN:
            self._files.clear()
        try:
            file = self.ensure(path, given)
        except CacheError as ex:
            if self.on_cache_error != "bypass":
                raise
            logger.warning("%s is read without a cache: %s", path, ex)
            if isinstance(ex.__cause__, OSError) and ex.__cause__.errno in SCARCE:
                # It may be had again in a moment.
                return path
            file = path
        stat = stat_source(path)
        if (stat.st_size, stat.st_mtime_ns) == source[2:]:
            self._files[source] = file
        return file

    def _open(self, key: FileKey, path: str, given: str | None) -> RegionReader:
        """Open an entry, made anew where it is damaged, or a source."""
        file, level = key[0], key[-1]
        for _ in range(OPEN_TRIES):
            if file != path and not self._is_whole(file):
                stat = stat_source(path)
                file = self._provide((path, given, stat.st_size, stat.st_mtime_ns))
            if file == path:
                return self._sources.open(path, level)
            try:
                reader = self.backend.open(file, level)
            except (SourceError, CacheError) as ex:
                raise CacheError(f"the entry {file} of {path} cannot be opened: {ex}") from ex
            # It may have been replaced between the look and the opening.
            if self._is_whole(file):
                return reader
            reader.close()
        raise CacheError(f"the entry {file} of {path} is damaged again and again while it is opened")

    def _is_whole(self, entry: str) -> bool:
        """Whether an entry is there and undamaged; one that was looked at before is only looked up.

        Raises:
            CacheError: if that cannot be told now, since the process has too many files open for example.
        """
        try:
            stat = os.stat(entry)
        except OSError as ex:
            if ex.errno in SCARCE:
                raise CacheError(f"{entry} cannot be looked at now: {ex}") from ex
            # There is none, or its folder is closed to this process: making it says which.
            return False
        if not S_ISREG(stat.st_mode):
            # Opening a pipe would wait for ever.
            logger.warning("%s is in the place of an entry, and is no file", entry)
            return False
        state = (entry, stat.st_size, stat.st_mtime_ns, stat.st_ino)
        known = self._known.get(state)
        return self._look_at(state, check_entry) if known is None else known

    def _look_at(self, state: FileState, check: Callable[[str], EntryLabel]) -> bool:
        """Check an entry, remember what was found of this state of it, and return whether it is whole."""
        try:
            _check_name(state[0], check(state[0]))
            whole = True
        except OSError as ex:
            if ex.errno in SCARCE:
                raise CacheError(f"{state[0]} cannot be opened now: {ex}") from ex
            logger.warning("an entry is damaged, and is not used: %s", ex)
            whole = False
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[state] = whole
        return whole

    def _make(self, identity: SourceIdentity, entry: str, given: str | None) -> None:
        """Convert a source into a new entry, whole or not at all."""
        path = identity.path
        try:
            with PartialFiles(str(self.dpath)).claim(identity.token) as partial:
                if self._is_whole(entry):
                    # Another thread or process made it while this one waited.
                    return
                write_entry(self.backend, identity, partial)
                if self.identify(path, given) != identity:
                    raise SourceError(f"{path} was changed while it was being read; read it again")
                publish(partial, entry)
        except SourceError:
            raise
        except OSError as ex:
            raise CacheError(
                f"the entry {entry} of {path} cannot be made{tell_space(path, str(self.dpath))}: {ex}. "
                "Free some space, give another workdir, or use backend=None or on_cache_error='bypass'"
            ) from ex
        logger.debug("cached %s as %s", path, entry)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}, "_known": {}}


def entries_folder(workdir: PathLike) -> str:
    """Return the folder of all entries in a workdir; it has a folder for each backend and its settings."""
    return os.path.join(os.path.abspath(os.fspath(workdir)), "_cache", "frames")


def _check_name(entry: str, label: EntryLabel) -> None:
    """Raise a CacheError for a file that bears the name of another entry."""
    token = SourceIdentity(label.source, label.size, label.mtime_ns, label.content).token
    if token not in os.path.basename(entry):
        raise CacheError(f"{entry} holds what {label.source} was once; its name is that of another entry")


def _is_still(key: FileKey) -> bool:
    """Whether a file is in the state it was found in: another thread may have made it anew meanwhile."""
    try:
        stat = os.stat(key[0])
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns, stat.st_ino) == key[1:4]
