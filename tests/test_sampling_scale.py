"""Scaled samples, against whole images warped by kwimage."""

from __future__ import annotations

import kwimage
import numpy as np
import pytest
from helpers_datasets import RGB, one_image, stills
from helpers_images import random_pixels, write_png, write_tiff
from helpers_samples import load
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler import CocoSampler


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return stills(tmp_path_factory.mktemp("stills"))


def warp_oracle(full, rows, cols, scale, interpolation="linear", antialias=True):
    """Return a window of a whole image warped at once, and where the image's border is out of reach."""
    sx, sy = np.broadcast_to(np.asarray(scale, float), 2)
    height, width = np.ceil([(rows[1] - rows[0]) * sy - 0.01, (cols[1] - cols[0]) * sx - 0.01]).astype(int)
    matrix = np.diag([sx, sy, 1.0]) @ np.array([[1, 0, -cols[0]], [0, 1, -rows[0]], [0, 0, 1.0]])
    warped = kwimage.warp_affine(
        full,
        kwimage.Affine(matrix),
        dsize=(int(width), int(height)),
        interpolation=interpolation,
        antialias=antialias and min(sx, sy) < 1,
        origin_convention="corner",
        border_mode="replicate",
    )
    return warped.reshape(height, width, -1)


def smooth(dims, dtype):
    rows, cols = np.mgrid[: dims[0], : dims[1]]
    waves = np.stack([np.sin(rows / 9), np.cos(cols / 7), np.sin((rows + cols) / 11)], axis=2)
    return ((waves + 1) * 120).astype(dtype)


@pytest.fixture(scope="module")
def smooth_sampler(tmp_path_factory):
    """Return a sampler of a smooth image, and the image."""
    pixels = smooth((96, 128), np.uint8)
    path = write_png(tmp_path_factory.mktemp("smooth") / "smooth.png", pixels)
    return CocoSampler(one_image(path, (96, 128))), pixels


scales = st.sampled_from([0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 3.0])


@settings(max_examples=60, deadline=None)
@given(
    start=st.tuples(st.integers(20, 40), st.integers(20, 60)),
    size=st.tuples(st.integers(6, 30), st.integers(6, 40)),
    scale=st.tuples(scales, scales),
)
def test_a_scaled_window_is_the_warped_whole_image(smooth_sampler, start, size, scale):
    sampler, full = smooth_sampler
    rows, cols = (start[0], start[0] + size[0]), (start[1], start[1] + size[1])
    found = load(sampler, 1, rows, cols, scale=scale)
    expected = warp_oracle(full, rows, cols, scale)
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic", "lanczos", "area", "auto", None])
def test_every_interpolation_stays_close_to_a_smooth_image(smooth_sampler, interpolation):
    sampler, full = smooth_sampler
    rows, cols = (30, 60), (30, 70)
    for scale in (0.5, 2.0):
        found = load(sampler, 1, rows, cols, scale=scale, interpolation=interpolation)
        expected = warp_oracle(full, rows, cols, scale, "linear")
        assert np.abs(found.astype(int) - expected).max() < 20
    if interpolation in ("nearest", "cubic", "lanczos"):
        found = load(sampler, 1, rows, cols, scale=2, interpolation=interpolation)
        exact = warp_oracle(full, rows, cols, 2, interpolation)
        np.testing.assert_allclose(found.astype(int), exact.astype(int), atol=1)


def test_nearest_pixels_are_pixels_of_the_source(sampler, data):
    found = load(sampler, RGB, (5, 25), (6, 40), scale=1.7, interpolation="nearest")
    known = {tuple(pixel) for pixel in data.pixels[RGB].reshape(-1, 3)}
    assert {tuple(pixel) for pixel in found.reshape(-1, 3)} <= known


def test_without_antialiasing_shrinking_does_not_average(sampler, data):
    window = ((4, 34), (4, 50))
    averaged = load(sampler, RGB, *window, scale=0.2)
    sampled = load(sampler, RGB, *window, scale=0.2, antialias=False)
    assert averaged.astype(float).std() < sampled.astype(float).std()
    exact = warp_oracle(data.pixels[RGB], *window, 0.2, antialias=False)
    np.testing.assert_allclose(sampled.astype(int), exact.astype(int), atol=1)


@pytest.mark.parametrize("scale", [0.5, 2])
def test_a_scaled_window_is_zero_where_the_image_ends(smooth_sampler, scale):
    sampler, _ = smooth_sampler
    found = load(sampler, 1, (-10, 10), (110, 140), scale=scale)
    edge_y, edge_x = int(10 * scale), int(18 * scale)
    assert not found[:edge_y].any()
    assert not found[:, edge_x:].any()
    assert found[edge_y:, :edge_x].all(axis=2).any()
    beside = load(sampler, 1, (-30, -10), (10, 40), scale=scale)
    assert beside.shape == (20 * scale, 30 * scale, 3)
    assert not beside.any()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_scaling_keeps_the_type_and_the_range(tmp_path, dtype):
    dims = (44, 58)
    pixels = random_pixels(dtype, 2, dims)
    sampler = CocoSampler(one_image(write_tiff(tmp_path / "any.tif", pixels), dims))
    window = ((12, 32), (10, 40))
    found = load(sampler, 1, *window, scale=0.5)
    assert found.dtype == pixels.dtype
    exact = warp_oracle(pixels.astype(np.float64), *window, 0.5)
    level = np.abs(exact).max() * 1e-6
    if found.dtype.kind in "iu":
        exact, level = exact.round(), 1
    np.testing.assert_allclose(found.astype(float), exact, rtol=0, atol=level)


@pytest.mark.parametrize("interpolation", ["cubic", "lanczos"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "uint32"])
def test_values_that_overshoot_stop_at_the_range_of_the_type(tmp_path, dtype, interpolation):
    info = np.iinfo(dtype)
    pixels = np.where(random_pixels("uint8", 1, (20, 30)) > 127, info.max, info.min).astype(dtype)
    sampler = CocoSampler(one_image(write_tiff(tmp_path / "any.tif", pixels), (20, 30)))
    found = load(sampler, 1, (6, 14), (6, 22), scale=2, interpolation=interpolation)
    exact = warp_oracle(pixels.astype(np.float64), (6, 14), (6, 22), 2, interpolation)
    assert (exact > info.max).any()
    assert (exact < info.min).any()
    off = np.abs(found.astype(float) - np.clip(exact, info.min, info.max))
    assert off.max() <= 2 + 1e-6 * info.max
