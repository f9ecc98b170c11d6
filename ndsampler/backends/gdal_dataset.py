"""
Rasterio datasets that cache band numbers, types and mask flags.

For each band that it reads or writes, rasterio requests the numbers, types and mask flags of all bands
several times, and makes new tuples each time. The time for a window therefore grows with the square of the
number of bands: with 65 535 bands, even a small window would take minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rasterio.io import DatasetReader, DatasetWriter

from ndsampler.utils.lazy import LazyAttribute

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Dataset", "WritableDataset"]


class _Bands:
    """The numbers and types of bands that do not change. It precedes rasterio's class among the bases."""

    count: int

    @LazyAttribute
    def indexes(self) -> Sequence[int]:
        """The numbers of the bands, from 1."""
        return range(1, self.count + 1)

    @LazyAttribute
    def dtypes(self) -> tuple[str, ...]:
        """The type of each band."""
        return tuple(super().dtypes)  # type: ignore[misc]


class Dataset(_Bands, DatasetReader):  # type: ignore[misc]
    """A dataset that is open for reading."""

    @LazyAttribute
    def mask_flag_enums(self) -> tuple[list[Any], ...]:
        """The mask flags of each band."""
        return tuple(super().mask_flag_enums)


class WritableDataset(_Bands, DatasetWriter):  # type: ignore[misc]
    """A dataset that is open for writing. Masks may be added to its bands."""
