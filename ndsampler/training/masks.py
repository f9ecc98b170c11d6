"""
Rasterizes annotations to masks of classes, of objects, and of boundaries.

A pixel belongs to an object if its center lies inside the polygon, or inside the box of an annotation without
a polygon. GDAL and most renderers use the same rule, and it makes the masks of neighboring windows
consistent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ndsampler.errors import ArgumentError, UnknownOptionError
from ndsampler.training.labels import annotation_labels, label_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ndsampler.types import Sample

#: Value of pixels that a loss should ignore, as in torchvision.
IGNORE = 255


def rasterize(
    sample: Sample,
    kind: Literal["semantic", "instance", "boundary"] = "semantic",
    *,
    labels: Mapping[int, int] | None = None,
    ignore: int | None = None,
) -> NDArray[Any]:
    """Return the annotations of a sample as a mask.

    Where objects overlap, the one with the smaller area is on top; if the areas are equal, the later one. The
    area of the whole object counts, so that overlapping windows have the same labels at the same pixels.

    Args:
        sample: a sample that :meth:`ndsampler.CocoSampler.load_sample` returned with annotations.
        kind: ``'semantic'`` for labels; ``'instance'`` for annotation numbers, counted from 1; ``'boundary'``
            for 1 on the pixels of an object next to a pixel outside of it. All other pixels are 0.
        labels: the label of each category id; by default :func:`ndsampler.training.label_numbers`. In a
            semantic mask, annotations of other categories have the value ``ignore``.
        ignore: value outside the image in a semantic mask; by default 255, or 65535 if a label is 255
            or more.

    Returns:
        An array of shape (height, width), or (frames, height, width) for a video. The type is int32 for
        instances and uint8 for boundaries; for semantic masks it is uint8, or larger if the labels need it.

    Raises:
        ArgumentError: if the sample has no annotations, or its pixels are not an array.
        UnknownOptionError: for an unknown kind.

    Example:
        >>> import ndsampler
        >>> sampler = ndsampler.CocoSampler.demo('shapes8')
        >>> sample = sampler.load_sample({'gid': 1}, with_annots='boxes')
        >>> mask = rasterize(sample)
        >>> mask.shape, mask.dtype, bool(mask.any())
        ((600, 600), dtype('uint8'), True)
    """
    if kind not in KINDS:
        raise UnknownOptionError(f"kind is {kind!r}; expected one of {', '.join(map(repr, KINDS))}")
    return KINDS[kind](sample, labels, ignore)


def instance_masks(sample: Sample) -> NDArray[np.uint8]:
    """Return (annotations, height, width) masks, one for each annotation of a sample.

    Args:
        sample: a sample that was loaded with annotations.

    Raises:
        ArgumentError: if the sample has no annotations, or its pixels are not an array.
    """
    _, height, width = grid_dims(sample)
    shapes = list(_shapes(sample))
    masks = np.zeros((len(shapes), height, width), np.uint8)
    for mask, shape in zip(masks, shapes):
        shape.paint(mask, 1)
    return masks


def valid_pixels(sample: Sample) -> NDArray[np.bool_]:
    """Return which pixels of a sample have their centers inside the image or video.

    Args:
        sample: a sample that :meth:`ndsampler.CocoSampler.load_sample` has returned.

    Returns:
        An array of shape (height, width), or (frames, height, width) for a video. Frames outside the video,
        and pixels that are masked in every band, are False.

    Raises:
        ArgumentError: if the pixels of the sample are not an array.
    """
    frames, *dims = grid_dims(sample)
    params = sample["params"]
    warp = params["tf_rel_to_abs"]
    inside = []
    for length, count, scale, start in zip(
        params["data_dims"][-2:], dims, warp[[1, 0], [1, 0]], warp[[1, 0], 2]
    ):
        centers = (np.arange(count) + 0.5) * scale + start
        inside.append((centers > 0) & (centers < length))
    valid: NDArray[np.bool_] = inside[0][:, None] & inside[1]
    pixels = sample["im"]
    if frames is not None:
        real = sample["target"].get("real_frames", [True] * frames)
        valid = valid & np.array(real, dtype=bool)[:, None, None]
    if isinstance(pixels, np.ma.MaskedArray):
        valid = valid & ~np.ma.getmaskarray(pixels).all(axis=-1)
    return valid


def grid_dims(sample: Sample) -> tuple[int | None, int, int]:
    """Return (frames, height, width) of a sample; frames is None for an image.

    Raises:
        ArgumentError: if the pixels of the sample are not an array, as in native scale.
    """
    shape = getattr(sample["im"], "shape", None)
    if shape is None or len(shape) not in (3, 4):
        raise ArgumentError(
            "the sample is not a single array of pixels, which masks need; leave out use_native_scale and "
            "finalize=False"
        )
    return (shape[0] if len(shape) == 4 else None), shape[-3], shape[-2]


def _semantic(sample: Sample, labels: Mapping[int, int] | None, ignore: int | None) -> NDArray[Any]:
    """Return the label of each pixel."""
    labels = label_numbers(sample["classes"]) if labels is None else labels
    ignore = ignore_value(labels) if ignore is None else ignore
    numbers = annotation_labels(sample, labels)
    numbers[numbers < 0] = ignore
    dtype = np.min_scalar_type(max([ignore, *labels.values()]) if ignore >= 0 else -(2**31))
    mask = _paint(sample, numbers, dtype)
    mask[~valid_pixels(sample)] = ignore
    return mask


def ignore_value(labels: Mapping[int, int]) -> int:
    """Return a value that is not a label: 255, or 65535 if a label is 255 or more."""
    return IGNORE if max(labels.values(), default=0) < IGNORE else 2**16 - 1


def _instances(sample: Sample, *_: Any) -> NDArray[np.int32]:
    """Return the number of the annotation at each pixel, counted from 1; 0 elsewhere."""
    return _paint(sample, np.arange(1, len(annotation_labels(sample, {})) + 1), np.int32)


def _boundaries(sample: Sample, *_: Any) -> NDArray[np.uint8]:
    """Return 1 for each pixel of an object with a neighbor outside that object; 0 elsewhere."""
    numbers = _instances(sample)
    found = np.zeros(numbers.shape, np.uint8)
    for axis in (-2, -1):
        here, there = np.moveaxis(numbers, axis, 0), np.moveaxis(found, axis, 0)
        differs = here[1:] != here[:-1]
        there[1:] |= differs
        there[:-1] |= differs
    return found * (numbers > 0)


KINDS: dict[str, Callable[[Sample, Mapping[int, int] | None, int | None], NDArray[Any]]] = {
    "semantic": _semantic,
    "instance": _instances,
    "boundary": _boundaries,
}


def _paint(sample: Sample, values: NDArray[np.int64], dtype: Any) -> NDArray[Any]:
    """Return a mask in which annotations are painted with the given values, the largest first."""
    frames, height, width = grid_dims(sample)
    mask = np.zeros((frames or 1, height, width), dtype)
    shapes = list(_shapes(sample))
    for row in np.argsort([-shape.area for shape in shapes], kind="stable").tolist():
        shape = shapes[row]
        shape.paint(mask[shape.frame], values[row])
    return mask[0] if frames is None else mask


@dataclass(frozen=True, eq=False)
class _Shape:
    """An annotation as polygons with holes."""

    polygons: Sequence[Sequence[NDArray[Any]]]
    """(points, 2) x and y of the exterior and of each hole of each polygon."""
    frame: int
    """Index of its frame."""

    @property
    def area(self) -> float:
        """Area in square pixels."""
        areas = [[_area(ring) for ring in polygon] for polygon in self.polygons]
        return sum(exterior - sum(holes) for exterior, *holes in areas)

    def paint(self, mask: NDArray[Any], value: int) -> None:
        """Set the pixels of a (height, width) mask that belong to the annotation."""
        for rings in self.polygons:
            rows, cols, inside = fill_polygon(rings, mask.shape)
            mask[rows, cols][inside] = value


def _area(ring: NDArray[Any]) -> float:
    """Return the area inside a ring, by the shoelace formula."""
    x, y = np.asarray(ring, dtype=np.float64).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _shapes(sample: Sample) -> Iterator[_Shape]:
    """Yield the shape of each annotation: its polygons, or its box if it has none."""
    annots = sample.get("annots")
    if annots is None:
        raise ArgumentError("the sample has no annotations; load it with with_annots=True")
    boxes = annots["rel_boxes"].data
    for sseg, (x, y, width, height), frame in zip(annots["rel_ssegs"], boxes, annots["rel_frame_index"]):
        if sseg is None:
            corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
            polygons = [[corners]]
        else:
            polygons = [
                [part.data["exterior"].data, *(hole.data for hole in part.data["interiors"])]
                for part in sseg.data
            ]
        yield _Shape(polygons, int(frame))


def fill_polygon(
    rings: Sequence[NDArray[Any]], dims: tuple[int, ...]
) -> tuple[slice, slice, NDArray[np.bool_]]:
    """Return which pixels of an image have their centers inside a polygon, by the even-odd rule.

    Args:
        rings: (points, 2) x and y of the exterior and of each hole, in pixels.
        dims: (height, width) of the image in pixels.

    Returns:
        Slices of the rows and columns that the polygon may touch, and the mask of the pixels in them that are
        inside.

    Example:
        >>> rows, cols, inside = fill_polygon([np.array([[1, 1], [4, 1], [4, 3], [1, 3]])], (5, 5))
        >>> rows, cols, inside.all()
        (slice(1, 3, None), slice(1, 4, None), np.True_)
    """
    points = np.concatenate([np.asarray(ring, dtype=np.float64) for ring in rings])
    low = np.clip(np.ceil(points.min(axis=0) - 0.5), 0, dims[::-1]).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) - 0.5), low, dims[::-1]).astype(int)
    (left, top), (right, bottom) = low, high
    following = np.concatenate([np.roll(np.asarray(ring, dtype=np.float64), -1, axis=0) for ring in rings])
    # An edge crosses the rows whose centers lie between its ends.
    ends = np.clip(np.ceil(np.stack([points[:, 1], following[:, 1]]) - 0.5), top, bottom).astype(int)
    first, count = ends.min(axis=0), np.abs(ends[1] - ends[0])
    edge = np.repeat(np.arange(len(points)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count - first, count)
    (x0, y0), (x1, y1) = points[edge].T, following[edge].T
    crossing = x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    column = np.clip(np.ceil(crossing - 0.5), left, right).astype(int) - left
    # Each crossing toggles inside and outside for all pixels to its right.
    crossings = np.zeros((bottom - top, right - left + 1), np.int64)
    np.add.at(crossings, (row - top, column), 1)
    inside = (np.cumsum(crossings, axis=1)[:, :-1] & 1).astype(bool)
    return slice(int(top), int(bottom)), slice(int(left), int(right)), inside
