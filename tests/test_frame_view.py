"""A view of an image: every index of numpy, reading only what is needed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from ndsampler.frames.view import FrameView

SHAPE = (7, 9, 3)
FULL = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int32)

# Slices of any step, whole numbers and an ellipsis, as numpy itself describes them.
BASIC = hnp.basic_indices(SHAPE, allow_newaxis=False)


class Recorder:
    """Reads blocks of :data:`FULL` and notes which."""

    def __init__(self) -> None:
        self.blocks: list[tuple[int, int, int, int]] = []

    def __call__(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        assert 0 <= y0 <= y1 <= SHAPE[0]
        assert 0 <= x0 <= x1 <= SHAPE[1]
        self.blocks.append((y0, y1, x0, x1))
        return FULL[y0:y1, x0:x1].copy()


def read_full(y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
    return FULL[y0:y1, x0:x1].copy()


def make_view(read=read_full) -> FrameView:
    return FrameView(read, SHAPE, FULL.dtype)


class TestBasicIndexes:
    @given(BASIC)
    def test_it_answers_as_the_array_does(self, index):
        found = make_view()[index]
        expected = FULL[index]
        assert np.shape(found) == np.shape(expected)
        assert np.array_equal(found, expected)
        assert found.dtype == expected.dtype

    @given(BASIC)
    def test_it_reads_the_smallest_block_once(self, index):
        recorder = Recorder()
        make_view(recorder)[index]
        ((y0, y1, x0, x1),) = recorder.blocks
        rows, cols = (np.unique(np.indices(SHAPE)[axis][index]) for axis in (0, 1))
        if rows.size:
            assert (y0, y1) == (rows.min(), rows.max() + 1)
            assert (x0, x1) == (cols.min(), cols.max() + 1)

    @pytest.mark.parametrize("index", [np.int64(-2), np.uint8(3), (np.int16(1), np.int32(-1))])
    def test_numbers_of_numpy_are_numbers(self, index):
        assert np.array_equal(make_view()[index], FULL[index])

    @pytest.mark.parametrize("index", [7, -8, (0, 9), (0, -10), (0, 0, 3)])
    def test_an_index_out_of_bounds_is_an_index_error(self, index):
        with pytest.raises(IndexError, match="out of bounds"):
            make_view()[index]

    @pytest.mark.parametrize("index", [(0, 0, 0, 0), (..., ...), None, (slice(None), None), (..., None)])
    def test_too_many_indexes_and_new_axes_are_index_errors(self, index):
        with pytest.raises(IndexError, match="expected at most 3 indexes, one ellipsis and no new axis"):
            make_view()[index]

    @pytest.mark.parametrize("index", [1.5, "rows", (0, 1.5), object(), (0, 0, "r")])
    def test_what_is_no_index_is_refused(self, index):
        with pytest.raises((IndexError, TypeError)):
            make_view()[index]


class TestFancyIndexes:
    mask = FULL % 5 == 0

    @pytest.mark.parametrize(
        "index",
        [
            [0, 2, -1],
            np.array([3, 3, 0]),
            (slice(None), [8, 0]),
            ([0, 1], [2, 3]),
            ([0, 1], [2, 3], [0, 2]),
            ([0, 1], 5),
            (5, [0, 1]),
            ([1, 2], slice(2, 7, 2)),
            (slice(5, None, -2), [1, -1], 0),
            ([0, 1], slice(None), [0, 1]),
            (0, slice(None), [0, 1]),
            (..., [2, 0]),
            (..., [True, False, True]),
            ([[0], [1]], [[1, 2, 3]]),
            (np.arange(7) % 2 == 0,),
            (slice(2, 4), np.arange(9) > 4),
            np.array(3),
            [],
        ],
        ids=repr,
    )
    def test_lists_arrays_and_masks_of_one_axis(self, index):
        found, expected = make_view()[index], FULL[index]
        assert found.shape == expected.shape
        assert np.array_equal(found, expected)

    @pytest.mark.parametrize(
        "index",
        [
            mask,
            (mask[..., 0],),
            (mask[..., 0], 1),
            (mask[..., 0], slice(0, 2)),
            (mask[..., 0], [0]),
            (slice(2, 4), mask[0]),
            (..., mask[0]),
            (1, mask[0]),
        ],
        ids=[
            "3 axes",
            "2 axes",
            "2 axes, int",
            "2 axes, slice",
            "2 axes, list",
            "slice, 2",
            "..., 2",
            "int, 2",
        ],
    )
    def test_masks_of_several_axes(self, index):
        found, expected = make_view()[index], FULL[index]
        assert found.shape == expected.shape
        assert np.array_equal(found, expected)


class TestLikeAnArray:
    def test_it_has_the_attributes_of_an_array(self):
        view = make_view()
        assert (view.shape, view.ndim, view.size, view.nbytes, len(view), view.dtype) == (
            FULL.shape,
            FULL.ndim,
            FULL.size,
            FULL.nbytes,
            len(FULL),
            FULL.dtype,
        )
        assert repr(view) == "FrameView(shape=(7, 9, 3), dtype=int32)"

    def test_making_it_needs_no_pixels(self):
        recorder = Recorder()
        view = make_view(recorder)
        assert (len(view), view.nbytes) == (7, FULL.nbytes)
        assert recorder.blocks == []

    def test_numpy_takes_it_as_an_array(self):
        assert np.array_equal(np.asarray(make_view()), FULL)
        assert np.array_equal(np.array(make_view(), dtype=np.float32), FULL.astype(np.float32))
        assert np.asarray(make_view(), dtype=np.uint8).dtype == np.uint8
        assert np.array_equal(make_view() + np.zeros(1, np.int32), FULL)
        assert np.array_equal(np.concatenate([make_view(), make_view()]), np.concatenate([FULL, FULL]))

    def test_an_array_without_a_copy_is_refused(self):
        with pytest.raises(ValueError, match="contains no pixels"):
            make_view().__array__(copy=False)

    def test_iterating_gives_the_rows(self):
        assert np.array_equal(np.stack(list(make_view())), FULL)

    def test_it_survives_pickling(self):
        view = pickle.loads(pickle.dumps(make_view()))
        assert np.array_equal(view[2:4, ::-1], FULL[2:4, ::-1])

    def test_a_size_beyond_a_machine_word_of_32_bits_is_right(self):
        view = FrameView(read_full, (100_000, 100_000, 3), np.float64)
        assert view.nbytes == 240 * 10**9
