"""Draws the statistics of a dataset as bar charts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndsampler.preview.drawing import Color, fit_text, write_text
from ndsampler.preview.picture import Picture
from ndsampler.preview.sample import category_color
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.formatting import format_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ndsampler.preview.stats import DatasetStats

BACKGROUND: Color = (28, 30, 34)
TEXT: Color = (236, 238, 240)
BAR: Color = (120, 170, 220)

#: In pixels: height of a row, width of the picture, and space for names left and numbers right of the bars.
ROW, WIDTH, NAMES, NUMBERS = 22, 720, 190, 90

#: Maximum number of categories that get a bar.
MOST_BARS = 30


@fork_safe
def draw_stats(stats: DatasetStats, colors: Mapping[str, int] | None = None, title: str = "") -> Picture:
    """Draw the annotations of each category, and the sizes of boxes, as bars.

    Args:
        stats: the statistics of the dataset.
        colors: the position of each category in the dataset, which determines its color.
        title: a line of text at the top.
    """
    colors = colors or {}
    classes = list(stats.classes.items())
    bars = [(name, count, category_color(colors.get(name))) for name, count in classes[:MOST_BARS]]
    more = len(classes) - len(bars)
    sizes = [(f"{side:,} to {2 * side:,} px", count, BAR) for side, count in sorted(stats.box_sides.items())]
    parts = [_draw_lines([title, *summary_lines(stats)] if title else summary_lines(stats))]
    parts += [_draw_chart("Annotations of each category" + f" ({more} more left out)" * (more > 0), bars)]
    parts += [_draw_chart("Boxes by the square root of their area", sizes)]
    return Picture(np.concatenate(parts))


def summary_lines(stats: DatasetStats) -> list[str]:
    """Return the main statistics of a dataset as a few lines of text."""
    images = f"{format_count(stats.images, 'image')}, {stats.megapixels:,.1f} megapixels"
    none = format_count(stats.images_without_annotations, "image")
    annots = f"{format_count(stats.annotations, 'annotation')}; {none} without any"
    height, width = stats.window
    return [images, annots, f"{stats.windows:,} windows of {width} x {height} pixels cover all images"]


def _draw_lines(lines: Sequence[str]) -> NDArray[np.uint8]:
    """Draw lines of text."""
    part = _blank(len(lines) * ROW + 8)
    for number, line in enumerate(lines):
        write_text(part, fit_text(line, WIDTH - 16, 0.46), (8, number * ROW + 22), 0.46, TEXT)
    return part


def _draw_chart(title: str, bars: Sequence[tuple[str, int, Color]]) -> NDArray[np.uint8]:
    """Draw a bar for each number, with its name and value, below a title."""
    part = _blank((len(bars) + 1) * ROW + 12)
    write_text(part, title, (8, 20), 0.46, TEXT)
    most = max([count for _, count, _ in bars], default=0)
    for number, (name, count, color) in enumerate(bars, start=1):
        top = number * ROW + 8
        write_text(part, fit_text(name, NAMES - 16, 0.42), (8, top + 14), 0.42, TEXT)
        length = round((WIDTH - NAMES - NUMBERS) * count / most) if most else 0
        part[top + 3 : top + 16, NAMES : NAMES + max(length, 1)] = color
        write_text(part, f"{count:,}", (NAMES + length + 8, top + 14), 0.42, TEXT)
    return part


def _blank(height: int) -> NDArray[np.uint8]:
    part = np.empty((height, WIDTH, 3), np.uint8)
    part[:] = BACKGROUND
    return part
