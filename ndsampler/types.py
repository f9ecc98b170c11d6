"""
Types of the dictionaries that users pass in and get back, and of options.

Annotate your own functions with them, after ``from ndsampler.types import Sample, Target``, so that type
checkers find misspelt keys and editors complete them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    import kwimage
    import numpy as np
    from numpy.typing import NDArray

    from ndsampler.backends.base import Backend
    from ndsampler.category_tree import CategoryTree
    from ndsampler.pools.area import Area

#: Values of ``Target.window_dims``, the size of a window.
WindowDims = tuple[int, int] | Literal["square", "extent"] | None

#: How the cache identifies the images of a dataset.
HashidMode = Literal["PATH", "PIXELS", "GIVEN"]

#: What to do if an image cannot be converted.
CacheErrorMode = Literal["raise", "bypass"]

#: What to do about cache entries that belong to another user.
TrustMode = Literal["warn", "strict"]

#: A path of a file or a folder.
PathLike = str | os.PathLike[str]

#: Names of this library's backends. Pass a backend that you have registered as ``{'type': name}``.
BackendName = Literal["auto", "cog", "npy"]

#: The task for which a grid of windows is made.
GridTask = Literal["image_detection", "video_detection"]

#: The kinds of annotations that a sample may have.
AnnotKind = Literal["boxes", "segmentation", "keypoints"]

#: The argument ``with_annots`` of ``load_sample``: all or none, a list of kinds, or kinds joined by ``+``.
WithAnnots = bool | str | Sequence[AnnotKind] | None

#: Interpolation method for resampling pixels.
Interpolation = Literal["auto", "nearest", "linear", "cubic", "lanczos", "area"]

#: Names of the outputs of ``SampleDataset``.
OutputName = Literal[
    "image", "boxes", "labels", "masks", "mask", "keypoints", "valid", "frame_index", "target"
]

#: The size of a window, as pools and grids accept it.
WindowSize = Sequence[int | str | None] | Literal["full", "extent", "square"]


class BackendConfig(TypedDict, total=False):
    """A backend with its settings."""

    type: str | None
    """``'cog'``, ``'npy'`` or None."""
    config: dict[str, Any]
    """Settings of the backend; see :class:`ndsampler.backends.cog.CogBackend`."""


#: The argument ``backend`` of samplers and frames.
BackendChoice: TypeAlias = "BackendName | BackendConfig | dict[str, Any] | Backend | None"


class AssetInfo(TypedDict):
    """One file of an image and its entry in the cache."""

    path: str
    """Absolute path of the source."""
    channels: str | None
    """Channel code of the file; None if the dataset states none."""
    warp_aux_to_img: NDArray[np.float64]
    """3x3 matrix from the pixel coordinates of the file to those of the image."""
    hashid: str | None
    """Id in the name of the entry; None without a cache."""
    hashid_mode: str
    """How the id is computed."""
    cache: str | None
    """Path of the entry; None without a cache."""
    cache_type: str | None
    """Name of the backend."""


class PathInfo(TypedDict):
    """The files of one image."""

    id: Any
    """Image id."""
    default: str | None
    """Key in ``channels`` of the file that is read if no channels are requested."""
    channels: dict[str | None, AssetInfo]
    """The files by channel code."""


class Target(TypedDict, total=False):
    """A request for a sample. Other keys are ignored, and kept in the sample's target."""

    gid: Any
    """Image id; also ``image_id``."""
    vidid: Any
    """Video id; also ``video_id``."""
    gids: list[Any]
    """Image ids, as frames of a video; also ``image_ids``. ``vidid`` may then be any value."""
    aid: int
    """Annotation id. It determines the image, center and size unless the target states them."""
    bbox: Any
    """Box as x, y, width, height in pixels. It places the window if no other key does."""
    cx: float
    """Column of the window's center, in pixels."""
    cy: float
    """Row of the window's center, in pixels."""
    width: float
    """Width of the object, in pixels."""
    height: float
    """Height of the object, in pixels."""
    window_dims: WindowDims
    """(height, width) of the window in pixels. ``'extent'``, the default, is the size of the object, and at
    least one pixel; ``'square'`` uses the longer side for both height and width."""
    slices: tuple[slice, ...]
    """(rows, columns), or (rows, columns, channels) of an image, or (time, rows, columns) of a video. A
    negative start lies outside the image; a negative start of channels counts from the end."""
    space_slice: tuple[slice, slice]
    """(rows, columns). It takes precedence over ``slices``."""
    time_slice: slice
    """Frames of a video."""
    pad: Any
    """Pixels added around the window: a number, (height, width), or a (before, after) pair for each axis."""
    padkw: dict[str, Any]
    """Arguments of :func:`numpy.pad`, which fills pixels outside the image."""
    channels: Any
    """A code such as ``'r|g|b'``, a list of codes, a ``ChannelSpec``, or ``'<all>'``."""
    scale: float | tuple[float, float]
    """Factor, or (x, y) factors, by which the sample and its annotations are resized."""
    interpolation: Interpolation
    """Method of resampling; by default ``'auto'``."""
    antialias: bool | Literal["auto"]
    """Whether pixels are averaged when an image is reduced, to avoid aliasing."""
    nodata: int | float | str | None
    """``'float'``, ``'auto'``, ``'ma'``, ``'alpha'`` or the value that means "no measurement"."""
    dtype: Any
    """Type to which the pixels are cast."""
    use_native_scale: bool
    """For videos: ``im`` is a list of frames, each a list of arrays, one per asset in its own resolution."""
    realign_native: Literal["largest"] | None
    """``'largest'`` resizes these arrays to the largest of them, so that ``im`` is a single array."""
    finalize: bool
    """False returns a delayed image for each frame of a video instead of pixels."""
    as_xarray: bool
    """Whether ``im``, or each of its arrays in native scale, is an :class:`xarray.DataArray`."""
    legacy_target: bool
    """False leaves out the sample's key ``tr``."""
    legacy_annots: bool
    """False leaves out all keys of ``annots`` except ``frame_dets``."""


class Annots(TypedDict, total=False):
    """The annotations of a sample, in its coordinates."""

    aids: NDArray[np.int64]
    """Annotation ids."""
    cids: NDArray[np.int64]
    """Category ids."""
    rel_frame_index: NDArray[np.int64]
    """Index of the frame to which each annotation belongs."""
    rel_boxes: kwimage.Boxes
    """Boxes in the format xywh."""
    rel_ssegs: kwimage.PolygonList
    """A MultiPolygon or None for each annotation."""
    rel_kpts: kwimage.PointsList
    """Points or None for each annotation; ``meta['classes']`` is the tree of keypoint categories."""
    frame_dets: list[kwimage.Detections]
    """The annotations of each frame."""


class SampleParams(TypedDict, total=False):
    """Relation between the coordinates of a sample and those of its image or video."""

    offset: NDArray[np.float64]
    """(y, x) of the image's origin in the window, before scaling."""
    tf_rel_to_abs: NDArray[np.float64]
    """3x3 matrix from sample coordinates to those of the image or video."""
    sample_tlbr: kwimage.Boxes
    """The window with its margins: left, top, right and bottom in pixels of the image or video."""
    st_dims: list[tuple[int, int]]
    """Start and end of the rows, and of the columns."""
    data_dims: tuple[int, ...]
    """Size of the image or video: (height, width), or (frames, height, width)."""
    pad: Any
    """Margins around the window that the target requested."""
    request_chanspec: Any
    """For videos: the channels of ``im``, if they have names."""
    frame_sample_from_grid_warps: list[kwimage.Affine]
    """For videos: for each frame, the matrix from its pixels to sample coordinates."""
    jagged_meta: list[Any]
    """For videos in native scale: a description of the arrays of each frame."""


class Sample(TypedDict, total=False):
    """The pixels and annotations that are loaded for a target."""

    im: Any
    """(height, width, channels) pixels, or (frames, height, width, channels) of a video."""
    target: dict[str, Any]
    """The target, including values that were inferred from it."""
    tr: dict[str, Any]
    """The same object as ``target``."""
    params: SampleParams
    """Relation between sample and image coordinates."""
    annots: Annots
    """Annotations in sample coordinates; absent if they were not requested."""
    classes: CategoryTree
    """The category tree."""
    kp_classes: CategoryTree
    """The tree of keypoint categories."""


class SampleGrid(TypedDict, total=False):
    """Windows that cover a dataset. ``new_sample_grid`` returns it."""

    targets: Sequence[dict[str, Any]]
    """A target for each window."""
    positives_indexes: list[int]
    """Positions in ``targets`` of the windows with annotations of interest."""
    negatives_indexes: list[int]
    """Positions in ``targets`` of all other windows."""
    positives: Sequence[dict[str, Any]]
    """The targets of the positive windows; absent with ``legacy=False``."""
    negatives: Sequence[dict[str, Any]]
    """The targets of the negative windows; absent with ``legacy=False``."""


#: The targets of a ``SampleDataset``: a pool, a grid, a list, or a function of (epoch, position).
TargetChoice = (
    Literal["positives", "pool"] | SampleGrid | Sequence[Mapping[str, Any]] | Callable[[int, int], Any]
)


class GridArguments(TypedDict, total=False):
    """Further arguments of ``new_sample_grid``: see :func:`ndsampler.coco_regions.new_image_sample_grid`."""

    classes_of_interest: Collection[str] | None
    """Names of the categories that make a window positive."""
    ignore_coverage_thresh: float | None
    """Largest fraction of a window that ``ignore`` annotations may cover."""
    negative_classes: Collection[str] | None
    """Names of the categories that do not make a window positive."""
    use_annots: bool
    """False ignores annotations: all windows are negative, and none is left out."""
    legacy: bool
    """False leaves out ``positives`` and ``negatives``, which list the same targets again."""
    verbose: int
    """Whether to log the numbers of targets."""
    split: Area | None
    """Part of the dataset in which windows must lie."""
    space_dims: Any
    """For videos: (height, width) in pixels, which overrides that in ``window_dims``."""
    time_dim: Any
    """For videos: number of frames, which overrides that in ``window_dims``."""


class MovedArguments(TypedDict, total=False):
    """Arguments of earlier releases that are now keys of the target. Each causes one warning."""

    tr: Mapping[str, Any]
    """The target."""
    pad: Any
    """See :attr:`Target.pad`."""
    padkw: dict[str, Any]
    """See :attr:`Target.padkw`."""
    dtype: Any
    """See :attr:`Target.dtype`."""
    nodata: Any
    """See :attr:`Target.nodata`."""


class LoadArguments(MovedArguments, total=False):
    """Further arguments of ``load_item``, ``load_positive`` and ``load_negative``."""

    annot_ids: Iterable[int] | None
    """Ids of the annotations to return, instead of all annotations in the window."""
    visible_thresh: float
    """Annotations are left out unless more than this fraction of their box is inside the window."""


class SamplerArguments(TypedDict, total=False):
    """Arguments of :class:`ndsampler.CocoSampler` besides the dataset."""

    workdir: PathLike | None
    """Folder for converted images."""
    autoinit: bool
    """False defers the construction of frames and regions until ``init()`` is called."""
    backend: BackendChoice
    """Storage backend of converted images."""
    verbose: int
    """Whether long operations show a progress bar."""
    on_cache_error: CacheErrorMode
    """What to do if an image cannot be converted."""
    trust: TrustMode
    """What to do about cache entries that belong to other users."""
    images: PathLike | None
    """Folder to which relative file names refer."""
