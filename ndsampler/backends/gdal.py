"""
GDAL, through rasterio: the one module that knows of either.

rasterio's wheels carry GDAL; the ``osgeo`` bindings are never imported, since
two copies of GDAL in one process have clashed over their data files.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.base import row_blocks
from ndsampler.backends.opencv import DEFLATE_RATIO, HUFFMAN_RATIO, Claim, check_plausible
from ndsampler.errors import CacheError, MissingSourceError, SourceError
from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

logger = logging.getLogger(__name__)

#: GDAL's block cache, in bytes for one process, where the user has not chosen one. GDAL's own
#: default is 5 % of the machine's memory, which each of many loader workers would take.
BLOCK_CACHE_BYTES = 64 * 2**20

#: The largest tile, in pixels a side, from which a small window still reads fast.
MAX_TILE = 1024

#: Between these sizes in bytes, a window of few bands is read as planes and merged by OpenCV, which takes
#: two thirds of the time of letting GDAL write into a transposed view. Smaller ones do not repay the
#: second call, larger ones not the second buffer.
MERGE_SIZES = (2**15, 2**20)

#: Types of the same size through which values of any type are moved unchanged.
MERGE_TYPES = {1: "uint8", 2: "uint16", 4: "int32", 8: "float64"}

#: The largest image, in bytes, that is held in memory to be converted faster.
IN_MEMORY_BYTES = 256 * 2**20

#: A tile or strip of more bytes is doubted.
LARGE_BLOCK_BYTES = 256 * 2**20

#: The most bytes of pixels that one byte of a block can stand for, by its compression; None is none.
BLOCK_RATIOS = {None: 1, "none": 1, "packbits": 128, "deflate": DEFLATE_RATIO, "jpeg": HUFFMAN_RATIO}

#: Overviews halve until the image is no larger than this many pixels a side.
SMALLEST_OVERVIEW = 128

#: File types that GDAL decodes window by window. Others are decoded whole, elsewhere.
WINDOWED_DRIVERS = frozenset(
    {"GTiff", "COG", "VRT", "NITF", "JP2OpenJPEG", "HFA", "ENVI", "EHdr", "netCDF", "RPFTOC"}
)

_open_lock = threading.Lock()

#: Whether GDAL's block cache has been set in this process, or in that which it is a fork of.
_configured = False

#: Whether this process is the fork of one that had loaded this module.
_forked = False


def _configure_gdal() -> None:
    """Set GDAL's block cache for this process, unless the user has set it, and spare a fork its threads."""
    from rasterio.env import get_gdal_config, set_gdal_config

    global _configured
    if _forked:
        # See encoder_threads; GDAL_NUM_THREADS in the environment would bring them in again.
        set_gdal_config("GDAL_NUM_THREADS", "1")
    # Once only: what the user sets afterwards is theirs to set.
    if not _configured:
        _configured = True
        if "GDAL_CACHEMAX" not in os.environ and get_gdal_config("GDAL_CACHEMAX") > BLOCK_CACHE_BYTES:
            set_gdal_config("GDAL_CACHEMAX", BLOCK_CACHE_BYTES)


@contextlib.contextmanager
def quiet_gdal() -> Iterator[None]:
    """Keep forks away, and rasterio's warning about missing georeferencing, while files are opened."""
    from rasterio.errors import NotGeoreferencedWarning

    # What catch_warnings changes is the whole process's, hence the lock.
    with GATE, _open_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def open_dataset(path: str, **options: Any) -> DatasetReader:
    """Open a file with GDAL, without its warning about missing georeferencing.

    Args:
        path: a local file.
        **options: of GDAL's driver.

    Returns:
        A rasterio dataset of the caller's own.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if GDAL cannot open it.
    """
    import rasterio
    from rasterio.errors import RasterioIOError

    with quiet_gdal():
        _configure_gdal()
        try:
            return rasterio.open(path, **options)
        except UnicodeEncodeError as ex:
            raise SourceError(f"{path!r} cannot be opened: GDAL knows only names in UTF-8") from ex
        except RasterioIOError as ex:
            if not os.path.exists(path):
                raise MissingSourceError(f"{path} does not exist") from ex
            raise SourceError(f"{path} cannot be opened as an image: {ex}") from ex


class RasterReader:
    """Reads windows through one GDAL handle. It belongs to one thread of one process.

    A file with a color table reads as the colors (RGBA), not as indexes into the table.

    Args:
        path: a file that GDAL can open.
        level: 0 for the image itself, n for the n-th of its overviews.

    Raises:
        SourceError: if it has no bands, or bands of different types.
    """

    shareable = False
    nbytes = 0

    def __init__(self, path: str, level: int = 0) -> None:
        self.path = path
        with GATE:
            self.dataset = open_dataset(path, **({"overview_level": level - 1} if level else {}))
            try:
                self._inspect()
            except BaseException:
                self.dataset.close()
                raise

    def _inspect(self) -> None:
        """Take what is asked for often out of the open file."""
        dtypes = set(self.dataset.dtypes)
        if len(dtypes) != 1:
            found = ", ".join(sorted(dtypes)) or "no bands"
            raise SourceError(f"{self.path} has {found}; expected one or more bands of one type")
        try:
            self.dtype = np.dtype(dtypes.pop())
        except TypeError as ex:
            raise SourceError(f"{self.path} has values of a type that numpy does not know: {ex}") from ex
        self._palette = self._color_table()
        self.is_indexed = self._palette is not None
        self._check_blocks()
        count = self.dataset.count if self._palette is None else self._palette.shape[1]
        self.shape = (self.dataset.height, self.dataset.width, count)
        self.nodata = None if self._palette is not None else self.dataset.nodata
        self.overviews = self._overview_dims()

    def _check_blocks(self) -> None:
        """Refuse blocks that the file cannot hold, since GDAL takes the memory for one before it reads it."""
        rows, cols = self.dataset.block_shapes[0]
        in_a_block = self.dataset.count if self.dataset.profile.get("interleave") == "pixel" else 1
        claimed = rows * cols * in_a_block * self.dtype.itemsize
        if claimed > LARGE_BLOCK_BYTES:
            codec = self.dataset.compression
            ratio = BLOCK_RATIOS.get(None if codec is None else codec.name)
            check_plausible(self.path, Claim(claimed, ratio), os.path.getsize(self.path))

    def _overview_dims(self) -> tuple[tuple[int, int], ...]:
        """Return the sizes of the overviews; averages of color indexes mean nothing, so of those none."""
        factors = self.dataset.overviews(1) if self._palette is None else []
        height, width, _ = self.shape
        # GDAL rounds the size of an overview up.
        return tuple((-(-height // factor), -(-width // factor)) for factor in factors)

    def _color_table(self) -> NDArray[Any] | None:
        """Return the colors of an indexed image as (256, 4) values, or None for any other."""
        if self.dataset.count != 1 or self.dataset.colorinterp[0].name != "palette":
            return None
        table = np.zeros((max(256, max(self.dataset.colormap(1), default=0) + 1), 4), self.dtype)
        for index, color in self.dataset.colormap(1).items():
            table[index] = color
        return table

    def read(self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None) -> NDArray[Any]:
        """Return a window. See :class:`ndsampler.backends.base.RegionReader`."""
        if self._palette is not None:
            colors = self._palette[self._read_bands(y0, y1, x0, x1, [1])[..., 0]]
            return colors if bands is None else np.ascontiguousarray(colors[..., bands])
        if bands is None:
            return self._read_bands(y0, y1, x0, x1, self.dataset.indexes)
        return self._read_bands(y0, y1, x0, x1, [band + 1 for band in bands])

    def _read_bands(self, y0: int, y1: int, x0: int, x1: int, indexes: Sequence[int]) -> NDArray[Any]:
        """Read GDAL's bands, numbered from 1, into pixels with the channels last."""
        from rasterio.errors import RasterioIOError
        from rasterio.windows import Window

        if y0 >= y1 or x0 >= x1:
            return np.empty((y1 - y0, x1 - x0, len(indexes)), self.dtype)
        window = Window(x0, y0, x1 - x0, y1 - y0)
        size = window.width * window.height * len(indexes) * self.dtype.itemsize
        try:
            with GATE:
                return self._read_window(window, indexes, size)
        except RasterioIOError as ex:
            raise SourceError(
                f"rows {y0}:{y1}, columns {x0}:{x1} of {self.path} cannot be decoded: {ex.__cause__ or ex}"
            ) from ex

    def _read_window(self, window: Window, indexes: Sequence[int], size: int) -> NDArray[Any]:
        """Read GDAL's bands, numbered from 1, which take so many bytes."""
        if 2 <= len(indexes) <= 4 and MERGE_SIZES[0] <= size <= MERGE_SIZES[1]:
            return interleave(self.dataset.read(indexes, window=window))
        out = np.empty((window.height, window.width, len(indexes)), self.dtype)
        self.dataset.read(indexes, out=out.transpose(2, 0, 1), window=window)
        return out

    def rows(self, y0: int, y1: int) -> NDArray[Any]:
        """Return whole rows. See :class:`ndsampler.backends.base.SourceReader`."""
        return self.read(y0, y1, 0, self.shape[1])

    def close(self) -> None:
        """Close the GDAL handle."""
        with GATE:
            self.dataset.close()


def interleave(planes: NDArray[Any]) -> NDArray[Any]:
    """Return 2 to 4 planes (channels, height, width) as contiguous (height, width, channels) pixels.

    Args:
        planes: of any numeric type.

    Example:
        >>> interleave(np.arange(4).reshape(2, 1, 2)).tolist()
        [[[0, 2], [1, 3]]]
    """
    from ndsampler.utils.require import require_opencv

    carrier = MERGE_TYPES[planes.dtype.itemsize]
    merged: NDArray[Any] = require_opencv().merge(list(planes.view(carrier)))
    return merged.view(planes.dtype)


def reads_windows(dataset: DatasetReader) -> bool:
    """Whether GDAL reads a window of a file without decoding all of it.

    True for tiled and striped TIFFs and the like; False where the whole image is one compressed
    block, and for PNG or JPEG.
    """
    with GATE:
        if dataset.driver not in WINDOWED_DRIVERS:
            return False
        rows, cols = dataset.block_shapes[0]
        one_block = rows >= dataset.height and cols >= dataset.width
        return not (one_block and dataset.compression is not None)


def is_page_stack(dataset: DatasetReader) -> bool:
    """Whether a TIFF holds one array as a stack of pages, of which GDAL would show the first alone.

    tifffile, and whatever writes through it, lays out an image of 2 or of more than 4 channels so, and
    says the array's shape in the description.
    """
    with GATE:
        description = dataset.tags().get("TIFFTAG_IMAGEDESCRIPTION", "")
        return bool(dataset.subdatasets) and description.startswith('{"shape":')


def is_tiled(path: str) -> bool:
    """Whether a file is a tiled TIFF whose tiles are small enough to read windows from it fast.

    Anything else, a file that GDAL cannot open included, is not.
    """
    try:
        dataset = open_dataset(path)
    except SourceError:
        logger.debug("%s cannot be opened by GDAL, so it is not used in place", path)
        return False
    with GATE, dataset:
        if dataset.driver not in ("GTiff", "COG") or not dataset.count or not dataset.profile.get("tiled"):
            return False
        if is_page_stack(dataset):
            return False
        return max(dataset.block_shapes[0]) <= MAX_TILE


def encoder_threads() -> str:
    """Return how many threads GDAL may encode with.

    GDAL keeps its threads for the life of a process, and a fork inherits their queue without the
    threads: whatever it hands to them waits for ever. So a forked process encodes alone, and so does a
    worker, which has siblings to share the processors with.
    """
    return "1" if _forked or multiprocessing.parent_process() is not None else "ALL_CPUS"


def _note_fork() -> None:
    """Remember, in the child, that this process is a fork."""
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def write_cog(source: Any, dest: str, options: dict[str, str]) -> None:
    """Write a cloud-optimized GeoTIFF with overviews.

    A source that fits into :data:`IN_MEMORY_BYTES`, or that GDAL has not opened, is read into memory
    once. Any other is copied block by block, so that its size does not matter.

    Args:
        source: an open :class:`ndsampler.backends.base.RegionReader`.
        dest: the file to make.
        options: creation options of GDAL's COG driver.

    Raises:
        CacheError: if GDAL fails, on a full disk for example.
        SourceError: if the source turns out to be damaged.

    References:
        https://gdal.org/en/stable/drivers/raster/cog.html
    """
    import rasterio.shutil

    # rasterio lets the errors of GDAL's drivers through as they are, under this private name only.
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    height, width, channels = source.shape
    size = height * width * channels * source.dtype.itemsize
    streams = isinstance(source, RasterReader) and not source.is_indexed
    try:
        if streams and size > IN_MEMORY_BYTES:
            with GATE:
                _configure_gdal()
                rasterio.shutil.copy(source.dataset, dest, driver="COG", **options)
            return
        with GATE, _copy_into_memory(source) as memory:
            _configure_gdal()
            _copy_through_memory(memory, dest, _with_overviews(memory, options))
    except (RasterioError, CPLE_BaseError) as ex:
        for _ in row_blocks(source):
            # GDAL does not say which of the two files failed: a damaged source fails again here.
            pass
        raise CacheError(f"{dest} cannot be written: {ex.__cause__ or ex}") from ex


def _copy_through_memory(dataset: Any, dest: str, options: dict[str, str]) -> None:
    """Write a COG to memory and from there to the disk; on a disk that fills up, GDAL may write for ever."""
    import rasterio.shutil
    from rasterio.io import MemoryFile

    with MemoryFile() as file:
        rasterio.shutil.copy(dataset, file.name, driver="COG", **options)
        with open(dest, "wb") as written:
            written.write(file.getbuffer())


def _copy_into_memory(source: Any) -> Any:
    """Return a dataset of GDAL's in memory with the pixels of a source."""
    import rasterio
    from rasterio.windows import Window

    height, width, channels = source.shape
    profile = {"height": height, "width": width, "count": channels, "dtype": source.dtype.name}
    with quiet_gdal():
        memory = rasterio.open("in_memory", "w", driver="MEM", nodata=source.nodata, **profile)
    for y0, rows in row_blocks(source):
        memory.write(rows.transpose(2, 0, 1), window=Window(0, y0, width, len(rows)))
    return memory


def _with_overviews(memory: Any, options: dict[str, str]) -> dict[str, str]:
    """Give a dataset in memory its overviews, and return options that make use of them.

    GDAL makes them twice as fast there as when it writes the file.
    """
    from rasterio.enums import Resampling

    if options["OVERVIEWS"] == "NONE":
        return options
    method = options["OVERVIEW_RESAMPLING"].lower().replace("cubicspline", "cubic_spline")
    factors = [2]
    while max(memory.height, memory.width) / factors[-1] > SMALLEST_OVERVIEW:
        factors.append(2 * factors[-1])
    memory.build_overviews(factors, Resampling[method])
    return {**options, "OVERVIEWS": "FORCE_USE_EXISTING"}
