"""The counts of key calls: that they are those in the repository, and that they count what they name."""

from __future__ import annotations

import json
import pathlib
import sys

import pytest
from helpers_processes import run_python
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import counting, counts

ROOT = pathlib.Path(__file__).resolve().parents[1]

#: A call of each kind, counted in a process of its own, whose audit hook ends with it.
COUNTED_CALLS = """
import json, pathlib, sys
import numpy, rasterio
from benchmarks.counting import Meter, counting_handles
folder = pathlib.Path(sys.argv[1])
meter = Meter(folder / "data")
profile = dict(driver="GTiff", width=600, height=500, count=3, dtype="uint8", interleave=sys.argv[2])
profile.update(tiled=True, blockxsize=128, blockysize=256)
with rasterio.open(folder / "data" / "a.tif", "w", **profile) as file:
    file.write(numpy.zeros((3, 500, 600), numpy.uint8))
def read_files():
    for name in ("data/bytes", "other"):
        with open(folder / name, "rb", buffering=0) as file:
            file.read(700)
opened = []
actions = {
    "nothing": lambda: None,
    "files": read_files,
    "open": lambda: opened.append(rasterio.open(folder / "data" / "a.tif")),
    "window": lambda: opened[0].read(window=rasterio.windows.Window(100, 100, 256, 256)),
    "band": lambda: opened[0].read(2, window=rasterio.windows.Window(256, 0, 256, 256)),
    "module": lambda: __import__("benchmarks.timing"),
}
with counting_handles(meter):
    print(json.dumps({name: meter.count(action).as_dict() for name, action in actions.items()}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the counts in the repository are those of Linux")
def test_no_count_has_moved(monkeypatch):
    for name in (
        "COV_CORE_SOURCE",
        "COV_CORE_CONFIG",
        "COV_CORE_DATAFILE",
        "COVERAGE_PROCESS_START",
        "COVERAGE_PROCESS_CONFIG",
    ):
        monkeypatch.delenv(name, raising=False)
    done = run_python("-m", "benchmarks.counts", cwd=ROOT)
    told = "if the change is meant to move counts, run `python -m benchmarks.counts --write`"
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{told}"


@pytest.mark.parametrize(
    ("interleave", "window", "band"), [("pixel", (6, 6), (2, 1)), ("band", (18, 18), (2, 1))]
)
def test_calls_are_counted(interleave, window, band, tmp_path):
    (tmp_path / "data").mkdir()
    for path in (tmp_path / "data" / "bytes", tmp_path / "other"):
        path.write_bytes(bytes(1000))
    done = run_python("-W", "ignore", "-c", COUNTED_CALLS, tmp_path, interleave, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    io = sys.platform == "linux"
    assert found["nothing"] == {
        **dict.fromkeys(found["nothing"], 0),
        "calls": 1,
        **({} if io else {"reads": None, "bytes": None}),
    }
    assert found["files"]["opens"] == 1
    assert (found["files"]["reads"], found["files"]["bytes"]) == ((2, 1400) if io else (None, None))
    assert (found["open"]["handles"], found["open"]["opens"]) == (1, 0)
    assert (found["window"]["blocks"], found["window"]["decoded"]) == window
    assert (found["band"]["blocks"], found["band"]["decoded"]) == band
    assert (found["module"]["modules"], found["module"]["bytes"]) == (1, None)


sides = st.integers(1, 40)


@given(dims=st.tuples(sides, sides), block=st.tuples(sides, sides), data=st.data())
def test_blocks_are_those_of_the_pixels_of_a_window(dims, block, data):
    log = counting.BlockLog(dims, block)
    seen = set()
    for _ in range(3):
        y0, y1 = sorted(data.draw(st.lists(st.integers(0, dims[0]), min_size=2, max_size=2, unique=True)))
        x0, x1 = sorted(data.draw(st.lists(st.integers(0, dims[1]), min_size=2, max_size=2, unique=True)))
        touched = {(y // block[0], x // block[1]) for y in range(y0, y1) for x in range(x0, x1)}
        assert log.touch((y0, y1, x0, x1), [1]) == (len(touched), len(touched - seen))
        seen |= touched


def test_an_overview_has_blocks_of_its_own():
    log = counting.BlockLog((512, 512), (128, 128), planar=True)
    assert log.touch(None, [1, 2, 3]) == (48, 48)
    assert log.touch(None, [1], out_height=512) == (16, 0)
    assert log.touch(None, [1], out_height=256) == (4, 4)


def rows_of(**values: int) -> dict[str, dict[str, int | None]]:
    """A row of counts, with other values than usual."""
    return {"window": {**counting.Counts().as_dict(), "calls": 100, "bytes": 7, **values}}


def test_what_has_moved_is_named_with_both_values():
    names = ("blocks", "bytes")
    moved = counts.find_moved(rows_of(blocks=9), rows_of(blocks=12, opens=3), names)
    assert list(moved) == ["window: blocks was 9, is 12"]
    assert list(counts.find_moved(rows_of(), rows_of(bytes=8), ("blocks",))) == []
    assert list(counts.find_moved(rows_of(), {}, names)) == ["window: is gone"]
    assert list(counts.find_moved({}, rows_of(), names)) == ["window: is new"]


@pytest.mark.parametrize(("calls", "moved"), [(90, 0), (110, 0), (111, 1), (89, 1)])
def test_a_few_calls_more_or_less_have_not_moved(calls, moved):
    assert len(list(counts.find_moved(rows_of(), rows_of(calls=calls), ("calls",)))) == moved


def test_what_depends_on_versions_is_compared_where_they_are_the_same():
    here = counts.describe_system()
    every = set(counting.Counts().as_dict())
    assert set(counts.comparable(here, here)) == every
    assert every - set(counts.comparable(here, {**here, "numpy": "0"})) == set(counts.OF_VERSIONS)
    assert set(counts.comparable(here, {**here, "system": "Plan9"})) == set(counts.STABLE)


def test_the_command_stores_counts_and_fails_when_they_have_moved(tmp_path, monkeypatch, capsys):
    file = ["--file", str(tmp_path / "counts.json")]
    monkeypatch.setattr(counts, "count_rows", rows_of)
    assert counts.main([*file, "--write"]) == 0
    assert counts.main(file) == 0
    assert "no count has moved" in capsys.readouterr().out
    monkeypatch.setattr(counts, "count_rows", lambda: rows_of(opens=5))
    assert counts.main(file) == 1
    assert capsys.readouterr().out.splitlines() == ["window: opens was 0, is 5"]
