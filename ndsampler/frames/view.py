"""
An array-like image that is read when it is sliced.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.utils.fork_safety import fork_safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class FrameView:
    """An image that is sliced like a numpy array, and that reads only the pixels a slice needs.

    Every numpy index works: slices with steps and negative bounds, integers, ``...``, masks and lists. The
    smallest block of rows and columns that contains the result is read.

    Args:
        read: returns (height, width, channels) pixels of rows y0:y1 and columns x0:x1.
        shape: (height, width, channels) of the image.
        dtype: type of its values.

    Example:
        >>> full = np.arange(24).reshape(4, 3, 2)
        >>> view = FrameView(lambda y0, y1, x0, x1: full[y0:y1, x0:x1], full.shape, full.dtype)
        >>> view[-1, ::2].tolist()
        [[18, 19], [22, 23]]
    """

    def __init__(
        self, read: Callable[[int, int, int, int], NDArray[Any]], shape: tuple[int, int, int], dtype: Any
    ) -> None:
        self._read = read
        self.shape = shape
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        """The number of axes, 3."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of the whole image in memory."""
        result: int = self.size * self.dtype.itemsize
        return result

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"FrameView(shape={self.shape}, dtype={self.dtype})"

    @fork_safe
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a FrameView contains no pixels, so it cannot become an array without a copy")
        return np.asarray(self[:], dtype=dtype)

    @fork_safe
    def __getitem__(self, index: Any) -> NDArray[Any]:
        parts = index if isinstance(index, tuple) else (index,)
        if any(getattr(part, "ndim", 0) > 1 for part in parts):
            # A mask over several axes does not select a block.
            height, width, _ = self.shape
            chosen: NDArray[Any] = self._read(0, height, 0, width)[parts]
            return chosen
        parts = _expand_ellipsis(parts)
        (y0, y1, rows), (x0, x1, cols) = (
            _covering_block(parts[axis] if axis < len(parts) else slice(None), self.shape[axis], axis)
            for axis in (0, 1)
        )
        block = self._read(y0, y1, x0, x1)
        local = (rows, cols, *parts[2:])
        result: NDArray[Any] = block[local]
        return result


def _expand_ellipsis(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an index of a 3-D array with its ellipsis written out."""
    where = [place for place, part in enumerate(parts) if part is Ellipsis]
    if len(where) == 1:
        fill = (slice(None),) * (4 - len(parts))
        parts = parts[: where[0]] + fill + parts[where[0] + 1 :]
    if where[1:] or any(part is None for part in parts) or len(parts) > 3:
        raise IndexError(f"index is {parts!r}; expected at most 3 indexes, one ellipsis and no new axis")
    return parts


def _covering_block(part: Any, length: int, axis: int) -> tuple[int, int, Any]:
    """Return (start, stop) to read along one axis, and the index to apply to the block that was read."""
    if isinstance(part, slice):
        chosen = range(length)[part]
        if not len(chosen):
            return 0, 0, slice(0, 0)
        low, high = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1])
        if chosen.step > 0:
            return low, high + 1, slice(0, None, chosen.step)
        return low, high + 1, slice(None, None, chosen.step)
    if hasattr(part, "__len__") or getattr(part, "ndim", False):
        return 0, length, part
    place = operator.index(part)
    if not -length <= place < length:
        raise IndexError(f"index {place} is out of bounds for axis {axis} with {length} pixels")
    place %= length
    return place, place + 1, 0
