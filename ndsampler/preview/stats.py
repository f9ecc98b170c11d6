"""What is in a dataset: sizes, classes, boxes, the windows that cover it, and the cache that it needs."""

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

#: Images from which the type of pixels, and how well they compress, is read, and the side of what is read.
PROBES, PROBE_SIDE = 12, 256

#: Pixels of a converted image for one of its own, because of the overviews.
OVERVIEWS = 4 / 3


@dataclass(frozen=True)
class Spread:
    """The smallest, the middle and the largest of some numbers."""

    smallest: float
    """Of all."""
    median: float
    """Half are smaller."""
    largest: float
    """Of all."""

    @classmethod
    def of_values(cls, values: Any) -> Spread | None:
        """Return the spread of some numbers; None for no numbers."""
        if not len(values):
            return None
        low, middle, high = (float(value) for value in np.quantile(np.asarray(values, float), (0, 0.5, 1)))
        return cls(low, middle, high)


@dataclass(frozen=True)
class DatasetStats:
    """What is in a dataset."""

    images: int
    """Number of images."""
    videos: int
    """Number of videos."""
    annotations: int
    """Number of annotations."""
    images_without_annotations: int
    """Images without any."""
    megapixels: float
    """Pixels of all images together, in millions."""
    widths: Spread | None
    """Of the images, in pixels."""
    heights: Spread | None
    """Of the images, in pixels."""
    classes: dict[str, int]
    """Annotations of each category, the most frequent first."""
    box_widths: Spread | None
    """Of the boxes, in pixels of the image."""
    box_heights: Spread | None
    """Of the boxes, in pixels of the image."""
    box_sides: dict[int, int]
    """Boxes by the square root of their area: those from a power of two up to the next."""
    window: tuple[int, int]
    """Height and width of the windows that are counted."""
    windows: int
    """Windows of a grid without overlap that covers all images."""
    pixel_bytes: float
    """Bytes for a pixel with all its channels, as read from some images."""
    npy_bytes: float
    """Expected size of a cache of npy files."""
    cog_bytes: float
    """Expected size of a cache of cloud-optimized GeoTIFFs; a rough estimate from parts of some images."""

    def to_json(self) -> dict[str, Any]:
        """Return all numbers as JSON."""
        sides = {str(side): count for side, count in self.box_sides.items()}
        return {**asdict(self), "box_sides": sides, "window": list(self.window)}


def dataset_stats(sampler: CocoSampler, window_dims: Sequence[int] | None = None) -> DatasetStats:
    """Count what is in a dataset.

    Args:
        sampler: of the dataset.
        window_dims: (height, width) of the windows to count; by default a size that suits the annotations.

    Raises:
        SourceError: if a size is not stated and its file cannot be read.
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
    """Return how many windows side by side cover some images.

    The last window of a row or column overlaps its neighbour; an image smaller than a window takes one.

    Args:
        dims: (n, 2) height and width of each image.
        window: height and width of a window.

    Example:
        >>> count_windows([(100, 250), (40, 40)], (100, 100))
        4
    """
    counts = -(-np.asarray(dims, np.int64).reshape(-1, 2) // np.asarray(window, np.int64))
    return int(counts.prod(1).sum())


def _count_classes(sampler: CocoSampler, table: AnnotTable) -> dict[str, int]:
    """Return the annotations of each category, those without any included, the most frequent first."""
    names = {cid: cat["name"] for cid, cat in sampler.dset.cats.items()}
    counts = Counter(dict.fromkeys(names.values(), 0))
    for cid, count in zip(*np.unique(table.cids, return_counts=True)):
        counts[names.get(int(cid), "without a category")] += int(count)
    return dict(counts.most_common())


def _box_sides(table: AnnotTable) -> Any:
    """Return (n, 2) width and height of each box."""
    sides = table.boxes[:, 2:]
    return sides[np.isfinite(sides).all(1)]


def _count_sides(sides: Any) -> dict[int, int]:
    """Return how many boxes have the square root of their area between each power of two and the next."""
    roots = np.sqrt(np.maximum(sides, 0).prod(1))
    powers = np.floor(np.log2(np.maximum(roots, 1))).astype(int)
    return {2 ** int(power): int(count) for power, count in zip(*np.unique(powers, return_counts=True))}


def _probe(sampler: CocoSampler, gids: list[Any]) -> tuple[float, float]:
    """Return the bytes of a pixel, and the share of them that is left after compression, of some images."""
    chosen = gids[:: max(1, math.ceil(len(gids) / PROBES))]
    sizes, raw, packed = [], 0, 0
    for gid in chosen:
        slices = tuple(_middle(extent) for extent in sampler.frames.image_dims(gid))
        target = {"gid": gid, "space_slice": slices, "channels": "<all>"}
        pixels = np.ascontiguousarray(sampler.load_sample(target, with_annots=False)["im"])
        sizes.append(pixels.itemsize * pixels.shape[2])
        raw += pixels.nbytes
        packed += len(zlib.compress(_differences(pixels).tobytes(), 6))
    return (float(np.mean(sizes)), packed / raw) if raw else (0.0, 0.0)


def _middle(extent: int) -> slice:
    """Return a slice of at most the side of a probe in the middle of a number of pixels."""
    start = max(0, (extent - PROBE_SIDE) // 2)
    return slice(start, min(extent, start + PROBE_SIDE))


def _differences(pixels: Any) -> Any:
    """Return each pixel less its left neighbour, which is what a TIFF compresses; floats as they are."""
    return pixels if pixels.dtype.kind not in "ui" else np.diff(pixels, axis=1, prepend=pixels[:, :1] * 0)
