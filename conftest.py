"""What tests and doctests share."""

from __future__ import annotations

import importlib.util
import os
import stat

import hypothesis
import kwcoco
import pytest

from ndsampler.utils.quiet import stdout_to_log

# Tests run beside each other: more threads in one of them would only make the others slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A property does not fail because the machine is slow.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

#: A plugin that changes this process when it is imported.
collect_ignore = ["tests/without_posix.py"]

if importlib.util.find_spec("torch") is None:
    # Modules that import torch, whose doctests need it.
    collect_ignore += [
        f"ndsampler/training/{name}.py" for name in ("collate", "dataset", "target_sampler", "window_loader")
    ]

#: Demo sets that tests and doctests use.
DEMO_SETS = (
    ("shapes2", {}),
    ("shapes3", {}),
    ("shapes8", {}),
    ("shapes128", {}),
    ("vidshapes2", {"num_frames": 5}),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that says how much of the fault suite runs."""
    parser.addoption(
        "--faults",
        choices=("short", "whole", "soak"),
        default="short",
        help="tests/faults with few combinations of parameters, with all of them, or for some twenty minutes",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let no fork of a test hold the pipes between a worker of pytest-xdist and its controller.

    The controller waits for the end of these pipes if a worker was ended because a test took too long.
    """
    if hasattr(config, "workerinput") and hasattr(os, "register_at_fork"):
        pipes = [fd for fd in range(3, 64) if is_pipe(fd)]
        null = os.open(os.devnull, os.O_RDWR)
        os.register_at_fork(after_in_child=lambda: [os.dup2(null, fd, inheritable=False) for fd in pipes])


def is_pipe(descriptor: int) -> bool:
    """Return whether a descriptor is open and that of a pipe."""
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def pytest_sessionstart(session: pytest.Session) -> None:
    """Make the demo sets before a test or a worker process asks for them: kwcoco prints while it does."""
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    with stdout_to_log():
        # kwcoco makes a set twice before it uses the files of the first time.
        for key, options in 2 * DEMO_SETS:
            kwcoco.CocoDataset.demo(key, verbose=0, **options)
