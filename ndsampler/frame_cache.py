"""
The old module of the frame cache: see :mod:`ndsampler.cache.frame_cache`.
"""

from __future__ import annotations

from ndsampler.cache.frame_cache import FrameCache
from ndsampler.errors import CacheError

__all__ = ["CorruptCOG", "FrameCache"]

#: The old name of the error for a damaged entry.
CorruptCOG = CacheError
