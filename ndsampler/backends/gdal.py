"""
Opens and reads files with GDAL, through rasterio. :mod:`ndsampler.backends.gdal_write` writes files, and
:mod:`ndsampler.backends.gdal_nodata` reads nodata values and masks.

Only this module and those named ``gdal_...`` use rasterio, whose wheels include GDAL. The ``osgeo`` bindings
are never imported, because two copies of GDAL in one process can conflict over their data files.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.claims import JPEG2000, check_blocks, check_size, check_window
from ndsampler.backends.formats.tiff_header import has_color_map
from ndsampler.backends.gdal_env import open_quietly
from ndsampler.backends.gdal_nodata import count_masks, nodata_of, read_masks
from ndsampler.backends.gdal_open import open_allowed
from ndsampler.backends.gdal_warnings import DECODER_WARNINGS
from ndsampler.errors import MissingSourceError, SourceError
from ndsampler.utils.fork_safety import GATE
from ndsampler.utils.interleave import can_interleave, interleave
from ndsampler.utils.lazy import LazyAttribute
from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

logger = get_logger(__name__)

#: Size of GDAL's block cache in bytes per process, unless the user has set one. GDAL's default is 5 % of the
#: machine's memory, which each data loader worker would use.
BLOCK_CACHE_BYTES = 64 * 2**20

#: Minimum and maximum size in bytes of windows of 2 to 4 bands that are read as planes and merged by OpenCV.
#: This takes two thirds of the time that GDAL needs to write into a transposed view. For smaller windows, the
#: second call costs more than it saves; for larger ones, the second buffer does.
MERGE_SIZES = (2**15, 2**20)

#: Types of GDAL that numpy does not have, and the types that hold their values.
NUMPY_TYPES = {"complex_int16": "complex64", "complex_int32": "complex128"}

#: GDAL drivers that can decode a window without the rest of the image.
WINDOWED_DRIVERS = frozenset(
    {"GTiff", "COG", "VRT", "NITF", "JP2OpenJPEG", "HFA", "ENVI", "EHdr", "netCDF", "RPFTOC"}
)

#: GDAL's names of the types of values.
GDAL_NAMES = {
    **{"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32"},
    **{"int32": "Int32", "uint64": "UInt64", "int64": "Int64", "float32": "Float32", "float64": "Float64"},
    **{"complex64": "CFloat32", "complex128": "CFloat64", "complex_int16": "CInt16"},
}

#: Minimum side in pixels of an overview that GDAL finds by its size. Smaller sides are rounded too coarsely.
THIN = 16

#: The color table that GDAL invents for a gray TIFF of 1 bit.
BLACK_AND_WHITE = {0: (0, 0, 0, 255), 1: (255, 255, 255, 255)}

#: For each type that GDAL lacks, the type that stores its values, and the tag of a file that names the
#: original.
STAND_INS = {"bool": "uint8", "float16": "float32"}
DTYPE_TAG = "NDSAMPLER_DTYPE"

#: Makes GDAL return the stored components of a four-component JPEG, without conversion to RGB.
STORED_CONFIG = {"GDAL_JPEG_TO_RGB": "NO"}

#: The GDAL configuration option that controls how files beside the opened file are found.
READDIR_OPTION = "GDAL_DISABLE_READDIR_ON_OPEN"

#: Makes GDAL look up files beside a TIFF by name. By default, it lists up to 1000 names in the folder, which
#: takes longer than opening the file.
SOURCE_CONFIG = {READDIR_OPTION: "TRUE"}

#: File name extensions to which :data:`SOURCE_CONFIG` applies. Other formats may store pixels in a separate
#: file.
TIFF_ENDINGS = (".tif", ".tiff", ".ptif", ".gtiff")

#: Makes GDAL ignore files beside the opened file.
ENTRY_CONFIG = {READDIR_OPTION: "EMPTY_DIR"}

#: Whether GDAL's block cache was configured in this process, or in the process that it was forked from.
_configured = False

#: Whether this process was forked from one that had imported this module.
_forked = False


def configure_gdal() -> None:
    """Limit GDAL's block cache unless the user has set it, and turn off GDAL's threads in a fork."""
    from rasterio.env import get_gdal_config, set_gdal_config

    global _configured
    if _forked:
        # The environment variable GDAL_NUM_THREADS could enable threads; see gdal_write.encoder_threads.
        set_gdal_config("GDAL_NUM_THREADS", "1")
    # Only once per process, so that a value that the user sets later is kept.
    if not _configured:
        _configured = True
        DECODER_WARNINGS.install()
        if "GDAL_CACHEMAX" not in os.environ and get_gdal_config("GDAL_CACHEMAX") > BLOCK_CACHE_BYTES:
            set_gdal_config("GDAL_CACHEMAX", BLOCK_CACHE_BYTES)


def open_dataset(
    path: str,
    name: str | None = None,
    level: int = 0,
    config: Mapping[str, str] | None = None,
    **options: Any,
) -> DatasetReader:
    """Open a file with GDAL, without rasterio's warning about missing georeferencing.

    Args:
        path: a local file.
        name: the name that GDAL opens, such as that of a page of the file; None for the path.
        level: 0 for the image itself, n for the n-th overview that GDAL lists.
        config: GDAL configuration options that apply while the file is opened.
        **options: open options of GDAL's driver.

    Returns:
        A rasterio dataset, which the caller closes.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if GDAL cannot open it.
    """
    from rasterio.errors import RasterioIOError

    if level:
        options["overview_level"] = level - 1
    configure_gdal()
    config = {**_side_file_config(path), **(config or {})}
    try:
        return open_quietly(functools.partial(open_allowed, path, name, **options), **config)
    except UnicodeEncodeError as ex:
        raise SourceError(f"{path!r} cannot be opened: GDAL accepts only file names in UTF-8") from ex
    except RasterioIOError as ex:
        if not os.path.exists(path):
            raise MissingSourceError(f"{path} does not exist") from ex
        raise SourceError(f"{path} cannot be opened as an image: {ex}") from ex


def _side_file_config(path: str) -> Mapping[str, str]:
    """Return the option that controls how GDAL finds files beside a source; empty if the user has set it."""
    from rasterio.env import get_gdal_config

    if path.lower().endswith(TIFF_ENDINGS) and get_gdal_config(READDIR_OPTION) is None:
        return SOURCE_CONFIG
    return {}


def open_entry(path: str, level: int = 0) -> DatasetReader:
    """Open a cache entry: a GeoTIFF, without the overviews, masks and nodata values of files beside it.

    Args:
        path: the entry.
        level: 0 for the image itself, n for its n-th overview.

    Returns:
        A rasterio dataset, which the caller closes.

    Raises:
        SourceError: if GDAL cannot open it.
    """
    return open_dataset(path, level=level, config=ENTRY_CONFIG, driver="GTiff")


class RasterReader:
    """Reads windows through a GDAL handle. Only one thread of one process may use it.

    An indexed image is returned as RGBA colors, and a four-component JPEG as RGB, unless stored values are
    requested.

    Args:
        path: a file that GDAL can open.
        level: 0 for the image itself, n for the n-th overview that GDAL lists.
        name: the name that GDAL opens, such as that of a page of the file; None for the path.
        stored: whether to return the stored values: indexes into a color table, or the four components of a
            JPEG.
        is_entry: whether the file is a cache entry; see :func:`open_entry`.

    Raises:
        SourceError: if the file has no bands, or bands of different types.
    """

    shareable = False
    nbytes = 0

    def __init__(
        self,
        path: str,
        level: int = 0,
        name: str | None = None,
        *,
        stored: bool = False,
        is_entry: bool = False,
    ) -> None:
        self.path = path
        self._stored = stored
        self._is_entry = is_entry
        with GATE:
            if is_entry:
                self.dataset = open_entry(path, level)
            else:
                self.dataset = open_dataset(path, name, level, STORED_CONFIG if stored else None)
            try:
                self._inspect()
            except BaseException:
                self.dataset.close()
                raise

    def _inspect(self) -> None:
        """Read the attributes of the open file."""
        dtypes = set(self.dataset.dtypes)
        if len(dtypes) != 1:
            found = ", ".join(sorted(dtypes)) or "no bands"
            raise SourceError(f"{self.path} has {found}; expected one or more bands of one type")
        try:
            name = dtypes.pop()
            self._stored_dtype = np.dtype(NUMPY_TYPES.get(name, name))
            # The type that GDAL converts values to. None, for no conversion, is faster.
            self._converted = self._stored_dtype if name in NUMPY_TYPES else None
        except TypeError as ex:
            raise SourceError(f"{self.path} has values of a type that numpy does not know: {ex}") from ex
        self.dtype = self._original_dtype()
        self._indexes = self.dataset.indexes
        self.has_table = self.dataset.colorinterp[0].name == "palette"
        is_palette = self.has_table and is_indexed(self.dataset)
        self._palette = self._color_table() if is_palette and not self._stored else None
        check_blocks(self.path, self.dataset, self.dtype.itemsize, self._is_entry)
        count = self.dataset.count if self._palette is None else self._palette.shape[1]
        self.shape = (self.dataset.height, self.dataset.width, count)
        if not self._is_entry:
            check_size(self.path, *self.shape)
        self.nodata = None if self._palette is not None else nodata_of(self.dataset, self.dtype)
        self.overviews = self._overview_dims()

    def _original_dtype(self) -> np.dtype[Any]:
        """Return the type of the values; for an entry, the type of its source, which GDAL may lack."""
        dtype: np.dtype[Any] = self._stored_dtype
        if dtype.name not in STAND_INS.values():
            return dtype
        stated = self.dataset.tags().get(DTYPE_TAG)
        return np.dtype(stated) if stated in STAND_INS else dtype

    def _overview_dims(self) -> tuple[tuple[int, int], ...]:
        """Return the sizes of the overviews; none if the image has a color table: they average indexes."""
        factors = [] if self.has_table else self.dataset.overviews(1)
        height, width, _ = self.shape
        # GDAL rounds the size of an overview up.
        return tuple((-(-height // factor), -(-width // factor)) for factor in factors)

    def _color_table(self) -> NDArray[Any]:
        """Return the color table of an indexed image as an array of shape (entries, 4): RGBA."""
        colors = self.dataset.colormap(1)
        table = np.zeros((max(colors, default=-1) + 1, 4), self.dtype)
        for index, color in colors.items():
            table[index] = color
        return table

    def read(self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None) -> NDArray[Any]:
        """Return the pixels of a window. See :class:`ndsampler.backends.base.RegionReader`."""
        if self._palette is not None:
            colors = self._look_up(self._palette, self._read_bands(y0, y1, x0, x1, [1])[..., 0])
            return colors if bands is None else np.ascontiguousarray(colors[..., bands])
        if bands is None:
            return self._read_bands(y0, y1, x0, x1, self._indexes)
        return self._read_bands(y0, y1, x0, x1, [band + 1 for band in bands])

    def _look_up(self, palette: NDArray[Any], indexes: NDArray[Any]) -> NDArray[Any]:
        """Return the colors of an array of indexes.

        Raises:
            SourceError: if an index is not in the color table.
        """
        if indexes.size and not 0 <= indexes.min() <= indexes.max() < len(palette):
            raise SourceError(describe_bad_index(self.path, indexes.max(), len(palette)))
        colors: NDArray[Any] = np.take(palette, indexes, axis=0)
        return colors

    def _read_bands(self, y0: int, y1: int, x0: int, x1: int, indexes: Sequence[int]) -> NDArray[Any]:
        """Return a window of some bands, which are given by GDAL's numbers, counted from 1."""
        from rasterio.errors import RasterioIOError
        from rasterio.windows import Window

        if y0 >= y1 or x0 >= x1:
            return np.empty((y1 - y0, x1 - x0, len(indexes)), self.dtype)
        window = Window(x0, y0, x1 - x0, y1 - y0)
        size = window.width * window.height * len(indexes) * self.dtype.itemsize
        check_window(self.path, size)
        try:
            with GATE:
                DECODER_WARNINGS.start()
                pixels = self._read_window(window, indexes, size)
                DECODER_WARNINGS.stop(self.path)
            return pixels if self.dtype == self._stored_dtype else pixels.astype(self.dtype)
        except RasterioIOError as ex:
            raise SourceError(
                f"rows {y0}:{y1}, columns {x0}:{x1} of {self.path} cannot be decoded: {ex.__cause__ or ex}"
            ) from ex

    def _read_window(self, window: Window, indexes: Sequence[int], size: int) -> NDArray[Any]:
        """Return the pixels of a window of ``size`` bytes by the faster of two methods."""
        dtype = self._stored_dtype
        if MERGE_SIZES[0] <= size <= MERGE_SIZES[1] and _can_merge(len(indexes), dtype):
            return interleave(self.dataset.read(indexes, window=window, out_dtype=self._converted))
        out = np.empty((window.height, window.width, len(indexes)), dtype)
        self.dataset.read(indexes, out=out.transpose(2, 0, 1), window=window)
        return out

    @LazyAttribute
    def _mask_count(self) -> int:
        """The number of masks. It is computed on demand, because only reads of missing pixels need it."""
        with GATE:
            return count_masks(self.dataset, self.dtype)

    @property
    def has_mask(self) -> bool:
        """Whether the file has a mask. See :class:`ndsampler.backends.base.MaskedReader`."""
        return self._mask_count > 0

    @LazyAttribute
    def masks_overviews(self) -> bool:
        """Whether the overviews have a mask. Not all programs write one."""
        if not self.overviews:
            return False
        with contextlib.closing(RasterReader(self.path, 1, is_entry=self._is_entry)) as overview:
            return overview.has_mask

    def read_mask(
        self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None
    ) -> NDArray[np.bool_]:
        """Return which pixels are valid. See :class:`ndsampler.backends.base.MaskedReader`."""
        from rasterio.errors import RasterioIOError
        from rasterio.windows import Window

        if y0 >= y1 or x0 >= x1:
            return np.ones((y1 - y0, x1 - x0, 1), bool)
        try:
            with GATE:
                DECODER_WARNINGS.start()
                valid = read_masks(self.dataset, Window(x0, y0, x1 - x0, y1 - y0), bands, self._mask_count)
                DECODER_WARNINGS.stop(self.path)
                return valid
        except RasterioIOError as ex:
            raise SourceError(
                f"the mask of rows {y0}:{y1}, columns {x0}:{x1} of {self.path} cannot be decoded: "
                f"{ex.__cause__ or ex}"
            ) from ex

    def rows(self, y0: int, y1: int) -> NDArray[Any]:
        """Return whole rows. See :class:`ndsampler.backends.base.SourceReader`."""
        return self.read(y0, y1, 0, self.shape[1])

    def read_overview(self, dims: tuple[int, int]) -> NDArray[Any]:
        """Return all pixels of an overview. This avoids opening the file a second time.

        Args:
            dims: (height, width) of the overview in pixels; neither may be below :data:`THIN`.

        Raises:
            SourceError: if the overview cannot be decoded.
        """
        from rasterio.errors import RasterioIOError

        try:
            with GATE:
                return read_overview(self.dataset, dims).astype(self.dtype, copy=False)
        except RasterioIOError as ex:
            raise SourceError(
                f"the overview {dims} of {self.path} cannot be decoded: {ex.__cause__ or ex}"
            ) from ex

    def close(self) -> None:
        """Close the GDAL handle."""
        with GATE:
            self.dataset.close()


def describe_bad_index(path: str, index: int, entries: int) -> str:
    """Return the error message for an index beyond the end of a color table.

    Args:
        path: the file.
        index: the index that was found.
        entries: number of entries of the table.
    """
    return (
        f"{path} is damaged: a pixel has the index {index} and its color table has {entries} entries. "
        "To read the indexes themselves, state one channel in the dataset"
    )


def read_overview(dataset: DatasetReader, dims: tuple[int, int]) -> NDArray[Any]:
    """Return all pixels of an overview as an array of shape (height, width, channels).

    Args:
        dataset: the open dataset. All bands have the same type, and numpy supports it.
        dims: (height, width) of the overview in pixels. GDAL finds the overview by its size.
    """
    count, dtype = dataset.count, np.dtype(dataset.dtypes[0])
    if _can_merge(count, dtype):
        return interleave(dataset.read(out_shape=(count, *dims)))
    pixels = np.empty((*dims, count), dtype)
    dataset.read(out=pixels.transpose(2, 0, 1))
    return pixels


def _can_merge(count: int, dtype: np.dtype[Any]) -> bool:
    """Whether OpenCV merges this number of planes of a type faster than GDAL."""
    return count <= 4 and can_interleave(count, dtype)


def is_indexed(dataset: DatasetReader) -> bool:
    """Whether the pixels of an image are indexes into a color table.

    A gray TIFF of 1 bit, or one in which 0 is white, is not indexed, although GDAL makes up a color table for
    it. Neither is a file that declares a table and has none.

    Args:
        dataset: the open file.
    """
    with GATE:
        if dataset.count != 1 or dataset.colorinterp[0].name != "palette":
            return False
        if is_tiff(dataset) and dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES":
            return False
        try:
            table = dataset.colormap(1)
        except ValueError:  # the file has no color table
            return False
        return table != BLACK_AND_WHITE or not is_tiff(dataset) or _has_color_map(dataset.name)


def _has_color_map(path: str) -> bool:
    """Whether the first image of a TIFF has its own color map."""
    try:
        with open(path, "rb") as file:
            return has_color_map(file)
    except (OSError, struct.error):
        return False


def has_palette(path: str) -> bool:
    """Whether a file is an indexed image; False if GDAL cannot open it.

    Args:
        path: a local file.
    """
    try:
        dataset = open_dataset(path)
    except SourceError:
        return False
    with GATE, dataset:
        return is_indexed(dataset)


def reads_windows(dataset: DatasetReader) -> bool:
    """Whether GDAL can read a window of a file without decoding the whole image.

    True for tiled or striped TIFFs and similar formats; False for PNG, JPEG, and any image that is stored as
    a single compressed block.

    Args:
        dataset: the open file.
    """
    with GATE:
        if dataset.driver not in WINDOWED_DRIVERS:
            return False
        rows, cols = dataset.block_shapes[0]
        one_block = rows >= dataset.height and cols >= dataset.width
        return not (one_block and (dataset.driver == JPEG2000 or dataset.compression is not None))


def is_tiff(dataset: DatasetReader) -> bool:
    """Whether an open file is a TIFF.

    Args:
        dataset: the open file.
    """
    return dataset.driver in ("GTiff", "COG")


def page_name(path: str, offset: int) -> str:
    """Return GDAL's name of a page of a TIFF.

    Args:
        path: a local file.
        offset: position of the page's directory in the file, in bytes.
    """
    return f"GTIFF_DIR:off:{offset}:{path}"


def stack_pages(first: RasterReader, offsets: Sequence[int]) -> RasterReader:
    """Open pages of a TIFF as the channels of one image.

    Args:
        first: the first page. It is closed. All pages have its size, number of bands and type.
        offsets: positions of the directories of the pages in the file, in bytes.

    Raises:
        SourceError: if GDAL cannot open them.

    References:
        https://gdal.org/en/stable/drivers/raster/vrt.html
    """
    from xml.sax.saxutils import escape  # this imports Python's HTTP client, so it is done only when needed

    with GATE:
        height, width, _ = first.shape
        # These are the bands of indexes if the page is indexed.
        count, nodata = first.dataset.count, first.dataset.nodata
        dtype = GDAL_NAMES[first.dataset.dtypes[0]]
        first.close()
    no_data = "" if nodata is None else f"<NoDataValue>{nodata!r}</NoDataValue>"
    rect = f'xOff="0" yOff="0" xSize="{width}" ySize="{height}"'
    bands: list[str] = []
    for offset in offsets:
        name = escape(page_name(first.path, offset))
        # With shared="1", several threads could use the same handle.
        source = f'<SourceFilename relativeToVRT="0" shared="0">{name}</SourceFilename>'
        for band in range(1, count + 1):
            bands.append(
                f'<VRTRasterBand dataType="{dtype}" band="{len(bands) + 1}">{no_data}<SimpleSource>{source}'
                f"<SourceBand>{band}</SourceBand><SrcRect {rect}/><DstRect {rect}/>"
                "</SimpleSource></VRTRasterBand>"
            )
    size = f'rasterXSize="{width}" rasterYSize="{height}"'
    return RasterReader(first.path, name=f"<VRTDataset {size}>{''.join(bands)}</VRTDataset>")


def is_forked() -> bool:
    """Whether this process was forked from one that had imported this module."""
    return _forked


def _note_fork() -> None:
    """Record in a child process that it was forked."""
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
