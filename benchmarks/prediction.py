"""
The prediction of a large map beside the writing of its blocks alone: ``python -m benchmarks.prediction``.

The function is the identity on one band of uint8. "Blocks alone" writes a map of the same size from rows of
that image that are in memory already: no reading, no windows, no blending. Both sides write through
:class:`ndsampler.training.unfinished.UnfinishedMap`, so they share what decides the speed of writing: each
row of tiles is forced to the disk together with the state of the run, and the COG has the same overviews,
compression (ZSTD, level 1, with a predictor), block size (512) and number of threads (all processors).

Each side runs in a process of its own, and in turn over ``--rounds``. Seconds are those of the call, without
the imports; the shortest of all rounds counts. Memory is the peak of the process together with that of the
process that encodes the map, as the system reports it. ``--batches`` repeats the prediction with further
batch sizes, and ``--kills`` kills one at moments spread over its time. The pixels of each map are compared
with those of the image.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

#: Rows of the image that are in memory where blocks are written alone: a multiple of the height of a tile.
ROWS = 4096

#: The goals: bytes of memory, and the speed of the prediction as a share of that of the blocks alone.
MEMORY_BYTES, SHARE = 600e6, 0.7


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line as values."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prediction", description=__doc__)
    parser.add_argument("--side", type=int, default=30_000, help="rows and columns of the image")
    parser.add_argument("--window", type=int, default=512, help="rows and columns of a window")
    parser.add_argument("--batch", type=int, default=8, help="windows in a batch")
    parser.add_argument("--batches", type=int, nargs="*", default=[], help="further sizes of a batch")
    parser.add_argument("--rounds", type=int, default=1, help="how often both sides run, in turn")
    parser.add_argument("--kills", type=int, default=0, help="how often a further prediction is killed")
    parser.add_argument("--folder", help="where image and maps are kept; a temporary folder by default")
    parser.add_argument("--act", choices=("predict", "blocks"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def write_image(path: Path, side: int) -> None:
    """Write a tiled TIFF of one band with texture and noise, unless it is there."""
    import rasterio
    from rasterio.windows import Window

    if path.exists():
        return
    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 1, "dtype": "uint8", "tiled": True}
    profile.update(blockxsize=256, blockysize=256, crs="EPSG:32633", BIGTIFF="IF_SAFER")
    profile["transform"] = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
    wave = np.sin(np.arange(side) / 61) * 50
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, side, 256):
            rows = np.arange(top, min(top + 256, side))
            block = 120 + np.cos(rows / 83)[:, None] * wave + rng.integers(-4, 5, (len(rows), side))
            file.write(block.astype(np.uint8), 1, window=Window(0, top, side, len(rows)))


def plan_prediction(folder: Path, args: argparse.Namespace) -> Callable[[], object]:
    """Return a function that predicts the identity."""
    import kwcoco

    import ndsampler
    from ndsampler.training import predict

    image = {"id": 1, "file_name": str(folder / "image.tif"), "height": args.side, "width": args.side}
    sampler = ndsampler.CocoSampler(kwcoco.CocoDataset({"images": [image]}))
    window = (args.window, args.window)
    out = folder / "predict.tif"
    # The first read imports what it needs.
    sampler.load_sample({"gid": 1, "slices": (slice(0, 1), slice(0, 1))}, with_annots=False)
    return lambda: predict(sampler, 1, lambda pixels: pixels, window, out=out, batch_size=args.batch)


def plan_blocks(folder: Path, args: argparse.Namespace) -> Callable[[], object]:
    """Return a function that writes rows that are in memory as a map."""
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(folder / "image.tif") as image:
        pixels = image.read(1, window=Window(0, 0, args.side, min(args.side, ROWS)))[..., None]
    return lambda: write_blocks(folder, pixels)


def write_blocks(folder: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a square map of rows, over and over from the first one."""
    from ndsampler.backends.gdal_georeference import read_georeference
    from ndsampler.backends.tile_file import TILE
    from ndsampler.training.unfinished import UnfinishedMap

    side = pixels.shape[1]
    unfinished = UnfinishedMap(str(folder / "blocks.tif"), {}, (side, side))
    unfinished.begin(1, pixels.dtype)
    for top in range(0, side, TILE):
        first = top % ROWS
        unfinished.append(pixels[first : min(first + TILE, first + side - top)])
    unfinished.finish(read_georeference(str(folder / "image.tif")), "AVERAGE")
    unfinished.close()


def act(folder: Path, args: argparse.Namespace) -> None:
    """Do one side in this process, and print its seconds and the peak of its memory as JSON."""
    import resource

    work = (plan_prediction if args.act == "predict" else plan_blocks)(folder, args)
    begin, cpu = time.perf_counter(), cpu_seconds()
    work()
    seconds, cpu = time.perf_counter() - begin, cpu_seconds() - cpu
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"seconds": seconds, "cpu": cpu, "bytes": sum(peaks) * 1024}))


def cpu_seconds() -> float:
    """Return the processor time of this process and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def start(folder: Path, args: argparse.Namespace, side: str, batch: int) -> subprocess.Popen[bytes]:
    """Start a process that does one side."""
    options = [f"--side={args.side}", f"--window={args.window}", f"--batch={batch}"]
    command = [sys.executable, "-m", "benchmarks.prediction", f"--folder={folder}", f"--act={side}", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def run(folder: Path, args: argparse.Namespace, side: str, batch: int | None = None) -> dict[str, Any]:
    """Return what a process that does one side reports."""
    output, _ = start(folder, args, side, batch or args.batch).communicate(timeout=3600)
    return dict(json.loads(output))


def run_with_kills(folder: Path, args: argparse.Namespace, seconds: float) -> int:
    """Kill a prediction some times, let it finish, and return how often it was killed on the way."""
    killed = 0
    for place in range(args.kills):
        process = start(folder, args, "predict", args.batch)
        try:
            process.wait(2 + seconds * (place + 1) / (args.kills + 1) / 2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)
            killed += 1
    run(folder, args, "predict")
    return killed


def differing_pixels(folder: Path, side: int) -> int:
    """Return how many pixels of the predicted map are not those of the image."""
    import rasterio
    from rasterio.windows import Window

    wrong = 0
    with rasterio.open(folder / "image.tif") as image, rasterio.open(folder / "predict.tif") as made:
        for top in range(0, side, 1024):
            window = Window(0, top, side, min(1024, side - top))
            wrong += int((image.read(1, window=window) != made.read(1, window=window)).sum())
    return wrong


def report(folder: Path, args: argparse.Namespace) -> bool:
    """Measure both sides, print them beside the goals, and return whether these are met."""
    write_image(folder / "image.tif", args.side)
    pairs = [(run(folder, args, "blocks"), run(folder, args, "predict")) for _ in range(args.rounds)]
    alone, ours = ({key: min(pair[i][key] for pair in pairs) for key in ("seconds", "cpu")} for i in (0, 1))
    share = alone["seconds"] / ours["seconds"]
    peak = max(pair[1]["bytes"] for pair in pairs)
    print(f"blocks alone   {alone['seconds']:7.2f} s  {alone['cpu']:6.2f} s of CPU")
    print(f"prediction     {ours['seconds']:7.2f} s  {ours['cpu']:6.2f} s of CPU")
    print(f"speed          {share:7.2f} of that of the blocks alone; goal {SHARE}")
    print(f"memory         {peak / 1e6:7.0f} MB; goal {MEMORY_BYTES / 1e6:.0f}")
    same = report_pixels(folder, args, ours["seconds"])
    return share >= SHARE and peak <= MEMORY_BYTES and same


def report_pixels(folder: Path, args: argparse.Namespace, seconds: float) -> bool:
    """Print how many pixels of each prediction differ from the image, and return whether none does.

    Args:
        folder: contains the image and a prediction.
        args: the command line.
        seconds: how long a prediction takes.
    """
    found = {f"batch size {args.batch}": differing_pixels(folder, args.side)}
    for batch in args.batches:
        os.unlink(folder / "predict.tif")
        run(folder, args, "predict", batch)
        found[f"batch size {batch}"] = differing_pixels(folder, args.side)
    if args.kills:
        os.unlink(folder / "predict.tif")
        killed = run_with_kills(folder, args, seconds)
        found[f"after {killed} kills"] = differing_pixels(folder, args.side)
    for title, wrong in found.items():
        print(f"{title:15}{wrong:7} pixels differ")
    return not any(found.values())


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit status is 0 if the goals are met."""
    args = parse(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        os.makedirs(folder, exist_ok=True)
        if args.act:
            act(folder, args)
            return 0
        return 0 if report(folder, args) else 1


if __name__ == "__main__":
    sys.exit(main())
