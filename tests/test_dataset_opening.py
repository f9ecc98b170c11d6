"""A sampler opens what it is given, and says what is wrong with what it cannot open."""

from __future__ import annotations

import json
import os
import pathlib
import zipfile
from typing import Any

import kwcoco
import pytest
from helpers_images import assert_same, random_pixels, write_png
from helpers_optional import import_optional

import ndsampler
from ndsampler.dataset.opening import coerce_dataset, open_dataset
from ndsampler.errors import ArgumentError, ArgumentTypeError, MissingSourceError

CENTRE = {"gid": 5, "cx": 8, "cy": 6, "width": 8, "height": 8}


def coco() -> dict[str, Any]:
    """Return the content of an MS-COCO file without sizes."""
    return {
        "info": {"year": 2017},
        "licenses": [],
        "images": [{"id": 5, "file_name": "a.png", "license": 1}],
        "annotations": [{"id": 9, "image_id": 5, "category_id": 18, "bbox": [1, 2, 5, 4], "iscrowd": 0}],
        "categories": [
            {"id": 18, "name": "dog", "supercategory": "animal"},
            {"id": 1, "name": "person", "supercategory": "person"},
        ],
    }


@pytest.fixture
def layout(tmp_path):
    """The usual MS-COCO layout: a file of annotations in one folder, pictures in another."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val").mkdir()
    write_png(tmp_path / "val" / "a.png", random_pixels(dims=(12, 16)))
    (tmp_path / "annotations" / "instances.json").write_text(json.dumps(coco()))
    return tmp_path


def forms(layout: pathlib.Path) -> dict[str, Any]:
    """Return every form of the dataset that a sampler takes."""
    path = layout / "annotations" / "instances.json"
    return {"path": path, "str": str(path), "dict": coco(), "dataset": kwcoco.CocoDataset(str(path))}


@pytest.mark.parametrize("make", [ndsampler.CocoSampler, ndsampler.CocoSampler.coerce])
@pytest.mark.parametrize("form", ["path", "str", "dict", "dataset"])
def test_annotations_here_and_pictures_there_are_sampled(layout, make, form):
    data = forms(layout)[form]
    sampler = make(data, images=layout / "val")
    assert_same(sampler.load_sample(CENTRE)["im"], random_pixels(dims=(12, 16))[2:10, 4:12])
    assert sampler.load_positive(0)["annots"]["aids"].tolist() == [9]
    assert sampler.dset.imgs[5]["height"] == 12
    if form == "dataset":
        assert sampler.dset is data
        assert data.bundle_dpath == str(layout / "annotations")
    else:
        assert pathlib.Path(sampler.dset.get_image_fpath(5)) == layout / "val" / "a.png"


def test_two_samplers_of_one_dataset_may_have_folders_of_their_own(layout):
    (layout / "masks").mkdir()
    write_png(layout / "masks" / "a.png", random_pixels(channels=1, dims=(12, 16)))
    dset = forms(layout)["dataset"]
    samplers = [ndsampler.CocoSampler(dset, images=layout / name) for name in ("val", "masks")]
    assert [sampler.load_sample(CENTRE)["im"].shape[2] for sampler in samplers] == [3, 1]
    assert len({sampler.frames.hashid for sampler in samplers}) == 2


def test_a_relative_folder_and_one_below_home_are_found(layout, monkeypatch):
    monkeypatch.chdir(layout)
    monkeypatch.setenv("HOME", str(layout))
    monkeypatch.setenv("USERPROFILE", str(layout))
    for folder in ("val", os.path.join("~", "val")):
        sampler = ndsampler.CocoSampler(coco(), images=folder)
        monkeypatch.chdir("/")
        assert sampler.load_sample(CENTRE)["im"].shape == (8, 8, 3)
        monkeypatch.chdir(layout)


def test_a_folder_without_samplers_is_taken_by_frames_and_regions(layout):
    dset = forms(layout)["dataset"]
    assert ndsampler.CocoFrames(dset, backend=None, images=layout / "val").load_region(5).shape == (12, 16, 3)
    assert ndsampler.CocoRegions(dset, images=layout / "val").targets["img_width"].tolist() == [16]


def test_a_folder_that_does_not_exist_is_named(layout):
    for make in (ndsampler.CocoSampler, ndsampler.CocoFrames, ndsampler.CocoRegions):
        with pytest.raises(MissingSourceError, match="images is 'vall'.*is not a folder") as caught:
            make(forms(layout)["dataset"], images="vall")
        assert isinstance(caught.value, FileNotFoundError)


def test_other_files_that_kwcoco_reads_are_opened(layout, tmp_path):
    path = layout / "annotations" / "instances.json"
    with zipfile.ZipFile(tmp_path / "data.kwcoco.zip", "w") as file:
        file.write(path, "data.kwcoco.json")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "data.kwcoco.json").write_text(path.read_text())
    for given in (tmp_path / "data.kwcoco.zip", bundle, str(bundle)):
        assert ndsampler.CocoSampler(given).n_annots == 1


def test_a_database_is_opened_by_its_path_and_taken_as_it_is(layout):
    import_optional("sqlalchemy")
    path = str(layout / "view.sqlite")
    forms(layout)["dataset"].view_sql(sql_db_fpath=path).disconnect()
    sampler = ndsampler.CocoSampler(path, images=layout / "val")
    assert sampler.load_positive(0)["im"].shape == (4, 5, 3)
    assert coerce_dataset(sampler.dset) is sampler.dset


# --- what is no dataset -----------------------------------------------------

WRONG = [
    (b"", "is not JSON"),
    (b"hello", "is not JSON"),
    (b"[" * 100_000 + b"]" * 100_000, "holds lists or dictionaries that are nested too deeply"),
    (b"\xff\x00", "is not JSON"),
    (b"[1, 2]", "holds a list"),
    (b"{}", "has no list of images, its keys are none"),
    (b'{"shapes": [], "imagePath": "a.png"}', "has no list of images, its keys are 'shapes', 'imagePath'"),
    (b'{"images": {}}', "has no list of images"),
    (b'{"images": [], "annotations": [], "categories": []}', "holds no images"),
    (b'{"images": [{"file_name": "a.png"}]}', "is not a dataset .KeyError: 'id'.*expected MS-COCO"),
    (b"PK\x03\x04", "is not a dataset"),
]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_dataset_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "data.json")
    with pytest.raises(ArgumentError, match="data.json is a pipe or a device"):
        ndsampler.CocoSampler(tmp_path / "data.json")


@pytest.mark.parametrize(("content", "words"), WRONG)
def test_a_file_that_is_no_dataset_is_named_with_what_it_holds(tmp_path, content, words):
    path = tmp_path / "data.json"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=f"data.json {words}") as caught:
        ndsampler.CocoSampler(path)
    assert isinstance(caught.value, ValueError)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "has no list of images"),
        ({"img": []}, "has no list of images, its keys are 'img'"),
        ({"images": []}, "holds no images"),
        ({"images": [{"file_name": "a.png"}]}, "is not a dataset .KeyError: 'id'"),
    ],
)
def test_a_dictionary_that_is_no_dataset_is_an_error_that_says_why(data, words):
    with pytest.raises(ArgumentError, match=f"the dictionary {words}"):
        ndsampler.CocoSampler.coerce(data)


@pytest.mark.parametrize("name", ["none.json", "folder/none", "nonesuch", ""])
def test_a_dataset_that_does_not_exist_is_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingSourceError, match=f"{name}.*") as caught:
        ndsampler.CocoSampler(name)
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(MissingSourceError, match="does not exist"):
        open_dataset(pathlib.Path(name or "none"))


def test_a_folder_in_place_of_a_file_is_an_error_that_names_its_files(layout):
    with pytest.raises(ArgumentError, match="annotations is a folder; expected .* such as instances.json"):
        ndsampler.CocoSampler(layout / "annotations")
    with pytest.raises(ArgumentError, match="val is a folder; expected .* no .json file is in it"):
        ndsampler.CocoSampler(layout / "val")


@pytest.mark.parametrize("data", [None, 3, [1], b"data.json", object()])
def test_what_is_no_dataset_is_a_type_error(data):
    for make in (ndsampler.CocoSampler, ndsampler.CocoSampler.coerce):
        with pytest.raises(
            ArgumentTypeError, match="expected a kwcoco dataset, a path, a dictionary"
        ) as caught:
            make(data)
        assert repr(data) in str(caught.value)
        assert isinstance(caught.value, TypeError)


def test_a_dataset_object_without_images_is_taken_as_ever():
    assert len(ndsampler.CocoSampler(kwcoco.CocoDataset())) == 0
