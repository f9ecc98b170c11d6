"""What a call asks of the system: files opened, blocks decoded, bytes read, functions called."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Where Linux tells how many system calls of this process have read how many bytes.
IO_FILE = "/proc/self/io"


@dataclass
class Counts:
    """What one call took. A count is None where the system does not tell it."""

    opens: int = 0
    """Files of the data that Python opened, to read or to write."""
    handles: int = 0
    """Files, also in memory, that GDAL opened, to read or to write."""
    blocks: int = 0
    """Blocks that the windows asked of GDAL touch, each as often as it is asked for."""
    decoded: int = 0
    """Those of them that their handle had not read before, and so had to decode."""
    reads: int | None = None
    """System calls that read, by Python, GDAL or OpenCV; None if modules are imported. Maps need none."""
    bytes: int | None = None
    """Bytes that these calls read."""
    calls: int = 0
    """Functions written in Python that the main thread called."""
    modules: int = 0
    """Modules that were imported, those of Python's own library left out."""

    def as_dict(self) -> dict[str, int | None]:
        """The counts by name."""
        return asdict(self)


class BlockLog:
    """The blocks that a handle of GDAL has read. None is forgotten: the block cache holds a small file.

    Args:
        dims: (height, width) of the image in pixels.
        block: (height, width) of a block in pixels.
        planar: whether each band has blocks of its own.
    """

    def __init__(self, dims: tuple[int, int], block: tuple[int, int], planar: bool = False) -> None:
        self._dims = dims
        self._block = block
        self._planar = planar
        self._seen: set[tuple[int, int, int, int]] = set()

    def touch(
        self, box: tuple[int, int, int, int] | None, bands: list[int], out_height: int | None = None
    ) -> tuple[int, int]:
        """Return how many blocks a window touches, and how many of them are new.

        Args:
            box: first row, row after the last, first column, column after the last; None for all.
            bands: numbers of the bands.
            out_height: rows of the result; if they are fewer than those of the window, an overview is read.
        """
        y0, y1, x0, x1 = box or (0, self._dims[0], 0, self._dims[1])
        factor = max(round((y1 - y0) / (out_height or y1 - y0)), 1)
        height, width = (side * factor for side in self._block)
        rows = range(y0 // height, -(-y1 // height))
        columns = range(x0 // width, -(-x1 // width))
        planes = bands if self._planar else [0]
        touched = {(factor, plane, row, column) for plane in planes for row in rows for column in columns}
        new = len(touched - self._seen)
        self._seen |= touched
        return len(touched), new


class Meter:
    """Counts what calls do in this process, one call at a time. An audit hook stays, so one meter is enough.

    Args:
        folder: where the data is; other files that Python opens do not count.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = os.fspath(folder.resolve()) + os.sep
        self._counts: Counts | None = None
        self._io = os.open(IO_FILE, os.O_RDONLY) if os.path.exists(IO_FILE) else None
        sys.addaudithook(self._note_open)

    def _note_open(self, event: str, args: tuple[Any, ...]) -> None:
        """Count a file that Python opens."""
        if self._counts is not None and event == "open" and isinstance(args[0], str):
            self._counts.opens += os.path.abspath(args[0]).startswith(self._folder)

    def note_handle(self) -> None:
        """Count a file that GDAL opens."""
        if self._counts is not None:
            self._counts.handles += 1

    def note_blocks(self, asked: int, decoded: int) -> None:
        """Count blocks that GDAL is asked for."""
        if self._counts is not None:
            self._counts.blocks += asked
            self._counts.decoded += decoded

    def count(self, action: Callable[[], Any]) -> Counts:
        """Return what a call took."""
        counts, modules = Counts(), set(sys.modules)
        gc.disable()
        try:
            before, self._counts = self._read_io(), counts
            sys.setprofile(_counting_calls(counts))
            result = action()
            sys.setprofile(None)
            self._counts, after = None, self._read_io()
        finally:
            sys.setprofile(None)
            self._counts = None
            gc.enable()
        del result
        packages = [name.partition(".")[0] for name in set(sys.modules) - modules]
        counts.modules = sum(name not in sys.stdlib_module_names for name in packages)
        # An import reads the compiled file of a module, or the source if there is no compiled file yet.
        if before and after and not packages:
            # The call that read the counts before is among those after.
            counts.reads = after[0] - before[0] - 1
            counts.bytes = after[1] - before[1] - before[2]
        return counts

    def _read_io(self) -> tuple[int, int, int] | None:
        """Return how many calls of this process have read how many bytes, and the length of that answer."""
        if self._io is None:
            return None
        text = os.pread(self._io, 4096, 0)
        found = dict(line.split(b": ") for line in text.splitlines())
        return int(found[b"syscr"]), int(found[b"rchar"]), len(text)


def _counting_calls(counts: Counts) -> Callable[[Any, str, Any], None]:
    """A function for ``sys.setprofile`` that counts calls, those of this module left out."""

    def profile(frame: Any, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code.co_filename != __file__:
            counts.calls += 1

    return profile


@contextlib.contextmanager
def _unprofiled() -> Iterator[None]:
    """Do not count calls inside the block."""
    profile = sys.getprofile()
    sys.setprofile(None)
    try:
        yield
    finally:
        sys.setprofile(profile)


@contextlib.contextmanager
def counting_handles(meter: Meter) -> Iterator[None]:
    """Count, inside the block, the files that GDAL opens and the blocks that it is asked for."""
    import rasterio
    import rasterio.io

    reader, writer = _count_reads(rasterio.io.DatasetReader, meter), rasterio.io.DatasetWriter
    places = [
        (rasterio, "DatasetReader", reader),
        (rasterio.io, "DatasetReader", reader),
        (rasterio.io, "DatasetWriter", _count_handles(writer, meter)),
    ]
    originals = [getattr(place, name) for place, name, _ in places]
    try:
        for place, name, counting in places:
            setattr(place, name, counting)
        yield
    finally:
        for (place, name, _), original in zip(places, originals):
            setattr(place, name, original)


def _count_handles(base: type, meter: Meter) -> type:
    """A class of datasets whose instances count when they are opened."""

    class Counting(base):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            meter.note_handle()

    return Counting


def _count_reads(base: type, meter: Meter) -> type:
    """A class of open datasets that counts the blocks of what it reads."""

    class CountingReader(_count_handles(base, meter)):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            with _unprofiled():
                planar = self.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE") == "BAND" and self.count > 1
                block = self.block_shapes[0] if self.count else self.shape
                self.log = BlockLog(self.shape, block, planar)

        def read(self, indexes: Any = None, out: Any = None, window: Any = None, **kwargs: Any) -> Any:
            with _unprofiled():
                box = None if window is None else _box_of(window)
                bands = [indexes] if isinstance(indexes, int) else list(indexes or self.indexes)
                shape = kwargs.get("out_shape") if out is None else out.shape
                meter.note_blocks(*self.log.touch(box, bands, shape and shape[-2]))
            return super().read(indexes, out=out, window=window, **kwargs)

    return CountingReader


def _box_of(window: Any) -> tuple[int, int, int, int]:
    """The first row, the row after the last, and the columns alike, of a window of rasterio."""
    (y0, y1), (x0, x1) = window.toranges()
    return y0, y1, x0, x1
