"""
The sampler: windows with their annotations from the images of a kwcoco dataset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import ubelt as ub

from ndsampler.abstract_sampler import AbstractSampler
from ndsampler.coco_frames import CocoFrames
from ndsampler.coco_regions import CocoRegions
from ndsampler.dataset.edits import DatasetHash
from ndsampler.dataset.kwcoco_adapter import annots_of_image
from ndsampler.dataset.opening import coerce_dataset, complete_photos, image_folder
from ndsampler.errors import UnknownIdError, UnsupportedTaskError
from ndsampler.preview.show import Showing
from ndsampler.sampling.annots import ALL_ANNOTS, AnnotRequest, find_annots, load_annots, parse_request
from ndsampler.sampling.assemble import assemble_annots, assemble_sample
from ndsampler.sampling.batch import BatchLoading
from ndsampler.sampling.pooled import PoolLoading
from ndsampler.sampling.read import read_frames
from ndsampler.sampling.resolve import resolve_region
from ndsampler.sampling.shapes import GeometryStore
from ndsampler.sampling.target import normalize_target, take_arguments
from ndsampler.sampling.unedited import resolve_unedited
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.lazy import LazyAttribute
from ndsampler.utils.limits import adopt_limits, get_limits
from ndsampler.utils.quiet import stdout_to_log
from ndsampler.windows import is_sequence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import kwcoco
    from typing_extensions import Unpack

    from ndsampler.category_tree import CategoryTree
    from ndsampler.types import (
        Annots,
        BackendChoice,
        CacheErrorMode,
        GridArguments,
        GridTask,
        MovedArguments,
        PathLike,
        Sample,
        SampleGrid,
        SamplerArguments,
        Target,
        TrustMode,
        WindowSize,
        WithAnnots,
    )
    from ndsampler.utils.random_state import Rng


class CocoSampler(PoolLoading, BatchLoading, AbstractSampler, DatasetHash, Showing, ub.NiceRepr):  # type: ignore[misc]
    """Samples windows with their annotations from the images of a kwcoco dataset.

    :attr:`frames` reads regions of images, and :attr:`regions` contains the pools of positive and negative
    targets. :meth:`load_sample` loads any target; :meth:`load_positive`, :meth:`load_negative` and
    :meth:`load_item` load those of the pools. Samplers can be pickled and used after a fork; open files and
    decoded images are not copied.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``; or the path of an MS-COCO or kwcoco
            file, a dictionary with the content of such a file, or a key of kwcoco's demo datasets.
        workdir: folder for converted images; by default a folder in the user's cache.
        autoinit: False leaves :attr:`frames` and :attr:`regions` None until :meth:`init` is called.
        backend: None reads the source files; ``'cog'`` and ``'npy'`` convert each image once: see
            :class:`ndsampler.Frames`.
        verbose: whether long operations show a progress bar.
        on_cache_error: ``'bypass'`` reads sources that cannot be converted, for example because the disk is
            full.
        trust: ``'strict'`` rejects converted images of other users: see :class:`ndsampler.Frames`.
        images: folder to which file names are relative; by default the folder of the dataset.

    Raises:
        BackendError: for an unknown backend, key or setting.
        MissingSourceError: if there is no such dataset, or no folder ``images``.
        ArgumentError: if a file or dictionary is not a dataset, or has no images.
        ArgumentTypeError: for a dataset of any other type.

    Example:
        >>> import ndsampler
        >>> self = ndsampler.CocoSampler('shapes8')
        >>> sample = self.load_sample({'gid': 1, 'cx': 300, 'cy': 300, 'width': 64, 'height': 32})
        >>> sample['im'].shape
        (32, 64, 3)
    """

    def __init__(
        self,
        dset: kwcoco.CocoDataset | PathLike | dict[str, Any],
        workdir: PathLike | None = None,
        autoinit: bool = True,
        backend: BackendChoice = None,
        verbose: int = 0,
        *,
        on_cache_error: CacheErrorMode = "raise",
        trust: TrustMode = "warn",
        images: PathLike | None = None,
    ) -> None:
        super().__init__()
        self.dset: Any = coerce_dataset(dset, images)
        self._images = image_folder(images)
        self.workdir = workdir
        self.verbose = verbose
        self._backend = backend
        self._on_cache_error = on_cache_error
        self._trust = trust
        self.regions: CocoRegions = None  # type: ignore[assignment]
        self.frames: CocoFrames = None  # type: ignore[assignment]
        if autoinit:
            self.init()

    @fork_safe
    def init(self) -> None:
        """Make :attr:`frames` and :attr:`regions`; called by the constructor unless ``autoinit`` is False."""
        self.regions = CocoRegions(self.dset, workdir=self.workdir, verbose=self.verbose, images=self._images)
        self.frames = CocoFrames(
            self.dset,
            workdir=self.workdir,
            verbose=self.verbose,
            backend=self._backend,
            on_cache_error=self._on_cache_error,
            trust=self._trust,
            images=self._images,
        )

    @classmethod
    @fork_safe
    def demo(
        cls, key: str = "shapes", workdir: PathLike | None = None, backend: BackendChoice = None, **kw: Any
    ) -> CocoSampler:
        """Return a sampler of a toy dataset.

        Args:
            key: see :meth:`kwcoco.CocoDataset.demo`: ``'shapes8'``, ``'vidshapes2'``, ``'photos'``, ...
            workdir: see :class:`CocoSampler`; a folder of the user's cache by default.
            backend: see :class:`CocoSampler`.
            **kw: further arguments of :meth:`kwcoco.CocoDataset.demo`.

        Example:
            >>> CocoSampler.demo('shapes8').n_images
            8
        """
        import kwcoco

        with stdout_to_log():
            dset = kwcoco.CocoDataset.demo(key, **kw)
            if key == "photos":
                complete_photos(dset)
        workdir = ub.Path.appdir("ndsampler").ensuredir() if workdir is None else workdir
        return cls(dset, workdir=workdir, backend=backend)

    @classmethod
    @fork_safe
    def coerce(cls, data: Any, **kwargs: Unpack[SamplerArguments]) -> CocoSampler:
        """Return a sampler, from a sampler or from a dataset.

        Args:
            data: a sampler, which is returned unchanged, or a dataset: see :class:`CocoSampler`.
            **kwargs: arguments of :class:`CocoSampler`; not allowed if ``data`` is a sampler.

        Raises:
            UnsupportedTaskError: if arguments are given with a sampler.
            MissingSourceError, ArgumentError, ArgumentTypeError: see :class:`CocoSampler`.

        Example:
            >>> sampler = CocoSampler.coerce('shapes8')
            >>> CocoSampler.coerce(sampler) is sampler
            True
        """
        if isinstance(data, CocoSampler):
            if kwargs:
                raise UnsupportedTaskError(
                    f"{', '.join(sorted(kwargs))} cannot be changed on an existing sampler; "
                    "make a new one with CocoSampler(sampler.dset, ...)"
                )
            return data
        return cls(data, **kwargs)

    def __nice__(self) -> str:
        return str(len(self))

    def __len__(self) -> int:
        return self.n_samples

    def _depends(self) -> dict[str, Any]:
        """Return the values that determine the samples."""
        return {"regions_hashid": self.regions.hashid, "frames_hashid": self.frames.hashid}

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_geometries", None)
        return {**state, "_limits": get_limits()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        adopt_limits(state["_limits"])
        self.__dict__.update(state)

    @property
    def BACKGROUND_CLASS_ID(self) -> int:
        """Id of the category ``background``, or 0 if there is none; None before :meth:`init`."""
        return None if self.regions is None else self.regions.BACKGROUND_CLASS_ID

    @property
    @fork_safe
    def classes(self) -> CategoryTree:
        """The categories and their hierarchy; None before :meth:`init`."""
        return None if self.regions is None else self.regions.classes

    @property
    @fork_safe
    def catgraph(self) -> CategoryTree:
        """The old name of :attr:`classes`."""
        return self.classes

    @property
    @fork_safe
    def kp_classes(self) -> CategoryTree:
        """The categories of keypoints; an empty tree if the dataset has none."""
        return self._geometries.kp_classes

    @LazyAttribute
    def _geometries(self) -> GeometryStore:
        """The polygons and keypoints that have been parsed so far."""
        return GeometryStore(self.dset, frames=self.frames)

    @property
    @fork_safe
    def n_positives(self) -> int:
        """Number of targets in the positive pool."""
        return self.regions.n_positives

    @property
    def n_annots(self) -> int:
        """Number of annotations of the dataset."""
        return self.regions.n_annots

    @property
    @fork_safe
    def n_samples(self) -> int:
        """Number of targets in both pools."""
        return self.regions.n_samples

    @property
    def n_images(self) -> int:
        """Number of images of the dataset."""
        return self.regions.n_images

    @property
    def n_categories(self) -> int:
        """Number of categories of the dataset."""
        return self.regions.n_categories

    @property
    def class_ids(self) -> list[int]:
        """Category ids in the order of the dataset."""
        return self.regions.class_ids

    @property
    def class_index(self) -> dict[int, int]:
        """Category id to 0 ... n - 1, for training: see :attr:`ndsampler.CocoRegions.class_index`."""
        return self.regions.class_index

    @property
    @fork_safe
    def image_ids(self) -> list[int]:
        """Image ids, sorted."""
        return self.regions.image_ids

    @fork_safe
    def lookup_class_name(self, class_id: int) -> str:
        """Return the name of a category.

        Raises:
            UnknownIdError: if there is no such category.
        """
        return self.regions.lookup_class_name(class_id)

    @fork_safe
    def lookup_class_id(self, class_name: str) -> int:
        """Return the id of a category.

        Raises:
            UnknownIdError: if there is no such category.
        """
        return self.regions.lookup_class_id(class_name)

    @fork_safe
    def preselect(  # type: ignore[override]
        self,
        *,
        n_pos: int | None = None,
        n_neg: int | None = None,
        neg_to_pos_ratio: float | None = None,
        window_dims: WindowSize | None = None,
        rng: Rng = None,
        verbose: int = 0,
    ) -> tuple[int, int]:
        """Choose the pools of positives and negatives: see :meth:`ndsampler.CocoRegions.preselect`.

        Args:
            n_pos: number of positives; all of them by default.
            n_neg: number of negatives; none by default.
            neg_to_pos_ratio: number of negatives for each positive, instead of ``n_neg``.
            window_dims: (height, width) in pixels of the negatives, and of the windows that must cover the
                positives. By default, negatives have the sizes of annotations.
            rng: seed or random state for the selection.
            verbose: whether to log the numbers of selected targets.

        Returns:
            The numbers of positives and negatives.

        Raises:
            ArgumentError: for invalid numbers or sizes.

        Example:
            >>> CocoSampler.demo('shapes8').preselect(n_pos=2, n_neg=3, rng=0)
            (2, 3)
        """
        return self.regions.preselect(n_pos, n_neg, neg_to_pos_ratio, window_dims, rng, verbose)

    @fork_safe
    def new_sample_grid(
        self,
        task: GridTask,
        window_dims: WindowSize | None,
        window_overlap: float | Sequence[float] = 0,
        **kwargs: Unpack[GridArguments],
    ) -> SampleGrid:
        """Return targets of sliding windows: see :meth:`ndsampler.CocoRegions.new_sample_grid`.

        Args:
            task: ``'image_detection'`` or ``'video_detection'``.
            window_dims: (height, width) in pixels, or (frames, height, width) of videos; ``'full'`` for the
                whole image or video.
            window_overlap: fraction of a window that overlaps with the next one, for all axes or for each.
            **kwargs: see :class:`ndsampler.types.GridArguments`.

        Raises:
            UnsupportedTaskError: for an unknown task.
            ArgumentError: for an invalid window or overlap.
        """
        return self.regions.new_sample_grid(task, window_dims, window_overlap, **kwargs)

    @fork_safe
    def load_image(self, image_id: int, cache: bool = True) -> Any:
        """Return the pixels of an image, or an object that can be sliced like them.

        Args:
            image_id: image id.
            cache: True reads through the backend; for cog, the result reads pixels when it is sliced. False
                decodes the whole image.

        Raises:
            UnknownIdError: if there is no such image.
            SourceError: if its file is missing or damaged.

        Example:
            >>> CocoSampler.demo('shapes8').load_image(1).shape
            (600, 600, 3)
        """
        return self.frames.load_image(image_id, cache=cache)

    def load_annotations(self, image_id: int) -> list[dict[str, Any]]:
        """Return the dictionaries of the annotations of an image.

        Args:
            image_id: image id.

        Raises:
            UnknownIdError: if there is no such image.

        Example:
            >>> [ann['id'] for ann in CocoSampler.demo('shapes8').load_annotations(1)]
            [1]
        """
        if image_id not in self.dset.imgs:
            raise UnknownIdError(f"image id is {image_id!r}; the dataset has no such image")
        return [self.dset.anns[aid] for aid in annots_of_image(self.dset, image_id)]

    @fork_safe
    def load_image_with_annots(
        self, image_id: int, cache: bool = True
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the dictionary of an image with its pixels, and its annotations.

        Args:
            image_id: image id.
            cache: see :meth:`load_image`.

        Returns:
            A copy of the image's dictionary with the pixels under ``imdata``, and the dictionaries of its
            annotations.

        Raises:
            UnknownIdError: if there is no such image.
            SourceError: if its file is missing or damaged.

        Example:
            >>> img, anns = CocoSampler.demo('shapes8').load_image_with_annots(1)
            >>> img['imdata'].shape, len(anns)
            ((600, 600, 3), 1)
        """
        anns = self.load_annotations(image_id)
        img = dict(self.dset.imgs[image_id])
        if img.get("width") is None or img.get("height") is None:
            height, width = self.frames.image_dims(image_id)
            img.update(width=width, height=height)
        return {**img, "imdata": self.load_image(image_id, cache=cache)}, anns

    @fork_safe
    def load_sample(  # type: ignore[override]
        self,
        target: Target | Mapping[str, Any] | None = None,
        with_annots: WithAnnots = True,
        annot_ids: Iterable[int] | None = None,
        visible_thresh: float = 0.0,
        **kwargs: Unpack[MovedArguments],
    ) -> Sample:
        """Load the window that a target describes, with its annotations.

        Args:
            target: description of the window; :class:`ndsampler.types.Target` lists all keys. It names an
                image (``gid``) or an annotation (``aid``), and a window: ``slices``, a center and size (``cx,
                cy, width, height``, or ``window_dims``), or a ``bbox``. Without a window, the whole image is
                loaded. Reading options are ``pad, padkw, channels, scale, interpolation, antialias, nodata,
                dtype, as_xarray``.
            with_annots: True for all annotations in the window, False for none, or some of ``'boxes'``,
                ``'segmentation'`` and ``'keypoints'``, in a list or joined by ``+``. Ids, categories and
                boxes are always included.
            annot_ids: ids of the annotations to load, instead of those in the window.
            visible_thresh: keep annotations only if more than this fraction of their box is in the window: 0
                keeps all that touch it, and 1 keeps none.
            **kwargs: deprecated arguments, which are now keys of the target. Each causes one warning. Unknown
                arguments are ignored with a warning.

        Returns:
            A dictionary with ``im``: (height, width, channels) pixels, which the caller may modify;
            ``target``: the target with the inferred keys; ``params``: the transform to image coordinates
            ``tf_rel_to_abs``, and others; ``annots``: annotations in sample coordinates; ``classes``;
            ``kp_classes``; and ``tr``, the same object as ``target``.

        Raises:
            TargetError: if the target is incomplete or contradicts itself.
            WindowError: if the window is malformed or too large for memory; this is a TargetError.
            UnknownIdError: if an id does not exist.
            UnknownChannelError: if the image lacks a channel.
            AnnotKindError: for an unknown kind of annotation.
            ArgumentError: if an annotation of the dataset is malformed; the message names it.
            SourceError: if an image file is missing or damaged; the message names the image and the file.

        Example:
            >>> self = CocoSampler.demo()
            >>> sample = self.load_sample({'gid': 1, 'cx': 5, 'cy': 2, 'width': 6, 'height': 6})
            >>> sample['im'].shape
            (6, 6, 3)
            >>> sample['params']['offset'].tolist()
            [-2, 1]
        """
        if kwargs:
            target = take_arguments(target, kwargs)
        request = parse_request(with_annots, annot_ids, visible_thresh)
        if request is None:
            region, resolved = resolve_region(normalize_target(target, self.dset), self.frames)
        else:
            index, region, resolved = resolve_unedited(target, self.dset, self.frames, self.regions)
        frames = read_frames(region, self.frames)
        annots = None if request is None else load_annots(region, index, self._geometries, request)
        return assemble_sample(
            region, resolved, frames, annots, self.regions.classes, self._geometries.kp_classes
        )

    @fork_safe
    def load_annots(
        self,
        target: Target | Mapping[str, Any],
        with_annots: WithAnnots = True,
        annot_ids: Iterable[int] | None = None,
        visible_thresh: float = 0.0,
    ) -> Annots:
        """Return the annotations of a sample without reading pixels.

        Args:
            target: see :meth:`load_sample`.
            with_annots: see :meth:`load_sample`.
            annot_ids: see :meth:`load_sample`.
            visible_thresh: see :meth:`load_sample`.

        Returns:
            The key ``annots`` of the sample that :meth:`load_sample` returns.

        Raises:
            TargetError: see :meth:`load_sample`.

        Example:
            >>> sampler = CocoSampler.demo('shapes8')
            >>> sampler.load_annots({'gid': 1})['aids'].tolist()
            [1]
        """
        request = parse_request(with_annots, annot_ids, visible_thresh) or AnnotRequest(frozenset())
        index, region, resolved = resolve_unedited(target, self.dset, self.frames, self.regions)
        annots = load_annots(region, index, self._geometries, request)
        return assemble_annots(annots, resolved, self.regions.classes, self._geometries.kp_classes)

    @fork_safe
    def load_target_annots(self, target: Target | Mapping[str, Any]) -> list[int]:
        """Return the ids of the annotations that touch the window of a target, without reading pixels.

        The margins that ``pad`` adds are ignored. :meth:`load_annots` returns the annotations themselves.

        Args:
            target: see :meth:`load_sample`; usually ``gids`` and a ``space_slice``.

        Returns:
            Annotation ids of each frame in turn, ascending within a frame. No ids if ``gids`` is empty.

        Raises:
            TargetError: as :meth:`load_sample`.

        Example:
            >>> sampler = CocoSampler.demo('shapes8')
            >>> whole = (slice(0, 600), slice(0, 600))
            >>> sampler.load_target_annots({'gids': [2, 1], 'space_slice': whole})[-1]
            1
        """
        normal = normalize_target(target, self.dset)
        if is_sequence(normal.get("gids")) and len(normal["gids"]) == 0:
            return []
        index, region, _ = resolve_unedited({**normal, "pad": None}, self.dset, self.frames, self.regions)
        rows = np.concatenate(find_annots(region, index, ALL_ANNOTS))
        result: list[int] = index.columns.aids[rows].tolist()
        return result

    def _load_slice(self, target_: dict[str, Any]) -> Sample:
        """Load the window of a target without annotations; kept for programs that call it by this name."""
        return self.load_sample(target_, with_annots=False)

    _load_slice_2d = _load_slice_3d = _load_slice

    @fork_safe
    def _infer_target_attributes(self, target: dict[str, Any]) -> dict[str, Any]:
        """Return a target with all keys that can be inferred, such as ``space_slice``."""
        return resolve_region(normalize_target(target, self.dset), self.frames)[1]
