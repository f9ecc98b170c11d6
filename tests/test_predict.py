"""Maps: a function of the windows of an image, blended, resumed and written as a COG."""

from __future__ import annotations

import os
import signal
import textwrap

import kwcoco
import numpy as np
import pytest
import rasterio
from helpers_datasets import one_image
from helpers_images import random_pixels, write_png, write_tiff
from helpers_maps import DIMS, GEOREFERENCE, WINDOW, assert_same, blended, make_sampler, placed, read_map
from helpers_processes import run_python
from rasterio.control import GroundControlPoint

import ndsampler
from ndsampler.errors import (
    ArgumentError,
    ArgumentTypeError,
    MissingSourceError,
    NDSamplerError,
    UnknownIdError,
    WindowError,
)
from ndsampler.training import predict
from ndsampler.training.blending import Axis, Blend

INF = float("inf")


@pytest.fixture
def sampler(tmp_path):
    return make_sampler(tmp_path)


@pytest.fixture
def image():
    return random_pixels("uint8", 3, DIMS, seed=5)


def identity(pixels):
    return pixels


def place_in_window(pixels):
    """Return values that depend on where a pixel is in its window, so that the blend shows."""
    height, width = pixels.shape[1:3]
    y, x = np.mgrid[:height, :width]
    where = np.stack([(3 * y + x) % 251, y * x % 256], axis=-1).astype(np.float32)
    return where + pixels[..., :1].astype(np.float32) / 256


class Stopped(BaseException):
    """Stops a run, as Ctrl-C does."""


def stop_after(function, calls):
    """Return a function that raises an error after some calls."""
    left = iter(range(calls))

    def limited(pixels):
        if next(left, None) is None:
            raise Stopped
        return function(pixels)

    return limited


@pytest.mark.parametrize(
    ("weights", "overlap"),
    [("hann", 0), ("hann", 0.25), ("hann", (0.7, 0.4)), ("linear", 0.6), ("uniform", 0.5), ("nearest", 0.3)],
)
def test_the_identity_gives_the_image_with_its_georeference(tmp_path, sampler, image, weights, overlap):
    path = predict(sampler, 1, identity, WINDOW, overlap, tmp_path / "map.tif", weights=weights)
    found = read_map(path)
    np.testing.assert_array_equal(found["pixels"], image)
    assert found["profile"]["crs"] == GEOREFERENCE["crs"]
    assert found["profile"]["transform"] == GEOREFERENCE["transform"]
    assert found["tags"][1]["LAYOUT"] == "COG"
    assert not os.path.exists(path + ".partial")


@pytest.mark.parametrize(("weights", "overlap"), [("hann", 0.25), ("linear", (0.8, 0.6))])
def test_windows_that_agree_give_exactly_their_value(tmp_path, weights, overlap):
    pixels = random_pixels("float32", 2, DIMS, seed=3) * np.float32(1e30)
    sampler = make_sampler(tmp_path, pixels)
    path = predict(sampler, 1, identity, WINDOW, overlap, tmp_path / "map.tif", weights=weights)
    np.testing.assert_array_equal(read_map(path)["pixels"], pixels)


def test_values_in_any_order_of_memory_are_blended(tmp_path, sampler):
    def with_bands_first(pixels):
        return place_in_window(pixels).transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1)

    def with_columns_first(pixels):
        return place_in_window(pixels)[..., :1].transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3)

    reference = read_map(predict(sampler, 1, place_in_window, WINDOW, out=tmp_path / "reference.tif"))
    found = read_map(predict(sampler, 1, with_bands_first, WINDOW, out=tmp_path / "map.tif"))
    assert_same(found, reference)
    found = read_map(predict(sampler, 1, with_columns_first, WINDOW, out=tmp_path / "map.tif"))
    np.testing.assert_array_equal(found["pixels"], reference["pixels"][..., :1])


@pytest.mark.parametrize(
    ("weights", "overlap", "dtype"),
    [
        ("hann", 0.25, "uint8"),
        ("linear", 0.6, "float32"),
        ("uniform", 0.5, "int16"),
        ("hann", 0.7, "float64"),
    ],
)
def test_overlapping_windows_are_averaged_as_by_brute_force(
    tmp_path, sampler, image, weights, overlap, dtype
):
    def function(pixels):
        return place_in_window(pixels).astype(dtype)

    path = predict(sampler, 1, function, WINDOW, overlap, tmp_path / "map.tif", weights=weights)
    found = read_map(path)["pixels"]
    expected = blended(image, function, WINDOW, overlap, weights)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=0.5001 if found.dtype.kind in "iu" else 1e-4)


@pytest.mark.parametrize(("weights", "dtype"), [("hann", "float32"), ("uniform", "float64")])
def test_averages_of_the_largest_numbers_are_finite(tmp_path, sampler, image, weights, dtype):
    def signs(pixels):
        return np.where(pixels[..., :2] + place_in_window(pixels)[..., :1] % 3 > 100, 1.0, -1.0)

    most = np.finfo(dtype).max

    def function(pixels):
        return (signs(pixels) * most).astype(dtype)

    path = predict(sampler, 1, function, WINDOW, 0.6, tmp_path / "map.tif", weights=weights)
    expected = blended(image, signs, WINDOW, 0.6, weights)
    np.testing.assert_allclose(read_map(path)["pixels"] / most, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "mean"),
    [
        *((INF, INF, INF), (INF, 5, INF), (5, INF, INF), (-INF, 5, -INF)),
        *((INF, -INF, np.nan), (np.nan, 5, np.nan), (5, np.nan, np.nan)),
    ],
)
def test_infinite_values_are_averaged_as_limits(first, second, mean):
    rows, columns = (Axis.from_starts(starts, 4, starts[-1] + 4, "hann") for starts in ([0, 2], [0]))
    blend = Blend(rows, columns, 1, np.dtype(np.float32), "hann")
    blend.add(0, 0, np.full((4, 4, 1), first, np.float32))
    assert blend.take(0).ravel().tolist() == pytest.approx([first] * 8, nan_ok=True)
    blend.add(1, 0, np.full((4, 4, 1), second, np.float32))
    expected = [mean] * 8 + [second] * 8
    assert blend.take(1).ravel().tolist() == pytest.approx(expected, nan_ok=True)


def test_the_nearest_window_gives_class_indexes_unchanged(tmp_path, sampler):
    def function(pixels):
        return np.broadcast_to(np.int64(pixels[:, :1, :1, :1]) * 1000, (*pixels.shape[:3], 1))

    path = predict(sampler, 1, function, WINDOW, 0.5, tmp_path / "map.tif", weights="nearest")
    found = read_map(path)["pixels"][..., 0]
    image = read_map(tmp_path / "image.tif")["pixels"]
    tops, lefts = (np.array(placed(DIMS[axis], WINDOW[axis], 0.5)) for axis in (0, 1))
    middle = [starts + size / 2 for starts, size in zip((tops, lefts), WINDOW)]
    for y, x in ((0, 0), (66, 23), (67, 24), (68, 25), (DIMS[0] - 1, DIMS[1] - 1)):
        distances = [np.abs(middle[axis] - at - 0.5) for axis, at in enumerate((y, x))]
        near = [np.nonzero(part == part.min())[0] for part in distances]
        allowed = {1000 * int(image[tops[i], lefts[j], 0]) for i in near[0] for j in near[1]}
        assert int(found[y, x]) in allowed


@pytest.mark.parametrize("size", [1, 100])
def test_the_batch_size_changes_nothing(tmp_path, sampler, size):
    batches = []

    def function(pixels):
        batches.append(len(pixels))
        return place_in_window(pixels)

    reference = read_map(predict(sampler, 1, place_in_window, WINDOW, out=tmp_path / "reference.tif"))
    found = read_map(predict(sampler, 1, function, WINDOW, out=tmp_path / "map.tif", batch_size=size))
    assert_same(found, reference)
    assert set(batches[:-1]) <= {size}
    assert batches[-1] <= size


def test_annotations_that_are_ignored_leave_no_hole(tmp_path, image):
    dset = make_sampler(tmp_path).dset
    dset.add_category("ignore")
    dset.add_annotation(1, category_id=2, bbox=[0, 0, DIMS[1], DIMS[0]])
    path = predict(ndsampler.CocoSampler(dset), 1, identity, WINDOW, out=tmp_path / "map.tif")
    np.testing.assert_array_equal(read_map(path)["pixels"], image)


@pytest.mark.parametrize("calls", [1, 11, 12, 20])
def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path, sampler, calls):
    out = tmp_path / "map.tif"
    reference = read_map(predict(sampler, 1, place_in_window, WINDOW, out=tmp_path / "reference.tif"))
    with pytest.raises(Stopped):
        predict(sampler, 1, stop_after(place_in_window, calls), WINDOW, out=out, batch_size=1)
    assert not out.exists()
    seen = []
    found = predict(sampler, 1, lambda px: (seen.append(1), place_in_window(px))[1], WINDOW, out=out)
    assert_same(read_map(found), reference)
    windows = len(placed(DIMS[0], WINDOW[0], 0.25)) * len(placed(DIMS[1], WINDOW[1], 0.25))
    assert windows == 27
    # The first rows of tiles are complete after four rows of three windows.
    assert (len(seen) < -(-windows // 8)) == (calls >= 12)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_a_process_that_was_killed_leaves_a_map_that_is_resumed(tmp_path, sampler):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, signal, sys
            import kwcoco, ndsampler
            from ndsampler.training import predict
            sys.path.insert(0, {os.path.dirname(__file__)!r})
            from test_predict import place_in_window
            calls = []
            def function(pixels):
                calls.append(1)
                if len(calls) > 20:
                    os.kill(os.getpid(), signal.SIGKILL)
                return place_in_window(pixels)
            sampler = ndsampler.CocoSampler(kwcoco.CocoDataset({str(tmp_path / "data.json")!r}))
            predict(sampler, 1, function, {WINDOW}, out={str(tmp_path / "map.tif")!r}, batch_size=1)
            """
        )
    )
    sampler.dset.dump(tmp_path / "data.json")
    assert run_python(script).returncode == -signal.SIGKILL
    with open(tmp_path / "map.tif.partial" / "tiles.tif", "ab") as file:
        file.write(b"half of a tile")
    reference = read_map(predict(sampler, 1, place_in_window, WINDOW, out=tmp_path / "reference.tif"))
    left = stop_after(place_in_window, 4)
    assert_same(
        read_map(predict(sampler, 1, left, WINDOW, out=tmp_path / "map.tif", batch_size=8)), reference
    )


def test_a_run_stopped_while_the_map_is_encoded_calls_the_function_no_more(tmp_path, sampler, monkeypatch):
    from ndsampler.training import unfinished

    def half_done(raw, dest, options):
        with open(dest, "wb") as file, open(raw, "ab") as tiles:
            file.write(b"half of a map")
            tiles.write(b"half of an overview")
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(unfinished, "encode_tiff", half_done)
        with pytest.raises(Stopped):
            predict(sampler, 1, identity, WINDOW, out=tmp_path / "map.tif")
    found = predict(sampler, 1, stop_after(identity, 0), WINDOW, out=tmp_path / "map.tif")
    assert_same(read_map(found), read_map(predict(sampler, 1, identity, WINDOW, out=tmp_path / "ref.tif")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tif", "map.tif", "ref.tif"]


@pytest.mark.parametrize("change", ["image", "window", "weights", "channels", "state", "tiles"])
def test_an_unfinished_map_of_something_else_is_started_anew(tmp_path, sampler, caplog, change):
    out = tmp_path / "map.tif"
    with pytest.raises(Stopped):
        predict(sampler, 1, stop_after(identity, 20), WINDOW, out=out, batch_size=1)
    window, weights, gid = WINDOW, "hann", 1
    image = random_pixels("uint8", 3, DIMS, seed=5)
    if change == "image":
        image = random_pixels("uint8", 3, DIMS, seed=6)
        write_tiff(tmp_path / "image.tif", image)
        os.utime(tmp_path / "image.tif", (1, 1))
    elif change == "window":
        window = (91, 32)
    elif change == "weights":
        weights = "linear"
    elif change == "channels":
        gid, image = {"gid": 1, "channels": "g"}, image[..., 1:2]
    elif change == "state":
        (tmp_path / "map.tif.partial" / "state.json").write_text("{")
    else:
        (tmp_path / "map.tif.partial" / "tiles.tif").write_bytes(b"")
    path = predict(sampler, gid, identity, window, out=out, weights=weights)
    np.testing.assert_array_equal(read_map(path)["pixels"], image)
    assert "started over" in caplog.text


def test_two_runs_do_not_write_the_same_map(tmp_path, sampler):
    def nested(pixels):
        predict(sampler, 1, identity, WINDOW, out=tmp_path / "map.tif")

    with pytest.raises(ArgumentError, match="being written by another process"):
        predict(sampler, 1, nested, WINDOW, out=tmp_path / "map.tif")


def test_a_map_that_exists_is_replaced_when_the_new_one_is_complete(tmp_path, sampler, image):
    out = tmp_path / "map.tif"
    out.write_bytes(b"before")
    with pytest.raises(Stopped):
        predict(sampler, 1, stop_after(identity, 2), WINDOW, out=out)
    assert out.read_bytes() == b"before"
    np.testing.assert_array_equal(read_map(predict(sampler, 1, identity, WINDOW, out=out))["pixels"], image)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "uint32", "int32", "float16", "float64"])
def test_values_of_every_type_are_stored(tmp_path, sampler, image, dtype):
    def function(pixels):
        return (pixels[..., :2] > 99).astype(dtype)

    stored = {"bool": "uint8", "float16": "float32"}.get(dtype, dtype)
    found = read_map(predict(sampler, 1, function, (600, 70), out=tmp_path / "map.tif"))["pixels"]
    assert found.dtype == stored
    np.testing.assert_array_equal(found, image[..., :2] > 99)


def test_overviews_average_values_and_pick_class_indexes(tmp_path, sampler, image):
    mean = read_map(predict(sampler, 1, identity, WINDOW, out=tmp_path / "map.tif"))["overview 0"]
    blocks = image.reshape(300, 2, 35, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    assert np.abs(mean - blocks).max() <= 0.5
    path = predict(sampler, 1, identity, WINDOW, out=tmp_path / "map.tif", weights="nearest")
    picked = read_map(path)["overview 0"].transpose(1, 2, 0)[:, :, None]
    choices = image.reshape(300, 2, 35, 2, 3).transpose(0, 2, 1, 3, 4).reshape(300, 35, 4, 3)
    assert (picked == choices).any(axis=2).all()


def test_an_image_without_georeference_gives_a_map_without(tmp_path):
    pixels = random_pixels("uint8", 3, (40, 50))
    sampler = ndsampler.CocoSampler(one_image(write_png(tmp_path / "a.png", pixels), (40, 50)))
    found = read_map(predict(sampler, 1, identity, (16, 16), out=tmp_path / "map.tif"))
    np.testing.assert_array_equal(found["pixels"], pixels)
    assert found["profile"]["crs"] is None
    assert found["profile"]["transform"].is_identity
    assert "overview 0" not in found


def test_ground_control_points_are_kept(tmp_path):
    points = [GroundControlPoint(y, x, 10 + x / 100, 50 - y / 100) for y in (0, 600) for x in (0, 70)]
    sampler = make_sampler(tmp_path, gcps=points, crs="EPSG:4326")
    found = read_map(predict(sampler, 1, identity, WINDOW, out=tmp_path / "map.tif"))
    assert found["gcps"] == [(point.row, point.col, point.x, point.y) for point in points]


def test_the_georeference_follows_the_warp_of_a_file_onto_its_image(tmp_path):
    pixels = random_pixels("uint16", 1, (30, 40))
    write_tiff(tmp_path / "nir.tif", pixels, **GEOREFERENCE)
    asset = {"file_name": "nir.tif", "channels": "nir", "width": 40, "height": 30}
    asset["warp_aux_to_img"] = {"type": "affine", "scale": 2.0, "offset": [4, 6]}
    image = {"id": 7, "name": "scene", "width": 84, "height": 66, "auxiliary": [asset]}
    sampler = ndsampler.CocoSampler(kwcoco.CocoDataset({"images": [image]}, bundle_dpath=tmp_path))
    path = predict(sampler, {"gid": 7, "channels": "nir"}, identity, (32, 32), out=tmp_path / "map.tif")
    with rasterio.open(path) as file:
        assert file.crs == GEOREFERENCE["crs"]
        for x, y in ((0, 0), (40, 30), (3, 20)):
            found = rasterio.transform.xy(file.transform, 2 * y + 6, 2 * x + 4, offset="ul")
            expected = rasterio.transform.xy(GEOREFERENCE["transform"], y, x, offset="ul")
            assert found == pytest.approx(expected)
    whole = sampler.load_sample({"gid": 7, "channels": "nir"}, with_annots=False)["im"]
    np.testing.assert_allclose(read_map(path)["pixels"], whole, atol=1)


BAD_ARGUMENTS = {
    "no such image": ({"gid": 9}, UnknownIdError, "image id is 9"),
    "no image": ({"gid": {"channels": "r"}}, ArgumentError, "expected an image id"),
    "unknown key": ({"gid": {"gid": 1, "scale": 2}}, ArgumentError, "expected an image id"),
    "masked arrays": ({"gid": {"gid": 1, "nodata": "ma"}}, ArgumentError, "plain arrays"),
    "no function": ({"function": 3}, ArgumentTypeError, "function is 3"),
    "large window": ({"window_dims": (64, 71)}, WindowError, "expected a window that fits into it"),
    "one side": ({"window_dims": (64,)}, ArgumentError, "window_dims"),
    "negative side": ({"window_dims": (64, -1)}, ArgumentError, "window_dims"),
    "full overlap": ({"overlap": 1}, ArgumentError, "overlap"),
    "no step": ({"overlap": 0.999}, ArgumentError, "less than a pixel"),
    "no batch": ({"batch_size": 0}, ArgumentError, "batch_size"),
    "half a batch": ({"batch_size": 1.5}, ArgumentError, "batch_size"),
    "unknown weights": ({"weights": "cosine"}, ArgumentError, "weights is 'cosine'"),
    "no folder": ({"out": "missing/map.tif"}, MissingSourceError, "does not exist; create it first"),
    "a folder": ({"out": "."}, ArgumentError, "which is a folder"),
    "two axes": ({"function": lambda px: px[..., 0]}, ArgumentError, "returned an array of shape"),
    "smaller": ({"function": lambda px: px[:, ::2, ::2]}, ArgumentError, "expected (8, 90, 32, K)"),
    "fewer": ({"function": lambda px: px[:-1]}, ArgumentError, "expected (8, 90, 32, K)"),
    "no band": ({"function": lambda px: px[..., :0]}, ArgumentError, "K values"),
    "nothing": ({"function": lambda px: None}, ArgumentError, "returned an array of shape ()"),
    "text": ({"function": lambda px: px.astype(str)}, ArgumentError, "returned <U"),
    "complex": ({"function": lambda px: px * 1j}, ArgumentError, "returned complex128"),
    "means of int64": ({"function": lambda px: px.astype(int)}, ArgumentError, "use weights='nearest'"),
    "NaN": (
        {"function": lambda px: px / 0.0 * 0},
        ArgumentError,
        "returned NaN or infinite values for rows 0",
    ),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_bad_input_is_an_error_that_says_what_was_expected(tmp_path, sampler, monkeypatch, case):
    changed, error, message = BAD_ARGUMENTS[case]
    monkeypatch.chdir(tmp_path)
    arguments = {"gid": 1, "function": identity, "window_dims": WINDOW, "out": "map.tif", **changed}
    with pytest.raises(error) as info:
        predict(sampler, **arguments)
    assert isinstance(info.value, NDSamplerError)
    assert message in str(info.value)
    assert not os.path.exists("map.tif")


def test_a_function_that_changes_its_bands_is_refused(tmp_path, sampler):
    bands = iter([1, 2])
    with pytest.raises(
        ArgumentError, match="returned 2 values of uint8 for each pixel, and 1 of uint8 before"
    ):
        predict(sampler, 1, lambda px: px[..., : next(bands)], WINDOW, out=tmp_path / "map.tif")
