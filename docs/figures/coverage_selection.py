"""Draw positives chosen at random and by coverage: python docs/figures/coverage_selection.py OUTPUT.png."""

from __future__ import annotations

import pathlib
import sys

import kwcoco
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from ndsampler import CocoRegions

HEIGHT, WIDTH = 600, 800

#: Height and width of the windows.
WINDOW = (110, 110)

#: Centers of crowds, their spread in pixels, and how many objects each has.
CROWDS = [((190, 170), 55, 90), ((560, 400), 75, 90), ((640, 120), 45, 40), ((400, 300), 260, 60)]

CHOSEN, OBJECT, MISSED = "#2171b5", "#8c8c8c", "#cb181d"


def make_dataset() -> kwcoco.CocoDataset:
    """Return a dataset of one crowded image; its file is not needed."""
    rng = np.random.default_rng(3)
    dset = kwcoco.CocoDataset()
    gid = dset.add_image(file_name="crowd.png", width=WIDTH, height=HEIGHT)
    cid = dset.add_category("object")
    for center, spread, count in CROWDS:
        for x, y in rng.normal(center, spread, (count, 2)):
            width, height = rng.uniform(10, 22, 2)
            if 0 < x - 15 < x + 15 < WIDTH and 0 < y - 15 < y + 15 < HEIGHT:
                dset.add_annotation(gid, cid, bbox=[x - width / 2, y - height / 2, width, height])
    return dset


def chosen_targets(regions: CocoRegions, num: int | None, window_dims: tuple[int, int] | None) -> np.ndarray:
    """Return (n, 2) centers of the positives that preselect chooses."""
    n_pos, _ = regions.preselect(n_pos=num, window_dims=window_dims, rng=1)
    rows = [regions.get_positive(index) for index in range(n_pos)]
    return np.array([(row["cx"], row["cy"]) for row in rows])


def shown_again(centers: np.ndarray) -> float:
    """Return which share of the pixels that windows show is shown by more than one."""
    half = np.array(WINDOW) // 2
    times = np.zeros((HEIGHT, WIDTH), int)
    for top, left in np.round(centers[:, ::-1] - half).astype(int).tolist():
        times[max(top, 0) : top + WINDOW[0], max(left, 0) : left + WINDOW[1]] += 1
    return float((times > 1).sum() / (times > 0).sum())


def draw_panel(axes: plt.Axes, title: str, regions: CocoRegions, centers: np.ndarray) -> None:
    """Draw the windows around the chosen targets, and the targets around which another would fit."""
    dsize = np.array(WINDOW[::-1])
    targets = regions.targets
    points = np.stack([targets["cx"], targets["cy"]], axis=1)
    left_out = ~(np.abs(points[:, None] - centers) < dsize).all(axis=2).any(axis=1)
    for corner in centers - dsize / 2:
        axes.add_patch(Rectangle(corner, *dsize, facecolor=CHOSEN, alpha=0.16, lw=0))
        axes.add_patch(Rectangle(corner, *dsize, fill=False, edgecolor=CHOSEN, lw=1.4))
    for row, missed in enumerate(left_out):
        size = targets["width"][row], targets["height"][row]
        corner = points[row] - np.array(size) / 2
        color = MISSED if missed else OBJECT
        axes.add_patch(Rectangle(corner, *size, facecolor=color, edgecolor="white", lw=0.5, alpha=0.9))
    axes.plot(*centers.T, "+", color="black", ms=6, mew=1.3)
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0), xticks=[], yticks=[], aspect="equal")
    axes.set_title(f"{title}: {shown_again(centers):.0%} of the pixels shown again", fontsize=11)


def draw(output: pathlib.Path) -> None:
    from ndsampler import select_positive_regions

    regions = CocoRegions(make_dataset(), verbose=0)
    count = len(select_positive_regions(regions.targets, WINDOW, rng=1))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4.5), dpi=110)
    draw_panel(left, f"{count} at random", regions, chosen_targets(regions, count, None))
    draw_panel(right, f"{count} by coverage", regions, chosen_targets(regions, count, WINDOW))
    note = (
        f"Windows of {WINDOW[0]} × {WINDOW[1]} around chosen targets (+).  "
        "Red: targets around which another window would fit without overlap."
    )
    figure.text(0.5, 0.03, note, ha="center", fontsize=9.5, color="#444444")
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(output)


if __name__ == "__main__":
    draw(pathlib.Path(sys.argv[1]))
