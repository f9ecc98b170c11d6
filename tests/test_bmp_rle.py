"""Run-length encoded BMP files, compared with the pixels that were encoded and with Pillow."""

from __future__ import annotations

import pathlib
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ndsampler.backends.formats.bmp_rle import read_bmp_indexes
from ndsampler.errors import SourceError

BACKENDS = [None, "npy", "cog"]


def encode(pixels: np.ndarray, bits: int, skipped: np.ndarray) -> bytes:
    """Return run lengths of pixels; single pixels where they are skipped are stepped over."""
    codes = bytearray()
    for row, mask in zip(pixels[::-1], skipped[::-1], strict=True):
        for value, skip in zip(row.tolist(), mask.tolist(), strict=True):
            codes += bytes([0, 2, 1, 0]) if skip else bytes([1, value << 4 if bits == 4 else value])
        codes += bytes([0, 0])
    return bytes(codes + bytes([0, 1]))


def write_bmp(
    path: pathlib.Path, dims: tuple[int, int], codes: bytes, bits: int = 8, entries: int = 0
) -> str:
    """Write a BMP whose color n is (n, n, 200)."""
    count = entries or 2**bits
    table = b"".join(bytes([200, n, n, 0]) for n in range(count))
    start = 54 + len(table)
    size = struct.pack("<Iii", 40, dims[1], dims[0])
    about = struct.pack("<HHIIIIII", 1, bits, 1 if bits == 8 else 2, len(codes), 0, 0, entries, 0)
    head = b"BM" + struct.pack("<IHHI", start + len(codes), 0, 0, start)
    path.write_bytes(head + size + about + table + codes)
    return str(path)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bits=st.sampled_from([4, 8]), seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0, 0.3]))
def test_the_indexes_are_those_that_were_encoded(tmp_path, bits, seed, share):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 2**bits, (7, 9), np.uint8)
    skipped = rng.random((7, 9)) < share
    path = write_bmp(tmp_path / "a.bmp", (7, 9), encode(pixels, bits, skipped), bits)
    found = read_bmp_indexes(path)
    expected = np.where(skipped, 0, pixels)
    assert np.array_equal(found.indexes, expected)
    assert (found.largest, found.entries) == (pixels[~skipped].max(initial=0), 2**bits)


@pytest.mark.parametrize("bits", [4, 8])
def test_runs_and_literals_are_those_of_pillow(bits, tmp_path):
    # Runs of 5 and 2, a literal of 5 with padding, the end of the line, four times.
    literal = bytes([0x12, 0x34, 0x50, 0]) if bits == 4 else bytes([1, 2, 3, 4, 5, 0])
    line = bytes([5, 0x97, 2, 0x31, 0, 5]) + literal + bytes([0, 0])
    path = write_bmp(tmp_path / "a.bmp", (4, 12), line * 4 + bytes([0, 1]), bits)
    assert np.array_equal(read_bmp_indexes(path).indexes, np.array(Image.open(path)))


@pytest.mark.parametrize("stated", ["one channel", "colors"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_skipped_pixels_have_the_first_color_and_the_index_0(backend, stated, bundle, make_coco):
    pixels = np.random.default_rng(0).integers(0, 200, (60, 80), np.uint8)
    skipped = np.zeros((60, 80), bool)
    skipped[10:30, 5:70] = True
    write_bmp(bundle / "a.bmp", (60, 80), encode(pixels, 8, skipped), entries=200)
    expected = np.where(skipped, 0, pixels)
    image = {"file_name": "a.bmp", "width": 80, "height": 60}
    if stated == "one channel":
        frames = make_coco({**image, "channels": "index"}, backend=backend)
        assert np.array_equal(frames.load_region(1)[:, :, 0], expected)
    else:
        shown = np.stack([expected, expected, np.full_like(expected, 200)], axis=2)
        assert np.array_equal(make_coco(image, backend=backend).load_region(1), shown)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_index_beyond_the_color_table_is_damage(backend, bundle, make_coco):
    pixels = np.full((6, 8), 100, np.uint8)
    write_bmp(bundle / "a.bmp", (6, 8), encode(pixels, 8, pixels == 0), entries=100)
    with pytest.raises(SourceError, match="index 100 and its color table has 100 entries"):
        make_coco({"file_name": "a.bmp"}, backend=backend).load_region(1)


def test_codes_that_leave_the_image_or_end_early_are_cut(tmp_path):
    codes = bytes([200, 7, 0, 0, 0, 2, 250, 1, 3, 9, 0, 200, 1, 2])
    found = read_bmp_indexes(write_bmp(tmp_path / "a.bmp", (3, 4), codes))
    assert found.indexes.tolist() == [[0] * 4, [0] * 4, [7] * 4]


def test_other_files_have_none(tmp_path):
    Image.new("P", (4, 4)).save(tmp_path / "plain.bmp")
    (tmp_path / "short.bmp").write_bytes(b"BM")
    assert read_bmp_indexes(str(tmp_path / "plain.bmp")) is None
    assert read_bmp_indexes(str(tmp_path / "short.bmp")) is None
