"""Images of many channels, and TIFFs of many pages: read in time that grows with their number, or refused."""

from __future__ import annotations

import cProfile
import os
import pathlib
import struct
import tracemalloc

import numpy as np
import pytest
import rasterio
from helpers_cache import each_backend
from helpers_images import assert_same, quiet_rasterio, random_pixels, write_tiff

from ndsampler.abstract_frames import SimpleFrames
from ndsampler.backends import gdal
from ndsampler.backends.cog import MAX_TILE_BYTES
from ndsampler.backends.dims import read_dims
from ndsampler.backends.formats import tiff_header
from ndsampler.backends.formats.tiff_header import Page
from ndsampler.backends.formats.tiff_writers import read_stack
from ndsampler.backends.source import open_source
from ndsampler.errors import SourceError
from ndsampler.utils.limits import Limits, get_limits, set_limits

SIDE = 8

#: What each page of a chain states: 8 x 8 gray pixels, which all pages share.
GRAY = {256: SIDE, 257: SIDE, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: SIDE, 279: SIDE * SIDE}

#: What a page states that is a reduced version of the first.
REDUCED = {254: 1, 256: SIDE // 2, 257: SIDE // 2, 278: SIDE // 2, 279: SIDE * SIDE // 4}


def write_chain(path: pathlib.Path, pages: list[dict[int, int]]) -> pathlib.Path:
    """Write a TIFF of pages that share the pixels 0 to 63; each page may state other values."""
    data, start = b"", 8 + SIDE * SIDE
    for number, more in enumerate(pages, 1):
        tags = sorted({**GRAY, **more}.items())
        body = b"".join(
            struct.pack("<HHII", tag, 2 if tag == 270 else 4, *_entry(value)) for tag, value in tags
        )
        following = start + len(data) + 6 + len(body) if number < len(pages) else 0
        data += struct.pack("<H", len(tags)) + body + struct.pack("<I", following)
    path.write_bytes(b"II*\0" + struct.pack("<I", start) + bytes(range(SIDE * SIDE)) + data)
    return path


def _entry(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return length and value of a tag."""
    return value if isinstance(value, tuple) else (1, value)


@pytest.fixture(name="limit")
def fixture_limit():
    """Set limits for one test."""
    before = get_limits()
    yield set_limits
    set_limits(before)


@pytest.mark.parametrize("interleave", ["band", "pixel"])
@pytest.mark.parametrize("backend", [None, "npy"])
def test_a_window_of_very_many_channels_is_read(backend, interleave, tmp_path):
    pixels = np.arange(8_000, dtype=np.uint16)[None, None] + np.arange(16, dtype=np.uint16).reshape(4, 4, 1)
    path = write_planes(tmp_path / "a.tif", pixels) if interleave == "band" else None
    path = path or write_contiguous(tmp_path / "a.tif", pixels)
    frames = SimpleFrames({1: str(path)}, tmp_path / "work", backend)
    for _ in range(3):
        assert_same(frames.load_region(1, (slice(1, 3), slice(0, 2))), pixels[1:3, :2])
    assert_same(frames.load_image(1), pixels)
    assert_same(
        frames.load_region(1, (slice(1, 3), slice(0, 2), slice(7_998, None))), pixels[1:3, :2, 7_998:]
    )


@pytest.mark.parametrize("backend", [None, "npy"])
def test_a_channel_more_takes_a_fixed_number_of_calls(backend, tmp_path):
    def count(channels: int) -> int:
        folder = tmp_path / f"{channels}"
        folder.mkdir()
        pixels = np.zeros((4, 4, channels), np.uint16)
        frames = SimpleFrames({1: str(write_planes(folder / "a.tif", pixels))}, folder / "work", backend)
        profile = cProfile.Profile()
        profile.runcall(lambda: (frames.load_region(1, (slice(1, 3), slice(0, 2))), frames.load_image(1)))
        return sum(entry.callcount for entry in profile.getstats())

    count(10)
    few, more = count(700), count(1400)
    assert more < 2.2 * few


def write_planes(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    """Write each channel as a plane of one page."""
    return _write_page(path, pixels.transpose(2, 0, 1), pixels.shape, 2)


def write_contiguous(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    """Write the channels of each pixel beside each other."""
    return _write_page(path, pixels, pixels.shape, 1)


def _write_page(path: pathlib.Path, stored: np.ndarray, shape: tuple[int, ...], planar: int) -> pathlib.Path:
    """Write a TIFF of one page by hand: GDAL writes so many channels slowly."""
    height, width, channels = shape
    out = bytearray(b"II*\0" + bytes(4))

    def put(values: np.ndarray) -> int:
        at = len(out)
        out.extend(values.tobytes())
        return at

    start = put(np.ascontiguousarray(stored))
    count = channels if planar == 2 else 1
    size = stored.nbytes // count
    tags = {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, channels, put(np.full(channels, 16, np.uint16))),
        259: (3, 1, 1),
        262: (3, 1, 1),
        273: (4, count, put(start + size * np.arange(count, dtype=np.uint32)) if count > 1 else start),
        277: (3, 1, channels),
        278: (4, 1, height),
        279: (4, count, put(np.full(count, size, np.uint32)) if count > 1 else size),
        284: (3, 1, planar),
        338: (3, channels - 1, put(np.zeros(channels, np.uint16))),
        339: (3, channels, put(np.ones(channels, np.uint16))),
    }
    out[4:8] = struct.pack("<I", len(out))
    out += struct.pack("<H", len(tags))
    for tag, (kind, length, value) in tags.items():
        out += struct.pack("<HHII", tag, kind, length, value)
    path.write_bytes(bytes(out) + bytes(4))
    return path


def test_what_each_read_asks_for_is_computed_once(tmp_path):
    path = write_tiff(tmp_path / "a.tif", random_pixels())
    with gdal.open_dataset(str(path)) as dataset, quiet_rasterio(), rasterio.open(path) as plain:
        for name in ("indexes", "dtypes", "mask_flag_enums"):
            assert getattr(dataset, name) is getattr(dataset, name)
            assert tuple(getattr(dataset, name)) == tuple(getattr(plain, name))


def test_tiles_of_an_entry_of_many_channels_are_smaller(tmp_path):
    pixels = random_pixels("uint16", 2100, (20, 50))
    path = write_planes(tmp_path / "a.tif", pixels)
    frames = SimpleFrames({1: str(path)}, tmp_path / "work", "cog")
    assert_same(frames.load_region(1, (slice(3, 9), slice(30, 50))), pixels[3:9, 30:])
    (entry,) = (tmp_path / "work").rglob("*.cog.tiff")
    with gdal.open_entry(str(entry)) as dataset:
        ((rows, cols),) = set(dataset.block_shapes)
    assert rows == cols
    assert rows * cols * pixels.shape[2] * pixels.itemsize <= MAX_TILE_BYTES


@each_backend
class TestPages:
    def test_pages_up_to_the_limit_are_channels(self, backend, limit, tmp_path):
        path = write_chain(tmp_path / "a.tif", [{}] * 5)
        limit(Limits(pages=5))
        frames = SimpleFrames({1: str(path)}, tmp_path / "work", backend)
        expected = np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8, 1), 5, axis=2)
        assert_same(frames.load_region(1), expected)

    @pytest.mark.parametrize("limits", [Limits(pages=4), Limits(bands=4)])
    def test_more_pages_than_the_limit_are_an_error(self, backend, limits, limit, tmp_path):
        path = write_chain(tmp_path / "a.tif", [{}] * 5)
        limit(limits)
        frames = SimpleFrames({1: str(path)}, tmp_path / "work", backend)
        for read in (frames.load_region, frames.load_image):
            with pytest.raises(SourceError, match="the limit (pages|bands) is 4"):
                read(1)

    @pytest.mark.parametrize("beside", ["", ".ovr", ".msk"])
    def test_more_reduced_versions_than_the_limit_are_an_error(self, backend, beside, tmp_path):
        pages = [{}] + [REDUCED] * (Limits().pages + 1)
        path = write_chain(tmp_path / f"a.tif{beside}", pages)
        if beside:
            path = write_chain(tmp_path / "a.tif", [{}])
        frames = SimpleFrames({1: str(path)}, tmp_path / "work", backend)
        with pytest.raises(SourceError, match="the limit pages is 2048"):
            frames.load_region(1)


def test_a_chain_that_repeats_itself_ends(tmp_path):
    path = write_chain(tmp_path / "a.tif", [{}] * 4)
    data = bytearray(path.read_bytes())
    data[-4:] = data[4:8]
    path.write_bytes(data)
    assert open_source(str(path)).shape == (8, 8, 4)


@pytest.mark.parametrize(
    "more", [{270: (2**16, 10_000)}, {330: (4096, 100_000)}], ids=["descriptions", "pages below"]
)
def test_directories_that_share_their_values_are_an_error(more, monkeypatch, tmp_path):
    monkeypatch.setattr(tiff_header, "MAX_BYTES", 2**18)
    path = write_chain(tmp_path / "a.tif", [{}] + [more] * 20)
    os.truncate(path, 200_000)
    for opener in (read_dims, open_source):
        with pytest.raises(SourceError, match="its directories list more than"):
            opener(str(path))


def test_a_long_description_without_text_takes_little_memory(tmp_path):
    path = write_chain(tmp_path / "a.tif", [{270: (2**24, 10_000)}])
    os.truncate(path, 2**24 + 10_000)
    tracemalloc.start()
    try:
        assert read_dims(str(path)) == (SIDE, SIDE)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        '{"shape": [' + "1, " * 500_000 + "8, 8]}",
        '{"shape": [' + f"{'9' * 4000}, " * 2000 + "8, 8]}",
        "ImageJ=1\nimages=4\nframes=" + "9" * 4000 + "\nslices=" + "9" * 4000,
    ],
    ids=["axes", "sizes", "ImageJ"],
)
def test_a_description_of_an_absurd_array_says_nothing(text):
    assert read_stack([Page(1, 8, 8, 8, description=text), Page(2, 9, 8, 8)]) is None
