"""The measured rows as a table and as JSON."""

from __future__ import annotations

import json
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
        "band": row.band,
        "reached": result.reached,
        "error": result.error,
        "spent": round(result.spent, 1),
    }


def write_json(
    fpath: Path, results: list[Result], meta: dict[str, Any], other: dict[str, Any] | None = None
) -> None:
    """Write the rows and what they were measured on.

    Args:
        fpath: the file.
        results: the measured rows.
        meta: what :func:`benchmarks.machine.describe` tells.
        other: what another interpreter has written.
    """
    others = {row["name"]: row for row in other["rows"]} if other else {}
    rows = [{**as_dict(r), **_of_other(others.get(r.row.name))} for r in results]
    content = {"meta": {**meta, "other": other and other["meta"]["versions"]}, "rows": rows}
    fpath.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _of_other(row: dict[str, Any] | None) -> dict[str, Any]:
    """What is kept of the same row of another interpreter."""
    if row is None:
        return {"other": None}
    return {"other": row["ours"], "other_failed": bool(row["error"]), "other_spent": row["spent"]}


def read_json(fpath: Path) -> dict[str, Any]:
    """What :func:`write_json` has written."""
    content: dict[str, Any] = json.loads(fpath.read_text(encoding="utf-8"))
    return content
