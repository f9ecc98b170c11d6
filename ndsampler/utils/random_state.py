"""
Random states: what callers pass as ``rng``, and how processes that share a state come to differ.

A worker process that was forked holds copies of all random states of its parent, and so draws what its
siblings draw. :class:`ProcessMark` tells such a copy from the original.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from ndsampler.errors import ArgumentTypeError

__all__ = ["ProcessMark", "Rng", "ensure_rng", "ensure_worker_rng"]

#: What callers pass as ``rng``: a seed, a random state or generator, or None for numpy's global state.
Rng: TypeAlias = "int | np.random.RandomState | np.random.Generator | None"


def ensure_rng(rng: Any = None) -> np.random.RandomState:
    """Return the random state that an argument ``rng`` stands for.

    Args:
        rng: None for numpy's global state, a seed, a ``RandomState``, which is returned as it is, a
            ``numpy.random.Generator``, from which a seed is drawn, or anything else that
            ``kwarray.ensure_rng`` understands.

    Raises:
        ArgumentTypeError: for anything else.

    Example:
        >>> ensure_rng(0).randint(0, 1000) == np.random.RandomState(0).randint(0, 1000)
        True
        >>> generator = np.random.default_rng(0)
        >>> ensure_rng(generator).randint(0, 1000) == ensure_rng(generator).randint(0, 1000)
        False
    """
    if isinstance(rng, np.random.RandomState):
        return rng
    if isinstance(rng, np.random.Generator):
        return np.random.RandomState(int(rng.integers(2**32)))
    import kwarray

    try:
        result: np.random.RandomState = kwarray.ensure_rng(rng)
        return result
    except (TypeError, ValueError, OverflowError):
        raise ArgumentTypeError(
            f"rng is {rng!r}; expected None, a whole number, a numpy.random.RandomState or a "
            "numpy.random.Generator"
        ) from None


@dataclass(frozen=True)
class ProcessMark:
    """Which process made an object, to notice when a copy of the object is used in another."""

    pid: int
    """Id of the process."""

    numbers: tuple[int, ...]
    """Number of the process among the children of its parent, after that of the parent; empty for a process
    that :mod:`multiprocessing` did not start."""

    @classmethod
    def here(cls) -> ProcessMark:
        """Return the mark of this process."""
        # A process that multiprocessing started has imported it.
        process = sys.modules.get("multiprocessing.process")
        current = None if process is None else process.current_process()
        return cls(os.getpid(), tuple(getattr(current, "_identity", ())))

    def moved(self) -> ProcessMark:
        """Return the mark of an object that was unpickled in this process.

        A program that loads a pickle continues as the program that wrote it; a worker that gets one does not.
        """
        return replace(self, pid=os.getpid())

    def own_state(self, shared: np.random.RandomState, origin: ProcessMark) -> np.random.RandomState:
        """Return a random state that differs from that of all other processes with the same shared state.

        Args:
            shared: the state that the processes have in common.
            origin: the process that it is from.
        """
        salt = self.numbers if self.numbers != origin.numbers else (*self.numbers, self.pid)
        return np.random.RandomState([*shared.randint(0, 2**31 - 1, size=2).tolist(), *salt])


#: The process that imported this module.
_IMPORTED = ProcessMark.here()


def ensure_worker_rng(rng: Any = None) -> np.random.RandomState:
    """Return the random state of an argument ``rng``, where None gives each worker process its own.

    Args:
        rng: as for :func:`ensure_rng`. None is numpy's global state, and in a worker process a state that is
            seeded by a draw from it together with the number of the worker.

    Raises:
        ArgumentTypeError: if it is neither a seed nor a random state or generator.

    Example:
        >>> ensure_worker_rng(3).randint(0, 1000) == ensure_rng(3).randint(0, 1000)
        True
    """
    state, here = ensure_rng(rng), ProcessMark.here()
    if rng is not None or not (here.numbers or here != _IMPORTED):
        return state
    return here.own_state(state, replace(_IMPORTED, numbers=()))
