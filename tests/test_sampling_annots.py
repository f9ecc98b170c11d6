"""Steps 4 and 5 of a sample: its annotations, against kwimage's detections and brute force."""

from __future__ import annotations

import copy
import pickle

import kwcoco
import kwimage
import numpy as np
import pytest
from helpers_datasets import (
    BOXED,
    CHILD,
    COLUMN_POINTS,
    DIMS,
    ELSEWHERE,
    EMPTY,
    EMPTY_PIECES,
    EVERYTHING,
    FIGURE,
    GRAY,
    HOLES,
    NEW_POINTS,
    NO_BOX,
    NO_CATEGORY,
    NULL_CATEGORY,
    NULL_PIECES,
    OLD_MULTI,
    OLD_POINTS,
    PLAIN,
    RGB,
    RLE,
    SHAPE,
    STAR,
    geometry,
    mask,
    one_image,
    pack_run_lengths,
    run_lengths,
    stills,
)
from helpers_images import random_pixels, write_png
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler import CocoSampler
from ndsampler.errors import AnnotKindError, ArgumentError, UnknownIdError
from ndsampler.sampling.annots import parse_request
from ndsampler.sampling.shapes import GeometryStore

KINDS = ("boxes", "segmentation", "keypoints")

#: How far sample coordinates may be off, in pixels.
TOLERANCE = 1e-6

margins = st.integers(0, 9)
pads = st.one_of(margins, st.tuples(st.tuples(margins, margins), st.tuples(margins, margins)))
scales = st.sampled_from([1, 1.0, 0.5, 2, (0.25, 3), (1, 2.5), 1.1])


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    return CocoSampler(stills(tmp_path_factory.mktemp("stills")).dset)


@pytest.fixture
def fresh(tmp_path):
    """Return a sampler whose dataset may be edited."""
    return CocoSampler(stills(tmp_path).dset)


@pytest.fixture
def make_sampler(tmp_path):
    """Return a function from annotations of one small image to a sampler."""

    def make(*anns, **content):
        path = write_png(tmp_path / "any.png", random_pixels("uint8", 3, (40, 50)))
        dset = one_image(path, (40, 50), [{"id": aid, **ann} for aid, ann in enumerate(anns, 1)])
        if content:
            dset = kwcoco.CocoDataset({**dset.dataset, **content})
        return CocoSampler(dset)

    return make


@st.composite
def windows(draw, dims=DIMS):
    """Return slices anywhere in, across or beside an image."""
    starts = [draw(st.integers(-25, length + 25)) for length in dims]
    return tuple(slice(start, start + draw(st.integers(1, 60))) for start in starts)


def expected_geometry(dset, aids, warp):
    """Return what kwimage makes of annotations, warped by a 3x3 matrix."""
    anns = []
    for aid in aids:
        ann = {key: value for key, value in dset.anns[aid].items() if value not in (None, [])}
        anns.append({"category_id": STAR, **ann})
    dets = kwimage.Detections.from_coco_annots(anns, dset=dset)
    ssegs = [sseg and sseg.to_multi_polygon() for sseg in dets.data["segmentations"]]
    dets.data["segmentations"] = kwimage.PolygonList(ssegs)
    return geometry(dets.warp(kwimage.Affine(np.asarray(warp, float))))


def assert_same_geometry(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours["box"], theirs["box"], atol=TOLERANCE)
        assert (ours["polygons"] is None) == (theirs["polygons"] is None)
        assert (ours["points"] is None) == (theirs["points"] is None)
        if theirs["polygons"] is not None:
            assert len(ours["polygons"]) == len(theirs["polygons"])
            for ring, other in zip(ours["polygons"], theirs["polygons"]):
                np.testing.assert_allclose(ring, other, atol=TOLERANCE)
        if theirs["points"] is not None:
            np.testing.assert_allclose(ours["points"][0], theirs["points"][0], atol=TOLERANCE)
            assert ours["points"][1:] == theirs["points"][1:]


def overlapping(dset, gid, ltrb, thresh=0.0):
    """Return the annotations whose box touches a window, and shows more than a share of itself."""
    found = []
    for aid in sorted(dset.index.gid_to_aids[gid]):
        if dset.anns[aid].get("bbox") is None:
            continue
        x, y, width, height = dset.anns[aid]["bbox"]
        across = min(x + width, ltrb[2]) - max(x, ltrb[0])
        down = min(y + height, ltrb[3]) - max(y, ltrb[1])
        share = across * down / (width * height) if width and height else 0
        if across >= 0 and down >= 0 and (thresh <= 0 or share > thresh):
            found.append(aid)
    return found


def aids_of(sampler, with_annots=True, **target):
    return sampler.load_sample({"gid": RGB, **target}, with_annots=with_annots)["annots"]["aids"].tolist()


# --- geometry ------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(window=windows(), pad=pads, scale=scales)
def test_annotations_are_what_kwimage_makes_of_them_in_sample_coordinates(sampler, window, pad, scale):
    target = {"gid": RGB, "slices": window, "pad": pad, "scale": scale}
    sample = sampler.load_sample(target)
    annots, params = sample["annots"], sample["params"]
    (dets,) = annots["frame_dets"]
    box = params["sample_tlbr"].data
    assert annots["aids"].tolist() == overlapping(sampler.dset, RGB, box)
    to_sample = np.linalg.inv(params["tf_rel_to_abs"])
    sx, sy = np.broadcast_to(np.asarray(scale, float), 2)
    np.testing.assert_allclose(to_sample, [[sx, 0, -sx * box[0]], [0, sy, -sy * box[1]], [0, 0, 1]])
    if len(annots["aids"]):
        assert_same_geometry(geometry(dets), expected_geometry(sampler.dset, annots["aids"], to_sample))


@settings(max_examples=40, deadline=None)
@given(window=windows(), pad=pads, scale=scales)
def test_annotations_come_home_through_tf_rel_to_abs(sampler, window, pad, scale):
    sample = sampler.load_sample({"gid": RGB, "slices": window, "pad": pad, "scale": scale})
    (dets,) = sample["annots"]["frame_dets"]
    if len(dets):
        home = dets.warp(kwimage.Affine(sample["params"]["tf_rel_to_abs"]))
        aids = sample["annots"]["aids"]
        assert_same_geometry(geometry(home), expected_geometry(sampler.dset, aids, np.eye(3)))


def test_the_whole_image_shows_every_kind_of_annotation_as_it_stands(sampler):
    annots = sampler.load_sample({"gid": RGB})["annots"]
    assert annots["aids"].tolist() == BOXED
    found = dict(zip(BOXED, zip(annots["rel_ssegs"], annots["rel_kpts"])))
    with_sseg = {aid for aid, (sseg, _) in found.items() if sseg is not None}
    with_kpts = {aid for aid, (_, kpts) in found.items() if kpts is not None}
    plain = {PLAIN, NO_CATEGORY, NULL_CATEGORY, EMPTY_PIECES, NULL_PIECES}
    assert with_kpts == {OLD_POINTS, NEW_POINTS, COLUMN_POINTS, EVERYTHING}
    assert with_sseg == set(BOXED) - plain - with_kpts | {EVERYTHING}
    assert all(type(found[aid][0]) is kwimage.MultiPolygon for aid in with_sseg)
    assert all(type(found[aid][1]) is kwimage.Points for aid in with_kpts)
    assert len(found[HOLES][0].data[0].data["interiors"]) == 1
    assert len(found[OLD_MULTI][0].data) == 2


def test_keypoints_know_their_categories_and_visibility(sampler):
    annots = sampler.load_sample({"gid": RGB})["annots"]
    points = dict(zip(annots["aids"].tolist(), annots["rel_kpts"]))
    names = sampler.kp_classes.idx_to_node
    named = {
        aid: [names[index] for index in kpts.data["class_idxs"]]
        for aid, kpts in points.items()
        if kpts is not None
    }
    assert named == {
        OLD_POINTS: ["head", "foot", "tail"],
        NEW_POINTS: ["head", "foot"],
        COLUMN_POINTS: ["tail", "head"],
        EVERYTHING: ["head", "foot", "tail"],
    }
    for aid, visible in {OLD_POINTS: [2, 1, 0], NEW_POINTS: [2, 1], COLUMN_POINTS: [1, 2]}.items():
        assert points[aid].data["visible"].tolist() == visible
        assert points[aid].data["visible"].dtype.kind == "i"
        assert points[aid].data["class_idxs"].dtype == np.int64


def test_a_run_length_encoding_covers_its_mask(sampler):
    sample = sampler.load_sample({"gid": RGB, "slices": (slice(10, 37), slice(20, 50))}, annot_ids=[RLE])
    (polygon,) = sample["annots"]["rel_ssegs"]
    drawn = polygon.to_mask(sample["im"].shape[:2]).data.astype(bool)
    truth = mask()[10:37, 20:50].astype(bool)
    assert (drawn & truth).sum() / (drawn | truth).sum() > 0.8


@pytest.mark.parametrize("encode", [str, str.encode])
@settings(deadline=None)
@given(seed=st.integers(0, 30))
def test_compressed_run_lengths_mean_the_same_as_plain_ones(make_sampler_of_masks, encode, seed):
    rng = np.random.default_rng(seed)
    values = np.zeros((40, 50), np.uint8)
    for _ in range(rng.integers(1, 5)):
        y, x = rng.integers(0, 35, 2)
        values[y : y + rng.integers(2, 12), x : x + rng.integers(2, 12)] = rng.integers(0, 2) or 1
    if seed % 2:
        values = 1 - values
    counts = run_lengths(values)
    plain = {"counts": counts, "size": [40, 50]}
    packed = {"counts": encode(pack_run_lengths(counts)), "size": [40, 50]}
    both = make_sampler_of_masks(plain, packed)
    first, second = geometry(both)
    assert len(first["polygons"]) == len(second["polygons"])
    for ring, other in zip(first["polygons"], second["polygons"]):
        np.testing.assert_array_equal(ring, other)


@pytest.fixture(scope="module")
def make_sampler_of_masks(tmp_path_factory):
    """Return a function from segmentations to the detections of a sample that shows them."""
    path = write_png(tmp_path_factory.mktemp("masks") / "any.png", random_pixels("uint8", 3, (40, 50)))

    def make(*ssegs):
        anns = [{"id": aid, "bbox": [0, 0, 50, 40], "segmentation": raw} for aid, raw in enumerate(ssegs, 1)]
        return CocoSampler(one_image(path, (40, 50), anns)).load_sample({"gid": 1})["annots"]["frame_dets"][0]

    return make


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


def test_an_annotation_without_a_box_shows_only_when_it_is_named(sampler):
    assert NO_BOX not in aids_of(sampler)
    annots = sampler.load_sample({"gid": RGB, "slices": (slice(2, 9), slice(3, 9))}, annot_ids=[NO_BOX])[
        "annots"
    ]
    assert annots["aids"].tolist() == [NO_BOX]
    assert np.isnan(annots["rel_boxes"].data).all()
    ring = annots["rel_ssegs"].data[0].data[0].data["exterior"].data
    np.testing.assert_array_equal(ring, [[9, 10], [12, 10], [12, 13]])


def test_a_missing_category_is_minus_one(sampler):
    annots = sampler.load_sample({"gid": RGB})["annots"]
    cids = dict(zip(annots["aids"].tolist(), annots["cids"].tolist()))
    assert cids[NO_CATEGORY] == cids[NULL_CATEGORY] == -1
    stated = {aid: sampler.dset.anns[aid].get("category_id") for aid in BOXED}
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
    assert annots["aids"].tolist() == BOXED
    assert len(annots["rel_boxes"]) == len(annots["cids"]) == len(BOXED)
    assert len(annots["rel_ssegs"]) == len(annots["rel_kpts"]) == len(BOXED)
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
    message = rf"asks for {named}; expected True, False or some of 'boxes', 'keypoints', 'segmentation'"
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
    assert count == (len(BOXED) if window[0].start is None else 0)
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
        found = sampler.load_target_annots(target)
        assert list(found) == list(annots)
        np.testing.assert_array_equal(found["aids"], annots["aids"])
        assert_same_geometry(geometry(found["frame_dets"][0]), geometry(annots["frame_dets"][0]))
    some = sampler.load_target_annots({"gid": RGB}, with_annots="boxes", annot_ids=[RLE, PLAIN])
    assert some["aids"].tolist() == [RLE, PLAIN]
    assert list(some["rel_ssegs"]) == [None, None]
    assert list(sampler.load_target_annots({"gid": RGB, "legacy_annots": False})) == ["frame_dets"]
    shown = sampler.load_target_annots({"gid": RGB, "slices": (slice(4, 8), slice(3, 6))}, visible_thresh=0.9)
    assert shown["aids"].tolist() == []
    assert sampler.load_target_annots({"gid": RGB}, with_annots=False)["aids"].tolist() == BOXED


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


# --- edited datasets -----------------------------------------------------------------------------


def test_an_added_and_a_removed_annotation_are_noticed(fresh):
    assert aids_of(fresh) == BOXED
    aid = fresh.dset.add_annotation(RGB, category_id=STAR, bbox=[1, 1, 2, 2], segmentation=[1, 1, 3, 1, 3, 3])
    sample = fresh.load_sample({"gid": RGB}, annot_ids=[aid])
    assert sample["annots"]["rel_ssegs"].data[0] is not None
    assert set(aids_of(fresh)) == {*BOXED, aid}
    fresh.dset.remove_annotations([aid, RLE])
    assert aids_of(fresh) == [other for other in BOXED if other != RLE]
    with pytest.raises(UnknownIdError, match=str(RLE)):
        fresh.load_sample({"gid": RGB}, annot_ids=[RLE])


def test_replaced_geometry_is_noticed(fresh):
    fresh.load_sample({"gid": RGB})
    fresh.dset.anns[HOLES]["segmentation"] = [[1, 1, 5, 1, 5, 6]]
    fresh.dset.anns[PLAIN]["keypoints"] = [{"xy": [4, 5], "keypoint_category_id": 8}]
    del fresh.dset.anns[OLD_POINTS]["keypoints"]
    annots = fresh.load_sample({"gid": RGB})["annots"]
    assert_same_geometry(geometry(annots["frame_dets"][0]), expected_geometry(fresh.dset, BOXED, np.eye(3)))


def test_geometry_edited_in_place_is_noticed_after_a_refresh(fresh):
    fresh.load_sample({"gid": RGB})
    fresh.dset.anns[OLD_MULTI]["segmentation"][0][0] = -40
    fresh.dset.anns[PLAIN]["bbox"][2] = 30
    fresh.dset.anns[OLD_POINTS]["keypoints"][0] = 99
    fresh.regions.refresh()
    annots = fresh.load_sample({"gid": RGB})["annots"]
    assert_same_geometry(geometry(annots["frame_dets"][0]), expected_geometry(fresh.dset, BOXED, np.eye(3)))


def test_an_annotation_that_moves_to_another_image_goes_there(fresh):
    assert PLAIN in aids_of(fresh)
    ann = fresh.dset.anns[PLAIN]
    fresh.dset.remove_annotations([PLAIN])
    fresh.dset.add_annotation(**{**ann, "image_id": EMPTY})
    assert PLAIN not in aids_of(fresh)
    assert aids_of(fresh, gid=EMPTY) == [PLAIN]


# --- odd and malformed geometry ------------------------------------------------------------------


BOX = {"bbox": [5, 5, 20, 20]}


@pytest.mark.parametrize(
    "piece",
    [
        {"segmentation": [1, 2, 3]},
        {"segmentation": [[1, 2, 3]]},
        {"segmentation": {"counts": [5]}},
        {"segmentation": {"counts": "o", "size": [40, 50]}},
        {"segmentation": {"counts": [10, 5000], "size": [40, 50]}},
        {"segmentation": {"counts": [10], "size": [10**9, 10**9]}},
        {"segmentation": {"counts": "\x01zz", "size": [40, 50]}},
        {"segmentation": "POLYGON of sorts"},
        {"segmentation": 5},
        {"keypoints": [1, 2]},
        {"keypoints": 5},
        {"keypoints": [{"xy": [1, 2], "keypoint_category_id": 77}]},
        {"keypoints": {"x": [1, 2], "y": [1]}},
    ],
)
def test_malformed_geometry_names_its_annotation_and_leaves_the_others_alone(make_sampler, piece):
    sampler = make_sampler(
        {"bbox": [30, 30, 4, 4]}, {**BOX, **piece}, keypoint_categories=[{"id": 1, "name": "x"}]
    )
    with pytest.raises(ArgumentError, match="annotation 2 of image 1 has malformed geometry"):
        sampler.load_sample({"gid": 1})
    assert aids_of(sampler, with_annots="boxes", gid=1) == [1, 2]
    assert aids_of(sampler, gid=1, slices=(slice(31, 33), slice(31, 33))) == [1]


def test_empty_geometry_is_none(make_sampler):
    sampler = make_sampler(
        {**BOX, "segmentation": {}, "keypoints": {}}, {**BOX, "segmentation": (), "keypoints": ()}
    )
    annots = sampler.load_sample({"gid": 1})["annots"]
    assert list(annots["rel_ssegs"]) == list(annots["rel_kpts"]) == [None, None]


def test_old_keypoints_without_named_categories_have_places_only(make_sampler):
    sampler = make_sampler({**BOX, "keypoints": [6, 7, 2, 8, 9, 1]})
    (points,) = sampler.load_sample({"aid": 1})["annots"]["rel_kpts"]
    np.testing.assert_array_equal(points.xy, [[1, 2], [3, 4]])
    assert points.data["visible"].tolist() == [2, 1]
    assert points.data.get("class_idxs") is None


def test_old_keypoints_of_unlisted_names_have_places_only(make_sampler):
    sampler = make_sampler(
        {**BOX, "keypoints": [6, 7, 2]},
        categories=[{"id": 1, "name": "thing", "keypoints": ["nose"]}],
        keypoint_categories=[{"id": 4, "name": "ear"}],
    )
    (points,) = sampler.load_sample({"aid": 1})["annots"]["rel_kpts"]
    np.testing.assert_array_equal(points.xy, [[1, 2]])
    assert points.data.get("class_idxs") is None


@pytest.mark.parametrize("parent", ["thing", "absent"])
def test_old_keypoints_survive_a_category_that_is_its_own_parent_or_has_none(make_sampler, parent):
    categories = [{"id": 1, "name": "thing", "supercategory": parent}]
    sampler = make_sampler({**BOX, "keypoints": [6, 7, 2]}, categories=categories)
    (points,) = sampler.load_target_annots({"aid": 1}, with_annots="keypoints")["rel_kpts"]
    np.testing.assert_array_equal(points.xy, [[1, 2]])


def test_keypoint_categories_may_be_listed_by_the_category_alone(make_sampler):
    sampler = make_sampler(
        {**BOX, "keypoints": [6, 7, 2, 8, 9, 1]},
        categories=[{"id": 1, "name": "thing", "keypoints": ["nose", "ear"]}],
    )
    sample = sampler.load_sample({"aid": 1})
    assert list(sample["kp_classes"]) == ["nose", "ear"]
    assert sample["annots"]["rel_kpts"].data[0].data["class_idxs"].tolist() == [0, 1]


def test_polygons_of_whole_numbers_survive_a_fractional_scale(make_sampler):
    sampler = make_sampler({**BOX, "segmentation": [[5, 5, 25, 5, 25, 25]]})
    (sseg,) = sampler.load_sample({"aid": 1, "scale": 0.25})["annots"]["rel_ssegs"]
    np.testing.assert_allclose(sseg.data[0].data["exterior"].data, [[0, 0], [5, 0], [5, 5]])


# --- the store -----------------------------------------------------------------------------------


def test_the_store_parses_once_and_stays_within_its_bound(sampler, monkeypatch):
    store = GeometryStore(sampler.dset, limit=3)
    parsed = []
    monkeypatch.setattr(
        "ndsampler.sampling.shapes._polygons",
        lambda ann, raw, parse=kwimage.MultiPolygon.coerce: parsed.append(ann["id"]) or parse(raw),
    )
    assert store[HOLES][0] is store[HOLES][0]
    assert parsed == [HOLES]
    for aid in BOXED:
        store[aid]
    assert len(store._known) == 3
    before = len(parsed)
    store[HOLES]
    assert len(parsed) == before + 1


def test_the_store_refuses_an_unknown_annotation(sampler):
    with pytest.raises(UnknownIdError, match="annotation id is 9999; the dataset has no such annotation"):
        GeometryStore(sampler.dset)[9999]


def test_a_pickled_store_parses_anew(sampler):
    store = GeometryStore(sampler.dset, limit=7)
    polygon = store[HOLES][0]
    again = pickle.loads(pickle.dumps(store))
    assert again._known == {}
    assert again._limit == 7
    np.testing.assert_array_equal(
        again[HOLES][0].data[0].data["exterior"].data, polygon.data[0].data["exterior"].data
    )
