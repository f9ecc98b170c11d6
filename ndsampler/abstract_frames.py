"""
Reading regions of images by image id, for any files and any backend.
"""

from __future__ import annotations

import copy
import functools
import operator
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ndsampler.backends.base import make_backend
from ndsampler.backends.npy import map_array
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.identity import Source
from ndsampler.cache.names import count_entries, entries_folder
from ndsampler.errors import ArgumentError, ArgumentTypeError, OutOfRangeError, SourceError, UnknownIdError
from ndsampler.frames.batch import load_regions
from ndsampler.frames.batch_output import check_threads, output_places
from ndsampler.frames.grid import Grid
from ndsampler.frames.layout import Asset, FrameLayout, parse_channels
from ndsampler.frames.prepare import ImageFailure, Preparation, prepare_layouts
from ndsampler.frames.reader import FrameReader
from ndsampler.frames.view import FrameView
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.html import HtmlSummary
from ndsampler.utils.quiet import stdout_to_log
from ndsampler.windows import PixelBox, wrap_slices

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from ndsampler.cache.handles import HandlePool
    from ndsampler.types import (
        AssetInfo,
        BackendChoice,
        BackendConfig,
        CacheErrorMode,
        HashidMode,
        PathInfo,
        PathLike,
        TrustMode,
    )

#: The ways to identify sources in the cache.
HASHID_MODES = ("PATH", "PIXELS", "GIVEN")

#: What to do if an image cannot be converted.
CACHE_ERROR_MODES = ("raise", "bypass")

TRUST_MODES = ("warn", "strict")


class Frames(HtmlSummary):
    """Images by id, read by region.

    A subclass defines :attr:`image_ids`, and overrides either :meth:`_lookup_gpath`, if each image is one
    file, or :meth:`layout`.

    Args:
        hashid_mode: how the cache identifies a source. ``'PATH'``: by absolute path, size and modification
            time. ``'PIXELS'``: by the content of the file, so that files can be moved; for this, each process
            reads each file once. ``'GIVEN'``: by a hash that the dataset states.
        workdir: folder for converted images; by default a folder in the user's cache.
        backend: None, ``'npy'``, ``'cog'``, ``'auto'`` (the same as ``'cog'``), or a dictionary such as
            ``{'type': 'cog', 'config': {'compress': 'LZW'}}``. The settings of cog are ``compress``,
            ``blocksize``, ``quality`` and ``overviews``: see :class:`ndsampler.backends.cog.CogBackend`.
        on_cache_error: what to do if an image cannot be converted, for example because the disk is full:
            ``'raise'`` an error, or ``'bypass'`` the cache: log a warning and read the source.
        trust: what to do about converted images that belong to a user other than you, root and the owner of
            ``workdir``: ``'warn'`` logs one warning, and ``'strict'`` rejects them.

    Raises:
        BackendError: for an unknown backend, key or setting.
        ArgumentError: for an unknown ``hashid_mode``, ``on_cache_error`` or ``trust``.

    Example:
        >>> from ndsampler.abstract_frames import SimpleFrames
        >>> self = SimpleFrames.demo(backend='npy')
        >>> self.load_region(1, (slice(-20), slice(-10))).shape
        (492, 502, 3)
    """

    DEFAULT_NPY_CONFIG: ClassVar[BackendConfig] = {"config": {}, "type": "npy"}
    DEFAULT_COG_CONFIG: ClassVar[dict[str, Any]] = {
        "_hack_use_cli": True,
        "config": {"compress": "auto"},
        "type": "cog",
    }

    @fork_safe
    def __init__(
        self,
        hashid_mode: HashidMode = "PATH",
        workdir: PathLike | None = None,
        backend: BackendChoice = None,
        *,
        on_cache_error: CacheErrorMode = "raise",
        trust: TrustMode = "warn",
    ) -> None:
        super().__init__()
        _check_option("hashid_mode", hashid_mode, HASHID_MODES)
        _check_option("on_cache_error", on_cache_error, CACHE_ERROR_MODES)
        _check_option("trust", trust, TRUST_MODES)
        storage = make_backend(backend)
        self.hashid_mode = hashid_mode
        self.workdir = _default_workdir() if workdir is None and storage.caches else workdir
        dpath = entries_folder(self.workdir, storage)
        self._cache = FrameCache(storage, dpath, hashid_mode, on_cache_error, trust)
        self._backend: BackendConfig = {
            "type": storage.name if storage.caches else None,
            "config": copy.deepcopy(storage.config),
        }
        self.reader = FrameReader(self._cache)
        self.verbose = 0

    @property
    def cache_dpath(self) -> str | None:
        """The folder with the converted images; None without a backend."""
        return self._cache.dpath

    @property
    def _lru(self) -> HandlePool:
        """The open files; ``_lru.set_size(n)`` limits their number."""
        return self._cache.handles

    @property
    def image_ids(self) -> Any:
        """The ids of all images; a subclass must define them."""
        raise NotImplementedError(f"{type(self).__name__} must define image_ids")

    def __repr__(self) -> str:
        backend = self._backend["type"]
        return f"<{type(self).__name__} backend={backend!r}{f' at {self.cache_dpath}' if backend else ''}>"

    def summary(self) -> dict[str, Any]:
        """Return the number of images, the backend and the cache, for display."""
        backend = self._backend["type"] or "none: source files are read"
        counted = count_entries(self.cache_dpath) if self.cache_dpath else None
        return {
            "images": len(self),
            "backend": backend,
            "cache folder": self.cache_dpath,
            "cached files": counted,
        }

    def __bool__(self) -> bool:
        """Return True, even if there are no images."""
        return True

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.image_ids)

    @fork_safe
    def __getitem__(self, index: int) -> Any:
        """Return the pixels of the image at a position in :attr:`image_ids`; for npy, a memory map.

        Args:
            index: the position; a negative one counts from the end.

        Raises:
            OutOfRangeError: if the position is out of range.
            ArgumentTypeError: if the position is not a whole number.

        Example:
            >>> from ndsampler.abstract_frames import SimpleFrames
            >>> self = SimpleFrames.demo()
            >>> len(self), self[0].shape
            (3, (512, 512, 3))
        """
        try:
            position = operator.index(index)
        except TypeError:
            raise ArgumentTypeError(
                f"the index of frames is {index!r}; expected a position in image_ids; to read an image by "
                "its id, call load_image"
            ) from None
        try:
            image_id = self.image_ids[position]
        except IndexError:
            raise OutOfRangeError(
                f"the index of frames is {index}, but there are {len(self)} images; expected a position in "
                "image_ids; to read an image by its id, call load_image"
            ) from None
        return self.load_image(image_id)[...]

    def _lookup_gpath(self, image_id: Any) -> PathLike:
        """Return the path of the only file of an image.

        Raises:
            NotImplementedError: unless the subclass overrides this.
        """
        raise NotImplementedError(f"{type(self).__name__} must define _lookup_gpath or layout")

    def layout(self, image_id: Any) -> FrameLayout:
        """Return the files of an image, with their channels and transforms.

        Raises:
            UnknownIdError: if there is no such image.
        """
        path = os.path.abspath(os.fspath(self._lookup_gpath(image_id)))
        return FrameLayout(image_id, (Asset(Source(path)),))

    @fork_safe
    def sources(self, image_id: Any) -> list[Source]:
        """Return the files of an image, each with the hash that the dataset states for it.

        Raises:
            UnknownIdError: if there is no such image.

        Example:
            >>> from ndsampler.abstract_frames import SimpleFrames
            >>> SimpleFrames({1: '/data/a.png'}).sources(1)[0].path
            '/data/a.png'
        """
        return [asset.source for asset in self.layout(image_id).assets]

    @fork_safe
    def image_dims(self, image_id: Any) -> tuple[int, int]:
        """Return (height, width) of an image in pixels, from the dataset or else from its file.

        Raises:
            UnknownIdError: if there is no such image.
            SourceError: if the dataset does not state the size and the file cannot be read.
        """
        return self.reader.dims(self.layout(image_id))

    @fork_safe
    def load_region(
        self,
        image_id: Any,
        region: Any = None,
        channels: Any = None,
        width: int | None = None,
        height: int | None = None,
    ) -> NDArray[Any]:
        """Read a region of an image, in a time that does not depend on the size of the image.

        Args:
            image_id: image id.
            region: slices as in numpy: (rows, columns) or (rows, columns, channels). A negative bound counts
                from the end, an open bound is the border, and omitted axes are read completely. None is the
                whole image. Slices with a step are an error.
            channels: code, list or ``ChannelSpec``; by default the default channels of the image.
            width: ignored; accepted for compatibility.
            height: ignored; accepted for compatibility.

        Returns:
            (height, width, channels) pixels, which the caller may modify.

        Raises:
            UnknownIdError: if there is no such image.
            WindowError: for a malformed region.
            UnknownChannelError: if the image lacks a channel.
            SourceError: if the file is missing or damaged.

        Example:
            >>> from ndsampler.abstract_frames import SimpleFrames
            >>> self = SimpleFrames.demo(backend=None)
            >>> self.load_region(1, (slice(10, 42), slice(None))).shape
            (32, 512, 3)
        """
        layout = self.layout(image_id)
        names = parse_channels(channels)
        shape = self.reader.shape(layout, names)
        (y0, y1), (x0, x1), (c0, c1) = wrap_slices(region, shape)
        pixels = self.reader.read(layout, Grid(PixelBox(y0, y1, x0, x1)), names)
        return pixels if (c0, c1) == (0, shape[2]) else np.ascontiguousarray(pixels[:, :, c0:c1])

    @fork_safe
    def load_regions(
        self,
        regions: Iterable[tuple[Any, Any]],
        channels: Any = None,
        out: Any = None,
        threads: int = 0,
    ) -> list[NDArray[Any]]:
        """Read many regions in less time than one by one with :meth:`load_region`.

        Each file is opened once. Overlapping regions are decoded once, if their common region has no more
        pixels than the separate regions. In addition to the result, this takes up to 32 MB of memory for each
        thread.

        Args:
            regions: pairs of an image id and a region: see :meth:`load_region`.
            channels: see :meth:`load_region`; the same for all regions.
            out: array that the pixels are written to, of shape (N, height, width, channels) and the type of
                the pixels. Objects that numpy accepts as an array, such as a tensor on the CPU, are allowed.
            threads: number of threads that read files; 0 for the calling thread.

        Returns:
            (height, width, channels) pixels of each region, in order; with ``out`` they are views into it.

        Raises:
            NDSamplerError: the error of the first region that cannot be read: see :meth:`load_region`.
            ArgumentError: if the pixels do not fit into ``out``, or ``threads`` is not a number of threads.

        Example:
            >>> from ndsampler.abstract_frames import SimpleFrames
            >>> self = SimpleFrames.demo(backend=None)
            >>> [pixels.shape for pixels in self.load_regions([(1, slice(0, 9)), (1, slice(0, 5))])]
            [(9, 512, 3), (5, 512, 3)]
        """
        names, threads = parse_channels(channels), check_threads(threads)
        pairs = list(regions)
        places = None if out is None else output_places(out, len(pairs))
        return load_regions(self, pairs, names, places, threads)

    @fork_safe
    def load_image(
        self, image_id: Any, channels: Any = None, cache: bool = True, noreturn: bool = False
    ) -> Any:
        """Return the pixels of an image, or an object that can be sliced like them.

        Args:
            image_id: image id.
            channels: code, list or ``ChannelSpec``; by default the default channels of the image.
            cache: True uses the backend, and converts the image first if necessary. False decodes the whole
                source.
            noreturn: True converts the image if necessary, and returns None.

        Returns:
            For npy, a read-only memory map; for cog, a :class:`ndsampler.frames.view.FrameView`, which reads
            pixels when it is sliced; otherwise an array. Arrays and maps of images with one band have two
            axes.

        Raises:
            UnknownIdError: if there is no such image.
            SourceError: if a file is missing or damaged.
            CacheError: if an entry cannot be made.

        Example:
            >>> from ndsampler.abstract_frames import SimpleFrames
            >>> SimpleFrames.demo(backend='cog').load_image(1)[:-20, :-10].shape
            (492, 502, 3)
        """
        if noreturn:
            self.prepare([image_id])
            return None
        layout = self.layout(image_id)
        names = parse_channels(channels)
        plain = names is None and layout.is_plain
        if plain and cache and self._cache.backend.caches:
            if not self._cache.backend.maps:
                return self.load_frame(image_id)
            file = self.reader.find_file(layout, layout.assets[0])
            if file.lower().endswith(".npy"):
                return self._map_image(layout, file)
        reader = self.reader if cache else FrameReader(FrameCache(make_backend(None), None))
        height, width, count = reader.shape(layout, names)
        pixels = reader.read(layout, Grid(PixelBox(0, height, 0, width)), names)
        return pixels[:, :, 0] if plain and count == 1 else pixels

    def _map_image(self, layout: FrameLayout, file: str) -> NDArray[Any]:
        """Return the entry of a plain image as a memory map."""
        # Opening the entry detects damage, and the error names the image.
        self.reader.asset_shape(layout, layout.assets[0])
        mapped = map_array(file)
        return mapped[:, :, 0] if mapped.shape[2] == 1 else mapped

    @fork_safe
    def load_frame(self, image_id: Any) -> FrameView:
        """Return an image that reads its pixels when it is sliced.

        Args:
            image_id: image id.

        Returns:
            A view of shape (height, width, channels).

        Raises:
            UnknownIdError: if there is no such image.
            SourceError: if a file is missing or damaged.

        Example:
            >>> from ndsampler.abstract_frames import SimpleFrames
            >>> SimpleFrames.demo().load_frame(1)[5, ::100].shape
            (6, 3)
        """
        layout = self.layout(image_id)
        corner = self.reader.read(layout, Grid(PixelBox(0, 1, 0, 1)))
        read = functools.partial(_read_block, self, image_id)
        return FrameView(read, self.reader.shape(layout), corner.dtype)

    def prepare(
        self,
        gids: Iterable[Any] | None = None,
        workers: int = 0,
        use_stamp: bool = True,
        verbose: int | None = None,
        *,
        executor: Executor | None = None,
    ) -> None:
        """Convert images ahead of time, so that no sample has to wait for a conversion.

        After an interruption, call it again to convert the images that are still missing. It also removes
        files that killed processes left behind.

        Args:
            gids: image ids; all images by default.
            workers: number of threads that convert images; decoders release the GIL.
            use_stamp: ignored; accepted for compatibility. Each call checks which images are converted, which
                takes microseconds per image.
            verbose: 1 shows a progress bar with the number of images, MB of sources and the remaining time; 0
                shows none; by default ``verbose`` of these frames.
            executor: converts the images instead of threads: any ``concurrent.futures.Executor``, of
                processes or of a cluster whose machines share the files, such as dask's
                ``client.get_executor()``.

        Raises:
            UnknownIdError: if there is no such image.
            SourceError: if sources could not be read; all others have been converted.
            CacheError: if entries could not be written; all others have been converted.

        Example:
            >>> from ndsampler.abstract_frames import SimpleFrames
            >>> SimpleFrames.demo(backend='npy').prepare(workers=2)
        """
        report = self.try_prepare(gids, workers, executor=executor, verbose=verbose)
        report.raise_failures(goes_on_uncached=self._cache.on_cache_error == "bypass")

    def try_prepare(
        self,
        gids: Iterable[Any] | None = None,
        workers: int = 0,
        *,
        executor: Executor | None = None,
        verbose: int | None = None,
    ) -> Preparation:
        """Convert images like :meth:`prepare`, but return failures instead of raising an error.

        Args:
            gids: image ids; all images by default.
            workers: number of threads that convert images.
            executor: converts the images instead of threads.
            verbose: 1 shows a progress bar, 0 none; by default ``verbose`` of these frames.

        Returns:
            The number of converted images, and the images that could not be converted, with the reasons.

        Raises:
            UnknownIdError: if there is no such image.

        Example:
            >>> import tempfile
            >>> from ndsampler.abstract_frames import SimpleFrames
            >>> workdir = tempfile.mkdtemp()
            >>> frames = SimpleFrames.demo(backend='npy', workdir=workdir)
            >>> frames.try_prepare([1]).made
            1
            >>> report = frames.try_prepare()
            >>> report.made, report.present, report.failures
            (2, 1, ())
        """
        wanted = dict.fromkeys(self.image_ids if gids is None else gids)
        if not self._cache.backend.caches:
            return Preparation(images=len(wanted))
        self._cache.clean_up()
        layouts: list[FrameLayout] = []
        unclear: list[ImageFailure] = []
        for gid in wanted:
            try:
                layouts.append(self.layout(gid))
            except SourceError as ex:
                unclear.append(ImageFailure(gid, (), ex))
        report = prepare_layouts(
            self.reader,
            layouts,
            workers=workers,
            executor=executor,
            desc=f"prepare {self._cache.backend.name}",
            verbose=self.verbose if verbose is None else verbose,
        )
        return replace(report, images=len(wanted), failures=(*unclear, *report.failures))

    def _build_pathinfo(self, image_id: Any) -> PathInfo:
        """Return the paths of the files of an image and of their entries."""
        layout = self.layout(image_id)
        infos = {
            "|".join(asset.channels) if asset.channels else None: self._asset_info(asset)
            for asset in layout.assets
        }
        return {
            "id": image_id,
            "default": next(iter(infos)) if layout.has_own_file else None,
            "channels": infos,
        }

    def _asset_info(self, asset: Asset) -> AssetInfo:
        """Return the paths of one file and of its entry."""
        caches = self._cache.backend.caches
        return {
            "path": asset.path,
            "channels": "|".join(asset.channels) if asset.channels else None,
            "warp_aux_to_img": np.eye(3) if asset.warp_img_from_asset is None else asset.warp_img_from_asset,
            "hashid": self._cache.identify(asset.source).token if caches else None,
            "hashid_mode": self.hashid_mode,
            "cache": self._cache.entry_path(asset.source),
            "cache_type": self._backend["type"],
        }


class SimpleFrames(Frames):
    """Images that consist of one file each, read by region.

    Args:
        id_to_path: path of each image by its id.
        workdir: see :class:`Frames`.
        backend: see :class:`Frames`.
        on_cache_error: see :class:`Frames`.
        trust: see :class:`Frames`.

    Example:
        >>> self = SimpleFrames.demo(backend='npy')
        >>> self.load_image(1).shape
        (512, 512, 3)
        >>> sorted(self._build_pathinfo(1))
        ['channels', 'default', 'id']
    """

    def __init__(
        self,
        id_to_path: dict[Any, PathLike],
        workdir: PathLike | None = None,
        backend: BackendChoice = None,
        *,
        on_cache_error: CacheErrorMode = "raise",
        trust: TrustMode = "warn",
    ) -> None:
        super().__init__(workdir=workdir, backend=backend, on_cache_error=on_cache_error, trust=trust)
        self.id_to_path = id_to_path

    @property
    def image_ids(self) -> list[Any]:
        """The ids of all images."""
        return list(self.id_to_path)

    def _lookup_gpath(self, image_id: Any) -> PathLike:
        """Return the path of an image.

        Raises:
            UnknownIdError: if there is no such image.
        """
        try:
            return self.id_to_path[image_id]
        except (KeyError, TypeError):
            raise UnknownIdError(
                f"image id is {image_id!r}; expected one of the {len(self.id_to_path)} ids in image_ids"
            ) from None

    @classmethod
    @fork_safe
    def demo(cls, **kw: Any) -> SimpleFrames:
        """Return frames of three photographs, the first of 512 x 512 pixels.

        Without network access, the images are noise of the same sizes.

        Args:
            **kw: arguments of :class:`SimpleFrames`.

        Example:
            >>> SimpleFrames.demo().image_ids
            [1, 2, 3]
        """
        import kwimage

        keys = ["astro", "carl", "paraview"]
        with stdout_to_log():
            id_to_path = {gid: kwimage.grab_test_image_fpath(key) for gid, key in enumerate(keys, 1)}
        return cls(id_to_path, **kw)


def _check_option(name: str, value: object, options: Sequence[str]) -> None:
    """Raise an ArgumentError for a value that is not one of the options."""
    if value not in options:
        raise ArgumentError(f"{name} is {value!r}; expected one of {', '.join(map(repr, options))}")


def _read_block(frames: Frames, image_id: Any, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
    """Read a block for a :class:`FrameView`. It is a module-level function, so that views can be pickled."""
    return frames.load_region(image_id, (slice(y0, y1), slice(x0, x1)))


def _default_workdir() -> str:
    """Return the folder of this library in the user's cache folder."""
    import ubelt as ub

    return str(ub.Path.appdir("ndsampler"))
