"""
Checks that an opened source respects the limits of the process, and that its file can hold its blocks.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ndsampler.backends.headers import DEFLATE_RATIO, HUFFMAN_RATIO, UNCHECKED_BYTES, Claim, check_plausible
from ndsampler.errors import SourceError
from ndsampler.utils.limits import get_limits

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

__all__ = ["check_blocks", "check_size", "check_stack", "check_window"]

#: Maximum number of pixel bytes that one byte of a block can decode to, for each compression. Other
#: compressions have no maximum, because one code can stand for a row or an area of any size.
#:
#: A run of PackBits takes two bytes. The longest string of LZW, of 4861 bytes, has a code of 12 bits. A block
#: of Zstandard holds 128 KiB and takes 4 bytes. LZMA repeats 273 bytes by 14 decisions, each of at least
#: 0.022 bits.
#:
#: References:
#:     RFC 8878, Zstandard, section 3.1.1.2. libtiff, ``tif_lzw.c``. Igor Pavlov, LZMA specification.
BLOCK_RATIOS = {
    **{"none": 1, "packbits": 128, "deflate": DEFLATE_RATIO, "jpeg": HUFFMAN_RATIO},
    **{"lzw": 4000, "zstd": 2**15, "lzma": 8000},
}


#: GDAL's JPEG 2000 driver. It reads a whole file to find its block structure, and may loop for ever on a
#: damaged one, so the block structure of such files is not queried.
JPEG2000 = "JP2OpenJPEG"


def check_blocks(path: str, dataset: DatasetReader, item_bytes: int, is_entry: bool) -> None:
    """Reject a file that states larger blocks than it can hold, because GDAL allocates a whole block.

    Args:
        path: the file.
        dataset: the open file.
        item_bytes: size of a value in bytes.
        is_entry: whether the file is a cache entry. Its blocks are small, so the limits of the process do not
            apply.

    Raises:
        SourceError: if the blocks are too large.
    """
    rows, cols = dataset.block_shapes[0]
    is_whole = dataset.driver == JPEG2000 or getattr(dataset.interleaving, "name", "") == "pixel"
    in_a_block = dataset.count if is_whole else 1
    claimed = rows * cols * in_a_block * item_bytes
    if claimed <= UNCHECKED_BYTES and (is_entry or claimed <= get_limits().decoded_bytes):
        return
    ratio = None if dataset.driver == JPEG2000 else _block_ratio(dataset, item_bytes)
    check_plausible(path, Claim(claimed, ratio), os.path.getsize(path))


def _block_ratio(dataset: DatasetReader, item_bytes: int) -> int | None:
    """Return how many pixel bytes one byte of a block can decode to; None if there is no maximum."""
    codec = "none" if dataset.compression is None else dataset.compression.name
    ratio = BLOCK_RATIOS.get(codec)
    bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "")
    if ratio is not None and bits.isdecimal():
        # Values of fewer than 8 bits are decoded to whole bytes.
        ratio *= max(8 * item_bytes // max(int(bits), 1), 1)
    return ratio


def check_size(path: str, height: int, width: int, bands: int = 1) -> None:
    """Reject a source that is larger than the limits of the process.

    Args:
        path: the file.
        height: in pixels.
        width: in pixels.
        bands: number of channels.

    Raises:
        SourceError: if it has too many pixels or channels.
    """
    limits = get_limits()
    if height * width > limits.pixels:
        raise SourceError(
            f"{path} claims {height} x {width} pixels; the limit pixels is {limits.pixels}. Set another "
            "limit to read it"
        )
    if bands > limits.bands:
        raise SourceError(
            f"{path} claims {bands} channels; the limit bands is {limits.bands}. Set another limit to read it"
        )


def check_stack(path: str, pages: int, shape: tuple[int, int, int]) -> None:
    """Reject an image whose pages, or whose channels, are more than the limits of the process allow.

    Args:
        path: the file.
        pages: number of pages that are channels of the image.
        shape: (height, width, channels) of the image.

    Raises:
        SourceError: if there are too many pages, channels or pixels.
    """
    limit = get_limits().pages
    if pages > limit:
        raise SourceError(
            f"{path} has {pages} pages that are channels; the limit pages is {limit}. Store them as channels "
            "of one page, or set another limit to read it"
        )
    check_size(path, *shape)


def check_window(path: str, claimed: int) -> None:
    """Reject a window that is larger than the limit of the process.

    Args:
        path: the file.
        claimed: size of the window's pixels in bytes.

    Raises:
        SourceError: if the window is too large.
    """
    limit = get_limits().decoded_bytes
    if claimed > limit:
        raise SourceError(
            f"a window of {path} has {claimed} bytes of pixels; the limit decoded_bytes is {limit}. Read "
            "smaller windows, or set another limit"
        )
