"""
Storage backends: how the pixels of an image file are stored for fast reads of regions.

``base`` defines the interface and the registry. ``source``, ``npy`` and ``cog`` each define a backend;
``gdal``, ``gdal_write``, ``opencv`` and ``headers`` read and write the file formats; ``label`` reads and
writes the label at the end of a cache entry. ``docs/source/howto/add_a_backend.rst`` explains how to write
another backend.
"""

from __future__ import annotations

from ndsampler.backends import cog, npy, source
from ndsampler.backends.base import Backend, RegionReader, make_backend

__all__ = ["Backend", "RegionReader", "cog", "make_backend", "npy", "source"]
