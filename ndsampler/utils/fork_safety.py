"""
Keeps forks away from threads that are inside GDAL, OpenCV or an import.

All three take locks that ``fork`` knows nothing about. If one thread forks while another holds such a
lock, the child inherits the lock without the thread that would release it, and hangs as soon as it needs
it. So every function that can end there is decorated with :func:`fork_safe`, some parts of the backends and
of the cache run in ``with GATE`` blocks, and a fork waits until no other thread is inside one of these,
for :data:`PATIENCE_SECONDS` at most. :func:`disable`, or ``NDSAMPLER_FORK_SAFETY=0`` in the environment,
switches this off.

Nothing is counted on the way in and out, because an exception that arrives between two steps (Ctrl-C)
would leave the count wrong for good. Instead, a fork looks at the stack of each thread: the thread is
inside if a function decorated with :func:`fork_safe` is on it. A ``with GATE`` block is represented by an
object that the interpreter holds while the block runs and drops however the block ends; the gate has
a weak reference to it. In both cases a thread first becomes visible and then checks for pending forks,
and a fork first announces itself and then checks the threads, so at least one of the two sees the other.
A thread that sees a fork while it enters from outside waits until the fork is done. The child forgets
the threads that it does not have.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import time
from threading import get_ident
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

__all__ = ["GATE", "ForkGate", "disable", "enable", "fork_safe", "is_enabled"]

logger = logging.getLogger(__name__)

Params = ParamSpec("Params")
Result = TypeVar("Result")

#: Environment variable that switches fork safety off when it is ``0``.
VARIABLE = "NDSAMPLER_FORK_SAFETY"

#: Seconds between two checks of a waiting fork or thread.
POLL_SECONDS = 0.0005

#: Seconds after which a fork waits no longer for other threads.
PATIENCE_SECONDS = 60.0

#: Functions whose frames leave the stack when they are suspended.
SUSPENDABLE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

#: What :func:`enable` and :func:`disable` chose; None leaves it to the environment.
_chosen: bool | None = None

#: The code of the functions that :func:`fork_safe` returns.
_door_codes: set[CodeType] = set()


def enable() -> None:
    """Delay forks and turn OpenCV's threads off in children, which is the default.

    This overrides ``NDSAMPLER_FORK_SAFETY`` in the environment.
    """
    global _chosen
    _chosen = True


def disable() -> None:
    """Let forks happen at once, and leave OpenCV's threads in children alone.

    Do this only in programs that never fork while another thread reads images: the child may hang.
    This overrides ``NDSAMPLER_FORK_SAFETY`` in the environment.

    Example:
        >>> disable()
        >>> is_enabled()
        False
        >>> enable()
        >>> is_enabled()
        True
    """
    global _chosen
    _chosen = False


def is_enabled() -> bool:
    """Return whether forks are delayed: as chosen last, otherwise as the environment says."""
    return os.environ.get(VARIABLE) != "0" if _chosen is None else _chosen


class _Block:
    """A running ``with GATE`` block. The interpreter holds it until the block ends."""

    __slots__ = ("__weakref__",)

    def __call__(self, *error: object) -> None:
        """End the block and let its exception pass."""


class _Absence:
    """A block during which its thread counts as outside, whatever it has entered before."""

    __slots__ = ("__weakref__", "_block", "_gate", "_outer", "doors")

    def __init__(self, gate: ForkGate) -> None:
        self._gate = gate
        self._outer: ref[_Absence] | None = None
        self._block: ref[_Block] | None = None
        self.doors = 0

    def __enter__(self) -> None:
        own = get_ident()
        self.doors = _count_doors(sys._getframe())[0]
        self._outer, self._block = self._gate.absences.get(own), self._gate.blocks.get(own)
        self._go_out(own)

    def __exit__(self, *error: object) -> None:
        own = get_ident()
        deadline = time.monotonic() + PATIENCE_SECONDS
        self._come_back(own)
        while self._gate.pending and is_enabled() and time.monotonic() < deadline:
            self._go_out(own)
            time.sleep(POLL_SECONDS)
            self._come_back(own)

    def _go_out(self, own: int) -> None:
        self._gate.absences[own] = ref(self)
        self._gate.blocks.pop(own, None)

    def _come_back(self, own: int) -> None:
        if self._block is not None:
            self._gate.blocks[own] = self._block
        if self._outer is not None:
            self._gate.absences[own] = self._outer
        else:
            self._gate.absences.pop(own, None)


class ForkGate:
    """Tells which threads must not be forked beside, and makes forks and threads wait for each other.

    ``with gate`` marks a block that no fork falls into. Blocks may be nested.

    Attributes:
        pending: one entry for each fork that waits or is happening.
        blocks: the outermost ``with`` block of each thread that is in one.
        absences: the innermost :meth:`step_out` block of each thread that is in one.

    Example:
        >>> gate = ForkGate()
        >>> with gate, gate:
        ...     len(gate)
        1
        >>> len(gate)
        0
    """

    def __init__(self) -> None:
        # Single operations on a list or a dictionary are atomic; a lock would be one more to inherit.
        self.pending: list[None] = []
        self.blocks: dict[int, ref[_Block]] = {}
        self.absences: dict[int, ref[_Absence]] = {}

    def __len__(self) -> int:
        """Return how many threads are inside."""
        return sum(self._is_inside(ident, frame) for ident, frame in sys._current_frames().items())

    def __enter__(self) -> ForkGate:
        return self

    @property
    def __exit__(self) -> Callable[..., None]:
        """A new :class:`_Block`: ``with`` asks for this before it enters, and holds it until it has left."""
        own = get_ident()
        known = self.blocks.get(own)
        if known is not None and known() is not None:
            return _leave_nested
        block = _Block()
        self.blocks[own] = ref(block)
        if self.pending and not self._is_behind_door(own, sys._getframe(1)):
            with self.step_out():
                pass
        return block

    def step_out(self) -> _Absence:
        """Return a context manager that lets forks happen during a block, whatever the thread has entered."""
        return _Absence(self)

    def wait_for_forks(self, frame: FrameType) -> None:
        """Let pending forks happen first, unless the calling thread is inside already, or is what forks.

        Args:
            frame: the frame from which the thread enters.
        """
        own = get_ident()
        if not self._is_inside(own, frame) and not _is_forking(frame):
            with self.step_out():
                pass

    def wait_for_threads(self) -> None:
        """Wait until no other thread is inside, before a fork."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while is_enabled() and self._are_others_inside():
            if time.monotonic() > deadline:
                logger.warning(
                    "forked while another thread was reading or converting an image for more than "
                    "%g seconds; the child may hang",
                    PATIENCE_SECONDS,
                )
                return
            time.sleep(POLL_SECONDS)

    def begin_child(self) -> None:
        """Forget, in the child of a fork, the threads that the child does not have."""
        own = get_ident()
        self.blocks = {own: self.blocks[own]} if own in self.blocks else {}
        self.absences = {own: self.absences[own]} if own in self.absences else {}

    def _are_others_inside(self) -> bool:
        own = get_ident()
        frames = sys._current_frames().items()
        return any(ident != own and self._is_inside(ident, frame) for ident, frame in frames)

    def _is_inside(self, ident: int, frame: FrameType) -> bool:
        block = self.blocks.get(ident)
        return (block is not None and block() is not None) or self._is_behind_door(ident, frame)

    def _is_behind_door(self, ident: int, frame: FrameType) -> bool:
        """Return whether a thread has entered a decorated function since it stepped out last."""
        known = self.absences.get(ident)
        absence = None if known is None else known()
        doors, is_cut = _count_doors(frame)
        return is_cut or doors > (0 if absence is None else absence.doors)


def _leave_nested(*error: object) -> None:
    """End a block inside another one, which is what counts."""


def _count_doors(frame: FrameType) -> tuple[int, bool]:
    """Return how many decorated functions are on a stack, and whether that could not be seen.

    Args:
        frame: where to begin; the frames that called it count.
    """
    doors = 0
    inner: FrameType | None = frame
    while inner is not None:
        frame, inner = inner, inner.f_back
        doors += frame.f_code in _door_codes
    # The stack of another thread ends at a generator if that was suspended while this loop ran.
    return doors, bool(frame.f_code.co_flags & SUSPENDABLE)


def _is_forking(frame: FrameType | None) -> bool:
    """Return whether a stack is that of a fork which waits for other threads."""
    while frame is not None and frame.f_code is not ForkGate.wait_for_threads.__code__:
        frame = frame.f_back
    return frame is not None


#: The gate of this process.
GATE = ForkGate()


def fork_safe(function: Callable[Params, Result]) -> Callable[Params, Result]:
    """Keep forks in other threads waiting while a function runs: a decorator.

    Every public function and method has it that may read or draw images, or import a package when it is
    first needed. It goes below ``@property`` and ``@classmethod``. A call costs 0.1 µs more.

    Args:
        function: any function or method except a generator or coroutine function, whose call does not run it.

    Example:
        >>> @fork_safe
        ... def count_inside() -> int:
        ...     return len(GATE)
        >>> count_inside()
        1
    """
    pending = GATE.pending

    @functools.wraps(function)
    def door(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        if pending:
            GATE.wait_for_forks(sys._getframe(1))
        return function(*args, **kwargs)

    _door_codes.add(door.__code__)  # type: ignore[attr-defined]
    return door


def _stop_opencv_threads() -> None:
    """Let OpenCV work alone in a child: its threads do not exist there, and may have left locks held."""
    set_threads = getattr(sys.modules.get("cv2"), "setNumThreads", None)
    if set_threads is not None and is_enabled():
        set_threads(0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=GATE.wait_for_threads, after_in_child=_stop_opencv_threads)
    os.register_at_fork(after_in_child=GATE.begin_child)
    # What is registered last runs first before a fork. These run no Python code, so that an exception from a
    # signal handler cannot prevent the end of the announcement.
    os.register_at_fork(
        before=functools.partial(GATE.pending.append, None),
        after_in_parent=GATE.pending.pop,
        after_in_child=GATE.pending.clear,
    )
