"""
Decides whether the stored or the decoded values of a file are read.

Some files decode to other values than they store: a palette image stores class indexes and decodes to colors,
a 1-bit mask stores 0 and 1 and decodes to 0 and 255, and a gray PNG with alpha stores two channels and
decodes to four. If the number of channels that the dataset states equals the number that the file stores, the
stored values are read. If it equals the number of decoded channels, or is not stated, the decoded values are
read.

References:
    ISO/IEC 15948:2003, PNG, sections 11.2 and 11.3. CompuServe, Graphics Interchange Format 89a.
    ITU-T T.81 (1992), JPEG, annex B. AV1 Codec ISO Media File Format Binding, section 2.3 (``av1C``).
"""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndsampler.backends.base import UNSTATED, Stated
from ndsampler.backends.formats.avif_header import is_avif
from ndsampler.backends.formats.jpeg_header import read_jpeg_frame
from ndsampler.backends.formats.png_check import SIGNATURE as PNG_SIGNATURE
from ndsampler.backends.formats.tiff_header import has_color_map, is_tiff
from ndsampler.backends.headers import KWIMAGE_ENDINGS, is_whole_image
from ndsampler.backends.opencv import WHOLE_IMAGE_ENDINGS
from ndsampler.backends.pages import Arrangement, choose_page_form, choose_plan
from ndsampler.errors import DatasetMismatchError, SourceError
from ndsampler.utils.file_version import FileVersion

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray

#: The form of a file whose stored values are read; the decoded form is the empty string.
STORED = "stored"

#: Number of bytes that are read from the start of a file.
HEAD_BYTES = 4096

# Width, height and largest value of a netpbm image in text; comments may be between them.
_MAXVAL = re.compile(rb"P[23](?:(?:\s|#[^\r\n]*[\r\n])+\d+){2}(?:\s|#[^\r\n]*[\r\n])+(\d+)")


class Forms(NamedTuple):
    """The two forms of a file that decodes to other values than it stores."""

    kind: str
    """The kind of file; messages show it too."""
    stored: int
    """Number of channels that the file stores."""
    decoded: tuple[int, ...]
    """The possible numbers of channels of the decoded image."""
    maximum: int = 0
    """Largest value that the file can store, for values that are scaled."""
    is_whole_image: bool = True
    """Whether the file is of a format that OpenCV decodes."""


def choose_form(path: str, stated: Stated) -> str:
    """Return the form in which a file is read.

    Args:
        path: the file.
        stated: what the dataset states about it.

    Returns:
        :data:`STORED` if the stored values are read and they differ from the decoded ones; the form of the
        page plan for a TIFF whose pages are not read in the default way; otherwise ``''``.

    Raises:
        DatasetMismatchError: if the file has two forms, and neither has the stated number of channels.
        SourceError: if the file cannot be read.
    """
    if stated == UNSTATED or path.lower().endswith((".npy", *KWIMAGE_ENDINGS)):
        return ""
    pages = _choose_page_form(path, stated)
    if pages or stated.channels is None:
        return pages
    forms = find_forms(path)
    if forms is None or not reads_first_page(path, stated):
        return ""
    if stated.channels == forms.stored:
        return STORED
    if stated.channels in forms.decoded:
        return ""
    decoded = " or ".join(map(str, forms.decoded))
    raise DatasetMismatchError(
        f"{path} is a {forms.kind}: {_count(forms.stored)} as stored, {decoded} as decoded; the dataset "
        f"states {_count(stated.channels)}. Correct its 'channels'"
    )


def _choose_page_form(path: str, stated: Stated) -> str:
    """Return the form of the plan for the pages of a TIFF; empty for the default plan and other files."""
    if path.lower().endswith(WHOLE_IMAGE_ENDINGS):
        return ""
    version = FileVersion.find(path)
    return "" if version is None else choose_page_form(version, stated)


def reads_first_page(path: str, stated: Stated) -> bool:
    """Whether an image consists of one page of its file, so that GDAL opens the image by the file's name.

    Args:
        path: the file.
        stated: what the dataset states about it.
    """
    version = FileVersion.find(path)
    plan = None if version is None else choose_plan(version, stated)
    return plan is None or plan.arrangement is Arrangement.FIRST


def _count(channels: int) -> str:
    """Format a number of channels.

    Example:
        >>> _count(1), _count(3)
        ('1 channel', '3 channels')
    """
    return f"{channels} channel{'s' if channels != 1 else ''}"


def find_forms(path: str) -> Forms | None:
    """Return the two forms of a file; None if its decoded values are the stored ones.

    Args:
        path: a local file.

    Raises:
        SourceError: if the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            if is_tiff(head) and not os.path.exists(path + ".aux.xml"):
                return _PALETTE if has_color_map(file) else None
            for matches, parse in _PARSERS:
                if matches(head):
                    result: Forms | None = parse(head, file)
                    return result
    except (struct.error, IndexError):
        return None  # the decoder reports the damage
    except (OSError, ValueError) as ex:
        raise SourceError(f"{path} cannot be read: {ex}") from ex
    from ndsampler.backends import gdal

    return _PALETTE if gdal.has_palette(path) else None


# --- formats ----------------------------------------------------------------

#: An image with a color table that GDAL reads.
_PALETTE = Forms("palette image", 1, (4,), is_whole_image=False)


def _png_forms(head: bytes, file: BinaryIO) -> Forms | None:
    """Return the forms of a PNG: palette, few bits, gray with alpha, or a transparent color."""
    depth, color = head[24], head[25]
    if color == 4:
        return Forms("gray image with alpha", 2, (4,))
    if color == 0 and depth < 8:
        return Forms(f"gray image of {depth} bits", 1, (1,), 2**depth - 1)
    if color not in (2, 3):
        return None
    transparent = _png_has_chunk(file, b"tRNS")
    if color == 3:
        return Forms("palette image", 1, (4 if transparent else 3,))
    return Forms("color image with a transparent color", 3, (4,)) if transparent else None


def _png_has_chunk(file: BinaryIO, wanted: bytes) -> bool:
    """Whether a PNG has a chunk of the given type before its pixels."""
    return _find_png_chunk(file, wanted) is not None


def _find_png_chunk(file: BinaryIO, wanted: bytes) -> int | None:
    """Return the length of a PNG's chunk of the given type before its pixels; None if there is none."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == wanted:
            return int(length)
        if kind == b"IDAT":
            return None
        file.seek(length + 4, os.SEEK_CUR)
    return None


def has_short_palette(path: str) -> bool:
    """Whether a PNG or BMP has a color table with fewer entries than its indexes have values.

    Decoders return black for an index beyond the end, without an error.

    Args:
        path: a local file.
    """
    with open(path, "rb") as file:
        head = file.read(54)
        if head.startswith(b"BM") and len(head) == 54:
            bits, entries = struct.unpack_from("<H", head, 28)[0], struct.unpack_from("<I", head, 46)[0]
            return bits <= 8 and 0 < entries < 2**bits and head[14] >= 40
        if not head.startswith(PNG_SIGNATURE) or len(head) < 26 or head[25] != 3:
            return False
        length = _find_png_chunk(file, b"PLTE")
    return length is not None and length // 3 < 2 ** head[24]


def _gif_forms(head: bytes, file: BinaryIO) -> Forms:
    return Forms("palette image", 1, (3, 4))


def _bmp_forms(head: bytes, file: BinaryIO) -> Forms | None:
    """Return the forms of a BMP. One of at most 8 bits has a palette, which may be gray."""
    (header_size,) = struct.unpack_from("<I", head, 14)
    (bits,) = struct.unpack_from("<H", head, 24 if header_size == 12 else 28)
    return Forms("palette image", 1, (1, 3)) if bits <= 8 else None


def _jpeg_forms(head: bytes, file: BinaryIO) -> Forms | None:
    """Return the forms of a JPEG. One of four components stores cyan, magenta, yellow and black."""
    frame = read_jpeg_frame(file)
    return Forms("CMYK image", 4, (3,)) if frame is not None and frame.components == 4 else None


def _netpbm_forms(head: bytes, file: BinaryIO) -> Forms | None:
    """Return the forms of a netpbm file: a bitmap, or a text image with a small range of values."""
    if head[1:2] in b"14":
        return Forms("bitmap", 1, (1,), 1)
    match = _MAXVAL.match(head)
    if match is None or not 0 < int(match[1]) < 255:
        return None
    count = 3 if head[1:2] == b"3" else 1
    return Forms("text image of few values", count, (count,), int(match[1]))


def _avif_forms(head: bytes, file: BinaryIO) -> Forms | None:
    """Return the forms of an AVIF. A monochrome image with alpha is decoded to four channels."""
    position = head.find(b"av1C")
    monochrome = position >= 0 and head[position + 6] & 0x10
    return Forms("gray image with alpha", 2, (4,)) if monochrome and b"auxC" in head else None


def _no_forms(head: bytes, file: BinaryIO) -> None:
    """Return None, because a file of this format decodes to the values that it stores."""
    return None


#: A pattern of the first bytes of each format, and the function that finds the forms.
_PARSERS: tuple[tuple[Any, Any], ...] = (
    (lambda head: head.startswith(PNG_SIGNATURE), _png_forms),
    (lambda head: head.startswith(b"\xff\xd8\xff"), _jpeg_forms),
    (lambda head: head.startswith((b"GIF87a", b"GIF89a")), _gif_forms),
    (lambda head: head.startswith(b"BM"), _bmp_forms),
    (lambda head: head.startswith(b"RIFF"), _no_forms),
    (lambda head: head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace(), _netpbm_forms),
    (is_avif, _avif_forms),
    (lambda head: is_whole_image(head[:64]), _no_forms),
)


# --- stored values of decoded pixels ----------------------------------------


def loses_stored(forms: Forms) -> bool:
    """Whether the stored values cannot be recovered from decoded pixels, so that GDAL must read them."""
    return forms.kind in ("palette image", "CMYK image")


def extract_stored(forms: Forms, pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the stored values of an image from its decoded pixels.

    Args:
        forms: the forms of the file.
        pixels: its pixels as OpenCV decodes them.

    Returns:
        The stored values.

    Example:
        >>> bits = Forms('gray image of 2 bits', 1, (1,), 3)
        >>> extract_stored(bits, np.array([[0, 85, 170, 255]], np.uint8)).tolist()
        [[0, 1, 2, 3]]
    """
    if forms.kind == "bitmap":  # 1 is black
        result: NDArray[Any] = (pixels == 0).astype(np.uint8)
        return result
    if forms.maximum:
        return _undo_scaling(pixels, forms.maximum)
    if forms.kind == "gray image with alpha":
        return np.ascontiguousarray(pixels[..., [0, -1]])
    return np.ascontiguousarray(pixels[..., : forms.stored])


def _undo_scaling(pixels: NDArray[Any], maximum: int) -> NDArray[Any]:
    """Undo the scaling of values from 0..``maximum`` to 0..255, which rounded them down."""
    table = -(-np.arange(256) * maximum // 255)
    result: NDArray[Any] = table.astype(np.uint8)[pixels]
    return result
