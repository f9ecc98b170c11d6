"""
Run-length encoded masks: decoding the numbers, the extent, and the outlines as polygons.

No array as large as the image is made, because a mask is decoded only within its extent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.utils.limits import get_limits

if TYPE_CHECKING:
    import kwimage
    from numpy.typing import NDArray

__all__ = ["RunLengths", "decode_counts"]

#: Bits of the largest number that a compressed encoding may contain.
_MAX_BITS = 60


def decode_counts(text: str | bytes) -> list[int]:
    """Return the run lengths of a compressed run-length encoding.

    Each number is encoded in groups of 5 bits, least significant group first, and each group as a character
    counted from ``'0'``. The sixth bit is set if another group follows; the fifth bit of the last group is
    the sign. From the fourth number on, the difference from the number two positions earlier is stored.

    Args:
        text: the ``counts`` of an encoded mask.

    Returns:
        Lengths of the runs in column-major order; the first run has the value 0.

    Raises:
        ValueError: if the text ends inside a number, or contains an invalid character or too large a number.

    References:
        ``rleFrString`` in https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c

    Example:
        >>> decode_counts('52203')
        [5, 2, 2, 2, 5]
    """
    codes = text if isinstance(text, bytes) else text.encode("ascii")
    counts: list[int] = []
    value = shift = 0
    for code in codes:
        group = code - 48
        if not 0 <= group < 64:
            raise ValueError(f"{chr(code)!r} is not a character of a run-length encoding")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            if shift > _MAX_BITS:
                raise ValueError(f"number {len(counts) + 1} of the run-length encoding is too large")
            continue
        if group & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError(f"the run-length encoding {text[:80]!r} ends inside a number")
    return counts


@dataclass(frozen=True, eq=False)
class RunLengths:
    """
    A run-length encoded mask.

    Example:
        >>> runs = RunLengths.from_coco({'size': [4, 5], 'counts': [5, 2, 2, 2, 9]})
        >>> runs.extent
        (1, 1, 3, 3)
    """

    dims: tuple[int, int]
    """(height, width) of the mask in pixels."""

    counts: NDArray[np.int64]
    """Lengths of the runs; the first run has the value 0."""

    by_columns: bool = True
    """Whether the runs are in column-major order, as in COCO files, instead of row-major order."""

    @classmethod
    def from_coco(cls, raw: dict[str, Any], dims: tuple[int, int] | None = None) -> RunLengths:
        """Return the mask that a COCO dictionary describes.

        Args:
            raw: a dictionary with ``counts`` (numbers or text) and ``size`` or ``shape``: (height, width).
                Runs are in column-major order unless ``order`` is ``'C'``.
            dims: (height, width) that the mask must have; None if it is not known.

        Raises:
            ValueError, TypeError, KeyError, OverflowError: if the encoding is malformed, or longer than
                :attr:`ndsampler.utils.limits.Limits.run_length`.
        """
        size = _as_dims(raw["shape"] if "shape" in raw else raw["size"])
        if dims is not None and size != tuple(dims):
            raise ValueError(
                f"the run-length encoding has (height, width) {size}, but its image has {tuple(dims)}"
            )
        counts, limit = raw["counts"], get_limits().run_length
        if len(counts) > limit:
            raise ValueError(f"the run-length encoding has the length {len(counts)}; the limit is {limit}")
        numbers = _as_numbers(decode_counts(counts) if isinstance(counts, (str, bytes)) else counts)
        total = sum(numbers.tolist())
        if total != size[0] * size[1]:
            raise ValueError(f"the runs have {total} pixels, but the size is {size[0]} x {size[1]}")
        return cls(size, numbers, raw.get("order", "F") != "C")

    @property
    def _spans(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(start, stop) positions of the runs with the value 1."""
        ends = np.cumsum(self.counts)
        starts = (ends - self.counts)[1::2]
        stops = ends[1::2]
        return starts[starts < stops], stops[starts < stops]

    @property
    def _bounds(self) -> tuple[int, int, int, int] | None:
        """(start, stop) of the lines that contain ones, and of the positions within lines; None if empty.

        A line is a column, or a row if the runs are in row-major order.
        """
        starts, stops = self._spans
        if not len(starts):
            return None
        length = self.dims[0] if self.by_columns else self.dims[1]
        lines, last_lines = starts // length, (stops - 1) // length
        first, stop = int(lines[0]), int(last_lines[-1]) + 1
        if (
            lines != last_lines
        ).any():  # a run over two lines touches the end of one and the start of the next
            return first, stop, 0, length
        return first, stop, int((starts % length).min()), int(((stops - 1) % length).max()) + 1

    @property
    def extent(self) -> tuple[int, int, int, int] | None:
        """Left, top, right, bottom edges of the pixels that are set; None if none is."""
        if self._bounds is None:
            return None
        first, stop, low, high = self._bounds
        return (first, low, stop, high) if self.by_columns else (low, first, high, stop)

    def cropped_mask(self) -> NDArray[np.uint8]:
        """Return the mask within its extent."""
        if self._bounds is None:
            return np.zeros((0, 0), np.uint8)
        first, stop, low, high = self._bounds
        length = self.dims[0] if self.by_columns else self.dims[1]
        starts, stops = self._spans
        steps = np.zeros((stop - first) * length + 1, np.int8)
        steps[starts - first * length] += 1
        steps[stops - first * length] -= 1
        lines = np.cumsum(steps[:-1], dtype=np.int8).reshape(-1, length)[:, low:high]
        return np.ascontiguousarray(lines.T if self.by_columns else lines).view(np.uint8)

    def to_polygons(self) -> kwimage.MultiPolygon:
        """Return the outlines as polygons through the centers of the outermost pixels, as kwimage does."""
        import kwimage

        if self.extent is None:
            return kwimage.MultiPolygon([])
        polygons = kwimage.Mask(self.cropped_mask(), "c_mask").to_multi_polygon()
        for polygon in polygons.data:
            for ring in (polygon.data["exterior"], *polygon.data["interiors"]):
                ring.data = ring.data + np.array(self.extent[:2])
        return polygons


def _as_dims(size: Any) -> tuple[int, int]:
    """Return (height, width) as Python integers."""
    sides = tuple(size)
    if len(sides) != 2 or not all(
        isinstance(side, (int, float, np.number)) and side == int(side) >= 0 for side in sides
    ):
        raise ValueError(f"the size of the mask is {size!r}; expected height and width in pixels")
    return int(sides[0]), int(sides[1])


def _as_numbers(counts: Any) -> NDArray[np.int64]:
    """Return run lengths as integers."""
    given = np.asarray(counts)
    numbers = given.astype(np.int64) if given.dtype.kind in "iuf" else None
    if numbers is None or numbers.ndim != 1 or (numbers != given).any() or (numbers < 0).any():
        raise ValueError("a run length is negative or not a whole number")
    return numbers
