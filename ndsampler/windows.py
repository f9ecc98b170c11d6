"""
Slices, boxes and margins: converting the user's request to array indexes.

A negative start has two meanings in this library:

* :func:`wrap_slices` counts it from the end, as numpy does. This is the meaning in ``Frames.load_region``.
* :func:`boundless_slices` counts it from the first pixel, so that it is outside the image. This is the
  meaning in the slices of a target.

All functions are pure and work on Python integers.
"""

from __future__ import annotations

import math
import numbers
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

from ndsampler.errors import WindowError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Maximum size of a sample in bytes (8 GiB). A request for a larger one is considered a mistake.
MAX_SAMPLE_BYTES = 2**33

#: Largest coordinate of a window in pixels. A double represents half pixels exactly up to this value.
MAX_COORDINATE = 2**40


#: ((top, bottom), (left, right)) of a window without margins.
NO_MARGIN = ((0, 0), (0, 0))


class PixelBox(NamedTuple):
    """A placed window on a pixel grid: half-open ranges of rows and columns; it may be outside an image."""

    y0: int
    """First row."""
    y1: int
    """Row after the last."""
    x0: int
    """First column."""
    x1: int
    """Column after the last."""

    @property
    def dims(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """The same region as (rows, columns) slices."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def padded(self, pad: tuple[tuple[int, int], tuple[int, int]]) -> PixelBox:
        """Return the box enlarged by margins.

        Args:
            pad: ((top, bottom), (left, right)) in pixels.
        """
        (top, bottom), (left, right) = pad
        return PixelBox(self.y0 - top, self.y1 + bottom, self.x0 - left, self.x1 + right)

    def clipped(self, height: int, width: int) -> PixelBox:
        """Return the part inside an image; a box without rows or columns if it is outside.

        Args:
            height: height of the image in pixels.
            width: width of the image in pixels.
        """
        if self.lies_inside(height, width):
            return self
        y0, y1 = min(max(self.y0, 0), height), min(max(self.y1, 0), height)
        x0, x1 = min(max(self.x0, 0), width), min(max(self.x1, 0), width)
        return PixelBox(y0, y1, x0, x1)

    def lies_inside(self, height: int, width: int) -> bool:
        """Whether the box is inside an image.

        Args:
            height: height of the image in pixels.
            width: width of the image in pixels.
        """
        y0, y1, x0, x1 = self
        return 0 <= y0 <= y1 <= height and 0 <= x0 <= x1 <= width


def as_int(value: Any, what: str) -> int:
    """Check a whole number and return it as an ``int``.

    Args:
        value: a Python or numpy integer, or a float without a fraction.
        what: name of the value for the error message.

    Raises:
        WindowError: if it is not a whole number, or larger than :data:`MAX_COORDINATE`.

    Example:
        >>> as_int(3.0, 'width')
        3
    """
    number = _whole(value, what)
    if abs(number) > MAX_COORDINATE:
        raise WindowError(f"{what} is {shown(value)}; expected at most {MAX_COORDINATE} pixels from 0")
    return number


def _whole(value: Any, what: str) -> int:
    """Check a whole number of any size and return it as an ``int``."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        number = as_finite(value, what)
        if number == int(number):
            return int(number)
    raise WindowError(f"{what} is {value!r}; expected a whole number of pixels")


def as_finite(value: Any, what: str) -> float:
    """Check a finite number and return it as a ``float``.

    Args:
        value: a Python or numpy number.
        what: name of the value for the error message.

    Raises:
        WindowError: if it is not a finite number, or larger than :data:`MAX_COORDINATE`.

    Example:
        >>> as_finite(2, 'cx')
        2.0
    """
    if type(value) in (int, float) and -MAX_COORDINATE <= value <= MAX_COORDINATE:
        return float(value)
    try:
        number = math.nan if isinstance(value, (str, bytes)) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise WindowError(f"{what} is {shown(value)}; expected a finite number of pixels") from None
    if not math.isfinite(number) or abs(number) > MAX_COORDINATE:
        raise WindowError(
            f"{what} is {shown(value)}; expected a finite number, at most {MAX_COORDINATE} pixels from 0"
        )
    return number


def is_sequence(value: Any) -> bool:
    """Whether a value is a sequence, but not a string, a dictionary or an array without axes.

    Args:
        value: any object.

    Example:
        >>> is_sequence((1, 2)), is_sequence(3), is_sequence('ab')
        (True, False, False)
    """
    return (
        hasattr(value, "__len__")
        and not isinstance(value, (str, bytes, dict))
        and getattr(value, "ndim", 1) > 0
    )


def shown(value: Any) -> str:
    """Return the representation of a value for an error message, or the size of a huge integer.

    Example:
        >>> shown(5), shown(2 ** 5000)
        ('5', 'a number of 5001 bits')
    """
    return (
        f"a number of {value.bit_length()} bits"
        if isinstance(value, int) and value.bit_length() > 200
        else repr(value)
    )


def wrap_slices(region: Any, shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Resolve slices as numpy does: a negative bound counts from the end.

    Args:
        region: None for everything, one slice, or a tuple of slices, ``None`` and ``Ellipsis`` for the
            leading axes. An axis without a slice is used completely.
        shape: lengths of the axes in pixels.

    Returns:
        A (start, stop) pair for each axis, within the axis, with ``start <= stop``.

    Raises:
        WindowError: for more slices than axes, a slice with a step, or anything that is not a slice.

    Example:
        >>> wrap_slices((slice(-20), slice(3, None)), (512, 512, 3))
        ((0, 492), (3, 512), (0, 3))
    """
    parts = _as_tuple(region, len(shape))
    resolved = []
    for axis, length in enumerate(shape):
        part = parts[axis] if axis < len(parts) else None
        if part is None:
            resolved.append((0, length))
            continue
        start, stop, _ = _unit_step(part, axis).indices(length)
        resolved.append((start, max(start, stop)))
    return tuple(resolved)


def _as_tuple(region: Any, ndim: int) -> tuple[Any, ...]:
    """Return the slices of a region as a tuple without an ellipsis."""
    if region is None or region is Ellipsis:
        return ()
    parts = tuple(region) if isinstance(region, (tuple, list)) else (region,)
    where = [index for index, part in enumerate(parts) if part is Ellipsis]
    if len(where) > 1 or len(parts) - len(where) > ndim:
        raise WindowError(f"region is {region!r}; expected at most one slice for each of the {ndim} axes")
    if where:
        missing = ndim - (len(parts) - 1)
        parts = parts[: where[0]] + (None,) * missing + parts[where[0] + 1 :]
    return parts


def _unit_step(part: Any, axis: int) -> slice:
    """Return a slice with its bounds as Python integers."""
    if not isinstance(part, slice):
        raise WindowError(f"axis {axis} of the region is {part!r}; expected a slice or None")
    if part.step not in (None, 1):
        raise WindowError(
            f"axis {axis} of the region is {part!r}; slices with a step are not supported, use scale"
        )
    start, stop = part.start, part.stop
    if start is not None and type(start) is not int:
        start = _whole(start, f"the start of axis {axis}")
    if stop is not None and type(stop) is not int:
        stop = _whole(stop, f"the stop of axis {axis}")
    return slice(start, stop)


def boundless_slices(slices: Any, dims: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Resolve the slices of a target: a negative start is outside the image.

    Args:
        slices: a slice or None for each axis; an open bound is the border of the image.
        dims: lengths of the axes in pixels.

    Returns:
        A (start, stop) pair of integers for each axis.

    Raises:
        WindowError: for a wrong number of slices, a step, a fraction, or an end that is not after its start.

    Example:
        >>> boundless_slices((slice(-2, 3), slice(None, 12)), (10, 10))
        ((-2, 3), (0, 12))
    """
    if not isinstance(slices, (tuple, list)) or len(slices) != len(dims):
        raise WindowError(f"slices is {slices!r}; expected a tuple of {len(dims)} slices")
    return tuple(
        _boundless_range(part, length, axis) for axis, (part, length) in enumerate(zip(slices, dims))
    )


def _boundless_range(part: Any, length: int, axis: int) -> tuple[int, int]:
    """Return the bounds of one slice of a target."""
    part = _unit_step(slice(None) if part is None else part, axis)
    start = 0 if part.start is None else part.start
    stop = length if part.stop is None else part.stop
    if not -MAX_COORDINATE <= start < stop <= MAX_COORDINATE:
        as_int(start, f"the start of axis {axis}")
        as_int(stop, f"the stop of axis {axis}")
        raise WindowError(f"axis {axis} of slices is {part!r}; expected an end after its start")
    return start, stop


def floor_slices(slices: Any) -> Any:
    """Return slices with their bounds rounded down to whole pixels, and any other value unchanged.

    Args:
        slices: a tuple of slices whose bounds may have fractions.

    Example:
        >>> floor_slices((slice(10.5, 40.5), slice(-0.5, None)))
        (slice(10, 40, None), slice(-1, None, None))
    """
    if not isinstance(slices, (tuple, list)):
        return slices
    return tuple(
        slice(_floored(part.start), _floored(part.stop), part.step) if isinstance(part, slice) else part
        for part in slices
    )


def _floored(bound: Any) -> Any:
    """Return a finite float rounded down, and any other value unchanged, for later checks."""
    is_float = isinstance(bound, numbers.Real) and not isinstance(bound, numbers.Integral)
    return math.floor(bound) if is_float and math.isfinite(bound) else bound


def centered_box(cx: float, cy: float, height: int, width: int) -> PixelBox:
    """Place a window around a point.

    It starts at ``floor(center - size / 2)`` and has exactly the given size.

    Args:
        cx: column of the center in pixels.
        cy: row of the center in pixels.
        height: height of the window in pixels.
        width: width of the window in pixels.

    Example:
        >>> centered_box(5, 2, 6, 6)
        PixelBox(y0=-1, y1=5, x0=2, x1=8)
    """
    y0 = math.floor(cy - height / 2)
    x0 = math.floor(cx - width / 2)
    return PixelBox(y0, y0 + height, x0, x0 + width)


def normalize_pad(pad: Any, ndim: int = 2) -> tuple[tuple[int, int], ...]:
    """Return a (before, after) pair of margins for each axis.

    Args:
        pad: None, one number for both axes of space, or a number or a pair for each axis.
        ndim: number of axes, in the order (height, width) or (time, height, width). For a video, a pad
            without an item for the time axis does not pad in time.

    Returns:
        ``ndim`` pairs of pixels (frames for time), all at least 0.

    Raises:
        WindowError: for a negative margin, a fraction, or a wrong length.

    Example:
        >>> normalize_pad((1, (2, 3)))
        ((1, 1), (2, 3))
    """
    if pad is None:
        return ((0, 0),) * ndim
    parts = list(pad) if is_sequence(pad) else [pad, pad]
    if len(parts) == ndim - 1 and ndim > 2:
        parts.insert(0, 0)
    if len(parts) != ndim:
        raise WindowError(
            f"pad is {pad!r}; expected one number, or one number or pair for each of {ndim} axes"
        )
    return tuple(_margin_pair(part, pad) for part in parts)


def _margin_pair(part: Any, pad: Any) -> tuple[int, int]:
    """Return the margins of one axis as a pair of integers of at least 0."""
    pair = tuple(part) if is_sequence(part) else (part, part)
    if len(pair) != 2:
        raise WindowError(f"pad is {pad!r}; expected numbers or pairs of numbers")
    before, after = as_int(pair[0], "pad"), as_int(pair[1], "pad")
    if before < 0 or after < 0:
        raise WindowError(f"pad is {pad!r}; expected margins of 0 or more pixels")
    return before, after


def embed_box(
    box: PixelBox, height: int, width: int
) -> tuple[PixelBox, tuple[tuple[int, int], tuple[int, int]]]:
    """Split a window into the part inside the image and the margins around it.

    Args:
        box: the window; it may extend outside the image.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        The part inside the image, and ((top, bottom), (left, right)): the pixels to add to get the full size.

    Example:
        >>> embed_box(PixelBox(-2, 3, 0, 4), 10, 10)
        (PixelBox(y0=0, y1=3, x0=0, x1=4), ((2, 0), (0, 0)))
    """
    if box.lies_inside(height, width):
        return box, NO_MARGIN
    inside = box.clipped(height, width)
    rows, cols = box.dims
    top = min(max(-box.y0, 0), rows)
    left = min(max(-box.x0, 0), cols)
    bottom = rows - top - (inside.y1 - inside.y0)
    right = cols - left - (inside.x1 - inside.x0)
    return inside, ((top, bottom), (left, right))


def check_affordable(dims: Sequence[int], itemsize: int, channels: int, what: str) -> None:
    """Raise an error if a result is too large, before memory for it is allocated.

    Args:
        dims: lengths of the axes of the result.
        itemsize: number of bytes of one value.
        channels: number of values of each pixel.
        what: name of the request for the error message.

    Raises:
        WindowError: if the result is larger than :data:`MAX_SAMPLE_BYTES`.

    Example:
        >>> check_affordable((256, 256), 1, 3, 'the window')
    """
    size = itemsize * channels
    for dim in dims:
        size *= int(dim)
    if size > MAX_SAMPLE_BYTES:
        raise WindowError(
            f"{what} has dims {tuple(dims)} and {channels} channels: {size / 2**30:.0f} GiB; "
            f"expected at most {MAX_SAMPLE_BYTES / 2**30:.0f} GiB. Use a smaller window or a smaller scale"
        )
