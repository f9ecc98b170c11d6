"""The commands ``show`` and ``stats``, shards of ``prepare``, and help with mistakes in what is typed."""

from __future__ import annotations

import io
import json
import pathlib
import re

import numpy as np
import pytest
from helpers_demo import decode, run_cli, write_dataset

import ndsampler
from ndsampler.__main__ import main
from ndsampler.cli.show import KINDS
from ndsampler.preview.stats import dataset_stats
from ndsampler.utils.progress import progress_bar

CATEGORIES = [{"id": 4, "name": "boat"}, {"id": 9, "name": "buoy"}]
BOXES = [(10, 10, 20, 15), (40, 30, 12, 12), (5, 50, 9, 17), (60, 5, 8, 8)]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Write a dataset with a video of three frames into the current folder."""
    monkeypatch.chdir(tmp_path)
    annots = [
        {"id": number, "image_id": 1 + number % 2, "category_id": (4, 4, 9)[number % 3], "bbox": list(box)}
        for number, box in enumerate(BOXES, start=1)
    ]
    video = {"id": 1, "name": "film", "width": 90, "height": 70}
    return write_dataset(tmp_path, annots, CATEGORIES, [video])


def files_of(workdir):
    """Return the content of each file of a cache by its path."""
    root = pathlib.Path(workdir)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class TestShow:
    @pytest.mark.parametrize("what", KINDS)
    def test_each_kind_gives_a_picture_of_the_size_that_is_printed(self, data, capsys, what):
        code, out, err = run_cli(
            capsys, "show", data, "--what", what, "--window", "32x24", "--out", f"{what}.png"
        )
        assert (code, err) == (0, "")
        height, width = decode(f"{what}.png").shape[:2]
        assert out == f"{what}.png: {what}, {width} x {height} pixels\n"

    def test_it_shows_what_the_sampler_shows(self, data, capsys):
        run_cli(capsys, "show", "--src", data, "--count=3", "--seed", 5, "--window", 20)
        shown = ndsampler.CocoSampler(data).show(count=3, rng=5, window_dims=(20, 20))
        assert (decode("sheet.png") == shown.pixels).all()
        assert {path.suffix for path in pathlib.Path().iterdir() if path.is_file()} == {".json", ".png"}

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("--bands swir", "swir"),
            ("--out a.xyz", "expected a file name that ends with"),
            ("--count 0", "count is 0"),
            ("--seed -1", "--seed is -1"),
        ],
    )
    def test_what_cannot_be_shown_is_one_line(self, data, capsys, words, message):
        code, out, err = run_cli(capsys, "show", data, *words.split())
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err


class TestStats:
    def test_the_numbers_are_those_of_the_dataset(self, data):
        sampler = ndsampler.CocoSampler(data)
        stats = dataset_stats(sampler, (32, 24))
        assert (stats.images, stats.annotations, stats.images_without_annotations) == (3, 4, 1)
        counts = dict.fromkeys(("boat", "buoy"), 0)
        for ann in sampler.dset.anns.values():
            counts[sampler.dset.cats[ann["category_id"]]["name"]] += 1
        assert stats.classes == counts
        assert stats.box_widths.median == np.median([box[2] for box in BOXES])
        assert (stats.widths.smallest, stats.heights.largest) == (90, 70)
        for low, count in stats.box_sides.items():
            assert count == sum(low <= np.sqrt(box[2] * box[3]) < 2 * low for box in BOXES)
        assert stats.npy_bytes == 3 * 90 * 70 * 3

    @pytest.mark.parametrize("window", [(32, 24), (70, 90), (7, 89), (1, 45)])
    def test_the_windows_are_those_of_a_grid(self, data, window):
        sampler = ndsampler.CocoSampler(data)
        grid = sampler.new_sample_grid("image_detection", window, use_annots=False)
        assert dataset_stats(sampler, window).windows == len(grid["targets"])

    def test_the_expected_npy_cache_is_about_the_one_that_is_made(self, data, capsys):
        sampler = ndsampler.CocoSampler(data, workdir="work", backend="npy")
        sampler.frames.prepare(verbose=0)
        made = sum(len(content) for name, content in files_of("work").items() if name.endswith(".npy"))
        assert dataset_stats(sampler).npy_bytes == pytest.approx(made, rel=0.1)

    def test_it_prints_tables_json_and_a_picture(self, data, capsys):
        code, out, err = run_cli(capsys, "stats", data, "--window", "32", "--out", "stats.png")
        assert (code, err) == (0, "")
        assert "3 images, 1 video, 0.0 megapixels; 4 annotations; 1 image without any" in out
        assert re.search(r"^boat +\d$", out, re.MULTILINE)
        assert decode("stats.png").shape[1] > 500
        code, out, _ = run_cli(capsys, "stats", data, "--window", "32", "--json")
        assert json.loads(out) == dataset_stats(ndsampler.CocoSampler(data), (32, 32)).to_json()

    def test_a_dataset_without_annotations_or_categories_is_counted(self, tmp_path, capsys):
        path = write_dataset(tmp_path / "plain")
        code, out, _ = run_cli(capsys, "stats", path, "--out", tmp_path / "a.png")
        assert code == 0
        assert "0 annotations; 3 images without any" in out


class TestShards:
    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_all_shards_together_make_what_one_run_makes(self, data, capsys, count):
        run_cli(capsys, "prepare", data, "--workdir", "whole", "--backend", "npy", "--quiet")
        made = 0
        for number in range(1, count + 1):
            words = (
                "prepare",
                data,
                "--workdir",
                "parts",
                "--backend",
                "npy",
                "--shard",
                f"{number}/{count}",
            )
            code, out, _ = run_cli(capsys, *words, "--json")
            report = json.loads(out)
            assert (code, report["present"]) == (0, 0)
            made += report["made"]
        assert made == 3
        assert files_of("parts") == files_of("whole")

    def test_images_of_the_same_file_are_one_job(self, data, capsys):
        content = json.loads(data.read_text())
        for number in range(10, 30):
            content["images"].append({**content["images"][0], "id": number, "name": str(number)})
        data.write_text(json.dumps(content))
        reports = []
        for number in (1, 2, 3):
            _, out, _ = run_cli(
                capsys, "prepare", data, "--workdir", "work", "--shard", f"{number}/3", "--json"
            )
            reports.append(json.loads(out))
        assert sum(report["images"] for report in reports) == 23
        assert [report["present"] for report in reports] == [0, 0, 0]

    @pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "a/b", "1/0", "-1/2"])
    def test_a_shard_that_is_none_is_refused(self, data, capsys, shard):
        with pytest.raises(SystemExit) as stopped:
            main(["prepare", str(data), f"--shard={shard}"])
        assert stopped.value.code == 2
        assert "is not a shard; expected I/N" in capsys.readouterr().err


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("shw data.json", "ndsampler: error: there is no command shw; did you mean show?"),
            ("frobnicate", "there is no command frobnicate; the commands are demo, show, stats, prepare,"),
            (
                "show x.json --coutn 3",
                "ndsampler show: error: there is no option --coutn; did you mean --count?",
            ),
            ("prune work --dryrun", "there is no option --dryrun; did you mean --dry_run?"),
            ("prune work --zzz", "ndsampler prune: error: there is no option --zzz\n"),
            ("info work more", "ndsampler info: error: unexpected argument: more"),
            ("show x.json --window 3y", "argument --window: 3y is not a size; expected 256 or 256x512"),
        ],
    )
    def test_what_was_meant_is_suggested_below_the_usage_of_the_command(self, capsys, words, message):
        with pytest.raises(SystemExit) as stopped:
            main(words.split())
        err = capsys.readouterr().err
        assert stopped.value.code == 2
        assert message in err
        prog = re.search(r"^(ndsampler.*): error: ", err, re.MULTILINE)[1]
        assert err.startswith(f"usage: {prog} ")


class Terminal(io.StringIO):
    def isatty(self):
        return True


class TestProgress:
    def test_a_log_file_gets_whole_lines_and_a_terminal_one_that_is_redrawn(self):
        log, terminal = io.StringIO(), Terminal()
        for stream in (log, terminal):
            assert list(progress_bar(range(5), desc="work", stream=stream)) == [0, 1, 2, 3, 4]
        assert "\r" not in log.getvalue()
        assert log.getvalue().endswith("\n")
        assert "5/5" in log.getvalue().splitlines()[-1]
        assert "\r" in terminal.getvalue()

    def test_many_steps_are_few_lines(self):
        log = io.StringIO()
        list(progress_bar(range(100_000), desc="work", stream=log))
        assert log.getvalue().count("\n") < 10

    def test_not_verbose_is_silent(self):
        log = io.StringIO()
        list(progress_bar(range(5), desc="work", stream=log, verbose=0))
        assert log.getvalue() == ""
