"""The sampler of made-up images: reproducible, true to its annotations, sane about bad input."""

from __future__ import annotations

import copy
import inspect
import pickle

import kwimage
import numpy as np
import pytest
from helpers_processes import check_script
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler.abstract_sampler import AbstractSampler
from ndsampler.errors import ArgumentError, TargetError, UnknownIdError, UnknownOptionError, WindowError
from ndsampler.toydata import DynamicToySampler
from ndsampler.utils.toy_images import DRAWABLE, mix_bits, plan_boxes

MAX_SIDE = 60
MAX_PAD = 15

TARGET_KEYS = {"aid", "gid", "cx", "cy", "width", "height", "category_id", "rel_cx", "rel_cy"}
ANNOT_KEYS = {"aids", "cids", "rel_boxes", "rel_cxywh", "rel_kpts", "rel_ssegs"}

SIZES = st.tuples(st.integers(2, MAX_SIDE), st.integers(2, MAX_SIDE))
MARGINS = st.integers(0, MAX_PAD)
PADS = st.none() | MARGINS | st.tuples(MARGINS, MARGINS)


def small(n_positives=20, seed=0, **kwargs):
    return DynamicToySampler(n_positives, seed=seed, **{"gsize": (48, 36), **kwargs})


def same_samples(first, second):
    same = np.array_equal(first["im"], second["im"]) and first["target"] == second["target"]
    for key in ["aids", "cids", "rel_cxywh"]:
        same = same and np.array_equal(first["annots"][key], second["annots"][key])
    return same


def overlap(box, other):
    (x0, y0, w0, h0), (x1, y1, w1, h1) = box, other
    wide = min(x0 + w0, x1 + w1) - max(x0, x1)
    high = min(y0 + h0, y1 + h1) - max(y0, y1)
    return max(wide, 0) * max(high, 0)


# --- shape of the answers ----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(window_dims=SIZES, pad=PADS, index=st.integers(0, 30), positive=st.booleans())
def test_a_sample_is_its_window_with_the_pad_around_it(window_dims, pad, index, positive):
    sampler = small()
    load = sampler.load_positive if positive else sampler.load_negative
    sample = load(index, pad=pad, window_dims=window_dims)
    target, annots = sample["target"], sample["annots"]
    pad_h, pad_w = (0, 0) if pad is None else pad if isinstance(pad, tuple) else (pad, pad)
    height, width = window_dims[0] + 2 * pad_h, window_dims[1] + 2 * pad_w

    assert sample.keys() == {"im", "target", "annots"}
    assert (sample["im"].shape, sample["im"].dtype) == ((height, width, 3), np.uint8)
    assert target.keys() == TARGET_KEYS
    assert (target["height"], target["width"]) == window_dims
    assert (target["cx"], target["cy"]) == (target["rel_cx"], target["rel_cy"]) == (width / 2, height / 2)

    count = len(annots["aids"])
    assert annots.keys() == ANNOT_KEYS
    assert annots["aids"].dtype == annots["cids"].dtype == np.int64
    assert annots["cids"].shape == (count,)
    assert annots["rel_cxywh"].shape == (count, 4)
    assert isinstance(annots["rel_kpts"], kwimage.PointsList)
    assert isinstance(annots["rel_ssegs"], kwimage.PolygonList)
    assert len(annots["rel_kpts"]) == len(annots["rel_ssegs"]) == len(annots["rel_boxes"]) == count
    np.testing.assert_array_equal(annots["rel_boxes"].to_cxywh().data, annots["rel_cxywh"])
    if count:
        left, top, right, bottom = annots["rel_boxes"].to_ltrb().data.T
        assert left.min() >= 0
        assert top.min() >= 0
        assert right.max() <= width
        assert bottom.max() <= height


@settings(max_examples=40, deadline=None)
@given(window_dims=SIZES, margins=st.tuples(MARGINS, MARGINS, MARGINS, MARGINS), index=st.integers(0, 30))
def test_a_positive_has_an_object_at_the_centre_of_its_window(window_dims, margins, index):
    top, bottom, left, right = margins
    sample = small().load_positive(index, pad=((top, bottom), (left, right)), window_dims=window_dims)
    target, annots = sample["target"], sample["annots"]
    assert (target["cx"], target["cy"]) == (left + window_dims[1] / 2, top + window_dims[0] / 2)
    np.testing.assert_allclose(annots["rel_cxywh"][0, :2], [target["cx"], target["cy"]], atol=0.5)
    assert target["aid"] == annots["aids"][0]
    assert target["category_id"] == annots["cids"][0]


@settings(max_examples=40, deadline=None)
@given(index=st.integers(0, 1000))
def test_a_negative_has_no_object_at_the_centre_of_its_window(index):
    sampler = small()
    sample = sampler.load_negative(index)
    target = sample["target"]
    middle = (target["cx"] - 1, target["cy"] - 1, 2, 2)
    boxes = sample["annots"]["rel_boxes"].to_xywh().data
    assert not any(overlap(box, middle) for box in boxes)
    assert (target["aid"], target["category_id"]) == (-1, sampler.BACKGROUND_CLASS_ID)


@settings(max_examples=60, deadline=None)
@given(
    dims=st.tuples(st.integers(20, 100), st.integers(20, 100)),
    count=st.integers(0, 16),
    with_center=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_objects_are_apart_and_as_many_as_asked_for(dims, count, with_center, seed):
    count = max(count, int(with_center))
    center = (dims[1] / 2, dims[0] / 2)
    boxes = plan_boxes(np.random.RandomState(seed), dims, center, count, with_center)
    assert len(boxes) == count
    for place, box in enumerate(boxes):
        assert not any(overlap(box, other) for other in boxes[:place])


@pytest.mark.filterwarnings("ignore:`square` is deprecated:FutureWarning")
def test_the_annotations_lie_on_what_is_drawn():
    # An object is brighter than the noise around it.
    sample = DynamicToySampler(4, seed=0, categories=["box"]).load_positive(0)
    gray = sample["im"][..., 0] / 255
    inside = np.zeros(gray.shape, dtype=bool)
    for poly in sample["annots"]["rel_ssegs"]:
        inside |= poly.to_mask(dims=gray.shape).data.astype(bool)
    assert gray[inside].mean() > gray[~inside].mean() + 0.3


@pytest.mark.parametrize("name", DRAWABLE)
@pytest.mark.parametrize("window_dims", [(2, 2), (2, 40), (3, 5), (64, 64)])
@pytest.mark.filterwarnings("ignore:`square` is deprecated:FutureWarning")
def test_every_shape_can_be_drawn_in_every_size(name, window_dims):
    sampler = small(categories=[name])
    sample = sampler.load_positive(0, window_dims=window_dims)
    assert sample["target"]["category_id"] == sampler.lookup_class_id(name)


def test_keypoints_are_points_with_names():
    sampler = small(categories=["superstar", "star"])
    sample = sampler.load_positive(0, window_dims=(200, 200))
    superstar = sampler.lookup_class_id("superstar")
    points = sample["annots"]["rel_kpts"]
    assert points.meta["classes"] == ["left_eye", "right_eye"]
    for cid, one, box in zip(sample["annots"]["cids"], points, sample["annots"]["rel_boxes"], strict=True):
        assert isinstance(one, kwimage.Points)
        assert len(one) == (2 if cid == superstar else 0)
        left, top, right, bottom = box.to_ltrb().data
        for x, y in one.xy:
            assert left <= x <= right
            assert top <= y <= bottom
    # Geometry that can be moved and drawn, as the annotations of any sample.
    assert len(points.translate((1, 1)).scale(2)) == len(points)
    points.draw_on(sample["im"].copy(), radius=2)


# --- seeds -------------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_samples_and_others_differ():
    for index in [0, 7, 19]:
        assert same_samples(small(seed=3).load_positive(index), small(seed=3).load_positive(index))
        assert same_samples(small(seed=3).load_negative(index), small(seed=3).load_negative(index))
        assert not same_samples(small(seed=3).load_positive(index), small(seed=4).load_positive(index))


def test_equal_seeds_draw_the_same_sequence():
    def sequence(sampler):
        calls = [sampler.load_positive, sampler.load_negative, sampler.load_positive]
        return [call()["target"] for call in calls] + [sampler.load_image().tolist()]

    assert sequence(small(seed=3)) == sequence(small(seed=3)) != sequence(small(seed=4))


def test_a_number_and_a_generator_of_it_are_the_same_seed():
    assert same_samples(small(seed=3).load_item(5), small(seed=np.random.RandomState(3)).load_item(5))
    sampler = small()
    for load in [sampler.load_positive, sampler.load_negative]:
        assert same_samples(load(rng=3), load(rng=np.random.RandomState(3)))
    np.testing.assert_array_equal(sampler.load_image(rng=3), sampler.load_image(rng=3))


def test_a_draw_is_the_documented_one():
    sampler = small(n_positives=20)
    drawn = np.random.RandomState(5).randint(0, 20)
    assert same_samples(sampler.load_positive(rng=5), sampler.load_positive(drawn))


def test_without_a_seed_images_differ_from_sampler_to_sampler():
    first, second = (DynamicToySampler(5, gsize=(48, 36)) for _ in range(2))
    assert not np.array_equal(first.load_image(0), second.load_image(0))


def test_indexes_give_different_images():
    sampler = small()
    images = [sampler.load_item(index)["im"].tobytes() for index in range(40)]
    assert len(set(images)) == 40


def test_the_same_picture_is_drawn_in_another_process():
    code = (
        "from ndsampler.toydata import DynamicToySampler\n"
        "import hashlib\n"
        "im = DynamicToySampler(20, seed=0, gsize=(48, 36)).load_positive(3)['im']\n"
        "print(hashlib.sha256(im.tobytes()).hexdigest())\n"
    )
    assert len({check_script(code, env={"PYTHONHASHSEED": seed}) for seed in ("1", "2")}) == 1


def test_copies_and_pickles_give_the_same_samples():
    sampler = small()
    for other in [pickle.loads(pickle.dumps(sampler)), copy.copy(sampler), copy.deepcopy(sampler)]:
        assert same_samples(other.load_item(7), sampler.load_item(7))
    assert same_samples(copy.deepcopy(sampler).load_positive(), sampler.load_positive())


def test_what_it_depends_on_tells_samplers_apart():
    assert small()._depends() == small()._depends()
    others = [small(seed=1), small(n_positives=3), small(gsize=(10, 10)), small(categories=["star"])]
    assert all(other._depends() != small()._depends() for other in others)


def test_mixed_bits_are_spread_and_the_streams_differ():
    values = np.arange(2000)
    streams = [mix_bits(key, values, stream) for key in [0, 1, 2**31 - 1] for stream in [0, 1]]
    assert len(np.unique(np.concatenate(streams))) == 6 * len(values)
    bits = np.unpackbits(np.concatenate(streams).view(np.uint8))
    assert abs(bits.mean() - 0.5) < 0.01


# --- numbers and names -------------------------------------------------------------------------------


@pytest.mark.parametrize("n_positives", [0, 1, 7])
def test_counts_are_those_of_the_images(n_positives):
    sampler = small(n_positives=n_positives)
    assert sampler.image_ids == list(range(2 * n_positives))
    assert sampler.n_images == len(sampler.image_ids)
    assert sampler.n_positives == n_positives
    annots = [ann for gid in sampler.image_ids for ann in sampler.load_image_with_annots(gid)[1]]
    assert sampler.n_annots == len(annots)
    assert len({ann["id"] for ann in annots}) == len(annots)
    assert min((ann["id"] for ann in annots), default=1) == 1
    assert len(sampler) == sampler.n_images
    assert sampler


def test_items_are_positives_first_and_negatives_after():
    sampler = small(n_positives=4)
    aids = [sampler.load_item(index)["target"]["aid"] for index in range(8)]
    assert [aid >= 1 for aid in aids] == [True] * 4 + [False] * 4
    assert aids[0] == 1
    assert same_samples(sampler.load_item(1, pad=3), sampler.load_positive(1, pad=3))
    assert same_samples(
        sampler.load_item(5, window_dims=(9, 8)), sampler.load_negative(1, window_dims=(9, 8))
    )


def test_an_image_is_the_sample_of_its_id():
    sampler = small()
    for load in [sampler.load_positive, sampler.load_negative]:
        sample = load(6)
        img, anns = sampler.load_image_with_annots(sample["target"]["gid"])
        np.testing.assert_array_equal(img["imdata"], sample["im"])
        np.testing.assert_array_equal(sampler.load_image(img["id"]), sample["im"])
        assert (img["height"], img["width"], img["channels"]) == (36, 48, "rgb")
        assert [ann["id"] for ann in anns] == sample["annots"]["aids"].tolist()
        boxes = kwimage.Boxes(np.reshape([ann["bbox"] for ann in anns], (-1, 4)).astype(float), "xywh")
        np.testing.assert_array_equal(boxes.to_cxywh().data, sample["annots"]["rel_cxywh"])
        assert all(ann["image_id"] == img["id"] for ann in anns)
        assert all(sampler.lookup_class_name(ann["category_id"]) == ann["category_name"] for ann in anns)


def test_a_target_gives_its_sample_again():
    sampler = small()
    for index in [2, 30]:
        sample = sampler.load_item(index, pad=(2, 3), window_dims=(20, 30))
        tr = {**sample["target"], "mine": 1}
        before = dict(tr)
        again = sampler.load_sample(tr, pad=(2, 3))
        assert again["target"].pop("mine") == 1
        assert same_samples(again, sample)
        assert tr == before
        assert sampler.load_sample(tr, window_dims=(9, 8))["im"].shape == (9, 8, 3)
    assert sampler.load_sample({"gid": 3})["im"].shape == (36, 48, 3)


def test_preselect_counts_whatever_it_is_asked_for():
    sampler = small(n_positives=71)
    assert sampler.preselect() == (71, 71)
    assert sampler.preselect(n_pos=5) == (71, 71)
    assert sampler.preselect(n_pos=5, n_neg=7) == (71, 7)
    assert sampler.preselect(n_neg=0) == (71, 0)
    assert sampler.preselect(neg_to_pos_ratio=0.5) == (71, 35)
    assert sampler.preselect(n_neg=4, neg_to_pos_ratio=0.5, window_dims=(3, 3), rng=0, verbose=1) == (71, 4)


def test_categories_are_the_default_shapes_and_the_background():
    sampler = small()
    assert sampler.n_categories == len(sampler.class_ids) == 4
    assert [sampler.lookup_class_name(cid) for cid in sampler.class_ids] == [
        "star",
        "eff",
        "superstar",
        "background",
    ]
    assert [
        sampler.lookup_class_id(sampler.lookup_class_name(cid)) for cid in sampler.class_ids
    ] == sampler.class_ids
    assert (
        sampler.classes.idx_to_node
        == sampler.catgraph.idx_to_node
        == ["star", "eff", "superstar", "background"]
    )
    assert sampler.classes.node_to_id["background"] == sampler.BACKGROUND_CLASS_ID == 0
    assert sampler.classes.is_mutex()


def test_categories_may_be_names_or_coco_categories():
    assert [small().lookup_class_id(name) for name in ["star", "eff"]] == small(
        categories=["star", "eff"]
    ).class_ids[:2]
    given = [
        {"name": "star", "id": 0},
        {"name": "eff", "id": 9, "keypoints": ["top_tip", "mid_tip", "bot_tip"]},
    ]
    sampler = small(categories=given)
    assert sampler.class_ids == [0, 9, 1]
    assert sampler.BACKGROUND_CLASS_ID == 1
    assert {sampler.load_positive(i)["target"]["category_id"] for i in range(20)} == {0, 9}
    assert small(categories=[*given, {"name": "background", "id": 4}]).class_ids == [0, 9, 4]


# --- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dims", [(1, 5), (0, 5), (-3, 5), (2.5, 5), ("a", 5), (np.nan, 5), 5, "square", (1, 2, 3), (10**9, 10**9)]
)
def test_a_window_that_cannot_be_is_refused(dims):
    with pytest.raises(WindowError, match="window_dims"):
        small().load_positive(0, window_dims=dims)
    with pytest.raises(WindowError, match="gsize"):
        small(gsize=dims[::-1] if isinstance(dims, tuple) else (dims,))


@pytest.mark.parametrize("pad", [-1, (1, -1), "x", (1, 2, 3), 0.5])
def test_a_pad_that_cannot_be_is_refused(pad):
    with pytest.raises(WindowError, match="pad"):
        small().load_negative(0, pad=pad)


def test_a_pad_that_would_not_fit_into_memory_is_refused():
    with pytest.raises(WindowError, match="Use a smaller window"):
        small().load_negative(0, pad=10**6)


@pytest.mark.parametrize("index", [-1, 2.5, "a"])
def test_an_index_that_cannot_be_is_refused(index):
    sampler = small()
    for load in [sampler.load_item, sampler.load_positive, sampler.load_negative, sampler.load_image]:
        with pytest.raises(UnknownIdError, match="expected a whole number of 0 or more"):
            load(index)
    with pytest.raises(UnknownIdError, match="gid is"):
        sampler.load_sample({"gid": index})


def test_bad_construction_and_lookups_say_what_was_expected():
    with pytest.raises(ArgumentError, match="n_positives is -1"):
        small(n_positives=-1)
    with pytest.raises(UnknownOptionError, match=r"named \['nope'\]; expected some of"):
        small(categories=["star", "nope"])
    for none in [[], ["background"]]:
        with pytest.raises(ArgumentError, match="expected at least one shape"):
            small(categories=none)
    with pytest.raises(UnknownIdError, match="no category has the id 99"):
        small().lookup_class_name(99)
    with pytest.raises(UnknownIdError, match="no category has the name 'nope'"):
        small().lookup_class_id("nope")
    with pytest.raises(TargetError, match="expected a gid"):
        small().load_sample({"cx": 3})


def test_a_sampler_of_nothing_draws_nothing_and_still_makes_what_is_named():
    sampler = small(n_positives=0)
    for load in [sampler.load_positive, sampler.load_negative, sampler.load_image]:
        with pytest.raises(ArgumentError, match="with 0 positives"):
            load()
    assert sampler.load_negative(0)["im"].shape == (36, 48, 3)


def test_signatures_are_the_documented_ones():
    def names(function):
        return [str(p).split(":")[0] for p in inspect.signature(function).parameters.values()]

    assert issubclass(DynamicToySampler, AbstractSampler)
    assert names(DynamicToySampler.__init__) == ["self", "n_positives", "seed", "gsize", "categories"]
    assert names(DynamicToySampler.load_item) == ["self", "index", "pad", "window_dims"]
    assert names(DynamicToySampler.load_sample) == ["self", "tr", "pad", "window_dims"]
    assert names(DynamicToySampler.load_image) == ["self", "image_id", "rng"]
    assert names(DynamicToySampler.load_image_with_annots) == ["self", "image_id", "rng"]
    for load in [DynamicToySampler.load_positive, DynamicToySampler.load_negative]:
        assert names(load) == ["self", "index", "pad", "window_dims", "rng"]
    preselect = ["self", "n_pos", "n_neg", "neg_to_pos_ratio", "window_dims", "rng", "verbose"]
    assert names(DynamicToySampler.preselect) == preselect
    defaults = inspect.signature(DynamicToySampler).parameters
    assert (defaults["n_positives"].default, defaults["gsize"].default) == (100000.0, (416, 416))
