"""Batches in shared memory are those that were written."""

from __future__ import annotations

import numpy as np
import pytest
from helpers_loader import Unpicklable
from helpers_optional import import_optional
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ndsampler.errors import WorkerError
from ndsampler.training.packing import BatchWriter, Failure, read_batch
from ndsampler.training.shared_buffer import SharedBuffer
from ndsampler.training.stacking import stack_samples

torch = import_optional("torch")


def round_trip(batch, copy=False):
    buffer = SharedBuffer()
    return read_batch(buffer, BatchWriter(buffer).write(batch), copy)


some_arrays = arrays.arrays(
    st.sampled_from(["uint8", "bool", "int64", "float32", "complex64", "U3"]),
    arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9),
)


@given(st.lists(some_arrays, max_size=4), st.integers(0, 3), st.booleans())
def test_arrays_are_as_they_were_whatever_the_order_of_their_axes(values, turn, copy):
    values = [np.moveaxis(v, 0, turn % v.ndim)[..., ::-1] if v.ndim and turn else v for v in values]
    found = round_trip({"values": values, "name": "some"}, copy)
    assert found["name"] == "some"
    for ours, expected in zip(found["values"], values, strict=True):
        np.testing.assert_array_equal(ours, expected, strict=True)
        assert ours.flags.writeable


def test_large_arrays_are_views_of_the_memory_and_copies_are_not():
    buffer = SharedBuffer()
    packed = BatchWriter(buffer).write([np.zeros((50, 50, 3), np.uint8).transpose(2, 0, 1)])
    view, again = read_batch(buffer, packed)[0], read_batch(buffer, packed)[0]
    copied = read_batch(buffer, packed, copy=True)[0]
    view[...] = 7
    assert again.min() == 7
    assert copied.max() == 0


def test_what_is_allocated_in_the_memory_is_not_copied():
    buffer = SharedBuffer()
    writer = BatchWriter(buffer)
    first = writer.allocate((100, 100), np.uint8)
    first[...] = 1
    second = writer.allocate((3000, 1000), np.float32)  # the memory grows, and is mapped anew
    second[...] = 2
    packed = writer.write({"second": second[10:], "first": first})
    found = read_batch(buffer, packed)
    first[...] = 3
    second[...] = 4
    assert found["first"].min() == found["first"].max() == 3
    assert found["second"].shape == (2990, 1000)
    assert found["second"].min() == found["second"].max() == 4


class Labelled(torch.Tensor):
    """A tensor with an attribute."""


def test_tensors_are_tensors_of_the_same_type():
    labelled = torch.arange(400.0).reshape(20, 20).as_subclass(Labelled)
    labelled.label = "ship"
    batch = [
        torch.arange(600).reshape(2, 3, 100).permute(2, 0, 1),
        torch.linspace(0, 1, 3000).to(torch.bfloat16).reshape(30, 100),
        torch.tensor(3.5),
        torch.ones(5, requires_grad=True),
        labelled,
    ]
    found = round_trip(batch)
    for ours, expected in zip(found, batch, strict=True):
        assert ours.dtype == expected.dtype
        assert type(ours) is type(expected)
        assert torch.equal(ours, expected.detach())
    assert found[4].label == "ship"


def test_samples_are_stacked_if_they_have_one_size():
    samples = [{"image": np.full((8, 9, 3), i).transpose(2, 0, 1), "boxes": np.ones((i, 4))} for i in (1, 2)]
    batch = stack_samples(samples)
    np.testing.assert_array_equal(batch["image"], [sample["image"] for sample in samples], strict=True)
    assert [len(boxes) for boxes in batch["boxes"]] == [1, 2]
    tensors = [{"image": torch.from_numpy(sample["image"])} for sample in samples]
    assert torch.equal(stack_samples(tensors)["image"], torch.from_numpy(batch["image"]))
    assert isinstance(stack_samples([*samples, {"image": np.ones((3, 2, 2)), "boxes": 0}])["image"], list)
    assert stack_samples([3, 4]) == [3, 4]


def test_an_error_keeps_its_type_and_its_traceback():
    try:
        {}["key"]
    except KeyError as ex:
        failure = Failure.of(ex)
    error = round_trip(failure).as_exception()
    assert isinstance(error, KeyError)
    assert "test_packing.py" in str(error.__cause__)


def test_an_error_that_cannot_be_sent_is_told():
    error = Failure.of(Unpicklable("salt", "pepper")).as_exception()
    assert isinstance(error, WorkerError)
    with pytest.raises(WorkerError, match="salt and pepper"):
        raise error
