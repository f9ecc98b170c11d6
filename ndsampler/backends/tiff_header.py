"""
The directory of the first image in a TIFF file.

References:
    TIFF revision 6.0, Adobe (1992), section 2. BigTIFF: https://libtiff.gitlab.io/libtiff/specification/bigtiff.html
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

PHOTOMETRIC, COLOR_MAP = 262, 320

#: The value of :data:`PHOTOMETRIC` for pixels that are indexes into a color map.
PALETTE = 3

#: The most entries of a directory that are read.
_MOST_TAGS = 4096


def is_tiff(head: bytes) -> bool:
    r"""Whether a file starts as a TIFF or BigTIFF.

    Args:
        head: the first bytes of the file.

    Example:
        >>> is_tiff(b"II*\0\x08\0\0\0"), is_tiff(b"GIF89a")
        (True, False)
    """
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_first_directory(file: BinaryIO) -> dict[int, int]:
    """Return the tags of the first image, each with its first value if that is a short number, else 0.

    Args:
        file: an open TIFF.

    Raises:
        struct.error: if the file is cut off.
    """
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    count_format, entry_format = ("Q", "HHQHxxxxxx") if big else ("H", "HHIHxx")
    count_format, entry_format = order + count_format, order + entry_format
    (start,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", head, 8 if big else 4)
    file.seek(start)
    (count,) = struct.unpack(count_format, file.read(struct.calcsize(count_format)))
    count = min(count, _MOST_TAGS)
    entries = file.read(count * struct.calcsize(entry_format))
    return {
        tag: value if kind == 3 else 0 for tag, kind, _, value in struct.iter_unpack(entry_format, entries)
    }


def has_color_map(file: BinaryIO) -> bool:
    """Whether the pixels of the first image are indexes into a color map that the file has.

    Args:
        file: an open TIFF.

    Raises:
        struct.error: if the file is cut off.
    """
    tags = read_first_directory(file)
    return tags.get(PHOTOMETRIC) == PALETTE and COLOR_MAP in tags
