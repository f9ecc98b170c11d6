"""Headers that claim more than their files hold, and the limits on sources that a program sets."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
import rasterio
from helpers_images import (
    DIMS,
    HEIGHT,
    WIDTH,
    assert_same,
    quiet_rasterio,
    random_pixels,
    write_png,
    write_tiff,
)

from ndsampler.abstract_frames import SimpleFrames
from ndsampler.backends.headers import read_claim
from ndsampler.backends.source import open_source
from ndsampler.errors import ArgumentError, SourceError
from ndsampler.utils.limits import Limits, get_limits, set_limits

#: Numbers of compressions of TIFF.
CODECS = {"zstd": 50000, "lzw": 5, "lzma": 34925, "lerc": 34887, "webp": 50001, "ccitt": 4, "deflate": 8}

SIDE = 60_000


def make_tiff(codec: int, bits: int = 8) -> bytes:
    """Return a TIFF of one tile of 60000 pixels a side that holds 200 bytes."""
    tags = {256: SIDE, 257: SIDE, 258: bits, 259: codec, 262: 1, 277: 1}
    tags |= {322: SIDE // 16 * 16, 323: SIDE // 16 * 16, 324: 8, 325: 200}
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", 208) + bytes(200) + struct.pack("<H", len(tags)) + body + bytes(4)


def make_bmp(side: int, compression: int, bits: int = 8) -> bytes:
    """Return the head of a BMP."""
    sizes = struct.pack("<IiiHHIIiiII", 40, side, side, 1, bits, compression, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 999, 0, 0, 1078) + sizes + bytes(1024) + b"\0\1"


def make_jpeg(marker: int, side: int) -> bytes:
    """Return a JPEG whose frame header has another marker and size."""
    data = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    at = data.index(b"\xff\xc0")
    data[at + 1] = marker
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def make_webp(kind: str) -> bytes:
    """Return a WebP of 16383 pixels a side that holds no pixels."""
    if kind == "lossless":
        size = struct.pack("<I", 16382 | 16382 << 14)
        return (
            b"RIFF" + struct.pack("<I", 24) + b"WEBPVP8L" + struct.pack("<I", 12) + b"\x2f" + size + bytes(7)
        )
    data = bytearray(
        cv2.imencode(".webp", np.zeros((16, 16, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 50])[1]
    )
    data[26:30] = struct.pack("<HH", 16383, 16383)
    return bytes(data)


LIARS = {
    **{f"{name}.tif": make_tiff(code, 1 if name == "ccitt" else 8) for name, code in CODECS.items()},
    **{f"{name}_tiff.png": make_tiff(code, 1 if name == "ccitt" else 8) for name, code in CODECS.items()},
    **{f"sof{marker - 0xC0}.jpg": make_jpeg(marker, 30_000) for marker in (0xC0, 0xC2, 0xC3, 0xC9, 0xCA)},
    "rle8.bmp": make_bmp(30_000, 1),
    "rle4.bmp": make_bmp(30_000, 2, 4),
    "plain.bmp": make_bmp(30_000, 0, 24),
    "bits.bmp": make_bmp(30_000, 0, 1),
    "lossless.webp": make_webp("lossless"),
    "lossy.webp": make_webp("lossy"),
    "a.pfm": b"PF\n20000 20000\n-1.0\n" + bytes(99),
    "a.pam": b"P7\nWIDTH 30000\nHEIGHT 30000\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n" + bytes(99),
    "a.ppm": b"P6 30000 30000 255\n" + bytes(99),
    "a.ras": struct.pack(">8I", 0x59A66A95, 30000, 30000, 24, 0, 1, 0, 0) + bytes(99),
}


@pytest.fixture(name="limit")
def fixture_limit():
    """Set limits for one test."""
    before = get_limits()
    yield set_limits
    set_limits(before)


@pytest.mark.parametrize("name", LIARS)
def test_a_header_that_lies_is_found_before_anything_is_decoded(name, tmp_path):
    (tmp_path / name).write_bytes(LIARS[name])
    with pytest.raises(SourceError, match="cannot hold as much"):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize("codec", ["NONE", "PACKBITS", "DEFLATE", "LZW", "ZSTD", "LZMA", "LERC"])
def test_a_large_tile_of_one_value_is_read_as_far_as_its_codec_reaches(codec, tmp_path):
    side = 4096
    pixels = np.full((side, side, 1), 7, np.uint8)
    path = write_tiff(
        tmp_path / "a.tif", pixels, compress=codec, tiled=True, blockxsize=side, blockysize=side
    )
    assert (open_source(str(path)).read(0, side, 0, side) == 7).all()


@pytest.mark.parametrize("codec", ["deflate", "lzw", "zstd", "lzma"])
def test_values_of_few_bits_count_as_such(codec, tmp_path):
    side = 16_640
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 1, "dtype": "uint8", "nbits": 1}
    profile |= {"compress": codec, "tiled": True, "blockxsize": side, "blockysize": side}
    with quiet_rasterio(), rasterio.open(path, "w", **profile) as dataset:
        dataset.write(np.ones((1, side, side), np.uint8))
    assert (open_source(str(path)).read(0, 1, 0, side) == 1).all()


@pytest.mark.parametrize("bits", [1, 4, 8, 24])
def test_the_claim_of_a_bmp_covers_what_is_decoded(bits, tmp_path):
    side = 64
    stride = -(-side * bits // 32) * 4
    claim = read_claim(make_bmp(side, 0, bits))
    decoded = side * side * 3
    assert claim.pixel_bytes == decoded
    assert claim.max_ratio is not None
    assert claim.max_ratio * stride * side >= decoded


@pytest.mark.parametrize("write", [write_tiff, write_png])
@pytest.mark.parametrize("backend", [None, "npy", "cog"])
def test_a_source_has_at_most_the_pixels_and_channels_of_the_limits(backend, write, limit, tmp_path):
    pixels = random_pixels()
    path = write(tmp_path / f"a.{'png' if write is write_png else 'tif'}", pixels)
    limit(Limits(pixels=HEIGHT * WIDTH - 1))
    with pytest.raises(SourceError, match="the limit pixels"):
        SimpleFrames({1: str(path)}, tmp_path / "work", backend).load_region(1)
    limit(Limits(pixels=HEIGHT * WIDTH, decoded_bytes=pixels.nbytes, bands=3))
    assert_same(SimpleFrames({1: str(path)}, tmp_path / "work", backend).load_region(1), pixels)
    if write is write_tiff:
        limit(Limits(bands=2))
        with pytest.raises(SourceError, match="the limit bands"):
            open_source(str(path))


def test_an_array_on_disk_is_within_the_limits(limit, tmp_path):
    np.save(tmp_path / "a.npy", random_pixels())
    limit(Limits(pixels=5))
    with pytest.raises(SourceError, match="the limit pixels"):
        open_source(str(tmp_path / "a.npy"))


def test_a_window_is_decoded_within_the_limit(limit, tmp_path):
    pixels = random_pixels()
    tiff = write_tiff(tmp_path / "a.tif", pixels, blockysize=1)
    png = write_png(tmp_path / "a.png", pixels)
    limit(Limits(decoded_bytes=WIDTH * 3 * 2))
    reader = open_source(str(tiff))
    assert_same(reader.read(0, 2, 0, WIDTH), pixels[:2])
    with pytest.raises(SourceError, match="Read smaller windows"):
        reader.read(0, 3, 0, WIDTH)
    with pytest.raises(SourceError, match="the limit decoded_bytes"):
        open_source(str(png))


@pytest.mark.parametrize("name", ["pixels", "bands", "decoded_bytes"])
def test_a_limit_on_sources_is_a_whole_number_above_0(name):
    with pytest.raises(ArgumentError, match=name):
        Limits(**{name: 0})


def test_an_entry_that_is_no_cog_is_not_read(tmp_path):
    from ndsampler.backends import make_backend

    backend = make_backend("cog")
    plain = write_tiff(tmp_path / "a.tif", random_pixels(dims=DIMS))
    with pytest.raises(SourceError, match="does not have the layout of a COG"):
        backend.open(str(plain))
