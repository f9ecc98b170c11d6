"""
The backend for ``backend=None``: the source files themselves.

A source that stores its pixels in tiles or strips, or plainly, is read window
by window. Any other is decoded whole, and the pixels stay in memory within a
bound, so that further windows of the same image cost nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.base import Backend, RegionReader, SourceReader, register
from ndsampler.backends.opencv import WHOLE_IMAGE_ENDINGS, Claim, check_plausible, decode_image
from ndsampler.errors import CacheError, MissingSourceError, SourceError
from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Endings of formats that neither OpenCV nor GDAL reads, and kwimage does with a package of their own.
KWIMAGE_ENDINGS = (".qoi", ".svg", ".mha", ".nrrd", ".mgh", ".mgz", ".nii", ".mrb")


#: Endings of formats of which one file holds all, and that GDAL decodes.
SINGLE_FILE_ENDINGS = (".tif", ".tiff", ".ptif", ".gtiff", ".jp2", ".j2k", ".ntf", ".nitf")


class ArrayReader:
    """Reads windows from a decoded image in memory.

    Args:
        array: the pixels, (height, width) or (height, width, channels).
        nodata: the value that stands for "no measurement".

    Example:
        >>> import numpy as np
        >>> ArrayReader(np.arange(12).reshape(3, 4)).read(1, 2, 0, 2).tolist()
        [[[4], [5]]]
    """

    shareable = True
    overviews: tuple[tuple[int, int], ...] = ()

    def __init__(self, array: NDArray[Any], nodata: float | None = None) -> None:
        self._array = array if array.ndim == 3 else array[:, :, None]
        self.shape = self._array.shape
        self.dtype = array.dtype
        self.nodata = nodata
        self.nbytes = array.nbytes

    def read(self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None) -> NDArray[Any]:
        """Return a copy of a window. See :class:`ndsampler.backends.base.RegionReader`."""
        view = self._array[y0:y1, x0:x1]
        if bands is not None:
            view = view[:, :, bands]
        return np.array(view, order="C")

    def rows(self, y0: int, y1: int) -> NDArray[Any]:
        """Return a view of whole rows."""
        return self._array[y0:y1]

    def close(self) -> None:
        """Let go of the pixels."""
        del self._array


def spans_files(path: str) -> bool:
    """Whether the pixels of a source lie in other files as well, or are described there, as those of a VRT.

    Nothing tells of such a source that it has changed, so it is never converted.

    Args:
        path: of the file.

    Raises:
        SourceError: if it is missing or damaged.
    """
    whole = (*WHOLE_IMAGE_ENDINGS, *KWIMAGE_ENDINGS, *SINGLE_FILE_ENDINGS, ".npy")
    if path.lower().endswith(whole):
        return False
    from ndsampler.backends import gdal

    with GATE, gdal.open_dataset(path) as dataset:
        return len(dataset.files) > 1


def stat_source(path: str) -> os.stat_result:
    """Return what the file system knows of a source.

    Args:
        path: of the file.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if it cannot be reached.
    """
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as ex:
        raise MissingSourceError(f"{path} does not exist") from ex
    except (OSError, ValueError) as ex:
        raise SourceError(f"{path!r} cannot be reached: {ex}") from ex


def open_source(path: str) -> SourceReader:
    """Open an image file of any kind that can be read.

    Pixels are as the file stores them. In particular the orientation tag of a JPEG is not applied,
    as annotations are drawn on the stored grid in the COCO ecosystem; an indexed image reads as its
    colors; a gray image with alpha in a PNG reads as RGBA. PNG and JPEG read as OpenCV decodes them,
    which is also what :func:`kwimage.imread` returns.

    Args:
        path: a local file.

    Returns:
        A reader, which holds the decoded pixels where the format has no windows.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if it is empty, cut off, damaged or of an unknown format.
    """
    lowered = path.lower()
    size = stat_source(path).st_size
    if size == 0:
        raise SourceError(f"{path} is empty")
    if os.path.isdir(path):
        raise SourceError(f"{path} is a folder; expected an image file")
    if lowered.endswith(".npy"):
        from ndsampler.backends.npy import NpyReader

        try:
            return NpyReader(path)
        except CacheError as ex:
            raise SourceError(str(ex)) from ex
    if lowered.endswith(WHOLE_IMAGE_ENDINGS):
        return ArrayReader(decode_image(path))
    if lowered.endswith(KWIMAGE_ENDINGS):
        return ArrayReader(_decode_with_kwimage(path))
    from ndsampler.backends import gdal

    reader = gdal.RasterReader(path)
    if gdal.is_page_stack(reader.dataset):
        reader.close()
        return ArrayReader(_decode_with_kwimage(path, backend="skimage"))
    if gdal.reads_windows(reader.dataset):
        return reader
    height, width, count = reader.shape
    check_plausible(path, Claim(height * width * count * reader.dtype.itemsize), size)
    pixels = reader.read(0, height, 0, width)
    reader.close()
    return ArrayReader(pixels, reader.nodata)


def _decode_with_kwimage(path: str, backend: str = "auto") -> NDArray[Any]:
    """Decode a format for which kwimage knows a package."""
    import kwimage

    try:
        return np.asarray(kwimage.imread(path, backend=backend))
    except Exception as ex:  # the packages behind kwimage raise errors of many kinds
        raise SourceError(f"{path} cannot be decoded by kwimage: {type(ex).__name__}: {ex}") from ex


@register("raw")
class RawBackend(Backend):
    """No cache: regions come straight from the source files.

    Example:
        >>> RawBackend().caches
        False
    """

    def open(self, path: str, level: int = 0) -> RegionReader:
        """Open a source, or one of its overviews. See :func:`open_source`."""
        if level:
            from ndsampler.backends import gdal

            return gdal.RasterReader(path, level)
        return open_source(path)
