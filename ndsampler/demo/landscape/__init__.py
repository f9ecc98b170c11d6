"""
A synthetic landscape seen from above.

``layout`` plans where its objects are, ``objects`` knows their shapes, ``canvas`` turns them into
pixels, and :func:`make_scene` returns a landscape of any size, which is painted a block of rows at
a time. ``film`` adds moving traffic and a moving camera; ``spectrum`` turns a painting into what
multispectral sensors measure.
"""

from __future__ import annotations

from ndsampler.demo.landscape.film import Film, Seen, Shot
from ndsampler.demo.landscape.objects import CATEGORIES, KEYPOINTS, Thing
from ndsampler.demo.landscape.scene import Painting, Scene, make_scene

__all__ = ["CATEGORIES", "KEYPOINTS", "Film", "Painting", "Scene", "Seen", "Shot", "Thing", "make_scene"]
