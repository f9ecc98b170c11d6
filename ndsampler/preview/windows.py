"""Draws the windows of a grid on the image that they cover."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ndsampler.errors import ArgumentError
from ndsampler.preview.drawing import Drawing, corners_of
from ndsampler.preview.sample import rgb_of
from ndsampler.sampling.resolve import resolve_region
from ndsampler.sampling.target import normalize_target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ndsampler.coco_sampler import CocoSampler
    from ndsampler.preview.sample import Bands

#: Colors of windows with and without annotations.
POSITIVE, NEGATIVE = (255, 255, 255), (120, 124, 130)

#: Distance in pixels by which a window's outline is drawn inside its edges.
INSET = 1.5


def draw_windows(
    sampler: CocoSampler, grid: Mapping[str, Any], side: int, bands: Bands, keys: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """Load the image with the most windows that contain annotations, and draw all windows of a grid on it.

    Args:
        sampler: sampler of the dataset.
        grid: a grid that ``new_sample_grid`` has returned.
        side: longer side of the picture in pixels; less if the image is smaller.
        bands: the channels to show: see :func:`ndsampler.preview.draw_sample`.
        keys: further keys of the target that loads the image.

    Returns:
        A sample of the image with its boxes and with the windows drawn on its pixels, and its caption.

    Raises:
        ArgumentError: if the grid has no windows.
    """
    targets = grid["targets"]
    if not len(targets):
        raise ArgumentError("the grid has no windows to show; use smaller window_dims")
    positives = set(grid["positives_indexes"])
    image = _image_with_most_positives(targets, positives)
    shown = [
        (index in positives, target) for index, target in enumerate(targets) if _image_of(target) == image
    ]
    whole = _whole_image(image)
    _, resolved = resolve_region(normalize_target(whole, sampler.dset), sampler.frames)
    scale = min(1.0, side / max(resolved["space_dims"]))
    sample = sampler.load_sample({**whole, **keys, "scale": scale}, with_annots="boxes")
    pixels = _draw(rgb_of(sample, 0, bands), shown, scale)
    return {**sample, "im": pixels, "params": {}}, _describe(whole, resolved["space_dims"], shown)


def _image_with_most_positives(targets: Sequence[Any], positives: set[int]) -> tuple[Any, ...]:
    """Return the image with the most windows that contain annotations; the first image if there are none."""
    counts = Counter(_image_of(targets[index]) for index in sorted(positives))
    return counts.most_common(1)[0][0] if counts else _image_of(targets[0])


def _image_of(target: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return a key for the image of a target: its image id, or its video id and first frame."""
    if "vidid" in target:
        return (target["vidid"], target["time_slice"].start)
    return (target["gid"],)


def _whole_image(image: tuple[Any, ...]) -> dict[str, Any]:
    """Return a target of a whole image, or of one frame of a video."""
    if len(image) == 1:
        return {"gid": image[0]}
    vidid, start = image
    return {"vidid": vidid, "time_slice": slice(start, start + 1)}


def _draw(rgb: NDArray[np.uint8], shown: list[tuple[bool, Any]], scale: float) -> NDArray[np.uint8]:
    """Draw windows on the picture of a whole image, and return it."""
    corners = {
        holds: [_box(target, scale) for positive, target in shown if positive == holds]
        for holds in (False, True)
    }
    drawing = Drawing(rgb, 1.0)
    drawing.polygons([([box], POSITIVE) for box in corners[True]])
    drawing.outlines(corners[False], NEGATIVE)
    drawing.outlines(corners[True], POSITIVE)
    return rgb


def _box(target: Mapping[str, Any], scale: float) -> NDArray[np.float64]:
    """Return the corners of a window on a picture, slightly inside its edges to separate neighbors."""
    rows, columns = target["space_slice"] if "space_slice" in target else target["slices"][-2:]
    top, bottom, left, right = (scale * edge for edge in (rows.start, rows.stop, columns.start, columns.stop))
    return corners_of((left + INSET, top + INSET, right - INSET, bottom - INSET))


def _describe(whole: Mapping[str, Any], dims: Sequence[int], shown: list[tuple[bool, Any]]) -> str:
    """Return a line with the number of windows and the number of windows that contain annotations."""
    what = f"image {whole['gid']}" if "gid" in whole else f"video {whole['vidid']}"
    count = sum(positive for positive, _ in shown)
    size = f"{dims[1]} x {dims[0]} pixels"
    return f"{what} of {size} | {len(shown):,} windows | white: the {count:,} that contain annotations"
