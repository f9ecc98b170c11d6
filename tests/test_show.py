"""``sampler.show``: what a sampler holds, as pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from helpers_images import assert_same, random_pixels, write_tiff

import ndsampler
from ndsampler import preview
from ndsampler.errors import ArgumentError, ArgumentTypeError
from ndsampler.preview import sheet as sheet_module

BOXES = [(5, 8, 20, 10), (60, 30, 12, 12), (30, 50, 16, 9)]

#: The bands of the last image, each with a range of values of its own.
RANGES = {"blue": (0, 100), "green": (5000, 9000), "nir": (20000, 60000), "red": (300, 350)}


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    """Return a sampler of two images, a video of three frames, and an image of four bands."""
    dpath = tmp_path_factory.mktemp("show")
    images = []
    for gid in range(1, 6):
        path = write_tiff(dpath / f"{gid}.tif", random_pixels("uint8", 3, seed=gid))
        images.append({"id": gid, "file_name": path.name, "width": 151, "height": 90})
    for frame, image in enumerate(images[2:]):
        image.update(video_id=1, frame_index=frame, warp_img_to_vid={"type": "affine"})
    rng = np.random.default_rng(0)
    bands = np.stack([rng.integers(*RANGES[name], (90, 151), endpoint=True) for name in RANGES], axis=2)
    path = write_tiff(dpath / "bands.tif", bands.astype(np.uint16))
    last = {"id": 6, "file_name": path.name, "channels": "|".join(RANGES), "width": 151, "height": 90}
    annots = [
        {"id": 10 * gid + number, "image_id": gid, "category_id": 3 + number % 2, "bbox": list(box)}
        for gid in (1, 2, 3)
        for number, box in enumerate(BOXES)
    ]
    return ndsampler.CocoSampler(
        {
            "images": [*images, last],
            "videos": [{"id": 1, "name": "film", "width": 151, "height": 90}],
            "annotations": annots,
            "categories": [{"id": 3, "name": "boat"}, {"id": 4, "name": "buoy"}],
        },
        images=dpath,
    )


@pytest.fixture
def sheets(monkeypatch):
    """Record the samples and options of the sheets that are drawn."""
    drawn = []

    def draw(samples, classes=None, **options):
        drawn.append((samples, options))
        return sheet_module.draw_sheet(samples, classes, **options)

    monkeypatch.setattr("ndsampler.preview.contents.draw_sheet", draw)
    return drawn


class TestPicture:
    def test_a_notebook_and_a_saved_file_show_the_same_pixels(self, tmp_path):
        picture = preview.Picture(random_pixels("uint8", 3))
        saved = picture.save(tmp_path / "a.png")
        for content in (picture._repr_png_(), saved.read_bytes()):
            decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            assert (decoded == picture.pixels).all()
        assert (np.asarray(picture) == picture.pixels).all()

    @pytest.mark.parametrize(
        ("suffix", "magic"), [(".jpg", b"\xff\xd8"), (".webp", b"RIFF"), ("", b"\x89PNG")]
    )
    def test_the_suffix_chooses_the_format(self, tmp_path, suffix, magic):
        path = preview.Picture(random_pixels("uint8", 3)).save(tmp_path / f"a{suffix}")
        assert path.read_bytes().startswith(magic)

    def test_an_unknown_suffix_is_refused(self, tmp_path):
        with pytest.raises(ArgumentError, match=r"a\.txt; expected a file name that ends with \.png"):
            preview.Picture(random_pixels("uint8", 3)).save(tmp_path / "a.txt")
        assert list(tmp_path.iterdir()) == []


class TestShow:
    def test_positives_come_from_each_category_in_turn(self, sampler, sheets):
        sampler.show(count=4, window_dims=(32, 40))
        samples, options = sheets[0]
        kinds = [sample["target"]["category_id"] for sample in samples]
        assert sorted(kinds[:2]) == sorted(kinds[2:]) == [3, 4]
        assert {sample["im"].shape[:2] for sample in samples} == {(32, 40)}
        assert options["title"].startswith("4 of 9 positives")

    def test_negatives_hold_no_annotations(self, sampler, sheets):
        sampler.show("negatives", count=3, window_dims=(16, 16))
        samples, _ = sheets[0]
        assert [len(sample["annots"]["aids"]) for sample in samples] == [0, 0, 0]

    def test_the_pools_stay_as_they_are(self, sampler):
        sampler.preselect(n_pos=5, n_neg=4, window_dims=(16, 16), rng=0)
        before = [sampler.regions.get_item(index) for index in range(9)]
        upcoming = sampler.regions.get_negative(0)
        for what in ("positives", "negatives"):
            sampler.show(what, count=2)
            sampler.show(what, count=2, window_dims=(8, 8))
        assert [sampler.regions.get_item(index) for index in range(9)] == before
        assert sampler.regions.get_negative() == upcoming
        sampler.preselect(n_neg=0)

    def test_a_seed_gives_the_same_picture_again(self, sampler):
        first, second, other = (sampler.show(count=3, rng=seed).pixels for seed in (1, 1, 2))
        assert first.shape == second.shape
        assert (first == second).all()
        assert first.shape != other.shape or (first != other).any()

    def test_images_are_whole(self, sampler, sheets):
        sampler.show("images", count=10)
        samples, _ = sheets[0]
        assert [sample["target"]["gid"] for sample in samples] == [1, 2, 3, 4, 5, 6]
        assert {sample["im"].shape[:2] for sample in samples} == {(90, 151)}

    def test_a_video_is_a_row_of_frames(self, sampler, sheets):
        sampler.show("video", window_dims=(64, 64))
        samples, options = sheets[0]
        assert options["captions"] == [f"video 1 | frame {frame} | 64 x 64" for frame in range(3)]
        assert [len(sample["annots"]["frame_dets"]) for sample in samples] == [1, 1, 1]

    @pytest.mark.parametrize(("count", "frames"), [(1, [1]), (2, [0, 1]), (3, [0, 1, 2]), (8, [0, 1, 2])])
    def test_the_number_of_frames_of_a_video_is_limited(self, sampler, sheets, count, frames):
        sampler.show("video", count=count, window_dims=(30, 50))
        samples, options = sheets[0]
        assert options["captions"] == [f"video 1 | frame {frame} | 50 x 30" for frame in frames]
        assert f"Frames {frames[0]} to {frames[-1]} of 3, video film" in options["title"]
        assert {sample["im"].shape[:2] for sample in samples} == {(30, 50)}

    def test_the_window_of_a_video_is_around_the_annotation_nearest_to_its_center(self, sampler, sheets):
        sampler.show("video", window_dims=(24, 24))
        samples, _ = sheets[0]
        centers = [(x + width / 2, y + height / 2) for x, y, width, height in BOXES]
        x, y = min(centers, key=lambda place: (place[0] - 151 / 2) ** 2 + (place[1] - 90 / 2) ** 2)
        left, top = min(max(0, round(x - 12)), 151 - 24), min(max(0, round(y - 12)), 90 - 24)
        assert_same(samples[0]["im"], random_pixels("uint8", 3, seed=3)[top : top + 24, left : left + 24])

    @pytest.mark.parametrize("dims", ["square", (30,), 64])
    def test_the_window_of_a_video_has_a_height_and_a_width(self, sampler, dims):
        with pytest.raises(ArgumentError, match=r"window_dims is .*; expected the \(height, width\)"):
            sampler.show("video", window_dims=dims)

    @pytest.mark.parametrize("given", ["target", "sample", "list", "video"])
    def test_a_target_and_its_sample_show_the_same(self, sampler, given):
        target = {"gid": 1, "slices": (slice(0, 40), slice(0, 60))}
        if given == "video":
            target = {"vidid": 1, "space_slice": (slice(0, 40), slice(0, 60))}
        sample = sampler.load_sample(target)
        shown = {"sample": sample, "list": [target]}.get(given, target)
        assert (sampler.show(shown, side=60).pixels == sampler.show(sample, side=60).pixels).all()

    def test_bands_appear_as_red_green_and_blue_each_stretched_on_its_own(self, sampler, sheets):
        target = {"gid": 6}
        sampler.show(target, bands="nir|red|blue")
        (sample,), _ = sheets[0]
        whole = sampler.load_sample({"gid": 6})["im"]
        for channel, name in enumerate(("nir", "red", "blue")):
            band = whole[..., list(RANGES).index(name)].astype(float)
            low, high = np.percentile(band, (1, 99))
            expected = (np.clip((band - low) / (high - low), 0, 1) * 255).astype(np.uint8)
            assert (sample["im"][..., channel] == expected).all()
        sampler.show(target, bands=[2, 3, 0])
        assert (sheets[1][0][0]["im"] == sample["im"]).all()

    @pytest.mark.parametrize("bands", [["swir"], [9], "nir|red"])
    def test_bands_that_are_not_there_are_refused(self, sampler, bands):
        with pytest.raises(ArgumentError, match="swir|no band 9; it has|expected one band, or three"):
            sampler.show(sampler.load_sample({"gid": 6}), bands=bands)

    def test_a_grid_draws_its_windows_on_the_image_with_most_annotations(self, sampler, sheets):
        grid = sampler.new_sample_grid("image_detection", (30, 50))
        sampler.show(grid)
        ((sample,), options) = sheets[0]
        gid = sample["target"]["gid"]
        numbers = [number for number, target in enumerate(grid["targets"]) if target["gid"] == gid]
        holding = sum(number in grid["positives_indexes"] for number in numbers)
        assert f"{len(numbers)} windows | white: the {holding} that" in options["captions"][0]
        plain = preview.to_rgb(sampler.load_sample({"gid": gid})["im"])
        drawn = (sample["im"] != plain).any(2)
        for number in numbers:
            rows, columns = grid["targets"][number]["slices"]
            inside = drawn[rows.start + 5 : rows.stop - 5, columns.start + 5 : columns.stop - 5]
            assert inside.mean() > 0.9 if number in grid["positives_indexes"] else not inside.any()

    def test_a_grid_of_a_video_is_drawn_on_one_frame(self, sampler, sheets):
        grid = sampler.new_sample_grid("video_detection", (1, 45, 50))
        sampler.show(grid)
        assert sheets[0][0][0]["target"]["vidid"] == 1

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("positive",), "what is 'positive'; expected a target, .* 'positives', 'negatives'"),
            ((7,), "what is 7; expected a target, a sample, or a list"),
            (("positives", 0), "count is 0; expected 1 or more"),
            (([],), "there are no samples to draw"),
        ],
    )
    def test_what_cannot_be_shown_is_refused(self, sampler, arguments, message):
        with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
            sampler.show(*arguments)

    def test_a_dataset_without_annotations_shows_its_images_and_says_what_is_missing(self, tmp_path):
        path = write_tiff(tmp_path / "a.tif", random_pixels("uint8", 3))
        plain = ndsampler.CocoSampler({"images": [{"id": 1, "file_name": str(path)}]})
        assert plain.show("images").pixels.any()
        assert plain.show("negatives", count=2).pixels.any()
        for what, missing in (("positives", "no positives to show"), ("video", "no video")):
            with pytest.raises(ArgumentError, match=missing):
                plain.show(what)


class TestZoom:
    @pytest.mark.parametrize("longer", [1, 7, 40, 104, 256, 299, 301, 390, 512, 5000])
    @pytest.mark.parametrize("side", [None, 300])
    def test_samples_are_enlarged_by_whole_numbers(self, longer, side):
        sample = {"im": np.zeros((longer, 1, 3), np.uint8)}
        room, (zoom,) = sheet_module._zooms([sample], side)
        assert zoom.is_integer() or (zoom < 1 and (side or (1 / zoom).is_integer()))
        assert longer * zoom <= room + 0.5
        assert side or 150 <= longer * zoom <= 450

    def test_the_pixels_of_an_enlarged_sample_are_seen(self):
        im = random_pixels("uint8", 3, dims=(10, 14))
        drawn = preview.draw_sample({"im": im}, side=14 * 4)
        assert (drawn == im.repeat(4, 0).repeat(4, 1)).all()


def test_predictions_are_drawn_beside_the_samples_that_they_are_for(sampler, sheets):
    seen = []

    def predict(sample):
        seen.append(sample)
        return sample["annots"]["frame_dets"][0].take([0])

    sampler.show(count=3, window_dims=(40, 40), predict=predict)
    samples, options = sheets[0]
    assert len(seen) == 3
    assert options["captions"][1::2] == ["prediction"] * 3
    for truth, pair, given in zip(samples[::2], samples[1::2], seen):
        assert np.array_equal(truth["im"], pair["im"])
        assert np.array_equal(truth["im"], given["im"])
        shown = pair["annots"]["frame_dets"][0].boxes.data
        assert np.array_equal(shown, truth["annots"]["rel_boxes"].data[:1])


def test_labels_are_drawn_as_the_outlines_of_their_categories(sampler, sheets):
    labels = np.zeros((40, 40), np.int64)
    labels[5:20, 10:30], labels[30:35, 30:35] = 1, 2
    sampler.show(count=1, window_dims=(40, 40), predict=lambda sample: labels)
    dets = sheets[0][0][1]["annots"]["frame_dets"][0]
    assert dets.data["cids"].tolist() == [3, 4]
    for label, shape in enumerate(dets.data["segmentations"], 1):
        assert np.array_equal(shape.to_mask((40, 40)).data > 0, labels == label)


@pytest.mark.parametrize(
    ("prediction", "error", "message"),
    [
        (np.full((40, 40), 3), ArgumentError, "label 3; expected 0 to 2"),
        (np.zeros((40, 41), int), ArgumentError, r"shape \(40, 41\)"),
        (np.zeros((40, 40)), ArgumentTypeError, "predict returned a ndarray"),
        (None, ArgumentTypeError, "predict returned a NoneType"),
    ],
)
def test_a_prediction_that_does_not_fit_its_sample_is_refused(sampler, prediction, error, message):
    with pytest.raises(error, match=message):
        sampler.show(count=1, window_dims=(40, 40), predict=lambda sample: prediction)


def test_an_image_of_many_bands_is_shown_in_its_natural_colors(sampler, sheets):
    target = {"gid": 6, "slices": (slice(0, 40), slice(0, 40))}
    sampler.show(target)
    expected = sampler.load_sample({**target, "channels": "red|green|blue"})
    assert np.array_equal(sheets[0][0][0]["im"], expected["im"])


def test_the_title_names_the_bands_that_the_colors_show(sampler, sheets):
    sampler.show("positives", count=1, bands=[2, 1, 0])
    sampler.show("positives", count=1, bands=[1])
    assert [options["title"].partition(": ")[2] for _, options in sheets] == [
        "channel 2, channel 1, channel 0 as red, green, blue",
        "channel 1 in gray",
    ]
