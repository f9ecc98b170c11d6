"""Training with netharn, from a dataset to weights that have moved."""

from __future__ import annotations

import numpy as np
import torch
from in_workers import BACKENDS
from netharn.examples import classification, object_detection

#: What every run here shares.
OPTIONS = {"datasets": "special:shapes8", "workers": 0, "xpu": "cpu", "max_epoch": 1, "batch_size": 2}


def weights(harn) -> torch.Tensor:
    """Return all weights of the harness's network as one vector."""
    return torch.cat([part.detach().flatten().clone() for part in harn.model.parameters()])


def trained(harn):
    """Return how far the weights have moved in one epoch, and the loss of each batch."""
    harn.preferences["use_tensorboard"] = False
    harn.initialize()
    before, losses = weights(harn), []
    run_batch = harn.run_batch

    def noted(batch):
        outputs, loss = run_batch(batch)
        parts = loss.values() if isinstance(loss, dict) else [loss]
        losses.append(sum(float(part) for part in parts))
        return outputs, loss

    harn.run_batch = noted
    harn.run()
    return float((weights(harn) - before).abs().max()), losses


def test_a_classifier_trains_for_an_epoch_on_the_npy_cache(tmp_path):
    harn = classification.setup_harn(
        cmdline=False,
        name="clf",
        workdir=str(tmp_path),
        sampler_backend="npy",
        input_dims=(64, 64),
        **OPTIONS,
    )
    moved, losses = trained(harn)
    assert moved > 0
    assert losses
    assert np.isfinite(losses).all()
    assert list(tmp_path.rglob("*.npy"))


def test_a_classifier_sees_the_same_items_from_every_backend(tmp_path):
    found = []
    for backend in BACKENDS:
        harn = classification.setup_harn(
            cmdline=False,
            name=f"clf-{backend}",
            workdir=str(tmp_path / str(backend)),
            sampler_backend=backend,
            augmenter=None,
            input_dims=(32, 32),
            **OPTIONS,
        )
        dataset = harn.hyper.datasets["vali"]
        found.append([dataset[index]["inputs"]["rgb"].data for index in range(len(dataset))])
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


def test_a_detector_trains_for_an_epoch(tmp_path):
    options = OPTIONS | {"batch_size": 1, "bstep": 1}
    harn = object_detection.setup_harn(
        cmdline=False, nice="det", workdir=str(tmp_path), input_dims=(64, 64), init="noop", **options
    )
    moved, losses = trained(harn)
    assert moved > 0
    assert losses
    assert np.isfinite(losses).all()
