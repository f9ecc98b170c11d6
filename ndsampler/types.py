"""
The dictionaries that users pass in and get back, and the names of options.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    import kwimage
    import numpy as np
    from numpy.typing import NDArray

#: How a window may be given in ``Target.window_dims``.
WindowDims = tuple[int, int] | Literal["square", "extent"] | None

#: How the images of a dataset are told apart in the cache.
HashidMode = Literal["PATH", "PIXELS", "GIVEN"]

#: What to do when an entry of the cache cannot be made.
CacheErrorMode = Literal["raise", "bypass"]

#: What to do about entries of the cache that another user has made.
TrustMode = Literal["warn", "strict"]

#: Wherever a path is taken.
PathLike = str | os.PathLike[str]


class BackendConfig(TypedDict, total=False):
    """A backend with its settings."""

    type: str | None
    """``'cog'``, ``'npy'`` or None."""
    config: dict[str, Any]
    """Settings of the backend; see :class:`ndsampler.backends.cog.CogBackend`."""


class AssetInfo(TypedDict):
    """Where one file of an image lies, and its entry in the cache."""

    path: str
    """Absolute path of the source."""
    channels: str | None
    """Its channel code, when the dataset states one."""
    warp_aux_to_img: NDArray[np.float64]
    """3x3 matrix from the file's pixels to the image's."""
    hashid: str | None
    """What names the entry; None without a cache."""
    hashid_mode: str
    """How it was found."""
    cache: str | None
    """Path of the entry; None without a cache."""
    cache_type: str | None
    """Name of the backend."""


class PathInfo(TypedDict):
    """Where the files of one image lie."""

    id: Any
    """Image id."""
    default: str | None
    """Key of ``channels`` that is read when no channels are asked for."""
    channels: dict[str | None, AssetInfo]
    """Each file by its channel code."""


class Target(TypedDict, total=False):
    """What to sample. Keys that are not listed here are kept and ignored."""

    gid: Any
    """Image id; also ``image_id``."""
    vidid: Any
    """Video id; also ``video_id``."""
    gids: list[Any]
    """Image ids, as frames of a video; also ``image_ids``. Beside them ``vidid`` may be any value."""
    aid: int
    """Annotation id, which gives whatever is not stated: the image, center and size."""
    bbox: Any
    """Box as x, y, width, height in pixels, which places the window if nothing else in the target does."""
    cx: float
    """Column of the window's center, in pixels."""
    cy: float
    """Row of the window's center, in pixels."""
    width: float
    """Of the object, in pixels."""
    height: float
    """Of the object, in pixels."""
    window_dims: WindowDims
    """(height, width) of the window. ``'extent'``, the default, is the object's own size, and at least one
    pixel; ``'square'`` uses the longer side for both height and width."""
    slices: tuple[slice, ...]
    """(rows, columns), or (rows, columns, channels) of an image, or (time, rows, columns) of a video. A
    negative start lies outside the image; that of channels counts from the end."""
    space_slice: tuple[slice, slice]
    """(rows, columns); takes precedence over ``slices``."""
    time_slice: slice
    """Frames of a video."""
    pad: Any
    """Context around the window: (height, width), or a (before, after) pair for each."""
    padkw: dict[str, Any]
    """For :func:`numpy.pad`, where the window leaves the image."""
    channels: Any
    """A code such as ``'r|g|b'``, a list of codes, a ``ChannelSpec``, or ``'<all>'``."""
    scale: float | tuple[float, float]
    """Factor, or (x, y) factors, by which the sample is resized; annotations follow."""
    interpolation: str
    """``'auto'``, ``'nearest'``, ``'linear'``, ``'cubic'``, ``'lanczos'`` or ``'area'``."""
    antialias: bool | str
    """Whether shrinking averages."""
    nodata: int | float | str | None
    """``'float'``, ``'auto'``, ``'ma'``, ``'alpha'`` or the value that means "no measurement"."""
    dtype: Any
    """Type the pixels are cast to."""
    use_native_scale: bool
    """Of videos: ``im`` is a list of frames, each a list of parts at their assets' own resolution."""
    realign_native: str | None
    """``'largest'`` resizes those parts to the largest of them, so that ``im`` is one array again."""
    finalize: bool
    """False gives a delayed image for each frame of a video instead of pixels."""
    as_xarray: bool
    """Whether ``im``, or each part of it in native scale, is a :class:`xarray.DataArray`."""
    legacy_target: bool
    """False leaves out the sample's key ``tr``."""
    legacy_annots: bool
    """False leaves ``frame_dets`` alone in ``annots``."""


class Sample(TypedDict, total=False):
    """What is returned for a target."""

    im: Any
    """(height, width, channels) pixels."""
    target: dict[str, Any]
    """The target, and what was inferred of it."""
    tr: dict[str, Any]
    """The same object as ``target``."""
    params: dict[str, Any]
    """How sample and image coordinates relate."""
    annots: dict[str, Any]
    """Annotations in sample coordinates, when asked for."""
    classes: Any
    """The category tree."""
    kp_classes: Any
    """The tree of keypoint categories."""


class Annots(TypedDict, total=False):
    """The annotations of a sample, in its coordinates."""

    aids: NDArray[np.int64]
    """Annotation ids."""
    cids: NDArray[np.int64]
    """Category ids."""
    rel_frame_index: NDArray[np.int64]
    """Index of the frame of each."""
    rel_boxes: kwimage.Boxes
    """xywh boxes."""
    rel_ssegs: kwimage.PolygonList
    """A MultiPolygon or None for each."""
    rel_kpts: kwimage.PointsList
    """Points or None for each; ``meta['classes']`` is the tree of keypoint categories."""
    frame_dets: list[kwimage.Detections]
    """All of these for each frame."""
