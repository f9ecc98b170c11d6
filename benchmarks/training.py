"""
Measure the claims of the documentation about training: ``python -m benchmarks.training``.

* ``order``: the time until the first index, and its memory, for an epoch of a billion items compared with the
  goals, and for one of ten million items compared with ``torch.utils.data.DistributedSampler``.
* ``statistics``: the fraction of seeds whose 95 % intervals contain the mean and the deviation of all pixels.
* ``locality``: the number of images in a batch, and the number of times that files are opened in an epoch.

The exit status is 0 if the goals are met.
"""

from __future__ import annotations

import argparse
import json
import mmap
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import Workload, add_data_dir

#: The goals for an order of a billion items: seconds and bytes to make it, and seconds for one position.
MAKE_SECONDS, MAKE_BYTES, ITEM_SECONDS = 0.05, 10e6, 1e-3

#: The goal for time and memory, as a factor relative to torch's sampler.
FACTOR = 100

#: The goal for the fraction of seeds whose 95 % interval contains the true value.
COVERAGE = 0.93

#: The two sides of the comparison of orders; each runs in a separate process.
SIDES = ("EpochOrder", "DistributedSampler")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("parts", nargs="*", help="some of order, statistics, locality; all by default")
    parser.add_argument("--items", type=int, default=10**7, help="items of both orders that are compared")
    parser.add_argument("--seeds", type=int, default=1000, help="seeds of the statistics")
    parser.add_argument("--images", type=int, default=1000, help="images of the locality")
    parser.add_argument("--smoke", action="store_true", help="tiny images")
    add_data_dir(parser)
    parser.add_argument("--act", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    for part in args.parts:
        if part not in PARTS:
            parser.error(f"{part!r} is none of {', '.join(PARTS)}")
    return args


def peak_bytes() -> int:
    """Return the peak memory of this process in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def first_index(side: str, count: int) -> dict[str, float]:
    """Return the seconds and the bytes that it takes to get the first index of an epoch."""
    import torch

    from ndsampler.training import EpochOrder, TargetSampler

    # Import modules and make shared objects before the measurement.
    next(iter(TargetSampler(EpochOrder(10))))
    next(iter(torch.utils.data.DistributedSampler(range(10), 2, 0)))
    before, begin = peak_bytes(), time.perf_counter()
    if side == "EpochOrder":
        next(iter(TargetSampler(EpochOrder(count), 0, 2)))
    else:
        next(iter(torch.utils.data.DistributedSampler(range(count), 2, 0)))
    return {"seconds": time.perf_counter() - begin, "bytes": peak_bytes() - before}


def run_side(side: str, count: int) -> dict[str, float]:
    """Run :func:`first_index` in a new process and return its result."""
    command = [sys.executable, "-m", "benchmarks.training", f"--act={side}", f"--items={count}"]
    return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=600).stdout))


def report_order(args: argparse.Namespace) -> bool:
    """Print the time and the memory of orders, and return whether the goals are met."""
    from ndsampler.training import EpochOrder

    EpochOrder(10).item(0, 0)
    before, begin = peak_bytes(), time.perf_counter()
    order = EpochOrder(10**9)
    order.item(0, 0)
    made, taken = time.perf_counter() - begin, peak_bytes() - before
    places = np.random.default_rng(0).integers(0, 10**9, 200).tolist()
    times = []
    for place in places:
        begin = time.perf_counter()
        order.item(3, place)
        times.append(time.perf_counter() - begin)
    single = float(np.median(times))
    print(f"10^9 items: {made * 1e3:.2f} ms and {taken / 1e6:.1f} MB; a position in {single * 1e6:.0f} us")
    ours, theirs = (run_side(side, args.items) for side in SIDES)
    for side, found in zip(SIDES, (ours, theirs)):
        amounts = f"{found['seconds'] * 1e3:10.2f} ms {found['bytes'] / 1e6:8.1f} MB"
        print(f"{args.items} items: first index of {side:18s} {amounts}")
    # A page is the smallest difference that the system reports.
    less = theirs["seconds"] / ours["seconds"], theirs["bytes"] / max(ours["bytes"], mmap.PAGESIZE)
    print(f"{less[0]:.0f} x less time, {less[1]:.0f} x less memory; goal {FACTOR}")
    return made <= MAKE_SECONDS and taken <= MAKE_BYTES and single <= ITEM_SECONDS and min(less) >= FACTOR


def report_statistics(args: argparse.Namespace) -> bool:
    """Print the fraction of intervals that contain the true value, and return whether it meets the goal."""
    from ndsampler.training import band_statistics

    work = Workload(Path(args.data_dir), args.smoke)
    sampler, side = work.sampler("png", "npy"), work.window(256)
    values = [work.pixels(index).reshape(-1, 3) for index in range(work.n_images)]
    mean = np.mean([part.mean(0) for part in values], 0)
    std = np.sqrt(np.mean([np.square(part - mean).mean(0) for part in values], 0))
    covered = np.zeros((2, 3))
    for seed in range(args.seeds):
        found = band_statistics(sampler, windows=64, window=max(4, side // 8), seed=seed)
        pairs = (found.mean_interval, mean), (found.std_interval, std)
        covered += [(ends[:, 0] <= truth) & (truth <= ends[:, 1]) for ends, truth in pairs]
    for name, shares in zip(("mean", "deviation"), covered / args.seeds):
        shown = ", ".join(f"{share:.1%}" for share in shares)
        print(f"{args.seeds} seeds: the {name} of each band is covered by {shown}; goal {COVERAGE:.0%}")
    return bool((covered / args.seeds >= COVERAGE).all())


def count_opened(images: np.ndarray, most: int) -> int:
    """Return how often files are opened if the most recently used files stay open.

    Args:
        images: the image at each position.
        most: maximum number of open files.
    """
    held: OrderedDict[int, None] = OrderedDict()
    opened = 0
    for image in images.tolist():
        if image not in held:
            opened += 1
        held[image] = None
        held.move_to_end(image)
        if len(held) > most:
            held.popitem(last=False)
    return opened


def report_locality(args: argparse.Namespace) -> bool:
    """Print the images in a batch of 32, and the files opened, for a full shuffle and for some localities."""
    from ndsampler.training import EpochOrder

    images = np.repeat(np.arange(args.images), 100)
    print(f"{args.images} images with 100 windows each: images in a batch of 32, files opened in an epoch")
    for locality in (None, 128, 32, 8):
        options: dict[str, Any] = {} if locality is None else {"groups": images, "locality": locality}
        drawn = images[EpochOrder(len(images), **options).items(0)]
        batches = drawn[: len(drawn) // 32 * 32].reshape(-1, 32)
        found = np.mean([len(set(batch)) for batch in batches.tolist()])
        name = "full shuffle" if locality is None else f"locality={locality}"
        print(f"{name:14s} {found:6.1f} {count_opened(drawn, locality or 32):8d}")
    return True


PARTS = {"order": report_order, "statistics": report_statistics, "locality": report_locality}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit status is 0 if the goals are met."""
    args = parse(argv)
    if args.act:
        print(json.dumps(first_index(args.act, args.items)))
        return 0
    met = [PARTS[part](args) for part in args.parts or PARTS]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
