"""Images that a sampler loads, and its pools of positives and negatives."""

from __future__ import annotations

import copy
import os
import pathlib

import kwarray
import numpy as np
import pytest
from helpers_datasets import (
    ASSETS,
    BOXED,
    DEEP,
    DIMS,
    ELSEWHERE,
    EMPTY,
    GRAY,
    RGB,
    SHOWN,
    STAR,
    one_image,
    stills,
)
from helpers_images import random_pixels, write_png
from helpers_samples import load_all

from ndsampler import CocoSampler
from ndsampler.errors import (
    MissingNegativePool,
    MissingSourceError,
    SourceError,
    UnknownIdError,
    UnsupportedTaskError,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return stills(tmp_path_factory.mktemp("stills"))


@pytest.fixture(scope="module")
def sampler(data):
    return CocoSampler(data.dset)


@pytest.fixture
def pooled(tmp_path):
    """Return a sampler of its own that may preselect."""
    return CocoSampler(stills(tmp_path).dset)


# --- images --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("backend", [None, "npy", "cog"])
def test_an_image_is_loaded_whole(data, tmp_path, backend, cache):
    sampler = CocoSampler(data.dset, workdir=tmp_path, backend=backend)
    for gid, pixels in data.pixels.items():
        found = np.asarray(sampler.load_image(gid, cache=cache)[:])
        np.testing.assert_array_equal(found.reshape(pixels.shape), pixels)
    assert sampler.load_image(ASSETS, cache=cache).shape == (*DIMS, 3)


def test_an_image_comes_with_its_entry_and_annotations(data, sampler):
    before = copy.deepcopy(data.dset.imgs[GRAY])
    entry, anns = sampler.load_image_with_annots(GRAY)
    assert list(entry) == [*before, "imdata"]
    np.testing.assert_array_equal(entry.pop("imdata"), data.pixels[GRAY][:, :, 0])
    assert entry == before == data.dset.imgs[GRAY]
    assert [ann["id"] for ann in anns] == [ELSEWHERE]
    assert anns[0] is data.dset.anns[ELSEWHERE]


def test_annotations_are_those_of_the_dataset_in_the_order_of_their_ids(data, sampler):
    anns = sampler.load_annotations(RGB)
    assert [ann["id"] for ann in anns] == SHOWN
    assert all(ann is data.dset.anns[ann["id"]] for ann in anns)
    assert sampler.load_annotations(EMPTY) == []


@pytest.mark.parametrize("name", ["load_image", "load_annotations", "load_image_with_annots"])
def test_an_unknown_image_is_a_key_error(sampler, name):
    with pytest.raises(UnknownIdError, match="image id is 9999") as caught:
        getattr(sampler, name)(9999)
    assert isinstance(caught.value, KeyError)


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "missing": (pathlib.Path.unlink, MissingSourceError),
    "empty": (lambda path: path.write_bytes(b""), SourceError),
    "truncated": (_truncate, SourceError),
    "foreign": (lambda path: path.write_text("no image at all"), SourceError),
}


@pytest.mark.parametrize("backend", [None, "npy", "cog"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_with_its_image_and_others_keep_working(tmp_path, damage, backend):
    data = stills(tmp_path)
    spoil, error = DAMAGES[damage]
    spoil(tmp_path / "rgb.png")
    sampler = CocoSampler(data.dset, workdir=tmp_path / "work", backend=backend)
    for call in (sampler.load_sample, sampler.load_annots):
        if call == sampler.load_sample:
            with pytest.raises(error, match=rf"image {RGB}.*rgb\.png") as caught:
                call({"gid": RGB, "slices": (slice(20, 30), slice(4, 9))})
            assert isinstance(caught.value, OSError)
        else:
            assert call({"gid": RGB})["aids"].tolist() == SHOWN
    for gid in (GRAY, DEEP):
        np.testing.assert_array_equal(sampler.load_sample({"gid": gid})["im"], data.pixels[gid])


@pytest.mark.parametrize("backend", [None, "npy", "cog"])
def test_a_changed_file_gives_its_new_pixels(tmp_path, backend):
    path = write_png(tmp_path / "a.png", random_pixels("uint8", 3, (9, 12), seed=1))
    sampler = CocoSampler(one_image(path, (9, 12)), workdir=tmp_path, backend=backend)
    sampler.load_sample({"gid": 1})
    newer = random_pixels("uint8", 3, (9, 12), seed=2)
    write_png(path, newer)
    os.utime(path, ns=(1, os.stat(path).st_mtime_ns + 10**9))
    np.testing.assert_array_equal(sampler.load_sample({"gid": 1})["im"], newer)


def test_an_added_image_can_be_sampled(tmp_path):
    sampler = CocoSampler(stills(tmp_path).dset)
    load_all(sampler)
    pixels = random_pixels("uint8", 3, (7, 8), seed=9)
    path = write_png(tmp_path / "new.png", pixels)
    gid = sampler.dset.add_image(file_name=str(path), width=8, height=7)
    aid = sampler.dset.add_annotation(gid, category_id=STAR, bbox=[1, 2, 3, 4])
    sample = sampler.load_sample({"gid": gid})
    np.testing.assert_array_equal(sample["im"], pixels)
    assert sample["annots"]["aids"].tolist() == [aid]
    assert gid in sampler.image_ids
    assert sampler.load_sample({"aid": aid})["im"].shape == (4, 3, 3)


def test_an_added_category_appears(tmp_path):
    sampler = CocoSampler(stills(tmp_path).dset)
    assert "moon" not in sampler.load_sample({"gid": RGB})["classes"]
    sampler.dset.add_category("moon")
    assert "moon" in sampler.load_sample({"gid": RGB})["classes"]


# --- pools ---------------------------------------------------------------------------------------


def test_a_positive_is_the_target_of_its_row(sampler):
    for index in range(sampler.n_positives):
        row = sampler.regions.get_positive(index)
        sample = sampler.load_positive(index)
        assert {key: sample["target"][key] for key in row} == row
        assert list(sample["target"])[: len(row)] == list(row)
        expected = sampler.load_sample(row)
        np.testing.assert_array_equal(sample["im"], expected["im"])
        assert sample["annots"]["aids"][sample["target"]["annot_idx"]] == row["aid"]


@pytest.mark.parametrize("seed", range(5))
def test_a_random_positive_is_the_row_that_the_generator_draws(sampler, seed):
    index = kwarray.ensure_rng(seed).randint(0, sampler.n_positives)
    expected = sampler.regions.get_positive(index)["aid"]
    assert sampler.load_positive(rng=seed)["target"]["aid"] == expected
    assert sampler.load_positive(rng=np.random.RandomState(seed))["target"]["aid"] == expected


def test_items_are_positives_then_negatives(pooled):
    n_pos, n_neg = pooled.preselect(n_pos=4, n_neg=3, window_dims=(8, 9), rng=1)
    assert (n_pos, n_neg) == (pooled.n_positives, pooled.regions.n_negatives)
    assert len(pooled) == n_pos + n_neg
    for index in range(len(pooled)):
        sample = pooled.load_item(index)
        direct = pooled.load_positive(index) if index < n_pos else pooled.load_negative(index - n_pos)
        np.testing.assert_array_equal(sample["im"], direct["im"])
        assert (sample["target"]["aid"] == -1) == (index >= n_pos)
    assert pooled.load_item(len(pooled) - 1)["im"].shape[:2] == (8, 9)


def test_a_random_item_is_the_row_that_the_generator_draws(pooled):
    pooled.preselect(n_pos=4, n_neg=3, rng=1)
    for seed in range(4):
        index = kwarray.ensure_rng(seed).randint(0, len(pooled))
        expected = pooled.load_item(index)
        found = pooled.load_item(None, rng=seed)
        np.testing.assert_array_equal(found["im"], expected["im"])


def test_an_index_below_zero_counts_from_the_end(pooled):
    for pool in (None, 2):
        pooled.preselect(n_neg=pool, window_dims=(8, 9), rng=0)
        for index in (0, len(pooled) - 1):
            expected = pooled.load_item(index)["target"]
            assert pooled.load_item(index - len(pooled))["target"] == expected
    assert pooled.load_item(-1)["target"] == pooled.load_negative(1)["target"]
    with pytest.raises(IndexError, match="out of bounds"):
        pooled.load_item(-len(pooled) - 1)


def test_an_index_beyond_the_pools_is_refused(pooled):
    with pytest.raises(MissingNegativePool, match="preselect"):
        pooled.load_item(len(pooled))
    with pytest.raises(MissingNegativePool, match="preselect"):
        pooled.load_negative(0)
    with pytest.raises(IndexError):
        pooled.load_positive(999)


def test_a_negative_is_made_for_the_occasion_when_there_is_no_pool(sampler):
    first, second = (sampler.load_negative(rng=3, target={"window_dims": (5, 6)}) for _ in range(2))
    assert first["im"].shape[:2] == (5, 6)
    assert first["target"]["aid"] == first["target"]["annot_idx"] == -1
    np.testing.assert_array_equal(first["im"], second["im"])
    assert first["target"] == second["target"]


@pytest.mark.parametrize("name", ["load_item", "load_positive", "load_negative"])
def test_the_callers_keys_are_laid_over_those_of_the_pool(pooled, name):
    pooled.preselect(n_pos=3, n_neg=2, rng=0)
    mine = {"window_dims": (6, 7), "pad": 1, "scale": 2, "note": "mine"}
    kept = copy.deepcopy(mine)
    sample = getattr(pooled, name)(0, target=mine, with_annots="boxes", visible_thresh=0.2)
    assert mine == kept
    assert sample["im"].shape[:2] == (16, 18)
    assert {key: sample["target"][key] for key in mine} == mine
    assert set(sample["annots"]["rel_ssegs"]) <= {None}
    assert "annots" not in getattr(pooled, name)(0, with_annots=False)


def test_preselection_is_that_of_the_regions(pooled):
    assert pooled.preselect(n_pos=2, neg_to_pos_ratio=1.5, rng=0) == (2, 3)
    assert pooled.preselect() == (len(BOXED) + 1, 0)


def test_a_grid_is_that_of_the_regions(sampler):
    grid = sampler.new_sample_grid("image_detection", (10, 10), window_overlap=0.5, use_annots=False)
    expected = sampler.regions.new_sample_grid("image_detection", (10, 10), 0.5, use_annots=False)
    assert grid["targets"] == expected["targets"]
    sample = sampler.load_sample(grid["targets"][0])
    assert sample["im"].shape[:2] == (10, 10)
    with pytest.raises(UnsupportedTaskError, match="juggling"):
        sampler.new_sample_grid("juggling", (10, 10))
