"""Grids of windows agree with a sliding window and a loop over annotations."""

from __future__ import annotations

import itertools
import json

import kwarray
import kwcoco
import numpy as np
import pytest
from helpers_pools import GIDS, area, intersection, ltrb_of, make_dataset, random_dataset, touches
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler.errors import ArgumentError, MissingSourceError
from ndsampler.pools import sample_grid
from ndsampler.pools.sample_grid import GridTargets, new_image_sample_grid, new_video_sample_grid
from ndsampler.pools.window_grid import union_area


def box_of(slices):
    """Return the edges of a window given as rows and columns."""
    rows, cols = slices
    return (cols.start, rows.start, cols.stop, rows.stop)


def video_dataset(n_frames=5, seed=0):
    """Return two videos, listed last first, frames out of order, one frame warped, and a lone image."""
    dset = kwcoco.CocoDataset()
    dset.add_video("b", id=4, width=60, height=40)
    dset.add_video("a", id=2, width=30, height=20)
    cid = dset.add_category("thing")
    for i in np.random.RandomState(seed).permutation(n_frames).tolist():
        dset.add_image(id=30 - i, file_name=f"{i}.png", width=60, height=40, video_id=4, frame_index=i)
    dset.add_image(id=3, file_name="z.png", width=30, height=20, video_id=2, frame_index=0)
    dset.add_image(id=1, file_name="lone.png", width=30, height=20)
    rng = np.random.RandomState(seed)
    for gid in [*dset.imgs, *dset.imgs]:
        dset.add_annotation(image_id=gid, category_id=cid, bbox=rng.randint(0, 30, 4).tolist())
    dset.imgs[29]["warp_img_to_vid"] = {"type": "affine", "scale": 0.5, "offset": [3, 4]}
    return dset


@given(
    window=st.tuples(st.integers(1, 100), st.integers(1, 120)),
    overlap=st.sampled_from([0.0, 0.3, 0.5]),
    seed=st.integers(0, 50),
)
@settings(max_examples=40, deadline=None)
def test_windows_are_those_of_a_sliding_window_and_hold_what_touches_them(window, overlap, seed):
    dset = random_dataset(np.random.RandomState(seed), per_image=5)
    if any(round(size * (1 - overlap)) < 1 for size in window):
        return
    grid = new_image_sample_grid(dset, window, overlap)
    slider = kwarray.SlidingWindow((80, 100), window, overlap=overlap, keepbound=True, allow_overshoot=True)
    expected = [(gid, tuple(slices)) for gid in dset.imgs for slices in slider]
    assert [(target["gid"], target["slices"]) for target in grid["targets"]] == expected
    boxes = {gid: ltrb_of(dset, gid) for gid in dset.imgs}
    for target in grid["targets"]:
        window = box_of(target["slices"])
        assert target["aids"] == [aid for aid, box in boxes[target["gid"]].items() if touches(box, window)]


def test_indexes_split_the_targets_and_the_lists_repeat_them():
    dset = random_dataset(np.random.RandomState(0), per_image=3)
    grid = new_image_sample_grid(dset, (20, 25))
    positive = [i for i, target in enumerate(grid["targets"]) if target["aids"]]
    negative = [i for i, target in enumerate(grid["targets"]) if not target["aids"]]
    assert (grid["positives_indexes"], grid["negatives_indexes"]) == (positive, negative)
    assert grid["positives"] == [grid["targets"][i] for i in positive]
    assert grid["negatives"] == [grid["targets"][i] for i in negative]


def test_keys_are_those_that_programs_know():
    dset = make_dataset({1: [[0, 0, 5, 5]]})
    full = new_image_sample_grid(dset, "full")
    assert list(full) == ["targets", "positives_indexes", "negatives_indexes", "positives", "negatives"]
    assert list(new_image_sample_grid(dset, "full", legacy=False)) == list(full)[:3]
    assert full["targets"] == [{"gid": 1, "slices": (slice(0, 80), slice(0, 100)), "aids": [1]}]


def test_without_annotations_every_window_is_negative():
    grid = new_image_sample_grid(make_dataset({1: [[0, 0, 5, 5]]}), (40, 50), use_annots=False)
    assert [target["aids"] for target in grid["targets"]] == [None] * 4
    assert grid["positives_indexes"] == []
    assert grid["negatives_indexes"] == [0, 1, 2, 3]


@pytest.mark.parametrize(("dims", "n_windows"), [(None, 1), ("full", 1), (("full", 50), 2), ((20, None), 4)])
def test_a_side_may_be_taken_whole(dims, n_windows):
    assert len(new_image_sample_grid(make_dataset({1: []}), dims)["targets"]) == n_windows


def categories_dataset():
    dset = kwcoco.CocoDataset()
    dset.add_image(id=1, file_name="a.png", width=120, height=20)
    names = ["cat", "dog", "background", "ignore"]
    cids = [dset.add_category(name) for name in names]
    for i, cid in enumerate(cids):
        dset.add_annotation(image_id=1, category_id=cid, bbox=[20 * i + 5, 5, 5, 5])
    dset.add_annotation(image_id=1, bbox=[85, 5, 5, 5])
    return dset


@pytest.mark.parametrize(
    ("options", "positive"),
    [
        ({}, [0, 1, 4]),
        ({"negative_classes": ["cat"]}, [1, 2, 3, 4]),
        ({"negative_classes": None}, [0, 1, 2, 3, 4]),
        ({"classes_of_interest": ["dog"]}, [1]),
        ({"classes_of_interest": ["ignore", "cat"]}, [0, 3]),
        ({"classes_of_interest": []}, [0, 1, 4]),
        ({"classes_of_interest": ["unheard of"]}, []),
    ],
)
def test_categories_decide_what_is_positive(options, positive):
    grid = new_image_sample_grid(categories_dataset(), (20, 20), **options)
    assert len(grid["targets"]) == 6
    assert grid["positives_indexes"] == positive


@given(seed=st.integers(0, 200), thresh=st.sampled_from([0.2, 0.6, 0.9]), n_ignored=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_windows_covered_by_ignore_regions_are_left_out(seed, thresh, n_ignored):
    rng = np.random.RandomState(seed)
    dset = make_dataset({1: [[5, 5, 10, 10]]}, sizes={1: (90, 70)})
    ignore = dset.add_category("ignore")
    for _ in range(n_ignored):
        box = np.concatenate([rng.randint(-10, 80, 2), rng.randint(0, 60, 2)])
        dset.add_annotation(image_id=1, category_id=ignore, bbox=box.tolist())
    mask = np.zeros((70, 90), dtype=bool)
    for ann in dset.anns.values():
        if ann["category_id"] == ignore:
            x, y, w, h = ann["bbox"]
            mask[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = True
    everything = new_image_sample_grid(dset, (30, 40), ignore_coverage_thresh=None)["targets"]
    kept = [target for target in everything if mask[target["slices"]].mean() <= thresh + 1e-9]
    assert new_image_sample_grid(dset, (30, 40), ignore_coverage_thresh=thresh)["targets"] == kept


def test_large_grids_are_made_on_demand_with_the_same_items(monkeypatch):
    dset = random_dataset(np.random.RandomState(0), per_image=3)
    eager = new_image_sample_grid(dset, (9, 7), 0.3)
    monkeypatch.setattr(sample_grid, "_LAZY_FROM", 7)
    lazy = new_image_sample_grid(dset, (9, 7), 0.3)
    for name in ("targets", "positives", "negatives"):
        assert isinstance(lazy[name], GridTargets)
        assert list(lazy[name]) == eager[name]
        assert [lazy[name][i] for i in range(len(lazy[name]))] == eager[name]
        assert list(lazy[name][3:9]) == eager[name][3:9]
        assert lazy[name][-1] == eager[name][-1]
    with pytest.raises(IndexError):
        lazy["targets"][len(eager["targets"])]


def test_ids_are_plain_numbers():
    targets = new_image_sample_grid(make_dataset({1: [[0, 0, 5, 5]]}), (40, 50))["targets"]
    assert json.dumps([[target["gid"], target["aids"]] for target in targets])
    assert type(targets[0]["slices"][0].start) is int


@pytest.mark.parametrize(
    ("dims", "overlap", "message"),
    [
        ((40,), 0, "expected \\(height, width\\)"),
        (40, 0, "window_dims is 40"),
        ((0, 40), 0, "whole numbers above 0"),
        ((40.5, 40), 0, "whole numbers above 0"),
        ("half", 0, "window_dims is 'half'"),
        ((40, 40), 1.0, "range \\[0, 1\\)"),
        ((40, 40), -0.1, "range \\[0, 1\\)"),
        ((40, 40), (0, 0, 0), "one each for \\(height, width\\)"),
        ((40, 40), 0.999, "less than a pixel"),
    ],
)
def test_windows_that_make_no_sense_are_refused(dims, overlap, message):
    with pytest.raises(ArgumentError, match=message):
        new_image_sample_grid(make_dataset({1: []}), dims, overlap)


def test_an_image_without_size_is_named():
    dset = make_dataset({1: []})
    del dset.imgs[1]["height"]
    with pytest.raises(MissingSourceError, match="image 1 has no width and height"):
        new_image_sample_grid(dset, (5, 5))


@pytest.mark.parametrize("window", [(2, 20, 30), (3, 15, 60), (1, 40, 7), (9, 90, 90), (2, None, 30)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, (0.5, 0, 0.2)])
def test_videos_are_covered_in_time_and_space(window, overlap):
    dset = video_dataset()
    overlap = overlap if window[0] > 1 else 0.0
    grid = new_video_sample_grid(dset, window, overlap)
    expected = []
    for vidid, shape in ((4, (5, 40, 60)), (2, (1, 20, 30))):
        frames = sorted((gid for gid, img in dset.imgs.items() if img.get("video_id") == vidid), reverse=True)
        slider = kwarray.SlidingWindow(shape, window, overlap=overlap, keepbound=True, allow_overshoot=True)
        expected += [(vidid, time, space, frames[time]) for time, *space in slider]
    found = [(t["vidid"], t["time_slice"], list(t["space_slice"]), t["gids"]) for t in grid["targets"]]
    assert found == expected


def test_video_windows_hold_what_touches_them_in_the_space_of_the_video():
    dset = video_dataset()
    for target in new_video_sample_grid(dset, (2, 20, 30))["targets"]:
        expected = []
        for gid in target["gids"]:
            for aid, box in ltrb_of(dset, gid).items():
                in_video = box * 0.5 + [3, 4, 3, 4] if gid == 29 else box
                if touches(in_video, box_of(target["space_slice"])):
                    expected.append(aid)
        assert target["aids"] == sorted(expected)


def test_time_and_space_can_be_given_apart():
    dset = video_dataset()
    whole = new_video_sample_grid(dset, (2, 20, 30))
    assert new_video_sample_grid(dset, time_dim=2, space_dims=(20, 30)) == whole
    assert new_video_sample_grid(dset, (2, 9, 9), space_dims=(20, 30)) == whole
    assert new_video_sample_grid(dset, (5, 20, 30), time_dim=2) == whole
    assert [t["gids"] for t in new_video_sample_grid(dset, time_dim=3)["targets"]][-1] == [3]


def test_a_frame_that_is_ignored_counts_for_its_share_of_the_window():
    dset = video_dataset()
    ignore = dset.add_category("ignore")
    frames = [30, 29, 28, 27, 26]
    for gid in (28, 27):
        dset.add_annotation(image_id=gid, category_id=ignore, bbox=[0, 0, 60, 40])
    kept = {tuple(t["gids"]) for t in new_video_sample_grid(dset, (2, "full", "full"))["targets"]}
    pairs = {tuple(frames[i : i + 2]) for i in (0, 2, 3)} | {(3,)}
    assert kept == pairs - {(28, 27)}


def test_a_dataset_without_videos_gives_an_empty_grid():
    grid = new_video_sample_grid(make_dataset({1: [[0, 0, 5, 5]]}), (2, 20, 30))
    assert all(len(part) == 0 for part in grid.values())


def test_a_video_without_size_is_named():
    dset = video_dataset()
    del dset.index.videos[4]["width"]
    with pytest.raises(ArgumentError, match=r"video 4 has height 40 and width None"):
        new_video_sample_grid(dset, (2, 20, 30))


@given(st.lists(st.tuples(*[st.integers(0, 12)] * 4), min_size=1, max_size=6))
def test_the_area_of_a_union_is_that_of_the_pixels_it_covers(corners):
    boxes = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners], float)
    pixels = itertools.product(range(12), range(12))
    covered = sum(any(intersection((x, y, x + 1, y + 1), box) for box in boxes) for x, y in pixels)
    assert union_area(boxes.T) == covered
    assert union_area(boxes[:1].T) == area(boxes[0])


@pytest.mark.parametrize(
    ("kwargs", "positive"),
    [
        ({}, {2, 3}),
        ({"classes_of_interest": ["star"]}, {2}),
        ({"classes_of_interest": ["STAR"]}, {2}),
        ({"classes_of_interest": "Star"}, {2}),
        ({"classes_of_interest": {"star", "EFF"}}, {2, 3}),
        ({"classes_of_interest": ["absent"]}, set()),
        ({"classes_of_interest": []}, {2, 3}),
        ({"negative_classes": ["STAR"]}, {1, 3, 4}),
        ({"negative_classes": "star"}, {1, 3, 4}),
        ({"negative_classes": None}, {1, 2, 3, 4}),
        ({"negative_classes": ("background", "EFF")}, {2, 4}),
    ],
)
@pytest.mark.parametrize("task", ["image", "video"])
def test_names_of_categories_are_compared_without_regard_to_case(task, kwargs, positive):
    dset = kwcoco.CocoDataset()
    for gid, name in enumerate(["Background", "Star", "eff", "Ignore"], start=1):
        dset.add_video(f"v{gid}", id=gid, width=10, height=10)
        dset.add_image(id=gid, file_name=f"{gid}.png", width=10, height=10, video_id=gid, frame_index=0)
        dset.add_annotation(image_id=gid, category_id=dset.add_category(name), bbox=[1, 1, 3, 3])
    make = {"image": new_image_sample_grid, "video": new_video_sample_grid}[task]
    grid = make(dset, "full", **kwargs)
    found = [grid["targets"][i] for i in grid["positives_indexes"]]
    assert {target["aids"][0] for target in found} == positive
    dset.anns[4]["bbox"] = [0, 0, 10, 10]
    assert len(make(dset, "full", verbose=0)["targets"]) == 3


def test_targets_follow_the_order_of_the_dataset():
    targets = new_image_sample_grid(make_dataset({gid: [] for gid in GIDS}), "full")["targets"]
    assert [target["gid"] for target in targets] == list(GIDS)
