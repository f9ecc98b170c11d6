"""Frames of several files: assets, overviews, videos and database views."""

from __future__ import annotations

import warnings

import kwimage
import numpy as np
import pytest
import rasterio
from delayed_image.channel_spec import ChannelSpec, FusedChannelSpec
from helpers_cache import each_backend
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
from helpers_optional import import_optional

import ndsampler
from ndsampler.backends import gdal
from ndsampler.coco_frames import CocoFrames
from ndsampler.errors import (
    MissingSourceError,
    SourceError,
    TargetError,
    UnknownChannelError,
    UnknownIdError,
    UnknownTargetError,
)
from ndsampler.frames.grid import Grid
from ndsampler.windows import PixelBox


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
        ids=["code", "list of channels", "list of codes", "tuple", "spec", "fused spec", "list of specs"],
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
                found.reader.find_ready(found.layout(1))

    def test_every_file_is_prepared(self, frames):
        found, _ = frames
        found.prepare()
        for gid in (1, 2):
            assert None not in found.reader.find_ready(found.layout(gid))

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
        assert np.array_equal(info["channels"]["r|g|b"]["warp_aux_to_img"], np.eye(3))
        assert found._build_pathinfo(2)["default"] is None


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
        pixels[40:80, 60:90] = 7
        write_tiff(bundle / "a.tif", pixels)
        frames = make_coco({"file_name": "a.tif"}, backend=backend)
        grid = Grid(PixelBox(0, 300, 0, 300), np.diag([0.25, 0.25, 1]), (75, 75), nodata=7)
        found = frames.reader.read(frames.layout(1), grid)
        blocks = (pixels == 7).reshape(75, 4, 75, 4, 1)
        assert np.array_equal(np.isnan(found), blocks.all(axis=(1, 3)))
        np.testing.assert_allclose(found[~np.isnan(found)], 100, rtol=1e-6)


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
    import_optional("sqlalchemy")
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


class TestBothKeys:
    """An image with a file of its own, files under ``auxiliary``, and files under ``assets``."""

    @pytest.fixture
    def entry(self, bundle):
        names = ("own", "aux", "asset")
        for value, name in enumerate(names):
            write_tiff(bundle / f"{name}.tif", np.full((*DIMS, 1), value, np.uint8))
        own, aux, asset = (
            {"file_name": str(bundle / f"{n}.tif"), "channels": n, "width": WIDTH, "height": HEIGHT}
            for n in names
        )
        return {**own, "auxiliary": [aux], "assets": [asset]}

    @each_backend
    def test_the_channels_of_all_files_are_read_in_the_order_of_kwcoco(self, entry, backend, make_coco):
        frames = make_coco(entry, backend=backend)
        names = frames.dset.coco_image(1).channels.fuse().as_list()
        paths = [asset.image_filepath() for asset in frames.dset.coco_image(1).iter_assets()]
        assert [source.path for source in frames.sources(1)] == [str(path) for path in paths]
        assert frames.load_region(1, (slice(2), slice(3)), names)[0, 0].tolist() == [0, 1, 2]
        assert frames.load_region(1, (slice(2), slice(3)), "<all>")[0, 0].tolist() == [0, 1, 2]
        assert list(frames._build_pathinfo(1)["channels"]) == names

    def test_a_sample_has_channels_that_imdelay_of_kwcoco_leaves_out(self, entry, make_coco):
        sampler = ndsampler.CocoSampler(make_coco(entry).dset)
        names = "asset|own|aux"
        sample = sampler.load_sample({"gid": 1, "channels": names})
        own, *others = sampler.dset.coco_image(1).iter_assets()
        pixels = {part["channels"]: read_pixels(part.image_filepath()) for part in (own, *others)}
        assert_same(sample["im"], np.dstack([pixels[name] for name in names.split("|")]))

    def test_the_own_file_stays_the_default(self, entry, make_coco):
        assert frames_equal(make_coco(entry), [0])
        assert frames_equal(make_coco({**entry, "file_name": None, "name": "none"}), [1, 2])

    def test_a_database_view_lists_all_files(self, entry, make_coco):
        import_optional("sqlalchemy")
        plain = make_coco(entry)
        view = CocoFrames(plain.dset.view_sql(memory=True), backend=None)
        assert view.sources(1) == plain.sources(1)

    def test_an_edit_of_either_list_is_noticed(self, entry, make_coco):
        frames = make_coco(entry)
        for key in ("auxiliary", "assets"):
            assert len(frames.sources(1)) == 3
            removed = frames.dset.imgs[1].pop(key)
            assert len(frames.sources(1)) == 2
            frames.dset.imgs[1][key] = removed


def read_pixels(path) -> np.ndarray:
    """Return (H, W) pixels of a file of one band, read by rasterio directly."""
    with quiet_rasterio(), rasterio.open(path) as file:
        return file.read(1)


def frames_equal(frames, values) -> bool:
    """Whether the default channels of the image have these values."""
    return frames.load_region(1)[0, 0].tolist() == values
