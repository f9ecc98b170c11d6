"""Frames: from an image id and a region to pixels."""

from __future__ import annotations

import copy
import itertools
import logging
import os
import pickle

import kwcoco
import kwimage
import numpy as np
import pytest
import ubelt as ub
from helpers_cache import each_backend
from helpers_images import DIMS, HEIGHT, WIDTH, assert_same, random_pixels, write_png, write_tiff

from ndsampler.abstract_frames import Frames, SimpleFrames
from ndsampler.cache.identity import Source
from ndsampler.coco_frames import CocoFrames
from ndsampler.errors import (
    ArgumentError,
    ArgumentTypeError,
    BackendError,
    OutOfRangeError,
    UnknownIdError,
    WindowError,
)
from ndsampler.frames.grid import Grid
from ndsampler.frames.nodata import mask_nodata
from ndsampler.frames.view import FrameView
from ndsampler.windows import PixelBox

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

    def test_the_documented_default_of_channels_can_be_given(self, backend, make_simple):
        frames, pixels = make_simple(backend)
        for gid, full in pixels.items():
            assert_same(frames.load_region(gid, (slice(4), slice(5)), channels=ub.NoParam), full[:4, :5])
            found = frames.load_image(gid, channels=ub.NoParam)
            np.testing.assert_array_equal(found[:4, :5].reshape(4, 5, -1), full[:4, :5])

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
            assert frames._cache.find_ready(Source(str(frames.id_to_path[1])))

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

    def test_frames_have_a_length_and_are_true_without_images_too(self, make_simple):
        frames, pixels = make_simple(None)
        assert len(frames) == len(pixels)
        for empty in (SimpleFrames({}), CocoFrames(kwcoco.CocoDataset(), backend=None)):
            assert (len(empty), bool(empty), list(empty)) == (0, True, [])

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


@each_backend
class TestPositions:
    @pytest.fixture
    def frames(self, backend, make_coco, tmp_path):
        """Frames of two images, whose ids are not in order."""
        dset = kwcoco.CocoDataset(bundle_dpath=str(tmp_path))
        for gid in (7, 3):
            write_png(tmp_path / f"{gid}.png", random_pixels(seed=gid))
            dset.add_image(f"{gid}.png", id=gid)
        simple = {gid: tmp_path / f"{gid}.png" for gid in (7, 3)}
        work = tmp_path / "work"
        return CocoFrames(dset, workdir=work, backend=backend), SimpleFrames(simple, work, backend)

    def test_positions_are_those_of_image_ids(self, frames):
        for found in frames:
            assert [*found.image_ids] == [7, 3]
            for index, gid in {0: 7, 1: 3, -1: 3, -2: 7, np.int64(1): 3}.items():
                image = found[index]
                assert isinstance(image, np.ndarray)
                assert_same(np.asarray(image), random_pixels(seed=gid))
            assert [image.shape for image in found] == [random_pixels().shape] * 2

    def test_npy_gives_a_map(self, backend, frames):
        for found in frames:
            assert isinstance(found[0], np.memmap) == (backend == "npy")

    @pytest.mark.parametrize("index", [2, -3, 2**70])
    def test_a_position_out_of_range_is_an_index_error(self, frames, index):
        for found in frames:
            with pytest.raises(OutOfRangeError, match=f"is {index}, but there are 2 images") as caught:
                found[index]
            assert isinstance(caught.value, IndexError)

    @pytest.mark.parametrize("index", ["a", None, 1.0, slice(0, 1), (0, 1), [0]])
    def test_what_is_no_position_is_a_type_error(self, frames, index):
        for found in frames:
            with pytest.raises(ArgumentTypeError, match="expected a position in image_ids") as caught:
                found[index]
            assert isinstance(caught.value, TypeError)


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
            with pytest.raises(WindowError, match=r"the window on image 1 has dims .*Use a smaller window"):
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
