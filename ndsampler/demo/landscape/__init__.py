"""
A synthetic landscape seen from above.

``layout`` plans the positions of objects, ``objects`` defines their shapes, ``canvas`` paints them, and
:func:`make_scene` returns a landscape of any size, which is painted in blocks of rows. ``film`` adds moving
traffic and a moving camera; ``spectrum`` converts painted pixels to the bands of multispectral sensors.
"""

from __future__ import annotations

from ndsampler.demo.landscape.film import Film, Seen, Shot
from ndsampler.demo.landscape.objects import CATEGORIES, KEYPOINTS, LandscapeObject
from ndsampler.demo.landscape.scene import Painting, Scene, make_scene

__all__ = [
    "CATEGORIES",
    "KEYPOINTS",
    "Film",
    "Painting",
    "Scene",
    "Seen",
    "Shot",
    "LandscapeObject",
    "make_scene",
]
