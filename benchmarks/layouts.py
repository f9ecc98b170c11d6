"""
Compares what tiled TIFFs are estimated to cost with what they cost: ``python -m benchmarks.layouts``.

Each row is a layout. Windows of 256 x 256 pixels are read through a GDAL handle that stays open, with a block
cache that is too small to hold any block from one window to the next. Costs are in windows of an entry with
the default settings.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.images import texture, write_geotiff

#: Size of the block cache in bytes, and the side of the windows in pixels.
CACHE_BYTES, WINDOW = 2**20, 256

#: A decision is wrong if the measured cost is this many times on the other side of the bound.
TOLERANCE = 1.35


class Layout(NamedTuple):
    """A layout that is measured."""

    codec: str
    """Name of GDAL's."""
    side: int
    """Height and width of a tile in pixels."""
    dtype: str
    """Type of the values."""
    options: dict[str, Any]
    """Further creation options."""

    def __str__(self) -> str:
        return " ".join([self.codec, f"{self.side}²", self.dtype, *map(str, self.options.values())])


def layouts(smoke: bool) -> list[Layout]:
    """Return the layouts that are measured; the first one is that of an entry."""
    entry = Layout("ZSTD", 128, "uint8", {"predictor": 2, "zstd_level": 1})
    sides, dtypes = ((256,), ("uint8",)) if smoke else ((128, 256, 512), ("uint8", "uint16"))
    codecs: dict[str, dict[str, Any]] = {
        "NONE": {},
        "PACKBITS": {},
        "ZSTD": {"predictor": 2, "zstd_level": 1},
        "DEFLATE": {"predictor": 2},
        "LZW": {"predictor": 2},
        "JPEG": {"photometric": "ycbcr"},
    }
    every = [
        Layout(codec, side, dtype, options)
        for (codec, options), side, dtype in itertools.product(codecs.items(), sides, dtypes)
        if codec != "JPEG" or dtype == "uint8"
    ]
    return [entry, *(layout for layout in every if layout != entry)]


@functools.cache
def picture(size: int, dtype: str) -> np.ndarray:
    """Return an RGB image of a type; those of 16 bits have noise in their low bits."""
    pixels = texture(size, 1)
    if dtype == "uint8":
        return pixels
    noise = np.random.default_rng(0).integers(0, 40, pixels.shape, np.uint16)
    return pixels.astype(np.uint16) * 37 + noise


def measure(path: str, size: int, rounds: int) -> float:
    """Return the CPU time of a window in milliseconds: the least of each place, averaged over the places."""
    import rasterio
    from rasterio.windows import Window

    places = np.random.default_rng(3).integers(0, size - WINDOW + 1, (40, 2)).tolist()
    best = [float("inf")] * len(places)
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), rasterio.open(path) as file:
        for _, (index, (top, left)) in itertools.product(range(rounds), enumerate(places)):
            start = time.process_time()
            file.read(window=Window(left, top, WINDOW, WINDOW))
            best[index] = min(best[index], time.process_time() - start)
    return 1e3 * float(np.mean(best))


def estimate(path: str) -> float:
    """Return the estimated cost of a window in milliseconds."""
    from ndsampler.backends.formats.tiff_header import read_pages
    from ndsampler.backends.layout_cost import window_cost

    page = read_pages(path)[0]
    return window_cost(page, page.compression, page.tile_dims or page.dims) / 1e6


class Cost(NamedTuple):
    """What a window of a layout costs, in milliseconds."""

    layout: Layout
    """The layout."""
    measured: float
    """CPU time."""
    estimated: float
    """What the cost model says."""


def find_costs(folder: Path, smoke: bool, rounds: int) -> list[Cost]:
    """Write an image in each layout, and measure its windows."""
    size, costs = 512 if smoke else 2048, []
    for layout in layouts(smoke):
        path = folder / "image.tif"
        path.unlink(missing_ok=True)
        tiles = {"tiled": True, "blockxsize": layout.side, "blockysize": layout.side}
        write_geotiff(path, picture(size, layout.dtype), **tiles, compress=layout.codec, **layout.options)
        costs.append(Cost(layout, measure(str(path), size, rounds), estimate(str(path))))
    return costs


def print_row(cost: Cost, entry: Cost) -> bool:
    """Print what a layout costs compared with an entry, and return whether it is decided rightly."""
    from ndsampler.backends.layout_cost import MAX_COST

    found, expected = cost.measured / entry.measured, cost.estimated / entry.estimated
    in_place = expected <= MAX_COST
    is_right = found <= MAX_COST * TOLERANCE if in_place else found >= MAX_COST / TOLERANCE
    verdict = ("yes" if in_place else "no") + ("" if is_right else ", WRONG")
    print(f"{cost.layout!s:<28}{cost.measured:>9.3f} ms{found:>8.2f}{expected:>10.2f}  {verdict}")
    return is_right


def main(argv: list[str] | None = None) -> int:
    """Print a row for each layout; the exit code is 1 if a decision is wrong by more than the tolerance."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layouts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="readings of each window; the least counts")
    parser.add_argument("--smoke", action="store_true", help="few layouts of a small image, read once")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        costs = find_costs(Path(folder), args.smoke, 1 if args.smoke else args.rounds)
    print(f"{'layout':<28}{'measured':>12}{'cost':>8}{'estimate':>10}  in place")
    entries = {cost.layout.dtype: cost for cost in costs if cost.layout[:2] == ("ZSTD", 128)}
    decisions = [print_row(cost, entries[cost.layout.dtype]) for cost in costs]
    return 0 if args.smoke else int(not all(decisions))


if __name__ == "__main__":
    sys.exit(main())
