"""Redirecting the output that other libraries print to the log."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["stdout_to_log"]

logger = get_logger(__name__)


@contextlib.contextmanager
def stdout_to_log() -> Iterator[None]:
    """Redirect the standard output of the block to the log, at level DEBUG.

    Example:
        >>> with stdout_to_log():
        ...     print("downloading ...")
    """
    buffer = io.StringIO()
    try:
        with contextlib.redirect_stdout(buffer):
            yield
    finally:
        for line in buffer.getvalue().splitlines():
            logger.debug("%s", line)
