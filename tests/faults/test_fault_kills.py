"""Writers that die at any point leave nothing that is read, and nothing to clean up by hand."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
import pytest
from helpers_faults import differing, draw_scene, each_caching, entries, files, in_the_way
from helpers_processes import Child, SharedEvent, forks_beside_threads, needs_fork
from helpers_threads import PATIENCE, start_thread

from ndsampler.backends import base, gdal_write
from ndsampler.backends.label import verify_entry
from ndsampler.cache.identity import Source

resource = pytest.importorskip("resource", reason="needs limits on what a process may take")

pytestmark = needs_fork

#: Work folders in which writers die, for each kind of death, backend and size.
ROUNDS = {"short": 2, "whole": 3, "soak": 9}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return draw_scene(tmp_path_factory.mktemp("images"), 5)


@pytest.fixture(params=["in memory", "streamed"])
def way(request, monkeypatch):
    """Convert images as if they were small, or as if they did not fit into memory."""
    if request.param == "streamed":
        monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", 0)
        monkeypatch.setattr(base, "BLOCK_BYTES", 1000)


def die_after_bytes(rng, frames) -> None:
    """Let the system end this process while a file grows beyond a random size."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = int(rng.integers(1, 40_000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    frames.prepare()


def die_after_calls(rng, frames) -> None:
    """End this process at a random call or return of a Python or C function."""
    left = int(10 ** rng.uniform(1, 4))

    def count(frame, event, arg) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    frames.prepare()


def die_at_any_time(rng, frames) -> None:
    """Convert again and again until the parent kills this process."""
    while True:
        frames.prepare()
        for entry in entries(frames):
            entry.unlink()


DEATHS = [die_after_bytes, die_after_calls, die_at_any_time]


def run_victim(death, rng, frames) -> int:
    """Start a converting process that dies, and return its exit status."""
    begun = SharedEvent()

    def work() -> None:
        begun.set()
        death(rng, frames)

    child = Child(work)
    begun.wait(PATIENCE)
    if death is die_at_any_time:
        time.sleep(rng.uniform(0, 0.1))
        os.kill(child.pid, signal.SIGKILL)
    code, told = child.join(PATIENCE)
    begun.close()
    assert code <= 0, told
    return code


@each_caching
@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.__name__)
def test_after_writers_were_killed_all_pixels_are_right_and_nothing_is_left(
    backend, death, way, scene, tmp_path, amount
):
    killed = 0
    for seed in range(amount(**ROUNDS)):
        rng = np.random.default_rng([seed, 5])
        workdir = tmp_path / str(seed)
        for _ in range(3):
            killed += run_victim(death, rng, scene.frames(workdir, backend)) < 0
            rng.random()
        frames = scene.frames(workdir, backend)
        for entry in entries(frames):
            verify_entry(str(entry))
        if seed % 2:
            # Whoever needs the pixels first does not have to know of the dead.
            assert differing(frames, scene) == []
        scene.frames(workdir, backend).prepare()
        assert in_the_way(frames) == []
        assert differing(scene.frames(workdir, backend), scene) == []
        expected = {frames._cache.ensure(Source(path)) for path in scene.paths.values()} - set(
            scene.paths.values()
        )
        assert {str(path) for path in entries(frames)} == expected
    assert killed


@each_caching
def test_a_writer_killed_while_others_wait_for_it_holds_nobody_up(backend, scene, tmp_path):
    frames = scene.frames(tmp_path, backend)
    converting = SharedEvent()

    def stop(source, dest) -> None:
        converting.set()
        signal.pause()

    def stall() -> None:
        frames._cache.backend.convert = stop
        frames.prepare()

    stalled = Child(stall)
    converting.wait(PATIENCE)
    waiting = [Child(lambda: differing(scene.frames(tmp_path, backend), scene)) for _ in range(2)]
    assert stalled.kill() == -signal.SIGKILL
    assert [child.join(PATIENCE) for child in waiting] == [(0, "[]")] * 2
    converting.close()
    assert in_the_way(frames) == []


@each_caching
def test_reading_alone_clears_up_too_where_something_is_missing(backend, scene, tmp_path):
    frames = scene.frames(tmp_path, backend)
    frames.prepare()
    for entry in entries(frames):
        entry.unlink()

    def stall() -> None:
        frames._cache.backend.convert = lambda source, dest: os.kill(os.getpid(), signal.SIGKILL)
        frames.prepare()

    assert Child(stall).join(PATIENCE)[0] == -signal.SIGKILL
    assert in_the_way(frames) != []
    assert differing(scene.frames(tmp_path, backend), scene) == []
    assert in_the_way(frames) == []
    assert len(files(tmp_path)) == len(entries(frames))


@forks_beside_threads
@each_caching
def test_a_fork_of_a_killed_writer_holds_nobody_up(backend, scene, tmp_path):
    frames = scene.frames(tmp_path, backend)
    converting, forked, end = SharedEvent(), SharedEvent(), SharedEvent()

    def stop(source, dest) -> None:
        converting.set()
        signal.pause()

    def stall() -> None:
        frames._cache.backend.convert = stop
        start_thread(frames.prepare)
        converting.wait(PATIENCE)
        Child(lambda: end.wait(PATIENCE))
        forked.set()
        signal.pause()

    writer = Child(stall)
    forked.wait(PATIENCE)
    # The fork of the killed process lives on until the end of this test.
    assert writer.kill() == -signal.SIGKILL
    reader = Child(lambda: differing(scene.frames(tmp_path, backend), scene))
    assert reader.join(PATIENCE) == (0, "[]")
    assert in_the_way(frames) == []
    end.set()
    for event in (converting, forked, end):
        event.close()
