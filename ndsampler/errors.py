"""
All exceptions of this library.

Each derives from :class:`NDSamplerError` and from the builtin error that a caller would catch, so existing
``except ValueError`` clauses keep working::

    NDSamplerError
    ├── ArgumentError             ValueError       a bad argument of a public call
    │   └── OutOfRangeError       IndexError       an index or an axis that does not exist
    ├── ArgumentTypeError         TypeError        an argument of an unsupported type
    ├── TargetError               ValueError       a target that cannot be sampled
    │   └── WindowError                            a target with an invalid window
    ├── UnknownIdError            KeyError         an unknown image, annotation, video or category id
    │   └── UnknownTargetError    ValueError       an unknown id in a target; also a TargetError
    ├── UnknownChannelError       KeyError         a channel that an image does not have
    ├── UnknownOptionError        KeyError         a name that is not among the options
    ├── BackendError              ValueError       an unknown backend, or a wrong setting of a backend
    ├── AnnotKindError            AssertionError   an unknown kind in ``with_annots``
    ├── OverlapError              AssertionError   windows of two splits share pixels
    ├── MissingNegativePool       AssertionError   no negatives were preselected; also an IndexError
    ├── SourceError               OSError          an image file that cannot be read
    │   ├── MissingSourceError    FileNotFoundError
    │   └── DatasetMismatchError                   its size or bands differ from those in the dataset
    ├── CacheError                OSError          a cache entry that cannot be made or read
    ├── MissingDependencyError    ImportError      a package that must be installed
    ├── UnsupportedTaskError      NotImplementedError  a task or an operation that is not supported
    └── WorkerError               RuntimeError     a worker process of a loader that has ended

Many messages contain names of files, categories and channels from the dataset. When a message is shown,
characters that could control a terminal are escaped; ``error.args`` has the original text.
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


#: Characters that occur in file names in some languages although Python does not consider them printable.
JOINERS = "\u200c\u200d"


def escape_controls(text: str, keep: str = "\n\t") -> str:
    r"""Return text with escaped characters where they could control a terminal or reorder displayed text.

    Args:
        text: any text.
        keep: control characters that are not escaped.

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
    """Escape the messages of an error's causes, because a traceback shows them too.

    Args:
        error: an error that was raised because of an error of another library.
    """
    cause = error.__cause__ or error.__context__
    if cause is None:
        return
    escaped = tuple(escape_controls(arg) if isinstance(arg, str) else arg for arg in cause.args)
    if escaped != cause.args:
        try:
            cause.args = escaped
        except AttributeError:  # a GDAL error, whose message the rasterio error repeats
            error.__cause__ = error.__context__ = None
    escape_causes(cause)


class NDSamplerError(Exception):
    """Base class of all errors that this library raises on purpose."""

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
    """The dataset has no image, annotation, video or category with the given id."""


class UnknownTargetError(UnknownIdError, TargetError):
    """A target names an annotation or a video that the dataset does not have."""


class UnknownChannelError(NDSamplerError, KeyError):
    """The image has no channel with the given name."""


class UnknownOptionError(NDSamplerError, KeyError):
    """A name is not among the supported options."""


class BackendError(NDSamplerError, ValueError):
    """A backend is unknown, or a setting of a backend is unknown or out of range."""


class AnnotKindError(NDSamplerError, AssertionError):
    """``with_annots`` requests a kind of annotation that does not exist."""


class MissingNegativePool(NDSamplerError, AssertionError, IndexError):
    """A negative was requested by index before negatives were preselected."""


class OverlapError(NDSamplerError, AssertionError):
    """Windows of two splits of a dataset share pixels."""


class SourceError(NDSamplerError, OSError):
    """An image file is damaged, has an unknown format, or cannot be read."""


class MissingSourceError(SourceError, FileNotFoundError):
    """An image file, a dataset or a folder does not exist."""


class DatasetMismatchError(SourceError):
    """An image file is intact, but its size or its bands differ from those in the dataset."""


class CacheError(NDSamplerError, OSError):
    """A cache entry cannot be written, verified or opened."""


class MissingDependencyError(NDSamplerError, ImportError):
    """A package that this operation needs is not installed."""


class UnsupportedTaskError(NDSamplerError, NotImplementedError):
    """There is no sampling task with the given name, or the object does not support the operation."""


class WorkerError(NDSamplerError, RuntimeError):
    """A worker process of a loader has died, or raised an error that cannot be pickled."""
