"""
The command ``verify``: reading every entry of a cache whole.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from ndsampler.cli.arguments import add_positional, add_switch, open_sources, take_positional, take_rest
from ndsampler.cli.console import FINE, FOUND, progress_bar, say, say_json
from ndsampler.utils.formatting import format_bytes, format_duration, printable

if TYPE_CHECKING:
    from ndsampler.cache.reports import EntryReport
    from ndsampler.cache.verify import VerifyReport

EPILOG = """\
examples:
  python -m ndsampler verify work
  python -m ndsampler verify work data.kwcoco.json --pixels

Every byte of an entry is read and compared with the checksum that it was written with. --pixels
compares the pixels with those of the source too, where that is there as it was and the entry is
not compressed as JPEG; it takes as long as converting does, and little memory.

exit codes: 0 all entries are good; 1 some are damaged, or may not be read; 2 wrong arguments, or no
workdir; 130 stopped by Ctrl-C
"""


def add_parser(commands: Any) -> None:
    """Describe the command to argparse.

    Args:
        commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    parser = commands.add_parser(
        "verify",
        help="read every entry of a workdir whole, and find damaged ones",
        description="Read every entry in the cache of a workdir whole, and tell which are damaged.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_positional(parser, "workdir", "what samplers are given as workdir")
    add_positional(parser, "data", "only the entries of these datasets, kwcoco files", several=True)
    add_switch(parser, "pixels", "compare with the pixels of the sources too")
    add_switch(parser, "remove", "remove damaged entries; they are made anew when they are needed")
    add_switch(parser, "json", "print what was found as JSON")
    add_switch(parser, "quiet", "no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from ndsampler.cache.inventory import count_files
    from ndsampler.cache.verify import verify

    rest = take_rest(args, "workdir", "data")
    workdir = take_positional(args, "workdir")
    total = count_files(workdir)
    sources = open_sources(rest) if rest else None
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
    """Return what was found, for people."""
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
        lines[-1] += f"; {len(report.unreadable):,} not allowed to be read"
    if args.remove:
        lines[-1] += f"; {report.removed:,} removed"
    elif report.damaged:
        lines.append("With --remove damaged entries are removed; they are made anew when they are needed.")
    return "\n".join(lines)


def _as_json(report: VerifyReport, seconds: float) -> dict[str, Any]:
    """Return what was found, as JSON has it."""
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
