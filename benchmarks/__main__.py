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

from benchmarks import (
    cases_cold,
    cases_files,
    cases_flat,
    cases_pools,
    cases_video,
    cases_windows,
    machine,
    report,
)
from benchmarks.data import Workload, add_data_dir
from benchmarks.timing import Pair, Result, Row, measure


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line as values."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", default="*", help="pattern of row names or groups: windows, files, video, flat, cold, pools"
    )
    parser.add_argument(
        "--rounds", type=int, default=15, help="rounds in which rows and limits change places"
    )
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="after which a row starts no further round"
    )
    parser.add_argument("--sizes", default="20000,200000,1000000", help="annotation counts of the pool rows")
    add_data_dir(parser)
    parser.add_argument("--json", help="write the rows to this file")
    parser.add_argument(
        "--smoke", action="store_true", help="tiny data, every row once; non-zero exit on any error"
    )
    parser.add_argument(
        "--no-limits", action="store_true", help="measure the library alone, without the group flat"
    )
    parser.add_argument(
        "--against", metavar="PYTHON", help="an interpreter with another release, shown beside ours"
    )
    return parser.parse_args(argv)


def choose_rows(args: argparse.Namespace, sizes: tuple[int, ...]) -> list[Row]:
    """The rows whose name or group matches, without limits when these are not wanted."""
    modules = (cases_windows, cases_files, cases_video, cases_flat, cases_cold)
    every = [row for module in modules for row in module.rows()] + cases_pools.rows(sizes)
    chosen = [r for r in every if args.only == r.group or fnmatch.fnmatch(r.name, args.only)]
    if args.no_limits:
        # Those of the group flat compare the library with itself.
        return [_without_limit(row) for row in chosen if row.group != "flat"]
    return chosen


def _without_limit(row: Row) -> Row:
    return replace(row, build=lambda work: Pair(row.build(work).ours))


def run_other(args: argparse.Namespace) -> dict[str, Any]:
    """What another interpreter writes of the same rows, from a copy that lies beside no library."""
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
            "--seconds",
            str(args.seconds),
            "--sizes",
            args.sizes,
            "--data-dir",
            str(Path(args.data_dir).resolve()),
        ]
        command += ["--smoke"] if args.smoke else []
        # The path may lead to this release.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, cwd=dpath, env=env, check=False)
        if not fpath.exists():
            raise RuntimeError(f"{args.against} measured nothing and ended with {done.returncode}")
        return report.read_json(fpath)


def typed_command(argv: list[str]) -> str:
    """The command line without paths of this machine.

    Args:
        argv: its arguments.
    """
    shown = {"--against": " --against PYTHON", "--json": " --json FILE", "--data-dir": ""}
    text, values = "python -m benchmarks", iter(argv)
    for word in values:
        option, _, value = word.partition("=")
        text += shown.get(option, f" {word}")
        if option in shown and not value:
            next(values, None)
    return text


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
        results.append(measure(row, work, args.rounds, args.seconds))
        print(report.line(results[-1], None), flush=True)
    note = "; tiny data, so these times say nothing" if args.smoke else ""
    print(f"{len(results)} rows in {time.perf_counter() - start:.0f} s{note}")
    other = run_other(args) if args.against else None
    if other:
        others = {row["name"]: row for row in other["rows"]}
        print(f"{report.COLUMNS}  the other", flush=True)
        for result in results:
            print(report.line(result, others.get(result.row.name, {"error": "not run"})))
    if args.json:
        command = typed_command(sys.argv[1:] if argv is None else argv)
        meta = machine.describe(Path(args.data_dir), command)
        report.write_json(Path(args.json), results, meta, other)
    failed = [r for r in results if r.error]
    return 1 if args.smoke and failed else 0


if __name__ == "__main__":
    sys.exit(main())
