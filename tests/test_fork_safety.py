"""Forks wait until no thread is inside GDAL, OpenCV or an import, and only as long as one really is."""

from __future__ import annotations

import contextlib
import functools
import inspect
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from helpers_processes import forks_beside_threads, needs_fork, run_child
from helpers_threads import wait_until

import ndsampler
from ndsampler import coco_regions, preview
from ndsampler.frames.view import FrameView
from ndsampler.utils import fork_safety
from ndsampler.utils.fork_safety import GATE, fork_safe

#: Seconds after which a thread counts as hanging.
LIMIT = 60.0

DOOR_CODE = fork_safe(len).__code__

#: Special methods that users call through operators and built-in functions.
SPECIAL = {"__init__", "__getitem__", "__array__", "__iter__", "__len__"}

# Members that do not pass the gate. They read attributes and columns, call members that pass it, or compute
# with numpy alone; whatever they have to build first passes the gate where it is built.
PLAIN = {
    ndsampler.CocoSampler: {
        "__init__",
        "__len__",
        "BACKGROUND_CLASS_ID",
        "class_ids",
        "class_index",
        "load_annotations",
        "n_annots",
        "n_categories",
        "n_images",
    },
    ndsampler.Frames: {
        *("__len__", "cache_dpath", "image_ids", "layout", "prepare", "summary", "try_prepare"),
    },
    ndsampler.SimpleFrames: {
        "__init__",
        "__len__",
        "cache_dpath",
        "image_ids",
        "layout",
        "prepare",
        "summary",
        "try_prepare",
    },
    ndsampler.CocoFrames: {
        "__init__",
        "__len__",
        "cache_dpath",
        "folder",
        "image_ids",
        "layout",
        "prepare",
        "summary",
        "try_prepare",
        "video_gids",
        "video_of",
    },
    ndsampler.CocoRegions: {
        "__init__",
        "class_ids",
        "class_index",
        "find_aids",
        "image_ids",
        "lookup_class_id",
        "lookup_class_name",
        "n_annots",
        "n_categories",
        "n_images",
        "n_negatives",
        "n_positives",
        "n_samples",
        "refresh",
        "summary",
    },
    ndsampler.FrameIntersectionIndex: {
        "__init__",
        "columns",
        "from_table",
        "overlapping_rows",
        "qtrees",
        "visible_aids",
        "visible_rows",
    },
    ndsampler.DynamicToySampler: {
        "__len__",
        "BACKGROUND_CLASS_ID",
        "class_ids",
        "image_ids",
        "lookup_class_id",
        "lookup_class_name",
        "n_annots",
        "n_categories",
        "n_images",
        "n_positives",
        "preselect",
    },
    FrameView: {"__init__", "__len__", "nbytes", "ndim", "size"},
}

PLAIN_FUNCTIONS = {"category_color", "describe", "to_rgb"}


def public_functions(cls: type) -> Iterator[tuple[str, Callable]]:
    """Yield the name and function of each public method and property that a class has from this library."""
    for name in dir(cls):
        if name.startswith("_") and name not in SPECIAL:
            continue
        owner = next(base for base in cls.__mro__ if name in vars(base))
        member = vars(owner)[name]
        for attribute in ("fget", "func", "__func__"):
            member = getattr(member, attribute, member)
        if owner.__module__.startswith("ndsampler.") and inspect.isfunction(member):
            yield name, member


@pytest.fixture
def thread():
    """Return a function that starts threads; all of them have to end with the test."""
    threads = []

    def start(work: Callable[[], object]) -> threading.Thread:
        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()
        return threads[-1]

    yield start
    for started in threads:
        started.join(LIMIT)
        assert not started.is_alive()


@pytest.fixture
def occupied(thread, monkeypatch):
    """Return a function that starts a thread and waits until the thread is where it should stay.

    The thread runs a function of one argument: what it has to call to stay. The event that is returned lets
    it go on. Forks have more patience than the test.
    """
    monkeypatch.setattr(fork_safety, "PATIENCE_SECONDS", 1000.0)
    leave = threading.Event()

    def occupy(work: Callable[[Callable[[], None]], object]) -> threading.Event:
        inside = threading.Event()

        def stay() -> None:
            inside.set()
            leave.wait(LIMIT)

        thread(lambda: work(stay))
        assert inside.wait(LIMIT)
        return leave

    yield occupy
    leave.set()


@fork_safe
def pass_door(work: Callable[[], object]) -> object:
    return work()


def enter_block(work: Callable[[], object]) -> object:
    with GATE:
        return work()


each_entrance = pytest.mark.parametrize("enter", [pass_door, enter_block])


def fork_and_return(work: Callable[[], object] = lambda: None) -> str:
    return run_child(work, LIMIT)


# What passes the gate


@pytest.mark.parametrize("cls", PLAIN, ids=lambda cls: cls.__name__)
def test_every_public_member_passes_the_gate_or_is_known_to_need_no_lock(cls):
    free = {name for name, function in public_functions(cls) if function.__code__ is not DOOR_CODE}
    assert free == PLAIN[cls]


@pytest.mark.parametrize("module", [preview, coco_regions])
def test_every_public_function_passes_the_gate_or_is_known_to_need_no_lock(module):
    functions = {name: getattr(module, name) for name in module.__all__}
    free = {
        name
        for name, function in functions.items()
        if inspect.isfunction(function) and function.__code__ is not DOOR_CODE
    }
    assert free <= PLAIN_FUNCTIONS


def test_images_are_prepared_one_passage_through_the_gate_each():
    from ndsampler.frames.prepare import convert

    assert convert.__code__ is DOOR_CODE


def test_a_decorated_function_keeps_its_signature_documentation_and_annotations():
    plain = inspect.unwrap(ndsampler.Frames.load_region)
    decorated = ndsampler.Frames.load_region
    assert plain is not decorated
    assert inspect.signature(decorated) == inspect.signature(plain)
    for name in ("__doc__", "__name__", "__qualname__", "__module__"):
        assert getattr(decorated, name) == getattr(plain, name)
    assert list(inspect.signature(ndsampler.Frames.load_frame).parameters) == ["self", "image_id"]


def test_results_and_errors_pass_through():
    @fork_safe
    def divide(a: float, *, by: float) -> float:
        return a / by

    assert divide(6, by=3) == 2
    with pytest.raises(ZeroDivisionError):
        divide(6, by=0)
    assert len(GATE) == 0


# Forks wait for threads


@needs_fork
@forks_beside_threads
@each_entrance
def test_a_fork_waits_until_a_thread_has_left(enter, occupied, thread):
    log = []

    def work(stay: Callable[[], None]) -> None:
        enter(lambda: (stay(), log.append("left")))

    leave = occupied(work)

    def let_go() -> None:
        wait_until(lambda: GATE.pending)
        leave.set()

    thread(let_go)
    assert fork_and_return(lambda: log) == "['left']"


@needs_fork
@forks_beside_threads
@each_entrance
@pytest.mark.parametrize("forked_inside", [True, False])
def test_a_fork_does_not_wait_for_its_own_thread(enter, forked_inside):
    work = functools.partial(fork_and_return, lambda: len(GATE))
    assert (enter(work) if forked_inside else work()) == str(int(forked_inside))
    assert len(GATE) == 0


def test_a_program_starts_at_once_while_a_thread_is_inside(occupied):
    occupied(pass_door)
    assert subprocess.run([sys.executable, "-c", ""], check=False, timeout=LIMIT).returncode == 0


@needs_fork
@forks_beside_threads
def test_the_child_does_not_have_the_threads_of_its_parent(occupied):
    def occupy_both(stay: Callable[[], None]) -> None:
        pass_door(lambda: enter_block(stay))

    occupied(occupy_both)
    fork_safety.disable()
    try:
        told = fork_and_return(lambda: (len(GATE), GATE.pending, fork_and_return(lambda: len(GATE))))
    finally:
        fork_safety.enable()
    assert told == "(0, [], '0')"


@needs_fork
@forks_beside_threads
@pytest.mark.parametrize("doors", [0, 1, 2])
def test_a_fork_happens_while_a_thread_has_stepped_out(doors, occupied):
    def step_out(stay: Callable[[], None]) -> None:
        with GATE.step_out():
            stay()

    def work(stay: Callable[[], None]) -> None:
        inner = functools.partial(step_out, stay)
        for _ in range(doors):
            inner = functools.partial(pass_door, inner)
        inner()

    occupied(work)
    assert len(GATE) == 0
    assert fork_and_return() == ""


@each_entrance
def test_a_thread_that_has_stepped_out_can_enter_again(enter):
    counts = []

    def step_out() -> None:
        with GATE.step_out():
            counts.append(len(GATE))
            enter(lambda: counts.append(len(GATE)))
            with GATE.step_out():
                counts.append(len(GATE))
            counts.append(len(GATE))
        counts.append(len(GATE))

    pass_door(step_out)
    assert counts == [0, 1, 0, 0, 1]
    assert len(GATE) == 0


def test_a_block_counts_although_a_thread_steps_out_inside_it():
    def step_out() -> int:
        with GATE.step_out():
            return len(GATE)

    assert enter_block(step_out) == 1


# Threads wait for forks


@pytest.fixture
def pending_fork():
    """Announce a fork, and return the function that ends it."""
    GATE.pending.append(None)
    yield GATE.pending.clear
    GATE.pending.clear()


def count_waiting() -> int:
    """Return how many threads wait for a fork outside the gate."""
    return sum(reference() is not None for reference, _ in list(GATE.absences.values()))


@each_entrance
def test_a_thread_enters_after_a_pending_fork_and_counts_as_outside_until_then(enter, thread, pending_fork):
    log = []
    entering = thread(lambda: enter(lambda: log.append("entered")))
    wait_until(count_waiting)
    GATE.wait_for_threads()
    assert (log, len(GATE)) == ([], 0)
    pending_fork()
    entering.join(LIMIT)
    assert log == ["entered"]


@each_entrance
@pytest.mark.parametrize("outer", [pass_door, enter_block])
def test_a_thread_inside_goes_on_while_a_fork_is_pending(outer, enter, occupied, thread):
    log = []

    def work(stay: Callable[[], None]) -> None:
        outer(lambda: (stay(), enter(lambda: log.append("entered"))))

    leave = occupied(work)
    GATE.pending.append(None)
    leave.set()
    try:
        GATE.wait_for_threads()
    finally:
        GATE.pending.clear()
    assert log == ["entered"]


def test_a_signal_handler_that_runs_while_its_thread_forks_does_not_wait_for_the_fork(occupied, monkeypatch):
    leave = occupied(pass_door)
    log = []

    def handle_signal(_: float) -> None:
        pass_door(lambda: log.append("entered"))
        leave.set()
        monkeypatch.undo()

    GATE.pending.append(None)
    monkeypatch.setattr(fork_safety.time, "sleep", handle_signal)
    try:
        GATE.wait_for_threads()
    finally:
        GATE.pending.clear()
    assert log == ["entered"]


def generate(enter: Callable, work: Callable[[], object]) -> Iterator[object]:
    while True:
        yield enter(work)


def step_out_of_door(work: Callable[[], object]) -> None:
    def step_out() -> None:
        with GATE.step_out():
            enter_block(work)
        work()

    pass_door(step_out)


#: Ways to enter the gate again and again, each of which returns a function that does it once.
WAYS: dict[str, Callable[[Callable[[], object]], Callable[[], object]]] = {
    "door": lambda work: lambda: pass_door(work),
    "block": lambda work: lambda: enter_block(work),
    "door in door": lambda work: lambda: pass_door(lambda: pass_door(work)),
    "block in door": lambda work: lambda: pass_door(lambda: enter_block(work)),
    "door in block": lambda work: lambda: enter_block(lambda: pass_door(work)),
    "door in generator": lambda work: functools.partial(next, generate(pass_door, work)),
    "block in generator": lambda work: functools.partial(next, generate(enter_block, work)),
    "step out": lambda work: lambda: step_out_of_door(work),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_thread_is_inside_when_a_fork_goes_on(way, thread, monkeypatch):
    monkeypatch.setattr(fork_safety, "PATIENCE_SECONDS", 1000.0)
    inside: set[int] = set()
    stop = threading.Event()

    def work() -> None:
        inside.add(threading.get_ident())
        # The stack of the thread ends at the generator each time that it yields.
        sum(n for n in range(30))
        inside.discard(threading.get_ident())

    def keep_entering() -> None:
        enter = WAYS[way](work)
        while not stop.is_set():
            enter()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(2):
            thread(keep_entering)
        for n in range(200):
            time.sleep(1e-5 * (n % 31))
            GATE.pending.append(None)
            GATE.wait_for_threads()
            for _ in range(3):
                assert inside == set()
                # What a fork takes.
                time.sleep(1e-4)
            GATE.pending.pop()
    finally:
        stop.set()
        GATE.pending.clear()
        sys.setswitchinterval(interval)


def test_a_stack_that_ends_at_a_suspended_generator_counts_as_inside():
    numbers = generate(pass_door, lambda: 1)
    assert next(numbers) == 1
    # What a fork finds if another thread leaves the generator while its stack is looked at.
    assert fork_safety._count_guarded(numbers.gi_frame) == (0, True)
    assert fork_safety._count_guarded(sys._getframe()) == (0, False)


# Exceptions


@each_entrance
def test_a_thread_that_died_of_an_exception_is_not_inside(enter, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda args: None)

    def fail() -> None:
        raise KeyboardInterrupt

    dying = threading.Thread(target=lambda: enter(fail))
    dying.start()
    dying.join(LIMIT)
    assert (dying.is_alive(), len(GATE)) == (False, 0)


@each_entrance
def test_a_thread_that_keeps_an_exception_is_not_inside(enter, occupied):
    def fail_and_go_on(stay: Callable[[], None]) -> None:
        try:
            enter(lambda: enter(lambda: 1 / 0))
        except ZeroDivisionError as ex:
            kept = ex
            stay()
            assert kept.__traceback__ is not None

    occupied(fail_and_go_on)
    assert len(GATE) == 0


def test_a_thread_that_was_interrupted_while_it_waited_is_not_outside_for_good(monkeypatch):
    kept = []

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    for enter in (pass_door, enter_block):
        GATE.pending.append(None)
        with monkeypatch.context() as patch:
            patch.setattr(fork_safety.time, "sleep", interrupt)
            with pytest.raises(KeyboardInterrupt) as caught:
                enter(lambda: None)
        GATE.pending.clear()
        kept.append(caught.value)
        assert len(GATE) == 0
        assert enter(lambda: len(GATE)) == 1


# The switch


@contextlib.contextmanager
def chosen(value: bool | None) -> Iterator[None]:
    before = fork_safety._chosen
    fork_safety._chosen = value
    try:
        yield
    finally:
        fork_safety._chosen = before


@needs_fork
@forks_beside_threads
@pytest.mark.parametrize("by", ["function", "environment"])
def test_a_fork_does_not_wait_when_fork_safety_is_off(by, occupied, monkeypatch):
    occupied(pass_door)
    with chosen(None):
        if by == "function":
            fork_safety.disable()
        else:
            monkeypatch.setenv("NDSAMPLER_FORK_SAFETY", "0")
        assert not fork_safety.is_enabled()
        assert fork_and_return() == ""
        GATE.pending.append(None)
        try:
            assert pass_door(lambda: "entered") == "entered"
        finally:
            GATE.pending.clear()


@pytest.mark.parametrize(("value", "enabled"), [(None, True), ("", True), ("1", True), ("0", False)])
def test_the_environment_is_read_when_it_is_needed_and_functions_override_it(value, enabled, monkeypatch):
    monkeypatch.delenv("NDSAMPLER_FORK_SAFETY", raising=False)
    with chosen(None):
        if value is not None:
            monkeypatch.setenv("NDSAMPLER_FORK_SAFETY", value)
        assert fork_safety.is_enabled() is enabled
        fork_safety.disable()
        assert fork_safety.is_enabled() is False
        fork_safety.enable()
        assert fork_safety.is_enabled() is True


@needs_fork
@pytest.mark.parametrize(("enabled", "threads"), [(True, 1), (False, 3)])
def test_a_child_uses_opencv_without_threads_unless_fork_safety_is_off(enabled, threads):
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        with chosen(enabled):
            assert fork_and_return(cv2.getNumThreads) == str(threads)
    finally:
        cv2.setNumThreads(before)
