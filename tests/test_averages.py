"""Overviews that are averaged without GDAL equal those of GDAL, and TIFFs in memory hold their arrays."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import rasterio
from helpers_images import quiet_rasterio, random_pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.enums import Resampling
from rasterio.io import MemoryFile

from ndsampler.backends import averages, gdal_write, make_backend
from ndsampler.backends.averages import fill_averages
from ndsampler.backends.memory_tiff import MemoryTiff
from ndsampler.backends.recording import RecordedSource
from ndsampler.backends.source import ArrayReader
from ndsampler.errors import CacheError

DTYPES = ["uint8", "uint16"]

#: Sizes whose overviews are all half the size of the one before, some of them, and none.
SIZES = [(256, 384), (540, 960), (511, 777)]


def overviews_by_gdal(pixels: np.ndarray) -> list[np.ndarray]:
    """Return the overviews that GDAL builds."""
    height, width, channels = pixels.shape
    factors = [factor for factor in (2**n for n in range(1, 20)) if max(height, width) / factor > 64]
    dims = [(-(-height // factor), -(-width // factor)) for factor in factors]
    profile = {"height": height, "width": width, "count": channels, "dtype": pixels.dtype, "alpha": "NO"}
    with (
        quiet_rasterio(),
        MemoryFile() as file,
        file.open(driver="GTiff", photometric="MINISBLACK", **profile) as written,
    ):
        written.write(pixels.transpose(2, 0, 1))
        # Each from the image itself, not from the overview before, which has been rounded.
        return [
            written.read(out_shape=(channels, *each), resampling=Resampling.average).transpose(1, 2, 0)
            for each in dims
        ]


def read_levels(path: str) -> list[np.ndarray]:
    """Return the image of a file, and its overviews."""
    levels = []
    with quiet_rasterio():
        with rasterio.open(path) as file:
            levels.append(file.read().transpose(1, 2, 0))
            count = len(file.overviews(1))
        for level in range(count):
            with rasterio.open(path, overview_level=level) as file:
                levels.append(file.read().transpose(1, 2, 0))
    return levels


def exact_average(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Return the averages of squares of pixels, rounded up from one half."""
    height, width, channels = pixels.shape
    squares = pixels.astype(object).reshape(height // factor, factor, width // factor, factor, channels)
    sums = squares.sum(axis=(1, 3))
    return ((2 * sums + factor**2) // (2 * factor**2)).astype(pixels.dtype)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(DTYPES),
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=3),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_averages_are_exact_and_rounded_once(dtype, shape, count, random):
    height, width, channels = shape
    largest = np.iinfo(dtype).max
    rng = np.random.default_rng(random.randrange(2**32))
    low = rng.choice([0, largest - 3])
    image = rng.integers(
        low, largest, (height << count, width << count, channels), dtype=dtype, endpoint=True
    )
    levels = [image] + [np.zeros((height << n, width << n, channels), dtype) for n in reversed(range(count))]
    assert fill_averages(levels) == count
    for level, found in enumerate(levels[1:], 1):
        np.testing.assert_array_equal(found, exact_average(image, 2**level))


@pytest.mark.parametrize("dtype", DTYPES)
def test_averages_over_very_large_squares_are_exact(dtype):
    image = np.full((2**11, 2**10, 1), np.iinfo(dtype).max, dtype)
    image[:1024, :512] -= np.random.default_rng(0).integers(0, 2, (1024, 512, 1), dtype=dtype)
    levels = [image] + [np.zeros((2 ** (11 - n), 2 ** (10 - n), 1), dtype) for n in range(1, 11)]
    assert fill_averages(levels) == 10
    for level in (4, 5, 8, 9, 10):
        np.testing.assert_array_equal(levels[level], exact_average(image, 2**level))


def test_a_side_that_is_not_halved_ends_the_averages():
    levels = [np.zeros((height, 8, 1), np.uint8) for height in (12, 6, 3, 2)]
    levels = [level[:, : max(8 >> n, 1)] for n, level in enumerate(levels)]
    assert fill_averages(levels) == 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("size", "channels"), [*zip(SIZES, [3, 1, 4], strict=True)])
def test_the_overviews_of_an_entry_are_those_of_gdal(size, channels, dtype, tmp_path):
    pixels = random_pixels(dtype, channels, size)
    source = RecordedSource(ArrayReader(pixels))
    make_backend("cog").convert(source, str(tmp_path / "entry.tif"))
    found = read_levels(str(tmp_path / "entry.tif"))
    for level, expected in zip(found, [pixels, *overviews_by_gdal(pixels)], strict=True):
        np.testing.assert_array_equal(level, expected)
    assert [overview.dims for overview in source.made_overviews] == [level.shape[:2] for level in found[1:]]


@pytest.mark.parametrize(
    "reader",
    [
        lambda pixels: ArrayReader(pixels, 0),
        lambda pixels: ArrayReader(pixels, mask=pixels[..., :1] > 0),
    ],
    ids=["nodata", "mask"],
)
def test_missing_pixels_are_left_out_of_overviews(reader, tmp_path):
    pixels = np.full((300, 400, 1), 200, np.uint8)
    pixels[::2, ::2] = 0
    make_backend("cog").convert(RecordedSource(reader(pixels)), str(tmp_path / "entry.tif"))
    assert [np.unique(level).tolist() for level in read_levels(str(tmp_path / "entry.tif"))[1:]] == [
        [200],
        [200],
    ]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_a_file_in_memory_holds_its_arrays(channels, dtype):
    sizes = [(200, 131), (100, 66), (50, 33)]
    with MemoryTiff([(*size, channels) for size in sizes], np.dtype(dtype)) as file:
        expected = [random_pixels(dtype, channels, size) for size in sizes]
        for level, pixels in zip(file.levels, expected, strict=True):
            level[:] = pixels
        with file.open() as dataset:
            assert dataset.overviews(1) == [2, 4]
            for size, pixels in zip(sizes, expected, strict=True):
                found = dataset.read(out_shape=(channels, *size)).transpose(1, 2, 0)
                np.testing.assert_array_equal(found, pixels)
            assert all(interp.name != "alpha" for interp in dataset.colorinterp)
        with file.open(overviews=False) as dataset:
            assert dataset.overviews(1) == []
    assert file.levels == []


def test_an_overview_that_is_encoded_wrongly_is_noticed(tmp_path, monkeypatch):
    from ndsampler.cache.comparison import compare_entry

    def fill_and_record(levels):
        count = averages_of(levels)
        monkeypatch.setattr(RecordedSource, "record_overview", record_and_change)
        return count

    def record_and_change(self, overview):
        record(self, overview)
        with contextlib.suppress(ValueError):
            overview.rows(0, 1)[:] += 1

    averages_of, record = averages.fill_averages, RecordedSource.record_overview
    monkeypatch.setattr(gdal_write.averages, "fill_averages", fill_and_record)
    source, backend = RecordedSource(ArrayReader(random_pixels("uint8", 3, (256, 256)))), make_backend("cog")
    backend.convert(source, str(tmp_path / "entry.tif"))
    with pytest.raises(CacheError, match="overview 1 differs"):
        compare_entry(source, str(tmp_path / "entry.tif"), backend)
