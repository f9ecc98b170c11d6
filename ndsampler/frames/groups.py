"""
Applying OpenCV's functions to images of many channels, a few channels at a time.

OpenCV 5 warps 1, 3 and 4 channels with exact positions. For any other number of channels it rounds positions
to 1/32 of a pixel. Some methods accept at most 4 channels, and all methods at most 128.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.utils.interleave import MAX_CHANNELS
from ndsampler.utils.require import require_opencv

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

#: The numbers of channels that OpenCV warps with exact positions.
GOOD_SIZES = (1, 3, 4)


def split_channels(count: int) -> list[slice]:
    """Return the groups of channels that are passed to OpenCV together: 1, 3 or 4 in each.

    Args:
        count: channels of the image.

    Example:
        >>> [[group.start, group.stop] for group in split_channels(6)]
        [[0, 3], [3, 6]]
    """
    sizes = [4] * (count // 4) + [count % 4] * (count % 4 in GOOD_SIZES)
    if count % 4 == 2:
        sizes = [*sizes[:-1], 3, 3] if sizes else [1, 1]
    stops = np.cumsum(sizes, dtype=int).tolist()
    return [slice(stop - size, stop) for size, stop in zip(sizes, stops)]


def by_groups(
    pixels: NDArray[Any], function: Callable[[NDArray[Any]], NDArray[Any]], out_dims: tuple[int, int]
) -> NDArray[Any]:
    """Apply a function of OpenCV to an image of any number of channels.

    Args:
        pixels: (height, width, channels).
        function: takes and returns an image of 1, 3 or 4 channels; it may drop the axis of a single channel.
        out_dims: (height, width) of the images that the function returns.

    Returns:
        (height, width, channels) of the output.
    """
    count = pixels.shape[2]
    if count in GOOD_SIZES:
        return function(pixels).reshape(*out_dims, count)
    groups = split_channels(count)
    warped = [function(part).reshape(*out_dims, -1) for part in _split(pixels, groups)]
    return _join(warped, count)


def _split(pixels: NDArray[Any], groups: list[slice]) -> list[NDArray[Any]]:
    """Return the groups of channels as images. OpenCV needs a fifth of the time of numpy for this."""
    count = pixels.shape[2]
    if count > MAX_CHANNELS:
        return [np.ascontiguousarray(pixels[:, :, group]) for group in groups]
    parts = [np.empty((*pixels.shape[:2], group.stop - group.start), pixels.dtype) for group in groups]
    require_opencv().mixChannels([np.ascontiguousarray(pixels)], parts, _pairs(count))
    return parts


def _join(parts: list[NDArray[Any]], count: int) -> NDArray[Any]:
    """Return the channels of several images as one image."""
    if count > MAX_CHANNELS:
        return np.concatenate(parts, axis=2)
    out = np.empty((*parts[0].shape[:2], count), parts[0].dtype)
    require_opencv().mixChannels(parts, [out], _pairs(count))
    return out


def _pairs(count: int) -> list[int]:
    """Return the identity mapping of channels in the form that OpenCV expects."""
    result: list[int] = np.repeat(np.arange(count), 2).tolist()
    return result
