"""Train a small network to find the vehicles in each frame of a video, and apply it to another video.

pip install "ndsampler[headless,torch]" && python examples/train_video.py

It takes less than four minutes on a CPU, and writes a picture and the weights to the folder of ``--out``. The
picture has a row for each of four frames of the second video: the frame, the annotations, and the prediction.
The network was trained with only one video, and misses dark cars and some parked cars.
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
from ndsampler.training import EpochOrder, SampleDataset, WindowLoader

#: Number of frames, and (height, width) of a window. Frames of a moving camera are aligned when they are
#: read.
FRAMES, WINDOW = 4, (128, 128)

VEHICLES = ("car", "truck")


def flip(sample: dict) -> dict:
    """Flip all frames and masks at random, in the same way; the first dimension is time."""
    dims = [dim for dim in (0, -2, -1) if torch.rand(()) < 0.5]
    return {name: value.flip(dims) for name, value in sample.items()}


def layer(
    inputs: int, outputs: int, size: tuple[int, int, int] = (1, 3, 3), stride: int = 1
) -> nn.Sequential:
    """Return a convolution over time, height and width."""
    padding = tuple(side // 2 for side in size)
    conv = nn.Conv3d(inputs, outputs, size, (1, stride, stride), padding, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(outputs), nn.ReLU())


class VideoNet(nn.Module):
    """A small network with convolutions over neighboring frames.

    It takes (N, frames, 3, height, width) pixels of 8 bits and returns (N, frames, height, width) scores.
    """

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.near = nn.Sequential(layer(3, width, (1, 5, 5), 2), layer(width, width, (3, 3, 3)))
        self.far = nn.Sequential(
            layer(width, 2 * width, stride=2),
            layer(2 * width, 4 * width, (3, 3, 3), 2),
            layer(4 * width, 4 * width),
            layer(4 * width, 4 * width, (3, 3, 3)),
        )
        self.head = nn.Sequential(layer(5 * width, 2 * width), nn.Conv3d(2 * width, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the score of each pixel of each frame."""
        near = self.near(pixels.transpose(1, 2).float() / 127.5 - 1)
        far = nn.functional.interpolate(self.far(near), near.shape[2:])
        scores = self.head(torch.cat([near, far], dim=1))
        return nn.functional.interpolate(scores, pixels.shape[1:2] + pixels.shape[3:], mode="trilinear")[:, 0]


def open_video(args: argparse.Namespace, seed: int) -> ndsampler.CocoSampler:
    """Return a sampler of a video of traffic."""
    dset = landscape_dataset(args.out, size=args.size, images=0, frames=args.frames, seed=seed)
    return ndsampler.CocoSampler(dset, workdir=args.out / "cache", backend="npy")


def windows_with_vehicles(sampler: ndsampler.CocoSampler) -> list[dict]:
    """Return overlapping windows of successive frames that contain vehicles."""
    names = {ann["id"]: sampler.dset.cats[ann["category_id"]]["name"] for ann in sampler.dset.anns.values()}
    grid = sampler.new_sample_grid("video_detection", (FRAMES, *WINDOW), window_overlap=0.5)
    return [target for target in grid["targets"] if any(names[aid] in VEHICLES for aid in target["aids"])]


def train(dataset: SampleDataset, vehicles: torch.Tensor, steps: int) -> VideoNet:
    """Return a trained network."""
    torch.manual_seed(0)
    net = VideoNet()
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    losses = []
    with WindowLoader(dataset, EpochOrder(len(dataset), length=steps * 4), batch_size=4, workers=1) as loader:
        for batch in loader:
            mask = batch["mask"]
            each = nn.functional.binary_cross_entropy_with_logits(
                net(batch["image"]), torch.isin(mask, vehicles).float(), reduction="none"
            )
            loss = each[mask != dataset.ignore_index].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if len(losses) % 25 == 0:
                print(f"step {len(losses)}: loss {np.mean(losses[-25:]):.3f}")
    return net.eval()


def draw(rows: list[np.ndarray], truth: np.ndarray, found: np.ndarray, path: pathlib.Path) -> None:
    """Write a picture with one row for each frame: the frame, the annotations and the prediction."""
    lines = []
    for pixels, *masks in zip(rows, truth, found):
        shown = [pixels]
        shown += [np.where(mask[..., None], (255, 255, 51), pixels // 2).astype(np.uint8) for mask in masks]
        lines.append(np.hstack(shown))
    picture = cv2.resize(np.vstack(lines), None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), picture[..., ::-1])


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default="video")
    parser.add_argument("--size", type=int, default=512, help="side of a frame")
    parser.add_argument("--frames", type=int, default=16, help="frames of each video")
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))  # the other half is for the worker
    began = time.monotonic()

    training, held_out = open_video(args, seed=0), open_video(args, seed=1)
    training.frames.prepare()
    dataset = SampleDataset(
        training, windows_with_vehicles(training), None, ["image", "mask"], transform=flip
    )
    vehicles = torch.tensor([dataset.label_names.index(name) for name in VEHICLES])
    print(f"{len(dataset)} windows of {FRAMES} frames; {time.monotonic() - began:.0f} s")
    net = train(dataset, vehicles, args.steps)
    torch.save(net.state_dict(), args.out / "video_net.pt")
    print(f"trained; {time.monotonic() - began:.0f} s")

    whole = {
        "vidid": 1,
        "time_slice": slice(0, FRAMES),
        "space_slice": (slice(0, args.size), slice(0, args.size)),
    }
    sample = SampleDataset(held_out, [whole], None, ["image", "mask"])[0]
    with torch.inference_mode():
        found = (net(sample["image"][None])[0] > 0).numpy()
    known, truth = (
        (sample["mask"] != dataset.ignore_index).numpy(),
        torch.isin(sample["mask"], vehicles).numpy(),
    )
    shared, either = (found & truth & known).sum(), ((found | truth) & known).sum()
    print(f"IoU of vehicles in the second video: {shared / max(1, either):.2f}")
    draw(
        list(sample["image"].permute(0, 2, 3, 1).numpy()), truth, found, args.out / "truth_and_prediction.png"
    )
    print(f"wrote {args.out / 'truth_and_prediction.png'}; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
