"""
A made-up landscape seen from above: what the demo has in place of your images.

``layout`` plans where things lie, ``things`` knows their shapes, ``canvas``
puts them into pixels, and :func:`ndsampler.cli.scenery.scene.make_scene`
returns a landscape of any size, of which any rows can be painted at a time.
``film`` moves traffic through one and a camera over it.
"""

from __future__ import annotations

from ndsampler.cli.scenery.film import Film, Seen
from ndsampler.cli.scenery.scene import Scene, make_scene
from ndsampler.cli.scenery.things import CATEGORIES, KEYPOINTS, Thing

__all__ = ["CATEGORIES", "KEYPOINTS", "Film", "Scene", "Seen", "Thing", "make_scene"]
