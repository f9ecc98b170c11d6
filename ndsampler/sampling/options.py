"""
Reading options: the keys of a target that control how pixels are read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import TargetError
from ndsampler.frames.layout import parse_channels
from ndsampler.frames.nodata import DECLARED
from ndsampler.frames.resample import Resampling
from ndsampler.windows import is_sequence, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The largest scale factor; its inverse is the smallest.
MAX_SCALE = 1e6


@dataclass(frozen=True)
class ReadOptions:
    """Options for reading the pixels of a window."""

    channels: Any = None
    """The channels, as :func:`ndsampler.frames.layout.parse_channels` returns them."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Scale factors for (x, y)."""
    resampling: Resampling = field(default_factory=Resampling)
    """The interpolation between pixels."""
    nodata: Any = None
    """None, one of :data:`ndsampler.frames.nodata.DECLARED`, or the value that marks pixels without a
    measurement."""
    dtype: np.dtype[Any] | None = None
    """Type to which the pixels are cast; None keeps their type."""
    padkw: dict[str, Any] | None = None
    """Arguments of :func:`numpy.pad` for pixels outside the image; None means zeros."""
    as_xarray: bool = False
    """Whether the pixels are returned as an xarray with named coordinates."""
    native: bool = False
    """Whether the assets of a video's frames are returned as separate parts at their own resolutions."""
    realign: str | None = None
    """``'largest'`` resizes the parts of native scale to the largest of them and joins them."""
    lazy: bool = False
    """Whether the frames of a video are returned as delayed images."""

    @property
    def changes_values(self) -> bool:
        """Whether pixels are masked, cast or labeled after they have been read."""
        return self.nodata == "ma" or self.dtype is not None or self.as_xarray

    @property
    def is_scaled(self) -> bool:
        """Whether the pixels of the window are resampled."""
        return self.scale != (1.0, 1.0)

    @property
    def scale_matrix(self) -> NDArray[np.float64] | None:
        """3x3 matrix of the scale; None for the identity."""
        return np.diag([*self.scale, 1.0]) if self.is_scaled else None


#: The options of a target that states none.
DEFAULT_OPTIONS = ReadOptions()

#: The keys of a target that are reading options.
OPTION_KEYS = (
    "channels",
    "scale",
    "interpolation",
    "antialias",
    "nodata",
    "dtype",
    "padkw",
    "as_xarray",
    "use_native_scale",
    "realign_native",
    "finalize",
)


def read_options(target: dict[str, Any]) -> ReadOptions:
    """Return the reading options of a target.

    Args:
        target: the user's dictionary.

    Raises:
        TargetError: for an invalid value.

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
        as_xarray=read_flag(target, "as_xarray", False),
        native=read_flag(target, "use_native_scale", False),
        realign=_realign(target.get("realign_native")),
        lazy=not read_flag(target, "finalize", True),
    )


def read_flag(target: dict[str, Any], key: str, default: bool) -> bool:
    """Return the value of a flag in a target.

    Args:
        target: the user's dictionary.
        key: name of the flag.
        default: value if the target does not state the flag, or states None.

    Raises:
        TargetError: for an array, or another value that is neither true nor false.

    Example:
        >>> read_flag({'as_xarray': 1}, 'as_xarray', False), read_flag({}, 'finalize', True)
        (True, True)
    """
    value = target.get(key)
    if value is None:
        return default
    try:
        flag = None if getattr(value, "ndim", 0) else bool(value)
    except (TypeError, ValueError):
        flag = None
    if flag is None:
        raise TargetError(f"{key} is {value!r}; expected True or False")
    return flag


def _realign(value: Any) -> str | None:
    """Check the option ``realign_native``."""
    if value is None or value is False or (isinstance(value, str) and value == "largest"):
        return value or None
    raise TargetError(f"realign_native is {value!r}; expected None or 'largest'")


def _scale(value: Any) -> tuple[float, float]:
    """Return the (x, y) scale factors."""
    pair = tuple(value) if is_sequence(value) else (value, value)
    if value is None:
        return 1.0, 1.0
    try:
        scale_x, scale_y = (float(factor) for factor in pair)
    except (TypeError, ValueError, OverflowError):
        raise TargetError(f"scale is {value!r}; expected a number, or a pair for (x, y)") from None
    if not all(1 / MAX_SCALE <= factor <= MAX_SCALE for factor in (scale_x, scale_y)):
        raise TargetError(
            f"scale is {value!r}; expected factors above 0, from {1 / MAX_SCALE} to {MAX_SCALE:.0f}"
        )
    return scale_x, scale_y


def _resampling(target: dict[str, Any]) -> Resampling:
    """Return the interpolation that the target states."""
    interpolation = target.get("interpolation")
    antialias = target.get("antialias")
    is_auto = antialias is None or (isinstance(antialias, str) and antialias == "auto")
    if not is_auto and not isinstance(antialias, (bool, np.bool_, int)):
        raise TargetError(f"antialias is {antialias!r}; expected True, False or 'auto'")
    if interpolation is not None and not isinstance(interpolation, str):
        raise TargetError(f"interpolation is {interpolation!r}; expected the name of a method, or 'auto'")
    return Resampling(
        "auto" if interpolation is None else interpolation, bool(antialias) or antialias is None
    )


def _nodata(value: Any) -> Any:
    """Return how pixels without a measurement are treated."""
    if value is None or (isinstance(value, str) and value in DECLARED):
        return value
    if isinstance(value, str) and value == "auto":
        return "float"
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise TargetError(f"nodata is {shown(value)}; expected a number that fits into 64 bits")
        return value
    raise TargetError(
        f"nodata is {value!r}; expected None, 'float', 'auto', 'ma' or a number; or 'alpha', which also "
        "includes transparent pixels"
    )


def _dtype(value: Any) -> np.dtype[Any] | None:
    """Return the type to which pixels are cast."""
    if value is None:
        return None
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except (TypeError, ValueError, SyntaxError) as ex:
        raise TargetError(f"dtype is {value!r}; expected a numpy type: {ex}") from ex
    if dtype.kind not in "biufc":
        raise TargetError(f"dtype is {value!r}; expected a numeric numpy type, such as 'float32'")
    return dtype


def _padkw(value: Any) -> dict[str, Any] | None:
    """Return the arguments of :func:`numpy.pad`; None if they mean padding with zeros."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise TargetError(f"padkw is {value!r}; expected a dictionary of arguments of numpy.pad")
    complete = {"mode": "constant", **value}
    return None if len(complete) == 1 and complete["mode"] == "constant" else complete
