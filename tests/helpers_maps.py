"""A georeferenced image, a sampler of it, and an oracle for blending windows."""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import rasterio
from helpers_datasets import one_image
from helpers_images import random_pixels, write_tiff
from rasterio.errors import NotGeoreferencedWarning

import ndsampler

#: (height, width) of the image: more than two rows of tiles, and not a multiple of a tile or window.
DIMS = (600, 70)

#: (height, width) of the windows.
WINDOW = (90, 32)

GEOREFERENCE = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)}


def make_sampler(folder: pathlib.Path, pixels: np.ndarray | None = None, **profile: Any) -> Any:
    """Write an image with id 1 and return a sampler of it."""
    pixels = random_pixels("uint8", 3, DIMS, seed=5) if pixels is None else pixels
    path = write_tiff(folder / "image.tif", pixels, **(profile or GEOREFERENCE))
    return ndsampler.CocoSampler(one_image(path, pixels.shape[:2]))


def placed(length: int, size: int, overlap: float) -> list[int]:
    """Return the start of each window along an axis; the last one is moved back to the border."""
    starts = list(range(0, length - size + 1, round(size - size * overlap)))
    return starts if starts[-1] + size == length else [*starts, length - size]


def curve(weights: str, size: int) -> np.ndarray:
    """Return the weights of the pixels along a window, not normalized."""
    middles = np.arange(size) + 0.5
    curves = {
        "hann": (1 - np.cos(2 * np.pi * middles / size)) / 2,
        "linear": np.minimum(middles, size - middles),
        "uniform": np.ones(size),
    }
    return curves[weights]


def blended(
    image: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray],
    window: tuple[int, int] = WINDOW,
    overlap: float = 0.25,
    weights: str = "hann",
) -> np.ndarray:
    """Return the weighted mean of all windows for each pixel, in float64."""
    tops, lefts = (placed(image.shape[axis], window[axis], overlap) for axis in (0, 1))
    weight = np.outer(curve(weights, window[0]), curve(weights, window[1]))[..., None]
    total, weight_sum = 0.0, np.zeros((*image.shape[:2], 1))
    for top in tops:
        for left in lefts:
            where = slice(top, top + window[0]), slice(left, left + window[1])
            values = function(image[where][None])[0].astype(np.float64)
            if np.isscalar(total):
                total = np.zeros((*image.shape[:2], values.shape[2]))
            total[where] += values * weight
            weight_sum[where] += weight
    return total / weight_sum


def read_map(path: str) -> dict[str, Any]:
    """Return the contents of a map: pixels, overviews, georeference and tags."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return _read_map(path)


def _read_map(path: str) -> dict[str, Any]:
    with rasterio.open(path) as file:
        factors = file.overviews(1)
        content = {
            "pixels": file.read().transpose(1, 2, 0),
            "profile": {**file.profile},
            "tags": (file.tags(), file.tags(ns="IMAGE_STRUCTURE"), file.tags(1)),
            "gcps": [(point.row, point.col, point.x, point.y) for point in file.gcps[0]],
        }
    for level in range(len(factors)):
        with rasterio.open(path, overview_level=level) as file:
            content[f"overview {level}"] = file.read()
    return content


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Assert that all contents of two maps are equal."""
    assert first.keys() == second.keys()
    for key, value in first.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, second[key], err_msg=key)
        else:
            assert value == second[key], key
