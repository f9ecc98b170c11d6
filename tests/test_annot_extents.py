"""Annotations without a box have the extent of their geometry, whatever form it has."""

from __future__ import annotations

import logging
from typing import Any

import kwcoco
import kwimage
import numpy as np
import pytest
from helpers_datasets import pack_run_lengths, run_lengths
from helpers_images import write_png
from helpers_pools import sql_view
from hypothesis import given, settings
from hypothesis import strategies as st

import ndsampler
from ndsampler.dataset.extents import geometry_box
from ndsampler.dataset.run_lengths import RunLengths, decode_counts
from ndsampler.dataset.segmentations import parse_segmentation
from ndsampler.errors import ArgumentError
from ndsampler.utils.limits import Limits, adopt_limits, get_limits, set_limits

DIMS = (30, 40)


def blob() -> np.ndarray:
    """Return a mask whose pixels reach from column 7 to 11 and from row 4 to 9, with a hole."""
    mask = np.zeros(DIMS, np.uint8)
    mask[4:9, 7:10] = mask[6:10, 9:12] = 1
    mask[6, 8] = 0
    return mask


#: Geometry without a box, and its left, top, right, bottom by hand.
SHAPES: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "flat polygon": ({"segmentation": [3, 4, 12, 4, 12, 9.5]}, (3, 4, 12, 9.5)),
    "polygon": ({"segmentation": [[3, 4, 12, 4, 12, 9.5]]}, (3, 4, 12, 9.5)),
    "two polygons": ({"segmentation": [[3, 4, 5, 4, 5, 6], [9, 1, 12, 2, 10, 8]]}, (3, 1, 12, 8)),
    "exterior": ({"segmentation": {"exterior": [[3, 4], [12, 4], [8, 9]], "interiors": []}}, (3, 4, 12, 9)),
    "exteriors": (
        {"segmentation": [{"exterior": [[3, 4], [5, 4], [4, 6]]}, {"exterior": [[9, 1], [10, 1], [9, 8]]}]},
        (3, 1, 10, 8),
    ),
    "geojson": (
        {"segmentation": {"type": "Polygon", "coordinates": [[[3, 4], [12, 4], [8, 9], [3, 4]]]}},
        (3, 4, 12, 9),
    ),
    "run lengths": ({"segmentation": {"size": list(DIMS), "counts": run_lengths(blob())}}, (7, 4, 12, 10)),
    "compressed": (
        {"segmentation": {"size": list(DIMS), "counts": pack_run_lengths(run_lengths(blob()))}},
        (7, 4, 12, 10),
    ),
    "mask dictionary": (
        {
            "segmentation": {
                **kwimage.encode_run_length(blob(), binary=True),
                "counts": kwimage.encode_run_length(blob(), binary=True)["counts"].tolist(),
                "shape": list(DIMS),
            }
        },
        (7, 4, 12, 10),
    ),
    "keypoints": ({"keypoints": [3, 4, 2, 0, 0, 0, 12, 9, 1]}, (3, 4, 12, 9)),
    "one keypoint": ({"keypoints": [3, 4, 2]}, (3, 4, 3, 4)),
    "new keypoints": ({"keypoints": [{"xy": [3, 9]}, {"xy": [12, 4]}]}, (3, 4, 12, 9)),
    "hidden keypoint": ({"keypoints": [{"xy": [3, 9]}, {"xy": [0, 0], "visible": 0}]}, (3, 9, 3, 9)),
    "columns of keypoints": ({"keypoints": {"x": [3, 12], "y": [9, 4]}}, (3, 4, 12, 9)),
    "polygon and keypoints": (
        {"segmentation": [[3, 4, 5, 4, 5, 6]], "keypoints": [1, 9, 2]},
        (1, 4, 5, 9),
    ),
}


def dataset(tmp_path, anns: list[dict[str, Any]]) -> kwcoco.CocoDataset:
    frames = []
    for gid, name in ((5, "a"), (6, "b")):
        path = write_png(tmp_path / f"{name}.png", np.zeros((*DIMS, 1), np.uint8))
        place = {"video_id": 1, "frame_index": gid}
        size = {"height": DIMS[0], "width": DIMS[1]}
        frames.append({"id": gid, "name": name, "file_name": str(path), **size, **place})
    shared = {"image_id": 6, "category_id": 1}
    return kwcoco.CocoDataset(
        {
            "images": frames,
            "videos": [{"id": 1, "name": "v", "width": DIMS[1], "height": DIMS[0]}],
            "categories": [{"id": 1, "name": "thing"}],
            "annotations": [{"id": i, **shared, **ann} for i, ann in enumerate(anns, 3)],
        }
    )


@pytest.mark.parametrize("box", [{}, {"bbox": None}, {"bbox": []}])
@pytest.mark.parametrize("form", SHAPES)
def test_the_extent_stands_in_for_the_box(form, box):
    geometry, (left, top, right, bottom) = SHAPES[form]
    ann = {"id": 1, "image_id": 1, **geometry, **box}
    assert geometry_box(ann, DIMS) == (left, top, right - left, bottom - top)


@pytest.mark.parametrize("view", [False, True])
def test_windows_show_what_touches_their_extent(tmp_path, view):
    dset = dataset(tmp_path, [geometry for geometry, _ in SHAPES.values()])
    extents = [extent for _, extent in SHAPES.values()]
    sampler = ndsampler.CocoSampler(sql_view(dset, tmp_path) if view else dset)
    whole = sampler.load_sample({"gid": 6}, with_annots="boxes")["annots"]
    np.testing.assert_array_equal(whole["rel_boxes"].to_ltrb().data, extents)
    np.testing.assert_array_equal(sampler.regions.annot_table.has_box, False)
    rng = np.random.RandomState(0)
    for _ in range(30):
        y, x = rng.randint(0, 20, size=2)
        window = (slice(y, y + 4), slice(x, x + 5))
        touching = [
            aid
            for aid, (left, top, right, bottom) in enumerate(extents, 3)
            if left <= x + 5 and right >= x and top <= y + 4 and bottom >= y
        ]
        assert sampler.load_annots({"gid": 6, "slices": window}, "boxes")["aids"].tolist() == touching
        frames = sampler.load_annots({"vidid": 1, "space_slice": window}, "boxes")
        assert frames["aids"].tolist() == touching
        assert frames["rel_frame_index"].tolist() == [1] * len(touching)


@pytest.mark.parametrize("view", [False, True])
def test_targets_leave_them_out_and_the_log_says_how_many_once(tmp_path, view, caplog):
    anns = [{"bbox": [1, 2, 3, 4]}, {"segmentation": [[3, 4, 5, 4, 5, 6]]}, {"keypoints": [3, 4, 2]}, {}]
    dset = dataset(tmp_path, anns)
    regions = ndsampler.CocoRegions(sql_view(dset, tmp_path) if view else dset)
    with caplog.at_level(logging.WARNING, logger="ndsampler"):
        assert regions.targets["aid"].tolist() == [3]
        regions.refresh()
        assert regions.n_positives == 1
        assert regions.preselect(n_neg=2, window_dims=(3, 3), rng=0) == (1, 2)
    assert [record.getMessage()[:40] for record in caplog.records].count(
        "2 annotations have geometry but no bbox,"
    ) == 1


def test_empty_geometry_is_no_geometry():
    blank = {"size": [2, 2], "counts": [4]}
    for ann in (
        {},
        {"segmentation": []},
        {"segmentation": [[]]},
        {"segmentation": blank},
        {"keypoints": [0, 0, 0]},
    ):
        assert geometry_box({"id": 1, **ann}, (2, 2)) is None


# --- run-length encodings ------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 9), width=st.integers(1, 9), share=st.floats(0, 1))
def test_a_mask_is_decoded_within_its_extent_as_kwimage_decodes_it_whole(seed, height, width, share):
    mask = (np.random.RandomState(seed).rand(height, width) < share).astype(np.uint8)
    raw = {"size": [height, width], "counts": run_lengths(mask)}
    runs = RunLengths.from_coco(raw, (height, width))
    rows, cols = np.nonzero(mask)
    if not len(rows):
        assert runs.extent is None
    else:
        left, top, right, bottom = runs.extent
        assert (left, top, right, bottom) == (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
        np.testing.assert_array_equal(runs.cropped_mask(), mask[top:bottom, left:right])
    ours, theirs = parse_segmentation(raw), kwimage.Mask(mask, "c_mask").to_multi_polygon()
    assert [[ring.tolist() for ring in rings_of(poly)] for poly in ours.data] == [
        [ring.tolist() for ring in rings_of(poly)] for poly in theirs.data
    ]
    along_rows = {**kwimage.encode_run_length(mask, binary=True), "shape": (height, width)}
    assert RunLengths.from_coco(along_rows).extent == runs.extent


def rings_of(polygon):
    return [np.asarray(ring.data) for ring in (polygon.data["exterior"], *polygon.data["interiors"])]


def test_a_small_object_of_a_huge_mask_takes_little_memory():
    side = 10**6
    runs = RunLengths.from_coco(
        {"size": [side, side], "counts": [5 * side + 3, 4, side - 4, 4, side**2 - 6 * side - 7]}
    )
    assert runs.extent == (5, 3, 7, 7)
    assert runs.cropped_mask().tolist() == [[1, 1]] * 4


@pytest.mark.parametrize(
    "raw",
    [
        {"size": [30, 41], "counts": [30 * 41]},
        {"size": [40000, 40000], "counts": [5, 10, 40000**2 - 15]},
        {"size": [30], "counts": [1200]},
        {"size": None, "counts": [1200]},
        {"size": list(DIMS), "counts": [-5, 1205]},
        {"size": list(DIMS), "counts": [0.5, 1199.5]},
        {"size": list(DIMS), "counts": [None, 1200]},
        {"size": list(DIMS), "counts": [1201]},
        {"size": list(DIMS), "counts": "o" * 100},
        {"size": list(DIMS), "counts": "P" * 40},
        np.zeros((20, 20), np.uint8),
    ],
)
@pytest.mark.parametrize("box", [{}, {"bbox": [1, 1, 5, 5]}])
def test_a_mask_that_does_not_fit_its_image_is_an_error_with_the_annotation(tmp_path, raw, box):
    sampler = ndsampler.CocoSampler(dataset(tmp_path, [{"segmentation": raw, **box}]))
    for load in (sampler.load_sample, sampler.load_annots):
        with pytest.raises(ArgumentError, match="annotation 3 of image 6 has malformed geometry"):
            load({"gid": 6})
    with pytest.raises(ArgumentError, match="annotation 3 of image 6"):
        sampler.regions.get_segmentations([3])


def test_the_size_of_an_image_that_the_dataset_does_not_state_is_read_for_its_masks(tmp_path):
    dset = dataset(tmp_path, [{"bbox": [1, 1, 5, 5], "segmentation": {"size": [5, 5], "counts": [5, 20]}}])
    for img in dset.imgs.values():
        del img["width"], img["height"]
    with pytest.raises(ArgumentError, match="annotation 3 of image 6"):
        ndsampler.CocoSampler(dset).load_sample({"gid": 6})


def test_numbers_of_an_encoding_do_not_grow_without_bound():
    with pytest.raises(ValueError, match="number 2 of the run-length encoding is too large"):
        decode_counts("5" + "P" * 10_000)


# --- limits --------------------------------------------------------------------------------------


@pytest.fixture
def limits():
    """Return :func:`set_limits`; the limits are reset afterwards."""
    before = get_limits()
    yield set_limits
    set_limits(before)


@pytest.mark.parametrize(
    ("few", "geometry"),
    [
        (Limits(run_length=4), SHAPES["run lengths"][0]),
        (Limits(run_length=4), SHAPES["compressed"][0]),
        (Limits(vertices=2), SHAPES["polygon"][0]),
        (Limits(vertices=5), SHAPES["two polygons"][0]),
        (Limits(vertices=2), SHAPES["exterior"][0]),
        (Limits(vertices=2), SHAPES["keypoints"][0]),
        (Limits(vertices=1), SHAPES["new keypoints"][0]),
        (Limits(vertices=1), SHAPES["columns of keypoints"][0]),
    ],
)
@pytest.mark.parametrize("box", [{}, {"bbox": [1, 1, 5, 5]}])
def test_geometry_beyond_a_limit_is_an_error_with_the_annotation(tmp_path, limits, few, geometry, box):
    sampler = ndsampler.CocoSampler(dataset(tmp_path, [{**geometry, **box}]))
    limits(few)
    for read in (sampler.load_sample, sampler.load_annots):
        with pytest.raises(ArgumentError, match="annotation 3 of image 6 .*the limit is"):
            read({"gid": 6})
    limits(Limits())
    assert sampler.load_sample({"gid": 6})["annots"]["aids"].tolist() == [3]


@pytest.mark.parametrize("value", [0, -1, 1.5, None, True, "9"])
def test_a_limit_is_a_whole_number_above_zero(value):
    with pytest.raises(ArgumentError, match="the limit vertices is"):
        Limits(vertices=value)
    with pytest.raises(ArgumentError, match="the limits are"):
        set_limits({"vertices": 5})


def test_a_process_that_set_no_limits_takes_those_of_a_sampler(limits, monkeypatch):
    from ndsampler.utils import limits as module

    monkeypatch.setattr(module, "_CURRENT", module._Current(Limits()))
    adopt_limits(Limits(vertices=7))
    assert get_limits().vertices == 7
    set_limits(Limits(vertices=8))
    adopt_limits(Limits(vertices=9))
    assert get_limits().vertices == 8
