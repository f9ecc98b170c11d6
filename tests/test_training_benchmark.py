"""The measurements of training, with small numbers."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from helpers_optional import import_optional

from benchmarks import prediction, training


@pytest.mark.parametrize("side", training.SIDES)
def test_each_side_reports_the_time_and_memory_of_its_first_index(capsys, side):
    import_optional("torch")
    assert training.main(["--act", side, "--items", "1000"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] > 0
    assert found["bytes"] >= 0


def test_the_coverage_of_intervals_is_counted(tmp_path, capsys):
    training.main(["statistics", "--smoke", "--seeds", "3", "--data-dir", str(tmp_path)])
    shares = re.findall(r"([\d.]+)%[,;] ", capsys.readouterr().out)
    assert len(shares) == 6
    assert all(0 <= float(share) <= 100 for share in shares)


def test_locality_opens_each_file_once_and_costs_images_in_a_batch(capsys):
    assert training.main(["locality", "--images", "60"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    names, spread, opened = zip(*(re.match(r"(.*?) +([\d.]+) +(\d+)$", line).groups() for line in lines))
    assert names == ("full shuffle", "locality=128", "locality=32", "locality=8")
    assert [int(count) for count in opened[1:]] == [60, 60, 60]
    assert int(opened[0]) > 1000
    assert float(spread[3]) < float(spread[2]) < float(spread[0])


def test_files_are_opened_again_after_others():
    assert training.count_opened(np.array([1, 2, 1, 3, 1, 2, 2]), most=2) == 4
    assert training.count_opened(np.array([1, 2, 1, 3, 1, 2, 2]), most=3) == 3


def test_both_sides_of_the_prediction_write_the_image(tmp_path):
    args = prediction.parse(["--side", "300", "--window", "128"])
    prediction.write_image(tmp_path / "image.tif", args.side)
    prediction.plan_prediction(tmp_path, args)()
    assert prediction.differing_pixels(tmp_path, args.side) == 0
    prediction.plan_blocks(tmp_path, args)()
    (tmp_path / "blocks.tif").replace(tmp_path / "predict.tif")
    assert prediction.differing_pixels(tmp_path, args.side) == 0
