"""The TIFF files in strips that the demo writes, read back by OpenCV and by GDAL."""

from __future__ import annotations

import io
import warnings

import cv2
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from ndsampler.demo.landscape import make_scene
from ndsampler.demo.pictures import ENCODINGS, encode_image, write_scene, write_tiff
from ndsampler.demo.striped_tiff import STRIP_ROWS, StripedTiff, encode_strips
from ndsampler.errors import ArgumentError


def read_with_gdal(content):
    """Return (height, width, bands) pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with MemoryFile(content) as file, file.open() as dataset:
            return dataset.read().transpose(1, 2, 0)


class TestStripedTiff:
    @given(st.integers(1, 40), st.integers(1, 70), st.integers(0, 99))
    @settings(max_examples=25, deadline=None)
    def test_blocks_of_rows_are_read_back(self, width, height, seed):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
        file = io.BytesIO()
        tiff = StripedTiff(file, width, height)
        for top in range(0, height, 2 * STRIP_ROWS):
            tiff.write(encode_strips(pixels[top : top + 2 * STRIP_ROWS]))
        tiff.finish()
        decoded = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
        assert (decoded[..., ::-1] == pixels).all()

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 7])
    def test_any_number_of_bands_of_8_or_16_bits_is_read_back(self, bands, dtype):
        largest = np.iinfo(dtype).max
        pixels = np.random.default_rng(bands).integers(0, largest + 1, (37, 23, bands)).astype(dtype)
        file = io.BytesIO()
        write_tiff(file, pixels)
        read = read_with_gdal(file.getvalue())
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, pixels)

    def test_missing_rows_are_refused(self):
        with pytest.raises(ArgumentError, match="0 strips were written; expected 3"):
            StripedTiff(io.BytesIO(), 10, 40).finish()

    def test_more_than_the_format_can_hold_is_refused(self):
        class Huge(io.BytesIO):
            def tell(self):
                return 2**32

        tiff = StripedTiff(Huge(), 4, 4)
        tiff._offsets = [8]
        with pytest.raises(ArgumentError, match="too many for a TIFF file of at most 4 GB"):
            tiff.finish()


class TestPictures:
    def test_a_scene_is_written_as_it_is_painted(self):
        scene = make_scene(120, 90, seed=2)
        for suffix in (".tif", ".png"):
            file, told = io.BytesIO(), []
            write_scene(file, scene, suffix, told.append)
            decoded = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
            assert (decoded[..., ::-1] == scene.rows(0, 90)).all()
            assert told[-1] == 1

    def test_the_options_of_the_encoders_have_the_numbers_of_opencv(self):
        assert ENCODINGS[".jpg"][0] == cv2.IMWRITE_JPEG_QUALITY
        assert ENCODINGS[".png"][0] == cv2.IMWRITE_PNG_COMPRESSION

    def test_an_image_of_unknown_format_is_refused(self):
        with pytest.raises(ArgumentError, match=r"suffix is '\.xyz'; expected \.tif or one of"):
            encode_image(np.zeros((4, 4, 3), np.uint8), ".xyz")
