"""Step 1 of a sample: the user's dictionary under canonical names, its annotation expanded."""

from __future__ import annotations

import copy
import types
import warnings

import numpy as np
import pytest
from helpers_datasets import DIMS, ELSEWHERE, GRAY, NO_BOX, NULL_CATEGORY, PLAIN, RGB, STAR, stills

from ndsampler import CocoSampler
from ndsampler.errors import TargetError, UnknownIdError, UnknownTargetError
from ndsampler.sampling.target import ALIASES, MOVED_ARGUMENTS, normalize_target, take_arguments
from ndsampler.utils import deprecation

WINDOW = {"cx": 20, "cy": 12, "width": 9, "height": 6}


@pytest.fixture(scope="module")
def dset(tmp_path_factory):
    return stills(tmp_path_factory.mktemp("stills")).dset


@pytest.fixture(scope="module")
def sampler(dset):
    return CocoSampler(dset)


@pytest.fixture
def fresh_warnings(monkeypatch):
    """Let every warning of this process count as not yet given."""
    monkeypatch.setattr(deprecation, "_given", set())


def assert_same_sample(found, expected):
    np.testing.assert_array_equal(found["im"], expected["im"])
    np.testing.assert_array_equal(found["annots"]["aids"], expected["annots"]["aids"])
    np.testing.assert_array_equal(found["annots"]["rel_boxes"].data, expected["annots"]["rel_boxes"].data)


# --- copies and names ----------------------------------------------------------------------------


def test_the_callers_target_is_never_written_to(sampler):
    target = {"aid": PLAIN, "pad": [1, (2, 3)], "padkw": {"constant_values": 7}, "note": ["mine"]}
    before = copy.deepcopy(target)
    sample = sampler.load_sample(target)
    assert target == before
    assert list(target) == list(before)
    assert sample["target"] is not target
    assert sample["tr"] is sample["target"]


def test_a_frozen_mapping_is_a_target(dset):
    target = types.MappingProxyType({"gid": RGB, **WINDOW})
    assert normalize_target(target, dset) == {"gid": RGB, **WINDOW}


def test_given_keys_keep_their_order_and_inferred_ones_follow(dset):
    normal = normalize_target({"zeta": 1, "aid": PLAIN, "alpha": 2}, dset)
    assert list(normal) == ["zeta", "aid", "alpha", "gid", "cx", "cy", "width", "height", "category_id"]


def test_foreign_keys_come_back_untouched(sampler):
    mine = {"allow_augment": False, "main_idx": np.int64(4), "note": ["kept"], ("odd", 1): None}
    sample = sampler.load_sample({"gid": RGB, **WINDOW, **mine})
    assert {key: sample["target"][key] for key in mine} == mine
    assert sample["target"]["note"] is mine["note"]


@pytest.mark.parametrize(("alias", "key"), ALIASES.items())
def test_an_alias_stays_and_gives_its_canonical_key(dset, alias, key):
    value = RGB if key != "gids" else [RGB]
    normal = normalize_target({alias: value}, dset)
    assert normal == {alias: value, key: value}


def test_a_canonical_key_beats_its_alias(dset, sampler):
    assert normalize_target({"image_id": GRAY, "gid": RGB}, dset)["gid"] == RGB
    sample = sampler.load_sample({"image_id": GRAY, "gid": RGB})
    assert sample["im"].shape == (*DIMS, 3)
    assert sample["target"]["image_id"] == GRAY


def test_an_alias_fills_in_for_a_canonical_key_that_is_none(dset):
    assert normalize_target({"image_id": GRAY, "gid": None}, dset)["gid"] == GRAY


def test_an_alias_samples_what_its_canonical_key_does(sampler):
    expected = sampler.load_sample({"gid": RGB, **WINDOW})
    found = sampler.load_sample({"image_id": RGB, **WINDOW})
    assert_same_sample(found, expected)
    assert found["target"]["gid"] == RGB


# --- annotations ---------------------------------------------------------------------------------


def test_an_annotation_alone_says_image_center_size_and_category(dset):
    x, y, width, height = dset.anns[PLAIN]["bbox"]
    assert normalize_target({"aid": PLAIN}, dset) == {
        "aid": PLAIN,
        "gid": RGB,
        "cx": x + width / 2,
        "cy": y + height / 2,
        "width": width,
        "height": height,
        "category_id": STAR,
    }


def test_an_annotation_alone_samples_its_own_box(sampler, dset):
    for aid in (PLAIN, ELSEWHERE):
        x, y, width, height = dset.anns[aid]["bbox"]
        sample = sampler.load_sample({"aid": aid})
        assert sample["im"].shape[:2] == (height, width)
        assert sample["params"]["offset"].tolist() == [-x, -y]
        assert sample["annots"]["aids"][sample["target"]["annot_idx"]] == aid


@pytest.mark.parametrize("number", [int, np.int8, np.int32, np.uint16, np.int64])
def test_numpy_integers_serve_as_ids(sampler, number):
    aid, gid = number(PLAIN), number(RGB)
    assert_same_sample(sampler.load_sample({"aid": aid}), sampler.load_sample({"aid": PLAIN}))
    assert_same_sample(
        sampler.load_sample({"gid": gid, **WINDOW}), sampler.load_sample({"gid": RGB, **WINDOW})
    )


@pytest.mark.parametrize("stated", [{"gid": RGB}, {"cx": 3, "cy": 4}, {"width": 4}, {"category_id": 77}])
def test_what_the_target_states_wins_over_its_annotation(dset, stated):
    normal = normalize_target({"aid": PLAIN, **stated}, dset)
    assert {key: normal[key] for key in stated} == stated
    rest = normalize_target({"aid": PLAIN}, dset)
    assert {**rest, **stated} == normal


@pytest.mark.parametrize("key", ["gid", "cx", "cy", "width", "height", "category_id"])
def test_what_the_target_states_as_none_comes_from_its_annotation(dset, key):
    assert normalize_target({"aid": PLAIN, key: None}, dset) == normalize_target({"aid": PLAIN}, dset)


@pytest.mark.parametrize("place", [{"cx": 3, "cy": 4}, {"slices": (slice(0, 4), slice(0, 5))}])
@pytest.mark.parametrize("key", ["gid", "image_id"])
def test_a_window_with_a_place_of_its_own_may_lie_on_another_image_than_its_annotation(dset, key, place):
    assert normalize_target({"aid": PLAIN, key: GRAY, **place}, dset)["gid"] == GRAY


@pytest.mark.parametrize("keys", [{"gid": GRAY}, {"image_id": GRAY}, {"gid": GRAY, "cx": 4}])
@pytest.mark.parametrize("window_dims", [None, "square", (8, 8)])
def test_an_annotation_of_another_image_places_no_window(sampler, keys, window_dims):
    target = {"aid": PLAIN, "window_dims": window_dims, **keys}
    with pytest.raises(TargetError, match=f"annotation {PLAIN} belongs to image {RGB}, .* states gid {GRAY}"):
        sampler.load_sample(target)


# --- annotations that are not needed -------------------------------------------------------------

COMPLETE = [
    {"slices": (slice(0, 4), slice(0, 5))},
    {"space_slice": (slice(0, 4), slice(0, 5))},
    {"cx": 9, "cy": 9, "width": 4, "height": 3},
    {"cx": 9, "cy": 9, "window_dims": (3, 4)},
]


@pytest.mark.parametrize("aid", [9999, "first", 1.5, float("nan"), 2**70])
@pytest.mark.parametrize("place", COMPLETE)
def test_an_unknown_annotation_beside_a_complete_window_is_kept(sampler, aid, place):
    sample = sampler.load_sample({"gid": RGB, "aid": aid, **place})
    assert_same_sample(sample, sampler.load_sample({"gid": RGB, **place}))
    assert sample["target"]["aid"] is aid
    assert sample["target"]["annot_idx"] == -1


@pytest.mark.parametrize("place", COMPLETE)
def test_an_annotation_without_a_box_beside_a_complete_window_gives_image_and_category(sampler, dset, place):
    sample = sampler.load_sample({"aid": NO_BOX, **place})
    assert_same_sample(sample, sampler.load_sample({"gid": RGB, **place}))
    assert sample["target"]["category_id"] == dset.anns[NO_BOX]["category_id"]


@pytest.mark.parametrize("place", [{}, {"cx": 9, "cy": 9}, {"cx": 9, "window_dims": (3, 4)}])
def test_an_unknown_annotation_beside_an_incomplete_window_is_refused(dset, place):
    with pytest.raises(UnknownTargetError, match="aid is 9999; expected an annotation id of the dataset: "):
        normalize_target({"gid": RGB, "aid": 9999, **place}, dset)


def test_an_unknown_annotation_names_no_image(dset):
    with pytest.raises(UnknownTargetError, match="aid is 9999"):
        normalize_target({"aid": 9999, **WINDOW}, dset)


# --- a box in the target -------------------------------------------------------------------------


@pytest.mark.parametrize("aid", [{}, {"aid": None}, {"aid": -1}])
@pytest.mark.parametrize("box", [[3, 4, 12, 9], (3.5, 4.25, 5.2, 7.7), np.array([3, 4, 12, 9])])
def test_a_box_places_the_window(sampler, box, aid):
    x, y, width, height = (float(value) for value in box)
    same = {"cx": x + width / 2, "cy": y + height / 2, "width": width, "height": height}
    sample = sampler.load_sample({"gid": RGB, "bbox": box, **aid})
    assert_same_sample(sample, sampler.load_sample({"gid": RGB, **same}))
    assert {key: sample["target"][key] for key in same} == same
    assert sample["target"]["bbox"] is box


def test_an_annotation_of_the_dataset_is_a_target(sampler, dset):
    assert_same_sample(sampler.load_sample(dset.anns[PLAIN]), sampler.load_sample({"aid": PLAIN}))


@pytest.mark.parametrize("size", [{"window_dims": (8, 6)}, {"window_dims": "square"}, {"width": 4}])
def test_the_size_of_a_window_around_a_box_may_be_stated(sampler, size):
    expected = sampler.load_sample({"aid": PLAIN, **size})
    assert_same_sample(sampler.load_sample({"gid": RGB, "bbox": [3, 4, 12, 9], **size}), expected)


@pytest.mark.parametrize("box", [[30, 20, 5, 5], "no box", None, [1, 2, 3]])
@pytest.mark.parametrize("place", [*COMPLETE, {"aid": PLAIN}])
def test_a_box_beside_another_place_is_a_foreign_key(sampler, place, box):
    sample = sampler.load_sample({"gid": RGB, **place, "bbox": box})
    assert_same_sample(sample, sampler.load_sample({"gid": RGB, **place}))
    assert sample["target"]["bbox"] is box


@pytest.mark.parametrize("key", ["slices", "space_slice"])
def test_with_slices_the_annotation_gives_image_and_category_only(dset, key):
    slices = (slice(0, 4), slice(0, 5))
    normal = normalize_target({"aid": PLAIN, key: slices}, dset)
    assert normal == {"aid": PLAIN, key: slices, "gid": RGB, "category_id": STAR}


@pytest.mark.parametrize("aid", [-1, np.int64(-1), None])
def test_the_placeholder_of_negatives_is_no_annotation(dset, aid):
    target = {"aid": aid, "gid": RGB, **WINDOW}
    assert normalize_target(target, dset) == target


def test_a_category_of_none_stays_none(dset):
    assert normalize_target({"aid": NULL_CATEGORY}, dset)["category_id"] is None


def test_an_annotation_without_a_box_is_refused_until_a_window_is_given(sampler):
    with pytest.raises(TargetError, match=rf"annotation {NO_BOX} of image {RGB} has no 'bbox'.*'slices'"):
        sampler.load_sample({"aid": NO_BOX})
    with pytest.raises(TargetError, match="give width, height"):
        sampler.load_sample({"aid": NO_BOX, "cx": 3, "cy": 4})
    assert sampler.load_sample({"aid": NO_BOX, **WINDOW})["im"].shape == (6, 9, 3)
    assert sampler.load_sample({"aid": NO_BOX, "slices": (slice(0, 4), slice(0, 5))})["im"].shape == (4, 5, 3)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", [None, [RGB], "image", 3, {RGB}])
def test_what_is_no_dictionary_is_refused(dset, target):
    with pytest.raises(TargetError, match="target is .*expected a dictionary"):
        normalize_target(target, dset)


@pytest.mark.parametrize("target", [{}, {"gid": None}, {"cx": 3, "cy": 4}, {"aid": -1}, {"annot_id": PLAIN}])
def test_a_target_without_an_image_is_refused(dset, target):
    with pytest.raises(TargetError, match="names no image; expected a key 'gid'"):
        normalize_target(target, dset)


def test_a_huge_target_is_shortened_in_the_message(dset):
    with pytest.raises(TargetError) as caught:
        normalize_target({"note": "x" * 10_000}, dset)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("aid", [9999, "first", 1.5, [PLAIN], float("nan")])
def test_an_unknown_annotation_is_a_key_error_and_a_value_error(dset, aid):
    with pytest.raises(UnknownTargetError, match="aid is .*expected an annotation id") as caught:
        normalize_target({"aid": aid}, dset)
    assert repr(aid) in str(caught.value)
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("gid", [9999, "first", [RGB], 0.5, -1])
def test_an_unknown_image_is_a_key_error_that_names_it(sampler, gid):
    with pytest.raises(UnknownIdError, match="image id is .*expected one of the 7 ids") as caught:
        sampler.load_sample({"gid": gid})
    assert repr(gid) in str(caught.value)
    assert isinstance(caught.value, KeyError)


# --- arguments of earlier releases ---------------------------------------------------------------


OLD_VALUES = {"pad": (2, 3), "padkw": {"constant_values": 9}, "dtype": "float32", "nodata": "float"}


def test_every_moved_argument_has_a_value_here():
    assert set(OLD_VALUES) == set(MOVED_ARGUMENTS)


@pytest.mark.parametrize(("key", "value"), OLD_VALUES.items())
def test_a_moved_argument_means_the_key_of_the_target(sampler, fresh_warnings, key, value):
    target = {"gid": RGB, "slices": (slice(-2, 6), slice(40, 60))}
    with pytest.warns(FutureWarning, match=f"{key} is now the key '{key}' of the target"):
        found = sampler.load_sample(target, **{key: value})
    assert key not in target
    expected = sampler.load_sample({**target, key: value})
    assert found["im"].dtype == expected["im"].dtype
    assert_same_sample(found, expected)
    assert found["target"][key] == value


def test_an_argument_beats_the_key_of_the_target(sampler, fresh_warnings):
    with pytest.warns(FutureWarning):
        sample = sampler.load_sample({"gid": RGB, **WINDOW, "pad": 9}, pad=1)
    assert sample["params"]["pad"] == (1, 1)


def test_tr_is_the_old_name_of_target(sampler, fresh_warnings):
    with pytest.warns(FutureWarning, match="tr is now called target"):
        found = sampler.load_sample(tr={"gid": RGB, **WINDOW})
    assert_same_sample(found, sampler.load_sample({"gid": RGB, **WINDOW}))


def test_a_target_beats_tr(fresh_warnings):
    with pytest.warns(FutureWarning):
        assert take_arguments({"gid": 1}, {"tr": {"gid": 2}}) == {"gid": 1}


@pytest.mark.parametrize(
    "kwargs", [{"tr": {"gid": RGB}}, *({key: value} for key, value in OLD_VALUES.items())]
)
def test_an_old_argument_warns_once_in_a_process(sampler, fresh_warnings, kwargs):
    args = () if "tr" in kwargs else ({"gid": RGB, **WINDOW},)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            sampler.load_sample(*args, **kwargs)
            sampler.load_positive(0, **kwargs)
            sampler.load_item(1, **kwargs)
            sampler.load_negative(rng=0, **kwargs)
    old = [warning for warning in caught if issubclass(warning.category, FutureWarning)]
    assert len(old) == 1
    assert next(iter(kwargs)) in str(old[0].message)


def test_each_old_argument_warns_for_itself(sampler, fresh_warnings):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            sampler.load_sample(tr={"gid": RGB, **WINDOW}, **OLD_VALUES)
    assert sum(issubclass(warning.category, FutureWarning) for warning in caught) == 5


def test_modern_calls_do_not_warn(sampler, fresh_warnings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler.load_sample({"gid": RGB, **WINDOW, **OLD_VALUES}, with_annots=False, visible_thresh=0.5)
        sampler.load_sample(target={"image_id": RGB, **WINDOW}, with_annots="boxes", annot_ids=[PLAIN])
        sampler.load_positive(0, target={"pad": 3})
        sampler.load_negative(rng=0, target={"window_dims": (3, 4)})
        sampler.load_item(0)


def test_an_unknown_argument_is_named_in_a_warning_and_ignored(sampler):
    expected = sampler.load_sample({"gid": RGB, **WINDOW})
    with pytest.warns(UserWarning, match="unknown arguments are ignored: colour, window_dims"):
        found = sampler.load_sample({"gid": RGB, **WINDOW}, window_dims=(3, 3), colour="red")
    assert_same_sample(found, expected)
    assert "colour" not in found["target"]


def test_the_target_itself_is_returned_when_no_argument_moves_into_it():
    target = {"gid": 1}
    assert take_arguments(target, {}) is target
