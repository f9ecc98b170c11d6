"""Draws one sample: its pixels as RGB, with boxes, polygons, keypoints and category names."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError, escape_controls
from ndsampler.preview.drawing import Color, Drawing
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.require import require_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.types import Sample

#: Channels to show: a code, names or positions; None for a default choice.
Bands = str | Sequence[str | int] | None

#: Colors of the first categories, which are easy to distinguish on photographs.
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

#: Color of an annotation without a category.
NO_CATEGORY: Color = (210, 210, 210)

#: Percentiles of the values that a contrast stretch maps to black and to white.
STRETCH = (1.0, 99.0)

#: Maximum number of annotations in a sample whose names are drawn. The legend of a sheet explains the colors.
MOST_NAMES = 24

#: The keypoints of an annotation that has none.
NO_POINTS = np.zeros((0, 2))

#: Names of channels that are shown as red, green and blue when a sample has all three.
RGB_CHANNELS = (("r", "g", "b"), ("red", "green", "blue"))


def to_rgb(im: Any, each_channel: bool = False) -> NDArray[np.uint8]:
    """Return pixels of any type and any number of channels as an RGB picture.

    8-bit pixels are not changed. Other types are stretched: the 1st percentile maps to 0 and the 99th to 255.
    One or two channels are shown as gray; of more than three channels, the first three are shown. Pixels that
    are NaN or infinite are shown as a checkerboard.

    Args:
        im: array of shape (height, width) or (height, width, channels).
        each_channel: whether to stretch each channel separately. False-color pictures need this, because the
            bands of a satellite image differ in brightness.

    Returns:
        A new (height, width, 3) uint8 array.

    Raises:
        ArgumentError: if the array has another number of axes, or is empty.

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
            "none of them 0. For a video sample, pass one frame: sample['im'][0]"
        )
    shown = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
    as_bytes = shown if shown.dtype == np.uint8 else _stretch(shown, each_channel)
    return np.array(np.broadcast_to(as_bytes, (*as_bytes.shape[:2], 3)), order="C")


def _stretch(pixels: NDArray[Any], each_channel: bool) -> NDArray[np.uint8]:
    values = np.abs(pixels) if np.iscomplexobj(pixels) else pixels.astype(np.float64)
    known = np.isfinite(values)
    parts = np.split(values, values.shape[2], axis=2) if each_channel else [values]
    shares = np.concatenate([_scale_to_unit(part) for part in parts], axis=2)
    result: NDArray[np.uint8] = (np.clip(shares, 0, 1) * 255).astype(np.uint8)
    missing = ~known.all(2)
    y, x = np.nonzero(missing)
    result[missing] = np.where((y // 8 + x // 8) % 2, 96, 136)[:, None]
    return result


def _scale_to_unit(values: NDArray[Any]) -> NDArray[np.float64]:
    """Map the values between the percentiles of :data:`STRETCH` linearly to 0..1, and clip the others."""
    known = np.isfinite(values)
    low, high = np.percentile(values[known], STRETCH) if known.any() else (0.0, 0.0)
    if high <= low:
        return np.full(values.shape, 0.5)
    return np.asarray((np.where(known, values, low) - low) / (high - low))


def category_color(index: int | None) -> Color:
    """Return the color of a category. It is the same in every picture.

    Args:
        index: position of the category in the dataset; None for an annotation without a category.

    Example:
        >>> category_color(0), category_color(None)
        ((255, 138, 76), (210, 210, 210))
    """
    if index is None:
        return NO_CATEGORY
    if index < len(PALETTE):
        return PALETTE[index]
    # Multiples of the golden ratio spread the hues evenly for any number of categories.
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.62, 1.0)
    return int(255 * red), int(255 * green), int(255 * blue)


@dataclass(frozen=True)
class CategoryNames:
    """The positions and names of category ids."""

    positions: Mapping[int, tuple[int, str]]

    @classmethod
    def coerce(cls, classes: Any) -> CategoryNames:
        """Convert a category tree, a mapping of ids to names, a list of names, or None."""
        if classes is None:
            return cls({})
        if hasattr(classes, "id_to_node"):
            classes = {cid: name for cid, name in classes.id_to_node.items() if cid is not None}
        pairs = classes.items() if isinstance(classes, Mapping) else enumerate(classes)
        return cls({int(cid): (index, str(name)) for index, (cid, name) in enumerate(pairs)})

    def look_up(self, cid: Any) -> tuple[int | None, str]:
        """Return the position and name of a category; None and ``''`` for no category."""
        if cid is None or int(cid) < 0:
            return None, ""
        return self.positions.get(int(cid), (int(cid), f"category {int(cid)}"))


@dataclass(frozen=True, eq=False)
class Mark:
    """One annotation, ready to be drawn. Coordinates are in pixels of the sample."""

    index: int | None
    """Position of its category in the dataset; None without a category."""
    name: str
    """Name of its category; empty without a category."""
    box: tuple[float, float, float, float] | None
    """Left, top, right, bottom; None without a box."""
    rings: list[list[NDArray[np.float64]]]
    """For each polygon, its outline followed by its holes, each as (points, 2) x and y."""
    points: NDArray[np.float64]
    """(n, 2) x and y of keypoints."""

    @property
    def color(self) -> Color:
        """The color of its category."""
        return category_color(self.index)


def marks_of(sample: Sample | Mapping[str, Any], classes: Any = None, frame: int = 0) -> list[Mark]:
    """Return the annotations of a sample, ready to be drawn.

    Args:
        sample: a sample that ``load_sample`` has returned.
        classes: names of the categories, as for :func:`draw_sample`.
        frame: which frame of a video sample.
    """
    annots = sample.get("annots")
    if not annots:
        return []
    dets = annots["frame_dets"][frame]
    boxes = dets.data.get("boxes")
    ltrb = np.zeros((0, 4)) if boxes is None else np.asarray(boxes.to_ltrb().data, float).reshape(-1, 4)
    count = len(ltrb) if boxes is not None else dets.num_boxes()
    corners = [tuple(box) if all(map(math.isfinite, box)) else None for box in ltrb.tolist()]
    columns = (
        _category_column(dets, classes, count),
        corners if boxes is not None else [None] * count,
        _column(dets.data.get("segmentations"), count),
        _column(dets.data.get("keypoints"), count),
    )
    return [
        Mark(*category, box, _rings(segmentation), _points(points))
        for category, box, segmentation, points in zip(*columns)
    ]


def categories_of(
    sample: Sample | Mapping[str, Any], classes: Any = None, frame: int = 0
) -> set[tuple[int, str]]:
    """Return the position and name of each category in a sample.

    Args:
        sample: a sample that ``load_sample`` has returned.
        classes: names of the categories, as for :func:`draw_sample`.
        frame: which frame of a video sample.
    """
    annots = sample.get("annots")
    if not annots:
        return set()
    dets = annots["frame_dets"][frame]
    found = set(_category_column(dets, classes, dets.num_boxes()))
    return {(index, name) for index, name in found if index is not None}


def kinds_of(sample: Sample | Mapping[str, Any], frame: int = 0) -> set[str]:
    """Return which of box, polygon and keypoint a sample has, without parsing the annotations.

    Args:
        sample: a sample that ``load_sample`` has returned.
        frame: which frame of a video sample.
    """
    annots = sample.get("annots")
    if not annots:
        return set()
    data = annots["frame_dets"][frame].data
    columns = {
        "box": data.get("boxes"),
        "polygon": data.get("segmentations"),
        "keypoint": data.get("keypoints"),
    }
    return {
        kind
        for kind, column in columns.items()
        if column is not None and len(column) and any(item is not None for item in column)
    }


def split_frames(sample: Sample | Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each frame of a video sample as a separate sample. An image sample is returned unchanged.

    Args:
        sample: a sample that ``load_sample`` has returned.
    """
    if np.ndim(sample["im"]) < 4:
        return [dict(sample)]
    annots = sample.get("annots")
    return [
        {
            **sample,
            "im": pixels,
            "annots": {"frame_dets": [annots["frame_dets"][number]]} if annots else None,
        }
        for number, pixels in enumerate(sample["im"])
    ]


def _category_column(dets: Any, classes: Any, count: int) -> list[tuple[int | None, str]]:
    """Return the position and name of the category of each detection."""
    names = CategoryNames.coerce(classes if classes is not None else dets.meta.get("classes"))
    cids = _column(dets.data.get("cids", dets.data.get("class_idxs")), count)
    return [names.look_up(cid) for cid in cids]


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
    """Return the positions of keypoints that are labeled."""
    if points is None:
        return NO_POINTS
    coords = np.asarray(points.xy, float).reshape(-1, 2)
    visible = points.data.get("visible")
    labeled = np.isfinite(coords).all(1)
    if visible is not None:
        labeled &= np.asarray(visible) > 0
    result: NDArray[np.float64] = coords[labeled]
    return result


@fork_safe
def draw_sample(
    sample: Sample | Mapping[str, Any],
    classes: Any = None,
    side: int | None = None,
    frame: int = 0,
    bands: Bands = None,
) -> NDArray[np.uint8]:
    """Draw the pixels of a sample with boxes, polygons, keypoints and category names.

    Args:
        sample: a sample that ``load_sample`` has returned; without ``annots`` only its pixels are drawn.
        classes: names of the categories: a category tree, a mapping from ids, or a list. By
            default, the names in the sample's detections.
        side: length of the longer side of the picture in pixels; by default that of the sample.
        frame: which frame of a video sample to draw.
        bands: the channels that are shown as red, green and blue: see :func:`rgb_of`.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ArgumentError: if the sample has no pixels or lacks a band, or ``side`` is below 1.

    Example:
        >>> sample = {'im': np.zeros((20, 30, 1), np.float32)}
        >>> draw_sample(sample, side=60).shape
        (40, 60, 3)
    """
    require_opencv()
    rgb = rgb_of(sample, frame, bands)
    if side is not None and side < 1:
        raise ArgumentError(f"side is {side}; expected the longer side of the picture in pixels, 1 or more")
    scale = 1.0 if side is None else side / max(rgb.shape[:2])
    rgb = resize(rgb, scale)
    _draw_marks(Drawing(rgb, scale), marks_of(sample, classes, frame))
    return rgb


def rgb_of(sample: Sample | Mapping[str, Any], frame: int = 0, bands: Bands = None) -> NDArray[np.uint8]:
    """Return the pixels of a sample, or of one frame of a video sample, as an RGB picture.

    Args:
        sample: a sample that ``load_sample`` has returned.
        frame: which frame of a video sample.
        bands: one channel, or the three that are shown as red, green and blue: a code such as
            ``'nir|red|green'``, or a list of names or positions. Each is stretched separately. By default,
            channels named red, green and blue (or r, g, b) are shown in these colors; otherwise
            :func:`to_rgb` chooses the channels.

    Raises:
        ArgumentError: if the sample has no pixels, or lacks a band.
    """
    pixels = sample["im"]
    if not hasattr(pixels, "shape"):
        raise ArgumentError(
            f"the pixels are a {type(pixels).__name__}; expected an array. Load the sample without "
            "use_native_scale and finalize=False to draw it"
        )
    pixels = np.asarray(pixels[frame] if np.ndim(pixels) == 4 else pixels)
    names = channel_names(sample)
    if bands is not None:
        return to_rgb(pixels[..., _positions(parse_bands(bands), names, pixels.shape[-1])], each_channel=True)
    for wanted in RGB_CHANNELS:
        if set(wanted) <= set(names):
            return to_rgb(pixels[..., [names.index(name) for name in wanted]])
    return to_rgb(pixels)


def channel_names(sample: Sample | Mapping[str, Any]) -> list[str]:
    """Return the names of the channels of a sample; an empty list if it does not state them."""
    spec = sample.get("params", {}).get("request_chanspec")
    if spec is not None:
        return list(spec.as_list())
    asked = sample.get("target", {}).get("channels")
    return asked.split("|") if isinstance(asked, str) and set("<,.:").isdisjoint(asked) else []


def parse_bands(bands: str | Sequence[str | int]) -> list[str | int]:
    """Return the bands to show as a list of one or three names or positions.

    Raises:
        ArgumentError: for any other number of bands.

    Example:
        >>> parse_bands('nir|red|green'), parse_bands([4])
        (['nir', 'red', 'green'], [4])
    """
    parsed: list[str | int] = list(bands.split("|") if isinstance(bands, str) else bands)
    if len(parsed) not in {1, 3}:
        raise ArgumentError(
            f"bands is {bands!r}; expected one band, or three that are shown as red, green and blue, such as "
            "'nir|red|green'"
        )
    return parsed


def _positions(bands: list[str | int], names: list[str], count: int) -> list[int]:
    """Return the positions of bands among the channels of a sample.

    Raises:
        ArgumentError: if the sample lacks one of the bands.
    """
    known: dict[str | int, int] = {index: index for index in range(count)}
    known.update({name: index for index, name in enumerate(names)})
    missing = [band for band in bands if band not in known]
    if missing:
        have = ", ".join(names) or f"{count} channels without names, 0 to {count - 1}"
        raise ArgumentError(f"the sample has no band {missing[0]!r}; it has {have}")
    return [known[band] for band in bands]


def resize(rgb: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Return a picture that is enlarged or reduced by a factor; for 1, the picture itself.

    A whole number of 2 or more repeats each pixel, so that single pixels remain visible.
    """
    import cv2

    if scale == 1:
        return rgb
    size = [max(1, round(part * scale)) for part in rgb.shape[1::-1]]
    whole = scale > 1 and float(scale).is_integer()
    method = cv2.INTER_NEAREST if whole else cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, size, interpolation=method))


def zoom_to_fit(longer: int, room: int) -> float:
    """Return the largest whole-number zoom at which a length fits, or the factor that shrinks it to fit.

    Args:
        longer: the length in pixels.
        room: the available space in pixels.

    Example:
        >>> zoom_to_fit(64, 300), zoom_to_fit(256, 300), zoom_to_fit(600, 300)
        (4.0, 1.0, 0.5)
    """
    return float(room // longer) if longer <= room else room / longer


def _draw_marks(drawing: Drawing, marks: list[Mark]) -> None:
    """Draw areas first, then edges, points and names, so that fine details stay on top."""
    polygons = [(rings, mark.color) for mark in marks for rings in mark.rings]
    if polygons:
        drawing.polygons(polygons)
    boxes = [(mark.box, mark.color) for mark in marks if mark.box is not None]
    if boxes:
        drawing.boxes(boxes)
    for mark in marks:
        for point in mark.points:
            drawing.dot(point, mark.color)
    if len(marks) > MOST_NAMES:
        return
    boxed = [(mark, mark.box) for mark in marks if mark.box is not None and mark.name]
    for mark, box in sorted(boxed, key=lambda pair: (pair[1][0] - pair[1][2]) * (pair[1][3] - pair[1][1])):
        drawing.label(mark.name, box, mark.color)


@fork_safe
def caption_of(sample: Sample | Mapping[str, Any], classes: Any = None) -> str:
    """Return a line that describes a sample: positive or negative, category, image, size.

    Control characters of names are escaped.

    Args:
        sample: a sample that ``load_sample`` has returned.
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
        name = CategoryNames.coerce(classes).look_up(target.get("category_id"))[1] if positive else ""
        parts.append(" ".join(filter(None, ["positive" if positive else "negative", name])))
    if "vidid" in target:
        parts.append(f"video {target['vidid']}")
    elif "gid" in target:
        parts.append(f"image {target['gid']}")
    height, width = np.shape(sample["im"])[-3:-1] if np.ndim(sample["im"]) > 2 else np.shape(sample["im"])
    return escape_controls(" | ".join([*parts, f"{width} x {height}"]), keep="")
