"""
Reads which pixels of a file have no measurement: its nodata values and masks, as GDAL returns them.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.base import LARGEST_EXACT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from rasterio.enums import MaskFlags
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

#: The tag in which an entry stores the nodata value of each band. It is used where the values differ, because
#: the nodata field of a TIFF holds one value, and for 64-bit integers, for which rasterio cannot set that
#: field.
NODATA_TAG = "NDSAMPLER_NODATA"


def nodata_of(dataset: DatasetReader, dtype: np.dtype[Any]) -> Any:
    """Return the nodata value of an open file; None for none; a tuple with one for each band if they differ.

    rasterio returns nodata values as float64. A 64-bit integer that float64 cannot represent is not returned;
    :func:`count_masks` then counts the mask that GDAL derives from it.

    Args:
        dataset: the open file.
        dtype: type of its values.
    """
    values = dataset.nodatavals
    if all(value is None for value in values) and (len(values) > 1 or is_wide(dtype)):
        values = tuple(json.loads(dataset.tags().get(NODATA_TAG, "null")) or values)
    if is_wide(dtype):
        values = tuple(None if value is None or abs(value) >= LARGEST_EXACT else value for value in values)
    first = values[0]
    return first if all(_is_same(value, first) for value in values) else values


def is_wide(dtype: np.dtype[Any]) -> bool:
    """Whether a type is a 64-bit integer."""
    return dtype.kind in "iu" and dtype.itemsize == 8


def _is_same(first: float | None, second: float | None) -> bool:
    """Whether two nodata values are equal; NaN equals NaN."""
    if first is None or second is None:
        return first is second
    return first == second or (math.isnan(first) and math.isnan(second))


def count_masks(dataset: DatasetReader, dtype: np.dtype[Any]) -> int:
    """Return the number of masks of an open file: 0, 1 for all bands, or one for each band.

    An alpha band does not count. A mask that GDAL derives from a nodata value counts only if
    :func:`nodata_of` cannot return the value.

    Args:
        dataset: the open file.
        dtype: type of its values.
    """
    from rasterio.enums import MaskFlags

    kinds = dataset.mask_flag_enums
    own = [_is_stored(flags) for flags in kinds]
    if is_wide(dtype):
        values = dataset.nodatavals
        own = [
            mine or (MaskFlags.nodata in flags and (value is None or abs(value) >= LARGEST_EXACT))
            for mine, flags, value in zip(own, kinds, values)
        ]
    if not any(own):
        return 0
    return 1 if all(MaskFlags.per_dataset in flags for flags in kinds) else dataset.count


def _is_stored(flags: Sequence[MaskFlags]) -> bool:
    """Whether the mask of a band is stored in the file, not derived from a nodata value or an alpha band."""
    from rasterio.enums import MaskFlags

    if MaskFlags.all_valid in flags or MaskFlags.alpha in flags:
        return False
    return MaskFlags.nodata not in flags or MaskFlags.per_dataset in flags


def read_masks(
    dataset: DatasetReader, window: Window, bands: Sequence[int] | None, count: int
) -> NDArray[np.bool_]:
    """Return which pixels of a window are valid.

    Args:
        dataset: the open file.
        window: the rows and columns to read.
        bands: indexes of the channels, counted from 0; None for all.
        count: the number of masks, as :func:`count_masks` returns it.

    Returns:
        An array of shape (height, width, 1) if one mask applies to all bands, otherwise of shape
        (height, width, bands).
    """
    indexes = [1] if count == 1 else [band + 1 for band in (range(count) if bands is None else bands)]
    planes = dataset.read_masks(indexes, window=window)
    result: NDArray[np.bool_] = np.ascontiguousarray(planes.transpose(1, 2, 0)) != 0
    return result


def read_mask_file(path: str) -> NDArray[np.bool_] | None:
    """Return the mask in the ``.msk`` file beside an image that another library than GDAL decodes.

    Args:
        path: the image file.

    Returns:
        An array of shape (height, width, 1), True where pixels are valid; None if GDAL finds no mask.

    Raises:
        SourceError: if GDAL cannot open the image.
    """
    from ndsampler.backends.gdal import open_dataset
    from ndsampler.utils.fork_safety import GATE

    with GATE, open_dataset(path) as dataset:
        if not count_masks(dataset, np.dtype(np.uint8)):
            return None
        result: NDArray[np.bool_] | None = np.asarray(dataset.read_masks(1))[:, :, None] != 0
        return result
