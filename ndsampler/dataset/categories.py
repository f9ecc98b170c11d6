"""
The categories of a dataset as the dataset lists them, and the numbers of what it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndsampler.errors import UnknownIdError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DatasetCounts", "background_id", "list_categories", "look_up"]


class DatasetCounts:
    """Base of classes that say how many images, annotations and categories a dataset holds.

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
    """Return the categories of a dataset, in its order; none if it has no such section.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
    """
    return list(dset.dataset.get("categories", []))


def background_id(dset: Any) -> int:
    """Return the id of the category named background, 0 if there is none.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
    """
    return next((cat["id"] for cat in list_categories(dset) if cat["name"] == "background"), 0)


def look_up(known: Mapping[Any, Any], what: str, value: Any) -> Any:
    """Return the entry of a category in a mapping.

    Args:
        known: the mapping.
        what: what its keys are, ``'name'`` for example.
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
