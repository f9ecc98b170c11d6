"""
The resolved form of a target: a placed window on one or more frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import WindowError
from ndsampler.sampling.options import DEFAULT_OPTIONS, ReadOptions
from ndsampler.windows import MAX_SAMPLE_BYTES, NO_MARGIN, PixelBox

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.frames.layout import FrameLayout

__all__ = ["NO_MARGIN", "FrameRequest", "SampleRegion", "check_size", "scaled_length"]

#: The identity matrix.
_IDENTITY = np.eye(3)


@dataclass(frozen=True, eq=False)
class SampleRegion:
    """A placed window on one or more frames."""

    layouts: tuple[FrameLayout | None, ...]
    """The files of each frame, in order; None for a frame outside the video."""
    is_video: bool
    """Whether the sample has a time axis."""
    box: PixelBox
    """The window without margins, in pixels of the image or video; it may extend outside."""
    pad: tuple[tuple[int, int], tuple[int, int]]
    """((top, bottom), (left, right)) margins in pixels."""
    data_dims: tuple[int, ...]
    """(height, width) of the image, or (frames, height, width) of the video."""
    options: ReadOptions = DEFAULT_OPTIONS
    """The reading options."""
    warps_space_from_img: tuple[NDArray[Any] | None, ...] = (None,)
    """For each frame the 3x3 matrix from its image to the space of the window; None for the identity."""
    stated_pad: Any = None
    """The key ``pad`` of a video target, as the user wrote it."""
    positions: tuple[int, ...] = ()
    """Position of each frame in the video, or in the list of images of the target."""

    @property
    def names_channels(self) -> bool:
        """Whether channel names are known, from the target or from the dataset for any of the frames."""
        if isinstance(self.options.channels, tuple):
            return True
        assets = (asset for layout in self.layouts if layout is not None for asset in layout.assets)
        return any(asset.channels is not None for asset in assets)

    @property
    def gids(self) -> tuple[Any, ...]:
        """Image id of each frame; None for a frame outside the video."""
        return tuple(None if layout is None else layout.gid for layout in self.layouts)

    @property
    def padded_box(self) -> PixelBox:
        """The window with its margins."""
        return self.box if self.pad == NO_MARGIN else self.box.padded(self.pad)

    @property
    def lies_inside(self) -> bool:
        """Whether the window with its margins is inside the image or video."""
        height, width = self.data_dims[-2:]
        return self.padded_box.lies_inside(height, width)

    @property
    def sample_dims(self) -> tuple[int, int]:
        """(height, width) of the sample: the padded window times the scale, rounded up."""
        height, width = self.padded_box.dims
        if not self.options.is_scaled:
            return height, width
        scale_x, scale_y = self.options.scale
        return scaled_length(height, scale_y), scaled_length(width, scale_x)

    @property
    def is_native(self) -> bool:
        """Whether each frame is returned as parts of different resolution."""
        return self.is_video and self.options.native and not self.options.lazy

    @property
    def is_lazy(self) -> bool:
        """Whether each frame is returned as a delayed image."""
        return self.is_video and self.options.lazy

    @property
    def warp_space_from_sample(self) -> NDArray[np.float64]:
        """3x3 matrix from sample coordinates to the space of the window."""
        box = self.padded_box
        matrix: NDArray[np.float64] = _IDENTITY.copy()
        matrix[0, 2], matrix[1, 2] = box.x0, box.y0
        if self.options.is_scaled:
            scale_x, scale_y = self.options.scale
            matrix[0, 0], matrix[1, 1] = 1 / scale_x, 1 / scale_y
        return matrix

    def frame_requests(self, channels: Any) -> list[FrameRequest]:
        """Return the request for each frame.

        Args:
            channels: see :attr:`FrameRequest.channels`.
        """
        return [
            FrameRequest(layout, warp, channels, self)
            for layout, warp in zip(self.layouts, self.warps_space_from_img)
        ]


@dataclass(frozen=True, eq=False)
class FrameRequest:
    """The request to read one frame of a region."""

    layout: FrameLayout | None
    """The files of the frame; None for a frame outside the video."""
    warp_space_from_img: NDArray[Any] | None
    """3x3 matrix from the image to the space of the window; None for the identity."""
    channels: Any
    """Names of the channels; for a still image, the result of
    :func:`ndsampler.frames.layout.parse_channels`."""
    region: SampleRegion
    """The window and the reading options."""


def scaled_length(length: int, factor: float) -> int:
    """Return a length times a factor, rounded up with a tolerance for rounding errors of the factor.

    Args:
        length: pixels.
        factor: scale.

    Returns:
        The scaled length, at least 1.

    Example:
        >>> scaled_length(10, 1.1), scaled_length(9, 0.5), scaled_length(10, 0.01)
        (11, 5, 1)
    """
    return max(1, math.ceil(length * factor - 1e-2))


def check_size(region: SampleRegion) -> None:
    """Raise an error if a sample is too large for memory, before any file is opened.

    Args:
        region: the region of the sample.

    Raises:
        WindowError: if it has more pixels than :data:`ndsampler.windows.MAX_SAMPLE_BYTES`.
    """
    height, width = region.sample_dims
    if height * width * len(region.layouts) > MAX_SAMPLE_BYTES:
        raise WindowError(
            f"the sample would have {len(region.layouts)} frames of (height, width) {(height, width)}, "
            f"more than {MAX_SAMPLE_BYTES} pixels. "
            "Use a smaller window or a smaller scale"
        )
