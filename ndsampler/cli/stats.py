"""The command ``stats``: counts the contents of a dataset, and estimates the size of a cache for it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ndsampler.cli.arguments import add_dataset, add_switch, add_window, take_positional
from ndsampler.cli.console import FINE, say, say_json
from ndsampler.utils.formatting import format_bytes, format_count, format_table, printable

if TYPE_CHECKING:
    from ndsampler.preview.stats import DatasetStats, Spread

EPILOG = """\
examples:
  ndsampler stats data.kwcoco.json
  ndsampler stats annotations.json --images pictures --window 512 --out stats.png
  ndsampler stats data.kwcoco.json --json

Windows are counted in a grid without overlap. Parts of a few images are read to find the type of the
pixels and how well they compress; the size of a cog cache is a rough estimate.

exit codes: 0 everything was counted; 2 wrong arguments, or no dataset; 130 stopped by Ctrl-C
"""


def add_parser(commands: Any) -> None:
    """Add the command and its options to the command line.

    Args:
        commands: the result of ``ArgumentParser.add_subparsers``.
    """
    parser = commands.add_parser(
        "stats",
        help="count images, classes, boxes and windows of a dataset",
        description="Print the sizes, classes and boxes of a dataset, the number of windows that cover it, "
        "and the expected size of a cache for it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset(parser)
    add = parser.add_argument
    add_window(add)
    add("--out", metavar="FILE", help="also draw the numbers as bars, in a .png, .jpg or .webp file")
    add_switch(parser, "json", "print the numbers as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from ndsampler.coco_sampler import CocoSampler
    from ndsampler.dataset.opening import open_dataset
    from ndsampler.preview.stats import dataset_stats

    source = take_positional(args, "src")
    sampler = CocoSampler(open_dataset(source, args.images))
    stats = dataset_stats(sampler, args.window)
    if args.json:
        say_json(stats.to_json())
    else:
        say(_describe(stats))
    if args.out:
        from ndsampler.preview.charts import draw_stats

        colors = {
            name: position for position, name in enumerate(cat["name"] for cat in sampler.dset.cats.values())
        }
        path = draw_stats(stats, colors, title=str(source)).save(args.out)
        if not args.json:
            say(f"\nThe picture is in {printable(path)}")
    return FINE


def _describe(stats: DatasetStats) -> str:
    """Return the numbers as tables."""
    videos = f", {format_count(stats.videos, 'video')}" if stats.videos else ""
    lines = [
        f"{format_count(stats.images, 'image')}{videos}, {stats.megapixels:,.1f} megapixels; "
        f"{format_count(stats.annotations, 'annotation')}; "
        f"{format_count(stats.images_without_annotations, 'image')} without any",
        "",
        format_table(("pixels", "smallest", "median", "largest"), _size_rows(stats)),
        "",
        format_table(("category", "annotations"), _class_rows(stats)),
    ]
    height, width = stats.window
    sizes = f"about {format_bytes(stats.npy_bytes)} as npy, {format_bytes(stats.cog_bytes)} as cog"
    lines += [
        "",
        f"{stats.windows:,} windows of {height} x {width} pixels (height x width) cover all images.",
        f"A cache takes {sizes}, with {stats.pixel_bytes:g} bytes for a pixel.",
    ]
    return "\n".join(lines)


def _size_rows(stats: DatasetStats) -> list[list[str]]:
    """Return the rows of the table of sizes."""
    spreads: dict[str, Spread | None] = {
        "image width": stats.widths,
        "image height": stats.heights,
        "box width": stats.box_widths,
        "box height": stats.box_heights,
    }
    return [
        [name, *(f"{value:,.4g}" for value in (spread.smallest, spread.median, spread.largest))]
        for name, spread in spreads.items()
        if spread is not None
    ]


def _class_rows(stats: DatasetStats) -> list[list[str]]:
    """Return the rows of the table of categories."""
    return [[printable(name), f"{count:,}"] for name, count in stats.classes.items()]
