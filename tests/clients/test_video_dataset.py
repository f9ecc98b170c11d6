"""The video dataset of kwcoco_dataloader, which is geowatch's too, in worker processes on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from geowatch.tasks.fusion.datamodules import kwcoco_dataset as geowatch_dataset
from in_workers import BACKENDS, STARTS, Items, loaded, plain
from kwcoco_dataloader.tasks.fusion.datamodules import kwcoco_dataset

#: What the frames of an item are compared by.
FRAME_PARTS = ("gid", "modes", "class_idxs", "class_weights", "ann_aids", "box_ltrb", "output_dims")


def video_dataset(dset, **options):
    """Return a dataset of windows without augmentation."""
    found = kwcoco_dataset.KWCocoVideoDataset(
        dset,
        time_dims=2,
        window_dims=(32, 40),
        window_overlap=0.5,
        channels="r|g|b",
        **options,
    )
    found.disable_augmenter = True
    return found


def content(item):
    """Return the frames of an item as values that can be compared."""
    return [plain({key: frame.get(key) for key in FRAME_PARTS}) for frame in item["frames"]]


@pytest.fixture(params=BACKENDS, ids=str)
def dataset(request, video_dset, workdir):
    return video_dataset(video_dset, sampler_backend=request.param, sampler_workdir=workdir)


def some_items(dataset, count=6):
    """Return the items of windows that are spread over the grid: by number, the dataset would draw them."""
    targets = dataset.sample_grid["targets"]
    return Items(dataset, targets[:: len(targets) // count])


def contents(items):
    """Return what the items hold, read by this process."""
    return [content(items[index]) for index in range(len(items))]


def test_geowatch_uses_the_dataset_of_kwcoco_dataloader():
    assert geowatch_dataset.KWCocoVideoDataset is kwcoco_dataset.KWCocoVideoDataset


def test_frames_hold_the_pixels_of_their_windows(dataset, video_dset):
    items = some_items(dataset)
    for target, item in zip(items.indices, items, strict=True):
        assert [frame["gid"] for frame in item["frames"]] == target["gids"]
        for frame in item["frames"]:
            pixels = video_dset.coco_image(frame["gid"]).imdelay("r|g|b").finalize()[target["space_slice"]]
            np.testing.assert_array_equal(frame["modes"]["r|g|b"].permute(1, 2, 0), pixels)


def test_every_backend_gives_the_items_that_are_read_without_one(dataset, video_dset):
    items = some_items(dataset)
    assert contents(items) == contents(Items(video_dataset(video_dset), items.indices))


@pytest.mark.parametrize("start", STARTS)
def test_workers_give_the_items_of_this_process(dataset, start):
    items = some_items(dataset)
    found = loaded(items, start, 2, worker_init_fn=kwcoco_dataset.worker_init_fn)
    assert [content(item) for item in found] == contents(items)


@pytest.mark.parametrize("start", STARTS)
def test_workers_read_a_database_that_they_connect_to_themselves(video_dset, start):
    items = some_items(video_dataset(video_dset.view_sql()))
    found = loaded(items, start, 2, worker_init_fn=kwcoco_dataset.worker_init_fn)
    assert [content(item) for item in found] == contents(items)
    assert contents(items) == contents(Items(video_dataset(video_dset), items.indices))
