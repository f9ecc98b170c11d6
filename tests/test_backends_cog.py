"""Entries of the cog backend: codecs, tiles, overviews and settings."""

from __future__ import annotations

import itertools
import pathlib
import warnings

import numpy as np
import pytest
import rasterio
from helpers_cache import cog
from helpers_images import (
    DIMS,
    DTYPES,
    HEIGHT,
    WIDTH,
    WINDOWS,
    WRITERS,
    assert_same,
    paletted,
    random_pixels,
    write_pillow,
    write_png,
    write_tiff,
)
from rasterio.errors import NotGeoreferencedWarning

from ndsampler.backends import gdal_write, make_backend
from ndsampler.backends.base import REGISTRY, Backend, register
from ndsampler.backends.source import open_source
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.identity import Source
from ndsampler.cache.names import config_folder
from ndsampler.errors import BackendError, CacheError, SourceError

LOSSLESS = ["auto", "ZSTD", "DEFLATE", "LZW", "NONE", "RAW", "lzw"]


def open_entry(cache: FrameCache, path):
    """Return an entry as rasterio sees it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(cache.ensure(Source(str(path))))


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
        assert_same(cache.read(Source(path), WINDOWS[0]), pixels)
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
            errors[quality] = np.abs(cache.read(Source(path), WINDOWS[0]).astype(int) - smooth).mean()
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
        assert_same(cache.read(Source(path), WINDOWS[0]), pixels)
        with open_entry(cache, path) as file:
            assert file.compression.value == "ZSTD"

    @pytest.mark.parametrize("blocksize", [16, 64, 128, 256, 4096])
    def test_tiles_have_the_size_asked_for(self, blocksize, make_cache, tmp_path):
        pixels = random_pixels()
        path = str(write_png(tmp_path / "a.png", pixels))
        cache = make_cache(cog(blocksize=blocksize))
        assert_same(cache.read(Source(path), WINDOWS[8]), pixels[16:80, 32:96])
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
        assert_same(cache.read(Source(path), (0, 150, 0, 300)), pixels)
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

    @pytest.mark.parametrize(("dtype", "channels"), [*zip(DTYPES, itertools.cycle([1, 3, 7]))])
    def test_images_too_large_for_memory_are_streamed_exactly(
        self, dtype, channels, make_cache, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", 0)
        pixels = random_pixels(dtype, channels)
        path = str(write_tiff(tmp_path / "a.tif", pixels, blockysize=7, nodata=7))
        cache = make_cache("cog")
        assert_same(cache.read(Source(path), WINDOWS[0]), pixels)
        assert cache.visit(Source(path), lambda reader: reader.nodata) == 7

    @pytest.mark.parametrize("part", [0.1, 0.6])
    def test_a_source_that_turns_out_damaged_while_streaming_is_blamed(
        self, part, make_cache, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", 0)
        path = write_tiff(tmp_path / "a.tif", random_pixels(), blockysize=7)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(SourceError, match=r"a\.tif"):
            make_cache("cog").ensure(Source(str(path)))

    def test_a_paletted_source_is_streamed_as_colors(self, make_cache, tmp_path, monkeypatch):
        monkeypatch.setattr(gdal_write, "IN_MEMORY_BYTES", 0)
        image = paletted()
        path = str(write_pillow(tmp_path / "a.tif", image))
        assert_same(make_cache("cog").read(Source(path), WINDOWS[0]), np.asarray(image.convert("RGBA")))

    def test_an_entry_is_a_valid_cloud_optimized_geotiff(self, make_cache, tmp_path):
        path = str(write_png(tmp_path / "a.png", random_pixels("uint8", 3, (300, 290))))
        with open_entry(make_cache("cog"), path) as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.profile["interleave"] == "pixel"
            assert file.profile["tiled"]

    @pytest.mark.parametrize("dtype", ["longdouble", "clongdouble"])
    def test_a_type_that_gdal_lacks_is_named_with_the_way_out(self, dtype, make_cache, tmp_path):
        np.save(tmp_path / "odd.npy", random_pixels("int16").astype(dtype))
        with pytest.raises(CacheError, match=r"odd.*backend .*npy"):
            make_cache("cog").ensure(Source(str(tmp_path / "odd.npy")))

    @pytest.mark.parametrize("dtype", ["int8", "int64", "uint64"])
    def test_wider_and_narrower_integers_are_kept(self, dtype, make_cache, tmp_path):
        pixels = np.random.default_rng(0).integers(
            np.iinfo(dtype).min, np.iinfo(dtype).max, (*DIMS, 2), dtype, endpoint=True
        )
        np.save(tmp_path / "odd.npy", pixels)
        assert_same(make_cache("cog").read(Source(str(tmp_path / "odd.npy")), WINDOWS[0]), pixels)


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

    @pytest.mark.parametrize(("name", "settings"), [("npy", "'in_place'"), (None, "no settings at all")])
    def test_npy_and_none_have_none_of_these_settings(self, name, settings):
        with pytest.raises(BackendError, match=f"has no setting 'compress'; it has {settings}"):
            make_backend({"type": name, "config": {"compress": "LZW"}})

    @pytest.mark.parametrize("name", ["npy", "cog"])
    @pytest.mark.parametrize("value", [1, None, "yes"])
    def test_the_choice_of_sources_that_are_read_in_place_names_the_options(self, name, value):
        with pytest.raises(BackendError, match=f"in_place is {value!r}; expected True, False, or 'auto'"):
            make_backend({"type": name, "config": {"in_place": value}})

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
        assert (
            config_folder(make_backend(spec))
            == config_folder(make_backend("auto"))
            == config_folder(make_backend("cog"))
        )

    def test_each_setting_has_an_id_of_its_own(self):
        configs = [{}, {"compress": "LZW"}, {"blocksize": 64}, {"quality": 50}, {"overviews": False}]
        ids = {config_folder(make_backend({"type": "cog", "config": config})) for config in configs}
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
        with pytest.raises(NotImplementedError, match="'other' writes no entries"):
            Other().convert(None, "dest")
