"""
Datasets of rasterio that look up what each read needs, instead of computing it for each band of each read.

rasterio asks a dataset for its band numbers and types several times for each band that is read or written,
and for the flags of all bands. It makes new tuples of them each time, so the time for a window grows with the
square of the number of bands: an image of 65 535 bands would take minutes, whatever the size of the window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rasterio.io import DatasetReader, DatasetWriter

from ndsampler.utils.lazy import LazyAttribute

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Dataset", "WritableDataset"]


class Dataset(DatasetReader):  # type: ignore[misc]
    """A dataset that is open for reading, whose bands do not change."""

    @LazyAttribute
    def indexes(self) -> Sequence[int]:
        """The numbers of the bands, from 1."""
        return range(1, self.count + 1)

    @LazyAttribute
    def dtypes(self) -> tuple[str, ...]:
        """The type of each band."""
        return tuple(super().dtypes)

    @LazyAttribute
    def mask_flag_enums(self) -> tuple[list[Any], ...]:
        """What the mask of each band consists of."""
        return tuple(super().mask_flag_enums)


class WritableDataset(DatasetWriter):  # type: ignore[misc]
    """A dataset that is open for writing. Its bands stay the same, but masks may be added to them."""

    @LazyAttribute
    def indexes(self) -> Sequence[int]:
        """The numbers of the bands, from 1."""
        return range(1, self.count + 1)

    @LazyAttribute
    def dtypes(self) -> tuple[str, ...]:
        """The type of each band."""
        return tuple(super().dtypes)
