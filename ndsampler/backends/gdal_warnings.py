"""
What GDAL's decoders warn of while pixels are read.

rasterio logs the warnings of GDAL. Those about damaged data make a read fail here. A block that they are
about is not whole, and the rest of it may be memory that the decoder has not set.
"""

from __future__ import annotations

import logging
import re
import threading

from ndsampler.errors import SourceError

#: Warnings of decoders about damaged data.
_DECODER_DAMAGE = re.compile(
    "premature|corrupt|discarding|lack of data|not enough data|mismatch|bad code|truncated|inconsistent|"
    "unsupported marker|improper jpeg strip",
    re.IGNORECASE,
)


class _DecoderWarnings:
    """Collects what GDAL's decoders warn of while a thread reads pixels; rasterio logs it."""

    def __init__(self) -> None:
        self._local = threading.local()

    def install(self) -> None:
        """Watch the loggers of rasterio, whatever the program configures for them before or after."""
        for name in ("rasterio._env", "rasterio._err"):
            rasterio_logger = logging.getLogger(name)
            if not isinstance(rasterio_logger, _WatchedLogger):
                watched = type("WatchedLogger", (_WatchedLogger, type(rasterio_logger)), {})
                rasterio_logger.__class__ = watched

    def is_collecting(self) -> bool:
        """Whether the warnings of this thread are collected."""
        return getattr(self._local, "collected", None) is not None

    def note(self, record: logging.LogRecord) -> None:
        """Keep a warning if it is about damaged data."""
        if self.is_collecting() and _DECODER_DAMAGE.search(record.getMessage()):
            self._local.collected.append(record.getMessage())

    def start(self) -> None:
        """Collect the warnings of this thread until :meth:`stop` is called."""
        self._local.collected = []

    def take(self) -> list[str]:
        """Return what decoders have warned of in this thread, and stop collecting."""
        collected: list[str] = getattr(self._local, "collected", None) or []
        self._local.collected = None
        return collected

    def stop(self, path: str) -> None:
        """Raise a SourceError if a decoder has warned of damage in a file.

        Args:
            path: the file.
        """
        collected = self.take()
        if collected:
            raise SourceError(f"{path} is damaged: {collected[0]}")


class _WatchedLogger(logging.Logger):
    """A logger that hands what decoders warn of to :data:`DECODER_WARNINGS`.

    It does so if its level, ``logging.disable`` or ``disable_existing_loggers`` of ``logging.config`` keep
    the program from seeing the warning: whether pixels are damaged does not depend on what is logged.
    """

    def isEnabledFor(self, level: int) -> bool:
        """Whether a message of a level is shown, or looked at."""
        is_looked_at = level >= logging.WARNING and DECODER_WARNINGS.is_collecting()
        return is_looked_at or super().isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        """Look at a message, and show it if the program wants to see it."""
        DECODER_WARNINGS.note(record)
        if super().isEnabledFor(record.levelno):
            super().handle(record)


DECODER_WARNINGS = _DecoderWarnings()
