"""The size of an image file comes from its header, and is the size that its pixels decode to."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
import tifffile
from helpers_images import random_pixels, write_tiff

from ndsampler.backends import dims as module
from ndsampler.backends import opencv, source
from ndsampler.backends.dims import read_dims
from ndsampler.backends.source import open_source
from ndsampler.errors import MissingSourceError, SourceError

DIMS = (37, 53)

#: File endings of whole images, and the options that OpenCV writes them with.
WHOLE = {
    "png": [],
    "bmp": [],
    "jpg": [],
    "progressive.jpg": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts.jpg": [cv2.IMWRITE_JPEG_RST_INTERVAL, 1],
    "lossy.webp": [cv2.IMWRITE_WEBP_QUALITY, 80],
    "lossless.webp": [cv2.IMWRITE_WEBP_QUALITY, 101],
    "ppm": [],
    "text.ppm": [cv2.IMWRITE_PXM_BINARY, 0],
}


@pytest.fixture
def no_decoding(monkeypatch):
    """Make every way to decode pixels fail."""

    def refuse(*args, **kwargs):
        raise AssertionError("a file was decoded")

    for owner, name in ((opencv, "decode_image"), (source, "decode_image"), (source, "_decode_with_kwimage")):
        monkeypatch.setattr(owner, name, refuse)
    monkeypatch.setattr(module, "open_source", refuse)


@pytest.mark.parametrize("ending", WHOLE)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_header_of_a_whole_image_is_enough(tmp_path, no_decoding, monkeypatch, ending, channels):
    if channels == 1 and ending.endswith("ppm"):
        ending = ending.replace("ppm", "pgm")
    path = str(tmp_path / f"a.{ending}")
    assert cv2.imwrite(path, random_pixels(channels=channels, dims=DIMS), WHOLE.get(ending, []))
    assert read_dims(path) == DIMS
    monkeypatch.undo()
    assert open_source(path).shape[:2] == DIMS


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_tiffs_of_all_kinds_state_their_size(tmp_path, no_decoding, monkeypatch, channels):
    pixels = random_pixels("uint16", channels, DIMS)
    paths = [tmp_path / name for name in ("strips.tif", "tiles.tif", "block.tif", "pages.tif")]
    write_tiff(paths[0], pixels)
    write_tiff(paths[1], pixels, tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    write_tiff(paths[2], pixels, blockysize=DIMS[0], compress="lzw")
    tifffile.imwrite(paths[3], pixels[..., 0] if channels == 1 else pixels)
    assert [read_dims(str(path)) for path in paths] == [DIMS] * 4
    monkeypatch.undo()
    assert [open_source(str(path)).shape[:2] for path in paths] == [DIMS] * 4


@pytest.mark.parametrize("shape", [DIMS, (*DIMS, 4)])
def test_arrays_state_their_size(tmp_path, no_decoding, shape):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(shape, np.int16))
    assert read_dims(str(path)) == DIMS


def test_long_metadata_in_front_of_the_size_is_skipped(tmp_path, no_decoding):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), random_pixels(dims=DIMS))
    data = path.read_bytes()
    thumbnail = struct.pack(">2sH", b"\xff\xe1", 60_002) + data[2:400].ljust(60_000, b"\xff")
    path.write_bytes(data[:2] + 3 * thumbnail + b"\xff\xff\xff" + data[2:])
    assert read_dims(str(path)) == DIMS


def test_a_gif_has_the_size_of_its_screen(tmp_path, no_decoding):
    path = tmp_path / "a.gif"
    path.write_bytes(b"GIF89a" + struct.pack("<HH", *DIMS[::-1]) + bytes(20))
    assert read_dims(str(path)) == DIMS


def test_an_extended_webp_has_the_size_of_its_canvas(tmp_path, no_decoding):
    sides = b"".join((side - 1).to_bytes(3, "little") for side in DIMS[::-1])
    path = tmp_path / "a.webp"
    path.write_bytes(b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + sides)
    assert read_dims(str(path)) == DIMS


@pytest.mark.parametrize("header", [struct.pack("<IHH", 12, 53, 37), struct.pack("<Iii", 40, 53, -37)])
def test_bitmaps_of_both_headers_and_directions_state_their_size(tmp_path, no_decoding, header):
    path = tmp_path / "a.bmp"
    path.write_bytes(b"BM" + bytes(12) + header)
    assert read_dims(str(path)) == DIMS


def test_comments_in_netpbm_headers_are_skipped(tmp_path, no_decoding):
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P6 # 1 2\n# 3 4\n53\t37\n255\n")
    assert read_dims(str(path)) == DIMS


def test_the_content_counts_and_not_the_ending(tmp_path, no_decoding):
    write_tiff(tmp_path / "a.tif", random_pixels(dims=DIMS))
    cv2.imwrite(str(tmp_path / "b.png"), random_pixels(dims=DIMS))
    (tmp_path / "a.tif").rename(tmp_path / "a.png")
    (tmp_path / "b.png").rename(tmp_path / "b.tif")
    assert read_dims(str(tmp_path / "a.png")) == read_dims(str(tmp_path / "b.tif")) == DIMS


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "gif", "tif", "ppm", "npy"])
@pytest.mark.parametrize(
    "data", [b"garbage", b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\0", b"BM", b"GIF89a"]
)
def test_a_file_without_a_size_is_an_error_that_names_it(tmp_path, ending, data):
    path = tmp_path / f"bad.{ending}"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=f"bad.{ending}"):
        read_dims(str(path))


def test_what_is_no_file_is_an_error(tmp_path):
    with pytest.raises(MissingSourceError, match="none.png does not exist"):
        read_dims(str(tmp_path / "none.png"))
    with pytest.raises(SourceError, match="is a folder"):
        read_dims(str(tmp_path))


def test_a_size_beyond_the_columns_is_refused(tmp_path):
    path = tmp_path / "a.bmp"
    path.write_bytes(b"BM" + bytes(12) + struct.pack("<Iii", 40, 5, -(2**31)))
    with pytest.raises(SourceError, match="claims"):
        read_dims(str(path))
