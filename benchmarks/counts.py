"""The counts of key calls, kept in ``counts.json``: ``python -m benchmarks.counts`` says which have moved.

Each row is a call of the library on tiny data, and what it asks of the system: files opened, blocks decoded,
bytes read, functions called. Unlike times, counts are the same in every run. The exit code is 1 if one has
moved. If a change is meant to move it, ``--write`` stores the new counts, which are then part of the change.

Handles and blocks are compared on every system, and opened files on a system like that of ``counts.json``.
Reads, bytes, calls and modules depend on the versions of Python and of packages too.
``benchmarks/counting.py`` describes each of them.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import platform
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.cases_counts import list_rows
from benchmarks.counting import Meter, counting_handles
from benchmarks.data_counts import CountsWorkload

#: Where the counts are kept.
COUNTS_PATH = Path(__file__).with_name("counts.json")

#: Counts that follow from the library alone, those that the system may change, and those that versions may.
STABLE, OF_SYSTEM, OF_VERSIONS = (
    ("handles", "blocks", "decoded"),
    ("opens",),
    ("reads", "bytes", "calls", "modules"),
)

#: Share by which a number of calls may differ without having moved. Small edits change it all the time.
SLACK_OF_CALLS = 0.1

#: Packages whose versions change counts.
PACKAGES = (
    *("kwarray", "kwcoco", "kwimage", "networkx", "numpy", "opencv-python", "opencv-python-headless"),
    *("rasterio", "shapely", "ubelt"),
)

#: Characters of the path of the folder that the data is in.
LENGTH_OF_FOLDER = 150

#: Counts of rows by name.
Rows = dict[str, dict[str, int | None]]


def describe_system() -> dict[str, str]:
    """What counts depend on beside the library."""
    versions = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {"system": f"{platform.system()} {platform.machine()}", **versions}


def count_rows() -> Rows:
    """Count all rows on data that is made for it."""
    with tempfile.TemporaryDirectory() as parent, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Labels of entries hold paths, whose lengths must not differ from run to run.
        folder = Path(parent) / ("x" * max(LENGTH_OF_FOLDER - len(parent) - 1, 1))
        folder.mkdir()
        meter, rows = Meter(folder), {}
        with counting_handles(meter):
            for name, action in list_rows(CountsWorkload(folder)):
                rows[name] = meter.count(action).as_dict()
        return rows


def comparable(was: dict[str, str], now: dict[str, str]) -> tuple[str, ...]:
    """The counts that can be compared between two systems.

    Args:
        was: what :func:`describe_system` said when the counts were stored.
        now: what it says here.
    """
    if was == now:
        return (*OF_SYSTEM, *STABLE, *OF_VERSIONS)
    return (*OF_SYSTEM, *STABLE) if was["system"] == now["system"] else STABLE


def find_moved(was: Rows, now: Rows, names: tuple[str, ...]) -> Iterator[str]:
    """Yield a line for each count that has moved, and for each row that has come or gone.

    Args:
        was: the stored counts.
        now: the counts of this run.
        names: the counts to compare.
    """
    for row in now:
        if row not in was:
            yield f"{row}: is new"
            continue
        for name in names:
            if not _is_same(name, was[row].get(name), now[row][name]):
                yield f"{row}: {name} was {was[row].get(name)}, is {now[row][name]}"
    yield from (f"{row}: is gone" for row in was if row not in now)


def _is_same(name: str, was: int | None, now: int | None) -> bool:
    if was is None or now is None or name != "calls":
        return was == now
    return abs(now - was) <= SLACK_OF_CALLS * was


def write_counts(fpath: Path, rows: Rows) -> None:
    """Write counts, a row a line, and what they depend on."""
    lines = [
        f"  {json.dumps(name, ensure_ascii=False)}: {json.dumps(counts)}" for name, counts in rows.items()
    ]
    system = json.dumps(describe_system())
    text = f'{{"system": {system},\n "rows": {{\n' + ",\n".join(lines) + "\n}}\n"
    fpath.write_text(text, encoding="utf-8")


def report(was: dict[str, Any], now: Rows) -> int:
    """Print what has moved; returns the exit code."""
    names = comparable(was["system"], describe_system())
    moved = list(find_moved(was["rows"], now, names))
    print("\n".join(moved) if moved else f"{len(now)} rows, and no count has moved")
    if len(names) < len((*STABLE, *OF_SYSTEM, *OF_VERSIONS)):
        print(f"compared: {', '.join(names)}; the others depend on what is different here")
    return 1 if moved else 0


def main(argv: list[str] | None = None) -> int:
    """Count, and compare or write; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.counts", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="store the counts of this run")
    parser.add_argument("--file", type=Path, default=COUNTS_PATH, help="where they are stored")
    args = parser.parse_args(argv)
    rows = count_rows()
    if args.write:
        write_counts(args.file, rows)
        return 0
    return report(json.loads(args.file.read_text(encoding="utf-8")), rows)


if __name__ == "__main__":
    sys.exit(main())
