#!/usr/bin/env python3
"""
Run all tests, as many at a time as there are cores, with line coverage.

Arguments go to pytest, as in ``python run_tests.py -k windows -x``; ``-n 0`` runs one test at a time.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys


def main(argv: list[str]) -> int:
    """Return pytest's exit code, after a table of the lines that no test reached."""
    root = pathlib.Path(__file__).resolve().parent
    parallel = ["-n", "logical", "--dist", "worksteal"]
    coverage = ["--cov=ndsampler", "--cov-report=term-missing:skip-covered"]
    return subprocess.call([sys.executable, "-m", "pytest", *parallel, *coverage, *argv], cwd=root)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
