"""
The categories of a dataset, and the numbers of its images, annotations and categories.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from numbers import Real
from typing import TYPE_CHECKING, Any

from ndsampler.dataset.columns import check_ids
from ndsampler.dataset.kwcoco_adapter import is_view, video_ids
from ndsampler.errors import ArgumentError, UnknownIdError
from ndsampler.utils.limits import get_limits

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DatasetCounts", "background_id", "check_dataset", "list_categories", "list_keypoints", "look_up"]


class DatasetCounts:
    """Base class with the numbers of images, annotations and categories of a dataset.

    A derived class has the attribute ``dset``.
    """

    dset: Any
    """The dataset."""

    @property
    def class_ids(self) -> list[int]:
        """Category ids, in the order of the dataset."""
        return [cat["id"] for cat in list_categories(self.dset)]

    @property
    def class_index(self) -> dict[int, int]:
        """Category id to 0 ... n - 1, in the order of :attr:`class_ids`: labels for training.

        Every category that the dataset lists has an index, whether or not it has annotations, so that all
        parts of a dataset have the same indexes. Supercategories that are not listed as categories, which
        ``classes.id_to_idx`` counts too, have none.
        """
        return {cid: index for index, cid in enumerate(self.class_ids)}

    @property
    def n_annots(self) -> int:
        """Number of annotations in the dataset."""
        return len(self.dset.anns)

    @property
    def n_images(self) -> int:
        """Number of images in the dataset."""
        return len(self.dset.imgs)

    @property
    def n_categories(self) -> int:
        """Number of categories in the dataset."""
        return len(self.dset.cats)


def list_categories(dset: Any) -> list[dict[str, Any]]:
    """Return the categories in the order of the dataset; an empty list if it has no such section.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
    """
    return list(dset.dataset.get("categories", []))


def list_keypoints(dset: Any) -> list[Any]:
    """Return the keypoint categories of a dataset; an empty list if it has none.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.

    Returns:
        The dictionaries of the section ``keypoint_categories``. If there is no such section, the names of the
        keypoints that the categories list, in the order of the category ids.
    """
    section = dset.dataset.get("keypoint_categories")
    if section is None:
        cats = sorted(list_categories(dset), key=lambda cat: cat["id"])
        return [name for cat in cats for name in cat.get("keypoints", ())]
    # A category that names itself as its supercategory counts as one without.
    return [
        {key: val for key, val in cat.items() if key != "supercategory" or val != cat["name"]}
        for cat in map(dict, section)
    ]


def background_id(dset: Any) -> int:
    """Return the id of the category ``background``, or 0 if there is none.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
    """
    return next((cat["id"] for cat in list_categories(dset) if cat.get("name") == "background"), 0)


def check_dataset(dset: Any) -> None:
    """Raise an error if ids are too large, or if the categories do not form a hierarchy.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.

    Raises:
        ArgumentError: if an id needs more than 64 bits; if a category has no name, an id that is not a
            number, or keypoints without names; if supercategories form a cycle, or there are more levels than
            :attr:`ndsampler.utils.limits.Limits.category_depth`. A category that names itself as its
            supercategory counts as one without.
    """
    if not is_view(dset):  # a database cannot hold other ids
        check_ids(dset.imgs, "image")
        check_ids(dset.anns, "annotation")
        check_ids(video_ids(dset), "video")
    for section in ("categories", "keypoint_categories"):
        categories = [dict(cat) for cat in dset.dataset.get(section) or ()]
        if is_view(dset):  # a column without a value is a field that the dataset does not state
            categories = [{key: val for key, val in cat.items() if val is not None} for cat in categories]
        for cat in categories:
            _check_category(cat)
        _check_levels(categories)


def _check_category(cat: dict[str, Any]) -> None:
    """Raise an error if the name, id, supercategory or keypoints of a category are invalid."""
    name, cid = cat.get("name"), cat.get("id")
    if name is None or name == "" or not isinstance(name, Hashable):
        raise ArgumentError(f"category {cid!r} of the dataset has the name {name!r}; expected text")
    if not isinstance(cat.get("supercategory"), Hashable):
        raise ArgumentError(
            f"category {name!r} has the supercategory {cat['supercategory']!r}; expected text"
        )
    if "id" in cat and not isinstance(cid, Real):
        raise ArgumentError(f"category {name!r} of the dataset has the id {cid!r}; expected a whole number")
    keypoints = cat.get("keypoints", [])
    if not isinstance(keypoints, list) or not all(isinstance(point, (str, int)) for point in keypoints):
        raise ArgumentError(f"category {name!r} has the keypoints {keypoints!r}; expected a list of names")
    check_ids([cid], "category")


def _check_levels(categories: list[dict[str, Any]]) -> None:
    """Raise an error if supercategories form a cycle or have too many levels."""
    children: dict[Any, list[Any]] = {}
    parents: Counter[Any] = Counter()
    for cat in categories:
        name, parent = cat["name"], cat.get("supercategory")
        if parent is not None and parent != name:
            children.setdefault(parent, []).append(name)
            parents[name] += 1
    level = [name for name in children if not parents[name]]
    depth = 1
    while level:
        if depth > get_limits().category_depth:
            raise ArgumentError(
                f"the categories of the dataset have more than {get_limits().category_depth} levels, which "
                "is the limit; see ndsampler.utils.limits"
            )
        below = [child for name in level for child in children.pop(name, ())]
        parents.subtract(below)
        level = [name for name in dict.fromkeys(below) if not parents[name]]
        depth += 1
    cyclic = [name for name in children if parents[name] > 0]
    if cyclic:
        raise ArgumentError(
            f"the supercategories of category {cyclic[0]!r} form a cycle; expected that each category leads "
            "to one without a supercategory"
        )


def look_up(known: Mapping[Any, Any], what: str, value: Any) -> Any:
    """Return the value of a category in a mapping.

    Args:
        known: the mapping, by id, name or index of the categories.
        what: the kind of its keys for the error message, for example ``'name'``.
        value: the key.

    Raises:
        UnknownIdError: if there is no such key.
    """
    try:
        return known[value]
    except (KeyError, TypeError):
        raise UnknownIdError(
            f"no category has the {what} {value!r}; expected one of {list(known)[:20]}; see class_ids"
        ) from None
