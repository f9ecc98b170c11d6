"""
Checks that no two splits contain the same pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError, OverlapError
from ndsampler.training.splits import Split
from ndsampler.training.windows import SPACES, WindowBoxes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["assert_disjoint"]


def assert_disjoint(*splits: Any) -> None:
    """Raise an error if a window of one split shares a pixel with a window of another.

    All pairs of windows are compared by means of a spatial index. Adjacent windows share no pixel.

    Args:
        *splits: for each split, a list of targets, a grid with ``targets``, or a :class:`Split`, which
            represents all pixels that may be in its windows.

    Raises:
        OverlapError: if two windows share a pixel; the message names them. It is an ``AssertionError``.
        ArgumentError: if the window of a target is invalid, or some windows are in image space and some in
            video space.

    Example:
        >>> left = [{'gid': 1, 'slices': (slice(0, 64), slice(0, 64))}]
        >>> right = [{'gid': 1, 'slices': (slice(0, 64), slice(64, 128))}]
        >>> assert_disjoint(left, right)
    """
    import shapely

    windows = [_windows_of(split) for split in splits]
    _check_spaces(splits, windows)
    lanes = _SeparateImages(windows)
    trees: list[Any] = []
    for number, mine in enumerate(windows):
        boxes = shapely.box(*lanes.place(mine).T)
        for other, tree in enumerate(trees):
            pairs = _overlapping_pairs(mine, windows[other], *tree.query(boxes))
            if len(pairs):
                raise OverlapError(
                    f"{_describe(mine, pairs[0, 0])} of split {number} and "
                    f"{_describe(windows[other], pairs[0, 1])} of split {other} share pixels, and so do "
                    f"{len(pairs) - 1} other pairs of these splits; expected none. Take the windows of both "
                    "from splits that one call of spatial_split returned"
                )
        trees.append(shapely.STRtree(boxes))


class _SeparateImages:
    """Moves the windows of each image to a separate part of the plane, so that one index covers all images.

    Args:
        windows: the windows of all splits.
    """

    def __init__(self, windows: list[WindowBoxes]) -> None:
        self._gids = np.unique(np.concatenate([np.empty(0, np.int64), *(part.gids for part in windows)]))
        # Windows with open slices, and cells of undivided images, are much larger than all others.
        self._reach = 2.0**31

    def place(self, windows: WindowBoxes) -> NDArray[np.float64]:
        """Return the (n, 4) boxes of windows, each in the part of the plane of its image."""
        ltrb = np.clip(windows.ltrb, -self._reach, self._reach)
        ltrb[:, ::2] += (np.searchsorted(self._gids, windows.gids) * 4 * self._reach)[:, None]
        return ltrb


def _windows_of(split: Any) -> WindowBoxes:
    """Return the windows of a split."""
    if isinstance(split, Split):
        return split.cell_boxes()
    if isinstance(split, dict) and "targets" in split:
        split = split["targets"]
    if isinstance(split, (str, dict)) or not hasattr(split, "__iter__"):
        raise ArgumentError(
            f"the split is {split!r}; expected targets, a grid, or a split from spatial_split"
        )
    return WindowBoxes.from_targets(split)


def _check_spaces(splits: tuple[Any, ...], windows: list[WindowBoxes]) -> None:
    """Raise an ArgumentError if the windows are in spaces that cannot be compared."""
    listed = [part for split, part in zip(splits, windows, strict=True) if not isinstance(split, Split)]
    used = {SPACES[int(kind)] for part in listed for kind in np.unique(part.is_video)}
    if len(used) == 2:
        raise ArgumentError(
            "some windows are in image space and some in video space; compare windows of one space at a time"
        )
    for split in splits:
        if isinstance(split, Split) and any(split.is_warped(space) for space in used):
            raise ArgumentError(
                f"the windows are in {used.pop()} space, and the blocks of a split in another; pass the "
                "targets of both splits, from Split.select or from grids"
            )


def _overlapping_pairs(
    mine: WindowBoxes, other: WindowBoxes, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the (n, 2) pairs of windows that share pixels, among those whose boxes touch."""
    first, second = mine.ltrb[rows], other.ltrb[columns]
    overlap = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    same = mine.gids[rows] == other.gids[columns]
    result: NDArray[np.int64] = np.stack([rows, columns], axis=1)[same & (overlap > 0).all(axis=1)]
    return result


def _describe(windows: WindowBoxes, row: int) -> str:
    """Return a description of a window for a message."""
    left, top, right, bottom = windows.ltrb[row].tolist()
    where = f"rows {top:g} to {bottom:g} and columns {left:g} to {right:g}"
    return f"the window of {where} on image {windows.gids[row]}"
