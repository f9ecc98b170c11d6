"""
Converting many images ahead of time: here, in threads, or on whatever executor the user has.
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

#: Frames handed to an executor at once, so that millions of them do not wait in its queue.
MAX_PENDING = 256


@dataclass(frozen=True)
class ImageFailure:
    """An image that could not be prepared."""

    image_id: Any
    """The image."""
    paths: tuple[str, ...]
    """Its files; empty where the dataset's entry of the image cannot be understood."""
    error: NDSamplerError
    """What went wrong, with the image's id and the path in its message."""


@dataclass(frozen=True)
class Preparation:
    """What was done to prepare images. An image may have several files, and two may share one."""

    images: int = 0
    """Images that were asked for."""
    made: int = 0
    """Number of files that were converted."""
    made_bytes: int = 0
    """Size of these entries."""
    source_bytes: int = 0
    """Size of the files that they were made of."""
    present: int = 0
    """Number of files that had been converted before."""
    in_place: int = 0
    """Number of files that are read directly."""
    slow_layouts: Mapping[str, int] = field(default_factory=dict)
    """Number of tiled TIFFs that were converted although they could be read directly, for each reason."""
    seconds: float = 0.0
    """Time that it took."""
    failures: tuple[ImageFailure, ...] = ()
    """The images that could not be prepared; the others have been."""

    def raise_failures(self, goes_on_uncached: bool = False) -> None:
        """Raise one error for all images that failed, if there are any.

        Args:
            goes_on_uncached: only log entries that could not be made.

        Raises:
            SourceError: if sources could not be read: one message lists all of them.
            CacheError: if entries could not be written.

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
                f"{len(errors)} of {self.images} images could not be prepared; the others have been. "
                f"What failed:\n{lines}"
            )


@dataclass(frozen=True)
class Outcome:
    """What became of one frame."""

    source_bytes: Mapping[str, int] = field(default_factory=dict)
    """Size of each of its files."""
    entry_bytes: Mapping[str, int] = field(default_factory=dict)
    """Size of the entry of each, by the path of the file."""
    failure: ImageFailure | None = None
    """What went wrong."""


@dataclass
class _Plan:
    """What there is to do."""

    layouts: list[FrameLayout] = field(default_factory=list)
    """Frames with an entry to make."""
    missing: set[str] = field(default_factory=set)
    """Files without an entry, which need one."""
    present: set[str] = field(default_factory=set)
    """Files with an entry."""
    in_place: set[str] = field(default_factory=set)
    """Files that need none."""
    slow_layouts: dict[str, str] = field(default_factory=dict)
    """Why tiled TIFFs are converted that could be read directly, by their paths."""
    failures: list[ImageFailure] = field(default_factory=list)
    """Frames for which that is unknown."""


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

    A frame that fails does not keep the others from being converted.

    Args:
        reader: makes the entries.
        layouts: the frames.
        workers: frames converted at once, in threads; 0 for none but this one.
        executor: converts the frames instead; in other processes, or on machines that see the same files.
        desc: what the progress bar says.
        verbose: whether to show one.

    Returns:
        What was done, and what failed.
    """
    began = time.perf_counter()
    # By content, each file is read to learn its name.
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
        slow_layouts=Counter(reason for path, reason in plan.slow_layouts.items() if path in made),
        seconds=time.perf_counter() - began,
        failures=tuple(plan.failures),
    )


def shard_of(layout: FrameLayout, count: int) -> int:
    """Return which of a number of jobs prepares an image, from 1 to the number of jobs.

    It depends on the path of the image's first file alone. So it is the same in all jobs, images that share a
    file go to the same job, and images that are added to a dataset later move no other.

    Args:
        layout: the files of the image.
        count: the number of jobs.
    """
    first = layout.assets[0].path if layout.assets else str(layout.gid)
    return zlib.crc32(os.fsencode(first)) % count + 1


def _split(reader: FrameReader, layouts: Iterable[FrameLayout]) -> _Plan:
    """Find out which frames have something to convert."""
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
    """Convert frames and yield what became of each, in the order in which they are done."""
    if executor is not None:
        yield from _submit(executor, reader, layouts)
    elif workers <= 1 or len(layouts) <= 1:
        for layout in layouts:
            try:
                yield convert(reader, layout)
            except Exception as ex:  # as of a worker: what fails must not keep the others from being made
                yield _lost(layout, ex)
    else:
        with ThreadPoolExecutor(max_workers=workers) as threads:
            yield from _submit(threads, reader, layouts)


def _submit(executor: Executor, reader: FrameReader, layouts: Iterable[FrameLayout]) -> Iterator[Outcome]:
    """Hand frames to an executor, a bounded number at a time."""
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
    """Make the missing entries of one frame for a process, and end with it if this one is its child."""
    if os.getpid() != pid:
        end_with_parent()
    return convert(reader, layout)


@fork_safe
def convert(reader: FrameReader, layout: FrameLayout) -> Outcome:
    """Make the missing entries of one frame, in whatever process this runs."""
    paths = [asset.path for asset in layout.assets]
    try:
        files = reader.ensure(layout)
        return Outcome(_sizes(paths, paths), _sizes(paths, files))
    except (SourceError, CacheError) as ex:
        return Outcome(failure=_failure(layout, ex))


def _sizes(paths: Sequence[str], files: Sequence[str]) -> dict[str, int]:
    """Return the size of a file for each path; 0 for one that has just been removed."""
    sizes = dict.fromkeys(paths, 0)
    for path, file in zip(paths, files):
        with contextlib.suppress(OSError):
            sizes[path] = os.path.getsize(file)
    return sizes


def _failure(layout: FrameLayout, error: NDSamplerError) -> ImageFailure:
    """Return what is said of a frame that failed."""
    return ImageFailure(layout.gid, tuple(asset.path for asset in layout.assets), error)


def _collect(future: Future[Outcome], layout: FrameLayout) -> Outcome:
    """Return what became of a frame that was handed to an executor."""
    try:
        return future.result()
    except Exception as ex:  # a worker that was killed, or could not load this library
        return _lost(layout, ex)


def _lost(layout: FrameLayout, error: BaseException) -> Outcome:
    """Return what became of a frame without an entry: its worker is no more, never was, or met a surprise."""
    if isinstance(error, NDSamplerError):
        return Outcome(failure=_failure(layout, error))
    paths = ", ".join(asset.path for asset in layout.assets)
    reported = CacheError(f"image {layout.gid}: {paths}: {type(error).__name__}: {error}")
    return Outcome(failure=_failure(layout, reported))
