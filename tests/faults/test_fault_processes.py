"""Processes and threads that read, convert and fork at once get the right pixels."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading

import numpy as np
import pytest
from helpers_faults import (
    differing,
    draw_scene,
    each_backend,
    each_caching,
    entries,
    in_the_way,
    read_both,
    read_samples,
    read_windows,
)
from helpers_processes import Child, forks_beside_threads, needs_fork, process_pool, run_child, run_children
from helpers_threads import PATIENCE, in_threads, results, start_thread

from ndsampler.backends.label import verify_entry
from ndsampler.cache.identity import Source

#: Forks and threads that read at once, and the windows that each reads.
FORKS, THREADS = 8, 16
WINDOWS = {"short": 30, "whole": 60, "soak": 2000}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return draw_scene(tmp_path_factory.mktemp("images"), 9)


@needs_fork
@each_caching
@pytest.mark.parametrize("locks", ["locks", "no locks"])
def test_eight_processes_convert_the_same_images(backend, locks, scene, tmp_path, monkeypatch, amount):
    if locks == "no locks":
        monkeypatch.setattr("ndsampler.cache.locks.fcntl", None)
    for n in range(amount(short=1, whole=2, soak=20)):
        workdir = tmp_path / str(n)
        works = [lambda workdir=workdir: differing(scene.frames(workdir, backend), scene)] * FORKS
        assert run_children(works) == ["[]"] * FORKS
        frames = scene.frames(workdir, backend)
        for entry in entries(frames):
            verify_entry(str(entry))
        assert in_the_way(frames) == []
        expected = {frames._cache.ensure(Source(path)) for path in scene.paths.values()} - set(
            scene.paths.values()
        )
        assert {str(path) for path in entries(frames)} == expected


@needs_fork
@each_caching
def test_one_of_eight_processes_converts_and_the_others_wait(backend, scene, tmp_path):
    paths = {1: scene.paths[1]}
    scene = type(scene)(paths, {1: scene.pixels[1]})
    log = tmp_path / "log"

    def work() -> list[int]:
        frames = scene.frames(tmp_path / "work", backend)
        convert = frames._cache.backend.convert

        def noted(source, dest) -> None:
            with open(log, "a") as file:
                file.write("x")
            convert(source, dest)

        frames._cache.backend.convert = noted
        return differing(frames, scene)

    run_children([work] * FORKS)
    assert log.read_text() == "x"


@needs_fork
@forks_beside_threads
@each_backend
@pytest.mark.parametrize(
    ("forks", "threads"), [(FORKS, 0), (0, THREADS), (FORKS, THREADS)], ids=["forks", "threads", "both"]
)
@pytest.mark.parametrize("prepared", [True, False], ids=["prepared", "from nothing"])
def test_a_storm_of_readers_reads_right(backend, forks, threads, prepared, scene, tmp_path, amount, patience):
    count = amount(**WINDOWS)
    frames, sampler = scene.frames(tmp_path, backend), scene.sampler(tmp_path, backend)
    if prepared:
        frames.prepare()
    # The handles that forks inherit are in use.
    assert read_both(frames, sampler, scene, 99, 10) == 0
    begun = threading.Barrier(threads + 1)

    def read(seed: int) -> int:
        begun.wait(PATIENCE)
        return read_both(frames, sampler, scene, seed, count)

    tasks = [start_thread(read, seed) for seed in range(threads)]
    begun.wait(PATIENCE)
    children = [
        Child(lambda seed=seed: read_both(frames, sampler, scene, 1000 + seed, count))
        for seed in range(forks)
    ]
    assert read_both(frames, sampler, scene, 77, count) == 0
    assert results(tasks, patience) == [0] * threads
    assert [child.join(patience) for child in children] == [(0, "0")] * forks
    if backend:
        assert in_the_way(frames) == []


@needs_fork
@forks_beside_threads
@each_backend
def test_forks_of_forks_read_right_and_their_parents_go_on(backend, scene, tmp_path):
    frames = scene.frames(tmp_path, backend)
    assert read_windows(frames, scene, 0, 30) == 0

    def generation(depth: int) -> int:
        wrong = read_windows(frames, scene, depth, 30)
        if depth:
            wrong += int(run_child(lambda: generation(depth - 1)))
        return wrong + read_windows(frames, scene, depth + 10, 30)

    assert generation(3) == 0


@needs_fork
@forks_beside_threads
@each_caching
def test_a_fork_reads_what_another_thread_of_its_parent_is_converting(backend, scene, tmp_path):
    frames = scene.frames(tmp_path, backend)
    assert read_windows(scene.frames(tmp_path / "other", backend), scene, 0, 10) == 0
    convert, parent = frames._cache.backend.convert, os.getpid()
    begun, go = threading.Event(), threading.Event()

    def stalled(source, dest) -> None:
        if os.getpid() == parent:
            begun.set()
            assert go.wait(PATIENCE)
        convert(source, dest)

    frames._cache.backend.convert = stalled
    task = start_thread(differing, frames, scene)
    assert begun.wait(PATIENCE), task
    children = [Child(lambda: differing(frames, scene)) for _ in range(2)]
    go.set()
    assert results([task]) == [[]]
    assert [child.join(PATIENCE) for child in children] == [(0, "[]")] * 2
    assert in_the_way(frames) == []


@each_backend
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_started_afresh_read_what_is_pickled_mid_use(
    backend, method, scene, tmp_path, amount, patience
):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    count = amount(**WINDOWS)
    frames, sampler = scene.frames(tmp_path, backend), scene.sampler(tmp_path, backend)
    stop = threading.Event()

    def read_on(seed: int) -> int:
        wrong = 0
        while not stop.is_set():
            wrong += read_both(frames, sampler, scene, seed, 10)
        return wrong

    reading = [start_thread(read_on, seed) for seed in range(2)]
    try:
        with process_pool(method, 2) as pool:
            tasks = [pool.submit(read_both, frames, sampler, scene, seed, count) for seed in range(4)]
            assert results(tasks, patience) == [0] * 4
    finally:
        stop.set()
    assert results(reading) == [0, 0]


@each_backend
def test_copies_made_while_others_read_are_right_and_small(backend, scene, tmp_path):
    frames = scene.frames(tmp_path, backend)

    def read(seed: int) -> int:
        wrong = read_windows(frames, scene, seed, 20)
        state = pickle.dumps(frames)
        assert len(state) < 5000
        return wrong + read_windows(pickle.loads(state), scene, seed + 100, 20)

    assert sum(in_threads(read, range(24), threads=8)) == 0


@needs_fork
@each_backend
def test_a_fork_resamples_right_after_its_parent_did(backend, scene, tmp_path, amount):
    sampler = scene.sampler(tmp_path, backend)
    # Large enough for OpenCV to share the work among threads of its own.
    target = {"gid": 1, "scale": 14, "slices": (slice(0, 60), slice(0, 50))}

    def read() -> np.ndarray:
        return sampler.load_sample(target, with_annots=False)["im"]

    expected = read()
    for _ in range(amount(short=20, whole=60, soak=1000)):
        assert np.array_equal(read(), expected)
        # These threads are about to go to sleep when the fork comes.
        assert run_child(lambda: np.array_equal(read(), expected)) == "True"


@each_backend
def test_samples_stay_as_they_are_while_their_image_is_read_and_replaced(backend, scene, tmp_path):
    sampler = scene.sampler(tmp_path, backend)
    target = {"gid": 1, "slices": (slice(0, 20), slice(0, 30))}
    held = [sampler.load_sample(target, with_annots=False)["im"] for _ in range(50)]
    for image in held[::2]:
        image[:] = 0
    assert read_samples(sampler, scene, 0, 30) == 0
    for image in held[1::2]:
        assert np.array_equal(image, scene.pixels[1][:20, :30])
