"""Choosing the images of a dataset, and the samples that the demo draws and measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.kwcoco_adapter import annots_of_image
from ndsampler.preview.choice import in_turn, largest_image

if TYPE_CHECKING:
    from ndsampler.coco_sampler import CocoSampler

#: Fraction of the samples on the sheet that are positives.
POSITIVES = 0.75

#: Maximum number of targets for the measurement of speed; few computers load all of them in the given time.
MAX_TARGETS = 30_000


def choose_images(dset: Any, most: int, rng: np.random.Generator) -> Any:
    """Return a dataset with at most a number of images; images with annotations come first.

    Args:
        dset: a kwcoco dataset.
        most: maximum number of images; 0 for all.
        rng: random generator.
    """
    gids = sorted(dset.imgs)
    if not most or len(gids) <= most:
        return dset
    shuffled = [gids[index] for index in rng.permutation(len(gids))]
    chosen = sorted(shuffled, key=lambda gid: not annots_of_image(dset, gid))[:most]
    return dset.subset(sorted(chosen))


def load_samples(sampler: CocoSampler, count: int, window: int, rng: np.random.Generator) -> list[Any]:
    """Return random positives, of each category in turn, followed by random negatives.

    Args:
        sampler: sampler of the dataset.
        count: number of samples. Positives replace missing negatives and the other way round; if there are
            neither, the samples are random windows.
        window: side of a sample in pixels.
        rng: random generator.
    """
    dims = (window, window)
    wished = round(count * POSITIVES) if sampler.n_positives else 0
    _, n_neg = sampler.preselect(n_neg=count - wished, window_dims=dims, rng=int(rng.integers(1 << 31)))
    n_pos = count - n_neg if sampler.n_positives else 0
    rows = in_turn(sampler.regions.targets["category_id"], n_pos, rng)
    samples = [sampler.load_positive(row, target={"window_dims": dims}) for row in rows]
    samples += [sampler.load_negative(index) for index in range(n_neg)]
    return samples or [sampler.load_sample(target) for target in random_windows(sampler, count, window, rng)]


def random_windows(
    sampler: CocoSampler, count: int, window: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return targets of random windows. Images are chosen with probabilities proportional to their areas.

    Args:
        sampler: sampler of the dataset.
        count: number of targets.
        window: side of each window in pixels.
        rng: random generator.
    """
    gids = sampler.image_ids
    sizes = np.array([sampler.frames.image_dims(gid)[::-1] for gid in gids], float)
    area = sizes.prod(1)
    chosen = rng.choice(len(gids), count, p=area / area.sum())
    margin = np.minimum(window, sizes[chosen]) / 2
    centers = rng.uniform(margin, sizes[chosen] - margin)
    return [
        {"gid": int(gids[index]), "cx": float(x), "cy": float(y), "window_dims": [window, window]}
        for index, (x, y) in zip(chosen, centers)
    ]


def speed_targets(sampler: CocoSampler, window: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return targets in random order: one half around annotations, the other half anywhere.

    The first one is around an annotation, so that its time includes all initial work.

    Args:
        sampler: sampler of the dataset.
        window: side of each window in pixels.
        rng: random generator.
    """
    count = MAX_TARGETS // 2
    targets = random_windows(sampler, count, window, rng)
    table = sampler.regions.targets
    if len(table):
        rows = rng.integers(len(table), size=count)
        columns = (table["gid"][rows], table["cx"][rows], table["cy"][rows])
        targets += [
            {"gid": int(gid), "cx": float(x), "cy": float(y), "window_dims": [window, window]}
            for gid, x, y in zip(*columns)
        ]
    return [targets[-1], *(targets[index] for index in rng.permutation(len(targets) - 1))]


def overview_target(sampler: CocoSampler, side: int) -> dict[str, Any] | None:
    """Return a target for the whole largest image, scaled down; None if it is not larger than ``side``.

    Args:
        sampler: sampler of the dataset.
        side: side of the sample in pixels.
    """
    gid, dims = largest_image(sampler)
    scale = side / max(dims)
    return {"gid": gid, "scale": scale} if scale < 1 else None
