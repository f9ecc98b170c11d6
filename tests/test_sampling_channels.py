"""Channels, types, missing values and axes of a sample's pixels."""

from __future__ import annotations

import numpy as np
import pytest
from delayed_image import ChannelSpec, FusedChannelSpec
from helpers_datasets import ASSETS, DEEP, EMPTY, FLOAT, GRAY, NODATA, RGB, crop_oracle, stills
from helpers_samples import load
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler.errors import UnknownChannelError

SINGLE_FILES = (RGB, GRAY, DEEP, FLOAT, EMPTY)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return stills(tmp_path_factory.mktemp("stills"))


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
    assert list(array.indexes) == ["c"]
    assert array.coords["c"].values.tolist() == names
    assert (array.coords["row"].dims, array.coords["col"].dims) == (("y",), ("x",))
    np.testing.assert_array_equal(array.coords["row"], np.arange(*rows))
    np.testing.assert_array_equal(array.coords["col"], np.arange(*cols))
    np.testing.assert_array_equal(array.values, load(sampler, gid, rows, cols, **keys))


@pytest.mark.parametrize("scale", [0.5, (2, 0.25), 3])
def test_the_places_of_an_xarray_follow_the_scale(sampler, scale):
    target = {"gid": RGB, "slices": (slice(-4, 12), slice(5, 29)), "scale": scale, "as_xarray": True}
    sample = sampler.load_sample(target)
    array, matrix = sample["im"], sample["params"]["tf_rel_to_abs"]
    height, width = array.shape[:2]
    centers = np.stack([np.arange(max(height, width)) + 0.5] * 2 + [np.ones(max(height, width))])
    x, y, _ = matrix @ centers - 0.5
    np.testing.assert_allclose(array.coords["col"], x[:width])
    np.testing.assert_allclose(array.coords["row"], y[:height])


def test_an_xarray_can_be_cut_by_image_coordinates(sampler, data):
    array = load(sampler, RGB, (5, 20), (10, 40), as_xarray=True)
    cut = array.set_xindex("row").set_xindex("col").sel(row=slice(7, 9), col=slice(12, 14), c=["b"])
    np.testing.assert_array_equal(cut.values, data.pixels[RGB][7:10, 12:15, 2:])


def test_xarrays_of_two_windows_can_be_added_and_concatenated(sampler, data):
    xarray = pytest.importorskip("xarray")
    first, second = (load(sampler, RGB, rows, (10, 40), as_xarray=True) for rows in ((5, 20), (15, 30)))
    pixels = data.pixels[RGB]
    np.testing.assert_array_equal((first + second).values, pixels[5:20, 10:40] + pixels[15:30, 10:40])
    both = xarray.concat([first, second], "sample")
    assert both.shape == (2, 15, 30, 3)
    assert both.coords["row"].dims == ("sample", "y")
    below = xarray.concat([first, second], "y")
    assert below.shape == (30, 30, 3)
    assert below.coords["row"].values.tolist() == [*range(5, 20), *range(15, 30)]
