"""Loops over a WindowLoader end in many ways, at random moments, and leave nothing behind."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import time

import pytest
from helpers_loader import Windows, count_shared, lives, worker_ids
from helpers_optional import import_optional
from helpers_processes import forks_beside_threads, needs_fork
from helpers_threads import PATIENCE, wait_until

from ndsampler.errors import WorkerError
from ndsampler.training import EpochOrder

torch = import_optional("torch")

from ndsampler.training import WindowLoader  # noqa: E402

pytestmark = [
    needs_fork,
    forks_beside_threads,
    pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc"),
]

LENGTH, BATCH = 400, 8


class Uneven(Windows):
    """A dataset whose samples take different times."""

    def __getitem__(self, index):
        time.sleep(int(index) % 5 * 0.0005)
        return super().__getitem__(index)


def make_loader():
    return WindowLoader(Uneven(), EpochOrder(LENGTH, shuffle=False), BATCH)


def kill(loader, rng):
    os.kill(rng.choice(worker_ids(loader)), signal.SIGKILL)


def press_ctrl_c(loader, rng):
    """Interrupt this process and the workers, as a terminal does, while the loop goes on."""

    def press():
        for pid in (*worker_ids(loader), os.getpid()):
            os.kill(pid, signal.SIGINT)

    timer = threading.Timer(rng.random() * 0.01, press)
    timer.start()
    return timer


def run_loop(loader, end, last, rng, workers):
    """Go through a loop, and end it in some way after some batch."""
    timer = None
    try:
        for number, batch in enumerate(loader):
            workers.update(worker_ids(loader))
            assert [place[0] for place in batch["place"]] == list(range(number * BATCH, (number + 1) * BATCH))
            if number == last:
                if end == "break":
                    return
                timer = press_ctrl_c(loader, rng) if end == "interrupt" else kill(loader, rng)
        if timer is not None:
            time.sleep(PATIENCE)
    finally:
        if timer is not None:
            timer.join(PATIENCE)


@pytest.mark.parametrize("end", ["break", "kill", "interrupt"])
def test_a_loop_that_ends_anywhere_leaves_nothing_behind(end, amount):
    rng = random.Random(end)
    workers = set()
    before = count_shared()
    loader = make_loader()
    for _ in range(amount(short=3, whole=20, soak=100)):
        last = rng.randrange(30)
        if end == "break":
            run_loop(loader, end, last, rng, workers)
        else:
            with pytest.raises(WorkerError if end == "kill" else KeyboardInterrupt):
                run_loop(loader, end, last, rng, workers)
        assert loader.state_dict()["position"] >= (last + 1) * BATCH
    # The loader goes on as if nothing had happened.
    assert sum(len(batch["image"]) for batch in loader) == LENGTH
    del loader
    gc.collect()
    wait_until(lambda: not any(map(lives, workers)))
    assert count_shared() == before
