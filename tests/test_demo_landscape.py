"""The synthetic landscape: its plan, its pixels, its film, and what sensors measure of it."""

from __future__ import annotations

import cv2
import kwimage
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler.demo.landscape import CATEGORIES, Film, Painting, Scene, make_scene, objects
from ndsampler.demo.landscape.canvas import TILE, WATER
from ndsampler.demo.landscape.film import FRAMES, LARGEST_SIDE, clip
from ndsampler.demo.landscape.ground import Bend, Rect
from ndsampler.demo.landscape.spectrum import SENSORS, SIDE_UNIT, mean_of_blocks, measure_bands


def rings_of(thing):
    return [np.rint(ring).astype(np.int32) for ring in (thing.outline, *thing.holes)]


class TestScene:
    def test_tiles_join_without_a_seam(self):
        pixels = make_scene(TILE + 200, 300, seed=4).rows(0, 300).astype(float)
        steps = np.abs(np.diff(pixels, axis=1)).mean((0, 2))
        around = np.concatenate([steps[TILE - 60 : TILE - 1], steps[TILE : TILE + 60]])
        assert steps[TILE - 1] < around.mean() + 4 * around.std()

    def test_a_landscape_is_not_noise(self):
        pixels = make_scene(512, 512, seed=2).rows(0, 512).astype(float)
        steps = np.abs(np.diff(pixels, axis=1)).mean()
        assert steps < 0.35 * pixels.std()

    @pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 64), (1030, 40)])
    def test_any_shape_can_be_painted(self, size):
        width, height = size
        painting = make_scene(width, height).paint(0, height)
        assert painting.pixels.shape == (height, width, 3)
        assert painting.materials.shape == (height, width)

    def test_every_category_occurs_in_a_large_landscape(self):
        scene = make_scene(6000, 6000)
        assert {thing.category for thing in scene.annotated} == set(CATEGORIES)
        assert len(scene.annotated) > 1000

    def test_annotated_objects_hardly_overlap(self):
        scene = make_scene(3000, 3000, seed=1)
        count = np.zeros((3000, 3000), np.uint8)
        for thing in scene.annotated:
            one = np.zeros_like(count)
            cv2.fillPoly(one, rings_of(thing), 1)
            count += one
        assert (count > 1).sum() < 0.03 * (count > 0).sum()

    def test_a_courtyard_is_a_hole(self):
        court = objects.Court(400.0, 400.0, 0.3, 500.0, 450.0, 1)
        polygon = kwimage.Polygon(exterior=court.outline, interiors=court.holes)
        assert polygon.area == pytest.approx(500 * 450 - (500 - 148) * (450 - 148), rel=1e-6)

    @pytest.mark.parametrize(
        "kind", [objects.Court, objects.Hall, objects.House, objects.Truck, objects.Pool]
    )
    def test_an_object_paints_its_outline_and_its_shadow_and_nothing_else(self, kind):
        thing = kind(200.0, 210.0, 0.3, 260.0, 200.0, 3)
        rng = np.random.default_rng
        bare, built = (Scene(420, 420, [], placed, rng(0)).rows(0, 420) for placed in ([], [thing]))
        changed = (bare != built).any(2)
        inside = np.zeros((420, 420), np.uint8)
        cv2.fillPoly(inside, rings_of(thing), 1)
        assert changed[cv2.erode(inside, np.ones((5, 5))) > 0].mean() > 0.98
        left, top, right, bottom = (round(edge) for edge in thing.bounds)
        assert not changed[: max(top, 0)].any()
        assert not changed[bottom:].any()
        assert not changed[:, : max(left, 0)].any()
        assert not changed[:, right:].any()

    def test_boats_and_nothing_else_are_on_water(self):
        scene = make_scene(3000, 3000, seed=6)
        boats = [thing for thing in scene.annotated if thing.category == "boat"]
        bare = Scene(3000, 3000, scene.ground, [], np.random.default_rng(0))
        materials = np.concatenate(
            [bare.paint(top, min(top + TILE, 3000)).materials for top in range(0, 3000, TILE)]
        )
        share = {True: [], False: []}
        for thing in scene.annotated:
            mask = np.zeros((3000, 3000), np.uint8)
            cv2.fillPoly(mask, rings_of(thing), 1)
            share[thing.category == "boat"].append((materials[mask > 0] == WATER).mean())
        assert len(boats) > 5
        assert np.mean(share[True]) > 0.95
        assert np.mean(share[False]) < 0.05


class TestBend:
    @given(st.integers(0, 10**6), st.floats(-9000, 9000), st.floats(-9000, 9000))
    @settings(max_examples=50, deadline=None)
    def test_a_point_is_bent_as_the_points_of_an_array_are(self, seed, u, v):
        bend = Bend(np.random.default_rng(seed), (70.0, -30.0))
        assert np.allclose(bend.point(u, v), bend([(u, v), (0, 0)])[0], rtol=0, atol=1e-6)

    def test_an_outline_is_a_closed_ring_through_the_corners(self):
        bend, rect = Bend(np.random.default_rng(1), (0.0, 0.0)), Rect(10.0, 20.0, 700.0, 310.0)
        ring = bend.outline(rect)
        gaps = np.hypot(*(np.roll(ring, -1, 0) - ring).T)
        assert gaps.min() > 1
        assert gaps.max() < 1.2 * 120
        for corner in ((10, 20), (700, 20), (700, 310), (10, 310)):
            assert np.abs(ring - bend([corner])).sum(1).min() < 1e-9


class TestFilm:
    def test_aligned_frames_are_equal_except_for_what_moves(self):
        film = Film(200, frames=2, seed=5)
        canvas = np.full((2, film.size[1], film.size[0], 3), np.nan)
        for frame, shot in enumerate(film.shots()):
            x, y = shot.offset
            canvas[frame, y : y + 200, x : x + 200] = shot.painting.pixels
        both = np.isfinite(canvas).all((0, 3))
        moved = (canvas[0] != canvas[1]).any(2) & both
        assert both.mean() > 0.5
        assert 0 < moved.sum() < 0.3 * both.sum()

    @pytest.mark.parametrize("seed", range(3))
    def test_the_longest_film_of_the_largest_frames_stays_on_the_landscape(self, seed):
        film = Film(LARGEST_SIDE, frames=FRAMES[1], seed=seed)
        assert max(film.size) <= TILE
        assert film.offsets.min() == 0

    def test_the_traffic_does_not_end_before_the_film_does(self):
        film = Film(LARGEST_SIDE, frames=FRAMES[1], seed=0)
        *_, last = film.shots()
        assert sum(seen.category in {"car", "truck"} for seen in last.seen) >= 3

    @given(st.integers(0, 10**6))
    @settings(max_examples=30, deadline=None)
    def test_a_clipped_polygon_covers_its_part_in_the_square(self, seed):
        rng = np.random.default_rng(seed)
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        ring = rng.uniform(-20, 120, 2) + rng.uniform(20, 70) * np.stack([np.cos(angles), np.sin(angles)], 1)
        y, x = np.mgrid[:100, :100] + 0.5
        covered = is_inside(ring, x, y)
        part = clip(ring, 100)
        assert not len(part) or (part.min() >= 0 and part.max() <= 100)
        assert (is_inside(part, x, y) == covered).all()


def is_inside(ring, x, y):
    """Return which points lie inside a polygon, by counting the edges to their right."""
    inside = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, 0)):
        if y0 != y1:
            crossing = (y0 > y) != (y1 > y)
            inside ^= crossing & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


class TestSpectrum:
    @given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
    def test_a_block_is_averaged_over_its_pixels(self, step, rows, columns):
        band = np.random.default_rng(step).uniform(size=(rows * step, columns * step))
        means = mean_of_blocks(band, step)
        for row in range(rows):
            for column in range(columns):
                block = band[row * step : (row + 1) * step, column * step : (column + 1) * step]
                assert means[row, column] == pytest.approx(block.mean())

    def test_every_material_and_color_gives_counts_of_16_bits(self):
        rng = np.random.default_rng(0)
        materials = np.tile(np.arange(16, dtype=np.uint8), (64, 4))
        pixels = rng.choice(np.array([0, 1, 128, 255], np.uint8), (*materials.shape, 3))
        bands = measure_bands(Painting(pixels, materials))
        for sensor in SENSORS.values():
            for asset in sensor.assets:
                exact = np.stack([mean_of_blocks(bands[name], asset.step) for name in asset.channels], 2)
                assert 0 <= exact.min() <= exact.max() < 2**16
                assert np.abs(asset.pixels(bands) - exact).max() <= 0.5

    def test_every_step_divides_the_side_of_a_frame(self):
        for sensor in SENSORS.values():
            for asset in sensor.assets:
                assert SIDE_UNIT % asset.step == 0
                assert asset.step % sensor.step == 0
