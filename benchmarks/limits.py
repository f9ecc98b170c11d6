"""The minimal work that gives the same result, for each kind of row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.images import SOURCES, decode, write_geotiff


def read_memmap(array: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    """Return a copy of a window of a memory-mapped array."""
    return np.array(array[top : top + size, left : left + size])


def read_handle(file: Any, top: int, left: int, size: int) -> np.ndarray:
    """Read a window of an open rasterio dataset, pixel-interleaved, in one call."""
    from rasterio.windows import Window

    out = np.empty((size, size, 3), dtype=np.uint8)
    file.read(out=out.transpose(2, 0, 1), window=Window(left, top, size, size))
    return out


def convert_to_npy(source: Path, fpath: Path) -> None:
    """Decode an image and save its array."""
    np.save(fpath, decode(source))


def convert_to_cog(source: Path, fpath: Path) -> None:
    """Decode an image and write it in 128² ZSTD blocks on all cores, without overviews."""
    write_geotiff(fpath, decode(source), **(SOURCES["zstd"] or {}), num_threads="ALL_CPUS")


def six_detections() -> Any:
    """Return six polygons with keypoints, like those of a sample."""
    import kwimage

    outline = np.stack([np.cos(np.arange(8)), np.sin(np.arange(8))], axis=1) * 9 + 20
    polygons = [kwimage.MultiPolygon([kwimage.Polygon(exterior=outline + k)]) for k in range(6)]
    points = [kwimage.Points(xy=np.array([[k, k], [k + 9.0, k + 9.0]])) for k in range(6)]
    data = {
        "boxes": kwimage.Boxes(np.random.rand(6, 4) * 50, "xywh"),
        "segmentations": kwimage.SegmentationList(polygons),
        "keypoints": kwimage.PointsList(points),
    }
    return kwimage.Detections(data=data, meta={}, checks=False)


def gather_columns(dset: Any) -> dict[str, np.ndarray]:
    """Return ids and boxes of all annotations as arrays, grouped by image."""
    anns = dset.dataset["annotations"]
    count = len(anns)
    gids = np.fromiter((a["image_id"] for a in anns), dtype=np.int64, count=count)
    aids = np.fromiter((a["id"] for a in anns), dtype=np.int64, count=count)
    boxes = np.array([a["bbox"] for a in anns], dtype=np.float32)
    order = np.argsort(gids, kind="stable")
    starts = np.flatnonzero(np.diff(gids[order], prepend=gids[order][0] - 1))
    return {"aids": aids[order], "gids": gids[order], "boxes": boxes[order], "starts": starts}


def overlapping(boxes: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the rows of ltrb boxes that overlap an ltrb query, by comparing all of them."""
    hit = (boxes[:, 0] <= query[2]) & (boxes[:, 2] >= query[0])
    hit &= (boxes[:, 1] <= query[3]) & (boxes[:, 3] >= query[1])
    return np.flatnonzero(hit)


def free_windows(columns: dict[str, np.ndarray], num: int, size: int, image_size: int, seed: int) -> int:
    """Draw random windows that touch no box, all at once, and compare them image by image."""
    rng = np.random.default_rng(seed)
    n_images, found = len(columns["starts"]), 0
    ends = np.append(columns["starts"][1:], len(columns["aids"]))
    ltrb = np.concatenate(
        [columns["boxes"][:, :2], columns["boxes"][:, :2] + columns["boxes"][:, 2:]], axis=1
    )
    while found < num:
        images = np.sort(rng.integers(0, n_images, num - found + 16))
        corners = rng.uniform(0, image_size - size, (len(images), 2))
        windows = np.concatenate([corners, corners + size], axis=1)
        firsts = np.flatnonzero(np.diff(images, prepend=-1))
        for first, last in zip(firsts, np.append(firsts[1:], len(images))):
            image = images[first]
            boxes = ltrb[columns["starts"][image] : ends[image]]
            found += int((~_touch(windows[first:last], boxes)).sum())
    return found


def _touch(windows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    apart = (windows[:, None, 0] >= boxes[None, :, 2]) | (windows[:, None, 2] <= boxes[None, :, 0])
    apart |= (windows[:, None, 1] >= boxes[None, :, 3]) | (windows[:, None, 3] <= boxes[None, :, 1])
    return np.asarray(~apart.all(axis=1))


def grid_targets(columns: dict[str, np.ndarray], window: int, image_size: int) -> list[dict[str, Any]]:
    """Return the targets of a regular grid with their annotations, by sorting boxes into the cells they
    cover."""
    across = -(-image_size // window)
    n_images = len(columns["starts"])
    cells, rows = _cells_of_boxes(columns, window, across)
    order = np.argsort(cells, kind="stable")
    ends = np.searchsorted(cells[order], np.arange(n_images * across * across + 1))
    aids = columns["aids"][rows[order]].tolist()
    gids = columns["gids"][columns["starts"]].tolist()
    places = [slice(k * window, (k + 1) * window) for k in range(across)]
    bounds = iter(ends.tolist())
    start, targets = next(bounds), []
    for gid in gids:
        for y in places:
            for x in places:
                stop = next(bounds)
                targets.append({"gid": gid, "slices": (y, x), "aids": aids[start:stop]})
                start = stop
    return targets


def _cells_of_boxes(
    columns: dict[str, np.ndarray], window: int, across: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the cells that boxes cover, and the row of the box for each."""
    boxes = columns["boxes"]
    first = (boxes[:, :2] // window).astype(np.int64)
    last = np.minimum((boxes[:, :2] + boxes[:, 2:]) // window, across - 1).astype(np.int64)
    image = np.searchsorted(columns["starts"], np.arange(len(boxes)), side="right") - 1
    reach = int((last - first).max()) + 1
    cells, rows = [], []
    for dy in range(reach):
        for dx in range(reach):
            x, y = first[:, 0] + dx, first[:, 1] + dy
            keep = np.flatnonzero((x <= last[:, 0]) & (y <= last[:, 1]))
            cells.append((image[keep] * across + y[keep]) * across + x[keep])
            rows.append(keep)
    return np.concatenate(cells), np.concatenate(rows)
