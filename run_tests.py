#!/usr/bin/env python3
"""Run all tests with line coverage; arguments go to pytest, as in ``python run_tests.py -k windows -x``."""

from __future__ import annotations

import pathlib
import subprocess
import sys


def main(argv: list[str]) -> int:
    """Return pytest's exit code, after a table of the lines that no test reached."""
    root = pathlib.Path(__file__).resolve().parent
    command = [sys.executable, "-m", "pytest", "--cov=ndsampler", "--cov-report=term-missing:skip-covered"]
    return subprocess.call([*command, *argv], cwd=root)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
