"""Every command that opens a dataset takes the folder of its images."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from helpers_demo import run_cli, table_rows
from helpers_images import random_pixels, write_png

DEMO = "demo --data ann/data.json --out out --samples 2 --window 16 --size 64"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command beside a dataset without sizes, with its images elsewhere."""
    monkeypatch.chdir(tmp_path)
    for folder in ("ann", "val"):
        (tmp_path / folder).mkdir()
    for gid in (1, 2):
        write_png(tmp_path / "val" / f"{gid}.png", random_pixels(dims=(40, 50), seed=gid))
    images = [{"id": gid, "file_name": f"{gid}.png"} for gid in (1, 2)]
    annots = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 9, 9]}]
    content = {"images": images, "annotations": annots, "categories": [{"id": 1, "name": "x"}]}
    (tmp_path / "ann" / "data.json").write_text(json.dumps(content))
    return lambda line: run_cli(capsys, *shlex.split(line))


def test_images_of_another_folder_are_prepared_verified_and_kept(run):
    code, out, err = run("prepare ann/data.json --images val --workdir work --quiet")
    assert (code, out, err) == (0, "", "")
    code, out, _ = run("verify work ann/data.json --images val --pixels --quiet")
    assert code == 0
    assert "2 entries read" in out
    assert "the pixels of 2 compared" in out
    _, out, _ = run("prune work --unused_by ann/data.json --images=val --dry_run")
    assert "would remove 0" in out
    _, out, _ = run("prune work --unused_by ann/data.json --dry_run")
    assert "would remove 2" in out


def test_the_demo_draws_and_measures_images_of_another_folder(run):
    code, out, err = run(f"{DEMO} --images val --seconds 0.05")
    assert code == 0, err
    assert set(table_rows(out)) == {"none", "npy", "cog"}
    assert re.search(r"CocoSampler\('.*data.json', images='.*val', workdir=", out)


def test_without_the_folder_the_error_says_where_the_images_are(run):
    for line in ("prepare ann/data.json --workdir work --quiet", f"{DEMO} --seconds 0"):
        code, _, err = run(line)
        assert code in (1, 2)
        assert "1.png does not exist" in err
        assert "--images" in err
        assert "val'" in err


@pytest.mark.parametrize("command", ["prepare ann/data.json", "verify work ann/data.json", DEMO])
def test_a_folder_that_does_not_exist_is_named(run, command, capsys):
    with pytest.raises(SystemExit) as caught:
        run(f"{command} --images vall")
    assert caught.value.code == 2
    assert "vall is not a folder" in capsys.readouterr().err


def test_a_number_of_images_is_pointed_to_its_own_option(run, capsys):
    with pytest.raises(SystemExit):
        run(f"{DEMO} --images 16")
    assert "--max_images" in capsys.readouterr().err
