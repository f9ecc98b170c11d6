"""Steps 4 and 5 of a sample: which annotations it holds, and of which kinds."""

from __future__ import annotations

import copy

import kwimage
import numpy as np
import pytest
from helpers_datasets import (
    BOXED,
    CHILD,
    ELSEWHERE,
    EMPTY,
    EVERYTHING,
    FIGURE,
    GRAY,
    HOLES,
    NO_BOX,
    NO_CATEGORY,
    NULL_CATEGORY,
    OLD_MULTI,
    OLD_POINTS,
    PLAIN,
    RGB,
    RLE,
    SHAPE,
    SHOWN,
    STAR,
    geometry,
    one_image,
    stills,
)
from helpers_images import random_pixels, write_png
from helpers_samples import aids_of, assert_same_geometry, expected_geometry, overlapping, pads, windows
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler import CocoSampler
from ndsampler.errors import AnnotKindError, ArgumentError, UnknownIdError
from ndsampler.sampling.annots import parse_request


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    return CocoSampler(stills(tmp_path_factory.mktemp("stills")).dset)


@pytest.fixture
def fresh(tmp_path):
    """Return a sampler whose dataset may be edited."""
    return CocoSampler(stills(tmp_path).dset)


# --- which annotations ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """Return a sampler of random boxes, some of them without any area, on a grid of whole pixels."""
    rng = np.random.default_rng(5)
    boxes = np.hstack([rng.integers(-5, 50, (150, 2)), rng.integers(0, 14, (150, 2))])
    anns = [{"id": 1000 - index, "bbox": box.tolist()} for index, box in enumerate(boxes)]
    path = write_png(tmp_path_factory.mktemp("crowd") / "any.png", random_pixels("uint8", 3, (40, 50)))
    return CocoSampler(one_image(path, (40, 50), anns))


@settings(max_examples=120, deadline=None)
@given(
    window=windows((40, 50)),
    pad=pads,
    thresh=st.sampled_from([-1, 0, 0.0, 0.1, 0.25, 1 / 3, 0.5, 0.999, 1, 2]),
)
def test_annotations_are_those_that_brute_force_finds_in_the_padded_window(crowded, window, pad, thresh):
    target = {"gid": 1, "slices": window, "pad": pad}
    sample = crowded.load_sample(target, visible_thresh=thresh)
    found = sample["annots"]["aids"]
    assert found.tolist() == overlapping(crowded.dset, 1, sample["params"]["sample_tlbr"].data, thresh)


def test_a_touching_annotation_is_found_until_any_of_it_must_show(sampler):
    x, y, width, height = sampler.dset.anns[PLAIN]["bbox"]
    beside = (slice(y, y + height), slice(x + width, x + width + 4))
    for thresh, there in [(0, True), (1e-9, False)]:
        sample = sampler.load_sample({"gid": RGB, "slices": beside}, visible_thresh=thresh)
        assert (PLAIN in sample["annots"]["aids"]) is there


def test_the_visible_share_must_be_exceeded(sampler):
    x, y, width, height = sampler.dset.anns[PLAIN]["bbox"]
    third = (slice(y, y + height), slice(x, x + width // 3))
    for thresh, there in [(1 / 3 - 1e-9, True), (1 / 3, False), (0.3, True), (1, False)]:
        sample = sampler.load_sample({"gid": RGB, "slices": third}, visible_thresh=thresh)
        assert (PLAIN in sample["annots"]["aids"]) is there


def test_annotations_of_other_images_do_not_show(sampler):
    assert sampler.load_sample({"gid": GRAY})["annots"]["aids"].tolist() == [ELSEWHERE]


@pytest.mark.parametrize(
    "ids", [[PLAIN, RLE], [RLE, PLAIN], (RLE,), np.array([HOLES, PLAIN]), [PLAIN, PLAIN]]
)
def test_given_ids_come_in_the_given_order_wherever_they_lie(sampler, ids):
    target = {"gid": RGB, "slices": (slice(0, 2), slice(0, 2))}
    annots = sampler.load_sample(target, annot_ids=ids)["annots"]
    assert annots["aids"].tolist() == list(ids)
    assert_same_geometry(
        geometry(annots["frame_dets"][0]), expected_geometry(sampler.dset, list(ids), np.eye(3))
    )


def test_given_ids_may_be_a_set_or_keys_or_none_at_all(sampler):
    found = sampler.load_sample({"gid": RGB}, annot_ids={RLE, PLAIN})["annots"]["aids"]
    assert sorted(found) == [PLAIN, RLE]
    assert sampler.load_sample({"gid": RGB}, annot_ids={RLE: 1}.keys())["annots"]["aids"].tolist() == [RLE]
    assert sampler.load_sample({"gid": RGB}, annot_ids=[])["annots"]["aids"].tolist() == []


def test_given_ids_of_another_image_are_left_out(sampler):
    assert sampler.load_sample({"gid": RGB}, annot_ids=[ELSEWHERE, PLAIN])["annots"]["aids"].tolist() == [
        PLAIN
    ]


def test_an_annotation_without_a_box_has_the_extent_of_its_polygon(sampler):
    assert NO_BOX in aids_of(sampler)
    assert NO_BOX in aids_of(sampler, slices=(slice(15, 20), slice(15, 20)))
    assert NO_BOX not in aids_of(sampler, slices=(slice(16, 20), slice(15, 20)))
    annots = sampler.load_sample({"gid": RGB, "slices": (slice(2, 9), slice(3, 9))}, annot_ids=[NO_BOX])[
        "annots"
    ]
    assert annots["aids"].tolist() == [NO_BOX]
    assert annots["rel_boxes"].to_ltrb().data.tolist() == [[9, 10, 12, 13]]
    ring = annots["rel_ssegs"].data[0].data[0].data["exterior"].data
    np.testing.assert_array_equal(ring, [[9, 10], [12, 10], [12, 13]])


def test_a_missing_category_is_minus_one(sampler):
    annots = sampler.load_sample({"gid": RGB})["annots"]
    cids = dict(zip(annots["aids"].tolist(), annots["cids"].tolist()))
    assert cids[NO_CATEGORY] == cids[NULL_CATEGORY] == -1
    stated = {aid: sampler.dset.anns[aid].get("category_id") for aid in SHOWN}
    assert {aid: cid for aid, cid in cids.items() if cid != -1} == {a: c for a, c in stated.items() if c}
    assert {cids[PLAIN], cids[OLD_MULTI], cids[OLD_POINTS], cids[EVERYTHING]} == {STAR, SHAPE, FIGURE, CHILD}


def test_annot_idx_is_the_place_of_the_targets_annotation(sampler):
    for aid in BOXED:
        sample = sampler.load_sample({"aid": aid})
        assert sample["annots"]["aids"][sample["target"]["annot_idx"]] == aid
    away = (slice(0, 2), slice(0, 2))
    assert sampler.load_sample({"aid": RLE, "slices": away})["target"]["annot_idx"] == -1
    assert sampler.load_sample({"gid": RGB})["target"]["annot_idx"] == -1
    assert sampler.load_sample({"gid": RGB, "aid": -1})["target"]["annot_idx"] == -1
    chosen = sampler.load_sample({"aid": RLE}, annot_ids=[HOLES, PLAIN, RLE])
    assert chosen["target"]["annot_idx"] == 2


# --- which kinds ---------------------------------------------------------------------------------

EVERY_KIND = [
    True,
    1,
    3,
    np.True_,
    "boxes+segmentation+keypoints",
    "keypoints+segmentation",
    ["segmentation", "keypoints"],
    ("keypoints", "boxes", "segmentation"),
    {"keypoints", "segmentation"},
    np.array(["keypoints", "segmentation"]),
]

FORMS = [
    *((form, {"segmentation", "keypoints"}) for form in EVERY_KIND),
    ("boxes", set()),
    ([], set()),
    ((), set()),
    (["boxes"], set()),
    ({"boxes"}, set()),
    ("segmentation", {"segmentation"}),
    (["keypoints"], {"keypoints"}),
    ("boxes+keypoints", {"keypoints"}),
    (iter(["boxes", "segmentation"]), {"segmentation"}),
]


@pytest.mark.parametrize(("with_annots", "kinds"), FORMS)
def test_with_annots_says_which_kinds_come(sampler, with_annots, kinds):
    annots = sampler.load_sample({"gid": RGB}, with_annots=with_annots)["annots"]
    assert annots["aids"].tolist() == SHOWN
    assert len(annots["rel_boxes"]) == len(annots["cids"]) == len(SHOWN)
    assert len(annots["rel_ssegs"]) == len(annots["rel_kpts"]) == len(SHOWN)
    came = {"segmentation"} if any(sseg is not None for sseg in annots["rel_ssegs"]) else set()
    came |= {"keypoints"} if any(kpts is not None for kpts in annots["rel_kpts"]) else set()
    assert came == kinds


@pytest.mark.parametrize("with_annots", [False, None, 0, "", np.False_])
def test_without_annotations_there_is_no_key_for_them(sampler, with_annots):
    sample = sampler.load_sample({"gid": RGB}, with_annots=with_annots)
    assert list(sample) == ["im", "target", "params", "tr", "classes", "kp_classes"]
    assert "annot_idx" not in sample["target"]


@pytest.mark.parametrize(
    ("with_annots", "named"),
    [
        ("circles", "'circles'"),
        ("boxes + segmentation", "'boxes '"),
        ("boxes+", "''"),
        (["boxes", "masks"], "'masks'"),
        ([["boxes"]], r"\['boxes'\]"),
        ([1], "1"),
        (b"boxes", "98"),
    ],
)
def test_an_unknown_kind_is_an_assertion_error_that_names_it(sampler, with_annots, named):
    message = rf"contains {named}; expected True, False or some of 'boxes', 'keypoints', 'segmentation'"
    with pytest.raises(AnnotKindError, match=message) as caught:
        sampler.load_sample({"gid": RGB}, with_annots=with_annots)
    assert isinstance(caught.value, AssertionError)


@pytest.mark.parametrize("ids", [3, "ab", [None], [1.5], np.array(3), ["1"], [[1]]])
def test_ids_that_are_none_are_refused(sampler, ids):
    with pytest.raises(ArgumentError, match="annot_ids is .*expected a list of annotation ids") as caught:
        sampler.load_sample({"gid": RGB}, annot_ids=ids)
    assert repr(ids) in str(caught.value)


def test_an_unknown_given_id_is_a_key_error_that_names_it(sampler):
    with pytest.raises(UnknownIdError, match=r"id 9999\b") as caught:
        sampler.load_sample({"gid": RGB}, annot_ids=[PLAIN, 9999])
    assert isinstance(caught.value, KeyError)


@pytest.mark.parametrize("thresh", [None, "half", float("nan"), [0.5], {}])
def test_a_share_that_is_no_number_is_refused(sampler, thresh):
    with pytest.raises(ArgumentError, match="visible_thresh is .*expected a number from 0 to 1"):
        sampler.load_sample({"gid": RGB}, visible_thresh=thresh)


def test_the_usual_request_is_made_once():
    assert parse_request(True, None, 0) is parse_request(True, None, 0.0)


# --- what comes back -----------------------------------------------------------------------------


@pytest.mark.parametrize("window", [(slice(None), slice(None)), (slice(-9, -8), slice(-9, -8))])
def test_annotations_have_the_keys_and_types_that_programs_know(sampler, window):
    sample = sampler.load_sample({"gid": RGB, "slices": window})
    annots = sample["annots"]
    assert list(annots) == [
        "aids",
        "cids",
        "rel_frame_index",
        "rel_boxes",
        "rel_ssegs",
        "rel_kpts",
        "frame_dets",
    ]
    count = len(annots["aids"])
    assert count == (len(SHOWN) if window[0].start is None else 0)
    for key in ("aids", "cids", "rel_frame_index"):
        assert annots[key].dtype == np.int64
        assert annots[key].shape == (count,)
    assert not annots["rel_frame_index"].any()
    assert isinstance(annots["rel_boxes"], kwimage.Boxes)
    assert annots["rel_boxes"].format == "xywh"
    assert annots["rel_boxes"].data.dtype == np.float64
    assert annots["rel_boxes"].data.shape == (count, 4)
    assert type(annots["rel_ssegs"]) is kwimage.PolygonList
    assert type(annots["rel_kpts"]) is kwimage.PointsList
    (dets,) = annots["frame_dets"]
    assert list(dets.data) == ["boxes", "keypoints", "segmentations", "aids", "cids"]
    assert list(dets.meta) == ["classes", "gid", "rel_frame_index"]
    assert dets.meta["classes"] is sample["classes"]
    assert (dets.meta["gid"], dets.meta["rel_frame_index"]) == (RGB, 0)
    assert type(dets.data["segmentations"]) is kwimage.SegmentationList
    assert type(dets.data["keypoints"]) is kwimage.PointsList
    np.testing.assert_array_equal(dets.data["aids"], annots["aids"])
    np.testing.assert_array_equal(dets.boxes.data, annots["rel_boxes"].data)


def test_detections_can_be_worked_with(sampler):
    (dets,) = sampler.load_sample({"gid": RGB, "slices": (slice(5, 30), slice(5, 40))})["annots"][
        "frame_dets"
    ]
    assert len(dets.compress(np.arange(len(dets)) % 2 == 0)) == (len(dets) + 1) // 2
    assert len(dets.take([0, 2])) == 2
    assert len(dets.scale(2).translate(3)) == len(dets)


def test_without_legacy_annotations_only_detections_come(sampler):
    sample = sampler.load_sample({"aid": RLE, "legacy_annots": False})
    assert list(sample["annots"]) == ["frame_dets"]
    assert "annot_idx" not in sample["target"]
    expected = sampler.load_sample({"aid": RLE})["annots"]["frame_dets"]
    assert_same_geometry(geometry(sample["annots"]["frame_dets"][0]), geometry(expected[0]))


def test_without_the_legacy_target_there_is_no_tr(sampler):
    sample = sampler.load_sample({"gid": RGB, "legacy_target": False})
    assert list(sample) == ["im", "target", "params", "annots", "classes", "kp_classes"]
    assert sample["target"]["annot_idx"] == -1


def test_an_image_without_annotations_gives_empty_ones(sampler):
    annots = sampler.load_sample({"gid": EMPTY})["annots"]
    assert annots["aids"].dtype == np.int64
    assert len(annots["aids"]) == len(annots["rel_ssegs"]) == len(annots["frame_dets"][0]) == 0


def test_the_annotations_of_a_target_come_without_its_pixels(sampler, monkeypatch):
    targets = [
        {"gid": RGB},
        {"aid": RLE, "scale": 2, "pad": 3},
        {"gid": RGB, "slices": (slice(-9, 9), slice(4))},
    ]
    expected = [sampler.load_sample(target)["annots"] for target in targets]

    def read(*args, **kwargs):
        raise AssertionError("pixels were read")

    monkeypatch.setattr(sampler.frames.reader, "read", read)
    for target, annots in zip(targets, expected):
        found = sampler.load_annots(target)
        assert list(found) == list(annots)
        np.testing.assert_array_equal(found["aids"], annots["aids"])
        assert_same_geometry(geometry(found["frame_dets"][0]), geometry(annots["frame_dets"][0]))
    some = sampler.load_annots({"gid": RGB}, with_annots="boxes", annot_ids=[RLE, PLAIN])
    assert some["aids"].tolist() == [RLE, PLAIN]
    assert list(some["rel_ssegs"]) == [None, None]
    assert list(sampler.load_annots({"gid": RGB, "legacy_annots": False})) == ["frame_dets"]
    shown = sampler.load_annots({"gid": RGB, "slices": (slice(4, 8), slice(3, 6))}, visible_thresh=0.9)
    assert shown["aids"].tolist() == []
    assert sampler.load_annots({"gid": RGB}, with_annots=False)["aids"].tolist() == SHOWN


# --- samples are independent ---------------------------------------------------------------------


def scramble(annots):
    """Overwrite everything that annotations hold."""
    for key in ("aids", "cids", "rel_frame_index"):
        annots[key][:] = 77
    annots["rel_boxes"].data[:] = 77
    for dets in annots["frame_dets"]:
        dets.data["boxes"].data[:] = 77
        dets.data["aids"][:] = 77
    for sseg in annots["rel_ssegs"]:
        for polygon in [] if sseg is None else sseg.data:
            polygon.data["exterior"].data[:] = 77
            for hole in polygon.data["interiors"]:
                hole.data[:] = 77
            polygon.data["interiors"].append("junk")
            polygon.meta["junk"] = 1
        if sseg is not None:
            sseg.meta["junk"] = 1
            sseg.data.append("junk")
    for points in annots["rel_kpts"]:
        if points is not None:
            points.data["xy"].data[:] = 77
            points.data["visible"][:] = 77
            points.data["class_idxs"][:] = 77
            points.data["junk"] = 1
            points.meta["junk"] = 1


@pytest.mark.parametrize("change", [{}, {"scale": 2}, {"slices": (slice(-3, 30), slice(4, 40))}])
@pytest.mark.parametrize("annot_ids", [None, BOXED])
def test_writing_into_a_sample_leaves_the_next_one_alone(fresh, change, annot_ids):
    target = {"gid": RGB, **change}
    before = copy.deepcopy(fresh.dset.dataset["annotations"])
    first = fresh.load_sample(target, annot_ids=annot_ids)
    kept = copy.deepcopy(first["annots"])
    scramble(first["annots"])
    first["im"][...] = 0
    first["params"]["offset"][:] = 77
    first["params"]["tf_rel_to_abs"][:] = 77
    second = fresh.load_sample(target, annot_ids=annot_ids)["annots"]
    for key in ("aids", "cids", "rel_frame_index"):
        np.testing.assert_array_equal(second[key], kept[key])
    assert_same_geometry(geometry(second["frame_dets"][0]), geometry(kept["frame_dets"][0]))
    assert not any("junk" in sseg.meta for sseg in second["rel_ssegs"] if sseg is not None)
    assert not any("junk" in kpts.meta for kpts in second["rel_kpts"] if kpts is not None)
    assert fresh.dset.dataset["annotations"] == before
