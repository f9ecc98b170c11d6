"""
Divides a dataset into splits for training and evaluation whose windows share no pixels.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ndsampler.dataset.columns import NO_ID
from ndsampler.dataset.entries import list_files, malformed_image, stated_video_dims
from ndsampler.dataset.image_table import ImageTable
from ndsampler.dataset.kwcoco_adapter import find_video
from ndsampler.dataset.warps import warp_matrix
from ndsampler.errors import ArgumentError, UnknownTargetError
from ndsampler.pools.arguments import as_amount
from ndsampler.training.areas import Cells, Places, warp_boxes
from ndsampler.training.windows import SPACES, WindowBoxes
from ndsampler.utils.random_state import ensure_rng

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["Split", "spatial_split"]

#: Side in pixels of the single cell of an undivided source, larger than any image.
_WHOLE = 2**40

#: Number of rows, and of columns, of blocks into which ``by='block'`` divides an image.
BLOCKS = 8

#: Maximum number of blocks of a given size; the size of an image may be false.
MAX_BLOCKS = 2**25


class Split:
    """A part of a dataset: whole images, or blocks of images. :func:`spatial_split` makes splits.

    A window is in a split if all of its pixels are in the split and no pixel of another split is closer than
    half of the buffer. Pixels outside the image do not count.

    Args:
        places: the images and their sources.
        cells: the cells of the sources.
        owned: (cells,) True for each cell of the split.
        margin: number of pixels around a window that must also belong to the split.
    """

    def __init__(self, places: Places, cells: Cells, owned: NDArray[np.bool_], margin: int = 0) -> None:
        self._places = places
        self._cells = cells
        self._owned = owned
        self._margin = margin
        self._tables, self._begins = cells.sums(owned)

    def __repr__(self) -> str:
        return f"Split({int(self._owned.sum())} of {len(self._owned)} cells, {len(self.gids)} images)"

    @property
    def gids(self) -> list[int]:
        """The ids of the images that lie at least partly in the split, ascending."""
        source, _ = self._cells.boxes(np.nonzero(self._owned)[0])
        result: list[int] = self._places.gids[np.isin(self._places.source, source)].tolist()
        return result

    def contains(
        self,
        gids: NDArray[np.int64],
        ltrb: NDArray[np.float64],
        space: Literal["image", "video"] = "image",
    ) -> NDArray[np.bool_]:
        """Return which boxes on images lie in the split.

        Args:
            gids: (n,) image ids.
            ltrb: (n, 4) left, top, right, bottom of each box in pixels.
            space: whether boxes are in image or in video space.

        Raises:
            UnknownIdError: if the dataset has no such image.

        Example:
            >>> import kwcoco
            >>> train, test = spatial_split(kwcoco.CocoDataset.demo('shapes8', verbose=0), (0.75, 0.25))
            >>> boxes = np.array([[0, 0, 64, 64]] * 8)
            >>> train.contains(np.arange(1, 9), boxes).sum(), test.contains(np.arange(1, 9), boxes).sum()
            (np.int64(6), np.int64(2))
        """
        gids, ltrb = np.asarray(gids, np.int64), np.asarray(ltrb, np.float64).reshape(-1, 4)
        source = self._places.source[self._places.rows_of(gids)]
        boxes = self._places.to_source(gids, ltrb, space)
        touched = self._cells.touched(source, boxes + self._margin * np.array([-1, -1, 1, 1]))
        left, top, right, bottom = touched
        wide = self._cells.counts[source, 1] + 1
        corner = [
            self._tables[self._begins[source] + y * wide + x] for y in (top, bottom) for x in (left, right)
        ]
        # The number of owned cells in a rectangle follows from the sums at its corners.
        own = corner[3] - corner[1] - corner[2] + corner[0]
        inside = (boxes[:, 2:] > 0) & (boxes[:, :2] < self._places.sizes[source][:, [1, 0]])
        result: NDArray[np.bool_] = inside.all(axis=1) & (own == (right - left) * (bottom - top))
        return result

    def cell_boxes(self) -> WindowBoxes:
        """Return the cells of the split on each of its images, in the space of their sources."""
        source, ltrb = self._cells.boxes(np.nonzero(self._owned)[0])
        order = np.argsort(self._places.source, kind="stable")
        first = np.searchsorted(self._places.source[order], source)
        counts = np.searchsorted(self._places.source[order], source, side="right") - first
        cell = np.repeat(np.arange(len(source)), counts)
        image = order[np.arange(len(cell)) - (np.cumsum(counts) - counts)[cell] + first[cell]]
        gids = self._places.gids[image]
        return WindowBoxes(gids, ltrb[cell], np.zeros(len(gids), bool), np.arange(len(gids)))

    def is_warped(self, space: str) -> bool:
        """Return whether the space of some images differs from that of the cells.

        Args:
            space: ``'image'`` or ``'video'``.
        """
        return bool(self._places.from_image if space == "image" else self._places.from_video)

    def select(self, targets: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the targets whose windows are in the split.

        Args:
            targets: targets of a grid or a pool, with ``slices``, ``space_slice``, ``bbox``, or a center and
                a size. A target without any of these is a whole image.

        Raises:
            ArgumentError: if the window of a target is invalid.
        """
        targets = list(targets)
        windows = WindowBoxes.from_targets(targets)
        inside = np.ones(len(targets), bool)
        for space in SPACES:
            mine = windows.is_video == (space == "video")
            found = self.contains(windows.gids[mine], windows.ltrb[mine], space)
            inside[windows.target[mine][~found]] = False
        return [target for target, chosen in zip(targets, inside.tolist(), strict=True) if chosen]


def spatial_split(
    dset: Any,
    fractions: Sequence[float],
    buffer: float = 0,
    by: str | tuple[int, int] = "image",
    seed: int = 0,
) -> tuple[Split, ...]:
    """Divide a dataset into splits, and return one for each fraction.

    Pass a split to a grid (``new_sample_grid(..., split=train)``), or select the targets of a pool with
    :meth:`Split.select`. Images that share a file are always in the same split.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
        fractions: the share of images, videos or blocks in each split: numbers above 0 whose sum is at most
            1. The rest is in no split.
        buffer: minimum distance in pixels between the windows of two splits; only for blocks.
        by: the units that are divided. ``'image'``: whole images, including the frames of videos, although
            those of one video look alike. ``'video'``: whole videos, and images without a video.
            ``'block'``: each image is divided into 8 x 8 blocks. A (height, width) in pixels: each image is
            divided into blocks of this size. The frames of a video share their blocks.
        seed: the same seed returns the same splits.

    Raises:
        ArgumentError: for an invalid argument, or if there are too few images, videos or blocks, or too many
            blocks.
        SourceError: if the dictionary of an image or video is malformed.
        UnknownTargetError: if the dataset lacks the video of an image.

    Example:
        >>> import kwcoco
        >>> dset = kwcoco.CocoDataset.demo('shapes8', verbose=0)
        >>> train, validation, test = spatial_split(dset, (0.5, 0.25, 0.25))
        >>> len(train.gids), len(validation.gids), len(test.gids)
        (4, 2, 2)
    """
    shares = _check_fractions(fractions)
    margin = int(np.ceil(as_amount(buffer, "buffer", "pixels between windows") / 2))
    blocks = _check_by(by, margin)
    images = ImageTable.from_coco(dset)
    if blocks is None:
        source = _join_files(dset, images, _unit_keys(images, by == "video"))
        places = Places(images.gids, source, np.full((source.max(initial=-1) + 1, 2), _WHOLE))
        cells = Cells(places.sizes, np.ones_like(places.sizes))
    else:
        places = _find_sources(dset, images)
        cells = _divide_into_cells(places, blocks)
    owner = _assign(int(cells.base[-1]), shares, seed, "images, videos or blocks")
    return tuple(Split(places, cells, owner == number, margin) for number in range(len(shares)))


def _check_fractions(fractions: Any) -> NDArray[np.float64]:
    """Return fractions as an array.

    Raises:
        ArgumentError: if they are not numbers above 0 whose sum is at most 1.
    """
    try:
        shares = np.asarray(fractions, np.float64)
    except (TypeError, ValueError):
        shares = np.empty(0)
    if shares.ndim != 1 or not shares.size or not (shares > 0).all() or not shares.sum() <= 1 + 1e-9:
        raise ArgumentError(
            f"fractions is {fractions!r}; expected a number above 0 for each split, with a sum of at most 1, "
            "such as (0.8, 0.1, 0.1)"
        )
    return shares


def _check_by(by: Any, margin: int) -> tuple[int, int] | None:
    """Return the (height, width) of blocks in pixels, 0 for a fixed number of blocks; None for whole images.

    Raises:
        ArgumentError: if ``by`` is invalid, or cannot be combined with the buffer.
    """
    if isinstance(by, str) and by in ("image", "video"):
        if margin:
            raise ArgumentError(f"by is {by!r} and buffer is above 0; only blocks have a buffer: use 'block'")
        return None
    if isinstance(by, str) and by == "block":
        return 0, 0
    dims = np.asarray(by, object).ravel().tolist()
    if len(dims) != 2 or not all(isinstance(dim, (int, np.integer)) and dim > 0 for dim in dims):
        raise ArgumentError(
            f"by is {by!r}; expected 'image', 'video', 'block', or (height, width) of the blocks in pixels"
        )
    return int(dims[0]), int(dims[1])


def _unit_keys(images: ImageTable, by_video: bool) -> list[Hashable]:
    """Return the key of the unit to which each image belongs: its video, or the image itself."""
    vidids = images.vidids.tolist()
    return [
        ("video", vidid) if by_video and vidid != NO_ID else ("image", gid)
        for gid, vidid in zip(images.gids.tolist(), vidids, strict=True)
    ]


def _join_files(dset: Any, images: ImageTable, keys: list[Hashable]) -> NDArray[np.int64]:
    """Return the number of the unit of each image, after joining units that share a file."""
    parents: dict[Hashable, Hashable] = {}

    def find(key: Hashable) -> Hashable:
        while (above := parents.setdefault(key, key)) != key:
            parents[key] = key = parents[above]
        return key

    for gid, key in zip(images.gids.tolist(), keys, strict=True):
        for path in _files_of(dset, gid):
            parents[find(("file", path))] = find(key)
    return _number(find(key) for key in keys)


def _files_of(dset: Any, gid: int) -> list[str]:
    """Return the paths of the files of an image."""
    files = list_files(gid, dset.imgs[gid], os.fspath(dset.bundle_dpath))
    return [os.path.normpath(path) for path, _ in files]


def _number(keys: Iterable[Hashable]) -> NDArray[np.int64]:
    """Return a number for each key, in the order in which distinct keys first appear."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def _find_sources(dset: Any, images: ImageTable) -> Places:
    """Return the videos, and the images without a video, as sources that can be divided."""
    images.require_sizes()
    sizes = np.stack([images.heights, images.widths], axis=1).astype(np.int64)
    keys: list[Hashable] = []
    warps: dict[int, NDArray[np.float64]] = {}
    for gid, vidid, size in zip(images.gids.tolist(), images.vidids.tolist(), sizes.tolist(), strict=True):
        if vidid == NO_ID:
            keys.append(("file", *(_files_of(dset, gid)[:1] or [gid]), *size))
            continue
        keys.append(("video", vidid))
        try:
            matrix = warp_matrix(images.warps.get(gid))
        except ValueError as ex:
            raise malformed_image(gid, ex) from ex
        if matrix is not None:
            warps[gid] = matrix
    source = _number(keys)
    extents = np.zeros((source.max(initial=-1) + 1, 2), np.int64)
    for row, (gid, vidid) in enumerate(zip(images.gids.tolist(), images.vidids.tolist(), strict=True)):
        height, width = sizes[row].tolist()
        if gid in warps:
            corners = warp_boxes(warps[gid], np.array([[0.0, 0, width, height]]))[0]
            if not (np.abs(corners) < _WHOLE).all():
                raise malformed_image(gid, ValueError("its transform leads too far outside the video"))
            width, height = np.ceil(corners[2:]).astype(np.int64).tolist()
        if vidid != NO_ID:
            stated = _stated_size(dset, gid, vidid)
            height, width = stated[0] or height, stated[1] or width
        extents[source[row]] = np.maximum(extents[source[row]], [height, width])
    return Places(images.gids, source, extents, warps)


def _stated_size(dset: Any, gid: int, vidid: int) -> tuple[int, int]:
    """Return the (height, width) that the video of a frame states, or 0 for each.

    Raises:
        UnknownTargetError: if the dataset has no such video.
    """
    try:
        video = find_video(dset, vidid)
    except KeyError:
        raise UnknownTargetError(
            f"image {gid} is a frame of video {vidid}; expected the id of a video of the dataset"
        ) from None
    return stated_video_dims(vidid, video) or (0, 0)


def _divide_into_cells(places: Places, blocks: tuple[int, int]) -> Cells:
    """Return the blocks of all sources.

    Raises:
        ArgumentError: if there are more blocks than fit into memory.
    """
    sizes = np.maximum(-(-places.sizes // BLOCKS), 1)
    for axis, length in enumerate(blocks):
        if length:
            sizes[:, axis] = length
    counts = np.maximum(-(-places.sizes // sizes), 1)
    if any(blocks) and (total := counts.astype(float).prod(axis=1).sum()) > MAX_BLOCKS:
        raise ArgumentError(
            f"the images have {total:.3g} blocks of {blocks} pixels according to their sizes in the dataset; "
            f"expected at most {MAX_BLOCKS:,}. Use larger blocks, or correct the sizes"
        )
    return Cells(sizes, counts)


def _assign(count: int, shares: NDArray[np.float64], seed: Any, what: str) -> NDArray[np.int64]:
    """Return the split of each unit, -1 for none. Each split has its share to within one unit."""
    exact = np.append(shares, max(0.0, 1 - shares.sum())) * count
    numbers = np.floor(exact + 1e-9).astype(np.int64)
    behind = np.argsort(numbers - exact, kind="stable")[: count - numbers.sum()]
    numbers[behind] += 1
    if not numbers[:-1].all():
        raise ArgumentError(
            f"fractions is {tuple(shares.tolist())}, and there are {count} {what} to divide; expected at "
            "least one for each split. Use larger fractions, or by='block' with smaller blocks"
        )
    owner = np.repeat([*range(len(shares)), -1], numbers)
    result = np.empty(count, np.int64)
    result[ensure_rng(seed).permutation(count)] = owner
    return result
