"""
The cache of converted images: finds, makes and reads the entry of each source file.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import time
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ndsampler.backends.content import stat_source
from ndsampler.backends.dims import read_dims
from ndsampler.backends.label import EntryLabel, check_entry, read_label, verify_entry
from ndsampler.backends.source import SourceBackend, spans_files
from ndsampler.backends.values import choose_form, reads_first_page
from ndsampler.cache.comparison import is_copy
from ndsampler.cache.handles import TOO_MANY_FILES, HandlePool, make_room_after, making_room
from ndsampler.cache.identity import Source, SourceIdentifier, SourceIdentity
from ndsampler.cache.names import entry_path, is_named_for, workdir_of
from ndsampler.cache.partial import PartialFiles, WriterBusyError
from ndsampler.cache.trust import TrustedOwners
from ndsampler.cache.writer import ChangedSourceError, give_advice, publish, write_entry
from ndsampler.errors import CacheError, DatasetMismatchError, MissingSourceError, SourceError
from ndsampler.utils.file_version import FileVersion
from ndsampler.utils.fork_safety import GATE
from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ndsampler.backends.base import Backend, RegionReader

Result = TypeVar("Result")

logger = get_logger(__name__)

#: Error codes of exhausted resources. They are not evidence of a damaged file.
SCARCE = frozenset({*TOO_MANY_FILES, errno.ENOMEM})

#: Error codes of temporary failures, after which the next read tries the entry again.
PASSING = SCARCE | {errno.EBUSY}

#: Seconds that a read waits for another writer of its entry if it may bypass the cache.
BYPASS_SECONDS = 10.0

#: Maximum attempts to read a file that is replaced, removed or damaged during the read.
READ_ATTEMPTS = 5

#: Maximum attempts to make an entry of a source that programs replace in the meantime. A conversion takes
#: longer than a read, so that more of them are disturbed.
MAKE_ATTEMPTS = 20

#: Seconds between two checks whether a missing source has reappeared, and the maximum number of checks.
REPLACE_SECONDS = 0.02
MAX_WAITS = 25

#: Maximum number of files whose state one process remembers.
MAX_KNOWN = 100_000


class FileToRead(NamedTuple):
    """The file that windows of a source are read from: its entry, or the source itself."""

    version: FileVersion
    """The current version of the file."""
    backend: Backend
    """The backend that opens it."""


#: The version and the file to read of a source that has not been read yet.
NOT_FOUND: tuple[None, None] = None, None


class FrameCache:
    """Finds, makes and reads the entries of one backend in one folder.

    Args:
        backend: writes and opens the entries.
        dpath: the config folder of the entries; None for a backend without entries.
        hashid_mode: how sources are identified: see :class:`ndsampler.cache.identity.SourceIdentifier`.
        on_cache_error: ``'raise'``, or ``'bypass'`` to read the source if its entry cannot be made.
        trust: ``'warn'`` or ``'strict'``: see :class:`ndsampler.cache.trust.TrustedOwners`.

    Example:
        >>> from ndsampler.backends import make_backend
        >>> FrameCache(make_backend(None), None).entry_path(Source('unused')) is None
        True
    """

    def __init__(
        self,
        backend: Backend,
        dpath: str | None,
        hashid_mode: str = "PATH",
        on_cache_error: str = "raise",
        trust: str = "warn",
    ) -> None:
        self.backend = backend
        self.dpath = dpath
        self._identifier = SourceIdentifier(hashid_mode)
        self.on_cache_error = on_cache_error
        self._owners = TrustedOwners(None if dpath is None else workdir_of(dpath), trust)
        self.handles = HandlePool()
        self._sources = SourceBackend()
        self._waits = MAX_WAITS
        # For each source that has been read, its latest known version and the file to read for it.
        self._files: dict[Source, tuple[FileVersion, FileToRead]] = {}
        # Whether each version of an entry is whole.
        self._whole: dict[FileVersion, bool] = {}
        # Sources that are read without a cache for now.
        self._bypassed: dict[Source, bool] = {}

    def identify(self, source: Source) -> SourceIdentity:
        """Return the identity of the current version of a source.

        Raises:
            SourceError: see :meth:`SourceIdentifier.identify`.
        """
        return self._identifier.identify(source)

    def entry_path(self, source: Source) -> str | None:
        """Return the path at which the entry of a source is, or would be; None without a cache.

        Raises:
            MissingSourceError: if there is no such source.
        """
        return None if self.dpath is None else self._entry_of(self.identify(source))

    def _entry_of(self, identity: SourceIdentity) -> str:
        """Return the path at which the entry of a source is, or would be."""
        return entry_path(str(self.dpath), identity, self.backend.suffix)

    # --- reading

    def visit(self, source: Source, action: Callable[[RegionReader], Result], level: int = 0) -> Result:
        """Call a function with an open reader of a source.

        If the file was replaced, removed or damaged in the meantime, it is looked up or made again, and
        the function is called again.

        Args:
            source: the image file.
            action: the function, which takes the reader.
            level: 0 for the image itself, n for the n-th of its overviews.

        Returns:
            The result of the function.

        Raises:
            SourceError: if the source is missing or damaged.
            CacheError: if the entry cannot be made or read.
        """
        attempt = 1
        while True:
            file = self._find(source)
            try:
                key = file.version, level, source.stated
                return self.handles.lend(key, functools.partial(_open, file, source, level), action)
            except DatasetMismatchError:
                raise
            except (SourceError, CacheError) as ex:
                if make_room_after(ex):
                    continue
                if attempt == READ_ATTEMPTS or not self._was_disturbed(file):
                    raise
            attempt += 1

    def read(
        self,
        source: Source,
        box: tuple[int, int, int, int],
        bands: Sequence[int] | None = None,
        level: int = 0,
    ) -> NDArray[Any]:
        """Return the pixels of a region inside an image, or inside one of its overviews.

        Args:
            source: the image file.
            box: first row, row after the last, first column, column after the last.
            bands: indexes of the wanted bands; None for all bands.
            level: 0 for the image itself, n for the n-th of its overviews.

        Returns:
            A new array of (height, width, bands) pixels.

        Raises:
            SourceError: if the source is missing or damaged.
            CacheError: if the entry cannot be made or read.
        """
        return self.visit(source, lambda reader: reader.read(*box, bands), level)

    def find_file(self, source: Source) -> str:
        """Return the file that windows of a source are read from: its entry, or the source itself.

        Raises:
            SourceError: if the source is missing or damaged.
            CacheError: if the entry cannot be made.
        """
        return self._find(source).version.path

    def _find(self, source: Source) -> FileToRead:
        """Return the file to read for the current version of a source. Every read of a window calls this."""
        version = FileVersion.find(source.path)
        if version is None:
            version = FileVersion.from_stat(source.path, self._stat(source.path))
        known, file = self._files.get(source, NOT_FOUND)
        if file is None or known != version:
            return self._find_again(source, version)
        if file.backend is self._sources or self._is_known(file.version):
            return file
        return self._find_again(source, version)

    def _is_known(self, entry: FileVersion) -> bool:
        """Whether the current version of an entry is known to be whole."""
        return FileVersion.find_entry(entry.path) == entry and self._whole.get(entry, False)

    def _stat(self, path: str) -> os.stat_result:
        """Return the status of a source. While a program replaces it, it may be missing for a moment.

        Raises:
            MissingSourceError: if it does not reappear.
        """
        try:
            return stat_source(path)
        except MissingSourceError:
            if self._waits <= 0:
                raise
        time.sleep(REPLACE_SECONDS)
        self._waits -= 1
        stat = stat_source(path)
        self._waits += 1
        return stat

    def _find_again(self, source: Source, version: FileVersion) -> FileToRead:
        """Return the file to read for a source, making its entry if needed, and remember it.

        This is called for a source that has not been read before, or if the source or its entry was changed,
        removed or damaged since the last read.
        """
        self._recheck(source, version)
        file = self._provide(source, version)
        if file.backend is not self._sources and not self._is_known(file.version):
            # A new entry is checked like any other. If it has already been removed again, the next attempt
            # makes it again.
            file = self._provide(source, version)
        _, replaced = self._files.get(source, NOT_FOUND)
        if replaced is not None and replaced != file:
            self.handles.close(lambda key: key[0] == replaced.version)
        if source not in self._bypassed and version.is_current():
            _remember(self._files, source, (version, file))
        return file

    def _provide(self, source: Source, version: FileVersion) -> FileToRead:
        """Return the file to read for a source, making its entry if needed."""
        path = self._provide_path(source)
        if path == source.path:
            return FileToRead(version, self._sources)
        return FileToRead(FileVersion.find_entry(path) or FileVersion(path, 0, 0, 0, 0), self.backend)

    def _provide_path(self, source: Source) -> str:
        """Return the path of the file to read for a source, making its entry if needed."""
        bypasses = self.on_cache_error == "bypass"
        was_bypassed = source in self._bypassed
        try:
            # If one wait has timed out, for example because a writer is suspended, do not wait again.
            file = self.ensure(source, (0.0 if was_bypassed else BYPASS_SECONDS) if bypasses else None)
            self._bypassed.pop(source, None)
        except CacheError as ex:
            if not bypasses:
                raise
            level = logging.DEBUG if was_bypassed else logging.WARNING
            logger.log(level, "%s is read without a cache: %s", source.path, ex)
            file = source.path
            if isinstance(ex.__cause__, OSError) and ex.__cause__.errno in PASSING:
                _remember(self._bypassed, source, True)
            else:
                self._bypassed.pop(source, None)
        return file

    def _recheck(self, source: Source, version: FileVersion) -> None:
        """Compare a known entry with a source whose version has changed although its identity has not.

        The source was replaced by a file of equal size, time and sample. Only the inode and the time of the
        status change distinguish it from the one that was converted.
        """
        latest, _ = self._files.get(source, NOT_FOUND)
        if self.dpath is None or latest in (None, version) or self._identifier.mode == "GIVEN":
            return
        entry = FileVersion.find_entry(self._entry_of(self.identify(source)))
        if entry is None or not self._whole.get(entry):
            return
        if not is_copy(source.path, entry.path, self.backend):
            logger.warning(
                "%s was replaced by a file of equal size and time; converting it again", source.path
            )
            self._whole[entry] = False

    def _was_disturbed(self, file: FileToRead) -> bool:
        """Whether a read failed because the file was replaced or removed, or is a damaged entry.

        The whole entry is read to find out whether the entry or the request is at fault.

        Raises:
            CacheError: if this cannot be determined now, for example because too many files are open.
        """
        if not file.version.is_current():
            return True
        return file.backend.caches and not self._check(file.version, verify_entry)

    # --- making entries

    @making_room
    def ensure(self, source: Source, patience: float | None = None) -> str:
        """Return the path of a file that the backend can read fast; make the entry if it is missing.

        Args:
            source: the image file.
            patience: seconds to wait for another writer of the entry. See :meth:`PartialFiles.claim`.

        Returns:
            The path of the entry, or of the source if that is usable in place.

        Raises:
            SourceError: if the source cannot be read.
            CacheError: if the entry cannot be written.
        """
        attempt = 1
        while True:
            try:
                file = self.find_ready(source)
                if file is None:
                    # Let other threads fork during a conversion, or while another process converts the file.
                    with GATE.step_out():
                        file = self._make(source, patience)
                return file
            except (ChangedSourceError, MissingSourceError):
                if attempt == MAKE_ATTEMPTS:
                    raise
            self._stat(source.path)  # raises an error if the source does not reappear
            attempt += 1

    @making_room
    def find_ready(self, source: Source) -> str | None:
        """Return the file that :meth:`ensure` would return immediately; None if it would have to make an
        entry.

        Raises:
            SourceError: if there is no such source.
        """
        if self.dpath is None or spans_files(source.path):
            return source.path
        entry = self._entry_of(self.identify(source))
        if self._is_whole(entry):
            self._check_given(source, entry)
            return entry
        if os.path.lexists(entry) or not self.backend.usable_in_place(source.path):
            return None
        return source.path if reads_first_page(source.path, source.stated) else None

    def _check_given(self, source: Source, entry: str) -> None:
        """Check that the hash that a dataset states for a file does not belong to an image of another shape.

        Raises:
            DatasetMismatchError: if it does.
        """
        if self._identifier.mode != "GIVEN":
            return
        label, dims = read_label(entry), read_dims(source.path, source.stated)
        if label.shape[:2] != dims:
            raise DatasetMismatchError(
                f"{source.path} is {dims[0]} x {dims[1]} pixels, but its 'hashid' in the dataset is that of "
                f"{label.source}, which was {label.shape[0]} x {label.shape[1]} pixels; correct it, "
                "or use hashid_mode='PATH'"
            )

    def clean_up(self) -> int:
        """Remove the folders of writers that have died, and return their number."""
        return 0 if self.dpath is None else PartialFiles(self.dpath).clean_up()

    def _make(self, source: Source, patience: float | None) -> str:
        """Convert a source into a new entry, and return its path."""
        identity = self.identify(source)
        entry = self._entry_of(identity)
        try:
            with PartialFiles(str(self.dpath)).claim(identity.token, patience) as partial:
                if self._is_whole(entry):
                    # Another thread or process made the entry while this one waited.
                    return entry
                self._convert(source, identity, partial)
                publish(partial, entry)
        except SourceError:
            raise
        except WriterBusyError as ex:
            raise CacheError(f"the entry {entry} of {source.path} is not ready: {ex}") from ex
        except OSError as ex:
            advice = give_advice(ex, source.path, str(self.dpath))
            raise CacheError(f"the entry {entry} of {source.path} cannot be made{advice}") from ex
        logger.debug("cached %s as %s", source.path, entry)
        return entry

    def _convert(self, source: Source, identity: SourceIdentity, partial: str) -> None:
        """Write an entry of one version of a source.

        If the source changes in the meantime although its identity stays the same, it is converted again.

        Raises:
            SourceError: if the source cannot be read, or keeps changing.
        """
        for _ in range(READ_ATTEMPTS):
            version = FileVersion.find(source.path)
            write_entry(self.backend, identity, partial)
            if self.identify(source) != identity:
                break
            if version is not None and version.is_current():
                return
        raise ChangedSourceError(f"{source.path} was changed while it was being read; read it again")

    # --- checking entries

    def _is_whole(self, entry: str) -> bool:
        """Whether an entry exists and is undamaged; each version of it is checked once per process.

        Raises:
            CacheError: if this cannot be determined now, for example because too many files are open, or if
                the entry belongs to a user who is not trusted.
        """
        try:
            stat = os.stat(entry)
        except OSError as ex:
            if ex.errno in SCARCE:
                raise CacheError(f"{entry} cannot be examined now: {ex}") from ex
            # The entry is missing, or its folder is not accessible. Making the entry shows which.
            return False
        if not S_ISREG(stat.st_mode):
            # Opening a pipe could block forever.
            logger.warning("expected a cache entry at %s, but it is not a regular file", entry)
            return False
        self._owners.check(entry, stat)
        version = FileVersion.from_stat(entry, stat)._replace(ctime_ns=0)
        known = self._whole.get(version)
        return self._check(version, check_entry) if known is None else known

    def _check(self, version: FileVersion, check: Callable[[str], EntryLabel]) -> bool:
        """Check one version of an entry, remember the result, and return whether the entry is whole."""
        path = version.path
        try:
            label = check(path)
            if not is_named_for(path, SourceIdentity.from_label(label)):
                raise CacheError(
                    f"{path} was made from {label.source}, but has the name of another source's entry"
                )
            whole = True
        except OSError as ex:
            if ex.errno in SCARCE:
                raise CacheError(f"{path} cannot be opened now: {ex}") from ex
            logger.warning("a damaged cache entry is ignored: %s", ex)
            whole = False
        _remember(self._whole, version, whole)
        return whole

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}, "_whole": {}, "_bypassed": {}}


def _open(file: FileToRead, source: Source, level: int) -> RegionReader:
    """Open the version of an entry or a source that was found.

    Raises:
        SourceError: if the source cannot be opened, or has been replaced since it was found.
        CacheError: the same for an entry; the message also names the source.
    """
    path = file.version.path
    is_entry = path != source.path
    try:
        reader = file.backend.open(path, level) if is_entry else _open_source(source, level)
    except (SourceError, CacheError) as ex:
        if is_entry:
            raise CacheError(f"the entry {path} of {source.path} cannot be opened: {ex}") from ex
        raise
    if not file.version.is_current():
        reader.close()
        kind, what = (CacheError, f"the entry {path} of {source.path}") if is_entry else (SourceError, path)
        raise kind(f"{what} was replaced while it was being opened; read it again")
    return reader


def _open_source(source: Source, level: int) -> RegionReader:
    """Open a source in the form that the facts in the dataset require."""
    return SourceBackend().open(source.path, level, choose_form(source.path, source.stated))


def _remember(known: dict[Any, Any], key: object, value: object) -> None:
    """Add an item to a dictionary of bounded size; empty the dictionary first if it is full."""
    if len(known) >= MAX_KNOWN:
        known.clear()
    known[key] = value
