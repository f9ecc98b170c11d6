"""The measured rows as a table and as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

from benchmarks.timing import BAND, Result

COLUMNS = f"{'row':36s} {'ours':>11s} {'limit':>11s} {'ratio':>7s} {'aim':>7s}  within {BAND}x"


def line(result: Result, other: dict[str, Any] | None) -> str:
    """One line of the table.

    Args:
        result: the measured row.
        other: the same row of another interpreter, when one was asked for.
    """
    row = result.row
    aim = f"{row.reach:.2f}" if row.reach else f"<{row.reach_absolute:g}" if row.reach_absolute else "-"
    verdict = {True: "yes", False: "NO", None: "-"}[result.reached]
    text = (
        f"{row.name:36s} {_time(result.ours, row.unit)} {_time(result.limit, row.unit)} "
        f"{result.ratio or float('nan'):7.2f} {aim:>7s}  {verdict:8s}"
    )
    if other is not None:
        text += f" {_time(other.get('ours'), row.unit)}" + (
            f"  {other['error'][:60]}" if other.get("error") else ""
        )
    return text + (f"  {result.error}" if result.error else "")


def _time(value: float | None, unit: str) -> str:
    return f"{'-':>11s}" if value is None else f"{value:8.4g} {unit:>2s}"


def as_dict(result: Result) -> dict[str, Any]:
    """A measured row as plain values."""
    row = result.row
    return {
        "name": row.name,
        "group": row.group,
        "unit": row.unit,
        "ours": result.ours,
        "limit": result.limit,
        "ratio": result.ratio,
        "aim_ratio": row.reach,
        "aim_absolute": row.reach_absolute,
        "band": BAND,
        "reached": result.reached,
        "error": result.error,
    }


def write_json(fpath: Path, results: list[Result], others: dict[str, dict[str, Any]] | None = None) -> None:
    """Write the rows, those of another interpreter beside them, and what they were measured with."""
    meta = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "versions": {
            name: _version(name) for name in ("ndsampler", "numpy", "kwcoco", "kwimage", "rasterio")
        },
    }
    rows = [{**as_dict(r), "other": (others or {}).get(r.row.name, {}).get("ours")} for r in results]
    fpath.write_text(json.dumps({"meta": meta, "rows": rows}, indent=1))


def read_json(fpath: Path) -> dict[str, dict[str, Any]]:
    """The rows of a written file by name."""
    return {row["name"]: row for row in json.loads(fpath.read_text())["rows"]}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
