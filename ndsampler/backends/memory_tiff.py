"""
Uncompressed TIFF files in GDAL's memory file system, whose pixels and overviews are numpy arrays.

Pixels are stored once and interleaved, in the order in which GDAL encodes them. GDAL's own in-memory datasets
store each band separately, so pixels must be split into bands and interleaved again, and only GDAL can fill
their overviews.
"""

from __future__ import annotations

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
from ndsampler.backends.gdal import open_dataset

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

__all__ = ["MemoryTiff"]

#: Number of rows in each strip.
STRIP_ROWS = 128

#: Makes GDAL copy pixels directly from the file's memory, bypassing its block cache.
VIRTUAL_CONFIG = {"GTIFF_VIRTUAL_MEM_IO": "YES"}

#: Values of the tags PhotometricInterpretation and NewSubfileType.
GRAY, COLOR = 1, 2
FULL_SIZE, REDUCED = 0, 1

#: Positions in the file are multiples of this number of bytes.
ALIGNMENT = 16


class MemoryTiff:
    """An image and its overviews.

    The arrays are views of the file, and must not be used after it is closed.

    Args:
        shapes: (height, width, channels) of the image and of each overview.
        dtype: type of the values: integers or floats that TIFF supports.

    Example:
        >>> with MemoryTiff([(4, 6, 3), (2, 3, 3)], np.dtype('uint8')) as file:
        ...     file.levels[0][:] = 7
        ...     with file.open() as dataset:
        ...         dataset.read(1)[0].tolist(), dataset.overviews(1)
        ([7, 7, 7, 7, 7, 7], [2])
    """

    def __init__(self, shapes: Sequence[tuple[int, int, int]], dtype: np.dtype[Any]) -> None:
        from rasterio.io import MemoryFile

        lengths = [height * width * channels * dtype.itemsize for height, width, channels in shapes]
        starts = _place(HEADER_BYTES, lengths)
        ends = [start + length for start, length in zip(starts, lengths, strict=True)]
        tags = [_tags(shape, dtype, starts[level], level > 0) for level, shape in enumerate(shapes)]
        sizes = [len(pack_directory(each, 0)) for each in tags]
        directories = _place(ends[-1], sizes)
        self._file = MemoryFile(ext=".tif")
        self._file.seek(directories[-1] + sizes[-1] - 1)
        self._file.write(b"\0")
        content = np.asarray(self._file.getbuffer())
        _put(content, 0, pack_header(directories[0]))
        for each, position, following in zip(tags, directories, [*directories[1:], 0], strict=True):
            _put(content, position, pack_directory(each, position, following))
        self.levels: list[NDArray[Any]] = [
            content[start:end].view(dtype).reshape(shape)
            for start, end, shape in zip(starts, ends, shapes, strict=True)
        ]
        """The pixels of the image and of each overview."""

    def open(self, *, overviews: bool = True) -> DatasetReader:
        """Open the file with GDAL.

        Args:
            overviews: whether GDAL uses the overviews.
        """
        options: dict[str, Any] = {} if overviews else {"overview_level": "NONE"}
        return open_dataset(self._file.name, config=VIRTUAL_CONFIG, driver="GTiff", **options)

    def __enter__(self) -> MemoryTiff:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.levels = []
        self._file.close()


def _place(start: int, lengths: Sequence[int]) -> list[int]:
    """Return the aligned positions of consecutive parts of the given lengths."""
    positions = []
    for length in lengths:
        start = -(-start // ALIGNMENT) * ALIGNMENT
        positions.append(start)
        start += length
    return positions


def _put(content: NDArray[np.uint8], position: int, data: bytes) -> None:
    """Write bytes at a position."""
    content[position : position + len(data)] = np.frombuffer(data, np.uint8)


def _tags(shape: tuple[int, int, int], dtype: np.dtype[Any], start: int, is_overview: bool) -> list[Tag]:
    """Return the tags of an image whose pixels start at a position."""
    height, width, channels = shape
    row = width * channels * dtype.itemsize
    strips = range(0, height, STRIP_ROWS)
    # GDAL treats a fourth channel as alpha only if the file says so.
    colors = 3 if dtype == np.uint8 and channels in (3, 4) else 1
    tags: list[Tag] = [
        (254, LONG, [REDUCED if is_overview else FULL_SIZE]),
        (256, LONG, [width]),
        (257, LONG, [height]),
        (258, SHORT, [dtype.itemsize * 8] * channels),
        (259, SHORT, [1]),
        (262, SHORT, [GRAY if colors == 1 else COLOR]),
        (273, LONG8, [start + y0 * row for y0 in strips]),
        (277, SHORT, [channels]),
        (278, LONG, [STRIP_ROWS]),
        (279, LONG8, [min(STRIP_ROWS, height - y0) * row for y0 in strips]),
        (284, SHORT, [1]),
    ]
    if channels > colors:
        tags.append((338, SHORT, [0] * (channels - colors)))
    return [*tags, (339, SHORT, [SAMPLE_FORMATS[dtype.kind]] * channels)]
