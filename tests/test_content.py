"""Which drivers read a file, by what it holds: mismatched endings, VRTs, texts and files beside an image."""

from __future__ import annotations

import logging
import pathlib

import numpy as np
import pytest
import rasterio
from helpers_hosts import listening_host
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
from ndsampler.backends import content
from ndsampler.backends.source import open_source
from ndsampler.errors import SourceError

BACKENDS = [None, "npy", "cog"]

#: Endings that stand for a format with pixels of its own.
ENDINGS = ["tif", "tiff", "gtiff", "jp2", "ntf", "png", "jpg", "bmp", "dat"]

#: Texts that GDAL follows to other files or hosts; HOST stands for a server.
TEXTS = {
    "WMS": '<GDAL_WMS><Service name="TMS"><ServerUrl>http://HOST/</ServerUrl></Service></GDAL_WMS>',
    "WMTS": "<GDAL_WMTS><GetCapabilitiesUrl>http://HOST/</GetCapabilitiesUrl></GDAL_WMTS>",
    "WCS": "<WCS_GDAL><ServiceURL>http://HOST/</ServiceURL></WCS_GDAL>",
    "GTI": "<GDALTileIndexDataset><IndexDataset>a.gpkg</IndexDataset></GDALTileIndexDataset>",
    "MRF": "<MRF_META><CachedSource><Source>http://HOST/</Source></CachedSource></MRF_META>",
    "STACIT": '{"type": "FeatureCollection", "stac_version": "1.0.0", "features": []}',
    "STACTA": '{"type": "Feature", "stac_version": "1.0.0", "asset_templates": {}}',
    "PLMosaic": '[{"a": 1}]',
}


def make_vrt(source: str, size: tuple[int, int] = DIMS, band: str = "", more: str = "") -> str:
    """Return a VRT of one band with a simple source."""
    name = f"<SimpleSource><SourceFilename>{source}</SourceFilename></SimpleSource>"
    return (
        f'<VRTDataset rasterXSize="{size[1]}" rasterYSize="{size[0]}">{more}'
        f'<VRTRasterBand dataType="Byte" band="1" {band}>{name if source else ""}</VRTRasterBand>'
        "</VRTDataset>"
    )


def make_raw_vrt(name: str) -> str:
    """Return a VRT of one band whose pixels are the bytes of a file."""
    return make_vrt("", band='subClass="VRTRawRasterBand"').replace(
        "</VRTRasterBand>",
        f'<SourceFilename relativeToVRT="{int(not name.startswith("/"))}">{name}</SourceFilename>'
        f"<PixelOffset>1</PixelOffset><LineOffset>{WIDTH}</LineOffset></VRTRasterBand>",
    )


def read_all(path: pathlib.Path, workdir: pathlib.Path, backend) -> np.ndarray:
    """Return the pixels of a file through frames with a backend."""
    return SimpleFrames({1: str(path)}, workdir, backend).load_region(1)


@pytest.fixture(scope="module", name="host")
def fixture_host():
    with listening_host() as host:
        yield host


class TestReferences:
    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("ending", ENDINGS)
    def test_a_vrt_with_another_ending_is_refused(self, ending, backend, tmp_path):
        real = write_tiff(tmp_path / "real.tif", random_pixels())
        path = tmp_path / f"a.{ending}"
        path.write_text(make_vrt(str(real)))
        with pytest.raises(SourceError):
            read_all(path, tmp_path / "work", backend)
        assert not list((tmp_path / "work").rglob("*.cog.tiff"))

    @pytest.mark.parametrize("ending", ["tif", "vrt", "png", "xml", "json", "dat"])
    @pytest.mark.parametrize("kind", TEXTS)
    def test_a_text_that_refers_to_a_host_is_refused(self, kind, ending, tmp_path, host):
        path = tmp_path / f"a.{ending}"
        path.write_text(TEXTS[kind].replace("HOST", host.address))
        with pytest.raises(SourceError):
            open_source(str(path))
        assert host.connections == 0

    def test_a_vrt_reads_its_sources_and_follows_their_edits(self, tmp_path):
        (tmp_path / "a.vrt").write_text(make_vrt(str(tmp_path / "real.tif")))
        (tmp_path / "b.vrt").write_text(make_vrt(str(tmp_path / "a.vrt")))
        for seed in (1, 2):
            pixels = random_pixels(channels=1, seed=seed)
            write_tiff(tmp_path / "real.tif", pixels)
            for name in ("a.vrt", "b.vrt"):
                assert_same(read_all(tmp_path / name, tmp_path / "work", "npy"), pixels)

    @pytest.mark.parametrize(
        "source",
        [
            *("/vsicurl/http://HOST/a.tif", "http://HOST/a.tif", "/vsis3/a/b.tif"),
            *(
                "/vsizip//vsicurl/http://HOST/a.zip/b.tif",
                "WMS:a",
                "&lt;GDAL_WMS&gt;&lt;/GDAL_WMS&gt;",
            ),
            *("GTIFF_DIR:1:/vsicurl/http://HOST/a.tif", "../../../../../../vsicurl/a.tif"),
            *('{"type": "Feature"}', "NETCDF:/vsicurl/http://HOST/a.nc:b"),
        ],
    )
    def test_a_vrt_with_a_source_elsewhere_is_refused(self, source, tmp_path, host):
        (tmp_path / "a.vrt").write_text(make_vrt(source.replace("HOST", host.address)))
        with pytest.raises(SourceError, match="local files only"):
            open_source(str(tmp_path / "a.vrt"))
        assert host.connections == 0

    def test_a_source_of_a_vrt_is_checked_as_the_vrt_is(self, tmp_path):
        (tmp_path / "hidden.tif").write_text(make_vrt("/vsicurl/http://127.0.0.1:9/a.tif"))
        (tmp_path / "wms.dat").write_text(TEXTS["WMS"])
        (tmp_path / "loop.vrt").write_text(make_vrt(str(tmp_path / "loop.vrt")))
        for name in ("hidden.tif", "wms.dat", "loop.vrt"):
            (tmp_path / "a.vrt").write_text(make_vrt(str(tmp_path / name)))
            with pytest.raises(SourceError, match="cannot be opened as an image"):
                open_source(str(tmp_path / "a.vrt"))

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("kind", ["missing", "text", "damaged"])
    def test_a_source_of_a_vrt_in_a_vrt_that_cannot_be_opened_is_an_error(self, kind, backend, tmp_path):
        write_tiff(tmp_path / "damaged.tif", random_pixels(channels=1))
        (tmp_path / "damaged.tif").write_bytes((tmp_path / "damaged.tif").read_bytes()[:100])
        (tmp_path / "text.dat").write_text("root:x:0:0\n" * 500)
        names = {"missing": "none.tif", "text": "text.dat", "damaged": "damaged.tif"}
        (tmp_path / "a.vrt").write_text(make_vrt(str(tmp_path / names[kind])))
        (tmp_path / "b.vrt").write_text(make_vrt(str(tmp_path / "a.vrt")))
        (tmp_path / "c.vrt").write_text(make_vrt(str(tmp_path / "b.vrt")))
        for name in ("a.vrt", "b.vrt", "c.vrt"):
            for _ in range(2):
                with pytest.raises(SourceError):
                    read_all(tmp_path / name, tmp_path / "work", backend)

    @pytest.mark.parametrize("stated", ["absolute", "relative", "link", "nested"])
    def test_a_vrt_takes_no_file_outside_its_folder_for_raw_pixels(self, stated, tmp_path):
        (tmp_path / "secret.txt").write_bytes(bytes(range(200)) * 50)
        folder = tmp_path / "images"
        folder.mkdir()
        (folder / "link.dat").symlink_to(tmp_path / "secret.txt")
        names = {"relative": "../secret.txt", "link": "link.dat"}
        (folder / "raw.vrt").write_text(make_raw_vrt(names.get(stated, str(tmp_path / "secret.txt"))))
        (folder / "nested.vrt").write_text(make_vrt(str(folder / "raw.vrt")))
        with pytest.raises(SourceError, match="only files in its own folder and below"):
            open_source(str(folder / ("nested.vrt" if stated == "nested" else "raw.vrt")))

    def test_a_vrt_reads_raw_pixels_in_its_folder(self, tmp_path):
        pixels = random_pixels(channels=1)
        (tmp_path / "pixels").mkdir()
        (tmp_path / "pixels" / "a.raw").write_bytes(pixels.tobytes())
        (tmp_path / "a.vrt").write_text(make_raw_vrt("pixels/a.raw"))
        assert_same(read_all(tmp_path / "a.vrt", tmp_path / "work", None), pixels)

    @pytest.mark.parametrize("language", ["Python", "python"])
    def test_a_pixel_function_is_not_code(self, language, tmp_path):
        band = 'subClass="VRTDerivedRasterBand"'
        text = make_vrt("", band=band).replace(
            "</VRTRasterBand>", f"<PixelFunctionLanguage>{language}</PixelFunctionLanguage></VRTRasterBand>"
        )
        (tmp_path / "a.vrt").write_text(text)
        with pytest.raises(SourceError, match="pixel function contains code"):
            open_source(str(tmp_path / "a.vrt"))

    def test_entities_of_a_vrt_are_not_resolved(self, tmp_path):
        (tmp_path / "a.vrt").write_text(f'<!DOCTYPE a [<!ENTITY b "c">]>{make_vrt("&b;")}')
        with pytest.raises(SourceError, match="defines entities"):
            open_source(str(tmp_path / "a.vrt"))

    def test_free_texts_of_a_vrt_may_name_hosts(self, tmp_path):
        pixels = random_pixels(channels=1)
        write_tiff(tmp_path / "real.tif", pixels)
        more = '<Metadata><MDI key="from">https://example.org/vsicurl/</MDI></Metadata>'
        (tmp_path / "a.vrt").write_text(make_vrt(str(tmp_path / "real.tif"), more=more))
        assert_same(open_source(str(tmp_path / "a.vrt")).read(0, HEIGHT, 0, WIDTH), pixels)

    @pytest.mark.parametrize("ending", [".ovr", ".msk"])
    def test_a_file_beside_an_image_is_no_vrt(self, ending, tmp_path):
        path = write_tiff(tmp_path / "a.tif", random_pixels())
        pathlib.Path(str(path) + ending).write_text(make_vrt("/vsicurl/http://127.0.0.1:9/a.tif"))
        with pytest.raises(SourceError, match="is neither a TIFF nor"):
            open_source(str(path))

    def test_an_image_does_not_name_the_file_of_its_overviews(self, tmp_path):
        path = write_tiff(tmp_path / "a.tif", random_pixels())
        with quiet_rasterio(), rasterio.open(path, "r+") as dataset:
            dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE="/vsicurl/http://127.0.0.1:9/a.tif")
        with pytest.raises(SourceError, match="as the file of its overviews"):
            open_source(str(path))


class TestMismatch:
    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("ending", ["tif", "png", "jpg", "webp", "jp2", "pgm", "dat", ""])
    @pytest.mark.parametrize("held", ["tiff", "png"])
    def test_the_content_decides(self, held, ending, backend, tmp_path, caplog):
        pixels = random_pixels()
        write = {"tiff": write_tiff, "png": write_png}[held]
        suffix = {"tiff": "tif", "png": "png"}[held]
        path = write(tmp_path / f"a.{suffix}", pixels).rename(tmp_path / f"b.{ending}".rstrip("."))
        with caplog.at_level(logging.WARNING, content.__name__):
            for _ in range(2):
                assert_same(read_all(path, tmp_path / "work", backend), pixels)
        logged = [record for record in caplog.records if "its extension belongs to" in record.getMessage()]
        assert len(logged) == (ending not in (suffix, "dat", ""))

    @pytest.mark.parametrize("ending", ["tif", "jp2", "ntf", "png", "bmp"])
    def test_a_grid_of_text_is_read_under_its_own_ending_only(self, ending, tmp_path):
        grid = "ncols 3\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 1\n1 2 3\n4 5 6\n"
        (tmp_path / "a.asc").write_text(grid)
        read = open_source(str(tmp_path / "a.asc")).read(0, 2, 0, 3)
        assert (read[..., 0] == [[1, 2, 3], [4, 5, 6]]).all()
        (tmp_path / f"a.{ending}").write_text(grid)
        with pytest.raises(SourceError):
            open_source(str(tmp_path / f"a.{ending}"))

    @pytest.mark.parametrize("start", [b"BM", b"P5 "])
    def test_raw_pixels_may_start_like_another_format(self, start, tmp_path):
        pixels = random_pixels(channels=1)
        pixels.reshape(-1)[: len(start)] = list(start)
        (tmp_path / "a.img").write_bytes(pixels.tobytes())
        (tmp_path / "a.hdr").write_text(
            f"ENVI\nsamples = {WIDTH}\nlines = {HEIGHT}\nbands = 1\nheader offset = 0\n"
            "file type = ENVI Standard\ndata type = 1\ninterleave = bsq\nbyte order = 0\n"
        )
        assert_same(open_source(str(tmp_path / "a.img")).read(0, HEIGHT, 0, WIDTH), pixels)
