"""One sample sees one state of the dataset, and edits are noticed."""

from __future__ import annotations

import threading

import kwcoco
import numpy as np
import pytest
from helpers_images import write_png

import ndsampler
from ndsampler.dataset import annot_table
from ndsampler.dataset.derived import Derived
from ndsampler.sampling import unedited


@pytest.fixture
def dset(tmp_path):
    dset = kwcoco.CocoDataset()
    cid = dset.add_category("thing")
    for gid in (1, 2):
        path = write_png(tmp_path / f"{gid}.png", np.full((40, 50, 1), gid, np.uint8))
        dset.add_image(file_name=str(path), id=gid, width=50, height=40)
        for i in range(3):
            dset.add_annotation(gid, cid, bbox=[10 * i, 5, 8, 9], id=10 * gid + i)
    return dset


@pytest.fixture
def sampler(dset):
    sampler = ndsampler.CocoSampler(dset)
    sampler.load_sample({"gid": 1})
    assert sampler.regions.n_positives == 6
    return sampler


def boxes_of(annots):
    return dict(zip(annots["aids"].tolist(), annots["rel_boxes"].data.tolist(), strict=True))


WHOLE = (slice(0, 40), slice(0, 50))


@pytest.mark.parametrize(
    "edit",
    [
        lambda ann: ann.update(bbox=[30, 20, 4, 6]),
        lambda ann: ann["bbox"].__setitem__(slice(None), [30, 20, 4, 6]),
        lambda ann: ann.update(bbox=np.array([30.0, 20, 4, 6])),
        lambda ann: ann.update(bbox=(30, 20, 4, 6)),
    ],
)
def test_a_box_that_is_changed_in_place_is_noticed_by_a_sample_of_its_annotation(sampler, dset, edit):
    edit(dset.anns[11])
    sample = sampler.load_sample({"aid": 11, "pad": 1})
    assert boxes_of(sample["annots"])[11] == [1, 1, 4, 6]
    assert sample["target"]["annot_idx"] >= 0
    assert boxes_of(sampler.load_annots({"gid": 1}))[11] == [30, 20, 4, 6]
    assert sampler.regions.targets["cx"][1] == 32


def test_geometry_in_place_of_a_box_is_noticed_when_it_changes(sampler, dset):
    del dset.anns[11]["bbox"]
    dset.anns[11]["segmentation"] = [[1, 1, 4, 1, 4, 6]]
    assert boxes_of(sampler.load_annots({"aid": 11, "slices": WHOLE}))[11] == [1, 1, 3, 5]
    dset.anns[11]["segmentation"] = [[20, 30, 24, 30, 24, 31]]
    assert boxes_of(sampler.load_annots({"aid": 11, "slices": WHOLE}))[11] == [20, 30, 4, 1]


def test_an_annotation_without_box_and_geometry_changes_nothing(sampler, dset):
    del dset.anns[11]["bbox"]
    sampler.load_annots({"aid": 11, "slices": WHOLE})
    table = sampler.regions.annot_table
    assert 11 not in sampler.load_annots({"aid": 11, "slices": WHOLE})["aids"]
    assert sampler.regions.annot_table is table


@pytest.mark.parametrize("aid", [10, 12, 22])
def test_another_annotation_under_the_same_id_is_noticed_by_every_sample(sampler, dset, aid):
    dset.remove_annotations([aid])
    dset.add_annotation(2, 1, bbox=[1, 2, 3, 4], id=aid, segmentation=[[1, 2, 4, 2, 4, 6]])
    assert aid not in sampler.load_annots({"gid": 1})["aids"]
    annots = sampler.load_annots({"gid": 2})
    assert boxes_of(annots)[aid] == [1, 2, 3, 4]
    assert annots["rel_ssegs"].data[annots["aids"].tolist().index(aid)] is not None


def test_another_image_under_the_same_id_is_noticed(sampler, dset, tmp_path):
    dset.remove_images([2])
    path = write_png(tmp_path / "new.png", np.full((20, 30, 1), 9, np.uint8))
    dset.add_image(file_name=str(path), id=2, width=30, height=20)
    sample = sampler.load_sample({"gid": 2})
    assert sample["im"].shape[:2] == (20, 30)
    assert sample["annots"]["aids"].tolist() == []


@pytest.mark.parametrize(
    "target", [{"gid": 1}, {"aid": 11, "slices": WHOLE}, {"gids": [1], "space_slice": WHOLE}]
)
def test_an_edit_while_a_target_is_resolved_leads_to_the_next_state(sampler, dset, monkeypatch, target):
    resolve, edits = unedited.resolve_region, []

    def edit_too(*args):
        found = resolve(*args)
        if len(edits) < 2:
            edits.append(dset.add_annotation(1, 1, bbox=[1, 1, 2, 2]))
        return found

    monkeypatch.setattr(unedited, "resolve_region", edit_too)
    assert sampler.load_annots(target)["aids"].tolist() == sorted([10, 11, 12, *edits])


def test_an_edit_while_the_columns_are_read_is_noticed(dset, monkeypatch):
    read, edits = annot_table.read_annots, []

    def edit_too(dataset):
        if len(edits) < 3:
            edits.append(dset.add_image(file_name=f"{len(edits)}.png", width=5, height=5))
            dset.add_annotation(edits[-1], 1, bbox=[0, 0, 1, 1])
        return read(dataset)

    monkeypatch.setattr(annot_table, "read_annots", edit_too)
    table = annot_table.AnnotTable.from_coco(dset)
    assert sorted(table.aids.tolist()) == sorted(dset.anns)
    assert set(edits) <= set(table.gids.tolist())


def test_an_edit_between_finding_and_warping_leaves_the_sample_alone(sampler, dset, monkeypatch):
    dset.anns[11]["segmentation"] = [[10, 5, 18, 5, 18, 14]]
    from ndsampler.sampling import annots

    find = annots.find_annots

    def edit_too(*args):
        rows = find(*args)
        if 11 in dset.anns:
            dset.remove_annotations([11])
            dset.add_annotation(2, 1, bbox=[0, 0, 1, 1], id=11)
        return rows

    monkeypatch.setattr(annots, "find_annots", edit_too)
    before = sampler.load_sample({"gid": 1})["annots"]
    assert boxes_of(before)[11] == [10, 5, 8, 9]
    assert before["rel_ssegs"].data[before["aids"].tolist().index(11)] is not None
    assert sorted(sampler.load_annots({"gid": 1})["aids"].tolist()) == [10, 12]


def test_what_was_computed_from_an_older_state_is_not_kept(dset):
    old = Derived(dset)
    dset.add_annotation(1, 1, bbox=[1, 1, 2, 2])
    new = old.successor(dset)
    assert old.get("count", lambda: "late") == "late"
    assert new.get("count", lambda: len(dset.anns)) == 7
    assert old.successor(dset) is new
    assert new.is_current(dset)


def test_samples_belong_together_while_a_thread_edits(dset):
    home = {aid: ann["image_id"] for aid, ann in dset.anns.items()}
    sampler = ndsampler.CocoSampler(dset)
    wrong, rounds = [], 150

    def read(gid):
        for _ in range(rounds):
            annots = sampler.load_sample({"gid": gid}, with_annots=["boxes", "segmentation"])["annots"]
            wrong.extend(aid for aid in annots["aids"].tolist() if home[aid] != gid)

    def edit():
        for i in range(rounds):
            aid = 1000 + i
            home[aid] = 1 + i % 2
            dset.add_annotation(
                home[aid], 1, bbox=[i % 30, 3, 5, 5], id=aid, segmentation=[[1, 1, 5, 1, 5, 5]]
            )
            dset.remove_annotations([next(iter(dset.anns))])

    threads = [threading.Thread(target=read, args=(gid,), daemon=True) for gid in (1, 2)]
    threads.append(threading.Thread(target=edit, daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert wrong == []
    for gid in (1, 2):
        assert sampler.load_annots({"gid": gid})["aids"].tolist() == sorted(dset.index.gid_to_aids[gid])
