"""
Reads the directories of a TIFF, which describe its pages, without decoding pixels.

A TIFF is a chain of image file directories (IFDs). Each directory describes one page. Reduced versions of a
page may also be stored as sub-directories (SubIFDs) of its directory.

References:
    Adobe, TIFF revision 6.0, section 2 (image file directory) and the list of tags. Adobe PageMaker 6.0 TIFF
    technical notes, note 1 (SubIFDs). BigTIFF: https://www.awaresystems.be/imaging/tiff/bigtiff.html
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ndsampler.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["PALETTE", "Page", "has_color_map", "is_tiff", "read_pages"]

#: Maximum number of pages that are read from one file.
MAX_PAGES = 65_536

#: Maximum length in bytes of a description. In an OME-TIFF, it holds an XML document.
MAX_TEXT = 2**24

#: Maximum number of entries of an image file directory.
MAX_ENTRIES = 4096

#: Maximum number of bytes of directories and values that are read from one file. Directories may overlap and
#: share values, so a small file can list any number of bytes.
MAX_BYTES = 2**27

#: Number of bytes that count for each directory, in addition to its entries.
DIRECTORY_BYTES = 256

#: The tags that are read, by their number.
TAGS = {
    254: "subfile_type",
    255: "old_subfile_type",
    256: "width",
    257: "height",
    258: "bits",
    259: "compression",
    262: "photometric",
    270: "description",
    277: "samples",
    284: "planar",
    320: "color_map",
    322: "tile_width",
    323: "tile_height",
    330: "sub_offsets",
    339: "sample_format",
}

#: The ``struct`` format characters of the value types that are read: texts and unsigned integers.
TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

#: Bits of the tag NewSubfileType: a reduced version of another page, and a transparency mask.
REDUCED, MASK = 1, 4

#: The value of the older tag SubfileType that marks a reduced version.
OLD_REDUCED = 2

#: Photometric interpretations. The first two are decoded to red, green and blue.
RGB, YCBCR, PALETTE = 2, 6, 3


@dataclass(frozen=True)
class Page:
    """One page, as its image file directory describes it."""

    number: int
    """Position in the file, from 1."""
    offset: int
    """Position of the directory in the file, in bytes."""
    height: int
    """Height in pixels."""
    width: int
    """Width in pixels."""
    samples: int = 1
    """Number of values of a pixel."""
    kind: tuple[int, int, int] = (1, 1, 1)
    """Bits of a value, its format (1 unsigned, 2 signed, 3 float), and the photometric interpretation."""
    subfile_type: int = 0
    """Bits that say whether the page is a reduced version (1) or a mask (4)."""
    planar: bool = False
    """Whether the samples are stored as planes."""
    tile_dims: tuple[int, int] | None = None
    """(height, width) of its tiles in pixels; None for a page that is stored in strips."""
    has_color_map: bool = False
    """Whether the page has a color map."""
    description: str = ""
    """The text in which the program that wrote the file describes the page."""
    subpages: tuple[Page, ...] = ()
    """The pages of its sub-directories."""
    compression: int = 1
    """Value of the tag Compression: 1 for none, 5 for LZW, 8 for DEFLATE, 50000 for ZSTD, and so on."""

    @property
    def dims(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width

    @property
    def tiled(self) -> bool:
        """Whether the page is stored in tiles."""
        return self.tile_dims is not None

    @property
    def is_reduced(self) -> bool:
        """Whether the file marks the page as a reduced version of another."""
        return bool(self.subfile_type & REDUCED) and not self.is_mask

    @property
    def is_mask(self) -> bool:
        """Whether the page is a transparency mask."""
        return bool(self.subfile_type & MASK)

    def is_like(self, other: Page) -> bool:
        """Whether another page stores pixels of the same type, whatever its size."""
        return (self.samples, *self.kind) == (other.samples, *other.kind)


def read_pages(path: str) -> tuple[Page, ...]:
    """Return the pages of a TIFF in the order of the file.

    Args:
        path: a local file.

    Returns:
        The pages before the first directory that cannot be read; empty for a file that is not a TIFF or
        cannot be opened.

    Raises:
        SourceError: if the directories list more than :data:`MAX_BYTES`.

    Example:
        >>> read_pages('/no/such/file')
        ()
    """
    try:
        with open(path, "rb") as file:
            parser = _Parser.begin(file)
            return () if parser is None else tuple(parser.pages())
    except _TooMuchError:
        raise SourceError(
            f"{path} cannot be opened as an image: its directories list more than {MAX_BYTES} bytes; the "
            "directories of real TIFFs are smaller"
        ) from None
    except (OSError, ValueError):
        return ()


def is_tiff(head: bytes) -> bool:
    r"""Whether a file starts with the signature of a TIFF or BigTIFF.

    Args:
        head: the first bytes of the file.

    Example:
        >>> is_tiff(b"II*\0\x08\0\0\0"), is_tiff(b"GIF89a")
        (True, False)
    """
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def has_color_map(file: BinaryIO) -> bool:
    """Whether the pixels of the first page are color indexes and the file contains the color map.

    Args:
        file: an open TIFF.
    """
    file.seek(0)
    parser = _Parser.begin(file)
    page = None if parser is None else next(parser.pages(), None)
    return page is not None and page.kind[2] == PALETTE and page.has_color_map


class _TooMuchError(Exception):
    """The directories of a file list more than :data:`MAX_BYTES`."""


@dataclass
class _Parser:
    """Reads the directories of one open file."""

    file: BinaryIO
    order: str
    """``'<'`` or ``'>'``."""
    big: bool
    """Whether it is a BigTIFF, with offsets of 8 bytes."""
    size: int
    """Size of the file in bytes."""
    left: int = field(default_factory=lambda: MAX_BYTES)
    """Number of bytes that may still be read."""

    @classmethod
    def begin(cls, file: BinaryIO) -> _Parser | None:
        """Return a parser of an open file, about to read the first directory; None if it is not a TIFF."""
        order = {b"II": "<", b"MM": ">"}.get(file.read(2))
        if order is None:
            return None
        version = int.from_bytes(file.read(2), "little" if order == "<" else "big")
        if version not in (42, 43):
            return None
        if version == 43:
            file.read(4)  # the size of an offset, which is always 8, and a zero
        return cls(file, order, version == 43, os.fstat(file.fileno()).st_size)

    def pages(self) -> Iterator[Page]:
        """Yield the pages of the chain, each with the pages of its sub-directories."""
        seen: set[int] = set()
        offset = self._number(self.file.read(8 if self.big else 4))
        while offset and offset not in seen and len(seen) < MAX_PAGES:
            seen.add(offset)
            found = self._page(offset, len(seen))
            if found is None:
                return
            page, offset = found
            yield page

    def _page(self, offset: int, number: int, below: bool = False) -> tuple[Page, int] | None:
        """Return the page of a directory, and the offset of the next one; None if it cannot be read."""
        directory = self._directory(offset)
        if directory is None:
            return None
        tags, following = directory
        height, width = (_first(tags, name, 0) for name in ("height", "width"))
        if not height or not width:
            return None
        flags = _first(tags, "subfile_type", 0)
        if not flags and _first(tags, "old_subfile_type", 0) == OLD_REDUCED:
            flags = REDUCED
        color = _first(tags, "photometric", 1)
        kind = (_first(tags, "bits", 1), _first(tags, "sample_format", 1), RGB if color == YCBCR else color)
        subpages = () if below else (self._page(at, number, True) for at in tags.get("sub_offsets", ()))
        page = Page(
            number,
            offset,
            height,
            width,
            _first(tags, "samples", 1),
            kind,
            flags,
            _first(tags, "planar", 1) == 2,
            (_first(tags, "tile_height", 0), _first(tags, "tile_width", 0)) if "tile_width" in tags else None,
            "color_map" in tags,
            tags.get("description", ""),
            tuple(found[0] for found in subpages if found is not None),
            _first(tags, "compression", 1),
        )
        return page, following

    def _directory(self, offset: int) -> tuple[dict[str, Any], int] | None:
        """Return the tags of a directory, and the offset of the next directory."""
        self._spend(DIRECTORY_BYTES)
        if offset >= self.size:
            return None
        count_size, entry = (8, 20) if self.big else (2, 12)
        self.file.seek(offset)
        count = self._number(self.file.read(count_size))
        if not 0 < count <= MAX_ENTRIES:
            return None
        self._spend(count * entry)
        data = self.file.read(count * entry)
        following = self._number(self.file.read(8 if self.big else 4))
        if len(data) < count * entry:
            return None
        pattern = self.order + ("HHQ8s" if self.big else "HHI4s")
        tags = {}
        for tag, kind, length, value in struct.iter_unpack(pattern, data):
            if tag in TAGS and kind in TYPES and length:
                tags[TAGS[tag]] = self._values(kind, length, value)
        return tags, following

    def _values(self, kind: int, length: int, stored: bytes) -> Any:
        """Return the values of a tag: a text or a tuple of integers. A long list is truncated."""
        character = TYPES[kind]
        length = min(length, MAX_TEXT if character == "s" else MAX_ENTRIES)
        size = length * struct.calcsize(self.order + character)
        if size > len(stored):
            self._spend(size)
            self.file.seek(min(self._number(stored), self.size))
            stored = self.file.read(size)
        if character == "s":
            return stored[:length].partition(b"\0")[0].decode("utf-8", "replace")
        whole = len(stored[:size]) // struct.calcsize(self.order + character)
        return struct.unpack_from(f"{self.order}{whole}{character}", stored)

    def _spend(self, count: int) -> None:
        """Count bytes that are about to be read.

        Raises:
            _TooMuchError: if the limit is exceeded.
        """
        self.left -= count
        if self.left < 0:
            raise _TooMuchError

    def _number(self, data: bytes) -> int:
        """Return an unsigned integer in the file's byte order; 0 for empty data."""
        return int.from_bytes(data, "little" if self.order == "<" else "big")


def _first(tags: dict[str, Any], name: str, default: int) -> int:
    """Return the first value of a tag of integers; the default if the tag is missing."""
    values = tags.get(name)
    return int(values[0]) if isinstance(values, tuple) and values else default
