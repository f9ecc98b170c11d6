"""Tiny image files of every kind that is sampled, each with the pixels that it must read as."""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning

#: Rows and columns of test images: not square, no multiple of a tile, several tiles.
DIMS = (90, 151)

DTYPES = ("uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def random_pixels(dtype: str = "uint8", channels: int = 3, dims: tuple[int, int] = DIMS, seed: int = 0) -> np.ndarray:
    """Return (height, width, channels) values from the whole range of a type."""
    rng = np.random.default_rng([seed, channels])
    shape = (*dims, channels)
    if np.dtype(dtype).kind == "f":
        return rng.normal(scale=1000, size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, size=shape, dtype=dtype, endpoint=True)


def write_tiff(path: pathlib.Path, pixels: np.ndarray, **options: Any) -> pathlib.Path:
    """Write (height, width, channels) pixels as a TIFF."""
    height, width, channels = pixels.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": channels, "dtype": pixels.dtype.name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **{**profile, **options}) as file:
            file.write(pixels.transpose(2, 0, 1))
    return path


def _tiled(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    return write_tiff(path / "tiled.tif", pixels, tiled=True, blockxsize=32, blockysize=32, compress="deflate")


def _striped(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    return write_tiff(path / "striped.tif", pixels, blockysize=7, compress="lzw")


def _one_strip(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    return write_tiff(path / "one_strip.tif", pixels, blockysize=pixels.shape[0], compress="deflate")


def _by_band(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    return write_tiff(path / "by_band.tif", pixels, interleave="band")


def _bigtiff(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    return write_tiff(path / "big.tif", pixels, BIGTIFF="YES", tiled=True, blockxsize=16, blockysize=16)


def _npy(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    np.save(path / "array.npy", pixels)
    return path / "array.npy"


#: Ways to write a file that holds any type and any number of bands.
WRITERS: dict[str, Callable[[pathlib.Path, np.ndarray], pathlib.Path]] = {
    "tiled tiff": _tiled,
    "striped tiff": _striped,
    "one-strip tiff": _one_strip,
    "band-interleaved tiff": _by_band,
    "bigtiff": _bigtiff,
    "npy": _npy,
}


def write_png(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    """Write 8 or 16 bit pixels of 1, 3 or 4 channels as a PNG."""
    import kwimage

    kwimage.imwrite(path, pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, space=None if pixels.shape[2] == 1 else "auto")
    return path
