"""A program ends quietly while daemon threads read images."""

from __future__ import annotations

import threading
import time

import pytest
from helpers_images import random_pixels, write_png, write_tiff
from helpers_processes import needs_fork, run_child, run_script
from helpers_threads import PATIENCE, results, start_thread, wait_until

from ndsampler.utils import fork_safety
from ndsampler.utils.fork_safety import ForkGate

SCRIPT = """
    import sys, threading
    import numpy as np
    from ndsampler.abstract_frames import SimpleFrames

    folder, backend = sys.argv[1:]
    frames = SimpleFrames({1: folder + '/a.png', 2: folder + '/b.tif'}, folder, eval(backend))
    begun = threading.Semaphore(0)

    def read():
        rng = np.random.default_rng(threading.get_ident())
        while True:
            y, x = rng.integers(0, 200, 2)
            frames.load_region(int(rng.integers(1, 3)), (slice(y, y + 200), slice(x, x + 200)))
            begun.release()

    for _ in range(6):
        threading.Thread(target=read, daemon=True).start()
    for _ in range(60):
        begun.acquire()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    pixels = random_pixels("uint8", 3, (400, 400))
    write_png(folder / "a.png", pixels)
    write_tiff(folder / "b.tif", pixels, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    return folder


@pytest.mark.parametrize("backend", [None, "cog", "npy"])
def test_daemon_threads_that_read_do_not_abort_the_process(backend, folder):
    for _ in range(2 if backend == "npy" else 4):
        done = run_script(SCRIPT, folder, repr(backend))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def enter_and_stay(gate: ForkGate):
    """Start a thread that is inside a gate until an event is set; return the thread and the event."""
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with gate:
            inside.set()
            leave.wait(PATIENCE)

    staying = start_thread(stay)
    wait_until(inside.is_set)
    return staying, leave


class TestClosing:
    def test_a_closed_gate_waits_for_the_threads_inside(self):
        gate = ForkGate()
        staying, leave = enter_and_stay(gate)
        closing = start_thread(gate.close)
        wait_until(lambda: gate.pending)
        assert not closing.done()
        leave.set()
        results([staying, closing])

    def test_a_closed_gate_does_not_wait_for_ever(self, monkeypatch):
        monkeypatch.setattr(fork_safety, "EXIT_SECONDS", 0.05)
        gate = ForkGate()
        staying, leave = enter_and_stay(gate)
        gate.close()
        assert not staying.done()
        leave.set()
        results([staying])

    @pytest.mark.parametrize("enabled", [True, False])
    def test_nobody_enters_a_closed_gate_but_the_thread_that_closed_it(self, enabled, monkeypatch):
        monkeypatch.setattr(fork_safety, "_chosen", enabled)
        monkeypatch.setattr(fork_safety, "PATIENCE_SECONDS", 0.2)
        gate = ForkGate()
        gate.close()
        entered = threading.Event()

        def enter() -> None:
            with gate:
                entered.set()

        entering = start_thread(enter)
        with gate:
            time.sleep(0.02)
            assert not entered.is_set()
        results([entering])

    @needs_fork
    def test_a_fork_of_a_program_that_ends_reads(self):
        gate = ForkGate()
        gate.close()

        def work() -> int:
            gate.begin_child()
            gate.pending.clear()
            return results([start_thread(lambda: len(gate))])[0]

        assert run_child(work) == "0"
