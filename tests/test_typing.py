"""Type checkers find mistakes in programs that use the library, and none in a correct one."""

from __future__ import annotations

import re

import pytest
from helpers_optional import import_optional
from helpers_processes import run_python

import_optional("mypy")

#: Lines that a type checker must refuse.
WRONG_LINES = {
    "backend": 'ndsampler.CocoSampler("a.json", backend="cogg")',
    "option": 'ndsampler.CocoSampler("a.json", on_cache_error="ignore")',
    "key_of_a_target": 'target: Target = {"gid": 1, "windowdims": (32, 32)}',
    "target": "sampler.load_sample(1)",
    "attribute": "sampler.n_positive",
    "task": 'sampler.new_sample_grid("image_detect", (32, 32))',
    "argument_of_a_grid": 'sampler.new_sample_grid("image_detection", (32, 32), use_annotations=False)',
    "key_of_a_sample": 'sampler.load_sample({"gid": 1})["annot"]',
    "key_of_annotations": 'sampler.load_positive(0)["annots"]["boxes"]',
    "argument_of_preselect": "sampler.preselect(neg_to_pos=1)",
    "index": 'sampler.load_positive("0")',
    "argument_of_load_negative": "sampler.load_negative(0, windowdims=(32, 32))",
    "argument_of_prepare": "sampler.frames.prepare(worker=2)",
    "pool": 'sampler.show("positive")',
    "output": 'SampleDataset(sampler, "positives", (32, 32), outputs=["picture"])',
    "weights": 'predict(sampler, 1, np.sqrt, (32, 32), weights="mean")',
}

HEAD = """\
import numpy as np
import ndsampler
from ndsampler.training import SampleDataset, predict
from ndsampler.types import Sample, Target

sampler = ndsampler.CocoSampler("a.json")
"""

CORRECT = (
    HEAD
    + """
def count(sample: Sample) -> int:
    return len(sample["annots"]["aids"]) + len(sample["annots"]["rel_boxes"])


target: Target = {"gid": 1, "slices": (slice(0, 9), slice(0, 9)), "pad": (2, 2), "interpolation": "cubic"}
count(sampler.load_sample(target, with_annots=["boxes"]))
count(sampler.load_sample({"aid": 3, "window_dims": "square"}, with_annots="boxes+keypoints"))
count(sampler.load_positive(0, target={"window_dims": (32, 32), "pad": (2, 2)}, visible_thresh=0.5))
total: int = sum(sampler.preselect(n_pos=4, neg_to_pos_ratio=0.5, window_dims=(32, 32), rng=0))
grid = sampler.new_sample_grid("image_detection", window_dims=(32, 32), window_overlap=0.5, legacy=False)
samples: list[Sample] = sampler.load_samples(grid["targets"][:2])
for grid_target in grid["targets"]:
    sampler.load_sample(grid_target)
settings = {"type": "cog", "config": {"compress": "DEFLATE", "blocksize": 256}}
for other in (
    ndsampler.CocoSampler({"images": []}, workdir="cache", backend=settings),
    ndsampler.CocoSampler.coerce("a.json", backend="npy", images="pictures"),
):
    other.show(grid, count=2).save("grid.png")
    other.frames.prepare(workers=2)
dataset = SampleDataset(sampler, grid, outputs=["image", "mask"])
predict(sampler, sampler.image_ids[0], np.sqrt, (32, 32), overlap=0.5, weights="nearest")
"""
)

#: Packages that are not analysed, since that takes longer than everything else; ubelt is a base of samplers.
SETTINGS = """\
[mypy]
strict = True
[mypy-ndsampler.*]
follow_imports = silent
[mypy-cv2.*,delayed_image.*,kwarray.*,kwcoco.*,kwimage.*,networkx.*,numpy.*,pandas.*,psutil.*,rasterio.*,\
shapely.*,torch.*,torchvision.*,xarray.*]
follow_imports = skip
ignore_missing_imports = True
"""


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """Each line that mypy reports, by program: checked in one run, as mypy needs seconds for the library."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "settings.ini").write_text(SETTINGS)
    (folder / "correct.py").write_text(CORRECT)
    (folder / "wrong.py").write_text(HEAD + "\n".join(WRONG_LINES.values()) + "\n")
    options = ["--config-file", "settings.ini", "--cache-dir", "cache", "--no-error-summary"]
    done = run_python("-m", "mypy", *options, "correct.py", "wrong.py", cwd=folder, timeout=240)
    found: dict[str, dict[int, str]] = {"correct.py": {}, "wrong.py": {}}
    for name, line, message in re.findall(r"^(\S+?):(\d+): error: (.*)", done.stdout, re.MULTILINE):
        found[name][int(line)] = message
    assert done.stderr == ""
    return found


def test_a_correct_program_passes(findings):
    assert findings["correct.py"] == {}


@pytest.mark.parametrize("mistake", WRONG_LINES)
def test_a_mistake_is_found(findings, mistake):
    line = len(HEAD.splitlines()) + 1 + list(WRONG_LINES).index(mistake)
    assert line in findings["wrong.py"]
