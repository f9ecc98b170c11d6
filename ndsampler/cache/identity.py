"""
What tells one version of an image file from every other, and so names its entry.
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

#: Characters of a hash that a dataset states.
MAX_HASH = 1024

#: Files whose hash or sample one process remembers.
MAX_KNOWN = 100_000

#: A sample of a file consists of this many pieces of this many bytes, spread evenly, both ends included. A
#: smaller file is hashed whole.
SAMPLE_PIECES = 4
PIECE_BYTES = 2048

#: Endings of files beside a source that change its pixels: nodata values and colors, overviews, and the mask.
#: Other files, such as world files, only say where the image lies.
SIDE_ENDINGS = (".aux.xml", ".ovr", ".msk")

#: The sample of each version of a file that this process has identified.
_samples: dict[FileVersion, str] = {}


class Source(NamedTuple):
    """An image file, and what the dataset states of it that names its entry."""

    path: str
    """Absolute path."""
    given_hash: str | None = None
    """The hash that the dataset states for the file."""
    stated: Stated = UNSTATED
    """What the dataset states of the file that decides how it is read."""


@dataclass(frozen=True)
class SourceIdentity:
    """Identifies a version of a source file, in all processes alike.

    A field that is added here and in :attr:`token` belongs to the name of an entry; it is added to
    :class:`ndsampler.backends.label.EntryLabel` too, which :meth:`from_label` reads.
    """

    path: str
    """Absolute path."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last change, in nanoseconds."""
    content: str = ""
    """Hash of the content, or one given by the dataset; replaces path, time and sample when set."""
    sample: str = ""
    """Hash of parts of the content; see :func:`sample_file`."""
    sides: str = ""
    """Hash of the files beside the source that change its pixels; empty if there are none."""
    form: str = ""
    """How the file is read because of what the dataset states of it, such as ``'stored'`` for the stored
    values of a file that is decoded to others; empty if that makes no difference. See
    :mod:`ndsampler.backends.values`."""

    @classmethod
    def from_label(cls, label: EntryLabel) -> SourceIdentity:
        """Return the identity of the source that an entry was made from."""
        return cls(
            label.source, label.size, label.mtime_ns, label.content, label.sample, label.sides, label.form
        )

    @property
    def token(self) -> str:
        """Hex name of the identity, for file names."""
        parts: list[Any] = (
            [self.content, self.size] if self.content else [self.path, self.size, self.mtime_ns, self.sample]
        )
        parts += [self.sides, self.form]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def is_of(self, stat: os.stat_result) -> bool:
        """Whether a file with these properties may be the version that was identified."""
        return (stat.st_size, stat.st_mtime_ns) == (self.size, self.mtime_ns)

    def is_current(self) -> bool:
        """Whether the source is still in the version that was identified.

        Raises:
            OSError: if it is not there, or cannot be read.
            ValueError: if the path is none.
        """
        stat = os.stat(self.path)
        if not (S_ISREG(stat.st_mode) and self.is_of(stat)):
            return False
        sample = sample_file(FileVersion.from_stat(self.path, stat))
        return (sample, hash_sides(self.path)) == (self.sample, self.sides)

    def is_unchanged(self) -> bool:
        """Whether the source is where it was, in the version that was identified."""
        try:
            return self.is_current()
        except (OSError, ValueError):
            return False


class SourceIdentifier:
    """Identifies versions of sources in one of three ways.

    Args:
        mode: ``'PATH'`` uses path, size, time of change and a sample of the content, ``'PIXELS'`` the
            content of the file (read once per process), ``'GIVEN'`` its size and a hash that the dataset
            states.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._hashes: dict[FileVersion, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A copy of this object goes with every image that is handed to an executor.
        return {**self.__dict__, "_hashes": {}}

    def identify(self, source: Source) -> SourceIdentity:
        """Return the identity of a source as it is now.

        Raises:
            MissingSourceError: if there is no such file.
            SourceError: if it is not a regular file or cannot be read; for ``'GIVEN'`` if the dataset
                states no hash.
            DatasetMismatchError: if the dataset states a number of channels in which it cannot be read.
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
            f"at most {MAX_HASH} are taken"
        )
    return str(source.given_hash)


def _remember(known: dict[FileVersion, str], version: FileVersion, text: str) -> str:
    """Put a text into a dictionary of bounded size, and return it."""
    if len(known) >= MAX_KNOWN:
        known.clear()
    known[version] = text
    return text


def sample_file(version: FileVersion) -> str:
    """Return a hash of parts of a file, which are read once per version of the file and process.

    It tells files of equal size and time apart, as tools that preserve times may leave them, by a few small
    reads. Compressed images differ almost everywhere after the first different pixel.

    Args:
        version: the file as it is now.

    Raises:
        SourceError: if the file cannot be read.
    """
    known = _samples.get(version)
    if known is not None:
        return known
    try:
        with open(version.path, "rb", buffering=0) as file:
            pieces = [_read_piece(file, *place) for place in _places(version.size)]
    except OSError as ex:
        raise SourceError(f"{version.path} cannot be read: {ex}") from ex
    return _remember(_samples, version, hashlib.sha256(b"".join(pieces)).hexdigest()[:32])


def _places(size: int) -> list[tuple[int, int]]:
    """Return the offset and the length of each piece of a file that is sampled."""
    if size <= SAMPLE_PIECES * PIECE_BYTES:
        return [(0, size)]
    last = size - PIECE_BYTES
    return [(n * last // (SAMPLE_PIECES - 1), PIECE_BYTES) for n in range(SAMPLE_PIECES)]


def _read_piece(file: RawIOBase, offset: int, length: int) -> bytes:
    """Return some bytes of an open file."""
    file.seek(offset)
    return file.read(length) or b""


def hash_sides(path: str) -> str:
    """Return a hash of the size and of a sample of each file that changes the pixels of a source.

    Args:
        path: the source.

    Returns:
        A hex text; empty if there are no such files.

    Raises:
        SourceError: if one cannot be read.
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
    """Return the SHA-256 of a file's bytes, in hex.

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
