"""
What stands at the end of every cache entry: where its pixels come from, and whether they are all there.

An entry is a file that its format's own readers understand, followed by a
*label*: a JSON object, the CRC-32 of all before the last twenty bytes, and a
mark. Behind the last byte of a TIFF or of an ``.npy`` array nobody looks.

A checksum of a whole file costs time that grows with the image, so it is not
computed each time a file is opened. Instead the entry is *sealed*: the
microseconds of its time of change are set to a number made of the checksum.
Whatever writes to the file later changes that time, and so breaks the seal; so
does a copy that keeps no times. An entry with an intact seal is taken as it
is, any other is read whole and compared with its checksum first.
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

#: The last bytes of an entry: checksum, length of the JSON text, mark.
FOOTER = struct.Struct("<II12s")
MARK = b"NDSAMPLER-2\n"

#: Bytes that are read at once to compute a checksum.
READ_BYTES = 2**20

#: Bytes at the end of a file in which a label is looked for. The longest path takes four thousand
#: characters, and each of them six bytes of JSON at the most.
TAIL_BYTES = 2**15


@dataclass(frozen=True)
class EntryLabel:
    """Says of one entry what it holds and where that came from."""

    source: str
    """Absolute path of the file that was converted."""
    size: int
    """Its size then, in bytes."""
    mtime_ns: int
    """The time of its last change then, in nanoseconds."""
    content: str
    """The hash that names the entry, where it is not named by the three above; else empty."""
    shape: tuple[int, int, int]
    """(height, width, channels)."""
    dtype: str
    """The type of one value."""
    nodata: float | None
    """The value that means "no measurement here", if any."""
    backend: str = ""
    """The backend that wrote it, and its settings where they are not the defaults, for people to read."""


def append_label(path: str, label: EntryLabel) -> None:
    """Finish a new entry: add its label, write all of it to the disk, and seal it.

    Args:
        path: of the file as the backend has written it.
        label: what it holds.
    """
    text = json.dumps(asdict(label), sort_keys=True).encode()
    with open(path, "rb+") as file:
        checksum = _checksum(file, os.fstat(file.fileno()).st_size)
        file.seek(0, os.SEEK_END)
        file.write(text + FOOTER.pack(zlib.crc32(text, checksum), len(text), MARK))
        file.flush()
        os.fsync(file.fileno())
    with open(path, "rb") as file:
        _seal(file, _parse_label(file)[1])


def read_label(path: str) -> EntryLabel:
    """Return the label of an entry.

    Raises:
        CacheError: if the file has none that can be read, so that it is damaged, or no entry.
    """
    with open(path, "rb") as file:
        return _parse_label(file)[0]


def find_label(file: BinaryIO) -> EntryLabel | None:
    """Return the label of an open file; None for a file that is no entry.

    Raises:
        CacheError: if there is a label that cannot be read.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - len(MARK)))
    return _parse_label(file)[0] if file.read(len(MARK)) == MARK else None


def check_entry(path: str) -> EntryLabel:
    """Return the label of an entry that is whole, at the cost of a few reads while its seal is intact.

    A whole entry whose seal is broken is sealed again, if that is allowed.

    Raises:
        CacheError: if the entry is damaged; the message says how it was noticed.
        OSError: if it cannot be read at all.
    """
    with open(path, "rb") as file:
        label, checksum = _parse_label(file)
        before = os.fstat(file.fileno())
        if before.st_mtime_ns % 10**9 == _seal_of(checksum):
            return label
        _verify(file, checksum)
        after = os.fstat(file.fileno())
        if (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns):
            # Another's file stays as it is, and one that nobody may write to: each process checks it once.
            with contextlib.suppress(OSError):
                _seal(file, checksum)
    return label


def verify_entry(path: str) -> EntryLabel:
    """Read all of an entry and return its label.

    Raises:
        CacheError: if a single bit is not as it was written.
    """
    with open(path, "rb") as file:
        label, checksum = _parse_label(file)
        _verify(file, checksum)
    return label


def _verify(file: BinaryIO, checksum: int) -> None:
    """Raise a CacheError unless all of an open entry has the checksum that it was written with."""
    found = _checksum(file, os.fstat(file.fileno()).st_size - FOOTER.size)
    if found != checksum:
        raise CacheError(f"{file.name} has the checksum {found:08x}; it was written with {checksum:08x}")


def _seal(file: BinaryIO, checksum: int) -> None:
    """Set the microseconds of an open entry's modification time to the seal of its checksum."""
    stat = os.fstat(file.fileno())
    # By descriptor where the system can, because another process may have replaced the file at the path.
    target: Any = file.fileno() if os.utime in os.supports_fd else file.name
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns // 10**9 * 10**9 + _seal_of(checksum)))


def _seal_of(checksum: int) -> int:
    """Return the nanoseconds within a second that seal an entry; whole microseconds, which NFS keeps."""
    return checksum % 10**6 * 1000


def _parse_label(file: BinaryIO) -> tuple[EntryLabel, int]:
    """Return the label of an open entry, and its checksum."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL_BYTES))
    tail = file.read()
    if len(tail) < FOOTER.size or not tail.endswith(MARK):
        raise CacheError(f"{file.name} has no label at its end: it is cut off, overwritten, or no entry")
    checksum, length, _ = FOOTER.unpack(tail[-FOOTER.size :])
    text = tail[-FOOTER.size - length : -FOOTER.size]
    if length > TAIL_BYTES - FOOTER.size:
        raise CacheError(f"{file.name} has a damaged label of {length} bytes")
    try:
        fields = json.loads(text)
        return EntryLabel(**{**fields, "shape": tuple(fields["shape"])}), checksum
    except (ValueError, TypeError, KeyError, RecursionError) as ex:
        raise CacheError(f"{file.name} has a damaged label: {ex}") from ex


def _checksum(file: BinaryIO, size: int) -> int:
    """Return the CRC-32 of the first bytes of an open file."""
    file.seek(0)
    checksum = 0
    while size > 0 and (block := file.read(min(size, READ_BYTES))):
        checksum = zlib.crc32(block, checksum)
        size -= len(block)
    return checksum
