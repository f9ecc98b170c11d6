"""The image files of the benchmarks: making their pixels, writing and decoding them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

#: Wavelengths in pixels and their amplitudes. With :data:`NOISE`, the images take about
#: 0.38 bytes per value as ZSTD 1 with predictor in blocks of 128, like photographs.
TEXTURE = ((512, 25.0), (64, 20.0), (8, 4.0))
NOISE = 0.8


def texture(size: int, seed: int) -> np.ndarray:
    """Return an RGB image that compresses like a photograph.

    Args:
        size: number of rows and columns.
        seed: seed of the pattern.

    Returns:
        uint8 array of shape (size, size, 3).
    """
    import cv2

    rng = np.random.default_rng(seed)
    out = np.full((size, size, 3), 110, dtype=np.float32)
    for wavelength, strength in TEXTURE:
        cells = max(size // wavelength, 2)
        low = rng.standard_normal((cells, cells, 3)).astype(np.float32) * strength
        out += cv2.resize(low, (size, size), interpolation=cv2.INTER_CUBIC)
    out += rng.standard_normal((size, size, 1)).astype(np.float32) * NOISE
    return np.clip(out, 0, 255).astype(np.uint8)


def write_geotiff(fpath: Path, pixels: np.ndarray, **options: Any) -> None:
    """Write (h, w, 3) pixels with GDAL; ``options`` are creation options."""
    import rasterio

    height, width, bands = pixels.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(
            fpath,
            "w",
            driver="GTiff",
            width=width,
            height=height,
            count=bands,
            dtype=pixels.dtype,
            interleave="pixel",
            **options,
        ) as file:
            file.write(pixels.transpose(2, 0, 1))


#: Creation options for GDAL that give the layout of cache entries.
ENTRY_LAYOUT = {
    **{"tiled": True, "blockxsize": 128, "blockysize": 128},
    **{"compress": "ZSTD", "zstd_level": 1, "predictor": 2},
}

#: Formats of the sources, each with its creation options for GDAL.
SOURCES: dict[str, dict[str, Any] | None] = {
    "png": None,
    "tiled": {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "DEFLATE", "predictor": 2},
    "deflate": {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "DEFLATE", "predictor": 2},
    "striped": {"compress": "DEFLATE", "predictor": 2, "blockysize": 16},
    "zstd": ENTRY_LAYOUT,
    "pyramid": ENTRY_LAYOUT,
}

#: The formats whose files have overviews.
WITH_OVERVIEWS = ("pyramid",)


def write_source(fpath: Path, kind: str, pixels: np.ndarray) -> None:
    """Write (h, w, 3) pixels in one of the formats of :data:`SOURCES`."""
    import cv2

    options = SOURCES[kind]
    if options is None:
        cv2.imwrite(str(fpath), pixels[..., ::-1])
    else:
        write_geotiff(fpath, pixels, **options)
    if kind in WITH_OVERVIEWS:
        build_overviews(fpath)


def build_overviews(fpath: Path) -> None:
    """Add averages of 2, 4, 8 and 16 pixels to a GeoTIFF."""
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(fpath, "r+") as file:
            file.build_overviews([2, 4, 8, 16], rasterio.enums.Resampling.average)


def decode(fpath: Path) -> np.ndarray:
    """Return a whole image as RGB, decoded by OpenCV."""
    import cv2

    rgb = getattr(cv2, "IMREAD_COLOR_RGB", None)
    if rgb is not None:
        return cv2.imread(str(fpath), rgb)
    return cv2.cvtColor(cv2.imread(str(fpath)), cv2.COLOR_BGR2RGB)
