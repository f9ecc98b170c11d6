"""
Samples as pictures: pixels of any kind, with their annotations drawn on them.

:func:`draw_sample` draws one sample, :func:`draw_sheet` many side by side, and
:func:`write_sheet` saves them as a PNG file. Every result is red, green, blue
in 8 bits.

Positions follow the annotations: (0, 0) is the outer corner of the first
pixel, so a box from 0 to 1 surrounds that pixel.
"""

from __future__ import annotations

import colorsys
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndsampler.errors import ArgumentError
from ndsampler.preview.drawing import Color, Easel, text_size, write_text
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.require import require_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.types import Sample

__all__ = ["category_color", "draw_sample", "draw_sheet", "to_rgb", "write_sheet"]

#: The first categories get these, which are easy to tell apart on photographs.
PALETTE: tuple[Color, ...] = (
    (255, 138, 76),
    (64, 196, 255),
    (255, 222, 64),
    (255, 112, 178),
    (124, 244, 124),
    (190, 132, 255),
    (92, 246, 222),
    (255, 92, 92),
    (206, 255, 92),
    (142, 166, 255),
)

NO_CATEGORY: Color = (210, 210, 210)
BACKGROUND: Color = (28, 30, 34)
PAPER: Color = (236, 238, 240)

#: Shares of the values, in percent, that a contrast stretch maps to black and to white.
STRETCH = (1.0, 99.0)

#: Pixels of a sheet: between two samples, and for a line of text.
GAP = 8
TEXT_ROW = 26

#: How much of the color of a box its edges have on an overview.
LIGHTLY = 0.6


def to_rgb(im: Any) -> NDArray[np.uint8]:
    """Return pixels of any type and number of channels as something to look at.

    8-bit pixels stay as they are. Others are stretched: all but the darkest and brightest
    percent of the shown values spread over 0 to 255. One or two channels are shown as grey,
    of more than three the first three. Pixels without a value (NaN, infinite) are checkered.

    Args:
        im: (height, width) or (height, width, channels).

    Returns:
        (height, width, 3) uint8, not shared with ``im``.

    Raises:
        ArgumentError: if it has other axes, or is empty.

    Example:
        >>> to_rgb(np.array([[0.0, 0.5, 1.0]]))[0, :, 0]
        array([  0, 127, 255], dtype=uint8)
    """
    pixels = np.asarray(im)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or not pixels.size:
        raise ArgumentError(
            f"the pixels have shape {np.shape(im)}; expected (height, width) or (height, width, channels), "
            "none of them 0. Of a video sample, pass one frame: sample['im'][0]"
        )
    shown = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
    as_bytes = shown if shown.dtype == np.uint8 else _stretch(shown)
    return np.array(np.broadcast_to(as_bytes, (*as_bytes.shape[:2], 3)), order="C")


def _stretch(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    values = np.abs(pixels) if np.iscomplexobj(pixels) else pixels.astype(np.float64)
    known = np.isfinite(values)
    low, high = np.percentile(values[known], STRETCH) if known.any() else (0.0, 0.0)
    share = (np.where(known, values, low) - low) / (high - low) if high > low else np.full(values.shape, 0.5)
    result = (np.clip(share, 0, 1) * 255).astype(np.uint8)
    missing = ~known.all(2)
    y, x = np.nonzero(missing)
    result[missing] = np.where((y // 8 + x // 8) % 2, 96, 136)[:, None]
    return result


def category_color(index: int | None) -> Color:
    """Return the color of a category, the same in every picture.

    Args:
        index: its place among the categories of the dataset; None for an annotation without one.

    Example:
        >>> category_color(0), category_color(None)
        ((255, 138, 76), (210, 210, 210))
    """
    if index is None:
        return NO_CATEGORY
    if index < len(PALETTE):
        return PALETTE[index]
    # Steps of the golden ratio never come close to an earlier hue for long.
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.62, 1.0)
    return int(255 * red), int(255 * green), int(255 * blue)


@dataclass(frozen=True)
class _Names:
    """Category ids with their names and places."""

    places: Mapping[int, tuple[int, str]]

    @classmethod
    def coerce(cls, classes: Any) -> _Names:
        """Accept a category tree, a mapping of ids to names, a list of names, or None."""
        if classes is None:
            return cls({})
        if hasattr(classes, "id_to_node"):
            classes = {cid: name for cid, name in classes.id_to_node.items() if cid is not None}
        pairs = classes.items() if isinstance(classes, Mapping) else enumerate(classes)
        return cls({int(cid): (place, str(name)) for place, (cid, name) in enumerate(pairs)})

    def look_up(self, cid: Any) -> tuple[int | None, str]:
        """Return place and name of a category; None and ``''`` for no category."""
        if cid is None or int(cid) < 0:
            return None, ""
        return self.places.get(int(cid), (int(cid), f"category {int(cid)}"))


@dataclass(frozen=True)
class _Mark:
    """One annotation, ready to be drawn."""

    place: int | None
    """Of its category among all; None without one."""
    name: str
    box: tuple[float, float, float, float] | None
    """Left, top, right, bottom in pixels of the sample."""
    rings: list[list[NDArray[np.float64]]]
    """One list a polygon: its outline, then its holes."""
    points: NDArray[np.float64]
    """(n, 2) keypoints."""

    @property
    def color(self) -> Color:
        """The color of its category."""
        return category_color(self.place)


def _marks_of(sample: Sample | Mapping[str, Any], classes: Any, frame: int) -> list[_Mark]:
    annots = sample.get("annots")
    if not annots:
        return []
    dets = annots["frame_dets"][frame]
    names = _Names.coerce(classes if classes is not None else dets.meta.get("classes"))
    boxes = dets.data.get("boxes")
    ltrb = np.zeros((0, 4)) if boxes is None else np.asarray(boxes.to_ltrb().data, float).reshape(-1, 4)
    count = len(ltrb) if boxes is not None else dets.num_boxes()
    cids = _column(dets.data.get("cids", dets.data.get("class_idxs")), count)
    segmentations = _column(dets.data.get("segmentations"), count)
    keypoints = _column(dets.data.get("keypoints"), count)
    marks = []
    for row in range(count):
        place, name = names.look_up(cids[row])
        box = tuple(ltrb[row].tolist()) if row < len(ltrb) and np.isfinite(ltrb[row]).all() else None
        rings, points = _rings(segmentations[row]), _points(keypoints[row])
        marks.append(_Mark(place, name, box, rings, points))
    return marks


def _column(values: Any, count: int) -> Sequence[Any]:
    return [None] * count if values is None else list(values)


def _rings(segmentation: Any) -> list[list[NDArray[np.float64]]]:
    """Return the polygons of a kwimage segmentation of any kind."""
    if segmentation is None:
        return []
    polygons = segmentation.to_multi_polygon().data
    return [
        [
            np.asarray(ring.data, float)
            for ring in (polygon.data["exterior"], *polygon.data.get("interiors", ()))
        ]
        for polygon in polygons
        if polygon is not None
    ]


def _points(points: Any) -> NDArray[np.float64]:
    """Return the positions of keypoints that are labelled."""
    if points is None:
        return np.zeros((0, 2))
    coords = np.asarray(points.xy, float).reshape(-1, 2)
    visible = points.data.get("visible")
    labelled = np.isfinite(coords).all(1)
    if visible is not None:
        labelled &= np.asarray(visible) > 0
    return coords[labelled]


@fork_safe
def draw_sample(
    sample: Sample | Mapping[str, Any], classes: Any = None, side: int | None = None, frame: int = 0
) -> NDArray[np.uint8]:
    """Draw the pixels of a sample with boxes, polygons, keypoints and category names.

    Args:
        sample: as ``load_sample`` returns it; without ``annots`` only its pixels are shown.
        classes: names of the categories: a category tree, a mapping from ids, or a list. By
            default those that the sample's detections carry.
        side: pixels of the longer side of the picture; by default as many as the sample has.
        frame: which frame of a video sample to draw.

    Returns:
        (height, width, 3) uint8, red first.

    Raises:
        ArgumentError: if the sample has no pixels, or ``side`` is below 1.

    Example:
        >>> sample = {'im': np.zeros((20, 30, 1), np.float32)}
        >>> draw_sample(sample, side=60).shape
        (40, 60, 3)
    """
    require_opencv()
    pixels = sample["im"]
    rgb = to_rgb(_colors_first(sample, pixels[frame] if np.ndim(pixels) == 4 else pixels))
    if side is not None and side < 1:
        raise ArgumentError(f"side is {side}; expected the pixels of the longer side of a picture, 1 or more")
    scale = 1.0 if side is None else side / max(rgb.shape[:2])
    rgb = _resized(rgb, scale)
    _draw_marks(Easel(rgb, scale), _marks_of(sample, classes, frame))
    return rgb


def _colors_first(sample: Mapping[str, Any], pixels: Any) -> Any:
    """Return red, green and blue alone, in this order, of pixels that have channels of these names."""
    spec = sample.get("params", {}).get("request_chanspec")
    names = [] if spec is None else spec.as_list()
    found = [names.index(name) for name in ("r", "g", "b") if name in names]
    return np.asarray(pixels)[..., found] if len(found) == 3 else pixels


def _resized(rgb: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    import cv2

    if scale == 1:
        return rgb
    size = [max(1, round(part * scale)) for part in rgb.shape[1::-1]]
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))


def _draw_marks(easel: Easel, marks: list[_Mark]) -> None:
    """Draw areas first, then edges, points and names, so that nothing hides what is finer."""
    for mark in marks:
        for rings in mark.rings:
            easel.polygon(rings, mark.color)
    for mark in marks:
        if mark.box is not None:
            easel.box(mark.box, mark.color)
    for mark in marks:
        for point in mark.points:
            easel.dot(point, mark.color)
    boxed = [(mark, mark.box) for mark in marks if mark.box is not None and mark.name]
    for mark, box in sorted(boxed, key=lambda pair: (pair[1][0] - pair[1][2]) * (pair[1][3] - pair[1][1])):
        easel.label(mark.name, box, mark.color)


def caption_of(sample: Sample | Mapping[str, Any], classes: Any = None) -> str:
    """Return a line that says what a sample shows: positive or not, category, image, size.

    Args:
        sample: as ``load_sample`` returns it.
        classes: names of the categories, as for :func:`draw_sample`.

    Example:
        >>> caption_of({'im': np.zeros((5, 7, 3)), 'target': {'gid': 4, 'aid': -1}})
        'negative | image 4 | 7 x 5'
    """
    target = sample.get("target", sample.get("tr", {}))
    aid = target.get("aid")
    parts = []
    if aid is not None:
        positive = int(aid) >= 0
        name = _Names.coerce(classes).look_up(target.get("category_id"))[1] if positive else ""
        parts.append(" ".join(filter(None, ["positive" if positive else "negative", name])))
    if "vidid" in target:
        parts.append(f"video {target['vidid']}")
    elif "gid" in target:
        parts.append(f"image {target['gid']}")
    height, width = np.shape(sample["im"])[-3:-1] if np.ndim(sample["im"]) > 2 else np.shape(sample["im"])
    return " | ".join([*parts, f"{width} x {height}"])


@fork_safe
def draw_sheet(
    samples: Sequence[Sample | Mapping[str, Any]],
    classes: Any = None,
    columns: int | None = None,
    side: int = 300,
    title: str = "",
    captions: Sequence[str] | None = None,
    overview: Sample | Mapping[str, Any] | None = None,
    strip: Sample | Mapping[str, Any] | None = None,
) -> NDArray[np.uint8]:
    """Draw many samples on one sheet, each with a caption, below a legend of the categories.

    Args:
        samples: as ``load_sample`` returns them.
        classes: names of the categories, as for :func:`draw_sample`.
        columns: samples in a row; by default such that the sheet is somewhat wider than high.
        side: pixels of a sample's longer side.
        title: a line above all.
        captions: one line for each sample, in place of :func:`caption_of`.
        overview: a sample that takes the room of four, its annotations drawn lightly.
        strip: a sample of a video, the frames of which are a row below the others.

    Returns:
        (height, width, 3) uint8, red first.

    Raises:
        ArgumentError: if there are no samples, or not as many captions, or ``columns`` is below 1.

    Example:
        >>> sample = {'im': np.zeros((30, 30, 3), np.uint8), 'target': {'gid': 1}}
        >>> draw_sheet([sample] * 3, columns=3, side=100).shape
        (142, 332, 3)
    """
    if not len(samples):
        raise ArgumentError("there are no samples to draw; expected at least one")
    if captions is not None and len(captions) != len(samples):
        raise ArgumentError(
            f"there are {len(captions)} captions; expected one for each of {len(samples)} samples"
        )
    if columns is not None and columns < 1:
        raise ArgumentError(f"columns is {columns}; expected 1 or more")
    across, cells = _cells(len(samples), columns, block=overview is not None)
    width = across * (side + GAP) + GAP
    lines = captions or [caption_of(sample, classes) for sample in samples]
    tiles = [
        _Tile(
            line,
            draw_sample(sample, classes, side),
            column * (side + GAP),
            row * (side + TEXT_ROW),
            side,
            side,
        )
        for line, sample, (row, column) in zip(lines, samples, cells)
    ]
    shown = [(sample, 0) for sample in samples]
    if overview is not None:
        size = (2 * side + GAP, 2 * side + TEXT_ROW)
        picture = _draw_overview(overview, classes, size)
        tiles.append(_Tile(_size_caption(overview), picture, 0, 0, size[0], len(picture)))
        shown.append((overview, 0))
    if strip is not None:
        bottom = max(tile.top + tile.height + TEXT_ROW for tile in tiles)
        tiles += _draw_strip(strip, classes, width, bottom)
        shown += [(strip, frame) for frame in range(len(strip["im"]))]
    return _assemble(_draw_head(shown, classes, title, width), tiles)


class _Tile(NamedTuple):
    """A picture with its caption, and where on the sheet it goes."""

    line: str
    picture: NDArray[np.uint8]
    left: int
    top: int
    """Of the caption, below the head of the sheet."""
    width: int
    height: int
    """Of the room for the picture, in the middle of which it is put."""


def _cells(count: int, columns: int | None, block: bool) -> tuple[int, list[tuple[int, int]]]:
    """Return how many samples a row has, and row and column of each; a block takes the first two by two."""
    across = min(columns or _default_columns(count + 4 * block), 2 + -(-count // 2) if block else count)
    across = max(across, 2 if block else 1)
    cells = [(row, column) for row in range(count + 2) for column in range(across)]
    return across, [cell for cell in cells if not (block and max(cell) < 2)][:count]


def _draw_overview(sample: Any, classes: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw a sample as large as fits into a width and a height, with the edges of boxes alone."""
    import cv2

    height, width = sample["im"].shape[:2]
    scale = min(size[0] / width, size[1] / height)
    picture = _resized(to_rgb(_colors_first(sample, sample["im"])), scale)
    edges = picture.copy()
    for mark in _marks_of(sample, classes, 0):
        if mark.box is not None:
            left, top, right, bottom = (int(np.clip(part * scale, -99, 9999)) for part in mark.box)
            cv2.rectangle(edges, (left, top), (max(left, right - 1), max(top, bottom - 1)), mark.color)
    return np.asarray(cv2.addWeighted(edges, LIGHTLY, picture, 1 - LIGHTLY, 0))


def _draw_strip(sample: Any, classes: Any, width: int, top: int) -> list[_Tile]:
    """Draw the frames of a video side by side, all in one row of a sheet."""
    count = len(sample["im"])
    side = max(1, (width - GAP) // count - GAP)
    pictures = [draw_sample(sample, classes, side, frame) for frame in range(count)]
    target = sample.get("target", {})
    start = target["time_slice"].start if "time_slice" in target else 0
    whole = {key: target[key] for key in ("vidid",) if key in target}
    what = caption_of({"im": sample["im"], "target": whole}).split(" | ")
    lines = [" | ".join([*what[:-1], f"frame {start + number}", what[-1]]) for number in range(count)]
    return [
        _Tile(line, picture, number * (side + GAP), top, side, len(picture))
        for number, (line, picture) in enumerate(zip(lines, pictures))
    ]


def _size_caption(sample: Any) -> str:
    """Return a line that says how large the image is of which a sample shows all."""
    *what, shown = caption_of(sample).split(" | ")
    dims = sample.get("target", {}).get("space_dims")
    whole = f"{dims[1]} x {dims[0]} pixels at " if dims is not None else ""
    count = sample["annots"]["frame_dets"][0].num_boxes() if sample.get("annots") else 0
    return " | ".join([*what, whole + shown, f"{count:,} annotations"])


def _assemble(head: NDArray[np.uint8], tiles: list[_Tile]) -> NDArray[np.uint8]:
    height = len(head) + max(tile.top + tile.height for tile in tiles) + TEXT_ROW + GAP
    sheet = np.empty((height, head.shape[1], 3), np.uint8)
    sheet[:] = BACKGROUND
    sheet[: len(head)] = head
    for tile in tiles:
        top, left = len(head) + tile.top, GAP + tile.left
        write_text(sheet, _fit(tile.line, tile.width, 0.42), (left, top + TEXT_ROW - 9), 0.42, PAPER)
        height, width = tile.picture.shape[:2]
        top, left = top + TEXT_ROW + (tile.height - height) // 2, left + (tile.width - width) // 2
        sheet[top : top + height, left : left + width] = tile.picture
    return sheet


def _default_columns(count: int) -> int:
    """Return the samples in a row that leave the fewest places empty, near three to two."""
    wished = math.sqrt(1.5 * count)
    choices = range(max(1, math.floor(0.75 * wished)), math.ceil(1.3 * wished) + 1)
    return min(choices, key=lambda columns: (-count % columns, abs(columns - wished)))


def _fit(text: str, width: int, scale: float) -> str:
    """Return text, cut where it is wider than some pixels."""
    while text and text_size(text, scale)[0] > width:
        text = text.removesuffix("..")[:-1] + ".." if len(text) > 3 else ""
    return text


def _draw_head(frames: Iterable[tuple[Any, int]], classes: Any, title: str, width: int) -> NDArray[np.uint8]:
    """Draw the title, and a colored square with a name for each category that occurs."""
    marks = [mark for shown in frames for mark in _marks_of(shown[0], classes, shown[1])]
    places = {mark.place: mark for mark in marks if mark.place is not None}
    names = {places[place].name: places[place].color for place in sorted(places)}
    lines: list[list[tuple[int, str]]] = [[]]
    x = GAP
    for name in names:
        step = 18 + text_size(name, 0.46)[0] + 18
        if x + step > width and lines[-1]:
            lines.append([])
            x = GAP
        lines[-1].append((x, name))
        x += step
    legend = [line for line in lines if line]
    rows = bool(title) + len(legend)
    head = np.empty((rows * TEXT_ROW + GAP * bool(rows) + GAP * (not rows), width, 3), np.uint8)
    head[:] = BACKGROUND
    if title:
        write_text(head, _fit(title, width - 2 * GAP, 0.5), (GAP, GAP + 14), 0.5, PAPER)
    for row, line in enumerate(legend, bool(title)):
        top = GAP + row * TEXT_ROW
        for x, name in line:
            head[top + 3 : top + 15, x : x + 12] = names[name]
            write_text(head, name, (x + 18, top + 14), 0.46, PAPER)
    return head


@fork_safe
def write_sheet(
    path: str | os.PathLike[str],
    samples: Sequence[Sample | Mapping[str, Any]],
    classes: Any = None,
    **options: Any,
) -> Path:
    """Save samples as one PNG file.

    Args:
        path: of the file, which appears whole or not at all.
        samples: as ``load_sample`` returns them.
        classes: names of the categories, as for :func:`draw_sample`.
        **options: all but the first two of :func:`draw_sheet`.

    Returns:
        The path.

    Raises:
        ArgumentError: as :func:`draw_sheet` does.
        OSError: if the file cannot be written.
    """
    import cv2

    sheet = draw_sheet(samples, classes, **options)
    smallest = [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED]
    _, encoded = cv2.imencode(".png", sheet[..., ::-1], smallest)
    dest = Path(path)
    partial = dest.with_name(f"{dest.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(encoded.tobytes())
        os.replace(partial, dest)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return dest
