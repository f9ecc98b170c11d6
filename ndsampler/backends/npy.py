"""
The ``'npy'`` backend: uncompressed pixels that are mapped into memory.

An entry is a plain ``.npy`` file, which numpy and others open as ever. What the
format has no room for, the source's nodata value, stands in the entry's label.
"""

from __future__ import annotations

import math
import mmap
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.base import Backend, RegionReader, SourceReader, register, row_blocks
from ndsampler.backends.label import find_label
from ndsampler.errors import CacheError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from numpy.typing import NDArray


#: The longest side of an image, in pixels.
MAX_SIDE = 2**32


class NpyReader:
    """Reads windows from a ``.npy`` file through a memory map.

    The map is read-only and no array that leaves this class refers to it.
    """

    shareable = True
    nbytes = 0
    overviews: tuple[tuple[int, int], ...] = ()

    def __init__(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                shape, order, dtype = _read_header(file, path)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                offset = file.tell()
                label = find_label(file)
        except CacheError:
            raise
        except OSError as ex:
            raise CacheError(f"{path} cannot be opened: {ex}") from ex
        array: NDArray[Any] = np.ndarray(shape, dtype, self._map, offset, order=order)
        self._array = array if array.ndim == 3 else array.reshape(*array.shape, 1)
        self.shape = self._array.shape
        self.dtype = dtype.newbyteorder("=")
        self.nodata = None if label is None else label.nodata

    def read(self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None) -> NDArray[Any]:
        """Return a copy of a window. See :class:`ndsampler.backends.base.RegionReader`."""
        view = self._array[y0:y1, x0:x1]
        if bands is not None:
            view = view[:, :, bands]
        return np.array(view, dtype=self.dtype, order="C")

    def rows(self, y0: int, y1: int) -> NDArray[Any]:
        """Return whole rows. See :class:`ndsampler.backends.base.SourceReader`."""
        return self.read(y0, y1, 0, self.shape[1])

    def close(self) -> None:
        """Drop the map; it is unmapped as soon as no thread reads from it."""
        del self._array
        del self._map


def _read_header(file: BinaryIO, path: str) -> tuple[tuple[int, ...], Any, np.dtype[Any]]:
    """Parse the header of a ``.npy`` file and check that the file holds the whole array."""
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
    except OSError:
        raise
    except Exception as ex:  # numpy lets errors of Python's tokenizer and parser through
        raise CacheError(f"{path} is no .npy file: {type(ex).__name__}: {ex}") from ex
    if dtype.kind not in "buifc" or len(shape) not in (2, 3):
        raise CacheError(
            f"{path} holds {dtype} of shape {shape}; expected an image of 2 or 3 axes of numbers"
        )
    if not all(type(side) is int and 0 <= side <= MAX_SIDE for side in shape):
        raise CacheError(f"{path} states the shape {shape}; expected sides of 0 to {MAX_SIDE}")
    # Python's own numbers do not overflow.
    end = file.tell() + dtype.itemsize * math.prod(shape)
    size = os.fstat(file.fileno()).st_size
    if size < end:
        raise CacheError(f"{path} is cut off: {size} bytes where {end} are needed")
    return shape, "F" if fortran else "C", dtype


@register("npy")
class NpyBackend(Backend):
    """Uncompressed entries: the fastest reads, at the full size of the pixels on disk.

    Example:
        >>> NpyBackend().caches
        True
    """

    suffix = ".npy"
    maps = True

    def convert(self, source: SourceReader, dest: str) -> None:
        """Write an entry, a block of rows at a time."""
        header = {"descr": source.dtype.newbyteorder("=").str, "fortran_order": False, "shape": source.shape}
        with open(dest, "wb") as file:
            np.lib.format.write_array_header_2_0(file, header)
            for _, rows in row_blocks(source):
                file.write(np.ascontiguousarray(rows).data)

    def space_needed(self, source: RegionReader) -> int:
        """Return the bytes of the pixels, which are stored as they are."""
        return math.prod(source.shape) * source.dtype.itemsize

    def usable_in_place(self, path: str) -> bool:
        """Return True for a source that is a ``.npy`` file already."""
        return path.lower().endswith(".npy")

    def open(self, path: str, level: int = 0) -> RegionReader:
        """Open an entry, which has no overviews. See :class:`NpyReader`."""
        return NpyReader(path)
