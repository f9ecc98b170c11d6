"""Processes that a test starts and waits for with a time limit: forks, worker pools and programs."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import pathlib
import select
import selectors
import signal
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from helpers_threads import PATIENCE

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

#: Ignores Python's warning about forks while other threads run, which these tests do on purpose.
forks_beside_threads = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

#: User id without privileges.
NOBODY = 65534

#: Maximum number of seconds until a process ends after it has done its work or was killed.
DYING_SECONDS = 30.0

#: Seconds between two checks whether a child has ended.
LOOK_SECONDS = 0.05

#: Number of seconds after which the system ends a fork whose parent no longer waits for it.
LIFETIME = 2 * 3600


class SharedEvent:
    """An event that one process sets, and that its forks or its parent wait for."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def set(self) -> None:
        """Set the event, so that all waiting processes continue."""
        os.write(self._write, b"x")

    def wait(self, timeout: float) -> None:
        """Return when the event is set.

        Raises:
            TimeoutError: if no process sets it within ``timeout`` seconds.
        """
        if not select.select([self._read], [], [], timeout)[0]:
            raise TimeoutError(f"no process set the event within {timeout:g} s")

    def close(self) -> None:
        """Close the descriptors of this process."""
        os.close(self._read)
        os.close(self._write)


class Child:
    """A fork that runs a function.

    Args:
        work: the function; its result, or the traceback of its error, is sent to the parent as text.
    """

    running: ClassVar[set[Child]] = set()
    """Children of this process that have not been waited for."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._read, write = os.pipe()
        self._reaped = self._status = 0
        self.pid = os.fork()
        if self.pid:
            os.close(write)
            self.running.add(self)
            return
        self.running.clear()
        os.close(self._read)
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(LIFETIME)
            told = work()
            os.write(write, b"" if told is None else str(told).encode())
            code = 0
        except BaseException:
            os.write(write, traceback.format_exc()[-30_000:].encode())
        finally:
            os._exit(code)

    def join(self, timeout: float) -> tuple[int, str]:
        """Wait for the child; return its exit status, which is negative for a signal, and its message.

        A child that hangs is aborted.
        """
        told = b""
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector, os.fdopen(self._read, "rb", buffering=0) as pipe:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                # Processes that the child started may keep the pipe open after its end.
                ended = self._has_ended()
                if selector.select(0.0 if ended else LOOK_SECONDS):
                    block = pipe.read(65_536)
                    if not block:
                        break
                    told += block
                elif ended:
                    break
                elif time.monotonic() > deadline:
                    os.kill(self.pid, signal.SIGABRT)
                    told += b" [the child hung]"
                    break
        return self.reap(), told.decode(errors="replace")

    def kill(self) -> int:
        """Kill the child, and return its exit status."""
        os.close(self._read)
        os.kill(self.pid, signal.SIGKILL)
        return self.reap()

    def reap(self) -> int:
        """Wait for a child that is about to end, kill it if it does not end, and return its exit status."""
        self.running.discard(self)
        for _ in range(2):
            deadline = time.monotonic() + DYING_SECONDS
            while time.monotonic() < deadline:
                if self._has_ended():
                    return os.waitstatus_to_exitcode(self._status)
                time.sleep(0.002)
            os.kill(self.pid, signal.SIGKILL)
        raise TimeoutError(f"process {self.pid} was killed and does not end")

    def _has_ended(self) -> bool:
        """Return whether the child has ended, and store its exit status."""
        if not self._reaped:
            self._reaped, self._status = os.waitpid(self.pid, os.WNOHANG)
        return bool(self._reaped)


def read_soon(descriptor: int, size: int = 65_536, timeout: float = PATIENCE) -> bytes:
    """Read from a pipe with a time limit.

    Raises:
        TimeoutError: if nothing comes within ``timeout`` seconds.
    """
    if not select.select([descriptor], [], [], timeout)[0]:
        raise TimeoutError(f"nothing came through the pipe within {timeout:g} s")
    return os.read(descriptor, size)


def run_child(work: Callable[[], Any], timeout: float = PATIENCE) -> str:
    """Run a function in a fork and return its message.

    Raises:
        AssertionError: if it failed.
    """
    code, told = Child(work).join(timeout)
    assert code == 0, f"exit status {code}: {told}"
    return told


def run_children(works: list[Callable[[], Any]], timeout: float = PATIENCE) -> list[str]:
    """Run functions in forks that all start at the same time, and return the message of each."""
    gate = SharedEvent()

    def begin(work: Callable[[], Any]) -> Any:
        gate.wait(PATIENCE)
        return work()

    children = [Child(lambda work=work: begin(work)) for work in works]
    gate.set()
    outcomes = [child.join(timeout) for child in children]
    gate.close()
    failures = [f"child {n}: exit status {code}: {told}" for n, (code, told) in enumerate(outcomes) if code]
    assert not failures, "\n".join(failures)
    return [told for _, told in outcomes]


def as_nobody(work: Callable[[], Any]) -> str:
    """Run a function in a fork without privileges, and return its message.

    Modules that it needs must already be imported, because it may not be allowed to read the installation.
    """
    if os.geteuid() != 0:
        return run_child(work)

    def drop() -> Any:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        return work()

    return run_child(drop)


@contextlib.contextmanager
def process_pool(method: str, workers: int) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """Provide an executor of processes. If the block fails, they are killed, so that the test does not wait.

    Args:
        method: start method, ``'fork'``, ``'spawn'`` or ``'forkserver'``.
        workers: number of processes.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            yield pool
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


def run_python(
    *args: object, timeout: float = PATIENCE, env: dict[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run this interpreter in a new process, which can import the helpers of tests.

    Args:
        args: arguments of the interpreter.
        timeout: seconds after which the process is killed.
        env: environment variables in addition to those of this process.
        options: further arguments of ``subprocess.run``.

    Returns:
        The process with its output as text, whatever its exit status.

    Raises:
        subprocess.TimeoutExpired: if the process did not end in time.
    """
    path = os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path])
    return subprocess.run(
        [sys.executable, *map(str, args)],
        env={**os.environ, "PYTHONPATH": path, **(env or {})},
        timeout=timeout,
        **{"capture_output": True, "text": True, "check": False, **options},
    )


def run_script(script: str, *args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program that is given as text; see ``run_python``."""
    return run_python("-c", textwrap.dedent(script), *args, **options)


def check_script(script: str, *args: object, **options: Any) -> str:
    """Run a program that is given as text, assert that it succeeds, and return its output."""
    done = run_script(script, *args, **options)
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout
