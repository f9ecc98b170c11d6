"""Measuring rows: medians of many repetitions, which alternate with those of the limits."""

from __future__ import annotations

import contextlib
import io
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: A step of a row. It gets the number of the repetition, and may return its duration in seconds.
Step = Callable[[int], Any]

#: A row meets its target if its ratio is within this factor of the target ratio.
BAND = 1.3


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
    """``windows``, ``files``, ``video``, ``cold`` or ``pools``."""

    build: Callable[[Any], Pair]
    """Makes both sides from a :class:`benchmarks.data.Workload`."""

    unit: str = "ms"
    """``s``, ``ms``, ``us``, or ``/s`` for calls per second."""

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


@dataclass(frozen=True)
class Result:
    """One measured line of the table, with times in the unit of the row."""

    row: Row
    ours: float | None
    limit: float | None
    error: str | None = None

    @property
    def ratio(self) -> float | None:
        """The ratio of the library's time to the limit."""
        if self.ours is None or not self.limit:
            return None
        return self.limit / self.ours if self.row.unit == "/s" else self.ours / self.limit

    @property
    def reached(self) -> bool | None:
        """Whether the target is met within :data:`BAND`; None without a target or a time."""
        if self.row.reach_absolute is not None and self.ours is not None:
            return self.ours <= self.row.reach_absolute * BAND
        if self.row.reach is None or self.ratio is None:
            return None
        return self.ratio <= self.row.reach * BAND


def measure(row: Row, workload: Any, rounds: int) -> Result:
    """Run a row and its limit alternately.

    Args:
        row: the row.
        workload: the data.
        rounds: number of rounds; a row may have fewer.

    Returns:
        The medians of both sides. If a side raises an error, only ``error`` is set.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # keep progress bars out of the table
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
