"""The tables of speeds: those in the documents are made from the stored run, and hold what it measured."""

from __future__ import annotations

import re

import pytest

from benchmarks import __main__ as command
from benchmarks import figures
from benchmarks.report import read_json

PAGE = figures.DOCUMENTS[1].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run():
    """The run that the documents show."""
    return read_json(figures.FIGURES_PATH)


def test_the_documents_show_the_stored_run(capsys):
    told = "run `python -m benchmarks.figures`"
    assert figures.main(["--check"]) == 0, f"{capsys.readouterr().out}{told}"


def test_every_row_of_the_run_is_in_a_table_of_the_page(run):
    regions = re.findall(r"^\.\. figures: (.*)$", PAGE, re.M)
    sections = [figures.section_of(row) for row in run["rows"]]
    assert sorted(regions) == sorted({"machine", *sections})
    for row, section in zip(run["rows"], sections):
        table = figures.section_table(run, section)
        assert (
            len([line for line in table.splitlines() if line.startswith(f"{figures._title(row['name'])}  ")])
            == 1
        )


def test_the_run_measured_rows_that_exist_and_none_failed(run):
    sizes = tuple(map(int, command.parse([]).sizes.split(",")))
    names = {row.name for row in command.choose_rows(command.parse([]), sizes)}
    stored = {row["name"] for row in run["rows"]}
    # The rows of torch exist only where it is installed.
    assert {name for name in stored - names if not name.startswith("torch")} == set()
    assert [row["name"] for row in run["rows"] if row["error"]] == []
    assert "--smoke" not in run["meta"]["command"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ms", "–"),
        (0.03567, "ms", "0.036 ms"),
        (5.6, "us", "5.6 us"),
        (56.4, "us", "56 us"),
        (0.004, "ms", "0.0040 ms"),
        (0.9, "ms", "0.90 ms"),
        (0.0412, "s", "41 ms"),
        (536.6, "ms", "537 ms"),
        (1281.0, "ms", "1.3 s"),
        (12345.6, "/s", "12,346/s"),
        (137.7, "MB", "138 MB"),
    ],
)
def test_values_have_two_or_three_digits(value, unit, text):
    assert figures.format_figure(value, unit) == text


@pytest.mark.parametrize(
    ("unit", "ratio", "absolute", "limit", "aim"),
    [
        ("ms", 1.5, None, 2.0, 3.0),
        ("/s", 1.5, None, 30.0, 20.0),
        ("us", None, 5.0, None, 5.0),
        ("ms", None, None, 2.0, None),
        ("ms", 1.5, None, None, None),
    ],
)
def test_an_aim_is_given_in_the_unit_of_its_row(unit, ratio, absolute, limit, aim):
    row = {"unit": unit, "aim_ratio": ratio, "aim_absolute": absolute, "limit": limit}
    assert figures.aim_of(row) == aim


def test_columns_of_a_table_are_as_wide_as_their_longest_cell():
    table = figures.make_table(["what", "here"], [["a window", "1 ms"], ["two", "10.5 ms"]])
    assert table.splitlines() == [
        "========  =======",
        "what      here",
        "========  =======",
        "a window  1 ms",
        "two       10.5 ms",
        "========  =======",
    ]


def test_tables_are_written_or_only_checked(run, tmp_path, monkeypatch, capsys):
    document = tmp_path / "page.rst"
    old = "Speeds\n\n.. figures: readme\n\nold\n\n.. end of figures\n\nThe end.\n"
    document.write_text(old, encoding="utf-8")
    monkeypatch.setattr(figures, "DOCUMENTS", [document])
    assert figures.main(["--check"]) == 1
    assert "page.rst shows other figures" in capsys.readouterr().out
    assert document.read_text(encoding="utf-8") == old
    assert figures.main([]) == 0
    expected = old.replace("old\n", figures.readme_table(run))
    assert document.read_text(encoding="utf-8") == expected
    assert figures.main(["--check"]) == 0
