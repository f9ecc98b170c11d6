"""The command line as a whole: help, exit codes, and errors that the user can correct."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from helpers_demo import run_cli, write_dataset

import ndsampler
from ndsampler.__main__ import main
from ndsampler.cli import demo


class TestMain:
    def test_the_version_is_printed(self, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(["--version"])
        assert stopped.value.code == 0
        assert capsys.readouterr().out == f"ndsampler {ndsampler.__version__}\n"

    @pytest.mark.parametrize("argv", [["--help"], ["demo", "--help"]])
    def test_help_names_the_command(self, capsys, argv):
        with pytest.raises(SystemExit) as stopped:
            main(argv)
        assert stopped.value.code == 0
        assert "demo" in capsys.readouterr().out

    def test_no_command_prints_the_help(self, capsys):
        code, out, _ = run_cli(capsys)
        assert code == 0
        assert "usage: ndsampler" in out

    def test_an_interruption_is_one_line(self, capsys, monkeypatch, tmp_path):
        def interrupt(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(demo, "make_data", interrupt)
        code, _, err = run_cli(capsys, "demo", "--out", tmp_path)
        assert (code, err) == (130, "ndsampler: stopped\n")

    def test_the_parsers_of_all_commands_load_no_heavy_package(self):
        code = (
            "import sys\n"
            "from ndsampler.cli.main import build_parser\n"
            "build_parser().format_help()\n"
            "print(sorted({'numpy', 'kwcoco', 'rasterio', 'cv2', 'ubelt'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
        )
        assert done.stdout.strip() == "[]"


class TestBadInput:
    def one_line(self, capsys, *argv):
        code, _, err = run_cli(capsys, *argv)
        assert code == 2
        assert err.startswith("ndsampler: error: ")
        assert err.count("\n") == 1
        return err

    def test_missing_data_is_one_line_that_names_the_file(self, capsys, tmp_path):
        err = self.one_line(capsys, "demo", "--data", tmp_path / "none.json", "--out", tmp_path / "out")
        assert "none.json does not exist" in err
        assert not (tmp_path / "out").exists()

    def test_a_folder_is_not_a_dataset(self, capsys, tmp_path):
        assert str(tmp_path) in self.one_line(capsys, "demo", "--data", tmp_path, "--out", tmp_path)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"not json",
            b"[1, 2]",
            b"3",
            b'"text"',
            b'{"images": 7}',
            b'{"images": [{"id": 1}, 5]}',
            b"\x00\xff" * 9,
        ],
    )
    def test_a_file_that_is_not_a_dataset_is_named(self, capsys, tmp_path, content):
        path = tmp_path / "bad.kwcoco.json"
        path.write_bytes(content)
        assert "bad.kwcoco.json" in self.one_line(capsys, "demo", "--data", path, "--out", tmp_path)

    def test_a_dataset_without_images_is_named(self, capsys, tmp_path):
        path = write_dataset(tmp_path, count=0)
        err = self.one_line(capsys, "demo", "--data", path, "--out", tmp_path)
        assert "data.kwcoco.json holds no images" in err

    def test_a_missing_image_file_is_named(self, capsys, tmp_path):
        path = write_dataset(tmp_path)
        (tmp_path / "frame_2.png").unlink()
        err = self.error_after_progress(
            capsys, "demo", "--data", path, "--out", tmp_path / "o", "--seconds", "0"
        )
        assert "frame_2.png" in err

    def error_after_progress(self, capsys, *argv):
        """Return the last line of stderr, where progress bars may come first."""
        code, _, err = run_cli(capsys, *argv)
        assert code == 2
        line = err.splitlines()[-1]
        assert line.startswith("ndsampler: error: ")
        return line

    def test_an_output_folder_that_is_a_file_is_named(self, capsys, tmp_path):
        (tmp_path / "file").write_text("")
        assert "file" in self.one_line(capsys, "demo", "--out", tmp_path / "file")

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("--size", 10, "size is 10; expected"),
            ("--size", 10**6, "size is 1000000; expected"),
            ("--seed", -1, "--seed is -1"),
            ("--max_images", -1, "--max_images -1"),
            ("--seconds", -1, "--seconds -1"),
            ("--seconds", "nan", "--seconds nan"),
        ],
    )
    def test_a_number_out_of_range_is_named(self, capsys, tmp_path, option, value, message):
        assert message in self.one_line(capsys, "demo", option, value, "--out", tmp_path)

    @pytest.mark.parametrize("words", [["--samples", "0"], ["--backend", "zip"], ["--window", "x"]])
    def test_what_argparse_refuses_ends_with_the_same_code(self, capsys, words):
        with pytest.raises(SystemExit) as stopped:
            main(["demo", *words])
        assert stopped.value.code == 2

    def test_a_full_disk_is_noticed_before_anything_is_written(self, capsys, tmp_path, monkeypatch):
        usage = demo.shutil.disk_usage(tmp_path)
        monkeypatch.setattr(demo.shutil, "disk_usage", lambda path: usage._replace(free=1000))
        err = self.one_line(capsys, "demo", "--out", tmp_path)
        assert re.search(r"0\.0 GB of free space; the demo needs .* GB\. Choose another folder", err)
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
