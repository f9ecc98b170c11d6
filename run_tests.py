#!/usr/bin/env python3
"""
Run all tests, as many at a time as there are cores.

Arguments go to pytest, as in ``python run_tests.py -k windows -x``; ``-n 0`` runs one test at a time, and
``--cov=ndsampler`` measures which lines the tests reach.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys


def main(argv: list[str]) -> int:
    """Return pytest's exit code."""
    root = pathlib.Path(__file__).resolve().parent
    parallel = ["-n", "logical", "--dist", "worksteal"]
    return subprocess.call([sys.executable, "-m", "pytest", *parallel, *argv], cwd=root)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
