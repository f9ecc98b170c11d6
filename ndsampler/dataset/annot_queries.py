"""
Queries for the annotations of a dataset: those that overlap a box, and their segmentations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.box_tree import NO_ROWS, ltrb_array
from ndsampler.dataset.segmentations import parse_segmentations
from ndsampler.utils.fork_safety import fork_safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    import kwimage
    from numpy.typing import NDArray

__all__ = ["AnnotQueries"]


class AnnotQueries:
    """Base class with queries for annotations.

    A derived class has the attributes ``dset`` and ``isect_index``.
    """

    dset: Any
    """The dataset."""

    isect_index: Any
    """The :class:`ndsampler.FrameIntersectionIndex` of the annotations."""

    @fork_safe
    def get_segmentations(self, aids: Sequence[int]) -> list[kwimage.MultiPolygon | None]:
        """Return the segmentations of annotations, None for those without.

        Args:
            aids: annotation ids.

        Returns:
            One entry per id, in image pixels.

        Raises:
            UnknownIdError: if the dataset lacks one of the annotations.

        Example:
            >>> import ndsampler
            >>> self = ndsampler.CocoRegions.demo()
            >>> [type(sseg).__name__ for sseg in self.get_segmentations([1, 2])]
            ['MultiPolygon', 'MultiPolygon']
        """
        return parse_segmentations(self.dset, aids)

    @fork_safe
    def overlapping_aids(self, gid: int, region: kwimage.Boxes, visible_thresh: float = 0.0) -> list[int]:
        """Return the ids of the annotations of an image that overlap a region.

        Args:
            gid: image id.
            region: a single box, in image pixels.
            visible_thresh: fraction of an annotation's box; more than this must be inside the region. With 0,
                boxes that only touch the region are included.

        Returns:
            Annotation ids, ascending.

        Raises:
            ArgumentError: if ``visible_thresh`` is not a fraction from 0 to 1.
            UnknownIdError: if the dataset has no such image.
        """
        if type(visible_thresh) is float and visible_thresh == 0:
            touched: list[int] = self.isect_index.overlapping_aids(gid, region)
            return touched
        edges = ltrb_array(region).tolist()
        found = [self.find_aids(gid, (x1, y1, x2, y2), visible_thresh) for x1, y1, x2, y2 in edges]
        result: list[int] = (
            found[0].tolist() if len(found) == 1 else np.unique(np.concatenate([NO_ROWS, *found])).tolist()
        )
        return result

    def find_aids(
        self, gid: int, ltrb: tuple[float, float, float, float], visible_thresh: float = 0.0
    ) -> NDArray[np.int64]:
        """Return the ids of the annotations of an image that overlap a box.

        Args:
            gid: image id.
            ltrb: left, top, right and bottom in image pixels.
            visible_thresh: fraction of an annotation's box; more than this must be inside ``ltrb``. With 0,
                boxes that only touch it are included.

        Returns:
            Annotation ids, ascending.

        Raises:
            UnknownIdError: if the dataset has no such image.

        Example:
            >>> import ndsampler
            >>> ndsampler.CocoRegions.demo().find_aids(1, (0, 0, 600, 600)).tolist()
            [1]
        """
        result: NDArray[np.int64] = self.isect_index.visible_aids(gid, ltrb, visible_thresh)
        return result
