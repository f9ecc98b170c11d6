"""Warnings: once for each old form, none for today's, at the line of the program, silent when asked."""

from __future__ import annotations

import importlib
import textwrap
import warnings

import numpy as np
import pytest
from helpers_datasets import PLAIN, RGB, stills
from helpers_processes import run_python

import ndsampler
from ndsampler import CocoSampler
from ndsampler.utils import deprecation
from ndsampler.utils.util_lru import LRUDict

TARGET = {"gid": RGB, "cx": 20, "cy": 15, "width": 8, "height": 6}

#: Each old form as a call on a sampler, and what the warning says.
OLD_FORMS = {
    "tr": (lambda s: s.load_sample(tr=TARGET), "tr is now called target"),
    "pad": (lambda s: s.load_sample(TARGET, pad=2), "pad is now the key 'pad'"),
    "padkw": (lambda s: s.load_sample(TARGET, padkw={"constant_values": 3}), "padkw is now the key 'padkw'"),
    "dtype": (lambda s: s.load_sample(TARGET, dtype=np.float32), "dtype is now the key 'dtype'"),
    "nodata": (lambda s: s.load_sample(TARGET, nodata="float"), "nodata is now the key 'nodata'"),
    "tr of a positive": (lambda s: s.load_positive(0, tr={"pad": 1}), "tr is now called target"),
    "pad of a positive": (lambda s: s.load_positive(0, pad=1), "pad is now the key 'pad'"),
    "pad of a negative": (lambda s: s.load_negative(pad=1, rng=0), "pad is now the key 'pad'"),
    "pad of an item": (lambda s: s.load_item(0, pad=1), "pad is now the key 'pad'"),
    "tr of an item": (lambda s: s.load_item(0, tr={"pad": 1}), "tr is now called target"),
    "spelling": (
        lambda s: s.catgraph.heirarchical_softmax(np.zeros((1, len(s.classes))), dim=1),
        "call hierarchical_softmax instead",
    ),
    "CocoDataset": (lambda s: ndsampler.CocoDataset, "ndsampler.CocoDataset is now kwcoco.CocoDataset"),
    "coco_dataset": (
        lambda s: importlib.import_module("ndsampler.coco_dataset").CocoDataset,
        "ndsampler.coco_dataset.CocoDataset is now kwcoco.CocoDataset",
    ),
    "util_futures": (
        lambda s: importlib.import_module("ndsampler.util_futures").JobPool,
        "ndsampler.util_futures.JobPool is now ubelt.util_futures.JobPool",
    ),
    "util": (
        lambda s: importlib.import_module("ndsampler.util").util_lru,
        "ndsampler.util.util_lru is now ndsampler.utils.util_lru",
    ),
}

#: A program in today's forms, on a dataset in the current folder.
TODAY = """
    import kwcoco, ndsampler
    from ndsampler import coerce_data, frame_cache, utils
    from ndsampler.utils import util_futures, util_gdal, util_lru, util_misc, util_shape, validate_cog
    dset = kwcoco.CocoDataset("data.kwcoco.json")
    for backend in (None, "npy", "cog"):
        sampler = ndsampler.CocoSampler(dset, workdir="work", backend=backend)
        sampler.frames.prepare()
        sampler.load_sample({"gid": 11, "slices": (slice(2, 9), slice(0, 5)), "pad": 1, "dtype": "float32"})
        sampler.load_sample({"gid": 11, "cx": 9, "cy": 9, "width": 5, "height": 5, "scale": 0.5,
                             "nodata": "float", "padkw": {"constant_values": 2}, "channels": "r|g|b"})
        sampler.preselect(n_pos=2, n_neg=1, window_dims=(8, 8), rng=0)
        sampler.load_positive(0, target={"window_dims": (4, 4)}, with_annots="boxes+segmentation")
        sampler.load_negative(0), sampler.load_item(1), sampler.load_image_with_annots(11)
        sampler.load_target_annots({"gid": 11}), sampler.load_annots({"gid": 11})
        sampler.load_annotations(11), sampler.load_image(11)
        sampler.new_sample_grid("image_detection", (16, 16), 0.5), sampler.classes.idx_to_node
        sampler.hashid, sampler.frames.hashid, sampler.regions.hashid, sampler.image_ids
    ndsampler.DynamicToySampler().load_positive()
    print("done")
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No old form has been warned of yet, and the environment silences nothing."""
    monkeypatch.setattr(deprecation, "_given", set())
    monkeypatch.delenv("NDSAMPLER_DISABLE_WARNINGS", raising=False)
    monkeypatch.delenv("NDSAMPLER_DISABLE_OPTIONAL_WARNINGS", raising=False)


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    return CocoSampler(stills(tmp_path_factory.mktemp("stills")).dset)


def caught_in(call, *args) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*args)
    return [warning for warning in caught if warning.category is not DeprecationWarning]


@pytest.mark.parametrize("form", OLD_FORMS)
def test_an_old_form_warns_once_at_the_line_that_uses_it(sampler, form):
    call, message = OLD_FORMS[form]
    caught = [warning for _ in range(3) for warning in caught_in(call, sampler)]
    assert len(caught) == 1
    assert caught[0].category is FutureWarning
    assert message in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("form", OLD_FORMS)
def test_an_old_form_is_an_error_each_time_where_warnings_are(sampler, form):
    call, message = OLD_FORMS[form]
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        for _ in range(2):
            with pytest.raises(FutureWarning, match=message):
                call(sampler)


@pytest.mark.parametrize("form", OLD_FORMS)
def test_the_environment_silences_old_forms_and_only_as_long_as_it_says_so(sampler, form, monkeypatch):
    call, _ = OLD_FORMS[form]
    monkeypatch.setenv("NDSAMPLER_DISABLE_WARNINGS", "1")
    assert caught_in(call, sampler) == []
    monkeypatch.setenv("NDSAMPLER_DISABLE_WARNINGS", "0")
    assert len(caught_in(call, sampler)) == 1


def test_two_old_forms_in_one_call_warn_of_each(sampler):
    caught = caught_in(lambda: sampler.load_sample(tr=TARGET, pad=1))
    assert sorted(str(warning.message).split()[2] for warning in caught) == ["pad", "tr"]


def test_an_unknown_argument_warns_at_the_line_that_gives_it(sampler, monkeypatch):
    (caught,) = caught_in(lambda: sampler.load_positive(0, window=3))
    assert caught.category is UserWarning
    assert "unknown arguments are ignored: window" in str(caught.message)
    assert caught.filename == __file__
    monkeypatch.setenv("NDSAMPLER_DISABLE_WARNINGS", "1")
    assert caught_in(lambda: sampler.load_positive(0, window=3)) == []


def test_too_few_negatives_warn_at_the_line_that_asks_for_them(sampler):
    index = sampler.regions.isect_index
    (caught,) = caught_in(lambda: index.random_negatives(3, window_size=(900, 900), exact="warn", rng=0))
    assert "found 0 of 3 negatives" in str(caught.message)
    assert caught.filename == __file__


@pytest.mark.parametrize("variable", ["NDSAMPLER_DISABLE_WARNINGS", "NDSAMPLER_DISABLE_OPTIONAL_WARNINGS"])
def test_the_environment_silences_what_is_said_of_optional_packages(variable, monkeypatch):
    (caught,) = caught_in(lambda: LRUDict.new(max_size=2, impl="c"))
    assert "lru-dict" in str(caught.message)
    assert caught.filename == __file__
    monkeypatch.setenv(variable, "1")
    assert caught_in(lambda: LRUDict.new(max_size=2, impl="c")) == []


def test_old_forms_warn_where_only_optional_packages_are_silenced(sampler, monkeypatch):
    monkeypatch.setenv("NDSAMPLER_DISABLE_OPTIONAL_WARNINGS", "1")
    assert len(caught_in(lambda: sampler.load_sample(TARGET, pad=1))) == 1


def test_an_import_statement_of_an_old_name_is_named_by_its_line(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import os\n\nfrom ndsampler import CocoDataset\n")
    done = run_python("-W", "always::FutureWarning", program)
    assert f"{program}:3: FutureWarning: ndsampler.CocoDataset is now kwcoco.CocoDataset" in done.stderr


def test_forms_of_today_do_not_warn(sampler):
    assert caught_in(lambda: sampler.load_sample({**TARGET, "pad": 1, "padkw": {}, "nodata": None})) == []
    assert caught_in(lambda: sampler.load_sample({"aid": PLAIN}, with_annots=["boxes"])) == []


def test_a_program_of_today_runs_where_future_warnings_are_errors(tmp_path):
    dset = stills(tmp_path).dset
    dset.fpath = str(tmp_path / "data.kwcoco.json")
    dset.dump(dset.fpath)
    done = run_python("-W", "error::FutureWarning", "-c", textwrap.dedent(TODAY), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done"


def test_a_form_that_was_warned_of_costs_one_look_into_a_set(monkeypatch):
    monkeypatch.setattr(deprecation, "_given", {"an old form"})
    monkeypatch.setattr(deprecation, "warn_user", None)
    deprecation.warn_once("an old form")
