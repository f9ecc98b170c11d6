"""A sample is a pure function of seed, epoch and position: for any workers, any ranks, and after kills."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import signal

import pytest
from helpers_optional import import_optional
from helpers_processes import Child, forks_beside_threads, needs_fork
from helpers_training import ARRAYS, Jitter, Placed, digest, fingerprint_of, write_dataset

from ndsampler import CocoSampler
from ndsampler.training import EpochOrder

torch = import_optional("torch")

from ndsampler.training import SampleDataset, TargetSampler  # noqa: E402

pytestmark = [
    needs_fork,
    forks_beside_threads,
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]

EPOCHS = 2

#: Seconds that a loader waits for a worker.
LOADER_SECONDS = 300


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    sampler = CocoSampler(str(write_dataset(tmp_path_factory.mktemp("training"))))
    sampler.preselect(n_neg=5, window_dims=(24, 30), rng=0)
    torch.set_num_threads(1)
    return SampleDataset(sampler, "pool", (24, 30), ARRAYS, Jitter(), seed=1)


@pytest.fixture(scope="module")
def order(dataset, amount):
    """Return an order by classes, with negatives, of which two epochs are looked at."""
    length = amount(short=150, whole=1000, soak=10_000)
    groups = dataset.groups()
    return EpochOrder(len(dataset), 3, groups=groups, weights="equal", negatives=0.2, length=length // EPOCHS)


@pytest.fixture(scope="module")
def expected(dataset, order):
    """Return the digest of each sample, loaded one by one in this process."""
    sampler = TargetSampler(order)
    found = {}
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        found.update({(index.epoch, index.g): digest(dataset[index]) for index in sampler})
    return found


def load(sampler, dataset, batch_size, workers=0, method=None):
    """Yield the digests of each batch, by epoch and position."""
    loader = torch.utils.data.DataLoader(
        Placed(dataset),
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        multiprocessing_context=method,
        collate_fn=list,
        timeout=LOADER_SECONDS if workers else 0,
    )
    for batch in loader:
        yield {place: digest(sample) for place, sample in batch}


@pytest.mark.parametrize(
    ("workers", "method", "ranks", "batch_size"),
    [
        (0, None, 2, 7),
        (1, "fork", 1, 16),
        (2, "fork", 3, 5),
        (4, "fork", 5, 3),
        (2, "spawn", 1, 9),
    ],
)
def test_samples_are_the_same_for_any_workers_and_ranks(
    dataset, order, expected, workers, method, ranks, batch_size, request
):
    epochs = range(EPOCHS)
    if (method == "spawn" or workers > 2) and request.config.getoption("faults") == "short":
        epochs = range(1, EPOCHS)  # these processes take seconds
    found = {}
    for rank in range(ranks):
        sampler = TargetSampler(order, rank, ranks, "keep", dataset)
        for epoch in epochs:
            sampler.set_epoch(epoch)
            for records in load(sampler, dataset, batch_size, workers, method):
                found.update(records)
    wanted = {place: value for place, value in expected.items() if place[0] in epochs}
    assert found == wanted
    assert fingerprint_of(found) == fingerprint_of(wanted)


class Run:
    """A run over several ranks that is killed after some steps.

    Args:
        folder: where states and digests are written.
        dataset: the samples.
        order: their order.
    """

    def __init__(self, folder: pathlib.Path, dataset: SampleDataset, order: EpochOrder) -> None:
        self.folder, self.dataset, self.order = folder, dataset, order
        self.state = folder / "state.json"

    def go(self, ranks: int, batch_size: int, workers: int, steps: int) -> None:
        """Run all ranks, each of which is killed in the step after the given number of them."""
        children = [
            Child(lambda rank=rank: self._rank(rank, ranks, batch_size, workers, steps))
            for rank in range(ranks)
        ]
        for child in children:
            code, told = child.join(LOADER_SECONDS)
            # A worker of torch that starts while its parent is killed does not notice.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            assert code in (0, -signal.SIGKILL), told
        if (self.folder / "next.json").exists():
            os.replace(self.folder / "next.json", self.state)

    def _rank(self, rank: int, ranks: int, batch_size: int, workers: int, steps: int) -> None:
        """Load batches and note their digests; rank 0 saves its state after each step but the last."""
        os.setpgid(0, 0)
        sampler = TargetSampler(self.order, rank, ranks, "keep", self.dataset)
        if self.state.exists():
            sampler.load_state_dict(json.loads(self.state.read_text()))
        done = 0
        with open(self.folder / f"{rank}.txt", "a") as notes:
            for epoch in range(sampler.epoch, EPOCHS):
                sampler.set_epoch(epoch)
                for step, records in enumerate(load(sampler, self.dataset, batch_size, workers), 1):
                    notes.writelines(f"{e} {g} {value}\n" for (e, g), value in records.items())
                    notes.flush()
                    if done == steps:
                        os.kill(os.getpid(), signal.SIGKILL)
                    done += 1
                    if rank == 0:
                        self._save(sampler.state_dict(step=step, batch_size=batch_size))

    def _save(self, state: dict) -> None:
        """Write a state for the run after this one."""
        path = self.folder / "written.json"
        path.write_text(json.dumps(state))
        os.replace(path, self.folder / "next.json")

    def records(self) -> list[tuple[tuple[int, int], str]]:
        """Return all that was noted."""
        lines = [line.split() for path in self.folder.glob("*.txt") for line in path.read_text().splitlines()]
        return [((int(epoch), int(g)), value) for epoch, g, value in lines]


def test_killed_runs_go_on_with_other_numbers_of_ranks(tmp_path, dataset, order, expected, amount):
    rng = random.Random(5)
    kills = amount(short=4, whole=20, soak=20)
    run = Run(tmp_path, dataset, order)
    share = EPOCHS * len(order) // (kills + 1)
    for kill in range(kills):
        ranks, batch_size = rng.choice([1, 2, 3]), rng.choice([1, 3, 4])
        run.go(ranks, batch_size, 2 * (kill % 4 == 1), rng.randint(0, 2 * share // (ranks * batch_size)))
    run.go(2, 5, 0, 10**6)
    records = run.records()
    assert all(expected[place] == value for place, value in records)
    assert fingerprint_of(dict(records)) == fingerprint_of(expected)
