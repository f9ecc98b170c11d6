"""What samplers, frames, regions and samples look like when they are printed or shown in a notebook."""

from __future__ import annotations

import re

import kwimage
import numpy as np
import pytest
from helpers_images import random_pixels, write_tiff

import ndsampler
from ndsampler import preview
from ndsampler.utils.html import html_table


@pytest.fixture
def sampler(tmp_path):
    path = write_tiff(tmp_path / "a.tif", random_pixels("uint16", 2))
    boxes = [[number, 9, 8, 9] for number in range(39)]
    data = {
        "images": [{"id": 1, "file_name": str(path), "width": 151, "height": 90}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 3, "bbox": box}
            for number, box in enumerate(boxes, start=1)
        ],
        "categories": [{"id": 3, "name": "boat <b>"}],
    }
    return ndsampler.CocoSampler(data, workdir=tmp_path / "work", backend="npy")


def cells(html):
    return dict(re.findall("<th>(.*?)</th><td>(.*?)</td>", html))


class TestNotebook:
    def test_the_table_of_a_sampler_has_counts_and_the_state_of_the_cache(self, sampler):
        before = cells(sampler._repr_html_())
        assert before["annotations"] == "39"
        assert before["negatives"] == "none preselected"
        assert before["cached files"] == "0"
        sampler.preselect(n_pos=5, n_neg=2, window_dims=(8, 8), rng=0)
        sampler.frames.prepare(verbose=0)
        after = cells(sampler._repr_html_())
        assert (after["positives"], after["negatives"], after["cached files"]) == ("5", "2", "1")
        assert after["cache folder"] == sampler.frames.cache_dpath
        assert cells(sampler.regions._repr_html_()).items() <= after.items()
        assert cells(sampler.frames._repr_html_()).items() <= after.items()

    def test_a_sampler_before_init_has_a_table(self):
        late = ndsampler.CocoSampler("shapes8", autoinit=False)
        assert "init()" in late._repr_html_()

    def test_names_are_escaped(self):
        assert "<b>" not in html_table("a <b>", {"<b>": "<b>"})


class TestShort:
    def test_frames_and_lazy_grids_take_one_line(self, sampler):
        assert repr(sampler.frames).startswith("<CocoFrames backend='npy' at ")
        grid = sampler.new_sample_grid("image_detection", (30, 30), legacy=False)
        lazy = type(grid["targets"]).__name__ == "GridTargets"
        assert len(repr(grid["targets"])) < 60 or not lazy


class TestDescribe:
    def test_it_names_pixels_target_and_annotations(self, sampler):
        sample = sampler.load_sample({"gid": 1, "slices": (slice(-5, 20), slice(0, 30))})
        text = preview.describe(sample)
        im = sample["im"]
        assert f"{im.shape} uint16, {im.min()} to {im.max()}" in text
        assert "space_slice: -5:20, 0:30" in text
        assert f"{len(sample['annots']['aids'])} annotations: " in text
        assert "boat <b>" in text

    def test_a_sample_fits_on_a_screen(self, sampler):
        lines = preview.describe(sampler.load_positive(0)).splitlines()
        assert len(lines) <= 40
        assert max(map(len, lines)) <= 120

    def test_pixels_without_a_value_are_counted(self):
        im = np.array([[1.0, np.nan, 3.0]])
        assert preview.describe({"im": im}) == "im       (1, 3) float64, 1 to 3, 1 not finite"

    @pytest.mark.parametrize(
        "im", [[[1, 2]], np.zeros((0, 3, 3)), np.full((2, 2), np.nan), np.ones((1, 2), complex)]
    )
    def test_any_pixels_are_described(self, im):
        assert preview.describe({"im": im}).startswith("im ")

    def test_many_categories_are_counted(self):
        boxes = kwimage.Boxes(np.ones((12, 4)), "xywh")
        dets = kwimage.Detections(data={"boxes": boxes, "cids": np.arange(12)}, checks=False)
        text = preview.describe({"im": np.zeros((2, 2)), "annots": {"frame_dets": [dets]}})
        assert text.endswith("and 4 more categories")
