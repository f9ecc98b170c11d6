"""Unfinished maps that somebody else has prepared: links are not followed, and a bad state is not used."""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np
import pytest
from helpers_images import random_pixels
from helpers_maps import DIMS, WINDOW, make_sampler, read_map
from helpers_workdir import make_socket

from ndsampler.errors import ArgumentError
from ndsampler.training import predict

FILES = ["state.json", "state.json.new", "tiles.tif", "map.tif"]


@pytest.fixture(name="sampler")
def fixture_sampler(tmp_path):
    return make_sampler(tmp_path)


def double(pixels: np.ndarray) -> np.ndarray:
    """Return other values for pixels."""
    return pixels.astype(np.float32) * 2


class Stopped(BaseException):
    """Stops a run, as Ctrl-C does."""


def leave_unfinished(sampler, out: pathlib.Path) -> pathlib.Path:
    """Stop a run after some windows, and return the folder of its map."""
    left = iter(range(14))

    def limited(pixels):
        if next(left, None) is None:
            raise Stopped
        return double(pixels)

    with pytest.raises(Stopped):
        predict(sampler, 1, limited, WINDOW, out=out, batch_size=1)
    return pathlib.Path(f"{out}.partial")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("link", name) for name in FILES),
        *(
            ("hard link", "tiles.tif"),
            ("hard link", "state.json.new"),
            ("pipe", "state.json"),
            ("pipe", "map.tif"),
        ),
        *(("socket", name) for name in ("state.json", "tiles.tif")),
        ("folder", "state.json"),
    ],
)
def test_what_is_no_file_of_a_run_is_not_written_to(name, kind, sampler, tmp_path):
    folder = leave_unfinished(sampler, tmp_path / "map.tif")
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (folder / name).unlink(missing_ok=True)
    put = {"link": os.symlink, "hard link": os.link}
    if kind in put:
        put[kind](precious, folder / name)
    elif kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "socket":
        make_socket(folder / name)
    else:
        (folder / name).mkdir()
    with pytest.raises(ArgumentError, match="is a link, a pipe or the like"):
        predict(sampler, 1, double, WINDOW, out=tmp_path / "map.tif")
    assert precious.read_bytes() == b"precious"
    assert not (tmp_path / "map.tif").exists()


def test_a_folder_that_is_a_link_is_not_followed(sampler, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "state.json").write_text("precious")
    (tmp_path / "map.tif.partial").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArgumentError, match="is a link, a pipe or the like"):
        predict(sampler, 1, double, WINDOW, out=tmp_path / "map.tif")
    assert os.listdir(tmp_path / "elsewhere") == ["state.json"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("name", ["", "state.json", "tiles.tif"])
def test_what_another_user_has_left_is_not_resumed(name, sampler, tmp_path):
    folder = leave_unfinished(sampler, tmp_path / "map.tif")
    os.chown(folder / name, 12345, -1)
    with pytest.raises(ArgumentError, match="belongs to another user"):
        predict(sampler, 1, double, WINDOW, out=tmp_path / "map.tif")


POISONED = {
    **{f"bands {value!r}": {"bands": value} for value in (0, 10**9, 2.0, "2")},
    **{f"rows {value!r}": {"tile_rows": value} for value in (-1, 10**9, "1", False)},
    **{f"type {value!r}": {"dtype": value} for value in ("O", "none", 5)},
}


@pytest.mark.parametrize("change", POISONED.values(), ids=POISONED.keys())
def test_a_state_that_makes_no_sense_is_started_over(change, sampler, tmp_path):
    folder = leave_unfinished(sampler, tmp_path / "map.tif")
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, **change}))
    found = read_map(predict(sampler, 1, double, WINDOW, out=tmp_path / "map.tif"))
    image = random_pixels("uint8", 3, DIMS, seed=5)
    np.testing.assert_allclose(found["pixels"], image * np.float32(2), rtol=1e-6)


@pytest.mark.parametrize("text", ["", "[" * 100_000, "null", '{"plan": 1e999}', "\0"])
def test_a_state_that_is_no_state_is_started_over(text, sampler, tmp_path):
    folder = leave_unfinished(sampler, tmp_path / "map.tif")
    (folder / "state.json").write_text(text)
    assert predict(sampler, 1, double, WINDOW, out=tmp_path / "map.tif") == str(tmp_path / "map.tif")
    assert not folder.exists()
