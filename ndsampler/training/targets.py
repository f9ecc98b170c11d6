"""
The targets of a dataset for training: a pool, a grid, a list or a function, and negatives drawn on demand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ndsampler.errors import ArgumentError, ArgumentTypeError, OutOfRangeError
from ndsampler.pools.positives import window_pair
from ndsampler.pools.targets import NegativeSource
from ndsampler.training.permutation import make_key

if TYPE_CHECKING:
    from ndsampler.coco_sampler import CocoSampler
    from ndsampler.training.sample_index import SampleIndex

#: Maximum number of targets whose text is part of the fingerprint of a list.
WITNESSES = 256

#: Purposes of seeds, so that no two purposes share a random stream.
NEGATIVE, TRANSFORM = range(2)


class TargetSource:
    """Returns the target of each sample, as a pure function of index, epoch and position.

    Args:
        sampler: loads the samples, and has the pools.
        targets: ``'positives'`` or ``'pool'``; a grid from ``new_sample_grid``; a sequence of targets; or a
            function of epoch and position.
        window_dims: (height, width) in pixels that is added to each target; None to keep that of the target.
        options: further keys that are added to each target.
        seed: seed of the negatives.

    Raises:
        ArgumentError: for an unknown pool, or if there are no targets.
        ArgumentTypeError: if the targets have any other type.

    Example:
        >>> import ndsampler
        >>> from ndsampler.training import SampleIndex
        >>> source = TargetSource(ndsampler.CocoSampler.demo('shapes8'), [{'gid': 3}], (8, 8), {}, 0)
        >>> source.target_at(SampleIndex(0))
        {'gid': 3, 'window_dims': (8, 8)}
        >>> source.target_at(SampleIndex(-1, epoch=4, g=9))['window_dims']
        (8, 8)
    """

    def __init__(
        self, sampler: CocoSampler, targets: Any, window_dims: Any, options: Mapping[str, Any], seed: int
    ) -> None:
        self.sampler, self.seed = sampler, seed
        self.window_dims = window_dims
        self.overlay = dict(options) if window_dims is None else {"window_dims": window_dims, **options}
        self._given = _resolve_targets(targets)
        if not callable(self._given) and not len(self):
            raise ArgumentError("there are no targets; expected at least one")

    def __len__(self) -> int:
        """Return the number of targets.

        Raises:
            ArgumentTypeError: if the targets are a function.
        """
        if self._given == "positives":
            return self.sampler.n_positives
        if self._given == "pool":
            return self.sampler.n_samples
        if callable(self._given):
            raise ArgumentTypeError("targets is a function and has no length; the EpochOrder has one")
        return len(self._given)

    @property
    def is_function(self) -> bool:
        """Whether the targets are a function."""
        return callable(self._given)

    def target_at(self, index: SampleIndex) -> dict[str, Any]:
        """Return the target of a sample.

        Args:
            index: index of the target. If it is below 0, the target is a negative that depends only on epoch
                and position.

        Raises:
            OutOfRangeError: if the index is not below the number of targets.
            ArgumentError: for a negative, if no image has space for one.
        """
        if index < 0:
            return {**self._negative(index), **self.overlay}
        return {**self.stated(index), **self.overlay}

    def stated(self, index: SampleIndex) -> dict[str, Any]:
        """Return a target as the user passed it, without further keys.

        Raises:
            OutOfRangeError: if the index is not below the number of targets.
        """
        given = self._given
        if isinstance(given, str):
            regions = self.sampler.regions
            return regions.get_positive(int(index)) if given == "positives" else regions.get_item(int(index))
        if callable(given):
            return given(index.epoch, index.g)
        if index >= len(given):
            raise OutOfRangeError(f"target {int(index)} was requested; expected 0 to {len(given) - 1}")
        return given[int(index)]

    def _negative(self, index: SampleIndex) -> dict[str, Any]:
        """Return the negative of a position."""
        # RandomState is numpy's only generator whose streams never change between versions.
        rng = np.random.RandomState(make_key(self.seed, NEGATIVE, index.epoch, index.g) % 2**32)
        result: dict[str, Any] = self._negatives.draw(1, rng, exact=True).iloc[0]
        return result

    @cached_property
    def _negatives(self) -> NegativeSource:
        """The source of negatives."""
        regions, dims = self.sampler.regions, self.window_dims
        window = None if dims is None or isinstance(dims, str) else window_pair(dims, "negatives")
        anchors = np.empty((0, 2)) if window else regions.neg_anchors
        return NegativeSource.from_sizes(regions.isect_index, window, anchors, regions.BACKGROUND_CLASS_ID)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_negatives"}

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that identify the dataset, the targets and the window size."""
        digest = blake2b(digest_size=8)
        parts = [str(self.sampler.regions.hashid), repr(sorted(self.overlay.items(), key=str))]
        if not callable(self._given):
            from ndsampler.training.sample_index import SampleIndex

            count = len(self)
            rows = np.unique(np.linspace(0, count - 1, min(count, WITNESSES)).astype(np.int64)).tolist()
            parts += [str(count), *(_describe(self.stated(SampleIndex(row))) for row in rows)]
        for part in parts:
            digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
        return digest.hexdigest()


def _resolve_targets(targets: Any) -> str | Sequence[dict[str, Any]] | Callable[[int, int], dict[str, Any]]:
    """Return the name of a pool, a sequence of targets, or a function."""
    if isinstance(targets, str):
        if targets not in ("positives", "pool"):
            raise ArgumentError(
                f"targets is {targets!r}; expected 'positives', 'pool', a grid, a list or a function"
            )
        return targets
    if isinstance(targets, Mapping) and "targets" in targets:
        targets = targets["targets"]
    if callable(targets):
        return cast("Callable[[int, int], dict[str, Any]]", targets)
    if isinstance(targets, Sequence):
        return targets
    raise ArgumentTypeError(
        f"targets is of type {type(targets).__name__}; expected a pool's name, a grid from new_sample_grid, "
        "a list of targets, or a function of (epoch, g)"
    )


def _describe(target: Mapping[str, Any]) -> str:
    """Return a target as text that does not depend on the types of its numbers."""
    return repr(
        sorted(
            (key, value.item() if isinstance(value, np.generic) else value) for key, value in target.items()
        )
    )
