"""
Height and width of an image file, without decoding its pixels.

The headers of the formats that OpenCV decodes as whole images are parsed by
:mod:`ndsampler.backends.formats.header_dims`. GDAL reads the headers of other formats, such as TIFF and
JPEG 2000. Only an image whose header neither of them can read is decoded.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ndsampler.backends.base import UNSTATED, Stated
from ndsampler.backends.content import stat_source
from ndsampler.backends.formats.header_dims import HEAD_BYTES, parse_dims
from ndsampler.backends.headers import KWIMAGE_ENDINGS
from ndsampler.backends.pages import choose_plan
from ndsampler.backends.source import open_source
from ndsampler.errors import CacheError, SourceError
from ndsampler.utils.file_version import FileVersion
from ndsampler.utils.fork_safety import GATE, fork_safe

if TYPE_CHECKING:
    Dims = tuple[int, int]

#: Maximum height or width in pixels, because the image table stores them as 32-bit integers.
MAX_SIDE = 2**31 - 1


@fork_safe
def read_dims(path: str, stated: Stated = UNSTATED) -> Dims:
    """Return (height, width) of an image file in pixels.

    The orientation tag of a photograph is ignored, as :func:`ndsampler.backends.source.open_source` does.

    Args:
        path: a local file.
        stated: what the dataset states about the file.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if the file is empty, damaged or of an unknown format.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> path = f'{tempfile.mkdtemp()}/a.npy'
        >>> np.save(path, np.zeros((3, 4)))
        >>> read_dims(path)
        (3, 4)
    """
    stat = stat_source(path)
    if stat.st_size == 0:
        raise SourceError(f"{path} is empty")
    dims = (
        _npy_dims(path) if path.lower().endswith(".npy") else _dims_of_head(path) or _other_dims(path, stated)
    )
    if max(dims) > MAX_SIDE:
        raise SourceError(f"{path} claims (height, width) {dims}; expected at most {MAX_SIDE}")
    return dims


def _npy_dims(path: str) -> Dims:
    """Return the size of an array in a ``.npy`` file."""
    from ndsampler.backends.npy import NpyReader

    try:
        reader = NpyReader(path)
    except CacheError as ex:
        raise SourceError(str(ex)) from ex
    height, width, _ = reader.shape
    reader.close()
    return height, width


def _dims_of_head(path: str) -> Dims | None:
    """Return the size that the head of a file states; None for a format that is not parsed here."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            dims = parse_dims(head, file)
    except struct.error:
        raise SourceError(f"{path} is cut off: it ends within its header") from None
    except ValueError as ex:
        raise SourceError(f"{path} cannot be decoded: {ex}") from ex
    except OSError as ex:
        raise SourceError(f"{path} cannot be read: {ex}") from ex
    return dims if dims and min(dims) > 0 else None


def _other_dims(path: str, stated: Stated) -> Dims:
    """Return the size that GDAL finds in the header of a file, or the size of the decoded image."""
    from ndsampler.backends import gdal

    if not path.lower().endswith(KWIMAGE_ENDINGS):
        try:
            with GATE, gdal.open_dataset(path) as dataset:
                version = FileVersion.find(path) if gdal.is_tiff(dataset) else None
                plan = None if version is None else choose_plan(version, stated)
                return (dataset.height, dataset.width) if plan is None else plan.shape[:2]
        except SourceError as ex:
            reason = ex
        try:
            return open_source(path).shape[:2]
        except SourceError:
            raise reason from None
    return open_source(path).shape[:2]
