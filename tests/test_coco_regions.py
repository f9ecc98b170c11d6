"""Pools of targets: what they hold, how they are chosen, and that none of it grows stale."""

from __future__ import annotations

import copy
import logging
import pickle

import kwarray
import kwcoco
import kwimage
import numpy as np
import pytest
from helpers_pools import GIDS, intersection, ltrb_of, make_dataset, random_dataset, sql_view, touches
from helpers_processes import check_script
from hypothesis import given, settings
from hypothesis import strategies as st

import ndsampler.coco_regions
from ndsampler import errors
from ndsampler.coco_regions import CocoRegions, Targets, select_positive_regions, tabular_coco_targets
from ndsampler.isect_indexer import FrameIntersectionIndex
from ndsampler.pools import targets as pool_targets

TARGET_KEYS = ["aid", "gid", "category_id", "cx", "cy", "width", "height", "img_width", "img_height"]
NEGATIVE_KEYS = ["gid", "aid", "cx", "cy", "width", "height", "img_width", "img_height", "category_id"]


@pytest.fixture
def dset():
    made = random_dataset(np.random.RandomState(0), per_image=6)
    made.add_annotation(image_id=GIDS[0], category_id=1)
    return made


@pytest.fixture
def regions(dset):
    return CocoRegions(dset)


def test_targets_are_the_annotations_with_boxes_in_the_order_of_the_dataset(dset):
    targets = tabular_coco_targets(dset)
    anns = [ann for ann in dset.anns.values() if ann.get("bbox")]
    assert isinstance(targets, kwarray.DataFrameArray)
    assert list(targets.keys()) == TARGET_KEYS
    assert [targets[key].dtype.name for key in TARGET_KEYS] == ["int32"] * 3 + ["float32"] * 4 + ["int32"] * 2
    assert targets["aid"].tolist() == [ann["id"] for ann in anns]
    assert targets["gid"].tolist() == [ann["image_id"] for ann in anns]
    boxes = np.array([ann["bbox"] for ann in anns])
    np.testing.assert_allclose(targets["cx"], boxes[:, 0] + boxes[:, 2] / 2, rtol=1e-6)
    np.testing.assert_allclose(targets["height"], boxes[:, 3], rtol=1e-6)
    assert set(targets["img_width"].tolist()) == {100}


def test_an_annotation_without_category_is_a_target_all_the_same():
    dset = make_dataset({1: [[0, 0, 5, 5]]})
    dset.anns[1]["category_id"] = None
    assert CocoRegions(dset).get_positive(0)["category_id"] == -1


def test_an_image_without_size_is_named_until_it_has_one():
    dset = make_dataset({1: [[0, 0, 5, 5]], 2: []})
    del dset.imgs[1]["width"], dset.imgs[2]["width"]
    regions = CocoRegions(dset)
    assert regions.find_aids(1, (0, 0, 9, 9)).tolist() == [1]
    with pytest.raises(errors.MissingSourceError, match="image 1 has no width and height"):
        _ = regions.targets
    with pytest.raises(errors.MissingSourceError, match="image 1 has no width and height"):
        regions.preselect(n_pos=0, n_neg=1, window_dims=(5, 5))
    dset.imgs[1]["width"] = dset.imgs[2]["width"] = 70
    assert regions.targets["img_width"].tolist() == [70]
    assert regions.preselect(n_neg=1, window_dims=(5, 5), rng=0) == (1, 1)


def test_facts_are_those_of_the_dataset(dset):
    dset.add_category("background", id=17)
    dset.add_category("early", id=2)
    regions = CocoRegions(dset)
    assert regions.class_ids == [1, 17, 2]
    assert regions.image_ids == sorted(GIDS)
    assert (regions.n_annots, regions.n_images, regions.n_categories) == (19, 3, 3)
    assert regions.BACKGROUND_CLASS_ID == 17
    assert CocoRegions(make_dataset({1: []})).BACKGROUND_CLASS_ID == 0
    assert regions.catgraph is regions.classes
    assert regions.lookup_class_id("early") == 2
    assert regions.lookup_class_name(17) == "background"
    with pytest.raises(errors.UnknownIdError, match="no category has the id 99"):
        regions.lookup_class_name(99)
    with pytest.raises(errors.UnknownIdError, match="no category has the name 'zz'"):
        regions.lookup_class_id("zz")


@given(
    corner=st.tuples(st.integers(-10, 90), st.integers(-10, 70)),
    size=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    thresh=st.sampled_from([0.0, 0.1, 0.5, 0.99]),
    gid=st.sampled_from(GIDS),
)
@settings(max_examples=60, deadline=None)
def test_what_a_region_shows_is_what_a_loop_finds(corner, size, thresh, gid):
    dset = random_dataset(np.random.RandomState(3), per_image=10)
    regions = CocoRegions(dset)
    query = (*corner, corner[0] + size[0], corner[1] + size[1])
    expected = []
    for aid, box in ltrb_of(dset, gid).items():
        whole = (box[2] - box[0]) * (box[3] - box[1])
        if touches(box, query) and (thresh == 0 or intersection(box, query) > thresh * whole):
            expected.append(aid)
    found = regions.find_aids(gid, query, thresh)
    assert found.dtype == np.int64
    assert found.tolist() == expected
    box = kwimage.Boxes([list(query)], "ltrb")
    assert regions.overlapping_aids(gid, box, visible_thresh=thresh) == expected


def test_several_regions_show_what_any_of_them_shows(regions):
    boxes = kwimage.Boxes([[0, 0, 30, 30], [50, 40, 90, 80]], "ltrb")
    single = [regions.overlapping_aids(GIDS[0], boxes[[i]], 0.3) for i in range(2)]
    assert regions.overlapping_aids(GIDS[0], boxes, 0.3) == sorted({*single[0], *single[1]})


def test_an_unknown_image_is_an_error(regions):
    with pytest.raises(errors.UnknownIdError, match="no image has the id 99"):
        regions.find_aids(99, (0, 0, 1, 1))


def test_segmentations_come_as_polygons_or_not_at_all():
    dset = make_dataset({1: [[0, 0, 20, 20]] * 3}, sizes={1: (20, 20)})
    dset.anns[1]["segmentation"] = [[0, 0, 10, 0, 10, 10]]
    mask = kwimage.Mask.random(shape=(20, 20), rng=0)
    dset.anns[2]["segmentation"] = mask.to_coco(style="new")
    polygon, from_mask, nothing = CocoRegions(dset).get_segmentations([1, 2, 3])
    assert isinstance(polygon, kwimage.MultiPolygon)
    assert polygon.to_shapely().area == 50
    np.testing.assert_array_equal(from_mask.to_mask((20, 20)).data, mask.data)
    assert nothing is None
    with pytest.raises(errors.UnknownIdError, match="no annotation has the id 9"):
        CocoRegions(dset).get_segmentations([9])


# --- the pool ---------------------------------------------------------------


def test_without_preselection_the_pool_is_all_positives(regions):
    assert (regions.n_positives, regions.n_negatives, regions.n_samples) == (18, 0, 18)
    assert regions.get_item(3) == regions.get_positive(3) == regions.targets.iloc[3]
    assert list(regions.get_item(0)) == TARGET_KEYS


def test_random_targets_are_the_rows_that_the_seed_draws(regions):
    regions.preselect(n_neg=4, window_dims=(5, 5), rng=0)
    for seed in range(5):
        row = kwarray.ensure_rng(seed).randint(0, 18)
        assert regions.get_positive(rng=seed) == regions.targets.iloc[row]
        row = kwarray.ensure_rng(seed).randint(0, 22)
        assert regions.get_item(None, rng=seed) == regions.get_item(row)


def test_positives_come_first_then_negatives(regions):
    assert regions.preselect(n_pos=4, n_neg=3, window_dims=(6, 5), rng=0) == (4, 3)
    assert [regions.get_item(i) for i in range(4)] == [regions.get_positive(i) for i in range(4)]
    assert [regions.get_item(4 + i) for i in range(3)] == [regions.get_negative(i) for i in range(3)]
    for index in (7, 100):
        with pytest.raises(IndexError):
            regions.get_item(index)


def test_negatives_are_targets_of_the_background(regions):
    regions.preselect(n_neg=5, window_dims=(6, 5), rng=0)
    for i in range(5):
        negative = regions.get_negative(i)
        assert list(negative) == NEGATIVE_KEYS
        assert (negative["aid"], negative["category_id"]) == (-1, 0)
        assert (negative["height"], negative["width"]) == (6, 5)
        assert (negative["img_width"], negative["img_height"]) == (100, 80)
        assert negative["gid"] in GIDS


def test_a_negative_that_a_program_changes_stays_as_it_was_in_the_pool(regions, monkeypatch):
    monkeypatch.setattr(pool_targets, "_MAX_CACHED", 2)
    regions.preselect(n_neg=4, window_dims=(6, 5), rng=0)
    before = [dict(regions.get_negative(i)) for i in range(4)]
    for i in range(4):
        regions.get_negative(i).update(cx=-5, extra=1)
    for again in (regions, pickle.loads(pickle.dumps(regions))):
        assert [again.get_negative(i) for i in range(4)] == before
        assert [again.get_negative(np.int64(i - 4)) for i in range(4)] == before


def test_negatives_keep_off_annotations_while_there_is_room(dset, regions):
    regions.preselect(n_neg=30, window_dims=(6, 5), rng=0)
    for i in range(30):
        neg = regions.get_negative(i)
        x, y = neg["cx"] - 2.5, neg["cy"] - 3
        window = (x, y, x + 5, y + 6)
        assert not any(intersection(window, box) > 1e-9 for box in ltrb_of(dset, neg["gid"]).values())


def test_where_there_is_no_room_negatives_lie_partly_on_annotations():
    tiles = [(x, y, 10, 10) for x in range(0, 100, 10) for y in range(0, 80, 10)]
    regions = CocoRegions(make_dataset({1: tiles}))
    assert regions.preselect(n_neg=3, window_dims=(30, 30), rng=0) == (80, 0)
    regions = CocoRegions(make_dataset({1: [tile for tile in tiles if tile[0] % 30 != 10 or tile[1] % 40]}))
    assert regions.preselect(n_neg=3, window_dims=(11, 11), rng=0)[1] == 3


def test_windows_larger_than_every_image_find_nothing(regions):
    assert regions.preselect(n_neg=2, window_dims=(700, 700)) == (18, 0)


def test_without_a_window_negatives_take_after_targets():
    regions = CocoRegions(make_dataset({1: [[0, 0, 20, 8], [30, 40, 40, 20]]}, sizes={1: (100, 100)}))
    regions.preselect(n_neg=20, rng=0)
    sizes = {(regions.get_negative(i)["width"], regions.get_negative(i)["height"]) for i in range(20)}
    np.testing.assert_allclose(sorted(sizes), [(20, 8), (40, 20)], rtol=1e-6)


def test_anchors_are_shares_of_the_smaller_side_in_the_order_of_seed_zero(dset, regions):
    boxes = np.array([ann["bbox"] for ann in dset.anns.values() if ann.get("bbox")], float)
    expected = boxes[:, 2:] / 80
    kwarray.ensure_rng(0).shuffle(expected)
    np.testing.assert_allclose(regions.neg_anchors, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "counts"),
    [
        ({}, (18, 0)),
        ({"n_pos": 5}, (5, 0)),
        ({"n_pos": 50}, (18, 0)),
        ({"n_pos": 0}, (0, 0)),
        ({"neg_to_pos_ratio": 0.3}, (18, 5)),
        ({"n_pos": 7, "neg_to_pos_ratio": 0.5}, (7, 3)),
        ({"n_pos": 3, "window_dims": (9, 9)}, (3, 0)),
        ({"n_neg": 4, "window_dims": "extent"}, (18, 4)),
    ],
)
def test_preselection_gives_what_it_is_asked_for(regions, kwargs, counts):
    assert regions.preselect(rng=0, **kwargs) == counts
    assert (regions.n_positives, regions.n_negatives) == counts


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_neg": 2, "neg_to_pos_ratio": 1.0}, "Cannot specify both neg_to_pos_ratio=1.0 and n_neg=2"),
        ({"n_pos": -1}, "n_pos=-1"),
        ({"neg_to_pos_ratio": -1}, "neg_to_pos_ratio=-1"),
        ({"n_neg": 1, "window_dims": 5}, "window_dims is 5"),
        ({"n_neg": 1, "window_dims": (5, 0)}, "window_dims is \\(5, 0\\)"),
    ],
)
def test_preselection_refuses_what_makes_no_sense(regions, kwargs, message):
    with pytest.raises(errors.ArgumentError, match=message):
        regions.preselect(**kwargs)


def test_few_positives_are_chosen_by_coverage_when_windows_are_given(regions):
    regions.preselect(n_pos=2, window_dims=(20, 20), rng=0)
    chosen = [regions.get_positive(i) for i in range(2)]
    apart = [abs(chosen[0][c] - chosen[1][c]) >= 20 for c in ("cx", "cy")]
    assert chosen[0]["gid"] != chosen[1]["gid"] or any(apart)


def test_the_same_seed_preselects_the_same_pool(dset):
    pools = []
    for rng in (3, np.random.RandomState(3)):
        regions = CocoRegions(dset)
        regions.preselect(n_pos=5, n_neg=5, window_dims=(7, 7), rng=rng)
        pools.append([regions.get_item(i) for i in range(10)])
    assert pools[0] == pools[1]


@pytest.mark.slow
def test_the_same_seed_preselects_the_same_pool_in_any_process():
    program = (
        "import numpy as np\n"
        "from helpers_pools import random_dataset\n"
        "from ndsampler.coco_regions import CocoRegions\n"
        "regions = CocoRegions(random_dataset(np.random.RandomState(0), 12))\n"
        "regions.preselect(n_pos=9, n_neg=9, window_dims=(12, 9), rng=3)\n"
        "print([sorted(regions.get_item(i).items()) for i in range(18)], regions.neg_anchors.tolist())\n"
        "print(regions.new_sample_grid('image_detection', (30, 20), 0.1))\n"
    )
    outputs = {check_script(program, env={"PYTHONHASHSEED": seed}) for seed in ("1", "2")}
    assert len(outputs) == 1
    assert outputs.pop().strip()


def test_negatives_without_index_come_one_after_another_and_then_anew(regions):
    regions.preselect(n_neg=3, window_dims=(6, 5), rng=0)
    pool = [regions.get_negative(i) for i in range(3)]
    assert [regions.get_negative() for _ in range(3)] == pool
    further = [regions.get_negative(rng=1) for _ in range(3)]
    assert regions.n_negatives == 3
    assert [regions.get_negative(i) for i in range(3)] == pool
    assert all(negative not in pool for negative in further)
    assert {(negative["height"], negative["width"]) for negative in further} == {(6, 5)}


def test_a_negative_can_be_had_without_a_pool_but_not_counted(regions):
    assert regions.get_negative(rng=3) == regions.get_negative(rng=3)
    assert regions.n_negatives == 0
    for ask in (regions.get_negative, lambda i: regions.get_item(i + 18)):
        with pytest.raises(errors.MissingNegativePool, match="preselect"):
            ask(0)
    assert ndsampler.coco_regions.MissingNegativePool is errors.MissingNegativePool
    regions.preselect()
    assert regions.get_negative(rng=3)["aid"] == -1


def test_an_empty_dataset_has_an_empty_pool():
    regions = CocoRegions(kwcoco.CocoDataset())
    assert (regions.preselect(), len(regions.targets), regions.neg_anchors.shape) == ((0, 0), 0, (0, 2))
    for ask in (regions.get_positive, regions.get_negative):
        with pytest.raises(ValueError, match="there are none|no annotation has a box"):
            ask()
    with pytest.raises(IndexError):
        regions.get_item(0)


def test_the_interface_holds_no_targets():
    targets = Targets()
    assert targets.get_positive(3) is None
    assert targets.get_negative() is None
    for ask in (lambda: targets.overlapping_aids(1, None), targets.preselect):
        with pytest.raises(NotImplementedError):
            ask()


def test_an_unknown_task_has_no_grid(regions):
    with pytest.raises(NotImplementedError, match="'image_classification'"):
        regions.new_sample_grid("image_classification", (5, 5))
    assert len(regions.new_sample_grid("image_detection", (40, 50), use_annots=False)["targets"]) == 12


# --- selection --------------------------------------------------------------


@given(
    seed=st.integers(0, 500),
    n=st.integers(0, 60),
    spread=st.sampled_from([10, 60, 300]),
    window=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    thresh=st.sampled_from([0.0, 0.1, 0.5, 0.95, 1.0]),
)
@settings(max_examples=80, deadline=None)
def test_a_selection_is_independent_and_maximal(seed, n, spread, window, thresh):
    rng = np.random.RandomState(seed)
    table = {"cx": rng.randint(0, spread, n), "cy": rng.randint(0, spread, n), "gid": rng.choice(GIDS, n)}
    targets = kwarray.DataFrameArray(table)
    rows = select_positive_regions(targets, window, thresh, rng=seed)
    assert rows.dtype == np.int64
    assert (np.diff(rows) > 0).all()
    height, width = window
    boxes = kwimage.Boxes(np.stack([table["cx"], table["cy"], [width] * n, [height] * n], 1), "cxywh")
    ious = boxes.ious(boxes, bias=0) if n else np.zeros((0, 0))
    alike = (ious > thresh + 1e-9) & (table["gid"][:, None] == table["gid"])
    np.fill_diagonal(alike, False)
    kept = np.isin(np.arange(n), rows)
    assert not alike[np.ix_(kept, kept)].any()
    assert alike[~kept][:, kept].any(axis=1).all()


def test_chance_decides_between_equals():
    targets = kwarray.DataFrameArray({"cx": np.zeros(9), "cy": np.zeros(9), "gid": np.ones(9, int)})
    chosen = [select_positive_regions(targets, (5, 5), rng=seed).tolist() for seed in range(30)]
    assert {len(rows) for rows in chosen} == {1}
    assert len({rows[0] for rows in chosen}) > 3


def test_windows_that_hold_more_go_first():
    xs = np.array([0.0, 8, 8, 8, 16])
    targets = kwarray.DataFrameArray({"cx": xs, "cy": np.zeros(5), "gid": np.ones(5, int)})
    for seed in range(10):
        assert xs[select_positive_regions(targets, (10, 10), rng=seed)].tolist() == [8]


@pytest.mark.parametrize("dims", [5, None, (5,), (5, 5, 5), (0, 5), "extent"])
def test_a_selection_needs_a_window(dims):
    with pytest.raises(errors.ArgumentError, match="window_dims is"):
        select_positive_regions(tabular_coco_targets(make_dataset({1: []})), dims)


# --- staleness and identity -------------------------------------------------


def test_added_and_removed_annotations_are_noticed(dset, regions, caplog):
    regions.preselect(n_neg=2, window_dims=(5, 5))
    assert 900 not in regions.find_aids(GIDS[0], (0, 0, 100, 80))
    with caplog.at_level(logging.WARNING):
        dset.add_annotation(id=900, image_id=GIDS[0], category_id=1, bbox=[10, 10, 5, 5])
        assert 900 in regions.find_aids(GIDS[0], (0, 0, 100, 80))
    assert "preselect again" in caplog.text
    assert (regions.n_positives, regions.n_negatives) == (19, 0)
    assert 900 in regions.targets["aid"]
    dset.remove_annotation(900)
    assert regions.n_positives == 18
    assert 900 not in regions.find_aids(GIDS[0], (0, 0, 100, 80))


def test_new_categories_and_images_are_noticed(dset, regions):
    assert "early" not in regions.classes
    dset.add_category("early")
    dset.add_image(id=44, file_name="new.png", width=5, height=5)
    assert "early" in regions.classes
    assert 44 in regions.image_ids


def test_a_box_changed_in_place_is_seen_after_refresh(dset, regions):
    hashid = regions.hashid
    before = regions.find_aids(GIDS[0], (95, 75, 99, 79)).tolist()
    aid = next(iter(dset.gid_to_aids[GIDS[0]]))
    dset.anns[aid]["bbox"] = [90, 70, 20, 20]
    dset._invalidate_hashid()
    regions.refresh()
    assert regions.find_aids(GIDS[0], (95, 75, 99, 79)).tolist() == sorted({*before, aid})
    assert regions.hashid != hashid


def test_targets_and_index_set_from_outside_are_used_and_kept(dset, regions):
    own = regions.targets.take([2, 5])
    regions._targets = own
    other = FrameIntersectionIndex.from_coco(make_dataset({GIDS[0]: [[0, 0, 5, 5]]}))
    regions._isect_index = other
    dset.add_annotation(image_id=GIDS[0], category_id=1, bbox=[10, 10, 5, 5])
    assert regions.targets is own
    assert regions.n_positives == 2
    assert regions.isect_index is other
    assert regions.find_aids(GIDS[0], (0, 0, 100, 80)).tolist() == [1]
    assert own._getcols(["cx", "cy"]).shape == (2, 2)


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_copies_keep_their_pool_and_notice_edits_of_their_own_dataset(regions, clone):
    regions.preselect(n_pos=4, n_neg=3, window_dims=(6, 5), rng=0)
    again = clone(regions)
    assert [again.get_item(i) for i in range(7)] == [regions.get_item(i) for i in range(7)]
    again.dset.add_annotation(id=900, image_id=GIDS[0], category_id=1, bbox=[10, 10, 5, 5])
    assert 900 in again.find_aids(GIDS[0], (0, 0, 100, 80))


def test_nothing_is_hashed_to_answer_a_query(dset, regions, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the dataset was hashed")

    monkeypatch.setattr(kwcoco.CocoDataset, "_build_hashid", refuse)
    regions.find_aids(GIDS[0], (0, 0, 9, 9))
    regions.preselect(n_neg=2, rng=0)
    assert len(regions.targets) == 18


def test_nothing_is_printed_or_written(dset, tmp_path, capsys):
    regions = CocoRegions(dset, workdir=tmp_path, verbose=3)
    regions.preselect(n_pos=3, n_neg=2, rng=0, verbose=3)
    regions.new_sample_grid("image_detection", (9, 9), verbose=3)
    assert regions.hashid
    assert repr(regions).startswith("<CocoRegions({nPos=3, nNeg=2}")
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_equal_datasets_have_equal_hash_ids(dset):
    assert CocoRegions(dset).hashid == CocoRegions(dset.copy()).hashid == dset._build_hashid()
    dset.add_annotation(image_id=GIDS[0], category_id=1, bbox=[10, 10, 5, 5])
    assert CocoRegions(dset).hashid != CocoRegions(random_dataset(np.random.RandomState(0), 6)).hashid


def test_an_sqlite_view_gives_the_same_pool(dset, tmp_path):
    dset.add_category("background")
    dset.anns[1]["segmentation"] = [[0, 0, 10, 0, 10, 10]]
    plain, view = CocoRegions(dset), CocoRegions(sql_view(dset, tmp_path))
    assert view.BACKGROUND_CLASS_ID == plain.BACKGROUND_CLASS_ID == 2
    assert (view.class_ids, view.image_ids) == (plain.class_ids, plain.image_ids)
    assert list(view.classes) == list(plain.classes)
    for key in TARGET_KEYS:
        np.testing.assert_array_equal(np.sort(view.targets[key]), np.sort(plain.targets[key]))
    pools = []
    for regions in (plain, view):
        assert regions.preselect(n_neg=5, window_dims=(7, 7), rng=0) == (18, 5)
        pools.append([regions.get_negative(i) for i in range(5)])
    assert pools[0] == pools[1]
    shown = [regions.find_aids(GIDS[0], (0, 0, 50, 50)).tolist() for regions in (plain, view)]
    assert shown[0] == shown[1]
    grids = [regions.new_sample_grid("image_detection", (40, 40))["targets"] for regions in (plain, view)]
    assert sorted(map(repr, grids[0])) == sorted(map(repr, grids[1]))
    assert view.get_segmentations([1])[0].to_shapely().area == 50
    assert view.hashid == view.hashid != plain.hashid
