"""Draws predictions beside the true annotations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError, ArgumentTypeError
from ndsampler.preview.sample import caption_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.category_tree import CategoryTree
    from ndsampler.types import Sample

__all__ = ["PREDICTION", "Predict", "pair_up"]

#: A function that takes a sample and returns detections in its coordinates, or a label for each pixel.
Predict = Callable[[Any], Any]

#: Caption of a prediction.
PREDICTION = "prediction"

#: Name of the category whose label is 0.
_BACKGROUND = "background"


def pair_up(
    samples: Sequence[Sample | Mapping[str, Any]], predict: Predict, classes: CategoryTree
) -> tuple[list[Any], list[str]]:
    """Return each sample followed by a copy with predictions instead of annotations, and all captions.

    Args:
        samples: samples of still images.
        predict: function that is called with each sample. It returns a ``kwimage.Detections`` in coordinates
            of the sample, or (height, width) labels: 0 for background, and 1 to n for the categories in
            order.
        classes: the categories of the dataset.

    Raises:
        ArgumentTypeError: if the function returns anything else.
        ArgumentError: if the labels have another size than the sample, or one is out of range.

    Example:
        >>> import ndsampler
        >>> sampler = ndsampler.CocoSampler.demo('shapes8')
        >>> sample = sampler.load_positive(0)
        >>> pair, captions = pair_up([sample], lambda s: s['annots']['frame_dets'][0], sampler.classes)
        >>> captions[1], pair[1]['im'] is sample['im']
        ('prediction', True)
    """
    pairs: list[Any] = []
    captions: list[str] = []
    for sample in samples:
        found = _as_detections(predict(sample), np.shape(sample["im"])[:2], classes)
        pairs += [sample, {**sample, "annots": {"frame_dets": [found]}}]
        captions += [caption_of(sample, classes), PREDICTION]
    return pairs, captions


def _as_detections(found: Any, dims: tuple[int, ...], classes: CategoryTree) -> Any:
    """Return a prediction as detections."""
    if hasattr(found, "boxes") and hasattr(found, "data"):
        return found
    labels = np.asarray(found)
    if labels.dtype.kind not in "iub":
        raise ArgumentTypeError(
            f"predict returned a {type(found).__name__}; expected a kwimage.Detections, or an array of whole "
            "numbers, the label of each pixel"
        )
    if labels.shape != dims:
        raise ArgumentError(f"predict returned labels of shape {labels.shape} for a sample of shape {dims}")
    return _outline(labels, classes)


def _outline(labels: NDArray[Any], classes: CategoryTree) -> Any:
    """Return a detection for each category in an array of labels, with the outlines of its pixels."""
    import kwimage

    nodes = classes.graph.nodes
    ids = [nodes[name]["id"] for name in classes if name != _BACKGROUND and nodes[name].get("id") is not None]
    found = [int(label) for label in np.unique(labels) if label]
    wrong = [label for label in found if not 0 < label <= len(ids)]
    if wrong:
        raise ArgumentError(f"predict returned the label {wrong[0]}; expected 0 to {len(ids)}")
    masks = [kwimage.Mask((labels == label).astype(np.uint8), "c_mask") for label in found]
    # NaN boxes are not drawn.
    boxes = kwimage.Boxes(np.full((len(found), 4), np.nan), "xywh", check=False)
    data = {
        "boxes": boxes,
        "segmentations": kwimage.SegmentationList([mask.to_multi_polygon() for mask in masks]),
        "cids": np.array([ids[label - 1] for label in found], dtype=np.int64),
    }
    return kwimage.Detections(data=data, meta={"classes": classes}, checks=False)
