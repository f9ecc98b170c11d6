"""
Writing cloud-optimized GeoTIFFs with GDAL.

An image of ordinary size is assembled in a GDAL dataset in memory, gets its overviews there, and is encoded
to a memory file that Python writes to the disk. Larger images are copied block by block by GDAL itself.
"""

from __future__ import annotations

import json
import multiprocessing
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.base import MaskedReader, as_masked, row_blocks
from ndsampler.backends.gdal import RasterReader, configure_gdal, is_forked, quiet_gdal
from ndsampler.backends.gdal_nodata import NODATA_TAG, is_wide
from ndsampler.errors import CacheError
from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from ndsampler.backends.base import SourceReader

#: The largest image, in bytes of pixels, that is held in memory while its COG is written, which is faster.
IN_MEMORY_BYTES = 256 * 2**20

#: How GDAL compresses the temporary file with the overviews of a streamed image. GDAL's default, ZSTD at
#: level 9, takes a fifth of the whole conversion; the entry holds the same bytes either way.
TEMPORARY_CODEC = "LZW"

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
    """Whether GDAL copies a source from file to file.

    That would copy a color table too, and would lose the tag with the nodata value of each band.
    """
    height, width, channels = source.shape
    if source.has_table or isinstance(source.nodata, tuple):
        return False
    return height * width * channels * source.dtype.itemsize > IN_MEMORY_BYTES


def _copy_from_disk(source: RasterReader, dest: str, options: dict[str, str]) -> None:
    """Let GDAL copy an open file to a COG block by block."""
    import rasterio
    import rasterio.shutil

    with GATE:
        configure_gdal()
        with rasterio.Env(COG_TMP_COMPRESSION=TEMPORARY_CODEC):
            rasterio.shutil.copy(source.dataset, dest, driver="COG", **options)


def _copy_from_memory(source: SourceReader, dest: str, options: dict[str, str]) -> None:
    """Read a source into memory, encode it there, and write the encoded file to the disk.

    Python writes the file, because GDAL may try for ever to write to a disk that has become full.
    """
    import rasterio.shutil
    from rasterio.io import MemoryFile

    with GATE:
        memory, averages_well = _read_into_memory(source)
    with GATE, memory:
        configure_gdal()
        options = _with_overviews(memory, options if averages_well else {**options, "OVERVIEWS": "NONE"})
        with MemoryFile() as file:
            rasterio.shutil.copy(memory, file.name, driver="COG", **options)
            with open(dest, "wb") as written:
                written.write(file.getbuffer())


def _read_into_memory(source: SourceReader) -> tuple[Any, bool]:
    """Return a GDAL dataset in memory with the pixels of a source, and whether GDAL averages them well.

    GDAL leaves one kind of missing pixels out of an overview: one nodata value, NaN, or a mask.
    """
    import rasterio
    from rasterio.windows import Window

    height, width, channels = source.shape
    profile = {"height": height, "width": width, "count": channels, "dtype": source.dtype.name}
    tagged = isinstance(source.nodata, tuple) or (source.nodata is not None and is_wide(source.dtype))
    nodata, masked = None if tagged else source.nodata, as_masked(source)
    with quiet_gdal():
        memory = rasterio.open("in_memory", "w", driver="MEM", nodata=nodata, **profile)
    if tagged:
        values = source.nodata if isinstance(source.nodata, tuple) else (source.nodata,) * channels
        memory.update_tags(**{NODATA_TAG: json.dumps(values)})
    one_kind = masked is None and (nodata is None or np.isnan(nodata))
    averages_well = not tagged and source.dtype.kind != "c"
    for y0, rows in row_blocks(source):
        memory.write(rows.transpose(2, 0, 1), window=Window(0, y0, width, len(rows)))
        if source.dtype.kind == "f" and averages_well and not one_kind:
            averages_well = not np.isnan(rows).any()
        if masked is not None:
            _write_mask(memory, masked, y0, y0 + len(rows))
    return memory, averages_well


def _write_mask(memory: Any, source: MaskedReader, y0: int, y1: int) -> None:
    """Write the mask of some rows of a source into a dataset in memory."""
    from rasterio.windows import Window

    width = source.shape[1]
    mask = source.read_mask(y0, y1, 0, width)
    if (mask != mask[:, :, :1]).any():
        raise CacheError("backend 'cog' cannot store a mask for each band; use backend 'npy'")
    memory.write_mask(mask[:, :, 0], window=Window(0, y0, width, y1 - y0))


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
    averages_nan = np.dtype(memory.dtypes[0]).kind == "f" and memory.nodata is None
    if averages_nan:
        # Otherwise one NaN would make every pixel above it NaN.
        memory.nodata = np.nan
    memory.build_overviews(factors, Resampling[method])
    if averages_nan:
        memory.nodata = None
    return {**options, "OVERVIEWS": "FORCE_USE_EXISTING"}
