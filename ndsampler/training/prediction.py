"""
Applies a function to a whole image, window by window, and writes the result as a map.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ndsampler.backends.gdal_georeference import Georeference, read_georeference
from ndsampler.errors import ArgumentError, ArgumentTypeError, WindowError
from ndsampler.pools.arguments import as_count
from ndsampler.pools.window_grid import Slider
from ndsampler.training.blending import NEAREST, WEIGHTS, Axis, Blend, accumulator_type
from ndsampler.training.unfinished import UnfinishedMap
from ndsampler.utils.file_version import FileVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ndsampler.coco_sampler import CocoSampler
    from ndsampler.frames.layout import FrameLayout
    from ndsampler.types import PathLike

__all__ = ["predict"]

#: The types that a map is stored as, and those that are stored as others.
_STORED = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
_STAND_INS = {"bool": "uint8", "float16": "float32"}

#: The keys of a target that ``predict`` understands.
_KEYS = ("gid", "channels", "nodata", "dtype")

#: A window: its number along the rows, and along the columns.
Place = tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Job:
    """The computation of a map: a function of the windows of an image."""

    sampler: CocoSampler
    """Reads the windows."""

    target: dict[str, Any]
    """The id of the image, and the options for reading it."""

    function: Callable[[NDArray[Any]], Any]
    """The function, which returns the values of a batch of windows."""

    rows: Axis
    """The windows along the rows of the image."""

    columns: Axis
    """The windows along its columns."""

    weights: str
    """How overlapping windows are blended."""

    @property
    def dims(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self.rows.length, self.columns.length

    def read(self, places: list[Place]) -> NDArray[Any]:
        """Return the (N, height, width, channels) pixels of windows.

        Windows of one row are read together, so that each pixel is decoded only once.
        """
        parts = []
        for row, group in groupby(places, itemgetter(0)):
            starts = [self.columns.starts[column] for _, column in group]
            slices = (_slice(self.rows, row), slice(starts[0], starts[-1] + self.columns.size))
            pixels = self.sampler.load_sample({**self.target, "slices": slices}, with_annots=False)["im"]
            first = starts[0]
            parts += [pixels[:, left - first : left - first + self.columns.size] for left in starts]
        return np.stack(parts)

    def apply(self, places: list[Place], pixels: NDArray[Any]) -> NDArray[Any]:
        """Return (N, height, width, bands) values of windows.

        Args:
            places: the windows.
            pixels: their (N, height, width, channels) pixels.

        Raises:
            ArgumentError: if the function returns an array of another shape or type, or NaN or infinite
                values.
        """
        expected = pixels.shape[:3]
        values = np.asarray(self.function(pixels))
        if values.ndim != 4 or values.shape[:3] != expected or not values.shape[3]:
            raise ArgumentError(
                f"the function returned an array of shape {values.shape} for pixels of shape {pixels.shape}; "
                f"expected ({', '.join(map(str, expected))}, K) with K values for each pixel"
            )
        values = values.astype(_STAND_INS.get(values.dtype.name, values.dtype), copy=False)
        if values.dtype.name not in _STORED:
            raise ArgumentError(f"the function returned {values.dtype}; expected one of {', '.join(_STORED)}")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            self._refuse_values(places, values)
        return values

    def _refuse_values(self, places: list[Place], values: NDArray[Any]) -> None:
        """Raise an ArgumentError that names the first window with a value that is not finite."""
        wrong = int(np.argmin(np.isfinite(values).all(axis=(1, 2, 3))))
        row, column = places[wrong]
        raise ArgumentError(
            f"the function returned NaN or infinite values for rows {self.rows.starts[row]} and columns "
            f"{self.columns.starts[column]} and following; such values would spread to all windows that "
            "overlap. Replace them in the function, with numpy.nan_to_num for example"
        )


def predict(
    sampler: CocoSampler,
    gid: int | dict[str, Any],
    function: Callable[[NDArray[Any]], Any],
    window_dims: Sequence[int],
    overlap: float | tuple[float, float] = 0.25,
    out: PathLike = "map.tif",
    batch_size: int = 8,
    weights: Literal["hann", "linear", "uniform", "nearest"] = "hann",
) -> str:
    """Apply a function to a whole image in overlapping windows, and write the result as a map.

    The map is a cloud-optimized GeoTIFF with the georeference of the image and one band for each value that
    the function returns for a pixel. It covers the whole image, whatever its annotations are. The last window
    of a row or column is moved back so that it ends at the border, so all windows have the same size. Memory
    holds one row of windows, not the image.

    Finished rows are kept in the folder ``out + '.partial'`` until the map is complete. After a crash or a
    kill, the same call continues from there. It starts over if the image or an argument other than
    ``batch_size`` and ``function`` was changed: **remove that folder if the function has changed**.

    Args:
        sampler: reads the image.
        gid: image id; or a dictionary with ``gid`` and reading options: ``channels``, ``nodata``, ``dtype``.
        function: takes (N, height, width, channels) pixels and returns (N, height, width, K) numbers. N is at
            most ``batch_size``.
        window_dims: (height, width) of a window in pixels.
        overlap: fraction of a window that overlaps with the next one, at least 0 and below 1: one number, or
            one for each axis.
        out: path of the map. An existing file is replaced when the new one is complete.
        batch_size: maximum number of windows in one call of the function.
        weights: how windows are averaged where they overlap: ``'hann'`` (the weight is largest in the middle
            of a window and almost 0 at its border), ``'linear'``, or ``'uniform'``; or ``'nearest'``, which
            takes each pixel from the window whose center is nearest. Use ``'nearest'`` for class indexes,
            whose average has no meaning. Averages of integers are rounded.

    Returns:
        Absolute path of the map.

    Raises:
        UnknownIdError: if there is no such image.
        WindowError: if a window is larger than the image.
        ArgumentError: for any other invalid argument, if the function returns an array of another shape, NaN
            or infinite values, or if another process writes the same map.
        MissingSourceError: if the folder of ``out``, or the image file, does not exist.
        SourceError: if the image file is damaged.
        CacheError: if the map cannot be written, for example because the disk is full.

    Example:
        >>> import os, tempfile
        >>> import ndsampler
        >>> sampler = ndsampler.CocoSampler.demo('shapes8')
        >>> def brightness(pixels):
        ...     return pixels.mean(axis=3, keepdims=True, dtype='float32')
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = predict(sampler, 1, brightness, (256, 256), out=os.path.join(folder, 'map.tif'))
        ...     os.path.basename(path)
        'map.tif'
    """
    size = as_count(batch_size, "batch_size")
    if not size:
        raise ArgumentError(f"batch_size={batch_size!r}; expected a whole number above 0")
    job = _plan(sampler, gid, function, window_dims, overlap, weights)
    layout = sampler.frames.layout(job.target["gid"])
    unfinished = UnfinishedMap(os.fspath(out), _describe(job, layout), job.dims)
    with contextlib.closing(unfinished):
        if unfinished.rows_done < job.dims[0]:
            _write_rows(job, unfinished, size)
        georeference = _find_georeference(layout)
        unfinished.finish(georeference, "NEAREST" if weights == NEAREST else "AVERAGE")
    return unfinished.path


def _plan(
    sampler: CocoSampler, gid: Any, function: Any, window_dims: Any, overlap: Any, weights: str
) -> _Job:
    """Check the arguments of :func:`predict`, and return the computation that they describe."""
    if not callable(function):
        raise ArgumentTypeError(f"function is {function!r}; expected a function of an array of pixels")
    if not isinstance(weights, str) or weights not in WEIGHTS:
        raise ArgumentError(f"weights is {weights!r}; expected one of {', '.join(map(repr, WEIGHTS))}")
    target = dict(gid) if isinstance(gid, dict) else {"gid": gid}
    unknown = sorted(set(target) - set(_KEYS))
    if unknown or "gid" not in target:
        raise ArgumentError(
            f"gid is {gid!r}; expected an image id, or a dictionary with 'gid' and some of {_KEYS[1:]}"
        )
    if target.get("nodata") == "ma":
        raise ArgumentError("nodata is 'ma'; functions get plain arrays: use 'float', which returns NaN")
    slider = Slider.from_arguments(window_dims, overlap, ("height", "width"))
    dims = sampler.frames.image_dims(target["gid"])
    axes = []
    for axis, length in enumerate(dims):
        starts, size = slider.starts(axis, length)
        if size > length:
            raise WindowError(
                f"window_dims is {window_dims!r}, and image {target['gid']} has (height, width) {dims}; "
                "expected a window that fits into it"
            )
        axes.append(Axis.from_starts(starts.tolist(), size, length, weights))
    return _Job(sampler, target, function, axes[0], axes[1], weights)


def _describe(job: _Job, layout: FrameLayout) -> dict[str, Any]:
    """Return all inputs of a map other than the function, as values that JSON can store."""
    files = []
    for asset in layout.assets:
        version = FileVersion.find(asset.path)
        files.append([asset.path, *([] if version is None else [version.size, version.mtime_ns])])
    return {
        "files": files,
        "target": {key: str(value) for key, value in sorted(job.target.items())},
        "dims": list(job.dims),
        "window": [job.rows.size, job.columns.size],
        "starts": [job.rows.starts, job.columns.starts],
        "weights": job.weights,
    }


def _write_rows(job: _Job, unfinished: UnfinishedMap, batch_size: int) -> None:
    """Compute the rows of the map that are missing, and write them."""
    done = unfinished.rows_done
    first = job.rows.first_reaching(done)
    blend: Blend | None = None
    for (row, column), values in _apply_all(job, first, batch_size):
        if blend is None:
            _begin(job, unfinished, values)
            blend = Blend(job.rows, job.columns, values.shape[2], values.dtype, job.weights)
        _check_values(values, unfinished)
        blend.add(row, column, values)
        if column == len(job.columns.starts) - 1:
            complete = blend.take(row)
            # A resumed run recomputes the windows above the first missing row, because they overlap it.
            unfinished.append(complete[max(0, done - job.rows.bounds[row]) :])


def _begin(job: _Job, unfinished: UnfinishedMap, values: NDArray[Any]) -> None:
    """Start the map with the first window, unless a run is resumed."""
    accumulator_type(values.dtype, job.weights)
    if unfinished.values is None:
        unfinished.begin(values.shape[2], values.dtype)


def _check_values(values: NDArray[Any], unfinished: UnfinishedMap) -> None:
    """Raise an ArgumentError if a window has other bands or another type than the map."""
    found = (values.shape[2], values.dtype)
    if found != unfinished.values:
        bands, dtype = unfinished.values or found
        raise ArgumentError(
            f"the function returned {found[0]} values of {found[1]} for each pixel, and {bands} of {dtype} "
            "before; expected the same for all windows. If the function has changed since a run that was "
            f"stopped, remove the folder of that run, {unfinished.folder}"
        )


def _apply_all(job: _Job, first: int, batch_size: int) -> Iterator[tuple[Place, NDArray[Any]]]:
    """Yield each window, starting with a given row of windows, with its values."""
    for places, pixels in _read_all(job, first, batch_size):
        yield from zip(places, job.apply(places, pixels), strict=True)


def _read_all(job: _Job, first: int, batch_size: int) -> Iterator[tuple[list[Place], NDArray[Any]]]:
    """Yield batches of windows with their pixels. Each is read while the previous one is being used."""
    places = (
        (row, column)
        for row in range(first, len(job.rows.starts))
        for column in range(len(job.columns.starts))
    )
    with ThreadPoolExecutor(1, "ndsampler-read") as executor:
        batch = list(islice(places, batch_size))
        reading = executor.submit(job.read, batch)
        while batch:
            pixels, done = reading.result(), batch
            if batch := list(islice(places, batch_size)):
                reading = executor.submit(job.read, batch)
            yield done, pixels


def _slice(axis: Axis, window: int) -> slice:
    start = axis.starts[window]
    return slice(start, start + axis.size)


def _find_georeference(layout: FrameLayout) -> Georeference:
    """Return the georeference of an image: that of its first file that has one."""
    for asset in layout.assets:
        found = read_georeference(asset.path).warped(asset.warp_img_from_asset)
        if found:
            return found
    return Georeference()
