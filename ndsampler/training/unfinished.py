"""
Writes a map in a folder next to it, so that a run that was killed can be resumed.

The folder contains the finished rows of tiles, and a file with their number and their source. The folder is
locked while a process writes the map. It is removed when the map is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.gdal_georeference import Georeference, write_georeference
from ndsampler.backends.gdal_write import SMALLEST_OVERVIEW, encode_tiff, encoder_threads
from ndsampler.backends.tile_file import TILE, TileFile, TileRows
from ndsampler.cache.locks import LockFile, LocksUnavailableError
from ndsampler.errors import ArgumentError, MissingSourceError
from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["UnfinishedMap"]

logger = get_logger(__name__)

#: Suffix that is appended to the path of a map for the folder in which it is written.
SUFFIX = ".partial"

#: Names of the files in the folder.
_LOCK, _STATE, _TILES, _MAP = "lock", "state.json", "tiles.tif", "map.tif"

#: The most characters of the state, and the most bands of a map, which is what a TIFF can have.
_MAX_STATE, _MAX_BANDS = 2**26, 65_535

#: Options of GDAL's COG driver.
_OPTIONS = {"COMPRESS": "ZSTD", "LEVEL": "1", "PREDICTOR": "YES", "BLOCKSIZE": "512", "BIGTIFF": "IF_SAFER"}


class UnfinishedMap:
    """The folder of a map that one process writes.

    Args:
        path: path of the map.
        plan: a description of the map's inputs that JSON can store. Rows of another plan are discarded.
        dims: (height, width) of the map.

    Raises:
        MissingSourceError: if the folder of the map does not exist.
        ArgumentError: if the path is a folder, another process writes the same map, or its folder holds what
            a run of this user has not made.
    """

    def __init__(self, path: str, plan: dict[str, Any], dims: tuple[int, int]) -> None:
        self.path = os.path.abspath(path)
        self._plan = plan
        self._dims = dims
        self.folder = self.path + SUFFIX
        self._lock = _lock_folder(self.path, self.folder)
        self._state = self._load_state()
        self._file: TileFile | None = None
        self._rows: TileRows | None = None
        # Rows are written while the next ones are computed.
        self._writer = ThreadPoolExecutor(1, "ndsampler-map")
        self._writing: Future[None] | None = None
        if self._state is not None:
            self._open(self._state["bands"], np.dtype(self._state["dtype"]))

    def close(self) -> None:
        """Wait until pending rows are written, and release the lock of the map."""
        self._writer.shutdown()
        self._lock.close()

    @property
    def rows_done(self) -> int:
        """Number of finished rows of the map, from the top."""
        return 0 if self._state is None else min(self._state["tile_rows"] * TILE, self._dims[0])

    @property
    def values(self) -> tuple[int, np.dtype[Any]] | None:
        """Number of bands of the map and type of its values; None before the first window."""
        return None if self._file is None else (self._file.shape[2], self._file.dtype)

    def begin(self, bands: int, dtype: np.dtype[Any]) -> None:
        """Create the file of the tiles.

        Args:
            bands: number of values of a pixel.
            dtype: type of the values.
        """
        self._state = {"plan": self._plan, "bands": bands, "dtype": dtype.name, "tile_rows": 0}
        self._open(bands, dtype)
        self._save_state()

    def append(self, rows: NDArray[Any]) -> None:
        """Wait until the previous rows are written, and start to write the next rows of the map.

        Args:
            rows: (n, width, bands) values, which must not be modified before the next call has returned.

        Raises:
            OSError: if the previous rows could not be written, for example because the disk is full.
        """
        self._wait()
        self._writing = self._writer.submit(self._write, rows)

    def _wait(self) -> None:
        """Wait until the rows that were appended are written."""
        if self._writing is not None:
            self._writing.result()

    def _write(self, rows: NDArray[Any]) -> None:
        """Write the rows that complete a row of tiles, and keep the others."""
        assert self._rows is not None
        assert self._state is not None
        for tile_rows in self._rows.append(rows):
            self._state["tile_rows"] = tile_rows
            self._save_state()

    def finish(self, georeference: Georeference, resampling: str) -> None:
        """Write the map from the finished rows, move it to its path, and remove the folder.

        Args:
            georeference: georeference of the map.
            resampling: GDAL's name of the resampling method for the overviews.

        Raises:
            CacheError: if the map cannot be written, for example because the disk is full.
        """
        self._wait()
        assert self._file is not None
        self._file.keep(self._file.tile_rows)  # remove the overviews of a run that was killed here
        if georeference:
            write_georeference(self._file.path, georeference)
        options = {**_OPTIONS, "NUM_THREADS": encoder_threads()}
        if max(self._dims) <= SMALLEST_OVERVIEW:
            options["OVERVIEWS"] = "NONE"
        else:
            options.update(OVERVIEWS="IGNORE_EXISTING", OVERVIEW_RESAMPLING=resampling)
        made = os.path.join(self.folder, _MAP)
        encode_tiff(self._file.path, made, options)
        os.replace(made, self.path)
        self._remove()

    def _open(self, bands: int, dtype: np.dtype[Any]) -> None:
        """Open the file of the tiles, and truncate it to the rows that are known to be complete."""
        assert self._state is not None
        self._file = TileFile(os.path.join(self.folder, _TILES), (*self._dims, bands), dtype)
        self._file.keep(self._state["tile_rows"])
        self._rows = TileRows(self._file, self._state["tile_rows"])

    def _load_state(self) -> dict[str, Any] | None:
        """Return the state of an unfinished run with the same plan; None if there is none."""
        try:
            with open(os.path.join(self.folder, _STATE), encoding="utf-8") as file:
                state: dict[str, Any] = json.loads(file.read(_MAX_STATE))
            known = state["plan"] == self._plan
            bands, tile_rows, dtype = state["bands"], state["tile_rows"], np.dtype(state["dtype"])
            tiles = TileFile(os.path.join(self.folder, _TILES), (*self._dims, bands), dtype)
            if (type(bands), type(tile_rows)) != (int, int) or dtype.kind not in "iufcb":
                raise ValueError("it has values of other types")
            if not (0 < bands <= _MAX_BANDS and 0 <= tile_rows <= tiles.tile_rows):
                raise ValueError(f"it states {bands} bands and {tile_rows} rows of tiles")
            whole = os.path.getsize(tiles.path) >= tiles.size_of(tile_rows)
        except FileNotFoundError:
            return None
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as ex:
            logger.warning("%s is started over: its state cannot be read: %s", self.path, ex)
            return None
        if not (known and whole):
            logger.warning("%s is started over: the unfinished map had other inputs", self.path)
            return None
        logger.info("%s is resumed after %d rows", self.path, state["tile_rows"] * TILE)
        return state

    def _save_state(self) -> None:
        """Write the state atomically."""
        path = os.path.join(self.folder, _STATE)
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(self._state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".new", path)

    def _remove(self) -> None:
        """Remove the folder, unless it contains other files."""
        for name in (_TILES, _STATE, f"{_STATE}.new", _LOCK):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, name))
        try:
            os.rmdir(self.folder)
        except OSError as ex:
            logger.warning("%s is not removed: %s", self.folder, ex)


def _lock_folder(path: str, folder: str) -> LockFile:
    """Make the folder of a map and return its lock file, locked if the file system supports locks."""
    above = os.path.dirname(path)
    if not os.path.isdir(above):
        raise MissingSourceError(f"out is {path!r}, but the folder {above} does not exist; create it first")
    if os.path.isdir(path):
        raise ArgumentError(f"out is {path!r}, which is a folder; expected the path of a file")
    os.makedirs(folder, exist_ok=True)
    _check_folder(folder)
    lock = LockFile(os.path.join(folder, _LOCK))
    try:
        free = lock.acquire()
    except LocksUnavailableError as ex:
        logger.debug("%s is written without a lock: %s", path, ex)
        free = True
    if not free or not lock.is_in_place():
        lock.close()
        raise ArgumentError(f"{path} is being written by another process; wait for it, or choose another out")
    return lock


def _check_folder(folder: str) -> None:
    """Refuse a folder of a map, or a file in it, that this user's runs have not made.

    What is written to a link changes another file, and reading a pipe may never end.

    Raises:
        ArgumentError: if the folder is a link or belongs to another user, or holds a link, pipe or the like.
    """
    stat = os.lstat(folder)
    owners = {0, os.geteuid()} if hasattr(os, "geteuid") else {stat.st_uid}
    wrong = [] if S_ISDIR(stat.st_mode) and stat.st_uid in owners else [folder]
    for name in (_STATE, f"{_STATE}.new", _TILES, _MAP):
        path = os.path.join(folder, name)
        with contextlib.suppress(FileNotFoundError):
            stat = os.lstat(path)
            if not S_ISREG(stat.st_mode) or stat.st_nlink > 1 or stat.st_uid not in owners:
                wrong.append(path)
    if wrong:
        raise ArgumentError(
            f"{wrong[0]} is a link, a pipe or the like, or belongs to another user; expected what a run that "
            f"was stopped has left. Remove {folder}, or choose another out"
        )
