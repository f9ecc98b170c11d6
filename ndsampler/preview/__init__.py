"""
Samples as pictures: pixels of any kind, with their annotations drawn on them.

:func:`draw_sample` draws one sample, :func:`draw_sheet` draws many side by side, and
:func:`write_sheet` saves them as a PNG file. Every picture is 8-bit RGB.

Coordinates follow the annotations: (0, 0) is the outer corner of the first pixel, so a box
from 0 to 1 surrounds that pixel.
"""

from __future__ import annotations

from ndsampler.preview.describe import describe
from ndsampler.preview.picture import Picture
from ndsampler.preview.sample import caption_of, category_color, draw_sample, to_rgb
from ndsampler.preview.sheet import GAP, TEXT_ROW, draw_sheet, write_sheet

__all__ = [
    "GAP",
    "TEXT_ROW",
    "Picture",
    "caption_of",
    "category_color",
    "describe",
    "draw_sample",
    "draw_sheet",
    "to_rgb",
    "write_sheet",
]
