"""
The ``'npy'`` backend: uncompressed pixels that are mapped into memory.

This library never changes an entry; it replaces the whole file. Other programs write ``.npy`` sources, and
many of them truncate the old file first. A process that reads a memory map beyond the end of its file is
killed by the system (SIGBUS). Windows of a source are therefore read with positional reads, which fail with
an error instead.

An entry is an ordinary ``.npy`` file that numpy can open. The format has no field for the nodata value of the
source, so the entry's label stores it. A mask of valid pixels follows the array: :data:`MASK_HEADER`, and a
byte for each pixel.
"""

from __future__ import annotations

import contextlib
import errno
import math
import mmap
import os
import struct
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from ndsampler.backends.base import (
    BLOCK_BYTES,
    Backend,
    MaskedReader,
    RegionReader,
    SourceReader,
    as_masked,
    register,
    row_blocks,
    valid_pixels,
)
from ndsampler.backends.formats.npy_header import NpyHeader, read_npy_header
from ndsampler.backends.label import find_label
from ndsampler.errors import CacheError, SourceError
from ndsampler.utils.file_version import FileVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from numpy.typing import NDArray

#: The largest height or width of an image in pixels.
MAX_SIDE = 2**32

#: The header of the mask after an array: magic bytes, and the number of masks, which is 1 or one per channel.
MASK_HEADER = struct.Struct("<12sI")
MASK_MARK = b"NDSAMPLER-M\n"


#: Maximum gap in bytes between two rows of a window. Reading a gap of this size is faster than skipping it.
SMALL_GAP = 4096

#: Number of bytes that one system call reads with the gaps between the rows of a window, and without them.
GAPPED_BYTES = 2**18
CONTIGUOUS_BYTES = 2**30

#: Maximum number of entries whose layouts a process remembers. A layout takes about 0.5 kB.
MAX_LAYOUTS = 100_000


class NpyLayout(NamedTuple):
    """The positions of the array and the mask in a ``.npy`` file, and the type of the values."""

    shape: tuple[int, int, int]
    """(height, width, channels)."""
    dtype: np.dtype[Any]
    """Type of the values, in the byte order of the file."""
    order: Literal["C", "F"]
    """Order of the values: with ``'C'`` the last axis varies fastest, with ``'F'`` the first."""
    start: int
    """Position of the first value in bytes."""
    nodata: Any
    """The value that marks pixels without a measurement; one for each channel if they differ; None for
    none."""
    mask: tuple[int, int] | None
    """Position of the mask in bytes, and the number of masks; None if the file has no mask."""

    @property
    def mask_shape(self) -> tuple[int, int, int]:
        """(height, width, number of masks)."""
        return (*self.shape[:2], 0 if self.mask is None else self.mask[1])


class _LayoutReader(ABC):
    """Base class of the readers of ``.npy`` files.

    Args:
        layout: the layout of the file.
    """

    shareable = True
    nbytes = 0
    overviews: tuple[tuple[int, int], ...] = ()
    masks_overviews = False

    def __init__(self, layout: NpyLayout) -> None:
        self.shape = layout.shape
        self.dtype = layout.dtype.newbyteorder("=")
        self.nodata = layout.nodata
        self.has_mask = layout.mask is not None

    @abstractmethod
    def read(self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None) -> NDArray[Any]:
        """Return a copy of a window. See :class:`ndsampler.backends.base.RegionReader`."""

    def rows(self, y0: int, y1: int) -> NDArray[Any]:
        """Return whole rows. See :class:`ndsampler.backends.base.SourceReader`."""
        return self.read(y0, y1, 0, self.shape[1])


class NpyReader(_LayoutReader):
    """Reads windows from a ``.npy`` file through a memory map.

    The map is read-only, and :meth:`read` returns copies, so no array outside this class refers to it.

    Args:
        path: the file.
        is_entry: whether it is a cache entry. No program changes an entry, so its header is read once.

    Raises:
        CacheError: if the file cannot be opened, is truncated, or does not hold an image.
    """

    def __init__(self, path: str, is_entry: bool = False) -> None:
        with _opened(path, _recall_layout if is_entry else _find_layout) as (file, layout):
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._array: NDArray[Any] = np.ndarray(
            layout.shape, layout.dtype, self._map, layout.start, order=layout.order
        )
        super().__init__(layout)
        self._mask: NDArray[np.uint8] | None = None
        if layout.mask is not None:
            self._mask = np.ndarray(layout.mask_shape, np.uint8, self._map, layout.mask[0])

    def read(self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None) -> NDArray[Any]:
        """Return a copy of a window. See :class:`ndsampler.backends.base.RegionReader`."""
        view = self._array[y0:y1, x0:x1]
        if bands is not None:
            view = view[:, :, bands]
        return np.array(view, dtype=self.dtype, order="C")

    def view(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Return a view of a window, or a copy if the file has another byte order."""
        return self._array[y0:y1, x0:x1].astype(self.dtype, copy=False)

    def rows(self, y0: int, y1: int) -> NDArray[Any]:
        """Return a view of whole rows, or a copy if the file has another byte order."""
        return self._array[y0:y1].astype(self.dtype, copy=False)

    def read_mask(
        self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None
    ) -> NDArray[np.bool_]:
        """Return which pixels are valid. See :class:`ndsampler.backends.base.MaskedReader`."""
        view = None if self._mask is None else self._mask[y0:y1, x0:x1]
        return valid_pixels(view, (y1 - y0, x1 - x0), bands)

    def close(self) -> None:
        """Release the map, which is unmapped once no thread reads from it."""
        del self._array
        del self._mask
        del self._map


class NpySourceReader(_LayoutReader):
    """Reads windows from a ``.npy`` source with positional reads, so that a truncated file is an error.

    Any number of threads may read at the same time.

    Args:
        path: the file.

    Raises:
        CacheError: if the file cannot be opened, is truncated, or does not hold an image.
    """

    def __init__(self, path: str) -> None:
        with _opened(path) as (file, layout):
            self._file = _File(path, os.dup(file.fileno()))
        super().__init__(layout)
        self._layout = layout

    def read(self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None) -> NDArray[Any]:
        """Return the pixels of a window. See :class:`ndsampler.backends.base.RegionReader`.

        Raises:
            SourceError: if the file was truncated, or cannot be read any more.
        """
        layout, box = self._layout, (y0, y1, x0, x1)
        if layout.order == "F":
            pixels = self._read_columns(box, bands)
        else:
            pixels = self._file.read_window(layout.start, layout.shape, layout.dtype, box)
            pixels = pixels if bands is None else pixels[:, :, bands]
        return np.require(pixels, self.dtype, "C")

    def _read_columns(self, box: tuple[int, int, int, int], bands: Sequence[int] | None) -> NDArray[Any]:
        """Return a window of an array in Fortran order: bands one after another, each stored by columns."""
        y0, y1, x0, x1 = box
        height, width, channels = self.shape
        indexes = range(channels) if bands is None else bands
        pixels = np.empty((y1 - y0, x1 - x0, len(indexes)), self._layout.dtype)
        for place, band in enumerate(indexes):
            start = self._layout.start + band * height * width * self.dtype.itemsize
            columns = self._file.read_window(start, (width, height, 1), self._layout.dtype, (x0, x1, y0, y1))
            pixels[:, :, place] = columns[:, :, 0].T
        return pixels

    def read_mask(
        self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None
    ) -> NDArray[np.bool_]:
        """Return which pixels are valid. See :class:`ndsampler.backends.base.MaskedReader`.

        Raises:
            SourceError: if the file was truncated, or cannot be read any more.
        """
        layout, mask = self._layout, None
        if layout.mask is not None:
            box = (y0, y1, x0, x1)
            mask = self._file.read_window(layout.mask[0], layout.mask_shape, np.dtype(np.uint8), box)
        return valid_pixels(mask, (y1 - y0, x1 - x0), bands)

    def close(self) -> None:
        """Release the file, which is closed once no thread reads from it."""
        del self._file


class _File:
    """An open file with positional reads. Its descriptor is closed when nothing refers to this object.

    Args:
        path: the file, for messages.
        descriptor: the open file descriptor.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)

    def read_window(
        self,
        start: int,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        box: tuple[int, int, int, int],
    ) -> NDArray[Any]:
        """Return a window of an array that is stored in C order.

        Args:
            start: position of the array in bytes.
            shape: (height, width, channels) of the array.
            dtype: type of the values, in the byte order of the file.
            box: first row, row after the last, first column, column after the last.

        Raises:
            SourceError: if the file ends before the window does, or cannot be read.
        """
        y0, y1, x0, x1 = box
        _, width, channels = shape
        pixels = np.empty((y1 - y0, x1 - x0, channels), dtype)
        if pixels.size:
            rows = pixels.reshape(y1 - y0, -1).view(np.uint8)
            pitch = width * channels * dtype.itemsize
            try:
                self._read_rows(rows, start + y0 * pitch + x0 * channels * dtype.itemsize, pitch)
            except OSError as ex:
                raise SourceError(f"{self._path} cannot be read: {ex}") from ex
        return pixels

    def _read_rows(self, rows: NDArray[np.uint8], start: int, pitch: int) -> None:
        """Fill rows of bytes from rows of the file that start ``pitch`` bytes apart."""
        count, length = rows.shape
        gap = pitch - length
        if gap == 0 or count == 1:
            self._read_contiguous(memoryview(rows.data).cast("B"), start)
        elif gap <= SMALL_GAP:
            self._read_with_gaps(rows, start, pitch)
        else:
            self._read_pieces(memoryview(rows.data).cast("B"), length, start, pitch)

    def _read_pieces(self, buffer: memoryview, length: int, start: int, pitch: int) -> None:
        """Fill a buffer with pieces of the file that start ``pitch`` bytes apart."""
        read, descriptor = os.preadv, self._descriptor  # type: ignore[attr-defined, unused-ignore]
        for done in range(0, len(buffer), length):
            piece = buffer[done : done + length]
            if read(descriptor, [piece], start) != length:
                self._read_contiguous(piece, start)
            start += pitch

    def _read_with_gaps(self, rows: NDArray[np.uint8], start: int, pitch: int) -> None:
        """Fill rows of bytes from longer pieces of the file that include the gaps between rows."""
        count, length = rows.shape
        step = max(1, GAPPED_BYTES // pitch)
        buffer = np.empty((min(step, count), pitch), np.uint8)
        for row in range(0, count, step):
            piece = buffer[: min(step, count - row)]
            # The file may end right after the last row, without a gap.
            self._read_contiguous(
                memoryview(piece.data).cast("B")[: piece.size - (pitch - length)], start + row * pitch
            )
            rows[row : row + len(piece)] = piece[:, :length]

    def _read_contiguous(self, buffer: memoryview, start: int) -> None:
        """Fill a buffer with the bytes at a position.

        Raises:
            OSError: if the file ends before the buffer is full.
        """
        done = 0
        while done < len(buffer):
            count = os.preadv(self._descriptor, [buffer[done : done + CONTIGUOUS_BYTES]], start + done)  # type: ignore[attr-defined, unused-ignore]
            if count == 0:
                raise OSError(errno.EIO, "it was truncated while it was being read")
            done += count


def open_npy_source(path: str) -> NpyReader | NpySourceReader:
    """Open a ``.npy`` file that other programs may change.

    Args:
        path: the file.

    Raises:
        CacheError: if the file cannot be opened, is truncated, or does not hold an image.
    """
    # Windows has no positional reads, but does not let a program truncate a mapped file.
    return NpySourceReader(path) if hasattr(os, "preadv") else NpyReader(path)


#: The layouts of entries that were opened, by the numbers of their disks and by their versions.
_layouts: dict[tuple[int, FileVersion], NpyLayout] = {}


@contextlib.contextmanager
def _opened(
    path: str, find_layout: Callable[[BinaryIO, str], NpyLayout] | None = None
) -> Iterator[tuple[BinaryIO, NpyLayout]]:
    """Open a ``.npy`` file that holds a whole image, and yield it with its layout.

    Args:
        path: the file.
        find_layout: returns the layout of the open file. The default is :func:`_find_layout`.

    Raises:
        CacheError: if it cannot be opened, or does not hold an image.
    """
    try:
        with open(path, "rb") as file:
            yield file, (find_layout or _find_layout)(file, path)
    except CacheError:
        raise
    except OSError as ex:
        raise CacheError(f"{path} cannot be opened: {ex}") from ex


def _recall_layout(file: BinaryIO, path: str) -> NpyLayout:
    """Return the layout of an open entry. Its header is read once for each version of the entry."""
    stat = os.fstat(file.fileno())
    version = stat.st_dev, FileVersion.from_stat(path, stat)
    layout = _layouts.get(version)
    if layout is None:
        if len(_layouts) >= MAX_LAYOUTS:
            _layouts.clear()
        layout = _layouts[version] = _find_layout(file, path)
    return layout


def _find_layout(file: BinaryIO, path: str) -> NpyLayout:
    """Return the layout of an open file."""
    shape, order, dtype, start = _read_header(file, path)
    height, width, channels = shape if len(shape) == 3 else (*shape, 1)
    mask = _find_mask(file, start + dtype.itemsize * math.prod(shape), (height, width, channels))
    label = find_label(file)
    nodata = None if label is None else label.nodata
    if isinstance(nodata, list):
        nodata = tuple(nodata)
    return NpyLayout((height, width, channels), dtype, order, start, nodata, mask)


def _find_mask(file: BinaryIO, start: int, shape: tuple[int, int, int]) -> tuple[int, int] | None:
    """Return the position and number of the masks after an entry's array; None if there are none."""
    height, width, channels = shape
    file.seek(start)
    header = file.read(MASK_HEADER.size)
    if len(header) < MASK_HEADER.size:
        return None
    mark, count = MASK_HEADER.unpack(header)
    start += MASK_HEADER.size
    size = os.fstat(file.fileno()).st_size
    if mark != MASK_MARK or count not in (1, channels) or size < start + height * width * count:
        return None
    return start, count


def _write_mask(file: BinaryIO, source: MaskedReader) -> None:
    """Append the mask of a source, in the same blocks of rows in which its pixels are read."""
    height, width, _ = source.shape
    count = source.read_mask(0, min(1, height), 0, width).shape[2]
    file.write(MASK_HEADER.pack(MASK_MARK, count))
    step = max(1, BLOCK_BYTES // max(1, width * count))
    for y0 in range(0, height, step):
        file.write(source.read_mask(y0, min(y0 + step, height), 0, width).tobytes())


def _read_header(file: BinaryIO, path: str) -> NpyHeader:
    """Return the header of a ``.npy`` file after checking that the file holds the whole array."""
    try:
        shape, order, dtype, start = read_npy_header(file)
    except ValueError as ex:
        raise CacheError(f"{path} is not a .npy file of numbers: {ex}") from ex
    if dtype.kind not in "buifc" or len(shape) not in (2, 3):
        raise CacheError(
            f"{path} holds {dtype} of shape {shape}; expected an array of numbers with 2 or 3 axes"
        )
    if not all(type(side) is int and 0 <= side <= MAX_SIDE for side in shape):
        raise CacheError(f"{path} states the shape {shape}; expected sides of 0 to {MAX_SIDE}")
    # math.prod of Python integers does not overflow.
    end = start + dtype.itemsize * math.prod(shape)
    size = os.fstat(file.fileno()).st_size
    if size < end:
        raise CacheError(f"{path} is cut off: it has {size} bytes; expected {end}")
    return NpyHeader(shape, order, dtype, start)


def map_array(path: str) -> np.memmap[Any, np.dtype[Any]]:
    """Return the (height, width, channels) array of a ``.npy`` file as a read-only memory map.

    Raises:
        CacheError: if it cannot be opened, or does not hold an image.
    """
    with _opened(path) as (file, layout):
        return np.memmap(file, layout.dtype, "r", layout.start, layout.shape, layout.order)


@register("npy")
class NpyBackend(Backend):
    """Stores entries uncompressed. They are the fastest to read and the largest on disk.

    It has one setting, ``in_place``: whether sources that are ``.npy`` files are read directly instead of
    being converted. ``'auto'`` and True select them, False does not.

    Example:
        >>> NpyBackend().caches
        True
    """

    suffix = ".npy"
    maps = True
    DEFAULTS: ClassVar[dict[str, Any]] = {"in_place": "auto"}

    def check_config(self) -> None:
        """Raise a :class:`ndsampler.errors.BackendError` if a setting has an invalid value."""
        self.check_in_place()

    def convert(self, source: SourceReader, dest: str) -> None:
        """Write an entry in blocks of rows."""
        header = {"descr": source.dtype.newbyteorder("=").str, "fortran_order": False, "shape": source.shape}
        with open(dest, "wb") as file:
            np.lib.format.write_array_header_2_0(file, header)
            for _, rows in row_blocks(source):
                file.write(np.ascontiguousarray(rows).data)
            masked = as_masked(source)
            if masked is not None:
                _write_mask(file, masked)

    def space_needed(self, source: RegionReader) -> int:
        """Return the size of the uncompressed pixels and of their mask in bytes."""
        height, width, channels = source.shape
        mask = height * width if as_masked(source) is not None else 0
        return height * width * channels * source.dtype.itemsize + mask

    def usable_in_place(self, path: str) -> bool:
        """Return True for a source that is a ``.npy`` file, unless the setting ``in_place`` is False."""
        return self.config["in_place"] is not False and path.lower().endswith(".npy")

    def open(self, path: str, level: int = 0) -> RegionReader:
        """Open an entry; ``level`` is 0, because entries have no overviews. See :class:`NpyReader`."""
        return NpyReader(path, is_entry=True)
