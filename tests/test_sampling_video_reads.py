"""A sample of a video reads only the pixels that it needs."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from helpers_datasets import crop_oracle
from helpers_images import write_tiff
from helpers_videos import MOVING, SAME, SPACE, load, pixels_of, smooth_pixels, videos, warp_whole, whole

from ndsampler import CocoSampler
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.errors import WindowError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return videos(tmp_path_factory.mktemp("videos"))


#: (height, width) of the frames that have overviews, and of their smaller file.
LARGE, HALF = (600, 900), (300, 450)


@pytest.fixture
def large(tmp_path):
    """A sampler of a video of two frames with two files each, which get overviews."""
    import kwcoco

    images = []
    for gid in (1, 2):
        write_tiff(tmp_path / f"full{gid}.tif", smooth_pixels(LARGE, 1, seed=gid))
        write_tiff(tmp_path / f"half{gid}.tif", smooth_pixels(HALF, 1, "uint16", seed=gid))
        files = [
            {"file_name": f"full{gid}.tif", "channels": "pan"},
            {"file_name": f"half{gid}.tif", "channels": "nir", "warp_aux_to_img": {"scale": 2}},
        ]
        images.append({"id": gid, "video_id": 1, "frame_index": gid, "name": str(gid), "assets": files})
        images[-1].update(file_name=None, height=LARGE[0], width=LARGE[1])
    content = {
        "videos": [{"id": 1, "name": "v", "height": LARGE[0], "width": LARGE[1]}],
        "images": images,
        "annotations": [],
        "categories": [],
    }
    dset = kwcoco.CocoDataset(content, bundle_dpath=tmp_path)
    return CocoSampler(dset, workdir=tmp_path / "work", backend="cog")


class CountingReader:
    """An open file that writes down which of its regions are read."""

    def __init__(self, reader, name, level, found):
        self._reader, self._name, self._level, self._found = reader, name, level, found

    def __getattr__(self, name):
        return getattr(self._reader, name)

    def read(self, y0, y1, x0, x1, bands=None):
        if y1 > y0 and x1 > x0:
            self._found.append((self._name, (y0, y1, x0, x1), self._level))
        return self._reader.read(y0, y1, x0, x1, bands)


@pytest.fixture
def reads(monkeypatch):
    """Every read of pixels that follows: (name of the file, region, level of the overview)."""
    found = []
    original = FrameCache.visit

    def visit(self, source, action, level=0):
        name = source.path.rsplit("/", 1)[-1]
        return original(
            self, source, lambda reader: action(CountingReader(reader, name, level, found)), level
        )

    monkeypatch.setattr(FrameCache, "visit", visit)
    return found


def area(box):
    return (box[1] - box[0]) * (box[3] - box[2])


def test_only_files_with_wanted_channels_of_wanted_frames_are_read(large, reads):
    pixels_of(
        large, vidid=1, time_slice=slice(1, 2), channels="nir", space_slice=(slice(10, 40), slice(20, 60))
    )
    assert {name for name, _, _ in reads} == {"half2.tif"}


def test_only_the_region_below_the_window_is_read(large, reads):
    pixels_of(large, vidid=1, space_slice=(slice(100, 164), slice(200, 280)))
    assert len(reads) == 4
    for name, box, level in reads:
        assert level == 0
        expected = (100, 164, 200, 280) if name.startswith("full") else (50, 82, 100, 140)
        around = 0 if name.startswith("full") else 4
        assert all(abs(found - wanted) <= around for found, wanted in zip(box, expected))


@pytest.mark.parametrize(
    ("scale", "levels"), [(1, (0, 0)), (0.5, (1, 0)), (0.3, (1, 0)), (0.25, (2, 1)), (0.1, (3, 2))]
)
def test_shrinking_reads_the_smallest_overview_that_suffices(large, reads, scale, levels):
    found = pixels_of(large, vidid=1, scale=scale)
    chosen = {name[:4]: level for name, _, level in reads}
    assert (chosen["full"], chosen["half"]) == levels
    for name, box, level in reads:
        dims = LARGE if name.startswith("full") else HALF
        assert area(box) <= (dims[0] / 2**level + 1) * (dims[1] / 2**level + 1)
    assert found.shape[1:3] == tuple(int(np.ceil(length * scale - 1e-2)) for length in LARGE)


def test_a_shrunken_window_reads_its_part_of_the_overview(large, reads):
    pixels_of(large, vidid=1, channels="pan", scale=0.25, space_slice=(slice(200, 328), slice(400, 560)))
    # 128 x 160 pixels are 32 x 40 in the second overview; the kernel looks a few pixels farther.
    for _, box, level in reads:
        assert level == 2
        assert area(box) <= (32 + 10) * (40 + 10)


def test_samples_through_overviews_look_like_the_whole_frame_shrunk(large):
    found = pixels_of(large, gids=[1], channels="pan", scale=0.2)[0]
    oracle, inside = warp_whole(smooth_pixels(LARGE, 1, seed=1), np.diag([0.2, 0.2, 1]), found.shape[:2], 8)
    assert np.abs(found.astype(int) - oracle.astype(int))[inside].max() <= 6


def test_windows_beside_a_frame_read_nothing(large, reads):
    found = pixels_of(large, vidid=1, space_slice=(slice(-90, -20), slice(1000, 1100)))
    assert not found.any()
    assert not reads


def test_frames_that_do_not_exist_read_nothing(large, reads):
    pixels_of(large, vidid=1, channels="pan", time_slice=slice(-3, 1), space_slice=(slice(0, 8), slice(0, 8)))
    assert {name for name, _, _ in reads} == {"full1.tif"}


@pytest.mark.parametrize(
    "target",
    [
        {"vidid": MOVING, "space_slice": (slice(0, 10**9), slice(0, 10**9))},
        {"vidid": MOVING, "scale": 1e5},
        {"vidid": MOVING, "pad": (0, 10**8, 10**8)},
        {"vidid": MOVING, "pad": (10**9, 0, 0)},
        {"vidid": MOVING, "time_slice": slice(0, 10**12)},
        {"vidid": MOVING, "time_slice": slice(0, 90_000), "space_slice": (slice(0, 10**3), slice(0, 10**3))},
        {"gids": [SAME], "cx": 5, "cy": 5, "window_dims": (10**7, 10**7)},
        {"vidid": MOVING, "space_slice": (slice(0, 10**9), slice(0, 10**9)), "scale": (1, 1e-6)},
    ],
    ids=repr,
)
def test_absurd_requests_are_refused_before_memory_is_touched(sampler, target):
    pixels_of(sampler, vidid=MOVING, space_slice=SPACE)
    tracemalloc.start()
    try:
        with pytest.raises(WindowError):
            load(sampler, **target)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_window_far_larger_than_the_video_is_affordable(sampler, data):
    found = pixels_of(sampler, gids=[SAME], space_slice=(slice(-400, 700), slice(-300, 900)))[0]
    expected = crop_oracle(whole(data, SAME), (-400, 700), (-300, 900))
    np.testing.assert_array_equal(found, expected)
