"""
What GDAL's decoders warn of while pixels are read.

rasterio logs the warnings of GDAL. Those about damaged data make a read fail here.
"""

from __future__ import annotations

import logging
import re
import threading

from ndsampler.errors import SourceError

#: Warnings of decoders about damaged data.
_DECODER_DAMAGE = re.compile(
    "premature|corrupt|discarding|lack of data|not enough data|mismatch|bad code|truncated|inconsistent|"
    "unsupported marker",
    re.IGNORECASE,
)


class _DecoderWarnings(logging.Filter):
    """Collects what GDAL's decoders warn of while a thread reads pixels; rasterio logs it."""

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()

    def install(self) -> None:
        """Watch the loggers of rasterio, and leave what they show to the program as it was."""
        for name in ("rasterio._env", "rasterio._err"):
            rasterio_logger = logging.getLogger(name)
            if self not in rasterio_logger.filters:
                rasterio_logger.addFilter(self)
                rasterio_logger.setLevel(min(rasterio_logger.getEffectiveLevel(), logging.WARNING))

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep a warning, and return whether the program wants to see it."""
        collected = getattr(self._local, "collected", None)
        if collected is not None and _DECODER_DAMAGE.search(record.getMessage()):
            collected.append(record.getMessage())
        return record.levelno >= logging.getLogger("rasterio").getEffectiveLevel()

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


DECODER_WARNINGS = _DecoderWarnings()
