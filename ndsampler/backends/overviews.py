"""
Which reduced versions of an image may be read in its place when it is shrunk.

GDAL lists as overviews whatever a file marks as reduced, and what an ``.ovr`` file beside it holds. Slide
scanners store further ones as plain pages. Each is used only if its size fits the image. Where only the size
speaks for it, some of its pixels are compared with those of the image.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.formats.tiff_header import read_pages
from ndsampler.backends.gdal import RasterReader, page_name
from ndsampler.backends.pages import is_reduced_size
from ndsampler.errors import SourceError
from ndsampler.utils.file_version import FileVersion
from ndsampler.utils.fork_safety import GATE
from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ndsampler.backends.formats.tiff_header import Page
    from ndsampler.backends.pages import PagePlan

__all__ = ["Level", "find_levels", "looks_reduced", "open_level", "recall_levels"]

logger = get_logger(__name__)

#: File endings of files beside an image that hold its overviews.
SIDE_ENDINGS = (".ovr", ".rrd", ".aux")

#: Side of the patches of a level that are compared with the image, in pixels of the level.
PATCH = 16

#: How many patches are compared, and the fraction of the width by which each is moved from the one before.
PATCHES, GOLDEN = 12, 0.618

#: The largest side of the region of the image that one patch is compared with, in pixels.
MAX_REGION = 1024

#: Fraction of the values of a level that must lie within the values of the image below them. Averages and
#: picked pixels do; some of what a lossy codec or a sharpening filter gives does not.
MIN_WITHIN = 0.95

#: Smallest correlation between picked pixels and averages of the pixels around them.
MIN_CORRELATION = 0.1

#: Largest mean square difference between a level and averages of the image, as a fraction of the variance.
MAX_ERROR = 0.1


#: The most reduced versions of an image that are looked at. Halving an image of the largest size 31 times
#: leaves one pixel.
MAX_LEVELS = 64

#: The most files whose levels one process remembers.
MAX_KNOWN = 10_000

#: The levels of versions of files, each with the version of the file of its overviews.
_known: dict[tuple[FileVersion, FileVersion | None], tuple[tuple[Level, ...], tuple[Page, ...]]] = {}


@dataclass(frozen=True)
class Level:
    """A reduced version of an image."""

    dims: tuple[int, int]
    """(height, width) in pixels."""
    index: int | None = None
    """Position among the overviews that GDAL lists; None for its own page."""
    page: Page | None = None
    """The page that holds it, where that is known."""
    is_certain: bool = True
    """Whether the file says that it is a reduced version; otherwise its pixels have to be compared."""
    is_beside: bool = False
    """Whether it is in another file, beside that of the image."""


def open_level(path: str, level: Level) -> RasterReader:
    """Open a reduced version of an image.

    Args:
        path: the file of the image.
        level: which of its reduced versions.

    Raises:
        SourceError: if it cannot be opened.
    """
    if level.index is not None:
        return RasterReader(path, level.index + 1)
    assert level.page is not None
    return RasterReader(path, name=page_name(path, level.page.offset))


def recall_levels(
    version: FileVersion, plan: PagePlan | None, reader: RasterReader | None = None
) -> tuple[tuple[Level, ...], tuple[Page, ...]]:
    """Return what :func:`find_levels` does, which is looked up once for each version of a file.

    Args:
        version: the file of the image.
        plan: see :func:`find_levels`.
        reader: the open image; None to open it only if needed.
    """
    key = version, FileVersion.find(version.path + SIDE_ENDINGS[0])
    known = _known.get(key)
    if known is None:
        if reader is None:
            with contextlib.closing(RasterReader(version.path)) as opened:
                return recall_levels(version, plan, opened)
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        known = _known[key] = find_levels(reader, plan)
    return known


def find_levels(reader: RasterReader, plan: PagePlan | None) -> tuple[tuple[Level, ...], tuple[Page, ...]]:
    """Return the reduced versions of an image, and the pages that turned out to be something else.

    Args:
        reader: the open image.
        plan: the pages of the file; None if it is not a TIFF.

    Returns:
        The levels, the largest first, and the unmarked pages of a fitting size with other pixels.
    """
    if reader.has_table:
        # Overviews of indexed images average indexes.
        return (), ()
    full = reader.shape[:2]
    listed = [level for level in _listed_by_gdal(reader) if is_reduced_size(level.dims, full)]
    if any(level.is_beside for level in listed):
        # They were made at once, so that the largest one speaks for all.
        largest = max(listed, key=lambda level: level.dims)
        listed = [replace(level, is_certain=True) for level in listed] if _is_of(reader, (), largest) else []
    unmarked = [Level(page.dims, None, page, False) for page in (plan.reduced if plan else ())]
    levels: list[Level] = []
    refused: list[Page] = []
    candidates = sorted((*listed, *unmarked), key=lambda level: level.dims, reverse=True)
    for level in candidates[:MAX_LEVELS]:
        if levels and levels[-1].dims == level.dims:
            continue
        if level.is_certain or _is_of(reader, levels, level):
            levels.append(level)
        elif level.index is None and level.page is not None:
            refused.append(level.page)
    return tuple(levels), tuple(refused)


def _listed_by_gdal(reader: RasterReader) -> list[Level]:
    """Return the overviews that GDAL lists, except those that are older than the image."""
    with GATE:
        count = len(reader.dataset.overviews(1))
    if not 0 < count <= MAX_LEVELS:
        return []
    pages = read_pages(reader.path)
    inside = _reduced_pages(pages)
    if len(inside) == count:
        return [
            Level(page.dims, at, page, page in pages[0].subpages or _is_regular(page, pages[0]))
            for at, page in enumerate(inside)
        ]
    side = None if inside else _find_side_file(reader)
    if side is None:
        return list(_open_each(reader.path, count))
    image = FileVersion.find(reader.path)
    if image is None or side.mtime_ns < image.mtime_ns:
        logger.debug("%s is older than its image, so it is not used", side.path)
        return []
    outside = [page for page in read_pages(side.path) if not page.is_mask]
    if len(outside) == count:
        return [Level(page.dims, at, page, is_beside=True) for at, page in enumerate(outside)]
    return [replace(level, is_beside=True) for level in _open_each(reader.path, count)]


def _reduced_pages(pages: Sequence[Page]) -> list[Page]:
    """Return the pages of a TIFF that GDAL lists as overviews of the first one."""
    if not pages:
        return []
    marked = [page for page in pages[1:] if page.is_reduced and page.samples == pages[0].samples]
    return [*marked, *(page for page in pages[0].subpages if page.is_reduced)]


def _is_regular(page: Page, full: Page) -> bool:
    """Whether a page is what programs write as an overview: stored like the image, its size halved."""
    factor = round(full.height / page.height) if full.height >= full.width else round(full.width / page.width)
    return page.tiled == full.tiled and factor & (factor - 1) == 0


def _find_side_file(reader: RasterReader) -> FileVersion | None:
    """Return the file beside an image that holds its overviews; None if there is none."""
    with GATE:
        files = reader.dataset.files
    found = (FileVersion.find(name) for name in files if name.lower().endswith(SIDE_ENDINGS))
    return next((version for version in found if version is not None), None)


def _open_each(path: str, count: int) -> Iterator[Level]:
    """Yield the overviews of a file with the sizes that they have when they are opened."""
    for index in range(count):
        try:
            with contextlib.closing(RasterReader(path, index + 1)) as level:
                yield Level(level.shape[:2], index)
        except SourceError as ex:
            logger.debug("overview %d of %s is not used: %s", index, path, ex)


def _is_of(reader: RasterReader, levels: Sequence[Level], level: Level) -> bool:
    """Whether a level shows the same as the image, or as the next larger level."""
    try:
        with contextlib.ExitStack() as stack:
            small = stack.enter_context(contextlib.closing(open_level(reader.path, level)))
            large = reader
            if levels:
                large = stack.enter_context(contextlib.closing(open_level(reader.path, levels[-1])))
            if (small.shape[2], small.dtype) != (large.shape[2], large.dtype):
                return False
            return looks_reduced(small, large)
    except SourceError as ex:
        logger.debug("a reduced version of %s is not used: %s", reader.path, ex)
        return False


def looks_reduced(small: Any, large: Any) -> bool:
    """Whether one image looks like a reduced version of another, by the pixels of a few patches.

    Args:
        small: a reader of the smaller image.
        large: a reader of the larger image.

    Example:
        >>> from ndsampler.backends.source import ArrayReader
        >>> pixels = np.random.default_rng(0).integers(0, 255, (90, 80, 3))
        >>> looks_reduced(ArrayReader(pixels[::2, ::2]), ArrayReader(pixels))
        True
        >>> looks_reduced(ArrayReader(pixels[45:, 40:]), ArrayReader(pixels))
        False
    """
    scale = [whole / side for whole, side in zip(large.shape[:2], small.shape[:2])]
    patch = max(1, min(PATCH, int(MAX_REGION / max(scale))))
    found, lowest, highest, means = [], [], [], []
    for y, x in _patch_corners(small.shape[:2], patch):
        rows, columns = (
            np.arange(start, min(start + patch, side) + 1) for start, side in zip((y, x), small.shape)
        )
        row_edges, column_edges = (np.floor(e * s).astype(int) for e, s in zip((rows, columns), scale))
        region = large.read(row_edges[0], row_edges[-1], column_edges[0], column_edges[-1])
        blocks = _Blocks(region, row_edges - row_edges[0], column_edges - column_edges[0])
        found.append(_as_real(small.read(rows[0], rows[-1], columns[0], columns[-1])).ravel())
        lowest.append(blocks.reduce(np.minimum).ravel())
        highest.append(blocks.reduce(np.maximum).ravel())
        means.append((blocks.reduce(np.add) / blocks.sizes).ravel())
    return _agree(*map(np.concatenate, (found, lowest, highest, means)))


def _agree(found: NDArray[Any], lowest: NDArray[Any], highest: NDArray[Any], means: NDArray[Any]) -> bool:
    """Whether values lie within the ranges below them, or close to the means below them."""
    # Lossy codecs change pixels a little.
    slack = 0.01 * float(np.nanmax(highest) - np.nanmin(lowest))
    within = (found >= lowest - slack) & (found <= highest + slack) | np.isnan(found)
    usable = np.isfinite(found) & np.isfinite(means)
    found, means = found[usable], means[usable]
    if found.size == 0 or np.ptp(found) == 0 or np.ptp(means) == 0:
        return bool(within.mean() >= MIN_WITHIN)
    if np.mean((found - means) ** 2) <= MAX_ERROR * np.var(means):
        return True
    # Noise of one image lies within the range of noise of another, but is not correlated with it.
    correlation = np.corrcoef(found, means)[0, 1]
    return bool(within.mean() >= MIN_WITHIN and correlation >= MIN_CORRELATION)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """The pixels of a region in blocks, one for each pixel of a level."""

    region: NDArray[Any]
    """(height, width, channels) pixels."""
    rows: NDArray[np.intp]
    """The first row of each block, and the end of the last one."""
    columns: NDArray[np.intp]
    """The first column of each block, and the end of the last one."""

    def reduce(self, operation: np.ufunc) -> NDArray[Any]:
        """Return the result of an operation on the pixels of each block."""
        values = operation.reduceat(_as_real(self.region), self.rows[:-1], axis=0)
        result: NDArray[Any] = operation.reduceat(values, self.columns[:-1], axis=1)
        return result

    @property
    def sizes(self) -> NDArray[Any]:
        """The number of pixels of each block."""
        return (np.diff(self.rows)[:, None] * np.diff(self.columns))[..., None]


def _as_real(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels as floating point numbers; of complex ones the absolute value."""
    return np.abs(pixels).astype(float) if pixels.dtype.kind == "c" else pixels.astype(float)


def _patch_corners(dims: tuple[int, int], patch: int) -> Iterator[tuple[int, int]]:
    """Yield the first row and column of patches that are spread over an image."""
    for number in range(PATCHES):
        down, right = (number + 0.5) / PATCHES, number * GOLDEN % 1
        yield int(down * max(0, dims[0] - patch)), int(right * max(0, dims[1] - patch))
