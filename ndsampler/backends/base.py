"""
The interface of a storage backend, and the registry that finds one by name.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np

from ndsampler.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

#: Raised whenever entries written by an earlier version must not be read any more.
FORMAT_VERSION = 2

#: Bytes of pixels that are held in memory while an entry is written.
BLOCK_BYTES = 32 * 2**20


class RegionReader(Protocol):
    """An open image that reads windows. It belongs to one thread unless it is ``shareable``."""

    shape: tuple[int, int, int]
    """(height, width, channels) in pixels."""
    dtype: np.dtype[Any]
    """The type of one value."""
    nodata: float | None
    """The value that the file declares to mean "no measurement here", if any."""
    shareable: bool
    """Whether several threads may read at once."""
    nbytes: int
    """Memory held while open, in bytes; 0 for a mere file handle."""
    overviews: tuple[tuple[int, int], ...]
    """(height, width) of the reduced versions that the file holds, each about half of the one before."""

    def read(self, y0: int, y1: int, x0: int, x1: int, bands: Sequence[int] | None = None) -> NDArray[Any]:
        """Return rows y0:y1 and columns x0:x1, which lie inside the image, as an array of its own."""

    def close(self) -> None:
        """Release the file."""


class SourceReader(RegionReader, Protocol):
    """An open source that can be converted."""

    def rows(self, y0: int, y1: int) -> NDArray[Any]:
        """Return rows y0:y1 whole, perhaps as a view that is valid only while the source is open."""


class Backend(ABC):
    """How entries of the frame cache are written and opened.

    Args:
        config: settings of the backend; each key must be one of :attr:`DEFAULTS`.

    Raises:
        BackendError: for an unknown key, or a value that the backend cannot use.
    """

    name: ClassVar[str]
    """What users write as ``backend=``."""
    suffix: ClassVar[str] = ""
    """How the file names of entries end; empty when the backend keeps no entries."""
    maps: ClassVar[bool] = False
    """Whether entries are ``.npy`` files that numpy can map into memory."""
    DEFAULTS: ClassVar[dict[str, Any]] = {}
    """Every setting with its default."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        given = dict(config or {})
        unknown = sorted(set(given) - set(self.DEFAULTS))
        if unknown:
            known = ", ".join(map(repr, self.DEFAULTS)) or "no settings at all"
            raise BackendError(f"backend {self.name!r} has no setting {unknown[0]!r}; it has {known}")
        self.config: dict[str, Any] = {**self.DEFAULTS, **given}
        self.check_config()

    def check_config(self) -> None:
        """Raise a :class:`BackendError` for a setting out of range."""
        return None

    def describe(self) -> str:
        """Return the name, and the settings that are not the defaults, for people to read."""
        changed = [f"{key}={value}" for key, value in self.config.items() if value != self.DEFAULTS[key]]
        return " ".join([self.name, *changed])

    @property
    def caches(self) -> bool:
        """Whether images are converted into entries of a cache."""
        return bool(self.suffix)

    def usable_in_place(self, path: str) -> bool:
        """Whether the source itself reads as fast as an entry would, so that none is written."""
        return not self.caches

    def convert(self, source: SourceReader, dest: str) -> None:
        """Write the pixels of an open source to a new file."""
        raise NotImplementedError(f"backend {self.name!r} keeps no entries")

    def space_needed(self, source: RegionReader) -> int:
        """Return how many bytes the entry of an open source takes at the least; 0 if nobody can tell."""
        return 0

    @property
    def lossless(self) -> bool:
        """Whether an entry holds exactly the pixels of its source."""
        return True

    def is_exact(self, entry: str) -> bool:
        """Whether a certain entry, however this object is set, holds exactly the pixels of its source.

        Args:
            entry: path of the entry.
        """
        return True

    @abstractmethod
    def open(self, path: str, level: int = 0) -> RegionReader:
        """Open an entry, or a source that is usable in place.

        Args:
            path: the file.
            level: 0 for the image itself, n for the n-th of its overviews.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config})"


def row_blocks(source: SourceReader) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield the first row and the pixels of blocks of whole rows, :data:`BLOCK_BYTES` at a time.

    Args:
        source: an open source.
    """
    height, width, channels = source.shape
    step = max(1, BLOCK_BYTES // max(1, width * channels * source.dtype.itemsize))
    for y0 in range(0, height, step):
        yield y0, source.rows(y0, min(y0 + step, height))


def same_pixels(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether two arrays are equal, NaN with NaN.

    Args:
        first: pixels.
        second: pixels.

    Example:
        >>> same_pixels(np.array([np.nan, 1.0]), np.array([np.nan, 1.0]))
        True
    """
    return np.array_equal(first, second, equal_nan=first.dtype.kind in "fc")


BackendType = TypeVar("BackendType", bound=type[Backend])

#: Backends by the name users write. None, no backend, is kept as ``'raw'``.
REGISTRY: dict[str, type[Backend]] = {}


def register(name: str) -> Callable[[BackendType], BackendType]:
    """Return a class decorator that makes a backend known by a name."""

    def enter(cls: BackendType) -> BackendType:
        cls.name = name
        REGISTRY[name] = cls
        return cls

    return enter


def make_backend(spec: Any) -> Backend:
    """Return the backend that a user asked for.

    Args:
        spec: None, ``'npy'``, ``'cog'``, ``'auto'`` (which is ``'cog'``), a :class:`Backend`, or a
            dictionary ``{'type': name, 'config': {...}}``.

    Returns:
        The backend with its settings checked.

    Raises:
        BackendError: for an unknown name, an unknown key or a setting out of range.

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
        # '_hack_use_cli' stands in the documented default; it chose between two
        # writers of an earlier release and means nothing here.
        unknown = sorted(set(spec) - {"type", "config", "_hack_use_cli"})
        if unknown or "type" not in spec:
            raise BackendError(f"backend is {spec!r}; expected a dict with the keys 'type' and 'config'")
        name, config = spec["type"], spec.get("config") or {}
    if name is None:
        name = "raw"
    elif name == "auto":
        name = "cog"
    if not isinstance(name, str) or name not in REGISTRY:
        options = [repr(option) for option in sorted(REGISTRY)]
        close = difflib.get_close_matches(str(name), list(REGISTRY), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise BackendError(
            f"backend is {name!r}; expected None, 'auto', {', '.join(options)}, or a dict{hint}"
        )
    if not isinstance(config, dict):
        raise BackendError(f"the config of backend {name!r} is {config!r}; expected a dict")
    return REGISTRY[name](config)
