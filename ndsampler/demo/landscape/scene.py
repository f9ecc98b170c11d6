"""A whole landscape: planned once, painted some rows at a time."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ndsampler.demo.landscape import layout
from ndsampler.demo.landscape.canvas import RIM, TILE, Canvas, Textures
from ndsampler.demo.landscape.ground import Lane, Rect, dense, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ndsampler.demo.landscape.ground import Ground
    from ndsampler.demo.landscape.objects import Thing

#: Longest side of a block between main roads, in pixels.
BLOCK = 1900

#: How often each kind of block occurs in a large landscape.
SHARES = {
    layout.town: 0.45,
    layout.farm: 0.22,
    layout.forest: 0.09,
    layout.park: 0.05,
    layout.yard: 0.12,
    layout.lake: 0.07,
}


@lru_cache(maxsize=1)
def _textures() -> Textures:
    return Textures.make(np.random.default_rng(11))


class Scene:
    """A landscape that can be painted.

    Args:
        width: in pixels.
        height: in pixels.
        ground: what lies flat, in the order of painting.
        things: what stands on it.
        rng: draws how the colors shift from place to place.
    """

    def __init__(
        self,
        width: int,
        height: int,
        ground: Sequence[Ground],
        things: Sequence[Thing],
        rng: np.random.Generator,
    ) -> None:
        self.width, self.height = width, height
        self.ground, self.things = list(ground), list(things)
        self._ground_bounds = np.array([item.bounds for item in self.ground]).reshape(-1, 4)
        self._thing_bounds = np.array([item.bounds for item in self.things]).reshape(-1, 4)
        lattice = (height // 256 + 10, width // 256 + 10, 1)
        hue = rng.normal(0, 2.5, (*lattice[:2], 3)) + rng.normal(0, 7, lattice)
        self._tint = np.clip(128 + hue, 96, 160).astype(np.float32)

    @property
    def annotated(self) -> list[Thing]:
        """The things that annotations are made of."""
        return [thing for thing in self.things if thing.annotated]

    def rows(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Paint some rows.

        Args:
            start: the first row, a multiple of ``TILE``.
            stop: the row behind the last one, at most ``TILE`` further.

        Returns:
            (stop - start, width, 3) uint8, red first.
        """
        tiles = [self._tile(x0, start) for x0 in range(0, self.width, TILE)]
        return np.ascontiguousarray(np.concatenate(tiles, 1)[: stop - start, : self.width])

    def _tile(self, x0: int, y0: int) -> NDArray[np.uint8]:
        canvas = Canvas(x0 - RIM, y0 - RIM)
        for index in _touching(self._ground_bounds, canvas):
            self.ground[index].paint(canvas)
        here = [self.things[index] for index in _touching(self._thing_bounds, canvas)]
        for thing in here:
            thing.cast(canvas)
        for thing in here:
            thing.paint(canvas)
        return canvas.develop(_textures(), self._tint_of(x0, y0))

    def _tint_of(self, x0: int, y0: int) -> NDArray[np.uint8]:
        import cv2

        # Two steps, since the large one is much faster on bytes and by straight lines.
        i, j, n = y0 // 256, x0 // 256, TILE // 256
        part = self._tint[i : i + n + 4, j : j + n + 4]
        medium = cv2.resize(part, None, fx=16, fy=16, interpolation=cv2.INTER_CUBIC)
        edge = 2 * 16 - RIM // 16 - 1
        inner = np.rint(medium[edge:-edge, edge:-edge]).astype(np.uint8)
        large = cv2.resize(inner, None, fx=16, fy=16, interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(large[16:-16, 16:-16])


def _touching(bounds: NDArray[np.float64], canvas: Canvas) -> NDArray[np.intp]:
    """Return the indexes of the bounds that meet a tile, in their order."""
    left, top, right, bottom = bounds.T
    x1, y1 = canvas.x0 + canvas.size, canvas.y0 + canvas.size
    return np.flatnonzero((left < x1) & (right > canvas.x0) & (top < y1) & (bottom > canvas.y0))


def make_scene(width: int, height: int, seed: int | tuple[int, ...] = 0) -> Scene:
    """Plan a landscape.

    Args:
        width: in pixels.
        height: in pixels.
        seed: equal seeds and sizes give equal landscapes.

    Returns:
        The landscape. Nothing of it is painted yet.

    Example:
        >>> scene = make_scene(300, 200, seed=1)
        >>> scene.rows(0, 200).shape
        (200, 300, 3)
    """
    rng = np.random.default_rng(seed)
    plan = layout.Layout(rng, width, height)
    reach = 0.75 * max(width, height) + 600
    blocks, roads = split(Rect(-reach, -reach, reach, reach), rng, BLOCK, layout.ROAD_WIDTH)
    visible = [block for block in blocks if _in_view(plan, block)]
    _mark_roads(plan, roads)
    stream = layout.river(plan) if max(width, height) > 4000 or rng.random() < 0.5 else None
    _draw_blocks(plan, visible, rng)
    if stream is not None:
        layout.flood(plan, stream)
    plan.pave(roads)
    for road in roads:
        plan.street(road, main=True)
    return Scene(width, height, plan.ground, plan.things, rng)


def _in_view(plan: layout.Layout, block: Rect) -> bool:
    outline = plan.bend.outline(block)
    low, high = outline.min(0), outline.max(0)
    return bool((high > 0).all() and (low < (plan.width, plan.height)).all())


def _mark_roads(plan: layout.Layout, roads: list[Lane]) -> None:
    for road in roads:
        plan.mark(plan.bend(dense(road.start, road.end)), layout.ROAD, road.width)


def _draw_blocks(plan: layout.Layout, blocks: list[Rect], rng: np.random.Generator) -> None:
    """Give every kind of block its share of them, in random places."""
    kinds = list(SHARES)
    shares = np.array(list(SHARES.values()))
    for block in blocks:
        kinds[rng.choice(len(kinds), p=shares / shares.sum())](plan, block)
