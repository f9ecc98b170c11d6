"""Tiny kwcoco datasets for sampling, with the expected pixels of their images."""

from __future__ import annotations

import pathlib
import warnings
from dataclasses import dataclass
from typing import Any

import kwcoco
import kwimage
import numpy as np
from helpers_images import random_pixels, write_png, write_tiff

#: (height, width) of the annotated image: not square, and larger than the smallest tile of the cog backend.
DIMS = (37, 53)

#: Image ids. They differ from positions, so that tests detect when the two are mixed up.
RGB, GRAY, DEEP, FLOAT, ASSETS, AUXILIARY, EMPTY = 11, 4, 7, 9, 21, 20, 30

#: The value that the floating point image declares as "no measurement".
NODATA = -99.0

#: Size of the smaller file of images with several files, and its scale factor to the image.
SMALL_DIMS, SMALL_SCALE = (12, 15), 2.0

#: Annotation ids of the RGB image, named after their special property.
PLAIN, OLD_POLYGON, NEW_POLYGON, HOLES, MULTI, OLD_MULTI = 101, 102, 103, 104, 105, 106
RLE, OLD_POINTS, NEW_POINTS, COLUMN_POINTS, EVERYTHING = 107, 109, 110, 111, 112
NO_CATEGORY, NULL_CATEGORY, NO_BOX, EMPTY_PIECES, NULL_PIECES = 113, 114, 115, 116, 117

#: Annotation of another image.
ELSEWHERE = 55

#: Annotations of the RGB image that have a box.
BOXED = [*range(101, 108), *range(109, 115), 116, 117]

#: Annotations of the RGB image that samples list; NO_BOX has the extent of its polygon.
SHOWN = sorted([*BOXED, NO_BOX])

STAR, SHAPE, FIGURE, CHILD = 5, 3, 9, 2


@dataclass
class Stills:
    """A dataset and the pixels of its images."""

    dset: kwcoco.CocoDataset
    """The dataset."""
    pixels: dict[int, np.ndarray]
    """(height, width, channels) pixels of each image with one file."""
    assets: dict[str, np.ndarray]
    """(height, width, channels) pixels of the files of images with several files, by channel code."""


def mask() -> np.ndarray:
    """Return the mask of the run-length encoded annotations: a rectangle with a hole."""
    values = np.zeros(DIMS, np.uint8)
    values[20:31, 30:44] = 1
    values[24:27, 34:38] = 0
    return values


def run_lengths(values: np.ndarray) -> list[int]:
    """Return the lengths of alternating runs of zeros and ones in column-major order, as in COCO."""
    flat = values.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
    return np.diff([0, *edges, flat.size]).tolist()


def pack_run_lengths(counts: list[int]) -> str:
    """Return COCO's compressed form of run lengths: differences in groups of five bits."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr((bits | 0x20 if more else bits) + 48)
    return text


def annotations() -> list[dict[str, Any]]:
    """Return annotations of the RGB image of every kind, and one of another image."""
    holed = {
        "exterior": [[20.5, 4], [40, 6], [36, 22], [22, 20]],
        "interiors": [[[26, 9], [31, 9], [28.5, 14]]],
    }
    parts = [
        {"exterior": [[2, 25], [9, 25], [9, 33], [2, 33]], "interiors": []},
        {"exterior": [[15, 26], [21, 27], [18, 35]], "interiors": []},
    ]
    special: dict[int, dict[str, Any]] = {
        PLAIN: {"category_id": STAR, "bbox": [3, 4, 12, 9]},
        OLD_POLYGON: {
            "category_id": SHAPE,
            "bbox": [10, 8, 10, 10],
            "segmentation": [10, 8, 20, 8, 20, 18, 10, 18],
        },
        NEW_POLYGON: {
            "category_id": STAR,
            "bbox": [30, 2, 9, 12],
            "segmentation": {**holed, "interiors": []},
        },
        HOLES: {"category_id": STAR, "bbox": [20.5, 4, 19.5, 18], "segmentation": holed},
        MULTI: {"category_id": SHAPE, "bbox": [2, 25, 19, 10], "segmentation": parts},
        OLD_MULTI: {
            "category_id": SHAPE,
            "bbox": [1.25, 2.5, 30.5, 20.25],
            "segmentation": [[1.25, 2.5, 9, 2.5, 9, 12], [20, 10, 31.75, 10, 31.75, 22.75]],
        },
        RLE: {
            "category_id": STAR,
            "bbox": [30, 20, 14, 11],
            "segmentation": {"counts": run_lengths(mask()), "size": list(DIMS)},
        },
        OLD_POINTS: {
            "category_id": FIGURE,
            "bbox": [24.5, 20.25, 12.5, 9.75],
            "keypoints": [25, 21, 2, 34, 25, 1, 0, 0, 0],
        },
        NEW_POINTS: {
            "category_id": FIGURE,
            "bbox": [40, 24, 10, 10],
            "keypoints": [
                {"xy": [41.5, 25.5], "keypoint_category_id": 8, "visible": 2},
                {"xy": [49, 33], "keypoint_category_id": 2, "visible": 1},
            ],
        },
        COLUMN_POINTS: {
            "category_id": FIGURE,
            "bbox": [5, 5, 30, 25],
            "keypoints": {"x": [6, 30.5], "y": [7, 29], "visible": [1, 2], "keypoint_category_id": [6, 8]},
        },
        EVERYTHING: {
            "category_id": CHILD,
            "bbox": [45, 30, 20, 15],
            "segmentation": {"exterior": [[45, 30], [65, 30], [65, 45]], "interiors": []},
            "keypoints": [46, 31, 2, 60, 32, 2, 64, 44, 2],
        },
        NO_CATEGORY: {"bbox": [0, 0, 6, 7]},
        NULL_CATEGORY: {"category_id": None, "bbox": [50, 0, 3, 5]},
        NO_BOX: {"category_id": STAR, "segmentation": [12, 12, 15, 12, 15, 15]},
        EMPTY_PIECES: {"category_id": STAR, "bbox": [0, 30, 5, 5], "segmentation": [], "keypoints": []},
        NULL_PIECES: {"category_id": STAR, "bbox": [8, 30, 5, 5], "segmentation": None, "keypoints": None},
    }
    anns = [{"id": aid, "image_id": RGB, **rest} for aid, rest in reversed(special.items())]
    return [*anns, {"id": ELSEWHERE, "image_id": GRAY, "category_id": STAR, "bbox": [2, 3, 5, 4]}]


def _parts(dpath: pathlib.Path, seed: int) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Write the files of an image with several files, one of them at half the resolution."""
    red = random_pixels("uint8", 2, DIMS, seed=seed)
    smooth = np.add.outer(np.arange(SMALL_DIMS[0]) * 40, np.arange(SMALL_DIMS[1]) * 25)
    deep = (smooth + 1000).astype(np.uint16)[:, :, None]
    names = [
        write_tiff(dpath / f"part{seed}_red.tif", red),
        write_tiff(dpath / f"part{seed}_nir.tif", deep),
    ]
    entries = [
        {"file_name": names[0].name, "channels": "red|green", "width": DIMS[1], "height": DIMS[0]},
        {
            "file_name": names[1].name,
            "channels": "nir",
            "width": SMALL_DIMS[1],
            "height": SMALL_DIMS[0],
            "warp_aux_to_img": {"type": "affine", "scale": SMALL_SCALE},
        },
    ]
    return entries, {"red|green": red, "nir": deep}


def _float_pixels() -> np.ndarray:
    """Return two bands with NaN in a corner and declared gaps in the middle."""
    pixels = random_pixels("float32", 2, (19, 28), seed=4)
    pixels[:3, :4, 0] = np.nan
    pixels[8:11, 9:15, 1] = NODATA
    return pixels


def stills(dpath: pathlib.Path) -> Stills:
    """Write images of every kind and return the dataset of them."""
    pixels = {
        RGB: random_pixels("uint8", 3, DIMS, seed=1),
        GRAY: random_pixels("uint8", 1, (20, 31), seed=2),
        DEEP: random_pixels("uint16", 4, (24, 18), seed=3),
        FLOAT: _float_pixels(),
        EMPTY: random_pixels("uint8", 3, (12, 10), seed=6),
    }
    files = {
        RGB: write_png(dpath / "rgb.png", pixels[RGB]),
        GRAY: write_png(dpath / "gray.png", pixels[GRAY]),
        DEEP: write_tiff(dpath / "deep.tif", pixels[DEEP], tiled=True, blockxsize=16, blockysize=16),
        FLOAT: write_tiff(dpath / "float.tif", pixels[FLOAT], nodata=NODATA),
        EMPTY: write_png(dpath / "empty.png", pixels[EMPTY]),
    }
    channels = {DEEP: {"channels": "B1|B2|B8|B11"}, FLOAT: {"channels": "flow.0:2"}}
    images: list[dict[str, Any]] = [
        {
            "id": gid,
            "file_name": file.name,
            "height": pixels[gid].shape[0],
            "width": pixels[gid].shape[1],
            **channels.get(gid, {}),
        }
        for gid, file in files.items()
    ]
    parts: dict[str, np.ndarray] = {}
    for gid, key in ((ASSETS, "assets"), (AUXILIARY, "auxiliary")):
        entries, parts = _parts(dpath, seed=7)
        images.append({"id": gid, "name": key, "width": DIMS[1], "height": DIMS[0], key: entries})
    content = {
        "images": images,
        "annotations": annotations(),
        "categories": [
            {"id": STAR, "name": "star", "supercategory": "shape"},
            {"id": SHAPE, "name": "shape"},
            {"id": FIGURE, "name": "figure", "keypoints": ["head", "foot", "tail"]},
            {"id": CHILD, "name": "child", "supercategory": "figure"},
        ],
        "keypoint_categories": [
            {"id": 8, "name": "head"},
            {"id": 2, "name": "foot"},
            {"id": 6, "name": "tail"},
        ],
    }
    with warnings.catch_warnings():
        # kwcoco warns about the annotation without a category, which is intended.
        warnings.simplefilter("ignore")
        dset = kwcoco.CocoDataset(content, bundle_dpath=dpath)
    return Stills(dset, pixels, parts)


def one_image(
    path: pathlib.Path, dims: tuple[int, int], anns: list[dict[str, Any]] | None = None
) -> kwcoco.CocoDataset:
    """Return a dataset of one image with id 1, its annotations, and one category with id 1."""
    image = {"id": 1, "file_name": str(path), "height": dims[0], "width": dims[1]}
    return kwcoco.CocoDataset(
        {
            "images": [image],
            "annotations": [{"image_id": 1, "category_id": 1, **ann} for ann in anns or []],
            "categories": [{"id": 1, "name": "thing"}],
        }
    )


def crop_oracle(full: np.ndarray, rows: tuple[int, int], cols: tuple[int, int], fill: Any = 0) -> np.ndarray:
    """Return a window that may be outside an image, by slicing the image on a large canvas."""
    height, width = full.shape[:2]
    top, bottom = max(0, -rows[0]), max(0, rows[1] - height)
    left, right = max(0, -cols[0]), max(0, cols[1] - width)
    canvas = np.pad(full, ((top, bottom), (left, right), (0, 0)), constant_values=fill)
    return canvas[rows[0] + top : rows[1] + top, cols[0] + left : cols[1] + left]


def geometry(dets: kwimage.Detections) -> list[dict[str, Any]]:
    """Return boxes, polygons and keypoints of detections as plain numbers, one dictionary for each."""
    ssegs = list(dets.data["segmentations"])
    points = list(dets.data["keypoints"])
    return [
        {
            "box": np.asarray(box, float),
            "polygons": sseg and _rings(sseg),
            "points": pts and (np.asarray(pts.xy, float), _maybe(pts, "class_idxs"), _maybe(pts, "visible")),
        }
        for box, sseg, pts in zip(dets.boxes.to_xywh().data, ssegs, points)
    ]


def _maybe(points: kwimage.Points, key: str) -> list[Any] | None:
    values = points.data.get(key)
    return None if values is None else np.asarray(values).tolist()


def _rings(sseg: Any) -> list[np.ndarray]:
    """Return the exteriors and holes of one or several polygons, in order."""
    rings = []
    for polygon in sseg.to_multi_polygon().data:
        rings.append(np.asarray(polygon.data["exterior"].data, float))
        rings.extend(np.asarray(hole.data, float) for hole in polygon.data["interiors"])
    return rings
