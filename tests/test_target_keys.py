"""Keys of a target that nothing reads: kept in silence, unless they are probably misspelled."""

from __future__ import annotations

import pathlib
import re
import warnings

import kwcoco
import pytest
from helpers_datasets import RGB, stills
from helpers_processes import run_python
from kwcoco.coco_schema import COCO_SCHEMA

from ndsampler import CocoSampler
from ndsampler.sampling import keys
from ndsampler.sampling.keys import KNOWN_KEYS, READ_KEYS, find_meant

TARGET = {"gid": RGB, "cx": 20, "cy": 12, "width": 9, "height": 6}

#: Misspelled keys and what was meant.
MISSPELLED = {
    "chanels": "channels",
    "channel": "channels",
    "Channels": "channels",
    "windowdims": "window_dims",
    "window_dim": "window_dims",
    "windows_dims": "window_dims",
    "space_slices": "space_slice",
    "spaceslice": "space_slice",
    "timeslice": "time_slice",
    "slice": "slices",
    "widht": "width",
    "hieght": "height",
    "scales": "scale",
    "interpolaton": "interpolation",
    "anti_alias": "antialias",
    "no_data": "nodata",
    "dtpye": "dtype",
    "pad_kw": "padkw",
    "asxarray": "as_xarray",
    "use_nativescale": "use_native_scale",
    "finalise": "finalize",
    "img_id": None,
    "imageid": "image_id",
    "GID": "gid",
    "g_id": "gid",
    "CX": "cx",
}

#: Keys that programs add to targets, such as netharn, geowatch and kwcoco_dataloader, and names that any
#: program might choose.
FOREIGN = (
    "aids aid_list allow_augment main_idx main_gid main_skip_reason label labels weight weights dist_weights "
    "resampled resolved_index requested_index frame_index frame_indexes fliprot_params video_name vidname "
    "sensor sensor_coarse input_space_scale output_space_scale force_bad_frames mask_low_quality "
    "quality_threshold observable_threshold output_type robust_normalize SAMECOLOR_BANDS PROPAGATE_NAN_BANDS "
    "FORCE_LOADING_BAD_IMAGES verbose_ndsample _input_gsd _native_video_gsd _our_norm cxywh class_idxs "
    "annot_id annotation_id name note index idx split fold difficulty weather camera time date region box "
    "x y w h images videos area score prob track_id segmentation keypoints caption iscrowd category "
    "category_id category_name "
    "img_width img_height rel_cx rel_cy annot_idx space_dims data_dims real_frames space_scale"
)


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    return CocoSampler(stills(tmp_path_factory.mktemp("stills")).dset)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Let every key of this process count as not yet seen."""
    monkeypatch.setattr(keys, "_settled", set(KNOWN_KEYS))


def warned(sampler, target):
    """Return the messages of the warnings that a target gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sampler.load_sample(target, with_annots=False)
    return [str(warning.message) for warning in caught]


def schema_keys(schema):
    """Return every key that a kwcoco dataset may hold."""
    if isinstance(schema, dict):
        own = list(schema.get("properties") or ()) if isinstance(schema.get("properties"), dict) else []
        return own + [key for value in schema.values() for key in schema_keys(value)]
    return (
        [key for value in schema for key in schema_keys(value)] if isinstance(schema, (list, tuple)) else []
    )


@pytest.mark.parametrize(("key", "meant"), MISSPELLED.items())
def test_a_key_that_resembles_a_known_one_warns_once_and_names_it(sampler, key, meant):
    expected = (
        [] if meant is None else [f"the target has a key {key!r}, which is ignored; did you mean {meant!r}?"]
    )
    assert warned(sampler, {**TARGET, key: None}) == expected
    assert warned(sampler, {**TARGET, key: 3}) == []


def test_each_misspelled_key_of_a_target_is_named(sampler):
    found = warned(sampler, {**TARGET, "chanels": "r", "mine": 1, "windowdims": (3, 3)})
    assert sorted(re.findall(r"mean '(\w+)'", " ".join(found))) == ["channels", "window_dims"]


def test_the_warning_points_at_the_line_of_the_program(sampler):
    with pytest.warns(UserWarning, match="did you mean 'channels'") as caught:
        sampler.load_sample({**TARGET, "chanels": "r"})
    assert pathlib.Path(caught[0].filename) == pathlib.Path(__file__)


@pytest.mark.parametrize("key", FOREIGN.split())
def test_foreign_keys_are_kept_in_silence(sampler, key):
    target = {**TARGET, key: None}
    assert warned(sampler, target) == []
    assert key in sampler.load_sample(target)["target"]


def test_keys_of_kwcoco_are_silent(sampler):
    for key in {
        *schema_keys(dict(COCO_SCHEMA)),
        *kwcoco.CocoDataset.demo("vidshapes2-multispectral").imgs[1],
    }:
        assert find_meant(key) is None or key in KNOWN_KEYS


def test_keys_that_this_library_writes_are_silent(sampler):
    sampler.preselect(n_neg=2, rng=0)
    targets = [sampler.load_item(index)["target"] for index in range(sampler.n_samples)]
    targets.append(sampler._infer_target_attributes({"gids": [RGB]}))
    for grid in (
        sampler.new_sample_grid("image_detection", (16, 16)),
        CocoSampler.demo("vidshapes1", num_frames=3).new_sample_grid("video_detection", (2, 16, 16)),
    ):
        targets += grid["positives"] + grid["negatives"]
    assert {key for target in targets for key in target} <= KNOWN_KEYS
    assert set(READ_KEYS) <= KNOWN_KEYS


@pytest.mark.parametrize("key", [3, ("chanels",), None, 2.5, ""])
def test_keys_that_are_no_words_are_kept_in_silence(sampler, key):
    assert warned(sampler, {**TARGET, key: 1}) == []


def test_a_known_target_compares_nothing(sampler, monkeypatch):
    def compare(key):
        raise AssertionError(f"{key} was compared")

    sampler.load_sample({**TARGET, "mine": 1})
    monkeypatch.setattr(keys, "find_meant", compare)
    sampler.load_sample({**TARGET, "mine": 2, "main_idx": 3})


def test_remembered_keys_are_bounded(sampler, monkeypatch):
    monkeypatch.setattr(keys, "MAX_REMEMBERED", 5)
    for index in range(20):
        sampler.load_sample({**TARGET, f"{index} of mine": 1}, with_annots=False)
    assert len(keys._settled) <= len(KNOWN_KEYS) + 5
    assert keys._settled >= KNOWN_KEYS


def test_the_environment_silences_the_warning():
    program = (
        "import warnings; warnings.simplefilter('error')\n"
        "from ndsampler.sampling.keys import check_keys\n"
        "check_keys({'chanels': 1})"
    )
    silent = run_python("-c", program, env={"NDSAMPLER_DISABLE_WARNINGS": "1"})
    assert (silent.returncode, silent.stderr) == (0, "")
    assert "did you mean 'channels'" in run_python("-c", program).stderr
