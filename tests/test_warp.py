"""Warps of every type, any number of channels and mirrored grids, against plain numpy."""

from __future__ import annotations

import itertools
import warnings

import kwimage
import numpy as np
import pytest
from helpers_images import random_pixels
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler.frames.average import any_under, average
from ndsampler.frames.groups import split_channels
from ndsampler.frames.resample import Resampling, read_onto_grid
from ndsampler.frames.warp import to_type, warp_pixels

#: Rows and columns of the sources here.
DIMS = (60, 84)

WIDE_TYPES = ("int64", "uint64")

#: Matrices that mirror, turn by quarters or transpose, for sources of these dimensions, and their sizes.
TURNS = {
    "left to right": ([[-1, 0, DIMS[1]], [0, 1, 0], [0, 0, 1]], DIMS, lambda a: a[:, ::-1]),
    "upside down": ([[1, 0, 0], [0, -1, DIMS[0]], [0, 0, 1]], DIMS, lambda a: a[::-1]),
    "transposed": ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], DIMS[::-1], lambda a: a.swapaxes(0, 1)),
    "by 90": ([[0, -1, DIMS[0]], [1, 0, 0], [0, 0, 1]], DIMS[::-1], lambda a: np.rot90(a, -1)),
    "by 180": ([[-1, 0, DIMS[1]], [0, -1, DIMS[0]], [0, 0, 1]], DIMS, lambda a: a[::-1, ::-1]),
}


def affine(scale=1.0, theta=0.0, offset=(0.0, 0.0)) -> np.ndarray:
    """Return a 3x3 matrix that maps points (x, y)."""
    return np.asarray(kwimage.Affine.affine(scale=scale, theta=theta, offset=offset).matrix)


def matrix_of(turn: str, scale: float = 1.0) -> np.ndarray:
    return affine(scale) @ np.array(TURNS[turn][0], float)


def any_values(dtype: str, channels: int) -> np.ndarray:
    """Return values from the whole range of a type."""
    if dtype == "bool":
        return random_pixels("uint8", channels, DIMS) > 127
    if np.dtype(dtype).kind == "c":
        parts = random_pixels("float64", 2 * channels, DIMS)
        return (parts[..., ::2] + 1j * parts[..., 1::2]).astype(dtype)
    return random_pixels(dtype, channels, DIMS)


def smooth_pixels(channels: int = 1) -> np.ndarray:
    y, x = np.mgrid[: DIMS[0], : DIMS[1]] / 40
    return np.stack([100 + 90 * np.sin(6 * (x + band * y)) for band in range(channels)], 2).astype(np.float32)


def block_means(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return the mean of each square block."""
    height, width, channels = pixels.shape
    blocks = pixels.reshape(height // side, side, width // side, side, channels)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice")
        return np.nanmean(blocks, axis=(1, 3))


def with_holes(pixels: np.ndarray, share: float = 0.02) -> np.ndarray:
    """Return pixels of which some, and one large block, are NaN, in each channel others."""
    found = pixels.copy()
    found[np.random.default_rng(0).random(pixels.shape) < share] = np.nan
    found[12:29, 33:54] = np.nan
    return found


class TestTypes:
    @pytest.mark.parametrize(
        "dtype", ["bool", "int8", "uint16", "int64", "float64", "complex64", "complex128"]
    )
    @pytest.mark.parametrize("channels", [1, 2, 6])
    @pytest.mark.parametrize(("scale", "theta"), [(3.0, 0.0), (0.4, 0.0), (1.3, 0.4)])
    def test_nearest_takes_pixels_under_the_centers_in_their_own_type(self, dtype, channels, scale, theta):
        image, dims = any_values(dtype, channels), (40, 50)
        warp = affine(scale, theta, (3.2, -4.6))
        found = warp_pixels(image, warp, dims, Resampling("nearest"))
        y, x = np.mgrid[: dims[0], : dims[1]] + 0.5
        back = np.linalg.inv(warp)
        src = [back[row, 0] * x + back[row, 1] * y + back[row, 2] for row in (0, 1)]
        cols, rows = (np.clip(np.floor(at).astype(int), 0, side - 1) for at, side in zip(src, DIMS[::-1]))
        # OpenCV finds places to a thousandth of a pixel.
        sure = np.all([np.abs(at - np.round(at)) > 5e-3 for at in src], axis=0)
        assert found.dtype == image.dtype
        assert sure.mean() > 0.8
        np.testing.assert_array_equal(found[sure], image[rows, cols][sure])

    @pytest.mark.parametrize("dtype", WIDE_TYPES)
    @pytest.mark.parametrize("scale", [0.5, 1.7])
    def test_wide_integers_are_interpolated_by_their_distances(self, dtype, scale):
        small = random_pixels("uint8", 2, DIMS)
        for base in (2**60 + 1, np.iinfo(dtype).max - 255, np.iinfo(dtype).min):
            image = small.astype(dtype) + np.array(base, dtype)
            found = warp_pixels(image, affine(scale), (30, 40), Resampling())
            expected = warp_pixels(small.astype(np.float64), affine(scale), (30, 40), Resampling())
            least = int(image.min())
            steps = np.array([int(value) - least for value in found.ravel()]).reshape(found.shape)
            assert np.abs(steps + float(small.min()) - expected).max() <= 0.5 + 1e-6

    @pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int32", "uint32", *WIDE_TYPES])
    @pytest.mark.parametrize("interpolation", ["linear", "cubic", "lanczos"])
    @pytest.mark.parametrize("scale", [0.6, 1.7])
    def test_integers_stop_at_the_ends_of_their_type(self, dtype, interpolation, scale):
        low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        image = np.full((*DIMS, 1), high, dtype)
        image[30:] = low
        found = warp_pixels(image, affine(scale), (int(60 * scale), 30), Resampling(interpolation))[..., 0]
        # OpenCV's weights have 24 bits. No value has come round to the other end.
        share = np.array([(int(value) - low) / (high - low) for value in found[:, 5]])
        assert np.abs(share[:8] - 1).max() < 1e-5
        assert np.abs(share[-8:]).max() < 1e-5
        assert np.diff(share).max() < 0.2

    @pytest.mark.parametrize("interpolation", ["linear", "cubic", "lanczos"])
    @pytest.mark.parametrize("dtype", ["float32", "float64", "uint32"])
    @pytest.mark.parametrize("scale", [0.4, 1.7])
    def test_the_border_continues_beyond_it(self, dtype, interpolation, scale):
        for value in (0.75, -3.5, 3e9):
            image = np.full((*DIMS, 1), abs(value) if dtype == "uint32" else value, dtype)
            found = warp_pixels(image, affine(scale), (int(60 * scale), 30), Resampling(interpolation))
            np.testing.assert_allclose(found, image[0, 0, 0], rtol=1e-5)

    def test_rounding_knows_the_ends_of_every_integer_type(self):
        for dtype in ("bool", "uint8", "int16", "int32", *WIDE_TYPES):
            low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            found = to_type(np.array([-np.inf, -1e30, 0.4, 0.6, 1e30, np.inf]), np.dtype(dtype))
            assert found.dtype == dtype
            assert [int(value) for value in found] == [low, low, 0, 1, high, high]

    @pytest.mark.parametrize("dtype", ["complex64", "complex128"])
    @pytest.mark.parametrize("scale", [0.4, 1.7])
    def test_complex_numbers_are_warped_as_two_parts(self, dtype, scale):
        image, warp, dims = any_values(dtype, 3), affine(scale, 0.2), (25, 30)
        image[10:14, 20:30, 1] = complex(1, np.nan)
        found = warp_pixels(image, warp, dims, Resampling())
        assert found.dtype == dtype
        missing = np.isnan(image)
        for part in (np.real, np.imag):
            alone = warp_pixels(np.where(missing, np.nan, part(image)), warp, dims, Resampling())
            np.testing.assert_allclose(part(found), alone, rtol=1e-5, atol=1e-3)


class TestChannels:
    @given(st.integers(1, 900))
    def test_groups_hold_each_channel_once_and_have_sizes_that_opencv_treats_alike(self, count):
        groups = split_channels(count)
        assert [channel for group in groups for channel in range(count)[group]] == list(range(count))
        assert {group.stop - group.start for group in groups} <= {1, 3, 4}

    @pytest.mark.parametrize("channels", [2, 3, 4, 5, 7, 10, 130])
    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
    @pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic", "lanczos"])
    def test_the_values_of_a_channel_do_not_depend_on_the_others(self, channels, dtype, interpolation):
        image = random_pixels(dtype, channels, (30, 41))
        resampling = Resampling(interpolation)
        for warp in (affine(1.7, 0.3), affine(0.4, 0.3), affine((-0.6, 1.2), offset=(25, 0))):
            found = warp_pixels(image, warp, (20, 25), resampling)
            assert found.shape == (20, 25, channels)
            for band in sorted({0, 1, channels // 2, channels - 1}):
                alone = warp_pixels(image[..., band : band + 1].copy(), warp, (20, 25), resampling)
                np.testing.assert_allclose(found[..., band : band + 1], alone, rtol=1e-5, atol=1e-3)

    @pytest.mark.parametrize("dims", [(6, 20_000), (20_000, 6)])
    @pytest.mark.parametrize("channels", [1, 2])
    def test_an_output_longer_than_opencv_allows_is_filled(self, dims, channels):
        ramp = np.arange(20_000, dtype=np.float64)
        image = np.broadcast_to(ramp if dims[0] == 6 else ramp[:, None], dims)[:, :, None].repeat(channels, 2)
        out_dims = (dims[0] * 2, dims[1] * 2)

        def read(box):
            return image[box.slices].copy()

        found = read_onto_grid(read, dims, affine(2), out_dims, Resampling(), 0)
        line = found[2, :, -1] if dims[0] == 6 else found[:, 2, -1]
        assert np.abs(line - ((np.arange(40_000) + 0.5) / 2 - 0.5))[5:-5].max() < 0.1


@pytest.mark.parametrize("turn", TURNS)
class TestMirroredGrids:
    def test_without_a_scale_pixels_are_moved_unchanged(self, turn):
        _, dims, mirror = TURNS[turn]
        for dtype in ("uint8", "float32", "int32"):
            image = random_pixels(dtype, 3, DIMS)
            found = warp_pixels(image, matrix_of(turn), dims, Resampling())
            np.testing.assert_array_equal(found, mirror(image))

    @pytest.mark.parametrize("side", [2, 4, 6])
    def test_shrinking_averages_what_lies_under_each_pixel(self, turn, side, capsys):
        _, dims, mirror = TURNS[turn]
        image, dims = smooth_pixels(3), (dims[0] // side, dims[1] // side)
        found = warp_pixels(image, matrix_of(turn, 1 / side), dims, Resampling())
        expected = mirror(block_means(image, side))
        inner = (slice(2, -2), slice(2, -2))
        # The Gaussian is wider than the block.
        assert np.abs(found - expected)[inner].max() < 4 * side
        straight = warp_pixels(image, affine(1 / side), (DIMS[0] // side, DIMS[1] // side), Resampling())
        assert np.abs(found - mirror(straight))[inner].max() < 0.2
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("side", [2, 3])
    def test_a_pixel_is_lost_where_all_under_it_are(self, turn, side):
        _, dims, mirror = TURNS[turn]
        image, dims = with_holes(np.full((*DIMS, 2), 7, np.float32), 0.3), (dims[0] // side, dims[1] // side)
        found = warp_pixels(image, matrix_of(turn, 1 / side), dims, Resampling())
        expected = mirror(block_means(image, side))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


class TestHoles:
    @pytest.mark.parametrize("interpolation", ["linear", "cubic", "lanczos"])
    @pytest.mark.parametrize("scale", [0.5, 0.25, 1 / 12, (0.5, 1), (1, 0.25), (0.5, 2)])
    def test_averages_are_those_of_the_valid_pixels(self, interpolation, scale):
        sx, sy = np.broadcast_to(scale, 2)
        dims = (round(DIMS[0] * sy), round(DIMS[1] * sx))
        image = with_holes(np.full((*DIMS, 3), 50, np.float32))
        found = warp_pixels(image, affine(scale), dims, Resampling(interpolation))
        valid = ~np.isnan(image)
        rows = [valid[int(y / sy) : max(int((y + 1) / sy), int(y / sy) + 1)].any(0) for y in range(dims[0])]
        grid = np.stack(rows)
        cols = [grid[:, int(x / sx) : max(int((x + 1) / sx), int(x / sx) + 1)].any(1) for x in range(dims[1])]
        np.testing.assert_array_equal(~np.isnan(found), np.stack(cols, 1))
        np.testing.assert_allclose(found[~np.isnan(found)], 50, rtol=1e-5)

    @pytest.mark.parametrize("interpolation", ["linear", "cubic"])
    def test_far_from_holes_nothing_changes(self, interpolation):
        image = smooth_pixels(2)
        plain = warp_pixels(image, affine(0.3, 0.2), (20, 28), Resampling(interpolation))
        image[40:, :20] = np.nan
        found = warp_pixels(image, affine(0.3, 0.2), (20, 28), Resampling(interpolation))
        np.testing.assert_allclose(found[:6, 10:], plain[:6, 10:], rtol=1e-4)

    def test_the_input_is_left_alone(self):
        image = with_holes(smooth_pixels())
        before = image.copy()
        average(image, affine(0.3), (18, 25), Resampling("cubic"))
        np.testing.assert_array_equal(image, before)

    @settings(max_examples=25, deadline=None)
    @given(st.floats(0.04, 0.95), st.floats(0.04, 0.95), st.floats(-3, 3), st.integers(0, 10))
    def test_turned_pixels_are_valid_where_one_under_them_is(self, sx, sy, theta, seed):
        valid = np.random.default_rng(seed).random((*DIMS, 1)) < 0.02
        warp = affine(offset=(10, 12)) @ affine((sx, sy), theta) @ affine(offset=(-42, -30))
        dims = (20, 25)
        found = any_under(valid, warp, dims)[..., 0]
        back = np.linalg.inv(warp)
        rows, cols = np.nonzero(valid[..., 0])
        y, x = np.mgrid[: dims[0], : dims[1]] + 0.5
        points = np.stack([cols + 0.5, rows + 0.5, np.ones(len(rows))])
        out_x, out_y, _ = warp @ points
        # A pixel whose center lies well inside an output pixel is seen; one that is far from it is not.
        near = np.maximum(np.abs(out_x - x[..., None]), np.abs(out_y - y[..., None]))
        reach = 0.5 + 1.5 * np.abs(np.linalg.inv(back)[:2, :2]).sum()
        inside = (x - 0.5 >= 0) & (y - 0.5 >= 0)
        for dx, dy in itertools.product((-0.5, 0.5), repeat=2):
            px, py, _ = back @ np.array([x.ravel() + dx, y.ravel() + dy, np.ones(x.size)])
            inside &= ((px > 0) & (px < DIMS[1]) & (py > 0) & (py < DIMS[0])).reshape(dims)
        assert found[inside & (near < 0.3 - 0.2 * max(sx, sy)).any(-1)].all()
        assert not found[inside & (near > reach).all(-1)].any()
