"""
Planning the reads for many windows of one file: overlapping windows are merged if that is less work.

These functions only plan; :mod:`ndsampler.frames.batch` reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ndsampler.windows import PixelBox

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

Item = TypeVar("Item")

#: Largest size in bytes of a region that several windows are merged into.
MERGED_BYTES = 32 * 2**20

#: Number of previous regions that a window is compared with. Windows are sorted by position, so earlier
#: regions rarely overlap.
COMPARED = 16


@dataclass(frozen=True)
class MergedRegion:
    """A region that is read in one step, and the windows that are cut out of it."""

    box: PixelBox
    """The region, inside the image."""
    members: tuple[int, ...]
    """Positions of its windows in the list that was planned."""


def merge_windows(boxes: Sequence[PixelBox], max_pixels: int) -> list[MergedRegion]:
    """Merge windows of one image if their common region has no more pixels than the separate windows.

    Args:
        boxes: windows inside the image; they may be empty.
        max_pixels: largest area of a region of several windows, in pixels.

    Returns:
        Regions from top to bottom. Each window belongs to one of them, and together they have no more
        pixels than the windows.

    Example:
        >>> left, right, far = PixelBox(0, 8, 0, 8), PixelBox(0, 8, 4, 12), PixelBox(90, 98, 0, 8)
        >>> [tuple(region.box) for region in merge_windows([left, far, right], 1000)]
        [(0, 8, 0, 12), (90, 98, 0, 8)]
    """
    found: list[tuple[PixelBox, list[int]]] = []
    for index in sorted(range(len(boxes)), key=boxes.__getitem__):
        box = boxes[index]
        for place in range(len(found) - 1, max(-1, len(found) - 1 - COMPARED), -1):
            union = _union(found[place][0], box)
            if area(union) <= min(max_pixels, area(found[place][0]) + area(box)):
                found[place] = union, [*found[place][1], index]
                break
        else:
            found.append((box, [index]))
    return [MergedRegion(box, tuple(members)) for box, members in found]


def keep_apart(boxes: Sequence[PixelBox]) -> list[MergedRegion]:
    """Return each window as a separate region, from top to bottom.

    Args:
        boxes: windows inside the image.
    """
    return [MergedRegion(boxes[i], (i,)) for i in sorted(range(len(boxes)), key=boxes.__getitem__)]


def area(box: PixelBox) -> int:
    """Return the number of pixels of a box.

    Args:
        box: a box whose ends are not before its starts.
    """
    return (box.y1 - box.y0) * (box.x1 - box.x0)


def _union(one: PixelBox, two: PixelBox) -> PixelBox:
    """Return the smallest box that contains two boxes."""
    return PixelBox(min(one.y0, two.y0), max(one.y1, two.y1), min(one.x0, two.x0), max(one.x1, two.x1))


def divide_work(items: Iterable[tuple[Hashable, Item]], threads: int) -> list[list[Item]]:
    """Divide items among threads. The items of one file form one job, unless there are too many.

    Args:
        items: pairs of a key of the file, and the item.
        threads: number of threads; with 0 or 1 there is one job for each file.

    Returns:
        Jobs in the order of the first item of each file. The items of a file keep their order.

    Example:
        >>> divide_work([('a', 1), ('b', 2), ('a', 3)], 0)
        [[1, 3], [2]]
        >>> divide_work([('a', 1), ('a', 2), ('a', 3)], 2)
        [[1, 2], [3]]
    """
    files: dict[Hashable, list[Item]] = {}
    for key, item in items:
        files.setdefault(key, []).append(item)
    count = sum(map(len, files.values()))
    most = max(1, math.ceil(count / max(1, threads)))
    return [of_file[i : i + most] for of_file in files.values() for i in range(0, len(of_file), most)]
