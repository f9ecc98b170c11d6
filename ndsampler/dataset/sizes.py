"""
Reading image sizes that the dataset does not state from the headers of the files.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ndsampler.backends.base import Stated
from ndsampler.backends.dims import read_dims
from ndsampler.dataset.entries import list_files
from ndsampler.dataset.kwcoco_adapter import UNSIZED_QUERY, is_view
from ndsampler.dataset.missing_file import describe_missing
from ndsampler.dataset.sql_view import fetch
from ndsampler.errors import MissingSourceError, SourceError
from ndsampler.utils.fork_safety import GATE
from ndsampler.utils.logs import get_logger
from ndsampler.utils.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

    Dims: TypeAlias = tuple[int, int]
    Failure: TypeAlias = tuple[str, SourceError]
    FileKey: TypeAlias = tuple[str, int | None]

__all__ = ["SizeSource"]

logger = get_logger(__name__)

#: Number of headers that are read at the same time; most of the time is spent waiting for the disk or
#: network.
THREADS = 16

#: Smallest number of files for which a progress bar is shown.
MANY_FILES = 100


@dataclass(frozen=True)
class _Unsized:
    """A file whose size the dataset does not state."""

    gid: Any
    """Id of the image that the file belongs to."""

    path: str
    """Absolute path."""

    is_image: bool
    """False for an asset or auxiliary file."""

    entry: dict[str, Any] | None
    """The dictionary to store the size in; None for a view of a database, which is read-only."""

    @property
    def key(self) -> tuple[str, int | None]:
        """The path, and the stated number of channels, which decides how pages are read."""
        channels = None if self.entry is None else self.entry.get("channels")
        return self.path, _count_channels(channels)


@dataclass
class SizeSource:
    """Reads image sizes that the dataset does not state from the files of the images.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
        folder: folder to which file names are relative; None for the folder of the dataset.
        verbose: whether to show a progress bar for many files; on a terminal it is always shown.

    Example:
        >>> import tempfile
        >>> import kwcoco, numpy as np
        >>> path = f'{tempfile.mkdtemp()}/a.npy'
        >>> np.save(path, np.zeros((3, 4)))
        >>> dset = kwcoco.CocoDataset({'images': [{'id': 1, 'file_name': path}]})
        >>> SizeSource(dset).fill([1])
        ({1: (3, 4)}, {})
        >>> dset.imgs[1]['width']
        4
    """

    dset: Any
    folder: str | None = None
    verbose: int = 0

    @property
    def root(self) -> str:
        """The folder to which file names are relative."""
        return os.path.abspath(self.dset.bundle_dpath if self.folder is None else self.folder)

    def fill(self, gids: Iterable[Any]) -> tuple[dict[Any, Dims], dict[Any, Failure]]:
        """Read all missing sizes, and store them in the dataset unless it is a view.

        If an image has no size, the sizes of its assets are read and stored too, as in earlier releases.

        Args:
            gids: ids of the images whose sizes are returned.

        Returns:
            Two dictionaries by image id: the (height, width) of each image whose size is now known, and the
            path and the reason for each file that cannot be read.
        """
        wanted = list(self._unsized())
        found = self._read({file.key for file in wanted})
        sizes: dict[Any, Dims] = {}
        failures: dict[Any, Failure] = {}
        for file in wanted:
            dims = found[file.key]
            if isinstance(dims, SourceError):
                if file.is_image:
                    failures[file.gid] = (file.path, dims)
            elif file.entry is not None:
                file.entry["width"], file.entry["height"] = dims[1], dims[0]
            else:
                sizes[file.gid] = dims
        if not is_view(self.dset):
            # Read the dataset again, because the program may have stored sizes itself in the meantime.
            stated = ((gid, _stated_dims(self.dset.imgs.get(gid, {}))) for gid in gids)
            sizes = {gid: dims for gid, dims in stated if dims}
        return sizes, failures

    def explain(self, gid: Any, failure: Failure | None, count: int = 1) -> SourceError:
        """Return the error for an image without a size.

        Args:
            gid: id of the image.
            failure: the path and the reason why the size cannot be read; None for an image without a file.
            count: number of images without a size, including this one.
        """
        which = f"image {gid} and {count - 1} more have" if count > 1 else f"image {gid} has"
        text = f"{which} no width and height in the dataset, and "
        if failure is None:
            return SourceError(f"{text}no file of its own; add both to the dataset, in pixels")
        path, error = failure
        if isinstance(error, MissingSourceError):
            return MissingSourceError(text + describe_missing(path, self.root))
        return SourceError(f"{text}{error}; add both to the dataset, or remove the image")

    def _unsized(self) -> Iterator[_Unsized]:
        """Yield the files whose size is not stated; nothing if the sizes of all images are stated."""
        root = self.root
        if is_view(self.dset):
            for rows in fetch(self.dset, UNSIZED_QUERY):
                for gid, name in rows:
                    yield _Unsized(gid, os.path.abspath(os.path.join(root, name)), True, None)
            return
        images = self.dset.imgs
        if all(map(_stated_dims, images.values())):
            return
        for gid, img in images.items():
            for path, entry in list_files(gid, img, root):
                if not _stated_dims(entry):
                    yield _Unsized(gid, os.path.abspath(path), entry is img, entry)

    def _read(self, keys: set[FileKey]) -> dict[FileKey, Dims | SourceError]:
        """Return the size of each file, or the error if it cannot be read."""
        if not keys:
            return {}
        ordered = sorted(keys, key=str)
        shows = len(ordered) >= MANY_FILES and (self.verbose or sys.stderr.isatty())
        logger.info("reading the sizes of %d images from their files", len(ordered))
        progress = progress_bar(
            total=len(ordered), desc="read image sizes", stream=sys.stderr, verbose=bool(shows)
        )
        found: dict[FileKey, Dims | SourceError] = {}
        # Let other threads fork in the meantime, because reading many headers takes long.
        with progress, GATE.step_out():
            threads = ThreadPoolExecutor(min(THREADS, len(ordered)))
            try:
                for key, dims in zip(ordered, threads.map(_dims_or_error, ordered)):
                    found[key] = dims
                    progress.step()
            finally:
                threads.shutdown(cancel_futures=True)
        return found


def _count_channels(code: Any) -> int | None:
    """Return the number of channels of a code such as ``'r|g|b'``; None if it is missing or malformed."""
    if code is None:
        return None
    from delayed_image.channel_spec import FusedChannelSpec

    try:
        return int(FusedChannelSpec.coerce(code).numel())
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        # Building the layout of the image raises an error with the reason.
        return None


def _dims_or_error(key: FileKey) -> Dims | SourceError:
    """Return the size of a file, or the error if it cannot be read."""
    path, channels = key
    try:
        return read_dims(path, Stated(channels))
    except SourceError as ex:
        return ex


def _stated_dims(entry: dict[str, Any]) -> Dims | None:
    """Return the stated (height, width) of an image or asset; None if one of them is missing."""
    height, width = entry.get("height"), entry.get("width")
    return None if height is None or width is None else (height, width)
