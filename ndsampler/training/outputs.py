"""
Converts samples to arrays for training, in the conventions of torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError, ArgumentTypeError, UnknownOptionError
from ndsampler.training.labels import annotation_labels
from ndsampler.training.masks import instance_masks, rasterize, valid_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from ndsampler.types import Sample

#: The kind of annotations that each output needs besides boxes.
KINDS = {"masks": "segmentation", "mask": "segmentation", "keypoints": "keypoints"}


@dataclass(frozen=True)
class OutputPlan:
    """The outputs that are made from samples."""

    names: tuple[str, ...]
    """Names of the outputs."""
    labels: Mapping[int, int]
    """The label of each category id. Annotations of other categories appear only in the semantic mask, as
    ignored pixels."""
    ignore: int
    """Value of the pixels of a semantic mask that a loss should ignore."""
    keypoints: int
    """Number of keypoint categories."""

    def __post_init__(self) -> None:
        if isinstance(self.names, str) or not self.names:
            raise ArgumentTypeError(f"outputs is {self.names!r}; expected a list such as ['image', 'boxes']")
        for name in self.names:
            if name not in OUTPUTS:
                raise UnknownOptionError(
                    f"outputs names {name!r}; expected some of {', '.join(map(repr, OUTPUTS))}"
                )
        if "keypoints" in self.names and not self.keypoints:
            raise ArgumentError("outputs names 'keypoints', but the dataset has no keypoint categories")

    @property
    def with_annots(self) -> list[str] | bool:
        """The argument ``with_annots`` of ``load_sample`` for the annotations that the outputs need."""
        needed = {KINDS.get(name, "boxes") for name in self.names if name not in WITHOUT_ANNOTS}
        return sorted(needed) or False

    def make(self, sample: Sample) -> dict[str, Any]:
        """Return the outputs of a sample.

        Raises:
            ArgumentError: if an output needs a grid of pixels, and the sample has none.
        """
        if self.with_annots is False:
            view = SampleView(sample, self, np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0, bool))
        else:
            labels, boxes = annotation_labels(sample, self.labels), clipped_boxes(sample)
            kept = (labels >= 0) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
            view = SampleView(sample, self, labels, boxes, kept)
        return {name: OUTPUTS[name](view) for name in self.names}


@dataclass(frozen=True, eq=False)
class SampleView:
    """A sample, and values that several outputs need."""

    sample: Sample
    """The loaded sample."""
    plan: OutputPlan
    """The outputs to make."""
    labels: NDArray[np.int64]
    """(annotations,) labels; -1 if the category has none."""
    boxes: NDArray[np.float64]
    """(annotations, 4) left, top, right and bottom in pixels of the sample, clipped to it."""
    kept: NDArray[np.bool_]
    """(annotations,) True for annotations with a label and a box with an area above 0."""


def clipped_boxes(sample: Sample) -> NDArray[np.float64]:
    """Return the (annotations, 4) left, top, right and bottom of the boxes, clipped to the sample."""
    found = np.array(sample["annots"]["rel_boxes"].data, dtype=np.float64).reshape(-1, 4)
    if not len(found):
        return found
    found[:, 2:] += found[:, :2]
    params = sample["params"]
    (top, bottom), (left, right) = params["st_dims"]
    scale_x, scale_y = params["tf_rel_to_abs"].diagonal()[:2].tolist()
    width, height = (right - left) / scale_x, (bottom - top) / scale_y
    np.maximum(found, 0, out=found)
    return np.minimum(found, (width, height, width, height), out=found)


def _keypoints(view: SampleView) -> NDArray[np.float32]:
    """Return the (annotations, keypoint categories, 3) x, y and visibility; 0 for missing keypoints."""
    points = view.sample["annots"]["rel_kpts"]
    found = np.zeros((len(points), view.plan.keypoints, 3), np.float32)
    for row, of_annot in enumerate(points):
        if of_annot is None:
            continue
        xy = of_annot.data["xy"].data
        classes = of_annot.data.get("class_idxs")
        classes = np.arange(len(xy)) if classes is None else np.asarray(classes)
        visible = of_annot.data.get("visible")
        known = (classes >= 0) & (classes < view.plan.keypoints)
        found[row, classes[known], :2] = xy[known]
        found[row, classes[known], 2] = 2 if visible is None else np.asarray(visible)[known]
    return found[view.kept]


def _image(view: SampleView) -> Any:
    """Return the pixels with channels last; for a masked array, the stored values."""
    pixels = view.sample["im"]
    if type(pixels) is np.ndarray or isinstance(pixels, list):
        return pixels
    return np.ma.getdata(np.asanyarray(pixels))


def _mask(view: SampleView) -> NDArray[Any]:
    """Return the semantic mask."""
    return rasterize(view.sample, labels=view.plan.labels, ignore=view.plan.ignore)


#: The function that makes each output, by name.
OUTPUTS: dict[str, Callable[[SampleView], Any]] = {
    "image": _image,
    "boxes": lambda view: view.boxes[view.kept].astype(np.float32),
    "labels": lambda view: view.labels[view.kept],
    "masks": lambda view: instance_masks(view.sample)[view.kept],
    "mask": _mask,
    "keypoints": _keypoints,
    "valid": lambda view: valid_pixels(view.sample),
    "frame_index": lambda view: np.asarray(view.sample["annots"]["rel_frame_index"])[view.kept],
    "target": lambda view: view.sample["target"],
}

#: Outputs that need no annotations.
WITHOUT_ANNOTS = {"image", "valid", "target"}
