"""The training loop: the order of samples, datasets, batches, splits, statistics and prediction."""

from __future__ import annotations

from ndsampler.training.order import EpochOrder

__all__ = ["EpochOrder"]
