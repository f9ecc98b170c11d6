"""
Writing cloud-optimized GeoTIFFs with GDAL.

An image of ordinary size is assembled in a GDAL dataset in memory, gets its overviews there, and is encoded
to a memory file that Python writes to the disk. Larger images are copied block by block by GDAL itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from typing import TYPE_CHECKING, Any

from ndsampler.backends.base import row_blocks
from ndsampler.backends.gdal import (
    DECODER_WARNINGS,
    DTYPE_TAG,
    STAND_INS,
    RasterReader,
    configure_gdal,
    is_forked,
    quiet_gdal,
)
from ndsampler.errors import CacheError
from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rasterio.io import DatasetReader

    from ndsampler.backends.base import SourceReader

#: The largest image, in bytes of pixels, that is held in memory while its COG is written, which is faster.
IN_MEMORY_BYTES = 256 * 2**20

#: How GDAL compresses the temporary file with the overviews of a streamed image. GDAL's default, ZSTD at
#: level 9, takes a fifth of the whole conversion; the entry holds the same bytes either way.
TEMPORARY_CODEC = "LZW"

#: The names of types in a virtual dataset of GDAL, for files that have a color table or a number of bits.
VRT_TYPES = {
    **{"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32"},
    **{"int32": "Int32", "uint64": "UInt64", "int64": "Int64", "float32": "Float32", "float64": "Float64"},
}

#: Overviews are added, each half the size of the one before, until the longer side has at most this many
#: pixels.
SMALLEST_OVERVIEW = 128


def encoder_threads() -> str:
    """Return how many threads GDAL may encode with, as the value of the option ``NUM_THREADS``.

    GDAL keeps its thread pool for the life of the process. A forked child inherits the queue of the pool
    without its threads and would wait for ever for a block that it hands to them, so it encodes in its own
    thread. A worker process does the same, because it shares the processors with other workers.
    """
    return "1" if is_forked() or multiprocessing.parent_process() is not None else "ALL_CPUS"


def write_cog(source: SourceReader, dest: str, options: dict[str, str]) -> None:
    """Write a cloud-optimized GeoTIFF with overviews.

    A source of at most :data:`IN_MEMORY_BYTES` is read into memory once, and so is a source that GDAL did not
    open. Any other source is copied block by block, so its size does not matter.

    Args:
        source: the open source.
        dest: path of the new file.
        options: creation options of GDAL's COG driver.

    Raises:
        CacheError: if GDAL cannot write the file, on a full disk for example.
        SourceError: if the source is damaged.

    References:
        https://gdal.org/en/stable/drivers/raster/cog.html
    """
    # rasterio raises the errors of GDAL's drivers unchanged, and only this private module names their class.
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    try:
        if isinstance(source, RasterReader) and _is_streamed(source):
            _copy_from_disk(source, dest, options)
        else:
            _copy_from_memory(source, dest, options)
    except (RasterioError, CPLE_BaseError) as ex:
        # GDAL does not say which of the two files failed. Reading a damaged source raises its error here.
        for _ in row_blocks(source):
            pass
        raise CacheError(f"{dest} cannot be written: {ex.__cause__ or ex}") from ex


def _is_streamed(source: RasterReader) -> bool:
    """Whether GDAL copies a source from file to file; the colors of an indexed image exist in memory only."""
    height, width, channels = source.shape
    return not source.has_colors and height * width * channels * source.dtype.itemsize > IN_MEMORY_BYTES


def _copy_from_disk(source: RasterReader, dest: str, options: dict[str, str]) -> None:
    """Let GDAL copy an open file to a COG block by block."""
    import rasterio
    import rasterio.shutil

    with GATE, _bands_alone(source) as dataset:
        configure_gdal()
        DECODER_WARNINGS.start()
        with rasterio.Env(COG_TMP_COMPRESSION=TEMPORARY_CODEC):
            rasterio.shutil.copy(dataset, dest, driver="COG", **options)
        DECODER_WARNINGS.stop(source.path)


@contextlib.contextmanager
def _bands_alone(source: RasterReader) -> Iterator[DatasetReader]:
    """Open a file without its color table and its number of bits, which GDAL would copy.

    No predictor works with a number of bits that is not that of the type, and JPEG stores other values then.
    """
    from rasterio.io import MemoryFile

    if not source.has_table and "NBITS" not in source.dataset.tags(1, ns="IMAGE_STRUCTURE"):
        yield source.dataset
        return
    with MemoryFile(_describe_bands(source).encode(), ext=".vrt") as file:
        with quiet_gdal():
            dataset = file.open()
        with dataset:
            yield dataset


def _describe_bands(source: RasterReader) -> str:
    """Return a virtual dataset of GDAL, in XML, with the values of a file and nothing else."""
    from xml.sax.saxutils import escape

    height, width, channels = source.shape
    nodata = "" if source.nodata is None else f"<NoDataValue>{source.nodata!r}</NoDataValue>"
    path = escape(source.path)
    bands = "".join(
        f'<VRTRasterBand dataType="{VRT_TYPES[source.dtype.name]}" band="{band}">{nodata}<SimpleSource>'
        f'<SourceFilename relativeToVRT="0">{path}</SourceFilename><SourceBand>{band}</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
        for band in range(1, channels + 1)
    )
    return f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{bands}</VRTDataset>'


def _copy_from_memory(source: SourceReader, dest: str, options: dict[str, str]) -> None:
    """Read a source into memory, encode it there, and write the encoded file to the disk.

    Python writes the file, because GDAL may try for ever to write to a disk that has become full.
    """
    import rasterio.shutil
    from rasterio.io import MemoryFile

    with GATE, _read_into_memory(source) as memory:
        configure_gdal()
        options = _with_overviews(memory, options)
        with MemoryFile() as file:
            rasterio.shutil.copy(memory, file.name, driver="COG", **options)
            with open(dest, "wb") as written:
                written.write(file.getbuffer())


def _read_into_memory(source: SourceReader) -> Any:
    """Return a GDAL dataset in memory with the pixels of a source."""
    import rasterio
    from rasterio.windows import Window

    height, width, channels = source.shape
    dtype = STAND_INS.get(source.dtype.name, source.dtype.name)
    profile = {"height": height, "width": width, "count": channels, "dtype": dtype}
    with quiet_gdal():
        memory = rasterio.open("in_memory", "w", driver="MEM", nodata=source.nodata, **profile)
    if dtype != source.dtype.name:
        memory.update_tags(**{DTYPE_TAG: source.dtype.name})
    for y0, rows in row_blocks(source):
        memory.write(
            rows.astype(dtype, copy=False).transpose(2, 0, 1), window=Window(0, y0, width, len(rows))
        )
    return memory


def _with_overviews(memory: Any, options: dict[str, str]) -> dict[str, str]:
    """Build the overviews of a dataset in memory and return the options that make GDAL use them.

    GDAL builds them twice as fast in memory as while it writes the file.
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
