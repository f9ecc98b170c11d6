"""
Delays forks, and the end of the program, while other threads are inside GDAL, OpenCV or an import.

All three use locks that ``fork`` does not handle. If one thread forks while another holds such a lock, the
child inherits the lock without the thread that would release it, and hangs as soon as it needs the lock. So
every function that can reach such code is decorated with :func:`fork_safe`, and some parts of the backends
and of the cache run in ``with GATE`` blocks. A fork waits until no other thread is inside one of these, for
at most :data:`PATIENCE_SECONDS`. :func:`disable`, or ``NDSAMPLER_FORK_SAFETY=0`` in the environment, turns
this off.

Entering and leaving are not counted, because an exception between two steps (Ctrl-C) would leave the count
wrong forever. Instead, a fork inspects the stack of each thread: the thread is inside if a function decorated
with :func:`fork_safe` is on the stack. For a ``with GATE`` block there is an object that the interpreter
references while the block runs and releases however the block ends; the gate has a weak reference to it. In
both cases a thread first becomes visible and then checks for pending forks, and a fork first announces itself
and then checks the threads, so at least one of the two sees the other. A thread that sees a fork while it
enters from outside waits until the fork is done. The child drops the records of threads that it does not
have.

When the interpreter exits, it stops daemon threads wherever they are. If such a thread is inside GDAL or
OpenCV, the process aborts, because the thread is stopped while C++ calls Python, or because the libraries are
unloaded while it uses them. So the gate is closed at exit: no further daemon thread can enter, and the
interpreter waits until those inside have left, for at most :data:`EXIT_SECONDS`. This does not depend on
:func:`disable`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import inspect
import os
import sys
import time
from threading import get_ident
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar
from weakref import ref

from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

__all__ = ["GATE", "ForkGate", "disable", "enable", "fork_safe", "is_enabled"]

logger = get_logger(__name__)

Params = ParamSpec("Params")
Result = TypeVar("Result")

#: Environment variable that disables fork safety if it is ``0``.
VARIABLE = "NDSAMPLER_FORK_SAFETY"

#: Seconds between two checks of a waiting fork or thread.
POLL_SECONDS = 0.0005

#: Seconds that a thread gets to end after a fork has waited for it.
END_SECONDS = 0.02

#: Maximum number of seconds that a fork waits for other threads.
PATIENCE_SECONDS = 60.0

#: Maximum number of seconds that the end of the program waits for daemon threads.
EXIT_SECONDS = 5.0

#: Flags of functions whose frames leave the stack when they are suspended.
SUSPENDABLE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

#: Type of the function that ``with`` calls to end a block.
Leave: TypeAlias = "Callable[..., None]"

#: A :meth:`ForkGate.step_out` block, and the number of decorated functions on the stack when it began.
Absence: TypeAlias = "tuple[ref[Leave], int]"

#: The choice of :func:`enable` or :func:`disable`; None if the environment decides.
_chosen: bool | None = None

#: The code of the functions that :func:`fork_safe` returns.
_guarded_codes: set[CodeType] = set()


def enable() -> None:
    """Delay forks and turn off OpenCV's threads in children, which is the default.

    This overrides ``NDSAMPLER_FORK_SAFETY`` in the environment.
    """
    global _chosen
    _chosen = True


def disable() -> None:
    """Do not delay forks, and leave OpenCV's threads in children on.

    Use this only in programs that never fork while another thread reads images, because the child may hang.
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
    """Return whether forks are delayed, by the latest call or else by the environment."""
    return os.environ.get(VARIABLE) != "0" if _chosen is None else _chosen


class ForkGate:
    """Keeps track of threads that delay forks, and makes forks and threads wait for each other.

    ``with gate`` marks a block during which no other thread forks. Blocks may be nested.

    Attributes:
        pending: one entry for each fork that is waiting or in progress, and one if the gate is closed.
        blocks: a weak reference to the marker of the outermost ``with`` block of each thread.
        absences: a weak reference to the marker of the innermost :meth:`step_out` block of each thread, and
            the number of decorated functions on the stack when it began.

    Example:
        >>> gate = ForkGate()
        >>> with gate, gate:
        ...     len(gate)
        1
        >>> len(gate)
        0
    """

    def __init__(self) -> None:
        # Single operations on a list or a dictionary are atomic. A lock would be inherited by children, too.
        self.pending: list[None] = []
        self.blocks: dict[int, ref[Leave]] = {}
        self.absences: dict[int, Absence] = {}
        # The thread that ends the program.
        self._closer: int | None = None

    def __len__(self) -> int:
        """Return how many threads are inside."""
        return sum(self._is_inside(ident, frame) for ident, frame in sys._current_frames().items())

    def __enter__(self) -> ForkGate:
        return self

    @property
    def __exit__(self) -> Leave:
        """The function that ``with`` calls at the end of a block: a separate object for each block.

        ``with`` gets it before it enters the block, and releases it after calling it or after an exception.
        While this property runs, the thread counts as inside, as in a decorated function.
        """
        own = get_ident()
        known = self.blocks.get(own)
        if known is not None and known() is not None:
            return _leave_nested
        if self.pending:
            self.wait_for_forks(sys._getframe(1))
        # No variable may refer to the object, because a traceback can keep variables alive.
        leave = [functools.partial(_leave)]
        self.blocks[own] = ref(leave[0])
        return leave.pop()

    def step_out(self) -> _StepOut:
        """Return a context manager that lets forks happen while its block runs.

        Decorated functions on the stack of the thread are then ignored, but an outer ``with`` block is not.
        """
        return _StepOut(self)

    def begin_absence(self, frame: FrameType) -> Leave:
        """Count a thread as outside from now until the returned function is called or released.

        Args:
            frame: the frame that steps out.
        """
        own = get_ident()
        levels = [self.absences.get(own)]
        leave = [functools.partial(self._end_absence, levels)]
        levels.append((ref(leave[0]), _count_guarded(frame)[0]))
        self._set_absence(own, levels[1])
        return leave.pop()

    def _end_absence(self, levels: list[Absence | None], *error: object) -> None:
        """Count the calling thread as inside again, once no fork is pending."""
        own = get_ident()
        outer, mine = levels
        deadline = time.monotonic() + PATIENCE_SECONDS
        self._set_absence(own, outer)
        while self._is_shut_for(own) and time.monotonic() < deadline:
            self._set_absence(own, mine)
            time.sleep(POLL_SECONDS)
            self._set_absence(own, outer)

    def _is_shut_for(self, ident: int) -> bool:
        """Return whether a thread that wants to enter has to wait."""
        if self._closer is not None:
            return self._closer != ident
        return bool(self.pending) and is_enabled()

    def _set_absence(self, own: int, absence: Absence | None) -> None:
        if absence is None:
            self.absences.pop(own, None)
        else:
            self.absences[own] = absence

    def wait_for_forks(self, frame: FrameType) -> None:
        """Let pending forks happen first, unless the calling thread is already inside, or is forking itself.

        Args:
            frame: the frame from which the thread enters.
        """
        if not self._is_inside(get_ident(), frame) and not _is_forking(frame):
            with self.step_out():
                pass

    def wait_for_threads(self) -> None:
        """Wait until no other thread is inside, before a fork.

        A thread that was inside may end now, and OpenCV then frees what it keeps for the thread, under a
        lock that the fork must not copy. So the fork gives it time to end.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        has_waited = False
        while is_enabled() and self._are_others_inside():
            has_waited = True
            if time.monotonic() > deadline:
                logger.warning(
                    "forked although another thread had been reading or converting an image for more than "
                    "%g seconds; the child may hang",
                    PATIENCE_SECONDS,
                )
                return
            time.sleep(POLL_SECONDS)
        if has_waited:
            time.sleep(END_SECONDS)

    def close(self) -> None:
        """At the end of the program, keep other threads from entering, and wait for those inside."""
        self._closer = get_ident()
        self.pending.append(None)
        deadline = time.monotonic() + EXIT_SECONDS
        with contextlib.suppress(KeyboardInterrupt):
            while self._are_others_inside() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)

    def begin_child(self) -> None:
        """Drop the records of threads that do not exist in the child of a fork."""
        own = get_ident()
        self._closer = None
        self.blocks = {own: self.blocks[own]} if own in self.blocks else {}
        self.absences = {own: self.absences[own]} if own in self.absences else {}

    def _are_others_inside(self) -> bool:
        frames = sys._current_frames()
        # A frame that refers to itself would be freed late, and with it those that it was called from.
        del frames[get_ident()]
        return any(self._is_inside(ident, frame) for ident, frame in frames.items())

    def _is_inside(self, ident: int, frame: FrameType) -> bool:
        block = self.blocks.get(ident)
        if block is not None and _is_alive(block):
            return True
        absence, guarded_then = self.absences.get(ident, (None, 0))
        guarded, is_cut = _count_guarded(frame)
        return is_cut or guarded > (guarded_then if absence is not None and _is_alive(absence) else 0)


class _StepOut:
    """The context manager of :meth:`ForkGate.step_out`."""

    __slots__ = ("_gate",)

    def __init__(self, gate: ForkGate) -> None:
        self._gate = gate

    def __enter__(self) -> None: ...

    @property
    def __exit__(self) -> Leave:
        """The function that ends the block. See :attr:`ForkGate.__exit__`."""
        return self._gate.begin_absence(sys._getframe())


def _leave(*error: object) -> None:
    """End a block."""


def _leave_nested(*error: object) -> None:
    """End a block inside another one, which still marks the thread as inside."""


def _is_alive(reference: ref[Leave]) -> bool:
    """Return whether the object of a weak reference exists.

    Calling the reference directly would keep the object alive while another thread runs. That thread might
    leave its block and enter a new one, and would mistake the old block for one around the new one.
    """
    # No Python code runs while the object is referenced here.
    return None not in map(ref.__call__, (reference,))


def _count_guarded(frame: FrameType) -> tuple[int, bool]:
    """Return the number of decorated functions on a stack, and whether its outer part was not visible.

    Args:
        frame: the innermost frame of the stack.
    """
    guarded = 0
    inner: FrameType | None = frame
    while inner is not None:
        frame, inner = inner, inner.f_back
        guarded += frame.f_code in _guarded_codes
    # The stack of another thread seems to end at a generator if it was suspended while this loop ran.
    return guarded, bool(frame.f_code.co_flags & SUSPENDABLE)


def _is_forking(frame: FrameType | None) -> bool:
    """Return whether a stack belongs to a fork that is waiting for other threads."""
    while frame is not None and frame.f_code is not ForkGate.wait_for_threads.__code__:
        frame = frame.f_back
    return frame is not None


#: The gate of this process.
GATE = ForkGate()

_guarded_codes.add(vars(ForkGate)["__exit__"].fget.__code__)

atexit.register(GATE.close)


def fork_safe(function: Callable[Params, Result]) -> Callable[Params, Result]:
    """Decorate a function so that forks in other threads wait while it runs.

    All public functions and methods that may read or draw images, or import a package when it is first
    needed, are decorated. Put it below ``@property`` and ``@classmethod``. It adds 0.1 µs to each call.

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
    def guarded(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        if pending:
            GATE.wait_for_forks(sys._getframe(1))
        return function(*args, **kwargs)

    _guarded_codes.add(guarded.__code__)  # type: ignore[attr-defined]
    return guarded


def _stop_opencv_threads() -> None:
    """Make OpenCV use one thread in a child, because its worker threads do not exist there."""
    set_threads = getattr(sys.modules.get("cv2"), "setNumThreads", None)
    if set_threads is not None and is_enabled():
        set_threads(0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=GATE.wait_for_threads, after_in_child=_stop_opencv_threads)
    os.register_at_fork(after_in_child=GATE.begin_child)
    # The function registered last runs first before a fork. These functions run no Python code, so that an
    # exception from a signal handler cannot prevent the end of the announcement.
    os.register_at_fork(
        before=functools.partial(GATE.pending.append, None),
        after_in_parent=GATE.pending.pop,
        after_in_child=GATE.pending.clear,
    )
