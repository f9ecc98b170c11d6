"""Each mistake on the page of errors raises the error that the page names."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
from typing import Any

import pytest
from helpers_documents import write_dataset

import ndsampler
from ndsampler import errors

ROOT = pathlib.Path(__file__).resolve().parents[1]

PAGE = (ROOT / "docs" / "source" / "howto" / "errors.rst").read_text(encoding="utf-8")

#: The call and the error of each row.
ROWS = re.findall(r"^   \* - ``(.+)``\n     - ``(\w+)``\n     - .+", PAGE, re.MULTILINE)

#: Errors that depend on the machine; the page describes them without a call.
OF_THE_SYSTEM = {"CacheError", "MissingDependencyError", "WorkerError"}

#: Bases of other errors, which are not raised themselves.
BASES = {"NDSamplerError"}


def make_names(folder: pathlib.Path) -> dict[str, Any]:
    """Return what the calls refer to: samplers of good and of faulty datasets, in a folder."""
    import kwcoco
    import numpy as np

    import ndsampler.training

    write_dataset(folder)
    (folder / "broken.json").write_text('{"images": [')
    (folder / "nothing").mkdir()
    shutil.copytree(folder / "pictures", folder / "cut")
    content = (folder / "cut" / "harbour.png").read_bytes()
    (folder / "cut" / "harbour.png").write_bytes(content[: len(content) // 2])
    coco = json.loads((folder / "annotations.json").read_text())
    wrong = json.loads((folder / "annotations.json").read_text())
    wrong["images"][0].update(width=600, height=450)
    dset = kwcoco.CocoDataset(folder / "my.kwcoco.json")
    sampler = ndsampler.CocoSampler(dset)
    training = ("EpochOrder", "SampleDataset", "assert_disjoint", "predict", "spatial_split")
    return {
        "ndsampler": ndsampler,
        "np": np,
        "dset": dset,
        "sampler": sampler,
        "missing": ndsampler.CocoSampler(coco, images=folder / "nothing"),
        "damaged": ndsampler.CocoSampler(coco, images=folder / "cut"),
        "other_size": ndsampler.CocoSampler(wrong, images=folder / "pictures"),
        "bare": ndsampler.CocoSampler({**coco, "annotations": []}, images=folder / "pictures"),
        "grid": sampler.new_sample_grid("image_detection", (300, 300)),
        **{name: getattr(ndsampler.training, name) for name in training},
    }


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    pytest.importorskip("torch")
    return make_names(tmp_path_factory.mktemp("mistakes"))


@pytest.mark.parametrize("call", [call for call, _ in ROWS])
def test_a_mistake_raises_the_error_that_the_page_names(call, names, monkeypatch):
    monkeypatch.chdir(pathlib.Path(names["dset"].fpath).parent)
    with pytest.raises(ndsampler.NDSamplerError) as caught:
        eval(call, dict(names))
    assert type(caught.value).__name__ == dict(ROWS)[call]


def test_the_page_has_a_hundred_mistakes_and_every_class_of_errors():
    assert len(ROWS) >= 100
    assert len({call for call, _ in ROWS}) == len(ROWS)
    missing = [name for name in errors.__all__ if f"``{name}``" not in PAGE and name not in BASES]
    assert missing == []
    assert {name for _, name in ROWS} >= set(errors.__all__) - OF_THE_SYSTEM - BASES
