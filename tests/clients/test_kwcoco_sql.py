"""kwcoco's own tests of its view of a dataset in a database, and what it does to a sampler of one."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
from in_workers import sample_content

import ndsampler
from ndsampler.utils import util_lru

kwcoco_sql = pytest.importorskip("kwcoco.coco_sql_dataset")

#: The files of kwcoco's tests that are about databases.
SQL_TESTS = ("test_sql_database.py", "test_sql_with_torch_datasets.py", "test_postgresql.py")


@pytest.fixture
def view(still_dset):
    return still_dset.view_sql()


def kwcoco_tests() -> list[str]:
    """Return the paths of kwcoco's tests in its sources, which its wheel leaves out."""
    root = os.environ.get("KWCOCO_SOURCES")
    if root is None:
        pytest.skip("KWCOCO_SOURCES names no folder with kwcoco's sources; .ci/clients gets them")
    return [str(pathlib.Path(root) / "tests" / name) for name in SQL_TESTS]


def test_the_tests_of_kwcoco_pass():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *kwcoco_tests()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_the_examples_of_kwcoco_pass():
    command = [sys.executable, "-m", "xdoctest", kwcoco_sql.__file__, "all"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_the_rows_that_a_view_keeps_are_kept_by_this_library(view):
    assert isinstance(kwcoco_sql._new_proxy_cache(), type(util_lru.LRUDict.new(max_size=1000, impl="auto")))
    assert view.imgs[1]["id"] == view.imgs[1]["id"] == 1


def test_a_sampler_of_a_view_with_a_made_up_hashid_does_what_kwcoco_asks_of_it(view, still_dset):
    view.hashid = "foobarjunk"
    sampler = ndsampler.CocoSampler(view, backend=None)
    regions = sampler.regions
    assert regions.isect_index.overlapping_aids(1, still_dset.annots([1]).boxes)
    assert [len(part) for part in regions.get_segmentations([1, 3])] == [1, 1]
    assert regions.get_positive(1)["aid"] == regions.targets["aid"][1]
    negative = regions.get_negative()
    assert regions.overlapping_aids(negative["gid"], boxes_of(negative)) == []


def boxes_of(target):
    """Return the box of a target of the pools."""
    import kwimage

    return kwimage.Boxes([[target[key] for key in ("cx", "cy", "width", "height")]], "cxywh")


def test_a_sampler_of_a_view_gives_the_samples_of_the_dataset(view, still_dset):
    ours, plain = ndsampler.CocoSampler(view), ndsampler.CocoSampler(still_dset)
    for index in range(plain.n_positives):
        target = plain.regions.get_positive(index)
        assert sample_content(ours, target) == sample_content(plain, target)
