"""
Makes the same batches as :func:`ndsampler.training.collate_samples`, in memory that the caller allocates.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Allocate = Callable[[tuple[int, ...], Any], NDArray[Any]]

#: Outputs that are stacked if all samples have them in the same shape. Other outputs are lists.
STACKED = frozenset({"image", "mask", "valid"})


def stack_samples(
    samples: Sequence[Any], allocate: Allocate = np.empty, images: NDArray[Any] | None = None
) -> Any:
    """Return a batch of samples.

    Args:
        samples: dictionaries of arrays or tensors. Samples of another type are returned as a list.
        allocate: returns a new array of a given shape and type for a stack.
        images: an array that already contains the images, in order; single images may lie elsewhere.

    Returns:
        A dictionary with :data:`STACKED` outputs as arrays or tensors, and others as lists.

    Raises:
        ArgumentError: if the samples have different keys.

    Example:
        >>> sample = {'image': np.zeros((3, 8, 8)), 'labels': np.zeros(2)}
        >>> batch = stack_samples([sample, sample])
        >>> batch['image'].shape, len(batch['labels'])
        ((2, 3, 8, 8), 2)
    """
    if not samples or not all(isinstance(sample, dict) for sample in samples):
        return list(samples)
    if any(sample.keys() != samples[0].keys() for sample in samples):
        raise ArgumentError(
            f"the samples have different outputs, {sorted({tuple(sample) for sample in samples})[:4]}; "
            "expected the same outputs in all of them"
        )
    batch = {key: [sample[key] for sample in samples] for key in samples[0]}
    for key in STACKED & batch.keys():
        batch[key] = _stack(batch[key], allocate, images if key == "image" else None)
    return batch


def _stack(values: list[Any], allocate: Allocate, ready: NDArray[Any] | None) -> Any:
    """Stack arrays or tensors of the same shape and type; return others unchanged."""
    torch: Any = sys.modules.get("torch")
    is_tensor = torch is not None and all(isinstance(value, torch.Tensor) for value in values)
    arrays = [value.as_subclass(torch.Tensor).numpy() for value in values] if is_tensor else values
    if not all(type(array) is np.ndarray for array in arrays):
        return values
    if len({(array.shape, array.dtype) for array in arrays}) > 1:
        return values
    # Keep the memory order of the axes, often channels last, so that nothing is transposed.
    first = arrays[0]
    axes = sorted(range(first.ndim), key=lambda axis: -abs(first.strides[axis]))
    shape = (len(arrays), *(first.shape[axis] for axis in axes))
    if ready is not None and ready.size == math.prod(shape) and ready.dtype == first.dtype:
        stored = ready.reshape(shape)
    else:
        stored = allocate(shape, first.dtype)
    stacked = stored.transpose(0, *(axes.index(axis) + 1 for axis in range(first.ndim)))
    for place, array in zip(stacked, arrays):
        if not _is_same(place, array):
            place[...] = array
    return torch.from_numpy(stacked) if is_tensor else stacked


def _is_same(one: NDArray[Any], two: NDArray[Any]) -> bool:
    """Return whether two arrays of the same shape and type use the same memory."""
    first, second = one.__array_interface__["data"][0], two.__array_interface__["data"][0]
    return first == second and one.strides == two.strides
