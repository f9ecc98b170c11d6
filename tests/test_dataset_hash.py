"""The id of a sampler is the same in every process, and another once its dataset says something else."""

from __future__ import annotations

import pathlib

import kwcoco
import numpy as np
import pytest
from helpers_processes import check_script

import ndsampler
from ndsampler.dataset.edits import dataset_state, hash_dataset


def make(plain: bool, box=(1, 2, 3, 4), name: str = "a.png") -> kwcoco.CocoDataset:
    """Return a dataset of one image and one annotation, of plain values or of paths and arrays."""
    image = {"id": 1, "file_name": name, "width": 30, "height": 20}
    annot = {"id": 1, "image_id": 1, "category_id": 1, "bbox": list(box)}
    if not plain:
        image.update(file_name=pathlib.Path(name), width=np.int64(30))
        annot.update(bbox=np.array(box), score=np.float32(0.5))
    sections = {"images": [image], "annotations": [annot], "categories": [{"id": 1, "name": "x"}]}
    return kwcoco.CocoDataset(sections)


each_kind = pytest.mark.parametrize("plain", [True, False], ids=["plain values", "paths and arrays"])


def ids(dset) -> tuple[str, str, str]:
    sampler = ndsampler.CocoSampler(dset)
    return sampler.hashid, sampler.regions.hashid, sampler.frames.hashid


@each_kind
def test_equal_datasets_have_equal_ids_in_every_process(plain):
    script = f"from test_dataset_hash import ids, make; print(*ids(make({plain})))"
    assert tuple(check_script(script).split()) == ids(make(plain)) == ids(make(plain))


@each_kind
def test_another_box_or_file_is_another_id(plain):
    first = ids(make(plain))
    other_box, other_file = ids(make(plain, box=(1, 2, 3, 5))), ids(make(plain, name="b.png"))
    assert first[0] != other_box[0] != other_file[0] != first[0]
    assert (first[1] != other_box[1], first[2] == other_box[2]) == (True, True)
    assert first[2] != other_file[2]


@each_kind
def test_an_edit_changes_the_id_of_a_sampler_that_is_there(plain):
    dset = make(plain)
    sampler = ndsampler.CocoSampler(dset)
    seen = [(sampler.hashid, sampler.regions.hashid)]
    dset.add_annotation(image_id=1, category_id=1, bbox=[5, 6, 7, 8])
    seen.append((sampler.hashid, sampler.regions.hashid))
    dset.add_image(file_name="c.png", width=30, height=20)
    frames = sampler.frames.hashid
    seen.append((sampler.hashid, sampler.regions.hashid))
    assert len({first for first, _ in seen}) == len({second for _, second in seen}) == 3
    dset.add_image(file_name="d.png", width=30, height=20)
    assert sampler.frames.hashid != frames


def test_an_id_that_a_program_sets_stays():
    sampler = ndsampler.CocoSampler(make(True))
    sampler._hashid = "mine"
    assert sampler.hashid == "mine"
    sampler.dset.hashid = "fake"
    assert sampler.regions.hashid == "fake"


def test_nothing_is_printed_for_values_that_kwcoco_cannot_hash(capsys):
    assert hash_dataset(make(False)) is not None
    assert capsys.readouterr() == ("", "")


def test_a_value_without_a_form_in_json_is_named():
    dset = make(True)
    dset.anns[1]["odd"] = object()
    with pytest.raises(TypeError, match="the dataset contains <object object"):
        hash_dataset(dset)


def test_no_id_is_computed_before_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(kwcoco.CocoDataset, "_build_hashid", None)
    sampler = ndsampler.CocoSampler(make(True))
    assert (sampler.n_annots, sampler._hashid, sampler.frames._hashid) == (1, None, None)


def test_edits_that_change_a_count_or_a_counter_change_the_state():
    dset = make(True)
    states = [dataset_state(dset)]
    aid = dset.add_annotation(image_id=1, bbox=[0, 0, 2, 2])
    states.append(dataset_state(dset))
    dset.remove_annotation(aid)
    states.append(dataset_state(dset))
    dset.add_annotation(image_id=1, bbox=[0, 0, 2, 2])
    states.append(dataset_state(dset))
    dset.add_image(file_name="b.png")
    states.append(dataset_state(dset))
    assert len(set(states)) == len(states)
    assert dataset_state(dset) == states[-1]
