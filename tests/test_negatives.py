"""Negatives lie inside their images and off the annotations, and are found where room is scarce."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import shapely
from helpers_pools import GIDS, area, intersection, ltrb_of, make_dataset, random_dataset
from helpers_processes import check_script
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler.dataset.annot_table import AnnotTable
from ndsampler.errors import ArgumentError, MissingSourceError, UnknownIdError
from ndsampler.isect_indexer import FrameIntersectionIndex
from ndsampler.pools.free_space import ValidArea, free_corners


def index_of(boxes, **kwargs):
    return FrameIntersectionIndex.from_coco(make_dataset(boxes, **kwargs))


def tiled(gap, cell=10, side=10):
    """Return boxes that tile a square, all cells but one."""
    cells = [(x * cell, y * cell, cell, cell) for y in range(side) for x in range(side)]
    return [box for box in cells if box[:2] != gap]


def enters(box, other):
    """Tell whether a box, which may be a point or a line, reaches into others, which may be arrays."""
    in_x, in_y = ((box[axis] < other[axis + 2]) & (other[axis] < box[axis + 2]) for axis in (0, 1))
    return in_x & in_y


def covered_share(box, positives):
    """Return the share of a box that positives cover together."""
    clipped = [shapely.intersection(shapely.box(*box), shapely.box(*other)) for other in positives]
    return shapely.union_all(clipped).area / area(box)


@given(
    seed=st.integers(0, 1000),
    per_image=st.integers(0, 12),
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    thresh=st.sampled_from([0.0, 0.1, 0.3, 0.9]),
)
@settings(max_examples=80, deadline=None)
def test_negatives_are_inside_and_covered_no_more_than_the_threshold(seed, per_image, width, height, thresh):
    dset = random_dataset(np.random.RandomState(seed), per_image, whole=bool(seed % 2))
    index = FrameIntersectionIndex.from_coco(dset)
    gids, boxes = index.random_negatives(
        12, window_size=(width, height), thresh=thresh, exact=False, rng=seed
    )
    assert len(gids) == len(boxes) <= 12
    assert gids.dtype == np.int64
    assert (np.diff(gids) >= 0).all()
    for gid, box in zip(gids.tolist(), boxes.data, strict=True):
        assert (box >= 0).all()
        assert (box[2:] <= (100, 80)).all()
        np.testing.assert_allclose(box[2:] - box[:2], (width, height))
        assert covered_share(box, ltrb_of(dset, gid).values()) <= thresh + 1e-9


@given(seed=st.integers(0, 1000), per_image=st.integers(0, 12), side=st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_none_are_found_only_where_there_is_no_room(seed, per_image, side):
    dset = random_dataset(np.random.RandomState(seed), per_image)
    index = FrameIntersectionIndex.from_coco(dset)
    gids, _ = index.random_negatives(6, window_size=(side, side), exact=False, rng=seed)
    # With whole numbers, a window that fits anywhere also fits at whole coordinates.
    x, y = np.meshgrid(np.arange(100 - side + 1), np.arange(80 - side + 1))
    windows = (x, y, x + side, y + side)
    room = {
        gid
        for gid in GIDS
        if not np.any([enters(box, windows) for box in ltrb_of(dset, gid).values()], axis=0).all()
    }
    assert (len(gids) == 6) == bool(room)
    assert set(gids.tolist()) <= room


def test_anchors_are_shares_of_the_image():
    index = index_of({1: []}, sizes={1: (200, 50)})
    _, boxes = index.random_negatives(20, anchors=[[0.1, 0.2], [0.5, 0.5]], rng=0)
    sizes = {tuple(np.round(box[2:] - box[:2], 6).tolist()) for box in boxes.data}
    assert sizes == {(20.0, 10.0), (100.0, 25.0)}


def test_a_gap_of_just_the_windows_size_is_found():
    index = index_of({1: tiled((40, 70))}, sizes={1: (100, 100)})
    _, boxes = index.random_negatives(3, window_size=(10, 10), rng=0)
    assert boxes.data.tolist() == [[40, 70, 50, 80]] * 3


def test_scarce_room_is_used_evenly():
    index = index_of({1: tiled((40, 70))}, sizes={1: (100, 100)})
    _, boxes = index.random_negatives(200, window_size=(4, 2), rng=0)
    corners = boxes.data[:, :2]
    assert (corners >= (40, 70)).all()
    assert (corners <= (46, 78)).all()
    # the mean of an even distribution, within five standard errors
    assert np.abs(corners.mean(axis=0) - (43, 74)).max() < 5 * 8 / np.sqrt(12 * 200)


def test_a_window_as_large_as_the_image_fits_an_empty_one():
    _, boxes = index_of({1: []}).random_negatives(2, window_size=(100, 80), rng=0)
    assert boxes.data.tolist() == [[0, 0, 100, 80]] * 2


def test_images_without_room_are_passed_over_and_said_so(caplog):
    index = index_of({1: tiled((-1, -1)), 2: [], 3: []}, sizes={1: (100, 100), 2: (100, 80), 3: (5, 5)})
    with caplog.at_level(logging.WARNING):
        gids, _ = index.random_negatives(9, window_size=(6, 6), rng=0)
    assert gids.tolist() == [2] * 9
    assert "2 images have no space for a negative" in caplog.text
    assert "[1, 3]" in caplog.text


def test_too_few_is_an_error_a_warning_or_silence():
    index = index_of({1: []})
    ask = {"num": 2, "window_size": (101, 5), "rng": 0}
    with pytest.raises(ArgumentError, match="found 0 of 2 negatives.*request fewer or smaller"):
        index.random_negatives(**ask)
    with pytest.warns(UserWarning, match="found 0 of 2 negatives"):
        gids, boxes = index.random_negatives(**ask, exact="warn")
    assert gids.shape == (0,)
    assert boxes.data.shape == (0, 4)
    assert len(index.random_negatives(**ask, exact=False, patience=0)[0]) == 0


def test_every_image_has_the_same_chance():
    index = index_of(
        {1: [[0, 0, 50, 50]] * 20, 2: [], 3: []}, sizes={1: (100, 80), 2: (500, 500), 3: (30, 30)}
    )
    gids, _ = index.random_negatives(3000, window_size=(2, 2), rng=0)
    counts = np.bincount(gids)[1:]
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(3000 * (1 / 3) * (2 / 3))


def test_images_can_be_chosen():
    index = index_of({1: [], 2: [], 3: []})
    gids, _ = index.random_negatives(30, window_size=(2, 2), gids=[3, 1], rng=0)
    assert set(gids.tolist()) == {1, 3}
    with pytest.raises(UnknownIdError, match="no image has the id 8"):
        index.random_negatives(1, window_size=(2, 2), gids=[8])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "neither of anchors and window_size"),
        ({"window_size": (1, 1), "anchors": [[0.1, 0.1]]}, "both of anchors and window_size"),
        ({"window_size": (0, 5)}, "window_size is"),
        ({"window_size": "abc"}, "window_size is 'abc'"),
        ({"window_size": (1, 2, 3)}, "window_size is"),
        ({"anchors": [[0.1, 1.5]]}, "must be normalized"),
        ({"anchors": np.empty((0, 2))}, "anchors is"),
        ({"window_size": (1, 1), "num": -1}, "num=-1"),
        ({"window_size": (1, 1), "thresh": -0.1}, "thresh=-0.1"),
        ({"window_size": (1, 1), "patience": -1}, "patience=-1"),
        ({"window_size": (1, 1), "gids": []}, "no images"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(kwargs, message):
    with pytest.raises(ArgumentError, match=message):
        index_of({1: []}).random_negatives(**{"num": 1, **kwargs})


def test_none_are_drawn_when_none_are_asked_for():
    gids, boxes = index_of({1: []}).random_negatives(0, window_size=(2, 2))
    assert gids.shape == (0,)
    assert gids.dtype == np.int64
    assert boxes.data.shape == (0, 4)


def test_a_point_within_the_window_counts_as_overlap_when_none_is_allowed():
    index = index_of({1: [[50, 40, 0, 0]]})
    _, boxes = index.random_negatives(50, window_size=(60, 30), rng=0)
    inside = (boxes.data[:, :2] < (50, 40)).all(axis=1) & (boxes.data[:, 2:] > (50, 40)).all(axis=1)
    assert not inside.any()


def test_full_images_are_no_obstacle_when_everything_is_allowed():
    index = index_of({1: [[0, 0, 100, 80]]})
    assert len(index.random_negatives(5, window_size=(30, 30), thresh=1.0, rng=0)[0]) == 5


def test_annotations_without_box_are_no_obstacle():
    index = index_of({1: [None, *tiled((40, 70))]}, sizes={1: (100, 100)})
    assert len(index.random_negatives(2, window_size=(9, 9), rng=0)[0]) == 2


def test_crowds_are_searched_by_tree_with_the_same_outcome(monkeypatch):
    from ndsampler import isect_indexer

    dset = random_dataset(np.random.RandomState(3), per_image=12)
    first = FrameIntersectionIndex.from_coco(dset).random_negatives(20, window_size=(9, 9), rng=3)
    monkeypatch.setattr(isect_indexer, "_TREE_FROM", 1)
    second = FrameIntersectionIndex.from_coco(dset).random_negatives(20, window_size=(9, 9), rng=3)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1].data, second[1].data)


@pytest.mark.parametrize(
    "region",
    [
        [[20, 10, 60, 10, 60, 70, 20, 70]],
        [[0, 0, 90, 0, 0, 70]],
        [[0, 0, 20, 0, 20, 80, 0, 80], [60, 0, 75, 0, 75, 30, 60, 30]],
    ],
)
def test_negatives_keep_inside_the_valid_region(region):
    import kwimage

    dset = make_dataset({1: [[30, 20, 10, 10]], 2: []})
    dset.imgs[1]["valid_region"] = region
    index = FrameIntersectionIndex.from_coco(dset)
    _gids, boxes = index.random_negatives(40, window_size=(7, 6), rng=0, gids=[1])
    polygon = kwimage.MultiPolygon.coerce(region).to_shapely().buffer(1e-6)
    assert shapely.covers(polygon, shapely.box(*boxes.data.T)).all()
    assert not any(intersection(box, (30, 20, 40, 30)) for box in boxes.data)


def test_a_narrow_valid_region_is_found_and_an_empty_one_passed_over():
    dset = make_dataset({1: [], 2: []}, sizes={1: (1000, 1000), 2: (100, 80)})
    dset.imgs[1]["valid_region"] = [[0, 0, 30, 0, 1000, 970, 1000, 1000, 970, 1000, 0, 30]]
    dset.imgs[2]["valid_region"] = [[300, 300, 310, 300, 310, 310]]
    index = FrameIntersectionIndex.from_coco(dset)
    gids, boxes = index.random_negatives(10, window_size=(20, 20), rng=0)
    assert gids.tolist() == [1] * 10
    assert np.abs(boxes.data[:, 0] - boxes.data[:, 1]).max() <= 30


def test_the_same_seed_gives_the_same_boxes_however_it_is_given():
    index = FrameIntersectionIndex.from_coco(random_dataset(np.random.RandomState(0), 6))
    first = index.random_negatives(30, window_size=(9, 9), rng=7)
    second = index.random_negatives(30, window_size=(9, 9), rng=np.random.RandomState(7))
    third = index.random_negatives(30, window_size=(9, 9), rng=8)
    np.testing.assert_array_equal(first[1].data, second[1].data)
    assert not np.array_equal(first[1].data, third[1].data)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_boxes_in_any_process():
    program = (
        "import numpy as np\n"
        "from helpers_pools import random_dataset\n"
        "from ndsampler.isect_indexer import FrameIntersectionIndex\n"
        "index = FrameIntersectionIndex.from_coco(random_dataset(np.random.RandomState(0), 12))\n"
        "gids, boxes = index.random_negatives(20, window_size=(9, 9), rng=7)\n"
        "print(gids.tolist(), boxes.data.tolist())\n"
    )
    outputs = {check_script(program, env={"PYTHONHASHSEED": seed}) for seed in ("1", "2")}
    assert len(outputs) == 1
    assert outputs.pop().strip()


def test_free_corners_are_off_every_obstacle_in_a_space_that_must_be_halved():
    rng = np.random.RandomState(0)
    corners = rng.rand(2, 800) * 1000
    obstacles = np.concatenate([corners, corners + 20])
    size = np.array([25.0, 15.0])
    found = free_corners(np.array([0.0, 0, 1000, 1000]), size, obstacles, 50, rng)
    assert found.shape == (50, 2)
    for x, y in found:
        assert not any(intersection((x, y, x + 25, y + 15), box) > 1e-6 for box in obstacles.T)


def test_a_space_covered_all_over_has_no_corner():
    grid = np.stack(np.meshgrid(np.arange(0.0, 1000, 20), np.arange(0.0, 1000, 20))).reshape(2, -1)
    obstacles = np.concatenate([grid, grid + 20])
    bounds = np.array([0.0, 0, 1000, 1000])
    assert free_corners(bounds, np.array([3.0, 3.0]), obstacles, 5, np.random.RandomState(0)).shape == (0, 2)


def test_the_gaps_of_a_valid_area_hold_everything_that_is_not_valid():
    valid = ValidArea.from_coco([[0, 0, 90, 0, 0, 70]], np.array([100.0, 80.0]))
    rng = np.random.RandomState(0)
    for x, y in rng.rand(300, 2) * (90, 70):
        inside = valid.holds(np.array([[x, y, x, y]]))[0]
        in_gap = (
            (valid.gaps[0] <= x) & (x <= valid.gaps[2]) & (valid.gaps[1] <= y) & (y <= valid.gaps[3])
        ).any()
        assert inside or in_gap


def test_an_image_without_size_is_named():
    dset = make_dataset({1: []})
    del dset.imgs[1]["width"]
    index = FrameIntersectionIndex.from_table(AnnotTable.from_coco(dset))
    with pytest.raises(MissingSourceError, match="image 1 has no width and height"):
        index.random_negatives(1, window_size=(2, 2))


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ("everything", "'everything'"),
        ([[0, 0, 50, 50]], "at least three points"),
        ([[0, 0, float("nan"), 50, 50, 50]], "nan"),
        ({"exterior": [[0, 0], [float("inf"), 50], [50, 50]], "interiors": []}, "inf"),
        ([[0, 0, 50, 50, 10]], "at least three points"),
        (7, "7"),
    ],
)
def test_a_valid_region_that_is_no_polygon_is_an_error_with_its_image(region, words):
    dset = make_dataset({1: [], 4: []})
    dset.imgs[4]["valid_region"] = region
    index = FrameIntersectionIndex.from_table(AnnotTable.from_coco(dset))
    with pytest.raises(ArgumentError, match=f"image 4: its valid_region is .*{words}"):
        index.random_negatives(2, window_size=(2, 2))
    assert index.random_negatives(2, window_size=(2, 2), gids=[1], rng=0)[0].tolist() == [1, 1]
