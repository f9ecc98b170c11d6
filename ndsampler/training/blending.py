"""
Blends overlapping windows of an image, with a weight for each pixel of each window.

The windows form a grid, so the weight of a pixel is the product of a weight for its row and one for its
column. Along each axis, the weights of all windows that cover a pixel add up to 1. Where only one window
covers a pixel, its weight is exactly 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["NEAREST", "WEIGHTS", "Axis", "Blend", "accumulator_type"]

#: The option without averages: each pixel comes from the window whose center is nearest.
NEAREST = "nearest"

#: Weight curves along an axis, as functions of the pixel centers in units of the window size, 0 to 1.
_CURVES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "hann": lambda at: np.sin(np.pi * at) ** 2,
    "linear": lambda at: np.minimum(at, 1 - at),
    "uniform": np.ones_like,
}

#: Valid values of ``weights``.
WEIGHTS = (*_CURVES, NEAREST)

#: Number of windows whose weights are cached. All windows away from the borders have the same weights.
MAX_WEIGHTS = 9

Action = Literal["add", "set"]


class Span(NamedTuple):
    """A part of a window along one axis. All of its pixels are treated in the same way."""

    first: int
    """First pixel of the image."""

    stop: int
    """The pixel after the last one."""

    action: Action
    """``add`` if earlier windows also cover it; ``set`` if this window is the first."""


@dataclass(frozen=True, eq=False)
class Axis:
    """The windows along one axis of an image."""

    starts: list[int]
    """The first pixel of each window, ascending."""

    size: int
    """Length of a window in pixels."""

    length: int
    """Length of the image in pixels."""

    weights: NDArray[np.float64]
    """(windows, size) weight of each pixel of each window."""

    spans: list[list[Span]]
    """The parts of each window."""

    kinds: list[int]
    """For each window, the number of the first one with the same weights."""

    @classmethod
    def from_starts(cls, starts: list[int], size: int, length: int, weights: str) -> Axis:
        """Return the windows that start at some pixels and cover the whole axis.

        Args:
            starts: the first pixel of each window, ascending.
            size: length of a window in pixels.
            length: length of the image in pixels.
            weights: one of :data:`WEIGHTS`.

        Example:
            >>> axis = Axis.from_starts([0, 3], 4, 7, 'linear')
            >>> axis.weights.tolist()
            [[1.0, 1.0, 1.0, 0.5], [0.5, 1.0, 1.0, 1.0]]
            >>> [span.action for span in axis.spans[1]]
            ['add', 'set']
        """
        if weights == NEAREST:
            spans = _owned_spans(starts, size, length)
            return cls(starts, size, length, np.ones((len(starts), size)), spans, [0] * len(starts))
        curve = _CURVES[weights]((np.arange(size) + 0.5) / size)
        total = np.zeros(length)
        for start in starts:
            total[start : start + size] += curve
        normal = np.stack([curve / total[start : start + size] for start in starts])
        firsts: dict[bytes, int] = {}
        kinds = [firsts.setdefault(row.tobytes(), i) for i, row in enumerate(normal)]
        return cls(starts, size, length, normal, _covered_spans(starts, size), kinds)

    def final_from(self, window: int) -> int:
        """Return the first pixel that is not complete once all windows before a window have been added.

        Args:
            window: number of the window; the number of windows for the end of the axis.
        """
        return self.starts[window] if window < len(self.starts) else self.length

    def first_reaching(self, pixel: int) -> int:
        """Return the number of the first window that ends after a pixel.

        Args:
            pixel: a pixel of the image.
        """
        return next(i for i, start in enumerate(self.starts) if start + self.size > pixel)


def _covered_spans(starts: list[int], size: int) -> list[list[Span]]:
    """Return the part of each window that earlier windows cover, and the part that they do not."""
    result = []
    for i, start in enumerate(starts):
        before = starts[i - 1] + size if i else 0
        parts = [Span(start, before, "add"), Span(before, start + size, "set")]
        result.append([part for part in parts if part.first < part.stop])
    return result


def _owned_spans(starts: list[int], size: int, length: int) -> list[list[Span]]:
    """Return the part of each window that is nearest to its center."""
    # The middle between the centers of two windows, rounded up to a pixel.
    bounds = [-(-(first + second + size) // 2) for first, second in pairwise(starts)]
    return [[Span(first, stop, "set")] for first, stop in zip([0, *bounds], [*bounds, length], strict=True)]


def accumulator_type(dtype: np.dtype[Any], weights: str) -> np.dtype[Any]:
    """Return the type in which values are summed.

    Args:
        dtype: type of the values.
        weights: one of :data:`WEIGHTS`.

    Raises:
        ArgumentError: if averages of values of this type cannot be exact.

    Example:
        >>> accumulator_type(np.dtype('uint8'), 'hann')
        dtype('float32')
    """
    if weights == NEAREST:
        return dtype
    if dtype.kind in "iu" and dtype.itemsize == 8:
        raise ArgumentError(
            f"the function returns {dtype}, whose averages are not exact; return a smaller type, or, if the "
            "values are class indexes, use weights='nearest'"
        )
    small = dtype.itemsize <= 2 or (dtype.kind == "f" and dtype.itemsize == 4)
    return np.dtype(np.float32 if small else np.float64)


class Blend:
    """Adds up windows from top to bottom, and returns rows of the image as they become complete.

    Args:
        rows: the windows along the rows of the image.
        columns: the windows along its columns.
        bands: number of values of a pixel.
        dtype: type of the values.
        weights: one of :data:`WEIGHTS`.

    Example:
        >>> rows, columns = (Axis.from_starts([0], 2, 2, 'hann') for _ in range(2))
        >>> blend = Blend(rows, columns, 1, np.dtype('uint8'), 'hann')
        >>> blend.add(0, 0, np.full((2, 2, 1), 7, np.uint8))
        >>> blend.take(0).ravel().tolist()
        [7, 7, 7, 7]
    """

    def __init__(self, rows: Axis, columns: Axis, bands: int, dtype: np.dtype[Any], weights: str) -> None:
        self._rows = rows
        self._columns = columns
        self._dtype = dtype
        self._type = accumulator_type(dtype, weights)
        self._sums = np.zeros((rows.size, columns.length, bands), self._type)
        self._averages = weights != NEAREST
        self._window = np.empty((rows.size, columns.size, bands), self._type)
        self._row_weights = rows.weights.astype(self._type)
        self._column_weights = columns.weights.astype(self._type)
        self._weights: dict[tuple[int, int], NDArray[Any]] = {}

    def add(self, row: int, column: int, values: NDArray[Any]) -> None:
        """Add a window to the image. Windows are added from left to right within a row of windows.

        Args:
            row: number of the window along the rows.
            column: number of the window along the columns.
            values: (height, width, bands) values.
        """
        top, left = self._rows.starts[row], self._columns.starts[column]
        if self._averages:
            # Multiplying in a separate array in place is several times as fast as in slices of the sums.
            np.copyto(self._window, values)
            values = np.multiply(self._window, self._weights_of(row, column), out=self._window)
        for y0, y1, vertical in self._rows.spans[row]:
            for x0, x1, horizontal in self._columns.spans[column]:
                sums = self._sums[y0 - top : y1 - top, x0:x1]
                part = values[y0 - top : y1 - top, x0 - left : x1 - left]
                if "add" in (vertical, horizontal):
                    sums += part
                else:
                    sums[...] = part

    def _weights_of(self, row: int, column: int) -> NDArray[Any]:
        """Return the (height, width, 1) weights of a window."""
        key = self._rows.kinds[row], self._columns.kinds[column]
        if key not in self._weights:
            if len(self._weights) >= MAX_WEIGHTS:
                self._weights.clear()
            outer = np.outer(self._row_weights[row], self._column_weights[column])
            self._weights[key] = outer[..., None]
        return self._weights[key]

    def take(self, row: int) -> NDArray[Any]:
        """Return the rows of the image that are complete after a row of windows.

        Args:
            row: number of the row of windows. All of its windows have been added.

        Returns:
            (n, width, bands) values, from the first row of these windows up to the first row of the next
            ones.
        """
        top = self._rows.starts[row]
        count = self._rows.final_from(row + 1) - top
        done = self._sums[:count]
        if self._dtype.kind in "iu" and self._type != self._dtype:
            np.rint(done, out=done)
        taken = done.astype(self._dtype)
        kept = self._rows.size - count
        for first in range(0, kept, count):
            # Move blocks that do not overlap, so that numpy makes no copies.
            size = min(count, kept - first)
            self._sums[first : first + size] = self._sums[first + count : first + count + size]
        return taken
