"""Frames that a sample of a video holds, and its padding in time and space."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from helpers_datasets import crop_oracle
from helpers_videos import (
    BOXED,
    ENLARGED,
    EXACT,
    EXACT_FRAMES,
    FLOATS,
    FRAME_DIMS,
    GAPS,
    LOOSE,
    MOVING,
    MOVING_FRAMES,
    SAME,
    SHIFTED,
    SPACE,
    TURNED,
    VIDEO_DIMS,
    annotation_id,
    annotations,
    as_slices,
    load,
    pixels_of,
    videos,
    whole,
)

from ndsampler.errors import TargetError, UnknownIdError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return videos(tmp_path_factory.mktemp("videos"))


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
    with pytest.raises(TargetError, match="contains no"):
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
    assert sample["target"]["vidid"] is None
    assert all(len(dets) for dets in sample["annots"]["frame_dets"])


@pytest.mark.parametrize("key", ["vidid", "video_id"])
@pytest.mark.parametrize("vidid", [999, "video7", -1, (1, 2), [3]])
@pytest.mark.parametrize("gids", [[TURNED, SAME], list(LOOSE)])
def test_an_unknown_video_beside_images_is_a_foreign_key(sampler, gids, vidid, key):
    sample = load(sampler, gids=gids, space_slice=SPACE, **{key: vidid})
    expected = load(sampler, gids=gids, space_slice=SPACE)
    np.testing.assert_array_equal(sample["im"], expected["im"])
    assert sample["target"][key] == sample["target"]["vidid"] == vidid
    assert sample["params"]["data_dims"] == expected["params"]["data_dims"]
    again = sampler.load_sample(sample["target"])
    np.testing.assert_array_equal(again["im"], expected["im"])


@pytest.mark.parametrize(
    "make", [iter, lambda gids: dict.fromkeys(gids).keys(), lambda gids: (g for g in gids)]
)
def test_images_may_be_named_by_what_can_be_read_once(sampler, make):
    sample = load(sampler, gids=make([TURNED, SAME]), space_slice=SPACE)
    np.testing.assert_array_equal(sample["im"], pixels_of(sampler, gids=[TURNED, SAME], space_slice=SPACE))
    assert sample["target"]["gids"] == [TURNED, SAME]


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
