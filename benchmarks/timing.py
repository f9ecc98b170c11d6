"""Measuring rows: medians of many repetitions, which alternate with those of the limits."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: A step of a row. It gets the number of the repetition, and may return its duration in seconds.
Step = Callable[[int], Any]

#: A row meets its target if its ratio is within this factor of the target ratio.
BAND = 1.3

#: How the units are made from seconds; memory is in megabytes as it is.
SCALES = {"s": 1.0, "ms": 1e3, "us": 1e6, "MB": 1.0}


@dataclass(frozen=True)
class Pair:
    """The two functions of one row: the library and the limit."""

    ours: Step
    """One call of the library."""

    limit: Step | None = None
    """The minimal work that gives the same result; None if there is no limit."""


@dataclass(frozen=True)
class Row:
    """One line of the table, before it is measured."""

    name: str
    """Name of the measurement."""

    group: str
    """``windows``, ``files``, ``video``, ``flat``, ``cold`` or ``pools``."""

    build: Callable[[Any], Pair]
    """Makes both sides from a :class:`benchmarks.data.Workload`."""

    unit: str = "ms"
    """``s``, ``ms``, ``us``, ``/s`` for calls per second, or ``MB`` for a step that returns megabytes."""

    reach: float | None = None
    """The target ratio of the library's time to the limit."""

    reach_absolute: float | None = None
    """The target time in ``unit``, if there is no limit."""

    number: int = 20
    """Number of calls of each side in a round."""

    rounds: int | None = None
    """Number of rounds, if it is lower than that of the run."""

    self_timed: bool = False
    """Whether a step returns its duration instead of being timed."""

    band: float = BAND
    """The factor of the aim within which the row counts as reached."""


@dataclass(frozen=True)
class Result:
    """One measured line of the table, with times in the unit of the row."""

    row: Row
    ours: float | None
    limit: float | None
    error: str | None = None
    spent: float = 0.0
    """Seconds from the preparation of the row to its end."""

    @property
    def ratio(self) -> float | None:
        """The ratio of the library's time to the limit."""
        if self.ours is None or not self.limit:
            return None
        return self.limit / self.ours if self.row.unit == "/s" else self.ours / self.limit

    @property
    def reached(self) -> bool | None:
        """Whether the aim is met within the band of the row; None without an aim or a time."""
        if self.row.reach_absolute is not None and self.ours is not None:
            return self.ours <= self.row.reach_absolute * self.row.band
        if self.row.reach is None or self.ratio is None:
            return None
        return self.ratio <= self.row.reach * self.row.band


def measure(row: Row, workload: Any, rounds: int, seconds: float = math.inf) -> Result:
    """Run a row and its limit alternately.

    Args:
        row: what to run.
        workload: the data it is built from.
        rounds: how often the two sides change places; a row may ask for fewer.
        seconds: after which no round is started. The first of several rounds does not count, unless it is the
            only one.

    Returns:
        The medians of both sides. If a side raises an error, only ``error`` is set.
    """
    start = time.perf_counter()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # keep progress bars out of the table
            pair = row.build(workload)
            rounds, number = workload.rounds(row.rounds or rounds), workload.number(row.number)
            ours, limits = _run(row, pair, rounds, number, seconds)
    except Exception as ex:  # a row that fails is a line of the table; smoke runs exit non-zero
        return Result(row, None, None, f"{type(ex).__name__}: {ex}", time.perf_counter() - start)
    spent = time.perf_counter() - start
    return Result(row, _in_unit(row, ours), _in_unit(row, limits), spent=spent)


def _run(row: Row, pair: Pair, rounds: int, number: int, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds of each side in all rounds, the first of several left out."""
    ours: list[list[float]] = []
    limits: list[list[float]] = []
    end = time.perf_counter() + seconds
    for index in range(rounds + (rounds > 1)):
        sides = [(pair.ours, ours), (pair.limit, limits)]
        for step, times in sides if index % 2 else reversed(sides):
            steps = range(index * number, (index + 1) * number) if step else ()
            times.append([_once(step, k, row.self_timed) for k in steps if step])
        if time.perf_counter() > end:
            break
    return [*itertools.chain(*(ours[1:] or ours))], [*itertools.chain(*(limits[1:] or limits))]


def _once(step: Step, index: int, self_timed: bool) -> float:
    start = time.perf_counter()
    seconds = step(index)
    return float(seconds) if self_timed else time.perf_counter() - start


def _in_unit(row: Row, seconds: list[float]) -> float | None:
    if not seconds:
        return None
    median = statistics.median(seconds)
    return 1 / median if row.unit == "/s" else median * SCALES[row.unit]
