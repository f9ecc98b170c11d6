"""
Reads how tifffile, ImageJ and OME writers arranged the planes of an array in the pages of a TIFF.

These programs store an array of more than two axes as one page for each plane, and name the axes in the
description of the first page.

References:
    tifffile: the JSON object ``{"shape": ..., "axes": ...}`` of ``tifffile.TiffWriter``.
    ImageJ: https://imagej.net/ij/developer/api/ij/ij/io/TiffEncoder.html
    OME-TIFF: https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree import ElementTree

    from ndsampler.backends.formats.tiff_header import Page

__all__ = ["Stack", "read_stack"]

#: Letters of the axes that enumerate channels. All three writers use them.
CHANNEL_AXES = frozenset("CS")

#: In an array without named axes, the last axis counts as channels if it is at most this long and shorter
#: than the two axes before it, because no image is that narrow.
MAX_CHANNEL_AXIS = 16

#: Maximum number of planes of an array.
MAX_PLANES = 2**20

#: Maximum number of axes of an array, the same as in numpy.
MAX_AXES = 64


@dataclass(frozen=True)
class Stack:
    """An array that a writer stored as several pages."""

    planes: int
    """Number of planes of the array. Each is a page, starting with the first page."""
    channels: tuple[int, ...]
    """Positions of the pages that are the channels of one image; the first page alone if no axis enumerates
    channels."""
    rows: tuple[int, int, int] | None = None
    """(height, width, channels) of the array if each page may be one row of an image, with channels last."""
    is_by_rows: bool = False
    """Whether each page is a row if the dataset does not state the shape of the image."""


def read_stack(pages: Sequence[Page]) -> Stack | None:
    """Return how the writer of a TIFF arranged its pages.

    Args:
        pages: the pages of the file.

    Returns:
        The arrangement; None if the first page is a whole array, or if its description does not state one.

    Example:
        >>> from ndsampler.backends.formats.tiff_header import Page
        >>> pages = [Page(i, i, 60, 80, description='{"shape": [2, 60, 80]}') for i in (1, 2)]
        >>> read_stack(pages).channels
        (0, 1)
    """
    text = pages[0].description.strip() if pages else ""
    try:
        if text.startswith('{"shape"'):
            return _stack_of_tifffile(json.loads(text), pages[0])
        if text.startswith("ImageJ="):
            return _stack_of_imagej(text)
        if text.startswith("<") and "<OME" in text[:2000] and "<!" not in text.replace("<!--", ""):
            return _stack_of_ome(text, pages[0])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, SyntaxError):
        return None  # ElementTree raises a SyntaxError for malformed XML
    return None


def _make_stack(axes: str, sizes: Sequence[int], **more: Any) -> Stack | None:
    """Return the stack of planes along the given axes; the last axis varies fastest."""
    if len(axes) != len(sizes) or len(sizes) > MAX_AXES or max(sizes, default=0) > MAX_PLANES:
        return None
    planes = math.prod(sizes)
    if not 1 < planes <= MAX_PLANES:
        return None
    steps = (range(size if axis in CHANNEL_AXES else 1) for axis, size in zip(axes, sizes))
    strides = [math.prod(sizes[at + 1 :]) for at in range(len(sizes))]
    channels = (sum(map(int.__mul__, place, strides)) for place in product(*steps))
    return Stack(planes, tuple(channels), **more)


def _stack_of_tifffile(fields: dict[str, Any], page: Page) -> Stack | None:
    """Return the stack of an array whose shape tifffile stored in the description."""
    if len(fields["shape"]) > MAX_AXES:
        return None
    shape = [int(size) for size in fields["shape"]]
    depth = _page_axes(shape, page)
    if not depth or min(shape) < 1:
        return None
    leading, axes = shape[:-depth], fields.get("axes")
    if axes is not None and len(axes) != len(shape):
        axes = None
    rows = _rows_shape(shape, page)
    if axes is None:
        # Without named axes, the planes of a gray array count as channels, and color images as a series.
        names = ("C" if page.samples == 1 else "I") * len(leading)
        narrow = rows is not None and rows[2] <= MAX_CHANNEL_AXIS and rows[2] < min(rows[:2])
        return _make_stack(names, leading, rows=rows, is_by_rows=narrow)
    by_rows = rows is not None and axes[-1] in CHANNEL_AXES and axes[-3:-1] == "YX"
    return _make_stack(axes[:-depth], leading, rows=rows, is_by_rows=by_rows)


def _page_axes(shape: list[int], page: Page) -> int:
    """Return how many trailing axes of an array one page holds; 0 if the page does not match the array."""
    dims, samples = [page.height, page.width], page.samples
    if samples == 1:
        options = [dims, [*dims, 1]]
    else:
        options = [[samples, *dims] if page.planar else [*dims, samples]]
    return next((len(option) for option in options if shape[-len(option) :] == option), 0)


def _rows_shape(shape: list[int], page: Page) -> tuple[int, int, int] | None:
    """Return (height, width, channels) of an array with a page for each row; None for other shapes."""
    long = [size for size in shape if size != 1]
    if len(long) != 3 or page.samples != 1 or long[1:] != [page.height, page.width]:
        return None
    return long[0], long[1], long[2]


def _stack_of_imagej(text: str) -> Stack | None:
    """Return the stack of an ImageJ file. ImageJ orders planes by frame, slice and channel."""
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    sizes = [int(fields.get(key, 1)) for key in ("frames", "slices", "channels")]
    images = int(fields.get("images", 1))
    if math.prod(sizes) == 1:
        return _make_stack("I", [images])
    return _make_stack("TZC", sizes) if math.prod(sizes) == images else None


def _stack_of_ome(text: str, page: Page) -> Stack | None:
    """Return the stack of the first image of an OME-TIFF."""
    from xml.etree import ElementTree

    root = ElementTree.fromstring(text)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    pixels = root.find("Image/Pixels")
    if pixels is None:
        return None
    order = pixels.attrib["DimensionOrder"][:1:-1]  # without X and Y, the fastest axis last
    sizes = {axis: int(pixels.attrib[f"Size{axis}"]) for axis in "CZT"}
    sizes["C"] //= page.samples
    stack = _make_stack(order, [sizes[axis] for axis in order])
    if stack is None:
        return None
    return _place_ome_planes(stack, pixels, sizes["C"], page.samples)


def _place_ome_planes(stack: Stack, pixels: ElementTree.Element, count: int, samples: int) -> Stack | None:
    """Return an OME stack with the pages that its ``TiffData`` elements assign to the channels.

    Returns None if the planes are stored in several files.
    """
    blocks = pixels.findall("TiffData")
    names = (block.find("UUID") for block in blocks)
    files = {str(name.get("FileName")) for name in names if name is not None and name.get("FileName")}
    if len(files) > 1:
        return None
    places = {}
    for block in blocks:
        if "IFD" in block.attrib and int(block.get("PlaneCount", 1)) == 1:
            at = [int(block.get(f"First{axis}", 0)) for axis in "ZTC"]
            if at[:2] == [0, 0]:
                places[at[2] // samples] = int(block.attrib["IFD"])
    if sorted(places) == list(range(count)):
        return Stack(stack.planes, tuple(places[channel] for channel in range(count)))
    return stack
