"""
Placing the window of a target on its image or video.
"""

from __future__ import annotations

import math
from typing import Any

from ndsampler.errors import TargetError, WindowError
from ndsampler.windows import PixelBox, as_finite, as_int, boundless_slices, centered_box, is_sequence

__all__ = ["channel_slice", "place_window"]


def place_window(target: dict[str, Any], dims: tuple[int, int], inferred: dict[str, Any]) -> PixelBox:
    """Return the window of a target.

    Args:
        target: states slices, a center and a size, or neither for the whole image.
        dims: (height, width) of the image or video in pixels.
        inferred: receives ``space_slice`` and ``slices``, and for a centered window ``window_dims``.

    Raises:
        TargetError: if the target lacks a key.
        WindowError: if the window is malformed.
    """
    slices = target.get("space_slice")
    if slices is None:
        slices = target.get("slices")
    if slices is None and target.get("cx") is None and target.get("cy") is None:
        if target.get("window_dims") is not None or target.get("width") is not None:
            raise TargetError(
                "the target has the size of a window but not its position; give 'cx' and 'cy', or 'slices'"
            )
        slices = (slice(0, dims[0]), slice(0, dims[1]))
    if slices is not None:
        (y0, y1), (x0, x1) = boundless_slices(slices, dims)
        inferred["space_slice"] = inferred["slices"] = slices
        return PixelBox(y0, y1, x0, x1)
    height, width = _window_dims(target, inferred)
    box = centered_box(_finite(target, "cx"), _finite(target, "cy"), height, width)
    if not (height and width):
        # A box without area is sampled as the pixels that contain it.
        box = PixelBox(box.y0, max(box.y1, box.y0 + 1), box.x0, max(box.x1, box.x0 + 1))
    inferred["space_slice"] = inferred["slices"] = box.slices
    return box


def channel_slice(target: dict[str, Any]) -> slice | None:
    """Return the third of the slices of a still image, which selects channels; None if it is not used.

    Args:
        target: its ``slices`` are (rows, columns, channels); they are ignored if there is another
            ``space_slice``.

    Raises:
        WindowError: if the third is neither a slice without a step nor None.

    Example:
        >>> channel_slice({'slices': (slice(0, 9), slice(0, 9), slice(0, 2))})
        slice(0, 2, None)
    """
    slices = target["slices"]
    space = target.get("space_slice")
    if space is not None and not (is_sequence(space) and list(space) == list(slices[:2])):
        return None
    part = slice(None) if slices[2] is None else slices[2]
    if not isinstance(part, slice) or part.step not in (None, 1):
        raise WindowError(
            f"the third of slices is {part!r}; for a still image it selects channels, and must be a slice "
            "without a step. To sample a video, use 'vidid' or 'gids'"
        )
    return part


def _window_dims(target: dict[str, Any], inferred: dict[str, Any]) -> tuple[int, int]:
    """Return (height, width) of a centered window, which are 0 for a box without area."""
    given = target.get("window_dims")
    if given is None or (isinstance(given, str) and given in ("extent", "square")):
        height, width = math.ceil(_finite(target, "height")), math.ceil(_finite(target, "width"))
        if given == "square":
            height = width = max(height, width)
        smallest = 0
        inferred["window_dims"] = (max(height, 1), max(width, 1))
    elif not is_sequence(given) or len(given) != 2:
        raise WindowError(
            f"window_dims is {given!r}; expected a pair (height, width) of whole numbers, 'square', "
            "'extent' or None"
        )
    else:
        height, width = (as_int(value, "window_dims") for value in given)
        smallest = 1
        inferred["window_dims"] = given
    if height < smallest or width < smallest:
        raise WindowError(f"the window has (height, width) {(height, width)}; expected both above 0")
    return height, width


def _finite(target: dict[str, Any], key: str) -> float:
    """Return a number that a centered window needs."""
    value = target.get(key)
    if value is None:
        raise TargetError(
            f"the target has no {key!r}; a window around a center needs 'cx' and 'cy', and 'width' and "
            "'height' unless 'window_dims' is a pair"
        )
    return as_finite(value, key)
