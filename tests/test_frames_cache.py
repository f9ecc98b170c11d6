"""Frames and their cache: damaged sources, preparation and folders."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import pytest
from helpers_cache import each_backend
from helpers_images import assert_same, random_pixels, write_pillow, write_png, write_tiff

from ndsampler.abstract_frames import SimpleFrames
from ndsampler.errors import CacheError, MissingSourceError, SourceError, UnknownIdError

#: Ways in which an image file is damaged, each giving the bytes it then has.
DAMAGES = {
    "missing": None,
    "empty": lambda data: b"",
    "cut off early": lambda data: data[:40],
    "cut off late": lambda data: data[: len(data) * 9 // 10],
    "foreign": lambda data: b"PK\x03\x04 this is no image at all" * 9,
}


@each_backend
class TestDamage:
    @pytest.fixture
    def frames(self, backend, bundle, make_coco):
        write_png(bundle / "good.png", random_pixels())
        write_png(bundle / "a.png", random_pixels())
        write_pillow(bundle / "a.jpg", random_pixels())
        write_tiff(bundle / "a.tif", random_pixels())
        write_tiff(
            bundle / "t.tif", random_pixels(), tiled=True, blockxsize=16, blockysize=16, compress="lzw"
        )
        np.save(bundle / "a.npy", random_pixels())
        names = ["good.png", "a.png", "a.jpg", "a.tif", "t.tif", "a.npy"]
        return make_coco(*({"file_name": name} for name in names), backend=backend)

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_each_damaged_file_is_named_and_the_others_are_read(self, damage, frames, bundle):
        for gid in (2, 3, 4, 5, 6):
            path = bundle / frames.dset.imgs[gid]["file_name"]
            change = DAMAGES[damage]
            path.unlink() if change is None else path.write_bytes(change(path.read_bytes()))
            for call in (frames.load_region, lambda gid: np.asarray(frames.load_image(gid))):
                with pytest.raises(SourceError, match=rf"image {gid}: .*{path.name}") as caught:
                    call(gid)
                if change is None:
                    assert isinstance(caught.value, MissingSourceError)
                assert_same(frames.load_region(1), random_pixels())

    def test_preparing_names_all_that_failed_and_converts_the_others(self, backend, frames, bundle):
        if backend is None:
            assert frames.prepare() is None
            return
        (bundle / "a.jpg").unlink()
        (bundle / "a.png").write_bytes(b"no image")
        for workers in (0, 3):
            with pytest.raises(SourceError) as caught:
                frames.prepare(workers=workers)
            message = str(caught.value)
            assert "2 of 6 images could not be prepared" in message
            assert "image 2: " in message
            assert "a.png" in message
            assert "image 3: " in message
            assert "a.jpg" in message
        for gid in (1, 4, 5, 6):
            assert None not in frames.reader.find_ready(frames.layout(gid))

    def test_preparing_one_that_fails_raises_its_own_error(self, backend, frames, bundle):
        if backend is None:
            pytest.skip("nothing to prepare")
        (bundle / "a.jpg").unlink()
        with pytest.raises(MissingSourceError, match=r"^image 3: .*a.jpg does not exist"):
            frames.prepare()

    def test_a_file_that_is_mended_is_read_again(self, frames, bundle):
        data = (bundle / "a.png").read_bytes()
        (bundle / "a.png").write_bytes(data[:200])
        with pytest.raises(SourceError, match="image 2"):
            frames.load_region(2)
        (bundle / "a.png").write_bytes(data)
        assert_same(frames.load_region(2), random_pixels())


@pytest.mark.parametrize("backend", ["npy", "cog"])
class TestPrepare:
    def test_it_converts_all_or_those_asked_for(self, backend, make_simple):
        frames, _ = make_simple(backend)
        frames.prepare([2])
        assert [None not in frames.reader.find_ready(frames.layout(gid)) for gid in (1, 2, 3)] == [
            False,
            True,
            False,
        ]
        frames.prepare()
        assert all(None not in frames.reader.find_ready(frames.layout(gid)) for gid in (1, 2, 3))

    @pytest.mark.parametrize("workers", [0, 1, 2, 8])
    def test_workers_convert_the_same(self, backend, workers, make_simple):
        frames, pixels = make_simple(backend)
        frames.prepare(workers=workers)
        for gid, full in pixels.items():
            assert_same(frames.load_region(gid), full)

    def test_again_it_does_what_is_missing(self, backend, make_simple, monkeypatch):
        frames, _ = make_simple(backend)
        frames.prepare([1])
        converted = []
        original = frames._cache.backend.convert
        monkeypatch.setattr(
            frames._cache.backend,
            "convert",
            lambda source, dest: converted.append(dest) or original(source, dest),
        )
        for use_stamp in (True, False):
            frames.prepare(use_stamp=use_stamp)
        assert len(converted) == 2

    def test_an_image_named_twice_is_no_trouble(self, backend, make_simple):
        frames, pixels = make_simple(backend)
        frames.prepare([1, 1, 1, 2, 2], workers=4)
        assert_same(frames.load_region(1), pixels[1])

    def test_nothing_to_prepare(self, backend, tmp_path):
        SimpleFrames({}, workdir=tmp_path, backend=backend).prepare(workers=3)

    def test_an_unknown_id_is_named(self, backend, make_simple):
        frames, _ = make_simple(backend)
        with pytest.raises(UnknownIdError, match="image id is 77"):
            frames.prepare([1, 77])

    def test_a_progress_bar_is_shown_only_when_asked_for(self, backend, make_simple, capsys):
        frames, _ = make_simple(backend)
        frames.prepare()
        frames.prepare(verbose=0)
        frames.load_region(1)
        assert capsys.readouterr() == ("", "")
        frames.prepare(verbose=1)
        out, err = capsys.readouterr()
        assert f"prepare {backend}" in out + err

    def test_coco_frames_show_one_when_they_were_told_so(self, backend, bundle, make_coco, capsys):
        write_png(bundle / "a.png", random_pixels())
        make_coco({"file_name": "a.png"}, backend=backend).prepare()
        assert capsys.readouterr() == ("", "")
        make_coco({"file_name": "a.png"}, backend=backend, verbose=1).prepare()
        assert "prepare" in "".join(capsys.readouterr())

    def test_a_write_that_fails_names_the_image(self, backend, make_simple, tmp_path, monkeypatch):
        frames, pixels = make_simple(backend)

        def fail(*args):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fail)
            with pytest.raises(CacheError, match=r"image 1: .*No space left") as caught:
                frames.prepare()
            assert "image 3: " in str(caught.value)
        assert_same(frames.load_region(1), pixels[1])

    def test_a_workdir_that_cannot_hold_a_folder_names_the_image(self, backend, make_simple, tmp_path):
        (tmp_path / "work").write_text("a file")
        frames, _ = make_simple(backend)
        with pytest.raises(CacheError, match=r"image 2: .*gray.png cannot be made"):
            frames.load_region(2)


class TestCacheFolders:
    @pytest.mark.parametrize("backend", ["npy", "cog"])
    @pytest.mark.parametrize("mode", ["PATH", "PIXELS"])
    def test_two_bundles_may_share_a_workdir(self, backend, mode, tmp_path, bundle, make_coco):
        (tmp_path / "other").mkdir()
        write_png(bundle / "a.png", random_pixels())
        write_png(tmp_path / "other" / "a.png", random_pixels(seed=1))
        first = make_coco({"file_name": "a.png"}, backend=backend, hashid_mode=mode)
        second = make_coco({"file_name": "a.png"}, backend=backend, hashid_mode=mode, folder="other")
        assert first.cache_dpath == second.cache_dpath
        for _ in range(2):
            assert_same(first.load_region(1), random_pixels())
            assert_same(second.load_region(1), random_pixels(seed=1))

    @pytest.mark.parametrize("backend", ["npy", "cog"])
    @pytest.mark.parametrize(
        "name", ["../../x.png", "../sub/x.png", "ünï 字.png", "a" * 120 + ".png", "absolute"]
    )
    def test_a_name_in_the_dataset_never_decides_where_we_write(self, backend, name, tmp_path, make_coco):
        home = tmp_path / "home"
        (home / "bundle").mkdir(parents=True)
        (home / "sub").mkdir()
        name = str(tmp_path / "far.png") if name == "absolute" else name
        write_png(tmp_path / "plain.png", random_pixels())
        os.replace(tmp_path / "plain.png", home / "bundle" / name)
        before = set(tmp_path.rglob("*"))
        frames = make_coco({"file_name": name}, backend=backend, folder="home/bundle")
        assert_same(frames.load_region(1), random_pixels())
        written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
        assert len(written) == 1
        assert all(path.is_relative_to(frames.cache_dpath) for path in written)

    def test_given_hashes_stand_in_the_dataset(self, bundle, make_coco):
        write_png(bundle / "a.png", random_pixels())
        write_png(bundle / "b.png", random_pixels(seed=1))
        frames = make_coco(
            {"file_name": "a.png", "hashid": "one"},
            {"file_name": "b.png"},
            backend="npy",
            hashid_mode="GIVEN",
        )
        assert_same(frames.load_region(1), random_pixels())
        with pytest.raises(SourceError, match=r"image 2: .*b.png has no hash in the dataset"):
            frames.load_region(2)

    def test_each_backend_and_setting_has_a_folder_of_its_own(self, make_simple, tmp_path):
        specs = [
            "npy",
            "cog",
            {"type": "cog", "config": {"compress": "LZW"}},
            {"type": "cog", "config": {"quality": 9}},
        ]
        folders = [make_simple(spec)[0].cache_dpath for spec in specs]
        assert len(set(folders)) == len(specs)
        assert all(pathlib.Path(folder).is_relative_to(tmp_path / "work") for folder in folders)
        assert make_simple("auto")[0].cache_dpath == make_simple("cog")[0].cache_dpath
        assert make_simple(None)[0].cache_dpath is None

    def test_by_default_it_lies_in_the_users_cache(self, tmp_path, monkeypatch):
        monkeypatch.setattr("ndsampler.abstract_frames._default_workdir", lambda: str(tmp_path / "user"))
        frames = SimpleFrames({}, backend="npy")
        assert frames.cache_dpath.startswith(str(tmp_path / "user"))
        assert SimpleFrames({}).workdir is None

    def test_a_relative_workdir_stays_where_it_was(self, make_simple, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        frames = SimpleFrames({1: "rgb.png"}, workdir="here", backend="npy")
        assert frames.cache_dpath == str(
            tmp_path / "here" / pathlib.Path(frames.cache_dpath).relative_to(tmp_path / "here")
        )
