"""
Labels for training: maps category ids to consecutive numbers from 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ndsampler.category_tree import CategoryTree
    from ndsampler.types import Sample

#: Name of the category whose label is 0.
BACKGROUND = "background"


def label_numbers(classes: CategoryTree) -> dict[int, int]:
    """Return the label of each category id. As in torchvision, 0 is background and the others start at 1.

    Args:
        classes: the categories of a dataset. Supercategories that are not categories themselves get no label.

    Returns:
        A label for each category id, in the order of the dataset. A category named background has label 0.

    Example:
        >>> import ndsampler
        >>> categories = [{'id': 7, 'name': 'boat'}, {'id': 3, 'name': 'buoy'}]
        >>> label_numbers(ndsampler.CategoryTree.coerce(categories))
        {7: 1, 3: 2}
    """
    nodes = classes.graph.nodes
    listed = [name for name in classes if nodes[name].get("id") is not None]
    objects = [name for name in listed if name != BACKGROUND]
    numbers = {name: number for number, name in enumerate(objects, 1)}
    return {nodes[name]["id"]: numbers.get(name, 0) for name in listed}


def label_names(classes: CategoryTree) -> list[str]:
    """Return the names of the labels of :func:`label_numbers`, starting with background.

    Example:
        >>> import ndsampler
        >>> label_names(ndsampler.CategoryTree.coerce([{'id': 7, 'name': 'boat'}]))
        ['background', 'boat']
    """
    ids = classes.graph.nodes
    return [BACKGROUND, *(name for name in classes if name != BACKGROUND and ids[name].get("id") is not None)]


def annotation_labels(sample: Sample, labels: Mapping[int, int]) -> NDArray[np.int64]:
    """Return the label of each annotation of a sample; -1 for annotations whose category has no label.

    Args:
        sample: a sample that was loaded with annotations.
        labels: the label of each category id.

    Raises:
        ArgumentError: if the sample was loaded without annotations.
    """
    annots = sample.get("annots")
    if annots is None:
        raise ArgumentError("the sample has no annotations; load it with with_annots=True")
    return np.array([labels.get(cid, -1) for cid in annots["cids"].tolist()], dtype=np.int64)
