"""
A regular grid of windows over images or videos, and the annotations that touch each window.

In a regular grid the windows that a box touches form a range on each axis. These ranges are found by binary
search for all boxes at once, instead of by a query for each window.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PlacedBoxes", "Slider", "WindowGrid", "union_area"]

#: Number of annotations that are compared with a grid at a time; they fit into the processor cache.
_ROWS_AT_ONCE = 8_192


@dataclass(frozen=True)
class Slider:
    """The size of a sliding window and its overlap with the next one, for each axis."""

    window: tuple[int | None, ...]
    """Size along each axis; None for the whole length of the axis."""

    overlap: tuple[float, ...]
    """Fraction of the window that overlaps with the next one."""

    @classmethod
    def from_arguments(cls, window_dims: Any, overlap: Any, axes: tuple[str, ...]) -> Slider:
        """Return the slider that two arguments describe.

        Args:
            window_dims: an item for each axis, or None or ``'full'`` for the whole length of all axes.
            overlap: a number for all axes, or a number for each.
            axes: names of the axes for error messages.

        Raises:
            ArgumentError: if an item is missing or out of range.
        """
        one_for_all = window_dims is None or isinstance(window_dims, str)
        dims = (
            [window_dims] * len(axes) if one_for_all else np.atleast_1d(np.array(window_dims, dtype=object))
        )
        window = [None if _is_full(dim) else dim for dim in dims]
        if len(window) != len(axes) or not all(dim is None or _is_count(dim) for dim in window):
            raise ArgumentError(
                f"window_dims is {window_dims!r}; expected ({', '.join(axes)}), whole numbers above 0, or "
                "'full' for the whole length of an axis; give one per axis"
            )
        try:
            overlaps = np.broadcast_to(np.asarray(overlap, dtype=np.float64), (len(axes),)).tolist()
        except (TypeError, ValueError):
            overlaps = [np.nan]
        if not all(0 <= part < 1 for part in overlaps):
            raise ArgumentError(
                f"window_overlap is {overlap!r}; fractional overlaps must be in the range [0, 1), "
                f"one for all axes or one each for ({', '.join(axes)}); give 0 for windows side by side"
            )
        return cls(tuple(None if dim is None else int(dim) for dim in window), tuple(overlaps))

    def starts(self, axis: int, length: int) -> tuple[NDArray[np.int64], int]:
        """Return the positions at which windows start along an axis, and their size.

        Args:
            axis: number of the axis.
            length: length of the image or video along the axis.

        Raises:
            ArgumentError: if the step to the next window would be less than a pixel.
        """
        size = self.window[axis]
        if size is None:
            size = length
        step = round(size - size * self.overlap[axis])
        if step < 1:
            raise ArgumentError(
                f"an overlap of {self.overlap[axis]} moves a window of {size} by less than a pixel; "
                f"expected a step of at least 1; use an overlap of at most {1 - 1 / max(size, 1)}"
            )
        if size >= length:
            return np.zeros(1, np.int64), size
        starts = np.arange(0, length - size + 1, step)
        return (starts if starts[-1] == length - size else np.append(starts, length - size)), size


@dataclass(frozen=True, eq=False)
class WindowGrid:
    """
    Windows over several sources, which are images or videos, along the axes time, rows and columns.

    The windows are numbered source by source, and within a source along columns first, then rows, then time.
    """

    shape_of: NDArray[np.int64]
    """(sources,) index of each source's size among the distinct sizes, called shapes."""

    sizes: NDArray[np.int64]
    """(sources, 3) size of each source."""

    starts: list[tuple[NDArray[np.int64], ...]]
    """For each shape, the positions at which windows start along each axis."""

    window: NDArray[np.int64]
    """(shapes, 3) size of the windows."""

    counts: NDArray[np.int64]
    """(shapes, 3) number of windows along each axis."""

    base: NDArray[np.int64]
    """(sources + 1) number of the first window of each source."""

    @classmethod
    def from_sizes(cls, sizes: NDArray[np.int64], slider: Slider) -> WindowGrid:
        """Return the windows that cover sources.

        Args:
            sizes: (sources, 3) size of each source.
            slider: size and overlap of the windows.
        """
        if len(sizes):
            shapes, shape_of = np.unique(sizes, axis=0, return_inverse=True)
        else:
            shapes, shape_of = sizes, np.empty(0, np.int64)
        shape_of = shape_of.reshape(-1)
        starts, window = [], np.empty((len(shapes), 3), np.int64)
        for i, shape in enumerate(shapes.tolist()):
            axes = [slider.starts(axis, length) for axis, length in enumerate(shape)]
            starts.append(tuple(part for part, _ in axes))
            window[i] = [size for _, size in axes]
        counts = np.array([[len(part) for part in parts] for parts in starts], np.int64).reshape(-1, 3)
        base = np.concatenate([[0], np.cumsum(counts.prod(axis=1)[shape_of])]).astype(np.int64)
        return cls(shape_of, sizes, starts, window, counts, base)

    def __len__(self) -> int:
        return int(self.base[-1])

    def place(self, window: int) -> tuple[int, list[int], list[int]]:
        """Return the source of a window, and its start and end along each axis.

        Args:
            window: number of the window.
        """
        source = int(self.base.searchsorted(window, side="right")) - 1
        shape = int(self.shape_of[source])
        _, n_lines, n_columns = self.counts[shape].tolist()
        rank, column = divmod(window - int(self.base[source]), n_columns)
        time, line = divmod(rank, n_lines)
        starts = self.starts[shape]
        low = [int(starts[0][time]), int(starts[1][line]), int(starts[2][column])]
        return (
            source,
            low,
            [first + size for first, size in zip(low, self.window[shape].tolist(), strict=True)],
        )

    def placed(
        self, windows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the source of each window, and its (n, 3) start and (n, 3) end along each axis.

        Args:
            windows: numbers of the windows.
        """
        source = np.searchsorted(self.base, windows, side="right") - 1
        shape = self.shape_of[source]
        low = np.empty((len(windows), 3), np.int64)
        for i in np.unique(shape).tolist():
            mine = np.nonzero(shape == i)[0]
            index = np.unravel_index(windows[mine] - self.base[source[mine]], self.counts[i])
            for axis in range(3):
                low[mine, axis] = self.starts[i][axis][index[axis]]
        return source, low, low + self.window[shape]

    def touching(self, frames: PlacedBoxes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the window and the annotation of every touching pair, sorted by window, then annotation.

        Args:
            frames: the positions of the annotations.
        """
        exists = (frames.source >= 0) & ~np.isnan(frames.ltrb).any(axis=0)
        rows = np.nonzero(exists)[0]
        shape = self.shape_of[frames.source[rows]]
        parts = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for i in range(len(self.starts)):
            mine = rows[shape == i]
            chunks = (mine[first : first + _ROWS_AT_ONCE] for first in range(0, len(mine), _ROWS_AT_ONCE))
            parts += [self._touching_in_shape(i, frames, chunk) for chunk in chunks]
        window, row = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.argsort(window, kind="stable")  # the rows of each shape, and so of each window, ascend
        return window[order], row[order]

    def _touching_in_shape(
        self, shape: int, frames: PlacedBoxes, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        left, top, right, bottom = frames.ltrb[:, rows]
        frame = frames.position[rows]
        # A frame is in a window if start <= frame < start + size; a box may touch either edge.
        spans = ((frame + 1, frame), (top, bottom), (left, right))
        first, number = np.empty((3, len(rows)), np.int64), np.empty((3, len(rows)), np.int64)
        for axis, (low, high) in enumerate(spans):
            starts, size = self.starts[shape][axis], self.window[shape, axis]
            first[axis] = np.searchsorted(starts, low - size)
            number[axis] = np.searchsorted(starts, high, side="right") - first[axis]
        number = np.clip(number, 0, None)
        per_row = number.prod(axis=0)
        pair_row = np.repeat(np.arange(len(rows)), per_row)
        rank = np.arange(len(pair_row)) - np.repeat(np.cumsum(per_row) - per_row, per_row)
        rank, column = np.divmod(rank, number[2, pair_row])
        time, line = np.divmod(rank, number[1, pair_row])
        index = first[:, pair_row] + np.stack([time, line, column])
        _, n_lines, n_columns = self.counts[shape]
        window = (index[0] * n_lines + index[1]) * n_columns + index[2]
        return self.base[frames.source[rows[pair_row]]] + window, rows[pair_row]


@dataclass(frozen=True, eq=False)
class PlacedBoxes:
    """The positions of annotations in the sources of a grid."""

    source: NDArray[np.int64]
    """(N,) source of each annotation; -1 for none."""

    position: NDArray[np.int64]
    """(N,) frame within the source."""

    ltrb: NDArray[np.float64]
    """(4, N) left, top, right, bottom in the space of the source."""


def _is_full(dim: Any) -> bool:
    return dim is None or (isinstance(dim, str) and dim == "full")


def _is_count(dim: Any) -> bool:
    return isinstance(dim, numbers.Real) and float(dim).is_integer() and float(dim) > 0


def union_area(ltrb: NDArray[np.float64]) -> float:
    """Return the area of the union of boxes, computed by cutting the plane along all their edges.

    Args:
        ltrb: (4, n) left, top, right, bottom of the boxes.
    """
    left, top, right, bottom = ltrb
    if ltrb.shape[1] == 1:
        return float((right - left)[0] * (bottom - top)[0])
    xs, ys = np.unique(ltrb[::2]), np.unique(ltrb[1::2])
    in_x = (left[:, None] <= xs[:-1]) & (xs[1:] <= right[:, None])
    in_y = (top[:, None] <= ys[:-1]) & (ys[1:] <= bottom[:, None])
    covered = (in_y.T.astype(np.float64) @ in_x) > 0
    return float(np.diff(ys) @ covered @ np.diff(xs))
