"""
The label at the end of every cache entry: the source of its pixels, and a checksum of the file.

An entry is an ordinary TIFF or ``.npy`` file followed by a *label*: a JSON object, and a footer of twenty
bytes with the CRC-32 of everything before the footer, the length of the JSON text, and magic bytes. Readers
of both formats ignore the bytes after the image.

The time to compute a checksum grows with the size of the file, so it is not computed each time an entry is
opened. Instead the entry is *sealed*: the microseconds of its modification time are set to a number derived
from the checksum. A later write to the file changes the modification time and so breaks the seal, and so
does a copy that does not preserve times. An entry with an intact seal is trusted. Any other entry is first
read completely and compared with its checksum.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ndsampler.errors import CacheError

if TYPE_CHECKING:
    from typing import BinaryIO

#: The footer of an entry: checksum, length of the JSON text, magic bytes.
FOOTER = struct.Struct("<II12s")
MARK = b"NDSAMPLER-3\n"

#: Number of bytes that are read at a time to compute a checksum.
READ_BYTES = 2**20

#: Number of bytes at the end of a file that are searched for a label. A path has at most about 4000
#: characters, and each takes at most six bytes in JSON.
TAIL_BYTES = 2**15


@dataclass(frozen=True)
class EntryLabel:
    """Describes an entry and the source from which it was made.

    Any further fact about an entry is added here, as a field with a default. A fact that is part of the
    entry's name is also a field of :class:`ndsampler.cache.identity.SourceIdentity`.
    """

    source: str
    """Absolute path of the source file."""
    size: int
    """Size of the source in bytes when it was converted."""
    mtime_ns: int
    """Modification time of the source in nanoseconds when it was converted."""
    content: str
    """The content hash in the entry's name; empty if the name is derived from path, size, time and sample."""
    shape: tuple[int, int, int]
    """(height, width, channels) of the image."""
    dtype: str
    """Type of the values."""
    nodata: Any
    """The value that marks pixels without a measurement; one for each channel if they differ; None for
    none."""
    backend: str = ""
    """The backend that wrote the entry, and its settings that differ from the defaults, for messages."""
    sample: str = ""
    """Hash of parts of the source's content."""
    sides: str = ""
    """Hash of the files beside the source that change its pixels; empty if there are none."""
    form: str = ""
    """The form in which the source was read; empty for the form of a file about which nothing is stated."""


def append_label(path: str, label: EntryLabel) -> None:
    """Finish a new entry: append its label, flush the file to the disk, and seal it.

    Args:
        path: path of the file that the backend has written.
        label: describes the entry.
    """
    text = json.dumps(asdict(label), sort_keys=True).encode()
    with open(path, "rb+") as file:
        checksum = _checksum(file, os.fstat(file.fileno()).st_size)
        file.seek(0, os.SEEK_END)
        checksum = zlib.crc32(text, checksum)
        file.write(text + FOOTER.pack(checksum, len(text), MARK))
        file.flush()
        os.fsync(file.fileno())
    with open(path, "rb") as file:
        _seal(file, checksum)


def read_label(path: str) -> EntryLabel:
    """Return the label of an entry.

    Args:
        path: path of the entry.

    Raises:
        CacheError: if the file has no readable label, because it is damaged or not an entry.
    """
    with open(path, "rb") as file:
        return _parse_label(file)[0]


def find_label(file: BinaryIO) -> EntryLabel | None:
    """Return the label of an open file; None for a file that is not an entry.

    Args:
        file: the open file.

    Raises:
        CacheError: if the file has a label that cannot be read.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - len(MARK)))
    return _parse_label(file)[0] if file.read(len(MARK)) == MARK else None


def check_entry(path: str) -> EntryLabel:
    """Return the label of an entry after checking that the entry is complete and undamaged.

    If the seal is intact this takes a few small reads, otherwise the whole file is read. An undamaged entry
    with a broken seal is sealed again if the file permissions allow it.

    Args:
        path: path of the entry.

    Raises:
        CacheError: if the entry is damaged; the message states how the damage was detected.
        OSError: if the file cannot be read.
    """
    with open(path, "rb") as file:
        label, checksum = _parse_label(file)
        before = os.fstat(file.fileno())
        if before.st_mtime_ns % 10**9 == _seal_of(checksum):
            return label
        _verify(file, checksum)
        after = os.fstat(file.fileno())
        if (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns):
            # A read-only file or one of another user stays unsealed; each process checks it once.
            with contextlib.suppress(OSError):
                _seal(file, checksum)
    return label


def verify_entry(path: str) -> EntryLabel:
    """Read a whole entry, compare it with its checksum, and return its label.

    Args:
        path: path of the entry.

    Raises:
        CacheError: if the file has changed since it was written.
    """
    with open(path, "rb") as file:
        label, checksum = _parse_label(file)
        _verify(file, checksum)
    return label


def _verify(file: BinaryIO, checksum: int) -> None:
    """Raise a CacheError if the content of an open entry does not have the expected checksum."""
    found = _checksum(file, os.fstat(file.fileno()).st_size - FOOTER.size)
    if found != checksum:
        raise CacheError(f"{file.name} has the checksum {found:08x}; it was written with {checksum:08x}")


def _seal(file: BinaryIO, checksum: int) -> None:
    """Set the microseconds of an open entry's modification time to the number derived from its checksum."""
    stat = os.fstat(file.fileno())
    # Use the file descriptor if possible, because another process may have replaced the file.
    target: Any = file.fileno() if os.utime in os.supports_fd else file.name
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns // 10**9 * 10**9 + _seal_of(checksum)))


def _seal_of(checksum: int) -> int:
    """Return the sub-second part, in nanoseconds, that seals an entry. NFS keeps only microseconds."""
    return checksum % 10**6 * 1000


def _parse_label(file: BinaryIO) -> tuple[EntryLabel, int]:
    """Return the label of an open entry, and the checksum that it was written with."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL_BYTES))
    tail = file.read()
    if len(tail) < FOOTER.size or not tail.endswith(MARK):
        raise CacheError(f"{file.name} has no label at its end: it is cut off, overwritten, or not an entry")
    checksum, length, _ = FOOTER.unpack(tail[-FOOTER.size :])
    text = tail[-FOOTER.size - length : -FOOTER.size]
    if length > TAIL_BYTES - FOOTER.size:
        raise CacheError(f"{file.name} has a damaged label of {length} bytes")
    try:
        fields = json.loads(text)
        label = EntryLabel(**{**fields, "shape": tuple(fields["shape"])})
        _check_label(label)
    except (ValueError, TypeError, KeyError, RecursionError) as ex:
        raise CacheError(f"{file.name} has a damaged label: {ex}") from ex
    return label, checksum


def _check_label(label: EntryLabel) -> None:
    """Raise a TypeError if the value of a field has a type that a writer never stores."""
    texts = ("source", "content", "dtype", "backend", "sample", "sides", "form")
    numbers = [label.size, label.mtime_ns, *label.shape]
    wrong = [name for name in texts if not isinstance(getattr(label, name), str)]
    if wrong:
        raise TypeError(f"{wrong[0]} is not a text")
    if len(label.shape) != 3 or not all(type(number) is int for number in numbers):
        raise TypeError("shape, size and mtime_ns are not integers")
    for value in label.nodata if isinstance(label.nodata, list) else [label.nodata]:
        if not isinstance(value, (int, float, type(None))):
            raise TypeError(f"nodata is a {type(value).__name__}")


def _checksum(file: BinaryIO, size: int) -> int:
    """Return the CRC-32 of the first bytes of an open file."""
    file.seek(0)
    checksum = 0
    while size > 0 and (block := file.read(min(size, READ_BYTES))):
        checksum = zlib.crc32(block, checksum)
        size -= len(block)
    return checksum
