"""The comparison of backends: the samples that are chosen, and the speed that is measured."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import textwrap
from collections import Counter

import kwcoco
import numpy as np
import pytest
from helpers_demo import write_dataset
from hypothesis import given
from hypothesis import strategies as st

import ndsampler
from ndsampler.demo import compare, selection
from ndsampler.demo.speed import Speed, Task, measure, run
from ndsampler.demo.speed import main as speed_main
from ndsampler.errors import SourceError
from ndsampler.preview import choice

ANNOTS = ({"id": 1, "image_id": 1, "category_id": 4, "bbox": [10, 10, 20, 15]},)


@pytest.fixture
def make_sampler(tmp_path):
    """Return a function that makes a sampler of small images."""

    def make(*args, **options):
        path = write_dataset(tmp_path / "data", *args, **options)
        return ndsampler.CocoSampler(kwcoco.CocoDataset(str(path)), workdir=tmp_path / "cache")

    return make


class TestSpeed:
    @pytest.mark.parametrize("seconds", [0, 60])
    def test_it_stops_when_time_or_targets_are_used_up(self, tmp_path, seconds):
        path = write_dataset(tmp_path)
        targets = [
            {"gid": 1 + number % 3, "cx": 40, "cy": 30, "window_dims": [16, 16]} for number in range(9)
        ]
        speed = run(Task(str(path), [1, 2, 3], str(tmp_path / "cache"), "npy", seconds, targets))
        # The first of nine and a warm-up of two are not counted.
        assert speed.samples == (6 if seconds else 1)
        assert speed.rate > 0

    def test_task_and_result_travel_as_json(self, tmp_path, monkeypatch, capsys):
        path = write_dataset(tmp_path)
        task = Task(str(path), [1, 2], str(tmp_path / "cache"), None, 1.0, [{"gid": 2}])
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(dataclasses.asdict(task))))
        assert speed_main() == 0
        result = Speed(**json.loads(capsys.readouterr().out))
        assert result.samples == 0
        assert result.rate == 0
        assert result.first > 0

    def test_the_error_of_a_child_names_its_reason(self, tmp_path):
        task = Task(str(tmp_path / "none.json"), [1], str(tmp_path), None, 0.1, [{"gid": 1}])
        with pytest.raises(SourceError, match=r"backend None failed: .*none\.json does not exist"):
            measure(task)

    def test_memory_that_is_taken_is_seen(self):
        # In a process of its own: this one may hold freed memory, which would be used again.
        script = """
            import numpy as np
            from ndsampler.demo.speed import MemoryWatch
            with MemoryWatch() as before:
                pass
            with MemoryWatch() as after:
                block = np.ones(40_000_000, np.uint8)
            print(after.own_bytes - before.own_bytes)
        """
        command = [sys.executable, "-c", textwrap.dedent(script)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        grown = int(done.stdout)
        assert grown >= 30_000_000


class TestComparison:
    def test_samplers_are_made_once_for_each_backend_and_choice_of_images(self, tmp_path):
        dset = kwcoco.CocoDataset(str(write_dataset(tmp_path / "data")))
        samplers = compare.Samplers(dset, tmp_path / "cache")
        assert samplers.get("npy") is samplers.get("npy", [1, 2, 3])
        assert samplers.get("npy") is not samplers.get("cog")
        assert list(samplers.get("npy", [1, 3]).image_ids) == [1, 3]

    def test_backends_are_measured_on_the_same_windows(self, tmp_path, monkeypatch):
        tasks = []
        path = write_dataset(tmp_path / "data", ANNOTS, [{"id": 4, "name": "cat"}])
        speed = Speed(samples=1, seconds=1.0, first=1.0, own_bytes=1, mapped_bytes=1)
        monkeypatch.setattr(compare, "measure", lambda task: tasks.append(task) or speed)
        samplers = compare.Samplers(kwcoco.CocoDataset(str(path)), tmp_path / "cache")
        rng = np.random.default_rng(0)
        comparison = compare.Comparison(samplers, path, 16, 1.0, 20, rng)
        whole = [comparison.measure("none"), comparison.measure("cog")]
        part = comparison.measure("npy", [1, 2])
        assert tasks[0].targets == tasks[1].targets
        assert {target["gid"] for target in tasks[2].targets} == set(tasks[2].gids) == {1, 2}
        assert [task.backend for task in tasks] == [None, "cog", "npy"]
        assert all(one.overview_seconds > 0 for one in whole)
        assert part.overview_seconds is None

    def test_small_images_are_those_with_few_bytes(self, make_sampler):
        sampler = make_sampler(size=(90, 70))
        assert compare.small_images(sampler, 3 * 90 * 70) == [1, 2, 3]
        assert compare.small_images(sampler, 3 * 90 * 70 - 1) == []


class TestSelection:
    def test_the_first_target_of_a_measurement_is_on_an_annotation(self, make_sampler):
        sampler = make_sampler(ANNOTS, [{"id": 4, "name": "cat"}])
        targets = selection.speed_targets(sampler, 16, np.random.default_rng(0))
        assert len(targets) == selection.MAX_TARGETS
        assert targets[0] == {"gid": 1, "cx": 20.0, "cy": 17.5, "window_dims": [16, 16]}
        centers = np.array([(target["cx"], target["cy"]) for target in targets])
        assert (centers >= 8).all()
        assert (centers <= (82, 62)).all()

    def test_without_a_video_there_is_no_strip(self, make_sampler):
        assert choice.load_strip(make_sampler(videos=()), (32, 32)) is None

    def test_a_video_of_unknown_size_has_the_size_of_its_frames(self, make_sampler):
        strip = choice.load_strip(make_sampler(videos=[{"id": 1, "name": "film"}]), (32, 900))
        assert strip["im"].shape[1:3] == (32, 90)

    def test_a_large_image_is_shown_as_a_whole(self, make_sampler):
        sampler = make_sampler(ANNOTS, [{"id": 4, "name": "cat"}], size=(900, 400))
        sample = sampler.load_sample(selection.overview_target(sampler, 488))
        assert max(sample["im"].shape[:2]) == pytest.approx(488, abs=1)
        assert compare.time_overview(sampler, 488) > 0

    def test_a_small_image_is_not_shown_as_a_whole(self, make_sampler):
        sampler = make_sampler()
        assert selection.overview_target(sampler, 488) is None
        assert compare.time_overview(sampler, 488) is None

    @given(st.lists(st.integers(0, 3), max_size=40), st.integers(0, 50))
    def test_every_kind_occurs_before_one_occurs_again(self, kinds, count):
        rows = selection.in_turn(np.array(kinds, int), count, np.random.default_rng(0))
        assert len(rows) == len(set(rows)) == min(count, len(kinds))
        got = Counter(kinds[row] for row in rows)
        unfinished = [got[kind] for kind in set(kinds) if got[kind] < kinds.count(kind)]
        assert all(most <= least + 1 for most in got.values() for least in unfinished)
