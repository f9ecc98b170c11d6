"""
Targets for the windows of a grid over a whole dataset.

All windows of the dataset are compared with all annotations at once (:mod:`ndsampler.pools.window_grid`).
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.annot_table import AnnotTable
from ndsampler.dataset.warps import warp_matrix
from ndsampler.errors import ArgumentError, UnsupportedTaskError
from ndsampler.pools.area import windows_in_images, windows_in_videos
from ndsampler.pools.grid_options import NEGATIVE_CLASSES, GridOptions
from ndsampler.pools.window_grid import PlacedBoxes, Slider, WindowGrid, union_area
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from numpy.typing import NDArray

    from ndsampler.pools.area import Area
    from ndsampler.types import SampleGrid

__all__ = ["GridTargets", "grid_maker", "new_image_sample_grid", "new_video_sample_grid"]

logger = get_logger(__name__)

#: Number of targets from which a grid makes each dictionary when it is accessed, instead of all in advance.
_LAZY_FROM = 10_000


@fork_safe
def new_image_sample_grid(
    dset: Any,
    window_dims: Any,
    window_overlap: float | Sequence[float] = 0.0,
    classes_of_interest: Collection[str] | None = None,
    ignore_coverage_thresh: float | None = 0.6,
    negative_classes: Collection[str] | None = NEGATIVE_CLASSES,
    use_annots: bool = True,
    legacy: bool = True,
    verbose: int = 1,
    split: Area | None = None,
) -> SampleGrid:
    """Return windows that cover every image, as targets.

    The windows are placed side by side from the top left corner. The last window of a row or column is
    moved back so that it ends at the border. A window that is larger than the image extends beyond it.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
        window_dims: (height, width) in pixels. None or ``'full'``, for both or for one of them, means the
            size of the image.
        window_overlap: fraction of a window that overlaps with the next one, at least 0 and below 1, for
            all axes or for each axis.
        classes_of_interest: names of the categories that make a window positive, compared without regard to
            case; None for all that are not in ``negative_classes``.
        ignore_coverage_thresh: fraction of a window (of its part in the image) covered by boxes of the
            category ``ignore`` above which the window is left out; None or 0 keeps all windows.
        negative_classes: names of the categories that do not make a window positive, compared without regard
            to case.
        use_annots: False ignores annotations: ``aids`` is None and every target is negative.
        legacy: False leaves out ``positives`` and ``negatives``, which contain the same targets again.
        verbose: whether to log the numbers of targets.
        split: a part that :func:`ndsampler.training.spatial_split` returned; windows that are not inside it
            are left out.

    Returns:
        ``targets``, each with ``gid``, ``slices`` and ``aids`` (the annotations that touch the window,
        ascending); ``positives_indexes`` and ``negatives_indexes``, which index ``targets``; and with
        ``legacy`` the lists ``positives`` and ``negatives``. From 10,000 windows on, the lists of
        dictionaries are of the type :class:`GridTargets`, which makes each dictionary when it is accessed.

    Raises:
        ArgumentError: if the window or the overlap is invalid, or an image has no size.

    Example:
        >>> import kwcoco
        >>> grid = new_image_sample_grid(kwcoco.CocoDataset.demo("shapes8", verbose=0), (300, 600))
        >>> grid["targets"][0]["slices"]
        (slice(0, 300, None), slice(0, 600, None))
        >>> len(grid["targets"]), grid["positives_indexes"][0]
        (16, 0)
    """
    return image_grid(
        dset,
        AnnotTable.from_coco(dset),
        window_dims,
        window_overlap,
        classes_of_interest=classes_of_interest,
        ignore_coverage_thresh=ignore_coverage_thresh,
        negative_classes=negative_classes,
        use_annots=use_annots,
        legacy=legacy,
        verbose=verbose,
        split=split,
    )


@fork_safe
def new_video_sample_grid(
    dset: Any,
    window_dims: Any = None,
    window_overlap: float | Sequence[float] = 0.0,
    space_dims: Any = None,
    time_dim: Any = None,
    classes_of_interest: Collection[str] | None = None,
    ignore_coverage_thresh: float | None = 0.6,
    negative_classes: Collection[str] | None = NEGATIVE_CLASSES,
    use_annots: bool = True,
    legacy: bool = True,
    verbose: int = 1,
    split: Area | None = None,
) -> SampleGrid:
    """Return windows that cover every video in space and time, as targets.

    This is like :func:`new_image_sample_grid` with windows in video space. A window that is longer than the
    video extends beyond it; its ``gids`` are the frames that exist.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
        window_dims: (frames, height, width). None or ``'full'``, for all or for one of them, means the size
            of the video.
        window_overlap: fraction of a window that overlaps with the next one, at least 0 and below 1, for
            all axes or for each axis.
        space_dims: (height, width) instead of those in ``window_dims``.
        time_dim: number of frames instead of that in ``window_dims``.
        classes_of_interest: names of the categories that make a window positive, compared without regard to
            case; None for all that are not in ``negative_classes``.
        ignore_coverage_thresh: fraction of a window, over its frames, covered by boxes of the category
            ``ignore`` above which the window is left out; None or 0 keeps all windows.
        negative_classes: names of the categories that do not make a window positive, compared without regard
            to case.
        use_annots: False ignores annotations: ``aids`` is None and every target is negative.
        legacy: False leaves out ``positives`` and ``negatives``, which contain the same targets again.
        verbose: whether to log the numbers of targets.
        split: a part that :func:`ndsampler.training.spatial_split` returned; windows that are not inside it
            are left out.

    Returns:
        The same as :func:`new_image_sample_grid`, except that a target has the keys ``vidid``,
        ``time_slice``, ``space_slice``, ``gids`` and ``aids``.

    Raises:
        ArgumentError: if the window or the overlap is invalid, or a video has no size.

    Example:
        >>> import kwcoco
        >>> dset = kwcoco.CocoDataset.demo("vidshapes2", num_frames=5, verbose=0)
        >>> grid = new_video_sample_grid(dset, (2, "full", "full"))
        >>> [target["gids"] for target in grid["targets"][:3]]
        [[1, 2], [3, 4], [4, 5]]
    """
    return video_grid(
        dset,
        AnnotTable.from_coco(dset),
        window_dims,
        window_overlap,
        space_dims,
        time_dim,
        classes_of_interest=classes_of_interest,
        ignore_coverage_thresh=ignore_coverage_thresh,
        negative_classes=negative_classes,
        use_annots=use_annots,
        legacy=legacy,
        verbose=verbose,
        split=split,
    )


def image_grid(
    dset: Any,
    table: AnnotTable,
    window_dims: Any,
    window_overlap: float | Sequence[float] = 0.0,
    **options: Any,
) -> SampleGrid:
    """Return windows that cover every image of a dataset whose annotations are available as columns.

    Args:
        dset: the dataset, for the names of its categories.
        table: its annotations.
        window_dims: see :func:`new_image_sample_grid`.
        window_overlap: see :func:`new_image_sample_grid`.
        **options: the other arguments of :func:`new_image_sample_grid`.

    Raises:
        ArgumentError: if the window or the overlap is invalid, or an image has no size.
    """
    chosen = GridOptions.from_arguments(options)
    slider = Slider.from_arguments(window_dims, window_overlap, ("height", "width"))
    images = table.images
    images.require_sizes()
    sizes = np.stack([np.ones_like(images.heights), images.heights, images.widths], axis=1)[images.order]
    slider = Slider((1, *slider.window), (0.0, *slider.overlap))
    grid = WindowGrid.from_sizes(sizes.astype(np.int64), slider)
    sources = np.empty(len(images), np.int64)
    sources[images.order] = np.arange(len(images))
    frames = PlacedBoxes(sources[table.image_rows], np.zeros(len(table), np.int64), table.ltrb)
    gids = images.gids[images.order].tolist()
    inside = windows_in_images(grid, images.gids[images.order], chosen.split)

    def build(
        source: int, _frames: tuple[int, int], slices: tuple[slice, slice], aids: Any
    ) -> dict[str, Any]:
        return {"gid": gids[source], "slices": slices, "aids": aids}

    return _result(dset, table, grid, frames, chosen, inside, build)


def video_grid(
    dset: Any,
    table: AnnotTable,
    window_dims: Any = None,
    window_overlap: float | Sequence[float] = 0.0,
    space_dims: Any = None,
    time_dim: Any = None,
    **options: Any,
) -> SampleGrid:
    """Return windows that cover every video of a dataset whose annotations are available as columns.

    Args:
        dset: the dataset, for the names of its categories and the sizes of its videos.
        table: its annotations.
        window_dims: see :func:`new_video_sample_grid`.
        window_overlap: see :func:`new_video_sample_grid`.
        space_dims: see :func:`new_video_sample_grid`.
        time_dim: see :func:`new_video_sample_grid`.
        **options: the other arguments of :func:`new_video_sample_grid`.

    Raises:
        ArgumentError: if the window or the overlap is invalid, or a video has no size.
    """
    chosen = GridOptions.from_arguments(options)
    window = _joined_dims(window_dims, space_dims, time_dim)
    slider = Slider.from_arguments(window, window_overlap, ("frames", "height", "width"))
    videos = _Videos.from_coco(dset, table)
    grid = WindowGrid.from_sizes(videos.sizes, slider)
    images = table.image_rows
    frames = PlacedBoxes(videos.source[images], videos.position[images], _video_boxes(table))
    vidids = videos.vidids
    inside = windows_in_videos(grid, videos.gids, chosen.split)

    def build(source: int, time: tuple[int, int], slices: tuple[slice, slice], aids: Any) -> dict[str, Any]:
        return {
            "vidid": vidids[source],
            "time_slice": slice(*time),
            "space_slice": slices,
            "gids": videos.gids[source][slice(*time)],
            "aids": aids,
        }

    return _result(dset, table, grid, frames, chosen, inside, build)


def grid_maker(task: Any) -> Callable[..., SampleGrid]:
    """Return the function that makes the grid for a task.

    Args:
        task: ``'image_detection'`` or ``'video_detection'``.

    Raises:
        UnsupportedTaskError: if there is no such task.

    Example:
        >>> grid_maker("image_detection").__name__
        'image_grid'
    """
    makers = {"image_detection": image_grid, "video_detection": video_grid}
    if not isinstance(task, str) or task not in makers:
        raise UnsupportedTaskError(
            f"no grid is made for the task {task!r}; expected one of {sorted(makers)}; "
            "choose 'image_detection' to sample single images"
        )
    return makers[task]


class GridTargets(Sequence[dict[str, Any]]):
    """
    Targets of a grid, each of which is made when it is accessed.

    Args:
        grid: the windows.
        keep: numbers of the windows that have a target, in order.
        aids: annotation ids of all windows, concatenated; None if annotations are not used.
        bounds: (windows + 1) bounds of each window's ids in ``aids``.
        build: makes a target from its source, frames, slices and ids.

    Example:
        >>> import kwcoco
        >>> grid = new_image_sample_grid(kwcoco.CocoDataset.demo("shapes8", verbose=0), (300, 300))
        >>> sorted(grid["targets"][-1])
        ['aids', 'gid', 'slices']
    """

    def __init__(
        self,
        grid: WindowGrid,
        keep: NDArray[np.int64],
        aids: NDArray[np.int64] | None,
        bounds: NDArray[np.int64],
        build: Any,
    ) -> None:
        self._grid = grid
        self._keep = keep
        self._aids = aids
        self._bounds = bounds
        self._build = build

    def __repr__(self) -> str:
        return f"<GridTargets of {len(self):,} windows>"

    def __len__(self) -> int:
        return len(self._keep)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return GridTargets(self._grid, self._keep[index], self._aids, self._bounds, self._build)
        window = int(self._keep[index])
        source, low, high = self._grid.place(window)
        aids = None if self._aids is None else self._aids[self._bounds[window] : self._bounds[window + 1]]
        slices = slice(low[1], high[1]), slice(low[2], high[2])
        return self._build(source, (low[0], high[0]), slices, None if aids is None else aids.tolist())

    def __iter__(self) -> Any:
        parts = range(0, len(self._keep), _LAZY_FROM)
        return chain.from_iterable(self._made(self._keep[first : first + _LAZY_FROM]) for first in parts)

    def _made(self, windows: NDArray[np.int64]) -> list[dict[str, Any]]:
        build = self._build
        source, low, high = self._grid.placed(windows)
        places = [column.tolist() for column in (source, *low.T, *high.T)]
        return [
            build(source_, (t0, t1), _slices(y0, y1, x0, x1), held)
            for source_, t0, y0, x0, t1, y1, x1, held in zip(*places, self._held(windows), strict=True)
        ]

    def _held(self, windows: NDArray[np.int64]) -> Iterable[list[int] | None]:
        """Return the annotation ids of each window, gathered for all windows at once."""
        if self._aids is None:
            return repeat(None, len(windows))
        counts = self._bounds[windows + 1] - self._bounds[windows]
        stops = np.cumsum(counts)
        skipped = np.repeat(self._bounds[windows] - (stops - counts), counts)
        aids = self._aids[np.arange(len(skipped)) + skipped].tolist()
        return [aids[first:stop] for first, stop in pairwise([0, *stops.tolist()])]


@lru_cache(maxsize=4096)
def _slices(top: int, bottom: int, left: int, right: int) -> tuple[slice, slice]:
    """Return the slices of a window; images of the same size share them."""
    return slice(top, bottom), slice(left, right)


@dataclass(frozen=True, eq=False)
class _Videos:
    """The videos in the order of the dataset, with their frames in temporal order."""

    vidids: list[int]
    """Video ids."""

    sizes: NDArray[np.int64]
    """(videos, 3) number of frames, height and width of each video."""

    gids: list[list[int]]
    """Image ids of the frames of each video."""

    source: NDArray[np.int64]
    """(images,) index of the video that each image belongs to; -1 for none."""

    position: NDArray[np.int64]
    """(images,) position of each image among the frames of its video."""

    @classmethod
    def from_coco(cls, dset: Any, table: AnnotTable) -> _Videos:
        """Return the videos of a dataset that have frames.

        Args:
            dset: the dataset.
            table: its annotations and images.

        Raises:
            ArgumentError: if the dataset does not state the size of a video.
        """
        images = table.images
        rows = np.lexsort((images.gids, images.frame_index, images.vidids))
        rows = rows[images.vidids[rows] >= 0]
        distinct, begins = np.unique(images.vidids[rows], return_index=True)
        frames = dict(zip(distinct.tolist(), np.split(rows, begins)[1:], strict=True))
        videos = [video for video in dset.dataset.get("videos", []) if video["id"] in frames]
        source = np.full(len(images), -1)
        position = np.zeros(len(images), np.int64)
        for i, video in enumerate(videos):
            mine = frames[video["id"]]
            source[mine] = i
            position[mine] = np.arange(len(mine))
        sizes = [(len(frames[video["id"]]), *_video_size(video)) for video in videos]
        return cls(
            vidids=[video["id"] for video in videos],
            sizes=np.array(sizes, np.int64).reshape(-1, 3),
            gids=[images.gids[frames[video["id"]]].tolist() for video in videos],
            source=source,
            position=position,
        )


def _video_size(video: dict[str, Any]) -> tuple[int, int]:
    size = video.get("height"), video.get("width")
    if size[0] is None or size[1] is None:
        raise ArgumentError(
            f"video {video['id']} has height {size[0]} and width {size[1]}; expected both, in pixels; "
            "add them to the dataset, or call dset.conform()"
        )
    try:
        height, width = int(size[0]), int(size[1])
    except (TypeError, ValueError, OverflowError):
        height = width = 0
    if min(height, width) < 1:
        raise ArgumentError(
            f"video {video['id']} has height {size[0]!r} and width {size[1]!r}; expected pixels above 0"
        )
    return height, width


def _video_boxes(table: AnnotTable) -> NDArray[np.float64]:
    """Return (4, N) left, top, right, bottom of all boxes in the space of their videos."""
    ltrb = table.ltrb
    if table.images.warps:
        ltrb = ltrb.copy()
    for gid, warp in table.images.warps.items():
        try:
            matrix = warp_matrix(warp)
        except ValueError as ex:
            raise ArgumentError(f"image {gid}: {ex}") from None
        first, stop = table.span(gid)
        if matrix is not None and stop > first:
            left, top, right, bottom = ltrb[:, first:stop]
            corners = np.stack(
                [[left, right, left, right], [top, top, bottom, bottom], np.ones((4, stop - first))]
            )
            x, y, w = np.einsum("ij,jkn->ikn", matrix, corners)
            ltrb[:, first:stop] = [(x / w).min(0), (y / w).min(0), (x / w).max(0), (y / w).max(0)]
    return ltrb


def _joined_dims(window_dims: Any, space_dims: Any, time_dim: Any) -> Any:
    """Return (frames, height, width); the last two arguments replace parts of the first."""
    if space_dims is None and time_dim is None:
        return window_dims
    if window_dims is None or isinstance(window_dims, str):
        window_dims = (window_dims,) * 3
    if space_dims is None or isinstance(space_dims, str):
        space_dims = tuple(window_dims)[1:] if space_dims is None else (space_dims,) * 2
    elif isinstance(space_dims, numbers.Integral):
        space_dims = (space_dims, space_dims)
    try:
        return (window_dims[0] if time_dim is None else time_dim, *space_dims)
    except (TypeError, LookupError):
        raise ArgumentError(
            f"got window_dims={window_dims!r} and space_dims={space_dims!r}; expected "
            "(frames, height, width) and (height, width)"
        ) from None


# --- results ----------------------------------------------------------------


def _result(
    dset: Any,
    table: AnnotTable,
    grid: WindowGrid,
    frames: PlacedBoxes,
    options: GridOptions,
    keep: NDArray[np.bool_],
    build: Any,
) -> SampleGrid:
    """Return the dictionary that describes a grid to the user."""
    positive = np.zeros(len(grid), dtype=bool)
    aids, bounds = None, np.zeros(len(grid) + 1, np.int64)
    if options.use_annots:
        window, row = grid.touching(frames)
        positive[window[_makes_positive(dset, table, options)[row]]] = True
        keep &= ~_ignored(dset, table, grid, frames, options, window, row)
        bounds = np.searchsorted(window, np.arange(len(grid) + 1))
        aids = table.aids[row]
        if not ((np.diff(window) > 0) | (np.diff(aids) > 0)).all():
            aids = aids[np.lexsort((aids, window))]
    kept = np.nonzero(keep)[0]
    lazy = GridTargets(grid, kept, aids, bounds, build)
    targets: Sequence[dict[str, Any]] = lazy if len(lazy) >= _LAZY_FROM else list(lazy)
    result: SampleGrid = {
        "targets": targets,
        "positives_indexes": np.nonzero(positive[kept])[0].tolist(),
        "negatives_indexes": np.nonzero(~positive[kept])[0].tolist(),
    }
    if options.legacy:
        parts = {}
        for name, chosen in (("positives", positive[kept]), ("negatives", ~positive[kept])):
            part = GridTargets(grid, kept[chosen], aids, bounds, build)
            parts[name] = part if targets is lazy else [targets[i] for i in np.nonzero(chosen)[0].tolist()]
        result["positives"], result["negatives"] = parts["positives"], parts["negatives"]
    if options.verbose:
        logger.info(
            "found %d targets, %d positive and %d negative",
            len(kept),
            len(result["positives_indexes"]),
            len(result["negatives_indexes"]),
        )
    return result


def _class_ids(dset: Any, names: Collection[str]) -> list[int]:
    """Return the ids of the categories with these names, which are in lower case."""
    return [cat["id"] for cat in dset.dataset.get("categories", []) if cat["name"].lower() in names]


def _makes_positive(dset: Any, table: AnnotTable, options: GridOptions) -> NDArray[np.bool_]:
    """Return which annotations make the windows that they touch positive."""
    if options.classes_of_interest:
        return np.isin(table.cids, _class_ids(dset, options.classes_of_interest))
    return ~np.isin(table.cids, _class_ids(dset, options.negative_classes or ()))


def _ignored(
    dset: Any,
    table: AnnotTable,
    grid: WindowGrid,
    frames: PlacedBoxes,
    options: GridOptions,
    window: NDArray[np.int64],
    row: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Return which windows are covered too much by annotations of the category ``ignore``."""
    ignored = np.zeros(len(grid), dtype=bool)
    relevant = np.isin(table.cids[row], _class_ids(dset, ["ignore"]))
    if not options.ignore_coverage_thresh or not relevant.any():
        return ignored
    window, row = window[relevant], row[relevant]
    order = np.lexsort((frames.position[row], window))
    window, row = window[order], row[order]
    distinct, of = np.unique(window, return_inverse=True)
    source, low, high = grid.placed(distinct)
    high = np.minimum(high, grid.sizes[source])
    inner = np.concatenate([low[:, [2, 1]], high[:, [2, 1]]], axis=1)[of].T
    boxes = frames.ltrb[:, row]
    clipped = np.concatenate([np.maximum(boxes[:2], inner[:2]), np.minimum(boxes[2:], inner[2:])])
    changes = (np.diff(window) != 0) | (np.diff(frames.position[row]) != 0)
    begins = np.concatenate([[0], np.nonzero(changes)[0] + 1, [len(row)]])
    covered = np.zeros(len(distinct))
    for first, stop in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
        covered[of[first]] += union_area(clipped[:, first:stop])
    ignored[distinct] = covered > options.ignore_coverage_thresh * (high - low).prod(axis=1)
    return ignored
