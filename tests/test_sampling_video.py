"""Samples of videos against whole frames: warped once by kwimage, cut and padded by numpy, moved by hand."""

from __future__ import annotations

import copy
import functools
import pickle
import tracemalloc

import kwimage
import numpy as np
import pytest
from delayed_image import FusedChannelSpec
from helpers_datasets import crop_oracle
from helpers_images import write_tiff
from helpers_videos import (
    BANDS,
    BORDER,
    BOXED,
    COMPLETE,
    DEEP_NODATA,
    ENLARGED,
    EXACT,
    EXACT_FRAMES,
    FINE,
    FLOAT_FRAMES,
    FLOATS,
    FRAME_DIMS,
    GAP_FRAMES,
    GAPS,
    LOOSE,
    MOVING,
    SAME,
    SHIFTED,
    SPARSE,
    TURNED,
    VIDEO_DIMS,
    WHOLE,
    affine,
    annotation_id,
    annotations,
    centers_in,
    sample_from_video,
    smooth_pixels,
    videos,
    warp_whole,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler import CocoSampler
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.errors import TargetError, UnknownIdError, WindowError

BACKENDS = (None, "npy", "cog")

MOVING_FRAMES = (SAME, SHIFTED, ENLARGED, TURNED)

#: How far from a frame, in pixels, windows are drawn.
REACH = 12

SPACE = (slice(6, 30), slice(9, 44))

scales = st.one_of(
    st.sampled_from([1.0, 0.5, 0.25, 2.0, (0.5, 2.0), (1.0, 0.3)]),
    st.tuples(st.floats(0.25, 3.0), st.floats(0.25, 3.0)),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def make_sampler(data, tmp_path_factory):
    """Return a function from the name of a backend to a sampler, made once."""

    @functools.cache
    def make(backend=None):
        return CocoSampler(data.dset, workdir=tmp_path_factory.mktemp("work"), backend=backend)

    return make


@pytest.fixture(scope="module")
def sampler(make_sampler):
    return make_sampler()


@st.composite
def windows(draw, dims, smallest=1):
    """Return (start, stop) for rows and columns, in, across or beside a frame."""
    rows, cols = (
        (start, start + draw(st.integers(smallest, length + REACH)))
        for length in dims
        for start in [draw(st.integers(-REACH, length + REACH))]
    )
    return rows, cols


def load(sampler, with_annots=False, **target):
    return sampler.load_sample(target, with_annots=with_annots)


def pixels_of(sampler, **target):
    return load(sampler, **target)["im"]


def as_slices(rows, cols):
    return slice(*rows), slice(*cols)


def whole(data, gid, channels=None):
    """The pixels of a frame that is one file, its channels sorted or as named."""
    file = data.frames[gid].files[0]
    names = sorted(file.channels) if channels is None else channels
    return file.pixels[..., [file.channels.index(name) for name in names]]


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


@pytest.mark.parametrize("scale", [1, 1.7, (0.5, 2)])
def test_annotations_of_a_still_equal_those_of_its_video_of_one_frame(sampler, scale):
    keys = {"space_slice": (slice(-3, 38), slice(5, 60)), "scale": scale, "pad": (2, 3)}
    still = load(sampler, True, gid=SAME, **keys)["annots"]
    video = load(sampler, True, gids=[SAME], **keys)["annots"]
    assert still.keys() == video.keys()
    for key in ("aids", "cids", "rel_frame_index"):
        assert still[key].tolist() == video[key].tolist()
    np.testing.assert_allclose(video["rel_boxes"].data, still["rel_boxes"].data)
    for mine, other in zip(vertices(video), vertices(still)):
        np.testing.assert_allclose(mine, other)


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


# --- which frames --------------------------------------------------------------------------------


def gids_of(sample):
    return list(sample["target"]["gids"])


def test_frames_come_in_the_order_of_their_frame_index(sampler, data):
    sample = load(sampler, vidid=MOVING)
    assert gids_of(sample) == list(MOVING_FRAMES)
    np.testing.assert_array_equal(sample["im"][0][: FRAME_DIMS[0], : FRAME_DIMS[1]], whole(data, SAME))


@pytest.mark.parametrize(
    ("time_slice", "places"),
    [
        (None, [0, 1, 2, 3, 4]),
        (slice(None), [0, 1, 2, 3, 4]),
        (slice(1, 3), [1, 2]),
        (slice(3, None), [3, 4]),
        (slice(None, 2), [0, 1]),
        (slice(0, 5, 2), [0, 2, 4]),
        (slice(1, None, 3), [1, 4]),
        (slice(3, 7), [3, 4, None, None]),
        (slice(-2, 1), [None, None, 0]),
        (slice(-1, 6), [None, 0, 1, 2, 3, 4, None]),
        (slice(-1, 6, 3), [None, 2, None]),
        (slice(np.int64(0), np.uint8(2)), [0, 1]),
    ],
)
def test_a_time_slice_names_frames_by_position(sampler, time_slice, places):
    whole_video = pixels_of(sampler, vidid=EXACT)
    for target in (
        {"vidid": EXACT, "time_slice": time_slice},
        {"vidid": EXACT, "slices": (time_slice, slice(None), slice(None))},
        {"video_id": EXACT, "time_slice": time_slice},
    ):
        sample = load(sampler, True, **target)
        assert gids_of(sample) == [EXACT_FRAMES[place] for place in places if place is not None]
        assert sample["target"]["real_frames"] == [place is not None for place in places]
        assert len(sample["annots"]["frame_dets"]) == len(places)
        assert sample["im"].shape == (len(places), *VIDEO_DIMS[EXACT], 3)
        for pixels, place in zip(sample["im"], places):
            expected = np.zeros_like(pixels) if place is None else whole_video[place]
            np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    "target",
    [
        {"vidid": EXACT, "time_slice": slice(5, 9)},
        {"vidid": EXACT, "time_slice": slice(-4, 0)},
        {"vidid": EXACT, "time_slice": slice(2, 2)},
        {"vidid": EXACT, "time_slice": slice(3, 1)},
        {"vidid": EXACT, "time_slice": slice(-1, 7, 7)},
        {"vidid": EXACT, "time_slice": slice(5, 9), "pad": (2, 0, 0)},
        {"gids": []},
        {"vidid": EXACT, "gids": []},
    ],
    ids=repr,
)
def test_a_target_that_touches_no_frame_is_refused(sampler, target):
    with pytest.raises(TargetError, match="touches no"):
        load(sampler, **target)


@pytest.mark.parametrize(
    "gids", [[SHIFTED], [TURNED, SAME], (SAME, SAME, ENLARGED), np.array([SHIFTED, SAME])]
)
def test_given_images_come_in_the_given_order(sampler, gids):
    sample = load(sampler, gids=gids, space_slice=SPACE)
    frames = dict(zip(MOVING_FRAMES, pixels_of(sampler, vidid=MOVING, space_slice=SPACE)))
    np.testing.assert_array_equal(sample["im"], np.stack([frames[gid] for gid in list(gids)]))
    assert sample["target"]["gids"] is gids
    assert sample["target"]["vidid"] == MOVING
    assert sample["target"]["time_slice"] == slice(0, len(gids))
    assert sample["params"]["data_dims"] == (len(MOVING_FRAMES), *VIDEO_DIMS[MOVING])


def test_image_ids_is_another_name_of_gids_which_win(sampler):
    first = load(sampler, image_ids=[SHIFTED, SAME])
    assert first["target"]["gids"] == [SHIFTED, SAME]
    both = load(sampler, image_ids=[SHIFTED], gids=[TURNED])
    assert both["target"]["gids"] == [TURNED]


def test_video_and_images_together_mean_the_images(sampler):
    sample = load(sampler, vidid=MOVING, gids=[TURNED, SHIFTED])
    np.testing.assert_array_equal(sample["im"], pixels_of(sampler, gids=[TURNED, SHIFTED]))


def test_an_image_and_its_video_mean_the_video(sampler):
    sample = load(sampler, gid=SHIFTED, vidid=MOVING, space_slice=SPACE)
    assert gids_of(sample) == list(MOVING_FRAMES)
    np.testing.assert_array_equal(sample["im"], pixels_of(sampler, vidid=MOVING, space_slice=SPACE))


def test_an_image_alone_is_a_still_in_its_own_pixels(sampler, data):
    sample = load(sampler, gid=TURNED)
    np.testing.assert_array_equal(sample["im"], whole(data, TURNED, "rgb"))
    assert "vidid" not in sample["target"]


def test_images_without_a_video_make_frames_in_their_own_pixels(sampler, data):
    sample = load(sampler, True, gids=list(LOOSE), space_slice=(slice(-2, 20), slice(10, 70)))
    expected = [crop_oracle(whole(data, gid), (-2, 20), (10, 70)) for gid in LOOSE]
    np.testing.assert_array_equal(sample["im"], np.stack(expected))
    assert sample["params"]["data_dims"] == (2, *FRAME_DIMS)
    assert sample["target"].get("vidid") is None
    assert all(len(dets) for dets in sample["annots"]["frame_dets"])


@pytest.mark.parametrize("vidid", [999, "video7", -1, (1, 2)])
def test_an_unknown_video_is_a_value_error_that_names_it(sampler, vidid):
    with pytest.raises(ValueError, match="vidid is"):
        load(sampler, vidid=vidid)


@pytest.mark.parametrize("gids", [[999], [SAME, 999], ["frame1"]])
def test_an_unknown_image_is_a_key_error_that_names_it(sampler, gids):
    with pytest.raises(KeyError, match="image id is") as caught:
        load(sampler, gids=gids)
    assert isinstance(caught.value, UnknownIdError)


@pytest.mark.parametrize("gids", [5, "31", 3.5])
def test_gids_that_are_no_list_are_refused(sampler, gids):
    with pytest.raises(TargetError, match="gids is"):
        load(sampler, gids=gids)


@pytest.mark.parametrize(
    "time_slice", [3, (0, 2), slice(0, 2.5), slice("a", None), slice(0, 3, -1), slice(0, 3, 0)]
)
def test_a_malformed_time_slice_is_a_value_error(sampler, time_slice):
    with pytest.raises(ValueError, match="time_slice"):
        load(sampler, vidid=EXACT, time_slice=time_slice)


def test_the_space_slice_beats_the_slices(sampler):
    found = pixels_of(sampler, vidid=EXACT, slices=(slice(0, 1), slice(0, 3), slice(0, 3)), space_slice=SPACE)
    assert found.shape[1:3] == (24, 35)


@pytest.mark.parametrize(
    ("window", "dims"),
    [
        ({"width": 20, "height": 16}, (16, 20)),
        ({"width": 19.2, "height": 15.1}, (16, 20)),
        ({"window_dims": (12, 30)}, (12, 30)),
        ({"width": 20, "height": 16, "window_dims": "square"}, (20, 20)),
    ],
)
def test_windows_around_a_center_lie_in_the_video(sampler, window, dims):
    sample = load(sampler, gids=[SHIFTED, TURNED], cx=30, cy=25, **window)
    y, x = 25 - dims[0] // 2, 30 - dims[1] // 2
    assert sample["target"]["space_slice"] == (slice(y, y + dims[0]), slice(x, x + dims[1]))
    assert tuple(sample["target"]["window_dims"]) == dims
    expected = pixels_of(sampler, gids=[SHIFTED, TURNED], space_slice=sample["target"]["space_slice"])
    np.testing.assert_array_equal(sample["im"], expected)


@pytest.mark.parametrize("frames", [{"vidid": MOVING}, {"gids": [SAME, SHIFTED, TURNED]}])
def test_an_annotation_in_a_video_gives_the_window(sampler, frames):
    aid = annotation_id(SAME, BOXED)
    sample = load(sampler, True, aid=aid, **frames)
    x, y, width, height = annotations(SAME)[BOXED]["bbox"]
    assert (sample["target"]["cx"], sample["target"]["cy"]) == (x + width / 2, y + height / 2)
    assert sample["im"].shape[1:3] == (int(np.ceil(height)), int(np.ceil(width)))
    assert sample["target"]["gid"] == SAME
    assert sample["annots"]["aids"][sample["target"]["annot_idx"]] == aid


# --- padding -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pad", "margins"),
    [
        (3, ((0, 0), (3, 3), (3, 3))),
        ((2, 5), ((0, 0), (2, 2), (5, 5))),
        ((0, 2, 5), ((0, 0), (2, 2), (5, 5))),
        ((1, 2, 5), ((1, 1), (2, 2), (5, 5))),
        ([(1, 2), (3, 4)], ((0, 0), (1, 2), (3, 4))),
        ([(0, 2), (1, 2), (3, 4)], ((0, 2), (1, 2), (3, 4))),
        ((1, (0, 2), 4), ((1, 1), (0, 2), (4, 4))),
        (None, ((0, 0), (0, 0), (0, 0))),
        (np.array([0, 1, 2]), ((0, 0), (1, 1), (2, 2))),
    ],
)
def test_every_form_of_pad_is_a_larger_window(sampler, pad, margins):
    sample = load(sampler, True, vidid=EXACT, time_slice=slice(1, 4), space_slice=SPACE, pad=pad)
    (early, late), (top, bottom), (left, right) = margins
    rows, cols = (6 - top, 30 + bottom), (9 - left, 44 + right)
    larger = load(
        sampler,
        True,
        vidid=EXACT,
        time_slice=slice(1 - early, 4 + late),
        space_slice=as_slices(rows, cols),
    )
    np.testing.assert_array_equal(sample["im"], larger["im"])
    np.testing.assert_array_equal(sample["params"]["tf_rel_to_abs"], larger["params"]["tf_rel_to_abs"])
    assert sample["params"]["st_dims"] == [rows, cols]
    assert sample["params"]["sample_tlbr"].data.tolist() == [[cols[0], rows[0], cols[1], rows[1]]]
    assert sample["target"]["real_frames"] == larger["target"]["real_frames"]
    np.testing.assert_array_equal(sample["annots"]["aids"], larger["annots"]["aids"])
    assert sample["params"]["pad"] is pad


@pytest.mark.parametrize("pad", [-1, (1, -2), (1, 2, 3, 4), (1.5, 2), "wide", [(1, 2, 3), 2]])
def test_a_pad_that_cannot_be_is_refused(sampler, pad):
    with pytest.raises(ValueError, match="pad"):
        load(sampler, vidid=EXACT, pad=pad)


def test_frames_before_the_first_and_after_the_last_are_empty(sampler):
    sample = load(sampler, True, vidid=MOVING, pad=(2, 0, 0))
    assert sample["target"]["real_frames"] == [False, False, True, True, True, True, False, False]
    assert gids_of(sample) == list(MOVING_FRAMES)
    real = np.array(sample["target"]["real_frames"])
    assert not sample["im"][~real].any()
    np.testing.assert_array_equal(sample["im"][real], pixels_of(sampler, vidid=MOVING))
    assert [len(dets) > 0 for dets in sample["annots"]["frame_dets"]] == real.tolist()
    assert set(sample["annots"]["rel_frame_index"].tolist()) <= set(np.flatnonzero(real).tolist())
    assert len(sample["params"]["frame_sample_from_grid_warps"]) == len(real)


def test_a_step_in_time_is_kept_by_the_padding(sampler):
    sample = load(sampler, vidid=EXACT, time_slice=slice(2, 3, 2), pad=(1, 0, 0))
    expected = pixels_of(sampler, vidid=EXACT, time_slice=slice(0, 5, 2))
    np.testing.assert_array_equal(sample["im"], expected)


def test_given_images_are_padded_in_time_as_a_video_of_their_own(sampler):
    sample = load(sampler, gids=[SHIFTED, SAME], pad=(1, 0, 0))
    assert sample["target"]["real_frames"] == [False, True, True, False]
    np.testing.assert_array_equal(sample["im"][1:3], pixels_of(sampler, gids=[SHIFTED, SAME]))


@pytest.mark.parametrize(
    ("keys", "filled"),
    [
        ({"vidid": EXACT}, 0),
        ({"vidid": FLOATS}, np.nan),
        ({"vidid": GAPS, "nodata": "float"}, np.nan),
        ({"vidid": GAPS, "nodata": 3}, np.nan),
    ],
    ids=repr,
)
def test_frames_that_do_not_exist_are_filled_as_pixels_outside_are(sampler, keys, filled):
    sample = pixels_of(sampler, time_slice=slice(-1, 1), **keys)
    np.testing.assert_array_equal(sample[0], np.full_like(sample[0], filled))
    outside = pixels_of(sampler, time_slice=slice(0, 1), space_slice=(slice(-9, -5), slice(4, 8)), **keys)
    np.testing.assert_array_equal(outside, np.full_like(outside, filled))


def test_masked_frames_that_do_not_exist_are_masked(sampler):
    sample = pixels_of(sampler, vidid=GAPS, time_slice=slice(-1, 1), nodata="ma")
    assert sample.dtype == np.uint16
    assert sample.mask[0].all()
    assert not sample.mask[1].all()


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap", "constant"])
def test_padkw_continues_the_video(sampler, data, mode):
    rows, cols = (-5, 12), (40, 60)
    padkw = {"mode": mode, **({"constant_values": 7} if mode == "constant" else {})}
    given = copy.deepcopy(padkw)
    sample = load(
        sampler, vidid=EXACT, time_slice=slice(0, 1), space_slice=as_slices(rows, cols), padkw=padkw
    )
    inside = whole(data, EXACT_FRAMES[0])[0:12, 40:53]
    expected = np.pad(inside, ((5, 0), (0, 7), (0, 0)), **given)
    np.testing.assert_array_equal(sample["im"][0], expected)
    assert padkw == given


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


# --- annotations ---------------------------------------------------------------------------------


def vertices(annots):
    """Every vertex of every annotation of a sample: of its box, polygons and keypoints, as (N, 2) each."""
    found = []
    for box, sseg, points in zip(
        annots["rel_boxes"].to_ltrb().data, list(annots["rel_ssegs"]), list(annots["rel_kpts"])
    ):
        x0, y0, x1, y1 = box
        found.append(np.array([[x0, y0], [x1, y1]], float))
        for polygon in sseg.data if sseg is not None else ():
            rings = [polygon.data["exterior"], *polygon.data["interiors"]]
            found += [np.asarray(ring.data, float) for ring in rings]
        if points is not None:
            found.append(np.asarray(points.xy, float))
    return found


def apply(warp, points):
    return np.asarray(points, float) @ warp[:2, :2].T + warp[:2, 2]


def drawn_around(box):
    x, y, width, height = box
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], float)


@pytest.mark.parametrize("gid", MOVING_FRAMES)
@settings(max_examples=25, deadline=None)
@given(draws=st.data())
def test_annotations_come_home_from_the_sample(sampler, data, gid, draws):
    rows, cols = draws.draw(windows(VIDEO_DIMS[MOVING]))
    scale = draws.draw(scales)
    pad = draws.draw(st.tuples(st.integers(0, 6), st.integers(0, 6)))
    target = {"gids": [gid], "space_slice": as_slices(rows, cols), "scale": scale, "pad": pad}
    sample = load(sampler, True, **target)
    to_video = sample["params"]["tf_rel_to_abs"]
    home = np.linalg.inv(data.frames[gid].warp_vid_from_img) @ to_video
    original = {annotation_id(gid, kind): ann for kind, ann in enumerate(annotations(gid))}
    dets = sample["annots"]["frame_dets"][0]
    for index, aid in enumerate(dets.data["aids"].tolist()):
        ann = original[aid]
        there = np.linalg.inv(to_video) @ data.frames[gid].warp_vid_from_img
        corners = apply(there, drawn_around(ann["bbox"]))
        bounds = [*corners.min(axis=0), *corners.max(axis=0)]
        np.testing.assert_allclose(dets.boxes.to_ltrb().data[index], bounds, atol=1e-4)
        if "segmentation" in ann:
            (polygon,) = dets.data["segmentations"][index].data
            np.testing.assert_allclose(
                apply(home, polygon.data["exterior"].data), ann["segmentation"]["exterior"], atol=1e-4
            )
            np.testing.assert_allclose(
                apply(home, polygon.data["interiors"][0].data), ann["segmentation"]["interiors"][0], atol=1e-4
            )
            points = dets.data["keypoints"][index]
            expected = [point["xy"] for point in ann["keypoints"]]
            np.testing.assert_allclose(apply(home, points.xy), expected, atol=1e-4)


@pytest.mark.parametrize("thresh", [0.0, 0.3, 0.9])
@settings(max_examples=40, deadline=None)
@given(draws=st.data())
def test_annotations_are_those_whose_warped_box_shows(sampler, data, thresh, draws):
    rows, cols = draws.draw(windows(VIDEO_DIMS[MOVING]))
    target = {"vidid": MOVING, "space_slice": as_slices(rows, cols)}
    annots = sampler.load_sample(target, visible_thresh=thresh)["annots"]
    for dets, gid in zip(annots["frame_dets"], MOVING_FRAMES):
        expected = []
        for kind, ann in enumerate(annotations(gid)):
            corners = apply(data.frames[gid].warp_vid_from_img, drawn_around(ann["bbox"]))
            (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
            wide, high = min(x1, cols[1]) - max(x0, cols[0]), min(y1, rows[1]) - max(y0, rows[0])
            touches = wide >= 0 and high >= 0
            if touches and (thresh == 0 or wide * high / ((x1 - x0) * (y1 - y0)) > thresh):
                expected.append(annotation_id(gid, kind))
        assert dets.data["aids"].tolist() == expected


def test_annotations_of_all_frames_follow_each_other(sampler):
    annots = load(sampler, True, vidid=MOVING)["annots"]
    frames = annots["frame_dets"]
    assert len(frames) == len(MOVING_FRAMES)
    assert [dets.meta["gid"] for dets in frames] == list(MOVING_FRAMES)
    assert [dets.meta["rel_frame_index"] for dets in frames] == [0, 1, 2, 3]
    np.testing.assert_array_equal(annots["aids"], np.concatenate([dets.data["aids"] for dets in frames]))
    np.testing.assert_array_equal(annots["cids"], np.concatenate([dets.data["cids"] for dets in frames]))
    counts = [len(dets) for dets in frames]
    assert annots["rel_frame_index"].tolist() == np.repeat(range(4), counts).tolist()
    boxes = np.concatenate([dets.boxes.to_xywh().data for dets in frames])
    np.testing.assert_allclose(annots["rel_boxes"].to_xywh().data, boxes)
    assert len(annots["rel_ssegs"]) == len(annots["rel_kpts"]) == sum(counts)


def test_a_track_leads_from_frame_to_frame(sampler, data):
    annots = load(sampler, True, vidid=MOVING)["annots"]
    tracks = [data.dset.anns[aid]["track_id"] for aid in annots["aids"].tolist()]
    assert [tracks.count(track) for track in (WHOLE, BOXED, BORDER)] == [4, 4, 4]


@pytest.mark.parametrize("with_annots", [False, None, ""])
def test_no_annotations_are_given_when_none_are_wanted(sampler, with_annots):
    assert "annots" not in sampler.load_sample({"vidid": MOVING}, with_annots=with_annots)


def test_pieces_that_are_not_wanted_are_none(sampler):
    annots = sampler.load_sample({"vidid": MOVING}, with_annots="boxes")["annots"]
    assert set(annots["rel_ssegs"]) == {None}
    assert set(annots["rel_kpts"]) == {None}


def test_given_annotations_are_sorted_into_their_frames(sampler):
    wanted = [annotation_id(TURNED, BOXED), annotation_id(SAME, BORDER), annotation_id(SAME, WHOLE)]
    annots = sampler.load_sample({"vidid": MOVING}, annot_ids=wanted)["annots"]
    found = [dets.data["aids"].tolist() for dets in annots["frame_dets"]]
    assert found == [[wanted[1], wanted[2]], [], [], [wanted[0]]]


def test_only_detections_are_given_without_the_older_arrays(sampler):
    sample = load(sampler, True, vidid=MOVING, legacy_annots=False, legacy_target=False)
    assert set(sample["annots"]) == {"frame_dets"}
    assert "tr" not in sample
    assert "annot_idx" not in sample["target"]


def test_annotations_are_loaded_alike_without_pixels(sampler):
    target = {"vidid": MOVING, "space_slice": SPACE, "scale": 2, "pad": (1, 2, 3)}
    expected = load(sampler, True, **target)["annots"]
    found = sampler.load_target_annots(target)
    np.testing.assert_array_equal(found["aids"], expected["aids"])
    np.testing.assert_allclose(found["rel_boxes"].data, expected["rel_boxes"].data)


# --- what a sample says of itself ----------------------------------------------------------------


def test_keys_of_a_sample_and_its_parts(sampler):
    target = {"vidid": MOVING, "time_slice": slice(0, 2), "space_slice": SPACE, "main_idx": 3}
    given = dict(target)
    sample = sampler.load_sample(target)
    assert target == given
    assert list(sample) == ["im", "target", "params", "tr", "annots", "classes", "kp_classes"]
    assert sample["tr"] is sample["target"]
    assert list(sample["target"])[:4] == list(given)
    assert set(sample["target"]) == {
        *given,
        *("space_dims", "data_dims", "slices", "gids", "real_frames", "annot_idx"),
    }
    assert sample["target"]["main_idx"] == 3
    assert sample["target"]["slices"] == (slice(0, 2), *SPACE)
    assert sample["target"]["space_dims"] == VIDEO_DIMS[MOVING]
    assert sample["target"]["data_dims"] == (4, *VIDEO_DIMS[MOVING])
    assert list(sample["params"]) == [
        *("offset", "tf_rel_to_abs", "sample_tlbr", "st_dims", "data_dims", "pad"),
        *("request_chanspec", "frame_sample_from_grid_warps"),
    ]
    assert sample["params"]["sample_tlbr"].data.shape == (1, 4)
    assert sample["params"]["data_dims"] == (4, *VIDEO_DIMS[MOVING])
    assert list(sample["annots"]) == [
        *("aids", "cids", "rel_frame_index", "rel_boxes", "rel_ssegs", "rel_kpts", "frame_dets")
    ]


@pytest.mark.parametrize("time_slice", [slice(0, 3, 2), slice(-1, 3, 2), slice(2, 6), None])
@pytest.mark.parametrize("pad", [(2, 3), (1, 2, 3), ((0, 2), 0, 0)])
def test_a_resolved_target_gives_the_same_sample(sampler, time_slice, pad):
    target = {
        "vidid": MOVING,
        "time_slice": time_slice,
        "cx": 22,
        "cy": 20,
        "window_dims": (16, 18),
        "pad": pad,
    }
    first = load(sampler, True, **target)
    for again in (first["target"], sampler._infer_target_attributes(target)):
        second = sampler.load_sample(again)
        np.testing.assert_array_equal(second["im"], first["im"])
        np.testing.assert_array_equal(second["annots"]["aids"], first["annots"]["aids"])
        assert second["target"] == first["target"]


def test_of_a_resolved_target_the_slices_can_be_edited(sampler):
    resolved = sampler._infer_target_attributes(
        {"vidid": MOVING, "cx": 22, "cy": 20, "window_dims": (16, 18)}
    )
    resolved["space_slice"] = SPACE
    np.testing.assert_array_equal(
        pixels_of(sampler, **resolved), pixels_of(sampler, vidid=MOVING, space_slice=SPACE)
    )


@pytest.mark.parametrize("scale", [1, 2.5, (0.5, 3)])
def test_the_grid_of_the_video_is_warped_onto_each_frame(sampler, scale):
    params = load(sampler, vidid=MOVING, space_slice=SPACE, scale=scale, pad=(0, 2, 1))["params"]
    warps = params["frame_sample_from_grid_warps"]
    assert len(warps) == 4
    for warp in warps:
        assert isinstance(warp, kwimage.Affine)
        np.testing.assert_allclose(warp.matrix @ params["tf_rel_to_abs"], np.eye(3), atol=1e-9)
    assert isinstance(params["request_chanspec"], FusedChannelSpec)
    assert params["request_chanspec"].as_list() == ["b", "g", "r"]


@pytest.mark.parametrize("scale", [1.0, (2.0, 0.5)])
def test_an_xarray_names_frames_rows_columns_and_channels(sampler, scale):
    target = {"vidid": MOVING, "space_slice": SPACE, "scale": scale}
    found = pixels_of(sampler, as_xarray=True, **target)
    assert found.dims == ("t", "y", "x", "c")
    np.testing.assert_array_equal(found.values, pixels_of(sampler, **target))
    assert found.coords["t"].values.tolist() == [0, 1, 2, 3]
    assert found.coords["c"].values.tolist() == ["b", "g", "r"]
    scale_x, scale_y = scale if isinstance(scale, tuple) else (scale, scale)
    np.testing.assert_allclose(np.diff(found.coords["x"]), 1 / scale_x)
    np.testing.assert_allclose(np.diff(found.coords["y"]), 1 / scale_y)
    assert found.coords["x"].values[0] == pytest.approx(9 + 0.5 / scale_x - 0.5)
    assert found.coords["y"].values[0] == pytest.approx(6 + 0.5 / scale_y - 0.5)


def test_positives_of_a_dataset_with_videos_are_stills(sampler, data):
    sample = sampler.load_positive(0)
    assert sample["im"].ndim == 3
    assert sample["annots"]["aids"][sample["target"]["annot_idx"]] == sample["target"]["aid"]


# --- only what is needed -------------------------------------------------------------------------

#: (height, width) of the frames that have overviews, and of their smaller file.
LARGE, HALF = (600, 900), (300, 450)


@pytest.fixture
def large(tmp_path):
    """A sampler of a video of two frames with two files each, which get overviews."""
    import kwcoco

    images = []
    for gid in (1, 2):
        write_tiff(tmp_path / f"full{gid}.tif", smooth_pixels(LARGE, 1, seed=gid))
        write_tiff(tmp_path / f"half{gid}.tif", smooth_pixels(HALF, 1, "uint16", seed=gid))
        files = [
            {"file_name": f"full{gid}.tif", "channels": "pan"},
            {"file_name": f"half{gid}.tif", "channels": "nir", "warp_aux_to_img": {"scale": 2}},
        ]
        images.append({"id": gid, "video_id": 1, "frame_index": gid, "name": str(gid), "assets": files})
        images[-1].update(file_name=None, height=LARGE[0], width=LARGE[1])
    content = {
        "videos": [{"id": 1, "name": "v", "height": LARGE[0], "width": LARGE[1]}],
        "images": images,
        "annotations": [],
        "categories": [],
    }
    dset = kwcoco.CocoDataset(content, bundle_dpath=tmp_path)
    return CocoSampler(dset, workdir=tmp_path / "work", backend="cog")


class CountingReader:
    """An open file that writes down which of its regions are read."""

    def __init__(self, reader, name, level, found):
        self._reader, self._name, self._level, self._found = reader, name, level, found

    def __getattr__(self, name):
        return getattr(self._reader, name)

    def read(self, y0, y1, x0, x1, bands=None):
        if y1 > y0 and x1 > x0:
            self._found.append((self._name, (y0, y1, x0, x1), self._level))
        return self._reader.read(y0, y1, x0, x1, bands)


@pytest.fixture
def reads(monkeypatch):
    """Every read of pixels that follows: (name of the file, region, level of the overview)."""
    found = []
    original = FrameCache.visit

    def visit(self, path, action, given=None, level=0):
        name = path.rsplit("/", 1)[-1]
        return original(
            self, path, lambda reader: action(CountingReader(reader, name, level, found)), given, level
        )

    monkeypatch.setattr(FrameCache, "visit", visit)
    return found


def area(box):
    return (box[1] - box[0]) * (box[3] - box[2])


def test_only_files_with_wanted_channels_of_wanted_frames_are_read(large, reads):
    pixels_of(
        large, vidid=1, time_slice=slice(1, 2), channels="nir", space_slice=(slice(10, 40), slice(20, 60))
    )
    assert {name for name, _, _ in reads} == {"half2.tif"}


def test_only_the_region_below_the_window_is_read(large, reads):
    pixels_of(large, vidid=1, space_slice=(slice(100, 164), slice(200, 280)))
    assert len(reads) == 4
    for name, box, level in reads:
        assert level == 0
        expected = (100, 164, 200, 280) if name.startswith("full") else (50, 82, 100, 140)
        around = 0 if name.startswith("full") else 4
        assert all(abs(found - wanted) <= around for found, wanted in zip(box, expected))


@pytest.mark.parametrize(
    ("scale", "levels"), [(1, (0, 0)), (0.5, (1, 0)), (0.3, (1, 0)), (0.25, (2, 1)), (0.1, (3, 2))]
)
def test_shrinking_reads_the_smallest_overview_that_suffices(large, reads, scale, levels):
    found = pixels_of(large, vidid=1, scale=scale)
    chosen = {name[:4]: level for name, _, level in reads}
    assert (chosen["full"], chosen["half"]) == levels
    for name, box, level in reads:
        dims = LARGE if name.startswith("full") else HALF
        assert area(box) <= (dims[0] / 2**level + 1) * (dims[1] / 2**level + 1)
    assert found.shape[1:3] == tuple(int(np.ceil(length * scale - 1e-2)) for length in LARGE)


def test_a_shrunken_window_reads_its_part_of_the_overview(large, reads):
    pixels_of(large, vidid=1, channels="pan", scale=0.25, space_slice=(slice(200, 328), slice(400, 560)))
    # 128 x 160 pixels are 32 x 40 in the second overview; the kernel looks a few pixels farther.
    for _, box, level in reads:
        assert level == 2
        assert area(box) <= (32 + 10) * (40 + 10)


def test_samples_through_overviews_look_like_the_whole_frame_shrunk(large):
    found = pixels_of(large, gids=[1], channels="pan", scale=0.2)[0]
    oracle, inside = warp_whole(smooth_pixels(LARGE, 1, seed=1), np.diag([0.2, 0.2, 1]), found.shape[:2], 8)
    assert np.abs(found.astype(int) - oracle.astype(int))[inside].max() <= 6


def test_windows_beside_a_frame_read_nothing(large, reads):
    found = pixels_of(large, vidid=1, space_slice=(slice(-90, -20), slice(1000, 1100)))
    assert not found.any()
    assert not reads


def test_frames_that_do_not_exist_read_nothing(large, reads):
    pixels_of(large, vidid=1, channels="pan", time_slice=slice(-3, 1), space_slice=(slice(0, 8), slice(0, 8)))
    assert {name for name, _, _ in reads} == {"full1.tif"}


@pytest.mark.parametrize(
    "target",
    [
        {"vidid": MOVING, "space_slice": (slice(0, 10**9), slice(0, 10**9))},
        {"vidid": MOVING, "scale": 1e5},
        {"vidid": MOVING, "pad": (0, 10**8, 10**8)},
        {"vidid": MOVING, "pad": (10**9, 0, 0)},
        {"vidid": MOVING, "time_slice": slice(0, 10**12)},
        {"vidid": MOVING, "time_slice": slice(0, 90_000), "space_slice": (slice(0, 10**3), slice(0, 10**3))},
        {"gids": [SAME], "cx": 5, "cy": 5, "window_dims": (10**7, 10**7)},
        {"vidid": MOVING, "space_slice": (slice(0, 10**9), slice(0, 10**9)), "scale": (1, 1e-6)},
    ],
    ids=repr,
)
def test_absurd_requests_are_refused_before_memory_is_touched(sampler, target):
    pixels_of(sampler, vidid=MOVING, space_slice=SPACE)
    tracemalloc.start()
    try:
        with pytest.raises(WindowError):
            load(sampler, **target)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_window_far_larger_than_the_video_is_affordable(sampler, data):
    found = pixels_of(sampler, gids=[SAME], space_slice=(slice(-400, 700), slice(-300, 900)))[0]
    expected = crop_oracle(whole(data, SAME), (-400, 700), (-300, 900))
    np.testing.assert_array_equal(found, expected)
