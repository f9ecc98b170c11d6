"""
Compare the loader of this library with torch's: ``python -m benchmarks.loader``.

Both return the same batches of the same dataset: windows of 256 x 256 pixels with boxes, from entries of the
``npy`` backend. The batches are not used. The sides run alternately, each in a separate process, and their
worker processes are warm when the measurement begins. The table has the samples per second, and the CPU time
for each sample in the training loop and the workers together; on a machine that is busy with other work,
compare the CPU time. The exit status is 0 if the samples per second meet the goal.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.data import Workload, add_data_dir

#: The goal for the samples per second, as a multiple of torch's loader.
GOAL = 2.5

SIDES = ("DataLoader", "WindowLoader")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__)
    parser.add_argument("--samples", type=int, default=6000, help="samples in an epoch")
    parser.add_argument("--batch", type=int, default=16, help="samples in a batch")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--rounds", type=int, default=3, help="number of runs of each side")
    parser.add_argument("--smoke", action="store_true", help="tiny images, and two batches")
    add_data_dir(parser)
    parser.add_argument("--act", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.samples = min(args.samples, 2 * args.batch) if args.smoke else args.samples
    return args


def make_dataset(args: argparse.Namespace) -> Any:
    """Return a dataset of windows with boxes around each annotation."""
    from ndsampler.training import SampleDataset

    work = Workload(Path(args.data_dir), args.smoke)
    return SampleDataset(work.sampler("png", "npy"), "positives", (work.window(256),) * 2)


def make_loader(dataset: Any, args: argparse.Namespace) -> tuple[Any, Any]:
    """Return the loader of one side, and the object on which its epoch is set."""
    import torch

    from ndsampler.training import EpochOrder, TargetSampler, WindowLoader, collate_samples

    order = EpochOrder(len(dataset), length=args.samples)
    if args.act == "WindowLoader":
        loader = WindowLoader(dataset, order, args.batch, args.workers)
        return loader, loader
    indexes = TargetSampler(order, dataset=dataset)
    options = {"num_workers": args.workers, "persistent_workers": args.workers > 0}
    data = torch.utils.data.DataLoader(
        dataset, args.batch, sampler=indexes, collate_fn=collate_samples, **options
    )
    return data, indexes


def processor_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    import resource

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def act(args: argparse.Namespace) -> None:
    """Load one epoch to warm up and two more, and print their time as JSON."""
    import torch

    torch.set_num_threads(1)
    dataset = make_dataset(args)
    loader, epochs = make_loader(dataset, args)
    before, seconds = processor_seconds(), []
    for epoch in range(3):
        epochs.set_epoch(epoch)
        begin = time.perf_counter()
        count = sum(len(batch["boxes"]) for batch in loader)
        seconds.append(time.perf_counter() - begin)
    del loader, epochs  # ends the workers
    used = (processor_seconds() - before) / (3 * count)
    print(json.dumps({"rate": count / min(seconds[1:]), "used": used, "count": count}))


def run(args: argparse.Namespace, side: str) -> dict[str, float]:
    """Run one side in a new process and return its report."""
    options = [f"--{key}={getattr(args, key)}" for key in ("samples", "batch", "workers")]
    options += ["--smoke"] if args.smoke else []
    command = [sys.executable, "-m", "benchmarks.loader", f"--data-dir={args.data_dir}", f"--act={side}"]
    output = subprocess.run([*command, *options], stdout=subprocess.PIPE, check=True, timeout=1800).stdout
    return dict(json.loads(output))


def report(args: argparse.Namespace) -> bool:
    """Measure both sides, print them, and return whether the goal is met."""
    make_dataset(args)  # writes images and the cache, which are read by both sides
    results: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(args.rounds):
        for side in SIDES:
            results[side].append(run(args, side))
    table = {
        side: [statistics.median(r[key] for r in results[side]) for key in ("rate", "used")] for side in SIDES
    }
    for side, (rate, used) in table.items():
        print(f"{side:13s} {rate:8.0f} samples/s  {used * 1e6:7.0f} us of processors for a sample")
    (slow, costly), (fast, cheap) = (table[side] for side in SIDES)
    by_time, by_processors = fast / slow, costly / cheap
    print(
        f"WindowLoader: {by_time:.2f} x the samples/s, {by_processors:.2f} x by processor time; goal {GOAL}"
    )
    return by_time >= GOAL


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit status is 0 if the goal is met, or in the smoke mode."""
    args = parse(argv)
    if args.act:
        act(args)
        return 0
    return 0 if report(args) or args.smoke else 1


if __name__ == "__main__":
    sys.exit(main())
