"""Layouts of frames: the files of an image, their channels, and edits of the dataset."""

from __future__ import annotations

import os

import cv2
import kwimage
import numpy as np
import pytest
from helpers_cache import each_backend
from helpers_images import DIMS, HEIGHT, WIDTH, assert_same, random_pixels, write_png, write_tiff

from ndsampler.cache.identity import Source
from ndsampler.coco_frames import MAX_LAYOUTS, build_layout
from ndsampler.errors import NDSamplerError, SourceError, UnknownIdError
from ndsampler.frames import layout
from ndsampler.frames.layout import Asset, default_channels, parse_channels


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
        assert layout.band_names(Asset(Source("x"), ("a", "b")), 5)[:2] == ("a", "b")
        assert len(set(layout.band_names(Asset(Source("x"), ("r", "u1")), 6))) == 6

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
