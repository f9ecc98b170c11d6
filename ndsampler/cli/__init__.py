"""
What can be typed: ``python -m ndsampler COMMAND``.

A command is a module with ``add_parser``, which describes its options to
argparse and names the function that runs it. :data:`COMMANDS` lists them.
Errors that a user can mend end as one line and exit code 2. Modules that take long to
load are imported by the functions that need them, so that ``--help`` is there at once.
"""

from __future__ import annotations

import os
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence

import ndsampler
from ndsampler.cli import demo, info, prepare, prune, verify
from ndsampler.cli.arguments import KeyParser
from ndsampler.cli.console import BAD_INPUT, complain, printable
from ndsampler.errors import NDSamplerError

__all__ = ["COMMANDS", "build_parser", "main"]

#: The modules of the commands, in the order of the help page.
COMMANDS = (demo, prepare, info, verify, prune)

#: Exit codes: after Ctrl-C, and when whoever reads the output has enough of it.
INTERRUPTED, CUT_OFF = 130, 141

EPILOG = """\
prepare converts the images of a dataset into the cache of a workdir; info, verify and prune look
after what lies there. Each command has a help page of its own: python -m ndsampler COMMAND --help

exit codes: 0 all is well; 1 something failed or was found, as the help page of the command says;
2 wrong arguments, or input that cannot be used; 130 stopped by Ctrl-C
"""


def build_parser() -> KeyParser:
    """Return the parser of the whole command line.

    Example:
        >>> build_parser().parse_args(['demo', '--samples', '6']).samples
        6
    """
    parser = KeyParser(
        prog="python -m ndsampler",
        description="Fast sampling of windows, with their annotations, from large images.",
        epilog=EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
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
        The exit code: 0 if all went well, 1 where a command found something amiss, 2 for an error that the
        user can mend, which is told in one line on stderr.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 0
    try:
        return int(args.run(args))
    except BrokenPipeError:
        # Nobody reads on, as with `| head`; Python would complain again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CUT_OFF
    except (NDSamplerError, OSError) as ex:
        complain(f"ndsampler: error: {printable(' '.join(str(ex).split()))}")
        return BAD_INPUT
    except KeyboardInterrupt:
        complain("ndsampler: stopped")
        return INTERRUPTED
