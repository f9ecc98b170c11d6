"""
The index of a sample, with its epoch and its position in the epoch.
"""

from __future__ import annotations

import operator
from typing import Any

from ndsampler.errors import ArgumentTypeError


class SampleIndex(int):
    """An index into a dataset, together with the epoch and the position of the sample.

    Any dataset can use it as an integer. A :class:`ndsampler.training.SampleDataset` derives the randomness
    of a sample from its epoch and position.

    Args:
        index: index of the item in the dataset.
        epoch: number of the epoch.
        g: position in the epoch, counted over all ranks; the index itself by default.

    Example:
        >>> index = SampleIndex(7, epoch=2, g=300)
        >>> list('abcdefgh')[index], index.epoch, index.g
        ('h', 2, 300)
    """

    epoch: int
    """Number of the epoch."""
    g: int
    """Position in the epoch, counted over all ranks."""

    def __new__(cls, index: int, epoch: int = 0, g: int | None = None) -> SampleIndex:
        """Return the index."""
        found = super().__new__(cls, index)
        found.epoch = epoch
        found.g = int(index) if g is None else g
        return found

    @classmethod
    def coerce(cls, index: Any) -> SampleIndex:
        """Return a sample index unchanged, and convert a plain integer to a position of epoch 0.

        Raises:
            ArgumentTypeError: if the index is not an integer.
        """
        if isinstance(index, cls):
            return index
        try:
            return cls(operator.index(index))
        except TypeError:
            raise ArgumentTypeError(f"the index of a sample is {index!r}; expected an integer") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (int(self), self.epoch, self.g)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self)}, epoch={self.epoch}, g={self.g})"
