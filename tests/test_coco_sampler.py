"""The sampler as a whole: pools, images, copies and workers."""

from __future__ import annotations

import concurrent.futures
import copy
import inspect
import multiprocessing
import os
import pathlib
import pickle

import kwarray
import kwcoco
import numpy as np
import pytest
from helpers_datasets import (
    ASSETS,
    BOXED,
    DEEP,
    DIMS,
    ELSEWHERE,
    EMPTY,
    FLOAT,
    GRAY,
    HOLES,
    NO_BOX,
    PLAIN,
    RGB,
    STAR,
    one_image,
    stills,
)
from helpers_images import random_pixels, write_png

import ndsampler
from ndsampler import CategoryTree, CocoFrames, CocoRegions, CocoSampler
from ndsampler.coco_sampler import _complete_photos
from ndsampler.errors import (
    ArgumentTypeError,
    BackendError,
    MissingNegativePool,
    MissingSourceError,
    SourceError,
    UnknownIdError,
    UnsupportedTaskError,
)

BACKENDS = [None, "npy", "cog", "auto", {"type": "cog", "config": {"compress": "LZW"}}]

TARGETS = [
    {"gid": RGB, "cx": 20, "cy": 12, "width": 9, "height": 60},
    {"aid": PLAIN, "window_dims": "square", "pad": (4, 2)},
    {"gid": DEEP, "slices": (slice(-5, 9), slice(3, 30)), "channels": "B8|B1"},
    {"gid": ASSETS, "scale": 0.5},
    {"gid": FLOAT, "nodata": "float"},
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return stills(tmp_path_factory.mktemp("stills"))


@pytest.fixture(scope="module")
def sampler(data):
    return CocoSampler(data.dset)


@pytest.fixture
def pooled(tmp_path):
    """Return a sampler of its own that may preselect."""
    return CocoSampler(stills(tmp_path).dset)


def load_all(sampler):
    """Return what tells samples of all kinds of targets apart."""
    return [_essence(sampler.load_sample(target)) for target in TARGETS]


def load_all_and_process(sampler):
    """Do the same in a worker, and tell which process it is."""
    return load_all(sampler), os.getpid()


def _essence(sample):
    annots = sample["annots"]
    ssegs = [sseg and sseg.to_coco(style="new") for sseg in annots["rel_ssegs"]]
    return {
        "im": sample["im"],
        "aids": annots["aids"],
        "boxes": annots["rel_boxes"].data,
        "ssegs": repr(ssegs),
        "target": repr(sample["target"]),
        "classes": list(sample["classes"]),
    }


def assert_same(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)


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
        "on_cache_error": "KEYWORD_ONLY"
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
    assert_same(load_all(CocoSampler(data.dset, workdir=tmp_path, backend=backend)), load_all(sampler))


def test_without_autoinit_a_sampler_waits_for_init(data, sampler):
    late = CocoSampler(data.dset, autoinit=False)
    assert late.regions is None
    assert late.frames is None
    late.init()
    assert_same(load_all(late), load_all(sampler))


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
    assert_same(load_all(second), expected)
    assert second.n_positives == len(BOXED) + 1


# --- coerce and demo -----------------------------------------------------------------------------


def test_a_sampler_coerces_to_itself(sampler):
    assert CocoSampler.coerce(sampler) is sampler


def test_a_finished_sampler_refuses_new_settings(sampler):
    with pytest.raises(
        UnsupportedTaskError, match="backend, workdir cannot be changed on a finished sampler"
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
    assert_same(load_all(read), load_all(made))


@pytest.mark.parametrize("data", [None, 3, [1]])
def test_what_is_no_dataset_is_a_type_error(data):
    with pytest.raises(ArgumentTypeError, match="expected a sampler, a kwcoco dataset, a path") as caught:
        CocoSampler.coerce(data)
    assert repr(data) in str(caught.value)
    assert isinstance(caught.value, TypeError)


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
    _complete_photos(dset)
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


# --- images --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("backend", [None, "npy", "cog"])
def test_an_image_is_loaded_whole(data, tmp_path, backend, cache):
    sampler = CocoSampler(data.dset, workdir=tmp_path, backend=backend)
    for gid, pixels in data.pixels.items():
        found = np.asarray(sampler.load_image(gid, cache=cache)[:])
        np.testing.assert_array_equal(found.reshape(pixels.shape), pixels)
    assert sampler.load_image(ASSETS, cache=cache).shape == (*DIMS, 3)


def test_an_image_comes_with_its_entry_and_annotations(data, sampler):
    before = copy.deepcopy(data.dset.imgs[GRAY])
    entry, anns = sampler.load_image_with_annots(GRAY)
    assert list(entry) == [*before, "imdata"]
    np.testing.assert_array_equal(entry.pop("imdata"), data.pixels[GRAY][:, :, 0])
    assert entry == before == data.dset.imgs[GRAY]
    assert [ann["id"] for ann in anns] == [ELSEWHERE]
    assert anns[0] is data.dset.anns[ELSEWHERE]


def test_annotations_are_those_of_the_dataset_in_the_order_of_their_ids(data, sampler):
    anns = sampler.load_annotations(RGB)
    assert [ann["id"] for ann in anns] == sorted([*BOXED, NO_BOX])
    assert all(ann is data.dset.anns[ann["id"]] for ann in anns)
    assert sampler.load_annotations(EMPTY) == []


@pytest.mark.parametrize("name", ["load_image", "load_annotations", "load_image_with_annots"])
def test_an_unknown_image_is_a_key_error(sampler, name):
    with pytest.raises(UnknownIdError, match="image id is 9999") as caught:
        getattr(sampler, name)(9999)
    assert isinstance(caught.value, KeyError)


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "missing": (pathlib.Path.unlink, MissingSourceError),
    "empty": (lambda path: path.write_bytes(b""), SourceError),
    "truncated": (_truncate, SourceError),
    "foreign": (lambda path: path.write_text("no image at all"), SourceError),
}


@pytest.mark.parametrize("backend", [None, "npy", "cog"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_with_its_image_and_others_keep_working(tmp_path, damage, backend):
    data = stills(tmp_path)
    spoil, error = DAMAGES[damage]
    spoil(tmp_path / "rgb.png")
    sampler = CocoSampler(data.dset, workdir=tmp_path / "work", backend=backend)
    for call in (sampler.load_sample, sampler.load_target_annots):
        if call == sampler.load_sample:
            with pytest.raises(error, match=rf"image {RGB}.*rgb\.png") as caught:
                call({"gid": RGB, "slices": (slice(20, 30), slice(4, 9))})
            assert isinstance(caught.value, OSError)
        else:
            assert call({"gid": RGB})["aids"].tolist() == BOXED
    for gid in (GRAY, DEEP):
        np.testing.assert_array_equal(sampler.load_sample({"gid": gid})["im"], data.pixels[gid])


@pytest.mark.parametrize("backend", [None, "npy", "cog"])
def test_a_changed_file_gives_its_new_pixels(tmp_path, backend):
    path = write_png(tmp_path / "a.png", random_pixels("uint8", 3, (9, 12), seed=1))
    sampler = CocoSampler(one_image(path, (9, 12)), workdir=tmp_path, backend=backend)
    sampler.load_sample({"gid": 1})
    newer = random_pixels("uint8", 3, (9, 12), seed=2)
    write_png(path, newer)
    os.utime(path, ns=(1, os.stat(path).st_mtime_ns + 10**9))
    np.testing.assert_array_equal(sampler.load_sample({"gid": 1})["im"], newer)


def test_an_added_image_can_be_sampled(tmp_path):
    sampler = CocoSampler(stills(tmp_path).dset)
    load_all(sampler)
    pixels = random_pixels("uint8", 3, (7, 8), seed=9)
    path = write_png(tmp_path / "new.png", pixels)
    gid = sampler.dset.add_image(file_name=str(path), width=8, height=7)
    aid = sampler.dset.add_annotation(gid, category_id=STAR, bbox=[1, 2, 3, 4])
    sample = sampler.load_sample({"gid": gid})
    np.testing.assert_array_equal(sample["im"], pixels)
    assert sample["annots"]["aids"].tolist() == [aid]
    assert gid in sampler.image_ids
    assert sampler.load_sample({"aid": aid})["im"].shape == (4, 3, 3)


def test_an_added_category_appears(tmp_path):
    sampler = CocoSampler(stills(tmp_path).dset)
    assert "moon" not in sampler.load_sample({"gid": RGB})["classes"]
    sampler.dset.add_category("moon")
    assert "moon" in sampler.load_sample({"gid": RGB})["classes"]


# --- pools ---------------------------------------------------------------------------------------


def test_a_positive_is_the_target_of_its_row(sampler):
    for index in range(sampler.n_positives):
        row = sampler.regions.get_positive(index)
        sample = sampler.load_positive(index)
        assert {key: sample["target"][key] for key in row} == row
        assert list(sample["target"])[: len(row)] == list(row)
        expected = sampler.load_sample(row)
        np.testing.assert_array_equal(sample["im"], expected["im"])
        assert sample["annots"]["aids"][sample["target"]["annot_idx"]] == row["aid"]


@pytest.mark.parametrize("seed", range(5))
def test_a_random_positive_is_the_row_that_the_generator_draws(sampler, seed):
    index = kwarray.ensure_rng(seed).randint(0, sampler.n_positives)
    expected = sampler.regions.get_positive(index)["aid"]
    assert sampler.load_positive(rng=seed)["target"]["aid"] == expected
    assert sampler.load_positive(rng=np.random.RandomState(seed))["target"]["aid"] == expected


def test_items_are_positives_then_negatives(pooled):
    n_pos, n_neg = pooled.preselect(n_pos=4, n_neg=3, window_dims=(8, 9), rng=1)
    assert (n_pos, n_neg) == (pooled.n_positives, pooled.regions.n_negatives)
    assert len(pooled) == n_pos + n_neg
    for index in range(len(pooled)):
        sample = pooled.load_item(index)
        direct = pooled.load_positive(index) if index < n_pos else pooled.load_negative(index - n_pos)
        np.testing.assert_array_equal(sample["im"], direct["im"])
        assert (sample["target"]["aid"] == -1) == (index >= n_pos)
    assert pooled.load_item(len(pooled) - 1)["im"].shape[:2] == (8, 9)


def test_a_random_item_is_the_row_that_the_generator_draws(pooled):
    pooled.preselect(n_pos=4, n_neg=3, rng=1)
    for seed in range(4):
        index = kwarray.ensure_rng(seed).randint(0, len(pooled))
        expected = pooled.load_item(index)
        found = pooled.load_item(None, rng=seed)
        np.testing.assert_array_equal(found["im"], expected["im"])


def test_an_index_beyond_the_pools_is_refused(pooled):
    with pytest.raises(MissingNegativePool, match="preselect"):
        pooled.load_item(len(pooled))
    with pytest.raises(MissingNegativePool, match="preselect"):
        pooled.load_negative(0)
    with pytest.raises(IndexError):
        pooled.load_positive(999)


def test_a_negative_is_made_for_the_occasion_when_there_is_no_pool(sampler):
    first, second = (sampler.load_negative(rng=3, target={"window_dims": (5, 6)}) for _ in range(2))
    assert first["im"].shape[:2] == (5, 6)
    assert first["target"]["aid"] == first["target"]["annot_idx"] == -1
    np.testing.assert_array_equal(first["im"], second["im"])
    assert first["target"] == second["target"]


@pytest.mark.parametrize("name", ["load_item", "load_positive", "load_negative"])
def test_the_callers_keys_are_laid_over_those_of_the_pool(pooled, name):
    pooled.preselect(n_pos=3, n_neg=2, rng=0)
    mine = {"window_dims": (6, 7), "pad": 1, "scale": 2, "note": "mine"}
    kept = copy.deepcopy(mine)
    sample = getattr(pooled, name)(0, target=mine, with_annots="boxes", visible_thresh=0.2)
    assert mine == kept
    assert sample["im"].shape[:2] == (16, 18)
    assert {key: sample["target"][key] for key in mine} == mine
    assert set(sample["annots"]["rel_ssegs"]) <= {None}
    assert "annots" not in getattr(pooled, name)(0, with_annots=False)


def test_preselection_is_that_of_the_regions(pooled):
    assert pooled.preselect(n_pos=2, neg_to_pos_ratio=1.5, rng=0) == (2, 3)
    assert pooled.preselect() == (len(BOXED) + 1, 0)


def test_a_grid_is_that_of_the_regions(sampler):
    grid = sampler.new_sample_grid("image_detection", (10, 10), window_overlap=0.5, use_annots=False)
    expected = sampler.regions.new_sample_grid("image_detection", (10, 10), 0.5, use_annots=False)
    assert grid["targets"] == expected["targets"]
    sample = sampler.load_sample(grid["targets"][0])
    assert sample["im"].shape[:2] == (10, 10)
    with pytest.raises(UnsupportedTaskError, match="juggling"):
        sampler.new_sample_grid("juggling", (10, 10))


# --- copies, threads and processes ---------------------------------------------------------------


COPIES = {
    "pickle": lambda sampler: pickle.loads(pickle.dumps(sampler)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("backend", [None, "npy", "cog"])
@pytest.mark.parametrize("used", [True, False])
def test_a_copy_gives_the_same_samples(data, tmp_path, how, backend, used):
    sampler = CocoSampler(data.dset, workdir=tmp_path, backend=backend)
    sampler.preselect(n_pos=3, n_neg=2, rng=0)
    if used:
        load_all(sampler)
    again = COPIES[how](sampler)
    assert_same(load_all(again), load_all(sampler))
    assert again.n_positives == 3
    assert again.hashid == sampler.hashid
    for index in range(5):
        np.testing.assert_array_equal(again.load_item(index)["im"], sampler.load_item(index)["im"])


def test_a_sampler_that_waits_for_init_can_be_copied(data):
    for make in COPIES.values():
        again = make(CocoSampler(data.dset, autoinit=False))
        assert again.frames is None
        again.init()
        assert again.load_sample({"gid": GRAY})["annots"]["aids"].tolist() == [ELSEWHERE]


def test_a_pickled_sampler_leaves_what_it_read_behind(tmp_path):
    path = write_png(tmp_path / "a.png", random_pixels("uint8", 3, (300, 400)))
    sampler = CocoSampler(one_image(path, (300, 400)))
    before = len(pickle.dumps(sampler))
    sampler.load_sample({"gid": 1})
    assert len(pickle.dumps(sampler)) < before + 20_000


@pytest.mark.parametrize("backend", [None, "npy", "cog"])
def test_threads_get_the_same_samples(data, sampler, tmp_path, backend):
    shared = CocoSampler(data.dset, workdir=tmp_path, backend=backend)
    expected = load_all(sampler)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: load_all(shared), range(12)):
            assert_same(found, expected)


@pytest.mark.parametrize("backend", [None, "cog"])
def test_a_forked_worker_gives_the_same_samples(data, tmp_path, backend):
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this platform cannot fork")
    sampler = CocoSampler(data.dset, workdir=tmp_path, backend=backend)
    expected = load_all(sampler)
    read, write = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=lambda: write.send(load_all_and_process(sampler))
    )
    process.start()
    assert read.poll(60), "the worker gave no answer"
    found, pid = read.recv()
    process.join(60)
    assert pid != os.getpid()
    assert_same(found, expected)
    assert_same(load_all(sampler), expected)


def test_a_spawned_worker_gives_the_same_samples(data, tmp_path):
    sampler = CocoSampler(data.dset, workdir=tmp_path, backend="cog")
    expected = load_all(sampler)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        found, pid = pool.submit(load_all_and_process, sampler).result(timeout=120)
    assert pid != os.getpid()
    assert_same(found, expected)


def test_hundreds_of_samples_can_be_held_with_few_open_files(tmp_path):
    if not pathlib.Path("/proc/self/fd").is_dir():
        pytest.skip("open files are counted in /proc")
    data = stills(tmp_path)
    sampler = CocoSampler(data.dset, workdir=tmp_path, backend="npy")
    sampler.load_sample({"gid": RGB})
    before = len(os.listdir("/proc/self/fd"))
    held = [sampler.load_sample({"gid": gid}, with_annots=False)["im"] for gid in [RGB, GRAY, DEEP] * 100]
    assert len(os.listdir("/proc/self/fd")) <= before + 10
    np.testing.assert_array_equal(held[-1], data.pixels[DEEP])


def test_the_documented_names_are_members():
    for name in ("CocoSampler", "CocoFrames", "CocoRegions"):
        assert name in ndsampler.__all__
    members = dir(CocoSampler)
    wanted = (
        "load_sample load_item load_positive load_negative load_image load_image_with_annots "
        "load_annotations load_target_annots preselect coerce demo new_sample_grid init"
    )
    assert [name for name in wanted.split() if name not in members] == []


def test_a_polygon_of_a_positive_sits_on_its_pixels(sampler):
    sample = sampler.load_sample({"aid": HOLES, "pad": 2})
    polygon = sample["annots"]["rel_ssegs"].data[sample["target"]["annot_idx"]]
    height, width = sample["im"].shape[:2]
    (part,) = polygon.data
    corners = part.data["exterior"].data
    assert (corners.min(axis=0) >= 2).all()
    assert (corners.max(axis=0) <= [width - 2, height - 2]).all()
