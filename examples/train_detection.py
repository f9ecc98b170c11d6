"""Train a small detector of buildings, vehicles, boats, trees and pools, and apply it to a held-out image.

pip install "ndsampler[headless,torch]" && python examples/train_detection.py

It takes less than four minutes on a CPU, and writes a picture and the weights to the folder of ``--out``. The
picture shows a held-out image, with the annotations on the left and the detected boxes on the right. The
training data contain few large roofs and trucks, so the detector finds only parts of them.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pathlib
import time

import cv2
import numpy as np
import torch
from torch import nn

import ndsampler
from ndsampler.demo import landscape_dataset
from ndsampler.training import EpochOrder, SampleDataset, WindowLoader

#: The held-out image: a city.
HELD_OUT = 3

WINDOW = (256, 256)

#: Distance in pixels between the positions at which the detector can find an object.
STRIDE = 8

#: Red, green and blue of building, car, truck, boat, tree and pool.
COLORS = [(228, 26, 28), (255, 255, 51), (255, 127, 0), (247, 129, 191), (77, 175, 74), (55, 126, 255)]


def flip(sample: dict) -> dict:
    """Flip image and boxes at random, in the same way."""
    image, boxes = sample["image"], sample["boxes"].clone()
    for dim, size in ((0, image.shape[-1]), (1, image.shape[-2])):
        if torch.rand(()) < 0.5:
            image = image.flip(-1 - dim)
            boxes[:, [dim, dim + 2]] = size - boxes[:, [dim + 2, dim]]
    return {**sample, "image": image, "boxes": boxes}


def layer(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Detector(nn.Module):
    """A network that finds the centers of objects, and their boxes ("Objects as Points", 2019).

    It takes (N, 3, height, width) pixels of 8 bits and returns (N, classes + 4, height / 8, width / 8): the
    score of each class, and the logarithms of the distances to the left, top, right and bottom of the box.
    """

    def __init__(self, classes: int, width: int = 16) -> None:
        super().__init__()
        sizes = [3, width, 2 * width, 4 * width]
        self.down = nn.Sequential(*(layer(a, b, 2) for a, b in itertools.pairwise(sizes)))
        self.far = nn.Sequential(*(layer(4 * width, 4 * width, 1 + (n == 0)) for n in range(4)))
        self.head = nn.Sequential(layer(8 * width, 4 * width), nn.Conv2d(4 * width, classes + 4, 1))
        nn.init.constant_(self.head[-1].bias[:classes], -4)  # most places have no object

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return scores and distances."""
        near = self.down(pixels.float() / 127.5 - 1)
        far = nn.functional.interpolate(self.far(near), scale_factor=2)
        return self.head(torch.cat([near, far], dim=1))


def places(rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x and y of the output positions of the detector, in pixels of the image."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return (x + 0.5) * STRIDE, (y + 0.5) * STRIDE


def loss_of(found: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss for one image: focal loss for the scores, and L1 for the boxes near centers."""
    logits, logs = found[:-4], found[-4:]
    x, y = places(*logits.shape[1:])
    left, top, right, bottom = boxes.T[:, :, None, None]
    width, height = right - left, bottom - top
    away = ((x - (left + right) / 2) / width.clamp(24)) ** 2 + (
        (y - (top + bottom) / 2) / height.clamp(24)
    ) ** 2
    near = torch.exp(-18 * away)  # 1 at the center of an object
    goal = torch.zeros_like(logits)
    for label, of_object in zip(labels - 1, near):  # label 0 is background
        goal[label] = torch.maximum(goal[label], of_object / of_object.max())
    scores = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    is_center = goal == 1
    loss = torch.where(
        is_center, -((1 - scores) ** 2) * scores.log(), -((1 - goal) ** 4 * scores**2) * (1 - scores).log()
    )
    total = loss.sum() / max(1, len(labels))
    weight, which = near.max(0) if len(labels) else (torch.zeros_like(x), None)
    if which is not None and (weight > 0.5).any():
        sides = (
            torch.stack([x - left, y - top, right - x, bottom - y]).clamp(4).log()
        )  # (4, objects, rows, columns)
        wanted = sides.gather(1, which.expand(4, 1, -1, -1))[:, 0]
        total = total + ((logs - wanted).abs().mean(0) * (weight > 0.5)).sum() / (weight > 0.5).sum()
    return total


def detect(found: torch.Tensor, threshold: float = 0.3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return boxes, labels and scores of the positions whose score is a local maximum."""
    scores, labels = found[:-4].sigmoid().max(0)
    peaks = (scores == nn.functional.max_pool2d(scores[None], 5, 1, 2)[0]) & (scores > threshold)
    left, top, right, bottom = found[-4:, peaks].exp()
    x, y = (place[peaks] for place in places(*scores.shape))
    return torch.stack([x - left, y - top, x + right, y + bottom], 1), labels[peaks] + 1, scores[peaks]


def train(dataset: SampleDataset, steps: int) -> Detector:
    """Return a trained detector."""
    torch.manual_seed(0)
    net = Detector(len(dataset.label_names) - 1)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    order = EpochOrder(len(dataset), groups=dataset.groups(), weights="sqrt", negatives=0.1, length=steps * 8)
    losses = []
    with WindowLoader(dataset, order, batch_size=8, workers=1) as loader:
        for batch in loader:
            found = net(batch["image"])
            each = [loss_of(*of_image) for of_image in zip(found, batch["boxes"], batch["labels"])]
            loss = torch.stack(each).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if len(losses) % 50 == 0:
                print(f"step {len(losses)}: loss {np.mean(losses[-50:]):.2f}")
    return net.eval()


def overlaps(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each box of one array with each box of another."""
    sides = np.minimum(one[:, None, 2:], two[:, 2:]) - np.maximum(one[:, None, :2], two[:, :2])
    shared = sides.clip(0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (one, two)]
    return shared / (areas[0][:, None] + areas[1] - shared)


def report(
    found: tuple[np.ndarray, np.ndarray], truth: tuple[np.ndarray, np.ndarray], names: list[str]
) -> None:
    """Print the number of objects of each class that were found, and the number of correct boxes."""
    same = (overlaps(found[0], truth[0]) > 0.5) & (found[1][:, None] == truth[1])
    for label, name in enumerate(names[1:], 1):
        hits, right = same.any(0)[truth[1] == label], same.any(1)[found[1] == label]
        print(f"{name}: {hits.sum()} of {len(hits)} found; {right.sum()} of {len(right)} boxes are right")


def draw(pixels: np.ndarray, sides: list[tuple[np.ndarray, np.ndarray]], path: pathlib.Path) -> None:
    """Write a picture of the image with each set of boxes, side by side."""
    shown = [np.ascontiguousarray(pixels // 2 + 40) for _ in sides]
    for canvas, (boxes, labels) in zip(shown, sides):
        for (left, top, right, bottom), label in zip(boxes.round().astype(int).tolist(), labels.tolist()):
            cv2.rectangle(canvas, (left, top), (right, bottom), COLORS[label - 1], 3)
    picture = cv2.resize(np.hstack(shown), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), picture[..., ::-1])


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default="detection")
    parser.add_argument("--size", type=int, default=2048, help="side of the held-out image")
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))  # the other half is for the worker
    began = time.monotonic()

    dset = landscape_dataset(args.out, size=args.size, film=False)
    training = ndsampler.CocoSampler(
        dset.subset([gid for gid in dset.imgs if gid != HELD_OUT]), workdir=args.out / "cache", backend="npy"
    )
    training.frames.prepare()
    dataset = SampleDataset(training, "positives", WINDOW, transform=flip)
    print(f"{len(dataset)} objects in {training.n_images} images; {time.monotonic() - began:.0f} s")
    net = train(dataset, args.steps)
    torch.save(net.state_dict(), args.out / "detector.pt")
    print(f"trained; {time.monotonic() - began:.0f} s")

    held_out = SampleDataset(ndsampler.CocoSampler(dset), [{"gid": HELD_OUT}], None)[0]
    with torch.inference_mode():
        boxes, labels, _ = detect(net(held_out["image"][None])[0])
    found, truth = (boxes.numpy(), labels.numpy()), (held_out["boxes"].numpy(), held_out["labels"].numpy())
    report(found, truth, dataset.label_names)
    draw(held_out["image"].permute(1, 2, 0).numpy(), [truth, found], args.out / "truth_and_found.png")
    print(f"wrote {args.out / 'truth_and_found.png'}; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
