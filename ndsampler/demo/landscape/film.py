"""
A short film of a landscape: traffic on a main road, seen by a camera that drifts.

All frames are cut from one landscape at whole pixels, so that they lie on each
other exactly once they are moved by the way the camera has gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ndsampler.demo.landscape import layout
from ndsampler.demo.landscape.canvas import TILE
from ndsampler.demo.landscape.ground import Dashes, Lane, Rect, dense
from ndsampler.demo.landscape.objects import Car, Thing, Truck
from ndsampler.demo.landscape.scene import Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How many frames a film has.
FRAMES = 8

#: Pixels that the camera drifts from frame to frame, (x, y), and how much more or less.
DRIFT = (9, 5)
SHAKE = 3

#: The least of a thing, across and down in pixels, that must be in a frame to be annotated.
VISIBLE = 6


class Seen(NamedTuple):
    """What a frame shows of a thing, in pixels of the frame."""

    track: int
    """Which thing it is, the same in all frames, from 0 up."""
    category: str
    outline: NDArray[np.float64]
    holes: list[NDArray[np.float64]]
    keypoints: dict[str, NDArray[np.float64]]


class Shot(NamedTuple):
    """One frame of a film."""

    pixels: NDArray[np.uint8]
    """(side, side, 3), red first."""
    offset: tuple[int, int]
    """The pixel (x, y) of the film that the frame's first pixel lies on."""
    seen: list[Seen]


@dataclass(frozen=True)
class Mover:
    """A vehicle that keeps to its lane."""

    thing: Thing
    """At rest, anywhere."""
    uv: tuple[float, float]
    """Where it is in the first frame, on the map before it is bent."""
    step: float
    """Pixels along u from frame to frame."""

    def at(self, plan: layout.Layout, frame: int) -> Thing:
        """Return the vehicle where it is in a frame."""
        u, v = self.uv[0] + frame * self.step, self.uv[1]
        x, y = plan.bend([(u, v)])[0]
        angle = plan.bend.heading(u, v, 0.0 if self.step > 0 else np.pi)
        return replace(self.thing, x=float(x), y=float(y), angle=angle)


class Film:
    """A film, of which nothing is painted yet.

    Args:
        side: of each frame in pixels, at most half a ``TILE`` more than what the camera drifts.
        seed: equal seeds give equal films.

    Example:
        >>> film = Film(64, seed=1)
        >>> [shot.pixels.shape for shot in film.shots()] == [(64, 64, 3)] * FRAMES
        True
    """

    def __init__(self, side: int, seed: int | tuple[int, ...] = 0) -> None:
        rng = np.random.default_rng(seed)
        self.side = side
        self._tint = int(rng.integers(1 << 31))
        self._plan = layout.Layout(rng, TILE, TILE)
        self._movers = _plan_road(self._plan)
        steps = rng.integers(-SHAKE, SHAKE + 1, (FRAMES, 2)) + DRIFT
        self.offsets: NDArray[np.int64] = np.cumsum(steps, 0) - steps[0]
        self.offsets -= self.offsets.min(0)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what all frames together show, in pixels."""
        width, height = self.offsets.max(0) + self.side
        return int(width), int(height)

    def shots(self) -> Iterator[Shot]:
        """Paint one frame after another."""
        plan = self._plan
        corner = (TILE - np.array(self.size)) // 2
        for frame, offset in enumerate(self.offsets):
            things = [*plan.things, *(mover.at(plan, frame) for mover in self._movers)]
            scene = Scene(TILE, TILE, plan.ground, things, np.random.default_rng(self._tint))
            x, y = (int(part) for part in corner + offset)
            pixels = scene.rows(0, TILE)[y : y + self.side, x : x + self.side]
            yield Shot(pixels, (int(offset[0]), int(offset[1])), self._look(things, (x, y)))

    def _look(self, things: list[Thing], origin: tuple[int, int]) -> list[Seen]:
        seen = []
        for track, thing in enumerate(things):
            outline = clip(thing.outline - origin, self.side)
            if not thing.annotated or not len(outline) or np.ptp(outline, axis=0).min() < VISIBLE:
                continue
            holes = [hole for ring in thing.holes if len(hole := clip(ring - origin, self.side))]
            points = {name: xy - origin for name, xy in thing.keypoints.items()}
            inside = {name: xy for name, xy in points.items() if xy.min() > 1 and xy.max() < self.side - 1}
            seen.append(Seen(track, thing.category, outline, holes, inside))
        return seen


def _plan_road(plan: layout.Layout) -> list[Mover]:
    """Lay a main road through the middle, a town at both sides, and return the traffic."""
    reach, half = 0.75 * TILE, layout.ROAD_WIDTH / 2
    x, y = TILE - plan.bend([(0, 0)])[0]
    plan.bend.middle = (float(x), float(y))
    road = Lane((-reach, 0.0), (reach, 0.0), layout.ROAD_WIDTH)
    plan.mark(plan.bend(dense(road.start, road.end)), layout.ROAD, road.width)
    for block in (Rect(-reach, -reach, reach, -half), Rect(-reach, half, reach, reach)):
        layout.town(plan, block)
    plan.pave([road])
    fine = plan.bend(dense(road.start, road.end, 17))
    plan.ground.append(Dashes((206, 204, 196), np.stack([fine[:-1], fine[1:]], 1)[::2], 3))
    return [mover for lane in (-1, 1) for mover in _traffic(plan.rng, lane, reach)]


def _traffic(rng: np.random.Generator, lane: int, reach: float) -> list[Mover]:
    """Return the vehicles of a lane, all of one speed, with room between them."""
    step = lane * float(rng.uniform(18, 26))
    movers = []
    for u in np.arange(-reach, reach, 150):
        kind, size = (Truck, (96.0, 26.0)) if rng.random() < 0.2 else (Car, (43.0, 19.0))
        thing = kind(0.0, 0.0, 0.0, *size, int(rng.integers(1 << 20)))
        movers.append(Mover(thing, (float(u + rng.uniform(0, 45)), lane * 0.24 * layout.ROAD_WIDTH), step))
    return movers


def clip(ring: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return the part of a polygon that lies in a square.

    Args:
        ring: (n, 2) points.
        side: the square reaches from (0, 0) to (side, side).

    Returns:
        (m, 2) points, none if nothing of it lies there.

    References:
        Sutherland and Hodgman, Reentrant Polygon Clipping, CACM 17 (1974).

    Example:
        >>> clip(np.array([(-2.0, 1.0), (2.0, 1.0), (2.0, 3.0), (-2.0, 3.0)]), 9).tolist()
        [[0.0, 1.0], [2.0, 1.0], [2.0, 3.0], [0.0, 3.0]]
    """
    for axis, limit, sign in ((0, 0, 1), (0, side, -1), (1, 0, 1), (1, side, -1)):
        depth = sign * (ring[:, axis] - limit)
        kept = []
        for a, b, of_a, of_b in zip(ring, np.roll(ring, -1, 0), depth, np.roll(depth, -1)):
            if of_a >= 0:
                kept.append(a)
            if of_a * of_b < 0:
                kept.append(a + (b - a) * (of_a / (of_a - of_b)))
        ring = np.array(kept, float).reshape(-1, 2)
    return np.clip(ring, 0, side)
