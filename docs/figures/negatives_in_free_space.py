"""Draw how negatives find scarce room: python docs/figures/negatives_in_free_space.py OUTPUT.png."""

from __future__ import annotations

import pathlib
import sys

import kwcoco
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from ndsampler import FrameIntersectionIndex

HEIGHT, WIDTH = 420, 560

#: Width and height of the negatives.
WINDOW = (56, 56)

NUM = 14

FREE, NEGATIVE, OBSTACLE, CORNER = "#f7f7f7", "#2171b5", "#9a9a9a", "#e6550d"


def make_dataset() -> kwcoco.CocoDataset:
    """Return a dataset of one image that boxes cover almost wholly; its file is not needed."""
    dset = kwcoco.CocoDataset()
    gid = dset.add_image(file_name="full.png", width=WIDTH, height=HEIGHT)
    cid = dset.add_category("object")
    rng = np.random.default_rng(5)
    gaps = [(150, 70, 235, 135), (330, 230, 450, 300), (60, 300, 124, 420), (430, 20, 520, 92)]
    while len(dset.anns) < 420:
        width, height = rng.uniform(18, 46, 2)
        x, y = rng.uniform(0, WIDTH - width), rng.uniform(0, HEIGHT - height)
        if all(x >= x1 or x + width <= x0 or y >= y1 or y + height <= y0 for x0, y0, x1, y1 in gaps):
            dset.add_annotation(gid, cid, bbox=[x, y, width, height])
    return dset


def allowed_corners(boxes: np.ndarray) -> np.ndarray:
    """Return (height, width): where the left top corner of a negative may lie, pixel by pixel."""
    rows, cols = np.mgrid[: HEIGHT - WINDOW[1] + 1, : WIDTH - WINDOW[0] + 1]
    allowed = np.ones(rows.shape, bool)
    for x, y, width, height in boxes:
        apart = (cols + WINDOW[0] <= x) | (cols >= x + width) | (rows + WINDOW[1] <= y) | (rows >= y + height)
        allowed &= apart
    whole = np.zeros((HEIGHT, WIDTH), bool)
    whole[: allowed.shape[0], : allowed.shape[1]] = allowed
    return whole


def draw_boxes(axes: plt.Axes, boxes: np.ndarray) -> None:
    """Draw the annotations."""
    for x, y, width, height in boxes:
        axes.add_patch(Rectangle((x, y), width, height, facecolor=OBSTACLE, edgecolor="#7a7a7a", lw=0.5))
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0), xticks=[], yticks=[], aspect="equal", facecolor=FREE)


def draw(output: pathlib.Path) -> None:
    dset = make_dataset()
    boxes = np.array([ann["bbox"] for ann in dset.anns.values()])
    index = FrameIntersectionIndex.from_coco(dset)
    negatives = index.random_negatives(NUM, window_size=WINDOW, rng=1)[1].to_ltrb().data
    allowed = allowed_corners(boxes)

    figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4.5), dpi=110)
    draw_boxes(left, boxes)
    shade = np.zeros((HEIGHT, WIDTH, 4))
    shade[allowed] = matplotlib.colors.to_rgba(CORNER)
    left.imshow(shade, extent=(0, WIDTH, HEIGHT, 0), zorder=3, interpolation="nearest")
    share = allowed.sum() / ((HEIGHT - WINDOW[1] + 1) * (WIDTH - WINDOW[0] + 1))
    left.set_title(f"Where a left top corner may lie: {share:.1%} of all places", fontsize=11)
    draw_boxes(right, boxes)
    for x0, y0, x1, y1 in negatives:
        right.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, facecolor=NEGATIVE, alpha=0.12, lw=0))
        right.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=NEGATIVE, lw=1.5))
        right.plot(x0, y0, "o", color=CORNER, ms=4)
    right.set_title(f"{NUM} negatives, each in free space", fontsize=11)
    note = f"Annotations are gray; negatives of {WINDOW[0]} × {WINDOW[1]} touch none of them."
    figure.text(0.5, 0.03, note, ha="center", fontsize=9.5, color="#444444")
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(output)


if __name__ == "__main__":
    draw(pathlib.Path(sys.argv[1]))
