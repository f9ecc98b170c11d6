"""
Step 2: which frames, which window, read how.

After this step nobody looks into the user's dictionary any more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import TargetError, UnsupportedTaskError, WindowError
from ndsampler.frame_layout import parse_channels
from ndsampler.resample import Resampling
from ndsampler.windows import (
    MAX_SAMPLE_BYTES,
    PixelBox,
    as_finite,
    as_int,
    boundless_slices,
    centered_box,
    normalize_pad,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.abstract_frames import Frames

NO_MARGIN = ((0, 0), (0, 0))


@dataclass(frozen=True)
class ReadOptions:
    """How pixels are read, apart from where."""

    channels: Any = None
    """As :func:`ndsampler.frame_layout.parse_channels` returns them."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Factors for (x, y)."""
    resampling: Resampling = field(default_factory=Resampling)
    """How values between pixels are found."""
    nodata: Any = None
    """None, ``'float'``, ``'ma'`` or the value that means "no measurement"."""
    dtype: np.dtype[Any] | None = None
    """Type that the pixels are cast to; None leaves it."""
    padkw: dict[str, Any] | None = None
    """Arguments of :func:`numpy.pad` for what lies outside; None is zeros."""
    as_xarray: bool = False
    """Whether pixels come with named coordinates."""


DEFAULT_OPTIONS = ReadOptions()


@dataclass(frozen=True)
class SampleRegion:
    """A placed window on one or more frames."""

    gids: tuple[Any, ...]
    """Image ids of the frames in order."""
    is_video: bool
    """Whether the sample has a time axis."""
    box: PixelBox
    """The window without margins, in pixels of the frame; may reach outside."""
    pad: tuple[tuple[int, int], tuple[int, int]]
    """((top, bottom), (left, right)) margins in pixels."""
    data_dims: tuple[int, ...]
    """(height, width) of the frame in pixels."""
    options: ReadOptions = DEFAULT_OPTIONS
    """How the pixels are read."""

    @property
    def padded_box(self) -> PixelBox:
        """The window with its margins."""
        return self.box if self.pad == NO_MARGIN else self.box.padded(self.pad)

    @property
    def sample_dims(self) -> tuple[int, int]:
        """(height, width) of the sample: the padded window times the scale, rounded up."""
        height, width = self.padded_box.dims
        scale_x, scale_y = self.options.scale
        if scale_x == scale_y == 1:
            return height, width
        return scaled_length(height, scale_y), scaled_length(width, scale_x)

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


def resolve_region(target: dict[str, Any], frames: Frames) -> tuple[SampleRegion, dict[str, Any]]:
    """Decide what a target asks for.

    Args:
        target: as :func:`ndsampler.sampling.target.normalize_target` returns it.
        frames: knows the sizes of images.

    Returns:
        The region, and the target with the keys that say what was decided: ``space_dims``,
        ``data_dims``, ``window_dims`` for centered windows, ``space_slice`` and ``slices``.

    Raises:
        TargetError: if the target contradicts itself or lacks something.
        WindowError: if its window is malformed or absurdly large.
        UnknownIdError: if there is no such image.
    """
    if target.get("vidid") is not None or target.get("gids") is not None:
        raise UnsupportedTaskError(
            "the target names a video ('vidid' or 'gids'); this release samples still images: give 'gid'"
        )
    gid = target["gid"]
    dims = frames.image_dims(gid)
    pad = normalize_pad(target.get("pad"))
    inferred: dict[str, Any] = {"space_dims": dims, "data_dims": dims}
    box = _place_window(target, dims, inferred)
    options = read_options(target)
    region = SampleRegion((gid,), False, box, pad, dims, options)  # type: ignore[arg-type]
    _check_size(region)
    return region, {**target, **inferred}


def _place_window(target: dict[str, Any], dims: tuple[int, int], inferred: dict[str, Any]) -> PixelBox:
    """Return the window of a target on its image, noting how it was found."""
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
    elif isinstance(given, str) or not hasattr(given, "__len__") or len(given) != 2:
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


def _check_size(region: SampleRegion) -> None:
    """Refuse an absurdly large sample before any file is opened."""
    height, width = region.sample_dims
    if height * width > MAX_SAMPLE_BYTES:
        raise WindowError(
            f"the sample would have (height, width) {(height, width)}: more than {MAX_SAMPLE_BYTES} pixels. "
            "Ask for a smaller window, or a smaller scale"
        )


OPTION_KEYS = ("channels", "scale", "interpolation", "antialias", "nodata", "dtype", "padkw", "as_xarray")


def read_options(target: dict[str, Any]) -> ReadOptions:
    """Return the reading options that a target states.

    Raises:
        TargetError: for a value that is not understood.

    Example:
        >>> read_options({'scale': (2, 0.5)}).scale
        (2.0, 0.5)
    """
    if target.keys().isdisjoint(OPTION_KEYS):
        return DEFAULT_OPTIONS
    return ReadOptions(
        channels=parse_channels(target.get("channels")),
        scale=_scale(target.get("scale")),
        resampling=_resampling(target),
        nodata=_nodata(target.get("nodata")),
        dtype=_dtype(target.get("dtype")),
        padkw=_padkw(target.get("padkw")),
        as_xarray=bool(target.get("as_xarray", False)),
    )


def _scale(value: Any) -> tuple[float, float]:
    """Return a scale as (x, y) factors."""
    pair = (value, value) if not hasattr(value, "__len__") else tuple(value)
    if value is None:
        return 1.0, 1.0
    try:
        scale_x, scale_y = (float(factor) for factor in pair)
    except (TypeError, ValueError):
        raise TargetError(f"scale is {value!r}; expected a number, or a pair for (x, y)") from None
    if not (0 < scale_x < math.inf and 0 < scale_y < math.inf):
        raise TargetError(f"scale is {value!r}; expected factors above 0")
    return scale_x, scale_y


def _resampling(target: dict[str, Any]) -> Resampling:
    """Return how values between pixels are found."""
    interpolation = target.get("interpolation")
    antialias = target.get("antialias")
    if antialias not in (None, "auto", True, False):
        raise TargetError(f"antialias is {antialias!r}; expected True, False or 'auto'")
    return Resampling("auto" if interpolation is None else interpolation, antialias is not False)


def _nodata(value: Any) -> Any:
    """Return what to do about missing measurements."""
    if value is None or value == "float" or value == "ma":
        return value
    if value == "auto":
        return "float"
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return value
    raise TargetError(f"nodata is {value!r}; expected None, 'float', 'auto', 'ma' or a number")


def _dtype(value: Any) -> np.dtype[Any] | None:
    """Return the type to cast to."""
    if value is None:
        return None
    try:
        return np.dtype(value)
    except TypeError as ex:
        raise TargetError(f"dtype is {value!r}; expected a numpy type: {ex}") from ex


def _padkw(value: Any) -> dict[str, Any] | None:
    """Return arguments of :func:`numpy.pad`, or None where they mean zeros."""
    if value is None or value == {"mode": "constant"}:
        return None
    if not isinstance(value, dict):
        raise TargetError(f"padkw is {value!r}; expected a dictionary of arguments of numpy.pad")
    return {"mode": "constant", **value}
