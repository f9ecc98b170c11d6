"""Splits of datasets: what lies in each, that they share no pixels, and that grids keep to them."""

from __future__ import annotations

import itertools

import kwcoco
import numpy as np
import pytest

import ndsampler
from ndsampler.errors import ArgumentError, ArgumentTypeError, NDSamplerError, OverlapError, UnknownIdError
from ndsampler.pools.sample_grid import new_image_sample_grid, new_video_sample_grid
from ndsampler.training import assert_disjoint, spatial_split

FRACTIONS = (0.5, 0.25, 0.25)


def stills(count: int, dims: tuple[int, int] = (100, 130)) -> kwcoco.CocoDataset:
    """Return a dataset of images of one size, with ids 10, 11, ..."""
    images = [
        {"id": 10 + i, "file_name": f"{i}.png", "height": dims[0], "width": dims[1]} for i in range(count)
    ]
    return kwcoco.CocoDataset({"images": images, "categories": [], "annotations": []})


def videos(count: int, frames: int = 3, scale: float = 1.0) -> kwcoco.CocoDataset:
    """Return a dataset of videos of 64 x 96 pixels whose frames are scaled onto them, and one still image."""
    dset = stills(1)
    for vidid in range(1, count + 1):
        dset.add_video(name=f"v{vidid}", id=vidid, width=96, height=64)
        for index in range(frames):
            dset.add_image(
                file_name=f"v{vidid}_{index}.png",
                width=int(96 / scale),
                height=int(64 / scale),
                video_id=vidid,
                frame_index=index,
                warp_img_to_vid={"type": "affine", "scale": scale},
            )
    return dset


def canvas_of(targets, gid, dims) -> np.ndarray:
    """Return which pixels of an image the windows of targets cover."""
    covered = np.zeros(dims, bool)
    for target in targets:
        if target["gid"] == gid:
            covered[target["slices"]] = True
    return covered


def random_windows(dset, count, seed):
    """Return targets of random places and sizes."""
    rng = np.random.default_rng(seed)
    targets = []
    for gid in rng.choice(list(dset.imgs), count).tolist():
        height, width = dset.imgs[gid]["height"], dset.imgs[gid]["width"]
        y0, x0 = rng.integers(0, (height - 4, width - 4))
        rows, columns = rng.integers(1, 40, 2)
        y1, x1 = min(y0 + rows, height), min(x0 + columns, width)
        targets.append({"gid": gid, "slices": (slice(int(y0), int(y1)), slice(int(x0), int(x1)))})
    return targets


@pytest.mark.parametrize(("by", "count"), [("image", 8), ("video", 8), ("block", 64), ((20, 30), 25)])
def test_each_split_gets_its_share_and_none_shares_a_pixel(by, count):
    dset = {"image": stills(8), "video": videos(7)}.get(by, stills(1))
    splits = spatial_split(dset, FRACTIONS, by=by)
    shares = [int(split._owned.sum()) for split in splits]
    assert sum(shares) == count
    assert all(abs(share - part * count) <= 1 for share, part in zip(shares, FRACTIONS))
    assert_disjoint(*splits)


@pytest.mark.parametrize("by", ["image", "block"])
def test_a_seed_decides_the_splits(by):
    dset = stills(20)
    chosen = [
        [split._owned.tolist() for split in spatial_split(dset, FRACTIONS, by=by, seed=s)] for s in (1, 1, 2)
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_what_the_fractions_leave_is_in_no_split():
    train, test = spatial_split(stills(10), (0.3, 0.2))
    assert len(train.gids) == 3
    assert len(test.gids) == 2
    assert set(train.gids).isdisjoint(test.gids)


@pytest.mark.parametrize(("by", "buffer"), [("block", 0), ("block", 5), ((23, 31), 1), ((23, 31), 6)])
def test_windows_of_blocks_lie_in_their_split_and_keep_the_buffer(by, buffer):
    dset = stills(2, (90, 120))
    splits = spatial_split(dset, (0.6, 0.4), buffer, by)
    targets = random_windows(dset, 1000, 0)
    chosen = [split.select(targets) for split in splits]
    assert min(map(len, chosen)) > 20
    assert_disjoint(*chosen)
    for gid in dset.imgs:
        first, second = (canvas_of(part, gid, (90, 120)) for part in chosen)
        grown = np.zeros((90 + 2 * buffer, 120 + 2 * buffer), bool)
        for dy, dx in itertools.product(range(2 * buffer + 1), repeat=2):
            grown[dy : dy + 90, dx : dx + 120] |= first
        assert not (grown[buffer : buffer + 90, buffer : buffer + 120] & second).any()


def test_contains_is_true_for_the_boxes_whose_pixels_all_belong_to_the_split():
    dset = stills(1, (90, 120))
    split = spatial_split(dset, (0.5, 0.5), by=(20, 30))[0]
    _, cells = split._cells.boxes(np.nonzero(split._owned)[0])
    mask = np.zeros((90, 120), bool)
    for left, top, right, bottom in cells.astype(int).tolist():
        mask[top:bottom, left:right] = True
    targets = random_windows(dset, 2000, 1)
    kept = split.select(targets)
    assert 50 < len(kept) < 1900
    assert kept == [target for target in targets if mask[target["slices"]].all()]


def test_windows_beyond_the_border_are_judged_by_their_part_in_the_image():
    split = spatial_split(stills(1), (1.0,), by="block")[0]
    boxes = [[-50, -50, 10, 10], [120, 90, 500, 500], [-50, 0, 0, 10], [131, 0, 140, 10]]
    assert split.contains(np.full(4, 10), np.array(boxes)).tolist() == [True, True, False, False]


@pytest.mark.parametrize("by", ["image", "block", (20, 30)])
def test_a_grid_with_a_split_has_the_windows_that_lie_in_it(by):
    dset = stills(4)
    splits = spatial_split(dset, (0.5, 0.5), by=by)
    every = new_image_sample_grid(dset, (10, 13), 0.5, verbose=0)["targets"]
    grids = [new_image_sample_grid(dset, (10, 13), 0.5, split=split, verbose=0) for split in splits]
    assert [grid["targets"] for grid in grids] == [split.select(every) for split in splits]
    assert all(len(grid["negatives_indexes"]) == len(grid["targets"]) > 0 for grid in grids)
    assert_disjoint(*grids)


@pytest.mark.parametrize("by", ["image", "video", "block"])
def test_a_grid_over_videos_has_the_windows_whose_frames_all_lie_in_the_split(by):
    dset = videos(4, scale=2.0)
    splits = spatial_split(dset, (0.6, 0.4), by=by, seed=3)
    every = new_video_sample_grid(dset, (1, 8, 12), verbose=0)["targets"]
    grids = [new_video_sample_grid(dset, (1, 8, 12), split=split, verbose=0)["targets"] for split in splits]
    assert [split.select(every) for split in splits] == grids
    assert_disjoint(*grids)
    assert min(map(len, grids)) > 0
    if by != "image":
        places = [{(t["vidid"], str(t["space_slice"])) for t in grid} for grid in grids]
        assert places[0].isdisjoint(places[1])
    for split, grid in zip(splits, grids):
        whole = new_video_sample_grid(dset, (3, 8, 12), split=split, verbose=0)["targets"]
        alone = {(str(t["space_slice"]), t["gids"][0]) for t in grid}
        assert all((str(t["space_slice"]), gid) in alone for t in whole for gid in t["gids"])


def test_frames_of_a_video_share_blocks_in_video_space():
    dset = videos(1, scale=2.0)
    train, test = spatial_split(dset, (0.5, 0.5), by="block")
    in_video = new_video_sample_grid(dset, (1, 8, 12), verbose=0)["targets"]
    in_image = [
        {"gid": t["gids"][0], "slices": tuple(slice(s.start // 2, s.stop // 2) for s in t["space_slice"])}
        for t in in_video
    ]
    for split in (train, test):
        assert len(split.select(in_image)) == len(split.select(in_video)) > 0


def test_the_sampler_passes_a_split_on():
    sampler = ndsampler.CocoSampler.demo("shapes8")
    train, test = spatial_split(sampler.dset, (0.75, 0.25))
    grids = [sampler.new_sample_grid("image_detection", (300, 300), split=split) for split in (train, test)]
    assert [sorted({t["gid"] for t in grid["targets"]}) for grid in grids] == [train.gids, test.gids]


def test_images_that_share_a_file_stay_together():
    dset = stills(40)
    for i in range(0, 40, 2):
        dset.imgs[11 + i]["file_name"] = f"./{i}.png"
    for by in ("image", "video"):
        splits = spatial_split(dset, (0.5, 0.5), by=by)
        assert all({gid ^ 1 for gid in split.gids} == set(split.gids) for split in splits)
    first, second = spatial_split(dset, (0.5, 0.5), by="block")
    at = np.array([[0, 0, 5, 5]])
    assert all(
        first.contains(np.array([gid]), at) == first.contains(np.array([gid + 1]), at)
        for gid in range(10, 50, 2)
    )
    assert first.gids == second.gids


def test_targets_of_pools_are_selected_by_the_window_that_they_will_have():
    sampler = ndsampler.CocoSampler.demo("shapes8")
    sampler.preselect(n_pos=8, n_neg=40, window_dims=(64, 64), rng=0)
    targets = [sampler.regions.get_item(i) for i in range(sampler.n_samples)]
    splits = spatial_split(sampler.dset, (0.6, 0.4), by="block")
    chosen = [split.select(targets) for split in splits]
    assert min(map(len, chosen)) > 0
    for split, part in zip(splits, chosen):
        for target in part:
            rows, columns = sampler.load_sample(target, with_annots=False)["target"]["space_slice"]
            box = [[columns.start, rows.start, columns.stop, rows.stop]]
            assert split.contains(np.array([target["gid"]]), np.array(box)).all()
    assert_disjoint(*chosen)


def brute_force_sharing(first, second) -> bool:
    """Return whether any two windows share a pixel, by comparing each with each."""
    return any(
        a["gid"] == b["gid"]
        and all(max(p.start, q.start) < min(p.stop, q.stop) for p, q in zip(a["slices"], b["slices"]))
        for a in first
        for b in second
    )


@pytest.mark.parametrize("seed", range(12))
def test_assert_disjoint_finds_any_two_windows_that_share_a_pixel(seed):
    dset = stills(6)
    splits = [random_windows(dset, 6, [seed, part]) for part in range(3)]
    if any(brute_force_sharing(a, b) for a, b in itertools.combinations(splits, 2)):
        with pytest.raises(OverlapError, match="share pixels"):
            assert_disjoint(*splits)
    else:
        assert_disjoint(*splits)


def test_the_error_names_the_windows_that_share_a_pixel():
    first = [{"gid": 7, "slices": (slice(0, 5), slice(10, 20))}]
    second = [{"gid": 7, "slices": (slice(4, 9), slice(19, 30))}, {"gid": 7}]
    message = "rows 4 to 9 and columns 19 to 30 on image 7 of split 1 and .* rows 0 to 5 .* 1 other pairs"
    with pytest.raises(AssertionError, match=message):
        assert_disjoint(first, second)
    assert_disjoint(first, [{"gid": 8}], [{"gid": 7, "bbox": [20, 0, 3, 3]}], [])


def test_the_splits_of_two_calls_are_not_disjoint():
    dset = stills(10)
    with pytest.raises(OverlapError):
        assert_disjoint(spatial_split(dset, (0.9,), seed=1)[0], spatial_split(dset, (0.9,), seed=2)[0])


WRONG = {
    "no fractions": ({"fractions": ()}, "fractions is ()"),
    "above one": ({"fractions": (0.8, 0.3)}, "a sum of at most 1"),
    "negative": ({"fractions": (1.2, -0.2)}, "above 0"),
    "NaN": ({"fractions": (float("nan"),)}, "fractions is"),
    "text": ({"fractions": "most"}, "fractions is 'most'"),
    "too few": ({"fractions": (0.9, 0.05, 0.05)}, "there are 4"),
    "unknown by": ({"by": "pixel"}, "by is 'pixel'"),
    "half a size": ({"by": (64,)}, "(height, width) of the blocks"),
    "no size": ({"by": (0, 8)}, "(height, width) of the blocks"),
    "a buffer of images": ({"buffer": 3}, "only blocks have a buffer"),
    "negative buffer": ({"buffer": -3, "by": "block"}, "buffer=-3"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_split_that_cannot_be_made_is_an_error(case):
    changed, message = WRONG[case]
    with pytest.raises(ArgumentError) as info:
        spatial_split(stills(4), **{"fractions": (0.5, 0.5), **changed})
    assert isinstance(info.value, NDSamplerError)
    assert message in str(info.value)


NOT_A_SIZE = ["x", [1], {"a": 1}, float("nan"), float("inf"), 10**30, -5]

GARBLED = [
    *(("file_name", value) for value in (-1, 1.5, b"a.png", True)),
    *(("assets", value) for value in (-1, "x", [1], [None], [{"file_name": 5}], {"a": 1})),
    *(("warp_img_to_vid", value) for value in (0, "x", [], {"scale": 0}, {"offset": [1e300, 0]})),
    *(("video_id", value) for value in (0, 99)),
    *((("video", key), value) for key in ("width", "height") for value in NOT_A_SIZE),
]


def gids_or_error(dset, by):
    """Return the images of two splits, or the error of the library."""
    try:
        return set().union(*(split.gids for split in spatial_split(dset, (0.6, 0.4), by=by)))
    except NDSamplerError as error:
        return error


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("key", "value"), GARBLED, ids=repr)
def test_a_garbled_dataset_is_divided_or_an_error_with_the_record(key, value):
    images = [
        {"id": gid, "file_name": f"{gid}.png", "width": 64, "height": 64, "video_id": 1, "frame_index": gid}
        for gid in (1, 2, 3)
    ]
    content = {"images": images, "videos": [{"id": 1, "name": "v", "width": 64, "height": 64}]}
    record = content["videos"][0] if isinstance(key, tuple) else images[1]
    record[key[1] if isinstance(key, tuple) else key] = value
    name = "video 1" if isinstance(key, tuple) else "image 2"
    dset = kwcoco.CocoDataset(content)
    for by in ("image", "block", (32, 32)):
        found = gids_or_error(dset, by)
        assert found == {1, 2, 3} or name in str(found)


def test_the_stated_size_of_an_image_takes_no_memory():
    side = 2**31 - 1
    dset = kwcoco.CocoDataset({"images": [{"id": 1, "file_name": "a", "width": side, "height": side}]})
    assert len(spatial_split(dset, (0.5, 0.5), by="block")) == 2
    for by in ((1, 1), (256, 256)):
        with pytest.raises(ArgumentError, match="blocks of"):
            spatial_split(dset, (0.5, 0.5), by=by)


def test_windows_that_are_not_understood_are_errors():
    split = spatial_split(stills(4), (0.5, 0.5))[0]
    with pytest.raises(UnknownIdError, match="image id is 99"):
        split.select([{"gid": 99}])
    for target in ({"slices": (slice(0, 4), 3), "gid": 10}, {"gid": 10, "cx": 1, "cy": None, "width": 3}):
        with pytest.raises(ArgumentError, match="has no valid window"):
            split.select([target])
    with pytest.raises(ArgumentError, match="expected a dictionary with 'gid'"):
        split.select([{"vidid": 1}])
    with pytest.raises(ArgumentError, match="the split is 'train'"):
        assert_disjoint("train")
    with pytest.raises(ArgumentError, match="windows of one space at a time"):
        assert_disjoint([{"gid": 1}], [{"gids": [1, 2], "space_slice": (slice(0, 4), slice(0, 4))}])
    with pytest.raises(ArgumentTypeError, match="split is 'train'"):
        new_image_sample_grid(stills(1), (10, 10), split="train")
