"""Statistics of a dataset: image sizes, classes, boxes, windows that cover it, and the size of its cache."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.annot_table import AnnotTable
from ndsampler.preview.choice import usual_window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndsampler.coco_sampler import CocoSampler

#: Number of images that are read to find the pixel type and the compression ratio, and the side of each part
#: that is read, in pixels.
PROBES, PROBE_SIDE = 12, 256

#: Ratio of the pixels of a converted image with overviews to those of the image alone.
OVERVIEWS = 4 / 3


@dataclass(frozen=True)
class Spread:
    """The minimum, median and maximum of some numbers."""

    smallest: float
    """Minimum."""
    median: float
    """Median."""
    largest: float
    """Maximum."""

    @classmethod
    def of_values(cls, values: Any) -> Spread | None:
        """Return the spread of some numbers; None if there are none."""
        if not len(values):
            return None
        low, middle, high = (float(value) for value in np.quantile(np.asarray(values, float), (0, 0.5, 1)))
        return cls(low, middle, high)


@dataclass(frozen=True)
class DatasetStats:
    """Statistics of a dataset."""

    images: int
    """Number of images."""
    videos: int
    """Number of videos."""
    annotations: int
    """Number of annotations."""
    images_without_annotations: int
    """Number of images without annotations."""
    megapixels: float
    """Total number of pixels of all images, in millions."""
    widths: Spread | None
    """Widths of the images in pixels."""
    heights: Spread | None
    """Heights of the images in pixels."""
    classes: dict[str, int]
    """Number of annotations of each category, most frequent first."""
    box_widths: Spread | None
    """Widths of the boxes in pixels of their images."""
    box_heights: Spread | None
    """Heights of the boxes in pixels of their images."""
    box_sides: dict[int, int]
    """Histogram of the square root of the box area: for each power of two, the number of boxes from it up to
    the next power."""
    window: tuple[int, int]
    """Height and width in pixels of the windows that are counted."""
    windows: int
    """Number of windows in a grid without overlap that covers all images."""
    pixel_bytes: float
    """Size in bytes of a pixel with all its channels, measured on some images."""
    npy_bytes: float
    """Expected size in bytes of a cache of npy files."""
    cog_bytes: float
    """Expected size in bytes of a cache of cloud-optimized GeoTIFFs, estimated from parts of some images."""

    def to_json(self) -> dict[str, Any]:
        """Return all numbers as JSON."""
        sides = {str(side): count for side, count in self.box_sides.items()}
        return {**asdict(self), "box_sides": sides, "window": list(self.window)}


def dataset_stats(sampler: CocoSampler, window_dims: Sequence[int] | None = None) -> DatasetStats:
    """Return the statistics of a dataset.

    Args:
        sampler: sampler of the dataset.
        window_dims: (height, width) of the windows to count; by default a size that suits the annotations.

    Raises:
        SourceError: if the dataset does not state the size of an image and its file cannot be read.
    """
    gids = list(sampler.image_ids)
    dims = np.array([sampler.frames.image_dims(gid) for gid in gids], np.int64).reshape(-1, 2)
    table = AnnotTable.from_coco(sampler.dset)
    sides = _box_sides(table)
    window = tuple(usual_window(sampler) if window_dims is None else window_dims)
    pixel_bytes, share = _probe(sampler, gids)
    raw = float(dims.prod(1).sum() * pixel_bytes)
    return DatasetStats(
        images=len(gids),
        videos=sampler.dset.n_videos,
        annotations=sampler.n_annots,
        images_without_annotations=len(gids) - len(np.unique(table.gids)),
        megapixels=float(dims.prod(1).sum() / 1e6),
        widths=Spread.of_values(dims[:, 1]),
        heights=Spread.of_values(dims[:, 0]),
        classes=_count_classes(sampler, table),
        box_widths=Spread.of_values(sides[:, 0]),
        box_heights=Spread.of_values(sides[:, 1]),
        box_sides=_count_sides(sides),
        window=(int(window[0]), int(window[1])),
        windows=count_windows(dims, window),
        pixel_bytes=pixel_bytes,
        npy_bytes=raw,
        cog_bytes=raw * share * OVERVIEWS,
    )


def count_windows(dims: Any, window: Sequence[int]) -> int:
    """Return how many adjacent windows cover some images.

    The last window of a row or column may overlap its neighbor; an image smaller than a window takes one.

    Args:
        dims: (n, 2) height and width of each image in pixels.
        window: height and width of a window in pixels.

    Example:
        >>> count_windows([(100, 250), (40, 40)], (100, 100))
        4
    """
    counts = -(-np.asarray(dims, np.int64).reshape(-1, 2) // np.asarray(window, np.int64))
    return int(counts.prod(1).sum())


def _count_classes(sampler: CocoSampler, table: AnnotTable) -> dict[str, int]:
    """Return the number of annotations of each category, and of those without one, most frequent first."""
    names = {cid: cat["name"] for cid, cat in sampler.dset.cats.items()}
    counts = Counter(dict.fromkeys(names.values(), 0))
    for cid, count in zip(*np.unique(table.cids, return_counts=True)):
        counts[names.get(int(cid), "without a category")] += int(count)
    return dict(counts.most_common())


def _box_sides(table: AnnotTable) -> Any:
    """Return the (n, 2) widths and heights of the boxes."""
    sides = table.boxes[:, 2:]
    return sides[np.isfinite(sides).all(1)]


def _count_sides(sides: Any) -> dict[int, int]:
    """Return a histogram of the square root of the box area, with a bin for each power of two."""
    roots = np.sqrt(np.maximum(sides, 0).prod(1))
    powers = np.floor(np.log2(np.maximum(roots, 1))).astype(int)
    return {2 ** int(power): int(count) for power, count in zip(*np.unique(powers, return_counts=True))}


def _probe(sampler: CocoSampler, gids: list[Any]) -> tuple[float, float]:
    """Return the bytes per pixel, and the ratio of compressed to uncompressed size, of some images."""
    chosen = gids[:: max(1, math.ceil(len(gids) / PROBES))]
    sizes, raw, packed = [], 0, 0
    for gid in chosen:
        slices = tuple(_central_slice(extent) for extent in sampler.frames.image_dims(gid))
        target = {"gid": gid, "space_slice": slices, "channels": "<all>"}
        pixels = np.ascontiguousarray(sampler.load_sample(target, with_annots=False)["im"])
        sizes.append(pixels.itemsize * pixels.shape[2])
        raw += pixels.nbytes
        packed += len(zlib.compress(_differences(pixels).tobytes(), 6))
    return (float(np.mean(sizes)), packed / raw) if raw else (0.0, 0.0)


def _central_slice(extent: int) -> slice:
    """Return a slice of at most :data:`PROBE_SIDE` pixels in the middle of an axis."""
    start = max(0, (extent - PROBE_SIDE) // 2)
    return slice(start, min(extent, start + PROBE_SIDE))


def _differences(pixels: Any) -> Any:
    """Return each pixel minus its left neighbor, as a TIFF predictor does; floats are returned unchanged."""
    return pixels if pixels.dtype.kind not in "ui" else np.diff(pixels, axis=1, prepend=pixels[:, :1] * 0)
