"""
JPEG files in memory, decoded by GDAL with libjpeg's warnings.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from ndsampler.backends.gdal import configure_gdal, quiet_gdal
from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

#: Warnings of libjpeg about damaged data, and not about unusual headers.
_JPEG_DAMAGE = re.compile(r"(Corrupt JPEG data|Premature end|Unsupported marker)[^(]*")


def find_jpeg_warning(data: bytes) -> str:
    """Return the first warning of libjpeg about damaged data; an empty string if there is none.

    Args:
        data: content of a JPEG file.
    """
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with GATE, rasterio.Env(GDAL_ERROR_ON_LIBJPEG_WARNING="YES"), _open_memory(data) as dataset:
            dataset.read()
    except RasterioError as ex:
        match = _JPEG_DAMAGE.search(str(ex.__cause__ or ex))
        return match[0].strip() if match else ""
    return ""


def read_jpeg_rows(data: bytes, y0: int, y1: int) -> NDArray[Any] | None:
    """Return rows of a JPEG file in memory, (bands, rows, columns); None if GDAL cannot decode it.

    Args:
        data: content of the file.
        y0: first row.
        y1: row after the last.
    """
    from rasterio.errors import RasterioError
    from rasterio.windows import Window

    try:
        with GATE, _open_memory(data) as dataset:
            return dataset.read(window=Window(0, y0, dataset.width, y1 - y0))
    except RasterioError:
        return None


@contextlib.contextmanager
def _open_memory(data: bytes) -> Iterator[DatasetReader]:
    """Open an image file in memory."""
    from rasterio.io import MemoryFile

    with MemoryFile(data) as file:
        with quiet_gdal():
            configure_gdal()
            dataset = file.open()
        with dataset:
            yield dataset
