"""
Converts the windows of targets to boxes on images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["SPACES", "WindowBoxes"]

#: The spaces in which windows are given.
SPACES: tuple[Literal["image", "video"], ...] = ("image", "video")

#: Bound in pixels that replaces an open end of a slice, larger than any image.
_FAR = 1e10

#: Left, top, right, bottom.
Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class WindowBoxes:
    """A table with a row for each image of each window; a window of a video has several rows."""

    gids: NDArray[np.int64]
    """(n,) image ids."""

    ltrb: NDArray[np.float64]
    """(n, 4) left, top, right, bottom in pixels."""

    is_video: NDArray[np.bool_]
    """(n,) whether the box is in video space; it is in image space otherwise."""

    target: NDArray[np.int64]
    """(n,) index of the target."""

    @classmethod
    def from_targets(cls, targets: Iterable[dict[str, Any]]) -> WindowBoxes:
        """Return the windows of targets.

        Args:
            targets: targets of grids or pools.

        Raises:
            ArgumentError: if a target names no image, or its window is invalid.

        Example:
            >>> boxes = WindowBoxes.from_targets([{'gid': 3, 'cx': 8, 'cy': 6, 'width': 4, 'height': 2}])
            >>> boxes.ltrb.tolist()
            [[6.0, 5.0, 10.0, 7.0]]
        """
        gids: list[int] = []
        boxes: list[Box] = []
        is_video: list[bool] = []
        owners: list[int] = []
        for index, target in enumerate(targets):
            frames, of_video = _images_of(target)
            box = _box_of(target)
            gids += frames
            boxes += [box] * len(frames)
            is_video += [of_video] * len(frames)
            owners += [index] * len(frames)
        return cls(
            np.array(gids, np.int64),
            np.array(boxes, np.float64).reshape(-1, 4),
            np.array(is_video, bool),
            np.array(owners, np.int64),
        )


def _images_of(target: Any) -> tuple[list[int], bool]:
    """Return the image ids of a target, and whether its window is in video space."""
    if isinstance(target, dict):
        if target.get("gids") is not None:
            return [int(gid) for gid in target["gids"]], True
        if target.get("gid") is not None:
            return [int(target["gid"])], False
    raise ArgumentError(
        f"the target is {target!r}; expected a dictionary with 'gid', or with 'gids' of a video"
    )


def _box_of(target: dict[str, Any]) -> Box:
    """Return the box around all pixels that the window of a target may cover after rounding."""
    slices = target.get("slices", target.get("space_slice"))
    if slices is not None:
        (top, bottom), (left, right) = (_bounds(part, target) for part in tuple(slices)[:2])
        return left, top, right, bottom
    if "cx" in target and "cy" in target:
        height, width = target.get("window_dims") or (target.get("height"), target.get("width"))
        cx, cy, width, height = (
            _number(part, target) for part in (target["cx"], target["cy"], width, height)
        )
        sides = cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2
        return np.floor(sides[0]), np.floor(sides[1]), np.ceil(sides[2]), np.ceil(sides[3])
    if target.get("bbox") is not None:
        left, top, width, height = (_number(part, target) for part in target["bbox"])
        return np.floor(left), np.floor(top), np.ceil(left + width), np.ceil(top + height)
    return -_FAR, -_FAR, _FAR, _FAR


def _bounds(part: Any, target: dict[str, Any]) -> tuple[float, float]:
    """Return the bounds of a slice in pixels; an open end is replaced with a bound beyond any image."""
    if not isinstance(part, slice):
        raise _invalid_window(target)
    low = -_FAR if part.start is None else _number(part.start, target)
    return low, _FAR if part.stop is None else _number(part.stop, target)


def _number(value: Any, target: dict[str, Any]) -> float:
    """Return a number in a target as a float; raise an ArgumentError for any other value."""
    if isinstance(value, (int, float, np.integer, np.floating)) and np.isfinite(value):
        return float(value)
    raise _invalid_window(target)


def _invalid_window(target: dict[str, Any]) -> ArgumentError:
    """Return the error for a target with an invalid window."""
    return ArgumentError(
        f"the target {target!r} has no valid window; expected slices, a space_slice, a bbox, or "
        "cx, cy, width and height"
    )
