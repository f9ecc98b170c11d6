"""
The command line: ``ndsampler COMMAND``, or ``python -m ndsampler COMMAND``.

Each command is a module with a function ``add_parser``, which adds the command's options to the parser and
names the function that runs it. :data:`COMMANDS` lists the modules. An error that the user can correct is
printed as one line, with exit code 2. Packages that are slow to load are imported inside the functions that
need them, so that ``--help`` is fast.
"""

from __future__ import annotations

import os
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence

import ndsampler
from ndsampler.cli import demo, info, prepare, prune, show, stats, verify
from ndsampler.cli.arguments import KeyParser, UsageError, did_you_mean
from ndsampler.cli.console import BAD_INPUT, INTERRUPTED, PIPE_CLOSED, complain, escaped_output
from ndsampler.errors import NDSamplerError
from ndsampler.utils.formatting import printable

#: The modules of the commands, in the order of the help page.
COMMANDS = (demo, show, stats, prepare, info, verify, prune)

EPILOG = """\
show draws samples of a dataset, and stats counts its images, classes and boxes. prepare converts
the images of a dataset into the cache of a workdir; info, verify and prune maintain that cache.
Each command has its own help page: ndsampler COMMAND --help

example:
  ndsampler show annotations.json --images pictures --out sheet.png

exit codes: 0 success; 1 something failed or was found (see the help page of the command);
2 wrong arguments, or input that cannot be used; 130 stopped by Ctrl-C
"""


def build_parser() -> KeyParser:
    """Return the parser of the whole command line.

    Example:
        >>> build_parser().parse_args(['demo', '--samples', '6']).samples
        6
    """
    parser = KeyParser(
        prog="ndsampler",
        description="Fast sampling of windows, with their annotations, from large images.",
        epilog=EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ndsampler {ndsampler.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for command in COMMANDS:
        command.add_parser(commands)
    for command_parser in commands.choices.values():
        command_parser.set_defaults(parser=command_parser)
    return parser


def check_command(parser: KeyParser, words: Sequence[str]) -> None:
    """End the program with an error if the first word is not a command, and suggest the closest one.

    Args:
        parser: parser of the whole command line.
        words: the arguments after the name of the program.
    """
    names = [command.__name__.rpartition(".")[2] for command in COMMANDS]
    if words and not words[0].startswith("-") and words[0] not in names:
        known = ", ".join(names)
        parser.error(
            f"there is no command {words[0]}{did_you_mean(words[0], names) or ';'} the commands are {known}"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments after the name of the program; by default those of this process.

    Returns:
        The exit code: 0 for success, 1 if the command failed or found something, 2 for an error that the
        user can correct. The error is printed as one line on stderr.
    """
    with escaped_output():
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    """Run a command, and return its exit code."""
    parser = build_parser()
    words = sys.argv[1:] if argv is None else list(argv)
    check_command(parser, words)
    args = parser.parse_args(words)
    if args.command is None:
        parser.print_help()
        return 0
    try:
        return int(args.run(args))
    except BrokenPipeError:
        # The reader has closed the pipe, as `| head` does. Without this, Python reports an error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except UsageError as ex:
        args.parser.print_usage(sys.stderr)
        complain(f"{args.parser.prog}: error: {printable(ex)}")
        return BAD_INPUT
    except (NDSamplerError, OSError) as ex:
        complain(f"ndsampler: error: {printable(' '.join(str(ex).split()))}")
        return BAD_INPUT
    except KeyboardInterrupt:
        complain("ndsampler: stopped")
        return INTERRUPTED
