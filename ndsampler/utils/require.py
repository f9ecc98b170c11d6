"""Packages that the user chooses, and what to say when one is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ndsampler.errors import MissingDependencyError

__all__ = ["require_opencv"]


def require_opencv() -> Any:
    """Return the module ``cv2``, which one of two OpenCV packages provides.

    kwimage decodes and warps with OpenCV as well, and cannot name it among its
    requirements: the two packages own the same files, and having both breaks each.

    Returns:
        The module.

    Raises:
        MissingDependencyError: if there is no ``cv2``, with the two commands to choose from.

    Example:
        >>> require_opencv().__name__
        'cv2'
    """
    try:
        return import_module("cv2")
    except ModuleNotFoundError as ex:
        if ex.name != "cv2":
            raise
        raise MissingDependencyError(
            "OpenCV (the module cv2) is not installed, and reading images needs it. Install one of its "
            'two packages, never both: pip install "ndsampler[headless]" on servers and in containers '
            '(opencv-python-headless), or pip install "ndsampler[graphics]" where windows are shown '
            "(opencv-python)."
        ) from ex
