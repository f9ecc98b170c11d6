"""
How programs that train networks use a sampler, in small.

Each test goes the way of a program that is not at hand here: a classifier and a detector of single
images, a network for films, and what they do around them.
"""

from __future__ import annotations

import json
import os
import pathlib
import pickle

import delayed_image
import kwarray
import kwcoco
import kwimage
import numpy as np
import pytest
from helpers_datasets import crop_oracle
from helpers_images import random_pixels, write_png
from helpers_optional import import_optional
from helpers_processes import process_pool
from helpers_threads import PATIENCE

import ndsampler
from ndsampler import coerce_data

#: Rows and columns of every image.
DIMS = (40, 56)

#: Ids with gaps, so that positions and ids cannot be mixed up.
GIDS, VIDID = (3, 5, 8), 4

CATEGORIES = {0: "background", 7: "boat", 9: "buoy"}

#: Boxes (x, y, width, height) by image; their categories alternate.
BOXES = {3: [(10, 8, 12, 10), (30, 20, 9, 7)], 5: [(2, 3, 16, 12)], 8: [(40, 25, 14, 11)]}


class World:
    """A dataset, and what its images hold."""

    def __init__(self, folder: pathlib.Path, film: bool):
        self.folder = folder
        self.pixels = {gid: random_pixels(dims=DIMS, seed=gid) for gid in GIDS}
        self.dset = kwcoco.CocoDataset()
        self.dset.fpath = str(folder / "data.kwcoco.json")
        for cid, name in CATEGORIES.items():
            self.dset.add_category(name, id=cid)
        if film:
            self.dset.add_video("film", id=VIDID, height=DIMS[0], width=DIMS[1])
        for index, gid in enumerate(GIDS):
            self._add_image(gid, {"video_id": VIDID, "frame_index": index} if film else {})

    def _add_image(self, gid: int, extra: dict):
        name = write_png(self.folder / f"{gid}.png", self.pixels[gid]).name
        image = {"height": DIMS[0], "width": DIMS[1], "channels": "r|g|b", **extra}
        self.dset.add_image(name, id=gid, **image)
        for index, box in enumerate(BOXES[gid]):
            corners = kwimage.Boxes([box], "xywh").to_polygons()[0].to_coco(style="new")
            self.dset.add_annotation(gid, [7, 9][index % 2], bbox=list(box), segmentation=corners)

    def crop(self, gid: int, rows: tuple[int, int], cols: tuple[int, int]) -> np.ndarray:
        """Return a window of an image, 0 outside."""
        return crop_oracle(self.pixels[gid], rows, cols)


@pytest.fixture
def stills(tmp_path):
    return World(tmp_path, film=False)


@pytest.fixture
def film(tmp_path):
    return World(tmp_path, film=True)


@pytest.fixture(params=[None, "npy", "cog"], ids=str)
def sampler(request, stills, tmp_path):
    sampler = ndsampler.CocoSampler(stills.dset, workdir=tmp_path / "work", backend=request.param)
    sampler.frames.prepare(workers=0)
    return sampler


class TestClassifier:
    """A program that shows a network one annotation at a time."""

    def test_items_by_number_are_the_annotations_and_their_class_indices(self, sampler, stills):
        items = [sampler.load_item(index, with_annots=False) for index in range(sampler.n_positives)]
        labels = [sampler.catgraph.id_to_idx[item["tr"]["category_id"]] for item in items]
        truth = [list(CATEGORIES).index(ann["category_id"]) for ann in stills.dset.anns.values()]
        assert labels == truth
        for item, ann in zip(items, stills.dset.anns.values()):
            x, y, width, height = ann["bbox"]
            expected = stills.crop(ann["image_id"], (y, y + height), (x, x + width))
            np.testing.assert_array_equal(item["im"], expected)

    @pytest.mark.filterwarnings("ignore:the argument pad:FutureWarning")
    def test_an_own_window_around_a_positive_shows_what_lies_there(self, sampler, stills):
        target = sampler.regions.get_positive(1, rng=kwarray.ensure_rng(3))
        target = {**target, "width": 21, "height": 17}
        sample = sampler.load_sample(target, with_annots=False, pad=(2, 4))
        rows, cols = sample["target"]["space_slice"]
        around = (rows.start - 2, rows.stop + 2), (cols.start - 4, cols.stop + 4)
        expected = stills.crop(target["gid"], *around)
        np.testing.assert_array_equal(sample["im"], expected)

    def test_a_random_positive_is_that_of_the_generator(self, sampler):
        row = kwarray.ensure_rng(11).randint(0, sampler.n_positives)
        drawn = sampler.load_positive(rng=kwarray.ensure_rng(11))
        assert drawn["tr"]["aid"] == sampler.regions.targets["aid"][row]

    def test_inputs_are_told_apart_by_what_the_sampler_depends_on(self, stills, tmp_path):
        def input_id():
            sampler = ndsampler.CocoSampler(stills.dset, workdir=tmp_path)
            return repr(sampler._depends()), sampler.hashid

        before = input_id()
        assert input_id() == before
        stills.dset.anns[1]["category_id"] = 9
        stills.dset._invalidate_hashid()
        after = input_id()
        assert after[0] != before[0]
        assert after[1] != before[1]

    def test_datasets_for_each_purpose_may_be_paths(self, stills, tmp_path):
        train, vali = tmp_path / "train.json", tmp_path / "vali.json"
        stills.dset.subset([3, 5]).dump(str(train))
        stills.dset.subset([8]).dump(str(vali))
        found = coerce_data.coerce_datasets({"train_dataset": train, "vali_dataset": str(vali)})
        assert {tag: sorted(dset.imgs) for tag, dset in found.items()} == {"train": [3, 5], "vali": [8]}


class TestDetector:
    """A program that shows a network images, or windows of them, with all that they hold."""

    def test_whole_images_come_with_their_annotations(self, sampler, stills):
        for gid in sampler.image_ids:
            img, anns = sampler.load_image_with_annots(gid)
            np.testing.assert_array_equal(img["imdata"][:], stills.pixels[gid])
            dets = kwimage.Detections.from_coco_annots(anns, dset=sampler.dset)
            assert dets.boxes.data.tolist() == [list(box) for box in BOXES[gid]]

    def test_windows_with_foreign_keys_and_numpy_numbers_are_windows(self, sampler, stills):
        target = {
            "gid": np.int64(3),
            "slices": (slice(np.int64(-2), np.int32(30)), slice(np.int16(4), np.int64(50))),
            "allow_augment": True,
            "main_idx": np.int64(2),
            "verbose_ndsample": False,
        }
        given = dict(target)
        sample = sampler.load_sample(target, visible_thresh=np.float64(0.1))
        assert target == given
        assert {key: sample["target"][key] for key in given} == given
        np.testing.assert_array_equal(sample["im"], stills.crop(3, (-2, 30), (4, 50)))
        assert sample["annots"]["aids"].tolist() == [1, 2]
        expected = [[x - 4, y + 2, width, height] for x, y, width, height in BOXES[3]]
        assert sample["annots"]["rel_boxes"].data.tolist() == expected

    def test_what_was_inferred_of_a_target_wins_over_later_edits(self, sampler, stills):
        target = sampler._infer_target_attributes({"gid": 5, "cx": 20, "cy": 16, "width": 10, "height": 8})
        target["cx"] += 9
        target["allow_augment"] = False
        sample = sampler.load_sample(target)
        np.testing.assert_array_equal(sample["im"], stills.crop(5, (12, 20), (15, 25)))
        assert sample["target"]["allow_augment"] is False

    @pytest.mark.parametrize(
        "bad",
        [
            {"gid": 3, "slices": (slice(9, 2), slice(0, 5))},
            {"gid": 3, "cx": float("nan"), "cy": 3, "width": 4, "height": 4},
            {"gid": 3, "cx": 5, "cy": 3, "width": 4, "height": 4, "window_dims": (10**9, 10**9)},
        ],
        ids=["backwards", "nowhere", "absurd"],
    )
    def test_a_bad_window_is_an_error_after_which_another_is_tried(self, sampler, bad):
        for target in (bad, sampler.regions.get_positive(0)):
            try:
                sample = sampler.load_sample(target)
            except ValueError:
                continue
        assert sample["target"]["aid"] == 1

    def test_windows_off_the_annotations_touch_none(self, sampler):
        sampler.regions.preselect(n_neg=5, window_dims=(8, 8), rng=0)
        assert sampler.regions.n_negatives
        for index in range(sampler.regions.n_negatives):
            target = sampler.regions.get_negative(index)
            box = kwimage.Boxes([[target[key] for key in ("cx", "cy", "width", "height")]], "cxywh")
            assert list(sampler.regions.overlapping_aids(target["gid"], box)) == []
            assert sampler.load_sample(target)["annots"]["aids"].tolist() == []

    def test_segmentations_by_id_are_those_of_the_dataset(self, sampler):
        found = sampler.regions.get_segmentations([2, 4])
        truth = [tuple(BOXES[3][1]), tuple(BOXES[8][0])]
        assert [tuple(sseg.to_multi_polygon().box().to_xywh().data) for sseg in found] == truth


class TestFilm:
    """A program that shows a network windows in space and time."""

    @pytest.fixture
    def sampler(self, film, tmp_path):
        return ndsampler.CocoSampler(film.dset, workdir=tmp_path / "work")

    @pytest.mark.filterwarnings("ignore:the argument nodata:FutureWarning")
    def test_targets_of_a_grid_are_edited_before_they_are_loaded(self, sampler, film):
        grid = sampler.new_sample_grid("video_detection", window_dims=(2, 20, 28))
        for target in grid["targets"]:
            target = {**target, "channels": delayed_image.FusedChannelSpec.coerce("g|r"), "main_idx": 0}
            sample = sampler.load_sample(target, nodata="float")
            rows, cols = target["space_slice"]
            for gid, frame in zip(target["gids"], sample["im"]):
                expected = film.crop(gid, (rows.start, rows.stop), (cols.start, cols.stop))
                np.testing.assert_array_equal(frame, expected[..., [1, 0]])

    def test_scales_come_as_pairs_of_x_and_y(self, sampler):
        target = {"video_id": VIDID, "gids": list(GIDS), "scale": (0.5, 2.0), "verbose_ndsample": 0}
        assert sampler.load_sample(target)["im"].shape == (3, 2 * DIMS[0], DIMS[1] // 2, 3)

    def test_windows_that_are_moved_by_halves_of_pixels_are_rounded_down(self, sampler, film):
        halves = (slice(np.float64(2.5), np.float64(12.5)), slice(4.5, 30.5))
        sample = sampler.load_sample({"vidid": VIDID, "gids": [5], "space_slice": halves})
        np.testing.assert_array_equal(sample["im"][0][..., ::-1], film.crop(5, (2, 12), (4, 30)))

    def test_annotations_come_without_pixels(self, sampler):
        target = {"vidid": VIDID, "gids": [3, 8], "space_slice": (slice(0, 40), slice(0, 56))}
        assert sampler.load_target_annots(target) == [1, 2, 4]
        assert sampler.load_annots(target)["aids"].tolist() == [1, 2, 4]

    def test_a_target_that_was_inferred_is_augmented_by_its_window(self, sampler, film):
        target = sampler._infer_target_attributes({"vidid": VIDID, "gids": [3]})
        rows, cols = target["space_slice"]
        target["space_slice"] = (slice(rows.start + 3, rows.stop), slice(cols.start, cols.stop - 6))
        sample = sampler.load_sample(target)
        np.testing.assert_array_equal(sample["im"][0][..., ::-1], film.crop(3, (3, 40), (0, 50)))


class TestClasses:
    """What a network's head does with the classes."""

    def test_scores_of_exclusive_classes_are_decided_by_the_greatest(self):
        classes = ndsampler.CategoryTree.from_mutex(["boat", "buoy", "bird"], bg_hack=False)
        energy = np.random.RandomState(0).randn(20, 3)
        probs = classes.hierarchical_softmax(energy, dim=1)
        expected = np.exp(energy) / np.exp(energy).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(probs, expected)
        idxs, confidence = classes.decision(probs, dim=1, thresh=0.1)
        np.testing.assert_array_equal(idxs, expected.argmax(axis=1))
        np.testing.assert_allclose(confidence, expected.max(axis=1))

    def test_classes_survive_the_file_of_a_network(self, sampler):
        written = json.loads(json.dumps(sampler.classes.__json__()))
        read = ndsampler.CategoryTree.coerce(written)
        assert list(read) == list(sampler.classes)
        assert dict(read.id_to_idx) == dict(sampler.classes.id_to_idx)

    def test_a_class_that_is_put_under_another_is_its_child(self):
        classes = ndsampler.CategoryTree.from_mutex(["boat", "buoy"], bg_hack=False)
        classes.graph.add_node("canoe", id=12)
        classes.graph.add_edge("boat", "canoe")
        classes._build_index()
        assert classes.id_to_idx[12] == classes.index("canoe")
        probs = classes.hierarchical_softmax(np.zeros((1, 3)), dim=1)[0]
        assert probs[classes.index("canoe")] == pytest.approx(probs[classes.index("boat")])


def contents(sampler: ndsampler.CocoSampler) -> list:
    """Return the pixels and annotations of all positives."""
    samples = [sampler.load_item(index) for index in range(sampler.n_positives)]
    return [(sample["im"].tolist(), sample["annots"]["aids"].tolist()) for sample in samples]


def contents_of_reconnected(sampler: ndsampler.CocoSampler) -> list:
    """Return the same in a worker that connects to the database again."""
    sampler.dset.connect(readonly=True)
    return contents(sampler)


each_start = pytest.mark.parametrize(
    "start",
    [
        pytest.param("fork", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")),
        "spawn",
    ],
)


class TestWorkers:
    """Processes that load samples for the one that trains."""

    @each_start
    def test_a_sampler_is_sent_to_workers(self, sampler, start):
        expected = contents(sampler)
        with process_pool(start, 1) as pool:
            assert pool.submit(contents, sampler).result(PATIENCE) == expected

    @each_start
    def test_workers_connect_to_a_database_themselves(self, stills, tmp_path, start):
        import_optional("sqlalchemy")
        stills.dset.dump(stills.dset.fpath)
        view = stills.dset.view_sql(sql_db_fpath=str(tmp_path / "view.sqlite"))
        sampler = ndsampler.CocoSampler(view)
        expected = contents(ndsampler.CocoSampler(stills.dset))
        with process_pool(start, 1) as pool:
            assert pool.submit(contents_of_reconnected, sampler).result(PATIENCE) == expected

    def test_open_files_are_bounded_by_hand(self, sampler):
        expected = contents(sampler)
        sampler.frames._lru.set_size(1)
        assert contents(sampler) == expected
        assert contents(pickle.loads(pickle.dumps(sampler))) == expected
