"""
Limits on what a dataset or a file may claim, so that a few bytes cannot take all memory or hours of work.

One object holds all limits of a process. Code that is about to do work of a size that a dataset or a file
states reads the limit at that moment, so a change applies to samplers that exist already. A sampler takes the
limits along when it is pickled, which is how worker processes get them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ndsampler.errors import ArgumentError

__all__ = ["Limits", "adopt_limits", "get_limits", "set_limits"]


@dataclass(frozen=True)
class Limits:
    """
    Limits that a program may set by :func:`set_limits`.

    Raises:
        ArgumentError: if a limit is not a whole number above 0.

    Example:
        >>> Limits(vertices=5000).vertices
        5000
    """

    run_length: int = 10_000_000
    """Largest length of a run-length encoding: numbers, or characters of a compressed one."""

    vertices: int = 1_000_000
    """Largest number of vertices and keypoints of an annotation."""

    category_depth: int = 200
    """Largest number of levels in the hierarchy of categories."""

    pixels: int = 10**12
    """Largest number of pixels of a source: height times width."""

    bands: int = 65_535
    """Largest number of channels of a source."""

    pages: int = 2048
    """Largest number of pages of a TIFF that are read as its channels, or that are reduced versions or masks.
    GDAL looks for each page from the start of the file: the time grows with the square of their number."""

    decoded_bytes: int = 2**33
    """Most bytes of pixels that are decoded at once: a window, a tile, a strip, or an image of a format that
    is decoded whole."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise ArgumentError(f"the limit {field.name} is {value!r}; expected a whole number above 0")


@dataclass
class _Present:
    """The limits of this process."""

    limits: Limits
    """The values."""

    is_chosen: bool = False
    """Whether the program has set them itself."""


_PRESENT = _Present(Limits())


def get_limits() -> Limits:
    """Return the limits of this process.

    Example:
        >>> get_limits().run_length
        10000000
    """
    return _PRESENT.limits


def set_limits(limits: Limits) -> Limits:
    """Set the limits of this process, and of worker processes that get a sampler from it later.

    Args:
        limits: the new limits.

    Returns:
        The limits until now, to set them again.

    Raises:
        ArgumentError: if it is not an object of :class:`Limits`.

    Example:
        >>> before = set_limits(Limits(vertices=100))
        >>> set_limits(before).vertices
        100
    """
    if not isinstance(limits, Limits):
        raise ArgumentError(f"the limits are {limits!r}; expected an object such as Limits(vertices=1000)")
    before = _PRESENT.limits
    _PRESENT.limits, _PRESENT.is_chosen = limits, True
    return before


def adopt_limits(limits: Limits) -> None:
    """Take over the limits of the process that a sampler was pickled in, unless this process set its own.

    Args:
        limits: those of the other process.
    """
    if not _PRESENT.is_chosen:
        _PRESENT.limits = limits
