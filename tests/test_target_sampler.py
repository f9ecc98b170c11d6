"""The sampler for torch: ranks, states, and what loaders make of them."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from helpers_optional import import_optional
from hypothesis import given
from hypothesis import strategies as st

from ndsampler.errors import ArgumentError, ArgumentTypeError
from ndsampler.training import EpochOrder, SampleIndex

torch = import_optional("torch")

from ndsampler.training import TargetSampler  # noqa: E402

sizes = st.integers(1, 40)


class Numbers(torch.utils.data.Dataset):
    """A dataset whose samples are where they stand."""

    def __getitem__(self, index):
        return int(index), index.epoch, index.g


def samplers(order, world_size, uneven="keep", state=None):
    found = [TargetSampler(order, rank, world_size, uneven) for rank in range(world_size)]
    for sampler in found if state else ():
        sampler.load_state_dict(state)
    return found


def places(indexes):
    return [(index.epoch, index.g) for index in indexes]


def interleaved(ranks):
    """Return what several ranks yield, in the order of their steps."""
    lists = [list(rank) for rank in ranks]
    return [found[step] for step in range(len(lists[0])) for found in lists if step < len(found)]


@given(sizes, st.integers(1, 7), st.sampled_from(["repeat", "drop", "keep"]))
def test_ranks_divide_an_epoch(n, world_size, uneven):
    order = EpochOrder(n, seed=4)
    if uneven == "drop" and n < world_size:
        with pytest.raises(ArgumentError, match="positions for"):
            samplers(order, world_size, uneven)
        return
    ranks = samplers(order, world_size, uneven)
    lengths = [len(rank) for rank in ranks]
    found = interleaved(ranks)
    assert len(found) == sum(lengths)
    expected = order.items(0).tolist()
    if uneven == "drop":
        expected = expected[: n - n % world_size]
    elif uneven == "repeat":
        expected = [expected[g % n] for g in range(-(-n // world_size) * world_size)]
    assert found == expected
    assert [index.g for index in found] == [g % n for g in range(len(found))]


@given(sizes, st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(0, 4)), max_size=8))
def test_a_run_goes_on_under_other_numbers_of_ranks_and_batch_sizes(n, stops):
    order, state, found = EpochOrder(n, seed=1), None, []
    for world_size, batch_size, steps in stops:
        ranks = samplers(order, world_size, state=state)
        taken = [list(rank) for rank in ranks]
        for step in range(steps * batch_size):
            found += [indexes[step] for indexes in taken if step < len(indexes)]
        state = ranks[0].state_dict(step=steps, batch_size=batch_size)
        assert all(rank.state_dict(step=steps, batch_size=batch_size) == state for rank in ranks[1:])
    found += interleaved(samplers(order, 1, state=state))
    assert found == order.items(0).tolist()
    assert places(found) == [(0, g) for g in range(n)]


def test_the_state_counts_what_was_taken():
    sampler = TargetSampler(EpochOrder(10), 0, 2)
    taken = iter(sampler)
    assert sampler.state_dict()["position"] == 0
    next(taken), next(taken)
    state = sampler.state_dict()
    assert state["position"] == 4
    other = TargetSampler(EpochOrder(10))
    other.load_state_dict(json.loads(json.dumps(state)))
    assert len(other) == 6
    assert [index.g for index in other] == [4, 5, 6, 7, 8, 9]
    assert [index.g for index in other] == list(range(10))
    stale = iter(other)
    list(other)
    assert len(list(stale)) == 10
    assert other.state_dict()["position"] == 10


def test_a_state_is_small():
    sampler = TargetSampler(EpochOrder(10**15, seed=-(2**52)))
    sampler.set_epoch(10**6)
    state = sampler.state_dict(step=10**9, batch_size=100)
    assert state["position"] == 10**11
    assert max(len(pickle.dumps(state)), len(json.dumps(state))) < 200


def test_after_the_end_of_an_epoch_comes_the_next():
    sampler = TargetSampler(EpochOrder(7), 0, 2, "drop")
    assert len(list(sampler)) == 3
    state = sampler.state_dict()
    assert (state["epoch"], state["position"]) == (0, 7)
    sampler.load_state_dict(state)
    assert sampler.epoch == 1
    assert list(sampler) == []
    sampler.set_epoch(sampler.epoch)
    assert places(sampler)[0] == (1, 0)


def test_set_epoch_keeps_the_position_of_the_same_epoch():
    sampler = TargetSampler(EpochOrder(6))
    sampler.set_epoch(3)
    state = sampler.state_dict(step=2, batch_size=2)
    sampler = TargetSampler(EpochOrder(6))
    sampler.load_state_dict(state)
    seen = []
    for epoch in range(sampler.epoch, 5):
        sampler.set_epoch(epoch)
        seen += places(sampler)
    assert seen == [(3, 4), (3, 5), *((4, g) for g in range(6))]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_takes_the_indexes_with_their_places(workers):
    sampler = TargetSampler(EpochOrder(11, seed=2), 1, 2, "keep")
    loader = torch.utils.data.DataLoader(
        Numbers(),
        batch_size=2,
        sampler=sampler,
        num_workers=workers,
        collate_fn=list,
        timeout=60 * bool(workers),
    )
    assert len(loader) == 3
    found, states = [], []
    for step, batch in enumerate(loader, 1):
        found += batch
        states.append(sampler.state_dict(step=step, batch_size=2)["position"])
    order = EpochOrder(11, seed=2).items(0)
    assert found == [(order[g], 0, g) for g in range(1, 11, 2)]
    assert states == [4, 8, 11]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", [0, 1, 3, 4])
def test_a_stateful_loader_is_exact_by_itself(workers, taken):
    stateful = import_optional("torchdata.stateful_dataloader").StatefulDataLoader

    def make():
        sampler = TargetSampler(EpochOrder(15, seed=5))
        sampler.set_epoch(2)
        return stateful(Numbers(), batch_size=4, sampler=sampler, num_workers=workers, collate_fn=list)

    whole = [sample for batch in make() for sample in batch]
    loader = make()
    batches = iter(loader)
    first = [sample for _ in range(taken) for sample in next(batches)]
    state = loader.state_dict()
    loader = make()
    loader.load_state_dict(state)
    assert first + [sample for batch in loader for sample in batch] == whole


def test_a_changed_order_or_dataset_is_refused():
    class Dataset:
        fingerprint = "a"

    state = TargetSampler(EpochOrder(9), dataset=Dataset()).state_dict()
    TargetSampler(EpochOrder(9), 2, 3, dataset=Dataset()).load_state_dict(state)
    for sampler in (TargetSampler(EpochOrder(10), dataset=Dataset()), TargetSampler(EpochOrder(9))):
        with pytest.raises(ArgumentError, match="the state belongs to other targets"):
            sampler.load_state_dict(state)
    Dataset.fingerprint = "b"
    with pytest.raises(ArgumentError, match="the state belongs to other targets"):
        TargetSampler(EpochOrder(9), dataset=Dataset()).load_state_dict(state)
    with pytest.raises(ArgumentError, match="with seed 0; this order has 1"):
        TargetSampler(EpochOrder(9, seed=1), dataset=Dataset()).load_state_dict(state)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "seed None"),
        ({"seed": 0, "epoch": 0, "position": -1}, "position -1"),
        ({"seed": 0, "epoch": True, "position": 1}, "epoch True"),
        ({"seed": 0, "epoch": 0, "position": 1}, "no fingerprint"),
    ],
)
def test_what_is_no_state_is_refused(state, message):
    with pytest.raises(ArgumentError, match=message):
        TargetSampler(EpochOrder(3)).load_state_dict(state)


def test_bad_arguments_are_refused():
    order = EpochOrder(3)
    with pytest.raises(ArgumentTypeError, match="the state is a list"):
        TargetSampler(order).load_state_dict([])
    for rank, world_size in ((2, 2), (-1, 2), (1, None), (0, 0)):
        with pytest.raises(ArgumentError, match="and below world_size"):
            TargetSampler(order, rank, world_size)
    with pytest.raises(ArgumentError, match="uneven is 'pad'"):
        TargetSampler(order, uneven="pad")
    with pytest.raises(ArgumentError, match="epoch is -1"):
        TargetSampler(order).set_epoch(-1)
    for arguments in ({"step": 1}, {"batch_size": 4}):
        with pytest.raises(ArgumentError, match="expected both"):
            TargetSampler(order).state_dict(**arguments)
    with pytest.raises(ArgumentError, match="step is -1; expected an integer from 0"):
        TargetSampler(order).state_dict(step=-1, batch_size=4)
    with pytest.raises(ArgumentTypeError, match="step is 1.5; expected an integer"):
        TargetSampler(order).state_dict(step=1.5, batch_size=4)
    for epoch in (1.0, "0", None):
        with pytest.raises(ArgumentTypeError, match="epoch is .*; expected an integer"):
            TargetSampler(order).set_epoch(epoch)
    for wrong in (None, 5, [0, 1], torch.utils.data.RandomSampler(range(3))):
        with pytest.raises(ArgumentTypeError, match="expected an EpochOrder"):
            TargetSampler(wrong)


def test_numbers_of_numpy_give_a_state_that_json_holds():
    sampler = TargetSampler(EpochOrder(np.int64(30), seed=np.int64(2)))
    sampler.set_epoch(np.int64(3))
    state = json.loads(json.dumps(sampler.state_dict(step=np.int64(2), batch_size=np.int32(4))))
    assert (state["seed"], state["epoch"], state["position"]) == (2, 3, 8)
    state["epoch"], state["position"] = np.int64(4), np.int64(9)
    sampler.load_state_dict(state)
    assert next(iter(sampler)).g == 9
    json.dumps(sampler.state_dict())


def test_a_batch_sampler_passes_places_on():
    indexes = TargetSampler(EpochOrder(10, seed=1))
    batches = torch.utils.data.BatchSampler(indexes, 4, drop_last=True)
    loader = torch.utils.data.DataLoader(Numbers(), batch_sampler=batches, collate_fn=list)
    indexes.set_epoch(2)
    assert [len(batch) for batch in loader] == [4, 4]
    assert [index.epoch for batch in batches for index in batch] == [2] * 8


def test_an_index_is_an_integer_that_survives_pickling():
    index = SampleIndex(4, epoch=2, g=9)
    copy = pickle.loads(pickle.dumps(index))
    assert (copy, copy.epoch, copy.g) == (4, 2, 9)
    assert [10, 11, 12, 13, 14][index] == 14
    bare = SampleIndex.coerce(np.int64(3))
    assert (bare, bare.epoch, bare.g) == (3, 0, 3)
    assert SampleIndex.coerce(index) is index
    with pytest.raises(ArgumentTypeError, match="the index of a sample is 2.5"):
        SampleIndex.coerce(2.5)
