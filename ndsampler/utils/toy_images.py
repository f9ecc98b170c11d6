"""
Toy images: noise with simple shapes, which are planned first and then drawn.

The shapes are those of :mod:`kwcoco.demo.toypatterns`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DRAWABLE", "MIN_SIDE", "draw_objects", "mix_bits", "plan_boxes"]

#: Shapes that can be drawn.
DRAWABLE = ("box", "circle", "diamond", "eff", "octagon", "star", "superstar")

#: Number of cells along each side of an image. An object is inside one cell, or around the center.
GRID = 5

#: Smallest side of an object, and so of an image, in pixels. Smaller shapes have no outline.
MIN_SIDE = 2


@dataclass(frozen=True)
class _Cell:
    """A part of an image for one object, in pixels of the image."""

    x0: float
    y0: float
    width: float
    height: float

    def touches(self, other: _Cell) -> bool:
        """Return whether two cells have a point in common."""
        apart_x = self.x0 + self.width < other.x0 or other.x0 + other.width < self.x0
        apart_y = self.y0 + self.height < other.y0 or other.y0 + other.height < self.y0
        return not (apart_x or apart_y)

    def random_box(self, rng: np.random.RandomState, dims: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return a random (x, y, width, height) inside this cell and inside an image of these dims."""
        (frac_w, frac_h), (shift_x, shift_y) = rng.uniform(0.6, 0.95, 2), rng.uniform(0, 1, 2)
        width = min(max(int(frac_w * self.width), MIN_SIDE), dims[1])
        height = min(max(int(frac_h * self.height), MIN_SIDE), dims[0])
        x = int(self.x0 + shift_x * max(self.width - width, 0))
        y = int(self.y0 + shift_y * max(self.height - height, 0))
        return min(max(x, 0), dims[1] - width), min(max(y, 0), dims[0] - height), width, height


def plan_boxes(
    rng: np.random.RandomState,
    dims: tuple[int, int],
    center: tuple[float, float],
    count: int,
    with_center: bool,
) -> list[tuple[int, int, int, int]]:
    """Return the boxes of an image's objects, which do not overlap unless the image is tiny.

    Args:
        rng: random state.
        dims: (height, width) of the image in pixels.
        center: (x, y) of the point that the first object covers, or that all objects avoid.
        count: number of objects, at most 16.
        with_center: whether the first object covers the center.

    Returns:
        The (x, y, width, height) of each object in whole pixels, inside the image.

    Example:
        >>> [(x, y, w, h)] = plan_boxes(np.random.RandomState(0), (60, 80), (40, 30), 1, with_center=True)
        >>> x < 40 < x + w and y < 30 < y + h
        True
    """
    height, width = dims[0] / GRID, dims[1] / GRID
    # The center may be near a border, where one margin is wider than the other.
    mid_w = min(width, 2 * center[0], 2 * (dims[1] - center[0]))
    mid_h = min(height, 2 * center[1], 2 * (dims[0] - center[1]))
    middle = _Cell(center[0] - mid_w / 2, center[1] - mid_h / 2, mid_w, mid_h)
    cells = [_Cell(col * width, row * height, width, height) for row in range(GRID) for col in range(GRID)]
    free = [cell for cell in cells if not cell.touches(middle)]
    boxes = [cell.random_box(rng, dims) for cell in (free[i] for i in rng.permutation(len(free))[:count])]
    if with_center:
        _, _, w, h = middle.random_box(rng, dims)
        x, y = round(center[0] - w / 2), round(center[1] - h / 2)
        boxes = [(x, y, w, h), *boxes[: count - 1]]
    return boxes


def draw_objects(
    rng: np.random.RandomState,
    dims: tuple[int, int],
    boxes: list[tuple[int, int, int, int]],
    names: list[str],
) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """Return noise with shapes in it, and a COCO annotation for each.

    Args:
        rng: random state for the noise.
        dims: (height, width) of the image in pixels.
        boxes: the (x, y, width, height) of each object.
        names: the shape of each object, one of :data:`DRAWABLE`.

    Returns:
        The (height, width, 3) pixels, and annotations without ids.

    Example:
        >>> im, anns = draw_objects(np.random.RandomState(0), (60, 80), [(5, 6, 20, 10)], ["star"])
        >>> (im.shape, anns[0]["bbox"])
        ((60, 80, 3), [5, 6, 20, 10])
    """
    import kwarray
    from kwcoco.demo.toypatterns import CategoryPatterns

    canvas = kwarray.standard_normal((*dims, 1), mean=0.1, std=0.8, rng=rng, dtype=np.float32)
    np.clip(canvas, 0, 1, out=canvas)
    anns = []
    for (x, y, w, h), name in zip(boxes, names, strict=True):
        chip = canvas[y : y + h, x : x + w]
        shape = CategoryPatterns.coerce([name], rng=rng).render_category(name, chip, (x, y), dims)
        chip[:] = shape["data"].mean(axis=2, keepdims=True)
        anns.append(
            {
                "bbox": [x, y, w, h],
                "area": float(w * h),
                "category_name": name,
                "segmentation": shape["segmentation"],
                "keypoints": shape["keypoints"],
            }
        )
    return np.repeat((canvas * 255).astype(np.uint8), 3, axis=2), anns


def mix_bits(key: int, values: NDArray[np.int64], stream: int) -> NDArray[np.uint64]:
    """Return well-mixed bits for each value, the same on every machine.

    This is the finalizer of SplitMix64: Steele, Lea and Flood: Fast splittable pseudorandom
    number generators. OOPSLA 2014. https://doi.org/10.1145/2660193.2660195

    Args:
        key: number of the sequence, below 2 to the 31.
        values: positions in the sequence.
        stream: 0 or 1, for two numbers at each position.

    Returns:
        One number for each value.

    Example:
        >>> bits = mix_bits(0, np.arange(1000), stream=0)
        >>> len(np.unique(bits % np.uint64(2**16))) > 900
        True
    """
    bits = values.astype(np.uint64) * np.uint64(2) + np.uint64(stream)
    bits = (bits ^ (np.uint64(key) << np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: NDArray[np.uint64] = bits ^ (bits >> np.uint64(31))
    return result
