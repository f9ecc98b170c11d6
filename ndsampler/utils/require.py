"""Packages that the user chooses, and what to say when one is missing."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

from ndsampler.errors import MissingDependencyError

__all__ = ["require_opencv"]


@lru_cache(maxsize=1)
def require_opencv() -> None:
    """Check that one of the two OpenCV packages is installed.

    kwimage decodes and warps with OpenCV, and neither names it among its
    requirements nor can: the two packages own the same files, and having both
    breaks each. The check costs a few microseconds once, then nothing.

    Raises:
        MissingDependencyError: if there is no ``cv2``, with the two commands to choose from.

    Example:
        >>> require_opencv()
    """
    if find_spec("cv2") is None:
        raise MissingDependencyError(
            "OpenCV (the module cv2) is not installed, and reading images needs it. Install one of its "
            'two packages, never both: pip install "ndsampler[headless]" on servers and in containers '
            '(opencv-python-headless), or pip install "ndsampler[graphics]" where windows are shown '
            "(opencv-python)."
        )
