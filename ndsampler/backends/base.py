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

#: Version of the names, labels and codecs of entries. Increase it when this library must no longer read
#: entries of earlier versions. Release 1.0.0 wrote version 2.
FORMAT_VERSION = 3

#: Maximum size in bytes of the block of pixels that is held in memory while an entry is written.
BLOCK_BYTES = 32 * 2**20

#: float64 represents every integer below this limit exactly.
LARGEST_EXACT = 2**53


class Stated(NamedTuple):
    """The facts that a dataset states about a file and that decide how the file is read."""

    channels: int | None = None
    """The number of channels."""
    dims: tuple[int, int] | None = None
    """(height, width) in pixels."""


#: For a file about which the dataset states nothing.
UNSTATED = Stated()


class RegionReader(Protocol):
    """An open image that reads windows. Only one thread may use it unless it is ``shareable``."""

    shape: tuple[int, int, int]
    """(height, width, channels) in pixels."""
    dtype: np.dtype[Any]
    """Type of the values."""
    nodata: Any
    """The value that marks pixels without a measurement; a tuple with a value for each channel if they
    differ; None if the file has no such value."""
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
            bands: indexes of the channels in the order of the result; None for all channels.
        """

    def close(self) -> None:
        """Release the file."""


class MaskedReader(RegionReader, Protocol):
    """An open image that may have a mask of valid pixels. A reader without these members has no mask."""

    has_mask: bool
    """Whether the image has a mask."""
    masks_overviews: bool
    """Whether its overviews have masks too."""

    def read_mask(
        self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None
    ) -> NDArray[np.bool_]:
        """Return which pixels of a window are valid.

        Args:
            y0: first row.
            y1: row after the last.
            x0: first column.
            x1: column after the last.
            bands: indexes of the channels; None for all channels.

        Returns:
            An array of shape (height, width, 1) if one mask applies to all channels, otherwise of shape
            (height, width, channels).
        """


def as_masked(reader: RegionReader) -> MaskedReader | None:
    """Return the reader if its image has a mask; otherwise None.

    Args:
        reader: an open image.
    """
    return reader if getattr(reader, "has_mask", False) else None  # type: ignore[return-value]


class ViewedReader(RegionReader, Protocol):
    """An open image whose uncompressed pixels are mapped into memory. Other readers lack this member."""

    def view(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Return a view of a window. The caller must not change it, nor use it once the reader is closed.

        Args:
            y0: first row.
            y1: row after the last.
            x0: first column.
            x1: column after the last.
        """


def as_viewed(reader: RegionReader) -> ViewedReader | None:
    """Return the reader if it can return views of its pixels; otherwise None.

    Args:
        reader: an open image.
    """
    return reader if hasattr(reader, "view") else None  # type: ignore[return-value]


def valid_pixels(
    mask: NDArray[Any] | None, dims: tuple[int, int], bands: Sequence[int] | None
) -> NDArray[np.bool_]:
    """Return which pixels of a window are valid, as :meth:`MaskedReader.read_mask` does.

    Args:
        mask: (height, width, masks) array of the window, nonzero where a pixel is valid; None if the image
            has no mask. A single mask applies to all bands.
        dims: (height, width) of the window in pixels.
        bands: indexes of the wanted bands; None for all bands.

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
        """Return rows y0:y1 at full width. The array may be a view that is valid until the file is closed."""


class Backend(ABC):
    """Writes and opens entries of the frame cache.

    Args:
        config: settings of the backend; each key must be one of :attr:`DEFAULTS`.

    Raises:
        BackendError: for an unknown key or an invalid value.
    """

    name: ClassVar[str]
    """The name that users pass as ``backend=``."""
    suffix: ClassVar[str] = ""
    """File name extension of entries; empty if the backend writes no entries."""
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
        """Return the name, followed by the settings that differ from the defaults. Messages show it."""
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
        """Whether a source can be read about as fast as an entry, so that it needs no entry.

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
        """Return the minimum size of an entry in bytes; 0 if it is not known before the entry is written.

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
        """Whether an existing entry holds exactly the pixels of its source, whatever settings it has.

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
        itemsize: size of a value in bytes.

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

#: Pattern of valid backend names.
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
        # The documented default of earlier releases contains '_hack_use_cli', which selected a writer. It no
        # longer has an effect.
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
