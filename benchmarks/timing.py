"""Rows and how they are measured: in turn with their limits, medians of many repetitions."""

from __future__ import annotations

import contextlib
import io
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: A step of a row; it gets a running number, and may return its own seconds.
Step = Callable[[int], Any]

#: A row within this factor of the ratio aimed at counts as reached.
BAND = 1.3


@dataclass(frozen=True)
class Pair:
    """The two sides of one row, ready to run."""

    ours: Step
    """One call of the library."""

    limit: Step | None = None
    """The least work that gives the same; None where no such thing was measured."""


@dataclass(frozen=True)
class Row:
    """One line of the table, before it is measured."""

    name: str
    """What is measured."""

    group: str
    """``windows``, ``files``, ``video``, ``cold`` or ``pools``."""

    build: Callable[[Any], Pair]
    """Makes both sides from a :class:`benchmarks.data.Workload`."""

    unit: str = "ms"
    """``s``, ``ms``, ``us``, or ``/s`` for calls per second."""

    reach: float | None = None
    """The multiple of the limit that the library aims at."""

    reach_absolute: float | None = None
    """The time aimed at, in ``unit``, where there is no limit to compare with."""

    number: int = 20
    """Calls of each side in a round."""

    rounds: int | None = None
    """Rounds, where a row needs fewer than the run's own number."""

    self_timed: bool = False
    """Whether a step returns its seconds instead of being timed."""


@dataclass(frozen=True)
class Result:
    """One line of the table, measured; times in the row's unit."""

    row: Row
    ours: float | None
    limit: float | None
    error: str | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the limit the library takes."""
        if self.ours is None or not self.limit:
            return None
        return self.limit / self.ours if self.row.unit == "/s" else self.ours / self.limit

    @property
    def reached(self) -> bool | None:
        """Whether the aim is met within :data:`BAND`; None without an aim or a time."""
        if self.row.reach_absolute is not None and self.ours is not None:
            return self.ours <= self.row.reach_absolute * BAND
        if self.row.reach is None or self.ratio is None:
            return None
        return self.ratio <= self.row.reach * BAND


def measure(row: Row, workload: Any, rounds: int) -> Result:
    """Run a row and its limit in turn.

    Args:
        row: what to run.
        workload: the data it is built from.
        rounds: how often the two sides change places; a row may ask for fewer.

    Returns:
        The medians of both sides; only ``error`` is set when a side raises.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # progress bars are none of the table's business
            pair = row.build(workload)
            ours, limits = _run(row, pair, workload.rounds(row.rounds or rounds), workload.number(row.number))
    except Exception as ex:  # a row that fails is a line of the table; smoke runs exit non-zero
        return Result(row, None, None, f"{type(ex).__name__}: {ex}")
    return Result(row, _in_unit(row, ours), _in_unit(row, limits))


def _run(row: Row, pair: Pair, rounds: int, number: int) -> tuple[list[float], list[float]]:
    ours: list[float] = []
    limits: list[float] = []
    for index in range(rounds + 1):
        sides = [(pair.ours, ours), (pair.limit, limits)]
        for step, times in sides if index % 2 else reversed(sides):
            if step is not None:
                spent = [_once(step, index * number + k, row.self_timed) for k in range(number)]
                times.extend(spent if index or rounds == 1 else [])
        if rounds == 1:
            break
    return ours, limits


def _once(step: Step, index: int, self_timed: bool) -> float:
    start = time.perf_counter()
    seconds = step(index)
    return float(seconds) if self_timed else time.perf_counter() - start


def _in_unit(row: Row, seconds: list[float]) -> float | None:
    if not seconds:
        return None
    median = statistics.median(seconds)
    return 1 / median if row.unit == "/s" else median * {"s": 1, "ms": 1e3, "us": 1e6}[row.unit]
