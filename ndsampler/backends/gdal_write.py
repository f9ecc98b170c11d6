"""
Writes cloud-optimized GeoTIFFs with GDAL.

An image of ordinary size, and its overviews, are assembled in a GDAL dataset in memory and encoded to a
memory file, which Python writes to the disk. A larger image is copied to a temporary uncompressed file, which
a separate process encodes: see :mod:`ndsampler.backends.gdal_process`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends import averages
from ndsampler.backends.base import MaskedReader, as_masked, row_blocks
from ndsampler.backends.gdal import (
    DTYPE_TAG,
    STAND_INS,
    THIN,
    RasterReader,
    configure_gdal,
    is_forked,
    open_dataset,
    read_overview,
)
from ndsampler.backends.gdal_env import open_quietly
from ndsampler.backends.gdal_nodata import NODATA_TAG, is_wide
from ndsampler.backends.gdal_open import open_for_writing
from ndsampler.backends.gdal_process import encode_apart
from ndsampler.backends.memory_tiff import MemoryTiff
from ndsampler.backends.recording import RecordedSource
from ndsampler.backends.source import ArrayReader
from ndsampler.errors import CacheError, SourceError
from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter

    from ndsampler.backends.base import RegionReader, SourceReader

#: Maximum size in bytes of the pixels of an image that is held in memory while its COG is written.
IN_MEMORY_BYTES = 256 * 2**20

#: Maximum size in bytes of an uncompressed TIFF that :func:`encode_tiff` encodes in memory. The encoding
#: needs four times as much memory.
SMALL_BYTES = 32 * 2**20

#: Creation options of the temporary file for a larger image. It is not compressed, because it is read twice:
#: for the overviews, and for the entry.
TEMPORARY_PROFILE = {
    "tiled": True,
    "blockxsize": 256,
    "blockysize": 256,
    "interleave": "pixel",
    "bigtiff": "IF_SAFER",
}

#: Overviews are added, each half the size of the one before, until the longer side has at most this many
#: pixels.
SMALLEST_OVERVIEW = 128


def encoder_threads() -> str:
    """Return the value of GDAL's option ``NUM_THREADS`` for encoding.

    GDAL keeps its thread pool for the life of the process. A forked child inherits the queue of the pool but
    not its threads. If it queued a block, it would wait for ever, so it encodes in the calling thread. A
    worker process does the same, because it shares the processors with other workers.
    """
    import multiprocessing

    return "1" if is_forked() or multiprocessing.parent_process() is not None else "ALL_CPUS"


def write_cog(source: SourceReader, dest: str, options: dict[str, str]) -> None:
    """Write a cloud-optimized GeoTIFF with overviews.

    A source of at most :data:`IN_MEMORY_BYTES`, or one that GDAL did not open, is read into memory once. Any
    other source is copied block by block, so its size does not matter.

    The checksums of the overviews are kept in ``source`` if it is a :class:`RecordedSource`.

    Args:
        source: the open source.
        dest: path of the new file.
        options: creation options of GDAL's COG driver.

    Raises:
        CacheError: if GDAL cannot write the file, for example on a full disk.
        SourceError: if the source is damaged.

    References:
        https://gdal.org/en/stable/drivers/raster/cog.html
    """
    # rasterio passes on the errors of GDAL's drivers; only this private module exposes their class.
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    recorded = source if isinstance(source, RecordedSource) else RecordedSource(source)
    try:
        if is_streamed(recorded.reader):
            _copy_from_disk(recorded, dest, options)
        else:
            _copy_from_memory(recorded, dest, options)
    except (RasterioError, CPLE_BaseError) as ex:
        # GDAL does not tell which of the two files failed. If the source is damaged, reading it raises here.
        for _ in row_blocks(source):
            pass
        raise CacheError(f"{dest} cannot be written: {ex.__cause__ or ex}") from ex


def is_streamed(source: RegionReader) -> bool:
    """Whether a source is copied through a temporary file on the disk.

    Args:
        source: the open source.
    """
    return isinstance(source, RasterReader) and count_bytes(source) > IN_MEMORY_BYTES


def count_bytes(source: RegionReader) -> int:
    """Return the size of a source's pixels in bytes.

    Args:
        source: the open source.
    """
    return math.prod(source.shape) * source.dtype.itemsize


def _copy_from_disk(source: RecordedSource, dest: str, options: dict[str, str]) -> None:
    """Copy a source to an uncompressed file, build the overviews there, and encode that file with GDAL.

    This decodes the source only once, and the overviews can be read before they are encoded.
    """
    raw = f"{dest}.raw.tif"
    with GATE:
        options = _write_raw(raw, source, options)
    encode_apart(raw, dest, options)
    try:
        with GATE:
            _record_overviews(raw, source, options)
    except SourceError as ex:  # from the temporary file, for example on a full disk
        raise CacheError(f"{dest} cannot be written: {ex}") from ex
    os.unlink(raw)


def _write_raw(path: str, source: SourceReader, options: dict[str, str]) -> dict[str, str]:
    """Write the pixels of a source to an uncompressed file, and return the creation options of the entry."""
    import rasterio

    configure_gdal()
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        _create(path, source, driver="GTiff", **TEMPORARY_PROFILE) as dataset,
    ):
        return _copy_rows(source, dataset, options)


def encode_raw(raw: str, dest: str, options: dict[str, str]) -> None:
    """Build the overviews of an uncompressed file, and encode it with GDAL.

    Args:
        raw: path of the file. The overviews are added to it.
        dest: path of the new file.
        options: creation options of GDAL's COG driver.
    """
    import rasterio.shutil

    with GATE:
        configure_gdal()
        options = _add_overviews(raw, options)
        with open_dataset(raw, driver="GTiff") as dataset:
            rasterio.shutil.copy(dataset, dest, driver="COG", **options)


def encode_tiff(raw: str, dest: str, options: dict[str, str]) -> None:
    """Encode an uncompressed file as a COG: in memory, or, if it is large, in a separate process.

    Args:
        raw: path of the file. If it is large, the overviews are added to it.
        dest: path of the new file.
        options: creation options of GDAL's COG driver.

    Raises:
        CacheError: if the COG cannot be written, for example on a full disk.
    """
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError
    from rasterio.io import MemoryFile

    if os.path.getsize(raw) > SMALL_BYTES:
        encode_apart(raw, dest, options)
        return
    try:
        with GATE, open(raw, "rb") as file, MemoryFile(ext=".tif") as memory:
            configure_gdal()
            memory.write(file.read())
            options = _add_overviews(memory.name, options)
            with open_dataset(memory.name, driver="GTiff") as dataset:
                _encode(dataset, dest, options)
    except (RasterioError, CPLE_BaseError) as ex:
        raise CacheError(f"{dest} cannot be written: {ex.__cause__ or ex}") from ex


def _add_overviews(path: str, options: dict[str, str]) -> dict[str, str]:
    """Build the overviews of a file, and return the options that make GDAL copy them."""
    with GATE, open_quietly(functools.partial(open_for_writing, path, "r+")) as dataset:
        return _build_overviews(dataset, options)[1]


def _record_overviews(path: str, source: RecordedSource, options: dict[str, str]) -> None:
    """Record the overviews of a file."""
    levels = [] if options["OVERVIEWS"] == "NONE" else _overview_factors(source.shape)
    for level in range(1, len(levels) + 1):
        with contextlib.closing(RasterReader(path, level, is_entry=True)) as overview:
            source.record_overview(overview)


def _copy_from_memory(source: RecordedSource, dest: str, options: dict[str, str]) -> None:
    """Read a source into memory and encode it there."""
    from rasterio.io import MemoryFile

    if _is_plain(source, options):
        with GATE:
            _copy_plain(source, dest, options)
            return
    if _is_thin(source, options):
        # The overviews of a dataset in memory cannot be opened; GDAL only finds them by their size.
        with GATE, MemoryFile(ext=".tif") as raw:
            options = _add_overviews(raw.name, _write_raw(raw.name, source, options))
            _record_overviews(raw.name, source, options)
            with open_dataset(raw.name, driver="GTiff") as dataset:
                _encode(dataset, dest, options)
            return
    with GATE, _create("in_memory", source, driver="MEM") as memory:
        configure_gdal()
        options = _copy_rows(source, memory, options)
        levels, options = _build_overviews(memory, options)
        for dims in levels:
            pixels = read_overview(memory, dims).astype(source.dtype, copy=False)
            source.record_overview(ArrayReader(pixels))
        _encode(memory, dest, options)


def _is_plain(source: SourceReader, options: dict[str, str]) -> bool:
    """Whether the overviews of a source are averages over all pixels, which do not need GDAL."""
    return (
        options.get("OVERVIEW_RESAMPLING") == "AVERAGE"
        and source.dtype in averages.TYPES
        and source.shape[2] <= averages.MAX_CHANNELS
        and source.nodata is None
        and as_masked(source) is None
        and not _is_thin(source, options)
    )


def _copy_plain(source: RecordedSource, dest: str, options: dict[str, str]) -> None:
    """Copy a plain source into memory, average the overviews there, and encode both.

    GDAL builds the overviews that are not exactly half the size of the one before.
    """
    from rasterio.enums import Resampling

    shapes = [(*dims, source.shape[2]) for dims in _overview_dims(source.shape)]
    with MemoryTiff([source.shape, *shapes], source.dtype) as file:
        for y0, rows in row_blocks(source):
            file.levels[0][y0 : y0 + len(rows)] = rows
        others = file.levels[1 + averages.fill_averages(file.levels) :]
        if others:
            with file.open(overviews=False) as dataset:
                for level in others:
                    dataset.read(out=level.transpose(2, 0, 1), resampling=Resampling.average)
        for level in file.levels[1:]:
            source.record_overview(ArrayReader(level))
        with file.open() as dataset:
            _encode(dataset, dest, {**options, "OVERVIEWS": "FORCE_USE_EXISTING"})


def _is_thin(source: SourceReader, options: dict[str, str]) -> bool:
    """Whether an overview has a side that is too small for GDAL to find it by its size."""
    factor = _overview_factors(source.shape)[-1]
    return options["OVERVIEWS"] != "NONE" and min(source.shape[:2]) <= factor * THIN


def _encode(dataset: DatasetReader, dest: str, options: dict[str, str]) -> None:
    """Encode a dataset in memory, and write the encoded file to the disk.

    Python writes the file, because GDAL may retry for ever if the disk is full.
    """
    import rasterio.shutil
    from rasterio.io import MemoryFile

    with MemoryFile() as file:
        rasterio.shutil.copy(dataset, file.name, driver="COG", **options)
        with open(dest, "wb") as written:
            written.write(file.getbuffer())


def _create(path: str, source: SourceReader, **profile: Any) -> Any:
    """Return a new GDAL dataset of the shape, type and nodata values of a source."""
    height, width, channels = source.shape
    tagged = _is_tagged(source)
    nodata = None if tagged else source.nodata
    dtype = STAND_INS.get(source.dtype.name, source.dtype.name)
    profile.update(height=height, width=width, count=channels, dtype=dtype, nodata=nodata)
    dataset = open_quietly(functools.partial(open_for_writing, path, "w+", **profile))
    if dtype != source.dtype.name:
        dataset.update_tags(**{DTYPE_TAG: source.dtype.name})
    if tagged:
        values = source.nodata if isinstance(source.nodata, tuple) else (source.nodata,) * channels
        dataset.update_tags(**{NODATA_TAG: json.dumps(values)})
    return dataset


def _is_tagged(source: SourceReader) -> bool:
    """Whether the nodata values of a source are kept in a tag, because GDAL cannot store them."""
    return isinstance(source.nodata, tuple) or (source.nodata is not None and is_wide(source.dtype))


def _copy_rows(source: SourceReader, dataset: DatasetWriter, options: dict[str, str]) -> dict[str, str]:
    """Write all pixels of a source, and its mask, to a GDAL dataset.

    Returns:
        The creation options, without overviews if GDAL would average missing pixels into them. GDAL can
        exclude only one kind of missing pixels: those of one nodata value, NaN, or those of a mask.
    """
    from rasterio.windows import Window

    masked = as_masked(source)
    one_kind = masked is None and (dataset.nodata is None or np.isnan(dataset.nodata))
    averages_well = not _is_tagged(source) and source.dtype.kind != "c"
    for y0, rows in row_blocks(source):
        pixels = rows.astype(dataset.dtypes[0], copy=False).transpose(2, 0, 1)
        dataset.write(pixels, window=Window(0, y0, rows.shape[1], len(rows)))
        if source.dtype.kind == "f" and averages_well and not one_kind:
            averages_well = not np.isnan(rows).any()
        if masked is not None:
            _write_mask(dataset, masked, y0, y0 + len(rows))
    return options if averages_well else {**options, "OVERVIEWS": "NONE"}


def _write_mask(dataset: DatasetWriter, source: MaskedReader, y0: int, y1: int) -> None:
    """Write the mask of some rows of a source to a GDAL dataset."""
    from rasterio.windows import Window

    width = source.shape[1]
    mask = source.read_mask(y0, y1, 0, width)
    if (mask != mask[:, :, :1]).any():
        raise CacheError("backend 'cog' cannot store a mask for each band; use backend 'npy'")
    dataset.write_mask(mask[:, :, 0], window=Window(0, y0, width, y1 - y0))


def _build_overviews(
    dataset: DatasetWriter, options: dict[str, str]
) -> tuple[list[tuple[int, int]], dict[str, str]]:
    """Build the overviews of a dataset.

    GDAL builds them twice as fast in memory as while it writes the file.

    Returns:
        (height, width) of each overview, and the options that make GDAL copy them.
    """
    from rasterio.enums import Resampling

    if options["OVERVIEWS"] == "NONE":
        return [], options
    method = options["OVERVIEW_RESAMPLING"].lower().replace("cubicspline", "cubic_spline")
    factors = _overview_factors((dataset.height, dataset.width))
    averages_nan = np.dtype(dataset.dtypes[0]).kind == "f" and dataset.nodata is None
    if averages_nan:
        # Otherwise one NaN would make every overview pixel that covers it NaN.
        dataset.nodata = np.nan
    dataset.build_overviews(factors, Resampling[method])
    if averages_nan:
        dataset.nodata = None
    return _overview_dims((dataset.height, dataset.width)), {**options, "OVERVIEWS": "FORCE_USE_EXISTING"}


def _overview_dims(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the (height, width) of each overview of an image of shape (height, width, ...)."""
    return [(-(-shape[0] // factor), -(-shape[1] // factor)) for factor in _overview_factors(shape)]


def _overview_factors(shape: tuple[int, ...]) -> list[int]:
    """Return the reduction factor of each overview of an image of shape (height, width, ...)."""
    factors = [2]
    while max(shape[:2]) / factors[-1] > SMALLEST_OVERVIEW:
        factors.append(2 * factors[-1])
    return factors
