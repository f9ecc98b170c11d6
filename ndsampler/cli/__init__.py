"""
What can be typed: ``python -m ndsampler COMMAND``.

A command is a module with ``add_parser``, which describes its options to
argparse and names the function that runs it. :data:`COMMANDS` lists them.
Errors that a user can mend end as one line and exit code 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import ndsampler
from ndsampler.cli import demo
from ndsampler.errors import NDSamplerError

__all__ = ["COMMANDS", "build_parser", "main"]

#: The modules of the commands, in the order of the help page.
COMMANDS = (demo,)

#: Exit codes: for a wrong argument or input, and after Ctrl-C.
BAD_INPUT, INTERRUPTED = 2, 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line.

    Example:
        >>> build_parser().parse_args(['demo', '--samples', '6']).samples
        6
    """
    parser = argparse.ArgumentParser(
        prog="python -m ndsampler",
        description="Fast sampling of windows, with their annotations, from large images.",
    )
    parser.add_argument("--version", action="version", version=f"ndsampler {ndsampler.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the words behind the name of the program; by default those it was started with.

    Returns:
        The exit code: 0 if all went well, 2 for an error that the user can mend, which is told
        in one line on stderr.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 0
    try:
        return int(args.run(args))
    except (NDSamplerError, OSError) as ex:
        print(f"ndsampler: error: {' '.join(str(ex).split())}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("ndsampler: stopped", file=sys.stderr)
        return INTERRUPTED
