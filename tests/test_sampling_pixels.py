"""Step 3 of a sample: its pixels, against whole images cut, padded and warped by numpy and kwimage."""

from __future__ import annotations

import functools

import kwimage
import numpy as np
import pytest
from delayed_image import ChannelSpec, FusedChannelSpec
from helpers_datasets import (
    ASSETS,
    AUXILIARY,
    DEEP,
    DIMS,
    EMPTY,
    FLOAT,
    GRAY,
    NODATA,
    RGB,
    SMALL_SCALE,
    crop_oracle,
    one_image,
    stills,
)
from helpers_images import random_pixels, write_png, write_tiff
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler import CocoSampler
from ndsampler.errors import TargetError, UnknownChannelError, WindowError

BACKENDS = {
    "none": None,
    "npy": "npy",
    "cog": "cog",
    "small cog": {"type": "cog", "config": {"blocksize": 16, "compress": "DEFLATE"}},
}

SINGLE_FILES = (RGB, GRAY, DEEP, FLOAT, EMPTY)

#: How far from an image, in pixels, windows are drawn.
REACH = 30

margins = st.integers(0, 6)
pads = st.one_of(
    st.just((0, 0)),
    margins,
    st.tuples(margins, margins),
    st.tuples(st.tuples(margins, margins), st.tuples(margins, margins)),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return stills(tmp_path_factory.mktemp("stills"))


@pytest.fixture(scope="module")
def make_sampler(data, tmp_path_factory):
    """Return a function from the name of a backend to a sampler, made once."""

    @functools.cache
    def make(backend="none"):
        return CocoSampler(data.dset, workdir=tmp_path_factory.mktemp("work"), backend=BACKENDS[backend])

    return make


@pytest.fixture(scope="module")
def sampler(make_sampler):
    return make_sampler()


@st.composite
def windows(draw, dims):
    """Return (start, stop) for rows and columns, anywhere in, across or beside an image."""
    rows, cols = (
        (start, start + draw(st.integers(1, length + REACH)))
        for length in dims
        for start in [draw(st.integers(-length - REACH, length + REACH))]
    )
    return rows, cols


def grown(pair, pad, axis):
    """Return a (start, stop) pair with the margin of one axis in any form of pad."""
    part = pad if isinstance(pad, int) else pad[axis]
    before, after = (part, part) if isinstance(part, int) else part
    return pair[0] - before, pair[1] + after


def load(sampler, gid, rows, cols, **keys):
    target = {"gid": gid, "slices": (slice(*rows), slice(*cols)), **keys}
    return sampler.load_sample(target, with_annots=False)["im"]


# --- cut, and zeros around -----------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=120, deadline=None)
@given(draws=st.data())
def test_a_window_anywhere_equals_the_padded_image_cut_there(make_sampler, data, backend, draws):
    gid = draws.draw(st.sampled_from(SINGLE_FILES))
    full = data.pixels[gid]
    rows, cols = draws.draw(windows(full.shape[:2]))
    pad = draws.draw(pads)
    found = load(make_sampler(backend), gid, rows, cols, pad=pad)
    expected = crop_oracle(full, grown(rows, pad, 0), grown(cols, pad, 1))
    assert found.dtype == full.dtype
    np.testing.assert_array_equal(found, expected)


SIDES = {
    "above": ((-9, -4), (3, 9)),
    "below": ((DIMS[0] + 3, DIMS[0] + 7), (3, 9)),
    "left": ((3, 9), (-20, -11)),
    "right": ((3, 9), (DIMS[1] + 1, DIMS[1] + 5)),
    "corner": ((-9, -4), (DIMS[1] + 1, DIMS[1] + 5)),
    "touching": ((-9, 0), (3, 9)),
    "touching right": ((3, 9), (DIMS[1], DIMS[1] + 5)),
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_window_beside_the_image_is_not_moved(make_sampler, backend, side):
    rows, cols = SIDES[side]
    target = {"gid": RGB, "slices": (slice(*rows), slice(*cols))}
    sample = make_sampler(backend).load_sample(target)
    assert sample["im"].shape == (rows[1] - rows[0], cols[1] - cols[0], 3)
    assert not sample["im"].any()
    assert sample["params"]["st_dims"] == [rows, cols]
    assert len(sample["annots"]["aids"]) == 0 or "touching" in side


def test_backends_give_the_same_for_every_option(make_sampler):
    rows, cols = (-3, 30), (10, 60)
    options = [
        {"scale": (1.7, 2)},
        {"nodata": "float"},
        {"channels": "b|r"},
        {"padkw": {"mode": "reflect"}},
        {"dtype": "float64"},
    ]
    for keys in options:
        expected = load(make_sampler("none"), RGB, rows, cols, **keys)
        for backend in BACKENDS:
            np.testing.assert_array_equal(load(make_sampler(backend), RGB, rows, cols, **keys), expected)


@pytest.mark.parametrize("gid", SINGLE_FILES)
def test_pixels_have_a_channel_axis_and_the_type_of_the_file(sampler, data, gid):
    found = sampler.load_sample({"gid": gid})["im"]
    assert found.ndim == 3
    assert found.dtype == data.pixels[gid].dtype
    np.testing.assert_array_equal(found, data.pixels[gid])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gid", SINGLE_FILES)
def test_a_sample_owns_its_pixels(make_sampler, data, backend, gid):
    sampler = make_sampler(backend)
    height, width = data.pixels[gid].shape[:2]
    for rows, cols in [((2, 9), (1, 8)), ((0, height), (0, width)), ((-2, 5), (3, width + 2))]:
        found = load(sampler, gid, rows, cols)
        assert found.flags.writeable
        assert found.flags.c_contiguous
        assert type(found) is np.ndarray
        found[...] = 1
        np.testing.assert_array_equal(
            load(sampler, gid, rows, cols), crop_oracle(data.pixels[gid], rows, cols)
        )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "keys", [{"scale": 0.5}, {"channels": "r|g|b"}, {"dtype": "uint8"}, {"padkw": {"mode": "edge"}}]
)
def test_a_sample_owns_its_pixels_whatever_was_done_to_them(make_sampler, backend, keys):
    sampler = make_sampler(backend)
    first = load(sampler, RGB, (0, DIMS[0]), (0, DIMS[1]), **keys)
    assert first.flags.writeable
    kept = first.copy()
    first[...] = 1
    np.testing.assert_array_equal(load(sampler, RGB, (0, DIMS[0]), (0, DIMS[1]), **keys), kept)


# --- padkw ---------------------------------------------------------------------------------------


PAD_MODES = {
    "constant": {},
    "constant value": {"mode": "constant", "constant_values": 7},
    "constant values": {"constant_values": ((1, 2), (3, 4), (5, 6))},
    "edge": {"mode": "edge"},
    "linear_ramp": {"mode": "linear_ramp", "end_values": 9},
    "maximum": {"mode": "maximum"},
    "mean": {"mode": "mean", "stat_length": 3},
    "median": {"mode": "median"},
    "minimum": {"mode": "minimum", "stat_length": ((2, 3), (1, 4), (1, 1))},
    "reflect": {"mode": "reflect"},
    "odd reflect": {"mode": "reflect", "reflect_type": "odd"},
    "symmetric": {"mode": "symmetric"},
    "wrap": {"mode": "wrap"},
}


def _stripes(vector, pad_width, iaxis, kwargs):
    if pad_width[0]:
        vector[: pad_width[0]] = kwargs.get("before", 1)
    if pad_width[1]:
        vector[-pad_width[1] :] = 2


PAD_MODES["a function"] = {"mode": _stripes, "before": 5}


@pytest.mark.parametrize("mode", PAD_MODES)
@settings(max_examples=40, deadline=None)
@given(draws=st.data())
def test_what_lies_outside_is_what_numpy_makes_of_the_part_inside(sampler, data, mode, draws):
    gid = draws.draw(st.sampled_from([RGB, GRAY, DEEP]))
    full = data.pixels[gid]
    rows, cols = draws.draw(windows(full.shape[:2]))
    pad = draws.draw(pads)
    padkw = PAD_MODES[mode]
    (y0, y1), (x0, x1) = grown(rows, pad, 0), grown(cols, pad, 1)
    inside = full[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    if 0 in inside.shape and not mode.startswith("constant"):
        with pytest.raises(WindowError, match=rf"wholly outside image {gid}.*use mode 'constant'"):
            load(sampler, gid, rows, cols, pad=pad, padkw=padkw)
        return
    found = load(sampler, gid, rows, cols, pad=pad, padkw=padkw)
    top, left = min(max(-y0, 0), y1 - y0), min(max(-x0, 0), x1 - x0)
    below, beside = y1 - y0 - top - inside.shape[0], x1 - x0 - left - inside.shape[1]
    expected = np.pad(inside, ((top, below), (left, beside), (0, 0)), **{"mode": "constant", **padkw})
    assert found.dtype == full.dtype
    np.testing.assert_array_equal(found, expected)


def test_mode_empty_gives_the_inside_and_the_shape(sampler, data):
    found = load(sampler, RGB, (-4, 10), (-3, 8), padkw={"mode": "empty"})
    assert found.shape == (14, 11, 3)
    np.testing.assert_array_equal(found[4:, 3:], data.pixels[RGB][:10, :8])


def test_padkw_without_anything_to_pad_changes_nothing(sampler, data):
    found = load(sampler, RGB, (3, 10), (4, 8), padkw={"mode": "wrap"})
    np.testing.assert_array_equal(found, data.pixels[RGB][3:10, 4:8])


@pytest.mark.parametrize(
    ("padkw", "reason"),
    [
        ({"mode": "mirror"}, "mode 'mirror' is not supported"),
        ({"mode": "edge", "colour": 3}, "colour"),
        ({"constant_values": (1, 2, 3)}, "."),
        ({"mode": "reflect", "pad_width": 3}, "pad_width"),
        ({"mode": "mean", "stat_length": -1}, "."),
    ],
)
def test_what_numpy_refuses_is_explained(sampler, padkw, reason):
    with pytest.raises(TargetError, match=f"padkw is .*numpy.pad refuses it: .*{reason}"):
        load(sampler, RGB, (-3, 5), (0, 5), padkw=padkw)


@pytest.mark.parametrize("padkw", [None, {}, {"mode": "constant"}])
def test_padkw_that_says_nothing_leaves_the_outside_to_nodata(sampler, padkw):
    found = load(sampler, RGB, (-3, 5), (0, 5), padkw=padkw, nodata="float")
    assert np.isnan(found[:3]).all()
    assert not np.isnan(found[3:]).any()
    stated = load(sampler, RGB, (-3, 5), (0, 5), padkw={"constant_values": 0}, nodata="float")
    assert not stated[:3].any()


def test_padding_comes_before_scaling(sampler, data):
    found = load(sampler, RGB, (-8, 8), (-8, 8), padkw={"mode": "edge"}, scale=0.5)
    assert found.shape == (8, 8, 3)
    corner = data.pixels[RGB][0, 0].astype(int)
    np.testing.assert_allclose(found[:3, :3].astype(int) - corner, 0, atol=1)


# --- scale ---------------------------------------------------------------------------------------


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


# --- dtype ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int32", "float32", np.float64, np.dtype("int64"), float]
)
def test_pixels_are_cast(sampler, data, dtype):
    found = load(sampler, RGB, (-2, 9), (3, 14), dtype=dtype)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, crop_oracle(data.pixels[RGB], (-2, 9), (3, 14)).astype(dtype))


def test_missing_values_become_zero_in_types_that_have_none(sampler, data):
    found = load(sampler, FLOAT, (0, 3), (0, 4), dtype="int32")
    assert found.dtype == np.int32
    assert not found[:, :, 0].any()
    np.testing.assert_array_equal(found[:, :, 1], data.pixels[FLOAT][:3, :4, 1].astype("int32"))


# --- nodata --------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodata", ["float", "auto"])
def test_declared_gaps_and_the_outside_become_nan(sampler, data, nodata):
    rows, cols = (-2, 14), (5, 32)
    found = load(sampler, FLOAT, rows, cols, nodata=nodata)
    full = np.where(data.pixels[FLOAT] == NODATA, np.nan, data.pixels[FLOAT])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, crop_oracle(full, rows, cols, np.nan))


@pytest.mark.parametrize("nodata", ["float", "auto"])
def test_without_declared_gaps_only_the_outside_is_nan(sampler, data, nodata):
    for gid in (RGB, GRAY, DEEP):
        found = load(sampler, gid, (-2, 14), (5, 40), nodata=nodata)
        assert found.dtype == np.float32
        full = data.pixels[gid].astype(np.float32)
        np.testing.assert_array_equal(found, crop_oracle(full, (-2, 14), (5, 40), np.nan))


@given(value=st.integers(0, 255))
@settings(max_examples=15, deadline=None)
def test_a_number_says_which_pixels_are_gaps(sampler, data, value):
    found = load(sampler, RGB, (-2, 30), (5, 50), nodata=value)
    full = np.where(data.pixels[RGB] == value, np.nan, data.pixels[RGB])
    np.testing.assert_array_equal(found, crop_oracle(full, (-2, 30), (5, 50), np.nan))


@pytest.mark.parametrize("gid", [RGB, DEEP])
def test_a_masked_sample_keeps_the_type_and_masks_the_outside(sampler, data, gid):
    found = load(sampler, gid, (-2, 14), (5, 40), nodata="ma")
    assert isinstance(found, np.ma.MaskedArray)
    assert found.dtype == data.pixels[gid].dtype
    shape = np.ones_like(data.pixels[gid])
    np.testing.assert_array_equal(found.mask, crop_oracle(shape, (-2, 14), (5, 40)) == 0)
    np.testing.assert_array_equal(found.filled(0), crop_oracle(data.pixels[gid], (-2, 14), (5, 40)))


def test_a_masked_sample_masks_declared_gaps_and_nan(sampler, data):
    found = load(sampler, FLOAT, (0, 19), (0, 28), nodata="ma")
    full = data.pixels[FLOAT]
    gaps = np.isnan(full) | (full == NODATA)
    np.testing.assert_array_equal(found.mask, gaps)
    np.testing.assert_array_equal(found.data[~gaps], full[~gaps])


def test_a_masked_sample_can_be_cast(sampler):
    found = load(sampler, FLOAT, (-2, 14), (5, 32), nodata="ma", dtype="float64")
    assert isinstance(found, np.ma.MaskedArray)
    assert found.dtype == np.float64
    assert found.mask[:2].all()


def test_floats_are_zero_outside_unless_nodata_is_asked_for(sampler, data):
    found = load(sampler, FLOAT, (-2, 14), (5, 32))
    np.testing.assert_array_equal(found, crop_oracle(data.pixels[FLOAT], (-2, 14), (5, 32), 0))


def test_gaps_do_not_leak_into_scaled_neighbours(sampler, data):
    found = load(sampler, FLOAT, (6, 18), (6, 26), scale=0.5, nodata="float", antialias=False)
    known = found[np.isfinite(found)]
    assert np.isnan(found).any()
    assert len(known)
    assert np.abs(known).max() <= np.nanmax(np.abs(data.pixels[FLOAT]))


# --- channels ------------------------------------------------------------------------------------


BANDS = ["B1", "B2", "B8", "B11"]

CHANNEL_FORMS = {
    "code": "|".join,
    "list": list,
    "tuple": tuple,
    "ChannelSpec": lambda names: ChannelSpec("|".join(names)),
    "FusedChannelSpec": lambda names: FusedChannelSpec.coerce("|".join(names)),
    "list of codes": lambda names: ["|".join(names[:1]), *names[1:]],
}


@pytest.mark.parametrize("form", CHANNEL_FORMS)
@given(names=st.permutations(BANDS), count=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_channels_come_in_the_order_they_are_asked_for(sampler, data, form, names, count):
    names = names[:count]
    found = load(sampler, DEEP, (-1, 15), (4, 20), channels=CHANNEL_FORMS[form](names))
    bands = [BANDS.index(name) for name in names]
    np.testing.assert_array_equal(found, crop_oracle(data.pixels[DEEP][:, :, bands], (-1, 15), (4, 20)))


@pytest.mark.parametrize("channels", [None, "<all>"])
def test_all_channels_come_in_the_order_of_the_file(sampler, data, channels):
    for gid in SINGLE_FILES:
        height, width = data.pixels[gid].shape[:2]
        found = load(sampler, gid, (0, height), (0, width), channels=channels)
        np.testing.assert_array_equal(found, data.pixels[gid])


@pytest.mark.parametrize(("gid", "names"), [(RGB, "r|g|b"), (GRAY, "gray")])
def test_a_file_without_stated_channels_has_the_usual_names(sampler, data, gid, names):
    height, width = data.pixels[gid].shape[:2]
    np.testing.assert_array_equal(
        load(sampler, gid, (0, height), (0, width), channels=names), data.pixels[gid]
    )


def test_a_ranged_code_means_its_single_channels(sampler, data):
    found = load(sampler, FLOAT, (0, 19), (0, 28), channels="flow.1")
    np.testing.assert_array_equal(found, data.pixels[FLOAT][:, :, 1:])
    found = load(sampler, FLOAT, (0, 19), (0, 28), channels="flow.0:2")
    np.testing.assert_array_equal(found, data.pixels[FLOAT])


@pytest.mark.parametrize("channels", ["B1|B99", ["B99"], "r"])
def test_an_unknown_channel_is_a_key_error_naming_image_and_choices(sampler, channels):
    with pytest.raises(
        UnknownChannelError, match=rf"image {DEEP} has no channel .*it has B1.B2.B8.B11"
    ) as got:
        load(sampler, DEEP, (0, 5), (0, 5), channels=channels)
    assert isinstance(got.value, KeyError)


# --- several files an image ----------------------------------------------------------------------


@pytest.mark.parametrize("gid", [ASSETS, AUXILIARY])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_bands_of_all_files_come_on_the_grid_of_the_image(make_sampler, data, backend, gid):
    sampler = make_sampler(backend)
    found = sampler.load_sample({"gid": gid})["im"]
    assert found.shape == (*DIMS, 3)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found[:, :, :2], data.assets["red|green"])
    nir = kwimage.warp_affine(
        data.assets["nir"],
        kwimage.Affine.scale(SMALL_SCALE),
        dsize=DIMS[::-1],
        origin_convention="corner",
        border_mode="replicate",
    ).reshape(*DIMS)
    inner = (slice(2, 22), slice(2, 28))
    np.testing.assert_allclose(found[inner][:, :, 2].astype(int), nir[inner].astype(int), atol=1)
    # What the small file does not cover lies outside it.
    assert not found[24:, :, 2].any()
    assert not found[:, 30:, 2].any()


@pytest.mark.parametrize("gid", [ASSETS, AUXILIARY])
@settings(max_examples=40, deadline=None)
@given(draws=st.data())
def test_windows_of_several_files_equal_windows_of_the_whole(sampler, gid, draws):
    full = sampler.load_sample({"gid": gid})["im"]
    rows, cols = draws.draw(windows(DIMS))
    np.testing.assert_allclose(
        load(sampler, gid, rows, cols).astype(int), crop_oracle(full, rows, cols).astype(int), atol=1
    )


@pytest.mark.parametrize("gid", [ASSETS, AUXILIARY])
def test_a_channel_of_one_file_has_that_files_type(sampler, data, gid):
    found = load(sampler, gid, (3, 9), (4, 20), channels="green")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, data.assets["red|green"][3:9, 4:20, 1:])
    assert load(sampler, gid, (3, 9), (4, 20), channels=["nir", "red"]).dtype == np.uint16


def test_nodata_is_nan_outside_each_file(sampler):
    found = load(sampler, ASSETS, (0, 37), (0, 53), nodata="float")
    assert not np.isnan(found[:, :, :2]).any()
    assert np.isnan(found[25:, :, 2]).all()
    assert np.isfinite(found[2:22, 2:28, 2]).all()


# --- xarray --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gid", "keys", "names"),
    [
        (RGB, {}, ["r", "g", "b"]),
        (GRAY, {}, ["gray"]),
        (DEEP, {}, BANDS),
        (DEEP, {"channels": "B8|B1"}, ["B8", "B1"]),
        (ASSETS, {}, ["red", "green", "nir"]),
        (FLOAT, {"channels": "<all>"}, ["flow.0", "flow.1"]),
    ],
)
def test_an_xarray_names_axes_channels_and_places(sampler, gid, keys, names):
    rows, cols = (-3, 12), (5, 30)
    array = load(sampler, gid, rows, cols, as_xarray=True, **keys)
    assert array.dims == ("y", "x", "c")
    assert array.coords["c"].values.tolist() == names
    np.testing.assert_array_equal(array.coords["y"], np.arange(*rows))
    np.testing.assert_array_equal(array.coords["x"], np.arange(*cols))
    np.testing.assert_array_equal(array.values, load(sampler, gid, rows, cols, **keys))


@pytest.mark.parametrize("scale", [0.5, (2, 0.25), 3])
def test_the_places_of_an_xarray_follow_the_scale(sampler, scale):
    target = {"gid": RGB, "slices": (slice(-4, 12), slice(5, 29)), "scale": scale, "as_xarray": True}
    sample = sampler.load_sample(target)
    array, matrix = sample["im"], sample["params"]["tf_rel_to_abs"]
    height, width = array.shape[:2]
    centers = np.stack([np.arange(max(height, width)) + 0.5] * 2 + [np.ones(max(height, width))])
    x, y, _ = matrix @ centers - 0.5
    np.testing.assert_allclose(array.coords["x"], x[:width])
    np.testing.assert_allclose(array.coords["y"], y[:height])


def test_an_xarray_can_be_cut_by_image_coordinates(sampler, data):
    array = load(sampler, RGB, (5, 20), (10, 40), as_xarray=True)
    cut = array.sel(y=slice(7, 9), x=slice(12, 14), c=["b"])
    np.testing.assert_array_equal(cut.values, data.pixels[RGB][7:10, 12:15, 2:])
