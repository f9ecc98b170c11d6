"""Frames: from an image id and a region to pixels."""

from __future__ import annotations

import copy
import itertools
import logging
import os
import pathlib
import pickle
import warnings

import cv2
import kwcoco
import kwimage
import numpy as np
import pytest
import rasterio
from delayed_image.channel_spec import ChannelSpec, FusedChannelSpec
from helpers_images import DIMS, random_pixels, write_pillow, write_png, write_tiff

from ndsampler.abstract_frames import Frames, SimpleFrames
from ndsampler.backends import gdal
from ndsampler.coco_frames import MAX_LAYOUTS, CocoFrames, build_layout
from ndsampler.errors import (
    ArgumentError,
    BackendError,
    CacheError,
    MissingSourceError,
    NDSamplerError,
    SourceError,
    TargetError,
    UnknownChannelError,
    UnknownIdError,
    UnknownTargetError,
    WindowError,
)
from ndsampler.frames import layout
from ndsampler.frames.layout import Asset, default_channels, parse_channels
from ndsampler.frames.reader import Grid, mask_nodata
from ndsampler.frames.view import FrameView
from ndsampler.windows import PixelBox

HEIGHT, WIDTH = DIMS

BACKENDS = [None, "npy", "cog"]

each_backend = pytest.mark.parametrize("backend", BACKENDS)

#: Regions as users write them; numpy is the oracle.
REGIONS = [
    None,
    ...,
    (),
    slice(None),
    slice(5, 20),
    slice(-7, None),
    (slice(None), slice(None)),
    (slice(10, 30), slice(20, 50)),
    (slice(-20), slice(-10)),
    (slice(-20, None), slice(3)),
    (slice(3, -3), slice(-9, -2)),
    (slice(0, 9999), slice(140, 9999)),
    (slice(9999, None), slice(None)),
    (slice(30, 10), slice(None)),
    (slice(5, 5), slice(0, 10)),
    (slice(5), slice(6), slice(1, 3)),
    (slice(5), slice(6), slice(-1, None)),
    (..., slice(0, 1)),
    (slice(2, 4), ...),
    [slice(1, 4), slice(2, 6)],
    (slice(np.int64(1), np.uint8(9)), slice(np.int32(-5), None)),
]


@pytest.fixture
def make_simple(tmp_path):
    """Return a factory of frames over an RGB PNG (1), a gray 16 bit PNG (2) and a 5-band TIFF (3)."""
    pixels = {
        1: random_pixels("uint8", 3),
        2: random_pixels("uint16", 1),
        3: random_pixels("float32", 5),
    }
    paths = {
        1: write_png(tmp_path / "rgb.png", pixels[1]),
        2: write_png(tmp_path / "gray.png", pixels[2]),
        3: write_tiff(tmp_path / "bands.tif", pixels[3]),
    }

    def make(backend=None, **kw) -> tuple[SimpleFrames, dict[int, np.ndarray]]:
        return SimpleFrames(dict(paths), workdir=tmp_path / "work", backend=backend, **kw), pixels

    return make


@pytest.fixture
def make_coco(tmp_path):
    """Return a factory of frames over a dataset whose images are given as kwcoco has them."""

    def make(*images: dict, backend=None, folder: str = "bundle", **kw) -> CocoFrames:
        bundle = tmp_path / folder
        bundle.mkdir(exist_ok=True)
        dset = kwcoco.CocoDataset({"images": [{"id": n, **img} for n, img in enumerate(images, 1)]})
        dset.fpath = str(bundle / "data.kwcoco.json")
        kw.setdefault("workdir", tmp_path / "work")
        return CocoFrames(dset, backend=backend, **kw)

    (tmp_path / "bundle").mkdir()
    return make


@pytest.fixture
def bundle(tmp_path, make_coco) -> pathlib.Path:
    return tmp_path / "bundle"


@pytest.fixture
def multispectral(bundle):
    """Return the entry of an RGB image, those of a like, a smaller and a shifted band, and all pixels."""
    pixels = {
        "rgb": random_pixels("uint8", 3),
        "pan": random_pixels("uint8", 1, seed=1),
        "nir": np.full((45, 76, 1), 40, np.uint8),
        "b5|b6": random_pixels("uint16", 2, (50, 60), seed=2),
    }
    write_png(bundle / "rgb.png", pixels["rgb"])
    write_tiff(bundle / "pan.tif", pixels["pan"])
    write_tiff(bundle / "nir.tif", pixels["nir"])
    write_tiff(bundle / "pair.tif", pixels["b5|b6"])
    assets = [
        {"file_name": "pan.tif", "channels": "pan", "warp_aux_to_img": None},
        {"file_name": "nir.tif", "channels": "nir", "warp_aux_to_img": {"scale": 2.0}},
        {"file_name": "pair.tif", "channels": "b5|b6", "warp_aux_to_img": {"offset": [10, 20]}},
    ]
    entry = {"file_name": "rgb.png", "channels": "r|g|b", "width": WIDTH, "height": HEIGHT}
    return entry, assets, pixels


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")


@each_backend
class TestLoadRegion:
    @pytest.mark.parametrize("region", REGIONS, ids=repr)
    def test_every_slice_form_of_numpy(self, backend, region, make_simple):
        frames, pixels = make_simple(backend)
        for gid, full in pixels.items():
            expected = full[tuple(region) if isinstance(region, list) else () if region is None else region]
            if full.shape[2] == 1 and expected.shape[2:] != (1,):
                expected = full[:, :, :1][expected.shape and region]
            assert_same(frames.load_region(gid, region), expected)

    def test_without_a_region_it_is_the_whole_image(self, backend, make_simple):
        frames, pixels = make_simple(backend)
        assert_same(frames.load_region(3), pixels[3])

    def test_the_sizes_of_old_callers_are_taken_and_not_needed(self, backend, make_simple):
        frames, pixels = make_simple(backend)
        found = frames.load_region(1, (slice(3), slice(4)), width=WIDTH, height=HEIGHT)
        assert_same(found, pixels[1][:3, :4])

    def test_pixels_belong_to_the_caller(self, backend, make_simple):
        frames, pixels = make_simple(backend)
        for region in (None, (slice(5), slice(6)), (slice(5), slice(6), slice(1))):
            found = frames.load_region(1, region)
            assert found.flags.writeable
            assert found.flags.c_contiguous
            found[:] = 0
            assert_same(frames.load_region(1), pixels[1])

    @pytest.mark.parametrize(
        ("region", "message"),
        [
            ((slice(0, 9, 2), slice(None)), "step"),
            ((slice(None, None, -1),), "step"),
            ((slice(0.5, 3),), "start of axis 0"),
            ((slice(0, float("nan")),), "stop of axis 0"),
            ((3, 4), "expected a slice"),
            ((slice(None),) * 4, "at most one slice for each of the 3 axes"),
            ("0:5", "expected a slice"),
        ],
    )
    def test_a_malformed_region_is_refused(self, backend, region, message, make_simple):
        frames, _ = make_simple(backend)
        with pytest.raises(WindowError, match=message):
            frames.load_region(1, region)

    @pytest.mark.parametrize("gid", [0, 99, "1", None, 1.5, [1], {}])
    def test_an_unknown_id_is_named(self, backend, gid, make_simple):
        frames, _ = make_simple(backend)
        for call in (frames.load_region, frames.load_image, frames.load_frame, frames.image_dims):
            with pytest.raises(UnknownIdError, match=r"image id is .*; expected one of the 3 ids"):
                call(gid)
        with pytest.raises(KeyError):
            frames.load_region(gid)

    def test_ids_may_be_numbers_of_numpy_or_strings(self, backend, make_simple, tmp_path):
        frames, pixels = make_simple(backend)
        assert_same(frames.load_region(np.int64(1)), pixels[1])
        named = SimpleFrames({"one": frames.id_to_path[1]}, workdir=tmp_path, backend=backend)
        assert_same(named.load_region("one"), pixels[1])

    def test_default_names_of_channels_can_be_asked_for(self, backend, make_simple):
        frames, pixels = make_simple(backend)
        assert_same(frames.load_region(1, channels="b|r"), pixels[1][:, :, [2, 0]])
        assert_same(frames.load_region(2, channels="gray"), pixels[2])
        assert_same(frames.load_region(3, (slice(4), slice(5)), channels="u4|u1"), pixels[3][:4, :5, [4, 1]])


@each_backend
class TestLoadImage:
    def test_it_slices_as_the_image_does(self, backend, make_simple):
        frames, pixels = make_simple(backend)
        for gid in (1, 3):
            image = frames.load_image(gid)
            assert image.shape == pixels[gid].shape
            assert image.dtype == pixels[gid].dtype
            for region in ((slice(-20), slice(-10)), (5,), (slice(None, None, 7), -1), (..., 0), slice(3)):
                assert_same(np.asarray(image[region]), pixels[gid][region])
            assert_same(np.asarray(image), pixels[gid])

    def test_its_kind_is_that_of_the_backend(self, backend, make_simple):
        frames, _ = make_simple(backend)
        kind = {None: np.ndarray, "npy": np.memmap, "cog": FrameView}[backend]
        assert type(frames.load_image(1)) is kind

    def test_one_band_has_two_axes_where_it_is_an_array(self, backend, make_simple):
        frames, pixels = make_simple(backend)
        image = frames.load_image(2)
        assert np.array_equal(np.asarray(image).squeeze(), pixels[2][:, :, 0])
        assert image.ndim == (3 if backend == "cog" else 2)

    def test_without_the_cache_it_decodes_the_source(self, backend, make_simple):
        frames, pixels = make_simple(backend)
        image = frames.load_image(1, cache=False)
        assert type(image) is np.ndarray
        assert_same(image, pixels[1])
        assert frames.load_image(2, cache=False).shape == DIMS
        assert frames.cache_dpath is None or not os.path.exists(frames.cache_dpath)

    def test_without_a_return_it_only_converts(self, backend, make_simple):
        frames, _ = make_simple(backend)
        assert frames.load_image(1, noreturn=True) is None
        if backend:
            assert frames._cache.is_ready(str(frames.id_to_path[1]))

    def test_channels_are_gathered_into_an_array(self, backend, make_simple):
        frames, pixels = make_simple(backend)
        found = frames.load_image(1, channels="g")
        assert_same(np.asarray(found), pixels[1][:, :, 1:2])

    def test_a_frame_reads_when_it_is_sliced(self, backend, make_simple):
        frames, pixels = make_simple(backend)
        for gid, full in pixels.items():
            view = frames.load_frame(gid)
            assert (view.shape, view.dtype) == (full.shape, full.dtype)
            assert_same(view[...], full)
            assert_same(view[-5:, ::3, 0], full[-5:, ::3, 0])
            assert_same(pickle.loads(pickle.dumps(view))[4], full[4])

    def test_the_map_of_npy_cannot_be_written_to(self, backend, make_simple):
        if backend != "npy":
            pytest.skip("not a map")
        image = make_simple(backend)[0].load_image(1)
        with pytest.raises(ValueError, match="read-only"):
            image[0, 0] = 0

    def test_a_source_that_is_an_array_already(self, backend, tmp_path):
        pixels = random_pixels("uint8", 1)
        np.save(tmp_path / "a.npy", pixels[:, :, 0])
        frames = SimpleFrames({1: tmp_path / "a.npy"}, workdir=tmp_path / "work", backend=backend)
        assert np.array_equal(np.asarray(frames.load_image(1)).squeeze(), pixels[:, :, 0])
        assert_same(frames.load_region(1), pixels)


@each_backend
class TestAssets:
    @pytest.fixture(params=["assets", "auxiliary"])
    def frames(self, request, backend, multispectral, make_coco):
        entry, assets, pixels = multispectral
        with_file = {**entry, request.param: assets}
        without = {"width": WIDTH, "height": HEIGHT, "name": "many", request.param: assets}
        return make_coco(with_file, without, backend=backend), pixels

    def test_the_own_file_is_the_default(self, frames):
        found, pixels = frames
        assert_same(found.load_region(1), pixels["rgb"])
        assert_same(np.asarray(found.load_image(1)), pixels["rgb"])
        assert_same(found.load_frame(1)[3:9], pixels["rgb"][3:9])

    def test_a_file_of_the_same_grid_is_read_exactly(self, frames):
        found, pixels = frames
        for gid in (1, 2):
            assert_same(
                found.load_region(gid, (slice(7, 40), slice(-30, None)), "pan"), pixels["pan"][7:40, -30:]
            )

    def test_a_shifted_file_is_placed_exactly(self, frames):
        found, pixels = frames
        canvas = np.zeros((*DIMS, 2), np.uint16)
        canvas[20:70, 10:70] = pixels["b5|b6"]
        for gid in (1, 2):
            assert_same(found.load_region(gid, channels="b5|b6"), canvas)
            assert_same(
                found.load_region(gid, (slice(15, 33), slice(60, 90)), "b6"), canvas[15:33, 60:90, 1:]
            )

    def test_a_smaller_file_is_enlarged(self, frames):
        found, _ = frames
        for gid in (1, 2):
            assert_same(found.load_region(gid, channels="nir"), np.full((*DIMS, 1), 40, np.uint8))

    def test_without_an_own_file_all_channels_are_the_default(self, frames):
        found, pixels = frames
        image = found.load_region(2)
        assert image.shape == (*DIMS, 4)
        assert image.dtype == np.uint16
        assert np.array_equal(image[:, :, :1], pixels["pan"])
        assert (image[:, :, 1] == 40).all()
        assert found.load_frame(2).shape == (*DIMS, 4)
        assert np.array_equal(np.asarray(found.load_image(2)), image)
        assert np.array_equal(found.load_frame(2)[5:9, 7], image[5:9, 7])

    def test_all_channels_come_in_the_order_of_the_files(self, frames):
        found, pixels = frames
        image = found.load_region(1, (slice(30, 60), slice(20, 60)), "<all>")
        assert image.shape == (30, 40, 7)
        assert np.array_equal(image[:, :, :3], pixels["rgb"][30:60, 20:60])
        assert np.array_equal(image[:, :, 3:4], pixels["pan"][30:60, 20:60])
        assert np.array_equal(image[:, :, 5:], pixels["b5|b6"][10:40, 10:50])

    @pytest.mark.parametrize(
        "request_",
        [
            "pan|b|b6|r",
            ["pan", "b", "b6", "r"],
            ["pan|b", "b6|r"],
            ("pan", "b|b6", "r"),
            ChannelSpec.coerce("pan|b|b6|r"),
            FusedChannelSpec.coerce("pan|b|b6|r"),
            [FusedChannelSpec.coerce("pan|b"), "b6|r"],
        ],
        ids=repr,
    )
    def test_channels_come_in_the_order_asked_for(self, frames, request_):
        found, pixels = frames
        image = found.load_region(1, (slice(30, 60), slice(20, 60)), request_)
        parts = [
            pixels["pan"][30:60, 20:60],
            pixels["rgb"][30:60, 20:60, 2:],
            pixels["b5|b6"][10:40, 10:50, 1:],
            pixels["rgb"][30:60, 20:60, :1],
        ]
        assert_same(image, np.concatenate(parts, axis=2, dtype=np.uint16))

    def test_the_region_may_name_channels_too(self, frames):
        found, pixels = frames
        region = (slice(30, 60), slice(20, 60), slice(1, 3))
        assert np.array_equal(
            found.load_region(1, region, "pan|b|g")[:, :, 0], pixels["rgb"][30:60, 20:60, 2]
        )

    @pytest.mark.parametrize("region", [(slice(5, 5), slice(0, 9)), (slice(0, 9), slice(200, 300))])
    @pytest.mark.parametrize("channels", ["nir", "b5", "pan|nir|r"])
    def test_an_empty_region_is_an_empty_array(self, frames, region, channels):
        found, _ = frames
        image = found.load_region(1, region, channels)
        assert image.size == 0
        assert image.shape[:2] == np.zeros(DIMS)[region].shape
        assert image.shape[2] == len(channels.split("|"))

    def test_an_unknown_channel_names_those_there_are(self, frames):
        found, _ = frames
        with pytest.raises(
            UnknownChannelError, match=r"image 1 has no channel 'swir'; it has r\|g\|b\|pan\|nir"
        ):
            found.load_region(1, channels="r|swir")

    @pytest.mark.parametrize("channels", [5, [], "", "r|r", ["r", "r"], [None], object(), {"r": 1}])
    def test_what_names_no_channels_is_refused(self, frames, channels):
        found, _ = frames
        with pytest.raises(TargetError, match="channels is .*expected"):
            found.load_region(1, channels=channels)

    def test_a_damaged_file_names_image_and_file_and_the_others_are_read(self, frames, bundle):
        found, pixels = frames
        for name, damage in [("nir.tif", lambda data: data[:-900]), ("pan.tif", lambda data: b"")]:
            path = bundle / name
            path.write_bytes(damage(path.read_bytes()))
            for gid in (1, 2):
                with pytest.raises(SourceError, match=rf"image {gid}: .*{name}"):
                    found.load_region(gid, channels=path.stem)
        assert_same(found.load_region(1), pixels["rgb"])
        assert found.load_region(1, channels="b5").shape == (*DIMS, 1)
        (bundle / "rgb.png").unlink()
        if found.cache_dpath:
            with pytest.raises(MissingSourceError, match=r"image 1: .*rgb.png does not exist"):
                found.reader.is_ready(found.layout(1))

    def test_every_file_is_prepared(self, frames):
        found, _ = frames
        found.prepare()
        for gid in (1, 2):
            assert found.reader.is_ready(found.layout(gid))

    def test_pathinfo_tells_each_file(self, backend, frames):
        found, _ = frames
        info = found._build_pathinfo(1)
        assert (info["id"], info["default"]) == (1, "r|g|b")
        assert list(info["channels"]) == ["r|g|b", "pan", "nir", "b5|b6"]
        nir = info["channels"]["nir"]
        assert nir["path"].endswith("nir.tif")
        assert np.array_equal(nir["warp_aux_to_img"], np.diag([2, 2, 1]))
        assert nir["cache_type"] == backend
        assert (nir["cache"] is None) == (backend is None)
        assert (nir["hashid"] is None) == (backend is None)
        assert found._build_pathinfo(2)["default"] is None


class TestLayouts:
    def test_bands_beyond_those_stated_are_left_out_when_names_are_asked_for(self, bundle, make_coco):
        pixels = random_pixels("uint8", 4)
        write_png(bundle / "rgba.png", pixels)
        frames = make_coco({"file_name": "rgba.png", "channels": "r|g|b"})
        assert_same(frames.load_region(1), pixels)
        assert_same(frames.load_region(1, channels="r|g|b"), pixels[:, :, :3])
        assert_same(frames.load_region(1, channels="b"), pixels[:, :, 2:3])

    def test_a_file_with_fewer_bands_than_stated_is_named(self, bundle, make_coco):
        write_png(bundle / "gray.png", random_pixels("uint8", 1))
        frames = make_coco({"file_name": "gray.png", "channels": "r|g|b"})
        with pytest.raises(SourceError, match=r"image 1: .*gray.png has 1 bands; the dataset states r\|g\|b"):
            frames.load_region(1, channels="b")

    def test_an_asset_of_rgba_stated_as_rgb_gives_three_bands(self, bundle, make_coco):
        pixels = random_pixels("uint8", 4)
        write_png(bundle / "rgba.png", pixels)
        write_png(bundle / "pan.png", pixels[:, :, :1])
        assets = [{"file_name": "rgba.png", "channels": "r|g|b"}, {"file_name": "pan.png", "channels": "pan"}]
        frames = make_coco({"assets": assets, "width": WIDTH, "height": HEIGHT})
        expected = pixels[:, :, [0, 1, 2, 0]]
        assert_same(frames.load_region(1), expected)

    def test_of_two_files_with_one_channel_the_first_counts(self, bundle, make_coco):
        for seed in (0, 1):
            write_tiff(bundle / f"{seed}.tif", random_pixels("uint8", 2, seed=seed))
        assets = [{"file_name": "0.tif", "channels": "a|b"}, {"file_name": "1.tif", "channels": "b|c"}]
        image = make_coco({"assets": assets, "width": WIDTH, "height": HEIGHT}).load_region(
            1, channels="<all>"
        )
        first, second = random_pixels("uint8", 2), random_pixels("uint8", 2, seed=1)
        assert_same(image, np.concatenate([first, second[:, :, 1:]], axis=2))

    def test_files_of_several_types_are_joined_in_one_that_holds_all(self, bundle, make_coco):
        deep, fine = random_pixels("int16", 1), random_pixels("float32", 1)
        write_tiff(bundle / "deep.tif", deep)
        write_tiff(bundle / "fine.tif", fine)
        assets = [{"file_name": "deep.tif", "channels": "d"}, {"file_name": "fine.tif", "channels": "f"}]
        image = make_coco({"assets": assets, "width": WIDTH, "height": HEIGHT}).load_region(1)
        assert_same(image, np.concatenate([deep.astype(np.float32), fine], axis=2))

    def test_a_turned_file_agrees_with_a_warp_of_the_whole(self, bundle, make_coco):
        y, x = np.mgrid[0:60, 0:80]
        pixels = (100 + 50 * np.sin(x / 9) + 40 * np.cos(y / 7)).astype(np.float32)[:, :, None]
        write_tiff(bundle / "turned.tif", pixels)
        warp = kwimage.Affine.affine(scale=1.3, theta=0.2, offset=(20, 5))
        asset = {"file_name": "turned.tif", "channels": "t", "warp_aux_to_img": warp.concise()}
        frames = make_coco({"assets": [asset], "width": WIDTH, "height": HEIGHT})
        whole = kwimage.warp_affine(
            pixels, warp, dsize=(WIDTH, HEIGHT), origin_convention="corner", border_value=0
        )
        inside = whole.reshape(DIMS) > 1
        inside = ~np.pad(~inside[2:-2, 2:-2], 2, constant_values=True)
        found = frames.load_region(1)[:, :, 0]
        core = kwimage.morphology(inside.astype(np.uint8), "erode", kernel=5) > 0
        assert core.sum() > 1000
        assert np.abs(found - whole.reshape(DIMS))[core].max() < 0.5
        piece = frames.load_region(1, (slice(30, 50), slice(60, 90)))[:, :, 0]
        # OpenCV before 5 rounds the places it interpolates at to 1/32 pixel; the picture climbs 6 a pixel.
        bound = 1e-2 if int(cv2.__version__.split(".")[0]) >= 5 else 6 / 32
        assert np.abs(piece - found[30:50, 60:90]).max() < bound

    @pytest.mark.parametrize(
        "warp", [None, {"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}, {"scale": 1.0}, np.eye(3)]
    )
    def test_a_warp_that_changes_nothing_is_none(self, warp):
        layout = build_layout(1, {"assets": [{"file_name": "a.png", "warp_aux_to_img": warp}]}, "/data")
        assert layout.assets[0].warp_img_from_asset is None

    def test_paths_start_from_the_bundle_unless_absolute(self):
        img = {
            "file_name": "../a.png",
            "assets": [{"file_name": os.path.abspath("/else/b.png"), "channels": "b"}],
        }
        layout = build_layout(1, img, os.path.abspath("/data/bundle"))
        assert [asset.path for asset in layout.assets] == [
            os.path.abspath("/data/a.png"),
            os.path.abspath("/else/b.png"),
        ]

    def test_a_path_object_is_a_file_name(self, bundle, make_coco):
        pixels = random_pixels()
        frames = make_coco({"file_name": write_png(bundle / "a.png", pixels)})
        assert_same(frames.load_region(1), pixels)

    @pytest.mark.parametrize(
        "img", [{}, {"file_name": None}, {"assets": []}, {"auxiliary": [{"file_name": None}]}]
    )
    def test_an_image_without_a_file_is_named(self, img, make_coco):
        with pytest.raises(SourceError, match=r"image 1 names no file; expected 'file_name', 'assets'"):
            make_coco({"name": "a", **img}).load_region(1)

    @pytest.mark.parametrize(
        "change",
        [
            {"file_name": 7},
            {"channels": 7},
            {"channels": "r|r"},
            {"width": "wide"},
            {"width": float("nan")},
            {"assets": [None]},
            {"assets": {"a": 1}},
            {"assets": [{"file_name": "a.png", "channels": "x", "warp_aux_to_img": "junk"}]},
            {"assets": [{"file_name": "a.png", "channels": "x", "warp_aux_to_img": {"scale": 0}}]},
        ],
        ids=repr,
    )
    def test_an_entry_that_cannot_be_understood_names_the_image(self, change, bundle, make_coco):
        write_png(bundle / "a.png", random_pixels())
        frames = make_coco({"file_name": "a.png", "height": HEIGHT, "width": WIDTH}, {"file_name": "a.png"})
        frames.dset.imgs[1].update(change)
        with pytest.raises(NDSamplerError, match="image 1"):
            frames.load_region(1, channels="x" if "warp" in str(change) else None)
        assert_same(frames.load_region(2), random_pixels())

    def test_several_files_need_a_stated_size(self, multispectral, make_coco):
        _, assets, _ = multispectral
        with pytest.raises(SourceError, match=r"image 1 .*states no 'width' and 'height'"):
            make_coco({"name": "a", "assets": assets}).load_region(1)

    def test_sizes_come_from_the_dataset_or_else_from_the_file(self, bundle, make_coco):
        write_png(bundle / "a.png", random_pixels())
        frames = make_coco({"file_name": "a.png"}, {"file_name": "a.png", "width": 7, "height": 9})
        assert frames.image_dims(1) == DIMS
        assert frames.image_dims(2) == (9, 7)
        assert frames.load_region(1, (slice(-3, None), slice(-4, None))).shape == (3, 4, 3)

    @each_backend
    def test_a_stated_size_that_disagrees_with_the_file_is_refused(self, backend, bundle, make_coco):
        write_png(bundle / "a.png", random_pixels())
        entry = {"file_name": "a.png", "width": HEIGHT, "height": WIDTH}
        with pytest.raises(
            SourceError, match=r"image 1: .*a.png has \(height, width\) \(90, 151\); the dataset"
        ):
            make_coco(entry, backend=backend).load_region(1, (slice(5), slice(5)))

    def test_names_of_unstated_channels(self):
        assert [default_channels(count) for count in (1, 2, 3, 4)] == [
            ("gray",),
            ("gray", "a"),
            ("r", "g", "b"),
            ("r", "g", "b", "a"),
        ]
        assert default_channels(6) == ("u0", "u1", "u2", "u3", "u4", "u5")
        assert layout.band_names(Asset("x", ("a", "b")), 5)[:2] == ("a", "b")
        assert len(set(layout.band_names(Asset("x", ("r", "u1")), 6))) == 6

    def test_parsing_channels_leaves_the_default_open(self):
        import ubelt as ub
        from kwcoco.coco_image import CocoImage  # noqa: F401  kwcoco passes ubelt's sentinel

        assert parse_channels(None) is None
        assert parse_channels(ub.NoParam) is None
        assert parse_channels("<all>") == "<all>"


class TestEdits:
    @each_backend
    def test_an_edited_file_name_is_noticed(self, backend, bundle, make_coco):
        for seed in (0, 1):
            write_png(bundle / f"{seed}.png", random_pixels(seed=seed))
        frames = make_coco({"file_name": "0.png"}, backend=backend)
        assert_same(frames.load_region(1), random_pixels())
        frames.dset.imgs[1]["file_name"] = "1.png"
        assert_same(frames.load_region(1), random_pixels(seed=1))

    def test_edited_sizes_and_channels_are_noticed(self, bundle, make_coco):
        write_png(bundle / "a.png", random_pixels())
        frames = make_coco({"file_name": "a.png", "channels": "r|g|b"})
        frames.load_region(1)
        frames.dset.imgs[1]["channels"] = "x|y|z"
        assert_same(frames.load_region(1, channels="y"), random_pixels()[:, :, 1:2])
        frames.dset.imgs[1].update(width=5, height=6)
        assert frames.image_dims(1) == (6, 5)

    def test_replaced_assets_are_noticed(self, bundle, make_coco):
        for seed in range(8):
            write_tiff(bundle / f"{seed}.tif", random_pixels("uint8", 1, seed=seed))
        frames = make_coco({"width": WIDTH, "height": HEIGHT, "assets": [{"file_name": "0.tif"}]})
        frames.load_region(1)
        for seed in range(1, 8):
            # Freed first, so that the new list may well lie where the old one lay.
            del frames.dset.imgs[1]["assets"]
            frames.dset.imgs[1]["assets"] = [{"file_name": f"{seed}.tif"}]
            assert_same(frames.load_region(1), random_pixels("uint8", 1, seed=seed))

    def test_an_asset_edited_in_place_is_noticed(self, bundle, make_coco):
        for seed in (0, 1):
            write_tiff(bundle / f"{seed}.tif", random_pixels("uint8", 1, seed=seed))
        frames = make_coco(
            {"width": WIDTH, "height": HEIGHT, "assets": [{"file_name": "0.tif", "channels": "a"}]}
        )
        frames.load_region(1)
        asset = frames.dset.imgs[1]["assets"][0]
        asset["file_name"] = "1.tif"
        assert_same(frames.load_region(1), random_pixels("uint8", 1, seed=1))
        asset["warp_aux_to_img"] = {"offset": [0, 5]}
        assert_same(frames.load_region(1)[5:], random_pixels("uint8", 1, seed=1)[:-5])
        asset["channels"] = "b"
        assert frames.load_region(1, channels="b").shape == (*DIMS, 1)

    def test_a_moved_dataset_is_noticed(self, tmp_path, bundle, make_coco):
        (tmp_path / "other").mkdir()
        write_png(bundle / "a.png", random_pixels())
        write_png(tmp_path / "other" / "a.png", random_pixels(seed=1))
        frames = make_coco({"file_name": "a.png"})
        assert_same(frames.load_region(1), random_pixels())
        frames.dset.fpath = str(tmp_path / "other" / "data.kwcoco.json")
        assert_same(frames.load_region(1), random_pixels(seed=1))

    def test_added_and_removed_images_are_noticed(self, bundle, make_coco):
        write_png(bundle / "a.png", random_pixels())
        frames = make_coco({"file_name": "a.png"})
        frames.load_region(1)
        gid = frames.dset.add_image(file_name=str(bundle / "a.png"), name="again")
        assert_same(frames.load_region(gid), random_pixels())
        assert frames.image_ids.tolist() == [1, gid]
        frames.dset.remove_images([1])
        with pytest.raises(UnknownIdError, match="image id is 1"):
            frames.load_region(1)

    def test_layouts_are_bounded_in_number(self, bundle, make_coco, monkeypatch):
        assert MAX_LAYOUTS >= 1000
        monkeypatch.setattr("ndsampler.coco_frames.MAX_LAYOUTS", 2)
        write_png(bundle / "a.png", random_pixels())
        frames = make_coco(*({"file_name": "a.png", "name": str(n)} for n in range(5)))
        for gid in frames.image_ids:
            frames.load_region(gid, (slice(1), slice(1)))
        assert len(frames._layouts) <= 2


#: Ways in which an image file is damaged, each giving the bytes it then has.
DAMAGES = {
    "missing": None,
    "empty": lambda data: b"",
    "cut off early": lambda data: data[:40],
    "cut off late": lambda data: data[: len(data) * 9 // 10],
    "foreign": lambda data: b"PK\x03\x04 this is no image at all" * 9,
}


@each_backend
class TestDamage:
    @pytest.fixture
    def frames(self, backend, bundle, make_coco):
        write_png(bundle / "good.png", random_pixels())
        write_png(bundle / "a.png", random_pixels())
        write_pillow(bundle / "a.jpg", random_pixels())
        write_tiff(bundle / "a.tif", random_pixels())
        write_tiff(
            bundle / "t.tif", random_pixels(), tiled=True, blockxsize=16, blockysize=16, compress="lzw"
        )
        np.save(bundle / "a.npy", random_pixels())
        names = ["good.png", "a.png", "a.jpg", "a.tif", "t.tif", "a.npy"]
        return make_coco(*({"file_name": name} for name in names), backend=backend)

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_each_damaged_file_is_named_and_the_others_are_read(self, damage, frames, bundle):
        for gid in (2, 3, 4, 5, 6):
            path = bundle / frames.dset.imgs[gid]["file_name"]
            change = DAMAGES[damage]
            path.unlink() if change is None else path.write_bytes(change(path.read_bytes()))
            for call in (frames.load_region, lambda gid: np.asarray(frames.load_image(gid))):
                with pytest.raises(SourceError, match=rf"image {gid}: .*{path.name}") as caught:
                    call(gid)
                if change is None:
                    assert isinstance(caught.value, MissingSourceError)
                assert_same(frames.load_region(1), random_pixels())

    def test_preparing_names_all_that_failed_and_converts_the_others(self, backend, frames, bundle):
        if backend is None:
            assert frames.prepare() is None
            return
        (bundle / "a.jpg").unlink()
        (bundle / "a.png").write_bytes(b"no image")
        for workers in (0, 3):
            with pytest.raises(SourceError) as caught:
                frames.prepare(workers=workers)
            message = str(caught.value)
            assert "2 of 6 images could not be prepared" in message
            assert "image 2: " in message
            assert "a.png" in message
            assert "image 3: " in message
            assert "a.jpg" in message
        for gid in (1, 4, 5, 6):
            assert frames.reader.is_ready(frames.layout(gid))

    def test_preparing_one_that_fails_raises_its_own_error(self, backend, frames, bundle):
        if backend is None:
            pytest.skip("nothing to prepare")
        (bundle / "a.jpg").unlink()
        with pytest.raises(MissingSourceError, match=r"^image 3: .*a.jpg does not exist"):
            frames.prepare()

    def test_a_file_that_is_mended_is_read_again(self, frames, bundle):
        data = (bundle / "a.png").read_bytes()
        (bundle / "a.png").write_bytes(data[:200])
        with pytest.raises(SourceError, match="image 2"):
            frames.load_region(2)
        (bundle / "a.png").write_bytes(data)
        assert_same(frames.load_region(2), random_pixels())


@pytest.mark.parametrize("backend", ["npy", "cog"])
class TestPrepare:
    def test_it_converts_all_or_those_asked_for(self, backend, make_simple):
        frames, _ = make_simple(backend)
        frames.prepare([2])
        assert [frames.reader.is_ready(frames.layout(gid)) for gid in (1, 2, 3)] == [False, True, False]
        frames.prepare()
        assert all(frames.reader.is_ready(frames.layout(gid)) for gid in (1, 2, 3))

    @pytest.mark.parametrize("workers", [0, 1, 2, 8])
    def test_workers_convert_the_same(self, backend, workers, make_simple):
        frames, pixels = make_simple(backend)
        frames.prepare(workers=workers)
        for gid, full in pixels.items():
            assert_same(frames.load_region(gid), full)

    def test_again_it_does_what_is_missing(self, backend, make_simple, monkeypatch):
        frames, _ = make_simple(backend)
        frames.prepare([1])
        converted = []
        original = frames._cache.backend.convert
        monkeypatch.setattr(
            frames._cache.backend,
            "convert",
            lambda source, dest: converted.append(dest) or original(source, dest),
        )
        for use_stamp in (True, False):
            frames.prepare(use_stamp=use_stamp)
        assert len(converted) == 2

    def test_an_image_named_twice_is_no_trouble(self, backend, make_simple):
        frames, pixels = make_simple(backend)
        frames.prepare([1, 1, 1, 2, 2], workers=4)
        assert_same(frames.load_region(1), pixels[1])

    def test_nothing_to_prepare(self, backend, tmp_path):
        SimpleFrames({}, workdir=tmp_path, backend=backend).prepare(workers=3)

    def test_an_unknown_id_is_named(self, backend, make_simple):
        frames, _ = make_simple(backend)
        with pytest.raises(UnknownIdError, match="image id is 77"):
            frames.prepare([1, 77])

    def test_a_progress_bar_is_shown_only_when_asked_for(self, backend, make_simple, capsys):
        frames, _ = make_simple(backend)
        frames.prepare()
        frames.prepare(verbose=0)
        frames.load_region(1)
        assert capsys.readouterr() == ("", "")
        frames.prepare(verbose=1)
        out, err = capsys.readouterr()
        assert f"prepare {backend}" in out + err

    def test_coco_frames_show_one_when_they_were_told_so(self, backend, bundle, make_coco, capsys):
        write_png(bundle / "a.png", random_pixels())
        make_coco({"file_name": "a.png"}, backend=backend).prepare()
        assert capsys.readouterr() == ("", "")
        make_coco({"file_name": "a.png"}, backend=backend, verbose=1).prepare()
        assert "prepare" in "".join(capsys.readouterr())

    def test_a_write_that_fails_names_the_image(self, backend, make_simple, tmp_path, monkeypatch):
        frames, pixels = make_simple(backend)

        def fail(*args):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fail)
            with pytest.raises(CacheError, match=r"image 1: .*No space left") as caught:
                frames.prepare()
            assert "image 3: " in str(caught.value)
        assert_same(frames.load_region(1), pixels[1])

    def test_a_workdir_that_cannot_hold_a_folder_names_the_image(self, backend, make_simple, tmp_path):
        (tmp_path / "work").write_text("a file")
        frames, _ = make_simple(backend)
        with pytest.raises(CacheError, match=r"image 2: .*gray.png cannot be made"):
            frames.load_region(2)


class TestCacheFolders:
    @pytest.mark.parametrize("backend", ["npy", "cog"])
    @pytest.mark.parametrize("mode", ["PATH", "PIXELS"])
    def test_two_bundles_may_share_a_workdir(self, backend, mode, tmp_path, bundle, make_coco):
        (tmp_path / "other").mkdir()
        write_png(bundle / "a.png", random_pixels())
        write_png(tmp_path / "other" / "a.png", random_pixels(seed=1))
        first = make_coco({"file_name": "a.png"}, backend=backend, hashid_mode=mode)
        second = make_coco({"file_name": "a.png"}, backend=backend, hashid_mode=mode, folder="other")
        assert first.cache_dpath == second.cache_dpath
        for _ in range(2):
            assert_same(first.load_region(1), random_pixels())
            assert_same(second.load_region(1), random_pixels(seed=1))

    @pytest.mark.parametrize("backend", ["npy", "cog"])
    @pytest.mark.parametrize(
        "name", ["../../x.png", "../sub/x.png", "ünï 字.png", "a" * 120 + ".png", "absolute"]
    )
    def test_a_name_in_the_dataset_never_decides_where_we_write(self, backend, name, tmp_path, make_coco):
        home = tmp_path / "home"
        (home / "bundle").mkdir(parents=True)
        (home / "sub").mkdir()
        name = str(tmp_path / "far.png") if name == "absolute" else name
        write_png(tmp_path / "plain.png", random_pixels())
        os.replace(tmp_path / "plain.png", home / "bundle" / name)
        before = set(tmp_path.rglob("*"))
        frames = make_coco({"file_name": name}, backend=backend, folder="home/bundle")
        assert_same(frames.load_region(1), random_pixels())
        written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
        assert len(written) == 1
        assert all(path.is_relative_to(frames.cache_dpath) for path in written)

    def test_given_hashes_stand_in_the_dataset(self, bundle, make_coco):
        write_png(bundle / "a.png", random_pixels())
        write_png(bundle / "b.png", random_pixels(seed=1))
        frames = make_coco(
            {"file_name": "a.png", "hashid": "one"},
            {"file_name": "b.png"},
            backend="npy",
            hashid_mode="GIVEN",
        )
        assert_same(frames.load_region(1), random_pixels())
        with pytest.raises(SourceError, match=r"image 2: .*b.png has no hash in the dataset"):
            frames.load_region(2)

    def test_each_backend_and_setting_has_a_folder_of_its_own(self, make_simple, tmp_path):
        specs = [
            "npy",
            "cog",
            {"type": "cog", "config": {"compress": "LZW"}},
            {"type": "cog", "config": {"quality": 9}},
        ]
        folders = [make_simple(spec)[0].cache_dpath for spec in specs]
        assert len(set(folders)) == len(specs)
        assert all(pathlib.Path(folder).is_relative_to(tmp_path / "work") for folder in folders)
        assert make_simple("auto")[0].cache_dpath == make_simple("cog")[0].cache_dpath
        assert make_simple(None)[0].cache_dpath is None

    def test_by_default_it_lies_in_the_users_cache(self, tmp_path, monkeypatch):
        monkeypatch.setattr("ndsampler.abstract_frames._default_workdir", lambda: str(tmp_path / "user"))
        frames = SimpleFrames({}, backend="npy")
        assert frames.cache_dpath.startswith(str(tmp_path / "user"))
        assert SimpleFrames({}).workdir is None

    def test_a_relative_workdir_stays_where_it_was(self, make_simple, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        frames = SimpleFrames({1: "rgb.png"}, workdir="here", backend="npy")
        assert frames.cache_dpath == str(
            tmp_path / "here" / pathlib.Path(frames.cache_dpath).relative_to(tmp_path / "here")
        )


class TestArguments:
    @pytest.mark.parametrize("make", [SimpleFrames, lambda ids, **kw: CocoFrames(kwcoco.CocoDataset(), **kw)])
    def test_an_unknown_backend_or_setting_is_refused_at_once(self, make, tmp_path):
        with pytest.raises(BackendError, match="backend is 'gdal'"):
            make({}, workdir=tmp_path, backend="gdal")
        with pytest.raises(BackendError, match="has no setting 'level'"):
            make({}, workdir=tmp_path, backend={"type": "cog", "config": {"level": 3}})
        with pytest.raises(ValueError, match="compress is 'ZIP'"):
            make({}, workdir=tmp_path, backend={"type": "cog", "config": {"compress": "ZIP"}})

    @pytest.mark.parametrize("mode", ["path", "HASH", None, 3])
    def test_an_unknown_hashid_mode_names_the_options(self, mode, tmp_path):
        with pytest.raises(
            ArgumentError, match=r"hashid_mode is .*; expected one of 'PATH', 'PIXELS', 'GIVEN'"
        ):
            CocoFrames(kwcoco.CocoDataset(), hashid_mode=mode, workdir=tmp_path)

    def test_coco_frames_use_cog_by_default_and_simple_frames_nothing(self, tmp_path):
        assert CocoFrames(kwcoco.CocoDataset(), workdir=tmp_path)._backend["type"] == "cog"
        assert SimpleFrames({}, workdir=tmp_path)._backend["type"] is None

    def test_the_documented_defaults_are_valid_backends(self, make_simple):
        for spec in (Frames.DEFAULT_NPY_CONFIG, Frames.DEFAULT_COG_CONFIG):
            frames, pixels = make_simple(spec)
            assert_same(frames.load_region(1), pixels[1])

    def test_the_base_class_asks_for_what_it_needs(self):
        frames = Frames()
        with pytest.raises(NotImplementedError, match="Frames must define image_ids"):
            frames.image_ids  # noqa: B018
        with pytest.raises(NotImplementedError, match="Frames must define _lookup_gpath or layout"):
            frames.load_region(1)

    def test_a_class_that_says_where_images_lie_is_enough(self, tmp_path):
        class Folder(Frames):
            image_ids = (1, 2)

            def _lookup_gpath(self, image_id):
                return tmp_path / f"{image_id}.png"

        for gid in (1, 2):
            write_png(tmp_path / f"{gid}.png", random_pixels(seed=gid))
        frames = Folder(workdir=tmp_path, backend="npy")
        frames.prepare()
        assert_same(frames.load_region(2, (slice(3), slice(4))), random_pixels(seed=2)[:3, :4])


class TestHashid:
    def test_it_depends_on_files_and_backend_alone(self, bundle, make_coco, tmp_path):
        images = [{"file_name": "a.png"}, {"file_name": "b.png"}]
        same = [make_coco(*images, backend="npy"), make_coco(*images, backend="npy", workdir=tmp_path / "w2")]
        other = [
            make_coco(*images, backend="cog"),
            make_coco(*images[:1], backend="npy"),
            make_coco(*images, backend="npy", hashid_mode="PIXELS"),
        ]
        assert same[0].hashid == same[1].hashid
        assert len({frames.hashid for frames in [same[0], *other]}) == 4

    def test_it_is_made_for_names_that_are_path_objects(self, bundle, make_coco):
        assert make_coco({"file_name": bundle / "a.png"}).hashid == make_coco({"file_name": "a.png"}).hashid


@each_backend
class TestCopies:
    @pytest.mark.parametrize(
        "clone", [copy.copy, copy.deepcopy, lambda frames: pickle.loads(pickle.dumps(frames))]
    )
    def test_copies_of_frames_read_the_same(self, backend, clone, multispectral, make_coco, make_simple):
        entry, assets, pixels = multispectral
        coco = make_coco({**entry, "assets": assets}, backend=backend)
        simple, known = make_simple(backend)
        for frames, expected in ((coco, pixels["rgb"]), (simple, known[1])):
            frames.load_region(1)
            assert_same(clone(frames).load_region(1), expected)
            assert_same(frames.load_region(1), expected)


class TestReading:
    """What samplers ask of frames, beyond regions inside an image."""

    @each_backend
    @pytest.mark.parametrize(
        "box", [*itertools.product([(-5, 7), (80, 99), (-9, -2), (200, 210)], [(-3, 4), (150, 170)])]
    )
    def test_what_lies_outside_is_zero_or_nan(self, backend, box, make_simple):
        frames, pixels = make_simple(backend)
        (y0, y1), (x0, x1) = box
        for gid in (1, 3):
            canvas = np.pad(pixels[gid], ((300, 300), (300, 300), (0, 0)))
            expected = canvas[300 + y0 : 300 + y1, 300 + x0 : 300 + x1]
            layout = frames.layout(gid)
            assert_same(frames.reader.read(layout, Grid(PixelBox(y0, y1, x0, x1))), expected)
            with_nan = frames.reader.read(layout, Grid(PixelBox(y0, y1, x0, x1), nodata="float"))
            outside = np.pad(np.zeros(DIMS, bool), 300, constant_values=True)[
                300 + y0 : 300 + y1, 300 + x0 : 300 + x1
            ]
            assert with_nan.dtype == np.float32
            assert np.isnan(with_nan[outside]).all()
            assert np.array_equal(with_nan[~outside], expected[~outside].astype(np.float32))

    @each_backend
    @pytest.mark.parametrize("box", [PixelBox(0, 10**9, 0, 10**9), PixelBox(-(10**6), 10**6, 0, 10**5)])
    def test_an_absurd_window_is_refused_before_memory_is_touched(self, backend, box, make_simple):
        frames, _ = make_simple(backend)
        for grid in (
            Grid(box),
            Grid(box, nodata="float"),
            Grid(PixelBox(0, 9, 0, 9), np.diag([1e8, 1e8, 1]), box.dims),
        ):
            with pytest.raises(
                WindowError, match=r"the window on image 1 has dims .*Ask for a smaller window"
            ):
                frames.reader.read(frames.layout(1), grid)

    @each_backend
    def test_declared_values_become_nan(self, backend, bundle, make_coco):
        pixels = random_pixels("int16", 2)
        pixels[10:20, 10:20] = -99
        write_tiff(bundle / "a.tif", pixels, nodata=-99)
        frames = make_coco({"file_name": "a.tif"}, backend=backend)
        box = PixelBox(5, 30, 5, 40)
        found = frames.reader.read(frames.layout(1), Grid(box, nodata="float"))
        expected = pixels[5:30, 5:40].astype(np.float32)
        expected[expected == -99] = np.nan
        assert_same(found, expected)
        assert_same(frames.reader.read(frames.layout(1), Grid(box)), pixels[5:30, 5:40])
        assert np.isnan(frames.reader.read(frames.layout(1), Grid(box, nodata=int(pixels[7, 7, 0])))[2, 2, 0])

    def test_a_channel_that_lacks_is_nan_where_that_is_allowed(self, make_simple):
        frames, pixels = make_simple(None)
        grid = Grid(PixelBox(0, 5, 0, 6), allow_missing=True)
        found = frames.reader.read(frames.layout(1), grid, ("g", "swir"))
        assert found.dtype == np.float32
        assert np.array_equal(found[:, :, 0], pixels[1][:5, :6, 1])
        assert np.isnan(found[:, :, 1]).all()
        alone = frames.reader.read(frames.layout(1), grid, ("swir",))
        assert alone.shape == (5, 6, 1)
        assert np.isnan(alone).all()

    def test_a_shrunk_window_is_averaged(self, make_simple):
        frames, pixels = make_simple(None)
        grid = Grid(PixelBox(0, 80, 0, 80), np.diag([0.25, 0.25, 1]), (20, 20))
        found = frames.reader.read(frames.layout(1), grid)
        means = pixels[1][:80, :80].reshape(20, 4, 20, 4, 3).mean(axis=(1, 3))
        assert found.shape == (20, 20, 3)
        assert np.corrcoef(found.ravel(), means.ravel())[0, 1] > 0.8

    def test_names_of_what_a_read_gives(self, multispectral, make_coco):
        entry, assets, _ = multispectral
        frames = make_coco({**entry, "assets": assets})
        layout = frames.layout(1)
        assert frames.reader.channel_names(layout, None, 3) == ("r", "g", "b")
        assert frames.reader.channel_names(layout, "<all>", 7) == ("r", "g", "b", "pan", "nir", "b5", "b6")
        assert frames.reader.plan(layout, "<all>", sort_all=True).channels == tuple(
            sorted(("r", "g", "b", "pan", "nir", "b5", "b6"))
        )

    @pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
    def test_masking_keeps_every_other_value_exactly(self, dtype):
        pixels = random_pixels(dtype, 1, (20, 20))
        value = pixels[3, 3, 0]
        found = mask_nodata(pixels, value.item())
        same = pixels == value
        assert np.isnan(found[same]).all()
        assert np.array_equal(found[~same].astype(np.float64), pixels[~same].astype(np.float64))
        assert not np.isnan(mask_nodata(pixels, None)).any()
        assert not np.isnan(mask_nodata(pixels, float("nan"))).any()

    def test_a_declared_value_is_compared_in_the_type_of_the_file(self):
        pixels = np.array([0.1, -3.4028234663852886e38], np.float32)
        assert np.isnan(mask_nodata(pixels, 0.1)).tolist() == [True, False]
        assert np.isnan(mask_nodata(pixels, -3.4028234663852886e38)).tolist() == [False, True]

    @pytest.mark.parametrize("nodata", [-9999, 300, 1e40, 0.5])
    def test_a_declared_value_that_the_type_cannot_hold_masks_nothing(self, nodata):
        pixels = random_pixels("uint8", 1, (16, 16))
        assert not np.isnan(mask_nodata(pixels, nodata)).any()


@each_backend
class TestOverviews:
    dims = (301, 405)

    @pytest.fixture
    def pixels(self) -> np.ndarray:
        """Return a picture of long waves, which every way of averaging shows alike."""
        y, x = np.mgrid[0 : self.dims[0], 0 : self.dims[1]] / 90
        waves = [np.sin(2 * np.pi * (x * np.cos(turn) + y * np.sin(turn))) for turn in range(3)]
        return (127 + 120 * np.stack(waves, axis=2)).astype(np.uint8)

    @pytest.fixture(params=["converted", "in place"])
    def frames(self, request, backend, pixels, bundle, make_coco):
        """Return frames over a file without overviews, and over one that has some."""
        if request.param == "in place":
            path = write_tiff(bundle / "a.tif", pixels, tiled=True, blockxsize=64, blockysize=64)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                with rasterio.open(path, "r+") as file:
                    file.build_overviews([2, 4], rasterio.enums.Resampling.average)
        else:
            path = write_png(bundle / "a.png", pixels)
        return make_coco({"file_name": path.name}, backend=backend)

    @pytest.mark.parametrize("scale", [0.9, 0.5, 0.37, 0.25, 0.1])
    @pytest.mark.parametrize("box", [PixelBox(0, 301, 0, 405), PixelBox(31, 230, 57, 300)])
    def test_a_shrunk_window_is_that_of_the_whole(self, frames, pixels, scale, box):
        dims = (round(box.dims[0] * scale), round(box.dims[1] * scale))
        warp = np.diag([scale, scale, 1.0])
        found = frames.reader.read(frames.layout(1), Grid(box, warp, dims))
        shift = np.array([[1.0, 0, -box.x0], [0, 1.0, -box.y0], [0, 0, 1.0]])
        expected = kwimage.warp_affine(
            pixels, warp @ shift, dsize=dims[::-1], antialias=True, origin_convention="corner"
        )
        assert found.shape == expected.shape
        inner = (slice(2, -2), slice(2, -2))
        assert np.abs(found[inner].astype(int) - expected[inner]).max() <= 12

    def test_a_coarse_answer_reads_few_pixels(self, backend, frames, monkeypatch):
        if backend == "npy" or (backend is None and frames.dset.imgs[1]["file_name"] == "a.png"):
            pytest.skip("has no overviews")
        frames.prepare()
        read = []
        original = gdal.RasterReader.read

        def count(self, y0, y1, x0, x1, bands=None):
            read.append((y1 - y0) * (x1 - x0))
            return original(self, y0, y1, x0, x1, bands)

        monkeypatch.setattr(gdal.RasterReader, "read", count)
        grid = Grid(PixelBox(0, 301, 0, 405), np.diag([0.25, 0.25, 1]), (75, 101))
        frames.reader.read(frames.layout(1), grid)
        assert sum(read) <= 76 * 102

    def test_a_value_averaged_away_is_looked_for_in_the_image_itself(self, backend, bundle, make_coco):
        pixels = np.full((300, 300, 1), 100, np.uint8)
        pixels[::2, ::2] = 7
        write_tiff(bundle / "a.tif", pixels)
        frames = make_coco({"file_name": "a.tif"}, backend=backend)
        grid = Grid(PixelBox(0, 300, 0, 300), np.diag([0.25, 0.25, 1]), (75, 75), nodata=7)
        found = frames.reader.read(frames.layout(1), grid)
        assert np.isnan(found).any()
        assert np.all(np.isnan(found) | (found == 100))


def test_demo_frames_are_three_images_and_print_nothing(tmp_path, monkeypatch, capsys, caplog):
    paths = {
        key: write_png(tmp_path / f"{key}.png", random_pixels()) for key in ("astro", "carl", "paraview")
    }

    def grab(key):
        print("downloading", key)
        return paths[key]

    monkeypatch.setattr(kwimage, "grab_test_image_fpath", grab)
    with caplog.at_level(logging.DEBUG, logger="ndsampler"):
        frames = SimpleFrames.demo(workdir=tmp_path)
    assert frames.image_ids == [1, 2, 3]
    assert capsys.readouterr().out == ""
    assert "downloading astro" in caplog.text


class TestVideos:
    @pytest.fixture
    def frames(self, bundle, make_coco) -> CocoFrames:
        write_png(bundle / "a.png", random_pixels())
        warped = {"warp_img_to_vid": {"scale": 2.0, "offset": [3, 0.5]}}
        found = make_coco(*({"file_name": "a.png", "name": str(n)} for n in range(4)))
        stated = found.dset.add_video("stated", width=70, height=50)
        plain = found.dset.add_video("plain")
        for gid, vidid, index in [(1, stated, 1), (2, stated, 0), (3, plain, 0)]:
            found.dset.imgs[gid].update(video_id=vidid, frame_index=index)
        found.dset.imgs[3].update(warped)
        found.dset.rebuild_index()
        return found

    def test_frames_come_in_the_order_of_their_index(self, frames):
        assert frames.video_gids(1) == [2, 1]
        assert [frames.video_of(gid) for gid in (1, 2, 3, 4)] == [1, 1, 2, None]

    @pytest.mark.parametrize("vidid", [9, None, [1]])
    def test_an_unknown_video_is_named(self, frames, vidid):
        with pytest.raises(UnknownTargetError, match="vidid is .*expected a video id"):
            frames.video_gids(vidid)
        with pytest.raises(UnknownIdError, match="image id is 9"):
            frames.video_of(9)

    def test_the_size_of_a_video_is_stated_or_that_of_a_frame(self, frames):
        assert frames.video_dims(1, 1) == (50, 70)
        assert frames.video_dims(None, 4) == DIMS
        assert frames.video_dims(2, 3) == (2 * HEIGHT + 1, 2 * WIDTH + 3)


def test_a_database_view_serves_frames(bundle, make_coco):
    pytest.importorskip("sqlalchemy")
    write_png(bundle / "a.png", random_pixels())
    write_tiff(bundle / "b.tif", random_pixels("uint8", 1))
    other = {"file_name": str(bundle / "b.tif"), "channels": "b"}
    plain = make_coco(
        {"file_name": str(bundle / "a.png"), "width": WIDTH, "height": HEIGHT},
        {
            "width": WIDTH,
            "height": HEIGHT,
            "name": "b",
            "auxiliary": [other],
        },
    )
    view = plain.dset.view_sql(memory=True)
    frames = CocoFrames(view, backend=None)
    assert frames.image_ids.tolist() == [1, 2]
    for _ in range(2):
        assert_same(frames.load_region(1), random_pixels())
        assert_same(frames.load_region(2), random_pixels("uint8", 1))
    with pytest.raises(UnknownIdError, match="image id is 9"):
        frames.load_region(9)
