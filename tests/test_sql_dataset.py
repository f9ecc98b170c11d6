"""A view of a dataset in a database gives the samples, pools and grids of the dataset itself."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from dataclasses import dataclass
from typing import Any

import kwcoco
import numpy as np
import pytest
from helpers_optional import import_optional
from helpers_threads import PATIENCE

import ndsampler
from ndsampler.dataset import sql_view
from ndsampler.utils.quiet import stdout_to_log

sqlalchemy = import_optional("sqlalchemy")

#: What the tests that leave the process load.
WINDOW = {"window_dims": (48, 64)}


@dataclass
class Pair:
    """Samplers of the same images and annotations."""

    plain: ndsampler.CocoSampler
    """Of the dataset in memory."""
    view: ndsampler.CocoSampler
    """Of the database."""

    def preselect(self) -> tuple[int, int]:
        """Choose the same pools on both sides."""
        options = {"n_pos": 6, "n_neg": 4, "window_dims": (60, 50), "rng": 0}
        counts = self.plain.preselect(**options)
        assert self.view.preselect(**options) == counts
        return counts


@pytest.fixture(scope="module", params=["shapes8", "vidshapes8"])
def folder(request, tmp_path_factory):
    """A folder with a dataset of pixels made on the spot, and a database of the same."""
    dpath = tmp_path_factory.mktemp(request.param)
    options = {"image_size": (256, 192)}
    if request.param == "vidshapes8":
        options["num_frames"] = 4
    with stdout_to_log():
        dset = kwcoco.CocoDataset.demo(
            request.param, verbose=0, dpath=str(dpath / "demo"), use_cache=False, **options
        )
        dset.view_sql(sql_db_fpath=str(dpath / "view.sqlite")).disconnect()
    (dpath / "name.txt").write_text(dset.fpath, encoding="utf-8")
    return dpath


@pytest.fixture
def pair(folder, tmp_path):
    dset = kwcoco.CocoDataset((folder / "name.txt").read_text(encoding="utf-8"))
    view = kwcoco.CocoSqlDatabase(str(folder / "view.sqlite"), img_root=dset.bundle_dpath)
    view.connect(readonly=True)
    return Pair(
        ndsampler.CocoSampler(dset, workdir=tmp_path / "work"),
        ndsampler.CocoSampler(view, workdir=tmp_path / "work"),
    )


@pytest.fixture
def statements(pair, monkeypatch):
    """What the view's session, and this library beside it, ask the database for, from now on."""
    found: list[str] = []
    fetch = sql_view.fetch
    monkeypatch.setattr(sql_view, "fetch", lambda dset, query: found.append(query) or fetch(dset, query))

    def note(conn, cursor, statement, *others):
        found.append(statement)

    sqlalchemy.event.listen(pair.view.dset.engine, "before_cursor_execute", note)
    return found


def plain_values(value: Any) -> Any:
    """Return a part of a sample as lists and numbers that can be compared."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tolist()
    if isinstance(value, dict):
        return {key: plain_values(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(part) for part in value]
    if hasattr(value, "to_coco"):
        return plain_values(value.to_coco(style="new"))
    return plain_values(value.data) if hasattr(value, "data") and not np.isscalar(value) else repr(value)


def assert_same_samples(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Check that two samples agree key by key."""
    assert set(first) == set(second)
    np.testing.assert_array_equal(first["im"], second["im"])
    assert plain_values(first["target"]) == plain_values(second["target"])
    assert plain_values(first["params"]) == plain_values(second["params"])
    for key in ("aids", "cids", "rel_frame_index", "rel_boxes", "rel_ssegs", "rel_kpts"):
        assert plain_values(first["annots"][key]) == plain_values(second["annots"][key]), key
    assert list(first["classes"]) == list(second["classes"])
    # A database lists what it holds by id, so the order of the file is gone.
    assert first["kp_classes"].id_to_node == second["kp_classes"].id_to_node


def test_items_of_the_pools_are_the_same(pair):
    counts = pair.preselect()
    for index in range(sum(counts)):
        for target in ({}, WINDOW, {"pad": (3, 5)}):
            first = pair.plain.load_item(index, target=dict(target))
            assert_same_samples(first, pair.view.load_item(index, target=dict(target)))


def test_targets_that_name_an_annotation_or_an_image_are_the_same(pair):
    slices = (slice(-5, 70), slice(11, 90))
    for target in ({"aid": 2}, {"aid": 3, **WINDOW}, {"gid": 1, "slices": slices}, {"gid": 2}):
        assert_same_samples(pair.plain.load_sample(dict(target)), pair.view.load_sample(dict(target)))


@pytest.mark.parametrize("wrong", ["x", 99999, 1.5, [1], np.array([1, 2]), 2**70])
@pytest.mark.parametrize("key", ["gid", "aid", "vidid"])
def test_unknown_ids_are_refused_with_some_that_exist(pair, key, wrong):
    for sampler in (pair.plain, pair.view):
        with pytest.raises(ndsampler.errors.UnknownIdError, match="expected (one of|an annotation|a video)"):
            sampler.load_sample({key: wrong})


def test_samples_of_videos_are_the_same(pair):
    if not pair.plain.dset.videos():
        pytest.skip("no videos")
    window = {"space_slice": (slice(-4, 50), slice(3, 70))}
    for target in ({"vidid": 1}, {"vidid": 2, "time_slice": slice(1, 3), **window}, {"gids": [2, 1]}):
        assert_same_samples(pair.plain.load_sample(dict(target)), pair.view.load_sample(dict(target)))


def test_grids_are_the_same(pair):
    grids = [("image_detection", (70, 90))]
    grids += [("video_detection", (2, 70, 90))] if pair.plain.dset.videos() else []
    for task, window in grids:
        first, second = (side.new_sample_grid(task, window, 0.2) for side in (pair.plain, pair.view))
        assert first == second


def test_counts_ids_and_tables_are_the_same(pair):
    plain, view = pair.plain, pair.view
    for name in ("n_annots", "n_images", "n_categories", "class_ids", "image_ids", "n_positives"):
        assert getattr(plain, name) == getattr(view, name), name
    for name, column in plain.regions.targets._raw.items():
        np.testing.assert_array_equal(column, view.regions.targets[name], err_msg=name)
    for gid in plain.image_ids:
        first, second = plain.load_annotations(gid), view.load_annotations(gid)
        assert [{**row, **ann} for ann, row in zip(first, second, strict=True)] == second
    aids = plain.regions.targets["aid"].tolist()
    first, second = (side.regions.get_segmentations(aids) for side in (plain, view))
    assert plain_values(first) == plain_values(second)


def test_the_hash_of_a_view_is_that_of_its_copy(pair):
    assert pickle.loads(pickle.dumps(pair.view)).hashid == pair.view.hashid


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies_keep_pools_and_give_the_same_samples(pair, duplicate):
    counts = pair.preselect()
    other = duplicate(pair.view)
    assert (other.n_positives, len(other)) == (counts[0], sum(counts))
    for index in range(len(other)):
        assert_same_samples(pair.plain.load_item(index), other.load_item(index))


def load_items(sampler: ndsampler.CocoSampler, queue: Any) -> None:
    """Load all items of the pools, in another process."""
    queue.put([pickle.dumps(sampler.load_item(index, target=dict(WINDOW))) for index in range(len(sampler))])


def connect_and_load_items(sampler: ndsampler.CocoSampler, queue: Any) -> None:
    """Do so after a fork, which must not use the connection of its parent."""
    sampler.dset.connect(readonly=True)
    load_items(sampler, queue)


@pytest.mark.parametrize(("method", "work"), [("spawn", load_items), ("fork", connect_and_load_items)])
def test_workers_give_the_same_samples(pair, method, work):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    pair.preselect()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    worker = context.Process(target=work, args=(pair.view, queue))
    worker.start()
    samples = queue.get(timeout=PATIENCE)
    worker.join(PATIENCE)
    assert worker.exitcode == 0
    for index, sample in enumerate(samples):
        assert_same_samples(pair.plain.load_item(index, target=dict(WINDOW)), pickle.loads(sample))


def test_a_sample_asks_only_for_the_rows_it_shows(pair, statements):
    pair.view.preselect(n_pos=6, n_neg=4, window_dims=(60, 50), rng=0)
    pair.view.load_item(5)  # the first sample reads the categories
    statements.clear()
    pair.view.load_item(0)
    assert len(statements) <= 2
    assert all("WHERE" in statement for statement in statements)
    statements.clear()
    pair.view.load_item(0)
    assert statements == []


def test_the_hash_of_frames_asks_for_all_images_at_once(pair, statements):
    assert pair.view.frames.hashid == pair.plain.frames.hashid
    assert len(statements) == 1


def test_geometries_of_many_annotations_are_asked_for_together(pair, statements, monkeypatch):
    monkeypatch.setattr(sql_view, "IDS_AT_ONCE", 2)
    aids = sorted(pair.plain.dset.anns)[:5]
    found = list(sql_view.fetch_geometries(pair.view.dset, [*aids, 10**6]))
    assert len(statements) == 3
    for ann in found:
        expected = pair.plain.dset.anns[ann["id"]]
        assert {key: expected.get(key) for key in ann} == ann
    assert sorted(ann["id"] for ann in found) == aids


def test_columns_are_read_by_one_statement_for_each_table(folder, monkeypatch):
    from ndsampler.dataset import records
    from ndsampler.dataset.annot_table import AnnotTable

    asked: list[str] = []
    fetch = records.fetch
    monkeypatch.setattr(records, "fetch", lambda dset, query: asked.append(query) or fetch(dset, query))
    view = kwcoco.CocoSqlDatabase(str(folder / "view.sqlite")).connect(readonly=True)
    table = AnnotTable.from_coco(view)
    assert len(table) == len(view.anns)
    assert sum("FROM images" in query for query in asked) == 1
    assert sum("_bbox_x" in query for query in asked) == 1


def test_the_database_keeps_a_bounded_number_of_rows_in_memory(pair):
    from ndsampler.utils.util_lru import LRUDict

    assert isinstance(pair.view.dset.anns._cache, LRUDict)
