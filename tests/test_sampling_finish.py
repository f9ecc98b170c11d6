"""The values of pixels after reading: padding, masks, types and names, alike for every kind of sample."""

from __future__ import annotations

import warnings

import kwcoco
import numpy as np
import pytest
from helpers_videos import (
    COMPLETE,
    EXACT,
    EXACT_FRAMES,
    FLOATS,
    FRAME_DIMS,
    GAPS,
    LOOSE,
    MOVING,
    SPARSE,
    as_slices,
    load,
    pixels_of,
    videos,
    whole,
)

from ndsampler import CocoSampler

#: A window across the upper left corner of every video; its bounds are even, so that files of half the
#: resolution are cut between pixels.
CORNER = as_slices((-6, 10), (-4, 12))

MODES = {
    "constant": {"mode": "constant", "constant_values": 7},
    "edge": {"mode": "edge"},
    "reflect": {"mode": "reflect"},
    "symmetric": {"mode": "symmetric"},
    "wrap": {"mode": "wrap"},
}


@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_complex_numbers_that_are_missing_are_zero_in_whole_numbers(make_simple_sampler):
    pixels = np.full((8, 8, 1), 3 + 4j, np.complex64)
    pixels[2:4] = complex(np.nan, np.nan)
    sampler = make_simple_sampler(pixels)
    found = sampler.load_sample({"gid": 1, "dtype": "uint8"}, with_annots=False)["im"]
    assert np.array_equal(found, np.where(np.isnan(pixels), 0, 3).astype(np.uint8))


@pytest.fixture
def make_simple_sampler(tmp_path):
    """Return a function from pixels to a sampler of one image that holds them."""

    def make(pixels):
        path = tmp_path / "image.npy"
        np.save(path, pixels)
        height, width = pixels.shape[:2]
        image = {"id": 1, "file_name": str(path), "width": width, "height": height}
        return CocoSampler(kwcoco.CocoDataset({"images": [image]}), workdir=tmp_path / "work")

    return make


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return videos(tmp_path_factory.mktemp("videos"))


def parts_of(sampler, **target):
    """Return the parts of each frame in native scale."""
    return pixels_of(sampler, use_native_scale=True, **target)


def bands_of(sampler, **target):
    """Return the parts of the frame of three files by the code of their channels."""
    sample = load(sampler, gids=[COMPLETE], use_native_scale=True, **target)
    (parts,), (meta,) = sample["im"], sample["params"]["jagged_meta"]
    return {spec.spec: part for spec, part in zip(meta["chans"], parts)}


# --- padding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_padkw_continues_parts_at_the_scale_of_the_video_as_it_continues_joined_frames(sampler, data, mode):
    target = {"gids": EXACT_FRAMES[:1], "space_slice": CORNER, "padkw": MODES[mode]}
    ((part,),) = parts_of(sampler, **target)
    inside = whole(data, EXACT_FRAMES[0])[:10, :12]
    np.testing.assert_array_equal(part, np.pad(inside, ((6, 0), (4, 0), (0, 0)), **MODES[mode]))
    np.testing.assert_array_equal(part, pixels_of(sampler, **target)[0])


@pytest.mark.parametrize("mode", MODES)
def test_padkw_continues_a_part_of_lower_resolution_in_its_own_pixels(sampler, data, mode):
    found = bands_of(sampler, space_slice=CORNER, padkw=MODES[mode], channels="red|nir")["nir"]
    pixels = data.frames[COMPLETE].files[1].pixels
    np.testing.assert_array_equal(found, np.pad(pixels[:5, :6], ((3, 0), (2, 0), (0, 0)), **MODES[mode]))


def test_padding_comes_before_scaling_in_native_scale(sampler, data):
    found = bands_of(sampler, space_slice=CORNER, padkw={"mode": "edge"}, channels="red|nir", scale=2)
    corner = data.frames[COMPLETE].files[1].pixels[0, 0]
    np.testing.assert_array_equal(found["nir"][:6, :4], np.broadcast_to(corner, (6, 4, 1)))
    assert found["red"].shape == (32, 32, 1)


def test_padkw_leaves_channels_that_a_frame_lacks_missing(sampler):
    target = {"gids": [SPARSE], "space_slice": CORNER, "padkw": MODES["constant"], "channels": "red|nir"}
    ((red, missing),) = parts_of(sampler, **target)
    assert (red[:6] == 7).all()
    assert np.isnan(missing).all()


# --- types ---------------------------------------------------------------------------------------

#: Targets whose pixels lie partly outside of floating point files, or are missing.
GAPPY = {
    "single": {"gid": 60, "slices": CORNER, "nodata": "float"},
    "joined": {"vidid": FLOATS, "space_slice": CORNER},
    "joined in time": {"vidid": FLOATS, "time_slice": slice(-1, 1), "space_slice": CORNER},
    "native": {"vidid": FLOATS, "space_slice": CORNER, "use_native_scale": True},
    "native in time": {
        "vidid": FLOATS,
        "time_slice": slice(-1, 1),
        "space_slice": CORNER,
        "use_native_scale": True,
    },
    "native, missing": {
        "gids": [SPARSE],
        "space_slice": CORNER,
        "channels": "red|swir",
        "use_native_scale": True,
    },
    "native, realigned": {
        "gids": [COMPLETE, SPARSE],
        "space_slice": CORNER,
        "use_native_scale": True,
        "realign_native": "largest",
    },
}


def arrays_in(pixels):
    """Return the arrays of a sample, whether it is one or lists of parts."""
    return [array for item in pixels for array in arrays_in(item)] if isinstance(pixels, list) else [pixels]


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int64"])
@pytest.mark.parametrize("kind", GAPPY)
def test_what_is_not_a_number_is_zero_in_whole_numbers(sampler, kind, dtype):
    plain = arrays_in(pixels_of(sampler, **GAPPY[kind]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = arrays_in(pixels_of(sampler, **GAPPY[kind], dtype=dtype))
    assert any(np.isnan(array).any() for array in plain)
    for ours, floats in zip(found, plain):
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours, np.where(np.isnan(floats), 0, floats).astype(dtype))


@pytest.mark.parametrize("kind", GAPPY)
def test_a_type_is_what_a_cast_of_the_sample_gives(sampler, kind):
    for ours, plain in zip(
        arrays_in(pixels_of(sampler, **GAPPY[kind], dtype="float64")),
        arrays_in(pixels_of(sampler, **GAPPY[kind])),
    ):
        np.testing.assert_array_equal(ours, plain.astype("float64"))


def test_frames_outside_the_video_are_filled_like_pixels_outside_the_image_for_every_type(sampler):
    target = {"vidid": EXACT, "time_slice": slice(-1, 1), "space_slice": CORNER}
    for dtype in ("uint8", "float32"):
        found = pixels_of(sampler, **target, dtype=dtype)
        assert not found[0].any()
        assert not found[1][:6].any()


# --- masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("vidid", [GAPS, FLOATS])
def test_masked_parts_are_those_of_joined_frames(sampler, vidid):
    target = {"vidid": vidid, "space_slice": CORNER, "nodata": "ma"}
    joined = pixels_of(sampler, **target)
    for (part,), frame in zip(parts_of(sampler, **target), joined):
        assert isinstance(part, np.ma.MaskedArray)
        assert part.dtype == frame.dtype
        np.testing.assert_array_equal(part.mask, frame.mask)
        np.testing.assert_array_equal(part.filled(0), frame.filled(0))


def test_masked_parts_have_the_types_of_their_files(sampler, data):
    found = bands_of(sampler, space_slice=as_slices((0, 16), (0, 16)), nodata="ma", channels="red|nir|swir")
    for code, file in zip(("red", "nir"), data.frames[COMPLETE].files):
        assert found[code].dtype == file.pixels.dtype
        assert not found[code].mask.any()
    np.testing.assert_array_equal(found["nir"].data, data.frames[COMPLETE].files[1].pixels[:8, :8])


def test_channels_that_a_frame_lacks_are_masked(sampler):
    ((_, missing),) = parts_of(sampler, gids=[SPARSE], channels="red|nir", nodata="ma")
    assert missing.mask.all()


@pytest.mark.parametrize("native", [False, True])
def test_a_masked_sample_in_whole_numbers_holds_zeros_under_its_mask(sampler, native):
    target = {"vidid": FLOATS, "space_slice": CORNER, "nodata": "ma", "dtype": "int32"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arrays = arrays_in(pixels_of(sampler, **target, use_native_scale=native))
    for array in arrays:
        assert array.dtype == np.int32
        assert array.mask.any()
        assert not array.data[array.mask].any()


# --- names ---------------------------------------------------------------------------------------


def test_parts_name_their_channels_rows_and_columns(sampler):
    pytest.importorskip("xarray")
    found = bands_of(sampler, space_slice=CORNER, as_xarray=True, channels="red|green|nir")
    plain = bands_of(sampler, space_slice=CORNER, channels="red|green|nir")
    assert {code: array.dims for code, array in found.items()} == dict.fromkeys(plain, ("y", "x", "c"))
    for code, array in found.items():
        assert list(array.indexes) == ["c"]
        assert array.coords["c"].values.tolist() == code.split("|")
        np.testing.assert_array_equal(array.values, plain[code])
    np.testing.assert_array_equal(found["red|green"].coords["row"], np.arange(-6, 10))
    np.testing.assert_array_equal(found["red|green"].coords["col"], np.arange(-4, 12))
    np.testing.assert_array_equal(found["nir"].coords["row"], np.arange(-5.5, 10, 2))
    np.testing.assert_array_equal(found["nir"].coords["col"], np.arange(-3.5, 12, 2))


def test_a_part_that_is_missing_lies_at_the_center_of_the_window(sampler):
    pytest.importorskip("xarray")
    ((_, missing),) = parts_of(
        sampler, gids=[SPARSE], space_slice=as_slices((0, 9), (4, 24)), channels="red|nir", as_xarray=True
    )
    assert missing.shape == (1, 1, 1)
    assert (missing.coords["row"].item(), missing.coords["col"].item()) == (4.0, 13.5)


def test_a_masked_xarray_has_no_number_where_it_is_masked(sampler):
    pytest.importorskip("xarray")
    target = {"vidid": GAPS, "space_slice": CORNER, "nodata": "ma"}
    masked = pixels_of(sampler, **target)
    found = pixels_of(sampler, **target, as_xarray=True)
    np.testing.assert_array_equal(found.values, masked.astype(float).filled(np.nan))


# --- images that name no channels ----------------------------------------------------------------


@pytest.fixture(scope="module")
def nameless(data):
    """Return a sampler of the same images, none of which names its channels."""
    import kwcoco

    from ndsampler import CocoSampler

    keep = (MOVING, None)
    images = [
        {key: value for key, value in img.items() if key != "channels"}
        for img in data.dset.dataset["images"]
        if img.get("video_id") in keep
    ]
    content = {**data.dset.dataset, "images": images, "annotations": []}
    return CocoSampler(kwcoco.CocoDataset(content, bundle_dpath=data.dset.bundle_dpath))


@pytest.mark.parametrize("channels", [None, "<all>"])
@pytest.mark.parametrize("frames", [{"gids": LOOSE}, {"vidid": MOVING}, {"gids": LOOSE[:1]}])
def test_bands_without_names_keep_the_order_of_the_file(nameless, data, frames, channels):
    sample = load(nameless, **frames, channels=channels)
    gid = sample["target"]["gids"][0]
    height, width = FRAME_DIMS
    np.testing.assert_array_equal(sample["im"][0, :height, :width], whole(data, gid, ["r", "g", "b"]))
    assert sample["params"]["request_chanspec"] is None


def test_bands_without_names_can_be_asked_for_by_those_of_a_color_image(nameless, data):
    sample = load(nameless, gids=LOOSE, channels="b|r")
    np.testing.assert_array_equal(sample["im"][0], whole(data, LOOSE[0], ["b", "r"]))
    assert sample["params"]["request_chanspec"].spec == "b|r"


def test_parts_without_names_keep_the_order_of_the_file(nameless, data):
    sample = load(nameless, gids=LOOSE[:1], use_native_scale=True)
    ((part,),), (meta,) = sample["im"], sample["params"]["jagged_meta"]
    np.testing.assert_array_equal(part, whole(data, LOOSE[0], ["r", "g", "b"]))
    assert meta["chans"] == [None]


def test_an_xarray_of_bands_without_names_is_indexed_like_that_of_a_still(nameless):
    pytest.importorskip("xarray")
    video = pixels_of(nameless, gids=LOOSE, as_xarray=True)
    still = pixels_of(nameless, gid=LOOSE[0], as_xarray=True)
    assert video.coords["c"].values.tolist() == still.coords["c"].values.tolist() == ["r", "g", "b"]


def test_delayed_frames_without_names_keep_the_order_of_the_file(nameless, data):
    (frame,) = pixels_of(nameless, gids=LOOSE[:1], finalize=False)
    np.testing.assert_array_equal(frame.finalize(), whole(data, LOOSE[0], ["r", "g", "b"]))
