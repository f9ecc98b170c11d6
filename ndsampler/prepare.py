"""
Converting many images ahead of time: here, in threads, or on whatever executor the user has.
"""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndsampler.errors import CacheError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Executor

    from ndsampler.frame_layout import FrameLayout
    from ndsampler.frame_reader import FrameReader

logger = logging.getLogger(__name__)

#: Frames handed to an executor at once, so that millions of them do not wait in its queue.
MAX_PENDING = 256


@dataclass(frozen=True)
class Outcome:
    """What became of one frame."""

    source_bytes: int = 0
    """Size of the files that were converted."""
    failure: SourceError | CacheError | None = None
    """What went wrong, with the image's id and the path in its message."""


def prepare_layouts(
    reader: FrameReader,
    layouts: Sequence[FrameLayout],
    *,
    workers: int = 0,
    executor: Executor | None = None,
    goes_on_uncached: bool = False,
    desc: str = "prepare",
    verbose: int = 0,
) -> None:
    """Make the missing entries of many frames.

    A frame that fails does not keep the others from being converted.

    Args:
        reader: makes the entries.
        layouts: the frames.
        workers: frames converted at once, in threads; 0 for none but this one.
        executor: converts the frames instead; in other processes, or on machines that see the same files.
        goes_on_uncached: whether entries that cannot be made are only warned of.
        desc: what the progress bar says.
        verbose: whether to show one.

    Raises:
        SourceError: at the end, if sources could not be read: one message lists all of them.
        CacheError: at the end, if entries could not be written.
    """
    import ubelt as ub

    missing, failures = _split(reader, layouts)
    began, done_bytes = time.perf_counter(), 0
    with ub.ProgIter(total=len(missing), desc=desc, freq=1, adjust=False, verbose=verbose) as progress:
        for outcome in _outcomes(reader, missing, workers, executor):
            done_bytes += outcome.source_bytes
            if outcome.failure is not None:
                failures.append(outcome.failure)
            progress.set_extra(f"{done_bytes / 1e6 / (time.perf_counter() - began):.1f} MB/s")
            progress.step()
    _report(failures, len(layouts), goes_on_uncached)


def _split(
    reader: FrameReader, layouts: Iterable[FrameLayout]
) -> tuple[list[FrameLayout], list[SourceError | CacheError]]:
    """Return the frames that have something to convert, and what is wrong with those that cannot be told."""
    missing, failures = [], []
    for layout in layouts:
        try:
            if not reader.is_ready(layout):
                missing.append(layout)
        except (SourceError, CacheError) as ex:
            failures.append(ex)
    return missing, failures


def _outcomes(
    reader: FrameReader, layouts: Sequence[FrameLayout], workers: int, executor: Executor | None
) -> Iterator[Outcome]:
    """Convert frames and yield what became of each, in the order in which they are done."""
    if executor is not None:
        yield from _submit(executor, reader, layouts)
    elif workers <= 1 or len(layouts) <= 1:
        for layout in layouts:
            yield convert(reader, layout)
    else:
        with ThreadPoolExecutor(max_workers=workers) as threads:
            yield from _submit(threads, reader, layouts)


def _submit(executor: Executor, reader: FrameReader, layouts: Iterable[FrameLayout]) -> Iterator[Outcome]:
    """Hand frames to an executor, a bounded number at a time."""
    pending: dict[Future[Outcome], FrameLayout] = {}
    queue = iter(layouts)
    try:
        while True:
            while len(pending) < MAX_PENDING and (layout := next(queue, None)) is not None:
                pending[executor.submit(convert, reader, layout)] = layout
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield _collect(future, pending.pop(future))
    finally:
        for future in pending:
            future.cancel()


def convert(reader: FrameReader, layout: FrameLayout) -> Outcome:
    """Make the missing entries of one frame, in whatever process this runs."""
    try:
        reader.ensure(layout)
        return Outcome(sum(os.path.getsize(asset.path) for asset in layout.assets))
    except (SourceError, CacheError) as ex:
        return Outcome(failure=ex)


def _collect(future: Future[Outcome], layout: FrameLayout) -> Outcome:
    """Return what became of a frame that was handed to an executor."""
    error = future.exception()
    if error is None:
        return future.result()
    # A worker that was killed, or that could not load this library: the frame has no entry.
    paths = ", ".join(asset.path for asset in layout.assets)
    return Outcome(failure=CacheError(f"image {layout.gid}: {paths}: {type(error).__name__}: {error}"))


def _report(failures: Sequence[SourceError | CacheError], total: int, goes_on_uncached: bool) -> None:
    """Raise one error for all that failed; say it only, where reading goes on without a cache."""
    if goes_on_uncached:
        for failure in failures:
            if isinstance(failure, CacheError):
                logger.warning("is read without a cache: %s", failure)
        failures = [failure for failure in failures if isinstance(failure, SourceError)]
    if len(failures) == 1:
        raise failures[0]
    if failures:
        lines = "\n".join(f"  {failure}" for failure in failures)
        kind = type(failures[0]) if len({type(failure) for failure in failures}) == 1 else SourceError
        raise kind(
            f"{len(failures)} of {total} images could not be prepared; the others have been. "
            f"What failed:\n{lines}"
        )
