"""The command ``info``: counts the entries of a cache."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ndsampler.cli.arguments import add_positional, add_switch, take_positional
from ndsampler.cli.console import FINE, progress_bar, say, say_json
from ndsampler.utils.formatting import format_bytes, format_table, printable

if TYPE_CHECKING:
    from ndsampler.cache.reports import CacheReport

#: Columns of the table that are always shown. Others are shown if they are not empty.
COLUMNS = ("current", "stale", "orphaned", "damaged")
MORE_COLUMNS = ("unreachable", "leftover", "busy", "outdated", "unreadable")

#: Maximum number of foreign files that are named; further ones are only counted.
NAMED = 10

EPILOG = """\
example:
  ndsampler info work

columns:
  current      complete, and the source has not changed, or the entry is named after its content
  stale        the source has changed since; never read again
  orphaned     the source no longer exists
  unreachable  the folder of the source does not exist, or is not mounted
  damaged      truncated, or changed after it was written (verify reads every byte)
  leftover     unfinished files of a process that was killed
  busy         being written by another process
  outdated     of an earlier format, which is never read
  unreadable   without permission to read

No entry is changed, except that a complete entry that lost its modification time, for example
because it was copied, gets a new time stamp. prune removes useless entries.

exit codes: 0 every entry was counted; 2 wrong arguments, or no workdir; 130 stopped by Ctrl-C
"""


def add_parser(commands: Any) -> None:
    """Add the command and its options to the command line.

    Args:
        commands: the result of ``ArgumentParser.add_subparsers``.
    """
    parser = commands.add_parser(
        "info",
        help="count the entries of a workdir",
        description="Count the entries in the cache of a workdir, for each backend and its settings.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_positional(parser, "workdir", "the workdir of the samplers")
    add_switch(parser, "json", "print the numbers as JSON")
    add_switch(parser, "quiet", "no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from ndsampler.cache.inventory import count_files, survey

    workdir = take_positional(args, "workdir")
    with progress_bar("look at", count_files(workdir), args.quiet) as progress:
        report = survey(workdir, lambda item: progress.step())
    if args.json:
        say_json(report.to_json())
    else:
        say(_describe(report))
    return FINE


def _describe(report: CacheReport) -> str:
    """Return the table of entries, with hints below it."""
    from ndsampler.cache.prune import WASTE
    from ndsampler.cache.reports import Status

    kinds = [Status(name) for name in (*COLUMNS, *MORE_COLUMNS)]
    kinds = [kind for kind in kinds if kind.value in COLUMNS or report.count(kind).count]
    head = ["backend", "folder", "entries", "size", *(kind.value for kind in kinds)]
    rows = [
        [
            printable(folder.backend),
            printable(folder.name),
            f"{folder.entries.count:,}",
            format_bytes(folder.entries.nbytes),
            *(f"{folder.count(kind).count:,}" for kind in kinds),
        ]
        for folder in report.folders
    ]
    lines = [f"{printable(report.workdir)} holds {report.entries.count:,} entries"]
    lines[0] += f", {format_bytes(report.entries.nbytes)}"
    if rows:
        lines += ["", format_table(head, rows)]
    waste = report.count(*WASTE)
    if waste.count:
        lines += ["", f"{waste.count:,} are useless ({format_bytes(waste.nbytes)}). To remove them:"]
        lines.append(f"    ndsampler prune {printable(report.workdir)}")
    return "\n".join([*lines, *describe_foreign(report)])


def describe_foreign(report: CacheReport) -> list[str]:
    """Return lines that name the files that ndsampler did not make or cannot read."""
    lines = []
    if report.named:
        lines = ["", "Never removed:"]
        lines += [f"    {printable(item.path)} ({printable(item.reason)})" for item in report.named[:NAMED]]
        more = len(report.named) - NAMED
        lines += [f"    and {more} more"] * (more > 0)
    return lines
