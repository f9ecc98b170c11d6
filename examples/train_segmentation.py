"""Train a small U-Net on a CPU, stop and resume it, and map a held-out image of 4096 x 4096 pixels.

pip install "ndsampler[headless,torch]" && python examples/train_segmentation.py

It takes less than four minutes, and writes a picture, a map and a checkpoint to the folder of ``--out``.
The picture shows the annotations on the left and the prediction on the right. The network also finds trees in
the forest, where they are not annotated, which counts against it, and takes parts of some roads for roofs.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import time

import cv2
import numpy as np
import torch
from torch import nn

import ndsampler
from ndsampler.demo import landscape_dataset
from ndsampler.training import EpochOrder, SampleDataset, WindowLoader, predict, rasterize

#: The held-out image: a city, in a TIFF of strips.
HELD_OUT = 3

WINDOW = (128, 128)

#: Red, green and blue of background, building, car, truck, boat, tree and pool, and of ignored pixels.
COLORS = np.array(
    [[0, 0, 0], [228, 26, 28], [255, 255, 51], [255, 127, 0], [247, 129, 191], [77, 175, 74], [55, 126, 255]]
)


def flip(sample: dict) -> dict:
    """Flip image and mask at random, in the same way."""
    dims = [dim for dim in (-2, -1) if torch.rand(()) < 0.5]
    return {name: value.flip(dims) for name, value in sample.items()}


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Return two convolutions."""
    layers: list[nn.Module] = []
    for count in (inputs, outputs):  # input channels of the convolution
        layers += [nn.Conv2d(count, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """A small U-Net, which works at half the resolution of the image.

    It takes (N, 3, height, width) pixels of 8 bits and returns (N, labels, height, width) scores.
    """

    def __init__(self, labels: int, width: int = 12) -> None:
        super().__init__()
        sizes = [width, 2 * width, 4 * width, 6 * width]
        self.stem = nn.Conv2d(3, width, 4, stride=2, padding=1)
        self.down = nn.ModuleList(block(a, b) for a, b in zip([width, *sizes], sizes))
        self.up = nn.ModuleList(block(a + b, b) for a, b in zip(sizes[:0:-1], sizes[-2::-1]))
        self.head = nn.Conv2d(width, labels, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the scores of each pixel."""
        found, kept = self.stem(pixels.float() / 127.5 - 1), []
        for layer in self.down:
            found = layer(nn.functional.max_pool2d(found, 2) if kept else found)
            kept.append(found)
        for layer, skipped in zip(self.up, kept[-2::-1]):
            found = layer(torch.cat([nn.functional.interpolate(found, scale_factor=2), skipped], dim=1))
        return nn.functional.interpolate(self.head(found), scale_factor=2, mode="bilinear")


def train(dataset: SampleDataset, path: pathlib.Path, steps: int, stop: int) -> UNet:
    """Train up to a step, starting from a checkpoint if there is one, and write a checkpoint."""
    torch.manual_seed(0)
    net = UNet(len(dataset.label_names))
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    parts = {"net": net, "optimizer": optimizer, "schedule": schedule}
    order = EpochOrder(len(dataset), groups=dataset.groups(), weights="sqrt", negatives=0.1)
    with WindowLoader(dataset, order, batch_size=8, workers=1) as loader:
        step, losses = 0, []
        if path.exists():
            saved = torch.load(path)
            step = saved["step"]
            loader.load_state_dict(saved["loader"])
            for name, part in parts.items():
                part.load_state_dict(saved[name])
            print(f"resumed at step {step}")
        while step < stop:
            for batch in loader:
                loss = nn.functional.cross_entropy(net(batch["image"]), batch["mask"], ignore_index=255)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
                step += 1
                if step % 50 == 0:
                    print(f"step {step}: loss {np.mean(losses[-50:]):.3f}")
                if step == stop:
                    break
            else:
                loader.set_epoch(loader.sampler.epoch + 1)
        states = {name: part.state_dict() for name, part in parts.items()}
        torch.save({**states, "step": step, "loader": loader.state_dict()}, path)
    return net


def map_image(net: UNet, sampler: ndsampler.CocoSampler, path: pathlib.Path) -> np.ndarray:
    """Write a map of the labels of the held-out image, and return it."""
    net.eval()

    @torch.inference_mode()
    def label(pixels: np.ndarray) -> np.ndarray:
        scores = net(torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2))
        return scores.argmax(1)[..., None].to(torch.uint8).numpy()

    predict(sampler, HELD_OUT, label, (256, 256), overlap=0.125, out=path, weights="nearest")
    return np.squeeze(ndsampler.SimpleFrames({1: str(path)}).load_image(1)[:])


def report(found: np.ndarray, truth: np.ndarray, names: list[str]) -> None:
    """Print the intersection over union of each label."""
    for label, name in enumerate(names):
        either = ((found == label) | (truth == label)).sum()
        print(f"IoU {name}: {((found == label) & (truth == label)).sum() / max(1, either):.2f}")
    print(f"IoU of all objects: {((found > 0) & (truth > 0)).sum() / ((found > 0) | (truth > 0)).sum():.2f}")


def draw(pixels: np.ndarray, masks: list[np.ndarray], path: pathlib.Path) -> None:
    """Write a picture of the image under each mask, side by side, at a quarter of the size."""
    sides = []
    for mask in masks:
        colors = COLORS[mask]
        shown = np.where(mask[..., None] > 0, colors, pixels // 2).astype(np.uint8)
        sides.append(cv2.resize(shown, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(path), np.hstack(sides)[..., ::-1])


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default="segmentation")
    parser.add_argument("--size", type=int, default=4096, help="side of the held-out image")
    parser.add_argument("--steps", type=int, default=900)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))  # the other half is for the worker
    began = time.monotonic()

    dset = landscape_dataset(args.out, size=args.size, film=False)
    # The negatives of a sampler come from all of its images, so the held-out one is not among them.
    training = ndsampler.CocoSampler(
        dset.subset([gid for gid in dset.imgs if gid != HELD_OUT]), workdir=args.out / "cache", backend="npy"
    )
    training.frames.prepare()
    dataset = SampleDataset(training, "positives", WINDOW, ["image", "mask"], transform=flip)
    print(f"{len(dataset)} objects in {training.n_images} images; {time.monotonic() - began:.0f} s")

    checkpoint = args.out / "checkpoint.pt"
    checkpoint.unlink(missing_ok=True)
    train(dataset, checkpoint, args.steps, args.steps // 2)
    net = train(dataset, checkpoint, args.steps, args.steps)
    print(f"trained; {time.monotonic() - began:.0f} s")

    sampler = ndsampler.CocoSampler(dset)
    found = map_image(net, sampler, args.out / "map.tif")
    sample = sampler.load_sample({"gid": HELD_OUT})
    truth = rasterize(sample)
    report(found, truth, dataset.label_names)
    draw(sample["im"], [truth, found], args.out / "truth_and_prediction.png")
    print(f"wrote {args.out / 'truth_and_prediction.png'}; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
