"""
Opens files with GDAL configuration options, one thread at a time.

A rasterio environment sets its options for the whole process in the main thread, and for the calling thread
otherwise. Therefore this library opens every file that needs an option under one lock.

An exception from a signal handler (Ctrl-C) can interrupt any of these steps. If it occurs between two nested
environments, rasterio raises an EnvError instead, so environments are never nested. Options that an
interrupted call leaves behind are removed before the next file is opened. The lock is held by a ``with``
block in a function and not in a generator, because an exception can keep a suspended generator alive.
"""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, TypeVar

from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

_lock = threading.Lock()

#: The options that are set in this thread while it opens a file.
_local = threading.local()


def open_quietly(opener: Callable[[], Result], **options: str) -> Result:
    """Call a function that opens a file, without rasterio's warning about missing georeferencing.

    Args:
        opener: opens the file. It must not enter another rasterio environment.
        **options: GDAL configuration options.

    Returns:
        The result of the function.

    Example:
        >>> from rasterio.env import get_gdal_config
        >>> open_quietly(lambda: get_gdal_config('GDAL_JPEG_TO_RGB'), GDAL_JPEG_TO_RGB='NO')
        'NO'
    """
    import rasterio
    from rasterio.env import env_ctx_if_needed
    from rasterio.errors import NotGeoreferencedWarning

    # catch_warnings changes the warning filters of the whole process, so it needs the lock too.
    with GATE, _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        _remove_options()
        if not options:
            with env_ctx_if_needed():
                return opener()
        _local.options = tuple(options)
        with rasterio.Env(**options):
            result = opener()
        _local.options = ()
        return result


def _remove_options() -> None:
    """Remove the options that an interrupted call has left behind."""
    from rasterio._env import del_gdal_config

    for name in getattr(_local, "options", ()):
        del_gdal_config(name)
    _local.options = ()
