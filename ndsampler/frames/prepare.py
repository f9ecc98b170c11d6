"""
Converting many images ahead of time: in this thread, in other threads, or on an executor of the user.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
import zlib
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ndsampler.errors import CacheError, NDSamplerError, SourceError
from ndsampler.frames.processes import end_with_parent
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.logs import get_logger
from ndsampler.utils.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from ndsampler.frames.layout import FrameLayout
    from ndsampler.frames.reader import FrameReader

logger = get_logger(__name__)

#: Maximum number of frames in the queue of an executor, so that millions of frames do not fill the memory.
MAX_PENDING = 256


@dataclass(frozen=True)
class ImageFailure:
    """An image that could not be prepared."""

    image_id: Any
    """Id of the image."""
    paths: tuple[str, ...]
    """The files of the image; empty if its dictionary in the dataset is invalid."""
    error: NDSamplerError
    """The error; its message names the image and the file."""


@dataclass(frozen=True)
class Preparation:
    """The result of preparing images. An image may have several files, and images may share a file."""

    images: int = 0
    """Number of images that were requested."""
    made: int = 0
    """Number of files that were converted."""
    made_bytes: int = 0
    """Total size of the new entries in bytes."""
    source_bytes: int = 0
    """Total size of the converted files in bytes."""
    present: int = 0
    """Number of files that had been converted before."""
    in_place: int = 0
    """Number of files that are read directly."""
    slow_layouts: Mapping[str, int] = field(default_factory=dict)
    """Number of tiled TIFFs that were converted although they could be read directly, for each reason."""
    seconds: float = 0.0
    """Elapsed time in seconds."""
    failures: tuple[ImageFailure, ...] = ()
    """The images that could not be prepared; the others have been."""

    def raise_failures(self, goes_on_uncached: bool = False) -> None:
        """Raise one error for all images that failed, if there are any.

        Args:
            goes_on_uncached: only log entries that could not be made, instead of raising an error.

        Raises:
            SourceError: if sources could not be read; the message lists all failures.
            CacheError: if entries could not be written; the message lists all failures.

        Example:
            >>> Preparation(images=3, made=3).raise_failures()
        """
        errors = [failure.error for failure in self.failures]
        if goes_on_uncached:
            for error in errors:
                if isinstance(error, CacheError):
                    logger.warning("is read without a cache: %s", error)
            errors = [error for error in errors if not isinstance(error, CacheError)]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            lines = "\n".join(f"  {error}" for error in errors)
            kind = type(errors[0]) if len({type(error) for error in errors}) == 1 else SourceError
            raise kind(
                f"{len(errors)} of {self.images} images could not be prepared; the others were prepared. "
                f"Failures:\n{lines}"
            )


@dataclass(frozen=True)
class Outcome:
    """The result of preparing one frame."""

    source_bytes: Mapping[str, int] = field(default_factory=dict)
    """Size in bytes of each source file, by path."""
    entry_bytes: Mapping[str, int] = field(default_factory=dict)
    """Size in bytes of each entry, by the path of its source file."""
    failure: ImageFailure | None = None
    """The failure; None if all entries were made."""


@dataclass
class _Plan:
    """The frames and files to convert, and those that need no conversion."""

    layouts: list[FrameLayout] = field(default_factory=list)
    """Frames that lack an entry."""
    missing: set[str] = field(default_factory=set)
    """Files that lack an entry."""
    present: set[str] = field(default_factory=set)
    """Files with an entry."""
    in_place: set[str] = field(default_factory=set)
    """Files that are read directly and need no entry."""
    slow_layouts: dict[str, str] = field(default_factory=dict)
    """Why tiled TIFFs are converted that could be read directly, by their paths."""
    failures: list[ImageFailure] = field(default_factory=list)
    """Frames whose files could not be checked."""


def prepare_layouts(
    reader: FrameReader,
    layouts: Sequence[FrameLayout],
    *,
    workers: int = 0,
    executor: Executor | None = None,
    desc: str = "prepare",
    verbose: int = 0,
) -> Preparation:
    """Make the missing entries of many frames.

    If a frame fails, the others are still converted.

    Args:
        reader: makes the entries.
        layouts: the frames.
        workers: number of threads that convert frames; 0 for the calling thread.
        executor: converts the frames instead, in other processes, or on machines that share the files.
        desc: label of the progress bar.
        verbose: whether to show a progress bar.

    Returns:
        Counts and sizes of the entries, and the failures.
    """
    began = time.perf_counter()
    # If entries are named by content, this reads each file, so show progress.
    plan = _split(reader, progress_bar(layouts, desc=f"{desc}: look", verbose=verbose))
    sources: dict[str, int] = {}
    entries: dict[str, int] = {}
    with progress_bar(total=len(plan.layouts), desc=desc, verbose=verbose) as progress:
        started, done_bytes = time.perf_counter(), 0
        for outcome in _outcomes(reader, plan.layouts, workers, executor):
            sources.update(outcome.source_bytes)
            entries.update(outcome.entry_bytes)
            done_bytes += sum(outcome.source_bytes.values())
            if outcome.failure is not None:
                plan.failures.append(outcome.failure)
            progress.set_extra(f" {done_bytes / 1e6 / (time.perf_counter() - started):.1f} MB/s")
            progress.step()
    made = plan.missing & entries.keys()
    return Preparation(
        images=len(layouts),
        made=len(made),
        made_bytes=sum(entries[path] for path in made),
        source_bytes=sum(sources[path] for path in made),
        present=len(plan.present),
        in_place=len(plan.in_place),
        slow_layouts=dict(Counter(reason for path, reason in plan.slow_layouts.items() if path in made)),
        seconds=time.perf_counter() - began,
        failures=tuple(plan.failures),
    )


def shard_of(layout: FrameLayout, count: int) -> int:
    """Return the number of the job that prepares an image, from 1 to ``count``.

    It depends only on the path of the image's first file. So all jobs agree on it, images that share a file
    go to the same job, and adding images to the dataset does not move the others.

    Args:
        layout: the files of the image.
        count: the number of jobs.
    """
    first = layout.assets[0].path if layout.assets else str(layout.gid)
    return zlib.crc32(os.fsencode(first)) % count + 1


def _split(reader: FrameReader, layouts: Iterable[FrameLayout]) -> _Plan:
    """Find out which frames and files must be converted."""
    plan = _Plan()
    for layout in layouts:
        try:
            files = reader.find_ready(layout)
        except (SourceError, CacheError) as ex:
            plan.failures.append(_failure(layout, ex))
            continue
        if None in files:
            plan.layouts.append(layout)
        for asset, file in zip(layout.assets, files):
            kind = plan.missing if file is None else plan.in_place if file == asset.path else plan.present
            kind.add(asset.path)
            if file is None and (reason := reader.explain_conversion(asset.path)):
                plan.slow_layouts[asset.path] = reason
    return plan


def _outcomes(
    reader: FrameReader, layouts: Sequence[FrameLayout], workers: int, executor: Executor | None
) -> Iterator[Outcome]:
    """Convert frames and yield the result of each, in the order in which they are completed."""
    if executor is not None:
        yield from _submit(executor, reader, layouts)
    elif workers <= 1 or len(layouts) <= 1:
        for layout in layouts:
            try:
                yield convert(reader, layout)
            except Exception as ex:  # as for a worker: a failure must not stop the other frames
                yield _lost(layout, ex)
    else:
        with ThreadPoolExecutor(max_workers=workers) as threads:
            yield from _submit(threads, reader, layouts)


def _submit(executor: Executor, reader: FrameReader, layouts: Iterable[FrameLayout]) -> Iterator[Outcome]:
    """Submit frames to an executor, a limited number at a time."""
    task = functools.partial(_convert_for, os.getpid())
    pending: dict[Future[Outcome], FrameLayout] = {}
    queue = iter(layouts)
    try:
        while True:
            while len(pending) < MAX_PENDING and (layout := next(queue, None)) is not None:
                try:
                    pending[executor.submit(task, reader, layout)] = layout
                except Exception as ex:  # its workers were killed, it was shut down, or it is full
                    yield _lost(layout, ex)
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield _collect(future, pending.pop(future))
    finally:
        for future in pending:
            future.cancel()


def _convert_for(pid: int, reader: FrameReader, layout: FrameLayout) -> Outcome:
    """Make the missing entries of one frame. A worker process ends when the process ``pid`` ends."""
    if os.getpid() != pid:
        end_with_parent()
    return convert(reader, layout)


@fork_safe
def convert(reader: FrameReader, layout: FrameLayout) -> Outcome:
    """Make the missing entries of one frame in this process."""
    paths = [asset.path for asset in layout.assets]
    try:
        files = reader.ensure(layout)
        return Outcome(_sizes(paths, paths), _sizes(paths, files))
    except (SourceError, CacheError) as ex:
        return Outcome(failure=_failure(layout, ex))


def _sizes(paths: Sequence[str], files: Sequence[str]) -> dict[str, int]:
    """Return the size in bytes of each file, by path; 0 for a file that has just been removed."""
    sizes = dict.fromkeys(paths, 0)
    for path, file in zip(paths, files):
        with contextlib.suppress(OSError):
            sizes[path] = os.path.getsize(file)
    return sizes


def _failure(layout: FrameLayout, error: NDSamplerError) -> ImageFailure:
    """Return the failure of a frame, for the report."""
    return ImageFailure(layout.gid, tuple(asset.path for asset in layout.assets), error)


def _collect(future: Future[Outcome], layout: FrameLayout) -> Outcome:
    """Return the result of a frame that was submitted to an executor."""
    try:
        return future.result()
    except Exception as ex:  # the worker was killed, or could not import this library
        return _lost(layout, ex)


def _lost(layout: FrameLayout, error: BaseException) -> Outcome:
    """Return the result of a frame whose worker died, could not be started, or raised an unexpected error."""
    if isinstance(error, NDSamplerError):
        return Outcome(failure=_failure(layout, error))
    paths = ", ".join(asset.path for asset in layout.assets)
    reported = CacheError(f"image {layout.gid}: {paths}: {type(error).__name__}: {error}")
    return Outcome(failure=_failure(layout, reported))
