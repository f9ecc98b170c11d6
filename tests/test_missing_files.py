"""The error for a missing image file says where it was looked for, where it may be, and what to do."""

from __future__ import annotations

import os
import re
import traceback

import kwcoco
import pytest
from helpers_images import random_pixels, write_png

import ndsampler
from ndsampler.abstract_frames import SimpleFrames
from ndsampler.dataset import missing_file
from ndsampler.dataset.missing_file import describe_missing
from ndsampler.errors import MissingSourceError, SourceError


@pytest.fixture(autouse=True)
def _no_memory(monkeypatch):
    """Forget what was searched for before."""
    monkeypatch.setattr(missing_file, "_found_in", {})


def message(folder, name: str) -> str:
    """Return the error for a file name of a dataset in a folder."""
    return describe_missing(os.path.abspath(os.path.join(folder, name)), folder)


def make_file(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


@pytest.mark.parametrize("place", ["ann/val/a.png", "ann/x/y/a.png", "val/a.png", "images/val/a.png"])
def test_a_file_of_that_name_below_or_beside_the_folder_is_found(tmp_path, place):
    (tmp_path / "ann").mkdir()
    make_file(tmp_path / place)
    text = message(tmp_path / "ann", "a.png")
    right = str((tmp_path / place).parent)
    assert text.startswith(
        f"{tmp_path / 'ann' / 'a.png'} does not exist: the file name is 'a.png', in the folder"
    )
    assert f"There is {tmp_path / place}" in text
    assert f"images={right!r}" in text
    assert f"dset.bundle_dpath = {right!r}" in text
    assert f"--images {right} to a command" in text


def test_the_folder_of_a_name_with_folders_is_the_one_it_starts_from(tmp_path):
    make_file(tmp_path / "coco" / "val" / "a.png")
    (tmp_path / "ann").mkdir()
    assert f"images={str(tmp_path / 'coco')!r}" in message(tmp_path / "ann", os.path.join("val", "a.png"))
    text = message(tmp_path / "ann", os.path.join("test", "a.png"))
    assert f"There is {tmp_path / 'coco' / 'val' / 'a.png'}" in text
    assert "images='FOLDER'" in text


def test_a_folder_that_does_not_exist_is_said_to(tmp_path):
    assert f"in the folder {tmp_path / 'none'}, which does not exist." in message(tmp_path / "none", "a.png")


def test_one_search_serves_all_files_of_a_folder(tmp_path, monkeypatch):
    for name in "abc":
        make_file(tmp_path / "val" / f"{name}.png")
    (tmp_path / "ann").mkdir()
    searched = []
    search = missing_file._search_folders
    monkeypatch.setattr(missing_file, "_search_folders", lambda root: searched.append(root) or search(root))
    for name in "abc":
        assert f"There is {tmp_path / 'val' / name}.png" in message(tmp_path / "ann", f"{name}.png")
    assert "There is" not in message(tmp_path / "ann", "d.png")
    assert len(searched) == 1


def test_the_search_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(missing_file, "MAX_FOLDERS", 5)
    for number in range(9):
        make_file(tmp_path / "ann" / str(number) / ("a.png" if number == 8 else "b.png"))
    assert "There is" not in message(tmp_path / "ann", "a.png")


@pytest.mark.skipif(os.sep != "/", reason="the backslash separates folders here")
def test_backslashes_are_pointed_out(tmp_path):
    make_file(tmp_path / "val" / "a.png")
    text = message(tmp_path, "val\\a.png")
    assert "contains '\\', the separator of Windows: write '/'" in text
    assert f"There is {tmp_path / 'val' / 'a.png'}" in text
    assert "Windows" not in message(tmp_path, "val/b.png")


def test_escapes_of_urls_are_pointed_out(tmp_path):
    assert "urllib.parse.unquote" in message(tmp_path, "a%20b.png")
    assert "unquote" not in message(tmp_path, "100%.png")
    assert "urllib.parse.unquote" in describe_missing("/none/a%20b.png")


def test_an_absolute_path_is_changed_by_reroot(tmp_path):
    old = tmp_path / "old"
    text = describe_missing(str(old / "a.png"), str(tmp_path / "ann"))
    assert text == (
        f"{old / 'a.png'} does not exist. If the images are in another folder, change the paths in the "
        f"dataset: dset.reroot(old_prefix={str(old)!r}, new_prefix='FOLDER')"
    )
    # The advice works.
    new = tmp_path / "new"
    write_png(make_parent(new / "a.png"), random_pixels(dims=(5, 6)))
    dset = kwcoco.CocoDataset({"images": [{"id": 1, "file_name": str(old / "a.png")}]})
    dset.reroot(old_prefix=str(old), new_prefix=str(new))
    assert ndsampler.CocoSampler(dset).load_image(1).shape == (5, 6, 3)


def make_parent(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize("backend", [None, "npy", "cog"])
@pytest.mark.parametrize(
    "action",
    [
        lambda sampler: sampler.load_sample({"gid": 4}),
        lambda sampler: sampler.load_sample({"gid": 4, "channels": "r"}),
        lambda sampler: sampler.load_image(4),
        lambda sampler: sampler.frames[0],
        lambda sampler: sampler.frames.load_frame(4),
        lambda sampler: sampler.frames.load_region(4),
        lambda sampler: sampler.preselect(n_neg=1, window_dims=(4, 4)),
    ],
)
def test_every_way_to_read_gives_one_traceback_with_the_advice(tmp_path, backend, action):
    write_png(make_parent(tmp_path / "val" / "a.png"), random_pixels(dims=(12, 16)))
    (tmp_path / "ann").mkdir()
    images = [{"id": 4, "file_name": "a.png"}]
    dset = kwcoco.CocoDataset({"images": images}, bundle_dpath=str(tmp_path / "ann"))
    sampler = ndsampler.CocoSampler(dset, workdir=tmp_path / "work", backend=backend)
    with pytest.raises(MissingSourceError, match=r"image 4.*a\.png does not exist") as caught:
        action(sampler)
    advice = re.search(r"give images='(.+?)' to the sampler", str(caught.value))
    text = "".join(traceback.format_exception(caught.value))
    assert text.count("Traceback (most recent call last)") == 1
    fixed = ndsampler.CocoSampler(dset, workdir=tmp_path / "work", backend=backend, images=advice[1])
    action(fixed)


def test_a_damaged_file_has_no_more_tracebacks_than_causes(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"garbage")
    sampler = ndsampler.CocoSampler({"images": [{"id": 4, "file_name": str(tmp_path / "a.tif")}]})
    with pytest.raises(OSError, match=r"image 4: .*a\.tif") as caught:
        sampler.load_image(4)
    assert "".join(traceback.format_exception(caught.value)).count("Traceback (most") <= 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("backend", [None, "npy", "cog"])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.vrt", "a.npy", "a.jp2", "a"])
def test_a_source_that_is_no_file_is_an_error(tmp_path, name, backend):
    os.mkfifo(tmp_path / f"pipe_{name}")
    (tmp_path / f"folder_{name}").mkdir()
    for kind in ("pipe", "folder"):
        frames = SimpleFrames({1: tmp_path / f"{kind}_{name}"}, workdir=tmp_path / "work", backend=backend)
        with pytest.raises(SourceError, match="is a folder, a pipe or a device; expected an image file"):
            frames.load_region(1)
