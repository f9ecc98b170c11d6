"""
Run the documented examples, and hold what fails to the list of those known not to work yet.

    python .ci/acceptance.py ../shared/acceptance/documented_examples.py tests/acceptance_pending.txt

Exit status 0 when exactly the listed examples fail: one that passes must leave the list.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

LINE = re.compile(r"^ *(?P<number>\d+) (?P<where>\S+:\d+) +(?P<status>ok$|FAILED.*)")


def read_pending(text: str) -> set[int]:
    """Return the numbers in a list with one at the head of each line, comments aside.

    Args:
        text: the list; what follows ``#`` is for readers.

    Returns:
        The numbers of the examples that may fail.
    """
    return {int(line) for line in (raw.partition("#")[0].strip() for raw in text.splitlines()) if line}


def verdicts(output: str) -> dict[int, bool]:
    """Return for each example that the output reports, by number, whether it passed."""
    found = (LINE.match(line) for line in output.splitlines())
    return {int(match["number"]): match["status"] == "ok" for match in found if match}


def complaints(passed: dict[int, bool], pending: set[int]) -> list[str]:
    """Return a line for each example that did other than the list says.

    Args:
        passed: number of each example that was run, and whether it passed.
        pending: numbers of those that are known to fail.

    Returns:
        The lines, in the order of the numbers; none when all is as listed.
    """
    lines = [] if passed else ["no example was run"]
    for number in sorted(passed.keys() | pending):
        if number not in passed:
            lines.append(f"example {number} is listed as pending and does not exist")
        elif passed[number] and number in pending:
            lines.append(f"example {number} passes now: take it off the list")
        elif not passed[number] and number not in pending:
            lines.append(f"example {number} fails and is not on the list")
    return lines


def main(script: str, pending_path: str) -> int:
    """Run the examples, print what they did, and return the exit status."""
    pending = read_pending(pathlib.Path(pending_path).read_text(encoding="utf-8"))
    done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout)
    wrong = complaints(verdicts(done.stdout), pending)
    print("\n".join(wrong) or f"as listed: {len(pending)} pending, all others pass")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
