"""Windows on another grid, against one warp of the whole image."""

from __future__ import annotations

import math

import kwimage
import numpy as np
import pytest
from helpers_images import random_pixels
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler.errors import TargetError
from ndsampler.frames.resample import (
    INTERPOLATIONS,
    KERNEL_MARGIN,
    Resampling,
    choose_level,
    place,
    read_onto_grid,
    source_box,
    warp_pixels,
    whole_shift,
)
from ndsampler.windows import PixelBox

#: Rows and columns of the sources here.
DIMS = (60, 83)

ODD_TYPES = ("bool", "int8", "uint32", "int32", "int64", "uint64", "float16")


def affine(scale=1.0, theta=0.0, offset=(0.0, 0.0), shear=0.0) -> np.ndarray:
    """Return a 3x3 matrix that maps points (x, y)."""
    return np.asarray(kwimage.Affine.affine(scale=scale, theta=theta, offset=offset, shearx=shear).matrix)


def smooth_pixels(channels: int = 3) -> np.ndarray:
    """Return a picture of long waves, which no way of averaging changes much."""
    y, x = np.mgrid[0 : DIMS[0], 0 : DIMS[1]] / 40
    waves = [np.sin(2 * np.pi * (x * math.cos(turn) + y * math.sin(turn))) for turn in range(channels)]
    return np.stack(waves, axis=2).astype(np.float32)


def counted(image: np.ndarray, boxes: list[PixelBox]):
    """Return a function that reads regions of an image and notes them."""

    def read(box: PixelBox) -> np.ndarray:
        assert box == box.clipped(*image.shape[:2]), "regions lie inside the source"
        boxes.append(box)
        return image[box.slices].copy()

    return read


def read_window(image, warp, dims, resampling=None, fill=0.0):
    return read_onto_grid(counted(image, []), image.shape[:2], warp, dims, resampling or Resampling(), fill)


def warp_whole(image, warp, dims, interpolation="linear", antialias=True):
    """The oracle: one warp of all pixels."""
    warped = kwimage.warp_affine(
        image,
        kwimage.Affine(warp),
        dsize=dims[::-1],
        interpolation=interpolation,
        antialias=antialias,
        border_mode="replicate",
        origin_convention="corner",
    )
    return warped.reshape(*dims, image.shape[2])


def interior(warp, dims, src_dims, margin) -> np.ndarray:
    """Return which output pixels lie that many source pixels away from the border."""
    y, x = np.mgrid[0 : dims[0], 0 : dims[1]] + 0.5
    back = np.linalg.inv(warp)
    src_x, src_y = (back[row, 0] * x + back[row, 1] * y + back[row, 2] for row in (0, 1))
    inside_x = (src_x > margin) & (src_x < src_dims[1] - margin)
    return inside_x & (src_y > margin) & (src_y < src_dims[0] - margin)


shifts = st.integers(-90, 90)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


class TestWholeShifts:
    image = random_pixels("uint8", 2, DIMS)

    @given(shifts, shifts, sizes, st.sampled_from([0, 7]))
    def test_pixels_are_copied_unchanged_and_the_outside_is_filled(self, x, y, dims, fill):
        canvas = np.pad(self.image, ((130, 130), (130, 130), (0, 0)), constant_values=fill)
        expected = canvas[130 - y : 130 - y + dims[0], 130 - x : 130 - x + dims[1]]
        found = read_window(self.image, affine(offset=(x, y)), dims, fill=fill)
        assert np.array_equal(found, expected)

    @given(shifts, shifts, sizes)
    def test_only_the_part_inside_is_read(self, x, y, dims):
        boxes: list[PixelBox] = []
        warp = affine(offset=(x, y))
        read_onto_grid(counted(self.image, boxes), DIMS, warp, dims, Resampling(), 0)
        wanted = PixelBox(-y, dims[0] - y, -x, dims[1] - x)
        assert boxes == [wanted.clipped(*DIMS)]

    @pytest.mark.parametrize("dtype", [*ODD_TYPES, "uint8", "int16", "float64"])
    def test_every_type_is_copied_exactly(self, dtype):
        image = random_pixels("uint8", 3, DIMS).astype(dtype)
        found = read_window(image, affine(offset=(-5, -7)), (9, 8))
        assert found.dtype == image.dtype
        assert np.array_equal(found, image[7:16, 5:13])

    def test_nan_fills_the_outside_of_floating_point_numbers(self):
        found = read_window(self.image.astype(np.float32), affine(offset=(2, 0)), (3, 5), fill=math.nan)
        assert np.isnan(found[:, :2]).all()
        assert np.array_equal(found[:, 2:], self.image[:3, :3])

    @given(shifts, shifts)
    def test_a_whole_shift_is_recognised_despite_rounding(self, x, y):
        assert whole_shift(affine(offset=(x + 1e-9, y - 1e-9))) == (x, y)

    @pytest.mark.parametrize(
        "warp",
        [
            affine(0.5),
            affine(2.0),
            affine((1, -1)),
            affine(theta=0.01),
            affine(theta=math.pi / 2),
            affine(shear=0.1),
            affine(offset=(0.5, 0)),
            affine(offset=(0, 0.01)),
        ],
    )
    def test_anything_else_is_none(self, warp):
        assert whole_shift(warp) is None


class TestWarps:
    windows = st.tuples(st.floats(-40, 10), st.floats(-40, 10))

    @settings(max_examples=40, deadline=None)
    @given(st.floats(1.01, 4), windows, st.floats(-3, 3), st.sampled_from(["uint8", "float32", "int16"]))
    def test_enlarged_and_turned_windows_equal_a_warp_of_the_whole(self, scale, offset, theta, dtype):
        image = random_pixels(dtype, 3, DIMS)
        warp = affine(offset=offset) @ affine(scale, theta) @ affine(offset=(-40, -30))
        dims = (31, 47)
        found = read_window(image, warp, dims)
        expected = warp_whole(image, warp, dims)
        inside = interior(warp, dims, DIMS, 1)
        span = 1.0 if dtype == "uint8" else np.ptp(image.astype(float)) / 500
        assert np.abs(found.astype(float) - expected)[inside].max(initial=0) <= span

    @settings(max_examples=30, deadline=None)
    @given(st.floats(0.15, 0.99), st.floats(0.15, 0.99), windows, st.floats(-0.5, 0.5))
    def test_shrunk_windows_equal_a_warp_of_the_whole(self, sx, sy, offset, theta):
        image = smooth_pixels()
        warp = affine(offset=offset) @ affine((sx, sy), theta)
        found = read_window(image, warp, (20, 25))
        expected = warp_whole(image, warp, (20, 25))
        inside = interior(warp, (20, 25), DIMS, 12)
        assert np.abs(found - expected)[inside].max(initial=0) < 0.15

    @pytest.mark.parametrize("scale", [0.5, (0.5, 1), (0.25, 1), (1, 0.25), (0.25, 8), (8, 0.25)])
    def test_shrinking_averages_on_each_axis_of_its_own(self, scale):
        noise = np.random.default_rng(0).normal(size=(*DIMS, 1)).astype(np.float32)
        sx, sy = np.broadcast_to(scale, 2)
        dims = (int(DIMS[0] * sy), int(DIMS[1] * sx))
        found = read_window(noise, affine(scale), dims)
        expected = warp_whole(noise, affine(scale), dims)
        inside = interior(affine(scale), dims, DIMS, 6)
        assert inside.sum() > 50
        assert found[inside].std() == pytest.approx(expected[inside].std(), rel=0.2)

    @pytest.mark.parametrize("interpolation", [name for name in INTERPOLATIONS if name != "nearest"])
    @pytest.mark.parametrize("scale", [0.6, 2.5])
    def test_every_interpolation_works_on_windows(self, interpolation, scale):
        image, warp = smooth_pixels(), affine(scale, offset=(-3.3, -4.1))
        method = {"auto": "linear", "area": "linear"}.get(interpolation, interpolation)
        found = read_window(image, warp, (20, 25), Resampling(interpolation))
        inside = interior(warp, (20, 25), DIMS, 8)
        expected = warp_whole(image, warp, (20, 25), method)
        assert np.abs(found - expected)[inside].max() < 0.05

    @pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64", *ODD_TYPES])
    @pytest.mark.parametrize("scale", [0.4, 3.0])
    def test_nearest_takes_values_that_stand_in_the_source(self, dtype, scale):
        image = random_pixels("uint8", 1, DIMS).astype(dtype)
        found = read_window(image, affine(scale, offset=(-4, -5)), (20, 25), Resampling("nearest"), fill=0)
        assert found.dtype == image.dtype
        assert np.isin(found, [*image.ravel(), 0]).all()

    def test_nearest_takes_the_pixel_under_the_center(self):
        image = random_pixels("uint8", 3, DIMS)
        found = read_window(image, affine(4, offset=(-8, -12)), (24, 16), Resampling("nearest"))
        expected = np.repeat(np.repeat(image[3:9, 2:6], 4, axis=0), 4, axis=1)
        assert np.array_equal(found, expected)

    def test_without_antialias_shrinking_samples_single_pixels(self):
        image = np.zeros((40, 40, 1), np.float32)
        image[:, ::4] = 1
        plain = read_window(image, affine((0.25, 1)), (40, 10), Resampling("linear", antialias=False))
        smooth = read_window(image, affine((0.25, 1)), (40, 10), Resampling("linear"))
        assert np.abs(smooth[5:-5, 2:-2] - 0.25).max() < np.abs(plain[5:-5, 2:-2] - 0.25).max()

    @pytest.mark.parametrize("dtype", ODD_TYPES)
    @pytest.mark.parametrize("scale", [0.5, 1.5])
    def test_types_that_opencv_lacks_are_interpolated_and_rounded(self, dtype, scale):
        image = random_pixels("uint8", 2, DIMS).astype(dtype) if dtype != "bool" else smooth_pixels(2) > 0
        if dtype == "int8":
            image = random_pixels("int16", 2, DIMS).astype("int8")
        found = read_window(image, affine(scale, offset=(-2.5, -1.5)), (20, 25))
        expected = read_window(image.astype(np.float64), affine(scale, offset=(-2.5, -1.5)), (20, 25))
        assert found.dtype == image.dtype
        assert found.shape == (20, 25, 2)
        rounded = expected if np.dtype(dtype).kind == "f" else expected.round()
        assert np.allclose(found.astype(float), rounded, rtol=1e-3, atol=1e-6)

    @pytest.mark.parametrize("dtype", ["uint32", "int32"])
    def test_extreme_values_neither_wrap_around_nor_overflow(self, dtype):
        image = random_pixels(dtype, 1, DIMS)
        info = np.iinfo(dtype)
        image[:30], image[30:] = info.max, info.min
        found = read_window(image, affine(1.7, offset=(-9.2, -40.1)), (30, 30), Resampling("lanczos"))
        assert {int(found.min()), int(found.max())} == {info.min, info.max}

    @pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 9])
    @pytest.mark.parametrize("scale", [0.5, 1.5])
    def test_any_number_of_channels_is_warped_like_each_alone(self, channels, scale):
        image = random_pixels("uint8", channels, DIMS)
        warp = affine(scale, offset=(-2.5, -1.5))
        found = read_window(image, warp, (20, 25))
        assert found.shape == (20, 25, channels)
        for band in range(channels):
            alone = read_window(image[..., band : band + 1], warp, (20, 25))
            # OpenCV rounds positions to 1/32 pixel, another way for another number of channels.
            assert np.abs(found[..., band : band + 1].astype(int) - alone).max() <= 255 / 32

    @pytest.mark.parametrize("dims", [(6, 40_000), (40_000, 6)])
    @pytest.mark.parametrize("scale", [0.9, 1.1])
    def test_a_source_longer_than_opencv_allows_is_warped(self, dims, scale):
        ramp = np.arange(40_000, dtype=np.float32)
        image = np.broadcast_to(ramp if dims[0] == 6 else ramp[:, None], dims)[:, :, None]
        out_dims = (int(dims[0] * scale), int(dims[1] * scale))
        found = read_window(image, affine(scale), out_dims)
        line = found[2, :, 0] if dims[0] == 6 else found[:, 2, 0]
        centers = (np.arange(len(line)) + 0.5) / scale - 0.5
        assert np.abs(line - centers)[5:-5].max() < 0.1


class TestTheOutside:
    @settings(max_examples=30, deadline=None)
    @given(st.floats(0.3, 3), st.floats(-60, 60), st.floats(-60, 60), st.floats(-3, 3))
    def test_pixels_whose_center_lies_outside_are_fill_and_no_others(self, scale, x, y, theta):
        image = np.ones((*DIMS, 1), np.float32)
        warp = affine(offset=(x, y)) @ affine(scale, theta)
        found = read_window(image, warp, (37, 29), fill=-5)
        sure_inside = interior(warp, (37, 29), DIMS, 1e-6)
        sure_outside = ~interior(warp, (37, 29), DIMS, -1e-6)
        assert np.allclose(found[sure_inside], 1)
        assert (found[sure_outside] == -5).all()

    def test_a_window_wholly_beside_the_source_reads_nothing(self):
        boxes: list[PixelBox] = []
        read = counted(random_pixels("uint8", 3, DIMS), boxes)
        found = read_onto_grid(read, DIMS, affine(1.5, offset=(9000, 0)), (4, 6), Resampling(), 9)
        assert found.shape == (4, 6, 3)
        assert (found == 9).all()
        assert all(0 in box.dims for box in boxes)

    @pytest.mark.parametrize("dims", [(0, 10), (10, 0), (0, 0)])
    @pytest.mark.parametrize("warp", [affine(offset=(-3, -3)), affine(0.5), affine(2.0, 0.3)])
    def test_a_window_without_pixels_is_an_empty_array(self, dims, warp):
        assert read_window(random_pixels("uint8", 3, DIMS), warp, dims).shape == (*dims, 3)

    @pytest.mark.parametrize("dims", [(1, 1), (1, 50), (50, 1)])
    def test_a_source_of_one_row_or_column_is_warped(self, dims):
        image = np.full((*dims, 2), 7, np.uint8)
        found = read_window(image, affine(2.5), (round(dims[0] * 2.5), round(dims[1] * 2.5)))
        assert (found == 7).all()


class TestSourceBox:
    @settings(deadline=None)
    @given(st.floats(0.05, 8), st.floats(0.05, 8), shifts, shifts, st.floats(-4, 4), sizes)
    def test_it_holds_every_source_pixel_that_interpolation_looks_at(self, sx, sy, x, y, theta, dims):
        warp = affine(offset=(x, y)) @ affine((sx, sy), theta)
        box = source_box(warp, dims, DIMS)
        back = np.linalg.inv(warp)
        y_out, x_out = np.mgrid[0 : dims[0], 0 : dims[1]] + 0.5
        src_x = (back[0, 0] * x_out + back[0, 1] * y_out + back[0, 2]).ravel()
        src_y = (back[1, 0] * x_out + back[1, 1] * y_out + back[1, 2]).ravel()
        touched = PixelBox(
            math.floor(src_y.min() - KERNEL_MARGIN),
            math.ceil(src_y.max() + KERNEL_MARGIN),
            math.floor(src_x.min() - KERNEL_MARGIN),
            math.ceil(src_x.max() + KERNEL_MARGIN),
        ).clipped(*DIMS)
        if 0 not in touched.dims:
            assert box.y0 <= touched.y0
            assert box.x0 <= touched.x0
            assert box.y1 >= touched.y1
            assert box.x1 >= touched.x1

    @given(st.floats(0.5, 8), sizes)
    def test_it_is_little_more_than_that(self, scale, dims):
        box = source_box(affine(scale), dims, (10**6, 10**6))
        assert box.dims[0] <= dims[0] / scale + 2 * KERNEL_MARGIN * max(1, 1 / scale) + 2
        assert box.dims[1] <= dims[1] / scale + 2 * KERNEL_MARGIN * max(1, 1 / scale) + 2


class TestChooseLevel:
    levels = [(500, 500), (250, 250), (125, 125), (63, 63)]

    @given(st.floats(0.01, 4), st.floats(0.01, 4), st.floats(-3, 3), st.integers(0, 4))
    def test_it_is_the_smallest_overview_no_coarser_than_the_output(self, sx, sy, theta, count):
        level = choose_level(affine((sx, sy), theta), self.levels[:count], Resampling())
        fits = [n for n in range(count + 1) if 2.0**-n >= max(sx, sy) - 1e-5]
        assert level == max(fits, default=0)

    @pytest.mark.parametrize("resampling", [Resampling("nearest"), Resampling(antialias=False)])
    def test_single_pixels_come_from_the_image_itself(self, resampling):
        assert choose_level(affine(0.1), self.levels, resampling) == 0

    def test_a_warp_that_flattens_everything_reads_the_image_itself(self):
        assert choose_level(np.diag([0.0, 0.0, 1.0]), self.levels, Resampling()) == 0


def test_an_unknown_interpolation_names_the_options():
    with pytest.raises(TargetError, match=r"interpolation is 'bilinear'; expected one of 'auto', 'nearest'"):
        Resampling("bilinear")


def test_placing_pixels_leaves_a_margin_of_one_value():
    pixels = random_pixels("uint8", 2, (3, 4))
    canvas = place(pixels, (6, 9), ((1, 2), (4, 1)), 5)
    assert np.array_equal(canvas, np.pad(pixels, ((1, 2), (4, 1), (0, 0)), constant_values=5))


def test_warping_leaves_the_input_alone():
    pixels = random_pixels("uint8", 3, DIMS)
    before = pixels.copy()
    warp_pixels(pixels, affine(0.7), (10, 10), Resampling())
    assert np.array_equal(pixels, before)
