"""
The command ``demo``: draws samples of large images, and compares the speed of the backends.

Without ``--data``, it makes a dataset first: see :func:`ndsampler.demo.landscape_dataset`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndsampler.cli.arguments import add_images
from ndsampler.cli.console import FINE, progress_bar, say
from ndsampler.errors import ArgumentError
from ndsampler.utils.formatting import (
    folder_bytes,
    format_bytes,
    format_duration,
    format_rate,
    format_table,
    printable,
)

if TYPE_CHECKING:
    import numpy as np

    from ndsampler.coco_sampler import CocoSampler
    from ndsampler.demo.compare import Measurement, Samplers

#: Number of still images in the dataset that the command makes, including the large one.
IMAGES = 7

#: Bytes on disk, including converted images, for each byte of the large image's pixels; rounded up.
DISK = 1.5

#: Number of images that are converted at the same time.
WORKERS = 2

#: Side of a sample on the sheet, in pixels.
SIDE = 256

#: Description of each backend's format in messages.
FORMATS = {"none": "as they are", "npy": "npy files", "cog": "cloud-optimized GeoTIFF"}

HEAD = ("backend", "samples/s", "first sample", "whole image", "cache on disk", "memory", "mapped files")

NOTES = """\
Whole image: time to read the whole largest image again, reduced to its size on the sheet.
Memory: peak private memory of a new process while it samples, including Python and its libraries.
Mapped files: memory for pages of files, which the operating system can reclaim when needed."""


def add_parser(commands: Any) -> None:
    """Add the command and its options to the command line.

    Args:
        commands: the result of ``ArgumentParser.add_subparsers``.
    """
    parser = commands.add_parser(
        "demo",
        help="draw samples, and compare the speed of the backends",
        description="Draw random samples with their annotations on one sheet, and measure how many samples "
        "per second each backend loads. Without --data, a dataset with one very large image is made first.",
    )
    _add_options(parser.add_argument)
    parser.set_defaults(run=run)


def _add_options(add: Any) -> None:
    """Add the options of the command.

    Args:
        add: ``add_argument`` of the command's parser.
    """
    shown = " (default: %(default)s)"
    backends = ["none", "npy", "cog"]
    add("--out", default="ndsampler_demo", metavar="DIR", help="folder for all files" + shown)
    add("--data", metavar="FILE", help="an MS-COCO or kwcoco dataset of your own, instead of making one")
    add_images(add, "--data")
    add("--workdir", metavar="DIR", help="folder for converted images (default: cache, in --out)")
    add("--backend", default="cog", choices=backends, help="backend of the samples on the sheet" + shown)
    add("--samples", type=_count, default=8, metavar="N", help="samples on the sheet" + shown)
    add("--window", type=_count, default=256, metavar="PIXELS", help="side of a sample" + shown)
    add("--size", type=_count, default=16384, metavar="PIXELS", help="side of the large image" + shown)
    add(
        "--max_images",
        type=int,
        default=16,
        metavar="N",
        help="number of images of --data to use; 0 for all" + shown,
    )
    seconds = "time to sample with each backend, in seconds; 0 for no comparison"
    add("--seconds", type=float, default=1.0, metavar="S", help=seconds + shown)
    add("--seed", type=int, default=0, metavar="N", help="selects the images and the samples" + shown)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too small; expected at least 1")
    return number


@dataclass(frozen=True)
class Run:
    """One run of the command."""

    args: argparse.Namespace
    out: Path
    data: Path
    samplers: Samplers
    rng: np.random.Generator

    def prepared(self, name: str, gids: list[int] | None = None) -> CocoSampler:
        """Return a sampler after its images have been converted.

        Args:
            name: name of the backend.
            gids: ids of the sampler's images; None for all images.
        """
        sampler = self.samplers.get(name, gids)
        if name != "none":
            which = "the images" if gids is None else f"the {len(gids)} smaller images"
            say(f"Converting {which} to {FORMATS[name]} ...")
            begin = time.perf_counter()
            with contextlib.redirect_stdout(sys.stderr):
                sampler.frames.prepare(workers=WORKERS, verbose=1)
            seconds = time.perf_counter() - begin
            size = format_bytes(folder_bytes(sampler.frames.cache_dpath))
            say(f"  {size} in {seconds:.1f} s: {printable(sampler.frames.cache_dpath)}")
        return sampler

    def stills(self) -> CocoSampler:
        """Return a sampler of the still images, or of all images for the user's own dataset."""
        images = self.samplers.dset.imgs
        gids = [gid for gid, image in images.items() if self.args.data or "video_id" not in image]
        return self.samplers.get(self.args.backend, gids)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code.

    Args:
        args: the parsed options of :func:`add_parser`.

    Raises:
        ArgumentError: for an option out of range.
        NDSamplerError: if the data or the cache cannot be used.
    """
    begin = time.perf_counter()
    if args.seed < 0 or args.max_images < 0 or not 0 <= args.seconds < 3600:
        raise ArgumentError(
            f"--seed is {args.seed}, --max_images {args.max_images}, --seconds {args.seconds}; expected 0 or "
            "more for each of them, and less than 3600 seconds"
        )
    demo = start(args)
    describe(demo)
    sheet = draw(demo)
    if args.seconds:
        compare(demo)
    finish(demo, sheet, time.perf_counter() - begin)
    return FINE


def start(args: argparse.Namespace) -> Run:
    """Make the output folders and open the dataset, or make one."""
    import numpy as np

    from ndsampler.dataset.opening import open_dataset
    from ndsampler.demo.compare import Samplers
    from ndsampler.demo.selection import choose_images

    out = Path(args.out).absolute()
    workdir = Path(args.workdir).absolute() if args.workdir else out / "cache"
    dset = open_dataset(args.data, args.images) if args.data else None
    say(f"Output folder: {printable(out)}")
    for folder in (out, workdir):
        folder.mkdir(parents=True, exist_ok=True)
    dset = make_data(args, out) if dset is None else dset
    data = Path(args.data).absolute() if args.data else Path(dset.fpath)
    rng = np.random.default_rng(args.seed)
    chosen = choose_images(dset, args.max_images if args.data else 0, rng)
    if chosen is not dset:
        say(f"Using {chosen.n_images} of {dset.n_images} images; --max_images 0 uses all")
    return Run(args, out, data, Samplers(chosen, workdir), rng)


def make_data(args: argparse.Namespace, out: Path) -> Any:
    """Return the dataset of the demo; make it if it does not exist yet."""
    from ndsampler.demo import landscape_dataset
    from ndsampler.demo.settings import LandscapeSettings

    settings = LandscapeSettings(args.size, IMAGES, seed=args.seed)
    if not (out / settings.name).exists():
        check_space(out, args.size)
    phases = PaintingPhases(args.size)
    dset = landscape_dataset(out, size=args.size, images=IMAGES, seed=args.seed, progress=phases.report)
    size = format_bytes(folder_bytes(out / settings.name))
    say(f"  {size}{'' if phases.current else ', from an earlier run'}: {printable(dset.fpath)}")
    return dset


class PaintingPhases:
    """Prints each phase of painting the demo's images, with a progress bar for the large image."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.current = ""
        self._bar: Any = None
        self._percent = 0

    def report(self, name: str, share: float) -> None:
        """Record which fraction of a file or a video is finished."""
        phase = "large" if name.startswith("city") else "film" if name == "traffic" else "small"
        if phase != self.current:
            self.current = phase
            say(self._message())
        if phase == "large":
            self._advance(int(100 * share))

    def _message(self) -> str:
        what = {
            "small": f"{IMAGES - 1} smaller images",
            "large": f"a {self.size} x {self.size} image, a TIFF in strips of rows",
            "film": "a film",
        }
        return f"Painting {what[self.current]} ..."

    def _advance(self, percent: int) -> None:
        if self._bar is None:
            self._bar = progress_bar("painting", 100, quiet=False)
            self._bar.begin()
        self._bar.step(percent - self._percent)
        self._percent = percent
        if percent == 100:
            self._bar.end()


def check_space(out: Path, size: int) -> None:
    """Raise an error if the disk has too little space for the dataset and its converted images.

    Raises:
        ArgumentError: if there is not enough space.
    """
    free, needed = shutil.disk_usage(out).free, DISK * 3 * size**2
    if free < needed:
        raise ArgumentError(
            f"{out} has {free / 1e9:.1f} GB of free space; the demo needs {needed / 1e9:.1f} GB. Choose "
            f"another folder with --out, or a smaller image, such as --size {size // 4}"
        )


def describe(demo: Run) -> None:
    """Print the number of images and annotations."""
    from ndsampler.preview.choice import largest_image

    dset = demo.samplers.dset
    _, (height, width) = largest_image(demo.samplers.get("none"))
    say(f"  {dset.n_images} images, the largest {width} x {height}; {dset.n_annots} annotations")


def draw(demo: Run) -> Path:
    """Write the sheet of samples and return its path."""
    from ndsampler.demo.selection import load_samples, overview_target
    from ndsampler.preview import write_sheet
    from ndsampler.preview.choice import load_strip

    args = demo.args
    sampler = demo.prepared(args.backend)
    say(f"Drawing {args.samples} random samples, read with backend {args.backend} ...")
    begin = time.perf_counter()
    samples = load_samples(demo.stills(), args.samples, args.window, demo.rng)
    target = overview_target(sampler, overview_side())
    overview = sampler.load_sample(target, with_annots="boxes") if target else None
    strip = load_strip(sampler, (args.window, args.window))
    path = demo.out / "samples.png"
    where = demo.data.name if args.data else "the demo dataset"
    title = f"{len(samples)} random windows of {where}, {args.window} x {args.window} pixels each"
    title += ", with a whole image" * bool(overview) + ", and a video" * bool(strip)
    write_sheet(path, samples, sampler.classes, side=SIDE, title=title, overview=overview, strip=strip)
    say(f"  {len(samples)} samples in {time.perf_counter() - begin:.1f} s: {printable(path)}")
    return path


def overview_side() -> int:
    """Return the side of the overview on the sheet, in pixels."""
    from ndsampler.preview import GAP

    return 2 * SIDE + GAP


def compare(demo: Run) -> None:
    """Measure the speed of each backend, and print a table."""
    from ndsampler.demo.compare import BACKENDS, Comparison
    from ndsampler.preview.choice import largest_image

    args = demo.args
    comparison = Comparison(demo.samplers, demo.data, args.window, args.seconds, overview_side(), demo.rng)
    small = images_for_npy(demo)
    rows = []
    for name in BACKENDS:
        gids = small if name == "npy" else None
        if name != args.backend:
            demo.prepared(name, gids)
        window = f"{args.window} x {args.window}"
        say(f"Measuring backend {name} for {args.seconds:g} s: {window} windows with annotations ...")
        rows.append(table_row(name if gids is None else "npy *", comparison.measure(name, gids)))
    say()
    say(format_table(HEAD, rows))
    say()
    if small is not None:
        _, (height, width) = largest_image(demo.samplers.get("none"))
        size = format_bytes(3 * height * width)
        say(f"* without the largest image, which would take {size} as an npy file.")
    say(NOTES)


def images_for_npy(demo: Run) -> list[int] | None:
    """Return the ids of the images that are converted to npy; None for all.

    The demo's large image is left out unless the user chooses the npy backend. Its uncompressed pixels would
    take as much disk space as all other files together.
    """
    from ndsampler.demo.compare import MAX_NPY_BYTES, small_images

    if demo.args.data or demo.args.backend == "npy":
        return None
    sampler = demo.samplers.get("none")
    small = small_images(sampler, MAX_NPY_BYTES)
    return small if len(small) < len(sampler.image_ids) else None


def table_row(name: str, measured: Measurement) -> list[str]:
    """Return the cells of a backend's row."""
    speed, overview = measured.speed, measured.overview_seconds
    return [
        name,
        format_rate(speed.rate),
        format_duration(speed.first),
        "-" if overview is None else format_duration(overview),
        format_bytes(measured.cache_bytes) if measured.cache_bytes else "-",
        format_bytes(speed.own_bytes),
        format_bytes(speed.mapped_bytes),
    ]


def finish(demo: Run, sheet: Path, seconds: float) -> None:
    """Print where the results are, what to do next, and how to delete everything."""
    from ndsampler.dataset.opening import image_folder

    found = shutil.which("python")
    python = "python" if found and os.path.samefile(found, sys.executable) else sys.executable
    say()
    say(f"Done in {seconds:.0f} s. Open {printable(sheet)}")
    say()
    if not demo.args.data:
        say("To run this on your own dataset:")
        say(f"  {python} -m ndsampler demo --data my.kwcoco.json --images FOLDER")
    images = [f"images={image_folder(demo.args.images)!r}"] if demo.args.images else []
    arguments = [repr(str(demo.data)), *images, f"workdir={str(demo.samplers.workdir)!r}", "backend='cog'"]
    say("To continue in Python:")
    say("    import ndsampler")
    say(f"    sampler = ndsampler.CocoSampler({', '.join(arguments)})")
    say("    sample = sampler.load_positive(target={'window_dims': (256, 256)})")
    say("    sample['im'].shape, sample['annots']['frame_dets'][0]")
    size = format_bytes(folder_bytes(demo.out))
    say(f"The output folder takes {size}. To remove it, delete {printable(demo.out)}")
