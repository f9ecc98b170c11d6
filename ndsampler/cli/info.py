"""
The command ``info``: what lies in a workdir.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ndsampler.cli.arguments import add_positional, add_switch, take_positional
from ndsampler.cli.console import FINE, progress_bar, say, say_json
from ndsampler.utils.formatting import format_bytes, format_table, printable

if TYPE_CHECKING:
    from ndsampler.cache.reports import CacheReport

#: Columns of the table that are always there, and those that are there where they hold anything.
COLUMNS = ("current", "stale", "orphaned", "damaged")
MORE_COLUMNS = ("unreachable", "leftover", "busy", "outdated", "unreadable")

#: Foreign things that are named, rather than only counted.
NAMED = 10

EPILOG = """\
example:
  python -m ndsampler info work

columns:
  current      whole, and its source is as it was; or named by its content
  stale        the source has changed since; never read again
  orphaned     the source is gone
  unreachable  the folder of the source is gone, or not mounted
  damaged      cut off, or changed after it was written (verify reads all of each entry)
  leftover     what a process that was killed was writing
  busy         what another process is writing now
  outdated     of an earlier format, which is never read
  unreadable   not allowed to be read

Nothing is changed, but that whole entries whose time of change was lost, by copying for example,
are sealed again. prune removes what is of no use.

exit codes: 0 all was looked at, whatever it is; 2 wrong arguments, or no workdir; 130 stopped
"""


def add_parser(commands: Any) -> None:
    """Describe the command to argparse.

    Args:
        commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    parser = commands.add_parser(
        "info",
        help="count what lies in a workdir",
        description="Count what lies in the cache of a workdir, for each backend and its settings.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_positional(parser, "workdir", "what samplers are given as workdir")
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
    """Return the table, and what to know beside it."""
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
        lines += ["", f"{waste.count:,} are of no use ({format_bytes(waste.nbytes)}). Remove them:"]
        lines.append(f"    python -m ndsampler prune {printable(report.workdir)}")
    return "\n".join([*lines, *tell_foreign(report)])


def tell_foreign(report: CacheReport) -> list[str]:
    """Return lines that name what is not ndsampler's, or cannot be read."""
    lines = []
    if report.named:
        lines = ["", "Left alone, whatever is done:"]
        lines += [f"    {printable(item.path)} ({printable(item.reason)})" for item in report.named[:NAMED]]
        more = len(report.named) - NAMED
        lines += [f"    and {more} more"] * (more > 0)
    return lines
