"""
Combines samples into batches. This module imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ndsampler.errors import ArgumentError, ArgumentTypeError
from ndsampler.utils.require import require

if TYPE_CHECKING:
    from collections.abc import Sequence

torch = require("torch", "torch", "ndsampler.training.collate_samples")

#: Outputs that are stacked if all samples have them in the same shape.
STACKED = ("image", "mask", "valid")


def collate_samples(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a batch: a dictionary with the outputs of all samples.

    ``image``, ``mask`` and ``valid`` are stacked; if their sizes differ, they are lists. All other outputs
    are lists with an item for each sample, because samples have different numbers of annotations.

    Args:
        samples: samples of a :class:`ndsampler.training.SampleDataset`.

    Raises:
        ArgumentTypeError: if a sample is not a dictionary.
        ArgumentError: if there are no samples, or they do not have the same outputs.

    Example:
        >>> import torch
        >>> samples = [{'image': torch.zeros(3, 8, 8), 'boxes': torch.zeros(n, 4)} for n in (0, 2)]
        >>> batch = collate_samples(samples)
        >>> batch['image'].shape, [len(boxes) for boxes in batch['boxes']]
        (torch.Size([2, 3, 8, 8]), [0, 2])
    """
    if not samples:
        raise ArgumentError("there are no samples; expected at least one")
    strange = [type(sample).__name__ for sample in samples if not isinstance(sample, Mapping)]
    if strange:
        raise ArgumentTypeError(f"a sample is a {strange[0]}; expected dictionaries of outputs")
    names = list(samples[0])
    if any(set(sample) != set(names) for sample in samples):
        raise ArgumentError(
            f"the samples have different outputs, {sorted({tuple(sample) for sample in samples})[:4]}; "
            "expected the same outputs in all of them"
        )
    return {name: _join(name, [sample[name] for sample in samples]) for name in names}


def _join(name: str, values: list[Any]) -> Any:
    """Return one output of all samples."""
    if name not in STACKED or not all(isinstance(value, torch.Tensor) for value in values):
        return values
    if len({(value.shape, value.dtype) for value in values}) > 1:
        return values
    # In a worker process, default_collate writes into shared memory.
    return torch.utils.data.default_collate([value.as_subclass(torch.Tensor) for value in values])
