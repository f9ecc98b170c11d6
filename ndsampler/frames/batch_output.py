"""
Checks of the arguments ``out`` and ``threads`` of functions that read many windows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Largest number of threads.
MAX_THREADS = 256


def check_threads(threads: Any) -> int:
    """Check the argument ``threads`` and return it as an ``int``.

    Args:
        threads: the argument of the user.

    Raises:
        ArgumentError: if it is not a whole number from 0 to :data:`MAX_THREADS`.
    """
    is_whole = isinstance(threads, (int, np.integer)) and not isinstance(threads, bool)
    if not is_whole or not 0 <= threads <= MAX_THREADS:
        raise ArgumentError(f"threads is {threads!r}; expected a whole number from 0 to {MAX_THREADS}")
    return int(threads)


def output_places(out: Any, count: int) -> list[NDArray[Any]]:
    """Return the part of an output array for each window.

    Args:
        out: the argument of the user.
        count: number of windows.

    Raises:
        ArgumentError: if it is not writable, or has another number of windows.
    """
    places = np.empty(0) if isinstance(out, (list, tuple, str)) else np.asarray(out)
    if places.ndim not in (4, 5) or len(places) != count or not places.flags.writeable:
        shown = f"{type(out).__name__} of shape {getattr(out, 'shape', None)}"
        raise ArgumentError(
            f"out is a {shown}; expected a writable array of shape "
            f"({count}, height, width, channels), or ({count}, frames, height, width, channels) for videos"
        )
    return list(places)


def put_pixels(pixels: NDArray[Any], place: NDArray[Any], number: int) -> NDArray[Any]:
    """Copy the pixels of a window to its part of the output array, and return that part.

    Args:
        pixels: pixels of the window.
        place: the part of the output array.
        number: index of the window, for the error message.

    Raises:
        ArgumentError: if the type or shape does not fit.
    """
    if pixels is place:
        return place
    is_plain = type(pixels) is np.ndarray
    if not is_plain or pixels.shape != place.shape or pixels.dtype != place.dtype:
        found = f"{pixels.dtype} of shape {pixels.shape}" if is_plain else f"a {type(pixels).__name__}"
        raise ArgumentError(
            f"out has room for windows of {place.dtype} and shape {place.shape}; number {number} is {found}"
        )
    place[...] = pixels
    return place
