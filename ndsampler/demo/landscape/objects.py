"""
The objects of a landscape: their outlines, keypoints, and painting.

An object is at (x, y), is ``length`` long and ``width`` wide, and points in the direction
``angle``. Its own coordinates range from -1 to 1 along both axes. The painted outline is also the
annotated outline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ndsampler.demo.landscape.canvas import CROWNS, GRASS, ROOF, WATER, Color, bounds_of, crown, crown_radius

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.demo.landscape.canvas import Canvas

#: (x, y) offset of the end of the shadow from the base of an object of height 1.
SUN = (0.62, 0.78)

#: Names of all keypoints.
KEYPOINTS = ("front", "rear", "bow", "stern", "chimney")


def box(a0: float, a1: float, b0: float, b1: float) -> list[tuple[float, float]]:
    """Return the corners of a rectangle, in an object's own coordinates."""
    return [(a0, b0), (a1, b0), (a1, b1), (a0, b1)]


def rounded(a: float, b: float, cut_a: float, cut_b: float) -> list[tuple[float, float]]:
    """Return a rectangle with its corners cut off, in an object's own coordinates."""
    quarter = [(a, b - cut_b), (a - 0.3 * cut_a, b - 0.3 * cut_b), (a - cut_a, b)]
    mirrored = [(-x, y) for x, y in reversed(quarter)]
    return [*quarter, *mirrored, *((-x, -y) for x, y in quarter), *((-x, -y) for x, y in mirrored)]


def brighten(color: Color, factor: float) -> Color:
    """Return a color with each part multiplied by a factor."""
    red, green, blue = (min(255, int(part * factor)) for part in color)
    return red, green, blue


@dataclass(eq=False)
class LandscapeObject:
    """An object of a landscape; there is a subclass for each kind."""

    x: float
    y: float
    """(x, y) of the center in pixels of the landscape."""

    angle: float
    """Direction of the length, in radians from x towards y."""

    length: float
    width: float
    """Length and width in pixels."""

    look: int
    """A number that selects the color and shape."""

    annotated: bool = True
    """Whether the dataset has an annotation of the object; trees of a forest have none."""

    category: ClassVar[str] = ""

    height: ClassVar[float] = 0.0
    """Height in pixels, which determines the length of the shadow."""

    solid: ClassVar[bool] = True
    """Whether the center belongs to the object, which is False for a block around a courtyard."""

    shape: ClassVar[list[tuple[float, float]]] = []
    """The outline in the object's own coordinates."""

    def at(self, points: list[tuple[float, float]]) -> NDArray[np.float64]:
        """Return the (n, 2) pixels of the landscape for points in the object's own coordinates."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        half_length, half_width = self.length / 2, self.width / 2
        axes = [[half_length * cos, half_length * sin], [-half_width * sin, half_width * cos]]
        return np.asarray(np.asarray(points, float) @ axes + (self.x, self.y))

    @cached_property
    def outline(self) -> NDArray[np.float64]:
        """The (n, 2) points of the outer edge."""
        return self.at(self.shape)

    @property
    def holes(self) -> list[NDArray[np.float64]]:
        """The (n, 2) outlines of the holes."""
        return []

    @property
    def keypoints(self) -> dict[str, NDArray[np.float64]]:
        """The (x, y) of the named points."""
        return {}

    @cached_property
    def extent(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of the outline."""
        return bounds_of([self.outline])

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of the painted pixels, including the shadow."""
        left, top, right, bottom = self.extent
        margin = 8 + self.height
        return left - margin, top - margin, right + margin, bottom + margin

    def pick(self, choices: tuple[Any, ...]) -> Any:
        """Return one of several choices, which is always the same for this object."""
        return choices[self.look % len(choices)]

    def cast(self, canvas: Canvas) -> None:
        """Paint the shadow."""
        if self.height:
            canvas.shade(self.outline, (SUN[0] * self.height, SUN[1] * self.height))

    def paint(self, canvas: Canvas) -> None:
        """Paint the object.

        Raises:
            NotImplementedError: unless a subclass overrides this.
        """
        raise NotImplementedError(type(self).__name__)

    def part(
        self, canvas: Canvas, color: Color, points: list[tuple[float, float]], material: int = 0
    ) -> None:
        """Fill a polygon given in the object's own coordinates."""
        canvas.fill(color, self.at(points), material=material)


PAINTS: tuple[Color, ...] = (
    (226, 228, 230),
    (168, 172, 176),
    (52, 54, 60),
    (158, 44, 40),
    (48, 74, 124),
    (232, 232, 226),
    (104, 110, 116),
    (184, 182, 174),
    (70, 96, 84),
    (208, 210, 212),
    (120, 40, 44),
)

GLASS: Color = (38, 46, 56)


class Car(LandscapeObject):
    """A passenger car."""

    category = "car"
    height = 7.0
    shape = rounded(1, 1, 0.16, 0.34)

    @property
    def keypoints(self) -> dict[str, NDArray[np.float64]]:
        """The centers of both ends."""
        return dict(zip(("front", "rear"), self.at([(0.94, 0), (-0.94, 0)])))

    def paint(self, canvas: Canvas) -> None:
        """Paint the body, the windows and the roof."""
        color = self.pick(PAINTS)
        canvas.fill(color, self.outline)
        self.part(canvas, brighten(color, 0.86), box(-0.97, -0.62, -0.82, 0.82))
        self.part(canvas, GLASS, [(-0.66, -0.74), (0.46, -0.8), (0.46, 0.8), (-0.66, 0.74)])
        self.part(canvas, brighten(color, 1.08), box(-0.5, 0.14, -0.7, 0.7))
        self.part(canvas, brighten(color, 1.16), box(0.56, 0.9, -0.5, 0.5))


class Truck(LandscapeObject):
    """A truck with its trailer."""

    category = "truck"
    height = 15.0
    shape = box(-1, 1, -1, 1)

    @property
    def keypoints(self) -> dict[str, NDArray[np.float64]]:
        """The centers of both ends."""
        return dict(zip(("front", "rear"), self.at([(0.96, 0), (-0.96, 0)])))

    def paint(self, canvas: Canvas) -> None:
        """Paint the chassis, the load and the cab."""
        load = self.pick(((222, 222, 216), (190, 60, 48), (70, 100, 150), (206, 206, 200), (60, 120, 92)))
        cab = PAINTS[(self.look // 7) % len(PAINTS)]
        canvas.fill((58, 58, 60), self.outline)
        self.part(canvas, load, box(-1, 0.5, -1, 1))
        self.part(canvas, brighten(load, 0.9), box(-1, 0.5, 0.1, 1))
        for seam in (-0.7, -0.4, -0.1, 0.2):
            self.part(canvas, brighten(load, 0.8), box(seam, seam + 0.025, -1, 1))
        self.part(canvas, cab, box(0.58, 1, -0.92, 0.92))
        self.part(canvas, GLASS, box(0.84, 0.94, -0.8, 0.8))


class Boat(LandscapeObject):
    """A motor boat."""

    category = "boat"
    height = 5.0
    shape: ClassVar = [
        (-1, -0.72),
        (-1, 0.72),
        (-0.3, 0.98),
        (0.25, 0.92),
        (0.68, 0.56),
        (1, 0),
        (0.68, -0.56),
        (0.25, -0.92),
        (-0.3, -0.98),
    ]

    @property
    def keypoints(self) -> dict[str, NDArray[np.float64]]:
        """Both ends."""
        return dict(zip(("bow", "stern"), self.at([(0.95, 0), (-0.95, 0)])))

    @property
    def wake(self) -> list[NDArray[np.float64]]:
        """The outlines of the wake, and of the waves on both sides."""
        stirred = self.at([(-0.9, -0.5), (-0.9, 0.5), (-4.2, 0.16), (-4.2, -0.16)])
        waves = [self.at([(-0.9, 0.6 * side), (-3.2, 1.7 * side), (-5.0, 3.0 * side)]) for side in (-1, 1)]
        return [stirred, *waves]

    def paint(self, canvas: Canvas) -> None:
        """Paint the hull, the deck and the cabin."""
        hull = self.pick(((236, 236, 232), (228, 230, 232), (60, 84, 128), (222, 214, 200), (150, 50, 44)))
        canvas.fill(hull, self.outline)
        deck = [(0.86 * a, 0.72 * b) for a, b in self.shape]
        self.part(canvas, (190, 168, 132), deck)
        self.part(canvas, (240, 240, 236), box(-0.35, 0.3, -0.55, 0.55))
        self.part(canvas, GLASS, box(0.18, 0.34, -0.5, 0.5))
        self.part(canvas, (120, 96, 72), box(-0.86, -0.55, -0.5, 0.5))


ROOFS: tuple[Color, ...] = (
    (158, 98, 76),
    (140, 84, 68),
    (112, 88, 76),
    (108, 108, 112),
    (88, 92, 100),
    (164, 112, 88),
    (136, 124, 112),
    (124, 100, 88),
)


class House(LandscapeObject):
    """A house with a hipped or a gabled roof and a chimney."""

    category = "building"
    height = 22.0
    shape = box(-1, 1, -1, 1)
    CHIMNEY: ClassVar = (0.42, 0.3)

    @property
    def keypoints(self) -> dict[str, NDArray[np.float64]]:
        """The chimney."""
        return {"chimney": self.at([self.CHIMNEY])[0]}

    def faces(self) -> list[tuple[list[tuple[float, float]], float]]:
        """Return the faces of the roof, each with the direction of its slope."""
        run = 1 - self.width / self.length if self.look % 2 else 1.0
        return [
            ([(-1, -1), (1, -1), (run, 0), (-run, 0)], -np.pi / 2),
            ([(1, 1), (-1, 1), (-run, 0), (run, 0)], np.pi / 2),
            ([(1, -1), (1, 1), (run, 0)], 0.0),
            ([(-1, 1), (-1, -1), (-run, 0)], np.pi),
        ]

    def paint(self, canvas: Canvas) -> None:
        """Paint the faces of the roof with the light of the sun, then the ridge and the chimney."""
        color = ROOFS[(self.look // 2) % len(ROOFS)]
        canvas.fill(color, self.outline, material=ROOF)
        towards_sun = np.arctan2(-SUN[1], -SUN[0])
        for points, turned in self.faces():
            lit = 0.96 + 0.2 * np.cos(self.angle + turned - towards_sun)
            self.part(canvas, brighten(color, lit), points, ROOF)
        run = 1 - self.width / self.length if self.look % 2 else 1.0
        canvas.stroke(brighten(color, 1.22), self.at([(-run, 0), (run, 0)]), 2)
        self._paint_chimney(canvas)

    def _paint_chimney(self, canvas: Canvas) -> None:
        a, b = self.CHIMNEY
        da, db = 10 / self.length, 10 / self.width
        foot = self.at(box(a - da, a + da, b - db, b + db))
        canvas.shade(foot, (SUN[0] * 9, SUN[1] * 9), light=150)
        canvas.fill((128, 92, 80), foot)
        canvas.fill((48, 42, 40), self.at(box(a - da / 2, a + da / 2, b - db / 2, b + db / 2)))


class Hall(LandscapeObject):
    """A warehouse with a flat roof."""

    category = "building"
    height = 26.0
    shape = box(-1, 1, -1, 1)

    def paint(self, canvas: Canvas) -> None:
        """Paint the parapet, the roof, skylights and air conditioners."""
        color = self.pick(((172, 174, 176), (196, 194, 188), (140, 148, 156), (184, 178, 166)))
        canvas.fill(brighten(color, 1.18), self.outline)
        inner_a, inner_b = 1 - 8 / self.length, 1 - 8 / self.width
        self.part(canvas, color, box(-inner_a, inner_a, -inner_b, inner_b), ROOF)
        rows = max(2, int(self.length / 60))
        for row in range(rows):
            a = -0.85 + 1.7 * (row + 0.5) / rows
            self.part(canvas, (214, 224, 228), box(a - 8 / self.length, a + 8 / self.length, -0.62, -0.12))
            if (self.look + row) % 3 == 0:
                unit = box(a - 14 / self.length, a + 14 / self.length, 0.35, 0.35 + 28 / self.width)
                canvas.shade(self.at(unit), (SUN[0] * 7, SUN[1] * 7), light=150)
                self.part(canvas, (206, 208, 208), unit)


class Court(LandscapeObject):
    """A block of flats around a courtyard, which is a hole in its outline."""

    category = "building"
    height = 30.0
    solid = False
    shape = box(-1, 1, -1, 1)
    DEPTH: ClassVar = 74.0

    def ring(self, inset: float) -> list[tuple[float, float]]:
        """Return the outline moved inwards by a number of pixels."""
        a, b = 1 - 2 * inset / self.length, 1 - 2 * inset / self.width
        return box(-a, a, -b, b)

    @property
    def holes(self) -> list[NDArray[np.float64]]:
        """The courtyard."""
        return [self.at(self.ring(self.DEPTH))]

    def cast(self, canvas: Canvas) -> None:
        """Paint the shadow around the building, and the one in the courtyard."""
        super().cast(canvas)
        yard = self.holes[0]
        canvas.fill((104, 124, 76), yard, material=GRASS)
        reach = np.multiply(SUN, self.height)
        for start, end in zip(yard, np.roll(yard, -1, 0)):
            canvas.shade(np.stack([start, end, end + reach, start + reach]), (0, 0))

    def paint(self, canvas: Canvas) -> None:
        """Paint four wings with gabled roofs."""
        color = ROOFS[(self.look // 2) % len(ROOFS)]
        towards_sun = np.arctan2(-SUN[1], -SUN[0])
        rings = [self.at(self.ring(self.DEPTH * part)) for part in (0, 0.5, 1)]
        for side in range(4):
            after = (side + 1) % 4
            turned = self.angle + (side - 1) * np.pi / 2
            for outer, inner, flip in ((rings[0], rings[1], 0.0), (rings[1], rings[2], np.pi)):
                face = np.stack([outer[side], outer[after], inner[after], inner[side]])
                lit = 0.96 + 0.2 * np.cos(turned + flip - towards_sun)
                canvas.fill(brighten(color, lit), face, material=ROOF)
        canvas.stroke(brighten(color, 1.2), rings[1], 2, closed=True)


class Pool(LandscapeObject):
    """A swimming pool."""

    category = "pool"
    shape = rounded(1, 1, 0.3, 0.45)

    def paint(self, canvas: Canvas) -> None:
        """Paint the stone edge and the water, which is darker at the deep end."""
        canvas.fill((214, 208, 196), self.outline)
        inner = 1 - 9 / self.width
        self.part(canvas, (96, 190, 206), rounded(1 - 9 / self.length, inner, 0.3, 0.45), WATER)
        self.part(canvas, (66, 160, 188), box(0.0, 0.8 - 9 / self.length, 0.3 - inner, inner - 0.3), WATER)


class Tree(LandscapeObject):
    """The crown of a tree, seen from above. ``length`` is its mean diameter."""

    category = "tree"
    height = 15.0

    @property
    def variant(self) -> int:
        """Number of the shape of the crown."""
        return self.look % CROWNS

    @cached_property
    def outline(self) -> NDArray[np.float64]:
        """Sixteen points around the crown."""
        middle = (math.floor(self.x) + 0.5, math.floor(self.y) + 0.5)
        return _crown_outline(self.variant) * round(self.length / 2) + middle

    def paint(self, canvas: Canvas) -> None:
        """Paint the crown."""
        sprite = crown(self.variant, round(self.length / 2))
        canvas.stamp(sprite, math.floor(self.x), math.floor(self.y))


@lru_cache(maxsize=CROWNS)
def _crown_outline(variant: int) -> NDArray[np.float64]:
    """Return sixteen points around a crown of radius 1."""
    angles = np.arange(16) * (2 * np.pi / 16)
    radius = crown_radius(variant, angles)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1)


#: Names of all categories, in the order of their ids.
CATEGORIES = ("building", "car", "truck", "boat", "tree", "pool")
