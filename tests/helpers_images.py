"""Tiny image files of every kind that is sampled, with their expected pixels."""

from __future__ import annotations

import contextlib
import pathlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rasterio
from helpers_optional import import_optional
from rasterio.errors import NotGeoreferencedWarning

#: (height, width) of test images: not square, not a multiple of a tile, and several tiles.
DIMS = (90, 151)

HEIGHT, WIDTH = DIMS

#: Windows: corners, borders, single pixels, rows, columns, blocks across tiles, the whole image, and empty
#: ones.
WINDOWS = (
    (0, HEIGHT, 0, WIDTH),
    (0, 1, 0, 1),
    (HEIGHT - 1, HEIGHT, WIDTH - 1, WIDTH),
    (0, 17, WIDTH - 9, WIDTH),
    (HEIGHT - 7, HEIGHT, 0, 33),
    (31, 33, 31, 65),
    (40, 41, 0, WIDTH),
    (0, HEIGHT, 77, 78),
    (16, 80, 32, 96),
    (5, 5, 0, WIDTH),
    (0, HEIGHT, 9, 9),
)

DTYPES = ("uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def random_pixels(
    dtype: str = "uint8", channels: int = 3, dims: tuple[int, int] = DIMS, seed: int = 0
) -> np.ndarray:
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
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": channels,
        "dtype": pixels.dtype.name,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **{**profile, **options}) as file:
            file.write(pixels.transpose(2, 0, 1))
    return path


def _tiled(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    return write_tiff(
        path / "tiled.tif", pixels, tiled=True, blockxsize=32, blockysize=32, compress="deflate"
    )


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


#: Ways to write a file with any pixel type and number of bands.
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

    gray = pixels.shape[2] == 1
    kwimage.imwrite(path, pixels[:, :, 0] if gray else pixels, space=None if gray else "auto")
    return path


def write_pillow(path: pathlib.Path, image: Any, **options: Any) -> pathlib.Path:
    """Write a Pillow image, or pixels, with Pillow."""
    from PIL import Image

    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image)
    image.save(path, **options)
    return path


def paletted(colors: int = 20) -> Any:
    """Return an indexed Pillow image."""
    from PIL import Image

    return Image.fromarray(random_pixels()).convert("P", palette=Image.Palette.ADAPTIVE, colors=colors)


def imread(path: pathlib.Path) -> np.ndarray:
    """Read an image with kwimage, and add a channel axis if there is none."""
    import kwimage

    pixels = kwimage.imread(path)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


#: A function that writes a file and returns its path and the expected pixels.
Case = Callable[[pathlib.Path], tuple[pathlib.Path, np.ndarray]]


def _plain_case(writer: str, dtype: str, channels: int) -> Case:
    def make(folder: pathlib.Path) -> tuple[pathlib.Path, np.ndarray]:
        pixels = random_pixels(dtype, channels)
        return WRITERS[writer](folder, pixels), pixels

    return make


def _png_case(dtype: str, channels: int) -> Case:
    def make(folder: pathlib.Path) -> tuple[pathlib.Path, np.ndarray]:
        pixels = random_pixels(dtype, channels)
        return write_png(folder / "image.png", pixels), pixels

    return make


def _pillow_case(name: str, image: Callable[[], Any], **options: Any) -> Case:
    def make(folder: pathlib.Path) -> tuple[pathlib.Path, np.ndarray]:
        path = write_pillow(folder / name, image(), **options)
        return path, imread(path)

    return make


def _paletted_tiff(folder: pathlib.Path) -> tuple[pathlib.Path, np.ndarray]:
    image = paletted()
    return write_pillow(folder / "palette.tif", image), np.asarray(image.convert("RGBA"))


def _nan_tiff(folder: pathlib.Path) -> tuple[pathlib.Path, np.ndarray]:
    pixels = random_pixels("float32", 2)
    pixels[::3, ::2] = np.nan
    pixels[5, 5], pixels[6, 6] = np.inf, -0.0
    return write_tiff(folder / "nan.tif", pixels, nodata=float("nan")), pixels


def _jpeg_tiff(folder: pathlib.Path) -> tuple[pathlib.Path, np.ndarray]:
    options = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "jpeg", "photometric": "ycbcr"}
    path = write_tiff(folder / "jpeg.tif", random_pixels(), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return path, file.read().transpose(1, 2, 0)


def _page_stack(channels: int, **options: Any) -> Case:
    def make(folder: pathlib.Path) -> tuple[pathlib.Path, np.ndarray]:
        tifffile = import_optional("tifffile")
        pixels = random_pixels("uint16", channels)
        tifffile.imwrite(folder / "pages.tif", pixels, **options)
        return folder / "pages.tif", pixels

    return make


def _npy_case(change: Callable[[np.ndarray], np.ndarray]) -> Case:
    def make(folder: pathlib.Path) -> tuple[pathlib.Path, np.ndarray]:
        pixels = random_pixels("uint16", 3)
        path = folder / "array.npy"
        stored = change(pixels)
        np.save(path, stored)
        shaped = stored.reshape(*stored.shape[:2], -1)
        return path, shaped.astype(shaped.dtype.newbyteorder("="))

    return make


def _exif() -> Any:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


#: Every kind of file: TIFF and .npy of all types, many numbers of bands, and features of single formats.
CASES: dict[str, Case] = {
    **{
        f"{writer}, {dtype} x {channels}": _plain_case(writer, dtype, channels)
        for writer in WRITERS
        for dtype in DTYPES
        for channels in (1, 3, 4, 13)
    },
    **{
        f"png, {dtype} x {channels}": _png_case(dtype, channels)
        for dtype in ("uint8", "uint16")
        for channels in (1, 3, 4)
    },
    "png, gray and alpha": _pillow_case("la.png", lambda: random_pixels("uint8", 2)),
    "png, palette": _pillow_case("palette.png", paletted),
    "png, palette with a transparent color": _pillow_case("palette.png", paletted, transparency=3),
    "png, 1 bit": _pillow_case("bits.png", lambda: random_pixels("uint8", 1)[..., 0] > 99),
    "png, in capitals": _pillow_case("IMAGE.PNG", random_pixels),
    "jpeg, color": _pillow_case("color.jpg", random_pixels),
    "jpeg, gray": _pillow_case("gray.jpeg", lambda: random_pixels("uint8", 1)),
    "jpeg, progressive": _pillow_case("color.jpg", random_pixels, progressive=True, quality=95),
    "jpeg, with an orientation tag": _pillow_case("turned.jpg", random_pixels, exif=_exif()),
    "bmp": _pillow_case("image.bmp", random_pixels),
    "webp": _pillow_case("image.webp", random_pixels, lossless=True),
    "ppm": _pillow_case("image.ppm", random_pixels),
    "tiff, palette": _paletted_tiff,
    "tiff, NaN": _nan_tiff,
    "tiff, jpeg in tiles": _jpeg_tiff,
    "tiff, 2 channels as a stack of pages": _page_stack(2),
    "tiff, 5 channels as a stack of pages": _page_stack(5),
    "tiff, 5 channels as a stack of pages in tiles": _page_stack(5, tile=(16, 16)),
    "npy, fortran order": _npy_case(np.asfortranarray),
    "npy, big endian": _npy_case(lambda pixels: pixels.astype(">u2")),
    "npy, two axes": _npy_case(lambda pixels: pixels[:, :, 0].copy()),
}


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")


@contextlib.contextmanager
def quiet_rasterio() -> Iterator[None]:
    """Suppress the warning about missing georeferencing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
