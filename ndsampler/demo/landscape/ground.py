"""The ground of a landscape: fields, streets and water, and the curved transform from the map to pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndsampler.demo.landscape.canvas import PLAIN, Color, bounds_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.demo.landscape.canvas import Canvas


class Rect(NamedTuple):
    """A rectangle of the map, before the map is bent."""

    u0: float
    v0: float
    u1: float
    v1: float

    @property
    def size(self) -> tuple[float, float]:
        """The extent along u and v."""
        return self.u1 - self.u0, self.v1 - self.v0

    @property
    def middle(self) -> tuple[float, float]:
        """The center."""
        return (self.u0 + self.u1) / 2, (self.v0 + self.v1) / 2

    def inset(self, margin: float) -> Rect:
        """Return the rectangle shrunk by a margin on every side."""
        return Rect(self.u0 + margin, self.v0 + margin, self.u1 - margin, self.v1 - margin)

    def point(self, a: float, b: float) -> tuple[float, float]:
        """Return the point at the fractions (a, b) of the extent."""
        return self.u0 + a * (self.u1 - self.u0), self.v0 + b * (self.v1 - self.v0)


class Lane(NamedTuple):
    """The center line of a street on the map, before the map is bent."""

    start: tuple[float, float]
    end: tuple[float, float]
    width: float


def split(rect: Rect, rng: np.random.Generator, largest: float, gap: float) -> tuple[list[Rect], list[Lane]]:
    """Cut a rectangle across its longer side until all parts are small.

    Args:
        rect: the rectangle.
        rng: random generator.
        largest: maximum side of a part in pixels.
        gap: distance between two parts in pixels.

    Returns:
        The parts, and the lanes between them.

    Example:
        >>> parts, lanes = split(Rect(0, 0, 100, 10), np.random.default_rng(0), 60, 2)
        >>> len(parts), len(lanes)
        (2, 1)
    """
    du, dv = rect.size
    if max(du, dv) <= largest:
        return [rect], []
    along_u = du >= dv
    at = float(rng.uniform(0.4, 0.6))
    u, v = rect.point(at, at)
    if along_u:
        halves = rect._replace(u1=u - gap / 2), rect._replace(u0=u + gap / 2)
        lane = Lane((u, rect.v0 - gap / 2), (u, rect.v1 + gap / 2), gap)
    else:
        halves = rect._replace(v1=v - gap / 2), rect._replace(v0=v + gap / 2)
        lane = Lane((rect.u0 - gap / 2, v), (rect.u1 + gap / 2, v), gap)
    parts, lanes = [], [lane]
    for half in halves:
        more_parts, more_lanes = split(half, rng, largest, gap)
        parts += more_parts
        lanes += more_lanes
    return parts, lanes


class Bend:
    """Rotates and bends the map, so that nothing is parallel to the edges of the image.

    Args:
        rng: random generator.
        middle: (x, y) in the landscape of the center (0, 0) of the map.
    """

    def __init__(self, rng: np.random.Generator, middle: tuple[float, float]) -> None:
        turn = float(rng.uniform(0.15, 0.6))
        self.middle = middle
        self._cos, self._sin = math.cos(turn), math.sin(turn)
        waves, phases, reaches = [], [], []
        for length in (4200, 6100, 9000):
            waves.append(rng.normal(size=2) * 2 * np.pi / length)
            phases.append(rng.uniform(0, 7))
            reaches.append(rng.uniform(-1, 1, 2) * 0.02 * length)
        self._waves, self._phases, self._reaches = np.array(waves).T, np.array(phases), np.array(reaches)
        # Keep Python numbers too, because their arithmetic is much faster than numpy's for a single point.
        self._terms = [
            tuple(map(float, (*wave, phase, *reach))) for wave, phase, reach in zip(waves, phases, reaches)
        ]

    def __call__(self, points: Any) -> NDArray[np.float64]:
        """Return the (n, 2) pixels of the landscape for (u, v) points of the map."""
        uv = np.asarray(points, float).reshape(-1, 2)
        bent = uv + np.sin(uv @ self._waves + self._phases) @ self._reaches
        return np.asarray(bent @ [[self._cos, self._sin], [-self._sin, self._cos]] + self.middle)

    def point(self, u: float, v: float) -> tuple[float, float]:
        """Return the (x, y) of the landscape for one point of the map."""
        bent_u, bent_v = u, v
        for wave_u, wave_v, phase, reach_u, reach_v in self._terms:
            part = math.sin(u * wave_u + v * wave_v + phase)
            bent_u += part * reach_u
            bent_v += part * reach_v
        x = bent_u * self._cos - bent_v * self._sin + self.middle[0]
        return x, bent_u * self._sin + bent_v * self._cos + self.middle[1]

    def heading(self, u: float, v: float, direction: float = 0.0) -> float:
        """Return the angle, in the landscape, of a direction on the map."""
        x0, y0 = self.point(u, v)
        x1, y1 = self.point(u + math.cos(direction), v + math.sin(direction))
        return math.atan2(y1 - y0, x1 - x0)

    def outline(self, rect: Rect, step: float = 120) -> NDArray[np.float64]:
        """Return the bent edges of a rectangle as one closed outline in pixels."""
        us = dense(rect.u0, rect.u1, step)
        vs = dense(rect.v0, rect.v1, step)
        ring = np.empty((2 * (len(us) + len(vs) - 2), 2))
        top, right, bottom, left = np.split(ring, np.cumsum([len(us) - 1, len(vs) - 1, len(us) - 1]))
        top[:, 0], top[:, 1] = us[:-1], rect.v0
        right[:, 0], right[:, 1] = rect.u1, vs[:-1]
        bottom[:, 0], bottom[:, 1] = us[:0:-1], rect.v1
        left[:, 0], left[:, 1] = rect.u0, vs[:0:-1]
        return self(ring)


def dense(start: Any, end: Any, step: float = 120) -> NDArray[np.float64]:
    """Return evenly spaced points or numbers from one to another, no further apart than a step."""
    way = np.subtract(end, start)
    count = int((abs(way) if way.ndim == 0 else np.hypot(*way)) / step) + 2
    return np.linspace(start, end, count)


def blob(rng: np.random.Generator, middle: NDArray[Any], radii: tuple[float, float]) -> NDArray[np.float64]:
    """Return the outline of a pond or a lake.

    Args:
        rng: random generator.
        middle: (x, y) of the center.
        radii: radii along x and y in pixels.
    """
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    waves = [(k, rng.uniform(0, 0.22 / k), rng.uniform(0, 2 * np.pi)) for k in range(2, 7)]
    radius = 1 + sum(size * np.cos(k * angles + phase) for k, size, phase in waves)
    return np.asarray(
        middle + np.stack([radii[0] * radius * np.cos(angles), radii[1] * radius * np.sin(angles)], 1)
    )


@dataclass(eq=False)
class Area:
    """A filled polygon on the ground."""

    color: Color
    points: NDArray[np.float64]
    material: int = PLAIN

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of its pixels."""
        return bounds_of([self.points], 1)

    def paint(self, canvas: Canvas) -> None:
        """Paint it on a tile."""
        canvas.fill(self.color, self.points, material=self.material)


@dataclass(eq=False)
class Line:
    """A wide line on the ground."""

    color: Color
    points: NDArray[np.float64]
    width: float
    material: int = PLAIN
    closed: bool = False

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of its pixels."""
        return bounds_of([self.points], self.width / 2 + 1)

    def paint(self, canvas: Canvas) -> None:
        """Paint it on a tile."""
        canvas.stroke(self.color, self.points, self.width, self.material, self.closed)


@dataclass(eq=False)
class Dashes:
    """Lane markings: short lines, (n, 2, 2)."""

    color: Color
    pairs: NDArray[np.float64]
    width: float

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of its pixels."""
        return bounds_of(list(self.pairs), self.width)

    def paint(self, canvas: Canvas) -> None:
        """Paint them on a tile."""
        canvas.dash(self.color, self.pairs, self.width)


Ground = Area | Line | Dashes
