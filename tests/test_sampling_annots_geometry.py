"""Geometry of a sample's annotations, against kwimage's detections and brute force."""

from __future__ import annotations

import pickle

import kwcoco
import kwimage
import numpy as np
import pytest
from helpers_datasets import (
    COLUMN_POINTS,
    EMPTY,
    EMPTY_PIECES,
    EVERYTHING,
    HOLES,
    NEW_POINTS,
    NO_CATEGORY,
    NULL_CATEGORY,
    NULL_PIECES,
    OLD_MULTI,
    OLD_POINTS,
    PLAIN,
    RGB,
    RLE,
    SHOWN,
    STAR,
    geometry,
    mask,
    one_image,
    pack_run_lengths,
    run_lengths,
    stills,
)
from helpers_images import random_pixels, write_png
from helpers_samples import (
    aids_of,
    assert_same_geometry,
    expected_geometry,
    overlapping,
    pads,
    scales,
    windows,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler import CocoSampler
from ndsampler.dataset.segmentations import parse_segmentation
from ndsampler.errors import ArgumentError, UnknownIdError
from ndsampler.sampling.shapes import GeometryStore, Shift


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
    assert annots["aids"].tolist() == SHOWN
    found = dict(zip(SHOWN, zip(annots["rel_ssegs"], annots["rel_kpts"])))
    with_sseg = {aid for aid, (sseg, _) in found.items() if sseg is not None}
    with_kpts = {aid for aid, (_, kpts) in found.items() if kpts is not None}
    plain = {PLAIN, NO_CATEGORY, NULL_CATEGORY, EMPTY_PIECES, NULL_PIECES}
    assert with_kpts == {OLD_POINTS, NEW_POINTS, COLUMN_POINTS, EVERYTHING}
    assert with_sseg == set(SHOWN) - plain - with_kpts | {EVERYTHING}
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


# --- edited datasets -----------------------------------------------------------------------------


def test_an_added_and_a_removed_annotation_are_noticed(fresh):
    assert aids_of(fresh) == SHOWN
    aid = fresh.dset.add_annotation(RGB, category_id=STAR, bbox=[1, 1, 2, 2], segmentation=[1, 1, 3, 1, 3, 3])
    sample = fresh.load_sample({"gid": RGB}, annot_ids=[aid])
    assert sample["annots"]["rel_ssegs"].data[0] is not None
    assert set(aids_of(fresh)) == {*SHOWN, aid}
    fresh.dset.remove_annotations([aid, RLE])
    assert aids_of(fresh) == [other for other in SHOWN if other != RLE]
    with pytest.raises(UnknownIdError, match=str(RLE)):
        fresh.load_sample({"gid": RGB}, annot_ids=[RLE])


def test_replaced_geometry_is_noticed(fresh):
    fresh.load_sample({"gid": RGB})
    fresh.dset.anns[HOLES]["segmentation"] = [[1, 1, 5, 1, 5, 6]]
    fresh.dset.anns[PLAIN]["keypoints"] = [{"xy": [4, 5], "keypoint_category_id": 8}]
    del fresh.dset.anns[OLD_POINTS]["keypoints"]
    annots = fresh.load_sample({"gid": RGB})["annots"]
    assert_same_geometry(geometry(annots["frame_dets"][0]), expected_geometry(fresh.dset, SHOWN, np.eye(3)))


def test_geometry_edited_in_place_is_noticed_after_a_refresh(fresh):
    fresh.load_sample({"gid": RGB})
    fresh.dset.anns[OLD_MULTI]["segmentation"][0][0] = -40
    fresh.dset.anns[PLAIN]["bbox"][2] = 30
    fresh.dset.anns[OLD_POINTS]["keypoints"][0] = 99
    fresh.regions.refresh()
    annots = fresh.load_sample({"gid": RGB})["annots"]
    assert_same_geometry(geometry(annots["frame_dets"][0]), expected_geometry(fresh.dset, SHOWN, np.eye(3)))


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
    (points,) = sampler.load_annots({"aid": 1}, with_annots="keypoints")["rel_kpts"]
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


def polygons_of(*outlines: list, holes: tuple = (), dtype: type = np.int64, **meta: object):
    """Return one annotation's polygons; all of them have the same holes."""
    made = [
        kwimage.Polygon(
            exterior=np.array(outline, dtype), interiors=[np.array(hole, dtype) for hole in holes]
        )
        for outline in outlines
    ]
    for polygon in made:
        polygon.meta.update(meta)
    return kwimage.MultiPolygon(made, dict(meta))


SQUARE, SMALL = [[0, 0], [9, 0], [9, 9], [0, 9]], [[2, 2], [3, 2], [3, 3]]


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [None],
        [polygons_of(SQUARE)],
        [polygons_of(SQUARE, SMALL, holes=(SMALL, SMALL), classes=["a"]), None, polygons_of(SMALL)],
        [polygons_of(SQUARE, dtype=np.float64), polygons_of(SMALL), polygons_of()],
        [polygons_of(SMALL, dtype=np.float64), polygons_of(SQUARE, dtype=np.float64, holes=(SMALL,))],
    ],
)
def test_shifted_polygons_are_those_that_kwimage_translates(shapes):
    """The same types, values, types of values and metadata, and nothing shared with the originals."""
    before = pickle.dumps(shapes)
    found = Shift(np.array([-5, 7])).shapes(shapes)
    assert [shape is None for shape in found] == [shape is None for shape in shapes]
    for shape, original in zip(found, shapes):
        if shape is None:
            continue
        expected = original.translate(np.array([-5, 7]))
        assert type(shape) is type(expected)
        assert shape.meta == original.meta
        assert len(shape) == len(original)
        assert vars(shape).keys() == vars(expected).keys()
        for polygon, wanted in zip(shape.data, expected.data):
            assert (type(polygon), polygon.meta) == (type(wanted), wanted.meta)
            assert vars(polygon).keys() == vars(wanted).keys()
            rings, oracles = ([p.data["exterior"], *p.data["interiors"]] for p in (polygon, wanted))
            for ring, oracle in zip(rings, oracles, strict=True):
                assert vars(ring).keys() == vars(oracle).keys()
                assert ring.data.dtype == oracle.data.dtype
                np.testing.assert_array_equal(ring.data, oracle.data)
                ring.data[:] = 0
            polygon.meta["more"] = 1
    assert pickle.dumps(shapes) == before


def test_the_store_parses_once_and_stays_within_its_bound(sampler, monkeypatch):
    store = GeometryStore(sampler.dset, limit=3)
    parsed = []
    monkeypatch.setattr(
        "ndsampler.sampling.shapes.parse_segmentation",
        lambda raw, dims: parsed.append(raw) or parse_segmentation(raw, dims),
    )
    assert store[HOLES][0] is store[HOLES][0]
    assert parsed == [sampler.dset.anns[HOLES]["segmentation"]]
    for aid in SHOWN:
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
