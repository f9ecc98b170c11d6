"""Output, progress bars and exit codes of the commands."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

from ndsampler.errors import escape_controls
from ndsampler.utils import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Exit codes: success; something failed or was found; invalid input that the user can correct.
FINE, FOUND, BAD_INPUT = 0, 1, 2

#: Exit codes: the user pressed Ctrl-C; the program that reads the output has closed the pipe.
INTERRUPTED, PIPE_CLOSED = 130, 141


class EscapedStream:
    r"""Writes text to another stream, and escapes characters that could control a terminal.

    Args:
        stream: the stream that receives the text.

    Example:
        >>> import io
        >>> stream = io.StringIO()
        >>> EscapedStream(stream).write('a\x1b[2J.png')
        9
        >>> stream.getvalue()
        'a\\x1b[2J.png'
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text, and return how many of its characters were written."""
        self.stream.write(escape_controls(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def escaped_output() -> Iterator[None]:
    """Escape all output of this process, including warnings, logs and messages of other libraries."""
    out, err = (cast(TextIO, EscapedStream(stream)) for stream in (sys.stdout, sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def progress_stream() -> TextIO:
    """Return unescaped stderr for progress bars, which move the cursor and show no names."""
    return cast(TextIO, getattr(sys.stderr, "stream", sys.stderr))


def say(text: str = "") -> None:
    """Print a line and flush it, so that it also appears immediately in a file or a pipe."""
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
        desc: description of the operation, shown beside the bar.
        total: number of steps; None if unknown.
        quiet: whether to hide the bar.
    """
    return progress.progress_bar(desc=desc, total=total, stream=progress_stream(), verbose=not quiet)
