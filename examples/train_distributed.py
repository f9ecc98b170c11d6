"""Train on two ranks, resume on three, and show that they get the same samples in the same order as one rank.

pip install "ndsampler[headless,torch]" && python examples/train_distributed.py

It runs on a CPU, with the backend gloo, and takes less than four minutes. The picture that it writes to the
folder of ``--out`` shows the loss of one rank in gray, and that of two and three ranks on top of it in red.
Below are some batches, one in each column. The color of a sample shows the rank that loaded it; it is black
if a single rank has another sample at that position.

Use ``train`` as a template for your own program. It gets its rank from ``torch.distributed``, so it also
works if ``torchrun`` starts the ranks.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import sys
import time
import zlib

import cv2
import numpy as np
import torch
from torch import distributed, multiprocessing, nn

import ndsampler
from ndsampler.demo import landscape_dataset
from ndsampler.training import EpochOrder, SampleDataset, TargetSampler, WindowLoader, label_numbers

#: Number of samples in the joint batch of all ranks: a multiple of each number of ranks.
BATCH = 12

WINDOW = (64, 64)

#: Blue, green and red of the ranks in the picture.
COLORS = np.array([(184, 126, 55), (74, 175, 77), (0, 127, 255)])


class Net(nn.Module):
    """A classifier of the object at the center of a window."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GroupNorm(4, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, labels))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the scores of each label."""
        return self.layers(pixels.float() / 127.5 - 1)


def flip(sample: dict) -> dict:
    """Flip the image at random. The random numbers of a sample do not depend on the rank that loads it."""
    dims = [dim for dim in (-2, -1) if torch.rand(()) < 0.5]
    return {**sample, "image": sample["image"].flip(dims)}


def train(dataset: SampleDataset, path: pathlib.Path, stop: int) -> tuple[list[float], list[int]]:
    """Train up to a step, starting from a checkpoint if there is one, and write a checkpoint.

    Returns:
        The loss of each step, averaged over all ranks, and a checksum of each image that this rank loaded.
    """
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    labels = label_numbers(dataset.sampler.classes)
    torch.manual_seed(0)
    net = nn.parallel.DistributedDataParallel(Net(len(dataset.label_names)))
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    order = EpochOrder(len(dataset), groups=dataset.groups(), weights="sqrt", length=BATCH * 16)
    indexes = TargetSampler(order, dataset=dataset)  # this rank's part
    losses: list[float] = []
    sums: list[int] = []
    step = 0
    with WindowLoader(dataset, indexes, BATCH // world_size, workers=1) as loader:
        if path.exists():
            saved = torch.load(path)
            step = saved["step"]
            loader.load_state_dict(saved["loader"])  # the state fits any number of ranks
            net.load_state_dict(saved["net"])
            optimizer.load_state_dict(saved["optimizer"])
        while step < stop:
            for batch in loader:
                label = torch.tensor([labels[target["category_id"]] for target in batch["target"]])
                loss = nn.functional.cross_entropy(net(batch["image"]), label)
                optimizer.zero_grad()
                loss.backward()  # averages the gradients of all ranks
                optimizer.step()
                step += 1
                distributed.all_reduce(mean := loss.detach() / world_size)
                losses.append(mean.item())
                sums += [zlib.crc32(image.numpy().tobytes()) for image in batch["image"]]
                if step == stop:
                    break
            else:
                loader.set_epoch(loader.sampler.epoch + 1)
        if rank == 0:
            states = {
                "net": net.state_dict(),
                "optimizer": optimizer.state_dict(),
                "loader": loader.state_dict(),
            }
            torch.save({**states, "step": step}, path)
    return losses, sums


def run_rank(rank: int, world_size: int, dataset: SampleDataset, path: pathlib.Path, stop: int) -> None:
    """Run one rank. Rank 0 saves the losses, and the checksums of all ranks in the order of the epoch."""
    torch.set_num_threads(1)
    store = f"file://{path.with_suffix(f'.store{world_size}')}"  # torchrun provides a network store instead
    wait = datetime.timedelta(seconds=60)
    distributed.init_process_group("gloo", store, wait, rank=rank, world_size=world_size)
    losses, sums = train(dataset, path, stop)
    of_ranks: list = [None] * world_size
    distributed.all_gather_object(of_ranks, sums)
    if rank == 0:
        np.savez(path.with_suffix(f".{world_size}.npz"), losses=losses, sums=np.stack(of_ranks, 1).ravel())
    distributed.destroy_process_group()


def run_ranks(
    world_size: int, dataset: SampleDataset, path: pathlib.Path, stop: int
) -> dict[str, np.ndarray]:
    """Start ranks, wait for them, and return the results that rank 0 saved."""
    path.with_suffix(f".store{world_size}").unlink(missing_ok=True)
    method = "fork" if sys.platform == "linux" else "spawn"
    args = (world_size, dataset, path.absolute(), stop)
    multiprocessing.start_processes(run_rank, args, world_size, start_method=method)
    return dict(np.load(path.with_suffix(f".{world_size}.npz")))


def draw(
    alone: dict[str, np.ndarray], parts: list[tuple[int, dict[str, np.ndarray]]], path: pathlib.Path
) -> None:
    """Write a picture of the losses and of the rank of each sample."""
    losses = [alone["losses"], np.concatenate([part["losses"] for _, part in parts])]
    canvas = np.full((460, 760, 3), 255, np.uint8)
    for values, color, width in zip(losses, ((170, 170, 170), (28, 26, 228)), (7, 2)):
        x = np.linspace(20, 740, len(values))
        y = 280 - 260 * np.minimum(values / losses[0].max(), 1)
        line = np.stack([x, y], 1).round().astype(np.int32)
        cv2.polylines(canvas, [line], False, color, width, cv2.LINE_AA)
    ranks = np.concatenate([np.arange(len(part["sums"])) % world_size for world_size, part in parts])
    colors = COLORS[ranks] * (np.concatenate([part["sums"] for _, part in parts]) == alone["sums"])[:, None]
    change = len(parts[0][1]["sums"]) // BATCH
    first, last = max(0, change - 30), min(len(colors) // BATCH, change + 30)
    columns = colors.reshape(-1, BATCH, 3)[first:last].swapaxes(0, 1).astype(np.uint8)
    canvas[300:444, 20:740] = cv2.resize(columns, (720, 144), interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(path), canvas)


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default="distributed")
    parser.add_argument("--size", type=int, default=1024, help="side of the largest image")
    parser.add_argument("--steps", type=int, default=120)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    dset = landscape_dataset(args.out, size=args.size, film=False)
    sampler = ndsampler.CocoSampler(dset, workdir=args.out / "cache", backend="npy")
    sampler.frames.prepare()
    dataset = SampleDataset(sampler, "positives", WINDOW, ["image", "target"], transform=flip)
    one, several = (args.out / name for name in ("one_rank.pt", "several_ranks.pt"))
    for path in (one, several):
        path.unlink(missing_ok=True)
    alone = run_ranks(1, dataset, one, args.steps)
    print(f"one rank: loss {alone['losses'][-10:].mean():.3f}; {time.monotonic() - began:.0f} s")
    parts = [
        (2, run_ranks(2, dataset, several, args.steps // 2)),
        (3, run_ranks(3, dataset, several, args.steps)),
    ]
    losses, seen = (np.concatenate([part[key] for _, part in parts]) for key in ("losses", "sums"))
    print(f"two, then three ranks: loss {losses[-10:].mean():.3f}; {time.monotonic() - began:.0f} s")
    print(
        f"{(seen == alone['sums']).sum()} of {len(seen)} samples are those of one rank, at the same positions"
    )
    draw(alone, parts, args.out / "one_and_several_ranks.png")
    print(f"wrote {args.out / 'one_and_several_ranks.png'}; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
