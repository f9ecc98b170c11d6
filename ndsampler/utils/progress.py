"""Progress bars: one line that is redrawn in a terminal, or a new line at intervals in a file or pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

#: Seconds between two messages in a terminal, and in a log file.
TERMINAL_SECONDS, LOG_SECONDS = 0.5, 10.0


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    desc: str,
    total: int | None = None,
    verbose: int | bool = 1,
    stream: TextIO | None = None,
) -> Any:
    """Return a ``ubelt.ProgIter`` that is suitable for its output stream.

    A terminal shows one line that is redrawn. A file gets a complete line every ten seconds, without carriage
    returns, so that it stays readable.

    Args:
        iterable: the items to iterate over; None if the caller calls ``step``.
        desc: label of the progress bar.
        total: number of steps; None if it is not known.
        verbose: 0 shows nothing.
        stream: output stream; by default stdout.
    """
    import ubelt as ub

    stream = sys.stdout if stream is None else stream
    terminal = bool(getattr(stream, "isatty", lambda: False)())
    return ub.ProgIter(
        iterable,
        desc=desc,
        total=total,
        stream=stream,
        verbose=0 if not verbose else 1 if terminal else 2,
        time_thresh=TERMINAL_SECONDS if terminal else LOG_SECONDS,
    )
