"""Removes features that only POSIX systems have, so that the fallbacks are tested on Linux.

This module does not import the library, because the features must be removed before the library is imported.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Any

#: Modules that Windows lacks. Importing one raises ModuleNotFoundError.
MODULES = ("fcntl", "resource")

#: Names in ``os`` that Windows lacks (the documentation of Python says "Availability: Unix"), except those
#: that pytest, rasterio and Python's own modules need on Linux.
NAMES = (
    "O_DIRECTORY",
    "O_NOFOLLOW",
    "O_NONBLOCK",
    "chown",
    "fchdir",
    "fchmod",
    "fchown",
    "fdatasync",
    "fork",
    "forkpty",
    "fstatvfs",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getpgid",
    "getpriority",
    "getresuid",
    "getuid",
    "killpg",
    "lchown",
    "lockf",
    "mkfifo",
    "mknod",
    "nice",
    "posix_fadvise",
    "posix_fallocate",
    "posix_spawn",
    "pread",
    "preadv",
    "pwrite",
    "pwritev",
    "readv",
    "register_at_fork",
    "sched_getaffinity",
    "sched_setaffinity",
    "setegid",
    "seteuid",
    "setgid",
    "setgroups",
    "setpriority",
    "setsid",
    "setuid",
    "sync",
    "sysconf",
    "writev",
)

#: Names in ``signal`` that Windows lacks.
SIGNALS = ("SIGALRM", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "SIGUSR2", "SIGXFSZ", "alarm", "pause")

#: Sets of functions that accept file descriptors or folder descriptors, which Windows does not support.
OPTIONS = ("supports_dir_fd", "supports_fd", "supports_follow_symlinks")


#: Packages that need removed features when they are imported, because they detect Linux.
UNAWARE = ("distributed", "torch")


def take_away_posix() -> None:
    """Remove the POSIX features from this process, and limit the remaining functions to options of
    Windows."""
    with contextlib.suppress(ImportError):
        import psutil  # noqa: F401  (it needs the module resource on Linux)
    for name in (*MODULES, *UNAWARE):
        sys.modules[name] = None  # type: ignore[assignment]
    for owner, names in ((os, NAMES), (signal, SIGNALS)):
        for name in names:
            if hasattr(owner, name):
                delattr(owner, name)
    for name in OPTIONS:
        setattr(os, name, set())
    os.utime = _refuse_descriptors(os.utime)  # type: ignore[assignment]
    multiprocessing.set_start_method("spawn", force=True)
    multiprocessing.get_all_start_methods = lambda: ["spawn"]  # type: ignore[assignment]


def _refuse_descriptors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that accepts only paths, not descriptors."""

    def call(path: Any, *args: Any, **kw: Any) -> Any:
        if isinstance(path, int):
            raise TypeError(f"{function.__name__}: path should be string, bytes or os.PathLike, not int")
        return function(path, *args, **kw)

    return call


def is_open(path: Any) -> bool:
    """Return whether this process has a file open or mapped into memory; this needs ``/proc``."""
    full = pathlib.Path(os.path.abspath(path))
    name = str(full.parent.resolve() / full.name)
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}") == name:
                return True
        except FileNotFoundError:
            continue  # the folder itself was open while it was listed
    with open("/proc/self/maps") as maps:
        return any(line.rstrip("\n").endswith(f" {name}") for line in maps)


def windows_error(path: Any) -> PermissionError:
    """Return the error that Windows raises if an open file is replaced or removed."""
    error = PermissionError(errno.EACCES, "The file is used by another process", os.fspath(path))
    error.winerror = 32  # type: ignore[attr-defined]
    return error


def refuse_open_files(patch: Callable[[object, str, Any], Any] = setattr) -> None:
    """Make renaming, replacing and removing files that this process has open fail, as on Windows.

    Args:
        patch: function that sets an attribute; ``monkeypatch.setattr`` restores it later.
    """

    def guard(function: Callable[..., Any], paths: int) -> Callable[..., Any]:
        def call(*args: Any, **kw: Any) -> Any:
            for path in args[:paths]:
                if "dir_fd" not in kw and is_open(path):
                    raise windows_error(path)
            return function(*args, **kw)

        return call

    for name, paths in (("replace", 2), ("rename", 2), ("unlink", 1), ("remove", 1)):
        patch(os, name, guard(getattr(os, name), paths))
