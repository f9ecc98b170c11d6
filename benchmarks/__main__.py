"""Command line of the benchmarks: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import fnmatch
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

# The block cache of GDAL is a setting of the process, and has to stand before GDAL is loaded.
os.environ.setdefault("GDAL_CACHEMAX", "64")

from benchmarks import cases_cold, cases_files, cases_pools, cases_video, cases_windows, report
from benchmarks.data import Workload, add_data_dir
from benchmarks.timing import Pair, Result, Row, measure


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line as values."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", default="*", help="pattern of row names or groups: windows, files, video, cold, pools"
    )
    parser.add_argument(
        "--rounds", type=int, default=15, help="rounds in which rows and limits change places"
    )
    parser.add_argument("--sizes", default="20000,200000,1000000", help="annotation counts of the pool rows")
    add_data_dir(parser)
    parser.add_argument("--json", help="write the rows to this file")
    parser.add_argument(
        "--smoke", action="store_true", help="tiny data, every row once; non-zero exit on any error"
    )
    parser.add_argument("--no-limits", action="store_true", help="measure the library alone")
    parser.add_argument(
        "--against", metavar="PYTHON", help="an interpreter with another release, shown beside ours"
    )
    return parser.parse_args(argv)


def choose_rows(args: argparse.Namespace, sizes: tuple[int, ...]) -> list[Row]:
    """The rows whose name or group matches, without limits when these are not wanted."""
    groups = (cases_windows.rows(), cases_files.rows(), cases_video.rows(), cases_cold.rows())
    every = [row for rows in (*groups, cases_pools.rows(sizes)) for row in rows]
    chosen = [r for r in every if args.only == r.group or fnmatch.fnmatch(r.name, args.only)]
    return [_without_limit(row) for row in chosen] if args.no_limits else chosen


def _without_limit(row: Row) -> Row:
    return replace(row, build=lambda work: Pair(row.build(work).ours))


def run_other(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The same rows measured by another interpreter, from a copy that lies beside no library."""
    with tempfile.TemporaryDirectory() as dpath:
        shutil.copytree(Path(__file__).parent, Path(dpath) / "benchmarks")
        fpath = Path(dpath) / "rows.json"
        command = [
            args.against,
            "-m",
            "benchmarks",
            "--no-limits",
            "--only",
            args.only,
            "--json",
            str(fpath),
            "--rounds",
            str(args.rounds),
            "--sizes",
            args.sizes,
            "--data-dir",
            str(Path(args.data_dir).resolve()),
        ]
        command += ["--smoke"] if args.smoke else []
        subprocess.run(command, cwd=dpath, check=True)
        return report.read_json(fpath)


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write; returns the exit code."""
    args = parse(argv)
    warnings.simplefilter("ignore")
    work = Workload(Path(args.data_dir), args.smoke, tuple(int(s) for s in args.sizes.split(",")))
    results: list[Result] = []
    start = time.perf_counter()
    rows = choose_rows(args, work.sizes)
    work.verify = not args.no_limits
    print(report.COLUMNS, flush=True)
    for row in rows:
        results.append(measure(row, work, args.rounds))
        print(report.line(results[-1], None), flush=True)
    note = "; tiny data, so these times say nothing" if args.smoke else ""
    print(f"{len(results)} rows in {time.perf_counter() - start:.0f} s{note}")
    others = run_other(args) if args.against else {}
    if args.against:
        print(f"{report.COLUMNS}  the other", flush=True)
        for result in results:
            print(report.line(result, others.get(result.row.name, {"error": "not run"})))
    if args.json:
        report.write_json(Path(args.json), results, others)
    failed = [r for r in results if r.error]
    return 1 if args.smoke and failed else 0


if __name__ == "__main__":
    sys.exit(main())
