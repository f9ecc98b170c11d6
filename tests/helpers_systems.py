"""Marks for tests that need features of the operating system, with the reason for skipping them."""

from __future__ import annotations

import os
import tempfile

import pytest


def have_locks() -> bool:
    """Return whether the system has flock."""
    try:
        import fcntl  # noqa: F401
    except ImportError:
        return False
    return True


def can_remove_open_files() -> bool:
    """Return whether the system can remove an open file."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "open")
        with open(path, "wb"):
            try:
                os.unlink(path)
            except PermissionError:
                return False
    return True


needs_locks = pytest.mark.skipif(not have_locks(), reason="needs flock")

removes_open_files = pytest.mark.skipif(
    not can_remove_open_files(), reason="removes or replaces a file that is open, which Windows refuses"
)
