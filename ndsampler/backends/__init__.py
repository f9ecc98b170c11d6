"""
Storage backends: how the pixels of one image file are kept for fast region reads.

``base`` holds the interface and the registry, one module each holds a backend.
See ``docs/source/howto/add_a_backend.rst`` for writing another.
"""

from __future__ import annotations

from ndsampler.backends import cog, npy, source
from ndsampler.backends.base import Backend, RegionReader, make_backend

__all__ = ["Backend", "RegionReader", "cog", "make_backend", "npy", "source"]
