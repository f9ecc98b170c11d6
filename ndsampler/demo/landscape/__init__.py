"""
A made-up landscape seen from above: what the demo has in place of your images.

``layout`` plans where things lie, ``things`` knows their shapes, ``canvas``
puts them into pixels, and :func:`ndsampler.demo.landscape.scene.make_scene`
returns a landscape of any size, of which any rows can be painted at a time.
``film`` moves traffic through one and a camera over it.
"""

from __future__ import annotations

from ndsampler.demo.landscape.film import Film, Seen
from ndsampler.demo.landscape.objects import CATEGORIES, KEYPOINTS, Thing
from ndsampler.demo.landscape.scene import Scene, make_scene

__all__ = ["CATEGORIES", "KEYPOINTS", "Film", "Scene", "Seen", "Thing", "make_scene"]
