"""Masks of annotations, beside what GDAL makes of the same polygons."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize as gdal_rasterize

from ndsampler import CategoryTree, CocoSampler
from ndsampler.errors import ArgumentError, UnknownOptionError
from ndsampler.training import label_names, label_numbers, rasterize
from ndsampler.training.masks import fill_polygon, instance_masks, valid_pixels

CATEGORIES = [{"id": 4, "name": "field"}, {"id": 9, "name": "tree"}, {"id": 2, "name": "pond"}]

WIDTH, HEIGHT = 60, 40

#: A field with a hole, a tree on the field, a pond beside it, and a box that reaches out of the image.
ANNOTATIONS = [
    {"category_id": 9, "segmentation": [[22.3, 12.2, 28.1, 15.7, 23.4, 19.9]], "bbox": [22, 12, 7, 8]},
    {
        "category_id": 4,
        "segmentation": {
            "exterior": [[3.2, 2.1], [39.6, 4.4], [37.3, 31.8], [5.5, 28.7]],
            "interiors": [[[10.1, 10.2], [16.3, 10.4], [15.2, 18.9]]],
        },
        "bbox": [3, 2, 37, 30],
    },
    {"category_id": 2, "segmentation": [[39.2, 5.3, 50.1, 9.9, 44.4, 20.2]], "bbox": [39, 5, 12, 16]},
    {"category_id": 4, "bbox": [52.4, 30.3, 20.0, 20.0]},
]


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    import kwimage

    folder = tmp_path_factory.mktemp("masks")
    kwimage.imwrite(folder / "a.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    annotations = [{"id": n, "image_id": 1, **ann} for n, ann in enumerate(ANNOTATIONS, 1)]
    image = {"id": 1, "file_name": str(folder / "a.png"), "width": WIDTH, "height": HEIGHT}
    return CocoSampler({"images": [image], "categories": CATEGORIES, "annotations": annotations})


def burn(shapes, dims=(HEIGHT, WIDTH)):
    """Return what GDAL makes of (polygon, value) pairs, the later ones on top."""
    return gdal_rasterize([(shapely.geometry.mapping(poly), value) for poly, value in shapes], dims, fill=0)


def polygons(offset=(0.0, 0.0)):
    """Return the annotations as polygons of shapely."""
    found = []
    for ann in ANNOTATIONS:
        sseg = ann.get("segmentation")
        if sseg is None:
            x, y, width, height = ann["bbox"]
            found.append(shapely.box(x, y, x + width, y + height))
        elif isinstance(sseg, dict):
            found.append(shapely.Polygon(sseg["exterior"], sseg["interiors"]))
        else:
            found.append(shapely.Polygon(np.reshape(sseg[0], (-1, 2))))
    return [shapely.affinity.translate(poly, -offset[0], -offset[1]) for poly in found]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(3, 12))
def test_a_polygon_is_filled_as_gdal_fills_it(seed, n):
    rng = np.random.default_rng(seed)
    ring = rng.uniform(-20, 50, (n, 2))
    mask = np.zeros((30, 35), np.uint8)
    rows, cols, inside = fill_polygon([ring], mask.shape)
    mask[rows, cols][inside] = 1
    assert np.array_equal(mask, burn([(shapely.Polygon(ring), 1)], (30, 35)))


def test_boxes_cover_the_pixels_whose_centers_they_hold():
    corners = np.array([[1.5, 2], [4.6, 2], [4.6, 5], [1.5, 5]])
    rows, cols, inside = fill_polygon([corners], (10, 10))
    assert (rows, cols) == (slice(2, 5), slice(1, 5))
    assert inside.all()
    outside = fill_polygon([corners + 100], (10, 10))
    assert outside[2].size == 0


@pytest.mark.parametrize("offset", [(0, 0), (-7, 5), (30, 20)])
def test_semantic_masks_show_labels_with_small_objects_on_top(sampler, offset):
    x, y = offset
    sample = sampler.load_sample({"gid": 1, "slices": (slice(y, y + HEIGHT), slice(x, x + WIDTH))})
    tree, field, pond, box = polygons(offset)
    expected = burn([(field, 1), (box, 1), (pond, 3), (tree, 2)]).astype(int)
    rows, cols = np.mgrid[y : y + HEIGHT, x : x + WIDTH]
    outside = (rows < 0) | (rows >= HEIGHT) | (cols < 0) | (cols >= WIDTH)
    assert np.array_equal(valid_pixels(sample), ~outside)
    expected[outside] = 255
    mask = rasterize(sample)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, expected)


def test_instances_and_boundaries(sampler):
    sample = sampler.load_sample({"gid": 1})
    tree, field, pond, box = polygons()
    order = {aid: number for number, aid in enumerate(sample["annots"]["aids"].tolist(), 1)}
    numbers = burn([(field, order[2]), (box, order[4]), (pond, order[3]), (tree, order[1])])
    assert np.array_equal(rasterize(sample, "instance"), numbers)
    padded = np.pad(numbers, 1, mode="edge")
    neighbors = [padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]]
    differs = np.any([numbers != other for other in neighbors], axis=0)
    assert np.array_equal(rasterize(sample, "boundary"), differs & (numbers > 0))
    masks = instance_masks(sample)
    for row, aid in enumerate(sample["annots"]["aids"].tolist()):
        assert np.array_equal(masks[row], burn([(polygons()[aid - 1], 1)]))


def test_windows_agree_on_the_pixels_that_they_share(sampler):
    whole = rasterize(sampler.load_sample({"gid": 1}))
    for top, left in ((0, 0), (7, 21), (13, 30)):
        window = (slice(top, top + 20), slice(left, left + 25))
        assert np.array_equal(rasterize(sampler.load_sample({"gid": 1, "slices": window})), whole[window])


def test_the_caller_chooses_labels_and_the_ignored_value(sampler):
    sample = sampler.load_sample({"gid": 1, "slices": (slice(0, HEIGHT), slice(-2, WIDTH))})
    mask = rasterize(sample, labels={4: 7, 9: 300}, ignore=1000)
    assert set(np.unique(mask)) == {0, 7, 300, 1000}
    assert (mask[:, :2] == 1000).all()
    assert set(np.unique(rasterize(sample, labels={4: 300, 9: 1, 2: 2}))) == {0, 1, 2, 300, 65535}
    assert set(np.unique(rasterize(sample, ignore=-100))) == {-100, 0, 1, 2, 3}


def test_videos_have_a_mask_for_each_frame():
    sampler = CocoSampler.demo("vidshapes2", num_frames=5)
    target = {"vidid": 1, "time_slice": slice(3, 6), "space_slice": (slice(-4, 600), slice(0, 600))}
    sample = sampler.load_sample({**target, "padkw": {"mode": "constant"}})
    valid = valid_pixels(sample)
    assert valid.shape == sample["im"].shape[:3]
    assert not valid[:, :4].any()
    assert valid[:2, 4:].all()
    assert not valid[2].any()
    mask, numbers = rasterize(sample), rasterize(sample, "instance")
    for frame in range(2):
        of_frame = np.flatnonzero(sample["annots"]["rel_frame_index"] == frame) + 1
        assert set(np.unique(numbers[frame])) <= {0, *of_frame.tolist()}
    assert (mask[~valid] == 255).all()
    assert ((numbers > 0) == (mask > 0))[valid].all()


def test_masked_pixels_are_not_valid(sampler):
    sample = dict(sampler.load_sample({"gid": 1}))
    pixels = np.ma.array(sample["im"], mask=False)
    pixels[3, 4] = np.ma.masked
    pixels[5, 6, 0] = np.ma.masked
    assert np.argwhere(~valid_pixels({**sample, "im": pixels})).tolist() == [[3, 4]]


def test_labels_count_from_one_unless_background_is_a_category():
    tree = CategoryTree.coerce([*CATEGORIES, {"id": 5, "name": "oak", "supercategory": "plant"}])
    assert label_numbers(tree) == {4: 1, 9: 2, 2: 3, 5: 4}
    assert label_names(tree) == ["background", "field", "tree", "pond", "oak"]
    tree = CategoryTree.coerce([CATEGORIES[0], {"id": 1, "name": "background"}, CATEGORIES[1]])
    assert label_numbers(tree) == {4: 1, 1: 0, 9: 2}


def test_masks_need_annotations_and_pixels(sampler):
    with pytest.raises(UnknownOptionError, match="kind is 'panoptic'; expected one of 'semantic'"):
        rasterize(sampler.load_sample({"gid": 1}), "panoptic")
    with pytest.raises(ArgumentError, match="load it with with_annots=True"):
        rasterize(sampler.load_sample({"gid": 1}, with_annots=False))
    video = CocoSampler.demo("vidshapes2", num_frames=5)
    sample = video.load_sample({"vidid": 1, "time_slice": slice(0, 1), "use_native_scale": True})
    with pytest.raises(ArgumentError, match="not a single array of pixels"):
        rasterize(sample)
