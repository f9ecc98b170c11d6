"""Step 3 of a sample: its pixels, against whole images cut and padded by numpy."""

from __future__ import annotations

import functools

import kwimage
import numpy as np
import pytest
from helpers_datasets import (
    ASSETS,
    AUXILIARY,
    DEEP,
    DIMS,
    EMPTY,
    FLOAT,
    GRAY,
    RGB,
    SMALL_SCALE,
    crop_oracle,
    stills,
)
from helpers_samples import load
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler import CocoSampler
from ndsampler.errors import TargetError, WindowError

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
        with pytest.raises(WindowError, match=rf"completely outside image {gid}.*use mode 'constant'"):
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
    with pytest.raises(TargetError, match=f"padkw is .*numpy.pad, which rejects it: .*{reason}"):
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
