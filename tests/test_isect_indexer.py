"""The index finds what a loop over all boxes finds."""

from __future__ import annotations

import pickle

import kwimage
import numpy as np
import pytest
from helpers_optional import import_optional
from helpers_pools import GIDS, area, intersection, ltrb_of, make_dataset, random_dataset, touches
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler import isect_indexer
from ndsampler.errors import ArgumentError, UnknownIdError
from ndsampler.isect_indexer import FrameIntersectionIndex

COORDINATE = st.integers(-20, 120)
QUERY = st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE).map(
    lambda q: (min(q[0], q[2]), min(q[1], q[3]), max(q[0], q[2]), max(q[1], q[3]))
)


@pytest.fixture(params=["compared", "shapely", "rtree"])
def index(request, monkeypatch):
    """One dataset behind each of the three ways to search an image."""
    if request.param == "rtree":
        import_optional("rtree")
        monkeypatch.setenv("USE_RTREE", "1")
    if request.param == "shapely":
        monkeypatch.setattr(isect_indexer, "_TREE_FROM", 1)
    dset = random_dataset(np.random.RandomState(0))
    dset.add_annotation(image_id=GIDS[0], category_id=1)  # without a box
    dset.add_annotation(image_id=GIDS[0], category_id=1, bbox=[30, 30, 0, 0])
    made = FrameIntersectionIndex.from_coco(dset)
    made.dset = dset
    return made


def boxes_of(query):
    return kwimage.Boxes([list(query)], "ltrb")


@given(query=QUERY, gid=st.sampled_from(GIDS))
@settings(max_examples=60, deadline=None)
def test_overlap_is_what_a_loop_finds_edges_included(query, gid):
    dset = random_dataset(np.random.RandomState(5))
    index = FrameIntersectionIndex.from_coco(dset)
    expected = [aid for aid, box in ltrb_of(dset, gid).items() if touches(box, query)]
    assert index.overlapping_aids(gid, boxes_of(query)) == expected
    assert index.table.aids[index.overlapping_rows(gid, query)].tolist() == expected


def test_every_way_to_search_gives_the_same_answers(index):
    rng = np.random.RandomState(1)
    for _ in range(50):
        query = np.sort(rng.randint(-10, 110, (2, 2)), axis=0).ravel().tolist()
        for gid in GIDS:
            expected = [aid for aid, box in ltrb_of(index.dset, gid).items() if touches(box, query)]
            assert index.overlapping_aids(gid, boxes_of(query)) == expected


def test_ious_and_iooas_are_those_of_a_loop(index):
    query = (20, 10, 70, 55)
    boxes = ltrb_of(index.dset, GIDS[0])
    aids, ious = index.ious(GIDS[0], boxes_of(query))
    aids2, iooas = index.iooas(GIDS[0], boxes_of(query))
    inter = [intersection(boxes[aid], query) for aid in aids]
    union = [area(boxes[aid]) + area(query) - i for aid, i in zip(aids, inter, strict=True)]
    assert aids == aids2
    np.testing.assert_allclose(ious, np.divide(inter, union))
    np.testing.assert_allclose(iooas, [i / (area(boxes[a]) or 1) for a, i in zip(aids, inter, strict=True)])


def test_a_single_box_may_have_either_shape(index):
    flat = kwimage.Boxes([0, 0, 50, 50], "xywh")
    nested = kwimage.Boxes([[0, 0, 50, 50]], "xywh")
    for ask in (index.ious, index.iooas):
        (aids, flat_values), (aids2, nested_values) = ask(GIDS[0], flat), ask(GIDS[0], nested)
        assert aids == aids2
        assert flat_values.shape == nested_values.shape == (len(aids),)
        np.testing.assert_array_equal(flat_values, nested_values)


def test_several_boxes_give_a_row_each_over_whatever_touches_any(index):
    queries = kwimage.Boxes([[0, 0, 30, 30], [50, 50, 90, 75]], "ltrb")
    aids, ious = index.ious(GIDS[0], queries)
    assert aids == sorted({a for i in range(2) for a in index.overlapping_aids(GIDS[0], queries[[i]])})
    assert ious.shape == (2, len(aids))
    for i in range(2):
        alone = dict(zip(*index.ious(GIDS[0], queries[[i]]), strict=True))
        np.testing.assert_allclose(ious[i], [alone.get(aid, 0) for aid in aids])


def test_nothing_touching_gives_empty_answers(index):
    far = kwimage.Boxes([[900, 900, 5, 5]], "xywh")
    assert index.overlapping_aids(GIDS[0], far) == []
    assert index.ious(GIDS[0], far)[1].shape == index.iooas(GIDS[0], far)[1].shape == (0,)


def test_a_batch_of_queries_gives_what_one_after_another_gives(index):
    rng = np.random.RandomState(2)
    corners = rng.randint(-10, 100, (40, 2))
    ltrb = np.concatenate([corners, corners + rng.randint(0, 40, (40, 2))], axis=1).astype(float)
    gids = rng.choice(GIDS, 40)
    query, aids = index.overlapping_pairs(gids, ltrb)
    single = [(i, aid) for i in range(40) for aid in index.overlapping_aids(int(gids[i]), boxes_of(ltrb[i]))]
    assert list(zip(query.tolist(), aids.tolist(), strict=True)) == single


def test_a_batch_is_cut_up_when_it_is_large(index, monkeypatch):
    from ndsampler.dataset import box_tree

    ltrb = np.array([[0.0, 0, 50, 50], [20, 20, 90, 90], [5, 5, 5, 5]] * 4)
    whole = index.overlapping_pairs(GIDS[0], ltrb)
    monkeypatch.setattr(box_tree, "_PAIRS_AT_ONCE", 30)
    np.testing.assert_array_equal(index.overlapping_pairs(GIDS[0], ltrb), whole)


def test_a_batch_needs_one_image_per_box(index):
    with pytest.raises(ArgumentError, match=r"shape \(2,\) for 3 boxes"):
        index.overlapping_pairs(GIDS[:2], np.zeros((3, 4)))


def test_visibility_is_exceeded_strictly():
    index = FrameIntersectionIndex.from_coco(
        make_dataset({1: [[0, 0, 10, 10], [10, 0, 10, 10], [20, 0, 9, 9]]})
    )
    window = (0, 0, 15, 100)
    assert index.visible_aids(1, window).tolist() == [1, 2]
    assert index.visible_aids(1, window, 0.4).tolist() == [1, 2]
    assert index.visible_aids(1, window, 0.5).tolist() == [1]
    assert index.visible_aids(1, window, 1.0).tolist() == []


def test_an_unknown_image_is_an_error(index):
    for ask in (index.overlapping_aids, index.ious, index.iooas):
        with pytest.raises(UnknownIdError, match="no image has the id 99"):
            ask(99, boxes_of((0, 0, 1, 1)))
    with pytest.raises(UnknownIdError):
        index.qtrees[99]


def test_qtrees_have_the_sizes_of_their_images_in_the_order_of_the_dataset(index):
    assert list(index.qtrees) == list(GIDS)
    assert {(tree.width, tree.height) for tree in index.qtrees.values()} == {(100, 80)}
    tree = index.qtrees[GIDS[0]]
    assert tree.intersect((0, 0, 100, 80)) == index.overlapping_aids(GIDS[0], boxes_of((0, 0, 100, 80)))
    assert len(tree.aid_to_ltrb) == len(tree)


def test_the_support_of_an_image_is_all_its_boxes(index):
    support = index._support(GIDS[0])
    assert support.format == "ltrb"
    np.testing.assert_array_equal(support.data, list(ltrb_of(index.dset, GIDS[0]).values()))


def test_an_index_pickles_as_its_columns(index):
    again = pickle.loads(pickle.dumps(index))
    assert again.overlapping_aids(GIDS[1], boxes_of((0, 0, 50, 50))) == index.overlapping_aids(
        GIDS[1], boxes_of((0, 0, 50, 50))
    )
    assert again.all_gids == index.all_gids


def test_a_queried_index_pickles_to_the_same_size_as_a_fresh_one(index):
    fresh = len(pickle.dumps(FrameIntersectionIndex.from_table(index.table)))
    index.overlapping_aids(GIDS[0], boxes_of((0, 0, 50, 50)))
    assert len(pickle.dumps(index)) == fresh


def test_an_index_made_of_nothing_says_how_to_make_one():
    index = FrameIntersectionIndex()
    assert index.qtrees is None
    with pytest.raises(ArgumentError, match="from_coco"):
        index.overlapping_aids(1, boxes_of((0, 0, 1, 1)))


def test_many_queries_of_an_image_build_its_tree_and_few_do_not(monkeypatch):
    monkeypatch.setattr(isect_indexer, "_TREE_FROM_FOR_MANY", 1)
    monkeypatch.setattr(isect_indexer, "_MANY_QUERIES", 5)
    dset = random_dataset(np.random.RandomState(3))
    index = FrameIntersectionIndex.from_coco(dset)
    corners = np.random.RandomState(4).randint(-10, 90, (7, 2)).astype(float)
    ltrb = np.concatenate([corners, corners + 25], axis=1)
    gids = np.array([GIDS[0]] * 5 + [GIDS[1]] * 2)
    query, aids = index.overlapping_pairs(gids, ltrb)
    assert list(index._trees) == [GIDS[0]]
    assert list(zip(query.tolist(), aids.tolist(), strict=True)) == [
        (i, aid)
        for i, (gid, box) in enumerate(zip(gids.tolist(), ltrb.tolist(), strict=True))
        for aid, other in ltrb_of(dset, gid).items()
        if touches(other, box)
    ]


@pytest.mark.parametrize("value", ["0", ""])
def test_rtree_is_off_unless_asked_for(value, monkeypatch):
    monkeypatch.setenv("USE_RTREE", value)
    assert not FrameIntersectionIndex.from_coco(make_dataset({1: []}))._uses_rtree


def test_trees_of_images_not_asked_about_lately_are_dropped(monkeypatch):
    monkeypatch.setattr(isect_indexer, "_TREE_FROM", 1)
    monkeypatch.setattr(isect_indexer, "_TREES_HOLD", 25)
    index = FrameIntersectionIndex.from_coco(random_dataset(np.random.RandomState(0)))
    for gid in GIDS:
        index.overlapping_rows(gid, (0, 0, 10, 10))
    assert list(index._trees) == [GIDS[-1]]
