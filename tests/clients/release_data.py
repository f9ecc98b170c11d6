"""Tiny deterministic datasets, made alike by every interpreter that runs the comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

#: (width, height) of the first still; not square, so that mixed-up axes show.
STILL_SIZE = (120, 90)


def texture(height: int, width: int, bands: int = 3, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Smooth waves plus a ramp: every pixel of an image differs from its neighbours.

    Args:
        height: rows.
        width: columns.
        bands: channels; 0 gives an array without a channel axis.
        dtype: of the result; integers use 8 or 12 bits of their range.
        seed: phase of the waves.

    Returns:
        An array of shape (height, width[, bands]).
    """
    rows, cols = np.mgrid[0:height, 0:width]
    phase = np.arange(max(bands, 1)) * 0.7 + seed
    waves = np.sin(rows[..., None] / 9 + phase) + np.cos(cols[..., None] / 7 - phase)
    ramp = (rows * 3 + cols * 5)[..., None] % 64
    values = (waves + 2) * 40 + ramp
    if np.dtype(dtype).kind == "u" and np.dtype(dtype).itemsize > 1:
        values = values * 16
    out = values.astype(dtype)
    return out if bands else out[..., 0]


def write_image(fpath: Path, pixels: np.ndarray) -> str:
    """The path of a file that holds the pixels losslessly; made once."""
    import kwimage

    if not fpath.exists():
        kwimage.imwrite(str(fpath), pixels, **({"backend": "skimage"} if fpath.suffix == ".tif" else {}))
    return str(fpath)


def _rle(height: int, width: int) -> dict[str, Any]:
    import kwimage

    mask = np.zeros((height, width), dtype=np.uint8)
    mask[50:66, 20:41] = 1
    return kwimage.Mask(mask, "c_mask").to_array_rle().to_coco(style="orig")


def _annotations() -> list[dict[str, Any]]:
    square = [60.0, 10.0, 80.0, 10.0, 80.0, 30.0, 60.0, 30.0]
    new_poly = {
        "exterior": [[84, 40], [110, 44], [104, 70], [86, 66]],
        "interiors": [[[92, 50], [98, 50], [95, 56]]],
    }
    return [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 12, 20, 16]},
        {"id": 2, "image_id": 1, "category_id": 2, "bbox": [60, 10, 20, 20], "segmentation": [square]},
        {"id": 3, "image_id": 1, "category_id": 1, "bbox": [84, 40, 26, 30], "segmentation": new_poly},
        {
            "id": 4,
            "image_id": 1,
            "category_id": 2,
            "bbox": [2, 40, 60, 30],
            "segmentation": [
                {"exterior": [[2, 40], [12, 40], [12, 50], [2, 50]], "interiors": []},
                {"exterior": [[50, 60], [62, 60], [62, 70], [50, 70]], "interiors": []},
            ],
        },
        {"id": 5, "image_id": 1, "category_id": 1, "bbox": [20, 50, 21, 16], "segmentation": _rle(90, 120)},
        {
            "id": 6,
            "image_id": 1,
            "category_id": 3,
            "bbox": [30.5, 20.25, 12.5, 9.75],
            "keypoints": [31, 21, 2, 40, 25, 1, 0, 0, 0],
        },
        {
            "id": 7,
            "image_id": 1,
            "category_id": 3,
            "bbox": [44, 30, 14, 14],
            "keypoints": [
                {"xy": [45.5, 31.5], "keypoint_category_id": 1, "visible": 2},
                {"xy": [55, 40], "keypoint_category_id": 3, "visible": 1},
            ],
        },
        {"id": 8, "image_id": 1, "category_id": 1, "bbox": [100, 75, 40, 40]},
        {"id": 9, "image_id": 3, "category_id": 2, "bbox": [5, 6, 7, 8], "track_id": 1},
        {"id": 10, "image_id": 3, "category_id": 1, "bbox": [20, 20, 5.2, 7.7], "iscrowd": 1, "weight": 0.5},
    ]


def _categories() -> list[dict[str, Any]]:
    return [
        {"id": 1, "name": "star", "supercategory": "shape"},
        {"id": 2, "name": "square", "supercategory": "shape"},
        {"id": 3, "name": "figure", "keypoints": ["head", "foot", "tail"], "skeleton": []},
    ]


def _keypoint_categories() -> list[dict[str, Any]]:
    return [{"id": 1, "name": "head"}, {"id": 2, "name": "foot"}, {"id": 3, "name": "tail"}]


def stills(dpath: Path) -> Any:
    """Three stills (RGB, gray, 16 bit) and annotations of every kind; image 2 has none."""
    import kwcoco

    width, height = STILL_SIZE
    images = [
        {
            "id": 1,
            "width": width,
            "height": height,
            "file_name": write_image(dpath / "rgb.png", texture(height, width)),
        },
        {
            "id": 2,
            "width": 64,
            "height": 48,
            "file_name": write_image(dpath / "gray.png", texture(48, 64, 0)),
        },
        {
            "id": 3,
            "width": 40,
            "height": 50,
            "file_name": write_image(dpath / "deep.tif", texture(50, 40, 0, "uint16")),
        },
    ]
    return kwcoco.CocoDataset(
        {
            "images": images,
            "annotations": _annotations(),
            "categories": _categories(),
            "keypoint_categories": _keypoint_categories(),
        }
    )


def odd_stills(dpath: Path, *without: str) -> Any:
    """One still whose annotations lack the named pieces: ``bbox`` or ``category_id``."""
    import kwcoco

    width, height = STILL_SIZE
    anns: list[dict[str, Any]] = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 12, 20, 16]},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [30, 32, 20, 16]},
    ]
    for key in without:
        anns[1].pop(key)
    image = {
        "id": 1,
        "width": width,
        "height": height,
        "file_name": write_image(dpath / "rgb.png", texture(height, width)),
    }
    return kwcoco.CocoDataset({"images": [image], "annotations": anns, "categories": _categories()})


def flat_boxes(dpath: Path) -> Any:
    """One still whose boxes lack width, height, or both."""
    import kwcoco

    width, height = STILL_SIZE
    boxes = [[10, 12, 0, 16], [10, 12, 5, 0], [40.5, 42.25, 0, 0]]
    anns = [{"id": n, "image_id": 1, "category_id": 1, "bbox": box} for n, box in enumerate(boxes, 1)]
    fname = write_image(dpath / "rgb.png", texture(height, width))
    image = {"id": 1, "width": width, "height": height, "file_name": fname}
    return kwcoco.CocoDataset({"images": [image], "annotations": anns, "categories": _categories()})


def many_stills(dpath: Path, n_images: int = 4, n_annots: int = 12) -> Any:
    """Stills of 200 x 160 with random boxes, for pools, negatives and grids."""
    import kwcoco

    rng = np.random.RandomState(3)
    images, anns = [], []
    for gid in range(1, n_images + 1):
        fname = write_image(dpath / f"many{gid}.png", texture(160, 200, seed=gid))
        images.append({"id": gid, "width": 200, "height": 160, "file_name": fname})
        for _ in range(n_annots // gid):
            xy, wh = rng.randint(0, 120, 2), rng.randint(8, 40, 2)
            box = [int(v) for v in (*xy, *wh)]
            anns.append({"id": len(anns) + 1, "image_id": gid, "category_id": 1 + len(anns) % 2, "bbox": box})
    return kwcoco.CocoDataset({"images": images, "annotations": anns, "categories": _categories()[:2]})


def video(dpath: Path, key: str = "assets") -> Any:
    """A video of three frames with an RGB asset and a half-resolution two-band one.

    Args:
        dpath: where the files lie.
        key: the name under which an image lists its files.
    """
    import kwcoco

    half = {"type": "affine", "scale": 2.0}
    images, anns = [], []
    for index in range(3):
        rgb = write_image(dpath / f"vid_rgb{index}.png", texture(60, 80, 3, seed=index))
        low = write_image(dpath / f"vid_low{index}.tif", texture(30, 40, 0, "uint16", seed=index))
        images.append(
            {
                "id": index + 1,
                "name": f"frame{index}",
                "video_id": 1,
                "frame_index": index,
                "width": 80,
                "height": 60,
                "file_name": None,
                "warp_img_to_vid": {"type": "affine", "scale": 1.0},
                key: [
                    {
                        "file_name": rgb,
                        "channels": "red|green|blue",
                        "width": 80,
                        "height": 60,
                        "warp_aux_to_img": {"type": "affine"},
                    },
                    {"file_name": low, "channels": "nir", "width": 40, "height": 30, "warp_aux_to_img": half},
                ],
            }
        )
        anns.append(
            {
                "id": index + 1,
                "image_id": index + 1,
                "category_id": 1,
                "track_id": 1,
                "bbox": [10 + 5 * index, 20, 16, 12],
                "segmentation": {"exterior": [[10, 20], [26, 20], [18, 32]], "interiors": []},
            }
        )
    return kwcoco.CocoDataset(
        {
            "images": images,
            "annotations": anns,
            "categories": _categories(),
            "videos": [{"id": 1, "name": "vid", "width": 80, "height": 60}],
        }
    )


def simple_video(dpath: Path, channels: str | None = "red|green|blue") -> Any:
    """A video of three frames, one RGB file each, that were never resized.

    Args:
        dpath: where the files lie.
        channels: the code of each file; None leaves the key out.
    """
    import kwcoco

    images, anns = [], []
    for index in range(3):
        fname = write_image(dpath / f"vid_rgb{index}.png", texture(60, 80, 3, seed=index))
        images.append(
            {
                "id": index + 1,
                "name": f"frame{index}",
                "video_id": 1,
                "frame_index": index,
                "width": 80,
                "height": 60,
                "file_name": fname,
                **({} if channels is None else {"channels": channels}),
            }
        )
        anns.append(
            {
                "id": index + 1,
                "image_id": index + 1,
                "category_id": 1,
                "track_id": 1,
                "bbox": [10 + 5 * index, 20, 16, 12],
            }
        )
    return kwcoco.CocoDataset(
        {
            "images": images,
            "annotations": anns,
            "categories": _categories(),
            "videos": [{"id": 1, "name": "vid", "width": 80, "height": 60}],
        }
    )


def unsized(dpath: Path) -> Any:
    """Three stills whose ids are not in order and whose sizes the dataset does not state."""
    import kwcoco

    sizes = {3: (20, 30), 1: (12, 16), 7: (40, 50)}
    images = [
        {"id": gid, "file_name": write_image(dpath / f"unsized{gid}.png", texture(*dims, seed=gid))}
        for gid, dims in sizes.items()
    ]
    annots = [
        {"id": aid, "image_id": gid, "category_id": 1, "bbox": [1, 2, 5, 6]} for aid, gid in ((1, 3), (2, 1))
    ]
    categories = [{"id": 1, "name": "star", "supercategory": "shape"}]
    return kwcoco.CocoDataset({"images": images, "annotations": annots, "categories": categories})
