"""
Turns warnings of GDAL's decoders about damaged data into errors.

rasterio logs GDAL's warnings. A warning about damaged data makes the read fail, because the decoder did not
fill the whole block and the rest of it may be uninitialized memory.
"""

from __future__ import annotations

import logging
import re
import threading

from ndsampler.errors import SourceError

#: Pattern of decoder warnings about damaged data.
_DECODER_DAMAGE = re.compile(
    "premature|corrupt|discarding|lack of data|not enough data|mismatch|bad code|truncated|inconsistent|"
    "unsupported marker|improper jpeg strip",
    re.IGNORECASE,
)


class _DecoderWarnings:
    """Collects the warnings that rasterio logs for GDAL's decoders while a thread reads pixels."""

    def __init__(self) -> None:
        self._local = threading.local()

    def install(self) -> None:
        """Watch rasterio's loggers, whether the program configures them before or after."""
        for name in ("rasterio._env", "rasterio._err"):
            rasterio_logger = logging.getLogger(name)
            if not isinstance(rasterio_logger, _WatchedLogger):
                watched = type("WatchedLogger", (_WatchedLogger, type(rasterio_logger)), {})
                rasterio_logger.__class__ = watched

    def is_collecting(self) -> bool:
        """Whether warnings of this thread are being collected."""
        return getattr(self._local, "collected", None) is not None

    def note(self, record: logging.LogRecord) -> None:
        """Keep a warning if it is about damaged data."""
        if self.is_collecting() and _DECODER_DAMAGE.search(record.getMessage()):
            self._local.collected.append(record.getMessage())

    def start(self) -> None:
        """Collect the warnings of this thread until :meth:`stop` is called."""
        self._local.collected = []

    def take(self) -> list[str]:
        """Return the warnings that were collected in this thread, and stop collecting."""
        collected: list[str] = getattr(self._local, "collected", None) or []
        self._local.collected = None
        return collected

    def stop(self, path: str) -> None:
        """Stop collecting, and raise a SourceError if a decoder has warned of damage.

        Args:
            path: the file.
        """
        collected = self.take()
        if collected:
            raise SourceError(f"{path} is damaged: {collected[0]}")


class _WatchedLogger(logging.Logger):
    """A logger that passes decoder warnings to :data:`DECODER_WARNINGS`.

    It does so even if its level, ``logging.disable`` or ``disable_existing_loggers`` of ``logging.config``
    suppresses the warning, so that the detection of damage does not depend on the logging configuration.
    """

    def isEnabledFor(self, level: int) -> bool:
        """Whether messages of a level are logged or collected."""
        is_looked_at = level >= logging.WARNING and DECODER_WARNINGS.is_collecting()
        return is_looked_at or super().isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        """Collect a message, and log it if the logging configuration allows it."""
        DECODER_WARNINGS.note(record)
        if super().isEnabledFor(record.levelno):
            super().handle(record)


DECODER_WARNINGS = _DecoderWarnings()
