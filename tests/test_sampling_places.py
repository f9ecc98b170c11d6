"""Where a sample lies: the center of its target, boxes without area, and slices that pick channels."""

from __future__ import annotations

import numpy as np
import pytest
from helpers_datasets import ASSETS, DEEP, DIMS, GRAY, RGB, one_image, stills
from helpers_images import random_pixels, write_png
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler import CocoSampler
from ndsampler.errors import WindowError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return stills(tmp_path_factory.mktemp("stills"))


def assert_same_sample(found, expected):
    np.testing.assert_array_equal(found["im"], expected["im"])
    np.testing.assert_array_equal(found["annots"]["aids"], expected["annots"]["aids"])
    np.testing.assert_array_equal(found["annots"]["rel_boxes"].data, expected["annots"]["rel_boxes"].data)


# --- the center of the target --------------------------------------------------------------------

#: Targets whose center is pixel (x, y) = (20, 12) of the image, whose sample starts elsewhere on each axis.
AROUND_ONE_PIXEL = [
    {"width": 9, "height": 6},
    {"width": 60, "height": 70},
    {"width": 9, "height": 6, "pad": (4, 11)},
    {"window_dims": (40, 4), "pad": ((0, 3), (7, 0))},
    {"slices": (slice(2, 30), slice(14, 40))},
    {"slices": (slice(-20, 30), slice(-3, 40)), "pad": 2},
]


@pytest.mark.parametrize("target", AROUND_ONE_PIXEL)
def test_the_relative_center_is_where_the_center_lies_in_the_sample(sampler, data, target):
    sample = sampler.load_sample({"gid": RGB, "cx": 20, "cy": 12, **target}, with_annots=False)
    x, y = sample["target"]["rel_cx"], sample["target"]["rel_cy"]
    np.testing.assert_array_equal(sample["im"][int(y), int(x)], data.pixels[RGB][12, 20])


@pytest.mark.parametrize("scale", [2, (3, 0.5), 0.25])
@pytest.mark.parametrize("target", AROUND_ONE_PIXEL)
def test_the_relative_center_follows_the_scale(sampler, target, scale):
    sample = sampler.load_sample({"gid": RGB, "cx": 20, "cy": 12, **target, "scale": scale})
    relative = [sample["target"]["rel_cx"], sample["target"]["rel_cy"], 1]
    np.testing.assert_allclose(sample["params"]["tf_rel_to_abs"] @ relative, [20, 12, 1])


def test_the_relative_center_of_an_annotation_is_that_of_its_box(sampler):
    for pad in (0, (3, 8)):
        sample = sampler.load_sample({"aid": 101, "pad": pad})
        x, y, width, height = sample["annots"]["rel_boxes"].data[sample["target"]["annot_idx"]]
        assert sample["target"]["rel_cx"] == x + width / 2
        assert sample["target"]["rel_cy"] == y + height / 2


# --- boxes without area --------------------------------------------------------------------------

FLAT_BOXES = {1: [10, 12, 0, 16], 2: [10, 12, 5, 0], 3: [10.5, 12.25, 0, 0], 4: [9.98, 30.56, 5.54, 0.0]}


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """Return a sampler of annotations whose boxes have no area, and the pixels of their image."""
    folder = tmp_path_factory.mktemp("flat")
    pixels = random_pixels(dims=DIMS)
    path = write_png(folder / "a.png", pixels)
    anns = [{"id": aid, "bbox": box} for aid, box in FLAT_BOXES.items()]
    return CocoSampler(one_image(path, DIMS, anns), workdir=folder), pixels


@pytest.mark.parametrize("pad", [(0, 0), (2, 3)])
@pytest.mark.parametrize("aid", FLAT_BOXES)
def test_a_box_without_area_is_sampled_as_at_least_one_pixel(flat, aid, pad):
    sampler, pixels = flat
    sample = sampler.load_sample({"aid": aid, "pad": pad})
    _, _, width, height = FLAT_BOXES[aid]
    rows, cols = max(1, int(np.ceil(height))), max(1, int(np.ceil(width)))
    assert sample["target"]["window_dims"] == (rows, cols)
    (y0, y1), (x0, x1) = sample["params"]["st_dims"]
    assert (y1 - y0, x1 - x0) == (rows + 2 * pad[0], cols + 2 * pad[1])
    np.testing.assert_array_equal(sample["im"], pixels[y0:y1, x0:x1])
    assert sample["annots"]["aids"][sample["target"]["annot_idx"]] == aid


def test_an_epoch_over_boxes_without_area_is_complete(flat):
    sampler, _ = flat
    aids = [sampler.load_positive(index)["target"]["aid"] for index in range(sampler.n_positives)]
    assert sorted(aids) == list(FLAT_BOXES)
    squares = [sampler.load_item(i, target={"window_dims": "square"})["im"].shape[:2] for i in range(4)]
    assert sorted(squares) == [(1, 1), (5, 5), (6, 6), (16, 16)]


@pytest.mark.parametrize("window_dims", [(0, 4), (4, 0), (-1, 4)])
def test_window_dims_without_area_are_refused(flat, window_dims):
    with pytest.raises(WindowError, match="expected both above 0"):
        flat[0].load_sample({"aid": 1, "window_dims": window_dims})


# --- channels ------------------------------------------------------------------------------------

SPACE = (slice(-2, 17), slice(5, 40))

bounds = st.one_of(st.none(), st.integers(-6, 6))


@given(gid=st.sampled_from([RGB, GRAY, DEEP, ASSETS]), start=bounds, stop=bounds)
@settings(max_examples=60, deadline=None)
def test_the_third_slice_of_a_still_picks_channels_as_numpy_does(sampler, gid, start, stop):
    whole = sampler.load_sample({"gid": gid, "slices": SPACE})
    target = {"gid": gid, "slices": (*SPACE, slice(start, stop))}
    expected = whole["im"][..., start:stop]
    if expected.shape[2] == 0:
        with pytest.raises(
            WindowError, match=rf"selects channels, and image {gid} has {whole['im'].shape[2]}"
        ):
            sampler.load_sample(target)
        return
    sample = sampler.load_sample(target)
    np.testing.assert_array_equal(sample["im"], expected)
    assert sample["target"]["space_slice"] == SPACE
    assert sample["target"]["slices"] == target["slices"]
    assert_same_sample(sampler.load_sample(sample["target"]), sample)


def test_the_third_slice_may_be_none(sampler):
    whole = sampler.load_sample({"gid": RGB, "slices": SPACE})
    assert_same_sample(sampler.load_sample({"gid": RGB, "slices": (*SPACE, None)}), whole)


def test_the_third_slice_picks_from_the_channels_that_are_asked_for(sampler):
    asked = sampler.load_sample({"gid": RGB, "slices": SPACE, "channels": "b|r|g"})
    found = sampler.load_sample({"gid": RGB, "slices": (*SPACE, slice(1, 3)), "channels": "b|r|g"})
    np.testing.assert_array_equal(found["im"], asked["im"][..., 1:3])


def test_the_third_slice_is_not_read_beside_another_space_slice(sampler):
    target = {"gid": RGB, "space_slice": SPACE, "slices": (slice(0, 1), slice(0, 5), slice(0, 5))}
    assert_same_sample(sampler.load_sample(target), sampler.load_sample({"gid": RGB, "slices": SPACE}))


@pytest.mark.parametrize("part", [1, "r", slice(0, 3, 2), slice("a", "b"), slice(0, 0)])
def test_a_third_slice_that_picks_nothing_is_refused(sampler, part):
    with pytest.raises(WindowError, match="the third of slices is .*selects channels.*'vidid' or 'gids'"):
        sampler.load_sample({"gid": RGB, "slices": (*SPACE, part)})
