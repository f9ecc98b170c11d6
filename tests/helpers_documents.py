"""The small dataset of the examples in README.rst and docs/, and a runner for them."""

from __future__ import annotations

import doctest
import json
import pathlib
import re
import shutil

import numpy as np

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS

KEYPOINTS = [{"id": 1, "name": "bow"}, {"id": 2, "name": "stern"}]

CATEGORIES = [
    {"id": 1, "name": "boat", "keypoints": ["bow", "stern"]},
    {"id": 2, "name": "buoy"},
]


def smooth_texture(height: int, width: int) -> np.ndarray:
    """Return (height, width, 3) 8-bit pixels without noise, in which neighboring rows and columns differ."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 37 + y / 91), np.cos(x / 53 - y / 29), np.sin((x + y) / 71)]
    return np.round(127 + 60 * np.stack(waves, axis=-1)).astype(np.uint8)


def boat(aid: int, gid: int, x: int, y: int) -> dict:
    """Return an annotation with a box, a polygon and two keypoints."""
    return {
        "id": aid,
        "image_id": gid,
        "category_id": 1,
        "bbox": [x, y, 80, 40],
        "segmentation": {"exterior": [[x, y], [x + 80, y + 20], [x, y + 40]], "interiors": []},
        "keypoints": [
            {"xy": [x + 80, y + 20], "visible": 2, "keypoint_category_id": 1},
            {"xy": [x, y + 20], "visible": 2, "keypoint_category_id": 2},
        ],
    }


def write_dataset(folder: pathlib.Path) -> pathlib.Path:
    """Write ``my.kwcoco.json``: two images, ten boats and two buoys.

    ``annotations.json`` has the same content in the MS-COCO format, without sizes; its images are in the
    folder ``pictures``.

    Args:
        folder: folder to write to.

    Returns:
        The path of the kwcoco dataset.
    """
    import kwimage

    kwimage.imwrite(folder / "harbour.png", smooth_texture(900, 1200))
    kwimage.imwrite(folder / "river.png", smooth_texture(600, 800))
    images = [
        {"id": 1, "file_name": "harbour.png", "width": 1200, "height": 900},
        {"id": 2, "file_name": "river.png", "width": 800, "height": 600},
    ]
    boats = [boat(i + 1, 1, 120 + 280 * (i % 4), 150 + 400 * (i // 4)) for i in range(8)]
    boats += [boat(9, 2, 100, 100), boat(10, 2, 500, 400)]
    buoys = [
        {"id": 11, "image_id": 1, "category_id": 2, "bbox": [210, 160, 12, 12]},
        {"id": 12, "image_id": 2, "category_id": 2, "bbox": [400, 300, 12, 12]},
    ]
    dataset = {
        "images": images,
        "annotations": boats + buoys,
        "categories": CATEGORIES,
        "keypoint_categories": KEYPOINTS,
    }
    path = folder / "my.kwcoco.json"
    path.write_text(json.dumps(dataset), encoding="utf-8")
    write_coco(folder, boats + buoys)
    return path


def write_coco(folder: pathlib.Path, annots: list[dict]) -> None:
    """Write the dataset in the MS-COCO format, with its images in a separate folder."""
    (folder / "pictures").mkdir()
    images = []
    for gid, name in enumerate(("harbour.png", "river.png"), 1):
        shutil.copy(folder / name, folder / "pictures" / name)
        images.append({"id": gid, "file_name": name, "license": 1, "date_captured": "2017-11-14 11:18:45"})
    annotations = [
        {key: ann[key] for key in ("id", "image_id", "category_id", "bbox")}
        | {"area": ann["bbox"][2] * ann["bbox"][3], "iscrowd": 0}
        for ann in annots
    ]
    categories = [{"id": cat["id"], "name": cat["name"], "supercategory": "vessel"} for cat in CATEGORIES]
    content = {"info": {}, "licenses": [{"id": 1}], "images": images, "categories": categories}
    path = folder / "annotations.json"
    path.write_text(json.dumps({**content, "annotations": annotations}), encoding="utf-8")


def failures_of(document: pathlib.Path) -> str:
    """Run the ``>>>`` examples of a document, in one namespace, from the current folder.

    Args:
        document: a reStructuredText file.

    Returns:
        The report of doctest on the examples that failed; empty if none did.
    """
    text = document.read_text(encoding="utf-8")
    test = doctest.DocTestParser().get_doctest(
        text, {"__name__": "__main__"}, document.name, str(document), 0
    )
    report: list[str] = []
    doctest.DocTestRunner(verbose=False, optionflags=FLAGS).run(test, out=report.append)
    return "".join(report)


def python_blocks(document: pathlib.Path) -> list[str]:
    """Return the ``.. code-block:: python`` blocks of a document, without their indentation."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:(?: {4}.*)?\n)+)", text, re.MULTILINE)
    return [re.sub(r"^ {4}", "", block, flags=re.MULTILINE) for block in blocks]
