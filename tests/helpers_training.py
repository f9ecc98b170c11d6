"""A small dataset for training, transforms that draw random numbers, and digests of samples."""

from __future__ import annotations

import hashlib
import json
import pathlib
import random
from typing import Any

import kwimage
import numpy as np

CATEGORIES = [
    {"id": 4, "name": "boat", "keypoints": ["bow", "stern"]},
    {"id": 9, "name": "buoy"},
    {"id": 2, "name": "pier"},
]

KEYPOINTS = [{"id": 1, "name": "bow"}, {"id": 2, "name": "stern"}]

#: (height, width) of the images.
DIMS = (90, 120)

#: All outputs that are arrays.
ARRAYS = ("image", "boxes", "labels", "masks", "mask", "keypoints", "valid")


def annotations() -> list[dict[str, Any]]:
    """Return boats with polygons and keypoints, buoys with boxes, and a pier, in two images."""
    found: list[dict[str, Any]] = []
    for gid, x, y in ((1, 5, 8), (1, 60, 20), (1, 90, 60), (2, 30, 50), (2, 100, 5)):
        found += [
            {
                "image_id": gid,
                "category_id": 4,
                "bbox": [x, y, 24, 16],
                "segmentation": [[x, y, x + 24, y + 7.3, x + 2.2, y + 16]],
                "keypoints": [{"xy": [x + 24, y + 7], "visible": 2, "keypoint_category_id": 1}],
            },
            {"image_id": gid, "category_id": 9, "bbox": [x + 14.5, y + 10.5, 6, 5]},
        ]
    found.append({"image_id": 2, "category_id": 2, "bbox": [0, 0, 120, 20]})
    return [{"id": aid, **ann} for aid, ann in enumerate(found, 1)]


def write_dataset(folder: pathlib.Path) -> pathlib.Path:
    """Write two images of noise and their annotations; return the path of the dataset."""
    folder.mkdir(exist_ok=True)
    images = []
    for gid in (1, 2):
        pixels = np.random.default_rng(gid).integers(0, 256, (*DIMS, 3)).astype(np.uint8)
        kwimage.imwrite(folder / f"{gid}.png", pixels)
        images.append({"id": gid, "file_name": f"{gid}.png", "width": DIMS[1], "height": DIMS[0]})
    content = {
        "images": images,
        "annotations": annotations(),
        "categories": CATEGORIES,
        "keypoint_categories": KEYPOINTS,
    }
    path = folder / "data.kwcoco.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


class Jitter:
    """A transform that flips, rolls and shifts by the global generators of torch, numpy and python."""

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Return the changed sample."""
        import torch

        image = sample["image"].float() + torch.rand(1) + random.random()
        found = {**sample, "image": image.roll(int(np.random.randint(5)), -1)}
        if torch.rand(1) < 0.5:
            found["mask"], found["image"] = sample["mask"].flip(-1), found["image"].flip(-1)
        return found


def digest(sample: dict[str, Any]) -> str:
    """Return the SHA-256 of the names, types, shapes and values of all tensors of a sample."""
    found = hashlib.sha256()
    for name in sorted(sample):
        array = np.ascontiguousarray(sample[name].numpy())
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.data)
    return found.hexdigest()


class Placed:
    """A dataset that returns each sample with the epoch and position of its index.

    Args:
        dataset: a ``SampleDataset``.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitems__(self, indexes: list[Any]) -> list[tuple[tuple[int, int], dict[str, Any]]]:
        """Return (epoch, position) pairs and samples."""
        samples = self.dataset.__getitems__(indexes)
        return [((index.epoch, index.g), sample) for index, sample in zip(indexes, samples)]


def fingerprint_of(records: dict[tuple[int, int], str]) -> str:
    """Return one SHA-256 of the digests of samples, by epoch and position."""
    lines = [f"{epoch} {g} {value}" for (epoch, g), value in sorted(records.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
