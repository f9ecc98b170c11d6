"""
Drawing random windows that annotations do not cover, or cover only in part.

A window consists of whole pixels, so that it is the window that is read. With a threshold of 0 it does not
even touch an annotation, so that its sample lists none. If all places in an image touch an annotation, those
without overlap are used. Windows are drawn at random and rejected if annotations cover too much of them. If
this keeps failing for an image, its free space is computed and a window is drawn from it
(:mod:`ndsampler.pools.free_space`). The result depends only on the random state, not on the clock, the order
of a set or a hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ndsampler.errors import ArgumentError, UnknownIdError
from ndsampler.pools.arguments import as_amount, as_count
from ndsampler.pools.free_space import ValidArea, corner_range, free_corners, lattice_corners
from ndsampler.pools.window_grid import union_area
from ndsampler.utils.deprecation import warn_user
from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from ndsampler.dataset.annot_table import AnnotTable
    from ndsampler.dataset.image_table import ImageTable

__all__ = ["NegativeRequest", "WindowSizes", "draw_negatives"]

logger = get_logger(__name__)

#: Takes Q image rows and (Q, 4) left, top, right, bottom; returns the query and the annotation row of every
#: touching pair.
PairFinder = Callable[
    ["NDArray[np.int64]", "NDArray[np.float64]"], "tuple[NDArray[np.int64], NDArray[np.int64]]"
]

#: In each round, the number of windows tried for each missing one before free space is computed.
_TRIES = (1, 1, 2, 4, 8)

#: The same for the rounds that follow if trying is faster than computing the free space of many images.
_MORE_TRIES = (16, 32)

#: Number of windows that can be tried in about the time in which the free space of an image is computed.
_TRIES_PER_SEARCH = 64

#: Distance between successive points that fill the unit square: 1 / g and 1 / g^2 for g^3 = g + 1.
_STEP = (0.7548776662466927, 0.5698402909980532)

#: Default number of successive rounds without a new negative after which the search stops.
_PATIENCE = 10

#: Windows per side of a lattice that is tried if no free space was found but some may have been missed: for a
#: threshold above 0, and in a valid region that is not a rectangle.
_LATTICE, _FINE_LATTICE = 50, 200

#: Maximum number of window sizes for which the free space of an image is computed in a round.
_SIZES_PER_ROUND = 8


@dataclass(frozen=True, eq=False)
class WindowSizes:
    """
    The sizes of negatives.

    Example:
        >>> sizes = WindowSizes.from_arguments(None, (50, 40))
        >>> sizes.in_pixels(np.array([0]), np.array([[600, 400]])).tolist()
        [[50.0, 40.0]]
        >>> sizes = WindowSizes.from_arguments([[0.5, 0.1]], None)
        >>> sizes.in_pixels(np.array([0]), np.array([[600, 400]])).tolist()
        [[300.0, 40.0]]
    """

    choices: NDArray[np.float64]
    """(A, 2) widths and heights, one of which is drawn for each window."""

    relative: bool
    """Whether the sizes are fractions of the image's width and height instead of pixels."""

    @classmethod
    def from_arguments(cls, anchors: ArrayLike | None, window_size: ArrayLike | None) -> WindowSizes:
        """Return the sizes that one of the two arguments describes.

        Args:
            anchors: (A, 2) widths and heights as fractions of the image's width and height.
            window_size: width and height in pixels.

        Raises:
            ArgumentError: if not exactly one argument is given, a size is not above 0, or a fraction is
                above 1.
        """
        if (anchors is None) == (window_size is None):
            given = "neither" if anchors is None else "both"
            raise ArgumentError(
                f"got {given} of anchors and window_size; expected exactly one; "
                "they are mutually exclusive: fractions of the image, or pixels"
            )
        name, value = ("window_size", window_size) if anchors is None else ("anchors", anchors)
        try:
            choices = np.array(value, dtype=np.float64, ndmin=2)
        except (TypeError, ValueError):
            choices = np.empty((0, 0))
        if choices.ndim != 2 or choices.shape[1] != 2 or not len(choices) or not (choices > 0).all():
            raise ArgumentError(
                f"{name} is {value!r}; expected width and height above 0; give them as a pair of numbers"
            )
        if anchors is not None and (choices > 1).any():
            raise ArgumentError(
                f"anchors reach {choices.max()}; expected fractions of the image from 0 to 1; "
                "anchors must be normalized: divide them by the size of the image"
            )
        return cls(choices, anchors is not None)

    def in_pixels(self, chosen: NDArray[np.int64], dsizes: NDArray[Any]) -> NDArray[np.float64]:
        """Return (M, 2) widths and heights in whole pixels, rounded up, as in a window that is read.

        Args:
            chosen: (M,) row of :attr:`choices` for each window.
            dsizes: (M, 2) width and height of the image of each window.
        """
        sizes = self.choices[chosen]
        # The tolerance absorbs the rounding error of the product.
        result: NDArray[np.float64] = np.maximum(
            np.ceil(np.round(sizes * dsizes if self.relative else sizes, 6)), 1
        )
        return result


@dataclass(frozen=True, eq=False)
class NegativeRequest:
    """The number, sizes and images of the negatives that a caller requests."""

    table: AnnotTable
    """The annotations to avoid."""

    num: int
    """Number of negatives."""

    sizes: WindowSizes
    """Sizes of the negatives."""

    image_rows: NDArray[np.int64]
    """Rows of the images to draw from."""

    thresh: float
    """Largest fraction of a negative's area that annotations may cover."""

    patience: int
    """Number of successive rounds without a new negative after which the search stops."""

    @classmethod
    def from_arguments(
        cls,
        table: AnnotTable,
        num: int,
        sizes: WindowSizes,
        gids: Sequence[int] | None,
        thresh: float,
        patience: int | None,
    ) -> NegativeRequest:
        """Return the request that these arguments describe.

        Args:
            table: the annotations to avoid.
            num: number of negatives.
            sizes: sizes of the negatives.
            gids: ids of the images to draw from; None for all.
            thresh: largest fraction of a negative's area that annotations may cover.
            patience: number of successive rounds without a new negative after which the search stops; None
                for the default.

        Raises:
            ArgumentError: if a number is invalid or out of range, there are no images, or an image has no
                size.
            UnknownIdError: if the dataset lacks one of the images.
        """
        num = as_count(num, "num")
        thresh = as_amount(thresh, "thresh", "the fraction of a negative that annotations may cover")
        patience = _PATIENCE if patience is None else as_count(patience, "patience")
        images = table.images
        rows = np.arange(len(images)) if gids is None else _image_rows(images, gids)
        if num and not len(rows):
            raise ArgumentError(
                f"{num} negatives cannot be drawn, because there are no images; "
                "expected at least one; add images, or ids to gids"
            )
        images.require_sizes(rows)
        return cls(table, num, sizes, rows, thresh, patience)


def _image_rows(images: ImageTable, gids: Any) -> NDArray[np.int64]:
    """Return the rows of images, ascending."""
    if isinstance(gids, str) or not isinstance(gids, Iterable):
        raise ArgumentError(f"gids is {gids!r}; expected a list of image ids, or None for all images")
    listed = list(gids)
    foreign = [gid for gid in listed if not isinstance(gid, (int, np.integer))]
    if foreign:
        raise UnknownIdError(images.describe_unknown(foreign[0]))
    return np.unique(images.indices_of(listed))


def draw_negatives(
    request: NegativeRequest,
    find_pairs: PairFinder,
    rng: np.random.RandomState,
    exact: bool | Literal["warn"] = True,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return random windows that annotations do not cover, or cover only up to a threshold.

    Args:
        request: the number of windows, their sizes, and the images.
        find_pairs: finds the annotations that touch windows.
        rng: random state.
        exact: True raises an error if fewer windows are found than requested, and ``'warn'`` logs a warning.

    Returns:
        (n,) rows of the images, ascending, and (n, 4) left, top, right, bottom in pixels.

    Raises:
        ArgumentError: if ``exact`` is True and fewer are found than requested.
    """
    search = _Search(request, find_pairs, rng)
    rows, ltrb = search.run()
    if len(rows) < request.num:
        message = (
            f"found {len(rows)} of {request.num} negatives with thresh={request.thresh} in "
            f"{len(request.image_rows)} images, {len(search.without_room)} of which have no space for one; "
            "request fewer or smaller ones, raise thresh, or pass exact=False"
        )
        if exact == "warn":
            warn_user(message, UserWarning)
        elif exact:
            raise ArgumentError(message)
    order = np.argsort(rows, kind="stable")
    return rows[order], ltrb[order]


def even_shares(groups: NDArray[np.int64], rng: np.random.RandomState) -> NDArray[np.float64]:
    """Return points that fill the unit square evenly for each group, unlike independent random points.

    They are multiples of an irrational step from a random start (M. Roberts, "The unreasonable effectiveness
    of quasirandom sequences", 2018). Each single point is uniformly distributed, and any run of successive
    points of a group fills the square evenly.

    Args:
        groups: (M,) group of each point.
        rng: random state, which draws a start for each group.

    Returns:
        (M, 2) numbers from 0 to 1, exclusive.

    Example:
        >>> points = even_shares(np.zeros(100, int), np.random.RandomState(0))
        >>> counts = np.histogram(points[:, 0], bins=4, range=(0, 1))[0]
        >>> int(abs(counts - 25).max()) <= 1
        True
    """
    distinct, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    place = np.empty(len(groups))
    place[order] = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    return (rng.rand(len(distinct), 2)[group] + place[:, None] * _STEP) % 1.0


def tries_worth_making(round_: int, image_rows: NDArray[np.int64]) -> int:
    """Return how many windows to try for each missing one; 0 to compute the free space instead.

    Args:
        round_: number of the round, from 0.
        image_rows: (M,) row of the image of each missing window.

    Example:
        >>> tries_worth_making(6, np.arange(500)), tries_worth_making(6, np.zeros(500, int))
        (32, 0)
    """
    if round_ < len(_TRIES):
        return _TRIES[round_]
    if round_ >= len(_TRIES) + len(_MORE_TRIES):
        return 0
    tries = _MORE_TRIES[round_ - len(_TRIES)]
    return tries if len(image_rows) * tries <= _TRIES_PER_SEARCH * len(np.unique(image_rows)) else 0


def _valid_area(gid: int, region: Any, dsize: NDArray[np.float64]) -> ValidArea:
    """Return the area of an image's valid region; the error message for an invalid region names the image."""
    try:
        return ValidArea.from_coco(region, dsize)
    except ArgumentError as ex:
        raise ArgumentError(f"image {gid}: its {ex}") from None


class _Search:
    """The search for the windows of a request.

    Every missing window is assigned to an image. ``owing`` contains the rows of these images, one item for
    each missing window.
    """

    def __init__(self, request: NegativeRequest, find_pairs: PairFinder, rng: np.random.RandomState) -> None:
        self.request = request
        self.find_pairs = find_pairs
        self.rng = rng
        images = request.table.images
        #: (images, 2) width and height in pixels.
        self.dsizes = np.stack([images.widths, images.heights], axis=1).astype(np.float64)
        rows = {images.index_of(gid): gid for gid in images.valid_regions}
        self.areas = {
            row: _valid_area(rows[row], images.valid_regions[rows[row]], self.dsizes[row])
            for row in np.intersect1d(list(rows), request.image_rows).tolist()
        }
        self.without_room: list[int] = []

    def run(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the rows of the images and the windows, in the order in which they were found."""
        eligible = self.images_large_enough()
        owing = self.assign(eligible, self.request.num)
        found = [(np.empty(0, np.int64), np.empty((0, 4)))]
        barren = round_ = 0
        while len(owing) and barren <= self.request.patience:
            if tries := tries_worth_making(round_, owing):
                done, ltrb = self.try_at_random(owing, tries)
            else:
                done, ltrb, full = self.search_free_space(owing)
                eligible = np.setdiff1d(eligible, full)
                self.without_room += full
            found.append((owing[done], ltrb))
            owing = np.delete(owing, done)
            lost = ~np.isin(owing, eligible)
            owing = np.concatenate([owing[~lost], self.assign(eligible, int(lost.sum()))])
            barren = 0 if len(done) else barren + 1
            round_ += 1
        self.log_skipped_images()
        rows, ltrbs = zip(*found, strict=True)
        return np.concatenate(rows), np.concatenate(ltrbs)

    def assign(self, eligible: NDArray[np.int64], num: int) -> NDArray[np.int64]:
        """Return a random image for each of ``num`` windows, all images with the same probability."""
        if not len(eligible):
            return np.empty(0, np.int64)
        return eligible[self.rng.randint(0, len(eligible), size=num)]

    def images_large_enough(self) -> NDArray[np.int64]:
        """Return the rows of the images that are large enough for one of the sizes."""
        rows, sizes = self.request.image_rows, self.request.sizes
        if sizes.relative:
            return rows
        whole = sizes.in_pixels(np.arange(len(sizes.choices)), self.dsizes)
        fits = np.any((self.dsizes[rows][:, None] >= whole).all(axis=2), axis=1)
        self.without_room += rows[~fits].tolist()
        return rows[fits]

    def bounds(self, image_rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return (M, 4) left, top, right, bottom of each image, or of the extent of its valid region."""
        bounds = np.concatenate([np.zeros((len(image_rows), 2)), self.dsizes[image_rows]], axis=1)
        for row, area in self.areas.items():
            bounds[image_rows == row] = area.bounds
        return bounds

    def choose_sizes(self, image_rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return (M, 2) a random width and height in pixels for a window in each of the images."""
        chosen = self.rng.randint(0, len(self.request.sizes.choices), size=len(image_rows))
        return self.request.sizes.in_pixels(chosen, self.dsizes[image_rows])

    def try_at_random(
        self, owing: NDArray[np.int64], tries: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Try random windows; return which of the missing windows were found, and the windows."""
        slots = np.repeat(np.arange(len(owing)), tries)
        image_rows = owing[slots]
        sizes = self.choose_sizes(image_rows)
        bounds = self.bounds(image_rows)
        low, high = corner_range(bounds, sizes)
        # With several tries, the first accepted point of an even sequence would not be uniformly distributed.
        shares = even_shares(image_rows, self.rng) if tries == 1 else self.rng.rand(len(slots), 2)
        corners = np.minimum(low + np.floor(shares * (high - low + 1)), high)
        ltrb = np.concatenate([corners, corners + sizes], axis=1)
        candidates = np.nonzero((high >= low).all(axis=1))[0]
        good = candidates[self.acceptable(image_rows[candidates], ltrb[candidates])]
        done, first = np.unique(slots[good], return_index=True)
        return done, ltrb[good[first]]

    def acceptable(
        self, image_rows: NDArray[np.int64], ltrb: NDArray[np.float64], may_touch: bool = False
    ) -> NDArray[np.bool_]:
        """Return which windows avoid the annotations and are inside the valid regions."""
        good = self.uncovered(image_rows, ltrb, may_touch)
        for row, area in self.areas.items():
            mine = np.nonzero((image_rows == row) & good)[0]
            good[mine] = area.holds(ltrb[mine])
        return good

    def uncovered(
        self, image_rows: NDArray[np.int64], ltrb: NDArray[np.float64], may_touch: bool
    ) -> NDArray[np.bool_]:
        """Return which windows annotations cover no more than the threshold allows."""
        thresh = self.request.thresh
        good = np.ones(len(ltrb), dtype=bool)
        if thresh >= 1 or not len(ltrb):
            return good
        query, rows = self.find_pairs(image_rows, ltrb)
        if thresh == 0 and not may_touch:
            good[query] = False
            return good
        windows, boxes = ltrb[query].T, self.request.table.ltrb[:, rows]
        if thresh == 0:  # a box without area inside the window counts as an overlap; touching edges do not
            bad = ((windows[:2] < boxes[2:]) & (boxes[:2] < windows[2:])).all(axis=0)
            good[query[bad]] = False
            return good
        clipped = np.concatenate([np.maximum(windows[:2], boxes[:2]), np.minimum(windows[2:], boxes[2:])])
        parts = (clipped[2:] - clipped[:2]).prod(axis=0)
        limit = thresh * (ltrb[:, 2:] - ltrb[:, :2]).prod(axis=1)
        # The union of the annotations covers at least as much as each of them, and at most as much as their
        # sum.
        good[query[parts > limit[query]]] = False
        unsure = good & (np.bincount(query, parts, len(ltrb)) > limit)
        by_window = np.argsort(query, kind="stable")
        bounds = np.searchsorted(query[by_window], np.arange(len(ltrb) + 1))
        for i in np.nonzero(unsure)[0].tolist():
            good[i] = union_area(clipped[:, by_window[bounds[i] : bounds[i + 1]]]) <= limit[i]
        return good

    def search_free_space(
        self, owing: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], list[int]]:
        """Return which of the missing windows were found, the windows, and the images without free space."""
        done: list[NDArray[np.int64]] = []
        windows: list[NDArray[np.float64]] = []
        full: list[int] = []
        for row in np.unique(owing).tolist():
            slots = np.nonzero(owing == row)[0]
            ltrb, room = self.search_image(row, len(slots))
            done.append(slots[: len(ltrb)])
            windows.append(ltrb)
            if not room:
                full.append(row)
        return np.concatenate(done), np.concatenate(windows), full

    def search_image(self, row: int, num: int) -> tuple[NDArray[np.float64], bool]:
        """Return up to ``num`` windows from the free space of an image, and whether it has free space."""
        area = self.areas.get(row)
        bounds = self.bounds(np.array([row]))[0]
        plan = self.sizes_to_search(row, num)
        windows = self.search_sizes(row, plan, False)
        if not len(windows) and self.request.thresh == 0:
            windows = self.search_sizes(row, plan, True)
        if not len(windows) and (area is not None or self.request.thresh > 0):  # some may have been missed
            size, steps = self.smallest_size(row), _LATTICE if area is None else _FINE_LATTICE
            corners = lattice_corners(bounds, size, steps, self.rng)
            windows = self.rng.permutation(self.good_windows(row, corners, size, True))
        return windows[:num], len(windows) > 0

    def search_sizes(
        self, row: int, plan: list[tuple[NDArray[np.float64], int]], may_touch: bool
    ) -> NDArray[np.float64]:
        """Return windows from the free space of an image for each size."""
        bounds, obstacles, area = self.bounds(np.array([row]))[0], self.obstacles(row), self.areas.get(row)
        found: list[NDArray[np.float64]] = [np.empty((0, 4))]
        for size, share in plan:
            thresh = self.request.thresh
            corners = free_corners(bounds, size, obstacles, share, self.rng, thresh, area, may_touch)
            found.append(self.good_windows(row, corners, size, may_touch))
        return np.concatenate(found)

    def good_windows(
        self, row: int, corners: NDArray[np.float64], size: NDArray[np.float64], may_touch: bool
    ) -> NDArray[np.float64]:
        """Return the windows of an image at these corners that are acceptable."""
        ltrb = np.concatenate([corners, corners + size], axis=1)
        return ltrb[self.acceptable(np.full(len(ltrb), row), ltrb, may_touch)]

    def obstacles(self, row: int) -> NDArray[np.float64]:
        """Return (4, n) left, top, right, bottom of the boxes of an image."""
        first, stop = self.request.table.offsets[row : row + 2]
        boxes = self.request.table.ltrb[:, first:stop]
        return boxes[:, ~np.isnan(boxes).any(axis=0)]

    def sizes_to_search(self, row: int, num: int) -> list[tuple[NDArray[np.float64], int]]:
        """Return the window sizes to search free space for in an image, each with a number of windows."""
        sizes = self.choose_sizes(np.full(num, row))
        distinct, counts = np.unique(sizes, axis=0, return_counts=True)
        if len(distinct) > _SIZES_PER_ROUND:
            keep = self.rng.permutation(len(distinct))[:_SIZES_PER_ROUND]
            distinct, counts = distinct[keep], counts[keep]
        smallest = self.smallest_size(row)
        plan = [*zip(distinct, counts.tolist(), strict=True)]
        return plan if (distinct == smallest).all(axis=1).any() else [*plan, (smallest, num)]

    def smallest_size(self, row: int) -> NDArray[np.float64]:
        """Return the size with the smallest area; without free space for it, the image is skipped."""
        choices = self.request.sizes.choices
        smallest = np.array([choices.prod(axis=1).argmin()])
        result: NDArray[np.float64] = self.request.sizes.in_pixels(smallest, self.dsizes[[row]])[0]
        return result

    def log_skipped_images(self) -> None:
        """Log the ids of the images without free space."""
        if self.without_room:
            gids = self.request.table.images.gids[self.without_room]
            logger.warning(
                "%d images have no space for a negative and are skipped: ids %s",
                len(gids),
                np.sort(gids)[:10].tolist(),
            )
