"""
Fuzz the library for some seconds: ``python tests/fuzz --seconds 60``.

Another process, whose memory is bounded, tries random targets, datasets, headers of images, labels of cache
entries and command lines. Each case must give a result or an ``NDSamplerError`` within a limit of time. The
seed is printed, and each failure with the command that tries it again. The exit status is 1 if one failed.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent

#: The kinds of cases, tried in turn. Their functions are in the module ``fuzz_worker``.
KINDS = ("target", "dataset", "header", "label", "command")

#: Seconds that a case may take, and that a worker may take to start.
CASE_SECONDS = 60.0
START_SECONDS = 180.0

#: Failures after which a run ends.
MAX_FAILURES = 20


class Worker:
    """A process that tries cases and reports each of them by a line of JSON.

    Args:
        kinds: the kinds of cases.
        seed: the seed of the first case; each later case adds one.
    """

    def __init__(self, kinds: list[str], seed: int) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        words = [sys.executable, str(HERE / "fuzz_worker.py"), str(seed), *kinds]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def messages(self, limit: float) -> Iterator[dict[str, Any]]:
        """Yield what the worker reports; ``{}`` if it ended or reported nothing for too long."""
        while True:
            try:
                line = self._lines.get(timeout=limit)
            except queue.Empty:
                line = ""
            message = json.loads(line) if line else {}
            yield message
            if not message:
                return
            limit = CASE_SECONDS

    def end(self) -> str:
        """Kill the worker, and return the end of what it wrote to stderr."""
        ended_itself = self._process.poll()
        self._process.kill()
        self._process.wait(timeout=CASE_SECONDS)
        self._errors.seek(0)
        text = self._errors.read()[-3000:]
        self._errors.close()
        return text if ended_itself is None else f"exit status {ended_itself}\n{text}"


def report(kind: str, seed: int, text: str, seen: set[str]) -> None:
    """Print a failure, with the command that tries the case again, and without what was printed before."""
    place = "".join(re.findall(r'File "(.*, line .*)', text)[-1:])
    print(f"\nFAILED: {kind}, seed {seed}\n{'as above' if place in seen else text}")
    seen.add(place or text)
    print(f"again: python tests/fuzz --kind {kind} --seed {seed} --cases 1", flush=True)


def fuzz(kinds: list[str], seed: int, seconds: float, cases: int | None) -> tuple[Counter[str], int]:
    """Try cases until the time is over, or as many as were asked for.

    Args:
        kinds: the kinds of cases, tried in turn.
        seed: the seed of the first case.
        seconds: how long.
        cases: the number of cases; None for no bound.

    Returns:
        The number of cases of each kind, and how many failed.
    """
    done: Counter[str] = Counter()
    failures, seen = 0, set[str]()
    deadline = time.monotonic() + seconds
    while failures < MAX_FAILURES:
        worker = Worker(kinds, seed + done.total())
        begun: tuple[str, int] | None = None
        for message in worker.messages(START_SECONDS):
            if not message:  # crashed or hangs
                failures += 1
                report(*(begun or ("start", seed)), "the worker hangs or has crashed\n" + worker.end(), seen)
                break
            if "begin" in message:
                begun = message["begin"]
                continue
            done[message["kind"]] += 1
            if message["error"]:
                failures += 1
                report(*begun, message["error"], seen)
            if time.monotonic() > deadline or failures >= MAX_FAILURES or done.total() == cases:
                worker.end()
                return done, failures
        if begun is None:
            break
        done[begun[0]] += 1
        if time.monotonic() > deadline or done.total() == cases:
            break
    return done, failures


def main() -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description="Fuzz the library.")
    parser.add_argument("--seconds", type=float, default=60, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="seed of the first case; drawn from the clock by default")
    parser.add_argument("--cases", type=int, help="end after so many cases")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this kind; may be repeated")
    args = parser.parse_args()
    seed = int(time.time()) * 1000 if args.seed is None else args.seed
    print(f"fuzz: seed {seed}", flush=True)
    done, failures = fuzz(args.kind or list(KINDS), seed, args.seconds, args.cases)
    counts = ", ".join(f"{kind} {count}" for kind, count in sorted(done.items()))
    print(f"fuzz: {done.total()} cases ({counts}); {failures} failed")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
