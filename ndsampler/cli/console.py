"""What commands share: progress bars, exit codes, and numbers, names and tables for the screen."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndsampler.dataset.opening import open_dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndsampler.cache.usage import Sources

#: What the exit code of a command says: all is well, something was found, the user can mend what was typed.
FINE, FOUND, BAD_INPUT = 0, 1, 2


def open_sources(paths: Sequence[str]) -> Sources:
    """Return the files of some datasets.

    Args:
        paths: of kwcoco datasets.

    Raises:
        MissingSourceError: if one does not exist.
        ArgumentError: if one is no kwcoco dataset, or holds no images.
    """
    from ndsampler.cache.usage import Sources
    from ndsampler.coco_frames import CocoFrames

    return Sources(CocoFrames(open_dataset(path), backend=None) for path in paths)


def say(text: str = "") -> None:
    """Print a line at once, also where the output is a file or a pipe."""
    print(text, flush=True)


def complain(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def say_json(content: Any) -> None:
    """Print something as JSON."""
    say(json.dumps(content, indent=2))


def printable(text: object) -> str:
    r"""Return a name, or a message that holds one, without what could confuse a terminal.

    Example:
        >>> print(printable('a b.png'), printable('a\x1b[2J\n.png'))
        a b.png a\x1b[2J\n.png
    """
    whole = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(text))
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return whole.encode(encoding, "backslashreplace").decode(encoding)


def progress_bar(desc: str, total: int | None, quiet: bool) -> Any:
    """Return a ``ubelt.ProgIter`` that is written to stderr.

    Args:
        desc: what goes on.
        total: how many steps there are, if that is known.
        quiet: whether to show nothing at all.
    """
    import ubelt as ub

    return ub.ProgIter(total=total, desc=desc, stream=sys.stderr, verbose=0 if quiet else 1, time_thresh=0.5)


def format_bytes(count: float) -> str:
    """Return a number of bytes for people.

    Example:
        >>> format_bytes(805306368), format_bytes(52_000), format_bytes(1.8e9)
        ('805 MB', '0.1 MB', '1.8 GB')
    """
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e7 else f"{count / 1e6:.1f} MB"


def format_rate(rate: float) -> str:
    """Return a number of events a second for people.

    Example:
        >>> format_rate(12345.6), format_rate(432.1), format_rate(3.21)
        ('12,346', '432', '3.2')
    """
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def format_duration(seconds: float) -> str:
    """Return a duration for people.

    Example:
        >>> format_duration(0.00042), format_duration(0.031), format_duration(2.5)
        ('0.42 ms', '31.00 ms', '2.50 s')
    """
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.2f} ms"


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, the first column flush left and the others flush right.

    Args:
        head: the names of the columns.
        rows: as many cells each.

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
    """Return the size of all files below a folder; 0 if there is none."""
    if folder is None or not os.path.isdir(folder):
        return 0
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
