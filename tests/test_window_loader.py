"""The loader with shared memory: its batches, its state, and what it leaves behind."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading

import numpy as np
import pytest
from helpers_loader import (
    Failing,
    KillOnce,
    Windows,
    count_shared,
    lives,
    raise_unpicklable,
    raise_value_error,
    wait_long,
    worker_ids,
)
from helpers_optional import import_optional
from helpers_processes import Child, check_script, needs_fork, read_soon, run_child
from helpers_threads import PATIENCE, wait_until

from ndsampler import CocoSampler
from ndsampler.errors import ArgumentError, UnsupportedTaskError, WorkerError
from ndsampler.training import EpochOrder
from ndsampler.training.stacking import stack_samples

torch = import_optional("torch")

from ndsampler.training import SampleDataset, TargetSampler, WindowLoader, collate_samples, ring  # noqa: E402

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

#: Positions of an epoch, and samples in a batch; the last batch is smaller.
LENGTH, BATCH = 50, 8


@pytest.fixture
def make_loader(monkeypatch):
    """Return a function that makes a loader, which is closed at the end of the test."""
    monkeypatch.setattr(ring, "GRACE_SECONDS", 0.2)
    made = []

    def make(dataset=None, order=None, batch_size=BATCH, **options):
        order = EpochOrder(LENGTH, seed=5) if order is None else order
        made.append(WindowLoader(dataset or Windows(), order, batch_size, **options))
        return made[-1]

    yield make
    for loader in made:
        loader.close()


def places(batches):
    return [place for batch in batches for place in batch["place"]]


def assert_same_batches(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        np.testing.assert_array_equal(ours["image"], theirs["image"], strict=True)
        assert ours["place"] == theirs["place"]
        for boxes, others in zip(ours["boxes"], theirs["boxes"], strict=True):
            np.testing.assert_array_equal(boxes, others, strict=True)


@pytest.mark.parametrize(
    ("workers", "depth", "copy"), [(0, 4, False), (1, 1, False), (2, 4, True), (3, 2, False)]
)
def test_batches_are_those_of_a_data_loader(make_loader, workers, depth, copy):
    loader = make_loader(workers=workers, depth=depth, copy=copy)
    sampler = TargetSampler(EpochOrder(LENGTH, seed=5))
    usual = torch.utils.data.DataLoader(Windows(), BATCH, sampler=sampler, collate_fn=stack_samples)
    for epoch in (0, 3):
        loader.set_epoch(epoch)
        sampler.set_epoch(epoch)
        assert len(loader) == len(usual) == 7
        assert_same_batches(loader, usual)


def test_batches_of_windows_are_those_of_a_data_loader(make_loader):
    sampler = CocoSampler.demo("shapes8")
    dataset = SampleDataset(sampler, "positives", (32, 48), ("image", "boxes", "labels", "mask", "target"))
    order = EpochOrder(len(dataset), negatives=0.25)
    indexes = TargetSampler(order, dataset=dataset)
    usual = torch.utils.data.DataLoader(dataset, 5, sampler=indexes, collate_fn=collate_samples)
    for ours, theirs in zip(make_loader(dataset, order, 5), usual, strict=True):
        assert ours.keys() == theirs.keys()
        assert torch.equal(ours["image"], theirs["image"])
        assert torch.equal(ours["mask"], theirs["mask"])
        assert repr([ours["boxes"], ours["labels"]]) == repr([theirs["boxes"], theirs["labels"]])
        assert [t["slices"] for t in ours["target"]] == [t["slices"] for t in theirs["target"]]


def test_spawned_workers_give_the_same_batches(make_loader, monkeypatch):
    monkeypatch.setattr(ring, "choose_context", lambda: multiprocessing.get_context("spawn"))
    assert_same_batches(make_loader(workers=1), make_loader(workers=0))


def test_a_batch_is_valid_until_the_next_but_one(make_loader):
    loader = make_loader(workers=2, depth=3)
    expected = list(make_loader(workers=0))
    before = None
    for number, batch in enumerate(loader):
        if before is not None:
            assert_same_batches([before], [expected[number - 1]])
        before = batch


def test_copies_stay(make_loader):
    assert_same_batches(list(make_loader(workers=2, copy=True)), list(make_loader(workers=0)))


def test_workers_stay_for_the_next_loop(make_loader):
    loader = make_loader(workers=2)
    list(loader)
    first = worker_ids(loader)
    list(loader)
    assert worker_ids(loader) == first
    assert len(set(first)) == 2


def test_tensors_and_functions_of_the_caller_are_taken(make_loader):
    def collate(samples):
        return torch.from_numpy(np.stack([sample["image"] for sample in samples])), len(samples)

    for images, count in make_loader(workers=1, collate_fn=collate):
        assert images.shape == (count, 3, 16, 18)


def test_batches_may_grow(make_loader):
    class Growing(Windows):
        def __getitem__(self, index):
            self.size = 10 + 9 * int(index)
            return super().__getitem__(index)

    order = EpochOrder(12, shuffle=False)
    options = {"dataset": Growing(), "order": order, "batch_size": 1}
    assert_same_batches(make_loader(workers=2, **options), make_loader(workers=0, **options))


# --- states


@pytest.mark.parametrize(("steps", "workers", "batch_size"), [(0, 2, 8), (3, 0, 5), (6, 1, 11), (7, 2, 8)])
def test_a_state_goes_on_with_the_next_sample(make_loader, steps, workers, batch_size):
    loader = make_loader(workers=2)
    loader.set_epoch(2)
    batches = iter(loader)
    done = places(next(batches) for _ in range(steps))
    other = make_loader(workers=workers, batch_size=batch_size)
    other.load_state_dict(loader.state_dict())
    assert len(other) == -(-(LENGTH - len(done)) // batch_size)
    assert done + places(other) == places(make_whole(2))
    assert places(other) == places(make_whole(2))


@pytest.mark.parametrize("epoch", [2, 3])
def test_a_state_of_a_complete_epoch_goes_on_with_the_next(make_loader, epoch):
    loader = make_whole(2)
    list(loader)
    other = make_loader(workers=0)
    other.load_state_dict(loader.state_dict())
    other.set_epoch(epoch)
    assert places(other) == (places(make_whole(3)) if epoch == 3 else [])


def test_after_a_state_of_the_end_of_an_epoch_comes_the_next(make_loader):
    loader = make_loader(workers=0)
    list(loader)
    other = make_loader(workers=1)
    other.load_state_dict(loader.state_dict())
    assert places(other) == []
    other.load_state_dict(loader.state_dict())
    other.set_epoch(1)
    assert places(other) == places(make_whole(1))


def make_whole(epoch):
    loader = WindowLoader(Windows(), EpochOrder(LENGTH, seed=5), BATCH, workers=0)
    loader.set_epoch(epoch)
    return loader


def test_ranks_share_an_epoch(make_loader):
    loaders = [
        make_loader(order=TargetSampler(EpochOrder(LENGTH, seed=5), rank, 2), workers=1) for rank in (0, 1)
    ]
    found = [places(loader) for loader in loaders]
    together = [place for pair in zip(*found, strict=True) for place in pair]
    assert together == places(make_whole(0))


def test_a_copy_of_a_loader_in_use_has_workers_of_its_own(make_loader):
    loader = make_loader(workers=1)
    loop = iter(loader)
    first = [next(loop)["place"], next(loop)["place"]]
    copy = pickle.loads(pickle.dumps(loader))
    assert copy.state_dict() == loader.state_dict()
    assert places(copy)[:BATCH] == first[0]
    assert set(worker_ids(copy)).isdisjoint(worker_ids(loader))
    copy.close()
    assert next(loop)["place"] == places(make_loader(workers=0))[2 * BATCH : 3 * BATCH]


def test_a_new_loop_ends_one_that_was_broken_off(make_loader):
    loader = make_loader(workers=2)
    first = iter(loader)
    next(first)
    assert_same_batches(loader, make_loader(workers=0))
    with pytest.raises(ArgumentError, match="another loop"):
        next(first)
    for _ in range(5):
        for _ in loader:
            break
    assert_same_batches(loader, make_loader(workers=0))


# --- errors


def test_the_error_of_a_worker_comes_in_its_place_with_its_traceback(make_loader):
    order = EpochOrder(LENGTH, shuffle=False)
    loader = make_loader(Failing(17, raise_value_error), order, workers=2)
    batches = iter(loader)
    assert len(places([next(batches), next(batches)])) == 16
    with pytest.raises(ValueError, match="out of order") as caught:
        next(batches)
    assert "in raise_value_error" in str(caught.value.__cause__)
    assert loader.state_dict()["position"] == 16
    workers = worker_ids(loader)
    with pytest.raises(ValueError, match="out of order"):
        list(loader)
    assert worker_ids(loader) == workers


def test_an_error_that_cannot_be_sent_is_told(make_loader):
    with pytest.raises(WorkerError, match="salt and pepper"):
        list(make_loader(Failing(3, raise_unpicklable), workers=1))


@needs_proc
def test_a_killed_worker_is_an_error_and_the_next_loop_starts_new_ones(make_loader, tmp_path):
    loader = make_loader(Failing(20, KillOnce(tmp_path / "killed")), workers=2)
    batches = iter(loader)
    next(batches)
    workers = worker_ids(loader)
    with pytest.raises(WorkerError, match="killed by SIGKILL"):
        list(batches)
    wait_until(lambda: not any(map(lives, workers)))
    assert_same_batches(loader, make_loader(workers=0))


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"batch_size": 2.5}, {"workers": -1}, {"depth": 0}, {"workers": True}]
)
def test_wrong_numbers_are_refused(options):
    with pytest.raises(ArgumentError, match=next(iter(options))):
        WindowLoader(Windows(), EpochOrder(9), **{"batch_size": 2, **options})


# --- what is left behind


@needs_proc
@pytest.mark.parametrize("ending", ["close", "with", "forget"])
def test_workers_and_memory_go_with_the_loader(make_loader, ending):
    loader = WindowLoader(Windows(), EpochOrder(LENGTH), BATCH)
    next(iter(loader))
    workers = worker_ids(loader)
    assert count_shared() > 0
    assert all(map(lives, workers))
    if ending == "close":
        loader.close()
    elif ending == "with":
        with loader:
            pass
    del loader
    gc.collect()
    wait_until(lambda: not any(map(lives, workers)))
    assert count_shared() == 0


@needs_proc
def test_ctrl_c_ends_the_wait_and_the_workers(make_loader):
    loader = make_loader(Failing(0, wait_long), EpochOrder(LENGTH, shuffle=False), workers=2)

    def press():
        wait_until(lambda: len(worker_ids(loader)) == 2 and len(loader._ring._tasks) > 1)
        workers.extend(worker_ids(loader))
        for pid in (*workers, os.getpid()):
            os.kill(pid, signal.SIGINT)

    workers = []
    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        list(loader)
    thread.join(PATIENCE)
    assert len(workers) == 2
    wait_until(lambda: not any(map(lives, workers)))


@needs_fork
@needs_proc
@pytest.mark.parametrize("dataset", [Windows(), Failing(9, wait_long)], ids=["idle", "busy"])
def test_workers_end_with_a_program_that_is_killed(dataset):
    read, write = os.pipe()

    def work():
        loader = WindowLoader(dataset, EpochOrder(LENGTH, shuffle=False), BATCH)
        next(iter(loader))
        os.write(write, " ".join(map(str, worker_ids(loader))).encode())
        wait_long()

    child = Child(work)
    workers = [int(pid) for pid in read_soon(read).split()]
    os.close(read)
    os.close(write)
    child.kill()
    if isinstance(dataset, Failing):
        # One of them is in the middle of a batch; nothing can tell it before that ends.
        for pid in filter(lives, workers):
            os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not any(map(lives, workers)))


@needs_proc
def test_a_program_that_ends_in_the_middle_leaves_no_process():
    script = """
        import sys
        from helpers_loader import Windows, worker_ids
        from ndsampler.training import EpochOrder, WindowLoader
        loader = WindowLoader(Windows(), EpochOrder(50), 8)
        for batch in loader:
            print(*worker_ids(loader))
            sys.exit()
    """
    workers = [int(pid) for pid in check_script(script).split()]
    assert len(workers) == 2
    wait_until(lambda: not any(map(lives, workers)))


@needs_fork
def test_a_fork_has_workers_of_its_own(make_loader):
    loader = make_loader(workers=1)
    batches = iter(loader)
    next(batches)

    def work():
        return len(places(loader)), worker_ids(loader)[0]

    count, other = eval(run_child(work))
    assert count == LENGTH
    assert other != worker_ids(loader)[0]
    assert len(places(batches)) == LENGTH - BATCH


# --- without shared memory, or without processes


def refuse():
    raise UnsupportedTaskError("there is no memory to share")


@needs_fork
def test_without_shared_memory_the_loader_of_torch_takes_over(make_loader, monkeypatch):
    monkeypatch.setattr("ndsampler.training.shared_buffer._open_anonymous", refuse)
    with pytest.warns(UserWarning, match="DataLoader, which is slower: there is no memory to share"):
        loader = make_loader(workers=2)
    assert_same_batches(loader, make_loader(workers=0))
    batches = iter(loader)
    next(batches)
    assert loader.state_dict()["position"] == BATCH


def test_a_process_that_may_start_none_loads_by_itself(make_loader, monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with pytest.warns(UserWarning, match="loads the batches itself"):
        loader = make_loader(workers=2)
    assert len(list(loader)) == 7


def test_a_file_without_a_name_serves_where_there_is_no_memfd(make_loader, monkeypatch):
    if not sys.platform.startswith("linux"):
        pytest.skip("no memfd here anyway")
    monkeypatch.delattr(os, "memfd_create")
    assert_same_batches(make_loader(workers=1), make_loader(workers=0))
