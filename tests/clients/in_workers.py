"""What tests and their worker processes share: samples, and content as plain values that can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import shims  # noqa: F401
import torch

import ndsampler

#: Backends that the clients are run on.
BACKENDS = (None, "npy", "cog")

#: Seconds that a batch of a worker is waited for.
PATIENCE = 300

#: Ways to start a worker process.
STARTS = ("fork", "spawn")


def plain(value: Any) -> Any:
    """Return nested content as dictionaries, lists and strings that are equal where the content is."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if hasattr(value, "data") and not isinstance(value, np.generic):
        return [type(value).__name__, plain(value.data)]
    return str(value)


def sample_content(sampler: ndsampler.CocoSampler, target: dict[str, Any]) -> Any:
    """Return what a sample shows: pixels, places and annotations."""
    sample = sampler.load_sample(target, with_annots="boxes+segmentation")
    annots = sample["annots"]
    keys = ("aids", "cids", "rel_frame_index", "rel_boxes", "rel_ssegs")
    return plain([sample["im"], sample["params"]["sample_tlbr"], [annots[key] for key in keys]])


class Samples(torch.utils.data.Dataset):
    """The contents of a sampler's samples, one per target."""

    def __init__(self, sampler: ndsampler.CocoSampler, targets: Iterable[dict[str, Any]]):
        self.sampler = sampler
        self.targets = list(targets)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        return sample_content(self.sampler, self.targets[index])


class Items(torch.utils.data.Subset):
    """A part of a client's dataset whose workers have the shims before they meet the client."""


def as_they_are(batch: list[Any]) -> list[Any]:
    """Return the items of a batch uncollated."""
    return batch


def loaded(dataset: torch.utils.data.Dataset, start: str, workers: int, **options: Any) -> list[Any]:
    """Return all items of a dataset as a loader with workers gives them.

    Args:
        dataset: what the workers get.
        start: ``'fork'`` or ``'spawn'``.
        workers: how many; with 0 this process reads.
        options: passed to the loader.

    Returns:
        The items in order.
    """
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=2,
        num_workers=workers,
        collate_fn=as_they_are,
        multiprocessing_context=start if workers else None,
        timeout=PATIENCE if workers else 0,
        **options,
    )
    return [item for batch in loader for item in batch]
