"""
The prediction of a large map beside the writing of its blocks alone: ``python -m benchmarks.prediction``.

The function is the identity on one band of uint8. "Blocks alone" writes the same map through the same code
(:class:`ndsampler.training.unfinished.UnfinishedMap`) from rows that are in memory already: no reading, no
windows, no blending. Each side runs in a process of its own; memory is the peak of the process together with
that of the process that encodes the map, as the system reports it. ``--kills`` kills the prediction at
moments spread over its time, and compares the pixels of the resumed map with those of the image.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

#: The goals: bytes of memory, and the speed of the prediction as a share of that of the blocks alone.
MEMORY_BYTES, SHARE = 600e6, 0.7


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line as values."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prediction", description=__doc__)
    parser.add_argument("--side", type=int, default=30_000, help="rows and columns of the image")
    parser.add_argument("--window", type=int, default=512, help="rows and columns of a window")
    parser.add_argument("--batch", type=int, default=8, help="windows in a batch")
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


def predict_map(folder: Path, args: argparse.Namespace) -> None:
    """Predict the identity."""
    import kwcoco

    import ndsampler
    from ndsampler.training import predict

    image = {"id": 1, "file_name": str(folder / "image.tif"), "height": args.side, "width": args.side}
    sampler = ndsampler.CocoSampler(kwcoco.CocoDataset({"images": [image]}))
    window = (args.window, args.window)
    predict(sampler, 1, lambda pixels: pixels, window, out=folder / "predict.tif", batch_size=args.batch)


def write_blocks(folder: Path, args: argparse.Namespace) -> None:
    """Write rows that are in memory as a map."""
    from ndsampler.backends.gdal_georeference import read_georeference
    from ndsampler.backends.tile_file import TILE
    from ndsampler.training.unfinished import UnfinishedMap

    rows = np.fromfile(folder / "image.tif", np.uint8, args.side * TILE * 3)[-args.side * TILE :]
    rows = rows.reshape(TILE, args.side, 1)
    unfinished = UnfinishedMap(str(folder / "blocks.tif"), {}, (args.side, args.side))
    unfinished.begin(1, np.dtype(np.uint8))
    for top in range(0, args.side, TILE):
        unfinished.append(rows[: args.side - top])
    unfinished.finish(read_georeference(str(folder / "image.tif")), "AVERAGE")
    unfinished.close()


def act(folder: Path, args: argparse.Namespace) -> None:
    """Do one side in this process, and print its seconds and the peak of its memory as JSON."""
    begin = time.perf_counter()
    (predict_map if args.act == "predict" else write_blocks)(folder, args)
    seconds = time.perf_counter() - begin
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"seconds": seconds, "bytes": [peak * 1024 for peak in peaks]}))


def start(folder: Path, args: argparse.Namespace, side: str) -> subprocess.Popen[bytes]:
    """Start a process that does one side."""
    options = [f"--{key}={getattr(args, key)}" for key in ("side", "window", "batch")]
    command = [sys.executable, "-m", "benchmarks.prediction", f"--folder={folder}", f"--act={side}", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def run(folder: Path, args: argparse.Namespace, side: str) -> dict[str, Any]:
    """Return what a process that does one side reports."""
    output, _ = start(folder, args, side).communicate(timeout=3600)
    return dict(json.loads(output))


def run_with_kills(folder: Path, args: argparse.Namespace, seconds: float) -> int:
    """Kill a prediction some times, let it finish, and return how often it was killed on the way."""
    killed = 0
    for place in range(args.kills):
        process = start(folder, args, "predict")
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
    alone, ours = (sorted(pair[i]["seconds"] for pair in pairs)[len(pairs) // 2] for i in (0, 1))
    peak = max(sum(pair[1]["bytes"]) for pair in pairs)
    wrong = differing_pixels(folder, args.side)
    print(f"blocks alone   {alone:7.1f} s")
    print(f"prediction     {ours:7.1f} s   {alone / ours:.2f} of that speed; goal {SHARE}")
    print(f"memory         {peak / 1e6:7.0f} MB  goal {MEMORY_BYTES / 1e6:.0f}; {wrong} pixels differ")
    if args.kills:
        killed = run_with_kills(folder, args, ours)
        wrong += differing_pixels(folder, args.side)
        print(f"after {killed} kills, {wrong} pixels differ")
    return alone / ours >= SHARE and peak <= MEMORY_BYTES and not wrong


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
