"""Takes away what only POSIX systems have, so that its fallbacks run on Linux.

This imports nothing of the library, because everything must be gone before it is imported.
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

#: Names in ``os`` that Windows lacks (the documentation of Python says "Availability: Unix"), as far as
#: pytest, rasterio and Python's own modules do without them on Linux.
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

#: Functions that Windows does not offer for file descriptors, or beside those of another folder.
OPTIONS = ("supports_dir_fd", "supports_fd", "supports_follow_symlinks")


#: Packages that ask for what is gone when they are imported, because they know that this is Linux.
UNAWARE = ("distributed", "torch")


def take_away_posix() -> None:
    """Remove all of it from this process, and give each remaining function the options of Windows only."""
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
    """Return a function that takes paths and no descriptors."""

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
    """Return the error with which Windows refuses to replace or remove a file that is open."""
    error = PermissionError(errno.EACCES, "The file is used by another process", os.fspath(path))
    error.winerror = 32  # type: ignore[attr-defined]
    return error


def refuse_open_files(patch: Callable[[object, str, Any], Any] = setattr) -> None:
    """Let nobody rename, replace or remove a file that this process has open, as on Windows.

    Args:
        patch: sets an attribute; that of ``monkeypatch`` restores it.
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
