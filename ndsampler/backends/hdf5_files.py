"""
Rejects HDF5 and netCDF 4 files that store the values of a dataset in another file.

The HDF5 library reads the bytes of any file that such a file names. The name is in a local heap, which also
contains names of links. The heaps are found by their signature, because objects may be anywhere in the file.

References:
    HDF5 File Format Specification, version 3.0, sections III.D (local heaps) and IV.A.2.h (external files).
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from ndsampler.errors import SourceError
from ndsampler.utils.file_version import FileVersion

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["SIGNATURE", "check_external_files"]

#: Signature of an HDF5 file, which stands at byte 0 or at 512 times a power of two.
SIGNATURE = b"\x89HDF\r\n\x1a\n"

#: Signature of a local heap, and the number of bytes from the signature to the heap's sizes.
HEAP, HEAP_START = b"HEAP", 8

#: Maximum number of bytes of names that are examined in one file. Heaps may share names.
MAX_NAMES = 2**23

#: Number of bytes that count for each read of a heap, in addition to its names.
READ_COST = 16

#: Number of bytes that are searched at a time.
CHUNK = 2**20

#: Possible sizes in bytes of lengths and addresses, with their ``struct`` format characters.
WIDTHS = {2: "H", 4: "I", 8: "Q"}

#: Maximum number of searched files that one process remembers.
MAX_KNOWN = 10_000

_searched: dict[FileVersion, None] = {}


def check_external_files(path: str) -> None:
    """Reject an HDF5 file that may store its values in another file.

    This searches the whole file, once for each version of it.

    Args:
        path: a local file. A file of another format is accepted.

    Raises:
        SourceError: if the file contains the name of an existing file.
    """
    with open(path, "rb") as file:
        starts = list(_find_starts(file))
        version = FileVersion.find(path)
        if not starts or version in _searched:
            return
        checked: set[bytes] = set()
        for name in _list_names(path, file, starts):
            if name not in checked:
                checked.add(name)
                _check_name(path, name)
    if version is not None:
        if len(_searched) >= MAX_KNOWN:
            _searched.clear()
        _searched[version] = None


def _find_starts(file: BinaryIO) -> Iterator[int]:
    """Yield the positions of the HDF5 signature in a file."""
    at, size = 0, os.fstat(file.fileno()).st_size
    while at < size:
        file.seek(at)
        if file.read(len(SIGNATURE)) == SIGNATURE:
            yield at
        at = at * 2 or 512


def _list_names(path: str, file: BinaryIO, starts: list[int]) -> Iterator[bytes]:
    """Yield the texts in the local heaps of a file, for all possible sizes of its addresses."""
    left = MAX_NAMES
    for at in _find_heaps(file):
        file.seek(at + HEAP_START)
        fields = file.read(3 * max(WIDTHS))
        for pattern in WIDTHS.values():
            length, _, address = struct.unpack_from(f"<3{pattern}", fields.ljust(3 * max(WIDTHS), b"\0"))
            for start in {0, *starts}:
                if start + address >= 2**63:
                    continue
                file.seek(start + address)
                names = file.read(min(length, MAX_NAMES))
                left -= len(names) + READ_COST
                if left < 0:
                    raise SourceError(
                        f"{path} cannot be opened as an image: its heaps have more than {MAX_NAMES} bytes"
                    )
                yield from names.split(b"\0")


def _find_heaps(file: BinaryIO) -> Iterator[int]:
    """Yield the positions of the signature of a local heap in a file."""
    position, before = 0, b""
    while True:
        file.seek(position)
        chunk = file.read(CHUNK)
        if not chunk:
            return
        data = before + chunk
        at = data.find(HEAP)
        while at >= 0:
            yield position - len(before) + at
            at = data.find(HEAP, at + 1)
        position, before = position + len(chunk), data[1 - len(HEAP) :]


def _check_name(path: str, name: bytes) -> None:
    """Raise a SourceError if a file with the given name exists. HDF5 looks for it in the current folder."""
    if not 0 < len(name) < 4096:
        return
    for folder in (os.getcwd(), os.path.dirname(os.path.abspath(path))):
        if os.path.isfile(os.path.join(os.fsencode(folder), name)):
            raise SourceError(
                f"{path} cannot be opened as an image: it names {os.fsdecode(name)!r} as the file of its "
                "values. Store them in the file itself, for example with h5repack"
            )
