"""No test waits for processes that others have started."""

from __future__ import annotations

import os
import stat

import pytest
from helpers_processes import Child, SharedEvent, needs_fork, run_child
from helpers_threads import PATIENCE

pytestmark = needs_fork


@pytest.mark.parametrize("work", [lambda: 7, lambda: 1 / 0], ids=["result", "error"])
def test_a_child_has_ended_though_a_process_that_it_started_goes_on(work):
    end = SharedEvent()

    def start_and_work():
        Child(lambda: end.wait(PATIENCE))
        return work()

    code, told = Child(start_and_work).join(PATIENCE / 2)
    end.set()
    end.close()
    assert (code, told) == (0, "7") or (code == 1 and "ZeroDivisionError" in told)


def find_pipes():
    """Return the descriptors of pipes that this process has open, but its output."""
    return {fd for fd in range(3, 64) if is_open(fd) and stat.S_ISFIFO(os.fstat(fd).st_mode)}


def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_a_fork_does_not_hold_the_pipes_of_a_parallel_run(request):
    if not hasattr(request.config, "workerinput"):
        pytest.skip("no parallel run: start it with -n 2")
    ours = find_pipes()
    end, begin = os.pipe()
    theirs = eval(run_child(find_pipes))
    os.close(end)
    os.close(begin)
    assert len(ours) >= 2
    assert {end, begin} <= theirs
    # What was opened first is the connection to the controller.
    assert not set(sorted(ours)[:2]) & theirs


def test_a_killed_child_is_reaped():
    child = Child(lambda: SharedEvent().wait(PATIENCE))
    assert child.kill() == -9
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)
