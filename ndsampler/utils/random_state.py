"""
Random states: the argument ``rng``, and different states for worker processes that share one.

A forked worker process has copies of all random states of its parent, so it would draw the same numbers as
the other workers. :class:`ProcessMark` distinguishes such a copy from the original.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from ndsampler.errors import ArgumentTypeError

__all__ = ["ProcessMark", "Rng", "ensure_rng", "ensure_worker_rng"]

#: Type of the argument ``rng``: a seed, a random state or generator, or None for numpy's global state.
Rng: TypeAlias = "int | np.random.RandomState | np.random.Generator | None"


def ensure_rng(rng: Any = None) -> np.random.RandomState:
    """Convert an argument ``rng`` to a random state.

    Args:
        rng: None for numpy's global state, a seed, a ``RandomState``, which is returned unchanged, a
            ``numpy.random.Generator``, from which a seed is drawn, or another value that
            ``kwarray.ensure_rng`` accepts.

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
    """Identifies the process that made an object, to detect that a copy is used in another process."""

    pid: int
    """Id of the process."""

    numbers: tuple[int, ...]
    """Numbers of the process and its ancestors among the children of their parents, outermost first; empty
    for a process that :mod:`multiprocessing` did not start."""

    @classmethod
    def here(cls) -> ProcessMark:
        """Return the mark of the current process."""
        # If multiprocessing started the process, the module has been imported.
        process = sys.modules.get("multiprocessing.process")
        current = None if process is None else process.current_process()
        return cls(os.getpid(), tuple(getattr(current, "_identity", ())))

    def moved(self) -> ProcessMark:
        """Return the mark of an object that was unpickled in this process.

        A program that loads a pickle continues with the state of the program that wrote it. A worker process
        that receives a pickle gets a state of its own.
        """
        return replace(self, pid=os.getpid())

    def own_state(self, shared: np.random.RandomState, origin: ProcessMark) -> np.random.RandomState:
        """Return a random state that differs from that of all other processes with the same shared state.

        Args:
            shared: the state that all processes have a copy of.
            origin: the mark of the process in which the state was made.
        """
        salt = self.numbers if self.numbers != origin.numbers else (*self.numbers, self.pid)
        return np.random.RandomState([*shared.randint(0, 2**31 - 1, size=2).tolist(), *salt])


#: The process that imported this module.
_IMPORTED = ProcessMark.here()


def ensure_worker_rng(rng: Any = None) -> np.random.RandomState:
    """Convert an argument ``rng`` to a random state; None gives each worker process its own state.

    Args:
        rng: as for :func:`ensure_rng`. None is numpy's global state. In a worker process it is a state that
            is seeded with a number drawn from the global state and the number of the worker.

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
