"""
The ``'cog'`` backend: compressed tiles with overviews.

The default codec is ZSTD at level 1 with a predictor and tiles of 128 x 128 pixels. It is lossless. RGB
images of 4096 x 4096 pixels take about 39 % of their uncompressed size, and windows are read as fast as with
lossy JPEG. ``make bench`` repeats this measurement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ndsampler.backends import gdal, gdal_write
from ndsampler.backends.base import Backend, RegionReader, SourceReader, register
from ndsampler.backends.layout_cost import COMPRESSIONS, EntryLayout, find_drawback
from ndsampler.errors import BackendError, CacheError, SourceError
from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The options of GDAL's COG driver for each ``compress`` setting.
CODECS: Mapping[str, Mapping[str, str]] = {
    "ZSTD": {"COMPRESS": "ZSTD", "LEVEL": "1", "PREDICTOR": "YES"},
    "DEFLATE": {"COMPRESS": "DEFLATE", "LEVEL": "6", "PREDICTOR": "YES"},
    "LZW": {"COMPRESS": "LZW", "PREDICTOR": "YES"},
    "JPEG": {"COMPRESS": "JPEG"},
    "NONE": {"COMPRESS": "NONE"},
}

#: The codecs that change pixels.
LOSSY = frozenset({"JPEG"})

#: The codec for images that the chosen one cannot store.
FALLBACK = "ZSTD"

#: The value types that GDAL can store. Those in ``gdal.STAND_INS`` are stored as another type.
GDAL_TYPES = (
    *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float32", "float64", "complex64", "complex128"),
)

#: The side of a tile is a multiple of this number of pixels.
TILE_STEP = 16

#: Maximum size of a tile in bytes, for all channels. GDAL would take minutes to encode larger tiles.
MAX_TILE_BYTES = 64 * 2**20

#: Other names of codecs.
CODEC_ALIASES = {"AUTO": FALLBACK, "RAW": "NONE"}


@register("cog")
class CogBackend(Backend):
    """Stores entries as cloud-optimized GeoTIFFs (COGs).

    Settings:

    * ``compress``: ``'auto'`` (which means ZSTD), ``'ZSTD'``, ``'DEFLATE'``, ``'LZW'``, ``'NONE'``
      or ``'JPEG'``. Only JPEG is lossy. It can store 8-bit images of 1 or 3 bands; any other image is
      stored as with ``'auto'``.
    * ``blocksize``: height and width of a tile in pixels, a multiple of 16 (default 128). If a tile would
      take more than 64 MiB, because the image has many channels, a smaller tile is used.
    * ``quality``: JPEG quality, 1 to 100 (default 75).
    * ``overviews``: ``'auto'`` or True for overviews by area averaging, the name of a GDAL resampling
      method such as ``'NEAREST'``, or False for none.
    * ``in_place``: which tiled TIFFs are read directly instead of being converted. ``'auto'`` selects those
      that are read about as fast as an entry: see :mod:`ndsampler.backends.layout_cost`. True selects all
      of them, which saves disk space, and False selects none. Entries do not depend on this setting.

    Example:
        >>> CogBackend({'compress': 'DEFLATE'}).lossless
        True
    """

    suffix = ".cog.tiff"
    DEFAULTS: ClassVar[dict[str, Any]] = {
        "compress": "auto",
        "blocksize": 128,
        "quality": 75,
        "overviews": "auto",
        "in_place": "auto",
    }
    RESAMPLING = ("AVERAGE", "NEAREST", "BILINEAR", "CUBIC", "CUBICSPLINE", "LANCZOS", "MODE", "RMS")

    def check_config(self) -> None:
        """Raise a :class:`ndsampler.errors.BackendError` if a setting has an invalid value."""
        config = self.config
        if str(config["compress"]).upper() not in {*CODECS, *CODEC_ALIASES}:
            options = ", ".join(repr(name) for name in ("auto", *CODECS, "RAW"))
            raise BackendError(f"compress is {config['compress']!r}; expected one of {options}")
        size = config["blocksize"]
        if (
            not isinstance(size, int)
            or isinstance(size, bool)
            or not TILE_STEP <= size <= 4096
            or size % TILE_STEP
        ):
            raise BackendError(f"blocksize is {size!r}; expected a multiple of 16 between 16 and 4096 pixels")
        quality = config["quality"]
        if not isinstance(quality, int) or isinstance(quality, bool) or not 1 <= quality <= 100:
            raise BackendError(f"quality is {quality!r}; expected an integer from 1 to 100")
        overviews = config["overviews"]
        if not isinstance(overviews, bool) and str(overviews).upper() not in {"AUTO", *self.RESAMPLING}:
            options = ", ".join(repr(name) for name in ("auto", *self.RESAMPLING))
            raise BackendError(f"overviews is {overviews!r}; expected True, False, or one of {options}")
        self.check_in_place()

    @property
    def codec(self) -> str:
        """The key of :data:`CODECS` that the ``compress`` setting selects."""
        name = str(self.config["compress"]).upper()
        return CODEC_ALIASES.get(name, name)

    @property
    def lossless(self) -> bool:
        """Whether entries hold exactly the pixels of their sources."""
        return self.codec not in LOSSY

    def as_lossless(self) -> CogBackend:
        """Return this backend, or one with the codec ``'auto'`` if the codec changes pixels."""
        return self if self.lossless else CogBackend({**self.config, "compress": FALLBACK})

    def is_exact(self, entry: str) -> bool:
        """Whether an entry holds exactly the pixels of its source: False if its codec is lossy.

        Args:
            entry: path of the entry.

        Raises:
            SourceError: if the entry cannot be opened.
        """
        with GATE, gdal.open_entry(entry) as dataset:
            return str(dataset.profile.get("compress")).upper() not in LOSSY

    def space_needed(self, source: RegionReader) -> int:
        """Return the size of the temporary file of a large image; 0 for one that is encoded in memory."""
        if not gdal_write.is_streamed(source):
            return 0
        return gdal_write.count_bytes(source) * 4 // 3

    def usable_in_place(self, path: str) -> bool:
        """Return whether a source is a tiled TIFF that the setting ``in_place`` selects."""
        drawback = self._find_drawback(path)
        return drawback is not None and (not drawback or self.config["in_place"] is True)

    def explain_conversion(self, path: str) -> str:
        """Return why a tiled TIFF is converted that could be read in place; empty for any other source."""
        return self._find_drawback(path) or ""

    def _find_drawback(self, path: str) -> str | None:
        """Return why windows of a tiled TIFF take longer to read than those of an entry.

        Args:
            path: the source.

        Returns:
            The reason; empty for a file that is read about as fast, None for one that is never read in place.
        """
        if self.config["in_place"] is False or not path.lower().endswith(gdal.TIFF_ENDINGS):
            return None
        entry = EntryLayout(
            COMPRESSIONS[self.codec], self.config["blocksize"], self.config["overviews"] is not False
        )
        return find_drawback(path, entry)

    def convert(self, source: SourceReader, dest: str) -> None:
        """Write an entry with GDAL's COG driver.

        Raises:
            CacheError: if GDAL cannot write the entry, or cannot store values of its type.
            SourceError: if the source is damaged.
        """
        types = (*GDAL_TYPES, *gdal.STAND_INS)
        if source.dtype.name not in types:
            raise CacheError(
                f"backend 'cog' cannot store {source.dtype}, only {', '.join(types)}; use backend 'npy'"
            )
        gdal_write.write_cog(source, dest, self.creation_options(source))

    def creation_options(self, source: RegionReader) -> dict[str, str]:
        """Return the options of GDAL's COG driver for an image."""
        fits_jpeg = source.dtype == np.uint8 and source.shape[2] in (1, 3)
        codec = self.codec if self.codec != "JPEG" or fits_jpeg else FALLBACK
        options = dict(CODECS[codec])
        if source.dtype.kind == "c":
            options.pop("PREDICTOR", None)
        if codec == "JPEG":
            options["QUALITY"] = options["OVERVIEW_QUALITY"] = str(self.config["quality"])
        overviews = self.config["overviews"]
        method = "AVERAGE" if overviews is True else str(overviews).upper()
        # For complex numbers, and for types that are stored as another type, averages are computed from the
        # image at full resolution, so the entry needs no overviews.
        averages = source.dtype.kind != "c" and source.dtype.name not in gdal.STAND_INS
        if overviews is False or not averages or max(source.shape[:2]) <= gdal_write.SMALLEST_OVERVIEW:
            options["OVERVIEWS"] = "NONE"
        else:
            options["OVERVIEWS"] = "IGNORE_EXISTING"
            options["OVERVIEW_RESAMPLING"] = "AVERAGE" if method == "AUTO" else method
        options["BLOCKSIZE"] = str(self._tile_side(source))
        options["BIGTIFF"] = "IF_SAFER"
        options["NUM_THREADS"] = gdal_write.encoder_threads()
        return options

    def _tile_side(self, source: RegionReader) -> int:
        """Return the side of a tile in pixels, which is below the setting if an image has many channels."""
        side: int = self.config["blocksize"]
        pixel_bytes = source.shape[2] * source.dtype.itemsize
        while side > TILE_STEP and side * side * pixel_bytes > MAX_TILE_BYTES:
            side = max(side // 2 // TILE_STEP * TILE_STEP, TILE_STEP)
        return side

    def open(self, path: str, level: int = 0) -> RegionReader:
        """Open an entry, or one of its overviews.

        Raises:
            SourceError: if the entry cannot be opened, or was not written by this backend.
        """
        reader = gdal.RasterReader(path, level, is_entry=True)
        with GATE:
            layout = reader.dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT")
        if level == 0 and layout != "COG":
            reader.close()
            raise SourceError(f"{path} was not written by this backend: it does not have the layout of a COG")
        return reader
