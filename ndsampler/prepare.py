"""
Converting many images ahead of time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ndsampler.errors import CacheError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ndsampler.frame_layout import FrameLayout
    from ndsampler.frame_reader import FrameReader


def prepare_layouts(
    reader: FrameReader, layouts: Sequence[FrameLayout], workers: int, desc: str, verbose: int
) -> None:
    """Make the missing entries of many frames.

    A frame that fails does not keep the others from being converted.

    Args:
        reader: makes the entries.
        layouts: the frames.
        workers: frames converted at once, in threads; 0 for none but this one.
        desc: what the progress bar says.
        verbose: whether to show one.

    Raises:
        SourceError: at the end, if sources could not be read: one message lists all of them.
        CacheError: at the end, if entries could not be written.
    """
    import ubelt as ub

    failures: list[SourceError | CacheError] = []
    outcomes = _outcomes(reader, layouts, workers)
    for failure in ub.ProgIter(
        outcomes, desc=desc, total=len(layouts), freq=1, adjust=False, verbose=verbose
    ):
        if failure is not None:
            failures.append(failure)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        lines = "\n".join(f"  {failure}" for failure in failures)
        kind = type(failures[0]) if len({type(failure) for failure in failures}) == 1 else SourceError
        raise kind(
            f"{len(failures)} of {len(layouts)} images could not be prepared; the others have been. "
            f"What failed:\n{lines}"
        )


def _outcomes(
    reader: FrameReader, layouts: Sequence[FrameLayout], workers: int
) -> Iterator[SourceError | CacheError | None]:
    """Yield None for each frame that is ready, or what went wrong with it."""

    def attempt(layout: FrameLayout) -> SourceError | CacheError | None:
        try:
            reader.ensure(layout)
        except (SourceError, CacheError) as ex:
            return ex
        return None

    if workers <= 1 or len(layouts) <= 1:
        yield from map(attempt, layouts)
        return
    with ThreadPoolExecutor(max_workers=workers) as executor:
        results: Iterable[SourceError | CacheError | None] = executor.map(attempt, layouts)
        yield from results
