"""Reduced versions of an image: which are used, and that pixels read from them are those of the image."""

from __future__ import annotations

import contextlib
import os
import pathlib
import warnings

import cv2
import numpy as np
import pytest
import rasterio
from helpers_images import write_tiff
from helpers_optional import import_optional
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning

from ndsampler.backends.base import make_backend
from ndsampler.backends.overviews import looks_reduced
from ndsampler.backends.source import ArrayReader, open_source
from ndsampler.frames.resample import Resampling as Sampling
from ndsampler.frames.resample import choose_level, shrink_factor

#: Odd sides, so that rounding up and rounding down differ.
HEIGHT, WIDTH = DIMS = (403, 601)

#: Options of a tiled TIFF.
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}


def picture(seed: int, dims: tuple[int, int] = DIMS) -> np.ndarray:
    """Return a smooth picture of three channels."""
    noise = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)
    return cv2.resize(noise, dims[::-1], interpolation=cv2.INTER_CUBIC)


def shrink(pixels: np.ndarray, dims: tuple[int, int]) -> np.ndarray:
    """Return averages of the pixels of a picture."""
    return cv2.resize(pixels, dims[::-1], interpolation=cv2.INTER_AREA)


def divide(dims: tuple[int, int], factor: float, rounded=np.floor) -> tuple[int, int]:
    """Return a size divided by a factor."""
    return tuple(int(rounded(side / factor)) for side in dims)


def write_pages(path: pathlib.Path, base: np.ndarray, pages, **options) -> str:
    """Write a picture and further pages with tifffile; the options are those of the further pages."""
    with import_optional("tifffile").TiffWriter(path) as file:
        file.write(base, photometric="rgb", tile=(64, 64), metadata=None)
        for page in pages:
            file.write(page, photometric="rgb", metadata=None, **options)
    return str(path)


def write_with_ovr(path: pathlib.Path, base: np.ndarray, method: str = "average") -> pathlib.Path:
    """Write a picture as a TIFF, and its overviews as a file beside it."""
    write_tiff(path, base, **TILED)
    with warnings.catch_warnings(), rasterio.Env(TIFF_USE_OVR="YES"):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4], Resampling[method])
    assert pathlib.Path(f"{path}.ovr").exists()
    return path


def replace_image(path: pathlib.Path, base: np.ndarray, seconds: float) -> None:
    """Write another picture in place of one whose overviews stay, so many seconds later than those."""
    other = write_tiff(path.with_name("other.tif"), base, **TILED)
    time = os.stat(f"{path}.ovr").st_mtime + seconds
    os.utime(other, (time, time))
    os.replace(other, path)


def overviews_of(path) -> list[tuple[int, int]]:
    """Return the sizes of the overviews that a source is read from, after a look at each of them."""
    with contextlib.closing(open_source(str(path))) as reader:
        for number, dims in enumerate(reader.overviews, 1):
            with contextlib.closing(make_backend(None).open(str(path), number)) as level:
                assert level.shape == (*dims, reader.shape[2])
        return list(reader.overviews)


def assert_scaled_reads_agree(make_coco, path, base: np.ndarray) -> None:
    """Assert that shrunken reads are close to averages of the picture, with every backend."""
    from ndsampler import CocoSampler

    for backend in (None, "npy", "cog"):
        frames = make_coco({"file_name": str(path)}, backend=backend)
        sampler = CocoSampler(frames.dset, workdir=frames.workdir, backend=backend)
        for scale in (0.5, 0.3, 0.2):
            pixels = sampler.load_sample({"gid": 1, "scale": scale})["im"]
            # The last pixels may lie half outside the image.
            rows, columns = (int(side * scale) for side in base.shape[:2])
            expected = shrink(base, pixels.shape[:2])[:rows, :columns]
            assert np.abs(pixels[:rows, :columns].astype(float) - expected).mean() < 8, (backend, scale)


class TestPyramids:
    """Pyramids of pages, as slide scanners and other programs write them."""

    @pytest.mark.parametrize("subfiletype", [0, 1], ids=["unmarked", "marked"])
    @pytest.mark.parametrize("rounded", [np.floor, np.ceil, np.round])
    @pytest.mark.parametrize("tile", [(64, 64), None], ids=["tiled", "striped"])
    def test_levels_have_the_size_that_their_pages_have(self, rounded, tile, subfiletype, tmp_path):
        base = picture(1)
        sizes = [divide(DIMS, factor, rounded) for factor in (2, 4, 8)]
        levels = [shrink(base, size) for size in sizes]
        path = write_pages(tmp_path / "a.tif", base, levels, tile=tile, subfiletype=subfiletype)
        assert overviews_of(path) == sizes

    @pytest.mark.parametrize("factors", [(2, 4), (3, 9), (4, 16)])
    @pytest.mark.parametrize("subfiletype", [0, 1], ids=["unmarked", "marked"])
    def test_shrunken_reads_show_the_image(self, factors, subfiletype, bundle, make_coco):
        base = picture(1)
        levels = [shrink(base, divide(DIMS, factor)) for factor in factors]
        path = write_pages(bundle / "a.tif", base, levels, tile=(64, 64), subfiletype=subfiletype)
        assert len(overviews_of(path)) == len(factors)
        assert_scaled_reads_agree(make_coco, path, base)

    def test_levels_below_the_first_page_are_used(self, tmp_path):
        base = picture(1)
        with import_optional("tifffile").TiffWriter(tmp_path / "a.tif") as file:
            file.write(base, photometric="rgb", tile=(64, 64), subifds=2)
            for factor in (2, 4):
                file.write(shrink(base, divide(DIMS, factor)), photometric="rgb", subfiletype=1)
        assert overviews_of(tmp_path / "a.tif") == [divide(DIMS, 2), divide(DIMS, 4)]

    @pytest.mark.parametrize("subfiletype", [0, 1, 9], ids=["unmarked", "marked", "macro"])
    @pytest.mark.parametrize("dims", [(100, 90), divide(DIMS, 3)], ids=["another shape", "same shape"])
    def test_a_label_is_no_overview(self, dims, subfiletype, bundle, make_coco):
        base = picture(1)
        label = picture(2, dims)
        path = write_pages(bundle / "a.tif", base, [label], subfiletype=subfiletype)
        assert overviews_of(path) == []
        assert_scaled_reads_agree(make_coco, path, base)

    def test_jpeg_pages_are_used(self, tmp_path):
        base, path = picture(1), tmp_path / "a.tif"
        jpeg = {**TILED, "compress": "jpeg", "photometric": "ycbcr"}
        write_tiff(path, base, **jpeg)
        for factor in (2, 4):
            write_tiff(path, shrink(base, divide(DIMS, factor)), APPEND_SUBDATASET="YES", **jpeg)
        assert overviews_of(path) == [divide(DIMS, 2), divide(DIMS, 4)]

    @pytest.mark.parametrize("factors", [[2, 4, 8], [3, 5]])
    def test_overviews_of_gdal_have_the_size_that_they_are_opened_with(self, factors, tmp_path):
        path = write_tiff(tmp_path / "a.tif", picture(1), **TILED)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, "r+") as file:
                file.build_overviews(factors, Resampling.average)
            expected = []
            for level in range(len(factors)):
                with rasterio.open(path, overview_level=level) as file:
                    expected.append(file.shape)
        assert overviews_of(path) == expected


class TestSideFiles:
    """Overviews in a file of their own, with the ending ``.ovr``."""

    @pytest.mark.parametrize("method", ["average", "nearest", "cubic", "gauss", "mode", "lanczos"])
    def test_they_are_used(self, method, tmp_path):
        path = write_with_ovr(tmp_path / "a.tif", picture(1), method)
        assert [shrink_factor(DIMS, dims) for dims in overviews_of(path)] == [2, 4]

    @pytest.mark.parametrize("seconds", [10, -10], ids=["older", "newer"])
    @pytest.mark.parametrize("dims", [DIMS, (300, 700)], ids=["same size", "other size"])
    def test_those_of_another_image_are_not_used(self, dims, seconds, bundle, make_coco):
        path = write_with_ovr(bundle / "a.tif", picture(1))
        base = picture(2, dims)
        replace_image(path, base, seconds)
        assert overviews_of(path) == []
        assert_scaled_reads_agree(make_coco, path, base)

    def test_noise_is_told_from_other_noise(self, tmp_path):
        noise, other = (
            np.random.default_rng(seed).integers(0, 255, (400, 600, 3), np.uint8) for seed in (1, 2)
        )
        path = write_with_ovr(tmp_path / "a.tif", noise)
        assert len(overviews_of(path)) == 2
        replace_image(path, other, -10)
        assert overviews_of(path) == []


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "complex64"])
@pytest.mark.parametrize("factor", [2, 3, 5])
def test_subsampled_and_averaged_pixels_look_reduced(factor, dtype):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 200, (200, 330, 2)).astype(dtype)
    side = [length // factor * factor for length in pixels.shape[:2]]
    pixels = pixels[: side[0], : side[1]]
    blocks = pixels.reshape(side[0] // factor, factor, side[1] // factor, factor, 2)
    for reduced in (pixels[::factor, ::factor], blocks.mean(axis=(1, 3)).astype(dtype)):
        assert looks_reduced(ArrayReader(reduced), ArrayReader(pixels))
        shuffled = rng.permuted(reduced, axis=0)
        assert not looks_reduced(ArrayReader(shuffled), ArrayReader(pixels))


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.39, 0.25, 0.2, 0.1, 0.0625, 0.01])
@pytest.mark.parametrize("factors", [(2, 4, 8), (4, 16), (3, 9), (2.5, 6)])
def test_the_coarsest_level_that_is_fine_enough_is_chosen(factors, scale):
    dims = (4001, 6001)
    levels = [divide(dims, factor) for factor in factors]
    level = choose_level(np.diag([scale, scale, 1.0]), levels, Sampling(), dims)
    fine = [number for number, factor in enumerate(factors, 1) if factor <= 1 / scale + 1e-9]
    assert level == max(fine, default=0)
