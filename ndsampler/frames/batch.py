"""
Reading many windows at once: each file is opened once, and overlapping windows are decoded once.

The pixels are those that :meth:`ndsampler.frames.reader.FrameReader.read` returns for each window. Only
windows that are copied pixel by pixel from one file are read together; all others are read one by one.
"""

from __future__ import annotations

import functools
import os
import threading
import zlib
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndsampler.backends.base import as_viewed
from ndsampler.frames.batch_output import put_pixels
from ndsampler.frames.batch_plan import MERGED_BYTES, divide_work, keep_apart, merge_windows
from ndsampler.frames.grid import Grid
from ndsampler.utils.fork_safety import GATE, fork_safe
from ndsampler.windows import PixelBox, check_affordable, embed_box, wrap_slices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ndsampler.backends.base import RegionReader
    from ndsampler.frames.layout import Asset, FrameLayout
    from ndsampler.frames.reader import FrameReader

#: Executors of one thread each, which read batches. They are kept, because each thread has its own file
#: handles.
_executors: list[ThreadPoolExecutor] = []

#: Held while executors are added.
_lock = threading.Lock()

#: Executors of the parent process. They must not be finalized here, because their threads do not exist here.
_inherited: list[Any] = []


def _leave_threads_to_parent() -> None:
    """Drop the executors in a forked process, which does not have their threads."""
    global _lock
    _lock = threading.Lock()
    _inherited.append(list(_executors))
    _executors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_threads_to_parent)


@dataclass(frozen=True, eq=False)
class FrameRead:
    """A window of one frame to read: the arguments of :meth:`ndsampler.frames.reader.FrameReader.read`."""

    layout: FrameLayout
    """The files of the frame."""
    grid: Grid
    """The grid of the output pixels."""
    names: Any = None
    """The channels, as :func:`ndsampler.frames.layout.parse_channels` returns them."""
    dest: NDArray[Any] | None = None
    """The array to write the pixels to, if they fit; None for a new array."""


class _Window(NamedTuple):
    """A window that is copied pixel by pixel from one file."""

    number: int
    """Position in the batch."""
    read: FrameRead
    """The request."""
    asset: Asset
    """The file."""
    bands: tuple[int, ...] | None
    """Indexes of the bands; None for all."""


def read_batch(
    reader: FrameReader, reads: Sequence[FrameRead], threads: int = 0
) -> list[NDArray[Any] | Exception]:
    """Read many windows; the result is the same as reading them one by one.

    In addition to the result, this needs at most :data:`ndsampler.frames.batch_plan.MERGED_BYTES` of memory
    for each thread, and the memory of the block caches of decoders.

    Args:
        reader: reads frames.
        reads: the windows.
        threads: number of threads that read; 0 for the calling thread.

    Returns:
        (height, width, channels) pixels of each window, in ``dest`` if it is given and fits. If windows
        cannot be read, the entry of the first one is its error, and later entries may be missing.
    """
    batch = _Batch(reader, reads)
    keyed = ((read.layout.assets[0].source, index) for index, read in enumerate(reads))
    jobs = divide_work(keyed, threads)
    if threads == 0 or len(jobs) < 2:
        for job in jobs:
            batch.run(job)
    else:
        _run_in_threads(batch.run, [(reads[job[0]].layout.assets[0].path, job) for job in jobs], threads)
    return batch.results


def load_regions(
    frames: Any, regions: Sequence[Any], names: Any, places: list[NDArray[Any]] | None, threads: int
) -> list[NDArray[Any]]:
    """Return regions of images. See :meth:`ndsampler.abstract_frames.Frames.load_regions`.

    Args:
        frames: has the layouts and the reader of the images.
        regions: pairs of an image id and a region.
        names: the channels.
        places: the array to write each region to; None for new arrays.
        threads: number of threads.

    Raises:
        NDSamplerError: the error of the first region that cannot be read.
    """
    reads: list[FrameRead] = []
    wanted: list[tuple[int, int] | None] = []
    failure: Exception | None = None
    try:
        for image_id, region in regions:
            layout = frames.layout(image_id)
            shape = frames.reader.shape(layout, names)
            (y0, y1), (x0, x1), bands = wrap_slices(region, shape)
            dest = None if places is None else places[len(reads)]
            reads.append(FrameRead(layout, Grid(PixelBox(y0, y1, x0, x1)), names, dest))
            wanted.append(None if bands == (0, shape[2]) else bands)
    except Exception as ex:  # an earlier region may fail too; its error must be raised first
        failure = ex
    found = []
    for number, pixels in enumerate(read_batch(frames.reader, reads, threads)):
        if isinstance(pixels, Exception):
            raise pixels
        part = wanted[number]
        if part is not None:
            pixels = np.ascontiguousarray(pixels[:, :, slice(*part)])
        found.append(pixels if places is None else put_pixels(pixels, places[number], number))
    if failure is not None:
        raise failure
    return found


def _run_in_threads(
    function: Callable[[list[int]], None], jobs: list[tuple[str, list[int]]], threads: int
) -> None:
    """Run jobs in threads, and wait for those that have started.

    The same thread, which has the file open, reads a file each time, unless there are several jobs for it.

    Args:
        function: runs one job.
        jobs: the path of the file and the positions of the windows of each job.
        threads: number of threads.
    """
    executors = _find_executors(threads)
    parts: Counter[str] = Counter()
    futures: list[Future[None]] = []
    # Avoid a deadlock: the threads may wait for a fork, and the fork for this thread.
    with GATE.step_out():
        try:
            for path, job in jobs:
                number = (zlib.crc32(path.encode(errors="replace")) + parts[path]) % threads
                parts[path] += 1
                futures.append(executors[number].submit(function, job))
            wait(futures)
        finally:
            # After Ctrl-C no thread may write to the caller's arrays.
            wait([future for future in futures if not future.cancel()])
    for future in futures:
        future.result()


def _find_executors(threads: int) -> list[ThreadPoolExecutor]:
    """Return the given number of executors of one thread each."""
    with _lock:
        while len(_executors) < threads:
            _executors.append(ThreadPoolExecutor(1, thread_name_prefix=f"ndsampler-read-{len(_executors)}"))
        return _executors[:threads]


class _Batch:
    """The windows of one call, and the results so far.

    Args:
        reader: reads frames.
        reads: the windows.
    """

    def __init__(self, reader: FrameReader, reads: Sequence[FrameRead]) -> None:
        self.reader = reader
        self.reads = reads
        self.results: list[Any] = [None] * len(reads)
        self.first_failure = len(reads)

    @fork_safe
    def run(self, job: list[int]) -> None:
        """Read windows that have the same first file.

        Args:
            job: positions of the windows in the batch.
        """
        groups: dict[Any, list[_Window]] = {}
        for index in job:
            if index > self.first_failure:
                break  # earlier windows must be read, because one of them may fail too
            window = self._find_simple(index)
            if window is None:
                self._read_alone(index)
            else:
                groups.setdefault((window.asset.source, window.bands), []).append(window)
        for windows in groups.values():
            self._read_together(windows)

    def _find_simple(self, index: int) -> _Window | None:
        """Return a window that is a copy of pixels of one file; None for other windows."""
        read = self.reads[index]
        layout, grid = read.layout, read.grid
        if not grid.is_crop or grid.out_dims != grid.box.dims:
            return None
        if read.names is None and layout.is_plain:
            return _Window(index, read, layout.assets[0], None)
        if any(asset.channels is None for asset in layout.assets):
            return None
        try:
            plan = self.reader.plan(layout, read.names, allow_missing=grid.allow_missing)
        except Exception:  # reading it alone raises the same error
            return None
        if plan.missing or len(plan.reads) != 1 or plan.reads[0].asset.warp_img_from_asset is not None:
            return None
        only = plan.reads[0]
        if only.places != tuple(range(len(plan.channels))):
            return None
        return _Window(index, read, only.asset, only.bands)

    def _read_alone(self, index: int) -> None:
        """Read one window as if there were no batch."""
        read = self.reads[index]
        try:
            self.results[index] = self.reader.read(read.layout, read.grid, read.names)
        except Exception as ex:
            self.results[index] = ex
            self.first_failure = min(self.first_failure, index)

    def _read_together(self, windows: list[_Window]) -> None:
        """Read windows of one file. If that fails, read them one by one to find the one that fails."""
        first = windows[0]
        fill = functools.partial(self._fill_windows, windows)
        try:
            self.reader.visit(first.read.layout, first.asset, fill)
        except Exception:
            for window in windows:
                if window.number < self.first_failure:
                    self._read_alone(window.number)

    def _fill_windows(self, windows: list[_Window], reader: RegionReader) -> None:
        """Read windows of one open file."""
        height, width, count = reader.shape
        bands = windows[0].bands
        count = count if bands is None else len(bands)
        embedded = []
        for window in windows:
            what = f"the window on image {window.read.layout.gid}"
            check_affordable(window.read.grid.box.dims, reader.dtype.itemsize, count, what)
            embedded.append(embed_box(window.read.grid.box, height, width))
        boxes = [inside for inside, _ in embedded]
        if reader.shareable:
            # Nothing is decoded, and a common region would be copied twice.
            regions = keep_apart(boxes)
        else:
            regions = merge_windows(boxes, MERGED_BYTES // max(1, count * reader.dtype.itemsize))
        read, is_view = _choose_read(reader, bands)
        for region in regions:
            pixels = read(*region.box)
            own = len(region.members) == 1 and not is_view
            for member in region.members:
                inside = boxes[member]
                y0, x0 = inside.y0 - region.box.y0, inside.x0 - region.box.x0
                part = pixels[y0 : y0 + inside.dims[0], x0 : x0 + inside.dims[1]]
                window, margin = windows[member], embedded[member][1]
                self.results[window.number] = _fill_output(part, margin, window.read, own)


def _choose_read(
    reader: RegionReader, bands: tuple[int, ...] | None
) -> tuple[Callable[..., NDArray[Any]], bool]:
    """Return the function that reads a window of some bands, and whether it returns a view.

    With a view, pixels in memory are copied only once, to the output.
    """
    if _selects(bands, reader):
        return functools.partial(reader.read, bands=bands), False
    view = as_viewed(reader)
    return (reader.read, False) if view is None else (view.view, True)


def _selects(bands: tuple[int, ...] | None, reader: RegionReader) -> bool:
    """Return whether the bands are not simply all bands of the file in their order."""
    return bands is not None and bands != tuple(range(reader.shape[2]))


def _fill_output(pixels: NDArray[Any], margin: Any, read: FrameRead, own: bool) -> NDArray[Any]:
    """Return the pixels of a window, with filled margins, in the requested array.

    Args:
        pixels: the part of the window inside the image.
        margin: ((top, bottom), (left, right)) pixels outside the image.
        read: the window.
        own: whether the array belongs to this window alone.
    """
    (top, bottom), (left, right) = margin
    shape = (*read.grid.box.dims, pixels.shape[2])
    dest = read.dest
    is_whole = not (top or bottom or left or right)
    if dest is None or dest.shape != shape or dest.dtype != pixels.dtype:
        if is_whole and own:
            return pixels
        dest = np.empty(shape, pixels.dtype)
    if not is_whole:
        dest[...] = read.grid.fill(pixels.dtype)
    dest[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return dest
