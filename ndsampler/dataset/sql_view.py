"""
Reading many rows of a kwcoco database with one statement.

A ``kwcoco.CocoSqlDatabase`` can be used like a dataset in memory, but makes a query for every row. Code
that needs many rows, or a few columns of all rows, uses the functions of this module.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ndsampler.dataset.kwcoco_adapter import open_connection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Number of rows that are fetched at a time, so that a large table is never in memory as Python objects.
FETCH_ROWS = 50_000

#: Maximum number of ids in one statement.
IDS_AT_ONCE = 500


def fetch(dset: Any, query: str) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of a query in lists of at most :data:`FETCH_ROWS`.

    Args:
        dset: a ``kwcoco.CocoSqlDatabase``.
        query: a SELECT statement.
    """
    connection = open_connection(dset)
    try:
        cursor = connection.cursor()
        cursor.execute(query)
        while rows := cursor.fetchmany(FETCH_ROWS):
            yield rows
    finally:
        connection.close()


def fetch_geometries(dset: Any, aids: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Yield segmentation and keypoints of annotations.

    Args:
        dset: a ``kwcoco.CocoSqlDatabase``.
        aids: annotation ids. Unknown ids are skipped.

    Yields:
        For each annotation a dictionary with the keys ``id, image_id, category_id, segmentation, keypoints``.
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
    """Return the parsed value of a JSON column. Some database drivers parse it, others return text.

    Args:
        value: the value that the driver returned.

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
