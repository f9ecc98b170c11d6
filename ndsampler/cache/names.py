"""
Builds and parses the names of entries and of the folders that hold them.

::

    WORKDIR/_cache/frames/             the root of all entries in a workdir
        cog_0123456789ab/              a config folder: a backend, and a hash of its settings
            4f/                        a shard: the first two digits of the identities in it
                city_4f...e1.cog.tiff  an entry: stem of the source, identity, suffix of the backend
            _partial/                  where writers work
                4f...e1/               a writer's folder: the identity that it writes
        npy/, cog/                     caches of ndsampler 0.8 and earlier, which are never read
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import TYPE_CHECKING

from ndsampler.backends.base import FORMAT_VERSION, REGISTRY
from ndsampler.utils.walk import walk

if TYPE_CHECKING:
    from ndsampler.backends.base import Backend
    from ndsampler.cache.identity import SourceIdentity
    from ndsampler.types import PathLike

#: Maximum number of characters of the source's file name that an entry's name repeats for readability.
MAX_STEM = 40

#: The cache folders of ndsampler 0.8 and earlier, each with the pattern of the folders directly inside it.
_OLD_FOLDERS = {"npy": "", "cog": "[0-9a-f]{8}/"}

_CONFIG_FOLDER = re.compile(r"(.+)_[0-9a-f]{12}")
_SHARD = re.compile(r"[0-9a-f]{2}")
_ENTRY = re.compile(rf"(?:[A-Za-z0-9_-]{{0,{MAX_STEM}}}_)?([0-9a-f]{{32}})\.[A-Za-z0-9.]+")
_WRITER_FOLDER = re.compile(r"[0-9a-f]{32}(\.[0-9a-f]{8})?")
_WRITER_FILE = re.compile(r"entry(\.[0-9a-f]{8})?\.partial(\..+)?")
_OLD_INNER_FOLDER = re.compile(r"[0-9a-f]{2}|[0-9a-f]{8}")
_OLD_FILE = re.compile(
    r"[0-9a-f]{2}/[0-9a-f]{38}\.(npy|cog\.tiff)(\.[a-z]+)?|prepare_frames_stamp\w*\.pkl(\.meta)?"
)


def entries_root(workdir: PathLike) -> str:
    """Return the folder of all entries in a workdir. It has a config folder for each backend."""
    return os.path.join(os.path.abspath(os.fspath(workdir)), "_cache", "frames")


def workdir_of(folder: str) -> str:
    """Return the workdir of a config folder.

    Args:
        folder: path of the config folder.
    """
    return os.path.dirname(os.path.dirname(os.path.dirname(folder)))


def config_folder(backend: Backend, version: int = FORMAT_VERSION) -> str:
    """Return the name of the config folder of a backend and its settings. It is the same in every process.

    Args:
        backend: the backend with its settings.
        version: version of the format of entries.

    Example:
        >>> from ndsampler.backends import make_backend
        >>> backend_of_folder(config_folder(make_backend('npy')))
        'npy'
    """
    text = json.dumps([backend.name, version, backend.entry_settings()], sort_keys=True, default=str)
    return f"{backend.name}_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def entries_folder(workdir: PathLike | None, backend: Backend) -> str | None:
    """Return the folder of a backend's entries in a workdir; None if the backend writes no entries.

    Args:
        workdir: the workdir; None for the current folder.
        backend: the backend with its settings.
    """
    if not backend.caches:
        return None
    return os.path.join(entries_root(workdir or ""), config_folder(backend))


def backend_of_folder(name: str) -> str | None:
    """Return the backend in the name of a config folder; None for any other folder."""
    match = _CONFIG_FOLDER.fullmatch(name)
    return match[1] if match else None


def outdated_config_folders() -> frozenset[str]:
    """Return the config folders of earlier formats, for backends with their default settings."""
    backends = [cls() for cls in REGISTRY.values() if cls.suffix]
    return frozenset(
        config_folder(backend, version) for backend in backends for version in range(1, FORMAT_VERSION)
    )


def entry_path(folder: str, identity: SourceIdentity, suffix: str) -> str:
    """Return the path of the entry of a source.

    The file name begins with the source's file name, reduced to characters that are safe everywhere. If the
    identity is a hash of the content, the file name omits it, so that the entry is still found after the
    source has moved.

    Args:
        folder: path of the config folder.
        identity: identity of the source.
        suffix: file name extension of the backend's entries.
    """
    token = identity.token
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", os.path.basename(identity.path).split(".")[0])[:MAX_STEM]
    name = token if identity.content else f"{stem}_{token}"
    return os.path.join(folder, token[:2], name + suffix)


def token_of_entry(name: str) -> str | None:
    """Return the identity in the file name of an entry; None if it is not the name of an entry.

    Example:
        >>> token_of_entry('city_' + 32 * 'e' + '.npy') == 32 * 'e'
        True
    """
    match = _ENTRY.fullmatch(name)
    return match[1] if match else None


def count_entries(folder: str) -> int:
    """Return how many entries a folder of entries has; 0 if it does not exist."""
    names = (name for _, _, files in walk(folder) for name in files)
    return sum(token_of_entry(name) is not None for name in names)


def is_named_for(path: str, identity: SourceIdentity) -> bool:
    """Whether a file has the name of the entry of a given source."""
    return token_of_entry(os.path.basename(path)) == identity.token


def is_shard(name: str) -> bool:
    """Whether a folder has the name of a shard, which holds entries."""
    return _SHARD.fullmatch(name) is not None


def is_writer_folder(name: str) -> bool:
    """Whether a folder has the name of a writer's folder."""
    return _WRITER_FOLDER.fullmatch(name) is not None


def is_writer_file(name: str) -> bool:
    """Whether a file has a name that writers use for files in their folders, except the lock file."""
    return _WRITER_FILE.fullmatch(name) is not None


def is_old_folder(name: str) -> bool:
    """Whether a folder beside the config folders has the name of a cache of ndsampler 0.8 or earlier."""
    return name in _OLD_FOLDERS


def is_old_inner_folder(name: str) -> bool:
    """Whether a folder has the name of one inside a cache of ndsampler 0.8 or earlier."""
    return _OLD_INNER_FOLDER.fullmatch(name) is not None


def is_old_file(folder: str, inner: str) -> bool:
    """Whether a file has the name of an entry of ndsampler 0.8 or earlier.

    Args:
        folder: name of the old cache's folder.
        inner: path of the file below it, with slashes.

    Example:
        >>> is_old_file('npy', 'ab/' + 38 * '0' + '.npy'), is_old_file('npy', 'notes.txt')
        (True, False)
    """
    match = re.match(_OLD_FOLDERS[folder], inner)
    return match is not None and _OLD_FILE.fullmatch(inner[match.end() :]) is not None
