"""A new entry is read back whole: damage in any block between writing and reading is noticed."""

from __future__ import annotations

import os

import numpy as np
import pytest
from helpers_cache import cog, files
from helpers_images import random_pixels, write_tiff
from hypothesis import given
from hypothesis import strategies as st

from ndsampler.backends import base, gdal, gdal_write, make_backend
from ndsampler.backends.recording import RecordedSource, checksum_pixels
from ndsampler.backends.source import open_source
from ndsampler.cache.comparison import compare_entry
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.identity import Source
from ndsampler.errors import CacheError

SIZE = (300, 420)
TILE = 64
COGS = [cog(compress="NONE", blocksize=TILE), cog(compress="ZSTD", blocksize=TILE)]


@pytest.fixture(params=["in memory", "streamed"])
def small_blocks(request, monkeypatch):
    """Entries of several blocks of rows, encoded in memory or copied through a file."""
    monkeypatch.setattr(base, "BLOCK_BYTES", 100 * SIZE[1] * 3)
    if request.param == "streamed":
        monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", 0)


def flip(path: str, offset: int) -> None:
    """Flip a bit of a file."""
    with open(path, "rb+") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 4]))


def tile_offsets(path: str) -> list[int]:
    """Return an offset in the middle of each tile of a TIFF, those of its overviews included."""
    offsets = []
    with gdal.open_dataset(path) as dataset:
        levels = [None, *range(len(dataset.overviews(1)))]
    for level in levels:
        with gdal.open_dataset(path, **({} if level is None else {"overview_level": level})) as dataset:
            rows, cols = -(-dataset.height // TILE), -(-dataset.width // TILE)
            for row, col in np.ndindex(rows, cols):
                start, size = (
                    int(dataset.get_tag_item(f"BLOCK_{kind}_{col}_{row}", "TIFF", 1))
                    for kind in ("OFFSET", "SIZE")
                )
                # Pixels beyond the edge of the image are no part of it.
                offsets.append(start + (size // 2 if row < rows - 1 and col < cols - 1 else 1))
    return offsets


def write(tmp_path, spec, pixels):
    """Return a source, its recording, and the path and the backend of its entry."""
    backend = make_backend(spec)
    recorded = RecordedSource(open_source(str(write_tiff(tmp_path / "image.tif", pixels))))
    entry = str(tmp_path / "entry.partial")
    backend.convert(recorded, entry)
    return recorded, entry, backend


@pytest.mark.parametrize("spec", COGS, ids=["NONE", "ZSTD"])
@pytest.mark.usefixtures("small_blocks")
def test_a_bit_flipped_in_any_tile_of_a_cog_is_noticed(spec, tmp_path):
    recorded, entry, backend = write(tmp_path, spec, random_pixels("uint8", 3, SIZE))
    offsets = tile_offsets(entry)
    assert len(offsets) > 5 * 7 + 3 * 4
    compare_entry(recorded, entry, backend)
    for offset in offsets:
        flip(entry, offset)
        with pytest.raises(CacheError, match=r"differ|cannot be"):
            compare_entry(recorded, entry, backend)
        flip(entry, offset)
    compare_entry(recorded, entry, backend)


@pytest.mark.usefixtures("small_blocks")
def test_a_bit_flipped_anywhere_in_the_pixels_of_an_npy_entry_is_noticed(tmp_path):
    pixels = random_pixels("uint16", 2, SIZE)
    recorded, entry, backend = write(tmp_path, "npy", pixels)
    start = os.path.getsize(entry) - pixels.nbytes
    for offset in (*range(start, os.path.getsize(entry), 9973), os.path.getsize(entry) - 1):
        flip(entry, offset)
        with pytest.raises(CacheError, match="differ"):
            compare_entry(recorded, entry, backend)
        flip(entry, offset)
    compare_entry(recorded, entry, backend)


@pytest.mark.parametrize("spec", ["npy", *COGS], ids=str)
def test_a_writer_publishes_no_entry_that_was_damaged_on_the_disk(spec, tmp_path, monkeypatch):
    backend = make_backend(spec)
    path = write_tiff(tmp_path / "image.tif", random_pixels("uint8", 3, SIZE))
    convert = backend.convert

    def convert_and_damage(source, dest):
        convert(source, dest)
        # Not on the diagonal of the image.
        flip(dest, os.path.getsize(dest) * 2 // 3 if spec == "npy" else tile_offsets(dest)[2])

    monkeypatch.setattr(backend, "convert", convert_and_damage)
    cache = FrameCache(backend, str(tmp_path / "cache"))
    with pytest.raises(CacheError, match=r"image\.tif is not a copy of it"):
        cache.ensure(Source(str(path)))
    assert files(tmp_path / "cache") == []


@pytest.mark.parametrize("spec", ["npy", "cog"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_and_negative_zero_are_no_difference(spec, dtype, tmp_path):
    pixels = random_pixels(dtype, 1, SIZE)
    pixels[::3], pixels[1::3], pixels[2::7] = np.nan, -0.0, -np.inf
    compare_entry(*write(tmp_path, spec, pixels))


def test_the_blocks_of_a_lossy_entry_must_be_readable(tmp_path):
    spec = cog(compress="JPEG", blocksize=TILE)
    recorded, entry, backend = write(tmp_path, spec, random_pixels("uint8", 3, SIZE))
    compare_entry(recorded, entry, backend, exact=False)
    size = os.path.getsize(entry)
    os.truncate(entry, size * 2 // 3)
    with pytest.raises(CacheError, match="cannot be"):
        compare_entry(recorded, entry, backend, exact=False)


@pytest.mark.usefixtures("small_blocks")
def test_a_source_is_read_once_while_it_is_converted(tmp_path, monkeypatch):
    path = write_tiff(tmp_path / "image.tif", random_pixels("uint8", 3, SIZE))
    rows_read = []
    rows = gdal.RasterReader.rows

    def count(reader, y0, y1):
        if reader.path == str(path):
            rows_read.extend(range(y0, y1))
        return rows(reader, y0, y1)

    monkeypatch.setattr(gdal.RasterReader, "rows", count)
    for backend in ("npy", "cog"):
        rows_read.clear()
        FrameCache(make_backend(backend), str(tmp_path / backend)).ensure(Source(str(path)))
        assert rows_read == list(range(SIZE[0]))


@given(
    st.binary(min_size=1, max_size=600), st.integers(0, 10**6), st.integers(1, 255), st.integers(0, 400_000)
)
def test_a_checksum_changes_with_every_byte(data, place, change, zeros):
    pixels = np.frombuffer(data + bytes(zeros), np.uint8).copy()
    before = checksum_pixels(pixels)
    pixels[place % len(pixels)] ^= change
    assert checksum_pixels(pixels) != before
