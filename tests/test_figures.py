"""Figures of pools and categories are made by the commands that the pages name."""

from __future__ import annotations

import pathlib

import pytest
from helpers_optional import import_optional
from helpers_processes import run_python

import_optional("matplotlib")

ROOT = pathlib.Path(__file__).resolve().parents[1]

#: Figure and the page it is on.
FIGURES = {
    "coverage_selection": "concepts/regions.rst",
    "negatives_in_free_space": "concepts/regions.rst",
    "category_decision": "concepts/category_tree.rst",
}

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_made_by_the_command_that_its_page_names(name, tmp_path):
    script, image = f"docs/figures/{name}.py", f"docs/source/images/{name}.png"
    page = (ROOT / "docs" / "source" / FIGURES[name]).read_text(encoding="utf-8")
    assert f"``python {script} {image}``" in page
    assert f".. figure:: ../images/{name}.png" in page
    done = run_python(script, tmp_path / "a.png", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "a.png", ROOT / image):
        written = path.read_bytes()
        assert written.startswith(PNG)
        assert len(written) < 200_000
