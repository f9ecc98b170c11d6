"""Loggers that escape control characters, which could change the state of a terminal."""

from __future__ import annotations

import logging
from typing import Any

from ndsampler.errors import escape_controls


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module.

    Args:
        name: name of the module.

    Example:
        >>> get_logger('ndsampler.example').name
        'ndsampler.example'
    """
    logger = logging.getLogger(name)
    if not any(isinstance(known, EscapingFilter) for known in logger.filters):
        logger.addFilter(EscapingFilter())
    return logger


class EscapingFilter(logging.Filter):
    r"""Escapes control characters in the arguments of a log record, such as file names.

    Example:
        >>> record = logging.LogRecord('name', logging.INFO, 'path', 1, 'read %s', ('a\x1b[2J.png',), None)
        >>> EscapingFilter().filter(record), record.getMessage()
        (True, 'read a\\x1b[2J.png')
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape the arguments of a record, and return True. See :class:`logging.Filter`."""
        if isinstance(record.args, tuple):
            record.args = tuple(_escape(arg) for arg in record.args)
        return True


def _escape(arg: Any) -> Any:
    """Return an argument whose text has no control characters."""
    if isinstance(arg, (int, float)):
        return arg
    # The message of an error may have several lines, but a name may not.
    text = str(arg)
    shown = escape_controls(text, keep="\n\t" if isinstance(arg, Exception) else "")
    return arg if shown == text else shown
