"""
Divides a dataset into cells. Each cell belongs to one split or to none.

A *source* is divided into cells. It is a still image, or a video, whose frames show the same area and
therefore share their cells. To find out for many boxes at once whether all cells that they touch belong to a
split, the cells of a split are summed over rectangles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import UnknownIdError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cells", "Places", "warp_boxes"]

#: Largest rounding error of a warped corner, in pixels.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Places:
    """The images of a dataset, and the source to which each image belongs."""

    gids: NDArray[np.int64]
    """(images,) image ids, ascending."""

    source: NDArray[np.int64]
    """(images,) index of the source of each image."""

    sizes: NDArray[np.int64]
    """(sources, 2) height and width of each source in pixels."""

    from_image: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    """For each image id, the 3x3 matrix from image to source coordinates, unless it is the identity."""

    from_video: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    """For each image id, the 3x3 matrix from video to source coordinates, unless it is the identity."""

    def rows_of(self, gids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each image in ``gids``.

        Args:
            gids: image ids.

        Raises:
            UnknownIdError: if the dataset has no such image.
        """
        rows = np.searchsorted(self.gids, gids)
        known = rows < len(self.gids)
        known[known] = self.gids[rows[known]] == gids[known]
        if not known.all():
            raise UnknownIdError(
                f"image id is {gids[~known][0]}; expected an image of the dataset that was split"
            )
        return rows

    def to_source(self, gids: NDArray[np.int64], ltrb: NDArray[np.float64], space: str) -> Any:
        """Return the (n, 4) bounding boxes of boxes that are warped to their sources.

        Args:
            gids: (n,) image ids.
            ltrb: (n, 4) left, top, right and bottom of each box in pixels.
            space: ``'image'`` or ``'video'``.
        """
        warps = self.from_image if space == "image" else self.from_video
        if not warps:
            return ltrb
        ltrb = ltrb.copy()
        for gid in np.unique(gids).tolist():
            if gid in warps:
                mine = gids == gid
                ltrb[mine] = warp_boxes(warps[gid], ltrb[mine])
        return ltrb


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of all sources, numbered source by source and row by row."""

    sizes: NDArray[np.int64]
    """(sources, 2) height and width in pixels of the cells of each source."""

    counts: NDArray[np.int64]
    """(sources, 2) number of rows and columns of cells in each source."""

    @property
    def base(self) -> NDArray[np.int64]:
        """(sources + 1,) number of the first cell of each source, and the number of all cells."""
        return np.concatenate([[0], np.cumsum(self.counts.prod(axis=1))]).astype(np.int64)

    def boxes(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the sources of cells, and their (n, 4) left, top, right and bottom in pixels.

        Args:
            numbers: numbers of cells.
        """
        source = np.searchsorted(self.base, numbers, side="right") - 1
        row, column = np.divmod(numbers - self.base[source], self.counts[source, 1])
        height, width = self.sizes[source].T
        corners = [column * width, row * height, (column + 1) * width, (row + 1) * height]
        return source, np.stack(corners, axis=1).astype(np.float64)

    def sums(self, owned: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return summed-area tables: for each corner of a cell, the number of owned cells above and left of
        it.

        Args:
            owned: (cells,) True for each cell that is counted.

        Returns:
            The concatenated tables of all sources, and the position at which each begins.
        """
        begins = np.concatenate([[0], np.cumsum((self.counts + 1).prod(axis=1))]).astype(np.int64)
        tables = np.zeros(begins[-1], np.int64)
        shapes, shape_of = np.unique(self.counts, axis=0, return_inverse=True)
        for i, (rows, columns) in enumerate(shapes.tolist()):
            sources = np.nonzero(shape_of.reshape(-1) == i)[0]
            cells = owned[self.base[sources][:, None] + np.arange(rows * columns)]
            table = np.zeros((len(sources), rows + 1, columns + 1), np.int64)
            table[:, 1:, 1:] = cells.reshape(-1, rows, columns).cumsum(axis=1).cumsum(axis=2)
            tables[begins[sources][:, None] + np.arange(table[0].size)] = table.reshape(len(sources), -1)
        return tables, begins

    def touched(self, source: NDArray[np.int64], ltrb: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the range of cells that each box overlaps.

        Args:
            source: (n,) source of each box.
            ltrb: (n, 4) left, top, right and bottom of each box in pixels. Boxes may lie outside of the
                source.

        Returns:
            (4, n): first column, first row, column after the last, row after the last.
        """
        size = self.sizes[source][:, [1, 0]]
        low = np.floor((ltrb[:, :2] + _ROUNDING) / size)
        high = np.ceil((ltrb[:, 2:] - _ROUNDING) / size)
        limits = self.counts[source][:, [1, 0]]
        result: NDArray[np.int64] = (
            np.concatenate([np.clip(low, 0, limits), np.clip(high, 0, limits)], axis=1).astype(np.int64).T
        )
        return result


def warp_boxes(matrix: NDArray[np.float64], ltrb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (n, 4) bounding boxes of warped boxes.

    Args:
        matrix: 3x3 matrix that is applied to the corners.
        ltrb: (n, 4) left, top, right, bottom.

    Example:
        >>> warp_boxes(np.diag([2.0, 3, 1]), np.array([[0.0, 1, 2, 3]])).tolist()
        [[0.0, 3.0, 4.0, 9.0]]
    """
    corners = ltrb[:, [[0, 1], [2, 1], [0, 3], [2, 3]]]
    moved = corners @ matrix[:2, :2].T + matrix[:2, 2]
    return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)
