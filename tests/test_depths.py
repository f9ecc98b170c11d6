"""Every type and number of bits, converted by every backend; and sources that are replaced meanwhile."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
import rasterio
from helpers_cache import CACHING, WHOLE, each_backend
from helpers_images import DIMS, assert_same, random_pixels, write_pillow, write_png, write_tiff
from PIL import Image

from ndsampler import SimpleFrames
from ndsampler.backends import gdal_write, make_backend
from ndsampler.cache import frame_cache
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.identity import Source
from ndsampler.errors import CacheError, MissingSourceError, SourceError

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def values_of(dtype, bits=None):
    """Return values of a type, (height, width, 3), of at most so many bits."""
    rng = np.random.default_rng(0)
    shape = (*DIMS, 3)
    if dtype.startswith("complex"):
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    if "float" in dtype:
        return rng.normal(size=shape).astype(np.float16 if bits == 16 else dtype).astype(dtype)
    if dtype == "bool":
        return rng.random(shape) > 0.5
    pixels = random_pixels(dtype, 3)
    return pixels if bits is None else pixels % 2**bits


DEPTHS = [
    *[("uint8", bits) for bits in (1, 2, 4, 7)],
    *[("uint16", bits) for bits in (9, 11, 12, 15)],
    *[("uint32", bits) for bits in (20, 24, 31)],
    ("float32", 16),
]

CODECS = ["ZSTD", "DEFLATE", "LZW", "NONE"]


@pytest.fixture
def streamed(monkeypatch):
    """Make GDAL copy images block by block, as it does large ones."""
    monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", 0)


class TestDepths:
    @pytest.mark.parametrize(
        ("dtype", "bits", "channels", "codecs"),
        [(*depth, 1 + 2 * (n % 2), (CODECS * 2)[n % 4 :][:2]) for n, depth in enumerate(DEPTHS)],
    )
    def test_any_number_of_bits_is_streamed(self, dtype, bits, channels, codecs, streamed, tmp_path):
        pixels = values_of(dtype, bits)[..., :channels]
        path = write_tiff(tmp_path / "a.tif", pixels, nbits=bits)
        assert_same(SimpleFrames({1: path}).load_region(1), pixels)
        for codec in codecs:
            backend = {"type": "cog", "config": {"compress": codec}}
            assert_same(SimpleFrames({1: path}, tmp_path / "work", backend).load_region(1), pixels)

    @pytest.mark.parametrize("bits", [4, 12])
    def test_lossy_entries_of_few_bits_are_close(self, bits, streamed, tmp_path):
        y, x = np.mgrid[0:90, 0:151]
        smooth = ((y + x) % 2**bits // 2).astype(np.uint8 if bits <= 8 else np.uint16)[..., None]
        path = write_tiff(tmp_path / "a.tif", smooth, nbits=bits)
        backend = {"type": "cog", "config": {"compress": "JPEG", "quality": 95}}
        found = SimpleFrames({1: path}, tmp_path / "work", backend).load_region(1)
        assert np.abs(found.astype(int) - smooth).mean() < 2

    @pytest.mark.parametrize(
        "dtype", ["bool", "float16", "int8", "uint64", "int64", "complex64", "complex128"]
    )
    @pytest.mark.parametrize("backend", CACHING)
    def test_any_type_of_an_array_is_kept(self, dtype, backend, tmp_path):
        pixels = np.tile(values_of(dtype), (2, 1, 1))
        np.save(tmp_path / "a.npy", pixels)
        frames = SimpleFrames({1: tmp_path / "a.npy"}, tmp_path / "work", backend)
        assert_same(frames.load_region(1), pixels)
        assert_same(frames.load_region(1, np.s_[20:70, 31:90]), pixels[20:70, 31:90])
        assert frames.load_frame(1).dtype == pixels.dtype

    @pytest.mark.parametrize("dtype", ["complex64", "complex128"])
    @pytest.mark.parametrize("channels", [2, 3])
    @each_backend
    def test_complex_tiffs_are_kept(self, dtype, channels, backend, streamed, tmp_path):
        pixels = values_of(dtype)[..., :channels]
        path = write_tiff(tmp_path / "a.tif", pixels)
        assert_same(SimpleFrames({1: path}, tmp_path / "work", backend).load_region(1), pixels)

    @pytest.mark.parametrize("memory_bytes", [0, 2**28])
    @each_backend
    def test_complex_integers_are_read_as_complex64(self, backend, memory_bytes, tmp_path, monkeypatch):
        monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", memory_bytes)
        pixels = np.rint(100 * values_of("complex64"))
        path = write_tiff(tmp_path / "a.tif", pixels, dtype="complex_int16")
        assert_same(SimpleFrames({1: path}, tmp_path / "work", backend).load_region(1), pixels)

    @pytest.mark.parametrize("stated", [None, "classes"])
    def test_the_forms_of_a_palette_are_streamed(self, stated, streamed, bundle, make_coco):
        classes = random_pixels("uint8", 1) % 16
        path = write_tiff(bundle / "a.tif", classes)
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {index: (9 * index, 200 - index, index, 255) for index in range(16)})
        entry = {"file_name": "a.tif", **({"channels": stated} if stated else {})}
        expected = make_coco(entry).load_region(1)
        assert expected.shape[2] == (1 if stated else 4)
        assert_same(make_coco(entry, backend="cog").load_region(1), expected)

    def test_a_lossy_codec_is_not_used_for_class_indexes(self, bundle, make_coco):
        classes = random_pixels("uint8", 1)[..., 0]
        write_pillow(bundle / "a.png", Image.fromarray(classes).convert("P"))
        entry = {"file_name": "a.png", "channels": "classes"}
        backend = {"type": "cog", "config": {"compress": "JPEG"}}
        assert_same(make_coco(entry, backend=backend).load_region(1), make_coco(entry).load_region(1))

    def test_advice_on_disk_space_is_given_only_if_that_helps(self, tmp_path):
        np.save(tmp_path / "a.npy", np.zeros((5, 6), np.longdouble))
        cache = FrameCache(make_backend("cog"), str(tmp_path / "cache"))
        with pytest.raises(CacheError, match=r"cannot be made: .*Use backend='npy'") as caught:
            cache.ensure(Source(str(tmp_path / "a.npy")))
        assert "Free some" not in str(caught.value)


class TestWarningsOfDecoders:
    @pytest.mark.parametrize("compression", ["jpeg", "group4"])
    @pytest.mark.parametrize("level", ["WARNING", "ERROR"])
    @each_backend
    def test_they_are_errors_of_the_source(self, compression, level, backend, tmp_path, caplog):
        pixels = random_pixels("uint8", 3, (200, 300))
        image = Image.fromarray(pixels if compression == "jpeg" else pixels[..., 0] > 99)
        buffer = io.BytesIO()
        image.save(buffer, "TIFF", compression=compression)
        data = bytearray(buffer.getvalue())
        middle = len(data) // 2
        data[middle : middle + 300] = np.random.default_rng(1).bytes(300)
        (tmp_path / "a.tif").write_bytes(data)
        frames = SimpleFrames({1: tmp_path / "a.tif"}, tmp_path / "work", backend)
        with caplog.at_level(level, "rasterio"):
            for _ in range(2):
                with pytest.raises(SourceError, match=r"image 1: .*a.tif (is damaged|.*cannot be decoded)"):
                    frames.load_region(1)
        shown = [record for record in caplog.records if record.name.startswith("rasterio")]
        assert level == "WARNING" or not shown


class TestReplacedSources:
    @each_backend
    def test_a_source_that_is_missing_for_a_moment_is_read(self, backend, tmp_path, monkeypatch):
        path = write_png(tmp_path / "a.png", random_pixels())
        hidden = tmp_path / "hidden.png"
        os.replace(path, hidden)
        monkeypatch.setattr(frame_cache.time, "sleep", lambda seconds: os.replace(hidden, path))
        folder = None if backend is None else str(tmp_path / "cache")
        assert_same(FrameCache(make_backend(backend), folder).read(Source(str(path)), WHOLE), random_pixels())

    @pytest.mark.parametrize("backend", CACHING)
    def test_a_source_that_is_replaced_while_it_is_converted_is_read_anew(
        self, backend, tmp_path, monkeypatch
    ):
        path, other = (write_png(tmp_path / f"{seed}.png", random_pixels(seed=seed)) for seed in (0, 1))
        cache = FrameCache(make_backend(backend), str(tmp_path / "cache"))
        convert = cache.backend.convert

        def replace_after(source, dest):
            convert(source, dest)
            if other.exists():
                os.replace(other, path)

        monkeypatch.setattr(cache.backend, "convert", replace_after)
        assert_same(cache.read(Source(str(path)), WHOLE), random_pixels(seed=1))

    def test_missing_files_are_not_waited_for_again_and_again(self, tmp_path, monkeypatch):
        naps = []
        monkeypatch.setattr(frame_cache.time, "sleep", naps.append)
        cache = FrameCache(make_backend("npy"), str(tmp_path / "cache"))
        for number in range(200):
            with pytest.raises(MissingSourceError, match="does not exist"):
                cache.ensure(Source(str(tmp_path / f"{number}.png")))
        assert len(naps) <= frame_cache.MAX_WAITS
