"""The examples, with small images and few steps."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import cv2
import pytest
from helpers_optional import import_optional
from helpers_processes import needs_fork

torch = import_optional("torch")

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "examples"

#: For each example that runs in one process: options, and the picture that it writes.
SMALL = {
    "train_segmentation": ("--size 256 --steps 4", "truth_and_prediction.png"),
    "train_detection": ("--size 256 --steps 3", "truth_and_found.png"),
    "train_video": ("--size 128 --frames 4 --steps 3", "truth_and_prediction.png"),
}


def test_each_example_says_how_to_run_it_and_is_named_in_the_documentation():
    page = (FOLDER.parent / "docs/source/concepts/training.rst").read_text(encoding="utf-8")
    names = {path.name for path in FOLDER.glob("*.py")}
    assert names == {*(f"{name}.py" for name in SMALL), "train_distributed.py"}
    for name in names:
        head = (FOLDER / name).read_text(encoding="utf-8").splitlines()[:4]
        assert f'pip install "ndsampler[headless,torch]" && python examples/{name}' in head
        assert f"``examples/{name}``" in page


@pytest.mark.parametrize("name", SMALL)
def test_an_example_trains_and_writes_its_picture(tmp_path, monkeypatch, capsys, name):
    options, picture = SMALL[name]
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(sys, "argv", [name, "--out", str(tmp_path / "out"), *options.split()])
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    module.main()
    assert "trained" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "out" / picture)).std() > 5


@needs_fork
def test_ranks_that_were_stopped_and_increased_see_the_samples_of_one_rank(tmp_path):
    options = ["--out", str(tmp_path), "--size", "128", "--steps", "4"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # What optimizers import is imported once, before ranks are forked.
    run = (
        "import runpy, sys, torch._dynamo; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", run, str(FOLDER / "train_distributed.py"), *options],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "48 of 48 samples are those of one rank" in done.stdout
    one, several = re.findall(r"loss ([0-9.]+)", done.stdout)
    assert float(one) == pytest.approx(float(several), abs=0.01)
    assert (tmp_path / "one_and_several_ranks.png").stat().st_size > 1000
