"""Numbers, sizes, durations, tables and names as text for display."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ndsampler.errors import escape_controls

if TYPE_CHECKING:
    from collections.abc import Sequence


def printable(text: object) -> str:
    r"""Escape all characters of a text that could control a terminal.

    Args:
        text: a file name, or a message that contains one.

    Example:
        >>> print(printable('a b.png'), printable('a\x1b[2J\n.png'))
        a b.png a\x1b[2J\n.png
    """
    whole = escape_controls(str(text), keep="")
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return whole.encode(encoding, "backslashreplace").decode(encoding)


def format_bytes(count: float) -> str:
    """Return a number of bytes in MB or GB.

    Example:
        >>> format_bytes(805306368), format_bytes(52_000), format_bytes(1.8e9)
        ('805 MB', '0.1 MB', '1.8 GB')
    """
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e7 else f"{count / 1e6:.1f} MB"


def format_count(count: int, noun: str) -> str:
    """Return a number with a noun, in the plural unless the number is 1.

    Example:
        >>> format_count(1, 'entry'), format_count(1200, 'image')
        ('1 entry', '1,200 images')
    """
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {noun if count == 1 else plural}"


def format_rate(rate: float) -> str:
    """Return a number of events per second.

    Example:
        >>> format_rate(12345.6), format_rate(432.1), format_rate(3.21)
        ('12,346', '432', '3.2')
    """
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def format_duration(seconds: float) -> str:
    """Return a duration in seconds or milliseconds.

    Example:
        >>> format_duration(0.00042), format_duration(0.031), format_duration(2.5)
        ('0.42 ms', '31.00 ms', '2.50 s')
    """
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.2f} ms"


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, the first column flush left and the others flush right.

    Args:
        head: names of the columns.
        rows: a cell for each column.

    Example:
        >>> print(format_table(['backend', 'speed'], [['npy', '12']]))
        backend  speed
        -------  -----
        npy         12
    """
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    rule = ["-" * width for width in widths]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(pairs)
        )
        for pairs in (list(zip(row, widths)) for row in (head, rule, *rows))
    ]
    return "\n".join(line.rstrip() for line in lines)


def folder_bytes(folder: str | os.PathLike[str] | None) -> int:
    """Return the total size of the files below a folder; 0 if it does not exist.

    Args:
        folder: path of the folder, or None for no folder.
    """
    if folder is None or not os.path.isdir(folder):
        return 0
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
