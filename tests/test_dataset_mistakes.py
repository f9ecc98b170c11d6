"""What a dataset should not hold is an error that names it, at every door, or is read right."""

from __future__ import annotations

import cProfile
import pickle
from typing import TYPE_CHECKING, Any

import kwcoco
import numpy as np
import pytest
from helpers_images import write_png
from helpers_pools import make_dataset, sql_view

import ndsampler
from ndsampler.errors import ArgumentError, NDSamplerError, UnknownIdError, UnknownTargetError
from ndsampler.utils.limits import Limits, get_limits, set_limits

if TYPE_CHECKING:
    from collections.abc import Callable

NAN, INF = float("nan"), float("inf")
WHOLE = (slice(0, 40), slice(0, 50))


@pytest.fixture
def path(tmp_path):
    return str(write_png(tmp_path / "a.png", np.zeros((40, 50, 1), np.uint8)))


def make(
    path: str, ann: dict[str, Any] | None = None, img: dict[str, Any] | None = None
) -> kwcoco.CocoDataset:
    """Return a dataset of image 3 in video 2 with annotation 7."""
    image = {"id": 3, "file_name": path, "width": 50, "height": 40, "video_id": 2, "frame_index": 0}
    given = {"id": 7, "image_id": 3, "category_id": 1, "bbox": [1, 1, 9, 9], **(ann or {})}
    return kwcoco.CocoDataset(
        {
            "images": [{**image, **(img or {})}],
            "videos": [{"id": 2, "name": "v", "width": 50, "height": 40}],
            "annotations": [given],
            "categories": [{"id": 1, "name": "thing", "keypoints": ["head"]}],
        }
    )


#: Calls that need the boxes of all annotations.
BOX_DOORS = {
    "load_sample": lambda s: s.load_sample({"gid": 3}),
    "a window": lambda s: s.load_sample({"gid": 3, "slices": (slice(0, 4), slice(0, 4))}),
    "boxes only": lambda s: s.load_sample({"gid": 3}, with_annots="boxes"),
    "a video": lambda s: s.load_sample({"vidid": 2}),
    "an annotation": lambda s: s.load_sample({"aid": 7}),
    "load_annots": lambda s: s.load_annots({"gid": 3}),
    "load_target_annots": lambda s: s.load_target_annots({"gid": 3}),
    "preselect": lambda s: s.preselect(n_neg=1, window_dims=(5, 5), rng=0),
    "positives": lambda s: s.load_positive(0),
    "negatives": lambda s: s.load_negative(rng=0),
    "targets": lambda s: s.regions.targets,
    "table": lambda s: s.regions.annot_table,
    "find_aids": lambda s: s.regions.find_aids(3, (0, 0, 9, 9)),
    "an image grid": lambda s: s.new_sample_grid("image_detection", (20, 20)),
    "a video grid": lambda s: s.new_sample_grid("video_detection", (1, 20, 20)),
}

WRONG_BOXES = [
    [1, 2, 3],
    "1234",
    ["a", "b", "c", "d"],
    [1, None, 3, 4],
    [None] * 4,
    [1, NAN, 3, 4],
    [1, 2, INF, 4],
    [1e308, 0, 1e308, 4],
    [10**400, 1, 1, 1],
    [[1, 2, 3, 4]],
    {"x": 1, "y": 2, "w": 3, "h": 4},
    np.array([1, 2, 3, NAN]),
    5,
]


@pytest.mark.parametrize("box", WRONG_BOXES, ids=repr)
def test_a_box_that_is_not_four_finite_numbers_is_an_error_with_its_annotation(path, box):
    for door, call in BOX_DOORS.items():
        sampler = ndsampler.CocoSampler(make(path, {"bbox": box}))
        with pytest.raises(NDSamplerError) as caught:
            call(sampler)
        message = str(caught.value)
        assert "annotation 7" in message or (door == "an annotation" and "finite" in message)


@pytest.mark.parametrize(
    "box", [(1, 1, 9, 9), np.array([1, 1, 9, 9]), [10, 10, -9, -9], [np.float32(1), 1, 9, 9]]
)
def test_other_forms_of_a_box_are_read_right(path, box):
    for call in BOX_DOORS.values():
        call(ndsampler.CocoSampler(make(path, {"bbox": box})))
    sampler = ndsampler.CocoSampler(make(path, {"bbox": box}))
    for sample in (sampler.load_sample({"aid": 7}), sampler.load_positive(0)):
        assert sample["params"]["st_dims"] == [(1, 10), (1, 10)]
        assert sample["annots"]["aids"].tolist() == [7]


@pytest.mark.parametrize("box", [[1, None, 3, 4], [1, 2, INF, 4]])
def test_a_wrong_box_of_a_database_is_an_error_with_its_annotation(path, tmp_path, box):
    view = sql_view(make(path, {"bbox": box}), tmp_path)
    with pytest.raises(ArgumentError, match="annotation 7 has bbox"):
        ndsampler.CocoSampler(view).load_sample({"gid": 3})


WRONG_GEOMETRY: list[dict[str, Any]] = [
    {"segmentation": [[1, None, 3, 4, 5, 6]]},
    {"segmentation": [[1, 2, 3, 4, 5]]},
    {"segmentation": [[NAN] * 6]},
    {"segmentation": [["1", "2", "3", "4", "5", "6"]]},
    {"segmentation": {"exterior": [[1, 2], [INF, 3], [4, 5]], "interiors": []}},
    {"segmentation": {"exterior": [[1, 2], [2, 3], [4, 5]], "interiors": [[[NAN, 1], [2, 2], [1, 1]]]}},
    {"segmentation": "abc"},
    {"segmentation": eval("[" * 80 + "1" + "]" * 80)},
    {"keypoints": [None, None, 0]},
    {"keypoints": [1, 2]},
    {"keypoints": [NAN, 1, 2]},
    {"keypoints": [{"xy": [1, None]}]},
    {"keypoints": {"x": [1, 2], "y": [1]}},
]


@pytest.mark.parametrize("geometry", WRONG_GEOMETRY, ids=lambda geometry: repr(geometry)[:50])
def test_malformed_geometry_is_an_error_with_its_annotation(path, geometry):
    doors = {
        key: BOX_DOORS[key] for key in ("load_sample", "a window", "a video", "an annotation", "load_annots")
    }
    for call in [*doors.values(), lambda s: s.load_sample({"gid": 3, "scale": 2})]:
        with pytest.raises(ArgumentError, match="annotation 7 of image 3 has malformed geometry"):
            call(ndsampler.CocoSampler(make(path, geometry)))
    for call in BOX_DOORS.values():  # without a box, its extent is asked for everywhere
        with pytest.raises(NDSamplerError, match="annotation 7"):
            call(ndsampler.CocoSampler(make(path, {**geometry, "bbox": None})))


MATRIX = [[1.0, 0, 2], [0, 1, 3], [0, 0, 1]]


@pytest.mark.parametrize(
    "warp", [np.array(MATRIX), np.array(MATRIX)[:2], MATRIX, {"offset": np.array([2, 3])}]
)
def test_a_transform_may_be_an_array(path, warp):
    sampler = ndsampler.CocoSampler(make(path, img={"warp_img_to_vid": warp}))
    plain = ndsampler.CocoSampler(make(path, img={"warp_img_to_vid": {"type": "affine", "offset": [2, 3]}}))
    for call in BOX_DOORS.values():
        call(sampler)
    target = {"vidid": 2, "space_slice": WHOLE}
    found, expected = sampler.load_sample(target), plain.load_sample(target)
    np.testing.assert_array_equal(found["annots"]["rel_boxes"].data, expected["annots"]["rel_boxes"].data)
    assert found["annots"]["rel_boxes"].data.tolist() == [[3, 4, 9, 9]]
    again = pickle.loads(pickle.dumps(sampler)).load_annots(target)
    assert again["rel_boxes"].data.tolist() == [[3, 4, 9, 9]]


@pytest.mark.parametrize(
    "warp",
    [np.full((3, 3), NAN), [[1, None, 0], [0, 1, 0], [0, 0, 1]], "abc", {"scale": "x"}, np.zeros((2, 2)), []],
)
def test_a_transform_that_is_none_is_an_error_with_its_image(path, warp):
    for name in ("load_sample", "a video", "a video grid"):
        with pytest.raises(NDSamplerError, match="image 3"):
            BOX_DOORS[name](ndsampler.CocoSampler(make(path, img={"warp_img_to_vid": warp})))


@pytest.mark.parametrize("key", ["width", "frame_index"])
@pytest.mark.parametrize("value", ["abc", NAN, INF, [1]])
def test_a_number_of_an_image_that_is_none_is_an_error_with_its_image(path, key, value):
    for name in ("load_sample", "preselect", "an image grid"):
        with pytest.raises(NDSamplerError, match="image 3"):
            BOX_DOORS[name](ndsampler.CocoSampler(make(path, img={key: value})))


@pytest.mark.parametrize("parts", [-1, "x", [1], [None], [{"file_name": 5}]])
@pytest.mark.parametrize("key", ["assets", "auxiliary"])
def test_garbled_parts_of_an_image_without_a_size_are_an_error_with_the_image(path, key, parts):
    for name in ("load_sample", "preselect", "an image grid"):
        dset = make(path)
        dset.imgs[3] |= {key: parts, "width": None, "height": None}
        with pytest.raises(NDSamplerError, match="image 3"):
            BOX_DOORS[name](ndsampler.CocoSampler(dset))


# --- ids -----------------------------------------------------------------------------------------


def many_ids(tmp_path, base: int) -> tuple[kwcoco.CocoDataset, list[int]]:
    """Return four images of two videos, image i of the color i, with ids from a base."""
    ids = [base + i for i in range(4)]
    paths = [write_png(tmp_path / f"{i}.png", np.full((20, 30, 1), i, np.uint8)) for i in range(4)]
    images = [
        {
            "id": gid,
            "file_name": str(path),
            "width": 30,
            "height": 20,
            "video_id": ids[i // 2],
            "frame_index": i,
        }
        for i, (gid, path) in enumerate(zip(ids, paths))
    ]
    anns = [
        {"id": aid, "image_id": aid, "category_id": ids[i % 2], "bbox": [i, i, 5, 5]}
        for i, aid in enumerate(ids)
    ]
    videos = [{"id": vidid, "name": str(vidid), "width": 30, "height": 20} for vidid in ids[:2]]
    categories = [{"id": cid, "name": str(cid)} for cid in ids[:2]]
    tables = {"images": images, "annotations": anns, "videos": videos, "categories": categories}
    return kwcoco.CocoDataset(tables), ids


@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("base", [2**31 - 2, 2**32 + 7, 2**53 + 1, 2**63 - 4])
def test_ids_of_64_bits_lead_to_their_own_pixels_and_annotations(tmp_path, base, view):
    dset, ids = many_ids(tmp_path, base)
    sampler = ndsampler.CocoSampler(sql_view(dset, tmp_path) if view else dset)
    sampler.preselect(n_neg=6, window_dims=(4, 4), rng=0)
    targets = sampler.regions.targets
    assert [targets[key].tolist() for key in ("aid", "gid")] == [ids, ids]
    assert targets["category_id"].tolist() == [ids[0], ids[1]] * 2
    for i, gid in enumerate(ids):
        for sample in (
            sampler.load_sample({"gid": gid}),
            sampler.load_positive(i),
            sampler.load_sample({"aid": gid}),
        ):
            assert (sample["im"] == i).all()
            assert sample["annots"]["aids"].tolist() == [gid]
            assert sample["annots"]["cids"].tolist() == [ids[i % 2]]
    for i in range(6):
        sample = sampler.load_negative(i)
        assert (sample["im"] == ids.index(sample["target"]["gid"])).all()
    for i, vidid in enumerate(ids[:2]):
        assert sampler.load_sample({"vidid": vidid})["annots"]["aids"].tolist() == ids[2 * i : 2 * i + 2]
    for target in sampler.new_sample_grid("video_detection", (2, 20, 30))["targets"]:
        assert sampler.load_sample(target)["im"].max() == 2 * ids.index(int(target["vidid"])) + 1
    pairs = sampler.regions.isect_index.overlapping_pairs(ids, np.tile([0.0, 0, 30, 20], (4, 1)))
    assert pairs[1].tolist() == ids


def test_ids_of_targets_have_32_bits_if_these_are_enough():
    targets = ndsampler.tabular_coco_targets(make_dataset({1: [[0, 0, 1, 1]]}))
    assert {targets[key].dtype.name for key in ("aid", "gid", "category_id")} == {"int32"}


@pytest.mark.parametrize("section", ["images", "annotations", "categories", "videos"])
@pytest.mark.parametrize("wrong", [2**63, -(2**63) - 1, 10**30])
def test_a_larger_id_is_an_error_at_the_door(path, section, wrong):
    data = make(path).dataset
    data[section][0]["id"] = wrong
    data["annotations"][0]["image_id"] = data["images"][0]["id"]
    if section == "videos":
        del data["images"][0]["video_id"]
    with pytest.raises(ArgumentError, match=str(wrong)):
        ndsampler.CocoSampler(kwcoco.CocoDataset(data))


@pytest.mark.parametrize("wrong", [2**63, -(2**63) - 1, 10**30, np.uint64(2**63 + 2)])
def test_a_larger_id_that_is_asked_for_is_unknown(path, wrong):
    sampler = ndsampler.CocoSampler(make(path))
    index = sampler.regions.isect_index
    for call in (
        lambda: sampler.load_sample({"gid": wrong}),
        lambda: sampler.load_sample({"vidid": wrong}),
        lambda: sampler.load_sample({"gids": [wrong], "space_slice": WHOLE}),
        lambda: sampler.load_sample({"gid": 3}, annot_ids=[wrong]),
        lambda: sampler.load_image(wrong),
        lambda: sampler.regions.find_aids(wrong, (0, 0, 1, 1)),
        lambda: sampler.regions.get_segmentations([wrong]),
        lambda: sampler.regions.annot_table.rows_of_aids([wrong]),
        lambda: index.overlapping_pairs([wrong], np.zeros((1, 4))),
        lambda: index.random_negatives(1, window_size=(2, 2), gids=[wrong]),
    ):
        with pytest.raises(UnknownIdError):
            call()


# --- categories ----------------------------------------------------------------------------------


def with_categories(path: str, categories: list[dict[str, Any]], section: str = "categories") -> Any:
    data = make(path).dataset
    return kwcoco.CocoDataset({**data, "annotations": [], section: categories})


@pytest.mark.parametrize("section", ["categories", "keypoint_categories"])
@pytest.mark.parametrize(
    ("parents", "words"),
    [
        ({"a": "b", "b": "a"}, "form a cycle"),
        ({"a": "b", "b": "c", "c": "d", "d": "b"}, "form a cycle"),
        ({f"c{i}": f"c{i + 1}" for i in range(20_000)}, "more than 200 levels"),
        ({None: None}, "the name None"),
        ({"a": None, "": None}, "the name ''"),
    ],
    ids=["two", "below a cycle", "chain", "no name", "empty name"],
)
def test_categories_that_make_no_hierarchy_are_an_error_at_once(path, section, parents, words):
    categories = [
        {"id": i, "name": name, "supercategory": up} for i, (name, up) in enumerate(parents.items(), 1)
    ]
    with pytest.raises(ArgumentError, match=words):
        ndsampler.CocoSampler(with_categories(path, categories, section))


@pytest.mark.parametrize("section", ["categories", "keypoint_categories"])
@pytest.mark.parametrize(
    "parents",
    [
        {"a": "a"},
        {"a": "b", "b": "c", "d": "b"},
        {f"c{i}": f"c{i + 1}" for i in range(199)},
        {"a": None, "b": ""},
    ],
    ids=["self", "tree", "deep", "none"],
)
def test_categories_that_make_a_hierarchy_are_taken(path, section, parents):
    categories = [
        {"id": i, "name": name, "supercategory": up} for i, (name, up) in enumerate(parents.items(), 1)
    ]
    sampler = ndsampler.CocoSampler(with_categories(path, categories, section))
    trees = {"categories": sampler.classes, "keypoint_categories": sampler.kp_classes}
    assert set(parents) <= set(trees[section])
    sampler.load_sample({"gid": 3})


def count_calls(function: Callable[[], Any]) -> int:
    """Return the number of functions, in Python and in C, that a function calls."""
    profile = cProfile.Profile()
    profile.runcall(function)
    return sum(entry.callcount for entry in profile.getstats())


MANY = {
    "categories": lambda n: {"categories": [{"id": i, "name": f"c{i}"} for i in range(1, n)]},
    "a star of categories": lambda n: {
        "categories": [{"id": i, "name": f"c{i}", "supercategory": "c1"} for i in range(1, n)]
    },
    "chains of categories": lambda n: {
        "categories": [
            {"id": i, "name": f"c{i}", "supercategory": f"c{i - bool(i % 20)}"} for i in range(1, n)
        ]
    },
    "keypoint categories": lambda n: {
        "keypoint_categories": [{"id": i, "name": f"k{i}"} for i in range(1, n)]
    },
    "names of keypoints": lambda n: {
        "categories": [{"id": i, "name": f"c{i}", "keypoints": [f"k{i}"]} for i in range(1, n)]
    },
    "videos": lambda n: {"videos": [{"id": i, "name": f"v{i}"} for i in range(1, n)]},
    "tracks": lambda n: {"tracks": [{"id": i, "name": f"t{i}"} for i in range(1, n)]},
}


@pytest.mark.parametrize("kind", MANY)
def test_a_record_more_takes_a_fixed_number_of_calls(path, kind):
    def count(number: int) -> int:
        data = {key: val for key, val in make(path).dataset.items() if key != "keypoint_categories"}
        dset = kwcoco.CocoDataset({**data, "annotations": [], **MANY[kind](number)})

        def use() -> None:
            sampler = ndsampler.CocoSampler(dset)
            sample = sampler.load_sample({"gid": 3, "slices": (slice(9), slice(9))})
            assert sample["kp_classes"] is sampler.kp_classes

        return count_calls(use)

    count(10)
    few, more = count(1000), count(2000)
    assert more < 2.2 * few


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"id": "x"}, "the id 'x'"),
        ({"id": None}, "the id None"),
        ({"keypoints": [{}]}, "expected a list of names"),
        ({"keypoints": 5}, "expected a list of names"),
    ],
    ids=str,
)
def test_a_category_with_a_garbled_field_is_an_error_of_the_dataset(path, field, words):
    with pytest.raises(ArgumentError, match=words):
        ndsampler.CocoSampler(with_categories(path, [{"id": 1, "name": "a", **field}]))


def test_a_frame_of_a_video_that_is_not_listed_is_an_error_that_names_both(path):
    sampler = ndsampler.CocoSampler(make(path, img={"video_id": 77}))
    with pytest.raises(UnknownTargetError, match="image 3 is a frame of video 77"):
        sampler.load_sample({"vidid": 77, "gids": [3]})


def test_the_depth_of_categories_is_a_limit_that_can_be_set(path):
    categories = [{"id": i, "name": f"c{i}", "supercategory": f"c{i + 1}"} for i in range(1, 9)]
    before = get_limits()
    try:
        set_limits(Limits(category_depth=8))
        with pytest.raises(ArgumentError, match="more than 8 levels"):
            ndsampler.CocoSampler(with_categories(path, categories))
        set_limits(Limits(category_depth=9))
        ndsampler.CocoSampler(with_categories(path, categories))
    finally:
        set_limits(before)


@pytest.mark.parametrize("section", ["annotations", "images"])
def test_a_section_that_is_a_dictionary_is_an_error_of_the_dataset(section, path):
    dset = make(path)
    dset.dataset[section] = {"1": dset.dataset[section][0]}
    with pytest.raises(NDSamplerError):
        ndsampler.CocoSampler(dset.dataset).load_sample({"gid": 3})


def test_an_array_as_the_image_of_an_annotation_is_an_error(path):
    with pytest.raises(NDSamplerError, match="belongs to image 3"):
        ndsampler.CocoSampler(make(path)).load_sample({"gid": np.array([1, 2]), "aid": 7})
