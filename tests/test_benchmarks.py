"""The harness of the benchmarks: order, medians, ratios, files. The rows themselves run in the smoke mode."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import __main__ as command
from benchmarks import data, images, layouts, limits, report
from benchmarks.timing import BAND, Pair, Result, Row, measure

FOLDER = Path(data.__file__).parent


def imported_modules(path: Path) -> set[str]:
    """Return the modules of the benchmarks that a file imports, inside its functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "benchmarks":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchmarks."):
            names.add(str(node.module).split(".")[1])
    return names


def test_no_two_modules_import_each_other():
    graph = nx.DiGraph((path.stem, name) for path in FOLDER.glob("*.py") for name in imported_modules(path))
    assert {"data", "limits", "images"} <= set(graph)
    assert list(nx.simple_cycles(graph)) == []


@pytest.fixture
def work(tmp_path):
    return data.Workload(tmp_path, sizes=(1000,))


def fixed_row(ours: float, limit: float | None, **kwargs) -> Row:
    """A row whose sides report fixed seconds."""
    other = None if limit is None else (lambda k: limit)
    kwargs = {"reach": 2.0, "number": 3, **kwargs}
    return Row("fixed", "windows", lambda work: Pair(lambda k: ours, other), self_timed=True, **kwargs)


def test_a_row_and_its_limit_take_turns(work):
    calls = []
    pair = Pair(lambda k: calls.append("ours"), lambda k: calls.append("limit"))
    measure(Row("turns", "windows", lambda w: pair, number=2), work, rounds=3)
    assert calls == ["limit"] * 2 + ["ours"] * 2 + ["ours"] * 2 + ["limit"] * 2 + calls[8:]
    assert calls.count("ours") == calls.count("limit") == 8


def test_times_come_in_the_unit_of_the_row(work):
    for unit, expected in (("s", 0.002), ("ms", 2.0), ("us", 2000.0), ("/s", 500.0)):
        assert measure(fixed_row(0.002, 0.001, unit=unit), work, 2).ours == pytest.approx(expected)


@pytest.mark.parametrize("unit", ["s", "ms", "/s"])
def test_the_ratio_says_how_many_times_the_limit_is_taken(work, unit):
    assert measure(fixed_row(0.006, 0.002, unit=unit), work, 2).ratio == pytest.approx(3.0)


def test_a_row_may_say_how_far_from_its_aim_it_may_be(work):
    assert measure(fixed_row(0.0021, 0.001, reach=2.0, band=1.0), work, 2).reached is False
    assert measure(fixed_row(0.0019, 0.001, reach=2.0, band=1.0), work, 2).reached is True


@pytest.mark.parametrize(
    ("rounds", "seconds", "started", "counted"), [(3, 0, 1, 1), (3, 1e9, 4, 3), (1, 1e9, 1, 1)]
)
def test_no_round_starts_after_the_time_of_a_row(work, rounds, seconds, started, counted):
    calls = []
    pair = Pair(lambda k: calls.append(k) or len(calls))
    row = Row("slow", "windows", lambda w: pair, "s", number=1, self_timed=True)
    result = measure(row, work, rounds, seconds)
    assert len(calls) == started
    assert result.ours == np.median(range(1, started + 1)[-counted:])


@pytest.mark.parametrize(("factor", "verdict"), [(0.9, True), (BAND * 0.99, True), (BAND * 1.01, False)])
def test_an_aim_counts_as_reached_within_the_band(work, factor, verdict):
    assert measure(fixed_row(0.002 * factor, 0.001, reach=2.0), work, 2).reached is verdict
    absolute = fixed_row(0.002 * factor, None, reach=None, reach_absolute=2.0)
    assert measure(absolute, work, 2).reached is verdict


def test_a_row_that_raises_is_a_line_with_its_error(work):
    def build(workload):
        raise ValueError("no such thing")

    result = measure(Row("broken", "windows", build), work, 2)
    assert (result.ours, result.reached) == (None, None)
    assert "no such thing" in report.line(result, None)


def test_rows_survive_the_file_they_are_written_to(work, tmp_path):
    result = measure(fixed_row(0.002, 0.001), work, 2)
    other = {"meta": {"versions": {"ndsampler": "0.1"}}, "rows": [report.as_dict(result)]}
    report.write_json(tmp_path / "rows.json", [result], {"cores": 3}, other)
    run = report.read_json(tmp_path / "rows.json")
    assert run["meta"] == {"cores": 3, "other": {"ndsampler": "0.1"}}
    (row,) = run["rows"]
    assert row["other"] == row["ours"] == pytest.approx(2.0)
    assert row["ratio"] == pytest.approx(2.0)
    assert "2" in report.line(Result(result.row, None, None), row)


def test_rows_are_chosen_by_group_or_by_name():
    every = command.choose_rows(command.parse([]), (1000,))
    assert len({row.name for row in every}) == len(every)
    assert {row.group for row in every} == {"windows", "files", "video", "flat", "cold", "pools"}
    some = command.choose_rows(command.parse(["--only", "windows"]), (1000,))
    assert 0 < len(some) < len(every)
    alone = command.choose_rows(command.parse(["--only", "npy*", "--no-limits"]), (1000,))
    assert all(row.name.startswith("npy") for row in alone)
    assert command.choose_rows(command.parse(["--only", "flat", "--no-limits"]), (1000,)) == []


@pytest.mark.parametrize(
    "words",
    [
        ["--rounds", "3", "--against", "/usr/bin/python", "--data-dir", "/data", "--json", "/tmp/a.json"],
        ["--rounds", "3", "--against=/usr/bin/python", "--data-dir=/data", "--json=/tmp/a.json"],
    ],
)
def test_the_command_is_told_without_paths(words):
    assert command.typed_command(words) == "python -m benchmarks --rounds 3 --against PYTHON --json FILE"


def test_another_interpreter_does_not_find_this_release_on_its_path(monkeypatch):
    def run(words, cwd, env, check):
        assert "PYTHONPATH" not in env
        assert words[0] == "other_python"
        Path(words[words.index("--json") + 1]).write_text('{"rows": []}')
        return subprocess.CompletedProcess(words, 1)

    monkeypatch.setenv("PYTHONPATH", "here")
    monkeypatch.setattr(command.subprocess, "run", run)
    assert command.run_other(command.parse(["--against", "other_python"])) == {"rows": []}
    monkeypatch.setattr(
        command.subprocess, "run", lambda *args, **kwargs: subprocess.CompletedProcess(args, 2)
    )
    with pytest.raises(RuntimeError, match="ended with 2"):
        command.run_other(command.parse(["--against", "other_python"]))


def test_limits_can_be_left_out(work):
    row = fixed_row(0.002, 0.001)
    assert measure(command._without_limit(row), work, 2).limit is None
    assert measure(replace(row, number=1), work, 2).limit is not None


def test_objects_lie_inside_the_cell_they_belong_to():
    dset = data.image_dataset(["a.png"], 2 * data.CELL)
    boxes = np.array([ann["bbox"] for ann in dset["annotations"]])
    first, last = boxes[:, :2] // data.CELL, (boxes[:, :2] + boxes[:, 2:]) // data.CELL
    assert (first == last).all()
    assert len(boxes) == 4 * data.OBJECTS_PER_CELL


def test_free_windows_of_the_limit_touch_nothing():
    windows = np.array([[0, 0, 10, 10], [5, 5, 15, 15], [10, 0, 20, 10]])
    boxes = np.array([[8, 2, 9, 3], [20, 0, 30, 5]])
    assert limits._touch(windows, boxes).tolist() == [True, False, False]


def test_sources_of_all_formats_hold_the_same_pixels(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    work = data.Workload(tmp_path, smoke=True)
    want = work.pixels(0)
    for kind in images.SOURCES:
        with rasterio.open(work.source(kind, 0)) as file:
            np.testing.assert_array_equal(file.read().transpose(1, 2, 0), want)


def test_layouts_are_measured_and_estimated(capsys):
    assert layouts.main(["--smoke"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["layout", "measured", "cost", "estimate", "in", "place"]
    assert len(rows) == len(layouts.layouts(smoke=True))
    assert rows[0].split()[-3:] == ["1.00", "1.00", "yes"]
