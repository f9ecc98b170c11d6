"""
The old place of the frame cache: see :mod:`ndsampler.cache.frame_cache`.
"""

from __future__ import annotations

from ndsampler.cache.frame_cache import FrameCache

__all__ = ["FrameCache"]
