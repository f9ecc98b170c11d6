"""
Storage backends: how the pixels of an image file are stored for fast reads of regions.

``base`` holds the interface and the registry. ``source``, ``npy`` and ``cog`` each hold a backend;
``gdal``, ``gdal_write``, ``opencv`` and ``headers`` read and write the file formats; ``label`` describes a
cache entry at its end. See ``docs/source/howto/add_a_backend.rst`` for writing another backend.
"""

from __future__ import annotations

from ndsampler.backends import cog, npy, source
from ndsampler.backends.base import Backend, RegionReader, make_backend

__all__ = ["Backend", "RegionReader", "cog", "make_backend", "npy", "source"]
