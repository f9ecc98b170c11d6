"""The command ``prune``: removes useless files from the cache of a workdir."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ndsampler.cli.arguments import add_images, add_positional, add_switch, open_sources, take_positional
from ndsampler.cli.console import FINE, FOUND, complain, progress_bar, say, say_json
from ndsampler.utils.formatting import format_bytes, printable

if TYPE_CHECKING:
    from ndsampler.cache.prune import PruneReport, Removal

EPILOG = """\
examples:
  ndsampler prune work --dry_run
  ndsampler prune work --unused_by train.kwcoco.json test.kwcoco.json

removed:
  stale      entries whose source has changed since
  orphaned   entries whose source no longer exists
  damaged    entries that are truncated or were changed (verify --remove reads every byte and finds more)
  outdated   files of earlier formats, including those of ndsampler 0.8
  leftover   unfinished files of processes that were killed

kept:
  entries named after their content (hashid_mode PIXELS and GIVEN), wherever their source is now
  entries whose source is in a folder that does not exist, because its disk may not be mounted
  orphaned entries whose disk may not be mounted either, unless --force is given: the folder of the
  source is empty or a mount point, or most of many images are gone
  files that other processes are writing, and files that ndsampler did not make; links are not followed

A removed entry is made again when it is needed, so other processes may use the cache at the same
time.

exit codes: 0 everything was removed, or there was nothing to remove; 1 something could not be removed;
2 wrong arguments, or no workdir; 130 stopped by Ctrl-C
"""


def add_parser(commands: Any) -> None:
    """Add the command and its options to the command line.

    Args:
        commands: the result of ``ArgumentParser.add_subparsers``.
    """
    parser = commands.add_parser(
        "prune",
        help="remove useless files from a workdir",
        description="Remove useless files from the cache of a workdir.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_positional(parser, "workdir", "the workdir of the samplers")
    add_switch(parser, "dry_run", "remove nothing, and print what would be removed")
    parser.add_argument(
        "--unused_by",
        nargs="+",
        metavar="DATA",
        help="also remove every entry that belongs to no file of these kwcoco datasets, including entries "
        "named after their content",
    )
    add_images(parser.add_argument, "--unused_by")
    add_switch(parser, "unreachable", "also remove entries whose source is in a folder that does not exist")
    add_switch(parser, "force", "also remove orphaned entries whose disk may not be mounted")
    add_switch(parser, "json", "print the result as JSON")
    add_switch(parser, "quiet", "no progress bar, and no list of removed files")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from ndsampler.cache.inventory import find_entries
    from ndsampler.cache.prune import prune

    workdir = take_positional(args, "workdir")
    find_entries(workdir)
    sources = open_sources(args.unused_by, args.images) if args.unused_by else None
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
            workdir,
            unused_by=sources,
            unreachable=args.unreachable,
            dry_run=args.dry_run,
            force=args.force,
            callback=show,
        )
    if args.json:
        say_json(_as_json(report, items, args.dry_run))
    else:
        say(_summary(report, verb, args.unreachable))
    return FOUND if report.failures else FINE


def _summary(report: PruneReport, verb: str, unreachable: bool) -> str:
    """Return a text with the number and size of removed and remaining entries."""
    from ndsampler.cache.reports import ENTRIES, Status, Tally

    total = report.total
    reasons = ", ".join(f"{tally.count:,} {why}" for why, tally in sorted(report.removed.items()))
    lines = [f"{verb} {total.count:,}, {format_bytes(total.nbytes)}" + (f": {reasons}" if reasons else "")]
    left = sum((report.kept.get(kind, Tally()) for kind in ENTRIES), Tally())
    lines.append(f"{left.count:,} entries remain, {format_bytes(left.nbytes)}")
    away = report.kept.get(Status.UNREACHABLE)
    if away and not unreachable:
        lines.append(
            f"the sources of {away.count:,} of them are in folders that do not exist or are not mounted; "
            "--unreachable removes them too"
        )
    for reason, tally in sorted(report.doubtful.items()):
        lines.append(f"{tally.count:,} orphaned entries are kept: {printable(reason)}; --force removes them")
    foreign = report.kept.get(Status.FOREIGN)
    if foreign:
        lines.append(f"{foreign.count:,} files that ndsampler did not make are kept; info names them")
    if report.failures:
        lines.append(f"{len(report.failures):,} could not be removed")
    return "\n".join(lines)


def _item(removal: Removal) -> dict[str, Any]:
    """Return one removed file as JSON."""
    from ndsampler.cache.reports import item_json

    return {**item_json(removal.item), "why": removal.why}


def _as_json(report: PruneReport, items: list[dict[str, Any]], dry_run: bool) -> dict[str, Any]:
    """Return the result as JSON."""
    return {
        "dry_run": dry_run,
        "removed": report.total.count,
        "bytes": report.total.nbytes,
        "by_reason": {why: tally.count for why, tally in report.removed.items()},
        "doubtful": {reason: tally.count for reason, tally in report.doubtful.items()},
        "kept": {kind.value: tally.count for kind, tally in report.kept.items()},
        "items": items,
        "failures": [{**_item(removal), "error": removal.error} for removal in report.failures],
    }
