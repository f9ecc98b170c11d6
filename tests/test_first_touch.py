"""How often the files of an image are opened until its first window has been read."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from helpers_cache import cog
from helpers_images import WRITERS, assert_same, quiet_rasterio, random_pixels, write_tiff

from ndsampler.backends import gdal_open, make_backend
from ndsampler.backends.source import open_source
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.identity import Source


@pytest.fixture
def opened(monkeypatch):
    """The files that GDAL has opened, in order."""
    names = []
    open_with_gdal = gdal_open._open

    def record(name, drivers, options):
        names.append(name)
        return open_with_gdal(name, drivers, options)

    monkeypatch.setattr(gdal_open, "_open", record)
    return names


@pytest.mark.parametrize("spec", [None, cog(in_place=True)], ids=["None", "cog"])
def test_gdal_opens_a_tiled_source_once(spec, opened, tmp_path):
    pixels = random_pixels("uint8", 3, (300, 400))
    path = str(WRITERS["tiled tiff"](tmp_path, pixels))
    cache = FrameCache(make_backend(spec), None if spec is None else str(tmp_path / "cache"))
    assert_same(cache.read(Source(path), (8, 72, 16, 80)), pixels[8:72, 16:80])
    assert opened == [path]


def test_gdal_opens_a_striped_source_and_its_entry_once(opened, tmp_path):
    pixels = random_pixels("uint8", 3, (100, 120))
    path = str(WRITERS["striped tiff"](tmp_path, pixels))
    cache = FrameCache(make_backend(cog(overviews=False)), str(tmp_path / "cache"))
    entry = cache.ensure(Source(path))
    opened_to_convert = list(opened)
    opened.clear()
    assert_same(cache.read(Source(path), (8, 72, 16, 80)), pixels[8:72, 16:80])
    assert opened == [entry]
    assert opened_to_convert.count(path) == 1


@pytest.mark.parametrize(
    ("option", "expected"), [(None, 1), ("FALSE", 1), ("TRUE", 1), ("EMPTY_DIR", 0)], ids=str
)
def test_files_beside_a_tiff_are_found_unless_the_user_tells_gdal_not_to(option, expected, tmp_path):
    path = str(write_tiff(tmp_path / "image.tif", random_pixels("uint8", 1, (300, 400))))
    with quiet_rasterio(), rasterio.open(path, "r+") as file, rasterio.Env(TIFF_USE_OVR="YES"):
        file.build_overviews([2])
    assert (tmp_path / "image.tif.ovr").exists()
    with rasterio.Env(**({} if option is None else {"GDAL_DISABLE_READDIR_ON_OPEN": option})):
        reader = open_source(path)
    assert len(reader.overviews) == expected
    reader.close()
    assert np.dtype(reader.dtype) == np.uint8
