"""The command ``verify``: reads every byte of the entries of a cache."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from ndsampler.cli.arguments import (
    add_images,
    add_positional,
    add_switch,
    open_sources,
    take_positional,
    take_rest,
)
from ndsampler.cli.console import FINE, FOUND, progress_bar, say, say_json
from ndsampler.utils.formatting import format_bytes, format_duration, printable

if TYPE_CHECKING:
    from ndsampler.cache.reports import EntryReport
    from ndsampler.cache.verify import VerifyReport

EPILOG = """\
examples:
  ndsampler verify work
  ndsampler verify work data.kwcoco.json --pixels

Every byte of an entry is read, and the checksum of the entry is verified. --pixels also compares the
pixels with those of the source, unless the source has changed or the entry is compressed as JPEG.
This takes as long as the conversion, and little memory.

exit codes: 0 all entries are good; 1 some are damaged or cannot be read; 2 wrong arguments, or no
workdir; 130 stopped by Ctrl-C
"""


def add_parser(commands: Any) -> None:
    """Add the command and its options to the command line.

    Args:
        commands: the result of ``ArgumentParser.add_subparsers``.
    """
    parser = commands.add_parser(
        "verify",
        help="read every entry of a workdir, and find damaged ones",
        description="Read every entry in the cache of a workdir, and report the damaged ones.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_positional(parser, "workdir", "the workdir of the samplers")
    add_positional(
        parser, "data", "only the entries of these datasets, MS-COCO or kwcoco files", several=True
    )
    add_images(parser.add_argument, "data")
    add_switch(parser, "pixels", "also compare with the pixels of the sources")
    add_switch(parser, "remove", "remove damaged entries; they are made again when they are needed")
    add_switch(parser, "json", "print the result as JSON")
    add_switch(parser, "quiet", "no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from ndsampler.cache.inventory import count_files
    from ndsampler.cache.verify import verify

    rest = take_rest(args, "workdir", "data")
    workdir = take_positional(args, "workdir")
    total = count_files(workdir)
    sources = open_sources(rest, args.images) if rest else None
    began, done = time.perf_counter(), 0
    with progress_bar("verify", total, args.quiet) as progress:

        def show(item: EntryReport) -> None:
            nonlocal done
            done += item.nbytes
            progress.set_extra(f" {done / 1e6 / (time.perf_counter() - began):.1f} MB/s")
            progress.step()

        report = verify(workdir, used_by=sources, pixels=args.pixels, remove=args.remove, callback=show)
    seconds = time.perf_counter() - began
    if args.json:
        say_json(_as_json(report, seconds))
    else:
        say(_describe(report, seconds, args))
    return FINE if report.ok else FOUND


def _describe(report: VerifyReport, seconds: float, args: argparse.Namespace) -> str:
    """Return the result as text."""
    lines = [
        f"{item.status.value}: {printable(item.path)}: {printable(item.reason)}"
        for item in (*report.damaged, *report.unreadable)
    ]
    checked = report.checked
    lines.append(
        f"{checked.count:,} entries read, {format_bytes(checked.nbytes)} in {format_duration(seconds)}: "
        f"{len(report.damaged):,} damaged"
    )
    if args.pixels:
        lines[-1] += f"; the pixels of {report.compared:,} compared with their sources"
    if report.unreadable:
        lines[-1] += f"; {len(report.unreadable):,} without permission to read"
    if args.remove:
        lines[-1] += f"; {report.removed:,} removed"
    elif report.damaged:
        lines.append("--remove removes damaged entries; they are made again when they are needed.")
    return "\n".join(lines)


def _as_json(report: VerifyReport, seconds: float) -> dict[str, Any]:
    """Return the result as JSON."""
    from ndsampler.cache.reports import item_json

    return {
        "ok": report.ok,
        "entries": report.checked.count,
        "bytes": report.checked.nbytes,
        "compared": report.compared,
        "damaged": [item_json(item) for item in report.damaged],
        "unreadable": [item_json(item) for item in report.unreadable],
        "removed": report.removed,
        "seconds": seconds,
    }
