"""Every backend gives the pixels of the source, exactly, and reads no more than it must."""

from __future__ import annotations

import dataclasses
import gc
import os
import sys
import warnings

import numpy as np
import pytest
import rasterio
from helpers_cache import cog
from helpers_images import (
    CASES,
    DTYPES,
    HEIGHT,
    WIDTH,
    WINDOWS,
    WRITERS,
    assert_same,
    imread,
    random_pixels,
    write_pillow,
    write_png,
    write_tiff,
)
from rasterio.errors import NotGeoreferencedWarning

from ndsampler.backends import base, gdal, make_backend
from ndsampler.backends import source as source_module
from ndsampler.backends.base import REGISTRY, register
from ndsampler.backends.opencv import decode_image
from ndsampler.backends.source import open_source
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.identity import Source
from ndsampler.cache.names import config_folder
from ndsampler.errors import BackendError, MissingSourceError, SourceError

BACKENDS = [None, *sorted(set(REGISTRY) - {"raw"})]


@dataclasses.dataclass
class Case:
    """A file and what it must read as."""

    path: str
    pixels: np.ndarray


@pytest.fixture(scope="module", params=CASES)
def source(request, tmp_path_factory) -> Case:
    path, pixels = CASES[request.param](tmp_path_factory.mktemp("source"))
    return Case(str(path), pixels)


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
            assert_same(cache.read(Source(source.path), window), expected)
            bands = rng.permutation(channels)[: rng.integers(1, channels + 1)].tolist()
            assert_same(cache.read(Source(source.path), window, bands), expected[:, :, bands])

    def test_an_open_file_tells_its_shape_and_type(self, backend, source, make_cache):
        shape, dtype = make_cache(backend).visit(
            Source(source.path), lambda reader: (reader.shape, reader.dtype)
        )
        assert tuple(shape) == source.pixels.shape
        assert dtype == source.pixels.dtype
        assert dtype.isnative

    def test_pixels_belong_to_the_caller(self, backend, source, make_cache):
        cache = make_cache(backend)
        for bands in (None, [0]):
            first = cache.read(Source(source.path), (3, 40, 5, 70), bands)
            expected = first.copy()
            assert first.flags.writeable
            assert first.flags.c_contiguous
            first[:] = 1
            assert_same(cache.read(Source(source.path), (3, 40, 5, 70), bands), expected)

    def test_random_windows_equal_slices(self, backend, make_cache, tmp_path):
        pixels = random_pixels("uint16", 4)
        path = str(WRITERS["striped tiff"](tmp_path, pixels))
        cache = make_cache(backend)
        rng = np.random.default_rng(1)
        for _ in range(100):
            y0, y1 = sorted(rng.integers(0, HEIGHT + 1, 2).tolist())
            x0, x1 = sorted(rng.integers(0, WIDTH + 1, 2).tolist())
            assert_same(cache.read(Source(path), (y0, y1, x0, x1)), pixels[y0:y1, x0:x1])

    @pytest.mark.parametrize("dims", [(1, 1), (1, 300), (300, 1), (2, 3), (16, 16)])
    @pytest.mark.parametrize("channels", [1, 3, 13])
    def test_thin_and_tiny_images(self, backend, dims, channels, make_cache, tmp_path):
        pixels = random_pixels("int16", channels, dims)
        for writer in ("striped tiff", "npy"):
            path = WRITERS[writer](tmp_path, pixels)
            assert_same(make_cache(backend).read(Source(str(path)), (0, dims[0], 0, dims[1])), pixels)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("writer", ["striped tiff", "tiled tiff"])
    def test_the_nodata_value_is_kept(self, backend, dtype, writer, make_cache, tmp_path):
        pixels = random_pixels(dtype, 2)
        tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16} if writer == "tiled tiff" else {}
        for nodata in (0, 77, 1.5 if dtype.startswith("f") else 12):
            path = write_tiff(tmp_path / f"{nodata}.tif", pixels, nodata=nodata, **tiled)
            cache = make_cache(backend)
            assert cache.visit(Source(str(path)), lambda reader: reader.nodata) == nodata
            assert_same(cache.read(Source(str(path)), (0, HEIGHT, 0, WIDTH)), pixels)

    def test_nodata_that_is_nan_or_absent_is_kept(self, backend, make_cache, tmp_path):
        pixels = random_pixels("float32", 1)
        with_nan = write_tiff(tmp_path / "a.tif", pixels, nodata=np.nan)
        assert np.isnan(make_cache(backend).visit(Source(str(with_nan)), lambda reader: reader.nodata))
        without = write_tiff(tmp_path / "b.tif", pixels)
        assert make_cache(backend).visit(Source(str(without)), lambda reader: reader.nodata) is None

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
        assert_same(cache.read(Source(str(path)), (0, HEIGHT, 0, WIDTH)), pixels)

    def test_a_missing_file_is_named(self, backend, make_cache, tmp_path):
        for name in ("gone.png", "gone.tif", "gone.npy", "plain.png/inside.png"):
            write_png(tmp_path / "plain.png", random_pixels())
            with pytest.raises(MissingSourceError, match="gone|inside") as caught:
                make_cache(backend).read(Source(str(tmp_path / name)), (0, 1, 0, 1))
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
            make_cache(backend).read(Source(str(path)), (0, 1, 0, 1))

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
            make_cache(backend).read(Source(str(path)), (0, height, 0, width))

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
        found = make_cache(backend).read(Source(str(tmp_path / name)), window)
        assert np.abs(found.astype(int) - imread(whole)).mean() < 2  # two decoders differ a little
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(SourceError, match=name):
            make_cache(backend).read(Source(str(tmp_path / name)), window)

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
            found = make_cache(backend).read(Source(path), (0, HEIGHT, 0, WIDTH))
        except SourceError:
            return
        assert found.shape == pixels.shape

    def test_a_path_that_cannot_exist_is_a_source_error(self, backend, make_cache):
        for path in ("/" + "a" * 300 + ".png", "/tmp/a\0b.png"):
            with pytest.raises(SourceError, match="cannot be reached|is no path|null"):
                make_cache(backend).read(Source(path), (0, 1, 0, 1))

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
        assert_same(make_cache(backend).read(Source(str(path)), window), pixels)

    def test_the_registry_gives_it_by_name(self, backend):
        storage = make_backend(backend)
        assert make_backend(storage) is storage
        assert config_folder(make_backend({"type": backend, "config": {}})) == config_folder(storage)
        assert storage.caches == (backend is not None)
        assert repr(storage) == f"{type(storage).__name__}({storage.config})"

    def test_two_formats_of_one_setting_share_an_id_and_others_differ(self, backend):
        ids = {config_folder(make_backend(name)) for name in BACKENDS}
        assert len(ids) == len(BACKENDS)
        assert config_folder(make_backend(backend)) == config_folder(make_backend({"type": backend}))


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
            cache.read(Source(path), window)
        assert reads == list(WINDOWS[1:])

    def test_a_cog_entry_is_read_by_window(self, make_cache, tmp_path, reads):
        path = str(write_png(tmp_path / "a.png", random_pixels()))
        cache = make_cache("cog")
        cache.ensure(Source(path))
        reads.clear()
        for window in WINDOWS[1:]:
            cache.read(Source(path), window)
        assert reads == list(WINDOWS[1:])

    @pytest.mark.parametrize("case", ["png, uint8 x 3", "jpeg, color", "one-strip tiff, uint8 x 3"])
    def test_any_other_source_is_decoded_once(self, case, make_cache, tmp_path, monkeypatch):
        opened = []
        original = source_module.open_source

        def count(path, *stated):
            opened.append(path)
            return original(path, *stated)

        monkeypatch.setattr(source_module, "open_source", count)
        path, pixels = CASES[case](tmp_path)
        cache = make_cache(None)
        for y0, y1, x0, x1 in WINDOWS:
            assert_same(cache.read(Source(str(path)), (y0, y1, x0, x1)), pixels[y0:y1, x0:x1])
        assert opened == [str(path)]

    def test_decoded_images_stay_within_the_bound_on_memory(self, make_cache, tmp_path):
        cache = make_cache(None)
        size = random_pixels().nbytes
        cache.handles.max_bytes = 3 * size
        paths = [str(write_png(tmp_path / f"{n}.png", random_pixels(seed=n))) for n in range(6)]
        for path in paths * 2:
            cache.read(Source(path), (0, 1, 0, 1))
            assert sum(idle.reader.nbytes for idle in cache.handles._idle.values()) <= 3 * size

    def test_one_image_larger_than_the_bound_is_held_all_the_same(self, make_cache, tmp_path, monkeypatch):
        decoded = []
        monkeypatch.setattr(
            source_module, "decode_image", lambda path: decoded.append(path) or decode_image(path)
        )
        cache = make_cache(None)
        cache.handles.max_bytes = 10
        path = str(write_png(tmp_path / "a.png", random_pixels()))
        for _ in range(3):
            cache.read(Source(path), (0, 1, 0, 1))
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
            assert_same(make_cache(backend).read(Source(str(path)), window), pixels)

    @pytest.mark.parametrize("case", ["tiled tiff, uint8 x 3", "bigtiff, uint16 x 3", "tiff, jpeg in tiles"])
    def test_cog_uses_a_tiled_tiff_where_it_lies(self, case, make_cache, tmp_path):
        path, _ = CASES[case](tmp_path)
        cache = make_cache(cog(in_place=True))
        assert cache.find_ready(Source(str(path)))
        assert cache.ensure(Source(str(path))) == str(path)
        assert not (tmp_path / "cache").exists()

    def test_cog_uses_a_cog_where_it_lies(self, make_cache, tmp_path):
        pixels = random_pixels()
        path = str(tmp_path / "there.tif")
        make_backend("cog").convert(open_source(str(write_png(tmp_path / "a.png", pixels))), path)
        cache = make_cache(cog(compress="LZW"))
        assert cache.ensure(Source(path)) == path
        assert_same(cache.read(Source(path), WINDOWS[4]), pixels[HEIGHT - 7 :, :33])

    @pytest.mark.parametrize(
        "case", ["striped tiff, uint8 x 3", "one-strip tiff, uint8 x 3", "png, uint8 x 3", "npy, uint8 x 3"]
    )
    def test_cog_converts_anything_else(self, case, make_cache, tmp_path):
        path, _ = CASES[case](tmp_path)
        cache = make_cache("cog")
        assert not cache.find_ready(Source(str(path)))
        entry = cache.ensure(Source(str(path)))
        assert entry.endswith(".cog.tiff")
        assert cache.find_ready(Source(str(path)))

    def test_tiles_too_large_to_read_fast_are_converted(self, make_cache, tmp_path):
        options = {"tiled": True, "blockxsize": 2048, "blockysize": 2048, "compress": "deflate"}
        path = str(write_tiff(tmp_path / "coarse.tif", random_pixels(), **options))
        assert make_cache("cog").ensure(Source(path)) != path

    def test_npy_uses_a_npy_source_where_it_lies(self, make_cache, tmp_path):
        path = str(CASES["npy, uint16 x 3"](tmp_path)[0])
        assert make_cache("npy").ensure(Source(path)) == path


class TestNpy:
    def test_entries_are_plain_npy_files(self, make_cache, tmp_path):
        pixels = random_pixels("uint16", 3)
        entry = make_cache("npy").ensure(Source(str(write_tiff(tmp_path / "a.tif", pixels, nodata=7))))
        assert_same(np.load(entry), pixels)
        assert_same(np.asarray(np.load(entry, mmap_mode="r")), pixels)

    @pytest.mark.parametrize("block", [1, 5_000, 2**20])
    def test_blocks_of_rows_join_without_a_seam(self, block, make_cache, tmp_path, monkeypatch):
        monkeypatch.setattr(base, "BLOCK_BYTES", block)
        pixels = random_pixels("float64", 2)
        path = str(WRITERS["striped tiff"](tmp_path, pixels))
        assert_same(make_cache("npy").read(Source(path), WINDOWS[0]), pixels)

    def test_an_array_of_objects_is_never_unpickled(self, make_cache, tmp_path):
        np.save(tmp_path / "objects.npy", np.array([[1, None]], dtype=object), allow_pickle=True)
        for backend in BACKENDS:
            with pytest.raises(SourceError, match="objects.npy holds object"):
                make_cache(backend).read(Source(str(tmp_path / "objects.npy")), (0, 1, 0, 1))

    @pytest.mark.parametrize("array", [np.zeros(5), np.zeros((2, 3, 4, 5)), np.array(1.0)])
    def test_an_array_of_other_axes_is_no_image(self, array, make_cache, tmp_path):
        np.save(tmp_path / "odd.npy", array)
        for backend in BACKENDS:
            with pytest.raises(SourceError, match="odd.npy holds .*array of numbers with 2 or 3 axes"):
                make_cache(backend).read(Source(str(tmp_path / "odd.npy")), (0, 1, 0, 1))


@pytest.mark.parametrize("name", ["", "my/format", "..", "a b", "a.b", "größe", "a\n", 5, None])
def test_a_backend_has_a_name_that_may_be_that_of_a_folder(name):
    with pytest.raises(BackendError, match=r"the name of a backend is .*letters, digits, _ and -"):
        register(name)
