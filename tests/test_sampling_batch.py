"""Samples that are loaded together equal those that are loaded one by one."""

from __future__ import annotations

import kwcoco
import kwimage
import numpy as np
import pytest
from helpers_datasets import ASSETS, AUXILIARY, BOXED, DEEP, DIMS, EMPTY, FLOAT, GRAY, RGB, stills
from helpers_images import random_pixels, write_png, write_tiff
from helpers_samples import windows
from helpers_videos import EXACT, videos
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler import CocoSampler, SimpleFrames
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.errors import (
    ArgumentError,
    ArgumentTypeError,
    NDSamplerError,
    SourceError,
    TargetError,
    UnknownIdError,
    WindowError,
)
from ndsampler.frames.batch_plan import area, divide_work, keep_apart, merge_windows
from ndsampler.utils import deprecation
from ndsampler.windows import PixelBox

#: Sizes of an image with room for windows apart, and of the windows.
LARGE, SIDE = (300, 400), 64


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Return a function from the name of a dataset and a backend to a sampler, made once."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "stills").mkdir()
    (folder / "videos").mkdir()
    dsets = {"stills": stills(folder / "stills").dset, "videos": videos(folder / "videos").dset}
    made = {}

    def make_sampler(name, backend):
        if (name, backend) not in made:
            made[name, backend] = CocoSampler(dsets[name], workdir=folder, backend=backend)
        return made[name, backend]

    return make_sampler


def simplified(value):
    """Return nested plain values that are equal if two values are the same, types and all."""
    if isinstance(value, dict):
        return {key: simplified(part) for key, part in value.items()}
    if isinstance(value, np.ndarray) and value.dtype != object:
        mask = np.ma.getmaskarray(value).tobytes()
        return type(value), str(value.dtype), value.shape, np.ma.getdata(value).tobytes(), mask
    if isinstance(value, kwimage.Detections):
        return simplified([value.data, {key: repr(part) for key, part in value.meta.items()}])
    if isinstance(value, (kwimage.Boxes, kwimage.Points)):
        return simplified([value.data, str(getattr(value, "format", ""))])
    if isinstance(value, (kwimage.Polygon, kwimage.MultiPolygon)):
        return repr(value.to_coco(style="new"))
    if isinstance(value, kwimage.Coords):
        return simplified(value.data)
    if isinstance(value, kwimage.Affine):
        return simplified(value.matrix)
    if isinstance(value, (list, tuple)) or hasattr(value, "to_coco"):
        return [type(value), *map(simplified, value)]
    return type(value), repr(value)


def outcome(load):
    """Return what loading gives in simplified form, or the type and text of the error."""
    try:
        samples = load()
    except NDSamplerError as ex:
        return type(ex), str(ex)
    return [simplified(sample) for sample in samples]


def assert_same_together(sampler, targets, threads, **kwargs):
    one_by_one = outcome(lambda: [sampler.load_sample(target, **kwargs) for target in targets])
    together = outcome(lambda: sampler.load_samples(targets, threads=threads, **kwargs))
    assert together == one_by_one


options = st.fixed_dictionaries(
    {},
    optional={
        "pad": st.sampled_from([0, 2, (3, 0), ((1, 2), (0, 4))]),
        "scale": st.sampled_from([1, 0.5, (2, 1)]),
        "dtype": st.sampled_from(["float32", "uint8"]),
        "nodata": st.sampled_from(["float", "ma", 0]),
        "padkw": st.sampled_from([{"mode": "edge"}, {"mode": "constant", "constant_values": 3}]),
        "legacy_annots": st.just(False),
    },
)

#: Options that no test of one window needs together, so that half of the windows are plain.
maybe_options = st.one_of(st.just({}), options)


@st.composite
def still_targets(draw):
    """Return a window of an image, or an annotation, or something that cannot be sampled."""
    kind = draw(st.sampled_from(["window"] * 8 + ["annotation"] * 3 + ["mistake"]))
    if kind == "annotation":
        return {"aid": draw(st.sampled_from(BOXED)), "window_dims": (20, 30), **draw(maybe_options)}
    if kind == "mistake":
        return draw(st.sampled_from([{"gid": 999}, {"gid": RGB, "cx": 3}, {"gid": RGB, "channels": "x"}]))
    gid = draw(st.sampled_from([RGB, RGB, GRAY, DEEP, FLOAT, ASSETS, AUXILIARY, EMPTY]))
    channels = {"channels": draw(st.sampled_from(["B8|B1", "B1|B2|B8|B11", "B2"]))} if gid == DEEP else {}
    return {"gid": gid, "slices": draw(windows()), **channels, **draw(maybe_options)}


@pytest.mark.parametrize("backend", [None, "npy", "cog"])
@settings(max_examples=25, deadline=None)
@given(
    st.lists(still_targets(), max_size=8), st.sampled_from([0, 0, 2]), st.sampled_from([True, "boxes", False])
)
def test_samples_of_stills_are_those_loaded_one_by_one(make, backend, targets, threads, with_annots):
    assert_same_together(make("stills", backend), targets, threads, with_annots=with_annots)


@pytest.mark.parametrize("threads", [0, 2])
def test_windows_before_one_that_fails_are_read_though_others_follow_it(make, threads):
    window = {"gid": RGB, "slices": (slice(0, 9), slice(0, 9))}
    cast = {**window, "dtype": "float32"}
    assert_same_together(make("stills", None), [cast, {"gid": RGB, "channels": "x"}, window], threads)


@st.composite
def video_targets(draw, dset):
    """Return a window of some frames."""
    vidid = draw(st.sampled_from(sorted(dset.index.videos)))
    keys = draw(maybe_options)
    more = st.sampled_from([{}, {}, {"use_native_scale": True}])
    time = draw(st.sampled_from([slice(0, 2), slice(-1, 1), slice(1, 2)]))
    space = draw(windows((30, 40)))
    return {"vidid": vidid, "time_slice": time, "space_slice": space, **keys, **draw(more)}


@pytest.mark.parametrize("backend", [None, "cog"])
@settings(max_examples=20, deadline=None)
@given(st.data())
def test_samples_of_videos_are_those_loaded_one_by_one(make, backend, data):
    sampler = make("videos", backend)
    targets = data.draw(st.lists(video_targets(sampler.dset), max_size=4))
    assert_same_together(sampler, targets, data.draw(st.sampled_from([0, 2])))


def test_arguments_apply_to_each_target(make, monkeypatch):
    monkeypatch.setattr(deprecation, "_given", set())
    sampler = make("stills", None)
    targets = [{"aid": aid} for aid in BOXED[:3]]
    with pytest.warns(FutureWarning):
        together = sampler.load_samples(targets, with_annots="boxes", visible_thresh=0.5, pad=(4, 4))
    one_by_one = [sampler.load_sample({**t, "pad": (4, 4)}, "boxes", None, 0.5) for t in targets]
    assert [simplified(sample) for sample in together] == [simplified(sample) for sample in one_by_one]


# --- where the pixels go


@pytest.mark.parametrize("backend", [None, "npy"])
def test_each_sample_has_pixels_of_its_own(make, backend):
    targets = [{"gid": DEEP, "slices": (slice(0, 9), slice(x, x + 9))} for x in (0, 3, 3)]
    first, *others = (sample["im"] for sample in make("stills", backend).load_samples(targets))
    expected = [pixels.copy() for pixels in others]
    first[...] = 7
    np.testing.assert_array_equal(others, expected)
    assert not np.shares_memory(*others)


@pytest.mark.parametrize("backend", [None, "npy", "cog"])
def test_pixels_are_written_where_they_are_wanted(make, backend):
    sampler = make("stills", backend)
    targets = [{"gid": RGB, "slices": (slice(y, y + 20), slice(y, y + 30))} for y in (-5, 0, 4, 4, 30)]
    out = np.full((5, 20, 30, 3), 77, np.uint8)
    samples = sampler.load_samples(targets, out)
    for target, sample, part in zip(targets, samples, out):
        assert sample["im"].base is out
        np.testing.assert_array_equal(part, sampler.load_sample(target)["im"])
        np.testing.assert_array_equal(sample["im"], part)


def test_pixels_of_scaled_windows_casts_and_videos_are_written_too(make):
    sampler = make("stills", None)
    target = {"gid": RGB, "slices": (slice(0, 20), slice(0, 30)), "scale": 0.5, "dtype": "float32"}
    out = np.zeros((1, 10, 15, 3), np.float32)
    sampler.load_samples([target], out)
    np.testing.assert_array_equal(out[0], sampler.load_sample(target)["im"])
    moving = make("videos", None)
    target = {"vidid": EXACT, "space_slice": (slice(0, 9), slice(0, 8))}
    expected = moving.load_sample(target)["im"]
    out = np.zeros((2, *expected.shape), expected.dtype)
    moving.load_samples([target, target], out, with_annots=False)
    np.testing.assert_array_equal(out, [expected, expected])


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((2, 9, 9, 3), np.uint8), r"shape \(1, height"),
        (np.zeros((1, 9, 9), np.uint8), r"shape \(1, height"),
        ([[1]], "list"),
        (np.zeros((1, 9, 8, 3), np.uint8), "number 0 is uint8"),
        (np.zeros((1, 9, 9, 3), np.float32), "room for windows of float32"),
        (np.broadcast_to(np.zeros(3, np.uint8), (1, 9, 9, 3)), "writable"),
    ],
)
def test_pixels_that_do_not_fit_are_refused(make, out, message):
    target = {"gid": RGB, "slices": (slice(0, 9), slice(0, 9))}
    with pytest.raises(ArgumentError, match=message):
        make("stills", None).load_samples([target], out)


def test_wrong_arguments_are_refused(make):
    sampler = make("stills", None)
    for threads in (-1, 1.5, True, 10_000):
        with pytest.raises(ArgumentError, match="threads"):
            sampler.load_samples([], threads=threads)
    for targets in ({"gid": RGB}, None, "targets"):
        with pytest.raises(ArgumentTypeError, match="list of targets"):
            sampler.load_samples(targets)
    with pytest.raises(TargetError, match="dictionary"):
        sampler.load_samples([{"gid": RGB}, 3])
    assert sampler.load_samples([]) == []


# --- errors


@pytest.mark.parametrize("threads", [0, 2])
def test_the_error_is_that_of_the_first_target_that_fails(tmp_path, threads):
    write_png(tmp_path / "good.png", random_pixels())
    (tmp_path / "bad.png").write_bytes(b"no image")
    dset = kwcoco.CocoDataset()
    for name in ("good.png", "bad.png", "missing.png"):
        dset.add_image(str(tmp_path / name), width=151, height=90)
    sampler = CocoSampler(dset)
    window = {"slices": (slice(0, 8), slice(0, 8))}
    good, bad, missing, nowhere = ({"gid": gid, **window} for gid in (1, 2, 3, 4))
    for targets in (
        [good, bad, good, missing],
        [good, missing, bad, nowhere],
        [missing, good, bad],
        [good, nowhere, bad],
        [good, bad, {"gid": 1, **window, "dtype": "nothing"}],
    ):
        assert_same_together(sampler, targets, threads)
    with pytest.raises(SourceError, match="image 2"):
        sampler.load_samples([good, bad], threads=threads)


# --- how much is read


class CountingReader:
    """An open file that notes which regions are read."""

    def __init__(self, reader, found):
        self._reader, self._found = reader, found

    def __getattr__(self, name):
        return getattr(self._reader, name)

    def read(self, y0, y1, x0, x1, bands=None):
        self._found.append(PixelBox(y0, y1, x0, x1))
        return self._reader.read(y0, y1, x0, x1, bands)


@pytest.fixture
def reads(monkeypatch):
    """The regions that are read from files, in order."""
    found = []
    visit = FrameCache.visit

    def counting(self, source, action, level=0):
        return visit(self, source, lambda reader: action(CountingReader(reader, found)), level)

    monkeypatch.setattr(FrameCache, "visit", counting)
    return found


@pytest.fixture
def large(tmp_path):
    pixels = random_pixels("uint8", 3, LARGE)
    path = write_tiff(tmp_path / "large.tif", pixels, tiled=True, blockxsize=64, blockysize=64)
    return SimpleFrames({1: path}), pixels


def test_a_grid_of_overlapping_windows_is_decoded_once(large, reads):
    frames, pixels = large
    boxes = [PixelBox(y, y + SIDE, x, x + SIDE) for y in (0, 32, 64) for x in (0, 32, 64)]
    found = frames.load_regions([(1, box.slices) for box in boxes])
    for box, part in zip(boxes, found):
        np.testing.assert_array_equal(part, pixels[box.slices])
    assert sum(map(area, reads)) == 128 * 128


def test_windows_apart_are_read_as_they_are(large, reads):
    frames, _ = large
    boxes = [PixelBox(y, y + SIDE, x, x + SIDE) for y in (0, 200) for x in (0, 300)]
    frames.load_regions([(1, box.slices) for box in reversed(boxes)])
    assert reads == boxes


# --- the plan

boxes = st.tuples(*[st.integers(0, 40), st.integers(0, 15)] * 2).map(
    lambda values: PixelBox(values[0], values[0] + values[1], values[2], values[2] + values[3])
)


@given(st.lists(boxes, max_size=40), st.sampled_from([0, 200, 10_000]))
def test_merged_regions_hold_their_windows_and_are_no_more_work(windows, limit):
    regions = merge_windows(windows, limit)
    assert sorted(i for region in regions for i in region.members) == list(range(len(windows)))
    for region in regions:
        members = [windows[i] for i in region.members]
        sides = list(zip(*members))
        assert region.box == PixelBox(min(sides[0]), max(sides[1]), min(sides[2]), max(sides[3]))
        assert area(region.box) <= sum(map(area, members))
        assert len(members) == 1 or area(region.box) <= limit
    apart = keep_apart(windows)
    assert sorted(region.box for region in apart) == sorted(windows)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers()), max_size=30), st.integers(0, 5))
def test_the_jobs_of_threads_hold_each_window_once_and_are_of_one_file(items, threads):
    jobs = divide_work([(key, (key, item)) for key, item in items], threads)
    assert sorted(pair for job in jobs for pair in job) == sorted(items)
    for job in jobs:
        assert len({key for key, _ in job}) == 1
        assert threads < 2 or len(job) <= -(-len(items) // threads)


# --- regions of frames


@pytest.mark.parametrize("threads", [0, 3])
def test_regions_are_those_read_one_by_one(make, threads):
    frames = make("stills", "cog").frames
    regions = [
        (RGB, (slice(0, 20), slice(-30, None))),
        (DEEP, None),
        (RGB, (slice(10, 30), slice(-30, None), slice(1, 2))),
        (ASSETS, slice(3, 5)),
    ]
    found = frames.load_regions(regions, threads=threads)
    for (gid, region), pixels in zip(regions, found):
        np.testing.assert_array_equal(pixels, frames.load_region(gid, region), strict=True)
    out = np.zeros((2, *DIMS, 3), np.uint8)
    parts = frames.load_regions([(RGB, None)] * 2, out=out, threads=threads)
    np.testing.assert_array_equal(out[1], frames.load_region(RGB))
    assert all(part.base is out for part in parts)


def test_the_first_region_that_cannot_be_read_is_the_error(make):
    frames = make("stills", None).frames
    with pytest.raises(UnknownIdError, match="999"):
        frames.load_regions([(RGB, None), (999, None), (RGB, slice(0, 9, 2))])
    with pytest.raises(WindowError, match="step"):
        frames.load_regions([(RGB, None), (RGB, slice(0, 9, 2)), (999, None)])
