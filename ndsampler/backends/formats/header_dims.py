"""
Reads the height and width in the headers of the formats that OpenCV decodes as whole images.
"""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING

from ndsampler.backends.formats.avif_header import is_avif, read_avif_size
from ndsampler.backends.formats.jpeg_header import read_jpeg_frame
from ndsampler.backends.formats.plain_headers import read_stated_size
from ndsampler.backends.formats.png_check import SIGNATURE as PNG_SIGNATURE

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    Dims = tuple[int, int]

#: Number of bytes that are read from the start of a file. They contain the size, except in a JPEG.
HEAD_BYTES = 1024


def parse_dims(head: bytes, file: BinaryIO) -> Dims | None:
    """Return the (height, width) that a header states; None for a format that is not parsed here.

    Args:
        head: the first :data:`HEAD_BYTES` of the file.
        file: the open file.

    Raises:
        ValueError: if the header is malformed.
        struct.error: if the file is cut off within its header.
    """
    if head.startswith(b"\xff\xd8\xff"):
        frame = read_jpeg_frame(file)
        return None if frame is None else (frame.height, frame.width)
    if is_avif(head):
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return read_avif_size(data)
    parse = next((parse for magic, parse in PARSERS.items() if head.startswith(magic)), _plain_dims)
    return parse(head)


def _png_dims(head: bytes) -> Dims | None:
    width, height = struct.unpack_from(">II", head, 16)
    return height, width


def _gif_dims(head: bytes) -> Dims | None:
    width, height = struct.unpack_from("<HH", head, 6)
    return height, width


def bmp_dims(head: bytes) -> Dims:
    """Return the (height, width) that the header of a BMP states.

    Args:
        head: the first :data:`HEAD_BYTES` of the file.
    """
    (header_size,) = struct.unpack_from("<I", head, 14)
    if header_size == 12:
        width, height = struct.unpack_from("<HH", head, 18)
    else:
        # A negative height means that the first row is the top one.
        width, height = struct.unpack_from("<ii", head, 18)
    return abs(height), width


def webp_dims(head: bytes) -> Dims | None:
    """Return the (height, width) that the header of a WebP states; None if its first chunk is unknown.

    Args:
        head: the first :data:`HEAD_BYTES` of the file.
    """
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
    """Return the (height, width) of a netpbm, PFM, Sun raster or Radiance file; None for other files."""
    try:
        stated = read_stated_size(head)
    except ValueError:  # a long comment, or a malformed header, which the decoder reports
        return None
    return None if stated is None else (stated.height, stated.width)


#: For the first bytes of each format, the function that finds the size in the header.
#:
#: References:
#:     ISO/IEC 15948:2003, PNG, section 11.2.2. CompuServe, Graphics Interchange Format 89a, section 18.
#:     RFC 9649, WebP image format, section 2.
PARSERS: dict[bytes, Callable[[bytes], Dims | None]] = {
    PNG_SIGNATURE: _png_dims,
    b"GIF87a": _gif_dims,
    b"GIF89a": _gif_dims,
    b"BM": bmp_dims,
    b"RIFF": webp_dims,
}
