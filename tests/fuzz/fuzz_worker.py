"""The process that tries cases; ``python tests/fuzz`` starts it. See ``__main__.py`` beside it."""

from __future__ import annotations

import faulthandler
import itertools
import json
import os
import pathlib
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np
from fuzz_cases import Scene, try_command, try_dataset, try_header, try_label, try_target

from ndsampler.errors import NDSamplerError

#: Memory that the cases may take, in bytes of address space beyond what the process has at their start.
MEMORY = 4 * 2**30

#: Calls of a traceback that are reported: the innermost ones.
TRACEBACK_CALLS = 12

#: Seconds after which a case that hangs prints where its threads are.
HANG_SECONDS = 50.0

CASES: dict[str, Callable[[Scene, np.random.Generator], None]] = {
    **{"target": try_target, "dataset": try_dataset, "header": try_header},
    **{"label": try_label, "command": try_command},
}


def bound_memory() -> None:
    """Let allocations fail beyond the bound, where the system has such limits."""
    try:
        import resource

        size = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError):
        return
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))


def outcome(kind: str, scene: Scene, seed: int) -> str:
    """Try a case, and return the traceback of an error that should not come out; empty for none."""
    try:
        CASES[kind](scene, np.random.default_rng(seed))
    except NDSamplerError:
        return ""
    except Exception:
        return traceback.format_exc(limit=-TRACEBACK_CALLS)
    return ""


def main() -> None:
    """Try cases for ever, and report each of them to the process that started this one."""
    first, kinds = int(sys.argv[1]), sys.argv[2:]
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="ndsampler-fuzz.", ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        scene = Scene(pathlib.Path(folder))
        bound_memory()
        for seed in itertools.count(first):
            kind = kinds[seed % len(kinds)]
            print(json.dumps({"begin": [kind, seed]}), file=reports, flush=True)
            faulthandler.dump_traceback_later(HANG_SECONDS)
            error = outcome(kind, scene, seed)
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps({"kind": kind, "error": error}), file=reports, flush=True)


if __name__ == "__main__":
    main()
