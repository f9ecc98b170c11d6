"""The columns say what the dictionaries of the dataset say."""

from __future__ import annotations

import logging
import pickle

import kwcoco
import numpy as np
import pytest
from helpers_pools import GIDS, make_dataset, random_dataset, sql_view

from ndsampler.dataset.annot_table import AnnotTable
from ndsampler.dataset.columns import NO_ID
from ndsampler.dataset.image_table import ImageTable
from ndsampler.errors import ArgumentError, MissingSourceError, UnknownIdError


@pytest.fixture
def untidy() -> kwcoco.CocoDataset:
    """Images and annotations out of order, some without box, category, size or video."""
    dset = kwcoco.CocoDataset()
    dset.add_video("v", id=4, width=60, height=40)
    dset.add_image(id=9, file_name="a.png", width=60, height=40, video_id=4, frame_index=1)
    dset.add_image(id=2, file_name="b.png", valid_region=[[0, 0, 10, 0, 10, 10]])
    dset.add_image(id=5, file_name="c.png", width=61, height=41, video_id=4, frame_index=0)
    cid = dset.add_category("thing", id=3)
    dset.add_annotation(id=8, image_id=9, category_id=cid, bbox=[1, 2, 3, 4])
    dset.add_annotation(id=1, image_id=5, category_id=None, bbox=[5, 6, 7.5, 8])
    dset.add_annotation(id=6, image_id=9, bbox=[0, 0, 1, 1])
    dset.add_annotation(id=2, image_id=9, category_id=cid)
    for aid, track in {8: "x", 6: 7, 2: "x"}.items():
        dset.anns[aid]["track_id"] = track
    return dset


def test_rows_are_grouped_by_image_and_ascend_by_annotation(untidy):
    table = AnnotTable.from_coco(untidy)
    assert table.images.gids.tolist() == [2, 5, 9]
    assert table.aids.tolist() == [1, 2, 6, 8]
    assert table.gids.tolist() == [5, 9, 9, 9]
    assert [table.rows_of_image(gid).tolist() for gid in (2, 5, 9)] == [[], [0], [1, 2, 3]]


def test_missing_categories_and_boxes_have_a_place_in_the_columns(untidy):
    table = AnnotTable.from_coco(untidy)
    assert table.cids.tolist() == [NO_ID, 3, NO_ID, 3]
    assert table.has_box.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(table.boxes[0], [5, 6, 7.5, 8])
    np.testing.assert_array_equal(table.ltrb[:, 0], [5, 6, 12.5, 14])


def test_tracks_are_indices_into_the_distinct_ids(untidy):
    table = AnnotTable.from_coco(untidy)
    named = [None if code == NO_ID else table.track_ids[code] for code in table.tracks.tolist()]
    assert named == [None, "x", 7, "x"]
    assert AnnotTable.from_coco(make_dataset({1: [[0, 0, 1, 1]]})).tracks is None


def test_images_say_what_the_dataset_says(untidy):
    images = ImageTable.from_coco(untidy)
    assert images.widths.tolist() == [-1, 61, 60]
    assert images.vidids.tolist() == [NO_ID, 4, 4]
    assert images.frame_index.tolist() == [-1, 0, 1]
    assert images.gids[images.order].tolist() == list(untidy.imgs)
    assert list(images.valid_regions) == [2]


def test_the_order_of_the_dataset_can_be_had_back():
    dset = random_dataset(np.random.RandomState(0))
    table = AnnotTable.from_coco(dset)
    assert table.aids[table.rows_in_dataset_order()].tolist() == list(dset.anns)


def test_annotations_are_found_by_id():
    table = AnnotTable.from_coco(random_dataset(np.random.RandomState(1)))
    wanted = np.array([7, 1, 33])
    assert table.aids[table.rows_of_aids(wanted)].tolist() == wanted.tolist()
    with pytest.raises(UnknownIdError, match="no annotation has the id 999"):
        table.rows_of_aids([1, 999])


def test_an_unknown_image_is_named_with_what_there_is():
    table = AnnotTable.from_coco(make_dataset({gid: [] for gid in GIDS}))
    for ask in (
        table.span,
        table.rows_of_image,
        table.images.index_of,
        lambda g: table.images.indices_of([g]),
    ):
        with pytest.raises(UnknownIdError, match=r"no image has the id 4.*ids 3 to 10"):
            ask(4)


def test_an_image_without_size_is_named_with_the_way_out(untidy):
    images = ImageTable.from_coco(untidy)
    with pytest.raises(MissingSourceError, match="image 2 has no width and height"):
        images.require_sizes()
    images.require_sizes(np.array([1, 2]))


def test_negative_widths_become_proper_edges():
    table = AnnotTable.from_coco(make_dataset({1: [[50, 5, -5, 3]]}))
    assert table.ltrb[:, 0].tolist() == [45, 5, 50, 8]
    assert table.boxes[0].tolist() == [50, 5, -5, 3]


def test_a_box_of_three_numbers_is_refused():
    dset = make_dataset({1: [[1, 2, 3, 4], [1, 2, 3, 4]]})
    dset.anns[2]["bbox"] = [1, 2, 3]
    with pytest.raises(ArgumentError, match=r"annotation 2 has bbox \[1, 2, 3\]"):
        AnnotTable.from_coco(dset)


@pytest.mark.filterwarnings("ignore:.*references unknown image_id", "ignore:.*has no len")
def test_annotations_of_images_that_do_not_exist_are_left_out_and_said_so(caplog):
    dset = make_dataset({1: [[1, 2, 3, 4]]})
    dset.dataset["annotations"].append({"id": 5, "image_id": 77, "bbox": [0, 0, 1, 1], "category_id": 1})
    dset = kwcoco.CocoDataset(dset.dataset)
    with caplog.at_level(logging.WARNING):
        table = AnnotTable.from_coco(dset)
    assert table.aids.tolist() == [1]
    assert table.rows_in_dataset_order().tolist() == [0]
    assert "ids [5]" in caplog.text


def test_an_empty_dataset_gives_empty_columns():
    table = AnnotTable.from_coco(kwcoco.CocoDataset())
    assert len(table) == len(table.images) == 0
    assert table.boxes.shape == (0, 4)
    assert table.offsets.tolist() == [0]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_pickle_gives_back_the_same_columns_and_is_narrow(seed):
    table = AnnotTable.from_coco(random_dataset(np.random.RandomState(seed)))
    again = pickle.loads(pickle.dumps(table))
    for name in ("aids", "cids", "boxes", "offsets", "ltrb", "gids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(table, name))
        assert getattr(again, name).dtype == getattr(table, name).dtype
    assert again.images.index_of(7) == table.images.index_of(7)


def test_an_sqlite_view_gives_the_columns_of_the_dataset(untidy, tmp_path):
    plain = AnnotTable.from_coco(untidy)
    view = AnnotTable.from_coco(sql_view(untidy, tmp_path))
    for name in ("aids", "gids", "cids", "boxes", "offsets"):
        np.testing.assert_array_equal(getattr(view, name), getattr(plain, name))
    for name in ("gids", "widths", "heights", "vidids", "frame_index"):
        np.testing.assert_array_equal(getattr(view.images, name), getattr(plain.images, name))
    named = [None if code == NO_ID else view.track_ids[code] for code in view.tracks.tolist()]
    assert [None if name is None else str(name) for name in named] == [None, "x", "7", "x"]
    assert view.images.valid_regions == plain.images.valid_regions


def test_an_sqlite_view_gives_the_warps_of_its_frames(tmp_path):
    dset = make_dataset({1: [], 2: []})
    dset.imgs[2]["warp_img_to_vid"] = {"type": "affine", "scale": 2}
    dset.imgs[1]["warp_img_to_vid"] = {"type": "affine"}
    plain, view = ImageTable.from_coco(dset), ImageTable.from_coco(sql_view(dset, tmp_path))
    assert plain.warps == view.warps == {2: {"type": "affine", "scale": 2}}
