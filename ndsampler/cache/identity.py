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
from ndsampler.backends.source import stat_source
from ndsampler.backends.values import choose_form
from ndsampler.errors import SourceError
from ndsampler.utils.file_version import FileVersion

if TYPE_CHECKING:
    from ndsampler.backends.label import EntryLabel

#: Characters of a hash that a dataset states.
MAX_HASH = 1024

#: Files whose hash one process remembers.
MAX_KNOWN = 100_000


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
    """Tells one version of one source file from every other."""

    path: str
    """Absolute path."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last change, in nanoseconds."""
    content: str = ""
    """Hash of the content, or one given by the dataset; replaces the other three when set."""
    form: str = ""
    """How the file is read because of what the dataset states of it, such as ``'stored'`` for the stored
    values of a file that is decoded to others; empty if that makes no difference. See
    :mod:`ndsampler.backends.values`."""

    @classmethod
    def from_label(cls, label: EntryLabel) -> SourceIdentity:
        """Return the identity of the source that an entry was made from."""
        return cls(label.source, label.size, label.mtime_ns, label.content, label.form)

    @property
    def token(self) -> str:
        """Hex name of the identity, for file names."""
        parts: list[Any] = [self.content] if self.content else [self.path, self.size, self.mtime_ns]
        if self.form:
            parts.append(self.form)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def is_of(self, stat: os.stat_result) -> bool:
        """Whether a file with these properties is the version that was identified."""
        return (stat.st_size, stat.st_mtime_ns) == (self.size, self.mtime_ns)

    def is_unchanged(self) -> bool:
        """Whether the source is where it was, in the version that was identified."""
        try:
            return self.is_of(os.stat(self.path))
        except (OSError, ValueError):
            return False


class SourceIdentifier:
    """Identifies versions of sources in one of three ways.

    Args:
        mode: ``'PATH'`` uses path, size and time of change, ``'PIXELS'`` the content of the file (read
            once per process), ``'GIVEN'`` a hash that the dataset states.
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
        if not S_ISREG(stat.st_mode):
            # Reading a pipe or a device may never end.
            raise SourceError(f"{path} is a folder, a pipe or a device; expected an image file")
        content = ""
        if self.mode == "PIXELS":
            # The extension chooses the decoder, so equal bytes may be different pixels.
            content = self._hash(FileVersion.from_stat(path, stat)) + os.path.splitext(path)[1].lower()
        elif self.mode == "GIVEN":
            content = _checked_hash(source)
        form = choose_form(path, source.stated)
        return SourceIdentity(path, stat.st_size, stat.st_mtime_ns, content, form)

    def _hash(self, version: FileVersion) -> str:
        """Return the hash of a file, which is read once per version."""
        known = self._hashes.get(version)
        if known is not None:
            return known
        if len(self._hashes) >= MAX_KNOWN:
            self._hashes.clear()
        self._hashes[version] = hash_file(version.path)
        return self._hashes[version]


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
