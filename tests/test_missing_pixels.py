"""Pixels without a measurement: nodata values, masks and alpha, in samples and entries of every backend."""

from __future__ import annotations

import contextlib
import pathlib
import warnings
from typing import Any

import numpy as np
import pytest
import rasterio
from helpers_datasets import one_image
from helpers_images import write_png, write_tiff
from helpers_optional import import_optional
from rasterio.errors import NotGeoreferencedWarning

from ndsampler import CocoSampler
from ndsampler.backends import gdal, make_backend
from ndsampler.backends.recording import RecordedSource
from ndsampler.backends.source import ArrayReader, open_source
from ndsampler.cache.comparison import compare_entry
from ndsampler.errors import CacheError
from ndsampler.frames.nodata import Gaps, value_in_type
from ndsampler.windows import PixelBox

BACKENDS = (None, "npy", "cog")

#: Rows and columns: halved twice without a rest, more than a tile.
DIMS = (180, 244)

WHOLE = PixelBox(0, DIMS[0], 0, DIMS[1])

#: Types, and nodata values that a file of the type declares; None where only NaN is missing.
DECLARED = {
    "uint8": 0,
    "int16": -9999,
    "uint32": 4294967295,
    "int64": -5,
    "float32": -9999.0,
    "float64": np.nan,
    "float32 with NaN": None,
    "float32 with both": -9999.0,
}


def holes(share: float = 0.05, seed: int = 0) -> np.ndarray:
    """Return (height, width, 1), true in single pixels and in a large block."""
    found = np.random.default_rng(seed).random((*DIMS, 1)) < share
    found[30:61, 41:90] = True
    return found


def lost_blocks(missing: np.ndarray, side: int) -> np.ndarray:
    """Return which square blocks are wholly missing."""
    height, width, channels = missing.shape
    return missing.reshape(height // side, side, width // side, side, channels).all(axis=(1, 3))


def sampler_of(path: pathlib.Path, tmp_path: pathlib.Path, backend: Any = None, **image: Any) -> CocoSampler:
    with rasterio_quiet():
        dset = one_image(path, DIMS)
    dset.imgs[1].update(image)
    return CocoSampler(dset, workdir=tmp_path / "work", backend=backend)


@contextlib.contextmanager
def rasterio_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def write_mask(path: pathlib.Path, valid: np.ndarray, inside: bool) -> None:
    """Write a mask into a TIFF, or into the file beside it."""
    with rasterio_quiet(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(path, "r+") as file:
        file.write_mask(valid[..., 0])


def write_mask_file(path: pathlib.Path, valid: np.ndarray, bands: int) -> None:
    """Write the mask file of an image that is no TIFF."""
    mask = write_tiff(path.with_name("mask.tif"), np.where(valid, 255, 0).astype(np.uint8))
    with rasterio_quiet(), rasterio.open(mask, "r+") as file:
        file.update_tags(**{f"INTERNAL_MASK_FLAGS_{band}": "2" for band in range(1, bands + 1)})
    mask.rename(f"{path}.msk")


def masked_file(kind: str, folder: pathlib.Path) -> tuple[pathlib.Path, np.ndarray]:
    """Write an image of 90 with a mask; pixels without a measurement are 7. Return where those are."""
    missing = holes()
    pixels = np.where(missing, 7, 90).astype(np.uint8).repeat(3, axis=2)
    if kind == "PNG":
        path = write_png(folder / "a.png", pixels)
        write_mask_file(path, ~missing, 3)
        return path, missing
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 64} if "tiled" in kind else {}
    path = write_tiff(folder / "a.tif", pixels, **tiled)
    write_mask(path, ~missing, inside="inside" in kind)
    with rasterio_quiet(), rasterio.open(path) as file:
        assert np.array_equal(file.read_masks(1) == 0, missing[..., 0])
    return path, missing


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["inside", "beside", "tiled, inside", "PNG"])
class TestMasks:
    def test_pixels_are_missing_where_the_mask_says_so(self, kind, backend, tmp_path):
        path, missing = masked_file(kind, tmp_path)
        sampler = sampler_of(path, tmp_path, backend)
        found = sampler.load_sample({"gid": 1, "nodata": "float"})["im"]
        np.testing.assert_array_equal(found, np.where(missing, np.nan, [90, 90, 90]))
        window = (slice(20, 70), slice(-5, 60))
        masked = sampler.load_sample({"gid": 1, "slices": window, "nodata": "ma"})["im"]
        assert masked.dtype == np.uint8
        np.testing.assert_array_equal(masked.mask[:, 5:], np.broadcast_to(missing[20:70, :60], (50, 60, 3)))
        assert masked.mask[:, :5].all()
        # Without a request the values are those of the file.
        plain = sampler.load_sample({"gid": 1})["im"]
        np.testing.assert_array_equal(plain, np.where(missing, [7, 7, 7], 90))

    @pytest.mark.parametrize("side", [2, 4])
    def test_averages_leave_them_out(self, kind, backend, side, tmp_path):
        path, missing = masked_file(kind, tmp_path)
        sampler = sampler_of(path, tmp_path, backend)
        lost = np.broadcast_to(lost_blocks(missing, side), (DIMS[0] // side, DIMS[1] // side, 3))
        found = sampler.load_sample({"gid": 1, "nodata": "float", "scale": 1 / side})["im"]
        np.testing.assert_allclose(found, np.where(lost, np.nan, 90), rtol=1e-5)
        plain = sampler.load_sample({"gid": 1, "scale": 1 / side})["im"]
        assert plain.dtype == np.uint8
        np.testing.assert_array_equal(plain, np.where(lost, 0, 90))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", DECLARED)
def test_no_average_holds_a_declared_value(case, backend, tmp_path):
    dtype, nodata = case.split()[0], DECLARED[case]
    missing = holes()
    pixels = np.where(missing, np.nan if nodata is None else nodata, 90.0).astype(dtype)
    if case.endswith("both"):
        pixels[holes(0.02, 1) & missing] = np.nan
    sampler = sampler_of(write_tiff(tmp_path / "a.tif", pixels, nodata=nodata), tmp_path, backend)
    masked = sampler.load_sample({"gid": 1, "nodata": "ma"})["im"]
    assert masked.dtype == dtype
    np.testing.assert_array_equal(masked.mask, missing)
    for side in (2, 4):
        lost = lost_blocks(missing, side)
        found = sampler.load_sample({"gid": 1, "nodata": "float", "scale": 1 / side})["im"]
        np.testing.assert_allclose(found, np.where(lost, np.nan, 90), rtol=1e-5)
        plain = sampler.load_sample({"gid": 1, "scale": 1 / side})["im"]
        assert plain.dtype == dtype
        np.testing.assert_allclose(
            plain, np.where(lost, np.nan if nodata is None else nodata, 90.0).astype(dtype), rtol=1e-5
        )


def test_single_pixels_are_taken_as_they_are(tmp_path):
    pixels = np.where(holes(), -9999, 90).astype(np.int16)
    sampler = sampler_of(write_tiff(tmp_path / "a.tif", pixels, nodata=-9999), tmp_path)
    target = {"gid": 1, "slices": (slice(0, 180), slice(0, 243)), "scale": 1 / 3, "interpolation": "nearest"}
    np.testing.assert_array_equal(sampler.load_sample(target)["im"], pixels[1::3, 1:243:3])


# --- nodata values of each band ------------------------------------------------------------------


def write_vrt(folder: pathlib.Path, nodata: tuple[Any, ...]) -> tuple[pathlib.Path, np.ndarray]:
    """Write a VRT whose bands declare values of their own, and return its pixels."""
    pixels = np.random.default_rng(0).integers(0, 4, (*DIMS, len(nodata))).astype(np.uint8)
    bands = []
    for band, value in enumerate(nodata):
        write_tiff(folder / f"b{band}.tif", pixels[..., band : band + 1])
        text = "" if value is None else f"<NoDataValue>{value}</NoDataValue>"
        bands.append(
            f'<VRTRasterBand dataType="Byte" band="{band + 1}">{text}<SimpleSource>'
            f'<SourceFilename relativeToVRT="1">b{band}.tif</SourceFilename><SourceBand>1</SourceBand>'
            "</SimpleSource></VRTRasterBand>"
        )
    path = folder / "a.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="{DIMS[1]}" rasterYSize="{DIMS[0]}">{"".join(bands)}</VRTDataset>'
    )
    return path, pixels


NODATA = (0, None, 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_band_is_masked_by_its_own_value(backend, tmp_path):
    path, pixels = write_vrt(tmp_path, NODATA)
    sampler = sampler_of(path, tmp_path, backend, channels="a|b|c")
    expected = np.where(pixels == np.array([0, 255, 3]), np.nan, pixels)
    for names, order in (("a|b|c", [0, 1, 2]), ("c|a", [2, 0]), ("b", [1])):
        found = sampler.load_sample({"gid": 1, "nodata": "float", "channels": names})["im"]
        np.testing.assert_array_equal(found, expected[..., order])
    shrunk = sampler.load_sample({"gid": 1, "scale": 0.5, "channels": "c|a"})["im"]
    blocks = np.isnan(expected[..., [2, 0]])
    np.testing.assert_array_equal(shrunk == [3, 0], lost_blocks(blocks, 2))


@pytest.mark.parametrize("backend", ["npy", "cog"])
class TestEntries:
    def test_they_keep_the_value_of_each_band(self, backend, tmp_path):
        path, _ = write_vrt(tmp_path, NODATA)
        storage, entry = make_backend(backend), str(tmp_path / "entry.x")
        with contextlib.closing(open_source(str(path))) as source:
            assert source.nodata == NODATA
            storage.convert(source, entry)
        if backend == "cog":
            # An entry of npy has them in its label.
            assert storage.open(entry).nodata == NODATA
            assert storage.open(entry).overviews == ()

    @pytest.mark.parametrize("shared", [True, False])
    def test_they_keep_masks_and_another_mask_is_a_difference(self, backend, shared, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 250, (*DIMS, 2)).astype(np.int16)
        valid = np.random.default_rng(1).random((*DIMS, 1 if shared else 2)) < 0.7
        storage, entry = make_backend(backend), str(tmp_path / f"entry{make_backend(backend).suffix}")
        source = ArrayReader(pixels, mask=valid)
        if backend == "cog" and not shared:
            with pytest.raises(CacheError, match="cannot store a mask for each band; use backend 'npy'"):
                storage.convert(source, entry)
            return
        storage.convert(source, entry)
        with contextlib.closing(storage.open(entry)) as reader:
            assert reader.has_mask
            np.testing.assert_array_equal(reader.read_mask(*WHOLE), valid)
            np.testing.assert_array_equal(reader.read_mask(3, 9, 40, 60, [1]), valid[3:9, 40:60, -1:])
            np.testing.assert_array_equal(reader.read(*WHOLE), pixels)
        compare_entry(RecordedSource(source), entry, storage)
        for other in (ArrayReader(pixels, mask=~valid), ArrayReader(pixels)):
            with pytest.raises(CacheError, match="its mask in rows 0 to 180 differs"):
                compare_entry(RecordedSource(other), entry, storage)


def test_overviews_without_a_mask_are_not_used(tmp_path, monkeypatch):
    path, missing = masked_file("tiled, inside", tmp_path)
    with rasterio_quiet(), rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], rasterio.enums.Resampling.average)
    read = open_source(str(path))
    assert read.masks_overviews
    monkeypatch.setattr(gdal.RasterReader, "masks_overviews", False)
    sampler = sampler_of(path, tmp_path)
    levels = []
    original = gdal.RasterReader.__init__

    def note(self, path, level=0):
        levels.append(level)
        original(self, path, level)

    monkeypatch.setattr(gdal.RasterReader, "__init__", note)
    found = sampler.load_sample({"gid": 1, "nodata": "float", "scale": 0.25})["im"]
    assert set(levels) == {0}
    np.testing.assert_array_equal(np.isnan(found[..., :1]), lost_blocks(missing, 4))


# --- 64-bit integers and complex numbers ---------------------------------------------------------


class TestWideIntegers:
    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize(
        ("dtype", "nodata"), [("int64", -(2**63)), ("int64", 2**60 + 1), ("uint64", 2**64 - 1)]
    )
    def test_values_that_float64_lacks_are_declared_and_kept(self, dtype, nodata, backend, tmp_path):
        tifffile = import_optional("tifffile")
        step = -1 if nodata > 0 else 1
        pixels = (np.array(nodata, object) + step * np.arange(DIMS[0] * DIMS[1]).reshape(*DIMS, 1)).astype(
            dtype
        )
        pixels[holes(0.1)] = nodata
        path = tmp_path / "a.tif"
        # rasterio writes such values as floating point numbers, which GDAL does not read back.
        tifffile.imwrite(path, pixels[..., 0], extratags=[(42113, "s", 0, str(nodata), True)])
        sampler = sampler_of(path, tmp_path, backend)
        missing = pixels == np.array(nodata, dtype)
        found = sampler.load_sample({"gid": 1, "nodata": "ma"})["im"]
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.mask, missing)
        np.testing.assert_array_equal(
            np.isnan(sampler.load_sample({"gid": 1, "nodata": "float"})["im"]), missing
        )
        if np.finfo(np.longdouble).nmant >= 63:
            np.testing.assert_array_equal(found.compressed(), pixels[~missing])

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_a_number_is_compared_exactly(self, backend, tmp_path):
        pixels = (2**60 + np.arange(DIMS[0] * DIMS[1])).reshape(*DIMS, 1)
        np.save(tmp_path / "a.npy", pixels)
        sampler = sampler_of(tmp_path / "a.npy", tmp_path, backend)
        found = sampler.load_sample({"gid": 1, "nodata": 2**60 + 777})["im"]
        np.testing.assert_array_equal(np.isnan(found), pixels == 2**60 + 777)

    def test_a_masked_sample_at_a_scale_is_float64(self, tmp_path):
        np.save(tmp_path / "a.npy", np.full((*DIMS, 1), 2**40))
        found = sampler_of(tmp_path / "a.npy", tmp_path).load_sample({"gid": 1, "nodata": "ma", "scale": 0.5})
        assert found["im"].dtype == np.float64
        assert (found["im"] == 2**40).all()


class TestComplexNumbers:
    @pytest.mark.parametrize("backend", [None, "npy"])
    @pytest.mark.parametrize("dtype", ["complex64", "complex128", "complex_int16"])
    def test_they_stay_complex_with_nan_where_the_real_part_is_nodata(self, dtype, backend, tmp_path):
        rng = np.random.default_rng(0)
        pixels = rng.integers(-9, 9, (*DIMS, 2)) + 1j * rng.integers(-9, 9, (*DIMS, 2))
        profile = {"driver": "GTiff", "height": DIMS[0], "width": DIMS[1], "count": 2, "dtype": dtype}
        with rasterio_quiet(), rasterio.open(tmp_path / "a.tif", "w", **profile) as file:
            file.write(pixels.astype("complex64" if dtype == "complex_int16" else dtype).transpose(2, 0, 1))
        with rasterio_quiet(), rasterio.open(tmp_path / "a.tif") as file:
            stored = file.read().transpose(1, 2, 0)
        sampler = sampler_of(tmp_path / "a.tif", tmp_path, backend)
        plain = sampler.load_sample({"gid": 1})["im"]
        assert plain.dtype == stored.dtype
        np.testing.assert_array_equal(plain, stored)
        np.testing.assert_array_equal(sampler.load_sample({"gid": 1, "nodata": "float"})["im"], stored)
        missing = stored.real == 3
        found = sampler.load_sample({"gid": 1, "nodata": 3, "slices": (slice(-2, 50), slice(0, 60))})["im"]
        assert found.dtype == stored.dtype
        assert np.isnan(found[:2].real).all()
        assert np.isnan(found[:2].imag).all()
        np.testing.assert_array_equal(np.isnan(found[2:].imag), missing[:50, :60])
        np.testing.assert_array_equal(found[2:][~missing[:50, :60]], stored[:50, :60][~missing[:50, :60]])

    def test_masked_samples_keep_both_parts(self, tmp_path):
        pixels = (np.arange(DIMS[0] * DIMS[1]).reshape(*DIMS, 1) * (0.3 - 0.7j)).astype(np.complex64)
        pixels[holes()] = np.nan
        sampler = sampler_of(write_tiff(tmp_path / "a.tif", pixels), tmp_path)
        found = sampler.load_sample({"gid": 1, "nodata": "ma"})["im"]
        assert found.dtype == np.complex64
        np.testing.assert_array_equal(found.mask, holes())
        np.testing.assert_array_equal(found.compressed(), pixels[~holes()])


# --- alpha ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_transparent_pixels_are_missing_on_request_only(backend, tmp_path):
    pixels = np.random.default_rng(0).integers(1, 250, (*DIMS, 4)).astype(np.uint8)
    clear = holes()
    pixels[..., 3:][clear] = 0
    sampler = sampler_of(write_png(tmp_path / "a.png", pixels), tmp_path, backend)
    assert not np.isnan(sampler.load_sample({"gid": 1, "nodata": "float"})["im"]).any()
    found = sampler.load_sample({"gid": 1, "nodata": "alpha"})["im"]
    np.testing.assert_array_equal(found, np.where(clear, np.nan, pixels))
    red = sampler.load_sample({"gid": 1, "nodata": "alpha", "channels": "r", "scale": 0.25})["im"]
    np.testing.assert_array_equal(np.isnan(red), lost_blocks(clear, 4))


def test_alpha_is_ignored_where_there_is_none(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 250, (*DIMS, 3)).astype(np.uint8)
    sampler = sampler_of(write_png(tmp_path / "a.png", pixels), tmp_path)
    np.testing.assert_array_equal(sampler.load_sample({"gid": 1, "nodata": "alpha"})["im"], pixels)


# --- padkw ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", [{}, {"nodata": "float"}, {"interpolation": "nearest"}, {"channels": "b|a"}]
)
@pytest.mark.parametrize("scale", [0.25, 0.3, 1.7])
def test_padkw_changes_nothing_in_a_window_inside_the_image(target, scale, tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 250, (*DIMS, 3)).astype(np.uint8)
    path = write_tiff(tmp_path / "a.tif", pixels, tiled=True, blockxsize=64, blockysize=64, nodata=7)
    with rasterio_quiet(), rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], rasterio.enums.Resampling.average)
    sampler = sampler_of(path, tmp_path, channels="a|b|c")
    read: list[int] = []
    original = gdal.RasterReader.read

    def count(self, y0, y1, x0, x1, bands=None):
        read.append((y1 - y0) * (x1 - x0))
        return original(self, y0, y1, x0, x1, bands)

    monkeypatch.setattr(gdal.RasterReader, "read", count)
    for window in ((slice(0, DIMS[0]), slice(0, DIMS[1])), (slice(5, 90), slice(40, 200))):
        target = {"gid": 1, "slices": window, "scale": scale, **target}
        plain, cost = sampler.load_sample(target)["im"], list(read)
        read.clear()
        padded = sampler.load_sample({**target, "padkw": {"mode": "reflect"}})["im"]
        np.testing.assert_array_equal(padded, plain)
        assert read == cost
        read.clear()


# --- values in types -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodata", "dtype", "expected"),
    [
        (None, "uint8", None),
        (7.0, "uint8", 7),
        (7.5, "uint8", None),
        (-1, "uint8", None),
        (np.nan, "int16", None),
        (np.inf, "int64", None),
        (2.0**63, "int64", 2**63 - 1),
        (-(2.0**63), "int64", -(2**63)),
        (2**64 - 1, "uint64", 2**64 - 1),
        (2**64 - 1, "int64", None),
        (1, "bool", True),
        (2, "bool", None),
        (0.1, "float32", np.float32(0.1)),
        (0.1, "complex64", np.float32(0.1)),
    ],
)
def test_a_nodata_value_is_found_in_the_type_of_the_pixels(nodata, dtype, expected):
    assert value_in_type(nodata, np.dtype(dtype)) == expected


def test_averages_are_restored_to_the_type_and_the_value_of_each_band():
    values = np.array([[[1.6, np.nan, np.nan]]])
    assert Gaps((0, 9, None)).restore(values, np.dtype("uint8")).tolist() == [[[2, 9, 0]]]
    floats = Gaps((0, 9, None)).restore(values, np.dtype("float32"))
    np.testing.assert_array_equal(floats, np.float32([[[1.6, 9, np.nan]]]))
