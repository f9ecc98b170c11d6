"""
The ``'npy'`` backend: uncompressed pixels that are mapped into memory.

An entry is an ordinary ``.npy`` file that numpy can open. The format has no field for the nodata value of the
source, so the entry's label stores it.
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

#: The largest height or width of an image in pixels.
MAX_SIDE = 2**32


class NpyReader:
    """Reads windows from a ``.npy`` file through a memory map.

    The map is read-only, and :meth:`read` returns copies, so no array outside this class refers to it.

    Args:
        path: the file.

    Raises:
        CacheError: if the file cannot be opened, is truncated, or does not hold an image.
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
        """Drop the map, which is unmapped once no thread reads from it."""
        del self._array
        del self._map


def _read_header(file: BinaryIO, path: str) -> tuple[tuple[int, ...], Any, np.dtype[Any]]:
    """Return shape, order and type from the header of a ``.npy`` file that holds the whole array."""
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
    except OSError:
        raise
    except Exception as ex:  # numpy does not catch errors of Python's tokenizer and parser
        raise CacheError(f"{path} is not a .npy file: {type(ex).__name__}: {ex}") from ex
    if dtype.kind not in "buifc" or len(shape) not in (2, 3):
        raise CacheError(
            f"{path} holds {dtype} of shape {shape}; expected an image of 2 or 3 axes of numbers"
        )
    if not all(type(side) is int and 0 <= side <= MAX_SIDE for side in shape):
        raise CacheError(f"{path} states the shape {shape}; expected sides of 0 to {MAX_SIDE}")
    # math.prod of Python integers does not overflow.
    end = file.tell() + dtype.itemsize * math.prod(shape)
    size = os.fstat(file.fileno()).st_size
    if size < end:
        raise CacheError(f"{path} is cut off: {size} bytes where {end} are needed")
    return shape, "F" if fortran else "C", dtype


@register("npy")
class NpyBackend(Backend):
    """Stores entries uncompressed: the fastest to read, and the largest on disk.

    Example:
        >>> NpyBackend().caches
        True
    """

    suffix = ".npy"
    maps = True

    def convert(self, source: SourceReader, dest: str) -> None:
        """Write an entry in blocks of rows."""
        header = {"descr": source.dtype.newbyteorder("=").str, "fortran_order": False, "shape": source.shape}
        with open(dest, "wb") as file:
            np.lib.format.write_array_header_2_0(file, header)
            for _, rows in row_blocks(source):
                file.write(np.ascontiguousarray(rows).data)

    def space_needed(self, source: RegionReader) -> int:
        """Return the size of the uncompressed pixels in bytes."""
        return math.prod(source.shape) * source.dtype.itemsize

    def usable_in_place(self, path: str) -> bool:
        """Return True for a source that is a ``.npy`` file."""
        return path.lower().endswith(".npy")

    def open(self, path: str, level: int = 0) -> RegionReader:
        """Open an entry; ``level`` is 0, because entries have no overviews. See :class:`NpyReader`."""
        return NpyReader(path)
