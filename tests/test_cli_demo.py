"""The command demo: on the dataset that it makes, and on a dataset of the user."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from helpers_demo import decode, run_cli, table_rows, write_dataset

from ndsampler.cli import demo
from ndsampler.demo import compare
from ndsampler.preview import GAP, TEXT_ROW, choice

SIZE = 1200


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory):
    """Run the whole command once, small; return its folder and what it printed."""
    out = tmp_path_factory.mktemp("demo run")
    command = [sys.executable, "-m", "ndsampler", "demo", "--out", str(out), "--size", str(SIZE)]
    done = subprocess.run(
        [*command, "--samples", "6", "--seconds", "0.2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return out, done.stdout


class TestDemoCommand:
    def test_the_sheet_shows_six_samples_an_overview_and_a_film(self, demo_run):
        sheet = decode(demo_run[0] / "samples.png")
        # Two rows of five cells, four of which the overview takes, and a row of frames.
        assert sheet.shape[1] == 5 * (demo.SIDE + GAP) + GAP
        frame = (sheet.shape[1] - GAP) // choice.STRIP_FRAMES - GAP
        assert 0 < sheet.shape[0] - 2 * (demo.SIDE + TEXT_ROW) - (frame + TEXT_ROW) < 4 * TEXT_ROW
        assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 1000

    def test_the_table_has_speed_cache_and_memory_of_each_backend(self, demo_run):
        rows = table_rows(demo_run[1])
        assert list(rows) == ["none", "npy", "cog"]
        for name, cells in rows.items():
            assert float(cells[1].replace(",", "")) > 0
            assert cells[2].endswith("s")
            assert cells[3].endswith("s")
            assert (cells[4] == "-") == (name == "none")
            assert cells[5].endswith("B")

    def test_each_phase_is_announced_in_order(self, demo_run):
        text = demo_run[1]
        phases = [
            "Painting 6 smaller images ...",
            f"Painting a {SIZE} x {SIZE} image",
            "Painting a film ...",
            "Converting the images to cloud-optimized GeoTIFF ...",
            "Drawing 6 random samples",
            "Measuring backend none",
            "Converting the images to npy files ...",
            "Measuring backend npy",
            "Measuring backend cog",
        ]
        places = [text.index(phase) for phase in phases]
        assert places == sorted(places)

    def test_it_prints_where_the_files_are_and_what_to_do_next(self, demo_run):
        out, text = demo_run
        assert f"Output folder: {out}" in text
        assert "demo --data my.kwcoco.json" in text
        assert f"Open {out / 'samples.png'}" in text
        assert f"delete {out}" in text

    def test_the_python_lines_at_the_end_work(self, demo_run):
        lines = [line[4:] for line in demo_run[1].splitlines() if line.startswith("    ")]
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines[:-1]) + f"\nprint(({lines[-1]})[0])"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.stdout.strip() == "(256, 256, 3)", done.stderr

    def test_a_second_run_uses_the_files_of_the_first(self, demo_run, capsys):
        out = demo_run[0]
        files = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".png"]
        before = {path: path.stat().st_mtime_ns for path in files}
        code, text, _ = run_cli(
            capsys, "demo", "--out", out, "--size", SIZE, "--seconds", "0", "--samples", "2"
        )
        assert code == 0
        assert "from an earlier run" in text
        assert "Painting" not in text
        assert {path: path.stat().st_mtime_ns for path in files} == before

    def test_no_partial_file_remains(self, demo_run):
        assert not list(demo_run[0].rglob("*.partial"))

    def test_the_largest_image_is_not_converted_to_npy(self, demo_run, capsys, monkeypatch, tmp_path):
        monkeypatch.setattr(compare, "MAX_NPY_BYTES", 3 * 1200 * 1190)
        workdir = tmp_path / "cache"
        options = ["--out", demo_run[0], "--workdir", workdir, "--size", SIZE]
        code, text, _ = run_cli(capsys, "demo", *options, "--seconds", "0.05", "--samples", "2")
        assert code == 0
        cells = table_rows(text)["npy *"]
        assert float(cells[1].replace(",", "")) > 0
        assert cells[3] == "-"
        assert "* without the largest image, which would take 4.3 MB as an npy file." in text
        assert "city" not in " ".join(path.name for path in workdir.rglob("*.npy"))
        assert list(workdir.rglob("city*.cog.tiff"))


class TestOwnData:
    ANNOTS = (
        {"id": 1, "image_id": 1, "category_id": 4, "bbox": [10, 10, 20, 15]},
        {"id": 2, "image_id": 2, "category_id": 4, "bbox": [40, 30, 12, 12]},
    )

    CATEGORIES = ({"id": 4, "name": "cat"},)

    def sheet_of(self, capsys, path, tmp_path, *more):
        arguments = ["--data", path, "--out", tmp_path / "out", "--samples", "4", "--window", "48"]
        code, text, err = run_cli(capsys, "demo", *arguments, "--seconds", "0", *more)
        assert code == 0, err
        assert decode(tmp_path / "out" / "samples.png").size
        return text

    @pytest.mark.parametrize("backend", ["none", "npy", "cog"])
    def test_each_backend_draws_a_sheet(self, capsys, tmp_path, backend):
        path = write_dataset(tmp_path / "data", self.ANNOTS, self.CATEGORIES)
        text = self.sheet_of(capsys, path, tmp_path, "--backend", backend)
        assert "3 images, the largest 90 x 70; 2 annotations" in text
        assert "my.kwcoco.json" not in text

    def test_without_annotations_the_windows_are_anywhere(self, capsys, tmp_path):
        path = write_dataset(tmp_path / "data")
        assert "4 samples in" in self.sheet_of(capsys, path, tmp_path)

    def test_images_smaller_than_the_window_are_no_error(self, capsys, tmp_path):
        path = write_dataset(tmp_path / "data", size=(20, 30))
        assert "4 samples in" in self.sheet_of(capsys, path, tmp_path)

    def test_no_categories_are_no_error(self, capsys, tmp_path):
        bare = [{key: value for key, value in ann.items() if key != "category_id"} for ann in self.ANNOTS]
        self.sheet_of(capsys, write_dataset(tmp_path / "data", bare), tmp_path)

    def test_annotations_without_boxes_are_no_error(self, capsys, tmp_path):
        bare = [{"id": 1, "image_id": 1, "category_id": 4}]
        self.sheet_of(capsys, write_dataset(tmp_path / "data", bare, self.CATEGORIES), tmp_path)

    def test_images_full_of_annotations_leave_no_negatives(self, capsys, tmp_path):
        full = [{"id": n, "image_id": n, "category_id": 4, "bbox": [0, 0, 90, 70]} for n in (1, 2, 3)]
        path = write_dataset(tmp_path / "data", full, self.CATEGORIES)
        assert re.search(r"[1-4] samples in", self.sheet_of(capsys, path, tmp_path))

    @pytest.mark.parametrize(("count", "images"), [(1, 0), (3, 0), (9, 0), (9, 4)])
    def test_the_frames_of_a_video_are_sampled_as_images_and_as_a_strip(
        self, capsys, tmp_path, monkeypatch, count, images
    ):
        strips = []
        load = choice.load_strip
        monkeypatch.setattr(choice, "load_strip", lambda *args: strips.append(load(*args)) or strips[0])
        video = {"id": 1, "name": "film", "width": 90, "height": 70}
        path = write_dataset(tmp_path / "data", self.ANNOTS[:1], self.CATEGORIES, [video], count=count)
        self.sheet_of(capsys, path, tmp_path, "--max_images", images)
        if count == 1:
            assert strips == [None]
        else:
            shown = min(images or count, choice.STRIP_FRAMES)
            assert strips[0]["im"].shape == (shown, 48, 48, 3)

    def test_sixteen_bits_are_no_error(self, capsys, tmp_path):
        path = write_dataset(tmp_path / "data", self.ANNOTS, self.CATEGORIES, dtype=np.uint16)
        self.sheet_of(capsys, path, tmp_path)

    def test_at_most_the_asked_images_are_used_annotated_ones_first(self, capsys, tmp_path):
        path = write_dataset(tmp_path / "data", self.ANNOTS, self.CATEGORIES, count=6)
        text = self.sheet_of(capsys, path, tmp_path, "--max_images", "2")
        assert "Using 2 of 6 images" in text
        assert "2 images, the largest 90 x 70; 2 annotations" in text

    def test_speed_is_measured_on_the_chosen_images(self, capsys, tmp_path):
        path = write_dataset(tmp_path / "data", self.ANNOTS, self.CATEGORIES)
        text = self.sheet_of(capsys, path, tmp_path, "--max_images", "2", "--seconds", "0.05")
        assert set(table_rows(text)) == {"none", "npy", "cog"}

    def test_the_workdir_holds_the_cache(self, capsys, tmp_path):
        path = write_dataset(tmp_path / "data", self.ANNOTS, self.CATEGORIES)
        self.sheet_of(capsys, path, tmp_path, "--workdir", tmp_path / "elsewhere")
        assert list((tmp_path / "elsewhere").rglob("*.cog.tiff"))
        assert not (tmp_path / "out" / "cache").exists()
