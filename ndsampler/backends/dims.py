"""
Height and width of an image file, without decoding its pixels.

The headers of the formats that OpenCV decodes as whole images are parsed here. GDAL reads those of TIFF,
JPEG 2000 and the like. Only the few formats that neither of the two knows are decoded.
"""

from __future__ import annotations

import mmap
import struct
from stat import S_ISREG
from typing import TYPE_CHECKING

from ndsampler.backends.avif_header import is_avif, read_avif_size
from ndsampler.backends.base import UNSTATED, Stated
from ndsampler.backends.headers import KWIMAGE_ENDINGS
from ndsampler.backends.jpeg_header import read_jpeg_frame
from ndsampler.backends.pages import choose_plan
from ndsampler.backends.plain_headers import read_stated_size
from ndsampler.backends.source import open_source, stat_source
from ndsampler.errors import CacheError, SourceError
from ndsampler.utils.file_version import FileVersion
from ndsampler.utils.fork_safety import GATE, fork_safe

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    Dims = tuple[int, int]

#: The largest height or width in pixels: that of the tables of images.
MAX_SIDE = 2**31 - 1

#: Bytes that are read from the start of a file; the size is in them, unless the file is a JPEG.
HEAD_BYTES = 1024


@fork_safe
def read_dims(path: str, stated: Stated = UNSTATED) -> Dims:
    """Return (height, width) of an image file in pixels.

    The orientation tag of a photograph is ignored, as :func:`ndsampler.backends.source.open_source` does.

    Args:
        path: a local file.
        stated: what the dataset states of the file.

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
    if not S_ISREG(stat.st_mode):
        # Reading a pipe or a device may never end.
        raise SourceError(f"{path} is a folder, a pipe or a device; expected an image file")
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
            dims = _parsed_dims(head, file)
    except struct.error:
        raise SourceError(f"{path} is cut off: it ends within its header") from None
    except ValueError as ex:
        raise SourceError(f"{path} cannot be decoded: {ex}") from ex
    except OSError as ex:
        raise SourceError(f"{path} cannot be read: {ex}") from ex
    return dims if dims and min(dims) > 0 else None


def _parsed_dims(head: bytes, file: BinaryIO) -> Dims | None:
    """Return the size that a header states; None for a format that is not parsed here."""
    if head.startswith(b"\xff\xd8\xff"):
        frame = read_jpeg_frame(file)
        return None if frame is None else (frame.height, frame.width)
    if is_avif(head):
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return read_avif_size(data)
    parse = next((parse for magic, parse in PARSERS.items() if head.startswith(magic)), _plain_dims)
    return parse(head)


def _other_dims(path: str, stated: Stated) -> Dims:
    """Return the size of a file whose header GDAL reads, or that has to be decoded."""
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


# --- formats ----------------------------------------------------------------


def _png_dims(head: bytes) -> Dims | None:
    width, height = struct.unpack_from(">II", head, 16)
    return height, width


def _gif_dims(head: bytes) -> Dims | None:
    width, height = struct.unpack_from("<HH", head, 6)
    return height, width


def _bmp_dims(head: bytes) -> Dims | None:
    (header_size,) = struct.unpack_from("<I", head, 14)
    if header_size == 12:
        width, height = struct.unpack_from("<HH", head, 18)
    else:
        # A negative height means that the first row is the top one.
        width, height = struct.unpack_from("<ii", head, 18)
    return abs(height), width


def _webp_dims(head: bytes) -> Dims | None:
    kind = head[8:16]
    if kind == b"WEBPVP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
        return height, width
    if kind == b"WEBPVP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"WEBPVP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return height & 0x3FFF, width & 0x3FFF
    return None


def _plain_dims(head: bytes) -> Dims | None:
    """Return the size of a netpbm, PFM, Sun raster or Radiance file."""
    try:
        stated = read_stated_size(head)
    except ValueError:  # a long comment, or a malformed header, which the decoder reports
        return None
    return None if stated is None else (stated.height, stated.width)


#: First bytes of a file, and the function that finds the size in its head.
#:
#: References:
#:     ISO/IEC 15948:2003, PNG, section 11.2.2. CompuServe, Graphics Interchange Format 89a, section 18.
#:     RFC 9649, WebP image format, section 2.
PARSERS: dict[bytes, Callable[[bytes], Dims | None]] = {
    b"\x89PNG\r\n\x1a\n": _png_dims,
    b"GIF87a": _gif_dims,
    b"GIF89a": _gif_dims,
    b"BM": _bmp_dims,
    b"RIFF": _webp_dims,
}
