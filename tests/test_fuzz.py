"""The fuzz run tries cases of each kind, and reports what fails, crashes or hangs."""

from __future__ import annotations

import json
import pathlib
import runpy
import subprocess
import sys

import pytest

FUZZ = pathlib.Path(__file__).resolve().parent / "fuzz"


@pytest.fixture
def fuzz(tmp_path):
    """Return a function that runs a worker of the given code, and returns what the run counted."""
    names = runpy.run_path(str(FUZZ / "__main__.py"))
    function = names["fuzz"]

    def run(code: str, seconds: float = 60.0):
        function.__globals__.update(HERE=tmp_path, CASE_SECONDS=seconds)
        (tmp_path / "fuzz_worker.py").write_text(f"import json, os, time\n{code}")
        return function(["target"], 5, 100, 2)

    return run


def begin(seed: int) -> str:
    return f"print({json.dumps(json.dumps({'begin': ['target', seed]}))}, flush=True)\n"


def end(error: str = "") -> str:
    return f"print({json.dumps(json.dumps({'kind': 'target', 'error': error}))}, flush=True)\n"


def test_a_case_of_each_kind_gives_a_result_or_an_error_of_the_library():
    words = [sys.executable, str(FUZZ), "--seed", "5", "--cases", "5"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in ("target 1", "dataset 1", "header 1", "label 1", "command 1", "0 failed"):
        assert kind in done.stdout


def test_good_cases_are_counted(fuzz, capsys):
    assert fuzz(begin(5) + end() + begin(6) + end() + "time.sleep(60)") == ({"target": 2}, 0)


def test_an_error_is_reported_with_the_command_that_tries_it_again(fuzz, capsys):
    assert fuzz(begin(5) + end("KeyError: 1") + begin(6) + end()) == ({"target": 2}, 1)
    printed = capsys.readouterr().out
    assert "KeyError: 1" in printed
    assert "--kind target --seed 5 --cases 1" in printed


@pytest.mark.parametrize("code", ["os.abort()", "time.sleep(60)", "raise SystemExit(3)"])
def test_a_crash_and_a_hang_are_failures(fuzz, capsys, code):
    assert fuzz(begin(5) + code, 1.0) == ({"target": 2}, 2)
    assert "seed 5\nthe worker hangs or has crashed" in capsys.readouterr().out
