"""
Estimates the mean and standard deviation of each band of a dataset, with confidence intervals, from a sample.

The images are divided into tiles, and the tiles are numbered image by image. Runs of equal length of these
numbers are the strata, and two tiles are drawn from each stratum. The sample is therefore spread over all
images and over each image, and the difference between two tiles shows how much the estimate of their stratum
varies. The mean of all pixels is a ratio of two estimates, the sum of the values and the number of valid
pixels. Its variance, and that of the standard deviation, follow from the residuals of the tiles (Taylor
linearization).

References:
    W. G. Cochran, Sampling Techniques (3rd edition, 1977), chapters 5 and 6;
    F. E. Satterthwaite, An approximate distribution of estimates of variance components,
    Biometrics Bulletin 2 (1946).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError
from ndsampler.frames.layout import parse_channels
from ndsampler.pools.arguments import as_count
from ndsampler.training.estimates import Totals, estimate_moments
from ndsampler.utils.random_state import ensure_rng

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ndsampler.coco_sampler import CocoSampler

__all__ = ["BandStatistics", "band_statistics"]


@dataclass(frozen=True, eq=False)
class BandStatistics:
    """Mean and standard deviation of each band."""

    channels: tuple[str, ...]
    """Name of each band."""

    mean: NDArray[np.float64]
    """(bands,) mean of the valid pixels."""

    std: NDArray[np.float64]
    """(bands,) standard deviation of the valid pixels."""

    mean_interval: NDArray[np.float64]
    """(bands, 2) lower and upper end of the confidence interval of the mean."""

    std_interval: NDArray[np.float64]
    """(bands, 2) lower and upper end of the confidence interval of the standard deviation."""

    confidence: float
    """The confidence level of the intervals."""

    windows: int
    """Number of tiles that were read."""

    pixels: NDArray[np.int64]
    """(bands,) number of valid pixels that were read."""

    def normalize(self, divisor: float = 1.0) -> str:
        """Return the transform that normalizes samples, as Python code.

        Args:
            divisor: the number by which pixels are divided before the transform, such as 255 for 8-bit images
                that are scaled to 0..1.

        Example:
            >>> one = np.ones(1)
            >>> BandStatistics(('red',), one * 102, one * 51, one, one, .95, 1, one).normalize(255)
            'Normalize(mean=[0.4], std=[0.2])'
        """
        parts = [", ".join(f"{value / divisor:.6g}" for value in values) for values in (self.mean, self.std)]
        return f"Normalize(mean=[{parts[0]}], std=[{parts[1]}])"


def band_statistics(
    sampler: CocoSampler,
    gids: Iterable[int] | None = None,
    channels: Any = None,
    windows: int = 512,
    window: int = 64,
    confidence: float = 0.95,
    seed: int = 0,
) -> BandStatistics:
    """Estimate the mean and standard deviation of each band over the valid pixels of images.

    Pixels that files declare as missing, and NaN, are left out. If there are at most ``windows`` tiles, all
    of them are read and the result is exact.

    Args:
        sampler: reads the images.
        gids: image ids, for example those of a training split; by default all images.
        channels: code or list of channels; by default the default channels of the images.
        windows: number of tiles to read, at least 4.
        window: height and width of a tile in pixels, at least 4.
        confidence: confidence level of the intervals: the fraction of seeds for which an interval contains
            the value over all pixels.
        seed: selects the tiles that are read.

    Raises:
        ArgumentError: for an invalid argument, if images differ in their number of bands, or if a band has no
            valid pixel.
        UnknownIdError: if there is no such image.
        SourceError: if an image file is missing or damaged.

    Example:
        >>> import ndsampler
        >>> found = band_statistics(ndsampler.CocoSampler.demo('shapes8'), windows=64)
        >>> found.channels, found.mean.shape
        (('r', 'g', 'b'), (3,))
        >>> bool((found.mean_interval[:, 0] < found.mean).all())
        True
    """
    count, side = as_count(windows, "windows"), as_count(window, "window")
    if count < 4 or side < 4:
        raise ArgumentError(f"windows is {windows!r} and window is {window!r}; expected 4 or more for each")
    if not (isinstance(confidence, (float, np.floating)) and 0 < confidence < 1):
        raise ArgumentError(f"confidence is {confidence!r}; expected a number between 0 and 1, such as 0.95")
    chosen = sampler.frames.image_ids if gids is None else list(gids)
    if not len(chosen):
        raise ArgumentError("there are no images; expected at least one id in gids")
    tiles = _Tiles(sampler, [int(gid) for gid in chosen], channels, side)
    design = _Design.draw(len(tiles), count, ensure_rng(seed))
    sums = _read_sums(tiles, design)
    moments = estimate_moments(design.sizes, design.stratum, sums.totals, float(confidence))
    names = sampler.frames.reader.channel_names(
        sampler.frames.layout(tiles.gids[0]), parse_channels(channels), len(moments.mean)
    )
    return BandStatistics(
        channels=tuple(names),
        mean=moments.mean + sums.origin,
        std=moments.std,
        mean_interval=moments.mean_interval + sums.origin[:, None],
        std_interval=moments.std_interval,
        confidence=float(confidence),
        windows=len(design.tiles),
        pixels=sums.totals.count.sum(axis=0).astype(np.int64),
    )


class _Tiles:
    """The tiles of images, numbered image by image and row by row.

    Args:
        sampler: reads the images.
        gids: image ids.
        channels: the channels to read.
        side: height and width of a tile in pixels. Tiles at the lower and right border may be smaller.
    """

    def __init__(self, sampler: CocoSampler, gids: list[int], channels: Any, side: int) -> None:
        self.sampler = sampler
        self.gids = gids
        self.side = side
        self._bands = 0
        self._channels = {} if channels is None else {"channels": channels}
        self.dims = np.array([sampler.frames.image_dims(gid) for gid in gids], np.int64)
        self.counts = -(-self.dims // side)
        self.base = np.concatenate([[0], np.cumsum(self.counts.prod(axis=1))])

    def __len__(self) -> int:
        return int(self.base[-1])

    def read(self, number: int) -> NDArray[np.float64]:
        """Return the (pixels, bands) values of a tile, with NaN for missing ones."""
        image = int(np.searchsorted(self.base, number, side="right")) - 1
        row, column = divmod(number - int(self.base[image]), int(self.counts[image, 1]))
        height, width = self.dims[image].tolist()
        top, left = row * self.side, column * self.side
        slices = slice(top, min(top + self.side, height)), slice(left, min(left + self.side, width))
        pixels = self._load(image, {"slices": slices})
        return pixels.reshape(-1, pixels.shape[2])

    def _load(self, image: int, where: dict[str, Any]) -> NDArray[np.float64]:
        target = {"gid": self.gids[image], "nodata": "float", **self._channels, **where}
        pixels = np.asarray(self.sampler.load_sample(target, with_annots=False)["im"], np.float64)
        bands = self._bands = self._bands or pixels.shape[2]
        if pixels.shape[2] != bands:
            raise ArgumentError(
                f"image {self.gids[image]} has {pixels.shape[2]} bands, and others have {bands}; expected "
                "the same number for all. Pass channels, or the gids of images with the same channels"
            )
        return pixels


@dataclass(frozen=True, eq=False)
class _Design:
    """The sampling design: the strata, and the tiles that are read."""

    sizes: NDArray[np.int64]
    """(strata,) number of tiles in each stratum."""

    stratum: NDArray[np.int64]
    """(n,) stratum of each tile that is read."""

    tiles: NDArray[np.int64]
    """(n,) number of each tile that is read, ascending."""

    @classmethod
    def draw(cls, total: int, count: int, rng: np.random.RandomState) -> _Design:
        """Draw two random tiles from each stratum; return all tiles if there are no more than ``count``.

        Args:
            total: number of tiles.
            count: number of tiles to read, at least 4.
            rng: random state that draws the tiles.
        """
        if total <= count:
            return cls(np.array([total]), np.zeros(total, np.int64), np.arange(total))
        bounds = np.arange(count // 2 + 1) * total // (count // 2)
        sizes = np.diff(bounds)
        first = np.floor(rng.random_sample(len(sizes)) * sizes).astype(np.int64)
        second = np.floor(rng.random_sample(len(sizes)) * (sizes - 1)).astype(np.int64)
        second += second >= first
        pairs = np.sort(np.stack([first, second], axis=1), axis=1) + bounds[:-1, None]
        return cls(sizes, np.repeat(np.arange(len(sizes)), 2), pairs.ravel())


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over the sampled tiles."""

    totals: Totals
    """(n, bands) sums over the pixels of each tile."""

    origin: NDArray[np.float64]
    """(bands,) value that is subtracted from all pixels, so that sums of squares keep their precision."""


def _read_sums(tiles: _Tiles, design: _Design) -> _Sums:
    """Return the sums over each sampled tile."""
    parts = []
    origin: NDArray[np.float64] | None = None
    for number in design.tiles.tolist():
        pixels = tiles.read(number)
        if origin is None:
            counted = np.isfinite(pixels).sum(axis=0)
            origin = np.nansum(np.where(np.isfinite(pixels), pixels, 0), axis=0) / np.maximum(counted, 1)
        parts.append(Totals.of_pixels(pixels - origin))
    assert origin is not None
    return _Sums(Totals.stacked(parts), origin)
