"""Random damage to entries and to datasets: the right pixels or an NDSamplerError, never anything else."""

from __future__ import annotations

import copy
from typing import Any

import kwcoco
import numpy as np
import pytest
from helpers_faults import Scene, draw_scene, each_backend, each_caching, entries, entry_of, in_the_way, whole
from helpers_images import random_pixels, write_png, write_tiff
from helpers_mutations import KEYS, VALUES, mutate
from helpers_processes import needs_fork, run_child

from ndsampler import CocoFrames, CocoSampler
from ndsampler.errors import NDSamplerError

pytestmark = needs_fork

#: Mutations of each kind.
ROUNDS = {"short": 60, "whole": 150, "soak": 2000}


@pytest.fixture
def rounds(amount) -> range:
    """Return the seeds of the mutations."""
    return range(amount(**ROUNDS))


@each_caching
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
def test_mutated_entries_never_give_a_wrong_pixel(backend, is_open, tmp_path, rounds, patience):
    scene = draw_scene(tmp_path / "images", 4)
    frames = scene.frames(tmp_path / "work", backend)
    frames.prepare()
    assert entries(frames)

    def work() -> int:
        seed = 0
        for seed in rounds:
            rng = np.random.default_rng(seed)
            gid = int(rng.choice([gid for gid in scene.paths if entry_of(frames, gid).exists()]))
            mutate(entry_of(frames, gid), rng)
            reader = frames if is_open else scene.frames(tmp_path / "work", backend)
            # An entry can always be made anew here, so that not even an error is right.
            assert np.array_equal(whole(reader, gid), scene.pixels[gid]), seed
            assert in_the_way(frames) == [], seed
        return seed

    run_child(work, patience)


@each_caching
def test_entries_that_rot_under_their_seal_crash_nothing(backend, tmp_path, rounds, patience):
    """Nothing tells that these were changed; what is damaged beyond reading is still noticed."""
    scene = draw_scene(tmp_path / "images", 4)
    frames = scene.frames(tmp_path / "work", backend)
    frames.prepare()
    good = {gid: entry_of(frames, gid).read_bytes() for gid in scene.paths if entry_of(frames, gid).exists()}

    def work() -> None:
        for seed in rounds:
            rng = np.random.default_rng(seed)
            gid = int(rng.choice(list(good)))
            mutate(entry_of(frames, gid), rng, keep_times=True)
            reader = frames if rng.random() < 0.5 else scene.frames(tmp_path / "work", backend)
            for read in (reader.load_region, reader.load_image):
                try:
                    assert read(gid)[:].ndim == 3, seed
                except NDSamplerError:
                    continue
            entry_of(frames, gid).write_bytes(good[gid])

    run_child(work, patience)


@each_backend
@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".npy", ".bmp"])
def test_mutated_sources_are_pixels_or_errors(backend, ending, tmp_path, rounds, patience):
    path = tmp_path / f"image{ending}"
    pixels = random_pixels("uint8", 3, (40, 50))
    if ending == ".npy":
        np.save(path, pixels)
    elif ending == ".tif":
        write_tiff(path, pixels, tiled=True, blockxsize=16, blockysize=16, compress="lzw")
    else:
        import cv2

        path.write_bytes(cv2.imencode(ending, pixels)[1].tobytes())
    good = path.read_bytes()
    scene = Scene({1: str(path)}, {1: pixels})
    whole(scene.frames(tmp_path / "work", backend), 1)

    def work() -> None:
        for seed in rounds:
            rng = np.random.default_rng(seed)
            path.write_bytes(good)
            mutate(path, rng)
            frames = scene.frames(tmp_path / "work", backend)
            try:
                found = whole(frames, 1)
            except NDSamplerError:
                continue
            assert found.ndim == 3, seed
            # A cache never changes what the source says.
            assert np.array_equal(found, whole(scene.frames(None, None), 1), equal_nan=True), seed

    run_child(work, patience)


# Datasets


@pytest.fixture
def mixed(tmp_path) -> tuple[kwcoco.CocoDataset, dict[int, np.ndarray]]:
    """Return a dataset of plain images and of some of several files; and the pixels of the plain ones."""
    folder = tmp_path / "images"
    folder.mkdir()
    dset = kwcoco.CocoDataset()
    dset.fpath = str(folder / "data.kwcoco.json")
    dset.add_video(name="video", id=1, width=40, height=30)
    pixels = {gid: random_pixels("uint8", 3, (30, 40), seed=gid) for gid in (1, 2, 3)}
    write_png(folder / "1.png", pixels[1])
    write_tiff(folder / "2.tif", pixels[2], blockysize=8)
    np.save(folder / "3.npy", pixels[3])
    for gid, name in ((1, "1.png"), (2, "2.tif"), (3, "3.npy")):
        dset.add_image(
            file_name=name, id=gid, width=40, height=30, channels="r|g|b", video_id=1, frame_index=gid
        )
    for gid, key in ((4, "auxiliary"), (5, "assets")):
        parts = []
        for n, scale in enumerate((1, 2)):
            name = f"{gid}-{n}.tif"
            write_tiff(folder / name, random_pixels("uint16", 2, (30 // scale, 40 // scale), seed=gid + n))
            warp = {"scale": scale}
            size = {"width": 40 // scale, "height": 30 // scale}
            parts.append({"file_name": name, "channels": f"x{n}|y{n}", "warp_aux_to_img": warp, **size})
        dset.add_image(
            name=f"image {gid}", id=gid, width=40, height=30, video_id=1, frame_index=gid, **{key: parts}
        )
    return dset, pixels


def garble(img: dict[str, Any], rng) -> set[str]:
    """Give some fields of an image, or of its files, other values, and return which."""
    changed = set()
    for _ in range(int(rng.integers(1, 4))):
        obj = img
        found = [img.get(key) for key in ("auxiliary", "assets")]
        parts = next((value for value in found if isinstance(value, list) and value), None)
        if parts is not None and rng.random() < 0.6:
            if rng.random() < 0.2:
                parts[rng.integers(len(parts))] = copy.copy(VALUES[rng.integers(len(VALUES))])
                changed.add("assets")
                continue
            obj = parts[rng.integers(len(parts))]
            if not isinstance(obj, dict):
                continue
        key = KEYS[rng.integers(len(KEYS))]
        if rng.random() < 0.15:
            obj.pop(key, None)
        else:
            obj[key] = copy.copy(VALUES[rng.integers(len(VALUES))])
        changed.add(key)
    return changed


def read_somehow(sampler: CocoSampler, gid: int, rng) -> tuple[Any, tuple[slice, slice]] | None:
    """Read an image in one of many ways; return the pixels and where they lie if it was a plain crop."""
    y0, x0 = int(rng.integers(0, 20)), int(rng.integers(0, 30))
    region = (slice(y0, y0 + 9), slice(x0, x0 + 8))
    way = int(rng.integers(10))
    if way == 0:
        return sampler.frames.load_region(gid, region), region
    if way == 1:
        return sampler.frames.load_region(gid), (slice(None), slice(None))
    if way == 2:
        return sampler.load_sample({"gid": gid, "slices": region}, with_annots=False)["im"], region
    if way == 3:
        return sampler.load_image(gid)[:], (slice(None), slice(None))
    if way == 4:
        sampler.frames.prepare([gid])
    elif way == 5:
        sampler.load_sample({"gid": gid, "slices": region, "channels": "<all>"})
    elif way == 6:
        sampler.load_sample({"gid": gid, "slices": region, "scale": 0.5, "nodata": "float"})
    elif way == 7:
        sampler.load_sample({"vidid": 1, "gids": [gid, 1], "space_slice": region})
    elif way == 8:
        sampler.frames.load_frame(gid)[2:5]
    else:
        sampler.load_sample({"vidid": 1, "gids": [gid], "space_slice": region, "use_native_scale": True})
    return None


@each_backend
@pytest.mark.parametrize("mode", ["PATH", "PIXELS"])
def test_garbled_datasets_give_right_pixels_or_errors(backend, mode, mixed, tmp_path, rounds, patience):
    dset, pixels = mixed
    good = copy.deepcopy(dset.imgs)
    sampler = CocoSampler(dset, workdir=tmp_path / "work", backend=backend)
    sampler.frames = CocoFrames(dset, mode, tmp_path / "work", backend=backend)
    for seed in range(40):
        read_somehow(sampler, seed % 5 + 1, np.random.default_rng(seed))

    def work() -> None:
        for seed in rounds:
            rng = np.random.default_rng(seed)
            gid = int(rng.integers(1, 6))
            dset.imgs[gid].clear()
            dset.imgs[gid].update(copy.deepcopy(good[gid]))
            changed = garble(dset.imgs[gid], rng)
            state = repr(dset.imgs[gid])
            for _ in range(3):
                try:
                    found = read_somehow(sampler, gid, rng)
                except NDSamplerError:
                    continue
                except Exception as ex:
                    raise AssertionError(f"seed {seed}, {state[:2000]}") from ex
                if found is not None and gid in pixels and "file_name" not in changed:
                    right = np.array_equal(found[0], pixels[gid][found[1]])
                    assert right, f"seed {seed}, {changed}, {state[:2000]}"
            dset.imgs[gid].clear()
            dset.imgs[gid].update(copy.deepcopy(good[gid]))
        for gid, expected in pixels.items():
            assert np.array_equal(sampler.frames.load_region(gid), expected)

    run_child(work, patience)
    outside = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.parent == tmp_path / "images" or tmp_path / "work" in path.parents for path in outside)
