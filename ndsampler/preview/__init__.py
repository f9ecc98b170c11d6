"""
Draws samples as pictures: pixels of any type, with their annotations.

:func:`draw_sample` draws one sample, :func:`draw_sheet` draws many side by side, and
:func:`write_sheet` saves them as a PNG file. Every picture is 8-bit RGB.

Coordinates are those of annotations: (0, 0) is the outer corner of the first pixel, so a box from 0 to 1
surrounds that pixel.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ndsampler.preview.description import describe
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

#: The module of each name.
_HOMES = {
    "GAP": "sheet",
    "TEXT_ROW": "sheet",
    "Picture": "picture",
    "caption_of": "sample",
    "category_color": "sample",
    "describe": "description",
    "draw_sample": "sample",
    "draw_sheet": "sheet",
    "to_rgb": "sample",
    "write_sheet": "sheet",
}


if not TYPE_CHECKING:  # because type checkers would accept any name

    def __getattr__(name: str) -> object:
        """Import a name when it is first used, because every sampler imports this package."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
