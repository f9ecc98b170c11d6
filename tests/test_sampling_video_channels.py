"""Channels, types and missing values of samples of videos."""

from __future__ import annotations

import numpy as np
import pytest
from delayed_image import FusedChannelSpec
from helpers_cache import BACKENDS
from helpers_datasets import crop_oracle
from helpers_videos import (
    BANDS,
    COMPLETE,
    DEEP_NODATA,
    EXACT,
    EXACT_FRAMES,
    FLOATS,
    GAP_FRAMES,
    GAPS,
    MOVING,
    SPACE,
    SPARSE,
    load,
    pixels_of,
    videos,
    whole,
)

from ndsampler.errors import TargetError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return videos(tmp_path_factory.mktemp("videos"))


# --- channels and types --------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [{}, {"channels": "<all>"}, {"channels": None}])
def test_channels_are_sorted_by_default(sampler, data, channels):
    found = load(sampler, vidid=EXACT, as_xarray=True, **channels)["im"]
    assert found.coords["c"].values.tolist() == ["b", "g", "r"]
    np.testing.assert_array_equal(found.values[0], whole(data, EXACT_FRAMES[0], "bgr"))


@pytest.mark.parametrize(
    "channels", ["r|b", ["r", "b"], FusedChannelSpec.coerce("r|b")], ids=["code", "list", "spec"]
)
def test_channels_come_in_the_order_they_are_asked_for(sampler, data, channels):
    sample = load(sampler, vidid=EXACT, channels=channels)
    np.testing.assert_array_equal(sample["im"][0], whole(data, EXACT_FRAMES[0], "rb"))
    assert sample["params"]["request_chanspec"].as_list() == ["r", "b"]


def test_channels_that_a_frame_lacks_are_nan(sampler):
    sample = load(sampler, vidid=BANDS, as_xarray=True)["im"]
    assert sample.coords["c"].values.tolist() == ["green", "nir", "red", "swir"]
    assert sample.dtype.kind == "f"
    lacking = np.isnan(sample.values[1])
    assert lacking[..., [1, 3]].all()
    assert not lacking[..., [0, 2]].any()


def test_channels_a_frame_has_are_unharmed_by_those_it_lacks(sampler, data):
    sparse = pixels_of(sampler, gids=[SPARSE, COMPLETE], channels="red|nir|green")[0]
    np.testing.assert_array_equal(sparse[..., [0, 2]], data.frames[SPARSE].files[0].pixels)


@pytest.mark.parametrize("channels", ["red|none", "none", "none|red"])
def test_a_channel_that_no_frame_has_is_nan(sampler, channels):
    found = pixels_of(sampler, vidid=BANDS, channels=channels, space_slice=SPACE)
    assert found.shape == (3, 24, 35, channels.count("|") + 1)
    assert found.dtype.kind == "f"
    assert np.isnan(found[..., channels.split("|").index("none")]).all()
    if "red" in channels:
        assert not np.isnan(found[..., channels.split("|").index("red")]).any()


@pytest.mark.parametrize(
    ("keys", "dtype"),
    [
        ({"vidid": EXACT}, "uint8"),
        ({"vidid": GAPS}, "uint16"),
        ({"vidid": FLOATS}, "float32"),
        ({"gids": [COMPLETE], "channels": "red|nir"}, "uint16"),
        ({"gids": [COMPLETE], "channels": "red|green"}, "uint8"),
        ({"vidid": BANDS, "channels": "red"}, "uint8"),
        ({"vidid": MOVING, "scale": 0.3}, "uint8"),
        ({"vidid": MOVING, "nodata": "float"}, "float32"),
        ({"vidid": MOVING, "dtype": "float64"}, "float64"),
        ({"vidid": FLOATS, "dtype": np.int32}, "int32"),
        ({"vidid": GAPS, "dtype": np.float32, "scale": 2}, "float32"),
    ],
    ids=repr,
)
def test_types_are_those_of_the_files_together_or_as_asked(sampler, keys, dtype):
    assert load(sampler, **keys)["im"].dtype == np.dtype(dtype)


def test_a_cast_comes_after_everything_else(sampler):
    keys = {"vidid": GAPS, "space_slice": (slice(-3, 20), slice(0, 50))}
    expected = pixels_of(sampler, **keys).astype(np.float32)
    np.testing.assert_array_equal(pixels_of(sampler, dtype="float32", **keys), expected)


# --- nodata --------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("nodata", ["float", "auto", DEEP_NODATA])
def test_declared_gaps_become_nan(make_sampler, data, backend, nodata):
    found = pixels_of(make_sampler(backend), vidid=GAPS, nodata=nodata)
    for pixels, gid in zip(found, GAP_FRAMES):
        expected = whole(data, gid).astype(np.float32)
        expected[expected == DEEP_NODATA] = np.nan
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_masked_samples_keep_the_type(make_sampler, data, backend):
    found = pixels_of(make_sampler(backend), vidid=GAPS, nodata="ma", pad=(1, 2))
    assert found.dtype == np.uint16
    for pixels, gid in zip(found, GAP_FRAMES):
        expected = crop_oracle(whole(data, gid), (-1, 31), (-2, 48), DEEP_NODATA)
        np.testing.assert_array_equal(pixels.mask, expected == DEEP_NODATA)
        np.testing.assert_array_equal(pixels.compressed(), expected[expected != DEEP_NODATA])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [0.5, 1.3, 2, 3.7])
@pytest.mark.parametrize("interpolation", ["linear", "cubic", "area"])
def test_gaps_never_bleed_into_valid_pixels(make_sampler, tmp_path, backend, scale, interpolation):
    found = pixels_of(
        make_sampler(backend), vidid=FLOATS, nodata="float", scale=scale, interpolation=interpolation
    )
    valid = found[~np.isnan(found)]
    # The waves lie between 0 and 4; the declared value is far below.
    assert valid.size
    assert valid.min() > -1
    assert valid.max() < 5


def test_pixels_that_no_gap_touches_are_as_without_gaps(sampler):
    keys = {"vidid": FLOATS, "scale": 2, "space_slice": (slice(22, 30), slice(20, 46))}
    np.testing.assert_allclose(
        pixels_of(sampler, nodata="float", **keys), pixels_of(sampler, **keys), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("nodata", "never"),
        ("scale", 0),
        ("scale", -1),
        ("scale", (1, 2, 3)),
        ("scale", np.nan),
        ("interpolation", "magic"),
        ("antialias", "maybe"),
        ("dtype", "number"),
        ("padkw", 3),
        ("channels", 5),
    ],
)
def test_a_bad_option_is_refused_by_name(sampler, key, value):
    with pytest.raises(TargetError, match=key):
        load(sampler, **{"vidid": MOVING, key: value})
