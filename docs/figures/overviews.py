"""Draw how a shrunken sample is read: python docs/figures/overviews.py OUTPUT.png."""

from __future__ import annotations

import pathlib
import sys

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from four_spaces import shrink
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.patches import ConnectionPatch

from ndsampler.demo.landscape import make_scene
from ndsampler.frames.resample import Resampling, choose_level, source_box

#: (height, width) of the picture, and its overviews.
DIMS = (1024, 1536)
LEVELS = [(512, 768), (256, 384), (128, 192)]

#: First row and column, and side, of the window on the picture, and the side of its sample.
TOP, LEFT, SIDE, OUT = 200, 430, 720, 224

ORANGE, GRAY, BLUE = "#ff7f0e", "#8a8a8a", "#1f77b4"

#: Side of the picture in the right half.
LARGE = 32768


def pixels_read(side: int, overviews: bool) -> int:
    """Return how many pixels are looked at for a sample from the middle of a large picture."""
    levels = [(LARGE >> n, LARGE >> n) for n in range(1, 9)] if overviews else []
    start = (LARGE - side) // 2
    scale = OUT / side
    warp = np.array([[scale, 0, -start * scale], [0, scale, -start * scale], [0, 0, 1]])
    level = choose_level(warp, levels, Resampling())
    warp = warp @ np.diag([2.0**level, 2.0**level, 1])
    box = source_box(warp, (OUT, OUT), (LARGE >> level, LARGE >> level))
    return (box.y1 - box.y0) * (box.x1 - box.x0)


def draw_pyramid(axes: Axes) -> None:
    """Draw the picture and its overviews side by side, with the window in each."""
    scene = make_scene(DIMS[1], DIMS[0], seed=3)
    painted = np.concatenate([scene.rows(top, min(top + 512, DIMS[0])) for top in range(0, DIMS[0], 512)])
    chosen = choose_level(np.diag([OUT / SIDE, OUT / SIDE, 1]), LEVELS, Resampling())
    x = 0.0
    for level, dims in enumerate([DIMS, *LEVELS]):
        factor = dims[1] / DIMS[1]
        height, width = dims
        pixels = cv2.resize(painted, (width, height), interpolation=cv2.INTER_AREA)
        axes.imshow(pixels, extent=(x, x + width, height, 0), interpolation="antialiased")
        here = level == chosen
        side = SIDE * factor
        shade = [patheffects.Stroke(linewidth=4.5 if here else 2.5, foreground="white"), patheffects.Normal()]
        style = {"color": ORANGE if here else "black", "lw": 2.4 if here else 1.0, "path_effects": shade}
        xs = x + factor * np.array([LEFT, LEFT + SIDE, LEFT + SIDE, LEFT, LEFT])
        ys = factor * np.array([TOP, TOP, TOP + SIDE, TOP + SIDE, TOP])
        axes.plot(xs, ys, ls="-" if here else (0, (4, 3)), **style)
        name = "image" if level == 0 else f"1/{2**level}"
        weight = {"fontweight": "bold", "color": ORANGE} if here else {"color": "#333333"}
        axes.text(x + width / 2, -22, name, ha="center", va="bottom", fontsize=9.5, **weight)
        if level <= chosen:
            note = f"{side:.0f}² pixels"
            box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
            middle = (xs[0] + side / 2, ys[0] + side / 2)
            axes.text(*middle, note, ha="center", va="center", fontsize=8, bbox=box, **weight)
        if here:
            anchor = (xs[0] + side / 2, ys[2] + 12)
        x += width + 40
    window = cv2.resize(
        painted[TOP : TOP + SIDE, LEFT : LEFT + SIDE], (OUT, OUT), interpolation=cv2.INTER_AREA
    )
    # Drawn larger than it is, as one would look at it.
    left, top, drawn = 2060.0, 560.0, 400.0
    axes.imshow(window, extent=(left, left + drawn, top + drawn, top), interpolation="antialiased")
    axes.plot(
        left + drawn * np.array([0, 1, 1, 0, 0]),
        top + drawn * np.array([0, 0, 1, 1, 0]),
        color=ORANGE,
        lw=2.4,
    )
    axes.text(
        left + drawn + 24,
        top + drawn,
        f"sample,\n{OUT}²",
        ha="left",
        va="bottom",
        fontsize=9.5,
        color=ORANGE,
        fontweight="bold",
    )
    link = ConnectionPatch(
        anchor,
        (left - 14, top + drawn / 2),
        "data",
        "data",
        axesA=axes,
        arrowstyle="-|>",
        lw=1.6,
        color="#333333",
    )
    link.set_mutation_scale(13)
    axes.add_artist(link)
    axes.set_xlim(-6, x)
    axes.set_ylim(DIMS[0] + 6, -90)
    axes.axis("off")


def draw_cost(axes: Axes) -> None:
    """Draw pixels read over the size of the window."""
    sides = np.unique(np.geomspace(OUT, LARGE, 400).astype(int))
    for overviews, color, label in ((False, GRAY, "without overviews"), (True, ORANGE, "with overviews")):
        counts = np.array([pixels_read(int(side), overviews) for side in sides])
        axes.loglog(sides, counts, color=color, lw=2)
        place = 0.5
        index = int(len(sides) * place)
        shift = (0, 24) if overviews else (-10, 6)
        axes.annotate(
            label,
            (sides[index], counts[index]),
            shift,
            textcoords="offset points",
            color=color if overviews else "#555555",
            ha="left" if overviews else "right",
            fontsize=9,
        )
    axes.axhline(OUT**2, color="#bbbbbb", lw=1, ls=(0, (4, 3)))
    axes.text(LARGE, OUT**2 * 0.82, "the sample itself", ha="right", va="top", fontsize=8, color="#777777")
    ticks = [256, 1024, 4096, 32768]
    axes.set_xticks(ticks, [f"{tick}²" for tick in ticks], fontsize=8)
    axes.set_yticks([10**5, 10**6, 10**7, 10**8, 10**9], ["0.1", "1", "10", "100", "1000"], fontsize=8)
    axes.minorticks_off()
    axes.set_ylim(2e4, 2e9)
    axes.set_xlabel(f"window that becomes a sample of {OUT}²", fontsize=8.5)
    axes.set_title("million pixels read", fontsize=9, loc="left")
    axes.grid(color="#e6e6e6", lw=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw(output: pathlib.Path) -> None:
    figure = plt.figure(figsize=(9.6, 3.5), dpi=120)
    draw_pyramid(figure.add_axes((0.0, 0.02, 0.64, 0.96)))
    draw_cost(figure.add_axes((0.70, 0.16, 0.285, 0.72)))
    figure.savefig(output)


if __name__ == "__main__":
    draw(pathlib.Path(sys.argv[1]))
    shrink(pathlib.Path(sys.argv[1]))
