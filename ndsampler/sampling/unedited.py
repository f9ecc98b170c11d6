"""
Resolving a target against one state of the dataset, even if another thread edits it.

The region of a target is resolved against the dataset, and its annotations come from an index of the dataset.
Both belong to the same state if no edit is detected in between. Otherwise the target is resolved again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndsampler.sampling.resolve import resolve_region
from ndsampler.sampling.target import normalize_target

if TYPE_CHECKING:
    from ndsampler.coco_frames import CocoFrames
    from ndsampler.coco_regions import CocoRegions
    from ndsampler.isect_indexer import FrameIntersectionIndex
    from ndsampler.sampling.region import SampleRegion

__all__ = ["resolve_unedited"]

#: Maximum attempts to resolve a target while another thread edits the dataset. The last result is then used.
_TRIES = 20


def resolve_unedited(
    target: Any, dset: Any, frames: CocoFrames, regions: CocoRegions
) -> tuple[FrameIntersectionIndex, SampleRegion, dict[str, Any]]:
    """Resolve a target together with an index of the same state of the dataset.

    Args:
        target: the user's dictionary.
        dset: the dataset.
        frames: provides the files and sizes of images and videos.
        regions: provides the index, and detects edits.

    Returns:
        The annotations, the region, and the target with the inferred keys.

    Raises:
        TargetError, UnknownIdError: see :func:`ndsampler.sampling.resolve.resolve_region`.
        ArgumentError: if the annotation of the target has a malformed box.
    """
    for _ in range(_TRIES):
        present = regions.present()
        region, resolved = resolve_region(normalize_target(target, dset), frames)
        index = regions.index_of(present, resolved.get("aid"))
        if index is not None:
            return index, region, resolved
    return regions.isect_index, region, resolved
