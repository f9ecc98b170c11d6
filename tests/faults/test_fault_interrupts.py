"""A thread that was interrupted anywhere, again and again, does not hold forks back."""

from __future__ import annotations

import pytest
from helpers_processes import check_script, needs_fork

INTERRUPTED = """
    import contextlib, ctypes, os, signal, sys, threading, time
    import ndsampler
    from ndsampler.utils import fork_safety

    fork_safety.PATIENCE_SECONDS = 1000.0
    count, how, what = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    sampler = ndsampler.CocoSampler.demo("shapes2", workdir=sys.argv[4], backend="cog")
    target = {"gid": 1, "cx": 300, "cy": 300, "width": 32, "height": 32}
    sampler.load_sample(target)
    sys.unraisablehook = lambda args: None

    class Interruption(BaseException):
        pass

    class Flag:
        # An event without a lock, which an interruption could leave held.
        is_set = False

        def set(self) -> None:
            self.is_set = True

        def wait(self, seconds: float) -> None:
            deadline = time.monotonic() + seconds
            while not self.is_set and time.monotonic() < deadline:
                time.sleep(1e-3)

    begun, stop, go, done = (Flag() for _ in range(4))
    hits = 0
    # An interactive session keeps the last exception, with all variables of the functions that it left.
    kept = []

    def pass_gate() -> None:
        with fork_safety.GATE:
            pass

    # Nearly all interruptions come between two steps of the gate if it is all that happens.
    work = pass_gate if what == "the gate" else lambda: sampler.load_sample(target)

    def load() -> None:
        global hits
        begun.set()
        while not stop.is_set:
            try:
                for _ in range(100):
                    work()
            except (Interruption, KeyboardInterrupt) as ex:
                kept.append(ex)
                hits += 1

    def interrupt_thread(ident: int) -> None:
        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        assert raise_in(ctypes.c_ulong(ident), ctypes.py_object(Interruption)) == 1

    def hammer(ident: int) -> None:
        for n in range(count):
            # The next interruption comes at another place each time.
            time.sleep(4e-5 * (n % 37))
            before = hits
            if how == "signal":
                os.kill(os.getpid(), signal.SIGINT)
            else:
                interrupt_thread(ident)
            deadline = time.monotonic() + 1
            while hits == before and time.monotonic() < deadline:
                time.sleep(1e-4)
        stop.set()

    def fork() -> None:
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            sampler.load_sample(target)
            os._exit(0)
        print(hits > count // 2, len(fork_safety.GATE), os.waitpid(child, 0)[1], flush=True)
        done.set()

    def survive(work) -> None:
        # The last interruption may come late.
        while True:
            try:
                return work()
            except (Interruption, KeyboardInterrupt):
                pass

    def interrupted() -> None:
        survive(load)
        survive(go.set)
        survive(lambda: done.wait(100))

    def attack(ident: int) -> None:
        begun.wait(100)
        hammer(ident)
        go.wait(100)
        fork()

    if how == "signal":
        attacker = threading.Thread(target=attack, args=(threading.get_ident(),))
        attacker.start()
        interrupted()
        survive(attacker.join)
    else:
        victim = threading.Thread(target=interrupted)
        victim.start()
        attack(victim.ident)
        victim.join(100)
"""


@needs_fork
@pytest.mark.parametrize("what", ["samples", "the gate"])
@pytest.mark.parametrize("how", ["signal", "thread"])
def test_a_fork_does_not_wait_for_a_thread_that_was_interrupted_hundreds_of_times(
    how, what, tmp_path, amount, patience
):
    count = amount(short=300, whole=300, soak=3000)
    # A fork that takes the thread for one inside waits for 1000 seconds.
    told = check_script(INTERRUPTED, count, how, what, tmp_path, timeout=patience)
    assert told.split() == ["True", "0", "0"]
