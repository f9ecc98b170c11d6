"""What the commands print, their progress bars, and their exit codes."""

from __future__ import annotations

import json
import sys
from typing import Any

#: Exit codes: nothing is wrong; something failed or was found; the user can correct the input.
FINE, FOUND, BAD_INPUT = 0, 1, 2

#: Exit codes: the user pressed Ctrl-C; the reader of a pipe has closed it.
INTERRUPTED, PIPE_CLOSED = 130, 141


def say(text: str = "") -> None:
    """Print a line and flush it, so that it appears at once in a file or a pipe too."""
    print(text, flush=True)


def complain(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def say_json(content: Any) -> None:
    """Print a value as JSON."""
    say(json.dumps(content, indent=2))


def progress_bar(desc: str, total: int | None, quiet: bool) -> Any:
    """Return a ``ubelt.ProgIter`` that writes to stderr.

    Args:
        desc: what is being done.
        total: number of steps; None if it is not known.
        quiet: True shows nothing.
    """
    import ubelt as ub

    return ub.ProgIter(total=total, desc=desc, stream=sys.stderr, verbose=0 if quiet else 1, time_thresh=0.5)
