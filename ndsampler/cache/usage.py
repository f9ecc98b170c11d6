"""
Finds the entries that belong to the files of given datasets.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

from ndsampler.cache.identity import Source, SourceIdentifier, SourceIdentity
from ndsampler.utils.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ndsampler.backends.label import EntryLabel

logger = get_logger(__name__)


class HasSources(Protocol):
    """The images of a dataset, and the files of each; :class:`ndsampler.Frames` is one."""

    @property
    def image_ids(self) -> Any:
        """The ids of all images."""

    def sources(self, image_id: Any) -> Iterable[Source]:
        """Return the files of an image."""


class Sources:
    """The files of some datasets. :meth:`uses` finds the entries that belong to them.

    Args:
        frames: the images of each dataset.

    Raises:
        SourceError: if the description of an image in a dataset is invalid.

    Example:
        >>> from ndsampler.abstract_frames import SimpleFrames
        >>> from ndsampler.backends.label import EntryLabel
        >>> sources = Sources([SimpleFrames({1: '/data/a.png'}), SimpleFrames({7: '/data/b.png'})])
        >>> label = EntryLabel('/data/b.png', 9, 0, '', (2, 3, 1), 'uint8', None)
        >>> sources.uses(label)
        True
    """

    def __init__(self, frames: Iterable[HasSources]) -> None:
        self._paths: set[str] = set()
        self._given: set[str] = set()
        for each in frames:
            for image_id in each.image_ids:
                for source in each.sources(image_id):
                    self._paths.add(source.path)
                    if source.given_hash:
                        self._given.add(source.given_hash)
        self._by_size: dict[int, list[str]] | None = None
        self._identifier = SourceIdentifier("PIXELS")

    def uses(self, label: EntryLabel) -> bool:
        """Whether an entry was made from one of the files, even if the file has been moved since.

        An entry that is named after its content may belong to a file that has another name now. To find out,
        each file of the same size is hashed once.
        """
        if not label.content:
            return label.source in self._paths
        if label.content in self._given:
            return True
        if label.source in self._paths and SourceIdentity.from_label(label).is_unchanged():
            return True
        return any(self._hash(path) == label.content for path in self._of_size(label.size))

    def _of_size(self, size: int) -> list[str]:
        """Return the files of the given size in bytes."""
        if self._by_size is None:
            self._by_size = {}
            for path in self._paths:
                try:
                    self._by_size.setdefault(os.stat(path).st_size, []).append(path)
                except OSError as ex:
                    logger.debug("the size of %s is unknown: %s", path, ex)
        return self._by_size.get(size, [])

    def _hash(self, path: str) -> str:
        """Return the hash of a file's content; an empty string if the file cannot be read."""
        try:
            return self._identifier.identify(Source(path)).content
        except OSError as ex:
            logger.debug("%s cannot be read: %s", path, ex)
            return ""
