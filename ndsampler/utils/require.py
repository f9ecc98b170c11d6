"""Optional packages, and the errors if they are missing."""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

from ndsampler.errors import MissingDependencyError
from ndsampler.utils.logs import get_logger

__all__ = ["have_gdal", "require", "require_opencv"]

logger = get_logger(__name__)


def have_gdal() -> bool:
    """Return whether rasterio can be imported and can read and write GeoTIFF.

    An installed ``osgeo`` is neither needed nor used.

    Returns:
        True if the ``cog`` backend can be used.

    Example:
        >>> have_gdal() in {True, False}
        True
    """
    try:
        import rasterio
    except ImportError as ex:
        # This includes an installed wheel that cannot load its libraries.
        logger.debug("rasterio cannot be imported: %s", ex)
        return False
    with rasterio.Env() as env:
        return "GTiff" in env.drivers()


def require(module: str, package: str, purpose: str) -> Any:
    """Return a module of an optional package.

    Args:
        module: dotted name of the module.
        package: name of the package to install.
        purpose: the feature that needs it, for the error message.

    Raises:
        MissingDependencyError: if the package is not installed; the message has the command that installs it.

    Example:
        >>> require("math", "math", "counting").sqrt(9.0)
        3.0
    """
    return _import(
        module, f"{purpose} needs the package {package}, which is not installed; run 'pip install {package}'"
    )


@functools.cache
def require_opencv() -> Any:
    """Return the module ``cv2``, which one of two OpenCV packages provides.

    kwimage uses OpenCV as well, but cannot list it among its requirements: the two
    packages contain the same files, and installing both breaks them.

    Returns:
        The module.

    Raises:
        MissingDependencyError: if there is no ``cv2``; the message has the two commands to choose from.

    Example:
        >>> require_opencv().__name__
        'cv2'
    """
    return _import(
        "cv2",
        "OpenCV (the module cv2) is not installed, and reading images needs it. Install one of its "
        'two packages, never both: pip install "ndsampler[headless]" on servers and in containers '
        '(opencv-python-headless), or pip install "ndsampler[graphics]" where windows are shown '
        "(opencv-python).",
    )


def _import(module: str, message: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as ex:
        if ex.name != module.partition(".")[0]:
            raise
        raise MissingDependencyError(message) from ex
