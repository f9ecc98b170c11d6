"""A whole landscape, which is planned once and painted in blocks of rows."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ndsampler.demo.landscape import layout
from ndsampler.demo.landscape.canvas import RIM, TILE, Canvas, Textures
from ndsampler.demo.landscape.ground import Lane, Rect, dense, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ndsampler.demo.landscape.ground import Ground
    from ndsampler.demo.landscape.objects import LandscapeObject

#: Longest side of a block between main roads, in pixels.
BLOCK = 1900

#: Fraction of each kind of block in a large landscape.
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


class Painting(NamedTuple):
    """Painted rows of a landscape."""

    pixels: NDArray[np.uint8]
    """(rows, columns, 3) RGB."""

    materials: NDArray[np.uint8]
    """(rows, columns) materials, as in :mod:`ndsampler.demo.landscape.canvas`."""


class Scene:
    """A landscape that can be painted.

    Args:
        width: width in pixels.
        height: height in pixels.
        ground: areas and lines of the ground, which are painted first, in this order.
        objects: objects, which are painted on the ground.
        rng: random generator for the variation of colors over the landscape.
    """

    def __init__(
        self,
        width: int,
        height: int,
        ground: Sequence[Ground],
        objects: Sequence[LandscapeObject],
        rng: np.random.Generator,
    ) -> None:
        self.width, self.height = width, height
        self.ground, self.objects = list(ground), list(objects)
        self._ground_bounds = np.array([item.bounds for item in self.ground]).reshape(-1, 4)
        self._object_bounds = np.array([item.bounds for item in self.objects]).reshape(-1, 4)
        lattice = (height // 256 + 10, width // 256 + 10, 1)
        hue = rng.normal(0, 2.5, (*lattice[:2], 3)) + rng.normal(0, 7, lattice)
        self._tint = np.clip(128 + hue, 96, 160).astype(np.float32)

    @property
    def annotated(self) -> list[LandscapeObject]:
        """The objects that have annotations."""
        return [obj for obj in self.objects if obj.annotated]

    def rows(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Paint a block of rows.

        Args:
            start: the first row, a multiple of ``TILE``.
            stop: the row after the last one; at most ``start + TILE``.

        Returns:
            (stop - start, width, 3) uint8 RGB.
        """
        return self._join([tile.pixels for tile in self._paint_tiles(start)], stop - start)

    def paint(self, start: int, stop: int) -> Painting:
        """Paint a block of rows, and return their materials too. The arguments are those of :meth:`rows`."""
        planes = zip(*self._paint_tiles(start))
        return Painting(*(self._join(plane, stop - start) for plane in planes))

    def _paint_tiles(self, y0: int) -> list[Painting]:
        """Paint the tiles of a block of rows, from left to right."""
        return [self._paint_tile(x0, y0) for x0 in range(0, self.width, TILE)]

    def _join(self, parts: Sequence[NDArray[np.uint8]], rows: int) -> NDArray[np.uint8]:
        """Join tiles side by side, and cut off the parts outside the landscape."""
        return np.ascontiguousarray(np.concatenate(parts, 1)[:rows, : self.width])

    def _paint_tile(self, x0: int, y0: int) -> Painting:
        canvas = Canvas(x0 - RIM, y0 - RIM)
        for index in _touching(self._ground_bounds, canvas):
            self.ground[index].paint(canvas)
        here = [self.objects[index] for index in _touching(self._object_bounds, canvas)]
        for obj in here:
            obj.cast(canvas)
        for obj in here:
            obj.paint(canvas)
        pixels = canvas.develop(_textures(), self._tint_of(x0, y0))
        return Painting(pixels, canvas.inner_material)

    def _tint_of(self, x0: int, y0: int) -> NDArray[np.uint8]:
        import cv2

        # Enlarge in two steps, because the larger step is much faster with bytes and linear interpolation.
        i, j, n = y0 // 256, x0 // 256, TILE // 256
        part = self._tint[i : i + n + 4, j : j + n + 4]
        medium = cv2.resize(part, None, fx=16, fy=16, interpolation=cv2.INTER_CUBIC)
        edge = 2 * 16 - RIM // 16 - 1
        inner = np.rint(medium[edge:-edge, edge:-edge]).astype(np.uint8)
        large = cv2.resize(inner, None, fx=16, fy=16, interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(large[16:-16, 16:-16])


def _touching(bounds: NDArray[np.float64], canvas: Canvas) -> NDArray[np.intp]:
    """Return the indexes of the bounds that touch a tile, in their order."""
    left, top, right, bottom = bounds.T
    x1, y1 = canvas.x0 + canvas.size, canvas.y0 + canvas.size
    return np.flatnonzero((left < x1) & (right > canvas.x0) & (top < y1) & (bottom > canvas.y0))


def make_scene(width: int, height: int, seed: int | tuple[int, ...] = 0) -> Scene:
    """Plan a landscape.

    Args:
        width: width in pixels.
        height: height in pixels.
        seed: random seed; equal seeds and sizes give equal landscapes.

    Returns:
        The landscape, which is not painted yet.

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
    return Scene(width, height, plan.ground, plan.objects, rng)


def _in_view(plan: layout.Layout, block: Rect) -> bool:
    outline = plan.bend.outline(block)
    low, high = outline.min(0), outline.max(0)
    return bool((high > 0).all() and (low < (plan.width, plan.height)).all())


def _mark_roads(plan: layout.Layout, roads: list[Lane]) -> None:
    for road in roads:
        plan.mark(plan.bend(dense(road.start, road.end)), layout.ROAD, road.width)


def _draw_blocks(plan: layout.Layout, blocks: list[Rect], rng: np.random.Generator) -> None:
    """Draw the kind of each block at random."""
    kinds = list(SHARES)
    shares = np.array(list(SHARES.values()))
    for block in blocks:
        kinds[rng.choice(len(kinds), p=shares / shares.sum())](plan, block)
