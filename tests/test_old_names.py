"""Names of earlier releases that programs may still use, and the check of cloud-optimized GeoTIFFs."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from helpers_datasets import stills
from helpers_images import quiet_rasterio, random_pixels, write_png
from helpers_optional import import_optional

import ndsampler
from ndsampler import frame_cache
from ndsampler.errors import CacheError, MissingSourceError, SourceError
from ndsampler.utils import util_futures, validate_cog
from ndsampler.utils.util_gdal import _imwrite_cloud_optimized_geotiff, batch_validate_cog
from ndsampler.utils.util_lru import LRUDict

NO_OVERVIEWS = "recommended to include internal overviews"


def write_gtiff(path, pixels, overviews=(), external=False, driver="GTiff", **options):
    """Write a GeoTIFF with rasterio, its overviews appended later as ``gdaladdo`` does."""
    import rasterio
    from rasterio.enums import Resampling

    height, width, count = pixels.shape
    size = {"height": height, "width": width, "count": count, "dtype": pixels.dtype.name}
    with quiet_rasterio(), rasterio.open(path, "w", driver=driver, **size, **options) as file:
        file.write(pixels.transpose(2, 0, 1))
    if overviews:
        with quiet_rasterio(), rasterio.Env(TIFF_USE_OVR=external), rasterio.open(path, "r+") as file:
            for factor in overviews:
                file.build_overviews([factor], Resampling.nearest)
    return path


TILED = {"tiled": True, "blockxsize": 256, "blockysize": 256}

#: Name to (arguments of ``write_gtiff``, what errors say in their order, what warnings say).
FILES = {
    "cog": ({"driver": "COG", "compress": "DEFLATE"}, [], []),
    "bigtiff cog": ({"driver": "COG", "bigtiff": "YES"}, [], []),
    "tiles": (TILED, [], [NO_OVERVIEWS]),
    "strips": ({}, ["is not tiled"], [NO_OVERVIEWS]),
    "appended": (
        {**TILED, "overviews": [2, 4]},
        ["overview of index 0 should be after.*index 1", "main resolution image should be after.*index 0"],
        [],
    ),
    "unsorted": ({**TILED, "overviews": [4, 2]}, ["index 1 has larger", "overview of index 0", "main"], []),
    "external": ({**TILED, "overviews": [2], "external": True}, ["external .ovr file", "main"], []),
    "strips and overview": ({"overviews": [2]}, ["is not tiled", "main resolution image"], []),
}


@pytest.mark.parametrize("name", FILES)
def test_a_geotiff_is_judged_by_its_layout(tmp_path, name):
    options, errors, warnings = FILES[name]
    options = {"width": 1100, **options}
    pixels = np.zeros((600, options.pop("width"), 1), np.uint8)
    path = write_gtiff(tmp_path / "a.tif", pixels, **options)
    warned, found, details = validate_cog.validate(path)
    assert_messages(found, errors)
    assert_messages(warned, warnings)
    assert list(details) == ["ifd_offsets", "data_offsets"]
    assert details["ifd_offsets"].keys() == details["data_offsets"].keys()


def assert_messages(found, expected):
    assert len(found) == len(expected)
    for message, pattern in zip(found, expected):
        with pytest.raises(ValueError, match=pattern):
            raise ValueError(message)


@pytest.mark.parametrize("name", FILES)
def test_the_verdict_is_that_of_rio_cogeo(tmp_path, name):
    cogeo = import_optional("rio_cogeo.cogeo")
    options = {"width": 1100, **FILES[name][0]}
    path = write_gtiff(tmp_path / "a.tif", np.zeros((600, options.pop("width"), 1), np.uint8), **options)
    with quiet_rasterio():
        valid = cogeo.cog_validate(path, quiet=True)[0]
    assert valid is (validate_cog.validate(path)[1] == [])


def test_tiles_are_not_needed_if_they_are_not_asked_for(tmp_path):
    tifffile = import_optional("tifffile")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((600, 2400), np.uint8), metadata=None)
        file.write(np.zeros((300, 1200), np.uint8), subfiletype=1, metadata=None)
    errors = validate_cog.validate(tmp_path / "a.tif")[1]
    assert_messages(errors[:2], ["but is not tiled", "Overview of index 0 is not tiled"])
    assert validate_cog.validate(tmp_path / "a.tif", check_tiled=False)[1] == errors[2:]


def test_a_sparse_file_has_no_position_of_pixels(tmp_path):
    import rasterio

    size = {"width": 300, "height": 200, "count": 1, "dtype": "uint8"}
    with quiet_rasterio(), rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", sparse_ok=True, **size):
        pass
    details = {"ifd_offsets": {"main": 8}, "data_offsets": {}}
    assert validate_cog.validate(tmp_path / "a.tif") == ([], [], details)


def test_a_layout_that_was_changed_later_is_an_error(tmp_path):
    path = write_gtiff(tmp_path / "a.tif", random_pixels("uint8", 1, (600, 600)), driver="COG")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"INCOMPATIBLE_EDITION=NO\n ", b"INCOMPATIBLE_EDITION=YES\n"))
    assert_messages(validate_cog.validate(path)[1], ["invalidated the optimized layout"])


def test_descriptions_at_the_end_of_a_file_are_an_error(tmp_path):
    import rasterio

    path = write_gtiff(tmp_path / "a.tif", np.zeros((60, 60, 1), np.uint8))
    with quiet_rasterio(), rasterio.open(path, "r+") as file:
        file.update_tags(NOTE="x" * 1000)
    errors = validate_cog.validate(path)[1]
    assert_messages(errors, [r"main IFD should be 8.*It is \d+ instead", "should be after its IFD"])


def test_the_command_gives_an_exit_status_and_writes_what_it_found(tmp_path, capsys, monkeypatch):
    good = str(_imwrite_cloud_optimized_geotiff(tmp_path / "a.tif", np.zeros((9, 9), np.uint8)))
    bad = str(write_png(tmp_path / "a.png", random_pixels("uint8", 3, (9, 9))))
    assert validate_cog.main([good]) == 0
    assert f"{good} is a valid cloud optimized GeoTIFF" in capsys.readouterr().out
    assert validate_cog.main([bad]) == 1
    assert "error: The file is not a GeoTIFF" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["validate_cog.py", "-q", bad])
    assert validate_cog.main() == 1
    assert capsys.readouterr().out == ""
    for argv in ([], [good, bad], ["--unknown"]):
        assert validate_cog.main(argv) == 1
        assert capsys.readouterr().out.startswith("Usage: ")
    with pytest.raises(MissingSourceError, match="does not exist"):
        validate_cog.main([str(tmp_path / "absent.tif")])


def test_a_batch_reports_with_the_keys_of_earlier_releases(tmp_path):
    path = write_gtiff(tmp_path / "a.tif", np.zeros((600, 1100, 1), np.uint8))
    (tmp_path / "b.tif").write_text("no image")
    striped, damaged = batch_validate_cog([path, tmp_path / "b.tif"])
    assert striped.keys() == {"fpath", "orig_fpath", "status", "errors", "warnings", "details"}
    assert (striped["fpath"], striped["orig_fpath"], striped["status"]) == (str(path), None, "fail")
    assert damaged["status"] == "fail"
    assert "b.tif cannot be opened" in damaged["errors"][0]


def test_a_damaged_entry_can_be_caught_by_its_old_name():
    assert frame_cache.CorruptCOG is CacheError
    assert validate_cog.ValidateCloudOptimizedGeoTIFFException is SourceError


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_serial_job_is_done_when_it_is_asked_for():
    assert ndsampler.util_futures.SerialFuture is util_futures.SerialFuture
    job = util_futures.SerialFuture(divmod, 7, 4)
    assert job.result(1) == (1, 3)
    assert job.done()


def test_the_loaders_of_slices_give_samples_without_annotations(tmp_path):
    sampler = ndsampler.CocoSampler(stills(tmp_path).dset)
    window = {"gid": next(iter(sampler.dset.imgs)), "slices": (slice(2, 9), slice(-3, 8))}
    target = sampler._infer_target_attributes(window)
    expected = sampler.load_sample(target, with_annots=False)
    for load in (sampler._load_slice, sampler._load_slice_2d, sampler._load_slice_3d):
        found = load(target)
        assert found.keys() == expected.keys()
        np.testing.assert_array_equal(found["im"], expected["im"])
        assert found["target"] == expected["target"]


def test_a_bounded_dictionary_has_the_iterators_of_python_2():
    cache = LRUDict.new(max_size=2)
    cache.update({"a": 1, "b": 2, "c": 3})
    assert list(cache.iteritems()) == list(cache.items()) == [("b", 2), ("c", 3)]
    assert list(cache.iterkeys()) == ["b", "c"]
    assert list(cache.itervalues()) == [2, 3]
    assert repr(cache) == "LRUDict({'b': 2, 'c': 3})"
