"""Step 2 of a sample: which window of which image, read how."""

from __future__ import annotations

import math
import tracemalloc

import kwimage
import numpy as np
import pytest
from helpers_datasets import DIMS, EMPTY, GRAY, PLAIN, RGB, stills
from hypothesis import given
from hypothesis import strategies as st

from ndsampler import CocoSampler
from ndsampler.errors import TargetError, WindowError
from ndsampler.sampling.options import DEFAULT_OPTIONS, read_options
from ndsampler.sampling.region import scaled_length
from ndsampler.sampling.resolve import resolve_region

HEIGHT, WIDTH = DIMS

CENTERED = {"gid": RGB, "cx": 20, "cy": 12, "width": 9, "height": 6}

#: Bytes that a refused request may touch; the samples asked for have billions.
REFUSAL_BYTES = 2**22

centers = st.floats(-200, 200).map(lambda value: round(value * 4) / 4)
sizes = st.integers(1, 90)
margins = st.integers(0, 9)
pads = st.one_of(
    st.none(),
    margins,
    st.tuples(margins, margins),
    st.tuples(st.tuples(margins, margins), st.tuples(margins, margins)),
    st.tuples(margins, st.lists(margins, min_size=2, max_size=2)),
)


def pad_pairs(pad):
    """Return ((top, bottom), (left, right)) of any form of pad."""
    pair = (0, 0) if pad is None else (pad, pad) if isinstance(pad, int) else tuple(pad)
    return tuple((item, item) if isinstance(item, int) else tuple(item) for item in pair)


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    return CocoSampler(stills(tmp_path_factory.mktemp("stills")).dset)


@pytest.fixture
def unread(sampler, monkeypatch):
    """Return a sampler that fails when it reads pixels."""

    def read(*args, **kwargs):
        raise AssertionError("pixels were read")

    monkeypatch.setattr(sampler.frames.reader, "read", read)
    return sampler


def resolve(sampler, **target):
    return resolve_region(target, sampler.frames)


def bounds(region):
    box = region.box
    return (box.y0, box.y1), (box.x0, box.x1)


# --- what a sample says of itself ----------------------------------------------------------------


def test_the_keys_of_a_sample_come_in_their_order(sampler):
    sample = sampler.load_sample(CENTERED)
    assert list(sample) == ["im", "target", "params", "tr", "annots", "classes", "kp_classes"]
    assert list(sample["params"]) == [
        "offset",
        "tf_rel_to_abs",
        "sample_tlbr",
        "st_dims",
        "data_dims",
        "pad",
    ]


@pytest.mark.parametrize(
    ("target", "inferred"),
    [
        (
            {"aid": PLAIN},
            [
                "gid",
                "cx",
                "cy",
                "width",
                "height",
                "category_id",
                "space_dims",
                "data_dims",
                "window_dims",
                "space_slice",
                "slices",
            ],
        ),
        (CENTERED, ["space_dims", "data_dims", "window_dims", "space_slice", "slices"]),
        ({"window_dims": (3, 4), **CENTERED}, ["space_dims", "data_dims", "space_slice", "slices"]),
        ({"gid": RGB}, ["space_dims", "data_dims", "space_slice", "slices"]),
        ({"gid": RGB, "slices": (slice(2), slice(3))}, ["space_dims", "data_dims", "space_slice"]),
        ({"gid": RGB, "space_slice": (slice(2), slice(3))}, ["space_dims", "data_dims", "slices"]),
    ],
)
def test_the_keys_of_a_returned_target_come_in_their_order(sampler, target, inferred):
    centered = [] if "cx" not in [*target, *inferred] else ["rel_cx", "rel_cy"]
    found = sampler.load_sample(target)["target"]
    assert list(found) == [*target, *inferred, *centered, "annot_idx"]


def test_values_of_a_sample_have_the_types_that_programs_know(sampler):
    sample = sampler.load_sample({**CENTERED, "pad": (1, 2)})
    target, params = sample["target"], sample["params"]
    assert target["space_dims"] == target["data_dims"] == params["data_dims"] == DIMS
    assert [type(value) for value in params["data_dims"]] == [int, int]
    assert target["window_dims"] == (6, 9)
    assert type(target["window_dims"]) is tuple
    assert params["offset"].dtype == np.int64
    assert params["offset"].shape == (2,)
    assert params["tf_rel_to_abs"].dtype == np.float64
    assert isinstance(params["sample_tlbr"], kwimage.Boxes)
    assert params["sample_tlbr"].format == "ltrb"
    assert params["sample_tlbr"].data.shape == (4,)
    assert params["sample_tlbr"].data.dtype == np.int64
    assert type(params["st_dims"]) is list
    assert [type(pair) for pair in params["st_dims"]] == [tuple, tuple]
    assert type(target["annot_idx"]) is int


@given(cx=centers, cy=centers, height=sizes, width=sizes, pad=pads)
def test_params_say_where_the_padded_window_lies(sampler, cx, cy, height, width, pad):
    target = {"gid": RGB, "cx": cx, "cy": cy, "window_dims": (height, width), "pad": pad}
    sample = sampler.load_sample(target, with_annots=False)
    (top, bottom), (left, right) = pad_pairs(pad)
    y0, x0 = math.floor(cy - height / 2) - top, math.floor(cx - width / 2) - left
    y1, x1 = y0 + top + height + bottom, x0 + left + width + right
    params = sample["params"]
    assert sample["im"].shape == (y1 - y0, x1 - x0, 3)
    assert params["st_dims"] == [(y0, y1), (x0, x1)]
    assert params["offset"].tolist() == [-x0, -y0]
    assert params["sample_tlbr"].data.tolist() == [x0, y0, x1, y1]
    np.testing.assert_array_equal(params["tf_rel_to_abs"], [[1, 0, x0], [0, 1, y0], [0, 0, 1]])
    assert sample["target"]["rel_cx"] == cx - x0
    assert sample["target"]["rel_cy"] == cy - y0


@pytest.mark.parametrize(
    ("pad", "told"),
    [
        (None, (0, 0)),
        (3, (3, 3)),
        ((1, 2), (1, 2)),
        ([1, 2], (1, 2)),
        (np.array([1, 2]), (1, 2)),
        (np.array(3), (3, 3)),
        (((1, 1), 2), (1, 2)),
        ([(1, 2), (3, 4)], ((1, 2), (3, 4))),
    ],
)
def test_params_tell_the_pad_as_pair_or_pairs(sampler, pad, told):
    params = sampler.load_sample({**CENTERED, "pad": pad})["params"]
    assert params["pad"] == told
    assert type(params["pad"]) is tuple


def test_a_returned_target_samples_the_same_again(sampler):
    target = {"aid": PLAIN, "window_dims": "square", "pad": ((1, 2), 3), "scale": 1.5}
    first = sampler.load_sample(target)
    again = sampler.load_sample(first["target"])
    np.testing.assert_array_equal(again["im"], first["im"])
    assert again["target"] == first["target"]


def test_an_inferred_target_samples_the_same_and_its_slices_win(sampler):
    inferred = sampler._infer_target_attributes({**CENTERED, "pad": 2})
    assert inferred["space_slice"] == inferred["slices"] == (slice(9, 15), slice(15, 24))
    expected = sampler.load_sample({**CENTERED, "pad": 2})["im"]
    moved = sampler.load_sample({**inferred, "cx": 0, "cy": 0})
    np.testing.assert_array_equal(moved["im"], expected)


# --- centered windows ----------------------------------------------------------------------------


@given(cx=centers, cy=centers, width=st.floats(0.25, 60), height=st.floats(0.25, 60))
def test_an_extent_is_the_size_rounded_up_around_the_center(sampler, cx, cy, width, height):
    sized = {"gid": RGB, "cx": cx, "cy": cy, "width": width, "height": height}
    region, target = resolve(sampler, **sized)
    (y0, y1), (x0, x1) = bounds(region)
    assert (y1 - y0, x1 - x0) == target["window_dims"] == (math.ceil(height), math.ceil(width))
    assert (y0, x0) == (math.floor(cy - (y1 - y0) / 2), math.floor(cx - (x1 - x0) / 2))
    assert target["space_slice"] == target["slices"] == (slice(y0, y1), slice(x0, x1))
    for named in ("extent", None):
        assert vars(resolve(sampler, **sized, window_dims=named)[0]) == vars(region)


@given(cx=centers, cy=centers, width=st.floats(0.25, 60), height=st.floats(0.25, 60))
def test_a_square_has_the_larger_side_twice(sampler, cx, cy, width, height):
    region, target = resolve(sampler, gid=RGB, cx=cx, cy=cy, width=width, height=height, window_dims="square")
    side = max(math.ceil(width), math.ceil(height))
    assert region.box.dims == target["window_dims"] == (side, side)


@pytest.mark.parametrize("dims", [(7, 4), [7, 4], np.array([7, 4]), (7.0, 4.0), (np.int16(7), 4)])
def test_a_pair_is_the_window_itself_and_stays_as_given(sampler, dims):
    region, target = resolve(sampler, **{**CENTERED, "window_dims": dims})
    assert region.box.dims == (7, 4)
    assert target["window_dims"] is dims


def test_a_pair_needs_no_size_of_an_object(sampler):
    assert resolve(sampler, gid=RGB, cx=3, cy=4, window_dims=(5, 6))[0].box.dims == (5, 6)


@pytest.mark.parametrize("kind", [int, float, np.float32, np.float64, np.int64])
def test_centers_and_sizes_may_be_any_kind_of_number(sampler, kind):
    target = {key: kind(value) for key, value in CENTERED.items() if key != "gid"}
    assert vars(resolve(sampler, gid=RGB, **target)[0]) == vars(resolve(sampler, **CENTERED)[0])


def test_without_a_window_the_whole_image_is_meant(sampler):
    region, target = resolve(sampler, gid=RGB)
    assert bounds(region) == ((0, HEIGHT), (0, WIDTH))
    assert target["slices"] == target["space_slice"] == (slice(0, HEIGHT), slice(0, WIDTH))
    for key in ("slices", "space_slice", "cx", "cy", "window_dims", "pad"):
        assert vars(resolve(sampler, gid=RGB, **{key: None})[0]) == vars(region)


# --- slices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["slices", "space_slice"])
@given(data=st.data())
def test_the_bounds_of_slices_are_taken_as_they_are_or_as_the_border(sampler, key, data):
    def draw(length):
        start = data.draw(st.none() | st.integers(-99, length - 1))
        stop = data.draw(st.none() if start is None else st.integers(start + 1, start + 99) | st.none())
        return slice(start, stop), (0 if start is None else start, length if stop is None else stop)

    (rows, row_bounds), (cols, col_bounds) = draw(HEIGHT), draw(WIDTH)
    region, target = resolve(sampler, gid=RGB, **{key: (rows, cols)})
    assert bounds(region) == (row_bounds, col_bounds)
    assert target["space_slice"] == target["slices"] == (rows, cols)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ((slice(-5, 3), slice(-7, -2)), ((-5, 3), (-7, -2))),
        ((slice(None), slice(4, None)), ((0, HEIGHT), (4, WIDTH))),
        ((None, slice(4)), ((0, HEIGHT), (0, 4))),
        ([slice(1, 2), slice(3, 4)], ((1, 2), (3, 4))),
        ((slice(np.int32(1), np.int64(2)), slice(3.0, 4)), ((1, 2), (3, 4))),
        ((slice(1, 5, 1), slice(0, 9, None)), ((1, 5), (0, 9))),
    ],
)
def test_slices_come_in_many_forms_and_come_back_as_given(sampler, asked, meant):
    region, target = resolve(sampler, gid=RGB, slices=asked)
    assert bounds(region) == meant
    assert target["slices"] is asked
    assert target["space_slice"] is asked


def test_space_slice_beats_slices_which_beat_the_center(sampler):
    first, second = (slice(0, 3), slice(0, 4)), (slice(5, 9), slice(6, 8))
    region, target = resolve(sampler, **CENTERED, slices=second)
    assert bounds(region) == ((5, 9), (6, 8))
    assert "window_dims" not in target
    region, target = resolve(sampler, **CENTERED, slices=second, space_slice=first)
    assert bounds(region) == ((0, 3), (0, 4))
    assert target["slices"] is first


def test_slices_make_a_center_that_is_no_number_irrelevant(sampler):
    target = {"gid": RGB, "cx": "left", "cy": 2, "slices": (slice(0, 3), slice(0, 4))}
    sample = sampler.load_sample(target)
    assert sample["im"].shape == (3, 4, 3)
    assert sample["target"]["cx"] == "left"
    assert "rel_cx" not in sample["target"]


def test_slices_leave_given_window_dims_alone(sampler):
    _, target = resolve(sampler, gid=RGB, slices=(slice(0, 3), slice(0, 4)), window_dims="square")
    assert target["window_dims"] == "square"


# --- scale ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "factor", "result"),
    [
        (10, 1.1, 11),
        (30, 0.7, 21),
        (10, 1.0001, 11 - 1),
        (10, 0.01, 1),
        (9, 0.5, 5),
        (24, 1.3, 32),
        (32, 1 / 3, 11),
        (1, 1e-5, 1),
    ],
)
def test_a_scaled_length_is_rounded_up_but_for_inexact_factors(length, factor, result):
    assert scaled_length(length, factor) == result


@pytest.mark.parametrize(
    "scale", [0.5, 2, (2, 0.5), [0.25, 3], np.array([1.5, 1.5]), np.float32(2), np.array(0.5)]
)
def test_a_scale_is_one_factor_or_a_pair_for_x_and_y(sampler, scale):
    x, y = np.broadcast_to(np.asarray(scale, float), 2)
    sample = sampler.load_sample({**CENTERED, "pad": (2, 4), "scale": scale})
    assert sample["im"].shape == (math.ceil(10 * y), math.ceil(17 * x), 3)
    params = sample["params"]
    np.testing.assert_allclose(params["tf_rel_to_abs"], [[1 / x, 0, 11], [0, 1 / y, 7], [0, 0, 1]])
    assert params["sample_tlbr"].data.tolist() == [11, 7, 28, 17]
    assert params["st_dims"] == [(7, 17), (11, 28)]
    rel = [sample["target"]["rel_cx"], sample["target"]["rel_cy"], 1]
    np.testing.assert_allclose(params["tf_rel_to_abs"] @ rel, [20, 12, 1])


def test_a_scale_of_none_is_one():
    assert read_options({"scale": None}).scale == (1.0, 1.0)


# --- options -------------------------------------------------------------------------------------


def test_a_target_without_options_shares_the_defaults():
    assert read_options({"gid": 1, "cx": 3}) is DEFAULT_OPTIONS
    assert read_options({"channels": None, "dtype": None, "padkw": None}) == DEFAULT_OPTIONS


@pytest.mark.parametrize(
    ("option", "value", "meant"),
    [
        ("nodata", "auto", "float"),
        ("nodata", "float", "float"),
        ("nodata", "ma", "ma"),
        ("nodata", 0, 0),
        ("nodata", np.uint8(255), 255),
        ("dtype", "float32", np.dtype("float32")),
        ("dtype", np.uint16, np.dtype("uint16")),
        ("padkw", {"mode": "constant"}, None),
        ("padkw", {"constant_values": 3}, {"mode": "constant", "constant_values": 3}),
        ("padkw", {"mode": "reflect"}, {"mode": "reflect"}),
        ("as_xarray", True, True),
        ("as_xarray", None, False),
    ],
)
def test_an_option_is_understood(option, value, meant):
    assert getattr(read_options({option: value}), option) == meant


def test_options_keep_no_hold_of_the_callers_padkw():
    mine = {"constant_values": 3}
    options = read_options({"padkw": mine})
    options.padkw["constant_values"] = 4
    assert mine == {"constant_values": 3}


@pytest.mark.parametrize(
    ("antialias", "on"),
    [(None, True), ("auto", True), (True, True), (1, True), (False, False), (0, False), (np.False_, False)],
)
def test_antialiasing_is_on_unless_it_is_switched_off(antialias, on):
    assert read_options({"antialias": antialias}).resampling.antialias is on


BAD_OPTIONS = [
    ("scale", 0, "scale is 0; expected factors above 0"),
    ("scale", -1, "scale is -1; expected factors above 0"),
    ("scale", (1, 0), "expected factors above 0"),
    ("scale", float("nan"), "scale is nan"),
    ("scale", float("inf"), "scale is inf"),
    ("scale", "large", "scale is 'large'; expected a number, or a pair"),
    ("scale", (1, 2, 3), "scale is .1, 2, 3.; expected a number, or a pair"),
    ("scale", {}, "scale is {}; expected a number"),
    ("scale", 1e308, "scale is 1e[+]308; expected factors above 0, from 1e-06 to 1000000"),
    ("scale", 1e-300, "scale is 1e-300; expected factors above 0, from"),
    pytest.param("scale", 10**400, "scale is .*expected", id="scale-a huge integer"),
    ("antialias", "yes", "antialias is 'yes'; expected True, False or 'auto'"),
    ("interpolation", "best", "interpolation is 'best'; expected one of 'auto', 'nearest'"),
    ("nodata", "nan", "nodata is 'nan'; expected None, 'float', 'auto', 'ma' or a number"),
    ("nodata", True, "nodata is True"),
    ("nodata", [0], "nodata is .0."),
    ("nodata", np.array([1, 2]), r"nodata is array\(.1, 2.\)"),
    ("dtype", "uint7", "dtype is 'uint7'; expected a numpy type"),
    ("padkw", "reflect", "padkw is 'reflect'; expected a dictionary"),
    ("padkw", 3, "padkw is 3; expected a dictionary"),
    ("channels", 3, "channels is 3; expected a code such as"),
    ("channels", [], "expected one or more names, each once"),
    ("channels", "r|r", "channels is 'r.r'; expected one or more names, each once"),
]


@pytest.mark.parametrize(("option", "value", "message"), BAD_OPTIONS)
def test_an_option_that_cannot_be_understood_is_refused_before_reading(unread, option, value, message):
    with pytest.raises(TargetError, match=message):
        unread.load_sample({**CENTERED, option: value})


# --- windows that are refused --------------------------------------------------------------------


WHOLE = (slice(0, 5), slice(0, 5))

BAD_WINDOWS = [
    ({"cx": float("nan")}, "cx is nan; expected a finite number"),
    ({"cy": float("inf")}, "cy is inf; expected a finite number"),
    ({"cx": -float("inf")}, "cx is -inf; expected a finite number"),
    ({"cx": "left"}, "cx is 'left'; expected a finite number"),
    ({"cx": None}, "the target has no 'cx'"),
    ({"cx": [3]}, r"cx is \[3\]"),
    ({"cx": 1e300}, "cx is 1e[+]300; expected a finite number, at most"),
    ({"cx": 10**400}, "cx is a number of 1329 bits; expected a finite number"),
    ({"window_dims": (6, 0)}, r"\(height, width\) \(6, 0\); expected both above 0"),
    ({"height": -3}, r"\(height, width\) \(-3, 9\); expected both above 0"),
    ({"width": float("nan")}, "width is nan"),
    ({"height": float("inf")}, "height is inf"),
    ({"width": None}, "the target has no 'width'"),
    ({"window_dims": (0, 4)}, "expected both above 0"),
    ({"window_dims": (4, -4)}, r"\(4, -4\); expected both above 0"),
    ({"window_dims": (3.5, 4)}, "window_dims is 3.5; expected a whole number"),
    ({"window_dims": (float("nan"), 4)}, "window_dims is nan"),
    ({"window_dims": (True, 4)}, "window_dims is True"),
    ({"window_dims": ("3", 4)}, "window_dims is '3'"),
    ({"window_dims": 5}, "window_dims is 5; expected a pair"),
    ({"window_dims": np.array(5)}, r"window_dims is array\(5\); expected a pair"),
    ({"window_dims": {3: 4, 5: 6}}, "window_dims is .*expected a pair"),
    ({"window_dims": (5,)}, r"window_dims is \(5,\); expected a pair"),
    ({"window_dims": (5, 6, 7)}, r"window_dims is \(5, 6, 7\); expected a pair"),
    ({"window_dims": "circle"}, "window_dims is 'circle'; expected a pair .* 'square', 'extent' or None"),
    ({"window_dims": "full"}, "window_dims is 'full'"),
    ({"pad": -1}, r"pad is .*-1.*; expected margins of 0 or more"),
    ({"pad": (2, -1)}, r"pad is \(2, -1\); expected margins of 0 or more"),
    ({"pad": 1.5}, "pad is 1.5; expected a whole number"),
    ({"pad": float("nan")}, "pad is nan"),
    ({"pad": (1, 2, 3)}, r"pad is \(1, 2, 3\); expected one number"),
    ({"pad": ((1, 2, 3), 4)}, "expected numbers or pairs"),
    ({"pad": "3"}, "pad is '3'; expected"),
    ({"slices": (slice(0, 9, 2), slice(0, 5))}, "axis 0 of the region is slice.*with a step"),
    ({"slices": (slice(5, 0, -1), slice(0, 5))}, "with a step are not supported"),
    ({"slices": (slice(5, 5), slice(0, 5))}, "axis 0 of slices is slice.5, 5.*an end after its start"),
    ({"slices": (slice(0, 5), slice(9, 5))}, "axis 1 of slices is slice.9, 5.*an end after its start"),
    ({"slices": (slice(0, 5), slice(None, -2))}, "an end after its start"),
    ({"slices": (slice(0.5, 5), slice(0, 5))}, "start of axis 0 is 0.5; expected a whole number"),
    ({"slices": (slice(0, float("nan")), slice(0, 5))}, "stop of axis 0 is nan"),
    ({"slices": (slice(0, 5), slice("a", 5))}, "start of axis 1 is 'a'"),
    ({"slices": (slice(0, 5),)}, "expected a tuple of 2 slices"),
    ({"slices": (slice(0, 5),) * 4}, "expected a tuple of 2 slices"),
    ({"slices": (slice(0, 5), slice(0, 5), 1)}, "the third of slices is 1; .* selects channels"),
    ({"slices": slice(0, 5)}, r"slices is slice\(0, 5, None\); expected a tuple of 2 slices"),
    ({"slices": "0:5"}, "slices is '0:5'"),
    ({"slices": (3, slice(0, 5))}, "axis 0 of the region is 3; expected a slice or None"),
    ({"space_slice": (slice(0, 9, 2), slice(0, 5)), "slices": WHOLE}, "with a step"),
]


@pytest.mark.parametrize(("change", "message"), BAD_WINDOWS)
def test_a_malformed_window_is_refused_before_reading(unread, change, message):
    with pytest.raises(TargetError, match=message) as caught:
        unread.load_sample({**CENTERED, **change})
    assert isinstance(caught.value, ValueError)


ABSURD = [
    {"window_dims": (10**9, 10**9)},
    {"window_dims": (10**13, 4)},
    {"width": 1e9, "height": 1e9},
    {"width": 1e15},
    {"slices": (slice(0, 10**9), slice(0, 10**9))},
    {"slices": (slice(-(10**9), 5), slice(-(10**9), 5))},
    {"slices": (slice(0, 10**9), slice(0, 8))},
    {"space_slice": (slice(0, 8), slice(5, 10**9))},
    {"pad": 10**9},
    {"pad": (10**9, 10**9)},
    {"pad": ((0, 10**9), (10**9, 0))},
    {"scale": 1e5},
    {"scale": (1e6, 1e6)},
    {"window_dims": (10**9, 8), "padkw": {"mode": "edge"}},
    {"window_dims": (10**9, 8), "nodata": "float"},
    {"window_dims": (10**9, 8), "channels": "r|g|b"},
]


@pytest.mark.parametrize("change", ABSURD)
def test_an_absurdly_large_sample_is_refused_without_allocating(sampler, change):
    sampler.load_sample(CENTERED)
    tracemalloc.start()
    try:
        with pytest.raises(WindowError, match="smaller window|at most|expected a"):
            sampler.load_sample({**CENTERED, **change})
        assert tracemalloc.get_traced_memory()[1] < REFUSAL_BYTES
    finally:
        tracemalloc.stop()


def test_a_window_far_larger_than_its_image_is_legal(sampler):
    sample = sampler.load_sample({"gid": EMPTY, "cx": 5, "cy": 6, "window_dims": (700, 900)})
    assert sample["im"].shape == (700, 900, 3)


def test_a_size_without_a_place_is_refused(unread):
    for size in ({"window_dims": (4, 5)}, {"width": 3, "height": 4}):
        with pytest.raises(
            TargetError, match="the size of a window but not its position; give 'cx' and 'cy'"
        ):
            unread.load_sample({"gid": GRAY, **size})


def test_a_center_without_a_size_is_refused(unread):
    with pytest.raises(TargetError, match="the target has no 'height'"):
        unread.load_sample({"gid": GRAY, "cx": 3, "cy": 4})
