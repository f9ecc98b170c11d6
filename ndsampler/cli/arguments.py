"""
Parses the arguments of commands in the same style as kwcoco's tools.

``--key value`` and ``--key=value`` are equivalent, and so are ``--some_key`` and ``--some-key``. A positional
argument may also be given as an option, before or after all others. A switch is written ``--flag``,
``--flag=True``, ``--flag=False`` or ``--no-flag``.
"""

from __future__ import annotations

import argparse
import difflib
import os
from typing import TYPE_CHECKING, Any

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ndsampler.cache.usage import Sources

#: The values that a switch accepts.
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")

#: Suffix of the attribute that holds a positional argument if it was given as an option.
BY_KEY = "_by_key"


class KeyParser(argparse.ArgumentParser):
    """Parses the arguments of a command in the same style as kwcoco's tools.

    Example:
        >>> parser = KeyParser()
        >>> add_positional(parser, 'workdir', 'folder of the cache')
        >>> add_switch(parser, 'dry_run', 'change nothing')
        >>> args = parser.parse_args(['--dry-run=True', '--workdir', 'cache'])
        >>> take_positional(args, 'workdir'), args.dry_run
        ('cache', True)
        >>> take_positional(parser.parse_args(['cache']), 'workdir')
        'cache'
    """

    _mixing = False

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse options and positional arguments in any order. See :class:`argparse.ArgumentParser`."""
        if args is None or self._mixing or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        words = [self._normalize(word) for word in args]
        self._mixing = True
        try:
            parsed, rest = self.parse_known_intermixed_args(words, namespace)
        finally:
            self._mixing = False
        if rest:
            self.error(self._describe_unknown(rest))
        return parsed, rest

    def _describe_unknown(self, words: Sequence[str]) -> str:
        """Return the error message for arguments that the command does not accept."""
        name = words[0].partition("=")[0]
        if not name.startswith("-"):
            return f"unexpected argument{'s' * (len(words) > 1)}: {' '.join(words)}"
        known = [option for option in self._option_string_actions if option.startswith("--")]
        return (
            f"there is no option {name}{did_you_mean(name.replace('-', '_').replace('__', '--', 1), known)}"
        )

    def _normalize(self, word: str) -> str:
        """Return an option in its declared spelling."""
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
        negated = name == action.option_strings[1]
        return action.option_strings[(value.lower() in FALSE) != negated]


class UsageError(ArgumentError):
    """The arguments of a command contradict each other. Its usage is printed with the message."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message that suggests the most similar known word; empty if none is similar.

    Args:
        word: the word that was typed.
        known: the valid words.

    Example:
        >>> did_you_mean('prepair', ['prepare', 'prune']), did_you_mean('xyz', ['prepare', 'prune'])
        ('; did you mean prepare?', '')
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


class _Switch(argparse.Action):
    """Stores True for the first of its option strings and False for the second."""

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
    """Add a switch that is off by default.

    Args:
        parser: parser of the command.
        name: name of the switch, with underscores.
        text: its description on the help page.
    """
    parser.add_argument(f"--{name}", f"--no_{name}", dest=name, action=_Switch, help=text)


def add_positional(parser: argparse.ArgumentParser, name: str, text: str, several: bool = False) -> None:
    """Add a positional argument that may also be given as an option.

    Args:
        parser: parser of the command.
        name: name of the argument.
        text: its description on the help page.
        several: whether it takes several values.
    """
    parser.add_argument(name, nargs="*" if several else "?", default=[] if several else None, help=text)
    parser.add_argument(
        f"--{name}",
        dest=name + BY_KEY,
        nargs="+" if several else None,
        metavar=name.upper(),
        help="the same, as an option",
    )


def take_positional(args: argparse.Namespace, name: str, required: bool = True) -> Any:
    """Return the value of an argument of :func:`add_positional`.

    Args:
        args: the parsed arguments.
        name: name of the argument.
        required: whether the argument must be given.

    Raises:
        UsageError: if the argument was given in both ways, or is required and missing.
    """
    positional, by_key = getattr(args, name), getattr(args, name + BY_KEY)
    if positional and by_key:
        raise UsageError(f"{name} is given twice, as {positional!r} and as --{name} {by_key!r}; drop one")
    if required and not positional and not by_key:
        raise UsageError(f"{name} is missing")
    return positional or by_key


def take_rest(args: argparse.Namespace, first: str, rest: str) -> list[str]:
    """Return the values of a positional argument that follows another one.

    If the first was given as an option, all positional arguments belong to the rest.

    Args:
        args: the parsed arguments. They are changed so that :func:`take_positional` finds the first.
        first: name of the argument before.
        rest: name of the argument, which takes several values.

    Raises:
        UsageError: if the argument was given in both ways.
    """
    if getattr(args, first + BY_KEY) and getattr(args, first):
        getattr(args, rest).insert(0, getattr(args, first))
        setattr(args, first, None)
    return take_positional(args, rest, required=False) or []


def add_images(add: Any, of: str) -> None:
    """Add the option ``--images``, the folder of the images of a dataset.

    Args:
        add: ``add_argument`` of the parser of the command.
        of: name of the argument for the dataset, as shown on the help page.
    """
    text = f"folder of the images of {of}, if it differs from the folder of the dataset"
    add("--images", type=_folder, metavar="DIR", help=text)


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Add the argument ``src``, which names a dataset, and the option ``--images``.

    Args:
        parser: the parser of the command.
    """
    add_positional(parser, "src", "the dataset, an MS-COCO or kwcoco file")
    add_images(parser.add_argument, "src")


def add_window(add: Any) -> None:
    """Add the option ``--window``, the size of a window, which is None by default.

    Args:
        add: ``add_argument`` of the parser of the command.
    """
    text = "side of a window in pixels, or HEIGHTxWIDTH (default: a suitable size)"
    add("--window", type=parse_window, metavar="PIXELS", help=text)


def parse_window(text: str) -> tuple[int, int]:
    """Return the height and width of a window in an option.

    Args:
        text: one number for both, or HEIGHTxWIDTH.

    Raises:
        argparse.ArgumentTypeError: for anything else.

    Example:
        >>> parse_window("256"), parse_window("256x512")
        ((256, 256), (256, 512))
    """
    parts = text.lower().split("x")
    if len(parts) not in {1, 2} or not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text} is not a size; expected 256 or 256x512, height first")
    return int(parts[0]), int(parts[-1])


def _folder(text: str) -> str:
    """Return the path of an existing folder."""
    if not os.path.isdir(os.path.expanduser(text)):
        hint = "; to limit the number of images, use --max_images" if text.lstrip("-").isdigit() else ""
        raise argparse.ArgumentTypeError(f"{text} is not a folder; expected the folder of the images{hint}")
    return text


def open_sources(paths: Sequence[str], images: str | None = None) -> Sources:
    """Return the source files of some datasets.

    Args:
        paths: paths of MS-COCO or kwcoco datasets.
        images: folder of the images of all datasets; by default, the folder of each dataset's file.

    Raises:
        MissingSourceError: if a dataset does not exist.
        ArgumentError: if a file is not a dataset, or has no images.
    """
    from ndsampler.cache.usage import Sources
    from ndsampler.coco_frames import CocoFrames
    from ndsampler.dataset.opening import open_dataset

    return Sources(CocoFrames(open_dataset(path, images), backend=None) for path in paths)
