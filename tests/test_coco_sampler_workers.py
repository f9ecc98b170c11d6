"""Samplers that are copied, pickled, or used by threads and processes."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pathlib
import pickle

import numpy as np
import pytest
from helpers_datasets import DEEP, ELSEWHERE, GRAY, HOLES, RGB, one_image, stills
from helpers_images import random_pixels, write_png
from helpers_processes import process_pool
from helpers_samples import assert_same_samples, load_all, load_all_and_process
from helpers_threads import PATIENCE, in_threads

import ndsampler
from ndsampler import CocoSampler


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return stills(tmp_path_factory.mktemp("stills"))


@pytest.fixture(scope="module")
def sampler(data):
    return CocoSampler(data.dset)


COPIES = {
    "pickle": lambda sampler: pickle.loads(pickle.dumps(sampler)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("backend", [None, "npy", "cog"])
@pytest.mark.parametrize("used", [True, False])
def test_a_copy_gives_the_same_samples(data, tmp_path, how, backend, used):
    sampler = CocoSampler(data.dset, workdir=tmp_path, backend=backend)
    sampler.preselect(n_pos=3, n_neg=2, rng=0)
    if used:
        load_all(sampler)
    again = COPIES[how](sampler)
    assert_same_samples(load_all(again), load_all(sampler))
    assert again.n_positives == 3
    assert again.hashid == sampler.hashid
    for index in range(5):
        np.testing.assert_array_equal(again.load_item(index)["im"], sampler.load_item(index)["im"])


def test_a_sampler_that_waits_for_init_can_be_copied(data):
    for make in COPIES.values():
        again = make(CocoSampler(data.dset, autoinit=False))
        assert again.frames is None
        again.init()
        assert again.load_sample({"gid": GRAY})["annots"]["aids"].tolist() == [ELSEWHERE]


def test_a_pickled_sampler_leaves_what_it_read_behind(tmp_path):
    path = write_png(tmp_path / "a.png", random_pixels("uint8", 3, (300, 400)))
    sampler = CocoSampler(one_image(path, (300, 400)))
    before = len(pickle.dumps(sampler))
    sampler.load_sample({"gid": 1})
    assert len(pickle.dumps(sampler)) < before + 20_000


@pytest.mark.parametrize("backend", [None, "npy", "cog"])
def test_threads_get_the_same_samples(data, sampler, tmp_path, backend):
    shared = CocoSampler(data.dset, workdir=tmp_path, backend=backend)
    expected = load_all(sampler)
    for found in in_threads(lambda _: load_all(shared), range(12), threads=4):
        assert_same_samples(found, expected)


@pytest.mark.parametrize(("method", "backend"), [("fork", None), ("fork", "cog"), ("spawn", "cog")])
def test_a_worker_gives_the_same_samples(data, tmp_path, method, backend):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    sampler = CocoSampler(data.dset, workdir=tmp_path, backend=backend)
    expected = load_all(sampler)
    with process_pool(method, 1) as pool:
        found, pid = pool.submit(load_all_and_process, sampler).result(PATIENCE)
    assert pid != os.getpid()
    assert_same_samples(found, expected)
    assert_same_samples(load_all(sampler), expected)


def test_hundreds_of_samples_can_be_held_with_few_open_files(tmp_path):
    if not pathlib.Path("/proc/self/fd").is_dir():
        pytest.skip("open files are counted in /proc")
    data = stills(tmp_path)
    sampler = CocoSampler(data.dset, workdir=tmp_path, backend="npy")
    sampler.load_sample({"gid": RGB})
    before = len(os.listdir("/proc/self/fd"))
    held = [sampler.load_sample({"gid": gid}, with_annots=False)["im"] for gid in [RGB, GRAY, DEEP] * 100]
    assert len(os.listdir("/proc/self/fd")) <= before + 10
    np.testing.assert_array_equal(held[-1], data.pixels[DEEP])


def test_the_documented_names_are_members():
    for name in ("CocoSampler", "CocoFrames", "CocoRegions"):
        assert name in ndsampler.__all__
    members = dir(CocoSampler)
    wanted = (
        "load_sample load_item load_positive load_negative load_image load_image_with_annots "
        "load_annotations load_annots load_target_annots preselect coerce demo new_sample_grid init"
    )
    assert [name for name in wanted.split() if name not in members] == []


def test_a_polygon_of_a_positive_sits_on_its_pixels(sampler):
    sample = sampler.load_sample({"aid": HOLES, "pad": 2})
    polygon = sample["annots"]["rel_ssegs"].data[sample["target"]["annot_idx"]]
    height, width = sample["im"].shape[:2]
    (part,) = polygon.data
    corners = part.data["exterior"].data
    assert (corners.min(axis=0) >= 2).all()
    assert (corners.max(axis=0) <= [width - 2, height - 2]).all()
