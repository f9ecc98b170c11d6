"""
How long a window of a tiled TIFF takes to read, compared with a window of a cache entry.

GDAL decodes every block that a window touches. A window of ``w`` pixels at a random place touches
``(w - 1) / b + 1`` blocks of ``b`` pixels along each axis on average, so its cost is estimated as::

    blocks * (BLOCK_NS + bytes of a block * nanoseconds for each byte)

``python -m benchmarks.layouts`` compares the estimates with measurements. What matters is how layouts compare
with each other: on a faster processor, all of them cost less.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ndsampler.backends.formats.tiff_header import PALETTE, read_pages
from ndsampler.backends.pages import MAX_PLANS, Arrangement, choose_plan
from ndsampler.utils.file_version import FileVersion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ndsampler.backends.formats.tiff_header import Page

__all__ = ["COMPRESSIONS", "DECODE_NS", "MAX_COST", "EntryLayout", "find_drawback", "window_cost"]

#: A source is read in place if its windows take at most so many times as long as those of an entry.
MAX_COST = 1.3

#: Height and width of the window that layouts are compared by, in pixels.
WINDOW = 256

#: Nanoseconds to find and read a block.
BLOCK_NS = 7000.0

#: Name of each codec, by its value of the tag Compression, and nanoseconds to decode one byte of pixels:
#: measured with rasterio 1.4 on texture of 8 and 16 bits. LERC and WebP depend on their settings most.
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

#: What a codec is taken for that the table lacks.
OTHER_CODEC = ("another codec", 10.0)

#: The tag Compression for each codec of entries.
COMPRESSIONS: Mapping[str, int] = {"NONE": 1, "LZW": 5, "JPEG": 7, "DEFLATE": 8, "ZSTD": 50000}

#: How the name of a file of overviews ends that lies beside an image.
SIDE_ENDING = ".ovr"

#: The largest side in pixels of an image that needs no overviews to be read fast as a whole.
MAX_PLAIN_SIDE = 512

#: The largest ratio of the sizes of two successive overviews. Each has half the size of the one before.
MAX_STEP = 2.1


class EntryLayout(NamedTuple):
    """How a backend lays out its entries."""

    compression: int
    """Value of the tag Compression."""
    blocksize: int
    """Height and width of a tile in pixels."""
    has_overviews: bool
    """Whether entries have overviews."""


def window_cost(page: Page, compression: int, tile_dims: tuple[int, int]) -> float:
    """Return the estimated nanoseconds to read a window of an image that is stored in tiles.

    Args:
        page: its sizes, samples, bits and planes count.
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
    """Return how many blocks a window touches along one axis of an image, on average."""
    return min(math.ceil(side / block), (min(WINDOW, side) - 1) / block + 1)


def find_drawback(path: str, entry: EntryLayout) -> str | None:
    """Return why windows of a tiled TIFF take longer to read than those of an entry.

    Only headers are read.

    Args:
        path: a local file.
        entry: how an entry would be laid out.

    Returns:
        The reason, for messages; empty for a file that is read about as fast. None for a file that is not
        a tiled TIFF of one image.

    Example:
        >>> find_drawback('/no/such/file', EntryLayout(50000, 128, True)) is None
        True
    """
    version = FileVersion.find(path)
    if version is None:
        return None
    return _find_drawback(version, FileVersion.find(path + SIDE_ENDING), entry)


@functools.lru_cache(MAX_PLANS)
def _find_drawback(version: FileVersion, side: FileVersion | None, entry: EntryLayout) -> str | None:
    """Return what :func:`find_drawback` does, for one version of a file and of its overviews beside it."""
    plan = choose_plan(version)
    page = None if plan is None or plan.arrangement is not Arrangement.FIRST else plan.pages[0]
    if plan is None or page is None or not all(page.tile_dims or (0, 0)):
        return None
    drawback = _slow_tiles(page, entry)
    if not drawback and entry.has_overviews:
        drawback = _missing_overview(page, [*plan.reduced, *_marked_overviews(version, side)])
    return drawback


def _slow_tiles(page: Page, entry: EntryLayout) -> str:
    """Return why the tiles of a page are slow to read; empty if they are not."""
    tile_dims = page.tile_dims or page.dims
    as_entry = window_cost(replace(page, planar=False), entry.compression, (entry.blocksize,) * 2)
    cost = window_cost(page, page.compression, tile_dims) / as_entry
    if cost <= MAX_COST:
        return ""
    codec, _ = DECODE_NS.get(page.compression, OTHER_CODEC)
    return f"tiles of {tile_dims[0]} x {tile_dims[1]} pixels with {codec}, about {cost:.1f} times the time"


def _marked_overviews(version: FileVersion, side: FileVersion | None) -> list[Page]:
    """Return the pages of a file, and of the file beside it, that are marked as overviews of the image."""
    pages = read_pages(version.path)
    below = pages[0].subpages if pages else ()
    beside = read_pages(side.path) if side is not None and side.mtime_ns >= version.mtime_ns else ()
    return [page for page in (*pages[1:], *below, *beside) if page.is_reduced]


def _missing_overview(page: Page, reduced: list[Page]) -> str:
    """Return that an image lacks overviews which an entry would have; empty if it has them."""
    if max(page.dims) <= MAX_PLAIN_SIDE:
        return ""
    if page.kind[2] == PALETTE:  # overviews of such a file average indexes, so they are not used
        return "a color table, and so no overviews"
    sides = sorted((max(small.dims) for small in reduced), reverse=True)
    for larger, smaller in itertools.pairwise([max(page.dims), *sides, MAX_PLAIN_SIDE / MAX_STEP]):
        if larger > max(MAX_STEP * smaller, MAX_PLAIN_SIDE):
            return "too few overviews" if sides else "no overviews"
    return ""
