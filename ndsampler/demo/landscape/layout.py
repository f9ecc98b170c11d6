"""
Planning the positions of the objects of a landscape.

Main roads divide the map into blocks. A block is a part of a town, farm land, a forest, a park, a
yard with warehouses, or a lake. A river may cross all blocks.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndsampler.demo.landscape.canvas import (
    ASPHALT,
    DIRECTIONS,
    FOREST,
    FURROWS,
    GRASS,
    SAND,
    SOIL,
    WATER,
    Color,
)
from ndsampler.demo.landscape.ground import Area, Bend, Dashes, Ground, Lane, Line, Rect, blob, dense, split
from ndsampler.demo.landscape.objects import Boat, Car, Court, Hall, House, LandscapeObject, Pool, Tree, Truck

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROAD_WIDTH = 84
STREET_WIDTH = 56

LAWN: Color = (108, 122, 82)
DRY_LAWN: Color = (134, 130, 92)
MEADOW: Color = (120, 130, 86)
STREET: Color = (112, 112, 114)
PAVEMENT: Color = (158, 154, 148)
BEACH: Color = (190, 174, 138)
SHALLOW: Color = (92, 124, 122)
DEEP: Color = (58, 92, 102)
FOAM: Color = (132, 160, 166)
CROPS: tuple[Color, ...] = (
    (142, 142, 74),
    (110, 130, 62),
    (172, 154, 92),
    (126, 112, 84),
    (96, 122, 66),
    (186, 168, 104),
)

#: Bits of the coarse occupancy map: a cell is occupied by an object, a main road or water.
OBJECT, ROAD, WET = 1, 2, 4

#: Side of a cell of that map in pixels of the landscape.
CELL = 8

#: The marks that most objects must not overlap.
ANYTHING = OBJECT | ROAD | WET


class Layout:
    """The plan of a landscape, to which ground and objects are added.

    Args:
        rng: random generator.
        width: width of the landscape in pixels.
        height: height of the landscape in pixels.
    """

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.rng = rng
        self.width, self.height = width, height
        self.bend = Bend(rng, (width / 2, height / 2))
        self.ground: list[Ground] = []
        self.objects: list[LandscapeObject] = []
        self._taken = np.zeros((height // CELL + 2, width // CELL + 2), np.uint8)

    def mark(self, points: NDArray[Any], mark: int, width: float = 0) -> None:
        """Mark the cells inside an outline or, if a width is given, along a line."""
        import cv2

        placed = [np.rint(points / CELL).astype(np.int32)]
        layer = np.zeros_like(self._taken)
        if width:
            cv2.polylines(layer, placed, False, mark, max(1, int(width / CELL) + 1))
        else:
            cv2.fillPoly(layer, placed, mark)
        self._taken |= layer

    def marks(self, *rings: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return a view of the marks around a polygon, and a mask of those inside it."""
        import cv2

        low = np.maximum(np.floor(rings[0].min(0) / CELL), 0).astype(int)
        high = np.maximum(np.ceil(rings[0].max(0) / CELL) + 1, low).astype(int)
        view = self._taken[low[1] : high[1], low[0] : high[0]]
        inside = np.zeros(view.shape, np.uint8)
        if view.size:
            cv2.fillPoly(inside, [np.rint(ring / CELL - low).astype(np.int32) for ring in rings], 1)
        return view, inside.astype(bool)

    def inside(self, obj: LandscapeObject, margin: float = 4) -> bool:
        """Whether the outline of an object is inside the landscape."""
        left, top, right, bottom = obj.extent
        return min(left, top) >= margin and right <= self.width - margin and bottom <= self.height - margin

    def add(self, obj: LandscapeObject, avoid: int = ANYTHING, within: int = 0) -> bool:
        """Place an object if it fits.

        Args:
            obj: the object.
            avoid: the marks that it must not overlap.
            within: a mark that must cover it completely.

        Returns:
            Whether it was placed: False if it would leave the landscape or overlap a mark to avoid.
        """
        if not self.inside(obj):
            return False
        view, here = self.marks(obj.outline, *obj.holes)
        marks = view[here]
        if (marks & avoid).any() or (within and not (marks & within).all()):
            return False
        view[here] = marks | OBJECT
        self.objects.append(obj)
        return True

    def put(
        self,
        kind: type[LandscapeObject],
        uv: tuple[float, float],
        size: tuple[float, float],
        direction: float = 0.0,
        avoid: int = ANYTHING,
    ) -> bool:
        """Place an object by its position and direction on the map. See :meth:`add`."""
        x, y = self.bend.point(*uv)
        look = int(self.rng.integers(1 << 20))
        if not (0 < x < self.width and 0 < y < self.height):
            return False
        # Check the center first, which is faster than the outline and rejects most objects that do not fit.
        if kind.solid and self._taken[int(y / CELL), int(x / CELL)] & avoid:
            return False
        return self.add(kind(x, y, self.bend.heading(*uv, direction), *size, look), avoid)

    def tree(self, uv: tuple[float, float], smallest: int = 12, largest: int = 27) -> None:
        """Place a tree if there is room for it."""
        size = 2 * int(self.rng.integers(smallest, largest))
        self.put(Tree, uv, (size, size))

    def car(self, uv: tuple[float, float], direction: float, avoid: int = ANYTHING) -> None:
        """Place a car if there is room for it."""
        size = (float(self.rng.uniform(40, 46)), float(self.rng.uniform(18, 20)))
        self.put(Car, uv, size, direction=direction + float(self.rng.normal(0, 0.02)), avoid=avoid)

    def truck(self, uv: tuple[float, float], direction: float, avoid: int = ANYTHING) -> None:
        """Place a truck if there is room for it."""
        self.put(Truck, uv, (float(self.rng.uniform(84, 104)), 26.0), direction=direction, avoid=avoid)

    def area(self, color: Color, rect: Rect, material: int) -> None:
        """Add a rectangle of the map to the ground."""
        self.ground.append(Area(self.vary(color), self.bend.outline(rect), material))

    def vary(self, color: Color, by: float = 0.06) -> Color:
        """Return a slightly lighter or darker color."""
        factor = 1 + float(self.rng.uniform(-by, by))
        red, green, blue = (int(min(255, part * factor)) for part in color)
        return red, green, blue

    def water(self, outline: NDArray[Any], beach: float = 26) -> None:
        """Add a pond or a lake with a sandy shore and a deep center."""
        middle = outline.mean(0)
        self.ground.append(Line(MEADOW, outline, beach + 22, GRASS, closed=True))
        self.ground.append(Line(BEACH, outline, beach, SAND, closed=True))
        self.ground.append(Area(SHALLOW, outline, WATER))
        for part in (0.93, 0.86, 0.78):
            mixed = [int(s + (d - s) * (1 - part) / 0.22) for s, d in zip(SHALLOW, DEEP)]
            self.ground.append(
                Area((mixed[0], mixed[1], mixed[2]), middle + (outline - middle) * part, WATER)
            )
        self.mark(outline, WET)

    def boats(self, outline: NDArray[Any], count: int) -> None:
        """Place boats on a lake."""
        low, high = outline.min(0), outline.max(0)
        for _ in range(count):
            x, y = self.rng.uniform(low, high)
            self.boat(float(x), float(y), float(self.rng.uniform(0, 2 * np.pi)))

    def boat(self, x: float, y: float, angle: float) -> None:
        """Place a boat if it is completely on water."""
        length = float(self.rng.uniform(46, 86))
        boat = Boat(
            x, y, angle, length, length * float(self.rng.uniform(0.3, 0.36)), int(self.rng.integers(1 << 20))
        )
        if self.add(boat, avoid=OBJECT | ROAD, within=WET) and self.rng.random() < 0.3:
            self._wake(boat)

    def _wake(self, boat: Boat) -> None:
        """Add the wake of a boat if it is completely on water."""
        marks, here = self.marks(boat.wake[0])
        if (marks[here] & WET).all():
            self.ground.append(Area(FOAM, boat.wake[0], WATER))
            self.ground += [Line(FOAM, side, 2, WATER) for side in boat.wake[1:]]

    def pave(self, lanes: list[Lane]) -> None:
        """Add main roads to the ground, so that they join at crossings."""
        lines = [self.bend(dense(lane.start, lane.end)) for lane in lanes]
        for color, less in ((PAVEMENT, 0), (STREET, 18)):
            self.ground += [Line(color, line, lane.width - less, ASPHALT) for line, lane in zip(lines, lanes)]

    def street(self, lane: Lane, main: bool) -> None:
        """Add lane markings and vehicles to a street."""
        fine = self.bend(dense(lane.start, lane.end, 17))
        pairs = np.stack([fine[:-1], fine[1:]], 1)[::2]
        self.ground.append(Dashes((206, 204, 196), pairs, 3 if main else 2))
        self._traffic(lane, main)

    def _traffic(self, lane: Lane, main: bool) -> None:
        (u0, v0), (u1, v1) = lane.start, lane.end
        length = float(np.hypot(u1 - u0, v1 - v0))
        direction = math.atan2(v1 - v0, u1 - u0)
        side = lane.width * (0.24 if main else 0.3)
        avoid = OBJECT if main else ANYTHING
        for _ in range(int(length / (300 if main else 150))):
            at, lane_side = self.rng.uniform(0.02, 0.98), self.rng.choice([-1, 1])
            uv = (
                u0 + at * (u1 - u0) - math.sin(direction) * side * lane_side,
                v0 + at * (v1 - v0) + math.cos(direction) * side * lane_side,
            )
            heading = direction if lane_side > 0 else direction + np.pi
            place = self.truck if main and self.rng.random() < 0.22 else self.car
            place(uv, heading, avoid)


def town(plan: Layout, block: Rect) -> None:
    """Fill a block with streets and houses."""
    plan.area(STREET, block, ASPHALT)
    cells, lanes = split(block, plan.rng, 820, STREET_WIDTH)
    for lane in lanes:
        plan.street(lane, main=False)
    for cell in cells:
        plan.area(PAVEMENT, cell, ASPHALT)
        kind = plan.rng.random()
        if kind < 0.12 and min(cell.size) > 420:
            courts(plan, cell.inset(8))
        elif kind < 0.2:
            park(plan, cell.inset(8))
        else:
            lots(plan, cell.inset(8))


def lots(plan: Layout, cell: Rect) -> None:
    """Fill a cell between streets with lots along its longer sides."""
    du, dv = cell.size
    across = max(1, round((dv if du > dv else du) / 245))
    along = max(1, round(max(du, dv) / 215))
    columns, rows = (along, across) if du > dv else (across, along)
    for column in range(columns):
        for row in range(rows):
            u0, v0 = cell.point(column / columns, row / rows)
            u1, v1 = cell.point((column + 1) / columns, (row + 1) / rows)
            front = -1 if row < rows / 2 else 1
            lot(plan, Rect(u0, v0, u1, v1), front)


def lot(plan: Layout, rect: Rect, front: int) -> None:
    """Fill a lot with a lawn, a hedge, a drive with a car, a house, trees and sometimes a pool.

    Args:
        plan: the landscape.
        rect: the lot.
        front: -1 if the street is on the upper side, 1 if it is on the lower side.
    """
    rng = plan.rng
    plan.area(LAWN if rng.random() < 0.7 else DRY_LAWN, rect, GRASS)
    plan.ground.append(Line((72, 90, 58), plan.bend.outline(rect.inset(3)), 7, GRASS, closed=True))
    side = 0.16 if rng.random() < 0.5 else 0.84
    drive_u, _ = rect.point(side, 0)
    edge = rect.v0 if front < 0 else rect.v1
    end = edge - front * 150
    top, bottom = sorted((edge + front * 6, end))
    drive = Rect(drive_u - 15, top, drive_u + 15, bottom)
    plan.area((150, 146, 140), drive, ASPHALT)
    size = (float(rng.uniform(98, 134)), float(rng.uniform(66, 86)))
    middle = rect.point(0.5 + (0.08 if side < 0.5 else -0.08), 0.5 + front * 0.02)
    behind = middle[1] - front * size[1] * 0.55
    terrace = Rect(
        middle[0] - 34, min(behind, behind - front * 26), middle[0] + 22, max(behind, behind - front * 26)
    )
    plan.area((176, 164, 148), terrace, ASPHALT)
    plan.put(House, middle, size, direction=0.0 if rng.random() < 0.75 else np.pi / 2)
    if rng.random() < 0.6:
        plan.car((drive_u, edge - front * float(rng.uniform(36, 110))), front * np.pi / 2)
    back = 0.5 - front * 0.33
    if rng.random() < 0.28:
        plan.put(Pool, rect.point(1 - side, back), (float(rng.uniform(54, 74)), float(rng.uniform(30, 38))))
    for _ in range(int(rng.integers(4, 14))):
        plan.tree(rect.point(*rng.uniform(0.1, 0.9, 2)))


def courts(plan: Layout, cell: Rect) -> None:
    """Fill a cell with a block of flats around a courtyard."""
    plan.area(LAWN, cell, GRASS)
    du, dv = cell.size
    plan.put(Court, cell.middle, (min(du, 560) - 70, min(dv, 560) - 70))
    for _ in range(16):
        plan.tree(cell.point(*plan.rng.uniform(0.03, 0.97, 2)))


def park(plan: Layout, cell: Rect) -> None:
    """Fill a cell with lawn, paths, a pond and trees."""
    rng = plan.rng
    plan.area(MEADOW, cell, GRASS)
    for _ in range(2 + int(min(cell.size) / 500)):
        (a0, a1), (b0, b1) = rng.uniform(0, 1, (2, 2))
        ends = (
            (cell.point(0, a0), cell.point(1, a1))
            if rng.random() < 0.5
            else (cell.point(b0, 0), cell.point(b1, 1))
        )
        path = dense(*ends, 20)
        path += 22 * np.sin(np.linspace(0, 3 * np.pi, len(path)))[:, None]
        plan.ground.append(Line((186, 172, 144), plan.bend(path), 13, SAND))
    if min(cell.size) > 380:
        outline = blob(rng, plan.bend([cell.middle])[0], (min(cell.size) * 0.2, min(cell.size) * 0.17))
        plan.water(outline, beach=14)
        plan.boats(outline, 6)
    for _ in range(int(cell.size[0] * cell.size[1] / 7500)):
        plan.tree(cell.point(*rng.uniform(0.02, 0.98, 2)))


def farm(plan: Layout, block: Rect) -> None:
    """Fill a block with fields, rows of trees and a farmhouse."""
    rng = plan.rng
    plan.area(MEADOW, block, GRASS)
    fields, lanes = split(block.inset(14), rng, 900, 16)
    for field in fields:
        crop = int(rng.integers(len(CROPS) + 2))
        color = CROPS[crop] if crop < len(CROPS) else MEADOW
        material = (
            FURROWS + int(rng.integers(DIRECTIONS)) if crop < len(CROPS) else (GRASS if crop % 2 else SOIL)
        )
        plan.area(color, field, material)
    for lane in lanes:
        plan.ground.append(Line((164, 148, 116), plan.bend(dense(lane.start, lane.end)), 9, SOIL))
        for at in np.arange(0.02, 0.98, 60 / max(60.0, float(np.hypot(*np.subtract(lane.end, lane.start))))):
            if rng.random() < 0.3:
                along = np.add(lane.start, np.subtract(lane.end, lane.start) * at) + rng.uniform(-14, 14, 2)
                plan.tree((float(along[0]), float(along[1])), 14, 30)
    if min(block.size) > 400:
        yard = Rect(*block.point(0.08, 0.08), *block.point(0.08, 0.08))._replace(
            u1=block.u0 + 0.08 * block.size[0] + 360, v1=block.v0 + 0.08 * block.size[1] + 300
        )
        plan.area((150, 136, 110), yard, SOIL)
        plan.put(House, yard.point(0.3, 0.3), (130, 80))
        plan.put(Hall, yard.point(0.66, 0.72), (170, 84))
        plan.truck(yard.point(0.2, 0.75), 0.4)
        for _ in range(9):
            plan.tree(yard.point(*rng.uniform(0, 1, 2)))


def forest(plan: Layout, block: Rect) -> None:
    """Fill a block with trees that are not annotated."""
    plan.area(MEADOW, block, GRASS)
    edge = plan.bend.outline(block.inset(34), step=26)
    plan.ground.append(Area((60, 80, 48), edge, FOREST))
    for x, y in edge + plan.rng.normal(0, 7, edge.shape):
        size = 2 * int(plan.rng.integers(13, 25))
        tree = Tree(x, y, 0.0, size, size, int(plan.rng.integers(1 << 20)), annotated=False)
        marks, here = plan.marks(tree.outline)
        if not (marks[here] & WET).any():
            plan.objects.append(tree)
    plan.mark(edge, OBJECT)


def yard(plan: Layout, block: Rect) -> None:
    """Fill a block with warehouses, trucks at their doors, and car parks."""
    rng = plan.rng
    plan.area((140, 138, 134), block, ASPHALT)
    parts, _ = split(block.inset(20), rng, 700, 60)
    for part in parts:
        if rng.random() < 0.42:
            car_park(plan, part.inset(10))
            continue
        du, dv = part.size
        turn = np.pi / 2 if dv > du else 0.0
        size = (max(du, dv) * 0.72, min(du, dv) * 0.52)
        plan.put(Hall, part.point(0.5, 0.42) if du >= dv else part.point(0.42, 0.5), size, direction=turn)
        for at in np.arange(0.12, 0.9, 46 / max(du, dv)):
            if rng.random() < 0.5:
                uv = part.point(at, 0.85) if du >= dv else part.point(0.85, at)
                plan.truck(uv, turn + np.pi / 2)


def car_park(plan: Layout, part: Rect) -> None:
    """Fill a part of a block with rows of stalls, most of them occupied."""
    du, _ = part.size
    plan.area((118, 118, 120), part, ASPHALT)
    for v in np.arange(part.v0 + 30, part.v1 - 60, 158):
        count = int(du / 27)
        us = part.u0 + 14 + np.arange(count) * 27.0
        lines = [plan.bend([(u, v + side), (u, v + side + 50)]) for u in us for side in (-26, 27)]
        plan.ground.append(Dashes((214, 212, 206), np.array(lines), 2))
        for u in us[:-1]:
            for side in (0, 53):
                if plan.rng.random() < 0.62:
                    plan.car((u + 13.5, v + side), np.pi / 2 * plan.rng.choice([-1, 1]))


def lake(plan: Layout, block: Rect) -> None:
    """Fill a block with a lake, boats and trees, or with fields if a river crosses it."""
    marks, here = plan.marks(plan.bend.outline(block))
    if (marks[here] & WET).any():
        return farm(plan, block)
    plan.area(MEADOW, block, GRASS)
    du, dv = block.size
    outline = blob(plan.rng, plan.bend([block.middle])[0], (du * 0.36, dv * 0.36))
    plan.water(outline, beach=60)
    plan.boats(outline, int(du * dv / 40000))
    for _ in range(int(du * dv / 12000)):
        plan.tree(block.point(*plan.rng.uniform(0.03, 0.97, 2)), 14, 30)


class River(NamedTuple):
    """A river: points along its center line, and its width in pixels."""

    course: NDArray[np.float64]
    width: float


def river(plan: Layout) -> River:
    """Choose the course of a river, and mark it as water."""
    rng = plan.rng
    width = 460.0 if max(plan.width, plan.height) > 4000 else 240.0
    t = np.linspace(-0.05, 1.05, 160)
    sway = sum(rng.uniform(0.3, 1) * np.sin(k * t * 2.4 + rng.uniform(0, 7)) / k for k in (1, 2, 3))
    across = plan.height * (rng.uniform(0.35, 0.65) + 0.13 * sway)
    course = np.stack([t * plan.width, across], 1)
    plan.mark(course, WET, width + 60)
    return River(course, width)


def flood(plan: Layout, river: River) -> None:
    """Add a river, which is painted over the blocks that it crosses, and its boats."""
    rng, (course, width) = plan.rng, river
    for color, more, material in (
        (MEADOW, 70, GRASS),
        (BEACH, 26, SAND),
        (SHALLOW, 0, WATER),
        (DEEP, -0.16 * width, WATER),
    ):
        plan.ground.append(Line(color, course, width + more, material))
    for start, end in pairwise(course):
        for _ in range(rng.poisson(np.hypot(*(end - start)) / 110)):
            x, y = start + rng.uniform() * (end - start)
            off = rng.uniform(-0.4, 0.4) * width
            angle = np.arctan2(*(end - start)[::-1]) + rng.choice([0, np.pi]) + rng.normal(0, 0.15)
            plan.boat(float(x - off * np.sin(angle)), float(y + off * np.cos(angle)), float(angle))
