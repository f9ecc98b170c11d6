"""
The part of a target that says where pixels lie, and the region that comes of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import TargetError, WindowError
from ndsampler.sampling.options import DEFAULT_OPTIONS, ReadOptions
from ndsampler.windows import (
    MAX_SAMPLE_BYTES,
    PixelBox,
    as_finite,
    as_int,
    boundless_slices,
    centered_box,
    is_sequence,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.frames.layout import FrameLayout

NO_MARGIN = ((0, 0), (0, 0))


@dataclass(frozen=True)
class SampleRegion:
    """A placed window on one or more frames."""

    layouts: tuple[FrameLayout | None, ...]
    """The files of the frames in order; None for one outside the video."""
    is_video: bool
    """Whether the sample has a time axis."""
    box: PixelBox
    """The window without margins, in pixels of the frame; may reach outside."""
    pad: tuple[tuple[int, int], tuple[int, int]]
    """((top, bottom), (left, right)) margins in pixels."""
    data_dims: tuple[int, ...]
    """(height, width) of the image, or (frames, height, width) of the video."""
    options: ReadOptions = DEFAULT_OPTIONS
    """How the pixels are read."""
    warps_space_from_img: tuple[NDArray[Any] | None, ...] = (None,)
    """For each frame the 3x3 matrix from its image to the window's space; None when they are the same."""
    stated_pad: Any = None
    """The margin as the target of a video states it."""

    @property
    def gids(self) -> tuple[Any, ...]:
        """Image ids of the frames; None for one outside the video."""
        return tuple(None if layout is None else layout.gid for layout in self.layouts)

    @property
    def padded_box(self) -> PixelBox:
        """The window with its margins."""
        return self.box if self.pad == NO_MARGIN else self.box.padded(self.pad)

    @property
    def sample_dims(self) -> tuple[int, int]:
        """(height, width) of the sample: the padded window times the scale, rounded up."""
        height, width = self.padded_box.dims
        if not self.options.is_scaled:
            return height, width
        scale_x, scale_y = self.options.scale
        return scaled_length(height, scale_y), scaled_length(width, scale_x)

    @property
    def warped_layouts(self) -> list[tuple[FrameLayout | None, NDArray[Any] | None]]:
        """For each frame its files, and the matrix from its image to the window's space."""
        return list(zip(self.layouts, self.warps_space_from_img))

    @property
    def is_native(self) -> bool:
        """Whether each frame comes as parts of different resolution."""
        return self.is_video and self.options.native and not self.options.lazy

    @property
    def is_lazy(self) -> bool:
        """Whether each frame comes as a delayed image."""
        return self.is_video and self.options.lazy

    @property
    def warp_space_from_sample(self) -> NDArray[np.float64]:
        """3x3 matrix from sample coordinates to pixels of the frame."""
        box, (scale_x, scale_y) = self.padded_box, self.options.scale
        return np.array([[1 / scale_x, 0.0, box.x0], [0.0, 1 / scale_y, box.y0], [0.0, 0.0, 1.0]])


def scaled_length(length: int, factor: float) -> int:
    """Return a length times a factor, rounded up, with a tolerance for inexact factors.

    Example:
        >>> scaled_length(10, 1.1), scaled_length(9, 0.5), scaled_length(10, 0.01)
        (11, 5, 1)
    """
    return max(1, math.ceil(length * factor - 1e-2))


def place_window(target: dict[str, Any], dims: tuple[int, int], inferred: dict[str, Any]) -> PixelBox:
    """Return the window of a target on its image or video.

    Args:
        target: states it.
        dims: (height, width) of the space it lies in.
        inferred: receives the keys that say how it was found.

    Raises:
        TargetError: if the target lacks something.
        WindowError: if the window is malformed.
    """
    asked = target.get("space_slice")
    if asked is None:
        asked = target.get("slices")
    if asked is None and target.get("cx") is None and target.get("cy") is None:
        if target.get("window_dims") is not None or target.get("width") is not None:
            raise TargetError(
                "the target has the size of a window but not its place; give 'cx' and 'cy', or 'slices'"
            )
        asked = (slice(0, dims[0]), slice(0, dims[1]))
    if asked is not None:
        (y0, y1), (x0, x1) = boundless_slices(asked, dims)
        inferred["space_slice"] = inferred["slices"] = asked
        return PixelBox(y0, y1, x0, x1)
    height, width = _window_dims(target, inferred)
    cx, cy = (as_finite(_required(target, key), key) for key in ("cx", "cy"))
    box = centered_box(cx, cy, height, width)
    inferred["space_slice"] = inferred["slices"] = box.slices
    return box


def _window_dims(target: dict[str, Any], inferred: dict[str, Any]) -> tuple[int, int]:
    """Return (height, width) of a centered window."""
    given = target.get("window_dims")
    if given is None or (isinstance(given, str) and given in ("extent", "square")):
        height, width = (math.ceil(as_finite(_required(target, key), key)) for key in ("height", "width"))
        if given == "square":
            height = width = max(height, width)
        inferred["window_dims"] = (height, width)
    elif not is_sequence(given) or len(given) != 2:
        raise WindowError(
            f"window_dims is {given!r}; expected a pair (height, width) of whole numbers, 'square', "
            "'extent' or None"
        )
    else:
        height, width = (as_int(value, "window_dims") for value in given)
        inferred["window_dims"] = given
    if height <= 0 or width <= 0:
        raise WindowError(f"the window has (height, width) {(height, width)}; expected both above 0")
    return height, width


def _required(target: dict[str, Any], key: str) -> Any:
    """Return a value that a centered window cannot do without."""
    value = target.get(key)
    if value is None:
        raise TargetError(
            f"the target has no {key!r}; a window around a center needs 'cx' and 'cy', and 'width' and "
            "'height' unless 'window_dims' is a pair"
        )
    return value


def check_size(region: SampleRegion) -> None:
    """Refuse an absurdly large sample before any file is opened.

    Raises:
        WindowError: if it has more pixels than :data:`ndsampler.windows.MAX_SAMPLE_BYTES`.
    """
    height, width = region.sample_dims
    if height * width * len(region.gids) > MAX_SAMPLE_BYTES:
        raise WindowError(
            f"the sample would have {len(region.gids)} frames of (height, width) {(height, width)}, "
            f"more than {MAX_SAMPLE_BYTES} pixels. "
            "Ask for a smaller window, or a smaller scale"
        )
