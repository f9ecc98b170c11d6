"""
The parts of kwcoco beyond its documented interface that this library uses.

Index objects, private methods and counters, and the tables and columns of a database are used only here, so
that a new version of kwcoco needs changes only in this module.
``tests/test_kwcoco_adapter.py`` checks every function against the installed version.

``dset`` is a ``kwcoco.CocoDataset``, held in memory, or a ``kwcoco.CocoSqlDatabase``, which has the same
attributes but queries a database for every row.
"""

from __future__ import annotations

from typing import Any

#: All images: id, size, video, frame index and transform; and the JSON object of keys without a column of
#: their own, if it may contain a valid region.
IMAGES_QUERY = (
    "SELECT id, width, height, video_id, frame_index, warp_img_to_vid, "
    "CASE WHEN CAST(_unstructured AS TEXT) LIKE '%valid_region%' THEN _unstructured END "
    "FROM images"
)

#: Id and file name of the images whose size is not stated.
UNSIZED_QUERY = (
    "SELECT id, file_name FROM images WHERE (width IS NULL OR height IS NULL) AND file_name IS NOT NULL"
)

#: All annotations: id, image, category, and the box as four columns.
ANNOTS_QUERY = "SELECT id, image_id, category_id, _bbox_x, _bbox_y, _bbox_w, _bbox_h FROM annotations"

#: Annotations without a box that may have geometry: id, image and its size, segmentation and keypoints.
UNBOXED_QUERY = (
    "SELECT annotations.id, image_id, width, height, segmentation, keypoints FROM annotations "
    "LEFT JOIN images ON images.id = image_id WHERE _bbox_x IS NULL "
    "AND (segmentation IS NOT NULL OR keypoints IS NOT NULL)"
)

#: Id and track of the annotations that have a track.
TRACKS_QUERY = "SELECT id, track_id FROM annotations WHERE track_id IS NOT NULL"


def is_view(dset: Any) -> bool:
    """Whether a dataset is a view of a database.

    Example:
        >>> import kwcoco
        >>> is_view(kwcoco.CocoDataset())
        False
    """
    return hasattr(dset, "engine")


def is_in_memory(table: Any) -> bool:
    """Whether a lookup in a table of a dataset, such as ``dset.imgs``, costs no query.

    Example:
        >>> import kwcoco
        >>> is_in_memory(kwcoco.CocoDataset().imgs)
        True
    """
    return isinstance(table, dict)


def list_parts(img: Any) -> list[Any]:
    """Return the ``auxiliary`` and ``assets`` of an image, in the order of ``kwcoco.CocoImage.iter_assets``.

    Args:
        img: the entry of the image.

    Example:
        >>> list_parts({'assets': ['b'], 'auxiliary': ['a']})
        ['a', 'b']
    """
    return [*(img.get("auxiliary") or ()), *(img.get("assets") or ())]


def open_connection(dset: Any) -> Any:
    """Return a DB-API connection to the database of a view. The caller closes it."""
    return dset.engine.raw_connection()


def annots_of_image(dset: Any, gid: Any) -> list[int]:
    """Return the ids of the annotations of an image, ascending.

    Args:
        dset: the dataset.
        gid: id of an image that the dataset contains.
    """
    return sorted(dset.index.gid_to_aids[gid])


def frames_of_video(dset: Any, vidid: Any) -> list[int]:
    """Return the ids of the images of a video in the order of their frame indexes.

    Args:
        dset: the dataset.
        vidid: id of the video.

    Raises:
        KeyError: if the dataset has no such video.
        TypeError: if the id is not hashable.
    """
    gids = list(dset.index.vidid_to_gids[vidid])
    if not gids:
        # A view returns no frames for an unknown video instead of raising a KeyError.
        find_video(dset, vidid)
    return gids


def video_ids(dset: Any) -> list[int]:
    """Return the ids of all videos.

    Args:
        dset: the dataset.
    """
    return list(dset.index.videos.keys())


def find_video(dset: Any, vidid: Any) -> dict[str, Any]:
    """Return the dictionary of a video.

    Args:
        dset: the dataset.
        vidid: id of the video.

    Raises:
        KeyError: if the dataset has no such video.
    """
    result: dict[str, Any] = dset.index.videos[vidid]
    return result


def find_category(dset: Any, name: Any) -> dict[str, Any] | None:
    """Return the dictionary of the category with the given name; None if there is none.

    Args:
        dset: the dataset.
        name: name of the category.
    """
    result: dict[str, Any] | None = dset.index.name_to_cat.get(name)
    return result


def edit_counters(dset: Any) -> tuple[Any, ...]:
    """Return numbers that change when something is added to a dataset or removed from it.

    These are the numbers of annotations, images and categories, the identity of the index, the next unused
    ids, and whether kwcoco has recorded a modification. The identities of the annotation and the image that
    were added last (:func:`last_entries`) are included, because they change if another entry takes the id of
    a removed one. Changing a value in place changes none of the numbers.

    Args:
        dset: a ``kwcoco.CocoDataset``.

    Returns:
        The numbers; an empty tuple for a dataset without an index.
    """
    index = getattr(dset, "index", None)
    if index is None:
        return ()
    unused = dset._next_ids.unused
    dataset = dset.dataset
    try:  # this runs for every sample; two lookups are faster than two calls
        last: tuple[int, ...] = (id(dataset["annotations"][-1]), id(dataset["images"][-1]))
    except (KeyError, IndexError):
        last = tuple(map(id, last_entries(dset)))
    return (
        len(index.anns),
        len(index.imgs),
        len(index.cats),
        id(index.anns),
        unused["annotations"],
        unused["images"],
        dset._state["was_modified"],
        last,
    )


def last_entries(dset: Any) -> tuple[Any, ...]:
    """Return the annotation and the image that were added last, if there are any.

    Args:
        dset: a ``kwcoco.CocoDataset``.
    """
    sections = (dset.dataset.get(name) for name in ("annotations", "images"))
    return tuple(section[-1] for section in sections if isinstance(section, list) and section)


def build_hash(dset: Any) -> str | None:
    """Return kwcoco's hash of all contents of a dataset; None for a view, which has no such hash.

    Args:
        dset: the dataset. kwcoco prints a warning if it contains values that cannot be written as JSON.

    Raises:
        TypeError: if kwcoco cannot hash a value, such as a path or an array.
    """
    if not hasattr(dset, "_build_hashid"):
        return None
    return str(dset._build_hashid())
