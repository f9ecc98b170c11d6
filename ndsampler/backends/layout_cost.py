"""
Estimates the time to read a window of a tiled TIFF, compared with a window of a cache entry.

GDAL decodes every block that a window touches. A window of ``w`` pixels at a random position touches on
average ``(w - 1) / b + 1`` blocks of ``b`` pixels along each axis, so its cost is estimated as::

    blocks * (BLOCK_NS + bytes of a block * nanoseconds for each byte)

``python -m benchmarks.layouts`` compares the estimates with measurements. Only the ratio between two layouts
matters: on a faster processor, all of them cost less.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ndsampler.backends.formats.tiff_header import PALETTE, read_pages
from ndsampler.backends.pages import MAX_PLANS, OVERVIEW_ENDING, Arrangement, choose_plan, reduced_pages
from ndsampler.utils.file_version import FileVersion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ndsampler.backends.formats.tiff_header import Page

__all__ = ["COMPRESSIONS", "DECODE_NS", "MAX_COST", "EntryLayout", "find_drawback", "window_cost"]

#: Maximum ratio of the time for a window of a source to that for a window of an entry at which the source is
#: read in place.
MAX_COST = 1.3

#: Height and width in pixels of the window for which layouts are compared.
WINDOW = 256

#: Time in nanoseconds to find and read a block.
BLOCK_NS = 7000.0

#: For each value of the tag Compression, the name of the codec and the time in nanoseconds to decode one byte
#: of pixels, measured with rasterio 1.4 on 8-bit and 16-bit textures. For LERC and WebP, the time depends
#: most on the settings of the codec.
DECODE_NS: Mapping[int, tuple[str, float]] = {
    1: ("no compression", 0.25),
    5: ("LZW", 4.7),
    7: ("JPEG", 4.5),
    8: ("DEFLATE", 2.9),
    32773: ("PACKBITS", 0.4),
    32946: ("DEFLATE", 2.9),
    34887: ("LERC", 4.0),
    34925: ("LZMA", 30.0),
    50000: ("ZSTD", 1.3),
    50001: ("WEBP", 3.1),
}

#: Name and decoding time that are assumed for any other codec.
OTHER_CODEC = ("another codec", 10.0)

#: Value of the tag Compression for each codec of entries.
COMPRESSIONS: Mapping[str, int] = {"NONE": 1, "LZW": 5, "JPEG": 7, "DEFLATE": 8, "ZSTD": 50000}

#: Maximum side in pixels of an image that can be read fast as a whole without overviews.
MAX_PLAIN_SIDE = 512

#: Maximum ratio of the sizes of two successive overviews. Usually each has half the size of the one before.
MAX_STEP = 2.1


class EntryLayout(NamedTuple):
    """The layout of a backend's entries."""

    compression: int
    """Value of the tag Compression."""
    blocksize: int
    """Height and width of a tile in pixels."""
    has_overviews: bool
    """Whether entries have overviews."""


def window_cost(page: Page, compression: int, tile_dims: tuple[int, int]) -> float:
    """Return the estimated nanoseconds to read a window of an image that is stored in tiles.

    Args:
        page: the page of the image. Only its size, samples, bits and planar layout are used.
        compression: value of the tag Compression.
        tile_dims: (height, width) of a tile in pixels.

    Example:
        >>> from ndsampler.backends.formats.tiff_header import Page
        >>> page = Page(1, 8, 4096, 4096, samples=3, kind=(8, 1, 2))
        >>> window_cost(page, 8, (512, 512)) > 3 * window_cost(page, 50000, (128, 128))
        True
    """
    blocks = math.prod(map(_count_blocks, page.dims, tile_dims))
    nbytes = math.prod(tile_dims) * page.samples * max(1, math.ceil(page.kind[0] / 8))
    reads = page.samples if page.planar else 1
    return blocks * (reads * BLOCK_NS + nbytes * DECODE_NS.get(compression, OTHER_CODEC)[1])


def _count_blocks(side: int, block: int) -> float:
    """Return the average number of blocks that a window touches along one axis of an image."""
    return min(math.ceil(side / block), (min(WINDOW, side) - 1) / block + 1)


def find_drawback(path: str, entry: EntryLayout) -> str | None:
    """Return why windows of a tiled TIFF take longer to read than those of an entry.

    Only headers are read.

    Args:
        path: a local file.
        entry: the layout that an entry would have.

    Returns:
        The reason, for messages; empty if the file is read about as fast as an entry. None for a file that is
        not a tiled TIFF of one image.

    Example:
        >>> find_drawback('/no/such/file', EntryLayout(50000, 128, True)) is None
        True
    """
    version = FileVersion.find(path)
    if version is None:
        return None
    return _find_drawback(version, FileVersion.find(path + OVERVIEW_ENDING), entry)


@functools.lru_cache(MAX_PLANS)
def _find_drawback(version: FileVersion, side: FileVersion | None, entry: EntryLayout) -> str | None:
    """Return the result of :func:`find_drawback` for a version of a file and of its overview file."""
    plan = choose_plan(version)
    page = None if plan is None or plan.arrangement is not Arrangement.FIRST else plan.pages[0]
    if plan is None or page is None or not all(page.tile_dims or (0, 0)):
        return None
    drawback = _slow_tiles(page, entry)
    if not drawback and entry.has_overviews:
        drawback = _missing_overview(page, [*plan.reduced, *_marked_overviews(version, side)])
    return drawback


def _slow_tiles(page: Page, entry: EntryLayout) -> str:
    """Return why the tiles of a page are slow to read; an empty string if they are not."""
    tile_dims = page.tile_dims or page.dims
    as_entry = window_cost(replace(page, planar=False), entry.compression, (entry.blocksize,) * 2)
    cost = window_cost(page, page.compression, tile_dims) / as_entry
    if cost <= MAX_COST:
        return ""
    codec, _ = DECODE_NS.get(page.compression, OTHER_CODEC)
    return f"tiles of {tile_dims[0]} x {tile_dims[1]} pixels with {codec}, about {cost:.1f} times the time"


def _marked_overviews(version: FileVersion, side: FileVersion | None) -> list[Page]:
    """Return the pages of a file, and of its overview file, that are marked as overviews of the image."""
    beside = read_pages(side.path) if side is not None and side.mtime_ns >= version.mtime_ns else ()
    return [*reduced_pages(read_pages(version.path)), *(page for page in beside if page.is_reduced)]


def _missing_overview(page: Page, reduced: list[Page]) -> str:
    """Return which overviews an image lacks that an entry would have; an empty string if none are missing."""
    if max(page.dims) <= MAX_PLAIN_SIDE:
        return ""
    if page.kind[2] == PALETTE:  # overviews of such a file average indexes, so they are not used
        return "a color table, and so no overviews"
    sides = sorted((max(small.dims) for small in reduced), reverse=True)
    for larger, smaller in itertools.pairwise([max(page.dims), *sides, MAX_PLAIN_SIDE / MAX_STEP]):
        if larger > max(MAX_STEP * smaller, MAX_PLAIN_SIDE):
            return "too few overviews" if sides else "no overviews"
    return ""
