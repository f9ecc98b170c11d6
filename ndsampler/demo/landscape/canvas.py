"""
Painting one tile of a landscape.

A tile has three planes: flat colors, the material of each pixel, and the light on it.
:meth:`Canvas.develop` combines them into a picture.

Points are (x, y) in pixels of the whole landscape. As in annotations, (0, 0) is the outer corner
of the first pixel; in OpenCV it is the center of that pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Color = tuple[int, int, int]

#: Side of a tile, and the period of every texture, in pixels.
TILE = 1024

#: Width in pixels of the margin of a tile that is painted and cut off, because OpenCV draws clipped lines
#: wrongly.
RIM = 16

#: Fractional bits of the coordinates given to OpenCV.
SHIFT = 4

# Materials: the values of the plane ``Canvas.material``.
PLAIN, GRASS, SOIL, ASPHALT, WATER, SAND, ROOF, FOREST = range(8)

#: Number of materials with furrows, each with another direction, and the first of them.
FURROWS = 8
DIRECTIONS = 8

#: Color of the grass where nothing else is painted.
VERGE: Color = (118, 124, 90)

#: Light in the shadow of an object; 255 is full light.
SHADOW = 135


def octave(rng: np.random.Generator, size: int, cell: int) -> NDArray[np.float32]:
    """Return smooth periodic noise of mean 0 and standard deviation 1.

    Args:
        rng: random generator.
        size: side of the result in pixels, a multiple of ``cell``.
        cell: distance between random values in pixels.

    Returns:
        A (size, size) array that repeats without a seam.
    """
    import cv2

    lattice = rng.standard_normal((size // cell, size // cell)).astype(np.float32)
    wrapped = np.pad(lattice, 3, mode="wrap")
    large = cv2.resize(wrapped, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
    noise = large[3 * cell : -3 * cell, 3 * cell : -3 * cell]
    result: NDArray[np.float32] = (noise - noise.mean()) / noise.std()
    return result


def _mix(rng: np.random.Generator, *layers: tuple[float, int]) -> NDArray[np.float32]:
    """Return the sum of octaves, each given as (strength in gray levels, cell)."""
    texture = np.full((TILE, TILE), 128, np.float32)
    for strength, cell in layers:
        texture += np.float32(strength) * octave(rng, TILE, cell)
    return texture


def _furrows(rng: np.random.Generator, direction: int) -> NDArray[np.float32]:
    """Return the furrows of a field. They are periodic, because the numbers of waves in x and y are whole."""
    angle = math.pi * direction / DIRECTIONS
    waves = TILE / (11 + 3 * (direction % 3))
    ramp = np.arange(TILE, dtype=np.float32) * np.float32(2 * math.pi / TILE)
    phase = np.add.outer(round(waves * math.sin(angle)) * ramp, round(waves * math.cos(angle)) * ramp)
    result: NDArray[np.float32] = 11 * np.sin(phase + 0.7 * octave(rng, TILE, 32)) + _mix(
        rng, (4, 4), (4, 32), (4, 128)
    )
    return result


@dataclass(frozen=True, eq=False)
class Textures:
    """The textures of all materials."""

    tones: tuple[NDArray[np.uint8], ...]
    """For each material, factors of the color (128 means 1) in the size of a tile with its rim."""

    canopy: NDArray[np.uint8]
    """(rows, columns, 3) colors of a forest, of the same size."""

    @classmethod
    def make(cls, rng: np.random.Generator) -> Textures:
        """Draw all textures.

        Args:
            rng: random generator.
        """
        # There is no noise between single pixels, because it would make the compressed files 50 % larger.
        tones = [
            _mix(rng, (1.0, 4)),
            _mix(rng, (2.5, 4), (5, 16), (5, 64)),
            _mix(rng, (3, 4), (4, 16), (6, 64)),
            _mix(rng, (1, 8), (3, 64)),
            _mix(rng, (2, 16), (1, 64)),
            _mix(rng, (1.5, 4), (2, 8), (3, 64)),
            _mix(rng, (1.5, 4), (2, 8)),
            _mix(rng, (2, 8), (6, 64), (6, 128)),
            *(_furrows(rng, direction) for direction in range(DIRECTIONS)),
        ]
        as_bytes = tuple(_with_rim(np.clip(np.rint(tone), 40, 250).astype(np.uint8)) for tone in tones)
        return cls(as_bytes, _with_rim(_draw_canopy(rng)))


def _with_rim(texture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat a periodic texture in the rim of a tile."""
    return np.pad(texture, ((RIM, RIM), (RIM, RIM), (0, 0))[: texture.ndim], mode="wrap")


def _draw_canopy(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return an area of tree tops that can be repeated without a seam."""
    canvas = Canvas(0, 0, TILE)
    canvas.colors[:] = (38, 58, 34)
    for _ in range(4200):
        sprite = crown(int(rng.integers(CROWNS)), int(rng.integers(11, 25)))
        x, y = (int(part) for part in rng.integers(0, TILE, 2))
        for column in _repeats(x, sprite.half):
            for row in _repeats(y, sprite.half):
                canvas.stamp(sprite, column, row)
    return canvas.colors


def _repeats(position: int, half: int) -> list[int]:
    """Return the positions, one tile apart, at which an object of a given half width touches the tile."""
    near = [position]
    if position < half:
        near.append(position + TILE)
    if position >= TILE - half:
        near.append(position - TILE)
    return near


@dataclass(frozen=True, eq=False)
class Sprite:
    """A small picture with soft edges."""

    colors: NDArray[np.uint8]
    """(n, n, 3) colors; n is odd."""

    cover: NDArray[np.float32]
    """(n, n) opacity, from 0 to 1."""

    @property
    def half(self) -> int:
        """Distance in pixels from the center to the edges."""
        return len(self.cover) // 2


#: Number of different shapes of tree tops.
CROWNS = 24

#: Side in pixels of the noise that the leaves of tree tops are cut from.
LEAVES = 512


def crown_radius(variant: int, angles: NDArray[Any]) -> NDArray[np.float64]:
    """Return the radius of a tree top in each direction, in units of its mean radius.

    Args:
        variant: number of the shape, below ``CROWNS``.
        angles: directions in radians.
    """
    radius = np.ones(angles.shape)
    for k, size, phase in _crown_waves(variant):
        radius += size * np.cos(k * angles + phase)
    return radius


@lru_cache(maxsize=CROWNS)
def _crown_waves(variant: int) -> list[tuple[int, float, float]]:
    rng = np.random.default_rng(variant)
    return [(k, rng.uniform(0.02, 0.16 / k**0.5), rng.uniform(0, 2 * np.pi)) for k in range(2, 7)]


@lru_cache(maxsize=1)
def _leaves() -> NDArray[np.float32]:
    """Return the noise that the leaves of all tree tops are cut from."""
    rng = np.random.default_rng(5)
    return 0.13 * octave(rng, LEAVES, 4) + 0.09 * octave(rng, LEAVES, 8)


@lru_cache(maxsize=2048)
def crown(variant: int, radius: int) -> Sprite:
    """Return a tree top as seen from above, lit from the upper left.

    Args:
        variant: number of the shape, below ``CROWNS``; it determines the color too.
        radius: radius in pixels.
    """
    rng = np.random.default_rng((variant, 1))
    half = int(radius * 1.35) + 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64) / radius
    reach = np.hypot(x, y) / crown_radius(variant, np.arctan2(y, x))
    cover = np.clip((1 - reach) * radius + 0.5, 0, 1).astype(np.float32)
    top, left = rng.integers(0, LEAVES - 2 * half, 2)
    leaves = _leaves()[top : top + 2 * half + 1, left : left + 2 * half + 1]
    light = 0.98 - 0.30 * (x + y) * 0.7 - 0.22 * reach**3 + leaves
    tint = np.array([(74, 104, 52), (92, 116, 58), (60, 92, 56), (104, 120, 66)][variant % 4]) * rng.uniform(
        0.9, 1.1
    )
    colors = np.clip(light[..., None] * tint, 0, 255).astype(np.uint8)
    return Sprite(colors, cover)


@lru_cache(maxsize=2)
def _meadow(size: int) -> NDArray[np.uint8]:
    """Return the colors of an empty canvas, for copying, which is faster than filling."""
    return np.tile(np.array(VERGE, np.uint8), (size, size, 1))


@dataclass(eq=False)
class Canvas:
    """The pixels of a tile and its rim.

    Args:
        x0: left edge of the canvas in the landscape, in pixels.
        y0: upper edge.
        size: side in pixels.
    """

    x0: int
    y0: int
    size: int = TILE + 2 * RIM
    colors: NDArray[np.uint8] = field(init=False)
    material: NDArray[np.uint8] = field(init=False)
    light: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.colors = _meadow(self.size).copy()
        self.material = np.full((self.size, self.size), GRASS, np.uint8)
        self.light = np.full((self.size, self.size), 255, np.uint8)
        self._used = {GRASS, PLAIN}

    @property
    def inner_material(self) -> NDArray[np.uint8]:
        """The (TILE, TILE) materials without the rim."""
        return self.material[RIM:-RIM, RIM:-RIM]

    def _place(self, points: NDArray[Any]) -> NDArray[np.int32]:
        return np.rint((points - (self.x0 + 0.5, self.y0 + 0.5)) * (1 << SHIFT)).astype(np.int32)

    def fill(self, color: Color, *rings: NDArray[Any], material: int = PLAIN) -> None:
        """Fill a polygon, and set full light in it.

        Args:
            color: red, green, blue.
            rings: the outline, (n, 2), and the holes.
            material: material of the polygon.
        """
        import cv2

        placed = [self._place(ring) for ring in rings]
        cv2.fillPoly(self.colors, placed, color, cv2.LINE_AA, SHIFT)
        cv2.fillPoly(self.material, placed, material, cv2.LINE_8, SHIFT)
        cv2.fillPoly(self.light, placed, 255, cv2.LINE_8, SHIFT)
        self._used.add(material)

    def stroke(
        self, color: Color, points: NDArray[Any], width: float, material: int = PLAIN, closed: bool = False
    ) -> None:
        """Draw a line through points.

        Args:
            color: red, green, blue.
            points: (n, 2) points.
            width: width in pixels.
            material: material of the line.
            closed: whether to join the last point to the first.
        """
        import cv2

        placed = [self._place(points)]
        thickness = max(1, round(width))
        cv2.polylines(self.colors, placed, closed, color, thickness, cv2.LINE_AA, SHIFT)
        cv2.polylines(self.material, placed, closed, material, thickness, cv2.LINE_8, SHIFT)
        self._used.add(material)

    def dash(self, color: Color, points: NDArray[Any], width: float) -> None:
        """Draw separate lines between pairs of points, (n, 2, 2)."""
        import cv2

        cv2.polylines(
            self.colors, list(self._place(points)), False, color, max(1, round(width)), cv2.LINE_AA, SHIFT
        )

    def shade(self, outline: NDArray[Any], reach: tuple[float, float], light: int = SHADOW) -> None:
        """Darken the shadow of an object.

        Args:
            outline: outline of the object, (n, 2).
            reach: (x, y) offset of the shadow of the object's top in pixels.
            light: light in the shadow, at most 255.
        """
        import cv2

        steps = max(2, int(np.hypot(*reach) / 6))
        for step in range(steps + 1):
            moved = outline + np.asarray(reach) * (step / steps)
            cv2.fillPoly(self.light, [self._place(moved)], light, cv2.LINE_8, SHIFT)

    def stamp(self, sprite: Sprite, x: int, y: int) -> None:
        """Draw a sprite with its center at the pixel (x, y) of the landscape."""
        import cv2

        half = sprite.half
        left, top = x - self.x0 - half, y - self.y0 - half
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + 2 * half + 1, self.size), min(top + 2 * half + 1, self.size)
        if x0 >= x1 or y0 >= y1:
            return
        here = np.s_[y0:y1, x0:x1]
        there = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        cover = np.ascontiguousarray(sprite.cover[there])
        under = np.ascontiguousarray(self.colors[here])
        self.colors[here] = cv2.blendLinear(
            np.ascontiguousarray(sprite.colors[there]), under, cover, 1 - cover
        )
        opaque = cover > 0.5
        self.material[here][opaque] = PLAIN
        self.light[here][opaque] = 255

    def develop(self, textures: Textures, tint: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the picture of the tile.

        Args:
            textures: textures of the materials.
            tint: (size, size, 3) factors of the color; 128 means 1.

        Returns:
            (TILE, TILE, 3) uint8 RGB: the canvas without its rim.
        """
        import cv2

        tone = np.empty_like(self.material)
        for material in self._used:
            mask = cv2.compare(self.material, material, cv2.CMP_EQ)
            cv2.copyTo(textures.tones[material], mask, tone)
            if material == FOREST:
                cv2.copyTo(textures.canopy, mask, self.colors)
        light = cv2.blur(self.light, (3, 3))
        shaded = cv2.cvtColor(cv2.multiply(tone, light, scale=1 / 255), cv2.COLOR_GRAY2RGB)
        tinted = cv2.multiply(self.colors, tint, scale=1 / 128)
        picture = cv2.GaussianBlur(cv2.multiply(tinted, shaded, scale=1 / 128), (3, 3), 0.6)
        return np.asarray(picture[RIM:-RIM, RIM:-RIM])


def bounds_of(points: Sequence[NDArray[Any]], margin: float = 0) -> tuple[float, float, float, float]:
    """Return (left, top, right, bottom) of points, extended by a margin.

    Args:
        points: arrays of (x, y).
        margin: margin in pixels.
    """
    stacked = np.concatenate(points)
    low, high = stacked.min(0) - margin, stacked.max(0) + margin
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
