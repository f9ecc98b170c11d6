"""
Limits on sizes that a dataset or file states, so that a few bytes cannot use up all memory or hours of time.

One object contains all limits of a process. The limit is read when the work is about to start, so a change
also applies to existing samplers. The pickle of a sampler contains the limits, so that worker processes get
them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ndsampler.errors import ArgumentError

__all__ = ["Limits", "adopt_limits", "get_limits", "set_limits"]


@dataclass(frozen=True)
class Limits:
    """
    Limits that a program may set with :func:`set_limits`.

    Raises:
        ArgumentError: if a limit is not a whole number above 0.

    Example:
        >>> Limits(vertices=5000).vertices
        5000
    """

    run_length: int = 10_000_000
    """Maximum length of a run-length encoding, in numbers, or in characters if it is compressed."""

    vertices: int = 1_000_000
    """Maximum number of vertices and keypoints of an annotation."""

    category_depth: int = 200
    """Maximum number of levels in the hierarchy of categories."""

    pixels: int = 10**12
    """Maximum number of pixels of a source: height times width."""

    bands: int = 65_535
    """Maximum number of channels of a source."""

    pages: int = 2048
    """Largest number of pages of a TIFF that are read as its channels, or that are reduced versions or masks.
    GDAL looks for each page from the start of the file: the time grows with the square of their number."""

    decoded_bytes: int = 2**33
    """Maximum number of bytes of pixels that are decoded at once, for a window, a tile, a strip, or an image
    in a format that must be decoded as a whole."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise ArgumentError(f"the limit {field.name} is {value!r}; expected a whole number above 0")


@dataclass
class _Current:
    """The limits of this process."""

    limits: Limits
    """The current limits."""

    is_chosen: bool = False
    """Whether the program has set them itself."""


_CURRENT = _Current(Limits())


def get_limits() -> Limits:
    """Return the limits of this process.

    Example:
        >>> get_limits().run_length
        10000000
    """
    return _CURRENT.limits


def set_limits(limits: Limits) -> Limits:
    """Set the limits of this process, and of worker processes that get a sampler from it later.

    Args:
        limits: the new limits.

    Returns:
        The previous limits, so that they can be restored.

    Raises:
        ArgumentError: if it is not a :class:`Limits` object.

    Example:
        >>> before = set_limits(Limits(vertices=100))
        >>> set_limits(before).vertices
        100
    """
    if not isinstance(limits, Limits):
        raise ArgumentError(f"the limits are {limits!r}; expected an object such as Limits(vertices=1000)")
    before = _CURRENT.limits
    _CURRENT.limits, _CURRENT.is_chosen = limits, True
    return before


def adopt_limits(limits: Limits) -> None:
    """Use the limits of the process that pickled a sampler, unless this process has set its own.

    Args:
        limits: the limits of the other process.
    """
    if not _CURRENT.is_chosen:
        _CURRENT.limits = limits
