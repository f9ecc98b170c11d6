"""
Encodes the header and the directories of the TIFF files that this library writes without GDAL.

The files are little-endian BigTIFFs.

References:
    Adobe, TIFF Revision 6.0 (1992), section 2 (structure); the BigTIFF design of the LibTIFF project.
"""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["HEADER_BYTES", "LONG", "LONG8", "SAMPLE_FORMATS", "SHORT", "Tag", "pack_directory", "pack_header"]

#: TIFF codes of the types of a tag's values.
SHORT, LONG, LONG8 = 3, 4, 16

#: The :mod:`struct` format character of each type.
_LETTERS = {SHORT: "H", LONG: "I", LONG8: "Q"}

#: Value of the tag SampleFormat for each kind of numpy type.
SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}

#: Size of the file header in bytes.
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
    """Return the encoded directory, followed by the values that do not fit into its entries.

    Args:
        tags: the tags, in ascending order of their numbers.
        position: position of the directory in the file, in bytes.
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
