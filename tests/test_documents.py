"""What README.rst and docs/ show is what happens."""

from __future__ import annotations

import pathlib
import re
import runpy

import numpy as np
import pytest
import rasterio
from helpers_documents import failures_of, python_blocks, write_dataset
from helpers_optional import import_optional
from helpers_processes import run_python

ROOT = pathlib.Path(__file__).resolve().parent.parent

README = ROOT / "README.rst"

DOCUMENTS = [README, *sorted((ROOT / "docs" / "source").rglob("*.rst"))]

WITH_EXAMPLES = [path for path in DOCUMENTS if ">>>" in path.read_text(encoding="utf-8")]

COMMANDS = [
    'python3 -m venv .venv && .venv/bin/pip install -e ".[headless]" && .venv/bin/python -m ndsampler demo',
    'python3 -m venv .venv && .venv/bin/pip install -e ".[headless,tests]" && .venv/bin/python run_tests.py',
]


@pytest.fixture
def beside_a_dataset(tmp_path, monkeypatch):
    """A current folder with ``my.kwcoco.json``; backends that a document registers are forgotten again."""
    from ndsampler.backends import base

    monkeypatch.setattr(base, "REGISTRY", dict(base.REGISTRY))
    write_dataset(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("document", WITH_EXAMPLES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_examples_of_a_document_give_what_it_shows(document, beside_a_dataset):
    text = document.read_text(encoding="utf-8")
    if ">>> import torch" in text or "torch.Size" in text:
        import_optional("torch")
    report = failures_of(document)
    if report:
        pytest.fail(report, pytrace=False)


def test_the_readme_gives_its_two_commands_in_one_line_each():
    lines = [line.strip() for line in README.read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if line in COMMANDS] == COMMANDS


def test_the_script_of_the_readme_writes_a_picture_of_each_object(beside_a_dataset):
    (script,) = [block for block in python_blocks(README) if "crops.py" in block]
    path = beside_a_dataset / "crops.py"
    path.write_text(script, encoding="utf-8")
    done = run_python(path, "my.kwcoco.json", "crops")
    assert done.returncode == 0, done.stderr
    assert len(list((beside_a_dataset / "crops").glob("*.png"))) == 12


def test_the_training_program_of_the_readme_writes_a_map(beside_a_dataset, monkeypatch, capsys):
    import_optional("torch")
    (script,) = [block for block in python_blocks(README) if "train.py" in block]
    pathlib.Path("train.py").write_text(script, encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["train.py", "annotations.json", "pictures", "output", "1"])
    runpy.run_path("train.py", run_name="__main__")
    with rasterio.open("output/map.tif") as file:
        assert (file.height, file.width, file.count) == (900, 1200, 3)
    assert "one band for each of background, boat, buoy" in capsys.readouterr().out


def test_the_program_of_the_tutorial_runs_from_the_first_block_to_the_last(beside_a_dataset, capsys):
    import_optional("torch")
    blocks = python_blocks(ROOT / "docs" / "source" / "tutorial.rst")
    pathlib.Path("tutorial.py").write_text("\n".join(blocks), encoding="utf-8")
    runpy.run_path("tutorial.py", run_name="__main__")
    printed = capsys.readouterr().out
    assert "labels: ['background', 'boat', 'buoy']" in printed
    assert "frames, height, width, channels: (2, 200, 300, 3)" in printed
    assert printed.count("epoch") == 10
    for name in ("sheet.png", "negatives.png", "predictions.png", "strip.png"):
        with rasterio.open(name) as file:
            assert file.count == 3
    with rasterio.open("map.tif") as file:
        assert (file.height, file.width, file.count) == (900, 1200, 3)
        labels = file.read().argmax(0)
    with rasterio.open("map.png") as file:
        assert np.array_equal(file.read(1), labels * 255 // max(labels.max(), 1))
    training = [block for block in blocks if ".show(" not in block and "predict(" not in block]
    pathlib.Path("resumed.py").write_text("\n".join(training), encoding="utf-8")
    runpy.run_path("resumed.py", run_name="__main__")
    assert "epoch" not in capsys.readouterr().out


def test_links_between_documents_lead_to_files():
    for document in DOCUMENTS:
        for target in re.findall(r":doc:`(?:[^`<]*<)?([^`>]+)>?`", document.read_text(encoding="utf-8")):
            base = ROOT / "docs" / "source" if target.startswith("/") else document.parent
            assert (base / f"{target.lstrip('/')}.rst").is_file(), f"{document.name} refers to {target}"


def test_pictures_of_the_readme_exist():
    for target in re.findall(r"\.\. (?:image|figure):: (\S+)", README.read_text(encoding="utf-8")):
        assert (ROOT / target).is_file()


#: A page, and the column of its tables in which each row names its tests.
PAGES_WITH_TESTS = {"platforms": 3, "trust": 1}


def rows_of_tables(page: pathlib.Path) -> list[list[str]]:
    """Return the cells of the rows of all list tables of a page, without their heads."""
    rows = []
    for table in page.read_text(encoding="utf-8").split(".. list-table::")[1:]:
        body = re.split(r"\n(?=\S)", table)[0]
        found = [re.split(r"\n     - ", row) for row in re.split(r"\n   \* - ", body)[1:]]
        rows += found[1:]
    return rows


@pytest.mark.parametrize("name", PAGES_WITH_TESTS)
def test_each_promise_of_a_page_names_tests_that_exist(name):
    existing = {
        word
        for path in (ROOT / "tests").rglob("test_*.py")
        for word in re.findall(r"^ *def (test_\w+)", path.read_text(encoding="utf-8"), re.M)
    }
    page = ROOT / "docs" / "source" / "concepts" / f"{name}.rst"
    rows = rows_of_tables(page)
    assert rows
    column = PAGES_WITH_TESTS[name]
    assert [row[0] for row in rows if not re.search(r"``test_\w+``", row[column])] == []
    named = set(re.findall(r"``(test_\w+)``", page.read_text(encoding="utf-8")))
    assert sorted(named - existing) == []
