"""Threads, forks, spawned processes and pickles give the answers that the page on fork safety promises."""

from __future__ import annotations

import functools
import pathlib
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers_faults import draw_scene
from helpers_processes import Child, forks_beside_threads, needs_fork, process_pool, run_child
from helpers_threads import PATIENCE, in_threads, results, start_thread

import ndsampler
from ndsampler import isect_indexer

THREADS = 6
ROUNDS = 6

WINDOW = (slice(3, 30), slice(5, 40))

# What each object is asked. The answers can be compared by ==.


def ask_sampler(sampler: Any) -> list[Any]:
    samples = [sampler.load_item(index, target={"window_dims": (40, 40)}) for index in range(5)]
    return [(sample["im"].sum(), sample["annots"]["aids"].tolist()) for sample in samples]


def ask_frames(frames: Any) -> list[Any]:
    return [int(frames.load_region(gid, WINDOW).sum()) for gid in frames.image_ids]


def ask_regions(regions: Any) -> list[Any]:
    targets = [regions.get_item(index) for index in range(regions.n_samples)]
    return [targets, regions.find_aids(1, (0, 0, 300, 300)).tolist(), regions.classes.idx_to_node]


def ask_index(index: Any) -> list[Any]:
    gids, boxes = index.random_negatives(4, window_size=(20, 20), rng=0)
    pairs = index.overlapping_pairs(gids, boxes)
    found = [index.overlapping_rows(gid, (0, 0, 400, 400)).tolist() for gid in index.all_gids]
    return [found, gids.tolist(), boxes.data.tolist(), [ids.tolist() for ids in pairs]]


def ask_tree(tree: Any) -> list[Any]:
    energies = np.linspace(-1, 1, 2 * len(tree)).reshape(2, -1)
    probs = tree.hierarchical_softmax(energies, dim=1)
    return [probs.tolist(), tree.decision(probs, dim=1)[0].tolist()]


def ask_toy_sampler(sampler: Any) -> list[Any]:
    return [(int(sampler.load_item(index)["im"].sum()), sampler.n_annots) for index in (0, 3, 12)]


def ask_pixels(pixels: Any) -> list[Any]:
    return [int(pixels[WINDOW].sum()), int(np.asarray(pixels).sum()), pixels.shape]


def ask_sample(sample: Any) -> list[Any]:
    annots = sample["annots"]
    return [
        int(sample["im"].sum()),
        annots["rel_boxes"].data.tolist(),
        annots["frame_dets"][0].data["cids"].tolist() if "cids" in annots["frame_dets"][0].data else None,
        sample["params"]["offset"].tolist(),
        sample["classes"].idx_to_node,
    ]


ASKED: dict[str, Callable[[Any], list[Any]]] = {
    "CocoSampler": ask_sampler,
    "CocoFrames": ask_frames,
    "SimpleFrames": ask_frames,
    "CocoRegions": ask_regions,
    "FrameIntersectionIndex": ask_index,
    "CategoryTree": ask_tree,
    "DynamicToySampler": ask_toy_sampler,
    "FrameView": ask_pixels,
    "array": ask_pixels,
    "memory map": ask_pixels,
    "sample": ask_sample,
}

each_kind = pytest.mark.parametrize("kind", ASKED)


@pytest.fixture
def make(tmp_path):
    """Return a function from the name of a kind to an object that has not been used yet."""
    scene = draw_scene(tmp_path / "images", 3)

    def make_sampler(backend: str) -> ndsampler.CocoSampler:
        return ndsampler.CocoSampler.demo("shapes8", workdir=tmp_path / "work", backend=backend)

    def make_preselected() -> ndsampler.CocoSampler:
        sampler = make_sampler("cog")
        sampler.preselect(n_pos=3, n_neg=2, window_dims=(40, 40), rng=0)
        return sampler

    makers = {
        "CocoSampler": make_preselected,
        "CocoFrames": lambda: make_sampler("cog").frames,
        "SimpleFrames": lambda: scene.frames(tmp_path / "simple", "cog"),
        "CocoRegions": lambda: make_preselected().regions,
        "FrameIntersectionIndex": lambda: ndsampler.FrameIntersectionIndex.demo("shapes8"),
        "CategoryTree": lambda: ndsampler.CategoryTree.demo("btree", r=3, h=3),
        "DynamicToySampler": lambda: ndsampler.DynamicToySampler(10, seed=0, gsize=(64, 48)),
        "FrameView": lambda: make_sampler("cog").load_image(1),
        "array": lambda: make_sampler("cog").load_image(1, cache=False),
        "memory map": lambda: make_sampler("npy").load_image(1),
        "sample": lambda: make_sampler("npy").load_sample({"gid": 1}),
    }
    return lambda kind: makers[kind]()


def ask_many(asked: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the answers of objects by kind; runs in other processes."""
    return {kind: ASKED[kind](thing) for kind, thing in asked.items()}


@pytest.fixture
def fast_switching():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@each_kind
def test_threads_share_an_object_from_its_first_use(kind, make, fast_switching):
    expected = ASKED[kind](make(kind))
    shared = make(kind)
    begun = threading.Barrier(THREADS)

    def ask() -> list[Any]:
        begun.wait(60)
        return [ASKED[kind](shared) for _ in range(3)]

    assert results([start_thread(ask) for _ in range(THREADS)]) == [[expected] * 3] * THREADS


@needs_fork
@forks_beside_threads
@each_kind
def test_forks_use_what_threads_of_their_parent_are_using(kind, make):
    expected = ASKED[kind](make(kind))
    shared = make(kind)
    stop = threading.Event()

    def keep_asking() -> bool:
        right = True
        while not stop.is_set():
            right &= ASKED[kind](shared) == expected
        return right

    tasks = [start_thread(keep_asking) for _ in range(2)]
    try:
        for _ in range(ROUNDS):
            assert run_child(lambda: ASKED[kind](shared) == expected) == "True"
    finally:
        stop.set()
    assert results(tasks) == [True, True]


@each_kind
@pytest.mark.parametrize("used", [False, True])
def test_a_pickle_gives_the_same_answers(kind, used, make):
    expected = ASKED[kind](make(kind))
    thing = make(kind)
    if used:
        ASKED[kind](thing)
    assert ASKED[kind](pickle.loads(pickle.dumps(thing))) == expected


def test_spawned_processes_give_the_same_answers(make):
    things = {kind: make(kind) for kind in ASKED}
    expected = ask_many(things)
    with process_pool("spawn", 1) as pool:
        assert pool.submit(ask_many, things).result(PATIENCE) == expected


@pytest.mark.parametrize("kind", ["CocoSampler", "CocoFrames", "SimpleFrames", "FrameView"])
def test_a_pickle_holds_no_pixels(kind, make):
    thing = make(kind)
    before = len(pickle.dumps(thing))
    ASKED[kind](thing)
    assert len(pickle.dumps(thing)) < before + 20_000


@pytest.mark.parametrize("kind", ["array", "memory map"])
def test_a_pickle_of_an_array_holds_its_pixels(kind, make):
    pixels = make(kind)
    assert len(pickle.dumps(pixels)) >= pixels.nbytes


def test_a_memory_map_is_read_only_and_a_sample_is_the_callers_own(make):
    with pytest.raises(ValueError, match="read-only"):
        make("memory map")[0, 0] = 0
    assert make("sample")["im"].flags.writeable


def test_threads_share_an_index_whose_trees_are_dropped_and_made_again(make, monkeypatch, fast_switching):
    monkeypatch.setattr(isect_indexer, "_TREE_FROM", 2)
    monkeypatch.setattr(isect_indexer, "_TREES_HOLD", 20)
    index = make("FrameIntersectionIndex")
    boxes = [(0, 0, size, size) for size in (100, 300, 600)]

    def ask(seed: int) -> list[Any]:
        rng = np.random.default_rng(seed)
        gids = rng.choice(index.all_gids, 300).tolist()
        return [index.overlapping_rows(gid, boxes[gid % 3]).tolist() for gid in gids]

    expected = [ask(seed) for seed in range(THREADS)]
    assert in_threads(ask, range(THREADS)) == expected


def test_threads_draw_negatives_of_a_pool_without_an_index(make, fast_switching):
    regions = make("CocoRegions")
    pool_of_two = [regions.get_negative(index) for index in range(2)]

    def draw(_: int) -> list[dict[str, Any]]:
        return [regions.get_negative(rng=None) for _ in range(60)]

    drawn = [target for targets in in_threads(draw, range(THREADS)) for target in targets]
    assert len(drawn) == 60 * THREADS
    assert all(target.keys() == pool_of_two[0].keys() and target["aid"] == -1 for target in drawn)


@needs_fork
def test_forks_of_a_toy_sampler_draw_what_neither_a_sibling_nor_the_parent_draws(make):
    sampler = make("DynamicToySampler")

    def draw(rng: int | None = None) -> list[int]:
        return [sampler.load_positive(rng=rng)["target"]["gid"] for _ in range(20)]

    drawn = {Child(draw).join(60) for _ in range(2)} | {(0, str(draw()))}
    assert len(drawn) == 3
    assert Child(functools.partial(draw, 7)).join(60) == (0, str(draw(7)))


def test_the_page_has_a_row_for_each_kind_that_is_tested_here():
    page = pathlib.Path(__file__).resolve().parent.parent / "docs" / "source" / "concepts" / "fork_safety.rst"
    text = page.read_text(encoding="utf-8")
    names = [kind for kind in ASKED if kind[0].isupper()]
    assert [name for name in names if f"``{name}``" not in text] == []
