"""
The old names of functions for cloud-optimized GeoTIFFs. ``osgeo`` is neither needed nor imported.

Today :meth:`ndsampler.Frames.load_frame` returns an image that is read when it is sliced,
:class:`ndsampler.backends.cog.CogBackend` writes the files, :meth:`ndsampler.Frames.prepare` converts
all images of a dataset, and :mod:`ndsampler.utils.validate_cog` validates one file.
"""

from __future__ import annotations

import os
import uuid
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import ubelt as ub

from ndsampler.abstract_frames import SimpleFrames
from ndsampler.backends.cog import CogBackend
from ndsampler.backends.source import ArrayReader, open_source
from ndsampler.errors import ArgumentError, CacheError, SourceError
from ndsampler.utils.require import have_gdal
from ndsampler.utils.validate_cog import validate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ndsampler.backends.base import SourceReader
    from ndsampler.frames.view import FrameView
    from ndsampler.types import PathLike

__all__ = ["LazyGDalFrameFile", "batch_convert_to_cog", "batch_validate_cog", "have_gdal"]


class LazyGDalFrameFile:
    """An image file that is read when it is sliced like a numpy array.

    Args:
        cog_fpath: path of an image. Of a tiled TIFF, only the tiles that a slice needs are read.

    Raises:
        SourceError: when first used, if the file is missing or damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as dpath:
        ...     path = _imwrite_cloud_optimized_geotiff(f"{dpath}/a.tif", np.eye(4, dtype=np.uint8))
        ...     image = LazyGDalFrameFile(path)
        ...     image.shape, image[2:4, 1:4, 0].tolist()
        ((4, 4, 1), [[0, 1, 0], [0, 0, 1]])
    """

    def __init__(self, cog_fpath: PathLike) -> None:
        self.cog_fpath = cog_fpath
        self.fpath = cog_fpath

    @cached_property
    def _view(self) -> FrameView:
        return SimpleFrames({0: self.fpath}).load_frame(0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) in pixels."""
        return self._view.shape

    @property
    def ndim(self) -> int:
        """The number of axes, 3."""
        return self._view.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the pixels."""
        result: np.dtype[Any] = self._view.dtype
        return result

    def __len__(self) -> int:
        return len(self._view)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return self._view[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self._view.__array__(dtype, copy)

    def __repr__(self) -> str:
        return f"LazyGDalFrameFile({os.fspath(self.fpath)!r})"


def _imwrite_cloud_optimized_geotiff(
    fpath: PathLike, data: NDArray[Any], compress: str = "auto", blocksize: int = 256
) -> PathLike:
    """Write an array as a cloud-optimized GeoTIFF, which appears complete or not at all.

    Args:
        fpath: the file to write; an existing file is replaced.
        data: (height, width) or (height, width, channels) pixels.
        compress: see :class:`ndsampler.backends.cog.CogBackend`; ``'auto'`` keeps every pixel.
        blocksize: side of a tile in pixels.

    Returns:
        The path of the file.

    Raises:
        BackendError: for an unknown compression, or an invalid tile size.
        CacheError: if the file cannot be written, or TIFF does not support the type of the pixels.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as dpath:
        ...     path = f"{dpath}/a.tif"
        ...     _imwrite_cloud_optimized_geotiff(path, np.zeros((9, 9)), compress="DEFLATE") == path
        True
    """
    backend = CogBackend({"compress": compress, "blocksize": blocksize})
    _write_whole(backend, ArrayReader(np.asarray(data)), os.fspath(fpath))
    return fpath


def batch_convert_to_cog(
    src_fpaths: Sequence[PathLike],
    dst_fpaths: Sequence[PathLike],
    mode: str = "process",
    max_workers: int = 0,
    cog_config: dict[str, Any] | None = None,
) -> None:
    """Convert images to cloud-optimized GeoTIFFs; each appears complete or not at all.

    Args:
        src_fpaths: images of any format that :class:`ndsampler.SimpleFrames` reads.
        dst_fpaths: the files to write, one for each image.
        mode: ``'process'``, ``'thread'`` or ``'serial'``.
        max_workers: number of workers; 0 converts in this process.
        cog_config: settings of :class:`ndsampler.backends.cog.CogBackend`.

    Raises:
        ArgumentError: if the lists differ in length.
        BackendError: for an unknown setting.
        SourceError: if an image is missing or damaged.
        CacheError: if a file cannot be written.

    Example:
        >>> batch_convert_to_cog([], [])
    """
    if len(src_fpaths) != len(dst_fpaths):
        raise ArgumentError(
            f"got {len(src_fpaths)} files to convert and {len(dst_fpaths)} to write; expected equal numbers"
        )
    with ub.JobPool(mode=mode, max_workers=max_workers) as jobs:
        for src, dst in zip(src_fpaths, dst_fpaths):
            jobs.submit(_convert_to_cog, os.fspath(src), os.fspath(dst), cog_config)
        for job in jobs.jobs:
            job.result()


def batch_validate_cog(
    dst_fpaths: Sequence[PathLike], mode: str = "thread", max_workers: int = 0
) -> Iterator[dict[str, Any]]:
    """Check files in their order, and yield why each is not a cloud-optimized GeoTIFF.

    Args:
        dst_fpaths: the files.
        mode: ``'process'``, ``'thread'`` or ``'serial'``.
        max_workers: number of workers; 0 works in this process.

    Yields:
        A dictionary with ``fpath``, ``orig_fpath`` (None), ``status`` (``'pass'`` or ``'fail'``), and the
        ``errors``, ``warnings`` and ``details`` of :func:`ndsampler.utils.validate_cog.validate`. A file that
        cannot be read fails.

    Example:
        >>> [report] = batch_validate_cog(["/no/such/file.tif"])
        >>> report["status"], report["errors"]
        ('fail', ['/no/such/file.tif does not exist'])
    """
    with ub.JobPool(mode=mode, max_workers=max_workers) as jobs:
        for path in dst_fpaths:
            jobs.submit(_validate_cog, os.fspath(path))
        for job in jobs.jobs:
            yield job.result()


def _convert_to_cog(src: str, dst: str, cog_config: dict[str, Any] | None) -> None:
    """Convert one file in a worker."""
    backend = CogBackend(cog_config)
    source = open_source(src)
    try:
        _write_whole(backend, source, dst)
    finally:
        source.close()


def _validate_cog(path: str) -> dict[str, Any]:
    """Check one file in a worker, and return the report."""
    try:
        warnings, errors, details = validate(path)
    except SourceError as ex:
        warnings, errors, details = [], [str(ex)], {}
    status = "fail" if errors else "pass"
    report = {"errors": errors, "warnings": warnings, "details": details}
    return {**report, "fpath": path, "orig_fpath": None, "status": status}


def _write_whole(backend: CogBackend, source: SourceReader, dst: str) -> None:
    """Write a file that appears complete or not at all."""
    partial = f"{dst}.{uuid.uuid4().hex[:8]}.partial"
    try:
        backend.convert(source, partial)
        os.replace(partial, dst)
    except BaseException as ex:
        if os.path.exists(partial):
            os.unlink(partial)
        if isinstance(ex, OSError) and not isinstance(ex, (CacheError, SourceError)):
            raise CacheError(f"{dst} cannot be written: {ex}") from ex
        raise
