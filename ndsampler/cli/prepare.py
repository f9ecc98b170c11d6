"""The command ``prepare``: converts the images of a dataset ahead of time."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ndsampler.cli.arguments import add_dataset, add_switch, take_positional
from ndsampler.cli.console import FINE, FOUND, complain, progress_stream, say, say_json
from ndsampler.errors import ArgumentError
from ndsampler.utils.formatting import format_bytes, format_duration, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    from ndsampler.coco_frames import CocoFrames
    from ndsampler.frames.prepare import Preparation

EPILOG = """\
examples:
  ndsampler prepare data.kwcoco.json --backend cog --workers 8 --workdir work
  ndsampler prepare annotations/instances_val.json --images val --workdir work
  ndsampler prepare data.kwcoco.json --backend '{"type": "cog", "config": {"compress": "LZW"}}'
  ndsampler prepare data.kwcoco.json --workdir /shared/work --shard $SLURM_ARRAY_TASK_ID/16

With --shard I/N, N jobs share the work: the paths of the images' files decide which job converts
them. The jobs may run at the same time, on machines that share the workdir.

If the command is stopped, start it again to convert the missing images. Pass the same workdir,
backend and hashid_mode to the sampler: CocoSampler(dset, workdir='work', backend='cog').

exit codes: 0 every image is ready; 1 some images could not be converted (they are listed on stderr;
the others are ready); 2 wrong arguments, or no dataset; 130 stopped by Ctrl-C
"""


def add_parser(commands: Any) -> None:
    """Add the command and its options to the command line.

    Args:
        commands: the result of ``ArgumentParser.add_subparsers``.
    """
    parser = commands.add_parser(
        "prepare",
        help="convert the images of a dataset into the cache",
        description="Convert every image of a dataset that has no entry in the cache yet, so that no sample "
        "has to wait for it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset(parser)
    add = parser.add_argument
    add(
        "--backend",
        default="cog",
        metavar="NAME",
        help="cog, npy, or a JSON object with the keys type and config (default: cog)",
    )
    add("--workdir", metavar="DIR", help="folder for the cache (default: that of CocoSampler)")
    add(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="number of images converted at the same time (default: 0, which means one)",
    )
    add(
        "--executor",
        choices=["threads", "processes"],
        default="threads",
        help="kind of the workers (default: threads)",
    )
    add(
        "--hashid_mode",
        choices=["PATH", "PIXELS", "GIVEN"],
        default="PATH",
        type=str.upper,
        help="how images are identified: by path, size and modification time; by the content of the file; "
        "or by the key hashid in the dataset (default: PATH)",
    )
    add(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="convert only the images of job I of N, from 1 to N; together the N jobs convert all of them",
    )
    add_switch(parser, "json", "print the summary as JSON")
    add_switch(parser, "verbose", "print each image that is converted")
    add_switch(parser, "quiet", "no progress bar, and no summary")
    parser.set_defaults(run=run)


def _shard(text: str) -> tuple[int, int]:
    """Return the number of a job and the number of jobs in an option."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(
            f"{text} is not a shard; expected I/N with I from 1 to N, such as 3/16"
        )
    return int(number), int(count)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if args.workers < 0:
        raise ArgumentError(f"--workers is {args.workers}; expected 0 or more")
    frames = _open_frames(args)
    if args.verbose:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        logging.getLogger("ndsampler").setLevel(logging.DEBUG)
    # Progress goes to stderr; stdout is for the summary.
    with contextlib.redirect_stdout(progress_stream()), _executor(args) as executor:
        report = frames.try_prepare(
            _chosen(frames, args.shard),
            workers=args.workers,
            executor=executor,
            verbose=0 if args.quiet else 1,
        )
    for failure in report.failures:
        complain(printable(failure.error))
    if args.json:
        say_json(_as_json(report, frames))
    elif not args.quiet:
        say(_summary(report, frames))
    return FOUND if report.failures else FINE


def _open_frames(args: argparse.Namespace) -> CocoFrames:
    """Return the images of the dataset, with the chosen cache."""
    from ndsampler.backends import make_backend
    from ndsampler.coco_frames import CocoFrames
    from ndsampler.dataset.opening import open_dataset

    backend = make_backend(_parse_backend(args.backend))
    if not backend.caches:
        raise ArgumentError(f"--backend is {args.backend}; expected one with a cache, such as cog or npy")
    dset = open_dataset(take_positional(args, "src"), args.images)
    frames = CocoFrames(dset, args.hashid_mode, args.workdir, backend=backend)
    try:
        os.makedirs(str(frames.cache_dpath), exist_ok=True)
    except OSError as ex:
        raise ArgumentError(f"the workdir {frames.workdir} cannot be used: {ex}; choose another") from ex
    return frames


def _chosen(frames: CocoFrames, shard: tuple[int, int] | None) -> list[Any] | None:
    """Return the images of a shard; None for all images."""
    from ndsampler.errors import SourceError
    from ndsampler.frames.prepare import shard_of

    if shard is None:
        return None
    number, count = shard
    chosen = []
    for gid in frames.image_ids:
        try:
            mine = shard_of(frames.layout(gid), count) == number
        except SourceError:
            mine = number == 1  # the first job reports images whose description in the dataset is invalid
        if mine:
            chosen.append(gid)
    return chosen


def _parse_backend(text: str) -> Any:
    """Return the value of an option as a sampler's argument ``backend``."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError as ex:
        raise ArgumentError(f"--backend is {text}; expected a name or a JSON object ({ex})") from ex


@contextlib.contextmanager
def _executor(args: argparse.Namespace) -> Iterator[Executor | None]:
    """Yield the chosen executor; None for threads, for which ``prepare`` makes its own."""
    if args.executor == "threads":
        yield None
        return
    from ndsampler.frames.processes import start_workers

    with start_workers(args.workers) as executor:
        yield executor


def _summary(report: Preparation, frames: CocoFrames) -> str:
    """Return the result as text."""
    made = f"{report.made} entries made"
    if report.made:
        sizes = f"{format_bytes(report.made_bytes)} of {format_bytes(report.source_bytes)}"
        made += f" ({sizes})"
    parts = [made, f"{report.present} already there", f"{report.in_place} used in place"]
    return (
        f"{report.images} images, {len(report.failures)} failed: {', '.join(parts)}, "
        f"in {format_duration(report.seconds)}\n{_describe_slow_layouts(report)}"
        f"The cache is in {printable(frames.cache_dpath)}. To inspect it:\n"
        f"    ndsampler info {printable(frames.workdir)}"
    )


def _describe_slow_layouts(report: Preparation) -> str:
    """Return how many tiled TIFFs were converted, and why; empty if there were none."""
    if not report.slow_layouts:
        return ""
    lines = [f"    {count} with {reason}" for reason, count in sorted(report.slow_layouts.items())]
    return (
        "Entries of these tiled TIFFs were made because they are read faster. To save the disk, use the "
        'setting {"in_place": true}:\n' + "\n".join(lines) + "\n"
    )


def _as_json(report: Preparation, frames: CocoFrames) -> dict[str, Any]:
    """Return the result as JSON."""
    failures = [
        {
            "image_id": failure.image_id,
            "paths": list(failure.paths),
            "error": type(failure.error).__name__,
            "message": str(failure.error),
        }
        for failure in report.failures
    ]
    counts = {key: value for key, value in asdict(report).items() if key != "failures"}
    places = {"workdir": str(frames.workdir), "cache_dpath": frames.cache_dpath}
    return {**counts, "failed": len(failures), "failures": failures, **places}
