"""The dataset of synthetic landscapes: its files, its annotations, its videos and its sensors."""

from __future__ import annotations

import pathlib
import warnings

import cv2
import numpy as np
import pytest
import rasterio
from helpers_demo import decode

import ndsampler
from ndsampler.demo import dataset, landscape_dataset, settings
from ndsampler.demo.landscape import Film
from ndsampler.demo.landscape.spectrum import PANCHROMATIC, SENSORS, mean_of_blocks, measure_bands
from ndsampler.demo.settings import LandscapeSettings
from ndsampler.demo.striped_tiff import STRIP_ROWS
from ndsampler.errors import ArgumentError
from ndsampler.preview import choice, draw_sample

SIZE = 1200

#: A dataset that is made fast.
SMALL = {"size": 256, "images": 3, "frames": 2}

BOTH = ("airborne", "satellite")


@pytest.fixture(scope="module")
def dset(tmp_path_factory):
    """Return a dataset with all that there may be."""
    folder = tmp_path_factory.mktemp("landscapes")
    return landscape_dataset(folder, size=SIZE, images=7, sensors=BOTH, seed=3)


def files_of(dset):
    """Return the content of every file of a dataset by name."""
    folder = pathlib.Path(dset.fpath).parent
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def frames_of(dset, name):
    """Return the images of a video in their order."""
    (video,) = (video for video in dset.videos().objs if video["name"] == name)
    return [dset.imgs[gid] for gid in dset.index.vidid_to_gids[video["id"]]]


def read_bands(dset, asset):
    """Return the (bands, height, width) pixels of a file, decoded by GDAL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(pathlib.Path(dset.fpath).parent / asset["file_name"]) as file:
            return file.read()


@pytest.fixture(scope="module")
def measured():
    """Return the bands of every frame of the survey, painted again."""
    chosen = LandscapeSettings(size=SIZE, seed=3)
    film = Film(chosen.sensor_side, chosen.frames, (3, dataset.SURVEY_SEED))
    return [measure_bands(shot.painting) for shot in film.shots()]


class TestFiles:
    def test_kwcoco_finds_nothing_to_report(self, dset):
        result = dset.validate(missing=True, corrupted=True, verbose=0)
        assert not result["errors"]

    def test_it_has_one_large_image_and_ordinary_ones_of_three_formats(self, dset):
        stills = [img for img in dset.imgs.values() if "video_id" not in img]
        assert [img["file_name"] for img in stills[:-1]] == [name for name, _, _ in settings.ORDINARY]
        assert (stills[-1]["width"], stills[-1]["height"]) == (SIZE, SIZE)
        assert {img["file_name"].split(".")[-1] for img in stills} == {"png", "jpg", "tif"}

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    def test_the_large_image_is_in_strips(self, dset):
        with rasterio.open(dset.get_image_fpath(7)) as image:
            assert not image.profile["tiled"]
            assert image.dtypes == ("uint8",) * 3
            assert image.block_shapes == [(STRIP_ROWS, SIZE)] * 3

    def test_equal_arguments_give_equal_files_and_another_seed_others(self, tmp_path):
        options = {**SMALL, "sensors": BOTH}
        first = files_of(landscape_dataset(tmp_path / "a", **options))
        assert files_of(landscape_dataset(tmp_path / "b", **options)) == first
        other = files_of(landscape_dataset(tmp_path / "b", **options, seed=1))
        assert set(other) == set(first)
        assert not [name for name, content in other.items() if content == first[name]]

    def test_numbers_of_numpy_are_numbers(self, tmp_path):
        options = {key: np.int64(value) for key, value in SMALL.items()}
        made = landscape_dataset(tmp_path, **options, seed=np.int64(2))
        assert made.fpath == landscape_dataset(tmp_path, **SMALL, seed=2).fpath

    def test_it_is_made_once(self, tmp_path):
        first = landscape_dataset(tmp_path, **SMALL)
        paths = list(tmp_path.rglob("*"))
        before = {path: path.stat().st_mtime_ns for path in paths}
        called = []
        again = landscape_dataset(tmp_path, **SMALL, progress=lambda *args: called.append(args))
        assert (again.fpath, called) == (first.fpath, [])
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before

    @pytest.mark.parametrize("damage", ["missing", "cut", "not_coco", "not_json", "no_json", "sensor"])
    def test_missing_and_damaged_files_are_made_again(self, tmp_path, damage):
        options = {**SMALL, "sensors": ["airborne"]}
        made = landscape_dataset(tmp_path, **options)
        whole, folder, path = files_of(made), pathlib.Path(made.fpath).parent, pathlib.Path(made.fpath)
        {
            "missing": lambda: (folder / "village.jpg").unlink(),
            "cut": lambda: (folder / "fields.png").write_bytes(b"cut off"),
            "not_coco": lambda: path.write_bytes(b"{}"),
            "not_json": lambda: path.write_bytes(b"{"),
            "no_json": path.unlink,
            "sensor": lambda: (folder / "survey_1_pan.tif").unlink(),
        }[damage]()
        assert files_of(landscape_dataset(tmp_path, **options)) == whole

    def test_a_failure_leaves_no_dataset_and_no_partial_file(self, tmp_path, monkeypatch):
        def fail(*args):
            raise OSError("no space left")

        monkeypatch.setattr("ndsampler.demo.pictures.StripedTiff.finish", fail)
        with pytest.raises(OSError, match="no space left"):
            landscape_dataset(tmp_path, **SMALL)
        assert not list(tmp_path.rglob("*.json"))
        assert not list(tmp_path.rglob("*.partial"))

    def test_progress_goes_from_zero_to_one_for_every_image_and_video(self, tmp_path):
        told: dict[str, list[float]] = {}
        landscape_dataset(
            tmp_path,
            **SMALL,
            sensors=["satellite"],
            progress=lambda name, share: told.setdefault(name, []).append(share),
        )
        assert list(told) == ["village.jpg", "fields.png", "city_256.tif", "traffic", "survey"]
        for shares in told.values():
            assert shares == sorted(shares)
            assert (shares[0], shares[-1]) == (0, 1)

    def test_the_default_folder_is_in_the_cache_of_the_user(self, tmp_path, monkeypatch):
        monkeypatch.setattr("ubelt.Path.appdir", lambda *parts: tmp_path.joinpath(*parts))
        made = landscape_dataset(size=64, images=1, film=False)
        assert (tmp_path / "ndsampler" / "landscapes") in pathlib.Path(made.fpath).parents


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": 10}, "size is 10; expected a number from 64 to 32768"),
            ({"size": 10**6}, "size is 1000000; expected"),
            ({"images": -1}, "images is -1; expected a number from 0 to"),
            ({"frames": 0}, "frames is 0; expected a number from 1 to 32"),
            ({"frames": 33}, "frames is 33; expected"),
            ({"seed": -1}, "seed is -1; expected a number from 0 up"),
            ({"sensors": ("radar",)}, "sensors has 'radar'; expected names among airborne, satellite"),
            ({"images": 0, "film": False}, "images is 0, film is False and sensors is empty"),
        ],
    )
    def test_a_wrong_argument_is_named(self, tmp_path, options, message):
        with pytest.raises(ArgumentError, match=message):
            landscape_dataset(tmp_path, **options)
        assert not list(tmp_path.iterdir())

    def test_a_full_disk_is_noticed_before_anything_is_painted(self, tmp_path, monkeypatch):
        usage = settings.shutil.disk_usage(tmp_path)
        monkeypatch.setattr(settings.shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(ArgumentError, match=r"0\.0 GB of free space, but .* GB are needed"):
            landscape_dataset(tmp_path, size=4096, images=1)
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]

    @pytest.mark.parametrize("images", [0, 1, 2, 9])
    def test_the_number_of_images_is_as_asked_and_names_are_unique(self, images):
        pictures = LandscapeSettings(images=images, size=4096).pictures()
        assert len({picture.file_name for picture in pictures}) == len(pictures) == images
        assert all(picture.file_name == "city_4096.tif" for picture in pictures[-1:])

    def test_the_size_bounds_every_image(self, tmp_path):
        made = landscape_dataset(tmp_path, **SMALL, sensors=BOTH)
        assert max(max(img["width"], img["height"]) for img in made.imgs.values()) == SMALL["size"]

    @pytest.mark.parametrize("options", [{"sensors": BOTH}, {"images": 1}, {"film": False}, {"frames": 2}])
    def test_each_choice_has_its_own_folder(self, options):
        assert LandscapeSettings(**options).name != LandscapeSettings().name

    def test_the_space_that_is_asked_for_is_enough(self, dset):
        chosen = LandscapeSettings(size=SIZE, images=7, sensors=BOTH)
        written = sum(map(len, files_of(dset).values()))
        assert written < settings.COMPRESSED * chosen.pixel_bytes()


class TestAnnotations:
    def test_boxes_surround_polygons_and_keypoints_inside_their_image(self, dset):
        for ann in dset.anns.values():
            img = dset.imgs[ann["image_id"]]
            x, y, w, h = ann["bbox"]
            points = np.array(ann["segmentation"]["exterior"])
            assert np.allclose([points.min(0), points.max(0)], [(x, y), (x + w, y + h)], atol=0.11)
            assert 0 <= x < x + w <= img["width"] + 1e-6
            assert 0 <= y < y + h <= img["height"] + 1e-6
            for point in ann.get("keypoints", []):
                outline = np.float32(points)
                assert cv2.pointPolygonTest(outline, tuple(np.float32(point["xy"]).tolist()), True) > -0.1

    def test_several_categories_have_keypoints(self, dset):
        named = {
            dset._resolve_to_cat(a["category_id"])["name"] for a in dset.anns.values() if "keypoints" in a
        }
        assert {"car", "building"} <= named

    def test_polygons_lie_on_what_is_drawn(self, dset):
        """Colors inside an outline differ from those of the ring around it."""
        clear = []
        stills = [gid for gid, img in dset.imgs.items() if "video_id" not in img]
        for gid in stills:
            pixels = decode(dset.get_image_fpath(gid)).astype(float)
            for ann in dset.annots(gid=gid).objs:
                mask = np.zeros(pixels.shape[:2], np.uint8)
                cv2.fillPoly(mask, [np.rint(np.array(ann["segmentation"]["exterior"]) - 0.5).astype(int)], 1)
                x, y, w, h = (int(part) for part in ann["bbox"])
                near = np.s_[max(y - 5, 0) : y + h + 5, max(x - 5, 0) : x + w + 5]
                inside = cv2.erode(mask[near], np.ones((3, 3))) > 0
                ring = (cv2.dilate(mask[near], np.ones((5, 5))) > 0) & (mask[near] == 0)
                here = pixels[near]
                step = np.abs(np.median(here[inside], 0) - np.median(here[ring], 0)).max()
                clear.append(step > 8)
        assert len(clear) > 50
        assert np.mean(clear) > 0.9


class TestFilmFrames:
    def test_tracks_of_the_traffic_move_and_others_do_not(self, dset):
        rows = {}
        for image in frames_of(dset, dataset.FILM):
            for ann in dset.annots(gid=image["id"]).objs:
                x, y, w, h = ann["bbox"]
                whole = x > 0 and y > 0 and x + w < image["width"] and y + h < image["height"]
                if whole:
                    middle = np.add((x + w / 2, y + h / 2), image["warp_img_to_vid"]["offset"])
                    rows.setdefault(ann["track_id"], []).append((image["frame_index"], middle))
        moving = 0
        for places in rows.values():
            (first, start), (last, end) = places[0], places[-1]
            step = np.hypot(*(end - start)) / max(last - first, 1)
            assert step < 0.3 or 12 < step < 40
            moving += step > 12
        assert moving >= 3
        assert len(rows) >= 10
        assert {track["id"] for track in dset.dataset["tracks"]} >= set(rows)

    def test_a_track_belongs_to_one_video_and_one_category(self, dset):
        for track in dset.dataset["tracks"]:
            anns = [ann for ann in dset.anns.values() if ann.get("track_id") == track["id"]]
            assert len({dset.imgs[ann["image_id"]]["video_id"] for ann in anns}) == 1
            assert len({ann["category_id"] for ann in anns}) == 1

    def test_a_strip_of_the_film_is_aligned_and_has_true_colors(self, dset, tmp_path):
        film = frames_of(dset, dataset.FILM)
        part = dset.subset([image["id"] for image in film])
        sampler = ndsampler.CocoSampler(part, workdir=tmp_path)
        strip = choice.load_strip(sampler, (128, 128))
        gids, (rows, columns) = strip["target"]["gids"], strip["target"]["space_slice"]
        assert len(gids) == choice.STRIP_FRAMES
        bare = {key: value for key, value in strip.items() if key != "annots"}
        for frame, gid in enumerate(gids):
            x, y = dset.imgs[gid]["warp_img_to_vid"]["offset"]
            pixels = decode(dset.get_image_fpath(gid))
            here = pixels[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
            assert (draw_sample(bare, frame=frame) == here).all()


class TestSensors:
    @pytest.mark.parametrize("backend", [None, "npy", "cog"])
    def test_every_backend_reads_the_mean_of_what_each_pixel_covers(self, dset, measured, tmp_path, backend):
        sampler = ndsampler.CocoSampler(dset, workdir=tmp_path, backend=backend)
        for image, bands in zip(frames_of(dset, dataset.SURVEY), measured):
            sensor = SENSORS[image["sensor_coarse"]]
            for asset in sensor.assets:
                target = {"gid": image["id"], "channels": "|".join(asset.channels)}
                target |= {"interpolation": "nearest", "nodata": "float"}
                read = sampler.load_sample(target, with_annots=False)["im"]
                means = [np.rint(mean_of_blocks(bands[name], asset.step)) for name in asset.channels]
                repeats = np.ones((asset.step // sensor.step,) * 2)
                expected = [np.kron(mean, repeats) for mean in means]
                np.testing.assert_array_equal(read, np.stack(expected, 2))

    def test_files_hold_exactly_those_means(self, dset, measured):
        for image, bands in zip(frames_of(dset, dataset.SURVEY), measured):
            for entry in image.get("assets", [image]):
                names = entry["channels"].split("|")
                step = len(bands["red"]) // entry["height"]
                expected = [np.rint(mean_of_blocks(bands[name], step)) for name in names]
                np.testing.assert_array_equal(read_bands(dset, entry), expected)

    def test_sensors_take_turns_and_have_different_resolutions(self, dset):
        frames = frames_of(dset, dataset.SURVEY)
        assert [image["sensor_coarse"] for image in frames] == 4 * list(BOTH)
        airborne, satellite = frames[:2]
        assert [asset["warp_aux_to_img"]["scale"] for asset in airborne["assets"]] == [1, 2, 4]
        assert [asset["width"] * 4 for asset in airborne["assets"]] == [2048, 1024, 512]
        assert satellite["width"] * satellite["warp_img_to_vid"]["scale"] == airborne["width"]

    def test_the_panchromatic_band_agrees_with_the_coarser_ones(self, dset):
        image = frames_of(dset, dataset.SURVEY)[0]
        pan, multispectral = (read_bands(dset, asset).astype(float) for asset in image["assets"][:2])
        weights = [PANCHROMATIC[name] for name in ("red", "green", "blue", "nir")]
        assert np.abs(mean_of_blocks(pan[0], 2) - np.tensordot(weights, multispectral, 1)).max() <= 1.5

    def test_plants_are_bright_and_water_is_dark_in_near_infrared(self, dset, tmp_path):
        sampler = ndsampler.CocoSampler(dset, workdir=tmp_path)
        values: dict[tuple[str, str], list[float]] = {}
        for image in frames_of(dset, dataset.SURVEY)[:2]:
            red, nir = np.moveaxis(sampler.frames.load_region(image["id"], channels="red|nir"), -1, 0).astype(
                float
            )
            for ann in dset.annots(gid=image["id"]).objs:
                mask = np.zeros(red.shape, np.uint8)
                cv2.fillPoly(mask, [np.rint(np.array(ann["segmentation"]["exterior"]) - 0.5).astype(int)], 1)
                inside = cv2.erode(mask, np.ones((3, 3))) > 0
                name = dset.cats[ann["category_id"]]["name"]
                if inside.sum() > 3:
                    index = ((nir - red) / (nir + red))[inside]
                    values.setdefault((image["sensor_coarse"], name), []).append(float(np.median(index)))
        for sensor in BOTH:
            assert np.median(values[sensor, "tree"]) > 0.3
            assert np.median(values[sensor, "pool"]) < -0.3
            assert abs(np.median(values[sensor, "building"])) < 0.2

    def test_objects_at_rest_are_at_the_same_place_of_the_video_for_all_sensors(self, dset):
        middles: dict[int, list[np.ndarray]] = {}
        for image in frames_of(dset, dataset.SURVEY):
            warp = dset.coco_image(image["id"]).warp_vid_from_img.matrix
            for ann in dset.annots(gid=image["id"]).objs:
                x, y, w, h = ann["bbox"]
                whole = x > 0 and y > 0 and x + w < image["width"] and y + h < image["height"]
                if whole and dset.cats[ann["category_id"]]["name"] in {"building", "tree", "pool"}:
                    middles.setdefault(ann["track_id"], []).append(warp @ (x + w / 2, y + h / 2, 1))
        several = [np.ptp(points, axis=0).max() for points in middles.values() if len(points) > 2]
        assert len(several) > 5
        # Coordinates are rounded to a tenth of an image's pixel, of which satellites have the largest.
        assert max(several) < 0.5

    def test_a_sample_of_all_bands_has_the_grid_of_the_video(self, dset, tmp_path):
        sampler = ndsampler.CocoSampler(dset, workdir=tmp_path)
        (video,) = (video for video in dset.videos().objs if video["name"] == dataset.SURVEY)
        window = (slice(100, 140), slice(200, 260))
        target = {"vidid": video["id"], "space_slice": window, "channels": "red|nir|swir"}
        assert sampler.load_sample(target)["im"].shape == (8, 40, 60, 3)
