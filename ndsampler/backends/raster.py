"""
GDAL, through rasterio: the one module that knows of either.

rasterio's wheels carry GDAL; the ``osgeo`` bindings are never imported, since
two copies of GDAL in one process have clashed over their data files.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import MissingSourceError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

logger = logging.getLogger(__name__)

#: GDAL's block cache, in bytes for one process, where the user has not chosen one. GDAL's own
#: default is 5 % of the machine's memory, which each of many loader workers would take.
BLOCK_CACHE_BYTES = 64 * 2**20

#: The largest tile, in pixels a side, from which a small window still reads fast.
MAX_TILE = 1024

#: File types that GDAL decodes window by window. Others are decoded whole, elsewhere.
WINDOWED_DRIVERS = frozenset(
    {"GTiff", "COG", "VRT", "NITF", "JP2OpenJPEG", "HFA", "ENVI", "EHdr", "netCDF", "RPFTOC"}
)

_open_lock = threading.Lock()


def _limit_block_cache() -> None:
    """Set GDAL's block cache for this process, unless the user has set it."""
    from rasterio.env import get_gdal_config, set_gdal_config

    if "GDAL_CACHEMAX" not in os.environ and get_gdal_config("GDAL_CACHEMAX") > BLOCK_CACHE_BYTES:
        set_gdal_config("GDAL_CACHEMAX", BLOCK_CACHE_BYTES)


def open_dataset(path: str) -> DatasetReader:
    """Open a file with GDAL, without its warning about missing georeferencing.

    Args:
        path: a local file.

    Returns:
        A rasterio dataset of the caller's own.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if GDAL cannot open it.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

    # warnings.catch_warnings changes process-wide state, hence the lock.
    with _open_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        _limit_block_cache()
        try:
            return rasterio.open(path)
        except RasterioIOError as ex:
            if not os.path.exists(path):
                raise MissingSourceError(f"{path} does not exist") from ex
            raise SourceError(f"{path} cannot be opened as an image: {ex}") from ex


class RasterReader:
    """Reads windows through one GDAL handle. It belongs to one thread of one process.

    A file with a color table reads as the colors (RGBA), not as indexes into the table.

    Args:
        path: a file that GDAL can open.

    Raises:
        SourceError: if it has no bands, or bands of different types.
    """

    shareable = False
    nbytes = 0

    def __init__(self, path: str) -> None:
        self.path = path
        self._dataset = open_dataset(path)
        dtypes = set(self._dataset.dtypes)
        if len(dtypes) != 1:
            found = ", ".join(sorted(dtypes)) or "no bands"
            raise SourceError(f"{path} has {found}; expected one or more bands of one type")
        self.dtype = np.dtype(dtypes.pop())
        self._palette = self._color_table()
        count = self._dataset.count if self._palette is None else self._palette.shape[1]
        self.shape = (self._dataset.height, self._dataset.width, count)
        self.nodata = None if self._palette is not None else self._dataset.nodata

    def _color_table(self) -> NDArray[Any] | None:
        """Return the colors of an indexed image as (256, 4) values, or None for any other."""
        if self._dataset.count != 1 or self._dataset.colorinterp[0].name != "palette":
            return None
        table = np.zeros((max(256, max(self._dataset.colormap(1), default=0) + 1), 4), self.dtype)
        for index, color in self._dataset.colormap(1).items():
            table[index] = color
        return table

    def read(self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None) -> NDArray[Any]:
        """Return a window. See :class:`ndsampler.backends.base.RegionReader`."""
        if self._palette is not None:
            colors = self._palette[self._read_bands(y0, y1, x0, x1, [1])[..., 0]]
            return colors if bands is None else np.ascontiguousarray(colors[..., bands])
        if bands is None:
            return self._read_bands(y0, y1, x0, x1, self._dataset.indexes)
        return self._read_bands(y0, y1, x0, x1, [band + 1 for band in bands])

    def _read_bands(self, y0: int, y1: int, x0: int, x1: int, indexes: Sequence[int]) -> NDArray[Any]:
        """Read GDAL's bands, numbered from 1, into pixels with the channels last."""
        from rasterio.errors import RasterioIOError
        from rasterio.windows import Window

        out = np.empty((y1 - y0, x1 - x0, len(indexes)), self.dtype)
        if out.size:
            try:
                # Reading into a transposed view is 2-3 times faster than transposing afterwards.
                self._dataset.read(
                    indexes, out=out.transpose(2, 0, 1), window=Window(x0, y0, x1 - x0, y1 - y0)
                )
            except RasterioIOError as ex:
                raise SourceError(
                    f"rows {y0}:{y1}, columns {x0}:{x1} of {self.path} cannot be decoded: "
                    f"{ex.__cause__ or ex}"
                ) from ex
        return out

    def close(self) -> None:
        """Close the GDAL handle."""
        self._dataset.close()


def reads_windows(path: str) -> bool:
    """Whether GDAL reads a window of a file without decoding all of it.

    True for tiled and striped TIFFs and the like; False where the whole image is one compressed
    block, and for PNG or JPEG.

    Raises:
        SourceError: if GDAL cannot open the file.
    """
    with open_dataset(path) as dataset:
        if dataset.driver not in WINDOWED_DRIVERS or not dataset.count:
            return False
        rows, cols = dataset.block_shapes[0]
        one_block = rows >= dataset.height and cols >= dataset.width
        return not (one_block and dataset.compression is not None)


def is_tiled(path: str) -> bool:
    """Whether a file is a tiled TIFF whose tiles are small enough to read windows from it fast.

    Anything else, a file that GDAL cannot open included, is not.
    """
    try:
        dataset = open_dataset(path)
    except SourceError:
        logger.debug("%s cannot be opened by GDAL, so it is not used in place", path)
        return False
    with dataset:
        if dataset.driver not in ("GTiff", "COG") or not dataset.count or not dataset.profile.get("tiled"):
            return False
        return max(dataset.block_shapes[0]) <= MAX_TILE


def gdal_version() -> str:
    """The version of GDAL in use."""
    import rasterio

    return str(rasterio.__gdal_version__)


def write_cog(source: Any, dest: str, options: dict[str, str]) -> None:
    """Write a cloud-optimized GeoTIFF with overviews.

    A source that GDAL has open is copied block by block, so that its size does not matter.
    Any other is read into memory once.

    Args:
        source: an open :class:`ndsampler.backends.base.RegionReader`.
        dest: the file to make.
        options: creation options of GDAL's COG driver.

    Raises:
        rasterio.errors.RasterioIOError: if GDAL fails, on a full disk for example.

    References:
        https://gdal.org/en/stable/drivers/raster/cog.html
    """
    import rasterio.shutil

    if isinstance(source, RasterReader) and source._palette is None:
        _limit_block_cache()
        rasterio.shutil.copy(source._dataset, dest, driver="COG", **options)
        return
    height, width, channels = source.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        profile = {"height": height, "width": width, "count": channels, "dtype": source.dtype.name}
        with rasterio.open("in_memory", "w", driver="MEM", nodata=source.nodata, **profile) as memory:
            for y0, rows in _row_blocks(source):
                window = rasterio.windows.Window(0, y0, width, len(rows))
                memory.write(rows.transpose(2, 0, 1), window=window)
            rasterio.shutil.copy(memory, dest, driver="COG", **options)


def _row_blocks(source: Any) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield the rows of an image, some 32 MB at a time."""
    height, width, channels = source.shape
    step = max(1, 2**25 // max(1, width * channels * source.dtype.itemsize))
    for y0 in range(0, height, step):
        yield y0, source.read(y0, min(y0 + step, height), 0, width)
