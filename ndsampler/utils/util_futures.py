"""
The old names of executors and job pools.

They are now in ubelt: :class:`ubelt.Executor` and :class:`ubelt.JobPool`.
"""

from __future__ import annotations

from concurrent.futures import as_completed

from ubelt import Executor, JobPool
from ubelt.util_futures import SerialExecutor, SerialFuture

__all__ = ["Executor", "JobPool", "SerialExecutor", "SerialFuture", "as_completed"]
