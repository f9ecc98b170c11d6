"""
Identifies versions of image files. The identity of a source is part of the name of its entry.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, NamedTuple

from ndsampler.backends.base import UNSTATED, Stated
from ndsampler.backends.content import stat_source
from ndsampler.backends.values import choose_form
from ndsampler.errors import SourceError
from ndsampler.utils.file_version import FileVersion

if TYPE_CHECKING:
    from io import RawIOBase

    from ndsampler.backends.label import EntryLabel

#: Maximum number of characters of a hash that a dataset states.
MAX_HASH = 1024

#: Maximum number of files whose hash or sample one process remembers.
MAX_KNOWN = 100_000

#: Number and size in bytes of the pieces in a sample of a file. They are spread evenly and include both ends.
#: A smaller file is hashed completely.
SAMPLE_PIECES = 4
PIECE_BYTES = 2048

#: Suffixes of files beside a source that affect its pixels: nodata values and colors, overviews, and the
#: mask. Other files, such as world files, only state the position of the image.
SIDE_ENDINGS = (".aux.xml", ".ovr", ".msk")

#: The sample of each version of a file that this process has identified.
_samples: dict[FileVersion, str] = {}


class Source(NamedTuple):
    """An image file, and the facts about it in the dataset that affect the name of its entry."""

    path: str
    """Absolute path."""
    given_hash: str | None = None
    """The hash that the dataset states for the file."""
    stated: Stated = UNSTATED
    """The facts in the dataset that decide how the file is read."""


@dataclass(frozen=True)
class SourceIdentity:
    """The identity of one version of a source file. It is the same in all processes.

    A new field that is also used in :attr:`token` becomes part of the entry's name. Add it to
    :class:`ndsampler.backends.label.EntryLabel` too, from which :meth:`from_label` reads it.
    """

    path: str
    """Absolute path."""
    size: int
    """Size of the file in bytes."""
    mtime_ns: int
    """Modification time in nanoseconds."""
    content: str = ""
    """Hash of the content, or the hash that the dataset states; if set, it replaces path, time and sample."""
    sample: str = ""
    """Hash of parts of the content; see :func:`sample_file`."""
    sides: str = ""
    """Hash of the files beside the source that affect its pixels; empty if there are none."""
    form: str = ""
    """The form in which the file is read, such as ``'stored'`` for the stored values of a file that decodes
    to other values; empty for the default form. See :mod:`ndsampler.backends.values`."""

    @classmethod
    def from_label(cls, label: EntryLabel) -> SourceIdentity:
        """Return the identity of the source from which an entry was made."""
        return cls(
            label.source, label.size, label.mtime_ns, label.content, label.sample, label.sides, label.form
        )

    @property
    def token(self) -> str:
        """The identity as hexadecimal digits, for file names."""
        parts: list[Any] = (
            [self.content, self.size] if self.content else [self.path, self.size, self.mtime_ns, self.sample]
        )
        parts += [self.sides, self.form]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def is_of(self, stat: os.stat_result) -> bool:
        """Whether a file with this status may be the identified version."""
        return (stat.st_size, stat.st_mtime_ns) == (self.size, self.mtime_ns)

    def is_current(self) -> bool:
        """Whether the source is still the identified version.

        Raises:
            OSError: if it does not exist, or cannot be read.
            ValueError: if its path is not valid.
        """
        stat = os.stat(self.path)
        if not (S_ISREG(stat.st_mode) and self.is_of(stat)):
            return False
        sample = sample_file(FileVersion.from_stat(self.path, stat))
        return (sample, hash_sides(self.path)) == (self.sample, self.sides)

    def is_unchanged(self) -> bool:
        """Whether the source still exists at its path and is the identified version."""
        try:
            return self.is_current()
        except (OSError, ValueError):
            return False


class SourceIdentifier:
    """Identifies versions of sources in one of three ways.

    Args:
        mode: ``'PATH'`` uses path, size, modification time and a sample of the content; ``'PIXELS'`` uses the
            whole content, which is read once per process; ``'GIVEN'`` uses the size and a hash that the
            dataset states.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._hashes: dict[FileVersion, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A copy of this object is sent to the executor with every image, so it must stay small.
        return {**self.__dict__, "_hashes": {}}

    def identify(self, source: Source) -> SourceIdentity:
        """Return the identity of the current version of a source.

        Raises:
            MissingSourceError: if there is no such file.
            SourceError: if it is not a regular file or cannot be read; for ``'GIVEN'`` if the dataset
                states no hash.
            DatasetMismatchError: if the file cannot be read with the number of channels in the dataset.
        """
        path = source.path
        stat = stat_source(path)
        content = ""
        version = FileVersion.from_stat(path, stat)
        if self.mode == "PIXELS":
            # The extension chooses the decoder, so equal bytes may be different pixels.
            content = self._hash(version) + os.path.splitext(path)[1].lower()
        elif self.mode == "GIVEN":
            content = _checked_hash(source)
        sample, sides = sample_file(version), hash_sides(path)
        form = choose_form(path, source.stated)
        return SourceIdentity(path, stat.st_size, stat.st_mtime_ns, content, sample, sides, form)

    def _hash(self, version: FileVersion) -> str:
        """Return the hash of a file, which is read once per version."""
        known = self._hashes.get(version)
        if known is not None:
            return known
        return _remember(self._hashes, version, hash_file(version.path))


def _checked_hash(source: Source) -> str:
    """Return the hash that the dataset states for a file."""
    if not source.given_hash:
        raise SourceError(
            f"{source.path} has no hash in the dataset; hashid_mode='GIVEN' expects one under the key "
            "'hashid' of each image or asset. Add it, or use hashid_mode='PATH'"
        )
    if len(source.given_hash) > MAX_HASH:
        raise SourceError(
            f"{source.path} has a 'hashid' of {len(source.given_hash)} characters in the dataset; "
            f"expected at most {MAX_HASH}"
        )
    return str(source.given_hash)


def _remember(known: dict[FileVersion, str], version: FileVersion, text: str) -> str:
    """Add a text to a dictionary of bounded size, and return it."""
    if len(known) >= MAX_KNOWN:
        known.clear()
    known[version] = text
    return text


def sample_file(version: FileVersion) -> str:
    """Return a hash of parts of a file. Each process reads them once per version of the file.

    A few small reads distinguish files of equal size and time, which tools that preserve times may produce.
    Compressed images differ almost everywhere after the first different pixel.

    Args:
        version: the current version of the file.

    Raises:
        SourceError: if the file cannot be read.
    """
    known = _samples.get(version)
    if known is not None:
        return known
    try:
        with open(version.path, "rb", buffering=0) as file:
            pieces = [_read_piece(file, *place) for place in _piece_ranges(version.size)]
    except OSError as ex:
        raise SourceError(f"{version.path} cannot be read: {ex}") from ex
    return _remember(_samples, version, hashlib.sha256(b"".join(pieces)).hexdigest()[:32])


def _piece_ranges(size: int) -> list[tuple[int, int]]:
    """Return the offset and the length of each piece of a file that is sampled."""
    if size <= SAMPLE_PIECES * PIECE_BYTES:
        return [(0, size)]
    last = size - PIECE_BYTES
    return [(n * last // (SAMPLE_PIECES - 1), PIECE_BYTES) for n in range(SAMPLE_PIECES)]


def _read_piece(file: RawIOBase, offset: int, length: int) -> bytes:
    """Return a piece of an open file."""
    file.seek(offset)
    return file.read(length) or b""


def hash_sides(path: str) -> str:
    """Return a hash of the size and a sample of each file beside a source that affects its pixels.

    Args:
        path: the source.

    Returns:
        Hexadecimal digits; an empty string if there are no such files.

    Raises:
        SourceError: if one of the files cannot be read.
    """
    found = []
    for ending in SIDE_ENDINGS:
        try:
            stat = os.stat(path + ending)
        except OSError:
            continue
        if S_ISREG(stat.st_mode):
            sample = sample_file(FileVersion.from_stat(path + ending, stat))
            found.append((ending, stat.st_size, sample))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:32] if found else ""


def hash_file(path: str) -> str:
    """Return the SHA-256 of a file's content as hexadecimal digits.

    Raises:
        SourceError: if the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as ex:
        raise SourceError(f"{path} cannot be read: {ex}") from ex
    return digest.hexdigest()
