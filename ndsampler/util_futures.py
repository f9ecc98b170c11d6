"""
The old module of executors and job pools, from before release 0.6: now :mod:`ubelt.util_futures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndsampler.utils.deprecation import load_moved

if TYPE_CHECKING:
    from ubelt.util_futures import Executor, JobPool, SerialExecutor, SerialFuture, as_completed

__all__ = ["Executor", "JobPool", "SerialExecutor", "SerialFuture", "as_completed"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_moved(f"{__name__}.{name}", f"ubelt.util_futures.{name}")
