"""The command ``show``: draws samples of a dataset."""

from __future__ import annotations

import argparse
from typing import Any

from ndsampler.cli.arguments import add_dataset, add_window, take_positional
from ndsampler.cli.console import FINE, say
from ndsampler.errors import ArgumentError
from ndsampler.utils.formatting import printable

EPILOG = """\
examples:
  ndsampler show data.kwcoco.json
  ndsampler show annotations.json --images pictures --what negatives --count 12 --window 256
  ndsampler show data.kwcoco.json --what grid --window 512 --out grid.png
  ndsampler show bands.kwcoco.json --bands "nir|red|green" --out false_colors.png

Images are read from their files without conversion, and only the picture is written.

exit codes: 0 the picture was written; 2 wrong arguments, no dataset, or nothing to show; 130 stopped
by Ctrl-C
"""

#: Choices of the option ``--what``.
KINDS = ("positives", "negatives", "images", "grid", "video")


def add_parser(commands: Any) -> None:
    """Add the command and its options to the command line.

    Args:
        commands: the result of ``ArgumentParser.add_subparsers``.
    """
    parser = commands.add_parser(
        "show",
        help="draw samples of a dataset with their annotations",
        description="Draw samples of a dataset with their boxes, polygons, keypoints and categories.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset(parser)
    add = parser.add_argument
    add(
        "--out",
        default="sheet.png",
        metavar="FILE",
        help="file of the picture: .png, .jpg or .webp (default: sheet.png)",
    )
    add("--what", default="positives", choices=KINDS, help="what to draw (default: positives)")
    add("--count", type=int, default=8, metavar="N", help="maximum number of samples (default: 8)")
    add_window(add)
    add("--bands", metavar="CODE", help="one channel, or three to show as red, green and blue: nir|red|green")
    add("--side", type=int, metavar="PIXELS", help="size of each sample in the picture (default: automatic)")
    add("--seed", type=int, default=0, metavar="N", help="selects the samples (default: 0)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from ndsampler.coco_sampler import CocoSampler
    from ndsampler.dataset.opening import open_dataset
    from ndsampler.utils.require import require_opencv

    if args.seed < 0 or (args.side is not None and args.side < 1):
        raise ArgumentError(
            f"--seed is {args.seed}, --side {args.side}; expected a seed of 0 or more and a side of 1 or more"
        )
    require_opencv()
    sampler = CocoSampler(open_dataset(take_positional(args, "src"), args.images))
    picture = sampler.show(
        args.what,
        args.count,
        window_dims=args.window,
        bands=args.bands,
        rng=args.seed,
        side=args.side,
    )
    path = picture.save(args.out)
    height, width = picture.pixels.shape[:2]
    say(f"{printable(path)}: {args.what}, {width} x {height} pixels")
    return FINE
