"""The training loop: the order of samples, datasets, batches, splits, statistics and prediction."""

from __future__ import annotations

from ndsampler.training.labels import label_names, label_numbers
from ndsampler.training.masks import rasterize
from ndsampler.training.order import EpochOrder

__all__ = ["EpochOrder", "label_names", "label_numbers", "rasterize"]
