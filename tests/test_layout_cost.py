"""Which tiled sources are read in place, and what their layouts are estimated to cost."""

from __future__ import annotations

import os

import numpy as np
import pytest
import rasterio
from helpers_cache import cog
from helpers_images import assert_same, quiet_rasterio, random_pixels, write_tiff
from hypothesis import given
from hypothesis import strategies as st

from ndsampler import SimpleFrames
from ndsampler.backends import make_backend
from ndsampler.backends.formats.tiff_header import Page, read_pages
from ndsampler.backends.layout_cost import (
    BLOCK_NS,
    COMPRESSIONS,
    DECODE_NS,
    MAX_COST,
    WINDOW,
    EntryLayout,
    find_drawback,
    window_cost,
)

#: An entry of the default settings.
ENTRY = EntryLayout(COMPRESSIONS["ZSTD"], 128, True)

#: Height and width of a source in pixels. It is larger than a source that needs no overviews.
DIMS = (700, 900)


def write_tiled(path, side=128, overviews=(2,), channels=3, dims=DIMS, **options) -> str:
    """Write a TIFF of tiles, with overviews."""
    write_tiff(
        path, random_pixels("uint8", channels, dims), tiled=True, blockxsize=side, blockysize=side, **options
    )
    if overviews:
        with quiet_rasterio(), rasterio.open(path, "r+") as file:
            file.build_overviews(list(overviews))
    return str(path)


@given(side=st.integers(1, 700), block=st.integers(1, 50).map(lambda value: 16 * value))
def test_the_blocks_of_a_window_are_those_of_all_its_places_on_average(side, block):
    page = Page(1, 8, side, 1, kind=(8, 1, 1))
    found = window_cost(page, 1, (block, 1)) / (BLOCK_NS + block * DECODE_NS[1][1])
    window = min(side, WINDOW)
    starts = np.arange(block if side > window else 1)
    counts = (starts + window - 1) // block - starts // block + 1
    assert found == pytest.approx(min(counts.mean(), -(-side // block)))


@pytest.mark.parametrize("codec", list(COMPRESSIONS))
def test_the_layout_of_an_entry_costs_as_much_as_an_entry(codec, tmp_path):
    backend = make_backend({"type": "cog", "config": {"compress": codec}})
    path = str(tmp_path / "image.png")
    frames = SimpleFrames({1: path}, workdir=str(tmp_path / "work"), backend=backend)
    write_tiff(path, random_pixels("uint8", 3, DIMS))
    frames.prepare()
    (entry,) = (tmp_path / "work").rglob("*.cog.tiff")
    assert find_drawback(str(entry), EntryLayout(COMPRESSIONS[codec], 128, True)) == ""


@pytest.mark.parametrize(
    ("options", "drawback"),
    [
        ({"compress": "ZSTD"}, ""),
        ({"compress": "ZSTD", "side": 512}, "tiles of 512 x 512 pixels with ZSTD"),
        ({"compress": "DEFLATE"}, "tiles of 128 x 128 pixels with DEFLATE"),
        ({"compress": "DEFLATE", "side": 512}, "tiles of 512 x 512 pixels with DEFLATE"),
        ({"compress": "LZW", "side": 64}, "tiles of 64 x 64 pixels with LZW"),
        ({"compress": "JPEG", "side": 256}, "tiles of 256 x 256 pixels with JPEG"),
        ({"compress": "LZMA"}, "tiles of 128 x 128 pixels with LZMA"),
        ({"side": 512}, ""),
        ({"side": 2048}, "tiles of 2048 x 2048 pixels with no compression"),
        ({"side": 16}, "tiles of 16 x 16 pixels with no compression"),
        ({"interleave": "band", "side": 256}, ""),
        ({"interleave": "band", "side": 32}, "tiles of 32 x 32 pixels with no compression"),
        ({"overviews": ()}, "no overviews"),
        ({"overviews": (4,)}, "too few overviews"),
        ({"overviews": (2, 4)}, ""),
        ({"overviews": (), "dims": (500, 512)}, ""),
        ({"overviews": (2,), "dims": (500, 1200)}, "too few overviews"),
        ({"overviews": (2, 4), "dims": (500, 1200)}, ""),
    ],
    ids=str,
)
def test_codec_tiles_and_overviews_decide(options, drawback, tmp_path):
    path = write_tiled(tmp_path / "image.tif", **options)
    found = find_drawback(path, ENTRY)
    assert found.startswith(drawback) if drawback else found == ""
    backend = make_backend("cog")
    assert backend.usable_in_place(path) is (drawback == "")
    assert backend.explain_conversion(path) == found
    assert make_backend(cog(in_place=True)).usable_in_place(path) is True
    assert make_backend(cog(in_place=False)).usable_in_place(path) is False


def test_a_codec_without_a_figure_is_slow():
    page = Page(1, 8, *DIMS, samples=3, kind=(8, 1, 2))
    entry = window_cost(page, ENTRY.compression, (128, 128))
    assert window_cost(page, 12345, (128, 128)) > MAX_COST * entry


def test_the_codec_and_the_overviews_of_entries_count(tmp_path):
    path = write_tiled(tmp_path / "image.tif", compress="DEFLATE", overviews=())
    assert not make_backend(cog(compress="DEFLATE")).usable_in_place(path)
    assert make_backend(cog(compress="DEFLATE", overviews=False)).usable_in_place(path)
    assert not make_backend(cog(overviews=False)).usable_in_place(path)
    assert make_backend(cog(overviews=False, blocksize=512)).usable_in_place(path)


def test_overviews_beside_an_image_count_unless_they_are_older(tmp_path):
    path = write_tiled(tmp_path / "image.tif", overviews=())
    with quiet_rasterio(), rasterio.open(path, "r+") as file, rasterio.Env(TIFF_USE_OVR="YES"):
        file.build_overviews([2])
    assert os.path.exists(path + ".ovr")
    assert find_drawback(path, ENTRY) == ""
    os.utime(path + ".ovr", (1, 1))
    assert find_drawback(path, ENTRY) == "no overviews"


@pytest.mark.parametrize("name", ["strips.tif", "image.png", "missing.tif"])
def test_a_file_without_tiles_is_never_read_in_place(name, tmp_path):
    path = tmp_path / name
    if not name.startswith("missing"):
        write_tiff(path, random_pixels("uint8", 3, DIMS))
    assert find_drawback(str(path), ENTRY) is None
    assert not make_backend(cog(in_place=True)).usable_in_place(str(path))


@pytest.mark.parametrize("in_place", ["auto", True, False])
@pytest.mark.parametrize("overviews", [(2,), ()])
def test_pixels_are_the_same_whether_a_source_is_converted_or_not(in_place, overviews, tmp_path):
    path = write_tiled(tmp_path / "image.tif", overviews=overviews)
    frames = SimpleFrames({1: path}, workdir=str(tmp_path / "work"), backend=cog(in_place=in_place))
    report = frames.try_prepare()
    kept = in_place is True or (in_place == "auto" and bool(overviews))
    assert (report.made, report.in_place) == ((0, 1) if kept else (1, 0))
    explained = {"no overviews": 1} if in_place == "auto" and not overviews else {}
    assert report.slow_layouts == explained
    region = (slice(30, 290), slice(41, 500))
    assert_same(frames.load_region(1, region), random_pixels("uint8", 3, DIMS)[region])


@pytest.mark.parametrize("kind", ["cog", "npy"])
def test_entries_do_not_depend_on_which_sources_are_converted(kind, tmp_path):
    path = str(tmp_path / "image.png")
    write_tiff(path, random_pixels("uint8", 3, (60, 80)))
    made = set()
    for value in ("auto", True, False):
        spec = {"type": kind, "config": {"in_place": value}}
        frames = SimpleFrames({1: path}, workdir=str(tmp_path / "work"), backend=spec)
        made.add((frames.try_prepare().made, frames.cache_dpath))
    assert sorted(count for count, _ in made) == [0, 1]
    assert len({folder for _, folder in made}) == 1


@pytest.mark.parametrize(("in_place", "made"), [("auto", 0), (True, 0), (False, 1)])
def test_an_npy_source_is_converted_on_request(in_place, made, tmp_path):
    pixels = random_pixels("uint8", 3, (60, 80))
    np.save(tmp_path / "image.npy", pixels)
    spec = {"type": "npy", "config": {"in_place": in_place}}
    frames = SimpleFrames({1: tmp_path / "image.npy"}, workdir=str(tmp_path / "work"), backend=spec)
    assert frames.try_prepare().made == made
    assert_same(frames.load_region(1), pixels)


def test_the_compression_of_a_page_is_read(tmp_path):
    for name, number in COMPRESSIONS.items():
        path = write_tiled(tmp_path / f"{name}.tif", compress=name)
        assert {page.compression for page in read_pages(path)} == {number}
