"""
The header and the directories of a TIFF file, for those that this library writes without GDAL.

The files are BigTIFFs in little-endian byte order.

References:
    Adobe, TIFF Revision 6.0 (1992), section 2 (structure); the BigTIFF design of the LibTIFF project.
"""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["HEADER_BYTES", "LONG", "LONG8", "SAMPLE_FORMATS", "SHORT", "Tag", "pack_directory", "pack_header"]

#: The types of the values of a tag.
SHORT, LONG, LONG8 = 3, 4, 16

#: The letter of each type for :mod:`struct`.
_LETTERS = {SHORT: "H", LONG: "I", LONG8: "Q"}

#: Values of the tag SampleFormat for each kind of numpy's types.
SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}

#: Bytes before the first directory.
HEADER_BYTES = 16

#: Number, type and values of a tag.
Tag = tuple[int, int, Any]


def pack_header(directory: int) -> bytes:
    """Return the first bytes of a file.

    Args:
        directory: position of the first directory in the file.
    """
    return struct.pack("<2sHHHQ", b"II", 43, 8, 0, directory)


def pack_directory(tags: list[Tag], position: int, following: int = 0) -> bytes:
    """Return the bytes of a directory, and of the lists of values that it refers to.

    Args:
        tags: in ascending order of their numbers.
        position: of the directory in the file.
        following: position of the next directory; 0 if this is the last one.

    Example:
        >>> len(pack_directory([(256, LONG, [640]), (258, SHORT, [8, 8, 8, 8, 8])], 16))
        66
    """
    lists = position + 8 + 20 * len(tags) + 8
    entries, behind = [], b""
    for number, kind, values in tags:
        packed = struct.pack(f"<{len(values)}{_LETTERS[kind]}", *values)
        if len(packed) > 8:
            offset = lists + len(behind)
            behind += packed
            packed = struct.pack("<Q", offset)
        entries.append(struct.pack("<HHQ8s", number, kind, len(values), packed))
    return struct.pack("<Q", len(entries)) + b"".join(entries) + struct.pack("<Q", following) + behind
