"""The tables of speeds in README.rst and on the page "Measured speeds", made from one run of the benchmarks.

    python -m benchmarks --against PYTHON --json benchmarks/figures.json
    python -m benchmarks.figures

The first command measures, the second writes the tables between the comments ``.. figures: NAME`` and
``.. end of figures`` of both documents. ``--check`` writes nothing, and exits with 1 if a table differs.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.report import read_json

ROOT = Path(__file__).resolve().parents[1]

#: The run whose figures the documents show.
FIGURES_PATH = Path(__file__).with_name("figures.json")

#: The documents with tables.
DOCUMENTS = (ROOT / "README.rst", ROOT / "docs" / "source" / "figures.rst")

#: The comments around what is generated.
REGION = re.compile(r"(?<=^\.\. figures: )([\w ]+)\n\n.*?(?=^\.\. end of figures$)", re.M | re.S)

#: Rows of the README by their names, and what it calls them.
README_ROWS = {
    "npy 256² plain": "256² window, npy",
    "npy 256² annots": "256² window with six polygons and keypoints, npy",
    "cog 256² plain": "256² window, cog without loss (0.8.1: JPEG)",
    "no cache, tiled 256²": "256² window of a tiled TIFF, no cache",
    "whole image to 224² from cog": "the whole image at 224², cog",
    "prepare PNG to cog": "conversion of a PNG to cog (limit: without overviews)",
}

#: How names of rows read in the tables of the page.
WORDS = {
    " plain": "",
    " annots": ", with six objects",
    " consumed": ", copied into a batch",
    "prepare PNG to": "a PNG of 4096² to",
    "prepare, source tiled already": "a tiled TIFF, which stays as it is",
    "cog 256², source of slow layout": "256² of an entry whose source has blocks of 512²",
    "32768² against 1024²,": "images of 32768² / 1024²,",
    "20,000 files against 100,": "one of 20,000 / 100 files,",
}

#: A measured row as it is stored.
Row = dict[str, Any]


def section_of(row: Row) -> str:
    """The name of the table that a row belongs to."""
    name = row["name"]
    if name.startswith("prepare"):
        return "conversion"
    if name.startswith(("64 windows", "torch loader", "two loaders")):
        return "batches"
    return str(row["group"])


def format_figure(value: float | None, unit: str) -> str:
    """A measured value with two or three digits.

    Args:
        value: in the unit; None for a dash.
        unit: that of the row; a long time is given in the next larger one, a short one in ms.
    """
    if value is None:
        return "–"
    if unit == "/s":
        return f"{_round(value)}/s"
    if unit == "s" and value < 1:
        return f"{_round(1000 * value)} ms"
    larger = {"ms": "s", "us": "ms"}
    if unit in larger and value >= 1000:
        return f"{_round(value / 1000)} {larger[unit]}"
    return f"{_round(value)} {unit}"


def _round(value: float) -> str:
    decimals = 0 if value <= 0 else max(1 - math.floor(math.log10(value)), 0)
    return f"{value:,.{decimals}f}"


def aim_of(row: Row) -> float | None:
    """The value aimed at in the unit of the row: beside its limit, or alone."""
    if row["aim_absolute"] is not None:
        return float(row["aim_absolute"])
    if row["aim_ratio"] is None or row["limit"] is None:
        return None
    return float(row["limit"] / row["aim_ratio"] if row["unit"] == "/s" else row["limit"] * row["aim_ratio"])


def _cells(row: Row) -> list[str]:
    """The figures of a row: here, limit, aim, the other release."""
    unit = row["unit"]
    other = "fails" if row.get("other_failed") else format_figure(row["other"], unit)
    figures = [format_figure(value, unit) for value in (row["ours"], row["limit"], aim_of(row))]
    return [*figures, other]


def _flat_cells(row: Row) -> list[str]:
    """The figures of a row that compares much with little: of both, their ratio, the aim."""
    unit, ratio = row["unit"], row["ratio"]
    aim = f"{row['aim_ratio']:g}" if row["aim_ratio"] else format_figure(row["aim_absolute"], unit)
    both = [format_figure(value, unit) for value in (row["ours"], row["limit"])]
    return [*both, "–" if ratio is None else f"{ratio:.2f}", aim]


def make_table(head: list[str], lines: list[list[str]]) -> str:
    """A simple table of reStructuredText."""
    widths = [max(map(len, column)) for column in zip(head, *lines)]
    rule = "  ".join("=" * width for width in widths)
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in [head, *lines]]
    return "\n".join(part.rstrip() for part in [rule, text[0], rule, *text[1:], rule]) + "\n"


def readme_table(run: dict[str, Any]) -> str:
    """The table of the README."""
    rows = {row["name"]: row for row in run["rows"]}
    lines = []
    for name, title in README_ROWS.items():
        here, limit, _, other = _cells(rows[name])
        lines.append([title, here, limit, other])
    return make_table(["what", "here", "limit", f"release {_other_release(run)}"], lines)


def section_table(run: dict[str, Any], section: str) -> str:
    """One of the tables of the page."""
    rows = [row for row in run["rows"] if section_of(row) == section]
    cells: Callable[[Row], list[str]] = _flat_cells if section == "flat" else _cells
    head = ["here", "limit", "aim", f"release {_other_release(run)}"]
    if section == "flat":
        head = ["much", "little", "ratio", "aim"]
    return make_table(["what", *head], [[_title(row["name"]), *cells(row)] for row in rows])


def _title(name: str) -> str:
    for words, others in WORDS.items():
        name = name.replace(words, others)
    return name


def _other_release(run: dict[str, Any]) -> str:
    other = run["meta"]["other"]
    return str(other["ndsampler"]) if other else "–"


def machine_text(run: dict[str, Any]) -> str:
    """What the run was measured on, and by which command."""
    meta = run["meta"]
    disk, cache = meta["file_system"], meta["gdal_cache_bytes"]
    lines = [
        ("machine", f"{meta['cores']} cores, {meta['processor']}, {meta['memory_gb']} GB, {meta['system']}"),
        ("disk", f"{'local' if disk['local'] else 'remote'}, {disk['type']}; files have been read before"),
        ("open files", f"at most {meta['open_files']:,} (``ulimit -n``)"),
        ("GDAL", f"{meta['gdal']}, with a block cache of {round(cache / 2**20)} MB"),
        ("Python", f"{meta['python']}; " + _versions(meta["versions"])),
        ("date", meta["date"]),
        ("command", f"``{meta['command']}``"),
    ]
    return "".join(f":{name}: {text}\n" for name, text in lines)


def _versions(versions: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def make_region(run: dict[str, Any], name: str) -> str:
    """What stands between the comments of a name."""
    if name == "readme":
        return readme_table(run)
    return machine_text(run) if name == "machine" else section_table(run, name)


def fill(text: str, run: dict[str, Any]) -> str:
    """A document with the tables of a run."""
    return REGION.sub(lambda found: f"{found[1]}\n\n{make_region(run, found[1])}\n", text)


def main(argv: list[str] | None = None) -> int:
    """Write the tables, or check them; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", type=Path, default=FIGURES_PATH, help="what the run has written")
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args(argv)
    run, code = read_json(args.file), 0
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        filled = fill(text, run)
        if filled != text and not args.check:
            document.write_text(filled, encoding="utf-8")
        elif filled != text:
            print(f"{document.name} shows other figures than {args.file.name}")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
