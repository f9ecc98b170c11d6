"""The training loop: the order of samples, datasets, batches, splits, statistics and prediction."""

from __future__ import annotations

from ndsampler.training.disjoint import assert_disjoint as assert_disjoint
from ndsampler.training.prediction import predict as predict
from ndsampler.training.splits import Split as Split
from ndsampler.training.splits import spatial_split as spatial_split
from ndsampler.training.statistics import BandStatistics as BandStatistics
from ndsampler.training.statistics import band_statistics as band_statistics
