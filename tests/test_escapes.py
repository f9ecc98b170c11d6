"""Names that hold control characters reach no terminal as they are."""

from __future__ import annotations

import io
import json
import logging
import pathlib
import sys
import traceback
import warnings

import kwcoco
import numpy as np
import pytest
from helpers_images import HEIGHT, WIDTH, random_pixels, write_png

import ndsampler
from ndsampler import errors
from ndsampler.abstract_frames import SimpleFrames
from ndsampler.cli.main import main
from ndsampler.errors import NDSamplerError, SourceError, escape_controls
from ndsampler.preview import caption_of, describe
from ndsampler.utils.deprecation import warn_user
from ndsampler.utils.logs import get_logger

#: Sets the title of a terminal, clears it, and shows what follows from right to left.
HOSTILE = "a\x1b]0;owned\x07\x1b[2J\x9b2J\u202eb"

#: What may reach a terminal although it is a control character.
ALLOWED = {"\n", "\t", "\r"}


def controls(text: str) -> set[str]:
    """Return the characters of a text that may control a terminal."""
    return {char for char in text if ord(char) < 32 or 127 <= ord(char) < 160 or char == "\u202e"} - ALLOWED


@pytest.mark.parametrize(
    "name",
    [
        "Größe 1.png",
        "图像\u3000二.png",
        "صورة\u200cها.png",
        "👩\u200d🚀.png",
        "naïve\xa0.tif",
        "日本語 /ｶﾞ.png",
    ],
)
def test_ordinary_names_stay_readable(name):
    assert escape_controls(name) == name
    assert name in str(SourceError(f"{name} is empty"))


def test_lines_and_tabs_of_a_message_stay():
    assert escape_controls("a\n\tb\r\x00") == "a\n\tb\\r\\x00"


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_shows_escaped_text_and_keeps_the_message(name):
    kind = getattr(errors, name)
    error = kind(f"{HOSTILE} is wrong")
    assert not controls(str(error))
    assert str(error).startswith("a\\x1b]0;owned\\x07")
    assert error.args == (f"{HOSTILE} is wrong",)
    assert not controls("".join(traceback.format_exception(error)))


def test_log_lines_are_escaped():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = get_logger("ndsampler.test_escapes")
    logger.addHandler(handler)
    try:
        logger.warning("%s, %s and %d of %r", HOSTILE, ValueError(HOSTILE), 3, "图")
    finally:
        logger.removeHandler(handler)
    shown = stream.getvalue()
    assert not controls(shown)
    assert shown.endswith("and 3 of '图'\n")


def test_every_module_takes_its_logger_from_one_place():
    package = pathlib.Path(ndsampler.__file__).parent
    direct = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "getLogger(__name__)" in path.read_text(encoding="utf-8")
    ]
    assert direct == []


def test_warnings_are_escaped():
    with pytest.warns(UserWarning, match="is deprecated") as caught:
        warn_user(f"{HOSTILE} is deprecated", UserWarning)
    assert not controls(str(caught[0].message))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no control characters in names")
class TestFiles:
    @pytest.fixture
    def dataset(self, tmp_path):
        """Return a dataset of a good and a damaged image, whose names and folder are hostile."""
        folder = tmp_path / HOSTILE
        folder.mkdir()
        names = [f"{HOSTILE}.png", f"{HOSTILE}.tif"]
        write_png(folder / "good.png", random_pixels()).rename(folder / names[0])
        (folder / names[1]).write_bytes(b"II*\x00rubbish")
        images = [
            {"id": n, "file_name": name, "width": WIDTH, "height": HEIGHT} for n, name in enumerate(names, 1)
        ]
        content = {
            "images": images,
            "annotations": [],
            "videos": [],
            "categories": [{"id": 1, "name": HOSTILE}],
        }
        path = folder / "d.kwcoco.json"
        path.write_text(json.dumps(content))
        return path

    def test_no_command_prints_them(self, dataset, tmp_path, capfd):
        work = str(tmp_path / f"work{HOSTILE}")
        options = ["--workdir", work, "--backend", "npy"]
        for command in (
            ["prepare", str(dataset), *options, "--verbose"],
            ["prepare", str(dataset), *options, "--json"],
            ["prepare", f"{dataset}{HOSTILE}", *options],
            ["info", work],
            ["info", work + HOSTILE],
            ["verify", work, str(dataset), "--pixels"],
            ["prune", work, "--unused_by", str(dataset), "--dry_run"],
        ):
            main(command)
        with pytest.raises(SystemExit):
            main(["prune", work, f"--{HOSTILE}"])
        with warnings.catch_warnings(), pytest.raises(SystemExit):
            main([HOSTILE])
        out, err = capfd.readouterr()
        assert "owned" in out
        assert "owned" in err
        assert not controls(out + err)

    def test_no_description_of_samplers_and_samples_shows_them(self, dataset, tmp_path, capfd):
        content = json.loads(dataset.read_text())
        content["images"].pop()
        content["images"][0] |= {"channels": f"{HOSTILE}|g|b", "video_id": 1, "frame_index": 0}
        content["videos"] = [{"id": 1, "name": HOSTILE, "width": WIDTH, "height": HEIGHT}]
        content["annotations"] = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}]
        dataset.write_text(json.dumps(content))
        sampler = ndsampler.CocoSampler(dataset, workdir=tmp_path)
        assert main(["stats", str(dataset)]) == 0
        assert main(["show", str(dataset), "--out", str(tmp_path / f"{HOSTILE}.png")]) == 0
        texts = [*capfd.readouterr(), sampler._repr_html_(), repr(sampler.classes)]
        for target in ({"gid": 1}, {"aid": 1}, {"vidid": 1, "channels": HOSTILE}):
            sample = sampler.load_sample(target)
            texts += [describe(sample), caption_of(sample, sampler.classes)]
        assert not controls("".join(texts))
        assert sum("owned" in text for text in texts) >= 6

    @pytest.mark.parametrize("backend", [None, "npy", "cog"])
    def test_no_traceback_shows_them(self, backend, dataset, tmp_path):
        sampler = ndsampler.CocoSampler(kwcoco.CocoDataset(dataset), workdir=tmp_path, backend=backend)
        paths = {1: sampler.dset.get_image_fpath(2), 2: str(dataset) + HOSTILE}
        frames = SimpleFrames({gid: str(path) for gid, path in paths.items()}, tmp_path, backend)
        for work in (
            lambda: sampler.load_sample({"gid": 2}),
            lambda: sampler.frames.load_image(2),
            lambda: sampler.load_sample({"gid": 1, "channels": HOSTILE}),
            sampler.frames.prepare if backend else lambda: sampler.frames.load_frame(2)[:],
            lambda: frames.load_region(1, (slice(0, 1), slice(0, 1))),
            lambda: frames.load_image(2),
        ):
            with pytest.raises(NDSamplerError) as caught:
                work()
            text = "".join(traceback.format_exception(caught.value))
            assert "owned" in text
            assert not controls(text), text
        assert np.array_equal(sampler.frames.load_region(1), random_pixels())
