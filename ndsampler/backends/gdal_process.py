"""
Encodes large files in a separate process, because GDAL can enter an endless loop on a full disk.

A TIFF file links its directories, one for each overview and mask, in a chain. If a write fails because the
disk is full, and a later one succeeds, the chain may form a cycle, which GDAL's TIFF library follows for
ever. The loop ends only with the process. Therefore the encoding process is killed if its files have not
changed for :data:`STALLED_SECONDS`; it also ends when the process that started it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

from ndsampler.errors import CacheError

#: Seconds without a change to its files after which the process is killed.
STALLED_SECONDS = 120.0

#: Seconds between two checks of the files.
POLL_SECONDS = 0.05

#: The program that the process runs. It reads the module search path and its task from one line of JSON.
PROGRAM = """\
import json, sys
task = json.loads(sys.stdin.readline())
sys.path[:] = task["sys_path"]
from ndsampler.backends.gdal_process import serve
sys.exit(serve(task))
"""


def encode_apart(raw: str, dest: str, options: dict[str, str]) -> None:
    """Build the overviews of a file and encode it as a COG, in a separate process if Python can start one.

    Args:
        raw: the uncompressed file. It is changed.
        dest: path of the COG.
        options: creation options of GDAL's COG driver.

    Raises:
        CacheError: if the COG cannot be written, for example on a full disk.
    """
    task = {"sys_path": sys.path, "raw": raw, "dest": dest, "options": options}
    if not sys.executable or getattr(sys, "frozen", False):
        _encode(task)
        return
    # In its own session, the process does not receive Ctrl-C; this process then ends it.
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(task).encode() + b"\n")
            process.stdin.flush()
            _wait_for(process, dest)
            message = b"" if process.stdout is None else process.stdout.read()
        finally:
            process.kill()
    if process.returncode:
        text = message.decode() or f"GDAL's process ended with exit status {process.returncode}"
        raise CacheError(f"{dest} cannot be written: {text}")


def _wait_for(process: subprocess.Popen[bytes], dest: str) -> None:
    """Wait until a process has ended.

    Raises:
        CacheError: if its files have stopped changing.
    """
    seen, since = _file_states(dest), time.monotonic()
    while _is_running(process):
        now = _file_states(dest)
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > STALLED_SECONDS:
            raise CacheError(f"{dest} cannot be written: GDAL stopped writing; is the disk full?")


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    """Wait for a moment, or until a process ends, and return whether it is still running."""
    try:
        process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _file_states(dest: str) -> list[tuple[str, int, int]]:
    """Return the name, size and modification time of each file whose path begins with that of the COG."""
    folder, name = os.path.split(dest)
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as files:
        for file in files:
            if file.name.startswith(name):
                stat = file.stat()
                found.append((file.name, stat.st_size, stat.st_mtime_ns))
    return sorted(found)


def serve(task: dict[str, Any]) -> int:
    """Perform a task in the separate process, and return the exit status of the process.

    Args:
        task: the task that :func:`encode_apart` has sent.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _encode(task)
    except Exception as ex:  # GDAL and rasterio raise many types of errors
        sys.stdout.write(str(ex.__cause__ or ex))
        return 1
    return 0


def _end_with_parent() -> None:
    """End this process when the pipe from its parent is closed."""
    sys.stdin.read()
    os._exit(1)


def _encode(task: dict[str, Any]) -> None:
    """Build the overviews of a file and encode it."""
    from ndsampler.backends.gdal_write import encode_raw

    encode_raw(task["raw"], task["dest"], task["options"])
