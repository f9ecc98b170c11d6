"""
The last step for pixels: masks, the type, and named axes.

:func:`finish_pixels` handles single images, the joined frames of a video, and the parts of native scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndsampler.frames.nodata import nan_of
from ndsampler.frames.warp import to_type
from ndsampler.sampling.options import DEFAULT_OPTIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.sampling.region import SampleRegion


class FramePixels(NamedTuple):
    """The pixels of one frame of a sample, of one part of a frame, or of all frames."""

    pixels: Any
    """(height, width, channels), or (time, height, width, channels); in native scale a list of
    :class:`FramePixels`; a delayed image; None for a frame outside the video."""
    channels: tuple[str, ...] | None
    """Names of the channels; None if they are not needed."""
    density: tuple[float, float] = (1.0, 1.0)
    """(x, y) number of pixels per pixel of the window."""
    dtype: np.dtype[Any] | None = None
    """Type of the pixels in their files; None if it is not needed."""
    parts: dict[str, Any] | None = None
    """In native scale, the description of the parts."""


def finish_frames(region: SampleRegion, frames: list[FramePixels]) -> Any:
    """Return the pixels of a sample in the form that the reading options describe.

    Args:
        region: the window and the reading options.
        frames: the pixels of each frame.
    """
    if not region.is_video:
        return finish_pixels(frames[0], region)
    if region.is_lazy:
        return [frame.pixels for frame in frames]
    if region.is_native:
        return [[finish_pixels(part, region) for part in frame.pixels] for frame in frames]
    return finish_pixels(stack_frames(frames), region)


def finish_pixels(read: FramePixels, region: SampleRegion) -> Any:
    """Mask, cast and label pixels as the reading options describe.

    Args:
        read: the pixels; those to be masked are NaN.
        region: the window and the reading options.
    """
    options, pixels = region.options, read.pixels
    if options is DEFAULT_OPTIONS or not options.changes_values:
        return pixels
    if options.nodata == "ma":
        pixels = _as_masked(pixels, None if options.is_scaled else read.dtype)
    if options.dtype is not None:
        pixels = _cast(pixels, options.dtype)
    return _as_data_array(pixels, read, region) if options.as_xarray else pixels


def stack_frames(frames: list[FramePixels]) -> FramePixels:
    """Return the frames of a video as one array; a frame outside the video is NaN, or 0 for integers.

    Args:
        frames: the pixels of each frame; at least one of them exists.
    """
    real = [frame for frame in frames if frame.pixels is not None]
    first = real[0]
    dtype = np.result_type(*(frame.pixels.dtype for frame in real))
    pixels = np.full((len(frames), *first.pixels.shape), nan_of(dtype), dtype)
    for index, frame in enumerate(frames):
        if frame.pixels is not None:
            pixels[index] = frame.pixels
    kinds = [frame.dtype for frame in real if frame.dtype is not None]
    return FramePixels(pixels, first.channels, first.density, np.result_type(*kinds) if kinds else None)


def _as_masked(pixels: NDArray[Any], file_dtype: np.dtype[Any] | None) -> Any:
    """Return a masked array in which NaN is masked, in the type of the files if it is given."""
    mask = np.isnan(pixels)
    if file_dtype is not None and file_dtype.kind in "iub":
        pixels = to_type(np.where(mask, 0, pixels), file_dtype)
    elif pixels.dtype == np.longdouble:
        pixels = pixels.astype(np.float64)
    return np.ma.MaskedArray(pixels, mask)


def _cast(pixels: Any, dtype: np.dtype[Any]) -> Any:
    """Cast pixels; NaN becomes 0 in a type without NaN."""
    if dtype.kind in "iub" and pixels.dtype.kind in "fc":
        values = np.nan_to_num(np.ma.getdata(pixels), nan=0.0).astype(dtype)
        return np.ma.MaskedArray(values, pixels.mask) if np.ma.isMaskedArray(pixels) else values
    return pixels.astype(dtype, copy=False)


def _as_data_array(pixels: Any, read: FramePixels, region: SampleRegion) -> Any:
    """Return pixels with named axes.

    Only the channels are an index. The positions of rows, columns and frames in the image or video are
    coordinates that xarray does not use for alignment, so that windows from different places can be added.
    """
    import xarray

    height, width, _ = pixels.shape[-3:]
    box, (density_x, density_y) = region.padded_box, read.density
    # Positions of pixel centers; the center of the first pixel of the image is at 0.
    coords: dict[str, Any] = {
        "row": ("y", (np.arange(height) + 0.5) / density_y + box.y0 - 0.5),
        "col": ("x", (np.arange(width) + 0.5) / density_x + box.x0 - 0.5),
        "c": list(read.channels or ()),
    }
    dims: tuple[str, ...] = ("y", "x", "c")
    if pixels.ndim == 4:
        dims, coords["frame"] = ("t", *dims), ("t", np.array(region.positions, dtype=np.int64))
    return xarray.DataArray(pixels, dims=dims, coords=coords)
