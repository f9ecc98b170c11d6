"""Small datasets without image files, and oracles that loop over their dictionaries."""

from __future__ import annotations

from typing import Any

import kwcoco
import numpy as np
from helpers_optional import import_optional
from numpy.typing import NDArray

#: Image ids that are neither contiguous nor in order.
GIDS = (10, 3, 7)


def make_dataset(
    boxes: dict[int, list[Any]], sizes: dict[int, tuple[int, int]] | None = None
) -> kwcoco.CocoDataset:
    """Return a dataset of boxes (x, y, width, height; or None) by image id; images are 100 x 80."""
    dset = kwcoco.CocoDataset()
    cid = dset.add_category("thing")
    for gid in boxes:
        width, height = (sizes or {}).get(gid, (100, 80))
        dset.add_image(id=gid, file_name=f"{gid}.png", width=width, height=height)
    for gid, of_image in boxes.items():
        for box in of_image:
            dset.add_annotation(image_id=gid, category_id=cid, **({} if box is None else {"bbox": list(box)}))
    return dset


def random_dataset(rng: np.random.RandomState, per_image: int = 20, whole: bool = True) -> kwcoco.CocoDataset:
    """Return a dataset of three images with interleaved annotations, whose boxes may extend outside."""
    dset = make_dataset({gid: [] for gid in GIDS})
    for gid in np.repeat(GIDS, per_image)[rng.permutation(per_image * len(GIDS))].tolist():
        box = np.concatenate([rng.rand(2) * 100 - 10, rng.rand(2) * 40])
        dset.add_annotation(image_id=gid, category_id=1, bbox=(np.round(box) if whole else box).tolist())
    return dset


def ltrb_of(dset: kwcoco.CocoDataset, gid: int) -> dict[int, NDArray[np.float64]]:
    """Return the edges of the boxes of an image by annotation id, with a loop over its annotations."""
    edges = {}
    for aid in sorted(dset.gid_to_aids[gid]):
        if dset.anns[aid].get("bbox"):
            x, y, w, h = dset.anns[aid]["bbox"]
            edges[aid] = np.array([x, y, x + w, y + h], dtype=float)
    return edges


def touches(first: Any, second: Any) -> bool:
    """Return whether two boxes have a point in common, including their edges."""
    return bool(
        first[0] <= second[2] and second[0] <= first[2] and first[1] <= second[3] and second[1] <= first[3]
    )


def intersection(first: Any, second: Any) -> float:
    """Return the area that two boxes share."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0.0, width) * max(0.0, height)


def area(box: Any) -> float:
    """Return the area of a box."""
    return (box[2] - box[0]) * (box[3] - box[1])


def sql_view(dset: kwcoco.CocoDataset, tmp_path: Any) -> Any:
    """Return a dataset as an sqlite database."""
    import_optional("sqlalchemy")
    dset.fpath = str(tmp_path / "data.kwcoco.json")
    dset.dump(dset.fpath)
    return dset.view_sql(memory=True)
