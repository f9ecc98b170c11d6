"""Every backend gives the pixels of the source, exactly, and reads no more than it must."""

from __future__ import annotations

import dataclasses
import gc
import os
import pathlib
import sys
import warnings

import numpy as np
import pytest
import rasterio
from helpers_images import (
    CASES,
    DIMS,
    DTYPES,
    WRITERS,
    imread,
    paletted,
    random_pixels,
    write_pillow,
    write_png,
    write_tiff,
)
from rasterio.errors import NotGeoreferencedWarning

from ndsampler.backends import base, gdal, gdal_write, make_backend
from ndsampler.backends import source as source_module
from ndsampler.backends.base import REGISTRY, Backend, register
from ndsampler.backends.headers import jpeg_is_complete
from ndsampler.backends.opencv import decode_image
from ndsampler.backends.source import open_source
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.errors import BackendError, CacheError, MissingSourceError, SourceError

HEIGHT, WIDTH = DIMS

#: Corners, borders, single pixels, rows, columns, blocks across tiles, everything and nothing.
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

BACKENDS = [None, *sorted(set(REGISTRY) - {"raw"})]

LOSSLESS = ["auto", "ZSTD", "DEFLATE", "LZW", "NONE", "RAW", "lzw"]


@dataclasses.dataclass
class Source:
    """A file and what it must read as."""

    path: str
    pixels: np.ndarray


@pytest.fixture(scope="module", params=CASES)
def source(request, tmp_path_factory) -> Source:
    path, pixels = CASES[request.param](tmp_path_factory.mktemp("source"))
    return Source(str(path), pixels)


@pytest.fixture
def make_cache(tmp_path):
    """Return a factory of caches in one folder."""

    def make(backend, **kw) -> FrameCache:
        storage = make_backend(backend)
        return FrameCache(storage, str(tmp_path / "cache") if storage.caches else None, **kw)

    return make


def cog(**config):
    return {"type": "cog", "config": config}


def open_entry(cache: FrameCache, path):
    """Return an entry as rasterio sees it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(cache.ensure(str(path)))


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")


@pytest.mark.parametrize("backend", BACKENDS)
class TestEveryBackend:
    """What each registered backend must do; a new one is tested by being registered."""

    def test_windows_and_bands_equal_slices_of_the_decoded_source(self, backend, source, make_cache):
        cache = make_cache(backend)
        channels = source.pixels.shape[2]
        rng = np.random.default_rng(0)
        for window in WINDOWS:
            y0, y1, x0, x1 = window
            expected = source.pixels[y0:y1, x0:x1]
            assert_same(cache.read(source.path, window), expected)
            bands = rng.permutation(channels)[: rng.integers(1, channels + 1)].tolist()
            assert_same(cache.read(source.path, window, bands), expected[:, :, bands])

    def test_an_open_file_tells_its_shape_and_type(self, backend, source, make_cache):
        shape, dtype = make_cache(backend).visit(source.path, lambda reader: (reader.shape, reader.dtype))
        assert tuple(shape) == source.pixels.shape
        assert dtype == source.pixels.dtype
        assert dtype.isnative

    def test_pixels_belong_to_the_caller(self, backend, source, make_cache):
        cache = make_cache(backend)
        for bands in (None, [0]):
            first = cache.read(source.path, (3, 40, 5, 70), bands)
            expected = first.copy()
            assert first.flags.writeable
            assert first.flags.c_contiguous
            first[:] = 1
            assert_same(cache.read(source.path, (3, 40, 5, 70), bands), expected)

    def test_random_windows_equal_slices(self, backend, make_cache, tmp_path):
        pixels = random_pixels("uint16", 4)
        path = str(WRITERS["striped tiff"](tmp_path, pixels))
        cache = make_cache(backend)
        rng = np.random.default_rng(1)
        for _ in range(100):
            y0, y1 = sorted(rng.integers(0, HEIGHT + 1, 2).tolist())
            x0, x1 = sorted(rng.integers(0, WIDTH + 1, 2).tolist())
            assert_same(cache.read(path, (y0, y1, x0, x1)), pixels[y0:y1, x0:x1])

    @pytest.mark.parametrize("dims", [(1, 1), (1, 300), (300, 1), (2, 3), (16, 16)])
    @pytest.mark.parametrize("channels", [1, 3, 13])
    def test_thin_and_tiny_images(self, backend, dims, channels, make_cache, tmp_path):
        pixels = random_pixels("int16", channels, dims)
        for writer in ("striped tiff", "npy"):
            path = WRITERS[writer](tmp_path, pixels)
            assert_same(make_cache(backend).read(str(path), (0, dims[0], 0, dims[1])), pixels)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("writer", ["striped tiff", "tiled tiff"])
    def test_the_nodata_value_is_kept(self, backend, dtype, writer, make_cache, tmp_path):
        pixels = random_pixels(dtype, 2)
        tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16} if writer == "tiled tiff" else {}
        for nodata in (0, 77, 1.5 if dtype.startswith("f") else 12):
            path = write_tiff(tmp_path / f"{nodata}.tif", pixels, nodata=nodata, **tiled)
            cache = make_cache(backend)
            assert cache.visit(str(path), lambda reader: reader.nodata) == nodata
            assert_same(cache.read(str(path), (0, HEIGHT, 0, WIDTH)), pixels)

    def test_nodata_that_is_nan_or_absent_is_kept(self, backend, make_cache, tmp_path):
        pixels = random_pixels("float32", 1)
        with_nan = write_tiff(tmp_path / "a.tif", pixels, nodata=np.nan)
        assert np.isnan(make_cache(backend).visit(str(with_nan), lambda reader: reader.nodata))
        without = write_tiff(tmp_path / "b.tif", pixels)
        assert make_cache(backend).visit(str(without), lambda reader: reader.nodata) is None

    @pytest.mark.parametrize(
        "name", ["a b#c?d=1&e%20f!g.tif", "ünï-字.tif", "a'b;c.TIF", "x:y.tif", "-rf.tif"]
    )
    def test_file_names_of_all_kinds(self, backend, name, make_cache, tmp_path):
        if sys.platform == "win32" and set(name) & set(':?"'):
            pytest.skip("Windows has no such names")
        pixels = random_pixels()
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        path = write_tiff(tmp_path / "plain.tif", pixels).rename(folder / name)
        cache = FrameCache(make_backend(backend), str(folder / "cache") if backend else None)
        assert_same(cache.read(str(path), (0, HEIGHT, 0, WIDTH)), pixels)

    def test_a_missing_file_is_named(self, backend, make_cache, tmp_path):
        for name in ("gone.png", "gone.tif", "gone.npy", "plain.png/inside.png"):
            write_png(tmp_path / "plain.png", random_pixels())
            with pytest.raises(MissingSourceError, match="gone|inside") as caught:
                make_cache(backend).read(str(tmp_path / name), (0, 1, 0, 1))
            assert isinstance(caught.value, FileNotFoundError)

    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.npy", "a", "a.dat"])
    @pytest.mark.parametrize("kind", ["empty", "text", "a folder"])
    def test_what_is_no_image_is_an_error_that_names_it(self, backend, name, kind, make_cache, tmp_path):
        path = tmp_path / name
        if kind == "a folder":
            path.mkdir()
        else:
            path.write_text("" if kind == "empty" else "hello " * 100)
        with pytest.raises(SourceError, match=name):
            make_cache(backend).read(str(path), (0, 1, 0, 1))

    @pytest.mark.parametrize(
        "case",
        [
            "png, uint8 x 3",
            "png, uint16 x 4",
            "jpeg, color",
            "jpeg, gray",
            "jpeg, progressive",
            "bmp",
            "webp",
            "ppm",
            "tiled tiff, uint8 x 3",
            "striped tiff, uint8 x 3",
            "one-strip tiff, uint8 x 3",
            "band-interleaved tiff, uint8 x 3",
            "npy, uint8 x 3",
        ],
    )
    @pytest.mark.parametrize("part", [0.03, 0.5, 0.98])
    def test_a_file_that_is_cut_off_is_an_error_that_names_it(
        self, backend, case, part, make_cache, tmp_path
    ):
        path, pixels = CASES[case](tmp_path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * part)])
        height, width = pixels.shape[:2]
        with pytest.raises(SourceError, match=path.name):
            make_cache(backend).read(str(path), (0, height, 0, width))

    @pytest.mark.parametrize("name", ["photo.png", "photo.tif", "photo.bmp", "photo"])
    def test_a_jpeg_under_another_ending_is_read_and_seen_to_be_cut_off(
        self, backend, name, make_cache, tmp_path
    ):
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
        smooth = np.stack([y + x, 2 * y, 255 - x], axis=2).astype(np.uint8)
        whole = write_pillow(tmp_path / "whole.jpg", smooth)
        data = whole.read_bytes()
        (tmp_path / name).write_bytes(data)
        window = (0, HEIGHT, 0, WIDTH)
        found = make_cache(backend).read(str(tmp_path / name), window)
        assert np.abs(found.astype(int) - imread(whole)).mean() < 2  # two decoders differ a little
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(SourceError, match=name):
            make_cache(backend).read(str(tmp_path / name), window)

    @pytest.mark.skipif(sys.platform != "linux", reason="needs file names that are bytes")
    @pytest.mark.parametrize("ending", [".png", ".tif", ".npy", ".jpg"])
    def test_a_name_that_is_not_unicode_is_read_or_refused(self, backend, ending, make_cache, tmp_path):
        pixels = random_pixels()
        writer = {".png": write_png, ".tif": write_tiff, ".jpg": write_pillow}.get(ending)
        plain = tmp_path / f"plain{ending}"
        np.save(plain, pixels) if writer is None else writer(plain, pixels)
        path = os.path.join(tmp_path, os.fsdecode(b"\xff") + ending)
        os.rename(plain, path)
        try:
            found = make_cache(backend).read(path, (0, HEIGHT, 0, WIDTH))
        except SourceError:
            return
        assert found.shape == pixels.shape

    def test_a_path_that_cannot_exist_is_a_source_error(self, backend, make_cache):
        for path in ("/" + "a" * 300 + ".png", "/tmp/a\0b.png"):
            with pytest.raises(SourceError, match="cannot be reached|is no path|null"):
                make_cache(backend).read(path, (0, 1, 0, 1))

    def test_an_image_of_40000_pixels_a_side_costs_a_window(self, backend, make_cache, tmp_path):
        """Tiles that nobody wrote take no room on disk; decoding them all would take 4.5 GB."""
        if backend == "npy":
            pytest.skip("converts the whole image")
        options = {"driver": "GTiff", "height": 40_000, "width": 40_000, "count": 3, "dtype": "uint8"}
        options |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "SPARSE_OK": True, "BIGTIFF": "YES"}
        pixels = random_pixels()
        path = tmp_path / "huge.tif"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, "w", **options) as file:
                file.write(
                    pixels.transpose(2, 0, 1), window=((30_000, 30_000 + HEIGHT), (39_000, 39_000 + WIDTH))
                )
        window = (30_000, 30_000 + HEIGHT, 39_000, 39_000 + WIDTH)
        assert_same(make_cache(backend).read(str(path), window), pixels)

    def test_the_registry_gives_it_by_name(self, backend):
        storage = make_backend(backend)
        assert make_backend(storage) is storage
        assert make_backend({"type": backend, "config": {}}).config_id == storage.config_id
        assert storage.caches == (backend is not None)
        assert repr(storage) == f"{type(storage).__name__}({storage.config})"

    def test_two_formats_of_one_setting_share_an_id_and_others_differ(self, backend):
        ids = {make_backend(name).config_id for name in BACKENDS}
        assert len(ids) == len(BACKENDS)
        assert make_backend(backend).config_id == make_backend({"type": backend}).config_id


class TestReadsOnlyWhatItNeeds:
    @pytest.fixture
    def reads(self, monkeypatch) -> list[tuple[int, int, int, int]]:
        """Return the list of the windows that GDAL is asked for."""
        windows = []
        original = gdal.RasterReader.read

        def read(self, y0, y1, x0, x1, bands=None):
            windows.append((y0, y1, x0, x1))
            return original(self, y0, y1, x0, x1, bands)

        monkeypatch.setattr(gdal.RasterReader, "read", read)
        return windows

    @pytest.mark.parametrize("writer", ["tiled tiff", "striped tiff", "band-interleaved tiff", "bigtiff"])
    def test_a_source_with_blocks_is_read_by_window(self, writer, make_cache, tmp_path, reads, monkeypatch):
        monkeypatch.setattr(source_module, "decode_image", None)
        path = str(WRITERS[writer](tmp_path, random_pixels()))
        cache = make_cache(None)
        for window in WINDOWS[1:]:
            cache.read(path, window)
        assert reads == list(WINDOWS[1:])

    def test_a_cog_entry_is_read_by_window(self, make_cache, tmp_path, reads):
        path = str(write_png(tmp_path / "a.png", random_pixels()))
        cache = make_cache("cog")
        cache.ensure(path)
        reads.clear()
        for window in WINDOWS[1:]:
            cache.read(path, window)
        assert reads == list(WINDOWS[1:])

    @pytest.mark.parametrize("case", ["png, uint8 x 3", "jpeg, color", "one-strip tiff, uint8 x 3"])
    def test_any_other_source_is_decoded_once(self, case, make_cache, tmp_path, monkeypatch):
        opened = []
        original = source_module.open_source
        monkeypatch.setattr(source_module, "open_source", lambda path: opened.append(path) or original(path))
        path, pixels = CASES[case](tmp_path)
        cache = make_cache(None)
        for y0, y1, x0, x1 in WINDOWS:
            assert_same(cache.read(str(path), (y0, y1, x0, x1)), pixels[y0:y1, x0:x1])
        assert opened == [str(path)]

    def test_decoded_images_stay_within_the_bound_on_memory(self, make_cache, tmp_path):
        cache = make_cache(None)
        size = random_pixels().nbytes
        cache.handles.max_bytes = 3 * size
        paths = [str(write_png(tmp_path / f"{n}.png", random_pixels(seed=n))) for n in range(6)]
        for path in paths * 2:
            cache.read(path, (0, 1, 0, 1))
            assert sum(reader.nbytes for reader in cache.handles._idle.values()) <= 3 * size

    def test_one_image_larger_than_the_bound_is_held_all_the_same(self, make_cache, tmp_path, monkeypatch):
        decoded = []
        monkeypatch.setattr(
            source_module, "decode_image", lambda path: decoded.append(path) or decode_image(path)
        )
        cache = make_cache(None)
        cache.handles.max_bytes = 10
        path = str(write_png(tmp_path / "a.png", random_pixels()))
        for _ in range(3):
            cache.read(path, (0, 1, 0, 1))
        assert len(decoded) == 1

    @pytest.mark.skipif(sys.platform == "win32", reason="files there have no holes")
    def test_a_npy_source_is_mapped(self, make_cache, tmp_path):
        """A file with a hole of 2 GB, of which one window was written."""
        path = tmp_path / "huge.npy"
        array = np.lib.format.open_memmap(path, "w+", np.uint8, (30_000, 24_000, 3))
        pixels = random_pixels()
        array[20_000 : 20_000 + HEIGHT, 5_000 : 5_000 + WIDTH] = pixels
        del array
        gc.collect()
        for backend in (None, "npy"):
            window = (20_000, 20_000 + HEIGHT, 5_000, 5_000 + WIDTH)
            assert_same(make_cache(backend).read(str(path), window), pixels)

    @pytest.mark.parametrize("case", ["tiled tiff, uint8 x 3", "bigtiff, uint16 x 3", "tiff, jpeg in tiles"])
    def test_cog_uses_a_tiled_tiff_where_it_lies(self, case, make_cache, tmp_path):
        path, _ = CASES[case](tmp_path)
        cache = make_cache("cog")
        assert cache.is_ready(str(path))
        assert cache.ensure(str(path)) == str(path)
        assert not (tmp_path / "cache").exists()

    def test_cog_uses_a_cog_where_it_lies(self, make_cache, tmp_path):
        pixels = random_pixels()
        path = str(tmp_path / "there.tif")
        make_backend("cog").convert(open_source(str(write_png(tmp_path / "a.png", pixels))), path)
        cache = make_cache(cog(compress="LZW"))
        assert cache.ensure(path) == path
        assert_same(cache.read(path, WINDOWS[4]), pixels[HEIGHT - 7 :, :33])

    @pytest.mark.parametrize(
        "case", ["striped tiff, uint8 x 3", "one-strip tiff, uint8 x 3", "png, uint8 x 3", "npy, uint8 x 3"]
    )
    def test_cog_converts_anything_else(self, case, make_cache, tmp_path):
        path, _ = CASES[case](tmp_path)
        cache = make_cache("cog")
        assert not cache.is_ready(str(path))
        entry = cache.ensure(str(path))
        assert entry.endswith(".cog.tiff")
        assert cache.is_ready(str(path))

    def test_tiles_too_large_to_read_fast_are_converted(self, make_cache, tmp_path):
        options = {"tiled": True, "blockxsize": 2048, "blockysize": 2048, "compress": "deflate"}
        path = str(write_tiff(tmp_path / "coarse.tif", random_pixels(), **options))
        assert make_cache("cog").ensure(path) != path

    def test_npy_uses_a_npy_source_where_it_lies(self, make_cache, tmp_path):
        path = str(CASES["npy, uint16 x 3"](tmp_path)[0])
        assert make_cache("npy").ensure(path) == path


class TestCog:
    @pytest.mark.parametrize("compress", LOSSLESS)
    @pytest.mark.parametrize(
        ("dtype", "channels"), [("uint8", 3), ("uint8", 4), ("int16", 1), ("float32", 2), ("float64", 1)]
    )
    def test_every_codec_but_jpeg_keeps_each_pixel(self, compress, dtype, channels, make_cache, tmp_path):
        pixels = random_pixels(dtype, channels)
        if dtype.startswith("f"):
            pixels[3:9, 4:20] = np.nan
        path = str(WRITERS["striped tiff"](tmp_path, pixels))
        cache = make_cache(cog(compress=compress))
        assert_same(cache.read(path, WINDOWS[0]), pixels)
        with open_entry(cache, path) as file:
            codec = {"auto": "zstd", "none": None, "raw": None}.get(compress.lower(), compress.lower())
            assert (file.compression.value.lower() if file.compression else None) == codec

    @pytest.mark.parametrize("channels", [1, 3])
    def test_jpeg_comes_close_and_quality_counts(self, channels, make_cache, tmp_path):
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
        smooth = np.repeat(((y + x) % 200)[:, :, None], channels, axis=2).astype(np.uint8)
        path = str(WRITERS["striped tiff"](tmp_path, smooth))
        errors, sizes = {}, {}
        for quality in (10, 75, 100):
            cache = make_cache(cog(compress="JPEG", quality=quality))
            cache.dpath += str(quality)
            errors[quality] = np.abs(cache.read(path, WINDOWS[0]).astype(int) - smooth).mean()
            with open_entry(cache, path) as file:
                assert file.compression.value == "JPEG"
                sizes[quality] = pathlib.Path(file.name).stat().st_size
        assert errors[100] < errors[75] < errors[10] < 30
        assert sizes[10] < sizes[75] < sizes[100]

    @pytest.mark.parametrize(
        ("dtype", "channels"), [("uint8", 2), ("uint8", 4), ("uint8", 5), ("uint16", 3), ("float32", 1)]
    )
    def test_jpeg_stores_what_it_cannot_hold_without_loss(self, dtype, channels, make_cache, tmp_path):
        pixels = random_pixels(dtype, channels)
        path = str(WRITERS["striped tiff"](tmp_path, pixels))
        cache = make_cache(cog(compress="JPEG"))
        assert_same(cache.read(path, WINDOWS[0]), pixels)
        with open_entry(cache, path) as file:
            assert file.compression.value == "ZSTD"

    @pytest.mark.parametrize("blocksize", [16, 64, 128, 256, 4096])
    def test_tiles_have_the_size_asked_for(self, blocksize, make_cache, tmp_path):
        pixels = random_pixels()
        path = str(write_png(tmp_path / "a.png", pixels))
        cache = make_cache(cog(blocksize=blocksize))
        assert_same(cache.read(path, WINDOWS[8]), pixels[16:80, 32:96])
        with open_entry(cache, path) as file:
            assert file.block_shapes == [(blocksize, blocksize)] * 3

    @pytest.mark.parametrize(
        "overviews",
        ["auto", True, "AVERAGE", "nearest", "BILINEAR", "CUBIC", "CUBICSPLINE", "LANCZOS", "MODE", "RMS"],
    )
    @pytest.mark.parametrize("in_memory", [True, False])
    def test_overviews_are_written(self, overviews, in_memory, make_cache, tmp_path, monkeypatch):
        monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", 2**30 if in_memory else 0)
        pixels = random_pixels("uint8", 3, (150, 300))
        path = str(WRITERS["striped tiff"](tmp_path, pixels))
        cache = make_cache(cog(overviews=overviews))
        assert_same(cache.read(path, (0, 150, 0, 300)), pixels)
        with open_entry(cache, path) as file:
            assert file.overviews(1)[:1] == [2]
            assert file.width / file.overviews(1)[-1] <= gdal_write.SMALLEST_OVERVIEW * 2
            half = file.read(1, out_shape=(75, 150))
        pairs = pixels[..., 0].reshape(75, 2, 150, 2).astype(float)
        if str(overviews).upper() in ("AUTO", "TRUE", "AVERAGE"):
            assert np.abs(half - pairs.mean(axis=(1, 3))).max() <= 1
        elif overviews == "nearest":
            assert (half[:, None, :, None] == pairs).any(axis=(1, 3)).all()

    @pytest.mark.parametrize("in_memory", [True, False])
    def test_no_overviews_when_told_so_or_for_small_images(
        self, in_memory, make_cache, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", 2**30 if in_memory else 0)
        path = str(WRITERS["striped tiff"](tmp_path, random_pixels()))
        with open_entry(make_cache(cog(overviews=False)), path) as file:
            assert file.overviews(1) == []
        small = str(write_png(tmp_path / "small.png", random_pixels("uint8", 3, (100, 128))))
        with open_entry(make_cache("cog"), small) as file:
            assert file.overviews(1) == []

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("channels", [1, 3, 7])
    def test_images_too_large_for_memory_are_streamed_exactly(
        self, dtype, channels, make_cache, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", 0)
        pixels = random_pixels(dtype, channels)
        path = str(write_tiff(tmp_path / "a.tif", pixels, blockysize=7, nodata=7))
        cache = make_cache("cog")
        assert_same(cache.read(path, WINDOWS[0]), pixels)
        assert cache.visit(path, lambda reader: reader.nodata) == 7

    @pytest.mark.parametrize("part", [0.1, 0.6])
    def test_a_source_that_turns_out_damaged_while_streaming_is_blamed(
        self, part, make_cache, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", 0)
        path = write_tiff(tmp_path / "a.tif", random_pixels(), blockysize=7)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(SourceError, match=r"a\.tif"):
            make_cache("cog").ensure(str(path))

    def test_a_paletted_source_is_streamed_as_colors(self, make_cache, tmp_path, monkeypatch):
        monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", 0)
        image = paletted()
        path = str(write_pillow(tmp_path / "a.tif", image))
        assert_same(make_cache("cog").read(path, WINDOWS[0]), np.asarray(image.convert("RGBA")))

    def test_an_entry_is_a_valid_cloud_optimized_geotiff(self, make_cache, tmp_path):
        path = str(write_png(tmp_path / "a.png", random_pixels("uint8", 3, (300, 290))))
        with open_entry(make_cache("cog"), path) as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.profile["interleave"] == "pixel"
            assert file.profile["tiled"]

    @pytest.mark.parametrize("dtype", ["bool", "float16", "longdouble"])
    def test_a_type_that_gdal_lacks_is_named_with_the_way_out(self, dtype, make_cache, tmp_path):
        np.save(tmp_path / "odd.npy", random_pixels("int16").astype(dtype))
        with pytest.raises(CacheError, match=r"odd.*backend .*npy"):
            make_cache("cog").ensure(str(tmp_path / "odd.npy"))

    @pytest.mark.parametrize("dtype", ["int8", "int64", "uint64"])
    def test_wider_and_narrower_integers_are_kept(self, dtype, make_cache, tmp_path):
        pixels = np.random.default_rng(0).integers(
            np.iinfo(dtype).min, np.iinfo(dtype).max, (*DIMS, 2), dtype, endpoint=True
        )
        np.save(tmp_path / "odd.npy", pixels)
        assert_same(make_cache("cog").read(str(tmp_path / "odd.npy"), WINDOWS[0]), pixels)


class TestSettings:
    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"compress": "WEBP"}, r"compress is 'WEBP'; expected one of 'auto', 'ZSTD'"),
            ({"compress": 5}, r"compress is 5; expected one of"),
            ({"blocksize": 100}, r"blocksize is 100; expected a multiple of 16"),
            ({"blocksize": 0}, r"blocksize is 0"),
            ({"blocksize": 8192}, r"blocksize is 8192"),
            ({"blocksize": "128"}, r"blocksize is '128'"),
            ({"blocksize": True}, r"blocksize is True"),
            ({"quality": 0}, r"quality is 0; expected an integer from 1 to 100"),
            ({"quality": 101}, r"quality is 101"),
            ({"quality": 7.5}, r"quality is 7.5"),
            ({"overviews": "best"}, r"overviews is 'best'; expected True, False, or one of 'auto'"),
            ({"overviews": 3}, r"overviews is 3"),
            ({"compres": "LZW"}, r"backend 'cog' has no setting 'compres'; it has 'compress'"),
        ],
    )
    def test_a_setting_of_cog_out_of_range_names_the_options(self, config, message):
        with pytest.raises(BackendError, match=message):
            make_backend({"type": "cog", "config": config})

    def test_npy_and_none_have_no_settings(self):
        for name in ("npy", None):
            with pytest.raises(BackendError, match="has no setting 'compress'; it has no settings at all"):
                make_backend({"type": name, "config": {"compress": "LZW"}})

    @pytest.mark.parametrize(
        "spec", ["np", "COG", "gdal", 3, ["cog"], object(), {"type": "zarr"}, {"type": 3}]
    )
    def test_an_unknown_backend_names_the_options(self, spec):
        with pytest.raises(BackendError, match=r"backend is .*; expected None, 'auto', 'cog', 'npy'"):
            make_backend(spec)

    def test_a_near_miss_is_guessed(self):
        with pytest.raises(BackendError, match="did you mean 'npy'"):
            make_backend("numpy")

    @pytest.mark.parametrize("spec", [{}, {"config": {}}, {"type": "cog", "conf": {}}, {"backend": "cog"}])
    def test_a_dict_with_other_keys_is_refused(self, spec):
        with pytest.raises(BackendError, match="expected a dict with the keys 'type' and 'config'"):
            make_backend(spec)

    def test_a_config_that_is_no_dict_is_refused(self):
        with pytest.raises(BackendError, match="the config of backend 'cog' is 'LZW'; expected a dict"):
            make_backend({"type": "cog", "config": "LZW"})

    def test_the_documented_default_is_taken(self):
        spec = {"_hack_use_cli": True, "config": {"compress": "auto"}, "type": "cog"}
        assert make_backend(spec).config_id == make_backend("auto").config_id == make_backend("cog").config_id

    def test_each_setting_has_an_id_of_its_own(self):
        configs = [{}, {"compress": "LZW"}, {"blocksize": 64}, {"quality": 50}, {"overviews": False}]
        ids = {make_backend({"type": "cog", "config": config}).config_id for config in configs}
        assert len(ids) == len(configs)

    def test_the_caller_keeps_the_config(self):
        config = {"compress": "LZW"}
        make_backend({"type": "cog", "config": config}).config["compress"] = "NONE"
        assert config == {"compress": "LZW"}

    def test_a_new_backend_is_found_by_its_name(self, monkeypatch):
        monkeypatch.setattr("ndsampler.backends.base.REGISTRY", dict(REGISTRY))

        @register("other")
        class Other(Backend):
            def open(self, path):
                return open_source(path)

        assert isinstance(make_backend("other"), Other)
        assert make_backend("other").usable_in_place("any")
        with pytest.raises(NotImplementedError, match="'other' keeps no entries"):
            Other().convert(None, "dest")


class TestNpy:
    def test_entries_are_plain_npy_files(self, make_cache, tmp_path):
        pixels = random_pixels("uint16", 3)
        entry = make_cache("npy").ensure(str(write_tiff(tmp_path / "a.tif", pixels, nodata=7)))
        assert_same(np.load(entry), pixels)
        assert_same(np.asarray(np.load(entry, mmap_mode="r")), pixels)

    @pytest.mark.parametrize("block", [1, 5_000, 2**20])
    def test_blocks_of_rows_join_without_a_seam(self, block, make_cache, tmp_path, monkeypatch):
        monkeypatch.setattr(base, "BLOCK_BYTES", block)
        pixels = random_pixels("float64", 2)
        path = str(WRITERS["striped tiff"](tmp_path, pixels))
        assert_same(make_cache("npy").read(path, WINDOWS[0]), pixels)

    def test_an_array_of_objects_is_never_unpickled(self, make_cache, tmp_path):
        np.save(tmp_path / "objects.npy", np.array([[1, None]], dtype=object), allow_pickle=True)
        for backend in BACKENDS:
            with pytest.raises(SourceError, match="objects.npy holds object"):
                make_cache(backend).read(str(tmp_path / "objects.npy"), (0, 1, 0, 1))

    @pytest.mark.parametrize("array", [np.zeros(5), np.zeros((2, 3, 4, 5)), np.array(1.0)])
    def test_an_array_of_other_axes_is_no_image(self, array, make_cache, tmp_path):
        np.save(tmp_path / "odd.npy", array)
        for backend in BACKENDS:
            with pytest.raises(SourceError, match="odd.npy holds .*expected an image of 2 or 3 axes"):
                make_cache(backend).read(str(tmp_path / "odd.npy"), (0, 1, 0, 1))


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
            FrameCache(make_backend("cog"), str(tmp_path / "cache")).read(path, WINDOWS[0])

    def test_without_opencv_the_packages_to_install_are_named(self, tmp_path, monkeypatch):
        path = str(write_png(tmp_path / "a.png", random_pixels()))
        monkeypatch.setitem(sys.modules, "cv2", None)
        with pytest.raises(ImportError, match="opencv-python-headless"):
            decode_image(path)
