"""
Finds the reduced versions of an image that may be read instead of it when a reduced image is requested.

GDAL lists the images that a file marks as reduced, and those in an ``.ovr`` file beside it, as overviews.
Slide scanners store further reduced versions as plain pages. Each is used only if its size matches the image.
If the size is the only evidence, patches of its pixels are compared with the image too.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.formats.tiff_header import read_pages
from ndsampler.backends.gdal import RasterReader, page_name
from ndsampler.backends.pages import OVERVIEW_ENDING, is_reduced_size, reduced_pages
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

#: File name extensions of the files beside an image that hold its overviews.
SIDE_ENDINGS = (OVERVIEW_ENDING, ".rrd", ".aux")

#: Side of the patches of a level that are compared with the image, in pixels of the level.
PATCH = 16

#: Number of patches that are compared, and the fraction of the width between each patch and the next.
PATCHES, GOLDEN = 12, 0.618

#: Maximum side, in pixels, of the region of the image that one patch is compared with.
MAX_REGION = 1024

#: Minimum fraction of a level's values that lie within the range of the image values that they cover.
#: Averages and picked pixels always do; some values from a lossy codec or a sharpening filter do not.
MIN_WITHIN = 0.95

#: Smallest correlation between picked pixels and averages of the pixels around them.
MIN_CORRELATION = 0.1

#: Largest mean square difference between a level and averages of the image, as a fraction of the variance.
MAX_ERROR = 0.1


#: Maximum number of reduced versions of an image that are examined. Halving the largest image 31 times leaves
#: one pixel.
MAX_LEVELS = 64

#: Maximum number of files whose levels one process remembers.
MAX_KNOWN = 10_000

#: The result of :func:`find_levels` for each version of a file and of the file that holds its overviews.
_known: dict[tuple[FileVersion, FileVersion | None], tuple[tuple[Level, ...], tuple[Page, ...]]] = {}


@dataclass(frozen=True)
class Level:
    """A reduced version of an image."""

    dims: tuple[int, int]
    """(height, width) in pixels."""
    index: int | None = None
    """Position among the overviews that GDAL lists; None for a page that GDAL does not list."""
    page: Page | None = None
    """The page that holds it, if known."""
    is_certain: bool = True
    """Whether the file marks it as a reduced version; otherwise its pixels must be compared."""
    is_beside: bool = False
    """Whether it is stored in a separate file beside the image."""


def open_level(path: str, level: Level) -> RasterReader:
    """Open a reduced version of an image.

    Args:
        path: the file of the image.
        level: the reduced version to open.

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
    """Return the result of :func:`find_levels`, which is called once for each version of a file.

    Args:
        version: the file of the image.
        plan: see :func:`find_levels`.
        reader: the open image; None to open it only if needed.
    """
    key = version, FileVersion.find(version.path + OVERVIEW_ENDING)
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
    """Return the reduced versions of an image, and pages of a matching size that show something else.

    Args:
        reader: the open image.
        plan: the pages of the file; None if it is not a TIFF.

    Returns:
        The levels, largest first, and the unmarked pages that have a matching size but other pixels.
    """
    if reader.has_table:
        # Overviews of indexed images would be averages of indexes.
        return (), ()
    full = reader.shape[:2]
    listed = [level for level in _listed_by_gdal(reader) if is_reduced_size(level.dims, full)]
    if any(level.is_beside for level in listed):
        # The overviews were built together, so comparing the largest one is enough.
        largest = max(listed, key=lambda level: level.dims)
        matches = _shows_image(reader, (), largest)
        listed = [replace(level, is_certain=True) for level in listed] if matches else []
    unmarked = [Level(page.dims, None, page, False) for page in (plan.reduced if plan else ())]
    levels: list[Level] = []
    refused: list[Page] = []
    candidates = sorted((*listed, *unmarked), key=lambda level: level.dims, reverse=True)
    for level in candidates[:MAX_LEVELS]:
        if levels and levels[-1].dims == level.dims:
            continue
        if level.is_certain or _shows_image(reader, levels, level):
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
    inside = reduced_pages(pages)
    if len(inside) == count:
        return [
            Level(page.dims, at, page, page in pages[0].subpages or _is_typical_overview(page, pages[0]))
            for at, page in enumerate(inside)
        ]
    side = None if inside else _find_side_file(reader)
    if side is None:
        return list(_open_each(reader.path, count))
    image = FileVersion.find(reader.path)
    if image is None or side.mtime_ns < image.mtime_ns:
        logger.debug("the overviews in %s are older than their image, so they are not used", side.path)
        return []
    outside = [page for page in read_pages(side.path) if not page.is_mask]
    if len(outside) == count:
        return [Level(page.dims, at, page, is_beside=True) for at, page in enumerate(outside)]
    return [replace(level, is_beside=True) for level in _open_each(reader.path, count)]


def _is_typical_overview(page: Page, full: Page) -> bool:
    """Whether a page looks like an overview that programs write: stored like the image, at half its size."""
    factor = round(full.height / page.height) if full.height >= full.width else round(full.width / page.width)
    return page.tiled == full.tiled and factor & (factor - 1) == 0


def _find_side_file(reader: RasterReader) -> FileVersion | None:
    """Return the file beside an image that holds its overviews; None if there is none."""
    with GATE:
        files = reader.dataset.files
    found = (FileVersion.find(name) for name in files if name.lower().endswith(SIDE_ENDINGS))
    return next((version for version in found if version is not None), None)


def _open_each(path: str, count: int) -> Iterator[Level]:
    """Yield the overviews of a file, each with the size that it has when it is opened."""
    for index in range(count):
        try:
            with contextlib.closing(RasterReader(path, index + 1)) as level:
                yield Level(level.shape[:2], index)
        except SourceError as ex:
            logger.debug("overview %d of %s is not used: %s", index, path, ex)


def _shows_image(reader: RasterReader, levels: Sequence[Level], level: Level) -> bool:
    """Whether a level shows the same content as the image, or as the next larger level."""
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
    """Whether one image looks like a reduced version of another, judged by the pixels of a few patches.

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
    return _values_match(*map(np.concatenate, (found, lowest, highest, means)))


def _values_match(
    found: NDArray[Any], lowest: NDArray[Any], highest: NDArray[Any], means: NDArray[Any]
) -> bool:
    """Whether values lie within the ranges, or close to the means, of the image values that they cover."""
    # Lossy codecs change pixels a little.
    slack = 0.01 * float(np.nanmax(highest) - np.nanmin(lowest))
    within = (found >= lowest - slack) & (found <= highest + slack) | np.isnan(found)
    usable = np.isfinite(found) & np.isfinite(means)
    found, means = found[usable], means[usable]
    if found.size == 0 or np.ptp(found) == 0 or np.ptp(means) == 0:
        return bool(within.mean() >= MIN_WITHIN)
    if np.mean((found - means) ** 2) <= MAX_ERROR * np.var(means):
        return True
    # Noise of one image lies within the range of another image's noise, but is not correlated with it.
    correlation = np.corrcoef(found, means)[0, 1]
    return bool(within.mean() >= MIN_WITHIN and correlation >= MIN_CORRELATION)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """A region of the image, divided into one block for each pixel of a level."""

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
    """Return pixels as floating-point numbers; complex pixels as their absolute values."""
    return np.abs(pixels).astype(float) if pixels.dtype.kind == "c" else pixels.astype(float)


def _patch_corners(dims: tuple[int, int], patch: int) -> Iterator[tuple[int, int]]:
    """Yield the first row and column of patches that are spread over an image."""
    for number in range(PATCHES):
        down, right = (number + 0.5) / PATCHES, number * GOLDEN % 1
        yield int(down * max(0, dims[0] - patch)), int(right * max(0, dims[1] - patch))
