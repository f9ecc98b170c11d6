"""
The command ``prune``: removing what is of no use from a workdir.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ndsampler.cli.arguments import add_positional, add_switch, open_sources, take_positional
from ndsampler.cli.console import FINE, FOUND, complain, progress_bar, say, say_json
from ndsampler.utils.formatting import format_bytes, printable

if TYPE_CHECKING:
    from ndsampler.cache.prune import PruneReport, Removal

EPILOG = """\
examples:
  python -m ndsampler prune work --dry_run
  python -m ndsampler prune work --unused_by train.kwcoco.json test.kwcoco.json

removed:
  stale      entries whose source has changed since
  orphaned   entries whose source is gone
  damaged    entries that are cut off or were changed (verify --remove finds more, reading all)
  outdated   files of earlier formats, of ndsampler 0.8 too
  leftover   what processes that were killed were writing

kept:
  entries named by their content (hashid_mode PIXELS and GIVEN), wherever their source is now
  entries whose source lies in a folder that is gone: its disk may just not be mounted
  what other processes are writing, and whatever is not ndsampler's; links are not followed

Whatever is removed is made anew when it is needed, so this may run while others use the cache.

exit codes: 0 all of it was removed, or there was nothing to remove; 1 something could not be removed;
2 wrong arguments, or no workdir; 130 stopped by Ctrl-C
"""


def add_parser(commands: Any) -> None:
    """Describe the command to argparse.

    Args:
        commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    parser = commands.add_parser(
        "prune",
        help="remove what is of no use from a workdir",
        description="Remove what is of no use to anyone from the cache of a workdir.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_positional(parser, "workdir", "what samplers are given as workdir")
    add_switch(parser, "dry_run", "remove nothing, and tell what would be removed")
    parser.add_argument(
        "--unused_by",
        nargs="+",
        metavar="DATA",
        help="remove every entry that is of no file of these datasets, kwcoco files, too, those named by "
        "their content among them",
    )
    add_switch(parser, "unreachable", "remove entries whose source lies in a folder that is gone too")
    add_switch(parser, "json", "print what was removed as JSON")
    add_switch(parser, "quiet", "no progress bar, and no list of what is removed")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from ndsampler.cache.inventory import find_entries
    from ndsampler.cache.prune import prune

    workdir = take_positional(args, "workdir")
    find_entries(workdir)
    sources = open_sources(args.unused_by) if args.unused_by else None
    verb = "would remove" if args.dry_run else "removed"
    items = []
    with progress_bar("prune", None, args.quiet or not args.json) as progress:

        def show(removal: Removal) -> None:
            progress.step()
            if removal.error:
                complain(f"not removed: {printable(removal.item.path)}: {printable(removal.error)}")
            elif args.json:
                items.append(_item(removal))
            elif not args.quiet:
                reason = f": {printable(removal.item.reason)}" if removal.item.reason else ""
                say(f"{verb} {removal.why} {printable(removal.item.path)}{reason}")

        report = prune(
            workdir, unused_by=sources, unreachable=args.unreachable, dry_run=args.dry_run, callback=show
        )
    if args.json:
        say_json(_as_json(report, items, args.dry_run))
    else:
        say(_summary(report, verb, args.unreachable))
    return FOUND if report.failures else FINE


def _summary(report: PruneReport, verb: str, unreachable: bool) -> str:
    """Return how much was removed, and what is left, for people."""
    from ndsampler.cache.reports import ENTRIES, Status, Tally

    total = report.total
    reasons = ", ".join(f"{tally.count:,} {why}" for why, tally in sorted(report.removed.items()))
    lines = [f"{verb} {total.count:,}, {format_bytes(total.nbytes)}" + (f": {reasons}" if reasons else "")]
    left = sum((report.kept.get(kind, Tally()) for kind in ENTRIES), Tally())
    lines.append(f"{left.count:,} entries stay, {format_bytes(left.nbytes)}")
    away = report.kept.get(Status.UNREACHABLE)
    if away and not unreachable:
        lines.append(
            f"{away.count:,} of them have their source in a folder that is gone, or is not mounted; "
            "--unreachable removes them too"
        )
    foreign = report.kept.get(Status.FOREIGN)
    if foreign:
        lines.append(f"{foreign.count:,} things that are not ndsampler's are left alone; info names them")
    if report.failures:
        lines.append(f"{len(report.failures):,} could not be removed")
    return "\n".join(lines)


def _item(removal: Removal) -> dict[str, Any]:
    """Return what is told of one thing, as JSON has it."""
    from ndsampler.cache.reports import item_json

    return {**item_json(removal.item), "why": removal.why}


def _as_json(report: PruneReport, items: list[dict[str, Any]], dry_run: bool) -> dict[str, Any]:
    """Return what was done, as JSON has it."""
    return {
        "dry_run": dry_run,
        "removed": report.total.count,
        "bytes": report.total.nbytes,
        "by_reason": {why: tally.count for why, tally in report.removed.items()},
        "kept": {kind.value: tally.count for kind, tally in report.kept.items()},
        "items": items,
        "failures": [{**_item(removal), "error": removal.error} for removal in report.failures],
    }
