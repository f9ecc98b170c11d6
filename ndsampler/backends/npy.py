"""
The ``'npy'`` backend: uncompressed pixels that are mapped into memory.

An entry is an ordinary ``.npy`` file that numpy can open. The format has no field for the nodata value of the
source, so the entry's label stores it. A mask of valid pixels follows the array: :data:`MASK_HEADER`, and a
byte for each pixel.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from typing import TYPE_CHECKING, Any

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
)
from ndsampler.backends.label import find_label
from ndsampler.errors import CacheError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from numpy.typing import NDArray

#: The largest height or width of an image in pixels.
MAX_SIDE = 2**32

#: What the mask after an array starts with: a mark, and the number of masks, which is 1 or that of channels.
MASK_HEADER = struct.Struct("<12sI")
MASK_MARK = b"NDSAMPLER-M\n"


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
    masks_overviews = False

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
        nodata = None if label is None else label.nodata
        self.nodata = tuple(nodata) if isinstance(nodata, list) else nodata
        self._mask = _find_mask(self._map, offset + array.nbytes, self.shape)
        self.has_mask = self._mask is not None

    def read(self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None) -> NDArray[Any]:
        """Return a copy of a window. See :class:`ndsampler.backends.base.RegionReader`."""
        view = self._array[y0:y1, x0:x1]
        if bands is not None:
            view = view[:, :, bands]
        return np.array(view, dtype=self.dtype, order="C")

    def read_mask(
        self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None
    ) -> NDArray[np.bool_]:
        """Return which pixels are valid. See :class:`ndsampler.backends.base.MaskedReader`."""
        if self._mask is None:
            return np.ones((y1 - y0, x1 - x0, 1), bool)
        view = self._mask[y0:y1, x0:x1]
        if bands is not None and view.shape[2] > 1:
            view = view[:, :, bands]
        return view != 0

    def rows(self, y0: int, y1: int) -> NDArray[Any]:
        """Return whole rows. See :class:`ndsampler.backends.base.SourceReader`."""
        return self.read(y0, y1, 0, self.shape[1])

    def close(self) -> None:
        """Drop the map, which is unmapped once no thread reads from it."""
        del self._array
        del self._mask
        del self._map


def _find_mask(data: mmap.mmap, start: int, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Return the mask after the array of an entry; None if there is none."""
    height, width, channels = shape
    if len(data) < start + MASK_HEADER.size:
        return None
    mark, count = MASK_HEADER.unpack_from(data, start)
    start += MASK_HEADER.size
    if mark != MASK_MARK or count not in (1, channels) or len(data) < start + height * width * count:
        return None
    return np.ndarray((height, width, count), np.uint8, data, start)


def _write_mask(file: BinaryIO, source: MaskedReader) -> None:
    """Append the mask of a source, in the blocks of rows in which its pixels are read."""
    height, width, _ = source.shape
    count = source.read_mask(0, min(1, height), 0, width).shape[2]
    file.write(MASK_HEADER.pack(MASK_MARK, count))
    step = max(1, BLOCK_BYTES // max(1, width * count))
    for y0 in range(0, height, step):
        file.write(source.read_mask(y0, min(y0 + step, height), 0, width).tobytes())


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
            masked = as_masked(source)
            if masked is not None:
                _write_mask(file, masked)

    def space_needed(self, source: RegionReader) -> int:
        """Return the size of the uncompressed pixels and of their mask in bytes."""
        height, width, channels = source.shape
        mask = height * width if as_masked(source) is not None else 0
        return height * width * channels * source.dtype.itemsize + mask

    def usable_in_place(self, path: str) -> bool:
        """Return True for a source that is a ``.npy`` file."""
        return path.lower().endswith(".npy")

    def open(self, path: str, level: int = 0) -> RegionReader:
        """Open an entry; ``level`` is 0, because entries have no overviews. See :class:`NpyReader`."""
        return NpyReader(path)
