"""
Reading the pixels of one frame from its assets onto a grid.
"""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from ndsampler.backends.base import as_masked
from ndsampler.dataset.missing_file import describe_missing
from ndsampler.errors import (
    CacheError,
    DatasetMismatchError,
    MissingSourceError,
    SourceError,
    escape_causes,
)
from ndsampler.frames.grid import AssetShape, Grid, choose_gaps, choose_pixels
from ndsampler.frames.layout import Asset, FrameLayout, ReadPlan, band_names, plan_reads
from ndsampler.frames.resample import place, read_onto_grid
from ndsampler.frames.view import FrameView
from ndsampler.utils.interleave import can_interleave, interleave
from ndsampler.windows import PixelBox, check_affordable, embed_box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ndsampler.backends.base import RegionReader
    from ndsampler.cache.frame_cache import FrameCache
    from ndsampler.frames.nodata import Gaps

Result = TypeVar("Result")

#: Maximum number of reading plans that one reader remembers.
MAX_PLANS = 20_000


class FrameReader:
    """Reads frames through a cache.

    Args:
        cache: opens single files.
    """

    def __init__(self, cache: FrameCache) -> None:
        self._cache = cache
        # Plans of layouts for which the dataset states all channels; they depend on nothing else.
        self._plans: dict[tuple[FrameLayout, Any, bool, bool], ReadPlan] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}

    def asset_shape(self, layout: FrameLayout, asset: Asset) -> AssetShape:
        """Open a file and return its shape.

        Raises:
            SourceError: if it is missing or damaged; the message names the image.
        """
        return self.visit(layout, asset, _shape_of)

    def visit(self, layout: FrameLayout, asset: Asset, action: Callable[[RegionReader], Result]) -> Result:
        """Call a function with an open file of the size that the dataset states.

        Args:
            layout: the frame that the file belongs to.
            asset: the file.
            action: the function; it is called again if the file was replaced in the meantime.

        Raises:
            SourceError: if the file is missing or damaged; the message names the image.
            CacheError: if its entry cannot be made or read; the message names the image.
        """

        def act(reader: RegionReader) -> Result:
            if asset.dims is not None and asset.dims != reader.shape[:2]:
                # Windows would not show the place that annotations refer to.
                raise DatasetMismatchError(
                    f"{asset.path} has (height, width) {reader.shape[:2]}; the dataset states "
                    f"{asset.dims}. Correct 'width' and 'height' of the image or asset (orientation tags "
                    "of photographs are not applied)"
                )
            if asset.channels is not None and len(asset.channels) > reader.shape[2]:
                raise DatasetMismatchError(
                    f"{asset.path} has {reader.shape[2]} bands; the dataset states {'|'.join(asset.channels)}"
                )
            return action(reader)

        try:
            return self._cache.visit(asset.source, act)
        except (SourceError, CacheError) as ex:
            _raise_named(ex, layout)

    def ensure(self, layout: FrameLayout) -> list[str]:
        """Make missing entries, and return the file that is read for each asset.

        Raises:
            SourceError: if a source cannot be read; the message names the image.
            CacheError: if an entry cannot be written; the message names the image.
        """
        with _image_in_errors(layout):
            return [self._cache.ensure(asset.source) for asset in layout.assets]

    def find_file(self, layout: FrameLayout, asset: Asset) -> str:
        """Return the file that windows of an asset are read from: its entry, or the source itself.

        Raises:
            SourceError: if the source cannot be read; the message names the image.
            CacheError: if an entry cannot be written; the message names the image.
        """
        with _image_in_errors(layout):
            return self._cache.find_file(asset.source)

    def find_ready(self, layout: FrameLayout) -> list[str | None]:
        """Return the files that :meth:`ensure` returns, with None for each entry that does not exist yet.

        Raises:
            MissingSourceError: if a source does not exist; the message names the image.
        """
        with _image_in_errors(layout):
            return [self._cache.find_ready(asset.source) for asset in layout.assets]

    def explain_conversion(self, path: str) -> str:
        """Return why a source is converted that could be read in place; empty for any other source.

        Args:
            path: the source file.
        """
        return self._cache.backend.explain_conversion(path)

    def plan(
        self, layout: FrameLayout, names: Any = None, *, allow_missing: bool = False, sort_all: bool = False
    ) -> ReadPlan:
        """Decide which bands to read for the requested channels.

        See :func:`ndsampler.frames.layout.plan_reads`. Only files whose channels the dataset does not state
        are opened.
        """
        request = (layout, names, allow_missing, sort_all)
        known = self._plans.get(request)
        if known is not None:
            return known
        assets = layout.default_assets if names is None else layout.assets
        stated = all(asset.channels is not None for asset in assets)
        counts = {
            asset.path: len(asset.channels) if asset.channels else self.asset_shape(layout, asset).count
            for asset in assets
        }
        made = plan_reads(layout, names, counts, allow_missing=allow_missing, sort_all=sort_all)
        if stated:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            self._plans[request] = made
        return made

    def channel_names(self, layout: FrameLayout, names: Any, count: int) -> tuple[str, ...]:
        """Return the names of the channels that a read with these arguments returns."""
        if names is None and layout.is_plain:
            return band_names(layout.assets[0], count)
        return self.plan(layout, names).channels

    def asset_channels(self, layout: FrameLayout, asset: Asset) -> tuple[str, ...]:
        """Return a name for each band of a file."""
        return band_names(asset, self.asset_shape(layout, asset).count)

    def view(self, layout: FrameLayout, asset: Asset) -> FrameView:
        """Return an array-like object that reads one file of a frame when it is sliced.

        Raises:
            SourceError: if the file is missing or damaged; the message names the image.
        """
        shape = self.asset_shape(layout, asset)
        read = functools.partial(_read_block, self, layout, asset)
        return FrameView(read, (*shape.dims, shape.count), shape.dtype)

    def shape(self, layout: FrameLayout, names: Any = None) -> tuple[int, int, int]:
        """Return (height, width, channels) of the requested channels of a frame in image space.

        Raises:
            SourceError: if a file is missing or damaged, or the size of the image is not known.
        """
        if names is None and layout.is_plain:
            own = self.asset_shape(layout, layout.assets[0])
            return (*own.dims, own.count)
        plan = self.plan(layout, names)
        return (*self.dims(layout), len(plan.channels))

    def dims(self, layout: FrameLayout) -> tuple[int, int]:
        """Return (height, width) of a frame in image space, from the dataset or else from its file."""
        if layout.dims is not None:
            return layout.dims
        if layout.is_plain:
            return self.asset_shape(layout, layout.assets[0]).dims
        raise SourceError(
            f"image {layout.gid} consists of several files, and the dataset states no 'width' and 'height' "
            "for it; add them"
        )

    def read(self, layout: FrameLayout, grid: Grid, names: Any = None) -> NDArray[Any]:
        """Return the requested channels of a frame on a grid.

        Args:
            layout: the files of the frame.
            grid: the grid of the output pixels.
            names: channels as :func:`ndsampler.frames.layout.parse_channels` returns them.

        Returns:
            (height, width, channels) pixels, which the caller may modify. Pixels outside the frame are 0, or
            NaN if ``grid.nodata`` is given.

        Raises:
            UnknownChannelError: if a channel is missing and the grid does not allow it.
            SourceError: if a file is missing or damaged; the message names the image.
            WindowError: if the result would not fit into memory.
        """
        if names is None and layout.is_plain and grid.is_crop:
            return self._read_plain(layout, grid)
        plan = self.plan(layout, names, allow_missing=grid.allow_missing)
        return self.gather(layout, plan, grid)

    def _read_plain(self, layout: FrameLayout, grid: Grid) -> NDArray[Any]:
        """Copy a region of the image's own file, which is all that most samples need."""
        box = grid.box

        def read(reader: RegionReader) -> NDArray[Any]:
            height, width, count = reader.shape
            if box.lies_inside(height, width):
                return reader.read(*box)
            inside, margin = embed_box(box, height, width)
            check_affordable(box.dims, reader.dtype.itemsize, count, f"the window on image {layout.gid}")
            pixels = reader.read(*inside)
            return place(pixels, box.dims, margin, grid.fill(pixels.dtype))

        return self.visit(layout, layout.assets[0], read)

    def gather(self, layout: FrameLayout, plan: ReadPlan, grid: Grid) -> NDArray[Any]:
        """Read the assets of a plan and combine their bands in one array."""
        warp = grid.warp_out_from_img
        parts = [
            (read.places, self._read_asset(layout, read.asset, read.bands, grid, warp)) for read in plan.reads
        ]
        if len(parts) == 1 and parts[0][0] == tuple(range(len(plan.channels))):
            return parts[0][1]
        dtype = np.result_type(*(pixels.dtype for _, pixels in parts)) if parts else np.dtype(np.float32)
        if plan.missing and dtype.kind not in "fc":
            dtype = np.dtype(np.float64) if dtype.itemsize > 2 else np.dtype(np.float32)
        check_affordable(
            grid.out_dims, dtype.itemsize, len(plan.channels), f"the window on image {layout.gid}"
        )
        return _lay_side_by_side(parts, (*grid.out_dims, len(plan.channels)), dtype)

    def _read_asset(
        self, layout: FrameLayout, asset: Asset, wanted: Sequence[int], grid: Grid, warp: NDArray[Any]
    ) -> NDArray[Any]:
        """Read some bands of one file on a grid."""
        return self.visit(
            layout, asset, functools.partial(self._read_open_asset, layout, asset, wanted, grid, warp)
        )

    def _read_open_asset(
        self,
        layout: FrameLayout,
        asset: Asset,
        wanted: Sequence[int],
        grid: Grid,
        warp_out_from_img: NDArray[Any],
        reader: RegionReader,
    ) -> NDArray[Any]:
        """Read some bands of one open file on a grid whose matrix is known."""
        shape = _shape_of(reader)
        what = f"the window on image {layout.gid}"
        check_affordable(grid.out_dims, shape.dtype.itemsize, len(wanted), what)
        bands = None if tuple(wanted) == tuple(range(shape.count)) else wanted
        chosen = choose_pixels(asset, shape, grid, warp_out_from_img)
        gaps = choose_gaps(asset, shape, grid, bands, chosen.averages)

        def read(box: PixelBox) -> NDArray[Any]:
            if chosen.level == 0:
                return _read_box(reader, box, bands, gaps)
            read_box = functools.partial(_read_overview, asset, shape, chosen.dims, box, bands, gaps)
            return self._cache.visit(asset.source, read_box, chosen.level)

        fill = grid.fill(shape.dtype)
        restore = (
            functools.partial(gaps.restore, dtype=shape.dtype)
            if gaps is not None and gaps.keeps_type
            else None
        )
        return read_onto_grid(
            read, chosen.dims, chosen.warp_out_from_level, grid.out_dims, grid.resampling, fill, restore
        )


def _lay_side_by_side(
    parts: Sequence[tuple[Sequence[int], NDArray[Any]]], shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return the bands of several files as one array.

    Args:
        parts: for each file, the positions of its bands in the result, and (height, width, bands) pixels.
        shape: (height, width, channels) of the result. Channels that no file has are NaN.
        dtype: type of the result.
    """
    if all(pixels.shape[2] == 1 and pixels.dtype == dtype for _, pixels in parts):
        planes = {places[0]: pixels[..., 0] for places, pixels in parts}
        if len(planes) == shape[2] and 0 not in shape and can_interleave(shape[2], dtype):
            return interleave([planes[channel] for channel in range(shape[2])])
    out = np.empty(shape, dtype)
    missing = set(range(shape[2]))
    for places, pixels in parts:
        missing.difference_update(places)
        for band, channel in enumerate(places):
            out[..., channel] = pixels[..., band]
    for channel in missing:
        out[..., channel] = np.nan
    return out


def _read_box(
    reader: RegionReader, box: PixelBox, bands: Sequence[int] | None, gaps: Gaps | None
) -> NDArray[Any]:
    """Read a region of an open file, with NaN where pixels have no measurement."""
    pixels = reader.read(*box, bands)
    if gaps is None:
        return pixels
    masked = as_masked(reader) if gaps.uses_mask else None
    valid = None if masked is None else masked.read_mask(*box, bands)
    if gaps.alpha is not None:
        visible = reader.read(*box, [gaps.alpha]) != 0
        valid = visible if valid is None else valid & visible
    return gaps.mask(pixels, valid)


def _read_overview(
    asset: Asset,
    expected: AssetShape,
    dims: tuple[int, int],
    box: PixelBox,
    bands: Sequence[int] | None,
    gaps: Gaps | None,
    overview: RegionReader,
) -> NDArray[Any]:
    """Read a box from an overview of a file.

    Raises:
        SourceError: if the overview has another size, because the file or its entry was just replaced.
    """
    if overview.shape[:2] != dims or overview.dtype != expected.dtype:
        raise SourceError(f"{asset.path} was changed while it was being read; read it again")
    return _read_box(overview, box, bands, gaps)


def _shape_of(reader: RegionReader) -> AssetShape:
    """Return the properties of an open file."""
    height, width, count = reader.shape
    overviews, masked = reader.overviews, as_masked(reader)
    if masked is not None and overviews and not masked.masks_overviews:
        # Without a mask, an overview does not tell which of its pixels are missing.
        overviews = ()
    return AssetShape((height, width), count, reader.dtype, reader.nodata, overviews, masked is not None)


def _read_block(
    reader: FrameReader, layout: FrameLayout, asset: Asset, y0: int, y1: int, x0: int, x1: int
) -> NDArray[Any]:
    """Read a block for a :class:`FrameView`. It is a module-level function, so that views can be pickled."""
    alone = FrameLayout(layout.gid, (replace(asset, warp_img_from_asset=None),))
    return reader.read(alone, Grid(PixelBox(y0, y1, x0, x1)))


@contextlib.contextmanager
def _image_in_errors(layout: FrameLayout) -> Iterator[None]:
    """Add the image to the messages of errors about its files."""
    try:
        yield
    except (SourceError, CacheError) as ex:
        _raise_named(ex, layout)


def _raise_named(error: SourceError | CacheError, layout: FrameLayout) -> NoReturn:
    """Raise an error of the same class with the image in its message, and hints for a missing file.

    It replaces the original error in the traceback.
    """
    escape_causes(error)
    if isinstance(error, MissingSourceError):
        missing = (asset.path for asset in layout.assets if not os.path.exists(asset.path))
        text = next((describe_missing(path, layout.folder) for path in missing), str(error))
        raise MissingSourceError(f"image {layout.gid}: {text}") from None
    raise type(error)(f"image {layout.gid}: {error}") from error.__cause__
