"""Annotations, keys and targets of samples of videos."""

from __future__ import annotations

import kwimage
import numpy as np
import pytest
from delayed_image import FusedChannelSpec
from helpers_videos import (
    BORDER,
    BOXED,
    MOVING,
    MOVING_FRAMES,
    SAME,
    SPACE,
    TURNED,
    VIDEO_DIMS,
    WHOLE,
    annotation_id,
    annotations,
    as_slices,
    load,
    pixels_of,
    scales,
    videos,
    windows,
)
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return videos(tmp_path_factory.mktemp("videos"))


# --- one frame of a video is a still -------------------------------------------------------------


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
    found = sampler.load_annots(target)
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
    assert list(found.indexes) == ["c"]
    assert found.coords["frame"].values.tolist() == [0, 1, 2, 3]
    assert found.coords["c"].values.tolist() == ["b", "g", "r"]
    scale_x, scale_y = scale if isinstance(scale, tuple) else (scale, scale)
    np.testing.assert_allclose(np.diff(found.coords["col"]), 1 / scale_x)
    np.testing.assert_allclose(np.diff(found.coords["row"]), 1 / scale_y)
    assert found.coords["col"].values[0] == pytest.approx(9 + 0.5 / scale_x - 0.5)
    assert found.coords["row"].values[0] == pytest.approx(6 + 0.5 / scale_y - 0.5)


def test_the_frames_of_an_xarray_are_positions_in_the_video(sampler):
    found = pixels_of(sampler, as_xarray=True, vidid=MOVING, time_slice=slice(2, 5), space_slice=SPACE)
    assert found.coords["frame"].dims == ("t",)
    assert found.coords["frame"].values.tolist() == [2, 3, 4]
    earlier = pixels_of(sampler, as_xarray=True, vidid=MOVING, time_slice=slice(0, 3), space_slice=SPACE)
    assert (found + earlier).shape == found.shape


def test_positives_of_a_dataset_with_videos_are_stills(sampler, data):
    sample = sampler.load_positive(0)
    assert sample["im"].ndim == 3
    assert sample["annots"]["aids"][sample["target"]["annot_idx"]] == sample["target"]["aid"]
