"""
The training loop: the order of samples, datasets, batches, splits, statistics and prediction.

Names that need torch are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ndsampler.training.disjoint import assert_disjoint
from ndsampler.training.labels import label_names, label_numbers
from ndsampler.training.masks import rasterize
from ndsampler.training.order import EpochOrder
from ndsampler.training.prediction import predict
from ndsampler.training.sample_index import SampleIndex
from ndsampler.training.splits import Split, spatial_split
from ndsampler.training.statistics import BandStatistics, band_statistics

if TYPE_CHECKING:
    from ndsampler.training.collate import collate_samples
    from ndsampler.training.dataset import SampleDataset
    from ndsampler.training.target_sampler import TargetSampler
    from ndsampler.training.window_loader import WindowLoader

__all__ = [
    "BandStatistics",
    "EpochOrder",
    "SampleDataset",
    "SampleIndex",
    "Split",
    "TargetSampler",
    "WindowLoader",
    "assert_disjoint",
    "band_statistics",
    "collate_samples",
    "label_names",
    "label_numbers",
    "predict",
    "rasterize",
    "spatial_split",
]

#: The module of each name that needs torch.
_HOMES = {
    "SampleDataset": "dataset",
    "TargetSampler": "target_sampler",
    "WindowLoader": "window_loader",
    "collate_samples": "collate",
}


if not TYPE_CHECKING:  # because type checkers would accept any name

    def __getattr__(name: str) -> object:
        """Import a name that needs torch when it is first used."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value
