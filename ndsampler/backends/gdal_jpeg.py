"""
Decodes JPEG files in memory with GDAL, and returns libjpeg's warnings.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from ndsampler.backends.gdal import configure_gdal
from ndsampler.backends.gdal_env import open_quietly
from ndsampler.backends.gdal_warnings import DECODER_WARNINGS
from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

#: Pattern of libjpeg's warnings about damaged data. Warnings about unusual headers do not match.
_JPEG_DAMAGE = re.compile(r"(Corrupt JPEG data|Premature end|Unsupported marker)[^(\n]*")


def find_jpeg_warning(data: bytes) -> str:
    """Return libjpeg's first warning about damaged data; an empty string if there is none.

    Args:
        data: content of a JPEG file.
    """
    from rasterio.errors import RasterioError

    messages = []
    try:
        with GATE, _open_memory(data) as dataset:
            DECODER_WARNINGS.start()
            dataset.read()
    except RasterioError as ex:
        messages.append(str(ex.__cause__ or ex))
    match = _JPEG_DAMAGE.search("\n".join(DECODER_WARNINGS.take() + messages))
    return match[0].strip() if match else ""


def read_jpeg_rows(data: bytes, y0: int, y1: int) -> NDArray[Any] | None:
    """Return rows of a JPEG as an array of shape (bands, rows, columns); None if GDAL cannot decode it.

    Args:
        data: content of the file.
        y0: first row.
        y1: row after the last.
    """
    from rasterio.errors import RasterioError
    from rasterio.windows import Window

    try:
        with GATE, _open_memory(data) as dataset:
            result: NDArray[Any] | None = dataset.read(window=Window(0, y0, dataset.width, y1 - y0))
            return result
    except RasterioError:
        return None


@contextlib.contextmanager
def _open_memory(data: bytes) -> Iterator[DatasetReader]:
    """Open an image file in memory."""
    from rasterio.io import MemoryFile

    with MemoryFile(data) as file:
        configure_gdal()
        with open_quietly(file.open) as dataset:
            yield dataset
