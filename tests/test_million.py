"""The run over a million annotations, with a few hundred."""

from __future__ import annotations

import json
import sqlite3

import pytest
from helpers_optional import import_optional
from helpers_systems import removes_open_files

from benchmarks import million

import_optional("sqlalchemy")
import_optional("psutil")


# kwcoco keeps the database open that is moved into its place.
pytestmark = removes_open_files

TINY = ["--annots", "300", "--images", "5", "--samples", "3", "--workers", "1"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A folder with the dataset and its view."""
    dpath = tmp_path_factory.mktemp("million")
    assert million.main([*TINY, "--data-dir", str(dpath), "--step", "make"]) == 0
    return dpath


def test_the_dataset_and_its_view_hold_what_was_asked_for(data_dir):
    (fpath,) = data_dir.glob("*.kwcoco.json")
    data = json.loads(fpath.read_text())
    assert (len(data["annotations"]), len(data["images"])) == (300, 5)
    assert all((data_dir / image["file_name"]).is_file() for image in data["images"])
    for ann in data["annotations"]:
        x, y, width, height = ann["bbox"]
        assert min(x, y) >= 0
        assert max(x + width, y + height) <= million.IMAGE_SIZE
    with sqlite3.connect(million.view_path(fpath)) as view:
        assert view.execute("SELECT COUNT(*) FROM annotations").fetchone() == (300,)


def test_a_run_prints_time_and_memory_of_all_stages(data_dir, capsys):
    assert million.main([*TINY, "--data-dir", str(data_dir), "--kinds", "sqlite", "--limit", "100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("open", "sampler", "preselect", "3 samples", "1 spawned workers", "in all"):
        (line,) = [line for line in lines if line.strip().startswith(name)]
        assert float(line.split()[-2]) > 0, line


def test_a_run_that_needs_too_much_memory_fails(data_dir, capsys):
    options = ["--data-dir", str(data_dir), "--kinds", "sqlite", "--limit", "0", "--workers", "0"]
    assert million.main([*TINY, *options]) == 1
    assert "more than 0.0 GB" in capsys.readouterr().out
