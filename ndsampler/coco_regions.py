"""
Pools of targets: positives around annotations, negatives away from them.

Everything is computed from the columns of :mod:`ndsampler.dataset.annot_table`. They are built when they are
first needed, and again after an edit of the dataset is detected (:mod:`ndsampler.dataset.derived`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import ubelt as ub

from ndsampler.dataset.annot_queries import AnnotQueries
from ndsampler.dataset.annot_table import AnnotTable
from ndsampler.dataset.categories import (
    DatasetCounts,
    background_id,
    check_dataset,
    list_categories,
    look_up,
)
from ndsampler.dataset.derived import Derived
from ndsampler.dataset.edits import dataset_state, hash_dataset
from ndsampler.dataset.kwcoco_adapter import is_in_memory, is_view
from ndsampler.dataset.opening import image_folder
from ndsampler.dataset.sizes import SizeSource
from ndsampler.errors import MissingNegativePool
from ndsampler.isect_indexer import FrameIntersectionIndex
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
from ndsampler.utils.html import HtmlSummary
from ndsampler.utils.logs import get_logger
from ndsampler.utils.quiet import stdout_to_log
from ndsampler.utils.random_state import ensure_worker_rng

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import kwarray
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from ndsampler.category_tree import CategoryTree
    from ndsampler.types import GridArguments, GridTask, PathLike, SampleGrid, WindowSize
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

logger = get_logger(__name__)


class CocoRegions(AnnotQueries, Targets, DatasetCounts, HashIdentifiable, HtmlSummary, ub.NiceRepr):  # type: ignore[misc]
    """
    The pools of positive and negative targets of a dataset.

    The positives come first, then the negatives. Without :meth:`preselect` the pool contains all positives.

    Edits that change the size of the dataset or kwcoco's counters are detected, and preselected pools are
    then dropped. Call :meth:`refresh` after changing a box in place.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
        workdir: ignored; accepted for compatibility.
        verbose: whether to show a progress bar while the sizes of many images are read.
        images: folder to which file names of images are relative; by default the folder of the dataset.

    Attributes:
        dset: the dataset.
        workdir: the argument ``workdir``.
        verbose: the argument ``verbose``.
        BACKGROUND_CLASS_ID: category id of negatives: that of the category ``background``, or 0.
        custom_preselect_positives: None, or a function that chooses the positives for :meth:`preselect`. It
            gets the regions, ``window_dims`` and ``rng=``, and returns rows of :attr:`targets`.

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
        check_dataset(dset)
        self.BACKGROUND_CLASS_ID: int = background_id(dset)
        self._derived = Derived(dset)
        self._n_left_out = 0
        # Targets and an index that the program has set. They are not updated when the dataset is edited.
        self._own_targets: kwarray.DataFrameArray | None = None
        self._own_index: FrameIntersectionIndex | None = None

    def refresh(self) -> None:
        """Read the dataset again, after an edit that changes neither its size nor kwcoco's counters.

        Preselected pools are dropped. Targets and an index that the program has set are kept.

        Example:
            >>> self = CocoRegions.demo()
            >>> self.dset.anns[1]["bbox"] = [1, 2, 3, 4]
            >>> self.refresh()
            >>> float(self.targets["width"][0])
            3.0
        """
        before = self._derived
        if before.values.keys() & {"positives", "negatives"}:
            logger.warning("the dataset was read again, which drops the preselected targets; preselect again")
        self._hashid = None
        self._hashid_parts = None
        self.BACKGROUND_CLASS_ID = background_id(self.dset)
        self._derived = before.successor(self.dset)

    @fork_safe
    def present(self) -> Derived:
        """Return the values of the current state of the dataset."""
        derived = self._derived
        if dataset_state(self.dset) != derived.state:
            self.refresh()
            return self._derived
        return derived

    def __getstate__(self) -> dict[str, Any]:
        self.present()
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._derived = self._derived.copy(self.dset)
        table = self._derived.values.get("table")
        if table is not None:
            table.images.size_source = self._size_source()

    @property
    def _targets(self) -> kwarray.DataFrameArray | None:
        """The table of targets that a program has set, else the one that was computed; None before that."""
        return self._derived.values.get("targets") if self._own_targets is None else self._own_targets

    @_targets.setter
    def _targets(self, targets: kwarray.DataFrameArray | None) -> None:
        self._own_targets = targets
        self._derived.values.pop("targets", None)

    @property
    def _isect_index(self) -> FrameIntersectionIndex | None:
        """The index that a program has set, else the one that was computed; None before that."""
        return self._derived.values.get("index") if self._own_index is None else self._own_index

    @_isect_index.setter
    def _isect_index(self, index: FrameIntersectionIndex | None) -> None:
        self._own_index = index
        self._derived.values.pop("index", None)

    @property
    def _negative_pool(self) -> NegativePool | None:
        """The negatives that were preselected; None if none were."""
        return self._derived.values.get("negatives")

    def __nice__(self) -> str:
        values = self._derived.values
        n_pos, n_neg = (len(values[key]) if key in values else None for key in ("positives", "negatives"))
        viable = None if self._targets is None else len(self._targets)
        stats = ", ".join(f"{key}={value}" for key, value in self.dset.basic_stats().items())
        return f"{{nPos={n_pos}, nNeg={n_neg}}} ∼ {{nViable={viable}}} ⊆ {{{stats}}}"

    def summary(self) -> dict[str, Any]:
        """Return the numbers of images, annotations, categories and pooled targets, for display."""
        pools = self._derived.values
        return {
            "images": self.n_images,
            "videos": self.dset.n_videos or None,
            "annotations": self.n_annots,
            "categories": self.n_categories,
            "positives": len(pools["positives"]) if "positives" in pools else "every annotation",
            "negatives": len(pools["negatives"]) if "negatives" in pools else "none preselected",
        }

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
        return self._table_of(self.present())

    def _table_of(self, derived: Derived) -> AnnotTable:
        return derived.get("table", lambda: AnnotTable.from_coco(self.dset, self._size_source()))

    def _size_source(self) -> SizeSource:
        return SizeSource(self.dset, self._images, self.verbose)

    @property
    @fork_safe
    def isect_index(self) -> FrameIntersectionIndex:
        """The spatial index of all annotations. It is built in milliseconds, so it is not stored on disk."""
        return self._index_of(self.present())

    @fork_safe
    def index_of(self, present: Derived, aid: Any) -> FrameIntersectionIndex | None:
        """Return the spatial index of one state of the dataset; None if the dataset was edited since then.

        Args:
            present: the result of :meth:`present`.
            aid: id of an annotation. If its box was changed in place, this is an edit too, and the dataset is
                read again. Values that are not ids are ignored.
        """
        dset = self.dset
        index = self._index_of(present)
        if dataset_state(dset) != present.state:
            return None
        if aid is None or index is self._own_index or not is_in_memory(dset.anns):
            return index
        ann = dset.anns.get(aid) if isinstance(aid, (int, np.integer)) else None
        if ann is None or index.table.matches(ann, dset.imgs):  # type: ignore[union-attr]
            return index
        self.refresh()
        return None

    def _index_of(self, derived: Derived) -> FrameIntersectionIndex:
        if self._own_index is not None:
            return self._own_index
        known: FrameIntersectionIndex | None = derived.values.get("index")
        if known is not None:
            return known
        return derived.get("index", lambda: FrameIntersectionIndex.from_table(self._table_of(derived)))

    @property
    @fork_safe
    def targets(self) -> kwarray.DataFrameArray:
        """Positive targets: one row for each annotation with a box, in the order of the dataset.

        Annotations with geometry but without a box are left out, and their number is logged.

        Raises:
            SourceError: if the dataset does not state the size of an image with annotations, and its file
                cannot be read.
        """
        return self._all_targets(self.present())

    def _all_targets(self, derived: Derived) -> kwarray.DataFrameArray:
        """Return the table of targets that a program has set, else that of one state of the dataset."""
        if self._own_targets is not None:
            return self._own_targets
        known: kwarray.DataFrameArray | None = derived.values.get("targets")
        return self._make_targets(derived) if known is None else known

    @fork_safe
    def _make_targets(self, derived: Derived) -> kwarray.DataFrameArray:
        table = self._table_of(derived)
        if table.n_unboxed != self._n_left_out:
            self._n_left_out = table.n_unboxed
            logger.warning(
                "%d annotations have geometry but no bbox, and are not targets; samples list them, and "
                "negatives avoid them",
                self._n_left_out,
            )
        return derived.get("targets", lambda: targets_of_table(table))

    @property
    @fork_safe
    def neg_anchors(self) -> NDArray[np.float64]:
        """(A, 2) widths and heights from which the sizes of negatives are drawn.

        They are the sizes of up to 1000 targets as fractions of the smaller image side, in random order.
        """
        return self.present().get("anchors", lambda: relative_sizes(self.targets))

    @property
    @fork_safe
    def classes(self) -> CategoryTree:
        """The categories of the dataset, with their hierarchy."""
        now = self.present()
        known: CategoryTree | None = now.values.get("classes")
        return now.get("classes", self._make_classes) if known is None else known

    def _make_classes(self) -> CategoryTree:
        from ndsampler.category_tree import CategoryTree

        check_dataset(self.dset)
        known = list_categories(self.dset)
        # object_categories() would check the graph for a second time, and slowly.
        return CategoryTree(self.dset.category_graph()) if known else CategoryTree()

    #: The same as :attr:`classes`.
    catgraph = classes

    @property
    def image_ids(self) -> list[int]:
        """Image ids, ascending."""
        return self.annot_table.images.gids.tolist()  # type: ignore[no-any-return]

    def lookup_class_name(self, class_id: int) -> str:
        """Return the name of a category.

        Args:
            class_id: id of the category.

        Raises:
            UnknownIdError: if the dataset has no such category.

        Example:
            >>> self = CocoRegions.demo()
            >>> self.lookup_class_name(self.lookup_class_id("star"))
            'star'
        """
        return str(look_up(self.classes.id_to_node, "id", class_id))

    def lookup_class_id(self, class_name: str) -> int:
        """Return the id of a category.

        Args:
            class_name: name of the category.

        Raises:
            UnknownIdError: if the dataset has no such category.
        """
        return int(look_up(self.classes.node_to_id, "name", class_name))

    @property
    def n_positives(self) -> int:
        """Number of positives in the pool."""
        return self._count_positives(self.present())

    @property
    def n_negatives(self) -> int:
        """Number of negatives in the pool."""
        pool = self.present().values.get("negatives")
        return 0 if pool is None else len(pool)

    @property
    def n_samples(self) -> int:
        """Number of targets in the pool."""
        return self.n_positives + self.n_negatives

    @fork_safe
    def get_item(self, index: int | None, rng: Rng = None) -> dict[str, Any]:
        """Return a target of the pool: the positives come first, then the negatives.

        Args:
            index: position in the pool; a negative one counts from the end; None chooses one at random.
            rng: seed or random state for the choice if ``index`` is None.

        Raises:
            OutOfRangeError: if the index is beyond the end of the pool.
            MissingNegativePool: if the index is past the positives and no negatives were preselected.
            ArgumentTypeError: if the index is not a whole number.
            ArgumentError: if ``index`` is None and the pool is empty.

        Example:
            >>> self = CocoRegions.demo()
            >>> n_pos, n_neg = self.preselect(n_neg=2, window_dims=(50, 50), rng=0)
            >>> self.get_item(n_pos + 1)["aid"]
            -1
        """
        now = self.present()
        n_positives, pool = self._count_positives(now), now.values.get("negatives")
        total = n_positives + (0 if pool is None else len(pool))
        if index is None:
            index = random_index(total, rng, "targets")
        if pool is None and as_index(index, "targets of the pool") >= total:
            raise MissingNegativePool(
                f"index {index} is out of bounds for {n_positives} positives, and there is no pool of "
                "negatives after them; make one with preselect(n_neg=...)"
            )
        index = as_position(index, total, "targets of the pool")
        if pool is None or index < n_positives:
            return self._positive(now, index)
        return pool[index - n_positives]  # type: ignore[no-any-return]

    @fork_safe
    def get_positive(self, index: int | None = None, rng: Rng = None) -> dict[str, Any]:
        """Return a positive target.

        Args:
            index: position among the positives of the pool; None chooses one at random.
            rng: seed or random state for the choice if ``index`` is None.

        Returns:
            The row of :attr:`targets` as a dictionary.

        Raises:
            OutOfRangeError: if the index is beyond the last positive.
            ArgumentTypeError: if the index is not a whole number.
            ArgumentError: if ``index`` is None and there are none.

        Example:
            >>> self = CocoRegions.demo()
            >>> self.get_positive(rng=0) == self.get_positive(rng=0)
            True
        """
        now = self.present()
        total = self._count_positives(now)
        index = random_index(total, rng, "positives") if index is None else index
        return self._positive(now, as_position(index, total, "positives"))

    def _positive(self, present: Derived, position: int) -> dict[str, Any]:
        """Return a positive of the pool, by its position from 0."""
        chosen = present.values.get("positives")
        row = position if chosen is None else int(chosen[position])
        return self._all_targets(present).iloc[row]  # type: ignore[no-any-return]

    def _count_positives(self, present: Derived) -> int:
        """Return the number of positives in the pool."""
        chosen = present.values.get("positives")
        # Build the targets, and read the sizes that they need, before a program starts workers.
        return len(self._all_targets(present)) if chosen is None else len(chosen)

    @fork_safe
    def get_negative(self, index: int | None = None, rng: Rng = None) -> dict[str, Any]:
        """Return a negative target.

        Args:
            index: position among the preselected negatives. None returns the next one; after the last one, a
                new batch of the same size is drawn. Without preselected negatives, None draws one. Worker
                processes draw different negatives unless ``rng`` is given.
            rng: seed or random state for the draw if ``index`` is None.

        Raises:
            OutOfRangeError: if the index is beyond the last negative.
            MissingNegativePool: if ``index`` is given and none were preselected.
            ArgumentError: if ``index`` is None and no negative can be found.

        Example:
            >>> self = CocoRegions.demo()
            >>> self.get_negative(rng=0) == self.get_negative(rng=0)
            True
        """
        pool: NegativePool | None = self.present().values.get("negatives")
        if index is None:
            if pool:
                return pool.next(rng)
            return NegativePool(self._negative_source(None), 1, rng, exact=True)[0]
        if pool is None:
            raise MissingNegativePool(
                f"negative {as_index(index, 'negatives')} was requested, but there is no pool of negatives; "
                "make one with preselect(n_neg=...), or omit the index for a random negative"
            )
        return pool[index]

    @fork_safe
    def preselect(
        self,
        n_pos: int | None = None,
        n_neg: int | None = None,
        neg_to_pos_ratio: float | None = None,
        window_dims: WindowSize | None = None,
        rng: Rng = None,
        verbose: int = 0,
    ) -> tuple[int, int]:
        """Choose the positives and negatives that make up the pool.

        If fewer positives are requested than there are targets, and ``window_dims`` is given, they are
        selected by coverage (:func:`select_positive_regions`), and missing ones are added at random.
        Otherwise they are selected at random.

        Args:
            n_pos: number of positives; None for all.
            n_neg: number of negatives; None for none. There are fewer if the images lack free space.
            neg_to_pos_ratio: number of negatives for each chosen positive, rounded down, instead of
                ``n_neg``.
            window_dims: height and width in pixels of the negatives, and of the windows that cover
                positives. With None, negatives have the sizes of targets.
            rng: seed or random state.
            verbose: whether to log the numbers of selected targets.

        Returns:
            Number of positives and of negatives in the pool.

        Raises:
            ArgumentError: if both ``n_neg`` and ``neg_to_pos_ratio`` are given, if a number is negative or
                not finite, or if ``window_dims`` is not a pair of numbers above 0.

        Example:
            >>> self = CocoRegions.demo()
            >>> self.preselect(n_pos=4, neg_to_pos_ratio=1.5, rng=0)
            (4, 6)
        """
        n_pos, n_neg, neg_to_pos_ratio = pool_sizes(n_pos, n_neg, neg_to_pos_ratio)
        state = ensure_worker_rng(rng)
        now = self.present()
        targets = self.targets
        if isinstance(window_dims, str) and window_dims in {"extent", "square", "full"}:
            window_dims = None  # a window of each target's own size
        if self.custom_preselect_positives is None:
            rows = choose_positives(targets, n_pos, window_dims, state)
        else:
            plain = state if isinstance(rng, np.random.Generator) else rng
            chosen = self.custom_preselect_positives(self, window_dims, rng=plain)
            rows = checked_rows(chosen, len(targets))
        n_pos = len(rows)
        if neg_to_pos_ratio is not None:
            n_neg = as_count(int(n_pos * neg_to_pos_ratio), "n_pos * neg_to_pos_ratio")
        pool = self._make_negatives(n_neg or 0, window_dims, state)
        n_neg = len(pool)
        now.values.update(positives=rows, negatives=pool)
        if verbose:
            logger.info("preselected %d positives and %d negatives", n_pos, n_neg)
        return n_pos, n_neg

    def _make_negatives(self, num: int, window_dims: Any, rng: np.random.RandomState) -> NegativePool:
        window = None if window_dims is None else window_pair(window_dims, "negatives")
        return NegativePool(self._negative_source(window) if num else None, num, rng)

    def _negative_source(self, window: tuple[float, float] | None) -> NegativeSource:
        anchors = np.empty((0, 2)) if window else self.neg_anchors
        return NegativeSource.from_sizes(self.isect_index, window, anchors, self.BACKGROUND_CLASS_ID)

    @fork_safe
    def new_sample_grid(
        self,
        task: GridTask,
        window_dims: WindowSize | None,
        window_overlap: float | Sequence[float] = 0,
        **kwargs: Unpack[GridArguments],
    ) -> SampleGrid:
        """Return targets of a grid of windows that covers the whole dataset.

        Args:
            task: ``'image_detection'`` or ``'video_detection'``.
            window_dims: (height, width) for images, (time, height, width) for videos; ``'full'`` for all.
            window_overlap: fraction of a window that overlaps with the next one.
            **kwargs: see :func:`new_image_sample_grid` or :func:`new_video_sample_grid`.

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
        """Return the hash id of the dataset, or that of its columns if it has none."""
        known = getattr(self.dset, "hashid", None)
        if not known and not is_view(self.dset):
            # Otherwise the hash would depend on whether missing sizes have been read before.
            self._size_source().fill(())
            known = hash_dataset(self.dset)
        return known or self.annot_table.hash_columns(), None

    @property
    @fork_safe
    def hashid(self) -> str:
        """Hash id of the current content of the dataset, as hexadecimal text."""
        self.present()
        return super().hashid
