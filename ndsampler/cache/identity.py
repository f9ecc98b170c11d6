"""
What tells one state of one image file from every other.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from stat import S_ISREG
from typing import Any

from ndsampler.backends.source import stat_source
from ndsampler.errors import SourceError


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


#: Characters of a hash that a dataset states.
MAX_HASH = 1024

#: Files whose hash one process remembers.
MAX_KNOWN = 100_000


class SourceIdentifier:
    """Names the states of sources in one of three ways.

    Args:
        mode: ``'PATH'`` tells sources apart by path, size and time of change, ``'PIXELS'`` by the content of
            the file (read once a process), ``'GIVEN'`` by a hash the dataset states.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._contents: dict[tuple[str, int, int], str] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A copy goes with every image that is handed to an executor.
        return {**self.__dict__, "_contents": {}}

    def identify(self, path: str, given: str | None = None) -> SourceIdentity:
        """Return what names the entry of a source as it is now.

        Args:
            path: absolute path of the source.
            given: the hash that the dataset states for it.

        Raises:
            MissingSourceError: if there is no such file.
            SourceError: if it is no file or cannot be read; for ``'GIVEN'`` if the dataset states no hash.
        """
        stat = stat_source(path)
        if not S_ISREG(stat.st_mode):
            # Reading a pipe or a device may never end.
            raise SourceError(f"{path} is a folder, a pipe or a device; expected an image file")
        content = ""
        if self.mode == "PIXELS":
            key = (path, stat.st_size, stat.st_mtime_ns)
            content = self._contents.get(key) or _hash_file(path)
            if len(self._contents) >= MAX_KNOWN:
                self._contents.clear()
            self._contents[key] = content
            # The ending chooses who decodes the content.
            content += os.path.splitext(path)[1].lower()
        elif self.mode == "GIVEN":
            if not given:
                raise SourceError(
                    f"{path} has no hash in the dataset; hashid_mode='GIVEN' expects one under the key "
                    "'hashid' of each image or asset. Add it, or use hashid_mode='PATH'"
                )
            content = str(given)
            if len(content) > MAX_HASH:
                raise SourceError(
                    f"{path} has a 'hashid' of {len(content)} characters in the dataset; "
                    f"at most {MAX_HASH} are taken"
                )
        return SourceIdentity(path, stat.st_size, stat.st_mtime_ns, content)


def _hash_file(path: str) -> str:
    """Return the hash of a file's bytes."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as ex:
        raise SourceError(f"{path} cannot be read: {ex}") from ex
    return digest.hexdigest()
