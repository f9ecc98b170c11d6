"""
Blends overlapping windows of an image, with a weight for each pixel of each window.

The windows form a grid, so the weight of a pixel is the product of a weight for its row and one for its
column. Each window is first blended with the windows on its left. The columns that are then complete are
blended with the rows above.

A step updates the weighted mean of the windows so far, ``mean += share * (value - mean)``, where the share is
the weight of the new window in the sum of the weights. Where windows agree, the mean is exactly their value.
A step that overflows, or meets infinite values, is ``mean * (1 - share) + value * share`` instead. Pixels
that one window covers are copied. Each step works on a part of one window, which fits into the cache of the
processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


class Span(NamedTuple):
    """A part of a window, along one axis, whose pixels are covered by the same windows."""

    first: int
    """First pixel of the image."""

    stop: int
    """The pixel after the last one."""

    earlier: bool
    """Whether earlier windows also cover it."""

    later: bool
    """Whether later windows also cover it."""


@dataclass(frozen=True, eq=False)
class Axis:
    """The windows along one axis of an image."""

    starts: list[int]
    """The first pixel of each window, ascending."""

    size: int
    """Length of a window in pixels."""

    bounds: list[int]
    """For each window, the first pixel that earlier windows do not complete; at the end, the image's
    length."""

    shares: NDArray[np.float64]
    """(windows, size) weight of each pixel, divided by the sum of the weights of this and earlier windows."""

    spans: list[list[Span]]
    """The parts of each window that are used."""

    @property
    def length(self) -> int:
        """Length of the image in pixels."""
        return self.bounds[-1]

    @property
    def overlap(self) -> int:
        """Largest overlap, in pixels, of two windows that are averaged."""
        return max(spans[-1].stop - bound for spans, bound in zip(self.spans, self.bounds[1:], strict=True))

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
            >>> axis.shares.tolist()
            [[1.0, 1.0, 1.0, 1.0], [0.5, 1.0, 1.0, 1.0]]
            >>> axis.spans[1][0]
            Span(first=3, stop=4, earlier=True, later=False)
        """
        if weights == NEAREST:
            # The middle between the centers of two windows, rounded up to a pixel.
            middles = [-(-(first + second + size) // 2) for first, second in pairwise(starts)]
            bounds = [0, *middles, length]
            owned = [[Span(first, stop, False, False)] for first, stop in pairwise(bounds)]
            return cls(starts, size, bounds, np.ones((len(starts), size)), owned)
        curve = _CURVES[weights]((np.arange(size) + 0.5) / size)
        total, shares = np.zeros(length), np.empty((len(starts), size))
        for start, share in zip(starts, shares, strict=True):
            total[start : start + size] += curve
            np.divide(curve, total[start : start + size], out=share)
        bounds = [*starts, length]
        return cls(starts, size, bounds, shares, _covered_spans(bounds, size))

    def repeated(self, count: int) -> Axis:
        """Return a combined axis of pixels and their values, on which each pixel takes several positions.

        Args:
            count: number of values of a pixel.

        Example:
            >>> Axis.from_starts([0, 2], 2, 4, 'uniform').repeated(3).starts
            [0, 6]
        """
        return Axis(
            [count * start for start in self.starts],
            count * self.size,
            [count * bound for bound in self.bounds],
            self.shares.repeat(count, axis=1),
            [[Span(count * a, count * b, *covered) for a, b, *covered in spans] for spans in self.spans],
        )

    def first_reaching(self, pixel: int) -> int:
        """Return the number of the first window that ends after a pixel.

        Args:
            pixel: a pixel of the image.
        """
        return next(i for i, start in enumerate(self.starts) if start + self.size > pixel)


def _covered_spans(bounds: list[int], size: int) -> list[list[Span]]:
    """Return the parts of each window, divided where the previous one ends and where the next one starts."""
    result = []
    for i, (start, after) in enumerate(pairwise(bounds)):
        stop = start + size
        before = bounds[i - 1] + size if i else start
        cuts = sorted({start, before, min(after, stop), stop})
        result.append([Span(a, b, b <= before, a >= after) for a, b in pairwise(cuts)])
    return result


def accumulator_type(dtype: np.dtype[Any], weights: str) -> np.dtype[Any]:
    """Return the type in which values are averaged.

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
    """Averages windows from top to bottom, and returns rows of the image as they become complete.

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
        kind = accumulator_type(dtype, weights)
        self._bands = bands
        self._dtype = dtype
        columns = columns.repeated(bands)
        self._rows = _Seam(rows, kind)
        self._columns = _Seam(columns, kind)
        height = max(stop - first for first, stop in pairwise(rows.bounds))
        # Rows that were taken are still being written while the next ones are blended.
        self._taken, self._next = (np.empty((height, columns.length), dtype) for _ in range(2))

    def add(self, row: int, column: int, values: NDArray[Any]) -> None:
        """Add a window to the image. Windows are added from left to right within a row of windows.

        Args:
            row: number of the window along the rows.
            column: number of the window along the columns.
            values: (height, width, bands) values.
        """
        top = self._rows.axis.bounds[row]
        values = values.reshape(len(values), -1)
        # The columns of the image are the first axis of a transposed array.
        for x0, x1, part in self._columns.blend(column, values.T, 0):
            for y0, y1, done in self._rows.blend(row, part.T, x0):
                if done.dtype != self._dtype and self._dtype.kind in "iu":
                    np.rint(done, out=done)
                self._next[y0 - top : y1 - top, x0:x1] = done

    def take(self, row: int) -> NDArray[Any]:
        """Return the rows of the image that are complete after a row of windows.

        Args:
            row: number of the row of windows. All of its windows have been added.

        Returns:
            (n, width, bands) rows, those of :attr:`Axis.bounds`. They are valid until the next but one call.
        """
        first, stop = self._rows.axis.bounds[row : row + 2]
        self._taken, self._next = self._next, self._taken
        return self._taken[: stop - first].reshape(stop - first, -1, self._bands)


class _Seam:
    """Blends windows along the first axis of arrays, and keeps the means that the next window overlaps.

    Args:
        axis: the windows along the axis.
        dtype: type in which values are averaged.
    """

    def __init__(self, axis: Axis, dtype: np.dtype[Any]) -> None:
        self.axis = axis
        self._overlap = axis.overlap
        self._shares = axis.shares.astype(dtype)[..., None]
        # A contiguous array for each position along the other axis is faster than parts of one wide array.
        self._means: dict[int, NDArray[Any]] = {}
        self._buffers: dict[tuple[int, ...], NDArray[Any]] = {}

    def blend(self, window: int, values: NDArray[Any], place: int) -> Iterator[tuple[int, int, NDArray[Any]]]:
        """Yield the complete parts of a window: first pixel, pixel after the last, and values.

        The values are valid until the next part is requested.

        Args:
            window: number of the window. Windows must be passed in ascending order.
            values: (size of a window, n) values of the window.
            place: first position of the values along the second axis of the image.
        """
        start = self.axis.starts[window]
        bound, following = self.axis.bounds[window : window + 2]
        means = self._means_of(place, values)
        for first, stop, earlier, later in self.axis.spans[window]:
            part = values[first - start : stop - start]
            if earlier:
                share = self._shares[window, first - start : stop - start]
                part = self._move(means[first - bound : stop - bound], part, share)
            if later:
                means[first - following : stop - following] = part
            else:
                yield first, stop, part

    def _means_of(self, place: int, values: NDArray[Any]) -> NDArray[Any]:
        """Return the current means of the pixels that are not complete."""
        if place not in self._means:
            self._means[place] = np.zeros_like(values[: self._overlap], self._shares.dtype)
        return self._means[place]

    def _move(self, means: NDArray[Any], values: NDArray[Any], share: NDArray[Any]) -> NDArray[Any]:
        """Return the means after moving them towards the values by a share of the difference."""
        if values.shape not in self._buffers:
            self._buffers[values.shape] = np.empty_like(values, means.dtype)
        moved = self._buffers[values.shape]
        np.copyto(moved, values)
        try:
            # NumPy reads flags of the processor after each operation, so that ordinary values cost nothing.
            with np.errstate(over="raise", invalid="raise"):
                moved -= means
                moved *= share
                moved += means
        except FloatingPointError:
            np.copyto(moved, _move_far(means, values.astype(moved.dtype), share))
        return moved


def _move_far(means: NDArray[Any], values: NDArray[Any], share: NDArray[Any]) -> NDArray[Any]:
    """Return the means after moving them towards values that are infinite or too far for a difference."""
    with np.errstate(over="ignore", invalid="ignore"):
        moved = means + share * (values - means)
        averaged = means * (1 - share) + values * share
    averaged = np.where(means == values, values, averaged)
    return np.where(np.isfinite(moved), moved, averaged)
