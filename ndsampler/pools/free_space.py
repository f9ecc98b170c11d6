"""
Finding free places for a window among obstacles.

A window is placed by its top left corner, which is a whole pixel. Each obstacle forbids the corners in a
rectangle: the obstacle enlarged by the size of the window to the left and to the top (the configuration space
of T. Lozano-Pérez, "Spatial planning: a configuration space approach", IEEE Transactions on Computers C-32,
1983). Corners that no rectangle covers are free. To find them, the space of corners is halved into tiles
until a tile touches few rectangles. The tile is then cut along the edges of the rectangles into pieces,
each of which is completely free or completely forbidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.segmentations import parse_segmentation
from ndsampler.errors import ArgumentError
from ndsampler.utils.lazy import LazyAttribute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["ValidArea", "corner_range", "free_corners", "lattice_corners"]

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
            region: a segmentation in any COCO format.
            dsize: (2,) width and height of the image in pixels.

        Raises:
            ArgumentError: if the region does not consist of polygons with finite coordinates.
        """
        import shapely

        image = shapely.box(0, 0, *dsize)
        try:
            with np.errstate(invalid="ignore"):
                dims = int(dsize[1]), int(dsize[0])
                polygon = shapely.make_valid(parse_segmentation(region, dims).to_shapely())
        except Exception as ex:  # kwimage and shapely raise errors of many kinds
            raise ArgumentError(
                f"valid_region is {shorten(repr(region), 80)}; expected polygons of at least three points, "
                f"such as [[x1, y1, x2, y2, x3, y3]] ({type(ex).__name__}: {ex})"
            ) from None
        polygon = shapely.intersection(polygon, image)
        if shapely.is_empty(polygon):
            return cls(polygon, np.zeros(4))
        return cls(polygon, np.array(polygon.bounds))

    @LazyAttribute
    def _is_rectangle(self) -> bool:
        import shapely

        return bool(shapely.equals(self.polygon, shapely.box(*self.bounds)))

    def holds(self, ltrb: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which boxes are completely inside; a box may touch the border of the area.

        Args:
            ltrb: (N, 4) boxes in image pixels.
        """
        import shapely

        inside: NDArray[np.bool_]
        if self._is_rectangle:
            inside = np.all((ltrb[:, :2] >= self.bounds[:2]) & (ltrb[:, 2:] <= self.bounds[2:]), axis=1)
            return inside
        shapely.prepare(self.polygon)
        inside = shapely.covers(self.polygon, shapely.box(*ltrb.T))
        return inside

    @LazyAttribute
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
    may_touch: bool = True,
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
        may_touch: whether the window may touch the edges of obstacles.

    Returns:
        (num, 2) x and y in whole pixels, drawn uniformly from the free space that was found; (0, 2) if none
        was found.

    Example:
        >>> obstacles = np.array([[0.0, 0, 70, 100]]).T
        >>> rng = np.random.RandomState(0)
        >>> corners = free_corners(np.array([0.0, 0, 100, 100]), np.array([30.0, 30]), obstacles, 4, rng)
        >>> corners[:, 0].tolist()
        [70.0, 70.0, 70.0, 70.0]
    """
    first, last = corner_range(bounds, size)
    if (last < first).any():
        return np.empty((0, 2))
    span = np.concatenate([first, last + 1]).astype(np.int64)
    forbidden = _whole(_forbidden(obstacles, size, thresh), span, not may_touch and thresh <= 0)
    if area is not None:
        gaps = _whole(_forbidden(area.gaps, size, 0.0), span, False)
        forbidden = np.concatenate([forbidden, gaps], axis=1)
    tiles = []
    for tile in _free_tiles(span, forbidden, rng):
        tiles.append(tile)
        if len(tiles) == _ENOUGH_TILES:
            break
    return _drawn(tiles, num, rng)


def corner_range(
    bounds: NDArray[np.float64], size: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first and the last whole corner of a window within bounds.

    Args:
        bounds: (..., 4) left, top, right, bottom.
        size: (..., 2) width and height of the window in whole pixels.

    Returns:
        (..., 2) x and y of the first corner, and of the last; the last is before the first if the window does
        not fit.

    Example:
        >>> first, last = corner_range(np.array([0.0, 0.5, 80, 60]), np.array([16.0, 12.0]))
        >>> first.tolist(), last.tolist()
        ([0.0, 1.0], [64.0, 48.0])
    """
    first: NDArray[np.float64] = np.ceil(bounds[..., :2])
    last: NDArray[np.float64] = np.floor(bounds[..., 2:] - size)
    return first, last


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
        (steps * steps, 2) x and y in whole pixels; (0, 2) if the window does not fit.

    Example:
        >>> size = np.array([4.0, 4.0])
        >>> corners = lattice_corners(np.array([0.0, 0, 9, 9]), size, 3, np.random.RandomState(0))
        >>> corners.shape, bool(corners.max() <= 5)
        ((9, 2), True)
    """
    first, last = corner_range(bounds, size)
    if (last < first).any():
        return np.empty((0, 2))
    shares = (np.arange(steps) + rng.rand(2, 1)) / steps
    x, y = first[:, None] + np.floor(shares * (last - first + 1)[:, None])
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def _forbidden(
    obstacles: NDArray[np.float64], size: NDArray[np.float64], thresh: float
) -> NDArray[np.float64]:
    """Return (4, m) rectangles of corners at which an obstacle covers too much of the window.

    The edges of the rectangles are excluded, because there the obstacle only touches the window.

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


def _whole(forbidden: NDArray[np.float64], span: NDArray[np.int64], with_edges: bool) -> NDArray[np.int64]:
    """Return rectangles of forbidden corners as half-open ranges of whole pixels, clipped near a span."""
    low, high = forbidden[:2], forbidden[2:]
    low, high = (np.ceil(low), np.floor(high) + 1) if with_edges else (np.floor(low) + 1, np.ceil(high))
    edges = np.concatenate([low, high])
    result: NDArray[np.int64] = np.clip(
        edges, np.tile(span[:2, None] - 1, (2, 1)), np.tile(span[2:, None] + 1, (2, 1))
    ).astype(np.int64)
    return result


@dataclass(frozen=True, eq=False)
class _Tile:
    """A tile cut along edges into pieces."""

    edges: tuple[NDArray[np.int64], NDArray[np.int64]]
    """First pixel of each piece, and the pixel after the last piece, along x and along y."""

    weights: NDArray[np.int64]
    """(x pieces, y pieces) number of free corners in each piece."""


def _free_tiles(
    span: NDArray[np.int64], forbidden: NDArray[np.int64], rng: np.random.RandomState
) -> Iterator[_Tile]:
    """Yield the tiles of the space of corners that contain free space, in random order."""
    pending = [(span, forbidden, 0)]
    while pending:
        span, forbidden, depth = pending.pop()
        low, high = span[:2, None], span[2:, None]
        forbidden = forbidden[:, ((forbidden[:2] < high) & (forbidden[2:] > low)).all(axis=0)]
        if ((forbidden[:2] <= low) & (forbidden[2:] >= high)).all(axis=0).any():
            continue
        edges = [_edges_within(forbidden[axis::2].ravel(), span[axis], span[axis + 2]) for axis in (0, 1)]
        if len(edges[0]) * len(edges[1]) <= _PIECES or depth == _DEEPEST:
            tile = _cut(edges, forbidden)
            if tile.weights.any():
                yield tile
            continue
        axis = int(len(edges[1]) > len(edges[0]))
        middle = edges[axis][len(edges[axis]) // 2]
        halves = [span.copy(), span.copy()]
        halves[0][axis + 2] = halves[1][axis] = middle
        pending += [(halves[i], forbidden, depth + 1) for i in rng.permutation(2)]


def _edges_within(edges: NDArray[np.int64], low: int, high: int) -> NDArray[np.int64]:
    """Return the distinct edges within a range together with its ends, ascending."""
    inside = edges[(edges > low) & (edges < high)]
    return np.unique(np.concatenate([[low, high], inside]))


def _cut(edges: list[NDArray[np.int64]], forbidden: NDArray[np.int64]) -> _Tile:
    """Return a tile cut along its edges, with the number of free corners of each piece."""
    change = np.zeros((len(edges[0]), len(edges[1])), dtype=np.int64)
    (x0, x1), (y0, y1) = (np.searchsorted(part, forbidden[axis::2]) for axis, part in enumerate(edges))
    x1, y1 = np.minimum(x1, len(edges[0]) - 1), np.minimum(y1, len(edges[1]) - 1)
    for xs, ys, sign in ((x0, y0, 1), (x1, y0, -1), (x0, y1, -1), (x1, y1, 1)):
        np.add.at(change, (xs, ys), sign)
    free = change.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] == 0
    return _Tile((edges[0], edges[1]), np.outer(np.diff(edges[0]), np.diff(edges[1])) * free)


def _drawn(tiles: list[_Tile], num: int, rng: np.random.RandomState) -> NDArray[np.float64]:
    """Return corners drawn uniformly from the free pieces of tiles."""
    totals = np.array([tile.weights.sum() for tile in tiles], dtype=np.float64)
    if not len(tiles):
        return np.empty((0, 2))
    chosen = rng.choice(len(tiles), size=num, p=totals / totals.sum())
    corners = np.empty((num, 2))
    for i in np.unique(chosen):
        tile, mine = tiles[i], np.nonzero(chosen == i)[0]
        flat = tile.weights.ravel().cumsum()
        piece = np.searchsorted(flat, rng.randint(0, flat[-1], size=len(mine)), side="right")
        for axis, index in enumerate(np.unravel_index(piece, tile.weights.shape)):
            start, stop = tile.edges[axis][index], tile.edges[axis][index + 1]
            corners[mine, axis] = rng.randint(start, stop)
    return corners
