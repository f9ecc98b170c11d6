"""Making a sampler, and the properties that describe its dataset."""

from __future__ import annotations

import inspect
import pathlib

import kwcoco
import numpy as np
import pytest
from helpers_datasets import BOXED, DIMS, GRAY, PLAIN, RGB, one_image, stills
from helpers_images import random_pixels, write_png
from helpers_samples import TARGETS, assert_same_samples, load_all

from ndsampler import CategoryTree, CocoFrames, CocoRegions, CocoSampler
from ndsampler.dataset.opening import complete_photos
from ndsampler.errors import BackendError, UnknownIdError, UnsupportedTaskError

BACKENDS = [None, "npy", "cog", "auto", {"type": "cog", "config": {"compress": "LZW"}}]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return stills(tmp_path_factory.mktemp("stills"))


@pytest.fixture(scope="module")
def sampler(data):
    return CocoSampler(data.dset)


# --- making one ----------------------------------------------------------------------------------


def test_the_constructor_takes_what_programs_give_it():
    parameters = inspect.signature(CocoSampler).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert list(defaults.items())[1:5] == [
        ("workdir", None),
        ("autoinit", True),
        ("backend", None),
        ("verbose", 0),
    ]
    assert {name: parameters[name].kind.name for name in list(defaults)[5:]} == {
        "on_cache_error": "KEYWORD_ONLY",
        "trust": "KEYWORD_ONLY",
        "images": "KEYWORD_ONLY",
    }
    assert next(iter(defaults)) == "dset"


def test_a_sampler_holds_what_it_was_made_of(data, tmp_path):
    sampler = CocoSampler(data.dset, workdir=tmp_path, backend="npy")
    assert sampler.dset is data.dset
    assert sampler.workdir is tmp_path
    assert isinstance(sampler.regions, CocoRegions)
    assert isinstance(sampler.frames, CocoFrames)
    assert sampler.regions.dset is sampler.frames.dset is data.dset
    assert pathlib.Path(sampler.frames.cache_dpath).is_relative_to(tmp_path)
    assert sampler._backend == "npy"


@pytest.mark.parametrize("workdir", [str, pathlib.Path])
def test_the_workdir_is_a_string_or_a_path(data, tmp_path, workdir):
    sampler = CocoSampler(data.dset, workdir=workdir(tmp_path), backend="cog")
    sampler.load_sample({"gid": GRAY})
    assert list(tmp_path.rglob("*.cog.tiff"))


def test_without_a_backend_nothing_is_written(data, tmp_path):
    sampler = CocoSampler(data.dset, workdir=tmp_path)
    load_all(sampler)
    assert sampler.frames.cache_dpath is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_gives_the_same_samples(data, sampler, tmp_path, backend):
    assert_same_samples(
        load_all(CocoSampler(data.dset, workdir=tmp_path, backend=backend)), load_all(sampler)
    )


def test_without_autoinit_a_sampler_waits_for_init(data, sampler):
    late = CocoSampler(data.dset, autoinit=False)
    assert late.regions is None
    assert late.frames is None
    late.init()
    assert_same_samples(load_all(late), load_all(sampler))


@pytest.mark.parametrize(
    "backend", ["jpeg", {"type": "zarr", "config": {}}, {"type": "cog", "config": {"colour": 1}}]
)
def test_an_unknown_backend_or_setting_is_a_value_error(data, tmp_path, backend):
    with pytest.raises(BackendError, match="jpeg|zarr|colour") as caught:
        CocoSampler(data.dset, workdir=tmp_path, backend=backend)
    assert isinstance(caught.value, ValueError)


def test_two_samplers_share_a_workdir_without_meeting_each_others_pixels(tmp_path):
    pairs = []
    for seed in (1, 2):
        bundle = tmp_path / f"bundle{seed}"
        bundle.mkdir()
        pixels = random_pixels("uint8", 3, DIMS, seed=seed)
        write_png(bundle / "same_name.png", pixels)
        image = {"id": 1, "file_name": "same_name.png", "width": DIMS[1], "height": DIMS[0]}
        dset = kwcoco.CocoDataset(
            {"images": [image], "annotations": [], "categories": []}, bundle_dpath=bundle
        )
        pairs.append((CocoSampler(dset, workdir=tmp_path / "work", backend="npy"), pixels))
    for sampler, pixels in [*pairs, *pairs]:
        np.testing.assert_array_equal(sampler.load_sample({"gid": 1})["im"], pixels)


def test_two_samplers_of_one_dataset_are_independent(data):
    first, second = CocoSampler(data.dset), CocoSampler(data.dset)
    expected = load_all(second)
    first.preselect(n_pos=2, n_neg=1, rng=0)
    for sample in (first.load_sample(target) for target in TARGETS):
        sample["im"][...] = 0
        sample["annots"]["rel_boxes"].data[...] = 0
    assert_same_samples(load_all(second), expected)
    assert second.n_positives == len(BOXED) + 1


def test_before_init_there_are_no_classes(data):
    sampler = CocoSampler(data.dset, autoinit=False)
    assert (sampler.regions, sampler.frames) == (None, None)
    assert (sampler.classes, sampler.catgraph, sampler.BACKGROUND_CLASS_ID) == (None, None, None)
    sampler.init()
    assert isinstance(sampler.classes, CategoryTree)


def test_training_labels_are_the_positions_of_the_listed_categories():
    cats = [
        {"id": 18, "name": "dog", "supercategory": "animal"},
        {"id": 3, "name": "car", "supercategory": "vehicle"},
        {"id": 7, "name": "vehicle"},
        {"id": 1, "name": "person"},
    ]
    sampler = CocoSampler(kwcoco.CocoDataset({"images": [], "categories": cats}))
    assert sampler.class_index == sampler.regions.class_index == {18: 0, 3: 1, 7: 2, 1: 3}
    assert list(sampler.class_index) == sampler.class_ids
    # The tree has a node for the supercategory that is not listed, and so other indexes.
    assert len(sampler.classes.id_to_idx) == 5


# --- coerce and demo -----------------------------------------------------------------------------


def test_a_sampler_coerces_to_itself(sampler):
    assert CocoSampler.coerce(sampler) is sampler


def test_a_finished_sampler_refuses_new_settings(sampler):
    with pytest.raises(
        UnsupportedTaskError, match="backend, workdir cannot be changed on an existing sampler"
    ) as got:
        CocoSampler.coerce(sampler, workdir="elsewhere", backend="npy")
    assert isinstance(got.value, NotImplementedError)


@pytest.mark.filterwarnings(
    "ignore:Annotation .* is missing a category_id", "ignore:object of type 'NoneType'"
)
@pytest.mark.parametrize("form", [str, pathlib.Path])
def test_a_dataset_or_its_path_coerces_to_a_sampler(tmp_path, form):
    dset = stills(tmp_path).dset
    dset.fpath = str(tmp_path / "data.kwcoco.json")
    dset.dump(dset.fpath)
    made = CocoSampler.coerce(dset, workdir=tmp_path, backend="npy")
    assert made.dset is dset
    assert made.workdir is tmp_path
    read = CocoSampler.coerce(form(dset.fpath))
    assert_same_samples(load_all(read), load_all(made))


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    """Let demos write into a folder of this test."""
    for name in ("XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


def test_a_demo_can_be_sampled(empty_home, capsys):
    sampler = CocoSampler.demo("vidshapes1", num_frames=2, image_size=(24, 36), backend="npy")
    assert capsys.readouterr().out == ""
    assert sampler.n_images == 2
    assert pathlib.Path(sampler.workdir).is_relative_to(empty_home)
    sample = sampler.load_positive(rng=0)
    assert sample["im"].ndim == 3
    assert list(empty_home.rglob("*.npy"))
    assert CocoSampler.coerce("shapes1", workdir=empty_home).n_images == 1


def test_a_demo_takes_a_workdir(empty_home):
    assert CocoSampler.demo("shapes1", workdir=empty_home / "mine").workdir == empty_home / "mine"


def test_an_unknown_demo_is_a_key_error(empty_home):
    with pytest.raises(KeyError, match="nonsense"):
        CocoSampler.demo("nonsense")


def test_the_photographs_are_completed(tmp_path):
    path = write_png(tmp_path / "a.png", random_pixels("uint8", 3, (9, 12)))
    dset = one_image(path, (9, 12), [{"id": 1, "bbox": [1, 2, 3, 4]}, {"id": 2}])
    del dset.imgs[1]["width"], dset.imgs[1]["height"]
    complete_photos(dset)
    assert list(dset.anns) == [1]
    assert dset.index.name_to_cat["background"]["id"] == 0
    assert (dset.imgs[1]["height"], dset.imgs[1]["width"]) == (9, 12)
    assert CocoSampler(dset).BACKGROUND_CLASS_ID == 0


# --- what it tells -------------------------------------------------------------------------------


def test_properties_tell_what_the_dataset_holds(data, sampler):
    assert sampler.n_images == len(data.pixels) + 2
    assert sampler.n_annots == len(data.dset.anns)
    assert sampler.n_categories == 4
    assert sampler.n_positives == sampler.n_samples == len(sampler) == len(BOXED) + 1
    assert sampler.image_ids == sorted(data.dset.imgs)
    assert type(sampler.image_ids) is list
    assert sampler.class_ids == [cat["id"] for cat in data.dset.dataset["categories"]]
    assert sampler.BACKGROUND_CLASS_ID == 0
    assert repr(sampler).startswith(f"<CocoSampler({len(sampler)})")


def test_classes_are_trees(sampler):
    assert isinstance(sampler.classes, CategoryTree)
    assert sampler.catgraph is sampler.classes
    assert set(sampler.classes) == {"star", "shape", "figure", "child"}
    assert isinstance(sampler.kp_classes, CategoryTree)
    assert list(sampler.kp_classes) == ["head", "foot", "tail"]
    sample = sampler.load_sample({"gid": RGB})
    assert sample["classes"] is sampler.classes
    assert sample["kp_classes"] is sampler.kp_classes


def test_without_keypoint_categories_their_tree_is_empty(tmp_path):
    path = write_png(tmp_path / "a.png", random_pixels("uint8", 1, (5, 6)))
    sample = CocoSampler(one_image(path, (5, 6))).load_sample({"gid": 1})
    assert isinstance(sample["kp_classes"], CategoryTree)
    assert len(sample["kp_classes"]) == 0


def test_a_dataset_needs_no_categories_and_no_annotations(tmp_path):
    pixels = random_pixels("uint8", 3, (5, 6))
    path = write_png(tmp_path / "a.png", pixels)
    sampler = CocoSampler(kwcoco.CocoDataset({"images": [{"id": 1, "file_name": str(path)}]}))
    sample = sampler.load_sample({"gid": 1})
    np.testing.assert_array_equal(sample["im"], pixels)
    assert len(sample["classes"]) == len(sample["kp_classes"]) == len(sample["annots"]["aids"]) == 0


def test_categories_are_looked_up_by_id_and_name(sampler):
    for class_id in sampler.class_ids:
        assert sampler.lookup_class_id(sampler.lookup_class_name(class_id)) == class_id
    with pytest.raises(UnknownIdError, match="77"):
        sampler.lookup_class_name(77)
    with pytest.raises(UnknownIdError, match="dragon"):
        sampler.lookup_class_id("dragon")


def test_the_hash_depends_on_annotations_files_and_backend(tmp_path):
    hashes = set()
    for name, backend in (("a", None), ("a", "npy"), ("b", None)):
        (tmp_path / name).mkdir(exist_ok=True)
        sampler = CocoSampler(stills(tmp_path / name).dset, workdir=tmp_path, backend=backend)
        assert sampler.hashid == CocoSampler(sampler.dset, workdir=tmp_path, backend=backend).hashid
        hashes.add(sampler.hashid)
    sampler.dset.remove_annotations([PLAIN])
    hashes.add(CocoSampler(sampler.dset, workdir=tmp_path).hashid)
    assert len(hashes) == 4
    assert all(isinstance(text, str) for text in hashes)
    assert len(sampler._depends()) == 2
