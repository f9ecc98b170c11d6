"""
The one module that uses kwcoco's insides agrees with what the dictionaries of a dataset say, and is alone.

It is run with the lowest and the newest kwcoco that ``requirements/runtime.txt`` admits: by the jobs
``tests-lowest`` and ``tests`` of ``.gitlab-ci.yml``.
"""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import kwcoco
import numpy as np
import pytest
from helpers_pools import sql_view

import ndsampler
from ndsampler.dataset import kwcoco_adapter as adapter
from ndsampler.dataset.sql_view import fetch, from_json

ROOT = pathlib.Path(ndsampler.__file__).parent

#: Attributes of kwcoco's objects that only the adapter may use.
INSIDES = frozenset(
    {
        "_build_hashid",
        "_ensure_imgsize",
        "_next_ids",
        "cid_to_aids",
        "cid_to_gids",
        "engine",
        "file_name_to_img",
        "gid_to_aids",
        "name_to_cat",
        "name_to_video",
        "raw_connection",
        "session",
        "trackid_to_aids",
        "vidid_to_gids",
    }
)

#: Attributes that belong to kwcoco only if the object is a dataset.
INSIDES_OF_DATASETS = frozenset({"_state", "index"})

#: Columns of kwcoco's databases that hold no key of the dataset.
PRIVATE_COLUMNS = ("_bbox_", "_unstructured")


def make_dataset() -> kwcoco.CocoDataset:
    """Return two videos, one with frames out of order, and annotations out of order."""
    dset = kwcoco.CocoDataset()
    for vidid, name in ((4, "first"), (2, "second")):
        dset.add_video(name, id=vidid, width=60, height=40)
    for gid, vidid, frame_index in ((9, 4, 1), (2, 4, 2), (5, 4, 0), (7, 2, 0)):
        keys = {"width": 60, "height": 40, "video_id": vidid, "frame_index": frame_index}
        dset.add_image(id=gid, file_name=f"{gid}.png", **keys)
    dset.imgs[2]["valid_region"] = [[0, 0, 10, 0, 10, 10]]
    dset.imgs[5]["warp_img_to_vid"] = {"type": "affine", "scale": 2}
    for cid, name in ((3, "thing"), (1, "part")):
        dset.add_category(name, id=cid)
    dset.add_track("one", id=11)
    dset.add_annotation(id=8, image_id=9, category_id=3, bbox=[1, 2, 3, 4], track_id=11)
    dset.add_annotation(id=1, image_id=5, category_id=1, bbox=[5, 6, 7.5, 8])
    dset.add_annotation(id=6, image_id=9, category_id=1)
    return dset


@pytest.fixture(params=["dictionaries", "database"])
def dset(request, tmp_path):
    """The same dataset in memory and as a view of a database."""
    plain = make_dataset()
    return plain if request.param == "dictionaries" else sql_view(plain, tmp_path)


@pytest.fixture
def view(tmp_path):
    """The dataset as a view of a database."""
    return sql_view(make_dataset(), tmp_path)


def listed(view, query: str) -> list[tuple]:
    """Return all rows of a query."""
    return [tuple(row) for rows in fetch(view, query) for row in rows]


class TestLookups:
    """Functions that take either kind of dataset."""

    def test_a_view_is_told_from_a_dataset_in_memory(self, view):
        assert (adapter.is_view(view), adapter.is_view(make_dataset())) == (True, False)

    def test_tables_of_a_view_are_not_in_memory(self, view):
        for name in ("imgs", "anns", "cats"):
            assert adapter.is_in_memory(getattr(make_dataset(), name))
            assert not adapter.is_in_memory(getattr(view, name))

    def test_annotations_of_an_image_are_listed_in_ascending_order(self, dset):
        anns = make_dataset().dataset["annotations"]
        for gid in (9, 2, 5, 7):
            expected = sorted(ann["id"] for ann in anns if ann["image_id"] == gid)
            assert adapter.annots_of_image(dset, gid) == expected

    def test_frames_of_a_video_are_listed_in_the_order_of_time(self, dset):
        imgs = make_dataset().dataset["images"]
        for vidid in (4, 2):
            frames = [img for img in imgs if img["video_id"] == vidid]
            frames.sort(key=lambda img: img["frame_index"])
            assert adapter.frames_of_video(dset, vidid) == [img["id"] for img in frames]

    def test_an_unknown_video_is_a_key_error(self, dset):
        for find in (adapter.frames_of_video, adapter.find_video):
            with pytest.raises(KeyError):
                find(dset, 99)

    def test_a_video_is_found_by_its_id(self, dset):
        for video in make_dataset().dataset["videos"]:
            found = adapter.find_video(dset, video["id"])
            assert {key: found[key] for key in video} == video

    def test_a_category_is_found_by_its_name(self, dset):
        for cat in make_dataset().dataset["categories"]:
            assert adapter.find_category(dset, cat["name"])["id"] == cat["id"]
        assert adapter.find_category(dset, "nothing") is None


class TestDatabase:
    """The statements that read whole tables of a view."""

    def test_images_come_with_transforms_and_with_the_keys_that_have_no_column(self, view):
        rows = {row[0]: row for row in listed(view, adapter.IMAGES_QUERY)}
        for img in make_dataset().dataset["images"]:
            *numbers, warp, extra = rows.pop(img["id"])
            assert numbers == [img[key] for key in ("id", "width", "height", "video_id", "frame_index")]
            assert from_json(warp) == img.get("warp_img_to_vid")
            assert (from_json(extra) or {}).get("valid_region") == img.get("valid_region")
        assert rows == {}

    def test_annotations_come_with_their_boxes_as_four_columns(self, view):
        rows = {row[0]: row for row in listed(view, adapter.ANNOTS_QUERY)}
        for ann in make_dataset().dataset["annotations"]:
            _, gid, cid, *box = rows.pop(ann["id"])
            assert (gid, cid) == (ann["image_id"], ann["category_id"])
            assert box == ann.get("bbox", [None] * 4)
        assert rows == {}

    def test_tracks_come_for_the_annotations_that_have_one(self, view):
        rows = [(aid, from_json(track)) for aid, track in listed(view, adapter.TRACKS_QUERY)]
        assert [(aid, int(track)) for aid, track in rows] == [(8, 11)]

    def test_a_connection_answers_queries_and_closes(self, view):
        connection = adapter.open_connection(view)
        cursor = connection.cursor()
        cursor.execute("SELECT COUNT(*) FROM images")
        assert cursor.fetchall()[0][0] == 4
        connection.close()


def remove_and_add(dset: kwcoco.CocoDataset) -> None:
    dset.remove_annotations([8])
    dset.add_annotation(image_id=9, category_id=3, bbox=[1, 2, 3, 4])


class TestEdits:
    """Functions for datasets in memory."""

    @pytest.mark.parametrize(
        "edit",
        [
            lambda dset: dset.add_image(file_name="new.png"),
            lambda dset: dset.add_annotation(image_id=9),
            lambda dset: dset.add_category("new"),
            lambda dset: dset.remove_annotations([1]),
            lambda dset: dset.remove_images([7]),
            remove_and_add,
        ],
        ids=["an image", "an annotation", "a category", "one less", "an image less", "as many as before"],
    )
    def test_adding_or_removing_changes_the_counters(self, edit):
        dset = make_dataset()
        before = adapter.edit_counters(dset)
        assert adapter.edit_counters(dset) == before
        edit(dset)
        assert adapter.edit_counters(dset) != before

    def test_a_dataset_without_an_index_has_no_counters(self):
        assert adapter.edit_counters(object()) == ()

    def test_the_hash_is_that_of_the_contents(self):
        first, second, edited = make_dataset(), make_dataset(), make_dataset()
        edited.anns[8]["bbox"] = [1, 2, 3, 5]
        hashes = [adapter.build_hash(dset) for dset in (first, second, edited)]
        assert hashes[0] == hashes[1] != hashes[2]
        assert hashes[0] == first.hashid

    @pytest.mark.parametrize("value", [pathlib.Path("a.png"), np.zeros(2)], ids=["a path", "an array"])
    def test_a_value_that_kwcoco_cannot_hash_is_a_type_error(self, value):
        dset = make_dataset()
        dset.imgs[9]["odd"] = value
        with pytest.raises(TypeError):
            adapter.build_hash(dset)

    def test_a_view_has_no_hash(self, view):
        assert adapter.build_hash(view) is None


def is_dataset(node: ast.expr) -> bool:
    """Whether an expression is named as datasets are: ``dset``, ``self._dset``, ``coco_dset``."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name.endswith("dset")


def names_insides(value: object) -> bool:
    """Whether a constant is a name for getattr or hasattr, or a statement with columns of a database."""
    if not isinstance(value, str):
        return False
    return value in INSIDES or any(f" {name}" in value for name in PRIVATE_COLUMNS)


def uses_of_insides(tree: ast.Module) -> Iterator[str]:
    """Yield line and name of each use of kwcoco's insides."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if node.attr in INSIDES or (node.attr in INSIDES_OF_DATASETS and is_dataset(node.value)):
                yield f"{node.lineno}: {node.attr}"
        elif isinstance(node, ast.Constant) and names_insides(node.value):
            yield f"{node.lineno}: {node.value[:40]}"


MODULES = sorted(set(ROOT.rglob("*.py")) - {ROOT / "dataset" / "kwcoco_adapter.py"})


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_the_adapter_uses_the_insides_of_kwcoco(path):
    assert list(uses_of_insides(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "line",
    [
        "dset.index.imgs",
        "self._dset.index",
        "coco_dset._state['was_modified']",
        "sampler.dset.gid_to_aids[1]",
        "hasattr(dset, 'engine')",
        "dset._next_ids.unused",
        "fetch(dset, 'SELECT id, _bbox_x FROM annotations')",
    ],
)
def test_a_use_of_the_insides_is_found(line):
    assert len(list(uses_of_insides(ast.parse(line)))) > 0


def test_an_index_of_something_else_is_no_use_of_the_insides():
    assert list(uses_of_insides(ast.parse("self.index.find(1); self._state; rtree.index.Index()"))) == []
