"""
Opening source files, and the backend for ``backend=None``, which reads them without a cache on disk.

A file whose pixels are uncompressed, or compressed in tiles or strips, is read window by window. Any other
file is decoded as a whole. The cache of open readers keeps its pixels in memory, up to a limit, for further
windows.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.base import Backend, RegionReader, SourceReader, register
from ndsampler.backends.headers import KWIMAGE_ENDINGS, Claim, check_plausible, is_whole_image
from ndsampler.backends.large_image import exceeds_opencv, read_with_gdal
from ndsampler.backends.opencv import WHOLE_IMAGE_ENDINGS, UndecodedError, decode_image
from ndsampler.backends.values import STORED, extract_stored, find_forms, has_short_palette, loses_stored
from ndsampler.errors import CacheError, MissingSourceError, SourceError
from ndsampler.utils.fork_safety import GATE
from ndsampler.utils.quiet import stdout_to_log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ndsampler.backends.gdal import RasterReader

#: File endings of formats that GDAL decodes and that store an image in a single file.
SINGLE_FILE_ENDINGS = (".tif", ".tiff", ".ptif", ".gtiff", ".jp2", ".j2k", ".ntf", ".nitf")


#: GDAL drivers of formats that OpenCV decodes, for files with unusual endings.
OPENCV_DRIVERS = frozenset({"PNG", "JPEG", "GIF", "BMP", "WEBP", "PNM", "AVIF"})


class ArrayReader:
    """Reads windows from a decoded image in memory.

    Args:
        array: (height, width) or (height, width, channels) pixels.
        nodata: the value that marks pixels without a measurement, if any.

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
        """Drop the reference to the pixels."""
        del self._array


def spans_files(path: str) -> bool:
    """Whether a source consists of several files, such as a VRT or an image with a separate header.

    A change in one of the other files would not be noticed, so such a source is never converted.

    Args:
        path: path of the file.

    Raises:
        SourceError: if the file is missing or damaged.
    """
    whole = (*WHOLE_IMAGE_ENDINGS, *KWIMAGE_ENDINGS, *SINGLE_FILE_ENDINGS, ".npy")
    if path.lower().endswith(whole):
        return False
    from ndsampler.backends import gdal

    try:
        with GATE, gdal.open_dataset(path) as dataset:
            return len(dataset.files) > 1
    except SourceError:
        if _starts_as_whole_image(path):
            return False
        raise


def _starts_as_whole_image(path: str) -> bool:
    """Whether a file that GDAL cannot open, such as a Radiance ``.hdr``, is one that OpenCV may decode."""
    try:
        with open(path, "rb") as file:
            return is_whole_image(file.read(64))
    except (OSError, ValueError) as ex:
        raise SourceError(f"{path} cannot be read: {ex}") from ex


def stat_source(path: str) -> os.stat_result:
    """Return the size, the modification time and the other file status of a source.

    Args:
        path: path of the file.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if the file cannot be accessed.
    """
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as ex:
        raise MissingSourceError(f"{path} does not exist") from ex
    except (OSError, ValueError) as ex:
        raise SourceError(f"{path!r} cannot be reached: {ex}") from ex


def open_source(path: str) -> SourceReader:
    """Open an image file of any supported format.

    Pixels are returned as the file stores them. The orientation tag of a JPEG is ignored, because COCO
    annotations refer to the stored grid. An indexed image is read as its colors, and a gray PNG with alpha as
    RGBA. Formats such as PNG, JPEG, AVIF, netpbm and Radiance are decoded by OpenCV, so their pixels equal
    those of :func:`kwimage.imread`.

    Args:
        path: a local file.

    Returns:
        A reader. If the format does not allow reading windows, the reader holds the decoded image.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if the file is empty, truncated, damaged or of an unknown format.
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
        return _open_whole(path)
    if lowered.endswith(KWIMAGE_ENDINGS):
        return ArrayReader(_decode_with_kwimage(path))
    from ndsampler.backends import gdal

    try:
        reader = gdal.RasterReader(path)
    except SourceError:
        if _starts_as_whole_image(path):
            return _open_whole(path)
        raise
    if reader.dataset.driver in OPENCV_DRIVERS:
        reader.close()
        return _open_whole(path)
    if gdal.is_page_stack(reader.dataset):
        reader.close()
        return ArrayReader(_decode_with_kwimage(path, backend="skimage"))
    return _whole_unless_windowed(reader)


def _whole_unless_windowed(reader: RasterReader) -> SourceReader:
    """Return an open file, or the decoded image if GDAL cannot read a window without the rest."""
    from ndsampler.backends import gdal

    if gdal.reads_windows(reader.dataset):
        return reader
    height, width, count = reader.shape
    claim = Claim(height * width * count * reader.dtype.itemsize)
    with contextlib.closing(reader):
        check_plausible(reader.path, claim, stat_source(reader.path).st_size)
        return ArrayReader(reader.read(0, height, 0, width), reader.nodata)


def open_form(path: str, form: str) -> SourceReader:
    """Open an image file in one of its forms.

    Args:
        path: a local file.
        form: ``''`` for the decoded pixels, or :data:`ndsampler.backends.values.STORED`.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if the file is empty, truncated, damaged or of an unknown format.
    """
    return _open_stored(path) if form == STORED else open_source(path)


def _open_stored(path: str) -> SourceReader:
    """Open a file that has two forms for its stored values."""
    from ndsampler.backends import gdal

    stat_source(path)
    forms = find_forms(path)
    if forms is None:
        return open_source(path)
    if not loses_stored(forms) and not exceeds_opencv(path):
        return ArrayReader(extract_stored(forms, decode_image(path)))
    if forms.is_whole_image:
        if not exceeds_opencv(path):
            decode_image(path)  # detects damage that GDAL does not
        return ArrayReader(read_with_gdal(path, stored=True))
    return _whole_unless_windowed(gdal.RasterReader(path, stored=True))


def _open_whole(path: str) -> SourceReader:
    """Decode an image with OpenCV, or with GDAL where OpenCV cannot.

    Raises:
        SourceError: if it is damaged.
    """
    if exceeds_opencv(path):
        return ArrayReader(read_with_gdal(path))
    try:
        pixels = decode_image(path)
    except UndecodedError as ex:
        if ex.may_be_whole:
            with contextlib.suppress(SourceError):
                return ArrayReader(read_with_gdal(path))
        raise SourceError(str(ex)) from ex.__cause__
    if has_short_palette(path):
        from ndsampler.backends import gdal

        with contextlib.closing(gdal.RasterReader(path)) as reader:
            reader.rows(0, reader.shape[0])  # raises an error for an index beyond the end of the table
    return ArrayReader(pixels)


def _decode_with_kwimage(path: str, backend: str = "auto") -> NDArray[Any]:
    """Decode an image with the package that kwimage uses for its format."""
    import kwimage

    try:
        with stdout_to_log():
            return np.asarray(kwimage.imread(path, backend=backend))
    except Exception as ex:  # the packages behind kwimage raise errors of many kinds
        raise SourceError(f"{path} cannot be decoded by kwimage: {type(ex).__name__}: {ex}") from ex


@register("raw")
class SourceBackend(Backend):
    """Reads regions from the source files and writes no cache entries.

    Example:
        >>> SourceBackend().caches
        False
    """

    def open(self, path: str, level: int = 0, form: str = "") -> RegionReader:
        """Open a source file, or one of its overviews. See :func:`open_form`."""
        if level:
            from ndsampler.backends import gdal

            return gdal.RasterReader(path, level)
        return open_form(path, form)
