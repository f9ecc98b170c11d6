"""
All exceptions of this library.

Each derives from :class:`NDSamplerError` and from the builtin error that a caller would catch, so existing
``except ValueError`` clauses keep working::

    NDSamplerError
    ├── ArgumentError             ValueError       a bad argument of a public call
    │   └── OutOfRangeError       IndexError       ... a position or an axis that does not exist
    ├── ArgumentTypeError         TypeError        an argument of an unsupported type
    ├── TargetError               ValueError       a target that cannot be sampled
    │   └── WindowError                            ... because of its window
    ├── UnknownIdError            KeyError         an image, annotation, video or category id
    │   └── UnknownTargetError    ValueError       ... that a target names: also a TargetError
    ├── UnknownChannelError       KeyError         a channel that an image does not have
    ├── UnknownOptionError        KeyError         a name that is not among the options
    ├── BackendError              ValueError       an unknown backend or setting of one
    ├── AnnotKindError            AssertionError   an unknown kind in ``with_annots``
    ├── OverlapError              AssertionError   windows of two splits share pixels
    ├── MissingNegativePool       AssertionError   no negatives were preselected; also an IndexError
    ├── SourceError               OSError          an image file that cannot be read
    │   ├── MissingSourceError    FileNotFoundError
    │   └── DatasetMismatchError                   the dataset states another size or other bands
    ├── CacheError                OSError          a cache entry that cannot be made or read
    ├── MissingDependencyError    ImportError      a package that must be installed
    ├── UnsupportedTaskError      NotImplementedError  a task or an operation that is not supported
    └── WorkerError               RuntimeError     a worker process of a loader that has ended

Many messages contain names of files, categories and channels, which come from the dataset. Characters that
could control a terminal are escaped when a message is shown; ``error.args`` has the original text.
"""

from __future__ import annotations

import unicodedata

__all__ = [
    "AnnotKindError",
    "ArgumentError",
    "ArgumentTypeError",
    "BackendError",
    "CacheError",
    "DatasetMismatchError",
    "MissingDependencyError",
    "MissingNegativePool",
    "MissingSourceError",
    "NDSamplerError",
    "OutOfRangeError",
    "OverlapError",
    "SourceError",
    "TargetError",
    "UnknownChannelError",
    "UnknownIdError",
    "UnknownOptionError",
    "UnknownTargetError",
    "UnsupportedTaskError",
    "WindowError",
    "WorkerError",
]


#: Characters that file names contain in some languages, although ``str.isprintable`` is False for them.
JOINERS = "\u200c\u200d"


def escape_controls(text: str, keep: str = "\n\t") -> str:
    r"""Escape the characters of a text that could control a terminal or reorder the displayed text.

    Args:
        text: any text.
        keep: control characters to keep.

    Example:
        >>> escape_controls('a\x1b[2J.png'), escape_controls('Größe \u3000 图.png') == 'Größe \u3000 图.png'
        ('a\\x1b[2J.png', True)
    """
    if text.isprintable():
        return text
    return "".join(char if _is_harmless(char) or char in keep else ascii(char)[1:-1] for char in text)


def _is_harmless(char: str) -> bool:
    """Return whether a character is displayed as itself or as a space."""
    return char.isprintable() or char in JOINERS or unicodedata.category(char) == "Zs"


def escape_causes(error: BaseException) -> None:
    """Escape the messages of the causes of an error, which a traceback shows too.

    Args:
        error: an error whose cause is an error of another library.
    """
    cause = error.__cause__ or error.__context__
    if cause is None:
        return
    escaped = tuple(escape_controls(arg) if isinstance(arg, str) else arg for arg in cause.args)
    if escaped != cause.args:
        try:
            cause.args = escaped
        except AttributeError:  # an error of GDAL, which rasterio repeats in its own
            error.__cause__ = error.__context__ = None
    escape_causes(cause)


class NDSamplerError(Exception):
    """Base class of all errors of this library."""

    def __str__(self) -> str:
        # KeyError.__str__ would return the repr of the message, with escaped newlines.
        return escape_controls(Exception.__str__(self))


class ArgumentError(NDSamplerError, ValueError):
    """An argument of a public call has an invalid value."""


class OutOfRangeError(IndexError, ArgumentError):
    """An index is larger than the number of images, targets, categories or axes."""


class ArgumentTypeError(NDSamplerError, TypeError):
    """An argument of a public call has a type that is not supported."""


class TargetError(NDSamplerError, ValueError):
    """A target is incomplete, contradicts itself, or has an invalid value."""


class WindowError(TargetError):
    """The window of a target, or a region, is malformed or too large for memory."""


class UnknownIdError(NDSamplerError, KeyError):
    """The dataset has no image, annotation, video or category with an id."""


class UnknownTargetError(UnknownIdError, TargetError):
    """A target names an annotation or a video that the dataset does not have."""


class UnknownChannelError(NDSamplerError, KeyError):
    """The image has no channel with a name."""


class UnknownOptionError(NDSamplerError, KeyError):
    """A name is not among the supported options."""


class BackendError(NDSamplerError, ValueError):
    """A backend, or a setting of one, is unknown or out of range."""


class AnnotKindError(NDSamplerError, AssertionError):
    """``with_annots`` contains a kind of annotation that does not exist."""


class MissingNegativePool(NDSamplerError, AssertionError, IndexError):
    """A negative was requested by index, but no negatives were preselected."""


class OverlapError(NDSamplerError, AssertionError):
    """Windows of two splits of a dataset share pixels."""


class SourceError(NDSamplerError, OSError):
    """An image file is damaged, has an unknown format, or cannot be read."""


class MissingSourceError(SourceError, FileNotFoundError):
    """An image file, a dataset or a folder does not exist."""


class DatasetMismatchError(SourceError):
    """An image file is intact, but its size or its bands differ from what the dataset states."""


class CacheError(NDSamplerError, OSError):
    """A cache entry cannot be written, verified or opened."""


class MissingDependencyError(NDSamplerError, ImportError):
    """A package that this operation needs is not installed."""


class UnsupportedTaskError(NDSamplerError, NotImplementedError):
    """There is no sampling task with a name, or the object does not support the operation."""


class WorkerError(NDSamplerError, RuntimeError):
    """A worker process of a loader has died, or raised an error that cannot be pickled."""
