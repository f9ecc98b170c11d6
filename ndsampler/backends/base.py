"""
The interface of a storage backend, and the registry of backends by name.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np

from ndsampler.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

#: Version of the names, labels and codecs of entries; increased when entries of earlier versions must not be
#: read any more. Version 2 was that of release 1.0.0.
FORMAT_VERSION = 3

#: Bytes of pixels that are held in memory at a time while an entry is written.
BLOCK_BYTES = 32 * 2**20

#: float64 holds every integer below this one.
LARGEST_EXACT = 2**53


class Stated(NamedTuple):
    """What the dataset states of a file that decides how it is read."""

    channels: int | None = None
    """The number of channels."""
    dims: tuple[int, int] | None = None
    """(height, width) in pixels."""


#: Of a file that the dataset states nothing of.
UNSTATED = Stated()


class RegionReader(Protocol):
    """An open image that reads windows. Only one thread may use it unless it is ``shareable``."""

    shape: tuple[int, int, int]
    """(height, width, channels) in pixels."""
    dtype: np.dtype[Any]
    """Type of the values."""
    nodata: Any
    """The value by which the file marks pixels without a measurement; None for none; a tuple with a value for
    each channel where they differ."""
    shareable: bool
    """Whether several threads may read at the same time."""
    nbytes: int
    """Bytes of memory that the open image holds; 0 if it holds only a file handle."""
    overviews: tuple[tuple[int, int], ...]
    """(height, width) of each overview in the file; each is about half the size of the one before."""

    def read(self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None) -> NDArray[Any]:
        """Return a window inside the image as an array that the caller owns.

        Args:
            y0: first row.
            y1: row after the last.
            x0: first column.
            x1: column after the last.
            bands: indexes of the channels, in the order wanted; all when None.
        """

    def close(self) -> None:
        """Release the file."""


class MaskedReader(RegionReader, Protocol):
    """An open image that may have a mask of valid pixels; a reader without these members has none."""

    has_mask: bool
    """Whether it has one."""
    masks_overviews: bool
    """Whether its overviews have one too."""

    def read_mask(
        self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None
    ) -> NDArray[np.bool_]:
        """Return which pixels of a window are valid.

        Args:
            y0: first row.
            y1: row after the last.
            x0: first column.
            x1: column after the last.
            bands: indexes of the channels; all when None.

        Returns:
            (height, width, 1) for a mask of all channels, else (height, width, channels).
        """


def as_masked(reader: RegionReader) -> MaskedReader | None:
    """Return a reader that has a mask; None for any other.

    Args:
        reader: an open image.
    """
    return reader if getattr(reader, "has_mask", False) else None  # type: ignore[return-value]


class ViewedReader(RegionReader, Protocol):
    """An open image whose pixels lie in memory as they are; any other reader lacks this member."""

    def view(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Return a window without a copy, which must not be changed, nor kept when the reader is closed.

        Args:
            y0: first row.
            y1: row after the last.
            x0: first column.
            x1: column after the last.
        """


def as_viewed(reader: RegionReader) -> ViewedReader | None:
    """Return a reader of pixels that lie in memory; None for any other.

    Args:
        reader: an open image.
    """
    return reader if hasattr(reader, "view") else None  # type: ignore[return-value]


def valid_pixels(
    mask: NDArray[Any] | None, dims: tuple[int, int], bands: Sequence[int] | None
) -> NDArray[np.bool_]:
    """Return which pixels of a window are valid, as :meth:`MaskedReader.read_mask` does.

    Args:
        mask: (height, width, masks) of the window, not 0 where a pixel is valid; None if there is no mask.
        dims: (height, width) of the window.
        bands: indexes of the wanted bands; None for all. One mask holds for all bands.

    Returns:
        A new array of shape (height, width, masks).
    """
    if mask is None:
        return np.ones((*dims, 1), bool)
    chosen = mask if bands is None or mask.shape[2] == 1 else mask[:, :, bands]
    result: NDArray[np.bool_] = np.not_equal(chosen, 0, order="C")
    return result


class SourceReader(RegionReader, Protocol):
    """An open source file that can be converted."""

    def rows(self, y0: int, y1: int) -> NDArray[Any]:
        """Return rows y0:y1 over the full width, possibly as a view, valid until the file is closed."""


class Backend(ABC):
    """How entries of the frame cache are written and opened.

    Args:
        config: settings of the backend; each key must be one of :attr:`DEFAULTS`.

    Raises:
        BackendError: for an unknown key or an invalid value.
    """

    name: ClassVar[str]
    """The name that users pass as ``backend=``."""
    suffix: ClassVar[str] = ""
    """Ending of the file names of entries; empty if the backend writes no entries."""
    maps: ClassVar[bool] = False
    """Whether entries are ``.npy`` files, which numpy can map into memory."""
    DEFAULTS: ClassVar[dict[str, Any]] = {}
    """Every setting and its default."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        given = dict(config or {})
        unknown = sorted(set(given) - set(self.DEFAULTS))
        if unknown:
            known = ", ".join(map(repr, self.DEFAULTS)) or "no settings at all"
            raise BackendError(f"backend {self.name!r} has no setting {unknown[0]!r}; it has {known}")
        self.config: dict[str, Any] = {**self.DEFAULTS, **given}
        self.check_config()

    def check_config(self) -> None:
        """Raise a :class:`BackendError` if a setting has an invalid value."""
        return None

    def describe(self) -> str:
        """Return the name, followed by the settings that differ from the defaults, for messages."""
        settings = self.entry_settings()
        changed = [f"{key}={value}" for key, value in settings.items() if value != self.DEFAULTS[key]]
        return " ".join([self.name, *changed])

    def entry_settings(self) -> dict[str, Any]:
        """Return the settings that entries depend on; entries of different settings have different folders.

        Example:
            >>> 'in_place' in make_backend('cog').entry_settings()
            False
        """
        return {key: value for key, value in self.config.items() if key != "in_place"}

    def check_in_place(self) -> None:
        """Raise a :class:`BackendError` if the setting ``in_place`` has an invalid value."""
        value = self.config["in_place"]
        if not isinstance(value, bool) and value != "auto":
            raise BackendError(f"in_place is {value!r}; expected True, False, or 'auto'")

    @property
    def caches(self) -> bool:
        """Whether images are converted into cache entries."""
        return bool(self.suffix)

    def usable_in_place(self, path: str) -> bool:
        """Whether a source can be read about as fast as an entry, so that none is written.

        Args:
            path: the source file.
        """
        return not self.caches

    def explain_conversion(self, path: str) -> str:
        """Return why a source is converted that could be read in place; empty for any other source.

        Args:
            path: the source file.
        """
        return ""

    def convert(self, source: SourceReader, dest: str) -> None:
        """Write the pixels of a source to a new file.

        Args:
            source: the open source.
            dest: path of the new file.
        """
        raise NotImplementedError(f"backend {self.name!r} writes no entries")

    def space_needed(self, source: RegionReader) -> int:
        """Return the minimum size of an entry in bytes; 0 if it cannot be known before writing.

        Args:
            source: the open source.
        """
        return 0

    @property
    def lossless(self) -> bool:
        """Whether entries hold exactly the pixels of their sources."""
        return True

    def as_lossless(self) -> Backend:
        """Return a backend of the same kind whose entries hold exactly the pixels of their sources."""
        return self

    def is_exact(self, entry: str) -> bool:
        """Whether an existing entry, written with whatever settings, holds exactly the pixels of its source.

        Args:
            entry: path of the entry.
        """
        return True

    @abstractmethod
    def open(self, path: str, level: int = 0) -> RegionReader:
        """Open an entry, or a source that is usable in place.

        Args:
            path: the file.
            level: 0 for the image itself, n for its n-th overview.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config})"


def row_blocks(source: SourceReader) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield the pixels of a source in blocks of rows of at most :data:`BLOCK_BYTES`.

    Args:
        source: the open source.

    Yields:
        The index of the first row, and the (rows, width, channels) pixels.
    """
    for y0, y1 in row_ranges(source.shape, source.dtype.itemsize):
        yield y0, source.rows(y0, y1)


def row_ranges(shape: tuple[int, ...], itemsize: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows that cover an image, each of at most :data:`BLOCK_BYTES` of pixels.

    Args:
        shape: (height, width, channels) of the image.
        itemsize: bytes of a value.

    Yields:
        The first row, and the row after the last.

    Example:
        >>> list(row_ranges((3, 2**20, 3), 8))
        [(0, 1), (1, 2), (2, 3)]
    """
    height, width, channels = shape
    step = max(1, BLOCK_BYTES // max(1, width * channels * itemsize))
    for y0 in range(0, height, step):
        yield y0, min(y0 + step, height)


def same_pixels(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether two arrays are equal; NaN equals NaN.

    Args:
        first: pixels.
        second: pixels.

    Example:
        >>> same_pixels(np.array([np.nan, 1.0]), np.array([np.nan, 1.0]))
        True
    """
    return np.array_equal(first, second, equal_nan=first.dtype.kind in "fc")


BackendType = TypeVar("BackendType", bound=type[Backend])

#: What a backend may be called.
NAME = re.compile(r"[A-Za-z0-9_-]+")

#: The backends by name. ``backend=None`` is registered as ``'raw'``.
REGISTRY: dict[str, type[Backend]] = {}


def register(name: str) -> Callable[[BackendType], BackendType]:
    """Return a class decorator that registers a backend.

    Args:
        name: the name that users pass as ``backend=``: letters, digits, ``_`` and ``-``, because it is the
            name of a folder of entries too.

    Raises:
        BackendError: for any other name.

    Example:
        >>> register('my/format')
        Traceback (most recent call last):
        ndsampler.errors.BackendError: the name of a backend is 'my/format'; expected letters, digits, _ and -
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BackendError(f"the name of a backend is {name!r}; expected letters, digits, _ and -")

    def enter(cls: BackendType) -> BackendType:
        cls.name = name
        REGISTRY[name] = cls
        return cls

    return enter


def make_backend(spec: Any) -> Backend:
    """Return the backend for the argument ``backend`` of a sampler.

    Args:
        spec: None, ``'npy'``, ``'cog'``, ``'auto'`` (which means ``'cog'``), a :class:`Backend`, or a
            dictionary ``{'type': name, 'config': {...}}``.

    Raises:
        BackendError: for an unknown name, an unknown key or an invalid setting.

    Example:
        >>> make_backend('npy').suffix
        '.npy'
        >>> make_backend({'type': 'cog', 'config': {'compress': 'LZW'}}).config['compress']
        'LZW'
    """
    if isinstance(spec, Backend):
        return spec
    config: dict[str, Any] = {}
    name = spec
    if isinstance(spec, dict):
        # The documented default contains '_hack_use_cli', which selected a writer in earlier releases. It has
        # no effect.
        unknown = sorted(set(spec) - {"type", "config", "_hack_use_cli"})
        if unknown or "type" not in spec:
            raise BackendError(f"backend is {spec!r}; expected a dict with the keys 'type' and 'config'")
        name, config = spec["type"], spec.get("config") or {}
    if name is None:
        name = "raw"
    elif name == "auto":
        name = "cog"
    if not isinstance(name, str) or name not in REGISTRY:
        import difflib

        options = [repr(option) for option in sorted(REGISTRY)]
        close = difflib.get_close_matches(str(name), list(REGISTRY), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise BackendError(
            f"backend is {name!r}; expected None, 'auto', {', '.join(options)}, or a dict{hint}"
        )
    if not isinstance(config, dict):
        raise BackendError(f"the config of backend {name!r} is {config!r}; expected a dict")
    return REGISTRY[name](config)
