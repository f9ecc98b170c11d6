"""Loading samples from the pools of positives and negatives, by position or at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndsampler.sampling.target import copy_target, take_arguments
from ndsampler.utils.fork_safety import fork_safe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Unpack

    from ndsampler.coco_regions import CocoRegions
    from ndsampler.types import LoadArguments, Sample, Target, WithAnnots
    from ndsampler.utils.random_state import Rng

__all__ = ["PoolLoading"]


class PoolLoading:
    """Base class of samplers that load the targets of their pools."""

    regions: CocoRegions
    """The regions, which contain the pools."""

    if TYPE_CHECKING:

        def load_sample(
            self, target: Mapping[str, Any], with_annots: WithAnnots = True, **kwargs: Any
        ) -> Sample:
            """Load the window that a target describes."""

    @fork_safe
    def load_item(
        self,
        index: int,
        with_annots: WithAnnots = True,
        target: Target | Mapping[str, Any] | None = None,
        rng: Rng = None,
        **kw: Unpack[LoadArguments],
    ) -> Sample:
        """Load an item of the pools: positives come first, then negatives.

        Args:
            index: position in the pools; None draws one at random.
            with_annots: see :meth:`load_sample`.
            target: keys that replace those of the pool's target, such as ``window_dims`` or ``pad``.
            rng: seed or random state, used only without an index.
            **kw: further arguments of :meth:`load_sample`.

        Returns:
            See :meth:`load_sample`.

        Raises:
            MissingNegativePool: if the index is past the positives and no negatives were preselected.

        Example:
            >>> import ndsampler
            >>> ndsampler.CocoSampler.demo('shapes8').load_item(0)['im'].ndim
            3
        """
        return self._load_pooled(self.regions.get_item(index, rng=rng), with_annots, target, kw)

    @fork_safe
    def load_positive(
        self,
        index: int | None = None,
        with_annots: WithAnnots = True,
        target: Target | Mapping[str, Any] | None = None,
        rng: Rng = None,
        **kw: Unpack[LoadArguments],
    ) -> Sample:
        """Load an item of the positive pool.

        Args:
            index: position in the pool; None draws one at random.
            with_annots: see :meth:`load_sample`.
            target: keys that replace those of the pool's target.
            rng: seed or random state, used only without an index.
            **kw: further arguments of :meth:`load_sample`.

        Returns:
            See :meth:`load_sample`.

        Example:
            >>> import ndsampler
            >>> sampler = ndsampler.CocoSampler.demo('shapes8')
            >>> sample = sampler.load_positive(target={'window_dims': (3, 3), 'pad': (10, 10)}, rng=0)
            >>> sample['im'].shape
            (23, 23, 3)
        """
        return self._load_pooled(self.regions.get_positive(index, rng=rng), with_annots, target, kw)

    @fork_safe
    def load_negative(
        self,
        index: int | None = None,
        with_annots: WithAnnots = True,
        target: Target | Mapping[str, Any] | None = None,
        rng: Rng = None,
        **kw: Unpack[LoadArguments],
    ) -> Sample:
        """Load an item of the negative pool, or a random negative.

        Args:
            index: position in the pool; None draws a negative at random.
            with_annots: see :meth:`load_sample`.
            target: keys that replace those of the negative's target.
            rng: seed or random state, used only without an index.
            **kw: further arguments of :meth:`load_sample`.

        Returns:
            See :meth:`load_sample`.

        Raises:
            MissingNegativePool: for an index if no negatives were preselected.

        Example:
            >>> import ndsampler
            >>> sampler = ndsampler.CocoSampler.demo('shapes8')
            >>> sample = sampler.load_negative(target={'window_dims': (64, 64)}, rng=0)
            >>> sample['im'].shape
            (64, 64, 3)
        """
        return self._load_pooled(self.regions.get_negative(index, rng=rng), with_annots, target, kw)

    def _load_pooled(self, pooled: dict[str, Any], with_annots: WithAnnots, target: Any, kw: Any) -> Sample:
        """Load a target of a pool; keys of the caller's target replace its own."""
        if "tr" in kw:
            target = take_arguments(target, {"tr": kw.pop("tr")})
        replacing = {} if target is None else copy_target(target)
        return self.load_sample({**pooled, **replacing}, with_annots, **kw)
