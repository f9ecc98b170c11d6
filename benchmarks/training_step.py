"""
Compare a training step of a ResNet-50 with samples of the library and with synthetic data.

``python -m benchmarks.training_step`` needs torch and torchvision, and uses a GPU if there is one. Both sides
take the same steps with the same network; the synthetic side trains with one batch that stays on the device.
The sides alternate, so that a change of the machine's speed affects both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.images import write_geotiff

#: Number of objects in an image, and number of categories.
OBJECTS, CATEGORIES = 200, 10


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_step", description=__doc__)
    parser.add_argument("--device", help="by default CUDA, if there is a GPU")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--side", type=int, default=4096, help="rows and columns of an image")
    parser.add_argument("--window", type=int, default=224, help="rows and columns of a window")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--backend", default="npy", choices=("npy", "cog"))
    parser.add_argument("--steps", type=int, default=40, help="steps of a side in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where images are kept; a temporary folder by default")
    return parser.parse_args(argv)


def make_sampler(folder: Path, args: argparse.Namespace) -> Any:
    """Return a sampler over images of noise with boxes, whose cache is complete."""
    import kwcoco

    import ndsampler

    rng = np.random.default_rng(0)
    dset = kwcoco.CocoDataset()
    for number in range(CATEGORIES):
        dset.add_category(f"category {number}")
    for number in range(args.images):
        path = folder / f"image{number}.tif"
        if not path.exists():
            write_geotiff(path, rng.integers(0, 256, (args.side, args.side, 3), np.uint8), tiled=True)
        gid = dset.add_image(file_name=str(path), width=args.side, height=args.side)
        for x, y in rng.integers(0, args.side - 40, (OBJECTS, 2)).tolist():
            dset.add_annotation(gid, int(rng.integers(CATEGORIES)) + 1, bbox=[x, y, 40, 40])
    sampler = ndsampler.CocoSampler(dset, workdir=str(folder / "work"), backend=args.backend)
    sampler.frames.prepare(workers=0)
    return sampler


class FirstLabel:
    """A transform that keeps the image and the label of one object. It can be pickled for spawned workers."""

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Return the image and the label for a classifier."""
        return {"image": sample["image"], "label": sample["labels"][:1]}


def make_batches(sampler: Any, args: argparse.Namespace) -> Any:
    """Return the loader of the library."""
    from ndsampler.training import EpochOrder, SampleDataset, WindowLoader

    window = (args.window, args.window)
    dataset = SampleDataset(sampler, "positives", window, ("image", "labels"), FirstLabel())
    steps = 1 + (args.steps + 1) * args.rounds
    order = EpochOrder(len(dataset), length=steps * args.batch)
    return WindowLoader(dataset, order, args.batch, workers=args.workers, depth=2 * args.workers)


def make_step(device: Any) -> Callable[[Any, Any], None]:
    """Return a function that trains a network on a batch: images of 8 bits, and labels."""
    import torch
    import torchvision

    torch.backends.cudnn.benchmark = True
    net = torchvision.models.resnet50(num_classes=CATEGORIES + 1).to(
        device, memory_format=torch.channels_last
    )
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)

    def step(images: Any, labels: Any) -> None:
        with torch.autocast(device.type, torch.bfloat16):
            pixels = images.to(memory_format=torch.channels_last).float() / 127.5 - 1
            loss = torch.nn.functional.cross_entropy(net(pixels), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def on_device(batches: Iterator[Any], device: Any) -> Iterator[tuple[Any, Any]]:
    """Yield images and labels of batches on a device."""
    import torch

    for batch in batches:
        labels = torch.as_tensor(batch["label"]).reshape(-1).to(device, non_blocking=True)
        yield batch["image"].to(device, non_blocking=True), labels


def time_steps(step: Callable[[Any, Any], None], batches: Iterator[tuple[Any, Any]], count: int) -> float:
    """Return the mean seconds of a step, measured after one step to warm up."""
    import torch

    began = 0.0
    for number in range(count + 1):
        if number == 1:
            _wait(torch)
            began = time.perf_counter()
        step(*next(batches))
    _wait(torch)
    return (time.perf_counter() - began) / count


def _wait(torch: Any) -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Measure both sides and return the figures."""
    import torch

    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    sampler = make_sampler(folder, args)
    times: dict[str, list[float]] = {"synthetic": [], "loader": []}
    with make_batches(sampler, args) as loader:
        step, batches = make_step(device), on_device(iter(loader), device)
        fixed = next(batches)
        fixed = fixed[0].clone(), fixed[1].clone()
        for _ in range(5):
            step(*fixed)
        for _ in range(args.rounds):
            times["synthetic"].append(time_steps(step, iter(lambda: fixed, None), args.steps))
            times["loader"].append(time_steps(step, batches, args.steps))
    best = {side: statistics.median(values) for side, values in times.items()}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {
        "device": name,
        "seconds of a step": {side: round(value, 5) for side, value in best.items()},
        "images/s with the loader": round(args.batch / best["loader"]),
        "step with the loader / with synthetic data": round(best["loader"] / best["synthetic"], 3),
    }


def main(argv: list[str] | None = None) -> None:
    """Print the figures as JSON."""
    args = parse(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps(measure(folder, args), indent=1))


if __name__ == "__main__":
    main()
