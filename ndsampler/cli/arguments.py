"""
How commands are typed, which is as kwcoco's own tools have it.

``--key value`` and ``--key=value``, ``--some_key`` and ``--some-key`` mean the
same. What stands first without a key may be given by its key too, before or after
all others. A switch is ``--flag``, ``--flag=True``, ``--flag=False`` or ``--no-flag``.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What may be written for the value of a switch.
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")

#: Ends the name of the attribute that a positional argument has when it is given by its key.
BY_KEY = "_by_key"


class KeyParser(argparse.ArgumentParser):
    """Parses the words of a command in the manner of kwcoco's tools.

    Example:
        >>> parser = KeyParser()
        >>> add_place(parser, 'workdir', 'where')
        >>> add_switch(parser, 'dry_run', 'only look')
        >>> args = parser.parse_args(['--dry-run=True', '--workdir', 'cache'])
        >>> take_place(args, 'workdir'), args.dry_run
        ('cache', True)
        >>> take_place(parser.parse_args(['cache']), 'workdir')
        'cache'
    """

    _mixing = False

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse words, options and others in any order. See :class:`argparse.ArgumentParser`."""
        if args is None or self._mixing or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        words = [self._normalize(word) for word in args]
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(words, namespace)
        finally:
            self._mixing = False

    def _normalize(self, word: str) -> str:
        """Return an option as it is declared."""
        key, equals, value = word.partition("=")
        if not key.startswith("--") or key == "--":
            return word
        name = "--" + key[2:].replace("-", "_")
        action = self._option_string_actions.get(name)
        if not isinstance(action, _Switch):
            return word if action is None else name + equals + value
        if not equals:
            return name
        if value.lower() not in (*TRUE, *FALSE):
            self.error(f"{name} is {value!r}; expected True or False")
        turned = name == action.option_strings[1]
        return action.option_strings[(value.lower() in FALSE) != turned]


class _Switch(argparse.Action):
    """Turns something on by the first of its option strings, and off by the second."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kw: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=False, **kw)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, option_string == self.option_strings[0])


def add_switch(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    """Add a switch that is off unless it is given.

    Args:
        parser: of the command.
        name: with underscores.
        text: for the help page.
    """
    parser.add_argument(f"--{name}", f"--no_{name}", dest=name, action=_Switch, help=text)


def add_place(parser: argparse.ArgumentParser, name: str, text: str, several: bool = False) -> None:
    """Add an argument that may be given by its place or by its key.

    Args:
        parser: of the command.
        name: of the argument.
        text: for the help page.
        several: whether there may be more than one.
    """
    parser.add_argument(name, nargs="*" if several else "?", default=[] if several else None, help=text)
    parser.add_argument(
        f"--{name}",
        dest=name + BY_KEY,
        nargs="+" if several else None,
        metavar=name.upper(),
        help="the same, by its key",
    )


def take_place(args: argparse.Namespace, name: str, required: bool = True) -> Any:
    """Return an argument of :func:`add_place`.

    Args:
        args: what was parsed.
        name: of the argument.
        required: whether it must have been given.

    Raises:
        ArgumentError: if it was given in both ways, or must be given and is not.
    """
    by_place, by_key = getattr(args, name), getattr(args, name + BY_KEY)
    if by_place and by_key:
        raise ArgumentError(f"{name} is given twice, as {by_place!r} and as --{name} {by_key!r}; drop one")
    if required and not by_place and not by_key:
        raise ArgumentError(f"{name} is missing; see --help")
    return by_place or by_key


def take_rest(args: argparse.Namespace, first: str, rest: str) -> list[str]:
    """Return the arguments of a place that follows another, whichever way they were given.

    Where the first was given by its key, all that stands without a key belongs to the rest.

    Args:
        args: what was parsed; changed so that :func:`take_place` finds the first.
        first: name of the argument before.
        rest: name of an argument of which there may be several.

    Raises:
        ArgumentError: if it was given in both ways.
    """
    if getattr(args, first + BY_KEY) and getattr(args, first):
        getattr(args, rest).insert(0, getattr(args, first))
        setattr(args, first, None)
    return take_place(args, rest, required=False) or []
