"""
Reads the headers of simple formats that OpenCV decodes: netpbm, PFM, Sun raster and Radiance.

Each function returns the height and width that a header states, the size of the decoded pixels in bytes, and
the maximum number of pixel bytes that one byte of the file can decode to.

References:
    netpbm: https://netpbm.sourceforge.net/doc/ (pbm, pgm, ppm, pam).
    PFM: https://www.pauldebevec.com/Research/HDR/PFM/
    Sun raster: https://www.fileformat.info/format/sunraster/egff.htm
    Radiance: Greg Ward, "Real pixels", Graphics Gems II (1991), and Radiance's ``src/common/color.c``.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

__all__ = ["StatedSize", "read_stated_size"]

#: Maximum length of a header in bytes.
HEADER_BYTES = 2**16

#: Runs of up to 256 bytes take 3 bytes in a run-length encoded Sun raster.
SUN_RUN_RATIO = 86

#: A pixel of 4 values, stored in runs of up to 127 by 2 bytes each, is decoded to 12 bytes.
RADIANCE_RATIO = 191

# A number of a netpbm header, with the white space and comments before it.
_NUMBER = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})")
_PAM_FIELD = re.compile(rb"^(WIDTH|HEIGHT|DEPTH|MAXVAL)[ \t]+(\d{1,10})", re.MULTILINE)
_RADIANCE_SIZE = re.compile(rb"-Y[ \t]+(\d{1,10})[ \t]+\+X[ \t]+(\d{1,10})")


class StatedSize(NamedTuple):
    """The size that a header states."""

    height: int
    """Height in pixels."""
    width: int
    """Width in pixels."""
    pixel_bytes: int
    """Size of the decoded pixels in bytes, or slightly more."""
    max_ratio: int
    """Maximum number of pixel bytes that one byte of the file can decode to."""


def read_stated_size(head: bytes) -> StatedSize | None:
    """Return the size that a header states; None for any other format.

    Args:
        head: the first :data:`HEADER_BYTES` of a file, or the whole file if it is shorter.

    Raises:
        ValueError: if the header is malformed.

    Example:
        >>> read_stated_size(b'P6 30 20 255 ...')
        StatedSize(height=20, width=30, pixel_bytes=1800, max_ratio=1)
    """
    if head[:1] == b"P" and head[1:2] in b"123456fF7" and head[2:3].isspace():
        parse = _pam_size if head[1:2] == b"7" else _netpbm_size
    elif head.startswith(b"\x59\xa6\x6a\x95"):
        parse = _sun_size
    elif head.startswith((b"#?RADIANCE", b"#?RGBE")):
        parse = _radiance_size
    else:
        return None
    return parse(head[:HEADER_BYTES])


def _netpbm_size(head: bytes) -> StatedSize:
    """Return the size of a PBM, PGM, PPM or PFM, in text or binary form."""
    kind = head[1:2]
    numbers = []
    position = 2
    for _ in range(2 if kind in b"14fF" else 3):
        match = _NUMBER.match(head, position)
        if match is None:
            raise ValueError("a number is missing in its header")
        numbers.append(int(match[1]))
        position = match.end()
    width, height = numbers[:2]
    samples = 3 if kind in b"36F" else 1
    value_bytes = 4 if kind in b"fF" else 2 if len(numbers) > 2 and numbers[2] > 255 else 1
    # A binary PBM stores 8 pixels in a byte. In text form, a value takes at least two bytes, or one in a PBM.
    return StatedSize(height, width, height * width * samples * value_bytes, 8 if kind == b"4" else 1)


def _pam_size(head: bytes) -> StatedSize:
    end = head.find(b"ENDHDR")
    fields: dict[bytes, int] = {}
    for name, value in _PAM_FIELD.findall(head[: max(end, 0)]):
        fields[name] = max(fields.get(name, 0), int(value))
    if not fields.keys() >= {b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"}:
        raise ValueError("its header lacks one of WIDTH, HEIGHT, DEPTH, MAXVAL and ENDHDR")
    if fields[b"MAXVAL"] == 1:
        raise ValueError("its largest value is 1, and OpenCV decodes such PAM files wrongly; convert it")
    height, width = fields[b"HEIGHT"], fields[b"WIDTH"]
    value_bytes = 2 if fields[b"MAXVAL"] > 255 else 1
    return StatedSize(height, width, height * width * fields[b"DEPTH"] * value_bytes, 1)


def _sun_size(head: bytes) -> StatedSize:
    try:
        width, height, depth, _, kind, _, colors = struct.unpack_from(">7I", head, 4)
    except struct.error:
        raise ValueError("it is cut off within its header") from None
    if depth not in {1, 8, 24, 32}:
        raise ValueError(f"its pixels have {depth} bits; expected 1, 8, 24 or 32")
    if depth <= 8 and not colors:
        raise ValueError("it has no color map, and OpenCV decodes such Sun rasters to black; convert it")
    # Indexed pixels are decoded to three bytes, 24 per byte of a file with one bit for each.
    ratio = max(24 // depth, 1) * (SUN_RUN_RATIO if kind == 2 else 1)
    return StatedSize(height, width, height * width * 3, ratio)


def _radiance_size(head: bytes) -> StatedSize:
    sizes = [(int(height), int(width)) for height, width in _RADIANCE_SIZE.findall(head)]
    if not sizes:
        raise ValueError("its header has no size of the form '-Y height +X width'")
    height, width = sizes[0]
    return StatedSize(height, width, max(h * w for h, w in sizes) * 12, RADIANCE_RATIO)
