"""
Decides which pages of a TIFF make up the image, which are reduced versions of it, and which are not read.

:func:`plan_pages` decides without decoding pixels: by the sizes of the pages, by the description that their
writer stored, and by the facts that the dataset states.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from ndsampler.backends.base import UNSTATED
from ndsampler.backends.formats.tiff_header import read_pages
from ndsampler.backends.formats.tiff_writers import read_stack
from ndsampler.errors import SourceError
from ndsampler.utils.file_version import FileVersion
from ndsampler.utils.limits import get_limits
from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndsampler.backends.base import Stated
    from ndsampler.backends.formats.tiff_header import Page
    from ndsampler.backends.formats.tiff_writers import Stack

__all__ = [
    "OVERVIEW_ENDING",
    "Arrangement",
    "PagePlan",
    "check_pages",
    "choose_page_form",
    "choose_plan",
    "is_reduced_size",
    "plan_pages",
    "recall_plan",
    "reduced_pages",
    "warn_of_others",
]

logger = get_logger(__name__)

#: Photometric interpretations of gray pages.
GRAY = (0, 1)

#: The first characters of descriptions in which writers state the arrangement of pages.
WRITER_MARKS = ('{"shape"', "ImageJ=", "<")

#: Suffix of the file that contains the overviews of the image beside it.
OVERVIEW_ENDING = ".ovr"

#: Maximum number of files whose plans one process remembers.
MAX_PLANS = 1024

#: Maximum number of pages that one warning names.
MAX_NAMED = 8

#: Maximum number of files for which a logged warning is remembered.
MAX_WARNED = 100_000

#: The files for which a warning was logged.
_warned: dict[str, None] = {}


class Arrangement(Enum):
    """How the pages of a TIFF make up an image."""

    FIRST = "first page"
    """The first page is the image."""
    CHANNELS = "pages as channels"
    """Each page holds channels of the image."""
    ROWS = "pages as rows"
    """Each page is a row of the image: the rows of the page are columns, and its columns are channels."""


@dataclass(frozen=True)
class PagePlan:
    """The role of each page of a TIFF: part of the image, reduced version, or neither."""

    arrangement: Arrangement
    """How the pages make up the image."""
    pages: tuple[Page, ...]
    """The pages of the image."""
    reduced: tuple[Page, ...] = field(default=(), compare=False)
    """Pages that may be reduced versions of the first page although the file does not mark them as such."""
    others: tuple[Page, ...] = field(default=(), compare=False)
    """The first of the pages that are neither part of the image, nor reduced versions of it, nor masks."""
    other_count: int = field(default=0, compare=False)
    """Total number of such pages."""
    marked_count: int = field(default=0, compare=False)
    """Number of pages that the file marks as reduced versions or masks."""
    lacks_planes: bool = False
    """Whether the description states more channels than the file has pages."""

    @property
    def form(self) -> str:
        """A text that distinguishes this plan from other plans for the same file."""
        return f"{len(self.pages)} {self.arrangement.value}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the image according to the pages."""
        page = self.pages[0]
        if self.arrangement is Arrangement.ROWS:
            return len(self.pages), page.height, page.width
        return page.height, page.width, page.samples * len(self.pages)


def plan_pages(pages: Sequence[Page], stated: Stated = UNSTATED) -> PagePlan:
    """Decide which pages of a TIFF make up the image.

    Args:
        pages: the pages of the file, at least one.
        stated: what the dataset states about the file.

    Returns:
        The first possible plan with the stated number of channels and the stated size. If none has both, one
        of the stated size; otherwise the plan of a file about which nothing is stated.

    Example:
        >>> from ndsampler.backends.base import Stated
        >>> from ndsampler.backends.formats.tiff_header import Page
        >>> pages = [Page(number, number, 60, 80) for number in range(1, 6)]
        >>> plan_pages(pages).shape, plan_pages(pages, Stated(5)).shape
        ((60, 80, 1), (60, 80, 5))
    """
    if len(pages) == 1 and not pages[0].description:
        return PagePlan(Arrangement.FIRST, (pages[0],))
    options = _list_plans(pages)
    if options[0].lacks_planes:
        return _complete(options[stated.channels == options[0].shape[2]], pages)
    same_size = [plan for plan in options if stated.dims in (None, plan.shape[:2])]
    fitting = (plan for plan in same_size if stated.channels in (None, plan.shape[2]))
    chosen = next(fitting, (same_size or options)[0])
    return _complete(chosen, pages)


def _list_plans(pages: Sequence[Page]) -> list[PagePlan]:
    """Return the ways to read a file; the first applies if the dataset states nothing about the file."""
    alike = [page for page in pages if _may_be_plane(page, pages[0])]
    first = PagePlan(Arrangement.FIRST, (pages[0],))
    everything = PagePlan(Arrangement.CHANNELS, tuple(alike)) if len(alike) > 1 else first
    stack = read_stack(pages)
    if stack is None:
        return [everything, first] if _is_plain_stack(pages, alike) else [first, everything]
    if stack.planes > len(alike):
        lost = len(stack.channels) > 1
        return [replace(first, lacks_planes=True), first] if lost else [first]
    return [*_plans_of_stack(stack, pages), everything, first]


def _is_plain_stack(pages: Sequence[Page], alike: Sequence[Page]) -> bool:
    """Whether a file holds only gray pages of one size, and no description of how they are arranged."""
    first = pages[0]
    is_gray = first.samples == 1 and first.kind[0] > 1 and first.kind[2] in GRAY
    return is_gray and len(alike) == len(pages) and not first.description.startswith(WRITER_MARKS)


def _may_be_plane(page: Page, first: Page) -> bool:
    """Whether a page may be a plane of the same array as the first page."""
    return page.dims == first.dims and page.is_like(first) and not (page.is_reduced or page.is_mask)


def _plans_of_stack(stack: Stack, pages: Sequence[Page]) -> list[PagePlan]:
    """Return the ways to read an array that the writer stored as several pages."""
    plans = [PagePlan(Arrangement.FIRST, (pages[0],))]
    if len(stack.channels) > 1 and max(stack.channels) < len(pages):
        channels = tuple(pages[at] for at in stack.channels)
        if all(_may_be_plane(page, pages[0]) for page in channels):
            plans = [PagePlan(Arrangement.CHANNELS, channels)]
    if stack.rows is not None:
        by_rows = PagePlan(Arrangement.ROWS, tuple(pages[: stack.planes]))
        plans = [by_rows, *plans] if stack.is_by_rows else [*plans, by_rows]
    return plans


def _complete(plan: PagePlan, pages: Sequence[Page]) -> PagePlan:
    """Return a plan with its fields for pages outside the image filled in."""
    used = {page.offset for page in plan.pages}
    rest = [page for page in pages if page.offset not in used and not page.is_mask]
    by_fit: tuple[list[Page], list[Page]] = ([], [])
    for page in rest:
        by_fit[is_reduction(page, pages[0])].append(page)
    others, may_be_reduced = by_fit
    reduced = [page for page in may_be_reduced if not page.is_reduced]
    if plan.arrangement is not Arrangement.FIRST:
        reduced, others = [], [*others, *reduced]
    first = replace(plan.pages[0], description="")
    return replace(
        plan,
        pages=(first, *plan.pages[1:]),
        reduced=tuple(reduced),
        others=tuple(others[:MAX_NAMED]),
        other_count=len(others),
        marked_count=sum(page.subfile_type != 0 for page in (*pages, *pages[0].subpages)),
    )


def is_reduction(page: Page, full: Page) -> bool:
    """Whether a page may be a reduced version of another, judged by its type and size.

    Args:
        page: the smaller page.
        full: the larger page.

    Example:
        >>> from ndsampler.backends.formats.tiff_header import Page
        >>> is_reduction(Page(2, 9, 501, 700), Page(1, 8, 1003, 1401))
        True
        >>> is_reduction(Page(2, 9, 501, 501), Page(1, 8, 1003, 1401))
        False
    """
    return page.is_like(full) and is_reduced_size(page.dims, full.dims)


def reduced_pages(pages: Sequence[Page]) -> list[Page]:
    """Return the pages of a TIFF that GDAL lists as overviews of the first one.

    Args:
        pages: the pages of the file.
    """
    if not pages:
        return []
    marked = [page for page in pages[1:] if page.is_reduced and page.samples == pages[0].samples]
    return [*marked, *(page for page in pages[0].subpages if page.is_reduced)]


def is_reduced_size(dims: tuple[int, int], full: tuple[int, int]) -> bool:
    """Whether an image of one size may be a reduced version of one of another size.

    Writers round sizes up or down, so each side may be off by one pixel.

    Args:
        dims: (height, width) of the smaller image in pixels.
        full: (height, width) of the larger image in pixels.

    Example:
        >>> is_reduced_size((50, 75), (100, 151)), is_reduced_size((50, 80), (100, 151))
        (True, False)
    """
    if max(dims) >= max(full) or any(side > whole for side, whole in zip(dims, full)):
        return False
    lowest = max(whole / (side + 1) for side, whole in zip(dims, full))
    highest = min(whole / (side - 1) if side > 1 else whole + 1 for side, whole in zip(dims, full))
    return lowest < highest


@functools.lru_cache(MAX_PLANS)
def choose_plan(version: FileVersion, stated: Stated = UNSTATED) -> PagePlan | None:
    """Return which pages of a file make up its image.

    Args:
        version: the current version of the file.
        stated: what the dataset states about the file.

    Returns:
        The plan; None for a file that is not a TIFF.
    """
    pages = read_pages(version.path)
    return plan_pages(pages, stated) if pages else None


def check_pages(path: str) -> None:
    """Reject a TIFF with so many pages that GDAL would take minutes to open it.

    Args:
        path: a local file. A file of another format is accepted.

    Raises:
        SourceError: if the directories are too large, or there are too many reduced versions and masks.
    """
    version = FileVersion.find(path)
    plan = None if version is None else choose_plan(version)
    limit = get_limits().pages
    if plan is not None and plan.marked_count > limit:
        raise SourceError(
            f"{path} has {plan.marked_count} pages that are reduced versions or masks; the limit pages is "
            f"{limit}. Set another limit to read it"
        )


def choose_page_form(version: FileVersion, stated: Stated) -> str:
    """Return the form of the plan by which the pages of a file are read.

    Args:
        version: the current version of the file.
        stated: what the dataset states about the file.

    Returns:
        The form of the plan; empty if it is the plan of a file about which nothing is stated.
    """
    plan = choose_plan(version, stated)
    return "" if plan is None or plan == choose_plan(version) else plan.form


@functools.lru_cache(MAX_PLANS)
def recall_plan(version: FileVersion, form: str = "") -> PagePlan | None:
    """Return the plan of a file that has the given form.

    Args:
        version: the current version of the file.
        form: the form that :func:`choose_page_form` has returned.

    Returns:
        The plan; that of a file about which nothing is stated if no plan has the form. None for a file that
        is not a TIFF.
    """
    pages = read_pages(version.path) if form else ()
    options = _list_plans(pages) if pages else []
    chosen = next((plan for plan in options if plan.form == form and not plan.lacks_planes), None)
    return choose_plan(version) if chosen is None else _complete(chosen, pages)


def warn_of_others(path: str, plan: PagePlan, unused: Sequence[Page] = ()) -> None:
    """Log a warning, once for each file, that names the pages that are not read.

    Args:
        path: the file.
        plan: the pages that are read.
        unused: further pages that are not read.
    """
    count = plan.other_count + len(unused)
    if not count or path in _warned:
        return
    if len(_warned) >= MAX_WARNED:
        _warned.clear()
    _warned[path] = None
    named = sorted((*plan.others, *unused), key=lambda page: page.number)[:MAX_NAMED]
    more = f" and {count - len(named)} more" if count > len(named) else ""
    read = "is read as the image" if len(plan.pages) == 1 else f"and {len(plan.pages) - 1} more are the image"
    logger.warning(
        "page %d of %s %s; not read: %s%s. If pages are channels, state them in the dataset",
        plan.pages[0].number,
        path,
        read,
        ", ".join(map(_describe, named)),
        more,
    )


def _describe(page: Page) -> str:
    """Return the number and the size of a page for a message."""
    plural = "s" if page.samples > 1 else ""
    return f"page {page.number} ({page.height} x {page.width}, {page.samples} channel{plural})"
