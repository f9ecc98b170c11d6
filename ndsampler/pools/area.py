"""
Selecting the windows of a grid that are inside a part of a dataset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ndsampler.pools.window_grid import WindowGrid

__all__ = ["Area", "windows_in_images", "windows_in_videos"]

#: Number of windows that are compared with an area at a time.
_WINDOWS_AT_ONCE = 10_000


@runtime_checkable
class Area(Protocol):
    """A part of a dataset, such as one side of a split."""

    def contains(
        self, gids: NDArray[np.int64], ltrb: NDArray[np.float64], space: Literal["image", "video"]
    ) -> NDArray[np.bool_]:
        """Return which boxes are completely inside the area.

        Args:
            gids: (n,) image ids.
            ltrb: (n, 4) left, top, right, bottom of each box.
            space: whether boxes are in image or in video space.
        """
        ...


def windows_in_images(grid: WindowGrid, gids: NDArray[np.int64], area: Area | None) -> NDArray[np.bool_]:
    """Return which windows of a grid over images are inside an area.

    Args:
        grid: the windows.
        gids: image id of each source of the grid.
        area: the area; None for the whole dataset.
    """
    if area is None:
        return np.ones(len(grid), bool)
    parts = [area.contains(gids[source], _ltrb(low, high), "image") for source, low, high in _chunks(grid)]
    return np.concatenate([np.empty(0, bool), *parts])


def windows_in_videos(
    grid: WindowGrid, gids: Sequence[Sequence[int]], area: Area | None
) -> NDArray[np.bool_]:
    """Return which windows of a grid over videos are inside an area in all of their frames.

    Args:
        grid: the windows.
        gids: image ids of the frames of each source of the grid.
        area: the area; None for the whole dataset.
    """
    if area is None:
        return np.ones(len(grid), bool)
    offsets = np.cumsum([0, *map(len, gids)])
    flat = np.array([gid for frames in gids for gid in frames], np.int64)
    parts = []
    for source, low, high in _chunks(grid):
        counts = np.minimum(high[:, 0], grid.sizes[source, 0]) - low[:, 0]
        begins = np.cumsum(counts) - counts
        window = np.repeat(np.arange(len(source)), counts)
        frame = np.arange(len(window)) - begins[window] + (offsets[source] + low[:, 0])[window]
        inside = area.contains(flat[frame], _ltrb(low, high)[window], "video")
        parts.append(np.logical_and.reduceat(inside, begins))
    return np.concatenate([np.empty(0, bool), *parts])


def _chunks(grid: WindowGrid) -> Iterator[Any]:
    """Yield source, start and end of windows, in chunks of limited size."""
    for first in range(0, len(grid), _WINDOWS_AT_ONCE):
        yield grid.placed(np.arange(first, min(first + _WINDOWS_AT_ONCE, len(grid))))


def _ltrb(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return left, top, right, bottom of windows from their (n, 3) starts and ends."""
    return np.concatenate([low[:, [2, 1]], high[:, [2, 1]]], axis=1).astype(np.float64)
