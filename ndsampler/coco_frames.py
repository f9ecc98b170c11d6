"""
The frames of a kwcoco dataset.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.abstract_frames import Frames
from ndsampler.backends.base import Stated
from ndsampler.cache.identity import Source
from ndsampler.cache.names import config_folder
from ndsampler.dataset.columns import as_ids
from ndsampler.dataset.edits import DatasetHash
from ndsampler.dataset.entries import MAX_SIDE, malformed_image, stated_video_dims
from ndsampler.dataset.kwcoco_adapter import (
    find_video,
    frames_of_video,
    is_in_memory,
    list_parts,
    video_ids,
)
from ndsampler.dataset.opening import image_folder
from ndsampler.dataset.warps import warp_matrix
from ndsampler.errors import SourceError, UnknownIdError, UnknownTargetError
from ndsampler.frames.layout import Asset, FrameLayout, parse_channels
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.ids import list_ids

if TYPE_CHECKING:
    import kwcoco
    from numpy.typing import NDArray

    from ndsampler.types import BackendChoice, CacheErrorMode, HashidMode, PathLike, TrustMode

#: Maximum number of cached layouts. Beyond it, all are dropped, and they are built again when needed.
MAX_LAYOUTS = 20_000


class CocoFrames(Frames, DatasetHash):
    """The images of a kwcoco dataset, read by region.

    Args:
        dset: the dataset.
        hashid_mode: ``'PATH'``, ``'PIXELS'`` or ``'GIVEN'`` (by the key ``hashid`` of each image or asset):
            see :class:`ndsampler.Frames`.
        workdir: folder below which converted images are kept.
        verbose: whether :meth:`prepare` shows a progress bar.
        backend: None, ``'npy'``, ``'cog'``, ``'auto'`` or a dictionary: see :class:`ndsampler.Frames`.
        on_cache_error: ``'raise'``, or ``'bypass'`` to continue without a cache: see
            :class:`ndsampler.Frames`.
        trust: ``'warn'``, or ``'strict'`` to reject entries of other users: see :class:`ndsampler.Frames`.
        images: folder to which file names are relative; by default the folder of the dataset,
            ``dset.bundle_dpath``.

    Raises:
        BackendError: for an unknown backend, key or setting.
        MissingSourceError: if there is no folder ``images``.

    Example:
        >>> import kwcoco, ubelt as ub
        >>> dset = kwcoco.CocoDataset.demo('shapes8', verbose=0)
        >>> self = CocoFrames(dset, workdir=ub.Path.appdir('ndsampler/doctest').ensuredir())
        >>> self.load_region(1, (slice(-20), slice(-10))).shape
        (580, 590, 3)
    """

    def __init__(
        self,
        dset: kwcoco.CocoDataset,
        hashid_mode: HashidMode = "PATH",
        workdir: PathLike | None = None,
        verbose: int = 0,
        backend: BackendChoice = "auto",
        *,
        on_cache_error: CacheErrorMode = "raise",
        trust: TrustMode = "warn",
        images: PathLike | None = None,
    ) -> None:
        super().__init__(hashid_mode, workdir, backend, on_cache_error=on_cache_error, trust=trust)
        self.dset = dset
        self._images = image_folder(images)
        self.verbose = verbose
        self._layouts: dict[Any, tuple[Any, FrameLayout]] = {}

    @property
    def image_ids(self) -> NDArray[np.int64]:
        """The ids of all images, in the order of the dataset."""
        return as_ids(list(self.dset.imgs.keys()), "image")

    @property
    def folder(self) -> str:
        """The folder to which file names are relative."""
        return os.fspath(self.dset.bundle_dpath) if self._images is None else self._images

    def layout(self, image_id: Any) -> FrameLayout:
        """Return the files of an image, with their channels and transforms.

        Raises:
            UnknownIdError: if there is no such image.
            SourceError: if the dataset names no file for it, or its dictionary is malformed.
        """
        imgs = self.dset.imgs
        try:
            if not is_in_memory(imgs) and image_id in self._layouts:
                # A view of a database is read-only, so the layout is current and a query is saved.
                return self._layouts[image_id][1]
            img = imgs[image_id]
        except (KeyError, TypeError, OverflowError):
            raise UnknownIdError(
                f"image id is {image_id!r}; expected one of the {len(imgs)} ids in dset.imgs: "
                f"{list_ids(imgs.keys(), image_id)}"
            ) from None
        try:
            folder = self.folder
            marks = _edit_marks(img, folder)
            known = self._layouts.get(image_id)
            if known is not None and known[0] == marks:
                return known[1]
            # Use the id of the dataset, because equal ids of other types share this layout.
            own_id = img.get("id")
            gid = own_id if own_id == image_id else image_id
            layout = build_layout(gid, img, folder)
        except (TypeError, ValueError, AttributeError, OverflowError) as ex:
            raise malformed_image(image_id, ex) from ex
        if len(self._layouts) >= MAX_LAYOUTS:
            self._layouts.clear()
        self._layouts[image_id] = (marks, layout)
        return layout

    def video_of(self, image_id: Any) -> Any:
        """Return the id of the video that an image belongs to, or None.

        Raises:
            UnknownIdError: if there is no such image.
        """
        self.layout(image_id)
        return self.dset.imgs[image_id].get("video_id")

    def video_gids(self, vidid: Any) -> list[Any]:
        """Return the image ids of a video in the order of their frame index.

        Raises:
            UnknownTargetError: if there is no such video.
        """
        try:
            return frames_of_video(self.dset, vidid)
        except (KeyError, TypeError, OverflowError):
            known = list_ids(video_ids(self.dset), vidid)
            raise UnknownTargetError(
                f"vidid is {vidid!r}; expected a video id of the dataset: {known}"
            ) from None

    @fork_safe
    def video_dims(self, vidid: Any, image_id: Any) -> tuple[int, int]:
        """Return (height, width) of the space in which frames are aligned.

        Args:
            vidid: id of the video, or None.
            image_id: a frame, whose size is used if the video states none.

        Raises:
            UnknownIdError: if there is no such image or video.
            SourceError: if the size that the video states is malformed.
        """
        try:
            video = {} if vidid is None else find_video(self.dset, vidid)
        except (KeyError, TypeError, OverflowError):
            known = list_ids(video_ids(self.dset), vidid)
            raise UnknownTargetError(
                f"image {image_id!r} is a frame of video {vidid!r}; expected a video id of the dataset: "
                f"{known}"
            ) from None
        stated = stated_video_dims(vidid, video)
        if stated is not None:
            return stated
        height, width = self.image_dims(image_id)
        warp = self.layout(image_id).warp_vid_from_img
        if warp is None:
            return height, width
        corners = np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]])
        right, bottom = (warp @ corners)[:2].max(axis=1)
        return int(np.ceil(bottom - 1e-6)), int(np.ceil(right - 1e-6))

    def _make_hashid(self) -> tuple[str, Any]:
        """Return an id of the files and the backend."""
        import ubelt as ub

        folder = self.folder
        # Iterate over all images, because a database loads them with a single query.
        paths = []
        for img in self.dset.imgs.values():
            try:
                layout = build_layout(img["id"], img, folder)
            except (TypeError, ValueError, AttributeError) as ex:
                raise malformed_image(img["id"], ex) from ex
            paths.append([int(layout.gid), [asset.path for asset in layout.assets]])
        paths.sort()
        parts = [[self.hashid_mode, config_folder(self._cache.backend)], paths]
        return ub.hash_data(parts), parts

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_layouts": {}}


def _edit_marks(img: dict[str, Any], folder: str) -> tuple[Any, ...]:
    """Return the values that a layout depends on, to detect edits of the dataset."""
    parts = list_parts(img)
    warp = img.get("warp_img_to_vid")
    mark = None if warp is None else _warp_mark(warp)
    return folder, *_asset_marks(img), mark, *map(_asset_marks, parts)


def _asset_marks(obj: dict[str, Any]) -> tuple[Any, ...]:
    """Return the values in the dictionary of a file that its asset depends on."""
    get = obj.get
    warp = get("warp_aux_to_img")
    mark = None if warp is None else _warp_mark(warp)
    return get("file_name"), get("channels"), get("width"), get("height"), get("hashid"), mark


def _warp_mark(warp: Any) -> str:
    """Return a text that differs between transforms."""
    return repr(warp.tolist() if isinstance(warp, np.ndarray) else warp)


@fork_safe
def build_layout(image_id: Any, img: dict[str, Any], folder: str) -> FrameLayout:
    """Return the files that the dictionary of an image names.

    Args:
        image_id: image id.
        img: the dictionary; further files are listed under ``auxiliary`` and ``assets``.
        folder: the folder to which file names are relative.

    Returns:
        The layout: the image's own file first, then those under ``auxiliary``, then those under ``assets``,
        as ``kwcoco.CocoImage.iter_assets`` lists them.

    Raises:
        SourceError: if it names no file.

    Example:
        >>> img = {'file_name': 'a.png', 'width': 8, 'height': 6}
        >>> build_layout(1, img, '/data').assets[0].channels is None
        True
    """
    own = img.get("file_name")
    assets = [_build_asset(part, folder) for part in list_parts(img) if part.get("file_name")]
    if own:
        assets.insert(0, _build_asset({**img, "warp_aux_to_img": None}, folder))
    if not assets:
        raise SourceError(f"image {image_id} names no file; expected 'file_name', 'assets' or 'auxiliary'")
    warp = warp_matrix(img.get("warp_img_to_vid"))
    return FrameLayout(image_id, tuple(assets), _stated_dims(img), warp, bool(own), folder)


def _build_asset(obj: dict[str, Any], folder: str) -> Asset:
    """Return one file of an image as a value."""
    path = os.path.abspath(os.path.join(folder, os.fspath(obj["file_name"])))
    channels = parse_channels(obj.get("channels"))
    warp = warp_matrix(obj.get("warp_aux_to_img"))
    dims = _stated_dims(obj)
    given = None if obj.get("hashid") is None else str(obj["hashid"])
    names = channels if isinstance(channels, tuple) else None
    stated = Stated(None if names is None else len(names), dims)
    return Asset(Source(path, given, stated), names, warp, dims)


def _stated_dims(obj: dict[str, Any]) -> tuple[int, int] | None:
    """Return the (height, width) that a dictionary of a dataset states, or None."""
    width, height = obj.get("width"), obj.get("height")
    if width is None or height is None:
        return None
    try:
        dims = int(height), int(width)
    except OverflowError as ex:
        raise ValueError(f"its width and height are {width} and {height}") from ex
    if not all(0 <= side <= MAX_SIDE for side in dims):
        raise ValueError(f"its width or height is not between 0 and {MAX_SIDE}")
    return dims
