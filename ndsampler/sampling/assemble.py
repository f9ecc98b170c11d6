"""
Step 6: assembling the dictionary for the user.

Only this module writes the keys that exist for programs written for earlier releases.
"""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.frames.specs import fused_spec
from ndsampler.sampling.finish import finish_frames
from ndsampler.sampling.options import read_flag
from ndsampler.windows import is_sequence

if TYPE_CHECKING:
    import kwimage

    from ndsampler.sampling.annots import FrameAnnots
    from ndsampler.sampling.finish import FramePixels
    from ndsampler.sampling.region import SampleRegion
    from ndsampler.types import Annots, Sample, SampleParams

#: Types of numbers. ``Real`` includes the others, but checking for them first is faster.
_NUMBERS: tuple[Any, ...] = (int, float, Real)


def assemble_sample(
    region: SampleRegion,
    target: dict[str, Any],
    frames: list[FramePixels],
    annots: list[FrameAnnots] | None,
    classes: Any,
    kp_classes: Any,
) -> Sample:
    """Return a sample.

    Args:
        region: the region that was sampled.
        target: the resolved target, to which keys are added.
        frames: pixels of each frame.
        annots: annotations of each frame; None if no annotations were requested.
        classes: tree of the categories.
        kp_classes: tree of the keypoint categories.

    Returns:
        See :class:`ndsampler.types.Sample`.
    """
    if target.get("cx") is not None:
        _add_relative_center(target, region)
    sample: Sample = {
        "im": finish_frames(region, frames),
        "target": target,
        "params": _params(region, frames),
    }
    if "legacy_target" not in target or read_flag(target, "legacy_target", True):
        sample["tr"] = target
    if annots is not None:
        sample["annots"] = assemble_annots(annots, target, classes, kp_classes)
        if "aids" in sample["annots"]:
            target["annot_idx"] = _annot_idx(target.get("aid"), sample["annots"]["aids"])
    sample["classes"] = classes
    sample["kp_classes"] = kp_classes
    return sample


def assemble_annots(
    annots: list[FrameAnnots], target: dict[str, Any], classes: Any, kp_classes: Any
) -> Annots:
    """Return the key ``annots`` of a sample.

    Args:
        annots: annotations of each frame.
        target: if its key ``legacy_annots`` is False, the arrays for older programs are left out.
        classes: tree of the categories.
        kp_classes: tree of the keypoint categories.

    Returns:
        See :class:`ndsampler.types.Annots`.
    """
    detections = [_detections(frame, index, classes, kp_classes) for index, frame in enumerate(annots)]
    if "legacy_annots" not in target or read_flag(target, "legacy_annots", True):
        return _legacy_annots(annots, detections, kp_classes)
    return {"frame_dets": detections}


def _add_relative_center(target: dict[str, Any], region: SampleRegion) -> None:
    """Add the center in sample coordinates to the target, if ``cx`` and ``cy`` are numbers."""
    cx, cy = target["cx"], target.get("cy")
    if not (isinstance(cx, _NUMBERS) and isinstance(cy, _NUMBERS)):
        return
    box, (scale_x, scale_y) = region.padded_box, region.options.scale
    target["rel_cx"] = (cx - box.x0) * scale_x
    target["rel_cy"] = (cy - box.y0) * scale_y


def _params(region: SampleRegion, frames: list[FramePixels]) -> SampleParams:
    """Return the values that relate sample and image coordinates."""
    import kwimage

    box = region.padded_box
    (top, bottom), (left, right) = region.pad
    ltrb = np.array([box.x0, box.y0, box.x1, box.y1])
    warp = region.warp_space_from_sample
    params: SampleParams = {
        "offset": np.array([-box.x0, -box.y0]),
        "tf_rel_to_abs": warp,
        "sample_tlbr": kwimage.Boxes(ltrb[None] if region.is_video else ltrb, "ltrb", check=False),
        "st_dims": [(box.y0, box.y1), (box.x0, box.x1)],
        "data_dims": region.data_dims,
        "pad": (top, left) if top == bottom and left == right else region.pad,
    }
    if region.is_video:
        params["pad"] = region.stated_pad
        named = region.names_channels and frames[0].channels is not None
        params["request_chanspec"] = fused_spec(frames[0].channels or ()) if named else None
        sample_from_grid = np.linalg.inv(warp)
        warps = [] if region.is_native else [kwimage.Affine(sample_from_grid.copy()) for _ in frames]
        params["frame_sample_from_grid_warps"] = warps
        if region.is_native or region.options.realign:
            params["jagged_meta"] = [frame.parts for frame in frames if frame.parts is not None]
    return params


def _detections(frame: FrameAnnots, index: int, classes: Any, kp_classes: Any) -> kwimage.Detections:
    """Return the annotations of a frame as kwimage detections."""
    import kwimage

    data = {
        "boxes": kwimage.Boxes(frame.boxes, "xywh", check=False),
        "keypoints": kwimage.PointsList(frame.keypoints, {"classes": kp_classes}),
        "segmentations": kwimage.SegmentationList(frame.segmentations),
        "aids": frame.aids,
        "cids": frame.cids,
    }
    meta = {"classes": classes, "gid": frame.gid, "rel_frame_index": index}
    return kwimage.Detections(data=data, meta=meta, checks=False)


def _legacy_annots(
    annots: list[FrameAnnots], detections: list[kwimage.Detections], kp_classes: Any
) -> Annots:
    """Return the annotations of all frames concatenated, and for each frame."""
    import kwimage

    first = annots[0]
    if len(annots) == 1:
        aids, cids, boxes = first.aids, first.cids, first.boxes
        index = np.zeros(len(aids), dtype=np.int64)
        ssegs, kpts = list(first.segmentations), list(first.keypoints)
    else:
        aids = np.concatenate([frame.aids for frame in annots])
        cids = np.concatenate([frame.cids for frame in annots])
        boxes = np.concatenate([frame.boxes for frame in annots])
        index = np.repeat(np.arange(len(annots)), [len(frame.aids) for frame in annots])
        ssegs = [sseg for frame in annots for sseg in frame.segmentations]
        kpts = [points for frame in annots for points in frame.keypoints]
    return {
        "aids": aids,
        "cids": cids,
        "rel_frame_index": index,
        "rel_boxes": kwimage.Boxes(boxes, "xywh", check=False),
        "rel_ssegs": kwimage.PolygonList(ssegs),
        "rel_kpts": kwimage.PointsList(kpts, {"classes": kp_classes}),
        "frame_dets": detections,
    }


def _annot_idx(aid: Any, aids: Any) -> int:
    """Return the index of the target's annotation in the sample; -1 if the sample does not contain it."""
    if aid is None or is_sequence(aid):
        return -1
    where = np.flatnonzero(aids == aid)
    return int(where[0]) if len(where) else -1
