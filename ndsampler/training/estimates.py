"""
Estimates the mean and the standard deviation of pixels from sums over the tiles of a stratified sample.

:mod:`ndsampler.training.statistics` explains how the tiles are drawn, and cites the formulas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Moments", "Totals", "estimate_moments", "student_quantile"]


@dataclass(frozen=True, eq=False)
class Totals:
    """Sums over the valid pixels of tiles."""

    count: NDArray[np.float64]
    """(n, bands) number of valid pixels."""

    value: NDArray[np.float64]
    """(n, bands) sum of their values."""

    square: NDArray[np.float64]
    """(n, bands) sum of the squares of their values."""

    @classmethod
    def of_pixels(cls, pixels: NDArray[np.float64]) -> Totals:
        """Return the sums over the pixels of (..., pixels, bands) values, without NaN."""
        valid = np.isfinite(pixels)
        values = np.where(valid, pixels, 0.0)
        return cls(valid.sum(axis=-2, dtype=np.float64), values.sum(axis=-2), (values * values).sum(axis=-2))

    @classmethod
    def stacked(cls, parts: Sequence[Totals]) -> Totals:
        """Return the sums of several tiles, stacked as rows."""
        return cls(
            np.stack([part.count for part in parts]),
            np.stack([part.value for part in parts]),
            np.stack([part.square for part in parts]),
        )

    def weighted(self, weights: NDArray[np.float64]) -> Totals:
        """Return the (bands,) sums of all rows, each multiplied by its weight."""
        return Totals(weights @ self.count, weights @ self.value, weights @ self.square)


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and standard deviation of each band, with confidence intervals."""

    mean: NDArray[np.float64]
    """(bands,) means."""

    std: NDArray[np.float64]
    """(bands,) standard deviations."""

    mean_interval: NDArray[np.float64]
    """(bands, 2) confidence intervals of the means."""

    std_interval: NDArray[np.float64]
    """(bands, 2) confidence intervals of the standard deviations."""


def estimate_moments(
    sizes: NDArray[np.int64],
    stratum: NDArray[np.int64],
    totals: Totals,
    confidence: float,
) -> Moments:
    """Estimate the moments of all pixels.

    Args:
        sizes: (strata,) number of tiles in each stratum.
        stratum: (n,) stratum of each sampled tile.
        totals: sums over each sampled tile.
        confidence: confidence level of the intervals.

    Raises:
        ArgumentError: if a band has no valid pixel in the sample.
    """
    drawn = np.bincount(stratum, minlength=len(sizes))
    weights = (sizes / drawn)[stratum]
    empty = np.nonzero(totals.count.sum(axis=0) == 0)[0]
    if len(empty):
        raise ArgumentError(
            f"band {empty[0]} has no valid pixel in {len(stratum)} tiles; expected at least one. Read more "
            "windows, or leave out the images without valid pixels"
        )
    all_tiles = totals.weighted(weights)
    mean = all_tiles.value / all_tiles.count
    variance = np.maximum(all_tiles.square / all_tiles.count - mean * mean, 0.0)
    of_mean = (totals.value - mean * totals.count) / all_tiles.count
    of_variance = totals.square - 2 * mean * totals.value + (mean * mean - variance) * totals.count
    mean_error = _margin(of_mean, sizes, stratum, drawn, confidence)
    variance_error = _margin(of_variance / all_tiles.count, sizes, stratum, drawn, confidence)
    std = np.sqrt(variance)
    # The interval is computed for the logarithm, whose error is closer to symmetric.
    spread = np.exp(variance_error / np.maximum(2 * variance, np.finfo(np.float64).tiny))
    return Moments(
        mean,
        std,
        np.stack([mean - mean_error, mean + mean_error], axis=1),
        np.stack([std / spread, np.where(std > 0, std * spread, 0.0)], axis=1),
    )


def _margin(
    residuals: NDArray[np.float64],
    sizes: NDArray[np.int64],
    stratum: NDArray[np.int64],
    drawn: NDArray[np.int64],
    confidence: float,
) -> NDArray[np.float64]:
    """Return half the width of the confidence interval of an estimate, given (n, bands) residuals."""
    centers = np.zeros((len(sizes), residuals.shape[1]))
    np.add.at(centers, stratum, residuals)
    centers /= drawn[:, None]
    squares = np.zeros_like(centers)
    np.add.at(squares, stratum, (residuals - centers[stratum]) ** 2)
    freedom = np.maximum(drawn - 1, 1)[:, None]
    share_left = (1 - drawn / sizes)[:, None]
    parts = (sizes**2)[:, None] * share_left * squares / freedom / drawn[:, None]
    variance = parts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = variance**2 / (parts**2 / freedom).sum(axis=0)
    quantiles = [student_quantile(confidence, max(value, 1.0)) for value in np.nan_to_num(effective, nan=1.0)]
    result: NDArray[np.float64] = np.array(quantiles) * np.sqrt(variance)
    return result


def student_quantile(confidence: float, freedom: float) -> float:
    """Return the value that the magnitude of Student's t exceeds with the probability ``1 - confidence``.

    Args:
        confidence: confidence level, between 0 and 1.
        freedom: degrees of freedom, at least 1.

    Example:
        >>> round(student_quantile(0.95, 10), 3), round(student_quantile(0.95, 1e9), 3)
        (2.228, 1.96)
    """
    if freedom > 200:
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        return z + (z**3 + z) / (4 * freedom)
    # With t = sqrt(freedom) tan(angle), the distribution is an integral of a power of the cosine.
    factor = 2 * math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        powers = np.cos(angle * (nodes + 1) / 2) ** (freedom - 1)
        if factor * angle / 2 * float(weights @ powers) < confidence:
            low = angle
        else:
            high = angle
    return math.sqrt(freedom) * math.tan(high)
