"""
Uncompressed TIFF files that are written from top to bottom, one row of tiles at a time.

The size of every tile is known in advance, so the directory at the start of the file lists all of them. A
writer that is killed leaves complete rows of tiles and possibly a partial row. :meth:`TileFile.keep`
truncates the file to the rows that are known to be complete, and the next writer continues from there.

References:
    Adobe, TIFF Revision 6.0 (1992), sections 2 (structure), 15 (tiles) and 19 (sample formats);
    the BigTIFF design of the LibTIFF project.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.formats.tiff_directory import (
    HEADER_BYTES,
    LONG,
    LONG8,
    SAMPLE_FORMATS,
    SHORT,
    Tag,
    pack_directory,
    pack_header,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["TILE", "TileFile", "TileRows"]

#: Height and width of a tile in pixels.
TILE = 256


@dataclass(frozen=True)
class TileFile:
    """A tiled TIFF file that is written from top to bottom, one row of tiles at a time.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = TileFile(os.path.join(folder, 'a.tif'), (300, 400, 1), np.dtype('uint8'))
        ...     file.keep(0)
        ...     rows = TileRows(file, 0)
        ...     [list(rows.append(np.ones((count, 400, 1), 'uint8'))) for count in (200, 60, 40)]
        [[], [1], [2]]
    """

    path: str
    """Path of the file."""

    shape: tuple[int, int, int]
    """(height, width, bands) of the image."""

    dtype: np.dtype[Any]
    """Type of the values: integers or floats that TIFF supports."""

    @property
    def tile_rows(self) -> int:
        """Number of rows of tiles."""
        return -(-self.shape[0] // TILE)

    @property
    def _tile_columns(self) -> int:
        return -(-self.shape[1] // TILE)

    @property
    def _tile_bytes(self) -> int:
        return TILE * TILE * self.shape[2] * self.dtype.itemsize

    @property
    def _row_bytes(self) -> int:
        return self._tile_columns * self._tile_bytes

    def keep(self, tile_rows: int) -> None:
        """Create the file, or truncate it to the first rows of tiles.

        Args:
            tile_rows: number of rows of tiles to keep.
        """
        head = self._head()
        with open(self.path, "r+b" if os.path.exists(self.path) else "w+b") as file:
            file.write(head)
            file.truncate(len(head) + tile_rows * self._row_bytes)

    def size_of(self, tile_rows: int) -> int:
        """Return the size of the file in bytes once some rows of tiles have been written.

        Args:
            tile_rows: number of rows of tiles that have been written.
        """
        return len(self._head()) + tile_rows * self._row_bytes

    def new_tiles(self) -> NDArray[Any]:
        """Return an array for a row of tiles: (tiles, :data:`TILE`, :data:`TILE`, bands), all zero."""
        return np.zeros((self._tile_columns, TILE, TILE, self.shape[2]), self.dtype.newbyteorder("<"))

    def write(self, tile_row: int, tiles: NDArray[Any]) -> None:
        """Write a row of tiles, and wait until it is on the disk.

        Args:
            tile_row: index of the row of tiles, from the top.
            tiles: its pixels, in an array as :meth:`new_tiles` returns.
        """
        with open(self.path, "r+b") as file:
            file.seek(self.size_of(tile_row))
            file.write(tiles.data)
            file.flush()
            os.fsync(file.fileno())

    def _head(self) -> bytes:
        """Return the bytes before the first tile: the header, the directory, and its lists of values."""
        length = HEADER_BYTES + len(pack_directory(self._tags(0), HEADER_BYTES))
        first = -(-length // 4096) * 4096
        directory = pack_directory(self._tags(first), HEADER_BYTES)
        return (pack_header(HEADER_BYTES) + directory).ljust(first, b"\0")

    def _tags(self, first: int) -> list[Tag]:
        """Return the number, type and values of each tag of the directory, in ascending order.

        Args:
            first: position of the first tile in the file.
        """
        height, width, bands = self.shape
        count = self.tile_rows * self._tile_columns
        tags: list[Tag] = [
            (256, LONG, [width]),
            (257, LONG, [height]),
            (258, SHORT, [self.dtype.itemsize * 8] * bands),
            (259, SHORT, [1]),
            (262, SHORT, [1]),
            (277, SHORT, [bands]),
            (284, SHORT, [1]),
            (322, LONG, [TILE]),
            (323, LONG, [TILE]),
            (324, LONG8, range(first, first + count * self._tile_bytes, self._tile_bytes)),
            (325, LONG8, [self._tile_bytes] * count),
        ]
        if bands > 1:
            tags.append((338, SHORT, [0] * (bands - 1)))
        return [*tags, (339, SHORT, [SAMPLE_FORMATS[self.dtype.kind]] * bands)]


class TileRows:
    """Collects rows of an image, and writes them as soon as they complete a row of tiles.

    Args:
        file: the file.
        tile_row: number of rows of tiles that have already been written.
    """

    def __init__(self, file: TileFile, tile_row: int) -> None:
        self._file = file
        self._tile_row = tile_row
        self._tiles = file.new_tiles()
        self._filled = 0

    def append(self, pixels: NDArray[Any]) -> Iterator[int]:
        """Take the next rows of the image, and yield the number of rows of tiles after each write.

        Args:
            pixels: (n, width, bands) rows.
        """
        height = self._file.shape[0]
        while len(pixels):
            needed = min(TILE, height - self._tile_row * TILE)
            count = min(len(pixels), needed - self._filled)
            self._fill(pixels[:count])
            pixels = pixels[count:]
            if self._filled == needed:
                self._tiles[:, needed:] = 0
                self._file.write(self._tile_row, self._tiles)
                self._tile_row += 1
                self._filled = 0
                yield self._tile_row

    def _fill(self, pixels: NDArray[Any]) -> None:
        """Copy rows to the tiles."""
        count, width, bands = pixels.shape
        rows = slice(self._filled, self._filled + count)
        whole = width // TILE
        inside = pixels[:, : whole * TILE].reshape(count, whole, TILE, bands)
        self._tiles[:whole, rows] = inside.transpose(1, 0, 2, 3)
        if width % TILE:
            self._tiles[whole, rows, : width % TILE] = pixels[:, whole * TILE :]
        self._filled += count
