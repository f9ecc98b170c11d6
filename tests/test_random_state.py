"""What callers may pass as ``rng``, and what worker processes draw without one."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import pickle
import random

import kwarray
import numpy as np
import pytest
from helpers_optional import import_optional
from helpers_pools import random_dataset
from helpers_processes import needs_fork, run_children
from helpers_threads import PATIENCE

from ndsampler import CocoRegions, DynamicToySampler, select_positive_regions
from ndsampler.errors import ArgumentTypeError, NDSamplerError
from ndsampler.pools.targets import NegativePool
from ndsampler.utils.random_state import ProcessMark, ensure_rng, ensure_worker_rng

#: What gives the same draws as ``np.random.RandomState(3)``.
SEEDS = {
    "int": lambda: 3,
    "numpy int": lambda: np.int64(3),
    "byte": lambda: np.uint8(3),
    "state": lambda: np.random.RandomState(3),
}


@pytest.fixture
def regions():
    return CocoRegions(random_dataset(np.random.RandomState(0), 6))


#: Every public call that takes ``rng``, as a function of the regions and of ``rng``.
CALLS = {
    "get_item": lambda regions, rng: [regions.get_item(None, rng=rng)],
    "get_positive": lambda regions, rng: [regions.get_positive(rng=rng)],
    "get_negative": lambda regions, rng: [regions.get_negative(rng=rng)],
    "preselect": lambda regions, rng: [
        regions.preselect(n_pos=5, n_neg=3, window_dims=(7, 7), rng=rng),
        *(regions.get_item(i) for i in range(8)),
    ],
    "select_positive_regions": lambda regions, rng: select_positive_regions(
        regions.targets, (30, 30), rng=rng
    ).tolist(),
    "random_negatives": lambda regions, rng: regions.isect_index.random_negatives(
        3, window_size=(5, 5), rng=rng
    )[1].data.tolist(),
    "toy sampler": lambda regions, rng: DynamicToySampler(9, seed=rng, gsize=(40, 40)).load_image(3).tolist(),
    "toy image": lambda regions, rng: [
        DynamicToySampler(99, seed=0, gsize=(40, 40)).load_image_with_annots(rng=rng)[0]["id"]
    ],
    "toy positive": lambda regions, rng: [
        DynamicToySampler(99, seed=0, gsize=(40, 40)).load_positive(rng=rng)["target"]
    ],
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", SEEDS)
def test_a_seed_of_any_kind_draws_the_same(regions, name, kind):
    assert CALLS[name](regions, SEEDS[kind]()) == CALLS[name](regions, 3)


@pytest.mark.parametrize("name", CALLS)
def test_a_generator_of_numpy_decides_what_is_drawn(regions, name):
    found = [CALLS[name](regions, np.random.default_rng(7)) for _ in range(2)]
    assert found[0] == found[1]
    generator = np.random.default_rng(7)
    assert CALLS[name](regions, generator) == found[0]
    assert generator.bit_generator.state != np.random.default_rng(7).bit_generator.state


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("rng", [[1, 2], object(), {}, float("nan"), float("inf"), 1j, np.arange(3)])
def test_what_is_neither_a_seed_nor_a_generator_is_refused(regions, name, rng):
    with pytest.raises(ArgumentTypeError, match=r"rng is .*expected None, a whole number") as caught:
        CALLS[name](regions, rng)
    assert isinstance(caught.value, NDSamplerError)


def test_whatever_kwarray_understands_is_understood():
    for rng in ["text", 1.5, -1, 2**40, True]:
        assert ensure_rng(rng).randint(10**9) == kwarray.ensure_rng(rng).randint(10**9)
    assert ensure_rng(None) is ensure_rng(np.random) is np.random.mtrand._rand
    assert ensure_rng(random.Random(0)).randint(10**9) == kwarray.ensure_rng(random.Random(0)).randint(10**9)
    state = np.random.RandomState(0)
    assert ensure_rng(state) is state


def test_a_generator_reaches_a_programs_own_choice_as_a_random_state(regions):
    given = []

    def choose(regions, window_dims, rng=None):
        given.append(rng)
        return [0]

    regions.custom_preselect_positives = choose
    regions.preselect(rng=5)
    regions.preselect(rng=np.random.default_rng(0))
    assert given[0] == 5
    assert isinstance(given[1], np.random.RandomState)


# --- workers -------------------------------------------------------------------------------------


def draws_in_workers(draw, count=3, method="fork"):
    """Return what each of several worker processes sends after it called ``draw`` four times."""
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    workers = [context.Process(target=send_draws, args=(draw, queue), daemon=True) for _ in range(count)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=PATIENCE) for _ in workers]
    for worker in workers:
        worker.join(PATIENCE)
        assert worker.exitcode == 0
    return found


def send_draws(draw, queue):
    queue.put([draw() for _ in range(4)])


class Draw:
    """Draws negatives of one sort; an object that pickles."""

    def __init__(self, source, **kwargs):
        self.source = source
        self.kwargs = kwargs

    def __call__(self):
        target = getattr(self.source, self.kwargs.get("method", "get_negative"))(rng=self.kwargs.get("rng"))
        return target if "cx" in target else target["target"]


def places(targets):
    return {(int(target["gid"]), float(target["cx"]), float(target["cy"])) for target in targets}


def assert_apart(draws):
    """Check that no two processes drew the same."""
    every = [places(targets) for targets in draws]
    assert all(len(mine) == 4 for mine in every)
    # Two that draw alike would have four places between them; a place that both draw by chance is one.
    assert len(set().union(*every)) > 4 * (len(every) - 1)


@needs_fork
@pytest.mark.parametrize("pool", [0, 3, 50])
def test_forked_workers_draw_negatives_of_their_own(regions, pool):
    regions.preselect(n_neg=pool, window_dims=(5, 6), rng=0) if pool else regions.targets
    here = [regions.get_negative() for _ in range(4)]
    draws = draws_in_workers(Draw(regions))
    assert_apart([here, *draws])
    if pool:
        sizes = {(target["height"], target["width"]) for targets in draws for target in targets}
        assert sizes == {(5, 6)}
        assert [regions.get_negative(i) for i in range(3)] == here[:3]


@needs_fork
def test_the_negatives_of_a_worker_follow_from_the_pool_and_the_number_of_the_worker(regions, monkeypatch):
    regions.preselect(n_neg=5, window_dims=(5, 6), rng=0)
    number = iter([(4,), (4,), (9,)])
    found = []
    for _ in range(3):
        mark = ProcessMark(os.getpid(), next(number))
        clone = copy.deepcopy(regions)
        with monkeypatch.context() as patch:
            patch.setattr(ProcessMark, "here", lambda mark=mark: mark)
            found.append([clone.get_negative() for _ in range(7)])
    assert found[0] == found[1]
    assert places(found[0]) != places(found[2])


@needs_fork
def test_workers_with_a_seed_draw_the_same(regions):
    for pool in (None, 3):
        regions.preselect(n_neg=pool, window_dims=(5, 6), rng=0)
        draws = draws_in_workers(Draw(regions, rng=8), count=2)
        assert draws[0] == draws[1]


@pytest.mark.slow
def test_spawned_workers_draw_negatives_of_their_own(regions):
    regions.preselect(n_neg=50, window_dims=(5, 6), rng=0)
    assert_apart([[regions.get_negative() for _ in range(4)], *draws_in_workers(Draw(regions), 2, "spawn")])


@needs_fork
def test_workers_that_preselect_without_a_seed_get_pools_of_their_own(regions):
    assert_apart(draws_in_workers(Preselect(regions), count=2))


class Preselect(Draw):
    def __call__(self):
        self.source.preselect(n_neg=1, window_dims=(5, 6))
        return self.source.get_negative(0)


@needs_fork
def test_forked_workers_draw_other_toys(regions):
    sampler = DynamicToySampler(1e6, seed=0, gsize=(40, 40))
    draws = draws_in_workers(Draw(sampler, method="load_negative"), count=2)
    assert {t["gid"] for t in draws[0]}.isdisjoint(t["gid"] for t in draws[1])


@needs_fork
def test_a_process_that_forks_by_itself_draws_its_own(regions):
    for pool in (None, 50):
        regions.preselect(n_neg=pool, window_dims=(5, 6), rng=0)
        sent = run_children([lambda: json.dumps(sorted(places(drawn(regions))))] * 3)
        draws = [{tuple(place) for place in json.loads(text)} for text in sent]
        draws.append(places(drawn(regions)))
        # Two that draw alike would have four places between them; a place that both draw by chance is one.
        assert len(set().union(*draws)) > 4 * (len(draws) - 1)


def drawn(regions):
    return [regions.get_negative() for _ in range(4)]


def test_a_pickle_goes_on_where_the_pool_was(regions):
    regions.preselect(n_neg=5, window_dims=(5, 6), rng=0)
    first = regions.get_negative()
    for clone in (pickle.loads(pickle.dumps(regions)), copy.copy(regions), copy.deepcopy(regions)):
        assert clone.get_negative(0) == first
    again = pickle.loads(pickle.dumps(regions))
    assert [again.get_negative() for _ in range(4)] == [regions.get_negative(i) for i in range(1, 5)]


def test_a_pickle_of_another_program_goes_on_too(regions):
    regions.preselect(n_neg=5, window_dims=(5, 6), rng=0)
    pool = regions._negative_pool
    assert isinstance(pool, NegativePool)
    pool._origin = ProcessMark(pool._origin.pid + 1, pool._origin.numbers)
    again = pickle.loads(pickle.dumps(pool))
    assert [again.next(None) for _ in range(5)] == [pool[i] for i in range(5)]


def test_the_global_state_decides_in_the_process_that_has_no_siblings():
    np.random.seed(3)
    expected = np.random.RandomState(3).randint(10**9)
    assert ensure_worker_rng(None).randint(10**9) == expected


@needs_fork
def test_workers_of_a_data_loader_draw_negatives_of_their_own(regions):
    data = import_optional("torch.utils.data")

    class Negatives(data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            return regions.get_negative()

    for pool in (None, 40):
        regions.preselect(n_neg=pool, window_dims=(5, 6), rng=0)
        loader = data.DataLoader(Negatives(), num_workers=2, batch_size=None, timeout=PATIENCE)
        assert len(places(loader)) == 8
