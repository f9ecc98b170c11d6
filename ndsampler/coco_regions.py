"""
Pools of targets: positives around annotations, negatives away from them.

Everything works on the columns of :mod:`ndsampler.dataset.annot_table`, which are built when first needed
and anew when the dataset shows that it was edited.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import ubelt as ub

from ndsampler.dataset.annot_table import AnnotTable
from ndsampler.dataset.box_tree import NO_ROWS
from ndsampler.dataset.categories import DatasetCounts, background_id, list_categories, look_up
from ndsampler.dataset.edits import dataset_state, hash_dataset
from ndsampler.dataset.kwcoco_adapter import is_view
from ndsampler.dataset.opening import image_folder
from ndsampler.dataset.segmentations import parse_segmentations
from ndsampler.dataset.sizes import SizeSource
from ndsampler.errors import MissingNegativePool
from ndsampler.isect_indexer import FrameIntersectionIndex, ltrb_array
from ndsampler.pools.arguments import as_count, as_index, as_position
from ndsampler.pools.positives import (
    choose_positives,
    select_positive_regions,
    tabular_coco_targets,
    targets_of_table,
    window_pair,
)
from ndsampler.pools.sample_grid import grid_maker, new_image_sample_grid, new_video_sample_grid
from ndsampler.pools.targets import (
    NegativePool,
    NegativeSource,
    Targets,
    checked_rows,
    pool_sizes,
    random_index,
    relative_sizes,
)
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.hash_identifiable import HashIdentifiable
from ndsampler.utils.quiet import stdout_to_log
from ndsampler.utils.random_state import ensure_worker_rng

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import kwarray
    import kwimage
    from numpy.typing import NDArray

    from ndsampler.category_tree import CategoryTree
    from ndsampler.types import PathLike
    from ndsampler.utils.random_state import Rng

__all__ = [
    "CocoRegions",
    "MissingNegativePool",
    "Targets",
    "new_image_sample_grid",
    "new_video_sample_grid",
    "select_positive_regions",
    "tabular_coco_targets",
]

logger = logging.getLogger(__name__)


class CocoRegions(Targets, DatasetCounts, HashIdentifiable, ub.NiceRepr):  # type: ignore[misc]
    """
    Positive and negative targets of a dataset, as a pool that can be indexed.

    The positives come first, then the negatives. Without :meth:`preselect` the pool is all positives.

    An edit of the dataset is noticed where its size or kwcoco's counters show it; preselected pools are
    then dropped. Call :meth:`refresh` after changing a box in place.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
        workdir: a folder for temporary files; nothing is written to it here.
        verbose: whether to show a progress bar while the sizes of many images are read.
        images: folder that relative file names of images start from; by default the folder of the dataset.

    Attributes:
        dset: the dataset.
        workdir: as given.
        verbose: as given.
        BACKGROUND_CLASS_ID: id of the category named background, else 0: that of negatives.
        custom_preselect_positives: None, or a function that :meth:`preselect` lets choose the positives:
            given the regions, ``window_dims`` and ``rng=``, it returns rows of :attr:`targets`.

    Example:
        >>> self = CocoRegions.demo()
        >>> positive = self.get_positive(0)
        >>> sorted(positive)
        ['aid', 'category_id', 'cx', 'cy', 'gid', 'height', 'img_height', 'img_width', 'width']
        >>> self.get_negative(rng=0)["aid"]
        -1
    """

    custom_preselect_positives: Callable[..., Sequence[int]] | None = None

    def __init__(
        self, dset: Any, workdir: Any = None, verbose: int = 1, *, images: PathLike | None = None
    ) -> None:
        super().__init__()
        self.dset = dset
        self._images = image_folder(images)
        self.workdir = workdir
        self.verbose = verbose
        self._forget()

    def _forget(self) -> None:
        """Drop everything that was derived from the dataset."""
        self._state: tuple[Any, ...] = dataset_state(self.dset)
        self._hashid = None
        self._hashid_parts = None
        self._table: AnnotTable | None = None
        self._classes: CategoryTree | None = None
        self._neg_anchors: NDArray[np.float64] | None = None
        self._pos_select_idxs: NDArray[np.int64] | None = None
        self._negative_pool: NegativePool | None = None
        # Programs put their own targets and index here; those are theirs to renew.
        if not hasattr(self, "_targets") or self._targets is self._own_targets:
            self._targets: kwarray.DataFrameArray | None = None
        if not hasattr(self, "_isect_index") or self._isect_index is self._own_index:
            self._isect_index: FrameIntersectionIndex | None = None
        self._own_targets: kwarray.DataFrameArray | None = None
        self._own_index: FrameIntersectionIndex | None = None
        self.BACKGROUND_CLASS_ID: int = background_id(self.dset)

    def refresh(self) -> None:
        """Read the dataset anew: after an edit that neither its size nor kwcoco's counters show.

        Preselected pools are dropped. Targets and index set from outside are kept.

        Example:
            >>> self = CocoRegions.demo()
            >>> self.dset.anns[1]["bbox"] = [1, 2, 3, 4]
            >>> self.refresh()
            >>> float(self.targets["width"][0])
            3.0
        """
        if self._pos_select_idxs is not None or self._negative_pool is not None:
            logger.warning("the dataset was read anew, which drops the preselected targets; preselect again")
        self._forget()

    def _notice_edits(self) -> None:
        if dataset_state(self.dset) != self._state:
            self.refresh()

    def __getstate__(self) -> dict[str, Any]:
        self._notice_edits()
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._state = dataset_state(self.dset)
        if self._table is not None:
            self._table.images.size_source = self._size_source()

    def __nice__(self) -> str:
        n_pos = None if self._pos_select_idxs is None else len(self._pos_select_idxs)
        n_neg = None if self._negative_pool is None else len(self._negative_pool)
        viable = None if self._targets is None else len(self._targets)
        stats = ", ".join(f"{key}={value}" for key, value in self.dset.basic_stats().items())
        return f"{{nPos={n_pos}, nNeg={n_neg}}} ∼ {{nViable={viable}}} ⊆ {{{stats}}}"

    @classmethod
    @fork_safe
    def demo(cls) -> CocoRegions:
        """Return the regions of a demo dataset of eight images.

        Example:
            >>> CocoRegions.demo().n_images
            8
        """
        import kwcoco

        with stdout_to_log():
            return cls(kwcoco.CocoDataset.demo("shapes8"))

    @property
    @fork_safe
    def annot_table(self) -> AnnotTable:
        """The annotations and images as columns."""
        self._notice_edits()
        if self._table is None:
            self._table = AnnotTable.from_coco(self.dset, self._size_source())
        return self._table

    def _size_source(self) -> SizeSource:
        return SizeSource(self.dset, self._images, self.verbose)

    @property
    @fork_safe
    def isect_index(self) -> FrameIntersectionIndex:
        """The spatial index of all annotations; a few milliseconds to make, so never stored on disk."""
        self._notice_edits()
        if self._isect_index is None:
            self._isect_index = self._own_index = FrameIntersectionIndex.from_table(self.annot_table)
        return self._isect_index

    @property
    @fork_safe
    def targets(self) -> kwarray.DataFrameArray:
        """Every annotation with a box as a positive target, one row each, in the order of the dataset.

        Raises:
            SourceError: if the dataset does not state the size of an image with annotations, and its file
                cannot be read.
        """
        self._notice_edits()
        if self._targets is None:
            self._targets = self._own_targets = targets_of_table(self.annot_table)
        return self._targets

    @property
    @fork_safe
    def neg_anchors(self) -> NDArray[np.float64]:
        """(A, 2) widths and heights that negatives take after: those of at most 1000 targets.

        They are shares of the smaller side of the image, in random order.
        """
        targets = self.targets
        if self._neg_anchors is None:
            self._neg_anchors = relative_sizes(targets)
        return self._neg_anchors

    @property
    @fork_safe
    def classes(self) -> CategoryTree:
        """The categories of the dataset, with their hierarchy."""
        self._notice_edits()
        if self._classes is None:
            from ndsampler.category_tree import CategoryTree

            known = list_categories(self.dset)
            self._classes = CategoryTree.coerce(self.dset.object_categories()) if known else CategoryTree()
        return self._classes

    #: The same as :attr:`classes`.
    catgraph = classes

    @property
    def image_ids(self) -> list[int]:
        """Image ids, ascending."""
        return self.annot_table.images.gids.tolist()

    def lookup_class_name(self, class_id: int) -> str:
        """Return the name of a category.

        Args:
            class_id: its id.

        Raises:
            UnknownIdError: if the dataset has no such category.

        Example:
            >>> self = CocoRegions.demo()
            >>> self.lookup_class_name(self.lookup_class_id("star"))
            'star'
        """
        return look_up(self.classes.id_to_node, "id", class_id)

    def lookup_class_id(self, class_name: str) -> int:
        """Return the id of a category.

        Args:
            class_name: its name.

        Raises:
            UnknownIdError: if the dataset has no such category.
        """
        return look_up(self.classes.node_to_id, "name", class_name)

    @fork_safe
    def get_segmentations(self, aids: Sequence[int]) -> list[kwimage.MultiPolygon | None]:
        """Return the segmentations of annotations, None for those without.

        Args:
            aids: annotation ids.

        Returns:
            One entry per id, in image pixels.

        Raises:
            UnknownIdError: if the dataset lacks one of the annotations.

        Example:
            >>> self = CocoRegions.demo()
            >>> [type(sseg).__name__ for sseg in self.get_segmentations([1, 2])]
            ['MultiPolygon', 'MultiPolygon']
        """
        return parse_segmentations(self.dset, aids)

    @fork_safe
    def overlapping_aids(  # type: ignore[override]
        self, gid: int, region: kwimage.Boxes, visible_thresh: float = 0.0
    ) -> list[int]:
        """Return the annotations of an image that a region shows.

        Args:
            gid: an image id.
            region: the region, in image pixels.
            visible_thresh: share of an annotation's box that must be exceeded; with 0 touching is enough.

        Returns:
            Annotation ids, ascending.

        Raises:
            UnknownIdError: if the dataset has no such image.
        """
        edges = ltrb_array(region).tolist()
        found = [self.find_aids(gid, (x1, y1, x2, y2), visible_thresh) for x1, y1, x2, y2 in edges]
        return found[0].tolist() if len(found) == 1 else np.unique(np.concatenate([NO_ROWS, *found])).tolist()

    def find_aids(
        self, gid: int, ltrb: tuple[float, float, float, float], visible_thresh: float = 0.0
    ) -> NDArray[np.int64]:
        """Return the annotations of an image that a box shows.

        Args:
            gid: an image id.
            ltrb: left, top, right and bottom in image pixels.
            visible_thresh: share of an annotation's box that must be exceeded; with 0 touching is enough.

        Returns:
            Annotation ids, ascending.

        Raises:
            UnknownIdError: if the dataset has no such image.

        Example:
            >>> CocoRegions.demo().find_aids(1, (0, 0, 600, 600)).tolist()
            [1]
        """
        return self._fresh_index().visible_aids(gid, ltrb, visible_thresh)

    def find_rows(
        self, gid: int, ltrb: tuple[float, float, float, float], visible_thresh: float = 0.0
    ) -> NDArray[np.int64]:
        """As :meth:`find_aids`, but return rows of :attr:`annot_table`: the fast path of sampling."""
        return self._fresh_index().visible_rows(gid, ltrb, visible_thresh)

    def _fresh_index(self) -> FrameIntersectionIndex:
        known = self._isect_index
        return self.isect_index if known is None or dataset_state(self.dset) != self._state else known

    @property
    def n_positives(self) -> int:
        """Number of positives in the pool."""
        self._notice_edits()
        # The targets, and sizes that they need, are made before a program starts workers.
        return len(self.targets) if self._pos_select_idxs is None else len(self._pos_select_idxs)

    @property
    def n_negatives(self) -> int:
        """Number of negatives in the pool."""
        self._notice_edits()
        return 0 if self._negative_pool is None else len(self._negative_pool)

    @property
    def n_samples(self) -> int:
        """Number of targets in the pool."""
        return self.n_positives + self.n_negatives

    @fork_safe
    def get_item(self, index: int | None, rng: Rng = None) -> dict[str, Any]:
        """Return a target of the pool: the positives come first, then the negatives.

        Args:
            index: position in the pool; a negative one counts from the end. A random one when None.
            rng: decides which, when ``index`` is None.

        Raises:
            OutOfRangeError: if the pool is not that long.
            MissingNegativePool: if it lies past the positives and no negatives were preselected.
            ArgumentTypeError: if the index is not a whole number.
            ArgumentError: if ``index`` is None and the pool is empty.

        Example:
            >>> self = CocoRegions.demo()
            >>> n_pos, n_neg = self.preselect(n_neg=2, window_dims=(50, 50), rng=0)
            >>> self.get_item(n_pos + 1)["aid"]
            -1
        """
        n_positives, total = self.n_positives, self.n_samples
        if index is None:
            index = random_index(total, rng, "targets")
        if self._negative_pool is None and as_index(index, "targets of the pool") >= total:
            raise MissingNegativePool(
                f"index {index} is out of bounds for {n_positives} positives, and there is no pool of "
                "negatives behind them; make one by preselect(n_neg=...)"
            )
        index = as_position(index, total, "targets of the pool")
        return self.get_positive(index) if index < n_positives else self.get_negative(index - n_positives)

    @fork_safe
    def get_positive(self, index: int | None = None, rng: Rng = None) -> dict[str, Any]:
        """Return a positive target.

        Args:
            index: position among the positives of the pool; a random one when None.
            rng: decides which, when ``index`` is None.

        Returns:
            The row of :attr:`targets` as a dictionary.

        Raises:
            OutOfRangeError: if there are not that many positives.
            ArgumentTypeError: if the index is not a whole number.
            ArgumentError: if ``index`` is None and there are none.

        Example:
            >>> self = CocoRegions.demo()
            >>> self.get_positive(rng=0) == self.get_positive(rng=0)
            True
        """
        targets, total = self.targets, self.n_positives
        index = random_index(total, rng, "positives") if index is None else index
        index = as_position(index, total, "positives")
        if self._pos_select_idxs is not None:
            index = self._pos_select_idxs[index]
        return targets.iloc[index]

    @fork_safe
    def get_negative(self, index: int | None = None, rng: Rng = None) -> dict[str, Any]:
        """Return a negative target.

        Args:
            index: position among the preselected negatives. When None, the next one of them, and once
                all were given, one of a fresh lot of as many; without any, a random one. Worker processes
                draw their own, unless there is an ``rng``.
            rng: decides what is drawn, when ``index`` is None.

        Raises:
            OutOfRangeError: if there are not that many negatives.
            MissingNegativePool: if ``index`` is given and none were preselected.
            ArgumentError: if ``index`` is None and no negative can be found.

        Example:
            >>> self = CocoRegions.demo()
            >>> self.get_negative(rng=0) == self.get_negative(rng=0)
            True
        """
        self._notice_edits()
        if index is None:
            if self._negative_pool:
                return self._negative_pool.next(rng)
            return NegativePool(self._negative_source(None), 1, rng, exact=True)[0]
        if self._negative_pool is None:
            raise MissingNegativePool(
                f"negative {as_index(index, 'negatives')} is asked for, but there is no pool of negatives; "
                "make one by preselect(n_neg=...), or leave out the index for a random negative"
            )
        return self._negative_pool[index]

    @fork_safe
    def preselect(
        self,
        n_pos: int | None = None,
        n_neg: int | None = None,
        neg_to_pos_ratio: float | None = None,
        window_dims: Sequence[int] | None = None,
        rng: Rng = None,
        verbose: int = 0,
    ) -> tuple[int, int]:
        """Choose the positives and negatives that make up the pool.

        Fewer positives than there are targets are chosen by coverage when ``window_dims`` is given
        (:func:`select_positive_regions`, and at random from the rest should that give too few),
        else at random.

        Args:
            n_pos: number of positives; all when None.
            n_neg: number of negatives; none when None. There may be fewer where room is scarce.
            neg_to_pos_ratio: number of negatives for each chosen positive, rounded down, instead of
                ``n_neg``.
            window_dims: height and width in pixels of the negatives, and of the windows that cover
                positives. None takes the sizes of targets for negatives.
            rng: decides what is left to chance.
            verbose: whether to log what was chosen.

        Returns:
            Number of positives and of negatives in the pool.

        Raises:
            ArgumentError: if both ``n_neg`` and ``neg_to_pos_ratio`` are given, if a number is below 0,
                infinite, or not one, or if ``window_dims`` is not a pair above 0.

        Example:
            >>> self = CocoRegions.demo()
            >>> self.preselect(n_pos=4, neg_to_pos_ratio=1.5, rng=0)
            (4, 6)
        """
        n_pos, n_neg, neg_to_pos_ratio = pool_sizes(n_pos, n_neg, neg_to_pos_ratio)
        state = ensure_worker_rng(rng)
        self._notice_edits()
        if isinstance(window_dims, str) and window_dims in {"extent", "square", "full"}:
            window_dims = None  # a window of each target's own size
        if self.custom_preselect_positives is None:
            self._pos_select_idxs = choose_positives(self.targets, n_pos, window_dims, state)
        else:
            plain = state if isinstance(rng, np.random.Generator) else rng
            chosen = self.custom_preselect_positives(self, window_dims, rng=plain)
            self._pos_select_idxs = checked_rows(chosen, len(self.targets))
        n_pos = len(self._pos_select_idxs)
        if neg_to_pos_ratio is not None:
            n_neg = as_count(int(n_pos * neg_to_pos_ratio), "n_pos * neg_to_pos_ratio")
        n_neg = self._preselect_negatives(n_neg or 0, window_dims, state)
        if verbose:
            logger.info("preselected %d positives and %d negatives", n_pos, n_neg)
        return n_pos, n_neg

    def _preselect_negatives(
        self, num: int, window_dims: Sequence[int] | None, rng: np.random.RandomState
    ) -> int:
        window = None if window_dims is None else window_pair(window_dims, "negatives")
        self._negative_pool = NegativePool(self._negative_source(window) if num else None, num, rng)
        return len(self._negative_pool)

    def _negative_source(self, window: tuple[float, float] | None) -> NegativeSource:
        anchors = np.empty((0, 2)) if window else self.neg_anchors
        return NegativeSource.from_sizes(self.isect_index, window, anchors, self.BACKGROUND_CLASS_ID)

    @fork_safe
    def new_sample_grid(
        self, task: str, window_dims: Any, window_overlap: float | Sequence[float] = 0, **kwargs: Any
    ) -> dict[str, Any]:
        """Return targets that cover the whole dataset, side by side.

        Args:
            task: ``'image_detection'`` or ``'video_detection'``.
            window_dims: (height, width) for images, (time, height, width) for videos; ``'full'`` for all.
            window_overlap: share of a window that the next one repeats.
            **kwargs: for :func:`new_image_sample_grid` or :func:`new_video_sample_grid`.

        Raises:
            UnsupportedTaskError: if there is no such task.

        Example:
            >>> grid = CocoRegions.demo().new_sample_grid("image_detection", (300, 300))
            >>> len(grid["targets"]), len(grid["positives_indexes"]) + len(grid["negatives_indexes"])
            (32, 32)
        """
        make = grid_maker(task)
        return make(self.dset, self.annot_table, window_dims, window_overlap, **kwargs)

    def _depends(self) -> list[Any]:
        return [self._make_hashid()[0]]

    def _make_hashid(self) -> tuple[str, None]:
        """Return the hash id of the dataset; of the columns where the dataset has none of its own."""
        known = getattr(self.dset, "hashid", None)
        if not known and not is_view(self.dset):
            # Otherwise the hash would depend on whether sizes were needed before.
            self._size_source().fill(())
            known = hash_dataset(self.dset)
        return known or self.annot_table.hash_columns(), None

    @property
    @fork_safe
    def hashid(self) -> str:
        """Hex id of the dataset as it is now."""
        self._notice_edits()
        return super().hashid
