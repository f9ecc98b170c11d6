"""The command line, the demo, and the dataset that the demo makes."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import subprocess
import sys
import textwrap
from collections import Counter

import cv2
import kwcoco
import kwimage
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

import ndsampler
from ndsampler.__main__ import main
from ndsampler.cli import demo
from ndsampler.demo import dataset
from ndsampler.demo.dataset import DemoSettings, ensure_demodata
from ndsampler.demo.landscape import CATEGORIES, Film, Scene, make_scene, objects
from ndsampler.demo.landscape.canvas import TILE
from ndsampler.demo.landscape.film import FRAMES, clip
from ndsampler.demo.speed import Speed, Task, measure, run
from ndsampler.demo.speed import main as speed_main
from ndsampler.demo.striped_tiff import STRIP_ROWS, StripedTiff, encode_strips
from ndsampler.errors import ArgumentError, SourceError
from ndsampler.preview import GAP, TEXT_ROW, draw_sample
from ndsampler.utils import formatting

SIZE = 1200


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory):
    """Run the whole command once, small; return its folder and what it printed."""
    out = tmp_path_factory.mktemp("demo run")
    command = [sys.executable, "-m", "ndsampler", "demo", "--out", str(out), "--size", str(SIZE)]
    done = subprocess.run(
        [*command, "--samples", "6", "--seconds", "0.2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return out, done.stdout


@pytest.fixture(scope="module")
def dset(demo_run):
    """Return the dataset that the command made."""
    return kwcoco.CocoDataset(str(demo_run[0] / f"data_{SIZE}_0" / "demo.kwcoco.json"))


def run_cli(capsys, *argv):
    """Return exit code, stdout and stderr of a command run in this process."""
    code = main([str(word) for word in argv])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def write_dataset(folder, annotations=(), categories=(), videos=(), size=(90, 70), count=3, dtype=np.uint8):
    """Write some images and a kwcoco file; return its path."""
    folder.mkdir(exist_ok=True)
    images = []
    for number in range(1, count + 1):
        name = f"frame_{number}.png"
        pixels = np.random.default_rng(number).integers(0, 200, (size[1], size[0], 3)).astype(dtype)
        (folder / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        image = {
            "id": number,
            "name": f"frame_{number}",
            "file_name": name,
            "width": size[0],
            "height": size[1],
        }
        if videos:
            image |= {"video_id": 1, "frame_index": number}
        images.append(image)
    path = folder / "data.kwcoco.json"
    parts = {"images": images, "annotations": list(annotations), "categories": list(categories)}
    path.write_text(json.dumps({**parts, "videos": list(videos)}))
    return path


def decode(path):
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


class TestDemoCommand:
    def test_the_sheet_is_a_picture_of_six_samples_an_overview_and_a_film(self, demo_run):
        sheet = decode(demo_run[0] / "samples.png")
        # Two rows of five, four places of which the overview takes, and a row of frames.
        assert sheet.shape[1] == 5 * (demo.SIDE + GAP) + GAP
        frame = (sheet.shape[1] - GAP) // demo.STRIP - GAP
        assert 0 < sheet.shape[0] - 2 * (demo.SIDE + TEXT_ROW) - (frame + TEXT_ROW) < 4 * TEXT_ROW
        assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 1000

    def test_the_table_has_speed_cache_and_memory_of_each_backend(self, demo_run):
        rows = {line.split()[0]: line for line in demo_run[1].splitlines() if line.strip()}
        for name in ("none", "npy", "cog"):
            cells = re.split(r"  +", rows[name].strip())
            assert float(cells[1].replace(",", "")) > 0
            assert cells[2].endswith("s")
            assert cells[3].endswith("s")
            assert (cells[4] == "-") == (name == "none")
            assert cells[5].endswith("B")

    def test_it_says_where_all_is_and_what_to_type_next(self, demo_run):
        out, text = demo_run
        assert f"Everything is written to {out}" in text
        assert "prepare cog" in text
        assert "demo --data my.kwcoco.json" in text
        assert f"Look at {out / 'samples.png'}" in text
        assert f"delete {out}" in text

    def test_the_python_lines_that_it_ends_with_work(self, demo_run):
        lines = [line[4:] for line in demo_run[1].splitlines() if line.startswith("    ")]
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines[:-1]) + f"\nprint(({lines[-1]})[0])"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip() == "(256, 256, 3)", done.stderr

    def test_a_second_run_uses_what_is_there(self, demo_run, capsys):
        out = demo_run[0]
        files = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".png"]
        before = {path: path.stat().st_mtime_ns for path in files}
        code, text, _ = run_cli(
            capsys, "demo", "--out", out, "--size", SIZE, "--seconds", "0", "--samples", "2"
        )
        assert code == 0
        assert "from an earlier run" in text
        assert {path: path.stat().st_mtime_ns for path in files} == before

    def test_no_half_written_file_remains(self, demo_run):
        assert not list(demo_run[0].rglob("*.partial"))


class TestOwnData:
    ANNOTS = (
        {"id": 1, "image_id": 1, "category_id": 4, "bbox": [10, 10, 20, 15]},
        {"id": 2, "image_id": 2, "category_id": 4, "bbox": [40, 30, 12, 12]},
    )

    def sheet_of(self, capsys, path, tmp_path, *more):
        arguments = ["--data", path, "--out", tmp_path / "out", "--samples", "4", "--window", "48"]
        code, text, err = run_cli(capsys, "demo", *arguments, "--seconds", "0", *more)
        assert code == 0, err
        assert decode(tmp_path / "out" / "samples.png").size
        return text

    @pytest.mark.parametrize("backend", ["none", "npy", "cog"])
    def test_each_backend_draws_a_sheet(self, capsys, tmp_path, backend):
        path = write_dataset(tmp_path / "data", self.ANNOTS, [{"id": 4, "name": "cat"}])
        text = self.sheet_of(capsys, path, tmp_path, "--backend", backend)
        assert "3 images, the largest 90 x 70; 2 annotations" in text
        assert "my.kwcoco.json" not in text

    def test_no_annotations_give_windows_anywhere(self, capsys, tmp_path):
        path = write_dataset(tmp_path / "data")
        assert "4 samples drawn" in self.sheet_of(capsys, path, tmp_path)

    def test_images_smaller_than_the_window_are_no_error(self, capsys, tmp_path):
        path = write_dataset(tmp_path / "data", size=(20, 30))
        assert "4 samples drawn" in self.sheet_of(capsys, path, tmp_path)

    def test_no_categories_are_no_error(self, capsys, tmp_path):
        bare = [{key: value for key, value in ann.items() if key != "category_id"} for ann in self.ANNOTS]
        self.sheet_of(capsys, write_dataset(tmp_path / "data", bare), tmp_path)

    def test_annotations_without_boxes_are_no_error(self, capsys, tmp_path):
        bare = [{"id": 1, "image_id": 1, "category_id": 4}]
        path = write_dataset(tmp_path / "data", bare, [{"id": 4, "name": "cat"}])
        self.sheet_of(capsys, path, tmp_path)

    def test_images_full_of_annotations_leave_no_negatives(self, capsys, tmp_path):
        full = [{"id": n, "image_id": n, "category_id": 4, "bbox": [0, 0, 90, 70]} for n in (1, 2, 3)]
        path = write_dataset(tmp_path / "data", full, [{"id": 4, "name": "cat"}])
        assert "samples drawn" in self.sheet_of(capsys, path, tmp_path)

    @pytest.mark.parametrize(("count", "images"), [(1, 0), (3, 0), (9, 0), (9, 4)])
    def test_the_frames_of_a_video_are_sampled_as_images_and_as_a_strip(
        self, capsys, tmp_path, monkeypatch, count, images
    ):
        strips = []
        load = demo.load_strip
        monkeypatch.setattr(demo, "load_strip", lambda *args: strips.append(load(*args)) or strips[0])
        video = {"id": 1, "name": "film", "width": 90, "height": 70}
        path = write_dataset(
            tmp_path / "data", self.ANNOTS[:1], [{"id": 4, "name": "cat"}], [video], count=count
        )
        self.sheet_of(capsys, path, tmp_path, "--images", images)
        if count == 1:
            assert strips == [None]
        else:
            assert strips[0]["im"].shape == (min(images or count, demo.STRIP), 48, 48, 3)

    @pytest.mark.parametrize("videos", [(), ({"id": 1, "name": "of unknown size"},)])
    def test_no_video_of_known_size_gives_no_strip(self, tmp_path, videos):
        path = write_dataset(tmp_path / "data", videos=videos)
        sampler = ndsampler.CocoSampler(kwcoco.CocoDataset(str(path)), workdir=tmp_path)
        assert demo.load_strip(sampler, 32) is None

    def test_an_image_larger_than_its_room_is_shown_as_a_whole(self, tmp_path):
        path = write_dataset(tmp_path / "data", self.ANNOTS, [{"id": 4, "name": "cat"}], size=(900, 400))
        sampler = ndsampler.CocoSampler(kwcoco.CocoDataset(str(path)), workdir=tmp_path)
        sample = sampler.load_sample(demo.overview_target(sampler))
        assert max(sample["im"].shape[:2]) == pytest.approx(2 * demo.SIDE + GAP, abs=1)
        assert demo.time_overview(sampler) > 0

    def test_a_small_image_is_not_shown_as_a_whole(self, tmp_path):
        sampler = ndsampler.CocoSampler(
            kwcoco.CocoDataset(str(write_dataset(tmp_path / "data"))), workdir=tmp_path
        )
        assert demo.overview_target(sampler) is None
        assert demo.time_overview(sampler) is None

    def test_sixteen_bits_are_no_error(self, capsys, tmp_path):
        path = write_dataset(tmp_path / "data", self.ANNOTS, [{"id": 4, "name": "cat"}], dtype=np.uint16)
        self.sheet_of(capsys, path, tmp_path)

    def test_no_more_images_are_used_than_asked_for_annotated_ones_first(self, capsys, tmp_path):
        path = write_dataset(tmp_path / "data", self.ANNOTS, [{"id": 4, "name": "cat"}], count=6)
        text = self.sheet_of(capsys, path, tmp_path, "--images", "2")
        assert "using 2 of 6 images" in text
        assert "2 images, the largest 90 x 70; 2 annotations" in text

    def test_speed_is_measured_on_the_chosen_images(self, capsys, tmp_path):
        path = write_dataset(tmp_path / "data", self.ANNOTS, [{"id": 4, "name": "cat"}])
        text = self.sheet_of(capsys, path, tmp_path, "--images", "2", "--seconds", "0.05")
        assert text.index("samples/s") < text.index("npy  ")

    def test_the_workdir_holds_the_cache(self, capsys, tmp_path):
        path = write_dataset(tmp_path / "data", self.ANNOTS, [{"id": 4, "name": "cat"}])
        self.sheet_of(capsys, path, tmp_path, "--workdir", tmp_path / "elsewhere")
        assert list((tmp_path / "elsewhere").rglob("*.cog.tiff"))
        assert not (tmp_path / "out" / "cache").exists()


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

    def test_a_folder_is_no_dataset(self, capsys, tmp_path):
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
    def test_a_file_that_is_no_dataset_is_named(self, capsys, tmp_path, content):
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
        err = self.one_line(capsys, "demo", "--data", path, "--out", tmp_path / "out", "--seconds", "0")
        assert "frame_2.png" in err

    def test_an_output_folder_that_is_a_file_is_named(self, capsys, tmp_path):
        (tmp_path / "file").write_text("")
        assert "file" in self.one_line(capsys, "demo", "--out", tmp_path / "file")

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("--size", 100, "the size is 100; expected"),
            ("--size", 10**6, "the size is 1000000; expected"),
            ("--seed", -1, "--seed is -1"),
            ("--images", -1, "--images -1"),
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
        usage = dataset.shutil.disk_usage(tmp_path)
        monkeypatch.setattr(dataset.shutil, "disk_usage", lambda path: usage._replace(free=1000))
        err = self.one_line(capsys, "demo", "--out", tmp_path)
        assert re.search(r"0\.0 GB left, and the demo needs .* GB: choose another folder with --out", err)
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]


class TestMain:
    def test_the_version_is_told(self, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(["--version"])
        assert stopped.value.code == 0
        assert capsys.readouterr().out == f"ndsampler {ndsampler.__version__}\n"

    @pytest.mark.parametrize("argv", [["--help"], ["demo", "--help"]])
    def test_help_names_what_can_be_typed(self, capsys, argv):
        with pytest.raises(SystemExit) as stopped:
            main(argv)
        assert stopped.value.code == 0
        assert "demo" in capsys.readouterr().out

    def test_no_command_shows_the_help(self, capsys):
        code, out, _ = run_cli(capsys)
        assert code == 0
        assert "usage: python -m ndsampler" in out

    def test_an_interruption_is_one_line(self, capsys, monkeypatch, tmp_path):
        def interrupt(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(demo, "make_data", interrupt)
        code, _, err = run_cli(capsys, "demo", "--out", tmp_path)
        assert (code, err) == (130, "ndsampler: stopped\n")

    def test_a_child_that_fails_is_told_with_its_reason(self, tmp_path):
        task = Task(str(tmp_path / "none.json"), [1], str(tmp_path), None, 0.1, [{"gid": 1}])
        with pytest.raises(SourceError, match=r"backend None failed: .*none\.json does not exist"):
            measure(task)


class TestSpeed:
    @pytest.mark.parametrize("seconds", [0, 60])
    def test_it_stops_when_time_or_targets_are_used_up(self, tmp_path, seconds):
        path = write_dataset(tmp_path)
        targets = [
            {"gid": 1 + number % 3, "cx": 40, "cy": 30, "window_dims": [16, 16]} for number in range(9)
        ]
        speed = run(Task(str(path), [1, 2, 3], str(tmp_path / "cache"), "npy", seconds, targets))
        assert speed.samples == (8 if seconds else 1)
        assert speed.rate > 0

    def test_task_and_result_travel_as_json(self, tmp_path, monkeypatch, capsys):
        path = write_dataset(tmp_path)
        task = Task(str(path), [1, 2], str(tmp_path / "cache"), None, 1.0, [{"gid": 2}])
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(dataclasses.asdict(task))))
        assert speed_main() == 0
        result = Speed(**json.loads(capsys.readouterr().out))
        assert result.samples == 0
        assert result.rate == 0
        assert result.first > 0

    def test_memory_that_is_taken_is_seen(self):
        # In a process of its own: this one may hold freed memory, which is taken again unseen.
        script = """
            import numpy as np
            from ndsampler.demo.speed import MemoryWatch
            with MemoryWatch() as before:
                pass
            with MemoryWatch() as after:
                block = np.ones(40_000_000, np.uint8)
            print(after.own_bytes - before.own_bytes)
        """
        command = [sys.executable, "-c", textwrap.dedent(script)]
        grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert grown >= 30_000_000


class TestDemoDataset:
    def test_kwcoco_finds_nothing_to_complain_about(self, dset):
        result = dset.validate(missing=True, corrupted=True, verbose=0)
        assert not result["errors"]

    def test_it_has_one_large_image_and_ordinary_ones_of_three_formats(self, dset):
        sizes = [(img["width"], img["height"]) for img in dset.imgs.values()]
        assert max(sizes) == (SIZE, SIZE)
        assert sizes[len(dataset.ORDINARY)] == (SIZE, SIZE)
        assert {img["file_name"].split(".")[-1] for img in dset.imgs.values()} == {"png", "jpg", "tif"}

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    def test_the_large_image_has_to_be_converted(self, dset):
        with rasterio.open(dset.get_image_fpath(7)) as image:
            assert not image.profile["tiled"]
            assert image.dtypes == ("uint8",) * 3
            assert image.block_shapes == [(STRIP_ROWS, SIZE)] * 3

    def test_boxes_surround_polygons_and_keypoints_inside_their_image(self, dset):
        for ann in dset.anns.values():
            img = dset.imgs[ann["image_id"]]
            x, y, w, h = ann["bbox"]
            points = np.array(ann["segmentation"]["exterior"])
            assert np.allclose([points.min(0), points.max(0)], [(x, y), (x + w, y + h)], atol=0.11)
            assert 0 <= x < x + w <= img["width"] + 1e-6
            assert 0 <= y < y + h <= img["height"] + 1e-6
            for point in ann.get("keypoints", []):
                outline = np.float32(points)
                assert cv2.pointPolygonTest(outline, tuple(np.float32(point["xy"]).tolist()), False) > 0

    def test_several_categories_have_keypoints(self, dset):
        named = {
            dset._resolve_to_cat(a["category_id"])["name"] for a in dset.anns.values() if "keypoints" in a
        }
        assert {"car", "building"} <= named

    def test_polygons_sit_on_what_is_drawn(self, dset):
        """Colors inside an outline differ from those of the ring around it."""
        clear = []
        for gid in dset.imgs:
            pixels = decode(dset.get_image_fpath(gid)).astype(float)
            for ann in dset.annots(gid=gid).objs:
                mask = np.zeros(pixels.shape[:2], np.uint8)
                cv2.fillPoly(mask, [np.rint(np.array(ann["segmentation"]["exterior"]) - 0.5).astype(int)], 1)
                x, y, w, h = (int(part) for part in ann["bbox"])
                near = np.s_[max(y - 5, 0) : y + h + 5, max(x - 5, 0) : x + w + 5]
                inside = cv2.erode(mask[near], np.ones((3, 3))) > 0
                ring = (cv2.dilate(mask[near], np.ones((5, 5))) > 0) & (mask[near] == 0)
                here = pixels[near]
                step = np.abs(np.median(here[inside], 0) - np.median(here[ring], 0)).max()
                clear.append(step > 8)
        assert len(clear) > 50
        assert np.mean(clear) > 0.9

    def test_equal_settings_give_equal_files_and_another_seed_others(self, demo_run, tmp_path):
        made = ensure_demodata(tmp_path, DemoSettings(SIZE, 0)).parent
        for path in made.iterdir():
            assert path.read_bytes() == (demo_run[0] / f"data_{SIZE}_0" / path.name).read_bytes()
        other = ensure_demodata(tmp_path, DemoSettings(256, 1)).parent
        again = ensure_demodata(tmp_path, DemoSettings(256, 0)).parent
        assert (other / "city_256.tif").read_bytes() != (again / "city_256.tif").read_bytes()

    def test_what_is_missing_or_damaged_is_made_anew(self, tmp_path, caplog):
        path = ensure_demodata(tmp_path, DemoSettings(256))
        whole = {file.name: file.read_bytes() for file in path.parent.iterdir()}
        spoil = [
            lambda: (path.parent / "park.jpg").unlink(),
            lambda: (path.parent / "fields.png").write_bytes(b"cut off"),
            lambda: path.write_bytes(b"{}"),
            lambda: path.write_bytes(b"{"),
            lambda: path.unlink(),
        ]
        for damage in spoil:
            damage()
            assert ensure_demodata(tmp_path, DemoSettings(256)) == path
            assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == whole

    def test_a_failure_leaves_no_dataset_and_no_half_file(self, tmp_path, monkeypatch):
        def fail(*args):
            raise OSError("no space left")

        monkeypatch.setattr(dataset.StripedTiff, "finish", fail)
        with pytest.raises(OSError, match="no space left"):
            ensure_demodata(tmp_path, DemoSettings(256))
        assert not list(tmp_path.rglob("*.json"))
        assert not list(tmp_path.rglob("*.partial"))

    def test_progress_ends_at_one_for_every_picture(self, tmp_path):
        told: dict[str, list[float]] = {}
        ensure_demodata(
            tmp_path, DemoSettings(256), lambda name, share: told.setdefault(name, []).append(share)
        )
        assert len(told) == len(dataset.ORDINARY) + 2
        for shares in told.values():
            assert shares == sorted(shares)
            assert shares[-1] == 1

    def test_the_options_of_the_encoders_are_those_that_are_meant(self):
        assert dataset.ENCODINGS[".jpg"][0] == cv2.IMWRITE_JPEG_QUALITY
        assert dataset.ENCODINGS[".png"][0] == cv2.IMWRITE_PNG_COMPRESSION

    def test_a_negative_seed_is_refused(self):
        with pytest.raises(ArgumentError, match="the seed is -1; expected a number from 0 up"):
            DemoSettings(seed=-1)

    def test_a_picture_of_unknown_format_is_refused(self):
        with pytest.raises(ArgumentError, match=r"suffix is '\.xyz'; expected \.tif or one of"):
            dataset.write_picture(io.BytesIO(), make_scene(64, 64), ".xyz", lambda share: None)


class TestFilm:
    def test_frames_lie_on_each_other_once_aligned_but_for_what_moves(self):
        film = Film(200, seed=5)
        canvas = np.full((FRAMES, film.size[1], film.size[0], 3), np.nan)
        for frame, shot in enumerate(film.shots()):
            x, y = shot.offset
            canvas[frame, y : y + 200, x : x + 200] = shot.pixels
        both = np.isfinite(canvas[:2]).all((0, 3))
        moved = (canvas[0] != canvas[1]).any(2) & both
        assert both.mean() > 0.5
        assert 0 < moved.sum() < 0.3 * both.sum()

    def test_tracks_of_the_traffic_move_and_others_rest(self, dset):
        rows = {}
        for ann in dset.anns.values():
            image = dset.imgs[ann["image_id"]]
            x, y, w, h = ann["bbox"]
            whole = x > 0 and y > 0 and x + w < image["width"] and y + h < image["height"]
            if "track_id" in ann and whole:
                middle = np.add((x + w / 2, y + h / 2), image["warp_img_to_vid"]["offset"])
                rows.setdefault(ann["track_id"], []).append((image["frame_index"], middle))
        moving = 0
        for places in rows.values():
            (first, start), (last, end) = min(places, key=lambda p: p[0]), max(places, key=lambda p: p[0])
            step = np.hypot(*(end - start)) / max(last - first, 1)
            assert step < 0.3 or 12 < step < 40
            moving += step > 12
        assert moving >= 3
        assert len(rows) >= 10
        assert {track["id"] for track in dset.dataset["tracks"]} >= set(rows)

    def test_a_strip_of_the_film_stands_still_and_has_true_colors(self, dset, tmp_path):
        sampler = ndsampler.CocoSampler(dset, workdir=tmp_path)
        strip = demo.load_strip(sampler, 128)
        gids, (rows, columns) = strip["target"]["gids"], strip["target"]["space_slice"]
        assert len(gids) == demo.STRIP
        bare = {key: value for key, value in strip.items() if key != "annots"}
        for frame, gid in enumerate(gids):
            x, y = dset.imgs[gid]["warp_img_to_vid"]["offset"]
            pixels = decode(dset.get_image_fpath(gid))
            part = pixels[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
            assert (draw_sample(bare, frame=frame) == part).all()

    @given(st.integers(0, 10**6))
    @settings(max_examples=30, deadline=None)
    def test_a_clipped_polygon_covers_what_of_it_is_in_the_square(self, seed):
        rng = np.random.default_rng(seed)
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        ring = rng.uniform(-20, 120, 2) + rng.uniform(20, 70) * np.stack([np.cos(angles), np.sin(angles)], 1)
        y, x = np.mgrid[:100, :100] + 0.5
        covered = _winding(ring, x, y)
        part = clip(ring, 100)
        assert not len(part) or (part.min() >= 0 and part.max() <= 100)
        assert (_winding(part, x, y) == covered).all()


def _winding(ring, x, y):
    """Return which points lie inside a polygon, by counting the edges to their right."""
    inside = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, 0)):
        if y0 != y1:
            crossing = (y0 > y) != (y1 > y)
            inside ^= crossing & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


class TestScenery:
    def test_tiles_join_without_a_seam(self):
        pixels = make_scene(TILE + 200, 300, seed=4).rows(0, 300).astype(float)
        steps = np.abs(np.diff(pixels, axis=1)).mean((0, 2))
        around = np.concatenate([steps[TILE - 60 : TILE - 1], steps[TILE : TILE + 60]])
        assert steps[TILE - 1] < around.mean() + 4 * around.std()

    def test_a_landscape_is_no_noise(self):
        pixels = make_scene(512, 512, seed=2).rows(0, 512).astype(float)
        steps = np.abs(np.diff(pixels, axis=1)).mean()
        assert steps < 0.35 * pixels.std()

    @pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 64), (1030, 40)])
    def test_any_shape_can_be_painted(self, size):
        width, height = size
        scene = make_scene(width, height)
        assert scene.rows(0, height).shape == (height, width, 3)

    def test_every_category_occurs_in_a_large_landscape(self):
        scene = make_scene(6000, 6000)
        assert {thing.category for thing in scene.annotated} == set(CATEGORIES)
        assert len(scene.annotated) > 1000

    def test_annotated_things_hardly_overlap(self):
        scene = make_scene(3000, 3000, seed=1)
        count = np.zeros((3000, 3000), np.uint8)
        for thing in scene.annotated:
            rings = [np.rint(ring).astype(np.int32) for ring in (thing.outline, *thing.holes)]
            one = np.zeros_like(count)
            cv2.fillPoly(one, rings, 1)
            count += one
        assert (count > 1).sum() < 0.03 * (count > 0).sum()

    def test_a_courtyard_is_a_hole(self):
        court = objects.Court(400.0, 400.0, 0.3, 500.0, 450.0, 1)
        polygon = kwimage.Polygon(exterior=court.outline, interiors=court.holes)
        assert polygon.area == pytest.approx(500 * 450 - (500 - 148) * (450 - 148), rel=1e-6)

    @pytest.mark.parametrize(
        "kind", [objects.Court, objects.Hall, objects.House, objects.Truck, objects.Pool]
    )
    def test_a_thing_paints_its_outline_and_its_shadow_and_nothing_else(self, kind):
        thing = kind(200.0, 210.0, 0.3, 260.0, 200.0, 3)
        rng = np.random.default_rng
        bare, built = (Scene(420, 420, [], placed, rng(0)).rows(0, 420) for placed in ([], [thing]))
        changed = (bare != built).any(2)
        inside = np.zeros((420, 420), np.uint8)
        cv2.fillPoly(inside, [np.rint(ring).astype(np.int32) for ring in (thing.outline, *thing.holes)], 1)
        assert changed[cv2.erode(inside, np.ones((5, 5))) > 0].mean() > 0.98
        left, top, right, bottom = (round(edge) for edge in thing.bounds)
        assert not changed[: max(top, 0)].any()
        assert not changed[bottom:].any()
        assert not changed[:, : max(left, 0)].any()
        assert not changed[:, right:].any()


class TestTiff:
    @given(st.integers(1, 40), st.integers(1, 70), st.integers(0, 99))
    @settings(max_examples=25, deadline=None)
    def test_what_was_written_is_read_back(self, width, height, seed):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
        file = io.BytesIO()
        tiff = StripedTiff(file, width, height)
        for top in range(0, height, 2 * STRIP_ROWS):
            tiff.write(encode_strips(pixels[top : top + 2 * STRIP_ROWS]))
        tiff.finish()
        decoded = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
        assert (decoded[..., ::-1] == pixels).all()

    def test_missing_rows_are_refused(self):
        with pytest.raises(ArgumentError, match="0 strips were written; expected 3"):
            StripedTiff(io.BytesIO(), 10, 40).finish()

    def test_more_than_the_format_can_hold_is_refused(self):
        class Huge(io.BytesIO):
            def tell(self):
                return 2**32

        tiff = StripedTiff(Huge(), 4, 4)
        tiff._offsets = [8]
        with pytest.raises(ArgumentError, match="do not fit a TIFF, which ends at 4 GB"):
            tiff.finish()


class TestConsole:
    def test_a_folder_counts_all_files_below_it(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "x").write_bytes(b"123")
        (tmp_path / "y").write_bytes(b"45")
        assert formatting.folder_bytes(tmp_path) == 5
        assert formatting.folder_bytes(tmp_path / "none") == formatting.folder_bytes(None) == 0

    @given(st.lists(st.lists(st.text("abc", min_size=1, max_size=9), min_size=3, max_size=3), max_size=5))
    def test_columns_of_a_table_line_up(self, rows):
        lines = formatting.format_table(["name", "x", "y"], rows).splitlines()
        assert len(lines) == 2 + len(rows)
        assert {len(line) for line in lines} == {len(lines[1])}

    @given(st.lists(st.integers(0, 3), max_size=40), st.integers(0, 50))
    def test_every_kind_comes_up_before_one_comes_up_again(self, kinds, count):
        rows = demo.by_turns(np.array(kinds, int), count, np.random.default_rng(0))
        assert len(rows) == len(set(rows)) == min(count, len(kinds))
        got = Counter(kinds[row] for row in rows)
        unfinished = [got[kind] for kind in set(kinds) if got[kind] < kinds.count(kind)]
        assert all(most <= least + 1 for most in got.values() for least in unfinished)
