"""The commands that look after a cache: prepare, info, verify and prune."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import kwcoco
import numpy as np
import pytest
from helpers_documents import write_dataset
from helpers_images import random_pixels, write_png
from helpers_threads import PATIENCE

import ndsampler
from ndsampler.__main__ import main
from ndsampler.cache.inventory import survey
from ndsampler.cli.prepare import run as run_prepare
from ndsampler.utils.formatting import format_bytes

COMMANDS = ["prepare", "info", "verify", "prune"]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Return a dataset of three images in the current folder."""
    monkeypatch.chdir(tmp_path)
    images = []
    for gid in (1, 2, 3):
        pixels = random_pixels(seed=gid)
        write_png(tmp_path / f"{gid}.png", pixels)
        height, width = pixels.shape[:2]
        images.append({"id": gid, "file_name": f"{gid}.png", "width": width, "height": height})
    path = tmp_path / "data.kwcoco.json"
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    return path


@pytest.fixture
def run(capsys):
    """Return a function that runs a command and returns its exit code, stdout and stderr."""

    def call(*argv):
        code = main([str(word) for word in argv])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def run_json(run):
    """Return a function that runs a command and returns its exit code and what it printed as JSON."""

    def call(*argv):
        code, out, _ = run(*argv, "--json")
        return code, json.loads(out)

    return call


@pytest.fixture
def prepared(data, run):
    """Return the dataset, its images prepared in the folder ``work``."""
    assert run("prepare", data, "--workdir", "work", "--backend", "npy")[0] == 0
    return data


def entries_of(workdir="work"):
    return sorted(path for path in pathlib.Path(workdir).rglob("*") if path.is_file())


def program(*argv):
    return [sys.executable, "-m", "ndsampler", *map(str, argv)]


class TestArguments:
    @pytest.mark.parametrize(
        "words",
        [
            "DATA --workdir work --backend npy --hashid_mode PIXELS",
            "--src DATA --workdir=work --backend=npy --hashid-mode=PIXELS",
            "--src=DATA --backend npy --workdir work --hashid-mode pixels --json=False",
            "--workdir work DATA --backend npy --hashid_mode=pixels --verbose=0 --no-quiet",
            "--no_json --workdir work --backend npy --hashid_mode=PIXELS DATA",
        ],
    )
    def test_every_way_to_type_it_means_the_same(self, data, run, words):
        code, out, _ = run("prepare", *words.replace("DATA", str(data)).split())
        assert code == 0
        assert "3 entries made" in out
        report = survey("work")
        assert (report.entries.count, report.folders[0].backend) == (3, "npy")

    @pytest.mark.parametrize(
        "words", ["work DATA", "--workdir work DATA", "work --data DATA", "--data DATA --workdir=work"]
    )
    def test_datasets_may_follow_the_workdir_or_stand_alone(self, prepared, run, words):
        code, out, _ = run("verify", *words.replace("DATA", str(prepared)).split())
        assert code == 0
        assert "3 entries read" in out

    @pytest.mark.parametrize("words", ["--dry_run", "--dry-run", "--dry-run=True", "--dry_run=yes"])
    def test_a_switch_takes_a_value_after_an_equals_sign(self, prepared, run, words):
        pathlib.Path("1.png").unlink()
        assert "would remove 1" in run("prune", words, "work")[1]
        assert run("prune", "work", "--dry_run=False")[1].splitlines()[-2].startswith("removed 1")

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("prune none", "none does not exist; expected a workdir"),
            ("verify none", "none does not exist"),
            ("info data.kwcoco.json", "is not a folder"),
            ("info .", "is not a workdir"),
            ("verify work none.json", "none.json does not exist"),
            ("prune work --unused_by none.json", "none.json does not exist"),
            ("prepare none.json", "none.json does not exist"),
            ("prepare data.kwcoco.json --backend zip", "backend is 'zip'"),
            ("prepare data.kwcoco.json --backend raw", "expected one with a cache"),
            ("prepare data.kwcoco.json --backend {", "expected a name or a JSON object"),
            ("prepare data.kwcoco.json --workers -1", "--workers is -1"),
            ("prepare data.kwcoco.json --workdir data.kwcoco.json", "data.kwcoco.json cannot be used"),
        ],
    )
    def test_a_mistake_is_one_line_that_names_it(self, prepared, run, words, message):
        code, out, err = run(*words.split())
        assert (code, out) == (2, "")
        assert err.startswith("ndsampler: error: ")
        assert err.count("\n") == 1
        assert message in err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("info", "workdir is missing"),
            ("info work --workdir work", "workdir is given twice"),
            ("prepare", "src is missing"),
        ],
    )
    def test_a_missing_or_repeated_argument_is_explained_below_the_usage(self, prepared, run, words, message):
        code, out, err = run(*words.split())
        assert (code, out) == (2, "")
        command = f"ndsampler {words.split()[0]}"
        assert err.startswith(f"usage: {command} ")
        assert f"{command}: error: {message}" in err.splitlines()[-1]

    @pytest.mark.parametrize(
        "words", ["info work --json=perhaps", "info --bogus work", "prepare --workers x"]
    )
    def test_what_cannot_be_parsed_ends_with_the_same_code(self, prepared, words):
        with pytest.raises(SystemExit) as stopped:
            main(words.split())
        assert stopped.value.code == 2

    @pytest.mark.parametrize("command", [None, *COMMANDS])
    def test_help_has_an_example_and_the_exit_codes(self, capsys, command):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"] if command else ["--help"])
        assert stopped.value.code == 0
        text = capsys.readouterr().out
        assert f"ndsampler {command or 'COMMAND'} " in text
        assert "exit codes: 0 " in text
        assert max(map(len, text.splitlines())) <= 110

    def test_help_loads_nothing_that_is_slow(self):
        script = (
            "import sys\n"
            "from ndsampler.__main__ import main\n"
            "try:\n    main(['prepare', '--help'])\n"
            "finally:\n    print(sorted({'kwcoco', 'rasterio', 'cv2', 'pandas', 'ubelt'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert done.stdout.splitlines()[-1] == "[]", done.stderr


class TestPrepare:
    @pytest.mark.parametrize("workers", [["--workers", "2"], ["--workers", "2", "--executor", "processes"]])
    def test_it_makes_what_a_sampler_reads(self, data, run_json, workers):
        code, summary = run_json("prepare", data, "--workdir", "work", *workers)
        assert code == 0
        assert {key: summary[key] for key in ("images", "made", "present", "in_place", "failed")} == {
            "images": 3,
            "made": 3,
            "present": 0,
            "in_place": 0,
            "failed": 0,
        }
        assert summary["made_bytes"] == sum(path.stat().st_size for path in entries_of())
        assert summary["source_bytes"] == sum(os.path.getsize(f"{gid}.png") for gid in (1, 2, 3))
        sampler = ndsampler.CocoSampler(kwcoco.CocoDataset(str(data)), workdir="work", backend="cog")
        assert summary["cache_dpath"] == sampler.frames.cache_dpath
        assert sampler.frames.try_prepare().present == 3
        assert np.array_equal(sampler.frames.load_region(2), random_pixels(seed=2))

    def test_settings_of_a_backend_are_given_as_json(self, data, run):
        backend = '{"type": "cog", "config": {"compress": "LZW"}}'
        assert run("prepare", data, "--workdir", "work", "--backend", backend)[0] == 0
        assert [folder.backend for folder in survey("work").folders] == ["cog compress=LZW"]

    def test_again_it_finds_all_there(self, prepared, run_json):
        _, summary = run_json("prepare", prepared, "--workdir", "work", "--backend", "npy")
        assert (summary["made"], summary["present"]) == (0, 3)

    def test_failing_images_are_listed_and_the_others_made(self, data, run, run_json):
        pathlib.Path("1.png").unlink()
        pathlib.Path("3.png").write_bytes(b"no image")
        code, out, err = run("prepare", data, "--workdir", "work", "--backend", "npy")
        assert code == 1
        assert "3 images, 2 failed: 1 entries made" in out
        assert re.search(r"^image 1: .*1\.png does not exist: ", err, re.MULTILINE)
        assert re.search(r"^image 3: .*3\.png", err, re.MULTILINE)
        code, summary = run_json("prepare", data, "--workdir", "work", "--backend", "npy")
        assert (code, summary["failed"], summary["present"]) == (1, 2, 1)
        assert [failure["image_id"] for failure in summary["failures"]] == [1, 3]
        assert summary["failures"][0]["error"] == "MissingSourceError"
        assert summary["failures"][0]["paths"] == [str(pathlib.Path("1.png").absolute())]

    def test_an_image_without_a_file_does_not_keep_the_others(self, data, run):
        content = json.loads(data.read_text())
        content["images"][0]["file_name"] = None
        data.write_text(json.dumps(content))
        code, out, err = run("prepare", data, "--workdir", "work")
        assert code == 1
        assert "2 entries made" in out
        assert "image 1 names no file" in err

    def test_the_bar_goes_to_stderr_and_quiet_shows_neither_bar_nor_summary(self, data, run):
        _, out, err = run("prepare", data, "--workdir", "work")
        assert "3/3" in err
        assert "3/3" not in out
        assert run("prepare", data, "--workdir", "work", "--quiet") == (0, "", "")

    def test_verbose_names_every_image(self, data):
        command = program("prepare", data, "--workdir", "work", "--verbose", "--quiet")
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
        for gid in (1, 2, 3):
            assert f"{gid}.png" in done.stderr

    @pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
    def test_killed_and_started_again_it_does_what_is_missing(self, data, run_json):
        content = json.loads(data.read_text())
        pixels = np.tile(random_pixels(), (20, 20, 1))
        for gid in range(4, 12):
            write_png(pathlib.Path(f"{gid}.png"), pixels)
            height, width = pixels.shape[:2]
            image = {"id": gid, "file_name": f"{gid}.png", "width": width, "height": height}
            content["images"].append(image)
        data.write_text(json.dumps(content))
        child = subprocess.Popen(
            program("prepare", data, "--workdir", "work", "--backend", "npy"), stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while not list(pathlib.Path("work").rglob("*.npy")) and time.monotonic() < deadline:
            time.sleep(0.001)
        child.kill()
        child.wait(PATIENCE)
        there = {path: path.stat().st_ino for path in pathlib.Path("work").rglob("*.npy")}
        assert there
        code, summary = run_json("prepare", data, "--workdir", "work", "--backend", "npy")
        assert (code, summary["made"], summary["present"]) == (0, 11 - len(there), len(there))
        assert {path: path.stat().st_ino for path in there} == there
        assert len(entries_of()) == 11

    def test_stopped_by_the_user_it_says_so(self, data, capsys, monkeypatch):
        def stop(args):
            raise KeyboardInterrupt

        monkeypatch.setattr("ndsampler.cli.prepare.run", stop)
        assert run_prepare is not stop
        assert main(["prepare", str(data)]) == 130
        assert capsys.readouterr().err == "ndsampler: stopped\n"


class TestInfo:
    def test_it_counts_for_people_and_for_programs(self, prepared, run, run_json):
        run("prepare", prepared, "--workdir", "work", "--backend", "cog")
        pathlib.Path("2.png").unlink()
        write_png(pathlib.Path("3.png"), random_pixels(seed=30))
        stat = pathlib.Path("3.png").stat()
        os.utime("3.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
        (npy,) = pathlib.Path("work/_cache/frames").glob("npy_*")
        next(npy.rglob("1_*.npy")).write_bytes(b"cut")
        code, out, _ = run("info", "work")
        assert code == 0
        rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
        head = rows["backend"]
        assert dict(zip(head[4:], rows["npy"][-4:]))["damaged"] == "1"
        assert "5 are useless" in out
        code, content = run_json("info", "work")
        assert code == 0
        expected = {"entries": 6, "current": 1, "stale": 2, "orphaned": 2, "damaged": 1, "leftover": 0}
        assert {key: content[key] for key in expected} == expected
        sizes = {path: path.stat().st_size for path in entries_of()}
        assert content["bytes"] == sum(sizes.values())
        by_backend = {config["backend"]: config for config in content["configs"]}
        assert by_backend["npy"]["bytes"] == sum(sizes[path] for path in sizes if npy in path.parents)
        assert by_backend["cog"]["entries"] == 3

    def test_foreign_files_are_named(self, prepared, run):
        pathlib.Path("work/_cache/frames/notes.txt").touch()
        _, out, _ = run("info", "work")
        assert "Never removed:" in out
        assert "notes.txt (not made by ndsampler)" in out

    def test_an_empty_cache_is_no_error(self, run_json, tmp_path):
        (tmp_path / "_cache" / "frames").mkdir(parents=True)
        code, content = run_json("info", tmp_path)
        assert (code, content["entries"], content["configs"]) == (0, 0, [])

    def test_names_cannot_write_to_the_terminal(self, prepared, run):
        pathlib.Path("work/_cache/frames/\x1b[2J\nevil").touch()
        _, out, _ = run("info", "work")
        assert "\x1b" not in out
        assert r"\x1b[2J\nevil" in out

    @pytest.mark.skipif(os.name == "nt", reason="needs a pipe")
    def test_a_reader_that_has_enough_is_no_error(self, prepared):
        child = subprocess.Popen(
            program("info", "work", "--quiet"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        child.stdout.close()
        assert child.wait(60) == 141
        assert child.stderr.read() == b""


class TestVerify:
    def test_good_entries_give_zero(self, prepared, run, run_json):
        code, out, _ = run("verify", "work", "--pixels")
        assert code == 0
        assert "3 entries read" in out
        assert "0 damaged; the pixels of 3 compared with their sources" in out
        code, content = run_json("verify", "work")
        assert (code, content["ok"], content["damaged"], content["compared"]) == (0, True, [], 0)

    def test_a_flipped_bit_gives_one_and_its_path(self, prepared, run, run_json):
        path = entries_of()[1]
        stat = path.stat()
        content = bytearray(path.read_bytes())
        content[200] ^= 4
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        code, out, _ = run("verify", "work")
        assert code == 1
        assert re.search(rf"^damaged: .*{path.name}: .*has the checksum", out, re.MULTILINE)
        code, found = run_json("verify", "work", "--remove")
        assert (code, found["ok"], found["removed"]) == (1, False, 1)
        assert [pathlib.Path(item["path"]).name for item in found["damaged"]] == [path.name]
        assert run("verify", "work")[0] == 0
        assert not path.exists()

    def test_the_bar_goes_to_stderr(self, prepared, run):
        _, out, err = run("verify", "work")
        assert "3/3" in err
        assert "3/3" not in out
        assert run("verify", "work", "--quiet")[2] == ""


class TestPrune:
    def test_what_it_would_do_it_does(self, prepared, run, run_json):
        pathlib.Path("1.png").unlink()
        before = entries_of()
        code, out, _ = run("prune", "work", "--dry-run")
        assert code == 0
        (planned,) = re.findall(r"^would remove orphaned (\S+): ", out, re.MULTILINE)
        assert entries_of() == before
        code, content = run_json("prune", "work")
        assert (code, content["removed"], content["by_reason"]) == (0, 1, {"orphaned": 1})
        assert [item["path"] for item in content["items"]] == [planned]
        assert entries_of() == [
            path for path in before if path != pathlib.Path(planned).relative_to(os.getcwd())
        ]
        assert run("prune", "work")[1].startswith("removed 0")

    def test_unused_entries_go_when_asked(self, prepared, run):
        content = json.loads(prepared.read_text())
        content["images"] = content["images"][:1]
        pathlib.Path("one.kwcoco.json").write_text(json.dumps(content))
        code, out, _ = run("prune", "work", "--unused_by", "one.kwcoco.json", "--quiet")
        assert code == 0
        (left,) = entries_of()
        assert re.fullmatch(r"removed 2, \S+ MB: 2 unused\n1 entries remain, (.*)\n", out)[1] == (
            format_bytes(left.stat().st_size)
        )

    def test_entries_of_a_disk_that_is_not_mounted_stay_and_the_way_out_is_said(self, tmp_path, data, run):
        mounted = tmp_path / "mounted"
        mounted.mkdir()
        for path in (data, *tmp_path.glob("*.png")):
            shutil.copy2(path, mounted)
        run("prepare", mounted / "data.kwcoco.json", "--workdir", "work")
        shutil.rmtree(mounted)
        _, out, _ = run("prune", "work")
        assert "removed 0" in out
        assert "--unreachable removes them too" in out
        assert len(entries_of()) == 3
        assert "3 unreachable" in run("prune", "work", "--unreachable")[1]
        assert entries_of() == []

    def test_what_cannot_be_removed_gives_one(self, prepared, run, monkeypatch):
        pathlib.Path("1.png").unlink()

        def refuse(path):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("ndsampler.cache.removal.os.unlink", refuse)
        code, out, err = run("prune", "work")
        assert code == 1
        assert "1 could not be removed" in out
        assert re.search(r"^not removed: .*1_.*\.npy: Permission denied$", err, re.MULTILINE)


def test_the_commands_of_the_documents_work_as_they_stand_there(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path)
    root = pathlib.Path(__file__).resolve().parent.parent
    page = (root / "docs" / "source" / "howto" / "cache.rst").read_text(encoding="utf-8")
    lines = re.findall(r"^    ndsampler (.*)$", page, re.MULTILINE)
    assert {shlex.split(line)[0] for line in lines} == set(COMMANDS)
    for line in lines:
        assert main(shlex.split(line)) == 0, line
    assert survey("cache").entries.count == 6
