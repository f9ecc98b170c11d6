"""Image files that are read directly: palettes, alpha, incomplete files and errors."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from helpers_images import (
    CASES,
    DIMS,
    HEIGHT,
    WIDTH,
    WINDOWS,
    assert_same,
    paletted,
    random_pixels,
    write_pillow,
    write_png,
    write_tiff,
)

from ndsampler.backends import make_backend
from ndsampler.backends.formats.jpeg_damage import find_jpeg_damage
from ndsampler.backends.opencv import decode_image
from ndsampler.backends.source import open_source
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.identity import Source
from ndsampler.errors import MissingSourceError, SourceError
from ndsampler.utils.require import require_opencv


def jpeg_is_complete(data: bytes) -> bool:
    """Whether a JPEG is not said to be cut off."""
    return "cut off" not in find_jpeg_damage(data, np.zeros((8, 8), np.uint8))


class TestRaw:
    def test_the_orientation_tag_is_not_applied(self, tmp_path):
        path, pixels = CASES["jpeg, with an orientation tag"](tmp_path)
        assert pixels.shape == (*DIMS, 3)
        assert_same(open_source(str(path)).read(*WINDOWS[0]), pixels)

    def test_what_cannot_be_reached_is_told_apart(self, tmp_path):
        with pytest.raises(MissingSourceError, match=r"gone.png does not exist"):
            open_source(str(tmp_path / "gone.png"))
        with pytest.raises(SourceError, match="cannot be reached"):
            open_source(str(tmp_path / "nul\0.png"))

    def test_gray_with_alpha_reads_as_rgba(self, tmp_path):
        path, pixels = CASES["png, gray and alpha"](tmp_path)
        assert pixels.shape == (*DIMS, 4)
        assert_same(decode_image(str(path)), pixels)

    def test_a_palette_reads_as_its_colors(self, tmp_path):
        path, pixels = CASES["png, palette"](tmp_path)
        assert np.array_equal(pixels, np.asarray(paletted().convert("RGB")))
        assert_same(open_source(str(path)).read(*WINDOWS[0]), pixels)

    @pytest.mark.parametrize("value", [0, 128, 255])
    @pytest.mark.parametrize("size", [1, 8, 9])
    def test_the_smallest_jpegs_are_complete(self, value, size, tmp_path):
        path = write_pillow(tmp_path / "tiny.jpg", np.full((size, size, 1), value, np.uint8))
        assert jpeg_is_complete(path.read_bytes())
        assert (open_source(str(path)).read(0, size, 0, size) == value).all()

    @pytest.mark.parametrize(
        "options",
        [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"quality": 100, "subsampling": 0}],
    )
    def test_a_jpeg_is_complete_only_with_its_last_marker(self, options, tmp_path):
        path = write_pillow(tmp_path / "a.jpg", random_pixels("uint8", 3, (40, 50)), **options)
        data = path.read_bytes()
        for end in range(2, len(data), max(1, len(data) // 150)):
            assert not jpeg_is_complete(data[:end])
        for rest in (b"", b"\0" * 9, b"trailing"):
            assert jpeg_is_complete(data + rest)

    def test_the_end_of_an_embedded_thumbnail_does_not_count(self, tmp_path):
        thumbnail = write_pillow(tmp_path / "small.jpg", random_pixels("uint8", 3, (16, 16))).read_bytes()
        exif = b"Exif\0\0" + thumbnail
        path = write_pillow(tmp_path / "a.jpg", random_pixels(), exif=exif)
        data = path.read_bytes()
        assert thumbnail in data
        assert jpeg_is_complete(data)
        assert not jpeg_is_complete(data[: len(data) // 2])

    def test_a_jpeg_that_a_lenient_decoder_fills_up_is_refused(self, tmp_path, monkeypatch):
        """Some versions of OpenCV paint the missing part gray and report nothing."""
        import cv2

        path = write_pillow(tmp_path / "a.jpg", random_pixels())
        monkeypatch.setattr(cv2, "imdecode", lambda data, flags: random_pixels())
        assert decode_image(str(path)).shape == (*DIMS, 3)
        path.write_bytes(path.read_bytes()[:-400])
        with pytest.raises(SourceError, match=r"a.jpg is cut off: the end-of-image marker is missing"):
            decode_image(str(path))

    def test_formats_only_kwimage_reads_are_passed_to_it(self, tmp_path, monkeypatch):
        import kwimage

        pixels = random_pixels()
        (tmp_path / "a.qoi").write_bytes(b"qoif")
        monkeypatch.setattr(kwimage, "imread", lambda path, **kw: pixels)
        assert_same(open_source(str(tmp_path / "a.qoi")).read(*WINDOWS[3]), pixels[:17, WIDTH - 9 :])

        def fail(path, **kw):
            raise KeyError("no such codec")

        monkeypatch.setattr(kwimage, "imread", fail)
        with pytest.raises(
            SourceError, match=r"a.qoi cannot be decoded by kwimage: KeyError: .*no such codec"
        ):
            open_source(str(tmp_path / "a.qoi"))

    def test_bands_of_several_types_are_refused(self, tmp_path):
        for name, dtype in [("a.tif", "uint8"), ("b.tif", "int16")]:
            write_tiff(tmp_path / name, random_pixels(dtype, 1))
        band = '<VRTRasterBand dataType="{}" band="{}"><SimpleSource><SourceFilename relativeToVRT="1">{}'
        close = "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        bands = band.format("Byte", 1, "a.tif") + close + band.format("Int16", 2, "b.tif") + close
        vrt = f'<VRTDataset rasterXSize="{WIDTH}" rasterYSize="{HEIGHT}">{bands}</VRTDataset>'
        (tmp_path / "mixed.vrt").write_text(vrt)
        with pytest.raises(
            SourceError, match="mixed.vrt has int16, uint8; expected one or more bands of one type"
        ):
            open_source(str(tmp_path / "mixed.vrt"))

    def test_opening_a_file_without_georeferencing_warns_nobody(self, tmp_path):
        path = str(write_tiff(tmp_path / "a.tif", random_pixels()))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            open_source(path).read(*WINDOWS[0])
            FrameCache(make_backend("cog"), str(tmp_path / "cache")).read(Source(path), WINDOWS[0])

    def test_without_opencv_the_packages_to_install_are_named(self, tmp_path, monkeypatch):
        path = str(write_png(tmp_path / "a.png", random_pixels()))
        monkeypatch.setitem(sys.modules, "cv2", None)
        require_opencv.cache_clear()
        with pytest.raises(ImportError, match="opencv-python-headless"):
            decode_image(path)
