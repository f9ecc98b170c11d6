"""Negatives are whole pixels, come from every free place alike, and list no annotation when they are read."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from helpers_datasets import one_image
from helpers_images import write_png
from helpers_pools import make_dataset

from ndsampler import CocoSampler
from ndsampler.isect_indexer import FrameIntersectionIndex
from ndsampler.pools.free_space import free_corners
from ndsampler.pools.negatives import even_shares

#: An image with a box in the middle, one at a fraction of a pixel, and a point.
WIDTH, HEIGHT = 23, 17
BOXES = [[8, 5, 4, 3], [2.5, 11.25, 3, 2], [18, 3, 0, 0]]


def free_places(size, may_touch=False):
    """Return the whole corners at which a window neither overlaps nor touches a box, by a loop."""
    width, height = size
    places = set()
    for x in range(WIDTH - width + 1):
        for y in range(HEIGHT - height + 1):
            if not any(_meets((x, y, x + width, y + height), box, may_touch) for box in BOXES):
                places.add((x, y))
    return places


def _meets(window, box, may_touch):
    x, y, width, height = box
    gaps = (x - window[2], window[0] - x - width, y - window[3], window[1] - y - height)
    return all(gap < 0 for gap in gaps) if may_touch else all(gap <= 0 for gap in gaps)


def deviation(corners, places):
    """Return chi-square of how often each place was drawn, after checking that no other was."""
    drawn = Counter(map(tuple, corners.astype(int).tolist()))
    assert drawn.keys() <= places
    counts = np.array([drawn[place] for place in places])
    expected = len(corners) / len(places)
    return ((counts - expected) ** 2 / expected).sum()


def largest_likely(degrees):
    """Return a value of chi-square that is exceeded about once in a million draws."""
    return degrees + 5 * np.sqrt(2 * degrees) + 10


@pytest.fixture
def index():
    return FrameIntersectionIndex.from_coco(make_dataset({1: BOXES}, sizes={1: (WIDTH, HEIGHT)}))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (4, 5), (7, 3), (10, 4)])
def test_every_free_place_has_the_same_chance(index, size):
    places = free_places(size)
    _, boxes = index.random_negatives(40 * len(places), window_size=size, rng=5)
    np.testing.assert_array_equal(boxes.data[:, 2:] - boxes.data[:, :2], np.tile(size, (len(boxes), 1)))
    assert deviation(boxes.data[:, :2], places) < largest_likely(len(places))


@pytest.mark.parametrize("may_touch", [False, True])
@pytest.mark.parametrize("size", [(3, 2), (7, 3)])
def test_free_space_holds_every_free_place_with_the_same_chance(size, may_touch):
    places = free_places(size, may_touch)
    obstacles = np.array([[x, y, x + w, y + h] for x, y, w, h in BOXES], float).T
    bounds, rng = np.array([0.0, 0, WIDTH, HEIGHT]), np.random.RandomState(2)
    corners = free_corners(
        bounds, np.array(size, float), obstacles, 40 * len(places), rng, may_touch=may_touch
    )
    assert deviation(corners, places) < largest_likely(len(places))


def test_every_pixel_of_an_empty_image_can_be_in_a_negative():
    index = FrameIntersectionIndex.from_coco(make_dataset({1: []}, sizes={1: (80, 60)}))
    _, boxes = index.random_negatives(30_000, window_size=(16, 12), rng=0)
    places = {(x, y) for x in range(65) for y in range(49)}
    assert deviation(boxes.data[:, :2], places) < largest_likely(len(places))
    assert set(map(tuple, boxes.data[:, :2].astype(int).tolist())) == places


def test_a_fraction_of_a_pixel_is_rounded_up_as_it_is_when_read():
    index = FrameIntersectionIndex.from_coco(make_dataset({1: []}, sizes={1: (10, 10)}))
    _, boxes = index.random_negatives(500, window_size=(2.5, 0.2), rng=0)
    assert np.unique(boxes.data[:, 2:] - boxes.data[:, :2], axis=0).tolist() == [[3, 1]]
    assert np.unique(boxes.data[:, 0]).tolist() == list(range(8))
    _, boxes = index.random_negatives(20, anchors=[[0.35, 1.0]], rng=0)
    assert np.unique(boxes.data[:, 2:] - boxes.data[:, :2], axis=0).tolist() == [[4, 10]]


@pytest.mark.parametrize("dims", [(5, 7), (4, 6), (1, 1), (5.5, 3), None])
def test_a_negative_lists_no_annotation_when_it_is_read(tmp_path, dims):
    path = write_png(tmp_path / "a.png", np.zeros((90, 120, 1), np.uint8))
    dset = one_image(path, (90, 120))
    dset.ensure_category("thing")
    rng = np.random.RandomState(0)
    for x, y, width, height in rng.rand(12, 4) * (110, 80, 9, 9):
        dset.add_annotation(1, category_id=1, bbox=[x, y, width, height])
    dset.add_annotation(1, category_id=1, bbox=[20, 20, 30, 30])
    sampler = CocoSampler(dset)
    assert sampler.preselect(n_pos=0, n_neg=600, window_dims=dims, rng=0) == (0, 600)
    for i in range(600):
        target = sampler.regions.get_negative(i)
        assert sampler.load_annots(target)["aids"].tolist() == []
        (top, bottom), (left, right) = sampler.load_negative(i, with_annots=False)["params"]["st_dims"]
        assert 0 <= top < bottom <= 90
        assert 0 <= left < right <= 120


def test_a_place_that_only_touches_annotations_is_the_last_resort():
    tiles = [[x * 10, y * 10, 10, 10] for x in range(4) for y in range(4)]
    tight = FrameIntersectionIndex.from_coco(make_dataset({1: tiles[:-1]}, sizes={1: (40, 40)}))
    _, boxes = tight.random_negatives(4, window_size=(10, 10), rng=0)
    assert boxes.data.tolist() == [[30, 30, 40, 40]] * 4
    roomy = FrameIntersectionIndex.from_coco(make_dataset({1: tiles[:-2]}, sizes={1: (40, 40)}))
    _, boxes = roomy.random_negatives(40, window_size=(9, 9), rng=0)
    assert set(map(tuple, boxes.data.tolist())) <= {(31.0, y, 40.0, y + 9.0) for y in range(21, 32)}


def test_negatives_avoid_annotations_without_a_box():
    dset = make_dataset({1: [None, None]}, sizes={1: (WIDTH, HEIGHT)})
    dset.anns[1]["segmentation"] = [[8, 5, 12, 5, 12, 8]]
    dset.anns[2]["keypoints"] = [3, 12, 2, 0, 0, 0, 5, 13, 1]
    _, boxes = FrameIntersectionIndex.from_coco(dset).random_negatives(300, window_size=(4, 3), rng=0)
    for left, top, right, bottom in boxes.data.tolist():
        assert right < 8 or left > 12 or bottom < 5 or top > 8
        assert right < 3 or left > 5 or bottom < 12 or top > 13


def test_even_points_of_each_group_are_those_of_the_group_alone():
    groups = np.array([2, 0, 2, 2, 0])
    points = even_shares(groups, np.random.RandomState(0))
    starts = np.random.RandomState(0).rand(2, 2)
    step = np.array([0.7548776662466927, 0.5698402909980532])
    for group, start in zip((0, 2), starts, strict=True):
        expected = (start + np.arange((groups == group).sum())[:, None] * step) % 1
        np.testing.assert_allclose(points[groups == group], expected)
