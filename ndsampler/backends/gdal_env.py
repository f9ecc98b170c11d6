"""
Opening files with options of GDAL's configuration, one thread at a time.

rasterio sets the options of its environments for the whole process if the main thread asks, and for the
calling thread otherwise. So whatever this library opens with an option is opened under one lock.

An exception from a signal handler (Ctrl-C) can end any of these steps. If it comes between two environments
inside each other, rasterio raises an EnvError in its place, so there is one at most. Options that it leaves
behind are removed before the next file is opened. The lock is held by a ``with`` block of a function and not
of a generator, because an exception can keep a suspended generator alive.
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

#: The options that an open file was asked for in this thread, until they are removed.
_local = threading.local()


def open_quietly(opener: Callable[[], Result], **options: str) -> Result:
    """Call a function that opens a file, without rasterio's warning about missing georeferencing.

    Args:
        opener: opens the file, and enters no environment of rasterio if there is one.
        **options: options of GDAL's configuration.

    Returns:
        What the function returns.

    Example:
        >>> from rasterio.env import get_gdal_config
        >>> open_quietly(lambda: get_gdal_config('GDAL_JPEG_TO_RGB'), GDAL_JPEG_TO_RGB='NO')
        'NO'
    """
    import rasterio
    from rasterio.env import env_ctx_if_needed
    from rasterio.errors import NotGeoreferencedWarning

    # catch_warnings changes the filters of the whole process.
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
    """Remove the options that an interrupted call has left."""
    from rasterio._env import del_gdal_config

    for name in getattr(_local, "options", ()):
        del_gdal_config(name)
    _local.options = ()
