"""
A short video of a landscape: traffic on a main road, seen by a camera that drifts.

All frames are cut from one landscape at whole pixels, so they match exactly after the movement of
the camera is compensated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ndsampler.demo.landscape import layout
from ndsampler.demo.landscape.canvas import TILE
from ndsampler.demo.landscape.ground import Dashes, Lane, Rect, dense
from ndsampler.demo.landscape.objects import Car, LandscapeObject, Truck
from ndsampler.demo.landscape.scene import Painting, Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Smallest and largest number of frames. In a longer video the camera would leave the landscape.
FRAMES = (1, 32)

#: Largest side of a frame, in pixels.
LARGEST_SIDE = 512

#: (x, y) movement of the camera between frames in pixels, and the variation of each step.
DRIFT = (9, 5)
SHAKE = 3

#: Smallest visible width and height of an annotated object in pixels.
MIN_VISIBLE = 6


class Seen(NamedTuple):
    """The visible part of an object, in pixels of the frame."""

    track: int
    """Number of the object from 0, the same in all frames."""
    category: str
    outline: NDArray[np.float64]
    holes: list[NDArray[np.float64]]
    keypoints: dict[str, NDArray[np.float64]]


class Shot(NamedTuple):
    """One frame of a video."""

    painting: Painting
    """The pixels and materials."""
    offset: tuple[int, int]
    """(x, y) position of the frame's first pixel in the video."""
    seen: list[Seen]
    """The visible objects."""


@dataclass(frozen=True)
class Mover:
    """A vehicle that moves along its lane."""

    obj: LandscapeObject
    """The vehicle; its position is not used."""
    uv: tuple[float, float]
    """Position in the first frame, on the map before it is bent."""
    step: float
    """Movement along u between frames in pixels."""

    def at(self, plan: layout.Layout, frame: int) -> LandscapeObject:
        """Return the vehicle at its position in a frame."""
        u, v = self.uv[0] + frame * self.step, self.uv[1]
        x, y = plan.bend.point(u, v)
        return replace(self.obj, x=x, y=y, angle=plan.bend.heading(u, v, 0.0 if self.step > 0 else np.pi))


class Film:
    """A video, which is painted frame by frame.

    Args:
        side: side of each frame in pixels, at most ``LARGEST_SIDE``.
        frames: number of frames, within ``FRAMES``.
        seed: random seed; equal seeds give equal videos.

    Example:
        >>> film = Film(64, frames=3, seed=1)
        >>> [shot.painting.pixels.shape for shot in film.shots()]
        [(64, 64, 3), (64, 64, 3), (64, 64, 3)]
    """

    def __init__(self, side: int, frames: int = 8, seed: int | tuple[int, ...] = 0) -> None:
        rng = np.random.default_rng(seed)
        self.side = side
        self._tint = int(rng.integers(1 << 31))
        self._plan = layout.Layout(rng, TILE, TILE)
        self._movers = _plan_road(self._plan, frames)
        steps = rng.integers(-SHAKE, SHAKE + 1, (frames, 2)) + DRIFT
        self.offsets: NDArray[np.int64] = np.cumsum(steps, 0) - steps[0]
        self.offsets -= self.offsets.min(0)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the area that the frames cover together."""
        width, height = self.offsets.max(0) + self.side
        return int(width), int(height)

    def shots(self) -> Iterator[Shot]:
        """Paint one frame after another."""
        plan = self._plan
        corner = (TILE - np.array(self.size)) // 2
        for frame, offset in enumerate(self.offsets):
            objects = [*plan.objects, *(mover.at(plan, frame) for mover in self._movers)]
            scene = Scene(TILE, TILE, plan.ground, objects, np.random.default_rng(self._tint))
            x, y = (int(part) for part in corner + offset)
            window = np.s_[y : y + self.side, x : x + self.side]
            painting = Painting(*(part[window] for part in scene.paint(0, TILE)))
            yield Shot(painting, (int(offset[0]), int(offset[1])), self._look(objects, (x, y)))

    def _look(self, objects: list[LandscapeObject], origin: tuple[int, int]) -> list[Seen]:
        """Return the visible parts of objects in a frame whose first pixel is at the origin."""
        seen = []
        for track, obj in enumerate(objects):
            outline = clip(obj.outline - origin, self.side)
            if not obj.annotated or not len(outline) or np.ptp(outline, axis=0).min() < MIN_VISIBLE:
                continue
            holes = [hole for ring in obj.holes if len(hole := clip(ring - origin, self.side))]
            points = {name: xy - origin for name, xy in obj.keypoints.items()}
            inside = {name: xy for name, xy in points.items() if xy.min() > 1 and xy.max() < self.side - 1}
            seen.append(Seen(track, obj.category, outline, holes, inside))
        return seen


def _plan_road(plan: layout.Layout, frames: int) -> list[Mover]:
    """Add a main road through the center and a town on both sides, and return the traffic."""
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
    return [mover for lane in (-1, 1) for mover in _traffic(plan.rng, lane, reach, frames)]


def _traffic(rng: np.random.Generator, lane: int, reach: float, frames: int) -> list[Mover]:
    """Return the vehicles of a lane, which have the same speed and keep a distance."""
    step = lane * float(rng.uniform(18, 26))
    way = step * (frames - 1)
    movers = []
    for u in np.arange(-reach - max(way, 0), reach - min(way, 0), 150):
        kind, size = (Truck, (96.0, 26.0)) if rng.random() < 0.2 else (Car, (43.0, 19.0))
        obj = kind(0.0, 0.0, 0.0, *size, int(rng.integers(1 << 20)))
        movers.append(Mover(obj, (float(u + rng.uniform(0, 45)), lane * 0.24 * layout.ROAD_WIDTH), step))
    return movers


def clip(ring: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return the part of a polygon that is inside a square.

    Args:
        ring: (n, 2) points.
        side: side of the square, which extends from (0, 0) to (side, side).

    Returns:
        (m, 2) points; empty if the polygon is outside.

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
