"""What lies flat on the ground of a landscape: fields, streets, water, and where they bend."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndsampler.demo.landscape.canvas import PLAIN, Color, bounds_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.demo.landscape.canvas import Canvas


class Rect(NamedTuple):
    """A rectangle of the map before it is bent."""

    u0: float
    v0: float
    u1: float
    v1: float

    @property
    def size(self) -> tuple[float, float]:
        """Its extent along u and v."""
        return self.u1 - self.u0, self.v1 - self.v0

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre."""
        return (self.u0 + self.u1) / 2, (self.v0 + self.v1) / 2

    def inset(self, margin: float) -> Rect:
        """Return a rectangle smaller by a margin on every side."""
        return Rect(self.u0 + margin, self.v0 + margin, self.u1 - margin, self.v1 - margin)

    def point(self, a: float, b: float) -> tuple[float, float]:
        """Return the point at the fractions (a, b) of its extent."""
        return self.u0 + a * (self.u1 - self.u0), self.v0 + b * (self.v1 - self.v0)


class Lane(NamedTuple):
    """The middle line of a street, on the map before it is bent."""

    start: tuple[float, float]
    end: tuple[float, float]
    width: float


def split(rect: Rect, rng: np.random.Generator, largest: float, gap: float) -> tuple[list[Rect], list[Lane]]:
    """Cut a rectangle across its longer side, again and again.

    Args:
        rect: what is cut.
        rng: the source of randomness.
        largest: the longest side, in pixels, that a part may keep.
        gap: the width of what is left free between two parts.

    Returns:
        The parts, and the lines between them.

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
    """Turns and bends the map, so that nothing is parallel to the pixels.

    Args:
        rng: the source of randomness.
        middle: the point of the landscape that the middle (0, 0) of the map goes to.
    """

    def __init__(self, rng: np.random.Generator, middle: tuple[float, float]) -> None:
        self.turn = float(rng.uniform(0.15, 0.6))
        self.middle = middle
        self._waves = [
            (
                rng.normal(size=2) * 2 * np.pi / length,
                rng.uniform(0, 7),
                rng.uniform(-1, 1, 2) * 0.02 * length,
            )
            for length in (4200, 6100, 9000)
        ]

    def __call__(self, points: Any) -> NDArray[np.float64]:
        """Return the (n, 2) pixels of the landscape for (u, v) points of the map."""
        uv = np.asarray(points, float).reshape(-1, 2)
        bent = uv + sum(np.sin(uv @ wave + phase)[:, None] * reach for wave, phase, reach in self._waves)
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        return np.asarray(bent @ [[cos, sin], [-sin, cos]] + self.middle)

    def outline(self, rect: Rect, step: float = 120) -> NDArray[np.float64]:
        """Return the bent edges of a rectangle as one ring of pixels."""
        corners = np.array([(rect.u0, rect.v0), (rect.u1, rect.v0), (rect.u1, rect.v1), (rect.u0, rect.v1)])
        sides = [dense(a, b, step)[:-1] for a, b in zip(corners, np.roll(corners, -1, 0))]
        return self(np.concatenate(sides))

    def heading(self, u: float, v: float, direction: float = 0.0) -> float:
        """Return the angle, in the landscape, of a direction on the map."""
        ends = self([(u, v), (u + np.cos(direction), v + np.sin(direction))])
        dx, dy = ends[1] - ends[0]
        return float(np.arctan2(dy, dx))


def dense(start: Any, end: Any, step: float = 120) -> NDArray[np.float64]:
    """Return points from one to another, no further apart than a step."""
    count = max(2, int(np.hypot(*np.subtract(end, start)) / step) + 2)
    return np.linspace(start, end, count)


def blob(rng: np.random.Generator, middle: NDArray[Any], radii: tuple[float, float]) -> NDArray[np.float64]:
    """Return the rounded outline of a pond or a lake.

    Args:
        rng: the source of randomness.
        middle: (x, y).
        radii: along x and y, in pixels.
    """
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    waves = [(k, rng.uniform(0, 0.22 / k), rng.uniform(0, 2 * np.pi)) for k in range(2, 7)]
    radius = 1 + sum(size * np.cos(k * angles + phase) for k, size, phase in waves)
    return np.asarray(
        middle + np.stack([radii[0] * radius * np.cos(angles), radii[1] * radius * np.sin(angles)], 1)
    )


@dataclass(frozen=True)
class Area:
    """A filled polygon on the ground."""

    color: Color
    points: NDArray[np.float64]
    material: int = PLAIN

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return bounds_of([self.points], 1)

    def paint(self, canvas: Canvas) -> None:
        """Paint it."""
        canvas.fill(self.color, self.points, material=self.material)


@dataclass(frozen=True)
class Line:
    """A line of some width on the ground."""

    color: Color
    points: NDArray[np.float64]
    width: float
    material: int = PLAIN
    closed: bool = False

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return bounds_of([self.points], self.width / 2 + 1)

    def paint(self, canvas: Canvas) -> None:
        """Paint it."""
        canvas.stroke(self.color, self.points, self.width, self.material, self.closed)


@dataclass(frozen=True)
class Dashes:
    """Lane markings: short lines, (n, 2, 2)."""

    color: Color
    pairs: NDArray[np.float64]
    width: float

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return bounds_of(list(self.pairs), self.width)

    def paint(self, canvas: Canvas) -> None:
        """Paint them."""
        canvas.dash(self.color, self.pairs, self.width)


Ground = Area | Line | Dashes
