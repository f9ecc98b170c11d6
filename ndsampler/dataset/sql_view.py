"""
Reading a kwcoco dataset that lives in a database: many rows by one statement.

A ``kwcoco.CocoSqlDatabase`` looks like a dataset in memory, at the price of one
query for each row. Whoever needs many rows, or a few columns of all, asks here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Rows fetched at a time, so that a million of them never exist as Python objects all at once.
FETCH_ROWS = 50_000

#: Ids named by one statement.
IDS_AT_ONCE = 500


def is_view(dset: Any) -> bool:
    """Whether a dataset lives in a database.

    Example:
        >>> import kwcoco
        >>> is_view(kwcoco.CocoDataset())
        False
    """
    return hasattr(dset, "engine")


def fetch(dset: Any, query: str) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of a query, a bounded number at a time, as plain tuples.

    Args:
        dset: a ``kwcoco.CocoSqlDatabase``.
        query: a SELECT statement.
    """
    connection = dset.engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute(query)
        while rows := cursor.fetchmany(FETCH_ROWS):
            yield rows
    finally:
        connection.close()


def fetch_geometries(dset: Any, aids: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Yield what a database says of the shape of annotations.

    Args:
        dset: a ``kwcoco.CocoSqlDatabase``.
        aids: annotation ids. Those that it does not have are passed over.

    Yields:
        A dictionary with the keys ``id, image_id, category_id, segmentation, keypoints`` for each.
    """
    names = ("id", "image_id", "category_id", "segmentation", "keypoints")
    wanted = [int(aid) for aid in aids]
    for start in range(0, len(wanted), IDS_AT_ONCE):
        listed = ", ".join(map(str, wanted[start : start + IDS_AT_ONCE]))
        for rows in fetch(dset, f"SELECT {', '.join(names)} FROM annotations WHERE id IN ({listed})"):
            for aid, gid, cid, segmentation, keypoints in rows:
                values = (aid, gid, cid, from_json(segmentation), from_json(keypoints))
                yield dict(zip(names, values))


def from_json(value: Any) -> Any:
    """Return the value of a JSON column, which some drivers have parsed already.

    Example:
        >>> from_json('[1, 2]'), from_json([1, 2]), from_json('plain words')
        ([1, 2], [1, 2], 'plain words')
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
