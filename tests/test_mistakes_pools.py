"""Typical mistakes with pools and grids: each is an error of the library that says what to do instead."""

from __future__ import annotations

import kwcoco
import kwimage
import numpy as np
import pytest
from helpers_pools import make_dataset

from ndsampler import CocoRegions, FrameIntersectionIndex, NDSamplerError, select_positive_regions
from ndsampler.errors import MissingNegativePool, OutOfRangeError

NAN, INF = float("nan"), float("inf")

BOXES = {1: [[5, 5, 20, 10], [40, 30, 15, 15]], 2: [[60, 20, 10, 30]], 3: []}


@pytest.fixture(scope="module")
def regions():
    """Regions of three images with three boxes, and a pool of two negatives."""
    regions = CocoRegions(make_dataset(BOXES))
    regions.preselect(n_neg=2, window_dims=(5, 6), rng=0)
    return regions


@pytest.fixture(scope="module")
def bare():
    """The same without a pool."""
    return CocoRegions(make_dataset(BOXES))


@pytest.fixture(scope="module")
def empty():
    """Regions of a dataset without images."""
    return CocoRegions(kwcoco.CocoDataset())


def grid(regions, **kwargs):
    return regions.new_sample_grid(**{"task": "image_detection", "window_dims": (20, 30), **kwargs})


def negatives(regions, **kwargs):
    return regions.isect_index.random_negatives(**{"num": 2, "window_size": (5, 6), "rng": 0, **kwargs})


#: What the table calls: the name of a fixture, and a call on it.
CALLS = {
    "item": ("regions", lambda regions, *args, **kw: regions.get_item(*args, **kw)),
    "positive": ("regions", lambda regions, *args, **kw: regions.get_positive(*args, **kw)),
    "negative": ("regions", lambda regions, *args, **kw: regions.get_negative(*args, **kw)),
    "bare item": ("bare", lambda regions, *args, **kw: regions.get_item(*args, **kw)),
    "bare negative": ("bare", lambda regions, *args, **kw: regions.get_negative(*args, **kw)),
    "empty item": ("empty", lambda regions, *args, **kw: regions.get_item(*args, **kw)),
    "empty positive": ("empty", lambda regions, *args, **kw: regions.get_positive(*args, **kw)),
    "empty negative": ("empty", lambda regions, *args, **kw: regions.get_negative(*args, **kw)),
    "preselect": ("bare", lambda regions, **kw: regions.preselect(**kw)),
    "grid": ("bare", grid),
    "video grid": ("bare", lambda regions, **kw: grid(regions, task="video_detection", **kw)),
    "negatives": ("bare", negatives),
    "overlap": ("bare", lambda regions, *args, **kw: regions.overlapping_aids(*args, **kw)),
    "select": ("bare", lambda regions, **kw: select_positive_regions(regions.targets, **kw)),
    "segmentations": ("bare", lambda regions, aids: regions.get_segmentations(aids)),
    "class name": ("bare", lambda regions, cid: regions.lookup_class_name(cid)),
    "class id": ("bare", lambda regions, name: regions.lookup_class_id(name)),
}

BOX = kwimage.Boxes([[0, 0, 50, 50]], "xywh")

#: (call, positional arguments, keyword arguments, the builtin to catch, words that the message must hold).
MISTAKES = [
    ("item", (9999,), {}, IndexError, "index 9999 is out of bounds for 5 targets.*from -5 to 4"),
    ("item", (-6,), {}, IndexError, "index -6 is out of bounds.*from -5 to 4"),
    ("item", ("a",), {}, TypeError, "index is 'a'; expected a whole number.*None for a random one"),
    ("item", (1.5,), {}, TypeError, "index is 1.5; expected a whole number"),
    ("item", ([1],), {}, TypeError, r"index is \[1\]; expected a whole number"),
    ("item", (True,), {}, TypeError, "index is True; expected a whole number"),
    ("item", (None,), {"rng": [1]}, TypeError, r"rng is \[1\]; expected None, a whole number"),
    ("positive", (9999,), {}, IndexError, "index 9999 is out of bounds for 3 positives"),
    ("positive", ("3",), {}, TypeError, "index is '3'; expected a whole number"),
    ("positive", (slice(0, 2),), {}, TypeError, "index is slice.*expected a whole number"),
    ("negative", (2,), {}, IndexError, "index 2 is out of bounds for 2 preselected negatives"),
    ("negative", ("a",), {}, TypeError, "index is 'a'; expected a whole number"),
    ("bare item", (3,), {}, AssertionError, r"index 3 is out of bounds for 3 positives.*preselect\(n_neg="),
    ("bare item", (3,), {}, IndexError, "no pool of negatives"),
    ("bare negative", (0,), {}, AssertionError, r"negative 0 was requested.*preselect\(n_neg=...\)"),
    ("bare negative", ("a",), {}, TypeError, "index is 'a'; expected a whole number"),
    ("empty positive", (), {}, ValueError, "there are none.*add annotations with boxes"),
    ("empty positive", (0,), {}, IndexError, "index 0 is out of bounds for 0 positives"),
    ("empty item", (None,), {}, ValueError, "there are none"),
    ("empty item", (0,), {}, IndexError, "index 0 is out of bounds for 0 positives"),
    ("empty negative", (), {}, ValueError, "no annotation has a box.*give window_dims to preselect"),
    ("preselect", (), {"n_pos": "all"}, ValueError, "n_pos='all'; expected a whole number"),
    ("preselect", (), {"n_pos": 2.5}, ValueError, "n_pos=2.5; expected a whole number"),
    ("preselect", (), {"n_neg": NAN}, ValueError, "n_neg=nan; expected a whole number"),
    ("preselect", (), {"n_neg": INF}, ValueError, "n_neg=inf; expected a whole number"),
    ("preselect", (), {"n_neg": [3]}, ValueError, r"n_neg=\[3\]; expected a whole number"),
    ("preselect", (), {"n_neg": 10**12}, ValueError, "expected a whole number from 0 to 1,000,000,000"),
    ("preselect", (), {"neg_to_pos_ratio": -0.5}, ValueError, "neg_to_pos_ratio=-0.5; expected the number"),
    ("preselect", (), {"neg_to_pos_ratio": NAN}, ValueError, "neg_to_pos_ratio=nan.*for each positive"),
    ("preselect", (), {"neg_to_pos_ratio": INF}, ValueError, "neg_to_pos_ratio=inf"),
    ("preselect", (), {"neg_to_pos_ratio": "2"}, ValueError, "neg_to_pos_ratio='2'; expected the number"),
    ("preselect", (), {"neg_to_pos_ratio": 1e300}, ValueError, r"n_pos \* neg_to_pos_ratio=.*expected a"),
    ("preselect", (), {"n_neg": 1, "neg_to_pos_ratio": 1}, ValueError, "leave out the other"),
    ("preselect", (), {"n_neg": 1, "window_dims": "big"}, ValueError, "window_dims is 'big'.*height, width"),
    ("preselect", (), {"n_neg": 1, "window_dims": ("a", "b")}, ValueError, "give a pair of numbers"),
    ("preselect", (), {"n_neg": 1, "window_dims": (NAN, 5)}, ValueError, r"window_dims is \(nan, 5\)"),
    ("preselect", (), {"n_neg": 1, "window_dims": (5, 5, 3)}, ValueError, "give a pair of numbers"),
    ("preselect", (), {"n_pos": 1, "window_dims": (0, 5)}, ValueError, "in pixels above 0"),
    (
        "preselect",
        (),
        {"rng": [1, 2]},
        TypeError,
        r"rng is \[1, 2\].*RandomState or a numpy.random.Generator",
    ),
    ("grid", (), {"task": "image_classification"}, NotImplementedError, "choose 'image_detection'"),
    ("grid", (), {"task": ["image_detection"]}, NotImplementedError, r"task \['image_detection'\]"),
    ("grid", (), {"task": None}, NotImplementedError, "the task None; expected one of"),
    ("grid", (), {"window_overlap": 1}, ValueError, r"window_overlap is 1.*range \[0, 1\)"),
    ("grid", (), {"window_overlap": 1.5}, ValueError, "give 0 for windows side by side"),
    ("grid", (), {"window_overlap": NAN}, ValueError, "window_overlap is nan"),
    ("grid", (), {"window_overlap": "half"}, ValueError, "window_overlap is 'half'"),
    ("grid", (), {"window_overlap": (0.1, 0.1, 0.1)}, ValueError, r"one each for \(height, width\)"),
    ("grid", (), {"window_dims": (20, 30, 3)}, ValueError, "window_dims is .*give one per axis"),
    ("grid", (), {"window_dims": (NAN, 30)}, ValueError, "whole numbers above 0"),
    ("grid", (), {"window_dims": "whole"}, ValueError, "'full' for the whole length"),
    ("grid", (), {"legacy": np.array([1, 0])}, ValueError, "legacy is array.*expected True or False"),
    ("grid", (), {"use_annots": np.array([1, 0])}, ValueError, "use_annots is array.*expected True or False"),
    ("grid", (), {"classes_of_interest": [3]}, ValueError, "classes_of_interest contains 3; expected names"),
    ("grid", (), {"negative_classes": 5}, ValueError, "negative_classes contains 5; expected names"),
    ("grid", (), {"ignore_coverage_thresh": NAN}, ValueError, "ignore_coverage_thresh=nan; expected a frac"),
    ("grid", (), {"overlap": 0.5}, TypeError, "no option 'overlap'; expected some of.*legacy"),
    ("video grid", (), {"window_dims": (20, 30)}, ValueError, r"expected \(frames, height, width\)"),
    ("video grid", (), {"window_dims": 5, "space_dims": (9, 9)}, ValueError, "got window_dims=5 and"),
    ("video grid", (), {"window_dims": None, "space_dims": 5.5}, ValueError, "space_dims=5.5; expected"),
    ("negatives", (), {"num": "two"}, ValueError, "num='two'; expected a whole number"),
    ("negatives", (), {"num": 2.5}, ValueError, "num=2.5; expected a whole number"),
    ("negatives", (), {"thresh": NAN}, ValueError, "thresh=nan; expected the fraction of a negative"),
    ("negatives", (), {"thresh": "0"}, ValueError, "thresh='0'; expected the fraction of a negative"),
    ("negatives", (), {"gids": 1}, ValueError, "gids is 1; expected a list of image ids"),
    ("negatives", (), {"gids": "1"}, ValueError, "gids is '1'; expected a list of image ids"),
    ("negatives", (), {"gids": ["1"]}, KeyError, "no image has the id '1'; .*ids 1 to 3"),
    ("negatives", (), {"patience": NAN}, ValueError, "patience=nan; expected a whole number"),
    ("overlap", (1, BOX, 1.5), {}, ValueError, "visible_thresh is 1.5; expected a fraction from 0 to 1"),
    ("overlap", (1, BOX, -0.1), {}, ValueError, "visible_thresh is -0.1; expected a fraction from 0 to 1"),
    ("overlap", (1, BOX, NAN), {}, ValueError, "visible_thresh is nan"),
    ("overlap", (1, BOX, "1"), {}, ValueError, "visible_thresh is '1'"),
    ("overlap", (1, (0, 0, 5, 5)), {}, TypeError, r"expected kwimage.Boxes"),
    ("overlap", ([1], BOX), {}, KeyError, r"no image has the id \[1\]"),
    ("select", (), {"thresh": "none"}, ValueError, "thresh is 'none'; expected an overlap from 0 to 1"),
    ("select", (), {"window_dims": 30}, ValueError, "window_dims is 30.*give a pair of numbers"),
    ("segmentations", (1,), {}, TypeError, "aids is 1; expected a list of annotation ids"),
    ("segmentations", ([99],), {}, KeyError, "no annotation has the id 99"),
    ("class name", ([1],), {}, KeyError, r"no category has the id \[1\]; expected one of \[1\]"),
    ("class id", ("thin",), {}, KeyError, "no category has the name 'thin'; expected one of .*'thing'"),
]


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "builtin", "words"),
    MISTAKES,
    ids=[f"{n}-{name}" for n, (name, *_) in enumerate(MISTAKES)],
)
def test_a_mistake_is_reported_with_the_way_out(name, args, kwargs, builtin, words, request):
    fixture, call = CALLS[name]
    with pytest.raises(builtin, match=words) as caught:
        call(request.getfixturevalue(fixture), *args, **kwargs)
    assert isinstance(caught.value, NDSamplerError)


@pytest.mark.parametrize(
    "region",
    [
        "everywhere",
        5,
        {"a": 1},
        [[0, 0, 9, 9]],
        [[0, 0, 9]],
        [[0, 0, NAN, 5, 9, 9]],
        [[0, 0, INF, 5, 9, 9]],
        [["a", "b", "c", "d", "e", "f"]],
    ],
)
def test_a_valid_region_that_is_no_polygon_is_reported_with_its_image(region):
    dset = make_dataset({1: [], 2: [[1, 1, 5, 5]]})
    dset.imgs[1]["valid_region"] = region
    index = FrameIntersectionIndex.from_coco(dset)
    with pytest.raises(
        ValueError, match="image 1: its valid_region is .*polygons of at least three"
    ) as caught:
        index.random_negatives(1, window_size=(2, 2))
    assert isinstance(caught.value, NDSamplerError)
    assert len(index.random_negatives(1, window_size=(2, 2), gids=[2])[0]) == 1


def test_positions_count_from_the_end_too(regions, bare):
    items = [regions.get_item(i) for i in range(5)]
    assert [regions.get_item(i - 5) for i in range(5)] == items
    assert items[-1] == regions.get_negative(1) == regions.get_negative(-1)
    assert regions.get_item(np.int64(-1)) == regions.get_item(np.array(4)) == items[-1]
    assert bare.get_item(-1) == bare.get_positive(-1) == bare.get_positive(2)
    assert issubclass(MissingNegativePool, IndexError)
    assert issubclass(OutOfRangeError, IndexError)


def test_what_is_no_mistake_works(bare):
    assert bare.preselect(n_pos=2.0, n_neg=np.int64(1), window_dims=np.array([5, 6]), rng=0) == (2, 1)
    assert bare.preselect(n_pos=10**6, neg_to_pos_ratio=np.float32(0.5), window_dims=[5.0, 6.0]) == (3, 1)
    assert bare.preselect(n_neg=0, window_dims="square") == (3, 0)
    assert bare.overlapping_aids(1, BOX, 1) == bare.overlapping_aids(1, BOX, np.float64(1)) == []
    bare.preselect()
