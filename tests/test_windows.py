"""The arithmetic of windows, against numpy and by property."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndsampler.errors import NDSamplerError, TargetError, WindowError
from ndsampler.windows import (
    MAX_COORDINATE,
    MAX_SAMPLE_BYTES,
    PixelBox,
    as_finite,
    as_int,
    boundless_slices,
    centered_box,
    check_affordable,
    embed_box,
    normalize_pad,
    wrap_slices,
)

#: Sides of images, and how far windows reach beyond them.
SIDES = st.integers(1, 12)
BOUNDS = st.integers(-20, 20)
OPEN_BOUNDS = st.none() | BOUNDS | BOUNDS.map(np.int64) | BOUNDS.map(float)
SPANS = st.integers(0, 25)
SLICES = st.builds(slice, OPEN_BOUNDS, OPEN_BOUNDS, st.sampled_from([None, 1]))


def whole(part: slice) -> slice:
    """Return a slice as numpy takes it, without whole floats."""
    bounds = (None if bound is None else int(bound) for bound in (part.start, part.stop))
    return slice(*bounds)


@st.composite
def boxes(draw, side=SPANS):
    y0, x0 = draw(BOUNDS), draw(BOUNDS)
    return PixelBox(y0, y0 + draw(side), x0, x0 + draw(side))


class TestWrapSlices:
    @given(st.lists(SLICES | st.none(), max_size=3), st.tuples(SIDES, SIDES, SIDES))
    def test_it_chooses_what_numpy_chooses(self, parts, shape):
        array = np.arange(math.prod(shape)).reshape(shape)
        expected = array[tuple(slice(None) if part is None else whole(part) for part in parts)]
        bounds = wrap_slices(tuple(parts), shape)
        found = array[tuple(slice(*pair) for pair in bounds)]
        assert found.shape == expected.shape
        assert np.array_equal(found, expected)
        assert all(0 <= start <= stop <= side for (start, stop), side in zip(bounds, shape))

    @given(SLICES, st.integers(0, 2), st.tuples(SIDES, SIDES, SIDES))
    def test_an_ellipsis_stands_for_the_axes_that_are_not_named(self, part, after, shape):
        array = np.arange(math.prod(shape)).reshape(shape)
        region = (*[slice(1, None)] * (2 - after), ..., *[part] * after)
        plain = tuple(entry if entry is ... else whole(entry) for entry in region)
        found = array[tuple(slice(*pair) for pair in wrap_slices(region, shape))]
        assert np.array_equal(found, array[plain])

    @pytest.mark.parametrize(
        "region", [None, ..., (), [], (None, None), (slice(None), ...), (..., slice(None)), slice(None)]
    )
    def test_everything_open_is_the_whole_image(self, region):
        assert wrap_slices(region, (4, 5, 3)) == ((0, 4), (0, 5), (0, 3))

    def test_one_slice_and_a_list_of_slices_are_taken_as_a_tuple(self):
        assert wrap_slices(slice(-2, None), (4, 5)) == ((2, 4), (0, 5))
        assert wrap_slices([slice(1), slice(2)], (4, 5)) == ((0, 1), (0, 2))

    @pytest.mark.parametrize("region", [(slice(None),) * 4, (slice(None), ..., ...), (..., *[None] * 4)])
    def test_too_many_slices_are_refused(self, region):
        with pytest.raises(WindowError, match="at most one slice for each of the 3 axes"):
            wrap_slices(region, (4, 5, 3))

    @pytest.mark.parametrize("step", [2, -1, 0])
    def test_a_step_is_refused_with_the_way_out(self, step):
        with pytest.raises(WindowError, match="step are not supported, use scale"):
            wrap_slices((slice(None), slice(0, 4, step)), (4, 5))

    @pytest.mark.parametrize("part", [3, "1:2", [0, 1], np.array([True]), 1.5])
    def test_what_is_no_slice_is_refused(self, part):
        with pytest.raises(WindowError, match="axis 1 of the region"):
            wrap_slices((slice(None), part), (4, 5))

    @pytest.mark.parametrize("bound", [0.5, math.nan, math.inf, "2", (1,), True])
    def test_a_bound_must_be_a_whole_number(self, bound):
        for part, name in [(slice(bound, None), "start"), (slice(None, bound), "stop")]:
            with pytest.raises(WindowError, match=f"the {name} of axis 0 is .*expected a"):
                wrap_slices((part,), (4, 5))


class TestBoundlessSlices:
    @given(boxes(st.integers(1, 25)), SIDES, SIDES)
    def test_bounds_are_kept_as_they_are(self, box, height, width):
        rows, cols = boundless_slices(box.slices, (height, width))
        assert PixelBox(*rows, *cols) == box

    def test_an_open_end_is_the_border(self):
        assert boundless_slices((slice(None), None), (4, 5)) == ((0, 4), (0, 5))
        assert boundless_slices([slice(-3, None), slice(None, 9)], (4, 5)) == ((-3, 4), (0, 9))

    def test_numbers_come_back_as_plain_ints(self):
        ((start, stop),) = boundless_slices((slice(np.int32(-2), np.float64(3)),), (4,))
        assert (type(start), type(stop)) == (int, int)

    @pytest.mark.parametrize("part", [slice(3, 3), slice(3, 1), slice(4, None), slice(None, 0)])
    def test_an_end_must_come_after_its_start(self, part):
        with pytest.raises(WindowError, match="expected an end after its start"):
            boundless_slices((part, slice(0, 1)), (4, 5))

    @pytest.mark.parametrize("slices", [slice(0, 1), (slice(0, 1),), (slice(0, 1),) * 3, None, "ab"])
    def test_there_must_be_one_slice_for_each_axis(self, slices):
        with pytest.raises(WindowError, match="expected a tuple of 2 slices"):
            boundless_slices(slices, (4, 5))

    def test_a_step_is_refused(self):
        with pytest.raises(WindowError, match="step are not supported"):
            boundless_slices((slice(0, 4, 2), slice(0, 1)), (4, 5))


class TestEmbedding:
    @given(boxes(st.integers(1, 25)), SIDES, SIDES)
    def test_the_part_inside_with_its_margin_is_the_window_of_the_padded_image(self, box, height, width):
        image = np.arange(1, 1 + height * width).reshape(height, width)
        reach = 64
        canvas = np.pad(image, reach)
        y0, x0 = box.y0 + reach, box.x0 + reach
        expected = canvas[y0 : y0 + box.dims[0], x0 : x0 + box.dims[1]]
        inside, margin = embed_box(box, height, width)
        assert np.array_equal(np.pad(image[inside.slices], margin), expected)

    @given(boxes(), SIDES, SIDES)
    def test_margins_and_part_make_up_the_size(self, box, height, width):
        inside, margin = embed_box(box, height, width)
        assert min(min(pair) for pair in margin) >= 0
        assert inside.padded(margin).dims == box.dims
        assert inside == inside.clipped(height, width)

    @given(boxes(), SIDES, SIDES)
    def test_a_window_inside_needs_no_margin(self, box, height, width):
        inside = box.clipped(height, width)
        assert embed_box(inside, height, width) == (inside, ((0, 0), (0, 0)))

    @given(boxes(), SIDES, SIDES)
    def test_clipping_keeps_the_pixels_that_lie_in_the_image(self, box, height, width):
        y0, y1, x0, x1 = box.clipped(height, width)
        found = {(y, x) for y in range(y0, y1) for x in range(x0, x1)}
        pixels = {(y, x) for y in range(box.y0, box.y1) for x in range(box.x0, box.x1)}
        assert found == {(y, x) for y, x in pixels if 0 <= y < height and 0 <= x < width}
        assert y0 <= y1
        assert x0 <= x1


class TestCenteredBox:
    coordinates = st.floats(-1e6, 1e6)

    @given(coordinates, coordinates, st.integers(1, 500), st.integers(1, 500))
    def test_the_size_is_exact_and_the_center_within_a_pixel(self, cx, cy, height, width):
        box = centered_box(cx, cy, height, width)
        assert box.dims == (height, width)
        assert 0 <= cy - height / 2 - box.y0 < 1
        assert 0 <= cx - width / 2 - box.x0 < 1

    @given(st.integers(-99, 99), st.integers(-99, 99), boxes(st.integers(1, 25)))
    def test_moving_the_center_by_whole_pixels_moves_the_box_along(self, dx, dy, box):
        height, width = box.dims
        cx, cy = box.x0 + width / 2, box.y0 + height / 2
        assert centered_box(cx, cy, height, width) == box
        moved = centered_box(cx + dx, cy + dy, height, width)
        assert moved == PixelBox(box.y0 + dy, box.y1 + dy, box.x0 + dx, box.x1 + dx)


class TestNormalizePad:
    margins = st.integers(0, 9)
    entries = margins | st.tuples(margins, margins)

    @given(st.integers(2, 3).flatmap(lambda n: st.tuples(*[TestNormalizePad.entries] * n)))
    def test_it_reads_what_numpy_pad_reads(self, pad):
        pairs = normalize_pad(pad, len(pad))
        image = np.ones((2,) * len(pad), int)
        as_numpy = [part if isinstance(part, tuple) else (part, part) for part in pad]
        assert np.array_equal(np.pad(image, pairs), np.pad(image, as_numpy))

    @given(margins)
    def test_one_number_is_for_both_sides_of_rows_and_columns(self, margin):
        for number in (margin, np.int64(margin), float(margin), np.array(margin)):
            assert normalize_pad(number) == ((margin, margin),) * 2
            assert normalize_pad(number, 3) == ((0, 0), *((margin, margin),) * 2)

    @given(entries, entries)
    def test_a_pad_of_height_and_width_leaves_time_alone(self, rows, cols):
        assert normalize_pad((rows, cols), 3) == ((0, 0), *normalize_pad((rows, cols)))

    def test_nothing_is_no_margin(self):
        assert normalize_pad(None) == ((0, 0), (0, 0))
        assert normalize_pad(None, 3) == ((0, 0),) * 3

    def test_lists_and_arrays_are_taken(self):
        assert normalize_pad([1, [2, 3]]) == ((1, 1), (2, 3))
        assert normalize_pad(np.array([[1, 2], [3, 4]])) == ((1, 2), (3, 4))

    @pytest.mark.parametrize(
        "pad", [-1, (0, -1), ((0, -1), 0), 0.5, (1.5, 0), math.nan, (math.inf, 0), True, ((1, 2, 3), 0)]
    )
    def test_a_margin_must_be_a_whole_number_of_at_least_0(self, pad):
        with pytest.raises(WindowError, match="pad is"):
            normalize_pad(pad)

    @pytest.mark.parametrize("pad", ["12", (1,), (1, 2, 3), {1: 2, 3: 4}, object(), ("a", "b"), (None, 1)])
    def test_what_is_no_pad_is_refused(self, pad):
        with pytest.raises(WindowError, match="pad is"):
            normalize_pad(pad)


class TestNumbers:
    @given(st.integers(-MAX_COORDINATE, MAX_COORDINATE))
    def test_whole_numbers_of_every_type_become_ints(self, number):
        for value in (number, np.int64(number), float(number), np.float64(number)):
            assert as_int(value, "n") == number
            assert type(as_int(value, "n")) is int

    @pytest.mark.parametrize("value", [0.5, math.nan, math.inf, -math.inf, "3", None, True, 1j, [1], 1e15])
    def test_anything_else_is_refused(self, value):
        with pytest.raises(WindowError, match="^n is .*expected"):
            as_int(value, "n")

    @given(st.floats(-MAX_COORDINATE, MAX_COORDINATE))
    def test_finite_numbers_stay(self, number):
        assert as_finite(number, "cx") == number
        assert type(as_finite(np.float64(number), "cx")) is float

    @pytest.mark.parametrize("value", [math.nan, math.inf, "wide", None, 1j, [1, 2], 1e15, {}])
    def test_no_number_and_no_finite_number_are_refused(self, value):
        with pytest.raises(WindowError, match="^cx is .*expected"):
            as_finite(value, "cx")

    @pytest.mark.parametrize("check", [as_int, as_finite])
    @pytest.mark.parametrize("value", [10**400, -(10**400), MAX_COORDINATE + 1], ids=["+", "-", "just"])
    def test_a_number_beyond_floating_point_is_refused_like_any_other(self, check, value):
        with pytest.raises(WindowError, match="^n is .*expected"):
            check(value, "n")

    def test_the_error_is_also_the_builtin_that_callers_catch(self):
        for kind in (ValueError, TargetError, NDSamplerError):
            with pytest.raises(kind, match="cx is nan"):
                as_finite(math.nan, "cx")


class TestAffordable:
    @given(st.lists(st.integers(1, 10**6), min_size=2, max_size=3), st.integers(1, 8), st.integers(1, 20))
    def test_the_limit_is_on_the_bytes_of_the_result(self, dims, itemsize, channels):
        if math.prod(dims) * itemsize * channels <= MAX_SAMPLE_BYTES:
            check_affordable(dims, itemsize, channels, "it")
        else:
            with pytest.raises(WindowError, match="it has dims .*Use a smaller window"):
                check_affordable(dims, itemsize, channels, "it")

    def test_sizes_that_overflow_a_machine_word_are_refused(self):
        huge = np.int64(2**40)
        with pytest.raises(WindowError, match="expected at most 8 GiB"):
            check_affordable((huge, huge), 8, 3, "it")
        with pytest.raises(WindowError, match="expected at most 8 GiB"):
            check_affordable((sys.maxsize, sys.maxsize), 8, 3, "it")
