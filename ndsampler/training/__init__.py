"""The training loop: the order of samples, datasets, batches, splits, statistics and prediction."""

from __future__ import annotations

from ndsampler.training.prediction import predict as predict
