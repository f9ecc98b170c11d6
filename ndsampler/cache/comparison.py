"""
Compares every pixel of an entry with those of its source.

The writer compares a new entry before it publishes it; ``verify`` compares the entries in a workdir.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, TypeVar

from ndsampler.backends.base import as_masked, row_ranges, same_pixels
from ndsampler.backends.gdal import THIN, RasterReader
from ndsampler.backends.recording import Overview, RecordedSource, checksum_pixels
from ndsampler.backends.source import ArrayReader, open_source
from ndsampler.errors import CacheError, SourceError
from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from ndsampler.backends.base import Backend, RegionReader

Result = TypeVar("Result")

logger = get_logger(__name__)


def compare_entry(source: RecordedSource, entry: str, backend: Backend, exact: bool = True) -> None:
    """Read a whole entry and its overviews, and compare them with the source.

    The pixels are compared by checksum. Rows of the source that the conversion has read are not read again,
    and the overviews are compared with those that the conversion has built.

    Args:
        source: the open source.
        entry: path of the entry.
        backend: opens the entry.
        exact: whether the entry must hold exactly the pixels of its source. If not, only the shape and the
            type are compared, and all blocks must be readable.

    Raises:
        CacheError: if the entry differs from its source; the message names the first difference.
        SourceError: if the source cannot be read.
    """
    with contextlib.closing(_open(backend, entry)) as reader:
        if (reader.shape, reader.dtype) != (source.shape, source.dtype):
            raise CacheError(
                f"it is {reader.dtype} {reader.shape}; its source is {source.dtype} {source.shape}"
            )
        for y0, y1 in row_ranges(source.shape, source.dtype.itemsize):
            ours = _read(functools.partial(_read_rows, reader, y0, y1))
            if exact and not _is_same(source, y0, y1, ours):
                raise CacheError(f"its pixels in rows {y0} to {y1} differ from those of its source")
            if not _same_masks(source, reader, y0, y1):
                raise CacheError(f"its mask in rows {y0} to {y1} differs from that of its source")
        _compare_overviews(source, entry, backend, reader, exact)


def is_copy(path: str, entry: str, backend: Backend) -> bool:
    """Whether an entry holds exactly the current pixels of its source; False if this cannot be determined.

    Args:
        path: the source.
        entry: path of the entry.
        backend: opens the entry.
    """
    try:
        with contextlib.closing(RecordedSource(open_source(path))) as source:
            compare_entry(source, entry, backend)
            return backend.is_exact(entry)
    except (SourceError, CacheError) as ex:
        logger.debug("%s is not a copy of %s: %s", entry, path, ex)
        return False


def _compare_overviews(
    source: RecordedSource, entry: str, backend: Backend, reader: RegionReader, exact: bool
) -> None:
    """Raise a CacheError if an overview cannot be read, or differs from the one that was built."""
    made = source.made_overviews
    if made and len(made) != len(reader.overviews):
        raise CacheError(f"it has {len(reader.overviews)} overviews; {len(made)} were written")
    for level in range(1, len(reader.overviews) + 1):
        expected = made[level - 1] if made else None
        found = _read_overview(entry, backend, reader, level, expected)
        if expected is not None and exact and found != expected:
            raise CacheError(f"its overview {level} differs from the one that was written")


def _read_overview(
    entry: str, backend: Backend, reader: RegionReader, level: int, expected: Overview | None
) -> Overview:
    """Return the size and the checksums of an overview of an entry."""
    is_small = expected is not None and len(expected.checksums) == 1 and min(expected.dims) >= THIN
    if expected is not None and is_small and isinstance(reader, RasterReader):
        pixels = _read(functools.partial(reader.read_overview, expected.dims))
        return Overview.of(ArrayReader(pixels))
    with contextlib.closing(_open(backend, entry, level)) as overview:
        return _read(functools.partial(Overview.of, overview))


def _read_rows(reader: RegionReader, y0: int, y1: int) -> NDArray[Any]:
    """Return whole rows of an entry, as a view if its reader can return one."""
    rows: NDArray[Any] = (
        reader.rows(y0, y1) if hasattr(reader, "rows") else reader.read(y0, y1, 0, reader.shape[1])
    )
    return rows


def _is_same(source: RecordedSource, y0: int, y1: int, ours: NDArray[Any]) -> bool:
    """Whether rows of an entry equal those of its source."""
    if checksum_pixels(ours) == source.checksum(y0, y1):
        return True
    # Equal numbers may have different bits, such as NaN values and zeros of either sign.
    return same_pixels(ours, source.rows(y0, y1))


def _same_masks(source: RegionReader, entry: RegionReader, y0: int, y1: int) -> bool:
    """Whether rows of an entry have the mask of their source; True for a backend that stores no masks."""
    if not hasattr(entry, "has_mask"):
        return True
    masked = (as_masked(source), as_masked(entry))
    if masked[0] is None or masked[1] is None:
        return masked[0] is masked[1]
    first, second = (reader.read_mask(y0, y1, 0, source.shape[1]) for reader in masked if reader is not None)
    return bool((first == second).all())


def _open(backend: Backend, entry: str, level: int = 0) -> RegionReader:
    """Open an entry; turn any error into a CacheError."""
    try:
        return backend.open(entry, level)
    except (SourceError, CacheError) as ex:
        raise CacheError(f"it cannot be opened: {ex}") from ex


def _read(read: Callable[[], Result]) -> Result:
    """Read pixels of an entry; turn any error into a CacheError."""
    try:
        return read()
    except (SourceError, CacheError) as ex:
        raise CacheError(f"it cannot be read: {ex}") from ex
