"""
Opens source files, and defines the backend for ``backend=None``, which reads them without a cache on disk.

A file whose pixels are uncompressed, or compressed in tiles or strips, is read window by window. Any other
file is decoded as a whole, and the cache of open readers keeps its pixels in memory, up to a limit, for
further windows.
"""

from __future__ import annotations

import contextlib
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.base import Backend, RegionReader, SourceReader, Stated, register, valid_pixels
from ndsampler.backends.claims import check_size, check_stack
from ndsampler.backends.content import JPEG2000, NITF, TIFF, inspect_content, read_head, stat_source
from ndsampler.backends.formats.bmp_rle import read_bmp_indexes
from ndsampler.backends.headers import KWIMAGE_ENDINGS, Claim, check_plausible, is_whole_image
from ndsampler.backends.large_image import exceeds_opencv, find_dims, read_with_gdal
from ndsampler.backends.opencv import WHOLE_IMAGE_ENDINGS, UndecodedError, decode_image
from ndsampler.backends.pages import Arrangement, choose_plan, recall_plan, warn_of_others
from ndsampler.backends.values import STORED, extract_stored, find_forms, has_short_palette, loses_stored
from ndsampler.errors import CacheError, SourceError
from ndsampler.utils.file_version import FileVersion
from ndsampler.utils.fork_safety import GATE
from ndsampler.utils.quiet import stdout_to_log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ndsampler.backends.gdal import RasterReader
    from ndsampler.backends.pages import PagePlan

#: File name extensions of formats that GDAL decodes and that store an image in a single file.
SINGLE_FILE_ENDINGS = (".tif", ".tiff", ".ptif", ".gtiff", ".jp2", ".j2k", ".ntf", ".nitf")


#: GDAL drivers of formats that OpenCV decodes, for files with unusual endings.
OPENCV_DRIVERS = frozenset({"PNG", "JPEG", "GIF", "BMP", "WEBP", "PNM", "AVIF"})


class ArrayReader:
    """Reads windows from a decoded image in memory.

    Args:
        array: (height, width) or (height, width, channels) pixels.
        nodata: the value that marks pixels without a measurement; a tuple with one for each channel if they
            differ; None for none.
        mask: array of shape (height, width, 1 or channels), True where pixels are valid; None if all are.

    Example:
        >>> import numpy as np
        >>> ArrayReader(np.arange(12).reshape(3, 4)).read(1, 2, 0, 2).tolist()
        [[[4], [5]]]
    """

    shareable = True
    overviews: tuple[tuple[int, int], ...] = ()
    masks_overviews = False

    def __init__(
        self, array: NDArray[Any], nodata: Any = None, mask: NDArray[np.bool_] | None = None
    ) -> None:
        self._array = array if array.ndim == 3 else array[:, :, None]
        self.shape = self._array.shape
        self.dtype = array.dtype
        self.nodata = nodata
        self._mask = mask
        self.has_mask = mask is not None
        self.nbytes = array.nbytes + (0 if mask is None else mask.nbytes)

    def read(self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None) -> NDArray[Any]:
        """Return a copy of a window. See :class:`ndsampler.backends.base.RegionReader`."""
        view = self._array[y0:y1, x0:x1]
        if bands is not None:
            view = view[:, :, bands]
        return np.array(view, order="C")

    def view(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Return a view of a window."""
        return self._array[y0:y1, x0:x1]

    def read_mask(
        self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None
    ) -> NDArray[np.bool_]:
        """Return which pixels are valid. See :class:`ndsampler.backends.base.MaskedReader`."""
        view = None if self._mask is None else self._mask[y0:y1, x0:x1]
        return valid_pixels(view, (y1 - y0, x1 - x0), bands)

    def rows(self, y0: int, y1: int) -> NDArray[Any]:
        """Return a view of whole rows."""
        return self._array[y0:y1]

    def close(self) -> None:
        """Drop the reference to the pixels."""
        del self._array


def spans_files(path: str) -> bool:
    """Whether a source consists of several files, such as a VRT or an image with a separate header.

    A change to one of the other files would go unnoticed, so such a source is never converted.

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
    return is_whole_image(read_head(path)[:64])


def open_source(path: str) -> SourceReader:
    """Open an image file of any supported format.

    Pixels are returned as the file stores them. The orientation tag of a JPEG is ignored, because COCO
    annotations refer to the stored grid. An indexed image is read as its colors, and a gray PNG with alpha as
    RGBA. Formats such as PNG, JPEG, AVIF, netpbm and Radiance are decoded by OpenCV, so their pixels equal
    those of :func:`kwimage.imread`. :mod:`ndsampler.backends.pages` decides which pages of a TIFF are read.

    Args:
        path: a local file.

    Returns:
        A reader. If the format does not allow reading windows, the reader holds the decoded image.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if the file is empty, truncated, damaged or of an unknown format.
    """
    return _open_pages(path, "")


def _open_pages(path: str, form: str) -> SourceReader:
    """Open an image file; if it is a TIFF, the form selects the pages that are read."""
    lowered = path.lower()
    stat = stat_source(path)
    if stat.st_size == 0:
        raise SourceError(f"{path} is empty")
    if lowered.endswith(".npy"):
        from ndsampler.backends.npy import open_npy_source

        try:
            reader: SourceReader = open_npy_source(path)
        except CacheError as ex:
            raise SourceError(str(ex)) from ex
        check_size(path, *reader.shape)
        return reader
    content = inspect_content(path)
    if lowered.endswith(WHOLE_IMAGE_ENDINGS) and content not in (TIFF, JPEG2000, NITF):
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
    version = FileVersion.from_stat(path, stat)
    plan = recall_plan(version, form) if gdal.is_tiff(reader.dataset) else None
    if plan is None or plan.arrangement is Arrangement.FIRST:
        return _open_first_page(reader, version, plan)
    warn_of_others(path, plan)
    return _open_stack(reader, plan)


def _open_first_page(reader: RasterReader, version: FileVersion, plan: PagePlan | None) -> SourceReader:
    """Return a reader of the first page: of windows and overviews if possible, else of the decoded image."""
    from ndsampler.backends import gdal
    from ndsampler.backends.overviews import recall_levels

    if plan is not None and plan.lacks_planes:
        reader.close()
        raise SourceError(
            f"{reader.path} states more channels than it has pages; its writer stored them after the first "
            "page. Store each channel as a page, or state the channels of the first page in the dataset"
        )
    if not gdal.reads_windows(reader.dataset):
        if plan is not None:
            warn_of_others(reader.path, plan)
        return _read_whole(reader)
    levels, refused = recall_levels(version, plan, reader)
    reader.overviews = tuple(level.dims for level in levels)
    if any(level.index is None for level in levels):
        reader.masks_overviews = False
    if plan is not None:
        warn_of_others(reader.path, plan, refused)
    return reader


def _open_stack(first: RasterReader, plan: PagePlan) -> SourceReader:
    """Return a reader of an image that is stored as several pages, given its open first page."""
    from ndsampler.backends import gdal

    if plan.arrangement is Arrangement.ROWS:
        claimed = math.prod(plan.shape) * first.dtype.itemsize
        first.close()
        check_plausible(first.path, Claim(claimed), os.path.getsize(first.path))
        pixels = _decode_with_kwimage(first.path, backend="skimage")
        if pixels.size != math.prod(plan.shape):
            raise SourceError(f"{first.path} is decoded to {pixels.shape}; expected {plan.shape}")
        return ArrayReader(pixels.reshape(plan.shape))
    is_windowed = gdal.reads_windows(first.dataset)
    try:
        check_stack(first.path, len(plan.pages), plan.shape)
    except SourceError:
        first.close()
        raise
    reader = gdal.stack_pages(first, [page.offset for page in plan.pages])
    return reader if is_windowed else _read_whole(reader)


def open_source_level(path: str, level: int) -> RegionReader:
    """Open one of the overviews of a source.

    Args:
        path: a local file.
        level: n for the n-th of its overviews.

    Raises:
        SourceError: if the file cannot be opened, or no longer has this overview.
    """
    from ndsampler.backends.overviews import open_level, recall_levels

    version = FileVersion.from_stat(path, stat_source(path))
    levels, _ = recall_levels(version, recall_plan(version))
    if level > len(levels):
        raise SourceError(f"{path} was changed while it was being read; read it again")
    return open_level(path, levels[level - 1])


def _read_whole(reader: RasterReader) -> SourceReader:
    """Decode the image of an open reader, and close the reader."""
    from ndsampler.backends import gdal

    height, width, count = reader.shape
    with contextlib.closing(reader):
        if not gdal.is_tiff(reader.dataset):  # the blocks of a TIFF were checked when it was opened
            claim = Claim(height * width * count * reader.dtype.itemsize)
            check_plausible(reader.path, claim, stat_source(reader.path).st_size)
        mask = reader.read_mask(0, height, 0, width) if reader.has_mask else None
        return ArrayReader(reader.read(0, height, 0, width), reader.nodata, mask)


def _check_indexes(path: str) -> None:
    """Raise a SourceError if an index of a palette image is beyond the end of its color table."""
    from ndsampler.backends import gdal

    encoded = read_bmp_indexes(path)
    if encoded is not None:
        if encoded.largest >= encoded.entries:
            raise SourceError(gdal.describe_bad_index(path, encoded.largest, encoded.entries))
        return
    try:
        reader = gdal.RasterReader(path)
    except SourceError:  # GDAL does not support every kind of BMP
        return
    with contextlib.closing(reader):
        reader.rows(0, reader.shape[0])


def open_form(path: str, form: str) -> SourceReader:
    """Open an image file in one of its forms.

    Args:
        path: a local file.
        form: the form that :func:`ndsampler.backends.values.choose_form` has returned.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if the file is empty, truncated, damaged or of an unknown format.
    """
    return _open_stored(path) if form == STORED else _open_pages(path, form) if form else open_source(path)


def _open_stored(path: str) -> SourceReader:
    """Open a file that stores other values than it decodes to, and return its stored values."""
    from ndsampler.backends import gdal

    stat_source(path)
    forms = find_forms(path)
    if forms is None:
        return open_source(path)
    if not loses_stored(forms) and not exceeds_opencv(path):
        return _with_mask(path, extract_stored(forms, decode_image(path)))
    if forms.is_whole_image:
        if not exceeds_opencv(path):
            decode_image(path)  # detects damage that GDAL does not report
        encoded = read_bmp_indexes(path)
        if encoded is not None:
            return _with_mask(path, encoded.indexes)
        return _with_mask(path, read_with_gdal(path, stored=True))
    version = FileVersion.from_stat(path, stat_source(path))
    reader = gdal.RasterReader(path, stored=True)
    return _open_first_page(reader, version, choose_plan(version, Stated(forms.stored)))


def _open_whole(path: str) -> SourceReader:
    """Decode an image with OpenCV, or with GDAL if OpenCV cannot.

    Raises:
        SourceError: if it is damaged.
    """
    dims = find_dims(path)
    if dims is not None:
        check_size(path, *dims)
    if exceeds_opencv(path):
        return _with_mask(path, read_with_gdal(path))
    try:
        pixels = decode_image(path)
    except UndecodedError as ex:
        if ex.may_be_whole:
            with contextlib.suppress(SourceError):
                return _with_mask(path, read_with_gdal(path))
        raise SourceError(str(ex)) from ex.__cause__
    if has_short_palette(path):
        _check_indexes(path)
    return _with_mask(path, pixels)


def _with_mask(path: str, pixels: NDArray[Any]) -> ArrayReader:
    """Return a reader of decoded pixels with the mask in the ``.msk`` file beside the image, if any."""
    if not os.path.exists(path + ".msk"):
        return ArrayReader(pixels)
    from ndsampler.backends.gdal_nodata import read_mask_file

    mask = read_mask_file(path)
    if mask is not None and mask.shape[:2] != pixels.shape[:2]:
        raise SourceError(
            f"the mask {path}.msk has (height, width) {mask.shape[:2]}; its image has {pixels.shape[:2]}"
        )
    return ArrayReader(pixels, mask=mask)


def _decode_with_kwimage(path: str, backend: str = "auto") -> NDArray[Any]:
    """Decode an image with the package that kwimage uses for its format."""
    import kwimage

    try:
        with stdout_to_log():
            return np.asarray(kwimage.imread(path, backend=backend))
    except Exception as ex:  # the packages that kwimage uses raise many types of errors
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
        return open_source_level(path, level) if level else open_form(path, form)
