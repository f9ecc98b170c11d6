"""Mean and deviation of bands, estimated from a sample, beside those of all pixels."""

from __future__ import annotations

import numpy as np
import pytest
from helpers_maps import make_sampler

from ndsampler.errors import ArgumentError
from ndsampler.training import band_statistics
from ndsampler.training.estimates import Totals, estimate_moments
from ndsampler.training.statistics import _Design

SIDE = 16


def scene() -> np.ndarray:
    """Return three bands with structure, noise and a gap of NaN."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:160, :240]
    waves = 100 + 40 * np.sin(x / 37 + y / 91) + rng.normal(0, 10, x.shape)
    fields = 20 + 200 * ((x // 30 + y // 25) % 7 == 0) + rng.normal(0, 3, x.shape)
    pixels = np.stack([waves, fields, rng.gamma(1.0, 20, x.shape) * (1 + x / 100)], axis=-1)
    pixels[(x - 100) ** 2 + (y - 75) ** 2 < 1500] = np.nan
    return pixels.astype(np.float32)


def test_all_tiles_give_the_exact_values(tmp_path):
    pixels = scene()
    found = band_statistics(make_sampler(tmp_path, pixels), windows=1000, window=SIDE)
    np.testing.assert_allclose(found.mean, np.nanmean(pixels.astype(float), axis=(0, 1)))
    np.testing.assert_allclose(found.std, np.nanstd(pixels.astype(float), axis=(0, 1)))
    np.testing.assert_allclose(found.mean_interval, found.mean[:, None].repeat(2, axis=1))
    assert found.pixels.tolist() == np.isfinite(pixels).sum(axis=(0, 1)).tolist()


def test_declared_nodata_is_left_out(tmp_path):
    pixels = np.arange(1, 40 * 50 + 1).reshape(40, 50, 1).astype(np.uint16)
    pixels[10:20, 5:40] = 0
    found = band_statistics(make_sampler(tmp_path, pixels, nodata=0), windows=100, window=8)
    assert found.mean == pytest.approx(pixels[pixels > 0].mean())
    assert found.std == pytest.approx(pixels[pixels > 0].std())


def test_the_intervals_of_many_seeds_cover_the_values_of_all_pixels():
    pixels = scene().astype(float)
    tiles = pixels.reshape(10, SIDE, 15, SIDE, 3).transpose(0, 2, 1, 3, 4).reshape(150, -1, 3)
    every = Totals.of_pixels(tiles)
    mean, std = np.nanmean(pixels, axis=(0, 1)), np.nanstd(pixels, axis=(0, 1))
    hits = np.zeros((2, 3))
    for seed in range(300):
        design = _Design.draw(150, 64, np.random.RandomState(seed))
        rows = Totals(every.count[design.tiles], every.value[design.tiles], every.square[design.tiles])
        found = estimate_moments(design.sizes, design.stratum, rows, 0.95)
        for i, (interval, truth) in enumerate(((found.mean_interval, mean), (found.std_interval, std))):
            hits[i] += (interval[:, 0] <= truth) & (truth <= interval[:, 1])
    assert (hits >= 0.93 * 300).all(), hits / 300


@pytest.mark.parametrize(
    "wrong", [{"windows": 3}, {"window": 0}, {"confidence": 1.0}, {"gids": []}, {"confidence": "high"}]
)
def test_bad_arguments_are_errors(tmp_path, wrong):
    with pytest.raises(ArgumentError, match="expected"):
        band_statistics(make_sampler(tmp_path), **wrong)


def test_a_band_without_valid_pixels_is_an_error(tmp_path):
    sampler = make_sampler(tmp_path, np.full((20, 20, 1), np.nan, np.float32))
    with pytest.raises(ArgumentError, match="no valid pixel"):
        band_statistics(sampler, windows=16, window=8)
