"""Pixels of videos against whole frames: warped once by kwimage, cut and padded by numpy."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from helpers_cache import BACKENDS
from helpers_datasets import crop_oracle
from helpers_videos import (
    BANDS,
    COMPLETE,
    EXACT,
    EXACT_FRAMES,
    FINE,
    FLOAT_FRAMES,
    FLOATS,
    GAP_FRAMES,
    GAPS,
    LOOSE,
    MOVING,
    MOVING_FRAMES,
    SAME,
    SHIFTED,
    SPACE,
    SPARSE,
    VIDEO_DIMS,
    affine,
    as_slices,
    centers_in,
    load,
    pixels_of,
    sample_from_video,
    scales,
    videos,
    warp_whole,
    whole,
    windows,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler import CocoSampler
from ndsampler.errors import WindowError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return videos(tmp_path_factory.mktemp("videos"))


# --- one frame of a video is a still -------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=40, deadline=None)
@given(draws=st.data())
def test_inside_the_image_a_still_equals_its_video_of_one_frame(make_sampler, data, backend, draws):
    gid = draws.draw(st.sampled_from([SAME, *LOOSE, EXACT_FRAMES[0], *GAP_FRAMES, *FLOAT_FRAMES, COMPLETE]))
    height, width = data.frames[gid].dims
    y, x = draws.draw(st.integers(0, height - 3)), draws.draw(st.integers(0, width - 3))
    rows = (y, draws.draw(st.integers(y + 2, height)))
    cols = (x, draws.draw(st.integers(x + 2, width)))
    names = [name for file in data.frames[gid].files for name in file.channels]
    keys = {
        "space_slice": as_slices(rows, cols),
        "channels": "|".join(draws.draw(st.permutations(names))),
        "scale": draws.draw(scales),
        "nodata": draws.draw(st.sampled_from([None, "float", 3])),
    }
    still = load(make_sampler(backend), gid=gid, **keys)
    video = load(make_sampler(backend), gids=[gid], **keys)
    assert video["im"].shape == (1, *still["im"].shape)
    assert video["im"].dtype == still["im"].dtype
    # Beyond the border of a smaller file a still has zeros; a video, where that can be, NaN.
    found = video["im"][0] if keys["nodata"] else np.nan_to_num(video["im"][0])
    expected = still["im"] if keys["nodata"] else np.nan_to_num(still["im"])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(video["params"]["tf_rel_to_abs"], still["params"]["tf_rel_to_abs"])
    np.testing.assert_array_equal(video["params"]["offset"], still["params"]["offset"])
    assert video["params"]["st_dims"] == still["params"]["st_dims"]


# --- one warp of the whole frame -----------------------------------------------------------------


def assert_follows(found, file, warp, channels=None, *, outside=0.0):
    """Compare pixels with one warp of the whole file, and with what is outside of it beyond its border."""
    # A pixel that averages over several of the file is away from the border when all of these are.
    reach = np.abs(np.linalg.inv(warp)[:2, :2]).sum(axis=1).max()
    oracle, inside = warp_whole(file.pixels, warp, found.shape[:2], margin=max(2.0, 1.5 * reach))
    wanted = range(found.shape[2]) if channels is None else [file.channels.index(c) for c in channels]
    oracle = oracle[..., list(wanted)]
    level = 1.0 if file.pixels.dtype.kind != "f" else 1.0 / 250
    if file.pixels.dtype == np.uint16:
        level = 4000 / 250
    gap = np.abs(found.astype(float) - oracle.astype(float))[inside]
    assert gap.size == 0 or gap.max() <= level
    x, y = centers_in(warp, found.shape[:2])
    height, width = file.pixels.shape[:2]
    beyond = (x < -1e-6) | (x > width + 1e-6) | (y < -1e-6) | (y > height + 1e-6)
    np.testing.assert_array_equal(found[beyond], np.full_like(found[beyond], outside))


@pytest.mark.parametrize("gid", MOVING_FRAMES)
@settings(max_examples=40, deadline=None)
@given(draws=st.data())
def test_a_window_of_a_frame_is_one_warp_of_the_whole_frame(sampler, data, gid, draws):
    rows, cols = draws.draw(windows(VIDEO_DIMS[MOVING], smallest=4))
    scale = draws.draw(scales)
    found = pixels_of(sampler, gids=[gid], space_slice=as_slices(rows, cols), scale=scale, channels="r|g|b")
    frame = data.frames[gid]
    warp = sample_from_video(rows, cols, scale) @ frame.warp_vid_from_img
    assert_follows(found[0], frame.files[0], warp)


@pytest.mark.parametrize("gid", [COMPLETE, FINE])
@pytest.mark.parametrize("channels", ["red|green", "nir", "swir"])
@settings(max_examples=25, deadline=None)
@given(draws=st.data())
def test_a_file_of_another_resolution_is_warped_once(sampler, data, gid, channels, draws):
    rows, cols = draws.draw(windows(VIDEO_DIMS[BANDS], smallest=4))
    scale = draws.draw(scales)
    found = pixels_of(sampler, gids=[gid], space_slice=as_slices(rows, cols), scale=scale, channels=channels)
    frame = data.frames[gid]
    (file,) = (file for file in frame.files if "|".join(file.channels) == channels)
    warp = sample_from_video(rows, cols, scale) @ frame.warp_vid_from_img @ file.warp_img_from_asset
    assert_follows(found[0], file, warp, outside=np.nan if channels == "swir" else 0)


@pytest.mark.parametrize("pad", [0, (2, 3)])
def test_bounds_of_a_window_with_fractions_are_rounded_down(sampler, pad):
    exact = load(sampler, vidid=MOVING, space_slice=as_slices((-3, 19), (5, 30)), pad=pad)
    for number in (float, np.float32, np.float64):
        slices = as_slices((number(-2.5), number(19.5)), (number(5.25), number(30.75)))
        for stated in ({"space_slice": slices}, {"slices": (slice(None), *slices)}):
            found = load(sampler, vidid=MOVING, pad=pad, **stated)
            assert np.array_equal(found["im"], exact["im"], equal_nan=True)
            assert np.array_equal(found["params"]["tf_rel_to_abs"], exact["params"]["tf_rel_to_abs"])
            assert found["target"]["space_slice"] == as_slices((-3, 19), (5, 30))


@pytest.mark.parametrize("bound", [np.nan, np.inf, "5"])
def test_a_bound_that_is_no_number_is_refused(sampler, bound):
    with pytest.raises(WindowError, match="the start of axis 0"):
        load(sampler, vidid=MOVING, space_slice=as_slices((bound, 19), (5, 30)))


@pytest.mark.parametrize("gid", MOVING_FRAMES)
def test_a_window_is_a_part_of_the_whole_video_frame(sampler, gid):
    full = pixels_of(sampler, gids=[gid])[0]
    rows, cols = (9, 31), (13, 52)
    found = pixels_of(sampler, gids=[gid], space_slice=as_slices(rows, cols))[0]
    part = full[slice(*rows), slice(*cols)]
    assert np.abs(found.astype(int) - part.astype(int)).max() <= 1


def test_frames_of_a_video_equal_samples_of_each_alone(sampler):
    keys = {"space_slice": (slice(-3, 40), slice(4, 66)), "scale": 1.5, "pad": (1, 2)}
    together = pixels_of(sampler, vidid=MOVING, **keys)
    for pixels, gid in zip(together, MOVING_FRAMES):
        np.testing.assert_array_equal(pixels, pixels_of(sampler, gids=[gid], **keys)[0])


def test_auxiliary_files_read_as_assets_do(sampler, tmp_path):
    older = CocoSampler(videos(tmp_path, key="auxiliary").dset, workdir=tmp_path / "work")
    expected = pixels_of(sampler, vidid=BANDS, scale=0.75)
    np.testing.assert_array_equal(pixels_of(older, vidid=BANDS, scale=0.75), expected)


# --- caches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=40, deadline=None)
@given(draws=st.data())
def test_where_nothing_is_resampled_pixels_are_those_of_the_file(make_sampler, data, backend, draws):
    index = draws.draw(st.integers(0, len(EXACT_FRAMES) - 1))
    rows, cols = draws.draw(windows(VIDEO_DIMS[EXACT]))
    pad = draws.draw(st.tuples(st.integers(0, 5), st.integers(0, 5)))
    found = pixels_of(
        make_sampler(backend),
        vidid=EXACT,
        time_slice=slice(index, index + 1),
        space_slice=as_slices(rows, cols),
        pad=pad,
        channels="r|g|b",
    )
    frame = data.frames[EXACT_FRAMES[index]]
    x, y = frame.warp_vid_from_img[:2, 2].astype(int)
    rows = (rows[0] - pad[0] - y, rows[1] + pad[0] - y)
    cols = (cols[0] - pad[1] - x, cols[1] + pad[1] - x)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0], crop_oracle(whole(data, frame.gid, "rgb"), rows, cols))


OPTIONS = [
    {"vidid": EXACT},
    {"vidid": EXACT, "pad": (1, 4, 6), "space_slice": (slice(-9, 20), slice(30, 70))},
    {"vidid": EXACT, "dtype": "float32", "nodata": 7},
    {"vidid": GAPS, "nodata": "float"},
    {"vidid": GAPS, "nodata": "ma", "pad": 2},
    {"vidid": FLOATS, "nodata": "auto"},
    {"vidid": FLOATS, "scale": 2, "nodata": "float"},
    {"vidid": MOVING, "space_slice": SPACE},
    {"vidid": MOVING, "scale": 1.6, "interpolation": "cubic"},
    {"gids": [SPARSE, COMPLETE], "channels": "<all>", "pad": (3, 3)},
]


@pytest.mark.parametrize("target", OPTIONS, ids=[str(i) for i in range(len(OPTIONS))])
def test_every_backend_gives_the_same_pixels(make_sampler, target):
    plain, npy, cog = (pixels_of(make_sampler(backend), **target) for backend in BACKENDS)
    for other in (npy, cog):
        assert other.dtype == plain.dtype
        np.testing.assert_array_equal(np.ma.getdata(other), np.ma.getdata(plain))
        np.testing.assert_array_equal(np.ma.getmaskarray(other), np.ma.getmaskarray(plain))


@pytest.mark.parametrize("scale", [1, 0.5, 0.2])
def test_overviews_change_little(make_sampler, scale):
    plain, npy, cog = (
        pixels_of(make_sampler(backend), gids=[FINE, SHIFTED], channels="red|r", scale=scale)
        for backend in BACKENDS
    )
    np.testing.assert_array_equal(npy, plain)
    np.testing.assert_array_equal(np.isnan(cog), np.isnan(plain))
    assert np.nanmax(np.abs(cog - plain)) <= 12


def test_samplers_in_other_processes_and_copies_give_the_same(sampler):
    expected = load(sampler, True, vidid=BANDS)["im"]
    for other in (pickle.loads(pickle.dumps(sampler)), copy.deepcopy(sampler)):
        np.testing.assert_array_equal(load(other, True, vidid=BANDS)["im"], expected)


def test_a_sample_owns_its_pixels(make_sampler):
    for backend in BACKENDS:
        target = {"vidid": EXACT, "time_slice": slice(0, 1)}
        first = pixels_of(make_sampler(backend), **target)
        expected = first.copy()
        assert first.flags.writeable
        assert first.flags.c_contiguous
        first[:] = 0
        np.testing.assert_array_equal(pixels_of(make_sampler(backend), **target), expected)


# --- scale ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "dims"),
    [
        (1.1, (27, 39)),
        (0.5, (12, 18)),
        ((0.5, 2.0), (48, 18)),
        ((2, 0.1), (3, 70)),
        (np.float32(2), (48, 70)),
        (1 / 3, (8, 12)),
        (1e-3, (1, 1)),
        (None, (24, 35)),
        (1.0, (24, 35)),
    ],
)
def test_a_scaled_sample_has_its_size_rounded_up(sampler, scale, dims):
    sample = load(sampler, True, vidid=MOVING, space_slice=SPACE, scale=scale)
    assert sample["im"].shape[1:3] == dims
    scale_x, scale_y = scale if isinstance(scale, tuple) else (scale or 1, scale or 1)
    expected = affine(offset=(9, 6)) @ np.diag([1 / scale_x, 1 / scale_y, 1])
    np.testing.assert_allclose(sample["params"]["tf_rel_to_abs"], expected)
    assert sample["params"]["offset"].tolist() == [-9, -6]
    assert sample["params"]["st_dims"] == [(6, 30), (9, 44)]


def test_nearest_pixels_are_pixels_of_the_frame(sampler, data):
    found = pixels_of(sampler, vidid=MOVING, scale=2.5, interpolation="nearest")
    for pixels, gid in zip(found, MOVING_FRAMES):
        assert set(np.unique(pixels)) <= {0, *np.unique(whole(data, gid))}


def test_values_stay_in_the_range_of_their_type(sampler):
    for interpolation in ("cubic", "lanczos"):
        found = pixels_of(sampler, vidid=EXACT, scale=1.7, interpolation=interpolation)
        assert found.dtype == np.uint8
        assert found.max() > 200
