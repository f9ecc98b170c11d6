"""Draws samples on a sheet, each with a caption, below a legend of their categories."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndsampler.errors import ArgumentError
from ndsampler.preview.drawing import Color, Drawing, fit_text, text_size, write_text
from ndsampler.preview.picture import Picture
from ndsampler.preview.sample import (
    caption_of,
    categories_of,
    category_color,
    draw_sample,
    kinds_of,
    marks_of,
    resize,
    rgb_of,
    split_frames,
    zoom_to_fit,
)
from ndsampler.utils.fork_safety import fork_safe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.types import Sample

BACKGROUND: Color = (28, 30, 34)
TEXT: Color = (236, 238, 240)

#: Space in pixels between two samples, and height in pixels of a line of text.
GAP = 8
TEXT_ROW = 26

#: In pixels: the side that the zoom of a sample aims at, and the side above which a sample is reduced.
SIDE, LARGEST = 300, 400

#: The kinds of marks on a sample, in the order of the legend.
KINDS = ("box", "polygon", "keypoint")

#: Opacity of the boxes on an overview.
BOX_OPACITY = 0.6


class _Tile(NamedTuple):
    """A picture with its caption and its position on the sheet."""

    line: str
    picture: NDArray[np.uint8]
    left: int
    top: int
    """Top of the caption in pixels, below the head of the sheet."""
    width: int
    height: int
    """Height in pixels of the space in which the picture is centered."""


@fork_safe
def draw_sheet(
    samples: Sequence[Sample | Mapping[str, Any]],
    classes: Any = None,
    columns: int | None = None,
    side: int | None = None,
    title: str = "",
    captions: Sequence[str] | None = None,
    overview: Sample | Mapping[str, Any] | None = None,
    strip: Sample | Mapping[str, Any] | None = None,
) -> NDArray[np.uint8]:
    """Draw many samples on one sheet, each with a caption, below a legend of the categories.

    Args:
        samples: samples that ``load_sample`` has returned.
        classes: names of the categories, as for :func:`ndsampler.preview.draw_sample`.
        columns: number of samples in a row; by default the sheet is somewhat wider than high.
        side: space for each sample in pixels. Samples are enlarged by the largest whole number that fits, or
            reduced to fit. By default, each is shown at the whole-number zoom that comes closest to
            :data:`SIDE` pixels.
        title: a line of text at the top.
        captions: one line for each sample, instead of the result of :func:`ndsampler.preview.caption_of`.
        overview: a sample that is drawn at twice the side, with thin boxes only.
        strip: a video sample. Its frames are drawn in a row below the other samples.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ArgumentError: if there are no samples, a different number of captions, or ``columns`` is below 1.

    Example:
        >>> sample = {'im': np.zeros((30, 30, 3), np.uint8), 'target': {'gid': 1}}
        >>> draw_sheet([sample] * 3, columns=3, side=100).shape
        (142, 332, 3)
    """
    _check(samples, columns, captions)
    side, zooms = _zooms(samples, side)
    across, cells = _cells(len(samples), columns, block=overview is not None)
    width = across * (side + GAP) + GAP
    lines = captions or [_caption(sample, classes, zoom) for sample, zoom in zip(samples, zooms)]
    corners = [(column * (side + GAP), row * (side + TEXT_ROW)) for row, column in cells]
    tiles = [
        _Tile(line, draw_sample(sample, classes, round(zoom * _longer_side(sample))), *corner, side, side)
        for line, sample, zoom, corner in zip(lines, samples, zooms, corners)
    ]
    frames = [(sample, 0) for sample in samples]
    if overview is not None:
        tiles.append(_overview_tile(overview, classes, side))
        frames.append((overview, 0))
    if strip is not None:
        bottom = max(tile.top + tile.height + TEXT_ROW for tile in tiles)
        tiles += _strip_tiles(strip, classes, width, bottom)
        frames += [(strip, frame) for frame in range(len(strip["im"]))]
    return _assemble(_draw_head(frames, classes, title, width), tiles)


@fork_safe
def write_sheet(
    path: str | os.PathLike[str],
    samples: Sequence[Sample | Mapping[str, Any]],
    classes: Any = None,
    **options: Any,
) -> Path:
    """Draw a sheet of samples and save it as a PNG file.

    Args:
        path: path of the file, which appears only once it is complete.
        samples: samples that ``load_sample`` has returned.
        classes: names of the categories, as for :func:`ndsampler.preview.draw_sample`.
        **options: further arguments of :func:`draw_sheet`.

    Returns:
        The path of the file.

    Raises:
        ArgumentError: in the same cases as :func:`draw_sheet`.
        OSError: if the file cannot be written.
    """
    return Picture(draw_sheet(samples, classes, **options)).save(path)


def _check(samples: Sequence[Any], columns: int | None, captions: Sequence[str] | None) -> None:
    """Raise an ArgumentError for invalid arguments of :func:`draw_sheet`."""
    if not len(samples):
        raise ArgumentError("there are no samples to draw; expected at least one")
    if captions is not None and len(captions) != len(samples):
        raise ArgumentError(
            f"there are {len(captions)} captions; expected one for each of {len(samples)} samples"
        )
    if columns is not None and columns < 1:
        raise ArgumentError(f"columns is {columns}; expected 1 or more")


def _zooms(samples: Sequence[Any], side: int | None) -> tuple[int, list[float]]:
    """Return the space for each sample in pixels, and the zoom of each sample."""
    if side is not None:
        return side, [zoom_to_fit(_longer_side(sample), side) for sample in samples]
    zooms = [_usual_zoom(_longer_side(sample)) for sample in samples]
    return max(round(zoom * _longer_side(sample)) for sample, zoom in zip(samples, zooms)), zooms


def _usual_zoom(longer: int) -> float:
    """Return the zoom, n or 1 / n for a whole number n, that brings a length closest to the default side."""
    if longer > LARGEST:
        return 1 / math.ceil(longer / LARGEST)
    below = max(1, SIDE // longer)
    return float(min(below, below + 1, key=lambda zoom: abs(math.log(zoom * longer / SIDE))))


def _longer_side(sample: Any) -> int:
    """Return the longer side of a sample in pixels."""
    shape = np.shape(sample["im"])
    return int(max(shape[-3:-1] if len(shape) > 2 else shape))


def _caption(sample: Any, classes: Any, zoom: float) -> str:
    """Return the caption of a sample that is shown at a zoom."""
    shown = "" if zoom == 1 else f" at {zoom:g}x" if zoom > 1 else f" at {zoom:.0%}"
    return caption_of(sample, classes) + shown


def _cells(count: int, columns: int | None, block: bool) -> tuple[int, list[tuple[int, int]]]:
    """Return the number of columns, and the (row, column) of each sample; a block reserves 2 x 2 cells."""
    across = min(columns or _default_columns(count + 4 * block), 2 + -(-count // 2) if block else count)
    across = max(across, 2 if block else 1)
    cells = [(row, column) for row in range(count + 2) for column in range(across)]
    return across, [cell for cell in cells if not (block and max(cell) < 2)][:count]


def _default_columns(count: int) -> int:
    """Return the number of columns, near a ratio of three to two, that leaves the fewest cells empty."""
    wished = math.sqrt(1.5 * count)
    choices = range(max(1, math.floor(0.75 * wished)), math.ceil(1.3 * wished) + 1)
    return min(choices, key=lambda columns: (-count % columns, abs(columns - wished)))


def _overview_tile(sample: Any, classes: Any, side: int) -> _Tile:
    """Return the tile of an overview, which takes the space of 2 x 2 samples."""
    size = (2 * side + GAP, 2 * side + TEXT_ROW)
    picture = _draw_overview(sample, classes, size)
    return _Tile(_size_caption(sample), picture, 0, 0, size[0], len(picture))


def _draw_overview(sample: Any, classes: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw a sample as large as (width, height) allows, with only the edges of boxes."""
    import cv2

    height, width = sample["im"].shape[:2]
    scale = min(size[0] / width, size[1] / height)
    picture = resize(rgb_of(sample), scale)
    edges = picture.copy()
    for mark in marks_of(sample, classes):
        if mark.box is not None:
            left, top, right, bottom = (int(min(max(part * scale, -99), 9999)) for part in mark.box)
            cv2.rectangle(edges, (left, top), (max(left, right - 1), max(top, bottom - 1)), mark.color)
    return np.asarray(cv2.addWeighted(edges, BOX_OPACITY, picture, 1 - BOX_OPACITY, 0))


def _size_caption(sample: Any) -> str:
    """Return the caption of an overview, with the size of the whole image."""
    *what, shown = caption_of(sample).split(" | ")
    dims = sample.get("target", {}).get("space_dims")
    whole = f"{dims[1]} x {dims[0]} pixels at " if dims is not None else ""
    count = sample["annots"]["frame_dets"][0].num_boxes() if sample.get("annots") else 0
    return " | ".join([*what, whole + shown, f"{count:,} annotations"])


def _strip_tiles(sample: Any, classes: Any, width: int, top: int) -> list[_Tile]:
    """Return a tile for each frame of a video sample. The tiles form a row of the sheet."""
    frames = split_frames(sample)
    side = max(1, (width - GAP) // len(frames) - GAP)
    pictures = [
        draw_sample(frame, classes, round(zoom_to_fit(_longer_side(frame), side) * _longer_side(frame)))
        for frame in frames
    ]
    return [
        _Tile(line, picture, number * (side + GAP), top, side, len(picture))
        for number, (line, picture) in enumerate(zip(frame_captions(sample), pictures))
    ]


def frame_captions(sample: Sample | Mapping[str, Any]) -> list[str]:
    """Return a caption for each frame of a video sample: the video, the frame number, and the size.

    Args:
        sample: a sample that ``load_sample`` has returned.
    """
    target = sample.get("target", {})
    start = target["time_slice"].start if "time_slice" in target else 0
    whole = {key: target[key] for key in ("vidid",) if key in target}
    *what, size = caption_of({"im": sample["im"], "target": whole}).split(" | ")
    return [" | ".join([*what, f"frame {start + number}", size]) for number in range(len(sample["im"]))]


def _assemble(head: NDArray[np.uint8], tiles: list[_Tile]) -> NDArray[np.uint8]:
    height = len(head) + max(tile.top + tile.height for tile in tiles) + TEXT_ROW + GAP
    sheet = np.empty((height, head.shape[1], 3), np.uint8)
    sheet[:] = BACKGROUND
    sheet[: len(head)] = head
    for tile in tiles:
        top, left = len(head) + tile.top, GAP + tile.left
        write_text(sheet, fit_text(tile.line, tile.width, 0.42), (left, top + TEXT_ROW - 9), 0.42, TEXT)
        height, width = tile.picture.shape[:2]
        top, left = top + TEXT_ROW + (tile.height - height) // 2, left + (tile.width - width) // 2
        sheet[top : top + height, left : left + width] = tile.picture
    return sheet


def _draw_head(frames: Sequence[tuple[Any, int]], classes: Any, title: str, width: int) -> NDArray[np.uint8]:
    """Draw the title, and a legend of the categories and the kinds of marks on the sheet."""
    found = {pair for sample, frame in frames for pair in categories_of(sample, classes, frame)}
    kinds = {kind for sample, frame in frames for kind in kinds_of(sample, frame)}
    items = [(name, name, category_color(index)) for index, name in sorted(found)]
    items += [(kind, "", TEXT) for kind in KINDS if kind in kinds]
    legend = _wrap_legend([label for label, _, _ in items], width)
    rows = bool(title) + len(legend)
    head = np.empty((rows * TEXT_ROW + GAP, width, 3), np.uint8)
    head[:] = BACKGROUND
    if title:
        write_text(head, fit_text(title, width - 2 * GAP, 0.5), (GAP, GAP + 14), 0.5, TEXT)
    places = [(x, GAP + row * TEXT_ROW) for row, line in enumerate(legend, bool(title)) for x, _ in line]
    for (label, name, color), (x, top) in zip(items, places):
        if name:
            head[top + 3 : top + 15, x : x + 12] = color
        else:
            _draw_symbol(head[top + 2 : top + 17, x : x + 14], label)
        write_text(head, label, (x + 18, top + 14), 0.46, TEXT)
    return head


def _draw_symbol(place: NDArray[np.uint8], kind: str) -> None:
    """Draw the legend's symbol of a box, a polygon or a keypoint."""
    symbol = np.ascontiguousarray(place)
    drawing = Drawing(symbol, 1.0)
    if kind == "box":
        drawing.boxes([((2, 2, 12, 12), TEXT)])
    elif kind == "polygon":
        drawing.polygons([([np.array([(1, 9), (5, 2), (13, 5), (11, 13), (4, 13)], float)], TEXT)])
    else:
        drawing.dot(np.array([7.0, 7.0]), TEXT)
    place[:] = symbol


def _wrap_legend(names: list[str], width: int) -> list[list[tuple[int, str]]]:
    """Return the legend as lines of (x, name) pairs that are no wider than the sheet."""
    lines: list[list[tuple[int, str]]] = [[]]
    x = GAP
    for name in names:
        step = 18 + text_size(name, 0.46)[0] + 18
        if x + step > width and lines[-1]:
            lines.append([])
            x = GAP
        lines[-1].append((x, name))
        x += step
    return [line for line in lines if line]
