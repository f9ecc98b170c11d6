"""
Finding free places for a window among obstacles.

A window is placed by its top left corner. Each obstacle forbids the corners in an open rectangle: the
obstacle enlarged by the size of the window to the left and to the top (the configuration space of T.
Lozano-Pérez, "Spatial planning: a configuration space approach", IEEE Transactions on Computers C-32,
1983). Corners that no rectangle covers are free. To find them, the space of corners is halved into tiles
until a tile touches few rectangles. The tile is then cut along the edges of the rectangles into pieces,
each of which is completely free or completely forbidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.segmentations import parse_segmentation
from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["ValidArea", "free_corners", "lattice_corners"]

#: Maximum number of pieces that a tile is cut into, unless it is at the greatest depth.
_PIECES = 10_000

#: Number of halvings after which a tile is cut into any number of pieces.
_DEEPEST = 40

#: Number of tiles with free space after which the search stops.
_ENOUGH_TILES = 32

#: Number of rectangles that approximate the region with rounded corners that a threshold above 0 forbids.
_STEPS = 6

#: Cells per side of the grid that approximates a valid region that is not a rectangle.
_REGION_CELLS = 64


class ValidArea:
    """
    The part of an image that contains data.

    Args:
        polygon: a shapely geometry in image pixels.
        bounds: (4,) left, top, right, bottom of its extent within the image.

    Example:
        >>> area = ValidArea.from_coco([[0, 0, 40, 0, 0, 40]], np.array([50.0, 50.0]))
        >>> area.bounds.tolist()
        [0.0, 0.0, 40.0, 40.0]
        >>> area.holds(np.array([[1.0, 1, 9, 9], [30, 30, 39, 39]])).tolist()
        [True, False]
    """

    def __init__(self, polygon: Any, bounds: NDArray[np.float64]) -> None:
        self.polygon = polygon
        self.bounds = bounds

    @classmethod
    def from_coco(cls, region: Any, dsize: NDArray[np.float64]) -> ValidArea:
        """Return the area of an image's valid region in a dataset.

        Args:
            region: a segmentation in any form that COCO files have.
            dsize: (2,) width and height of the image in pixels.

        Raises:
            ArgumentError: if the region is not made of polygons with finite coordinates.
        """
        import shapely

        image = shapely.box(0, 0, *dsize)
        try:
            with np.errstate(invalid="ignore"):
                polygon = shapely.make_valid(parse_segmentation(region).to_shapely())
        except Exception as ex:  # kwimage and shapely raise errors of many kinds
            raise ArgumentError(
                f"valid_region is {shorten(repr(region), 80)}; expected polygons of at least three points, "
                f"such as [[x1, y1, x2, y2, x3, y3]] ({type(ex).__name__}: {ex})"
            ) from None
        polygon = shapely.intersection(polygon, image)
        if shapely.is_empty(polygon):
            return cls(polygon, np.zeros(4))
        return cls(polygon, np.array(polygon.bounds))

    @cached_property
    def _is_rectangle(self) -> bool:
        import shapely

        return bool(shapely.equals(self.polygon, shapely.box(*self.bounds)))

    def holds(self, ltrb: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which boxes lie completely inside; a box may touch the border of the area.

        Args:
            ltrb: (N, 4) boxes in image pixels.
        """
        import shapely

        if self._is_rectangle:
            return np.all((ltrb[:, :2] >= self.bounds[:2]) & (ltrb[:, 2:] <= self.bounds[2:]), axis=1)
        shapely.prepare(self.polygon)
        return shapely.covers(self.polygon, shapely.box(*ltrb.T))

    @cached_property
    def gaps(self) -> NDArray[np.float64]:
        """(4, n) left, top, right, bottom of rectangles that cover the part of the extent that is not valid.

        They may cover slightly more, because the area is approximated by 64 x 64 cells.
        """
        if self._is_rectangle:
            return np.empty((4, 0))
        xs = np.linspace(self.bounds[0], self.bounds[2], _REGION_CELLS + 1)
        ys = np.linspace(self.bounds[1], self.bounds[3], _REGION_CELLS + 1)
        rows, cols = (part.ravel() for part in np.indices((_REGION_CELLS, _REGION_CELLS)))
        cells = np.stack([xs[cols], ys[rows], xs[cols + 1], ys[rows + 1]], axis=1)
        outside = ~self.holds(cells).reshape(_REGION_CELLS, _REGION_CELLS)
        edges = np.diff(np.pad(outside, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        row, first = np.nonzero(edges == 1)
        stop = np.nonzero(edges == -1)[1]
        return np.stack([xs[first], ys[row], xs[stop], ys[row + 1]])


def free_corners(
    bounds: NDArray[np.float64],
    size: NDArray[np.float64],
    obstacles: NDArray[np.float64],
    num: int,
    rng: np.random.RandomState,
    thresh: float = 0.0,
    area: ValidArea | None = None,
) -> NDArray[np.float64]:
    """Return random top left corners at which a window fits.

    With a threshold of 0 a free place is always found if there is one, except for a narrow margin inside a
    valid region that is not a rectangle. With a threshold above 0 some free places may be missed, and the
    caller must check that several obstacles together do not cover too much of the window.

    Args:
        bounds: (4,) left, top, right, bottom that the window must stay within.
        size: (2,) width and height of the window.
        obstacles: (4, n) left, top, right, bottom of the obstacles.
        num: number of corners.
        rng: random state.
        thresh: fraction of the window's area that one obstacle may cover.
        area: another area that the window must stay within.

    Returns:
        (num, 2) x and y, drawn uniformly from the free space that was found; (0, 2) if none was found.

    Example:
        >>> obstacles = np.array([[0.0, 0, 70, 100]]).T
        >>> rng = np.random.RandomState(0)
        >>> corners = free_corners(np.array([0.0, 0, 100, 100]), np.array([30.0, 30]), obstacles, 4, rng)
        >>> corners[:, 0].tolist()
        [70.0, 70.0, 70.0, 70.0]
    """
    first, last = bounds[:2], bounds[2:] - size
    if (last < first).any():
        return np.empty((0, 2))
    forbidden = _forbidden(obstacles, size, thresh)
    if area is not None:
        forbidden = np.concatenate([forbidden, _forbidden(area.gaps, size, 0.0)], axis=1)
    tiles = []
    for tile in _free_tiles(np.concatenate([first, last]), forbidden, rng):
        tiles.append(tile)
        if len(tiles) == _ENOUGH_TILES:
            break
    return _drawn(tiles, num, rng)


def lattice_corners(
    bounds: NDArray[np.float64], size: NDArray[np.float64], steps: int, rng: np.random.RandomState
) -> NDArray[np.float64]:
    """Return the top left corners of evenly spaced windows within bounds.

    Args:
        bounds: (4,) left, top, right, bottom that the window must stay within.
        size: (2,) width and height of the window.
        steps: number of corners along each side.
        rng: random state, which shifts the whole lattice.

    Returns:
        (steps * steps, 2) x and y; (0, 2) if the window does not fit.

    Example:
        >>> size = np.array([4.0, 4.0])
        >>> corners = lattice_corners(np.array([0.0, 0, 9, 9]), size, 3, np.random.RandomState(0))
        >>> corners.shape, bool(corners.max() <= 5)
        ((9, 2), True)
    """
    spare = bounds[2:] - bounds[:2] - size
    if (spare < 0).any():
        return np.empty((0, 2))
    shares = (np.arange(steps) + rng.rand(2, 1)) / steps
    x, y = bounds[:2, None] + shares * spare[:, None]
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def _forbidden(
    obstacles: NDArray[np.float64], size: NDArray[np.float64], thresh: float
) -> NDArray[np.float64]:
    """Return (4, m) open rectangles of corners at which an obstacle covers too much of the window.

    With a threshold above 0 the true region has rounded corners: the less a window overlaps the obstacle
    along one axis, the more it may overlap along the other. Rectangles inside the region approximate it.
    """
    if thresh <= 0:
        return np.concatenate([obstacles[:2] - size[:, None], obstacles[2:]])
    allowed = thresh * size.prod()
    deepest = np.minimum(obstacles[2:] - obstacles[:2], size[:, None])
    bad = deepest.prod(axis=0) > allowed
    obstacles, deepest = obstacles[:, bad], deepest[:, bad]
    # Overlaps along x, from the smallest that can be too much to the largest possible.
    depths = np.linspace(allowed / deepest[1], deepest[0], _STEPS + 1)
    steps = []
    for near, far in pairwise(depths):
        inset = np.stack([near, allowed / far])
        steps.append(np.concatenate([obstacles[:2] - size[:, None] + inset, obstacles[2:] - inset]))
    return np.concatenate(steps, axis=1)


@dataclass(frozen=True, eq=False)
class _Tile:
    """A tile cut along edges. The elements of each axis are points and the intervals between them."""

    starts: tuple[NDArray[np.float64], NDArray[np.float64]]
    """First coordinate of each element, along x and along y."""

    lengths: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Length of each element, along x and along y; 0 for a point."""

    free: NDArray[np.bool_]
    """(x elements, y elements) whether a window fits with its corner in the piece."""

    def weights(self, dimension: int) -> NDArray[np.float64]:
        """Return the area (2), length (1) or number (0) of each free piece of a dimension."""
        (x, y), (px, py) = self.lengths, (length == 0 for length in self.lengths)
        if dimension == 2:
            return np.outer(x, y) * self.free
        if dimension == 1:
            return (np.outer(x, py) + np.outer(px, y)) * self.free
        return np.outer(px, py) * self.free


def _free_tiles(
    span: NDArray[np.float64], forbidden: NDArray[np.float64], rng: np.random.RandomState
) -> Iterator[_Tile]:
    """Yield the tiles of the space of corners that contain free space, in random order."""
    pending = [(span, forbidden, 0)]
    while pending:
        span, forbidden, depth = pending.pop()
        low, high = span[:2, None], span[2:, None]
        forbidden = forbidden[:, ((forbidden[:2] < high) & (forbidden[2:] > low)).all(axis=0)]
        if ((forbidden[:2] < low) & (forbidden[2:] > high)).all(axis=0).any():
            continue
        edges = [_edges_within(forbidden[axis::2].ravel(), span[axis], span[axis + 2]) for axis in (0, 1)]
        if 4 * len(edges[0]) * len(edges[1]) <= _PIECES or depth == _DEEPEST:
            tile = _cut(edges, forbidden)
            if tile.free.any():
                yield tile
            continue
        axis = int(len(edges[1]) > len(edges[0]))
        middle = edges[axis][len(edges[axis]) // 2]
        halves = [span.copy(), span.copy()]
        halves[0][axis + 2] = halves[1][axis] = middle
        pending += [(halves[i], forbidden, depth + 1) for i in rng.permutation(2)]


def _edges_within(edges: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Return the distinct edges within an interval together with its ends, ascending."""
    inside = edges[(edges > low) & (edges < high)]
    return np.unique(np.concatenate([[low, high], inside]))


def _cut(edges: list[NDArray[np.float64]], forbidden: NDArray[np.float64]) -> _Tile:
    """Return a tile cut along its edges, with the pieces that no rectangle covers marked as free."""
    shape = tuple(2 * len(part) - 1 for part in edges)
    spans = [_covered_elements(part, *forbidden[axis::2]) for axis, part in enumerate(edges)]
    change = np.zeros((shape[0] + 1, shape[1] + 1), dtype=np.int32)
    (x0, x1), (y0, y1) = spans
    for xs, ys, sign in ((x0, y0, 1), (x1, y0, -1), (x0, y1, -1), (x1, y1, 1)):
        np.add.at(change, (xs, ys), sign)
    free = change.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] == 0
    starts = tuple(np.repeat(part, 2)[:-1] for part in edges)
    lengths = tuple(_element_lengths(part) for part in edges)
    return _Tile(starts, lengths, free)  # type: ignore[arg-type]


def _covered_elements(
    edges: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first element that each open interval covers, and the element after its last.

    Element 2 i is the point ``edges[i]``, and element 2 i + 1 is the interval after it.
    """
    first = np.where(low < edges[0], 0, 2 * np.searchsorted(edges, low) + 1)
    stop = np.where(high > edges[-1], 2 * len(edges) - 1, 2 * np.searchsorted(edges, high))
    return first, np.maximum(first, stop)


def _element_lengths(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the length of each element; an interval that is due to rounding errors counts as a point."""
    lengths = np.zeros(2 * len(edges) - 1)
    lengths[1::2] = np.diff(edges)
    lengths[lengths < 1e-9 * max(1.0, float(np.abs(edges).max()))] = 0
    return lengths


def _drawn(tiles: list[_Tile], num: int, rng: np.random.RandomState) -> NDArray[np.float64]:
    """Return corners drawn uniformly from the free areas, else from free lines, else from free points."""
    for dimension in (2, 1, 0):
        weights = [tile.weights(dimension) for tile in tiles]
        totals = np.array([part.sum() for part in weights])
        if totals.sum() > 0:
            chosen = rng.choice(len(tiles), size=num, p=totals / totals.sum())
            corners = np.empty((num, 2))
            for i in np.unique(chosen):
                mine = np.nonzero(chosen == i)[0]
                flat = weights[i].ravel().cumsum()
                piece = np.searchsorted(flat, rng.rand(len(mine)) * flat[-1], side="right")
                index = np.unravel_index(np.minimum(piece, len(flat) - 1), tiles[i].free.shape)
                for axis in (0, 1):
                    start, length = tiles[i].starts[axis][index[axis]], tiles[i].lengths[axis][index[axis]]
                    corners[mine, axis] = start + rng.rand(len(mine)) * length
            return corners
    return np.empty((0, 2))
